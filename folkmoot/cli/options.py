# SPDX-License-Identifier: Apache-2.0
"""Options that many commands share, and the chain or account that they select.

Nothing here imports web3 or eth-account before a command needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.apps.limit import LIMIT, LIMIT_OPTION, StepLimit
from folkmoot.cli.context import context
from folkmoot.cli.output import is_json, note, waiting
from folkmoot.errors import FolkmootError, InputError, KeystoreError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.types import TxReceipt

    from folkmoot.chain.client import Chain
    from folkmoot.chain.transactions.journal import TransactionJournal
    from folkmoot.runtime.superlink import SuperLink

BUDGET_ROUNDS = 20
"""Rounds that a privacy budget lasts for, where nobody says otherwise."""

GAS_PRICE_DEFAULT = "1"
"""Assumed price in tokens of 1,000,000 gas."""

GasPriceInTokens = Annotated[
    str,
    typer.Option(
        "--gas-price-in-tokens",
        metavar="AMOUNT",
        help="What you think 1,000,000 gas cost, in tokens. Only for what is said about bonds and attacks.",
    ),
]

Width = Annotated[
    int,
    typer.Option(
        metavar="8|4|2",
        help="Bits of a coordinate of an update: 4 halves and 2 quarters what contributors send.",
    ),
]

Start = Annotated[
    str,
    typer.Option(
        "--start",
        metavar="base|eager",
        help="Where training starts: from the round's base, or eagerly from one's own last update.",
    ),
]

Clock = Annotated[
    bool,
    typer.Option(
        "--clock",
        help="Train until shortly before the commit window ends, instead of a fixed number of steps.",
    ),
]

Feedback = Annotated[
    bool,
    typer.Option(
        "--feedback", help="At width 2, let each update take up what a contributor's earlier ones left out."
    ),
]

AppPath = Annotated[
    Path | None,
    typer.Option(
        "--app",
        metavar="FOLDER",
        help="Folder of an unchanged Flower app, instead of a task.",
        show_default=False,
    ),
]

RunConfig = Annotated[
    list[str] | None,
    typer.Option(
        "--run-config",
        metavar="PAIRS",
        help="Override keys of the app's run config, in Flower's form: 'learning-rate=0.05', or a TOML file.",
        show_default=False,
    ),
]

NodeConfig = Annotated[
    list[str] | None,
    typer.Option(
        "--node-config",
        metavar="PAIRS",
        help="More keys for the node config, in Flower's form: 'data-path=\"/data\"'. In a text, {partition} becomes "
        "the node's number, from 0.",
        show_default=False,
    ),
]

AppWait = Annotated[
    float,
    typer.Option(
        LIMIT_OPTION,
        metavar="SECONDS",
        min=1,
        help="Longest wait until the app has been read, and until it has trained once; then it is ended.",
    ),
]

APP_WAIT_DEFAULT = LIMIT


def step_limit(app_wait: float) -> StepLimit:
    """Return the time limit of an app's steps, with a display on standard error unless ``--json`` is given."""
    return StepLimit(app_wait, lambda doing, log: nullcontext() if is_json() else waiting(doing, log))


DataPaths = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="File or folder that the training code may read. Repeat it for several. Paths with a slash "
        "in --node-config count as well.",
        show_default=False,
    ),
]

WritableFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--writable",
        metavar="FOLDER",
        help="Folder that the training code may also write.",
        show_default=False,
    ),
]

PassEnv = Annotated[
    list[str] | None,
    typer.Option(
        "--pass-env",
        metavar="NAME",
        help="Environment variable that the training code gets. It gets no other of yours.",
        show_default=False,
    ),
]


def keystore_folder() -> Path:
    """Return the folder of this user's key files."""
    from platformdirs import user_data_path

    return user_data_path("folkmoot") / "keys"


def keystore_file(path: Path | None) -> Path:
    """Return the key file for an option.

    Args:
        path: A key file, a folder with exactly one, or None for this user's folder.

    Raises:
        KeystoreError: There is no key file, or more than one.
    """
    from folkmoot.runtime import keystore

    place = path if path is not None else keystore_folder()
    if path is not None and not path.is_dir():
        return path
    files = keystore.files_in(place) if place.is_dir() else []
    if not files:
        nearby = keystore.files_in(Path.cwd()) if path is None else []
        keys = (
            f"Give --keystore {nearby[0].path.name}, or another key file"
            if nearby
            else "Give a key file by --keystore"
        )
        raise KeystoreError(
            f"There is no key file in {place}.",
            remedy=f"{keys} (or FOLKMOOT_KEYSTORE), or create one with `folkmoot account new`.",
            code="keystore-missing",
        )
    if len(files) > 1:
        raise KeystoreError(
            f"There are {len(files)} key files in {place}: {', '.join(file.address for file in files)}.",
            remedy="Choose one with --keystore (or FOLKMOOT_KEYSTORE).",
            code="keystore-ambiguous",
        )
    return files[0].path


def node_folder(account: str, ledger: str) -> Path:
    """Return the default folder of a contributor's node, separate for each account and ledger."""
    from platformdirs import user_data_path

    return user_data_path("folkmoot") / "nodes" / f"{account[2:10]}-{ledger[2:10]}".lower()


def unlock(path: Path | None = None) -> LocalAccount:
    """Decrypt a key file, by default the one of the options; return its account.

    Raises:
        KeystoreError: The key file or the password is missing, or the password is wrong.
    """
    from folkmoot.runtime import keystore

    file = keystore_file(path or context().keystore)
    address = keystore.address_of(file)  # Before the user types a password for a missing file.
    password = keystore.read_password(
        password_file=context().password_file, prompt=prompt_password, text=f"Password of {address}: "
    )
    return keystore.load(file, password)


def prompt_password(text: str) -> str:
    """Ask for a password on the terminal."""
    if not sys.stdin.isatty():
        raise KeystoreError(
            "A password is needed and there is no terminal to ask on.",
            remedy="Give --password-file, or set FOLKMOOT_PASSWORD.",
            code="password-missing",
        )
    from getpass import getpass

    return getpass(text)


@contextmanager
def connected(private_rpc: str | None = None) -> Iterator[Chain]:
    """Connect to the federation of the options while the block runs.

    Raises:
        InputError: The deployment file is missing or malformed; what `private_endpoint` raises.
        ChainError: The endpoint fails or serves another chain.
    """
    from folkmoot.ledger.deployment import Deployment

    addresses = Deployment.load(context().deployment)
    require_web3()
    from folkmoot.chain.client import Chain
    from folkmoot.chain.private import private_endpoint

    with private_endpoint(private_rpc, addresses.chain_id):
        chain = Chain.connect(context().rpc, addresses)
        try:
            yield chain
        finally:
            chain.close()


@contextmanager
def sending() -> Iterator[Chain]:
    """Connect like `connected`, for a command that sends transactions and reports their results inside the block.

    Sent transactions are recorded until the block has ended, so that the next call can resume a killed one
    (`folkmoot.chain.transactions.journal`). Each transaction is awaited until it has enough confirmations.
    """
    with connected(context().private_rpc) as chain, noted() as notes:
        chain.notes = notes
        yield chain


@contextmanager
def noted() -> Iterator[TransactionJournal]:
    """Record sent transactions until the block has reported their results to the user."""
    from folkmoot.chain.transactions.journal import TransactionJournal

    notes = TransactionJournal.of_user(note, context().confirmations)
    try:
        yield notes
        sys.stdout.flush()
        notes.acknowledge()
    finally:
        notes.close()


def sent(chain: Chain, receipt: TxReceipt) -> dict[str, Any]:
    """Return the fields of a transaction for the JSON document of a command.

    `earlier` is true if an interrupted call had sent it, so that this call sent nothing.
    """
    transaction = receipt["transactionHash"].to_0x_hex()
    return {
        "transaction": transaction,
        "block": receipt["blockNumber"],
        "gasUsed": receipt["gasUsed"],
        "earlier": chain.notes.is_earlier(transaction),
    }


def superlink(insecure: bool, simulated: int = 0) -> SuperLink | None:
    """Return the SuperLink of the options, None if there is none."""
    from folkmoot.runtime.superlink import SuperLink

    address = context().find("superlink")
    return address and SuperLink(address, context().find("root-certificates"), insecure, simulated)


def require_web3() -> None:
    """Check that web3 is installed.

    Raises:
        FolkmootError: web3 is not installed. The remedy says how to install it.
    """
    from importlib.util import find_spec

    if find_spec("web3") is None:
        raise FolkmootError(
            "This command needs web3, which is not installed.",
            remedy="Install it with: `pip install 'folkmoot[chain]'`.",
            code="extra-missing",
        )


def account_address(text: str | None) -> str:
    """Return the account of an argument, or of the key file if the argument is missing. No password is needed.

    Raises:
        InputError: The text is not an address.
        KeystoreError: There is no text and no key file.
    """
    from folkmoot.runtime import keystore as keys
    from folkmoot.runtime.units import parse_address

    return parse_address(text) if text else keys.address_of(keystore_file(context().keystore))


def parse_allocation(text: str) -> tuple[str, int]:
    """Return address and amount (units of 1e-18 tokens) of `ADDRESS=AMOUNT`."""
    from folkmoot.runtime.units import parse_address, parse_amount

    address, separator, amount = text.partition("=")
    if not separator:
        raise InputError(
            f"{text!r} is not an allocation.",
            remedy="Write ADDRESS=AMOUNT, e.g. 0x...=1000.",
            code="invalid-allocation",
        )
    return parse_address(address), parse_amount(amount)
