# SPDX-License-Identifier: Apache-2.0
"""The updates in a contributor's folder: drafts, encrypted, before they are signed, and the signed ones.

The keeper delivers a signed update from there. This module has no key, and is part of the app bundle.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from Crypto.Cipher import ChaCha20_Poly1305

from folkmoot.errors import InputError
from folkmoot.flower.contributor import UPDATES_FOLDER
from folkmoot.protocol.commitment import Commitment
from folkmoot.runtime.files import write_whole

MAX_REPLY = 1 << 20
"""Maximum size in bytes by which the description of an update may exceed the update, for `kept_update` with a limit."""
KEEP_UPDATES = 3
"""Number of rounds whose updates a node keeps, so that a lost update can be sent again."""

_DRAFT = ".draft"
_NONCE_BYTES = 12
_TAG_BYTES = 16


@dataclass(frozen=True)
class KeptUpdate:
    """A signed update, as it was sent."""

    header_hash: str
    """Hash of the round's header, hex. An update is valid for one header only."""
    commitment: str
    """The signed commitment as JSON."""
    data: bytes
    """The update file."""
    reply: bytes = b""
    """Records of the app's reply that were sent with the update, packed (`flower_internals.pack`)."""


@dataclass(frozen=True)
class DraftUpdate:
    """A trained and encoded update that may not be signed yet."""

    header_hash: str
    """Hash of the round's header, hex."""
    commitment: Commitment
    """The commitment to be signed."""
    data: bytes
    """The update file."""
    reply: bytes = b""
    """Records of the app's reply that may be sent with the update, packed (`flower_internals.pack`)."""


def draft_update(home: Path, round_id: int, draft: DraftUpdate, key: bytes) -> None:
    """Store an update before it is signed, encrypted: if it is never signed, nobody may read it on this disk.

    A signature is final, and no other update of the round can be signed after it. So the update must be on disk first:
    a repeated training may give other bits.

    Args:
        home: The contributor's folder.
        round_id: The round.
        draft: The update.
        key: The signer's key for drafts, 32 bytes.
    """
    folder = home / UPDATES_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    described = {
        "headerHash": draft.header_hash,
        "commitment": draft.commitment.to_json(),
        "said": draft.reply.hex(),
    }
    cipher = ChaCha20_Poly1305.new(key=key, nonce=secrets.token_bytes(_NONCE_BYTES))
    cipher.update(str(round_id).encode())
    encrypted, tag = cipher.encrypt_and_digest(json.dumps(described).encode() + b"\n" + draft.data)
    write_whole(folder / f"{round_id}{_DRAFT}", cipher.nonce + tag + encrypted)


def drafted_update(home: Path, round_id: int, key: bytes) -> DraftUpdate | None:
    """Return the draft update of a round; None if it is missing, damaged or encrypted with another key."""
    path = home / UPDATES_FOLDER / f"{round_id}{_DRAFT}"
    try:
        if not path.is_file():  # The training code may put a pipe there.
            return None
        stored = path.read_bytes()
        nonce, tag = stored[:_NONCE_BYTES], stored[_NONCE_BYTES : _NONCE_BYTES + _TAG_BYTES]
        cipher = ChaCha20_Poly1305.new(key=key, nonce=nonce)
        cipher.update(str(round_id).encode())
        text, _, data = cipher.decrypt_and_verify(stored[_NONCE_BYTES + _TAG_BYTES :], tag).partition(b"\n")
        described = json.loads(text)
        reply = bytes.fromhex(described["said"])
        commitment = Commitment.from_json(described["commitment"])
        return DraftUpdate(str(described["headerHash"]), commitment, data, reply)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def keep_update(home: Path, round_id: int, update: KeptUpdate) -> None:
    """Store a signed update, and remove its draft and the updates of old rounds.

    The update file is written before its description, so that a description always has its file.
    """
    folder = home / UPDATES_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    write_whole(folder / f"{round_id}.update", update.data)
    described = {
        "headerHash": update.header_hash,
        "commitment": update.commitment,
        "said": update.reply.hex(),
    }
    write_whole(folder / f"{round_id}.json", json.dumps(described).encode())
    (folder / f"{round_id}{_DRAFT}").unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.stem.isdigit() and int(path.stem) <= round_id - KEEP_UPDATES:
            path.unlink(missing_ok=True)


def kept_update(home: Path, round_id: int, limit: int | None = None) -> KeptUpdate | None:
    """Return the signed update of a round; None if it is missing or damaged.

    Args:
        home: The contributor's folder. The training code may put pipes, links and huge files there.
        round_id: The round.
        limit: Maximum size of the update in bytes; its description may have `MAX_REPLY` more. None for no limit.
    """
    description, update = (home / UPDATES_FOLDER / f"{round_id}.{kind}" for kind in ("json", "update"))
    try:
        if not (description.is_file() and update.is_file()):
            return None
        described = json.loads(_read(description, None if limit is None else limit + MAX_REPLY))
        data = _read(update, limit)
        reply = bytes.fromhex(described["said"])
        return KeptUpdate(str(described["headerHash"]), str(described["commitment"]), data, reply)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def kept_rounds(home: Path) -> set[int]:
    """Return the rounds of which a contributor's folder seems to have a signed update.

    The training code may write any name there.
    """
    try:
        stems = [path.stem for path in (home / UPDATES_FOLDER).glob("*.json")]
    except OSError:
        return set()
    return {int(stem) for stem in stems if re.fullmatch("[0-9]{1,19}", stem)}


def _read(path: Path, limit: int | None) -> bytes:
    """Return the bytes of a file. A link is not followed, and a pipe is not waited for.

    Raises:
        OSError: It can't be read.
        ValueError: It has more bytes than the limit.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        data = file.read() if limit is None else file.read(limit + 1)
    if limit is not None and len(data) > limit:
        raise ValueError(f"{path} has more than {limit} bytes")
    return data
