# SPDX-License-Identifier: Apache-2.0
"""Options of the signer that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from folkmoot.errors import InputError

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


class RemoteMethod(StrEnum):
    """The JSON-RPC method of a remote signer, which also decides the form of its second parameter."""

    WEB3SIGNER = "eth_signTypedData"
    """Takes the message as a JSON text, as every release of Web3Signer does."""
    CLEF = "account_signTypedData"
    """Takes the message as a JSON object."""


def parse_bundle_hash(text: str | None) -> bytes | None:
    """Return the 32 bytes of a bundle hash; None if none is given.

    Raises:
        InputError: The text is not a hash.
    """
    if text is None:
        return None
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise InputError(
            f"{text!r} is not the hash of a bundle.", remedy="Give the 64 hex digits of its sha256."
        )
    return value
