# SPDX-License-Identifier: Apache-2.0
"""`folkmoot account`: encrypted key files. Uses no chain; `folkmoot.cli.pending` has the command `pending`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from folkmoot.cli.options import Json, KeystorePath, PasswordFile, keystore_file, keystore_folder
from folkmoot.cli.output import emit, note, table, working
from folkmoot.cli.pending import pending

app = typer.Typer(
    help="Create and list encrypted key files; show pending transactions of interrupted commands.",
    no_args_is_help=True,
)
app.command()(pending)


def commands() -> typer.Typer:
    """Return the group of commands."""
    return app


@app.command()
def new(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            envvar="FOLKMOOT_KEYSTORE",
            metavar="PATH",
            help="File to write, or an existing folder. Default: this user's key folder.",
            show_default=False,
        ),
    ] = None,
    password_file: PasswordFile = None,
    json_: Json = False,
) -> None:
    """Create an account: a random key in an encrypted file that only you can read.

    Example: folkmoot account new --out ada.json
    """
    from folkmoot.cli.options import prompt_password
    from folkmoot.errors import KeystoreError
    from folkmoot.runtime import keystore

    def ask(text: str) -> str:
        first = prompt_password(text)
        if prompt_password("The same again: ") != first:
            raise KeystoreError("The two passwords differ.", remedy="Try again.", code="passwords-differ")
        return first

    folder = keystore_folder()
    if out is None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    password = keystore.read_password(
        password_file=password_file, prompt=ask, text="Password of the new key: "
    )
    with working("Encrypting the key ...", json_):
        account = keystore.create(out or folder, password)
    emit({"address": account.address, "path": str(account.path)}, json_, f"{account.address}\n{account.path}")
    note("Back this file up: without it or its password, stake and rewards of the account are lost.", json_)
    if account.path.parent != folder:
        note(f"Give it to commands by --keystore {account.path}, or set FOLKMOOT_KEYSTORE.", json_)


@app.command("list")
def list_(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="Folder to look in. Default: this user's key folder, and the current one.",
            show_default=False,
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """List the key files in a folder.

    Example: folkmoot account list
    """
    from folkmoot.runtime import keystore

    places = [folder] if folder else [place for place in (keystore_folder(), Path.cwd()) if place.is_dir()]
    files = [file for place in places for file in keystore.files_in(place)]
    document = {"accounts": [{"address": file.address, "path": str(file.path)} for file in files]}
    shown = table(["account", "file"], [(file.address, str(file.path)) for file in files])
    emit(
        document,
        json_,
        shown
        if files
        else f"There is no key file in {folder or f'{keystore_folder()} and the current folder'}.",
    )


@app.command()
def show(keystore: KeystorePath = None, json_: Json = False) -> None:
    """Show the account of a key file. No password is needed, and the key is not shown.

    Example: folkmoot account show --keystore ada.json
    """
    from folkmoot.runtime.keystore import address_of

    path = keystore_file(keystore)
    address = address_of(path)
    emit({"address": address, "path": str(path)}, json_, f"{address}\n{path}")
