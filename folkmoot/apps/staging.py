# SPDX-License-Identifier: Apache-2.0
"""Make an anchored copy of a Flower app: its files unchanged, and an entry package that wraps its two components.

The copy has only the files that Flower puts into the app's bundle. In `pyproject.toml`, the components and the run
config change.
"""

from __future__ import annotations

import io
import json
import os
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.apps.folder import PROJECT, AppFolder
from folkmoot.errors import InputError
from folkmoot.runtime.flower_internals import build_bundle
from folkmoot.runtime.processes import end_with_parent

if TYPE_CHECKING:
    from flwr.serverapp import ServerApp

ENTRY = "folkmoot_entry"
"""Name of the package that is added to the copy."""

FOLDER = "anchored-app"
"""Name of the copy's folder. Flower accepts only letters, digits and hyphens."""

COORDINATOR_KEY, RUN_KEY = "folkmoot-coordinator", "folkmoot-run"
"""Keys that are added to the run config. Every node receives them, so they must not contain a secret."""

OUTPUT = "FOLKMOOT_OUTPUT"
"""Environment variable of the SuperLink with the folder for files that ServerApps write."""

OUTPUT_LINE = "Files that the app writes are in "
"""Start of the log line in which a ServerApp names that folder."""

_CLIENT = '''# SPDX-License-Identifier: Apache-2.0
"""The ClientApp of {name}, anchored."""

import {module} as original
from folkmoot.flower import anchored_client

app = anchored_client(original.{attribute})
'''

_SERVER = '''# SPDX-License-Identifier: Apache-2.0
"""The ServerApp of {name}, anchored."""

import {module} as original
from folkmoot.apps.staging import in_output_folder
from folkmoot.flower import anchored_server

app = in_output_folder(anchored_server(original.{attribute}))
'''


def stage_app(app: AppFolder, target: Path) -> Path:
    """Copy an app into ``target/anchored-app`` and add the entry package that anchors it.

    The copy depends on the app and its run config only, so its bundle has the same hash in every run. Coordinator and
    run are given to ``flwr run`` as settings.

    Args:
        target: An existing folder.

    Returns:
        The copy's folder, for ``flwr run``.

    Raises:
        InputError: As for `bundle_of`, or the target can't be written.
    """
    copy = target / FOLDER
    data = bundle_of(app)
    try:
        copy.mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(data)) as bundle:
            for name in bundle.namelist():
                if not name.startswith(".info/"):
                    bundle.extract(name, copy)
        document = tomllib.loads((copy / PROJECT).read_text(encoding="utf-8"))
        _change(document, app, {COORDINATOR_KEY: "", RUN_KEY: ""})
        _write_toml(copy / PROJECT, document)
        (copy / ENTRY).mkdir()
        (copy / ENTRY / "__init__.py").write_text('"""What anchors the app."""\n', encoding="utf-8")
        for name, template, reference in (
            ("client", _CLIENT, app.clientapp),
            ("server", _SERVER, app.serverapp),
        ):
            module, _, attribute = reference.partition(":")
            text = template.format(name=app.name, module=module, attribute=attribute)
            (copy / ENTRY / f"{name}.py").write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The app can't be copied to {copy}: {error.strerror or error}.",
            remedy="Give an empty folder that you can write to.",
        ) from error
    return copy


def bundle_of(app: AppFolder) -> bytes:
    """Return the app's bundle as ``flwr run`` builds it, but without hidden folders such as `.folkmoot`.

    Raises:
        InputError: Flower can't bundle the app, it is an anchored copy, or it has a key file.
    """
    import click

    if (app.path / ENTRY).exists() or (app.path / f"{ENTRY}.py").exists():
        raise InputError(
            f"The app {app.name} already has a module {ENTRY}.",
            remedy="Give the folder of the original app, not of an anchored copy.",
            code="app-anchored",
        )
    try:
        data = build_bundle(
            app.path, lambda name: not any(part.startswith(".") for part in name.split("/")[:-1])
        )
    except (ValueError, OSError, click.ClickException) as error:
        raise InputError(
            f"Flower can't bundle the app {app.name}: {' '.join(str(error).split())}",
            remedy=f"Correct {app.path / PROJECT}. To test it, run `flwr build --app {app.path}`.",
            code="app-bundle",
        ) from error
    with zipfile.ZipFile(io.BytesIO(data)) as bundle:
        _check_no_keys(app, bundle)
    return data


def _check_no_keys(app: AppFolder, bundle: zipfile.ZipFile) -> None:
    """Check that a bundle has no key file, because every node receives the bundle."""
    for name in bundle.namelist():
        if not name.endswith(".json"):
            continue
        try:
            document = json.loads(bundle.read(name))
        except ValueError:
            continue
        if isinstance(document, dict) and "crypto" in {str(key).lower() for key in document}:
            raise InputError(
                f"The app's folder has the key file {name}, and every node gets the app's bundle.",
                remedy=f"Move it out of {app.path}, or list it under fab-exclude in {PROJECT}.",
                code="app-bundle",
            )


def _change(document: dict[str, Any], app: AppFolder, keys: Mapping[str, str]) -> None:
    """Set Folkmoot's components, and add the overrides and Folkmoot's keys to the run config."""
    described = document["tool"]["flwr"]["app"]
    described["components"] = {
        **described["components"],
        "serverapp": f"{ENTRY}.server:app",
        "clientapp": f"{ENTRY}.client:app",
    }
    config = described.setdefault("config", {})
    for key, value in {**app.overrides, **keys}.items():
        inner, path = config, key.split(".")
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = value
    if "fab-include" in described:
        described["fab-include"] = [*described["fab-include"], f"{ENTRY}/*.py"]


def _write_toml(path: Path, document: Mapping[str, Any]) -> None:
    import tomli_w

    path.write_text(tomli_w.dumps(document), encoding="utf-8")


def in_output_folder(app: ServerApp) -> ServerApp:
    """Run a ServerApp in a new folder for each run, so that its files can be found and are not overwritten.

    Its parent is the folder of the variable ``FOLKMOOT_OUTPUT``; by default, ``folkmoot-output`` in the SuperLink's
    working folder.
    """
    from flwr.app import Context
    from flwr.serverapp import Grid, ServerApp

    outer = ServerApp()

    @outer.main()
    def main(grid: Grid, context: Context) -> None:
        from logging import INFO

        from flwr.supercore import log

        folder = Path(os.environ.get(OUTPUT) or "folkmoot-output", str(context.run_id)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        end_with_parent()
        log(INFO, "%s%s", OUTPUT_LINE, folder)
        app(grid, context)

    return outer
