# SPDX-License-Identifier: Apache-2.0
"""The key by which a SuperLink admits a SuperNode, and the errors when it refuses one.

An operator can have the SuperLink admit only nodes with known keys. This key is not an account: it holds no tokens and
signs no updates. The reason for a refusal is read from the SuperNode's log, because Flower reports it nowhere else.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from folkmoot.errors import InputError, LocalError
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.superlink import SuperLink

LOG_END = 1 << 18
"""Size in bytes of the end of a log that is read."""

CONNECTED = "SuperNode ID:"
"""Text that Flower logs after the SuperLink has admitted the node."""

_KEY_UNKNOWN, _KEY_WANTED = "[code: 2004]", "[code: 2001]"
"""Flower's error codes: the SuperLink does not know the node's key; the SuperLink requires a key."""

_TLS = re.compile(r"\[SSL: \w+\] (?:certificate verify failed: )?([^(\n]+)")


class NodeLog:
    """Reads what is appended to a SuperNode's log from now on. The file may not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size if path.exists() else 0

    def text(self) -> str:
        """Return the new text of the log; of a long text, only its end."""
        try:
            with self._path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._start, end - LOG_END))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""


def public_file(key: Path) -> Path:
    """Return the path of the public half of a key."""
    return key.with_name(key.name + ".pub")


def make_if_missing(key: Path, superlink: SuperLink) -> bool:
    """Create a key pair if the file does not exist: P-384 in OpenSSH format, which Flower requires.

    Args:
        key: Key file; its folder is created too.
        superlink: SuperLink that checks the key.

    Returns:
        Whether the key was created.

    Raises:
        InputError: The connection to the SuperLink has no TLS, without which a node can't authenticate.
        LocalError: The key files can't be written.
    """
    if superlink.insecure:
        raise InputError(
            f"A node's key needs TLS, but the connection to the SuperLink at {superlink.address} has none.",
            remedy="Give --root-certificates and leave out --insecure, or leave out --node-key.",
            code="node-key-without-tls",
        )
    if key.exists():
        return False
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP384R1())
    try:
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shown = private.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        secret = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        write_whole(
            public_file(key), shown + b"\n"
        )  # The public half first: where the private key exists, both exist.
        write_whole(key, secret, mode=0o600)
    except OSError as error:
        raise LocalError(
            f"The key of this node can't be written to {key}: {error.strerror}.",
            remedy="Give another file with --node-key.",
            code="node-key",
        ) from error
    return True


def refusal(log: str, superlink: SuperLink, key: Path | None) -> LocalError | None:
    """Return the error if the SuperLink refused a SuperNode that has ended; None if it ended for another reason.

    Args:
        log: Text that the SuperNode has logged since it was started.
        superlink: SuperLink that it connected to.
        key: Key file of the node, if it has one.
    """
    if _KEY_UNKNOWN in log:
        public = public_file(key) if key is not None else "its key"
        return LocalError(
            f"The SuperLink at {superlink.address} does not know this node's key.",
            remedy=f"Send {public} to its operator, who runs `folkmoot superlink --admit`; then join again.",
            code="node-unknown",
        )
    if _KEY_WANTED in log:
        return LocalError(
            f"The SuperLink at {superlink.address} admits only nodes whose keys its operator knows.",
            remedy="Join with --node-key FILE and send FILE.pub to the operator.",
            code="node-key-missing",
        )
    if (failure := _TLS.search(log)) is not None:
        return superlink.tls_failure(failure[1].strip().rstrip("."))
    return None
