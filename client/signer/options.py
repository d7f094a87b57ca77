# SPDX-License-Identifier: Apache-2.0
"""Options of the signer that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.options import unlock

if TYPE_CHECKING:
    from client.signer.keys import LocalKey, Message
    from folkmoot.protocol.commitment import Domain

MAX_FEE_GWEI = 50.0
"""Default of the highest fee for a unit of gas, in gwei, at which a node records its update by itself."""

RecordPath = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="FOLDER",
        help="Folder of the signing record. Only the signer's user may be able to write to it. Default: the folder "
        "`signer` in the node's folder.",
        show_default=False,
    ),
]

BundleHash = Annotated[
    str | None,
    typer.Option(
        "--bundle",
        metavar="SHA256",
        help="Sign only updates that name the app bundle with this hash.",
        show_default=False,
    ),
]


Wallet = Annotated[
    str | None,
    typer.Option(
        "--wallet",
        metavar="ADDRESS",
        help="The account is this contract: a Safe, or another wallet that accepts signatures of its owner (ERC-1271). "
        "The key is an owner's.",
        show_default=False,
    ),
]

Owners = Annotated[
    list[str] | None,
    typer.Option(
        "--owner",
        metavar="KEY",
        help="Key file of one more owner of --wallet; with --remote-signer, its address. Repeat it for several.",
        show_default=False,
    ),
]


class RemoteMethod(StrEnum):
    """The JSON-RPC method of a remote signer, which also decides the form of its second parameter."""

    WEB3SIGNER = "eth_signTypedData"
    """Takes the message as a JSON text, as every release of Web3Signer does."""
    CLEF = "account_signTypedData"
    """Takes the message as a JSON object."""


def local_keys(owner: list[str] | None) -> list[LocalKey]:
    """Return the keys of the account's key file and of the other owners' key files, unlocked.

    Raises:
        KeystoreError: A key file is missing, or its password is wrong.
    """
    from client.signer.keys import LocalKey

    return [LocalKey(unlock(file)) for file in (None, *map(Path, owner or ()))]


def signed(account: str, message: Message, domain: Domain, keys: list[LocalKey], *, wallet: bool) -> bytes:
    """Sign a message of an account with local keys: that of the account, or those of a contract's owners.

    Args:
        account: The account.
        message: What is signed.
        domain: Chain and ledger of the federation.
        keys: Of `local_keys`.
        wallet: Whether the account is a contract.

    Raises:
        SignerError: As `WalletKey.sign`.
    """
    from client.signer.wallet import WalletKey
    from folkmoot.cli.context import context

    if not wallet:
        return keys[0].sign_message(message)
    return WalletKey(account, keys, ",".join(context().rpc)).sign_message(message, domain)
