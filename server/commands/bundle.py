# SPDX-License-Identifier: Apache-2.0
"""`folkmoot bundle`: the training code that `folkmoot train` sends to the nodes, and its hash.

Builds what Flower would build and sends nothing. Heavy modules are imported when the command runs.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from folkmoot.cli.options import AppPath, Json, RunConfig
from folkmoot.cli.output import emit, write_file


def bundle(
    app: AppPath = None,
    run_config: RunConfig = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File to write the bundle to, for people to read.", show_default=False
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Print the SHA-256 of the app bundle that `folkmoot train` of this release sends to the nodes.

    A policy that names it as `bundleHash` lets nodes run this code only. The bundle is a zip file.

    Example: folkmoot bundle --out bundle.fab

    Example: folkmoot bundle --app ./my-app
    """
    from folkmoot.apps.folder import AppFolder
    from folkmoot.apps.staging import stage_app
    from server.relay.flower_run import build, stage

    with tempfile.TemporaryDirectory(prefix="folkmoot-bundle-") as scratch:
        if app is None:
            folder = stage(Path(scratch))
        else:
            folder = stage_app(AppFolder.read(app, run_config or ()), Path(scratch))
        content = build(folder)
    digest = hashlib.sha256(content).hexdigest()
    if out is not None:
        write_file(out, content)
    document = {"bundleHash": f"0x{digest}", "bytes": len(content), "file": out and str(out)}
    written = "" if out is None else f" Written to {out}."
    emit(document, json_, f"0x{digest}  ({len(content):,} bytes).{written}")
