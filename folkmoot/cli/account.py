# SPDX-License-Identifier: Apache-2.0
"""`folkmoot account`: encrypted key files. Only `folkmoot.cli.pending`, for pending transactions, uses a chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import keystore_folder
from folkmoot.cli.output import emit, note, table, working
from folkmoot.cli.pending import pending

app = typer.Typer(
    help="Create and list encrypted key files; list pending transactions of interrupted commands.",
    no_args_is_help=True,
)


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
        ),
    ] = None,
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
        password_file=context().password_file, prompt=ask, text="Password of the new key: "
    )
    with working("Encrypting the key ..."):
        account = keystore.create(out or folder, password)
    emit({"address": account.address, "path": str(account.path)}, f"{account.address}\n{account.path}")
    note("Back this file up: without it or its password, stake and rewards of the account are lost.")
    if account.path.parent != folder:
        note(f"Give it to commands by --keystore {account.path}, or set FOLKMOOT_KEYSTORE.")


@app.command("list")
def list_(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Key file, or folder to look in. Default: --keystore, else your key folder and the current folder."
        ),
    ] = None,
    is_pending: Annotated[
        bool, typer.Option("--pending", help="List the pending transactions of interrupted commands instead.")
    ] = False,
    forget: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            help="Forget this pending transaction. If it may still be mined, it is cancelled first: an empty "
            "transaction to yourself, for which you pay the gas, takes its nonce.",
        ),
    ] = None,
    notes: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where the notes of transactions are. Default: this user's. A watcher's are in `sent` of its --state, "
            "a deployment's in the folder .plan beside its file.",
        ),
    ] = None,
) -> None:
    """List accounts and their key files. No password is needed, and no key is shown.

    With --pending, list the transactions that interrupted commands sent or prepared, with their status. Usually, call
    the same command again to resume. Use --forget for a transaction that you no longer want.

    Example: folkmoot account list

    Example: folkmoot account list --forget 0x1234abcd
    """
    from folkmoot.runtime import keystore

    if is_pending or forget is not None or notes is not None:
        pending(forget, notes)
        return
    chosen = path or context().keystore
    if chosen is not None and not chosen.is_dir():
        documents = [{"address": keystore.address_of(chosen), "path": str(chosen)}]
    else:
        places = (
            [chosen] if chosen else [place for place in (keystore_folder(), Path.cwd()) if place.is_dir()]
        )
        files = [file for place in places for file in keystore.files_in(place)]
        documents = [{"address": file.address, "path": str(file.path)} for file in files]
    emit(
        {"accounts": documents},
        table(["account", "file"], [(document["address"], document["path"]) for document in documents])
        if documents
        else f"There is no key file in {chosen or f'{keystore_folder()} and the current folder'}.",
    )
