# SPDX-License-Identifier: Apache-2.0
"""`folkmoot federation ...`: files with the settings of federations, and the one that commands use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from folkmoot.cli import context as contexts
from folkmoot.cli.context import KEYS, NONE, context
from folkmoot.cli.output import emit, note, pairs, table
from folkmoot.errors import FolkmootError, InputError

LOCAL = "local"
"""Name of the federation of `folkmoot up`."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the federation.")]


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(
        help="Name a federation once: its chain, contracts, coordinator and your key file. Then leave out the options.",
        no_args_is_help=True,
    )
    group.command("add")(add)
    group.command("list")(list_)
    group.command("use")(use)
    group.command("remove")(remove)
    return group


def add(name: Name) -> None:
    """Save the options of this command line as a federation, and use it from now on.

    The file has no secrets: --password-file names a file. Only you can read it, as an endpoint's URL may have a key.

    Example: folkmoot federation add moot --rpc URL --deployment deployment.json --coordinator https://moot.example
    """
    path = contexts.file_of(name)
    if path.exists():
        raise InputError(
            f"There is a federation {name} already.",
            remedy=f"Change its file {path}, or remove it first: `folkmoot federation remove {name}`.",
            code="federation-exists",
        )
    values = {key.name: context().flag(key.name) for key in KEYS if context().flag(key.name) is not None}
    if not values:
        raise InputError(
            "There are no settings to save.",
            remedy="Give at least one of --rpc, --deployment, --coordinator and --keystore.",
            code="setting-missing",
        )
    register(name, values)
    shown = {key: _text(value) for key, value in values.items()}
    emit(
        {"federation": name, "file": str(path), "settings": shown},
        f"Commands use the federation {name} from now on. Its file is {path}.",
    )


def register(name: str, values: dict[str, Any]) -> None:
    """Write the file of a federation, with absolute paths, and let commands use it."""
    from folkmoot.ledger.deployment import Deployment

    if "deployment" in values:
        Deployment.load(values["deployment"])
    kept = {}
    for key in KEYS:
        value = values.get(key.name)
        if value is None:
            continue
        kept[key.name] = str(value.absolute()) if hasattr(value, "absolute") else value
        if key.name == "artifacts":
            kept[key.name] = [_absolute(place) for place in value]
    contexts.save(name, kept)
    contexts.choose(name)


@contextmanager
def local(values: dict[str, Any]) -> Iterator[None]:
    """Let commands use the federation `local` while the block runs, and then again the one before.

    Whatever fails here is said, and the block runs.
    """
    before, saved = "", False
    try:
        before = contexts.chosen()
        register(LOCAL, values)
        saved = True
    except FolkmootError as error:
        note(
            f"warning: other commands need options, because {LOCAL} could not be saved. {error}", always=True
        )
    try:
        yield
    finally:
        if saved and contexts.chosen() == LOCAL != before:
            contexts.choose(before)


def list_(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Whose settings. Default: the federation in use.")
    ] = None,
) -> None:
    """List the federations that you added, a star at the one in use, and the settings that commands have with it.

    Of each setting it says where it comes from: option, environment or file.

    Example: folkmoot federation list
    """
    from folkmoot.cli.config_file import read

    if name is not None:
        _require_known(name)
        context().given["federation"] = name
    used, rows, documents = context().federation, [], []
    for one in contexts.names():
        try:
            values = read(contexts.file_of(one), KEYS)
            places = (_text(values.get("rpc", "-")), _text(values.get("coordinator", "-")))
        except InputError as error:
            note(f"warning: {error}", always=True)
            places = ("can't be read", "-")
        rows.append(("*" if one == used else "", one, *places))
        documents.append({"federation": one, "used": one == used, "file": str(contexts.file_of(one))})
    settings = {
        key.name: {"value": _text(value), "from": context().source(key.name)}
        for key in KEYS
        if (value := context().find(key.name)) is not None
    }
    document = {"federation": used or None, "file": str(contexts.file_of(used)) if used else None}
    emit(
        {"federations": documents, **document, "settings": settings},
        table(["", "federation", "chain", "coordinator"], rows)
        if rows
        else "There is no federation yet. Add one: `folkmoot federation add NAME --rpc URL --deployment FILE`.",
        "",
        f"The federation {used}, in the file {document['file']}:" if used else "No federation is in use.",
        pairs({key: f"{setting['value']}  ({setting['from']})" for key, setting in settings.items()}),
    )


def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"Name of the federation, or {NONE}.")],
) -> None:
    """Let commands use a federation, or none.

    Example: folkmoot federation use moot
    """
    if name != NONE:
        _require_known(name)
    contexts.choose("" if name == NONE else name)
    emit(
        {"federation": None if name == NONE else name},
        "Commands use no federation from now on: give --rpc, --deployment and the rest."
        if name == NONE
        else f"Commands use the federation {name} from now on.",
    )


def remove(name: Name) -> None:
    """Remove the file of a federation. Key files, the chain and the coordinator are not touched.

    Example: folkmoot federation remove moot
    """
    _require_known(name)
    contexts.file_of(name).unlink()
    if contexts.chosen() == name:
        contexts.choose("")
    emit({"federation": name, "removed": True}, f"The federation {name} is removed.")


def _require_known(name: str) -> None:
    """Check that there is a federation of this name."""
    import difflib

    known = contexts.names()
    if contexts.file_of(name).exists():
        return
    close = difflib.get_close_matches(name, known, n=1)
    raise InputError(
        f"There is no federation {name}.",
        remedy=f"Did you mean {close[0]}?" if close else f"Federations: {', '.join(known) or 'none yet'}.",
        code="federation-unknown",
    )


def _text(value: Any) -> str:
    """Return a setting as it can be shown: without the keys in URLs."""
    from folkmoot.runtime.urls import without_secrets

    return ", ".join(map(_text, value)) if isinstance(value, list) else without_secrets(str(value))


def _absolute(place: str) -> str:
    from pathlib import Path

    return place if place.startswith(("http://", "https://")) else str(Path(place).expanduser().absolute())
