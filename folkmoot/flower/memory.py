# SPDX-License-Identifier: Apache-2.0
"""What training keeps from round to round: Flower's ``context.state``, encrypted in the contributor's folder.

Flower keeps the state in the memory of the SuperNode, for the messages of a run. It is lost when the SuperNode ends,
and it belongs to no model: after a cancelled round it would be of a training that never happened. So the mod gives
training the state of an earlier round that the new round builds on, and stores what training leaves there.

A memory belongs to one round, ledger, account, manifest and bundle. It is written as a draft before its update is
signed, and becomes a memory once the update is signed: its name has the ``memoryHash`` of the signed commitment. Of all
memories, a round starts from the newest one whose round is among the rounds that its base was made in; the others are
removed then. So there are at most two: the one that the last training started from, and the one that it left.

This module is part of the app bundle. The training code can use the files of its own bundle without it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from Crypto.Cipher import ChaCha20_Poly1305
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from folkmoot.errors import InputError, LocalError, TaskError
from folkmoot.protocol import feedback
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json
from folkmoot.protocol.manifest import Manifest
from folkmoot.runtime.files import sync_folder, write_whole
from folkmoot.runtime.flower_internals import pack, unpack

OLDEST = 64
"""Number of rounds after which a memory is too old: an optimiser's state of long ago helps no more than none."""

BYTES_PER_WEIGHT = 32 + 5
"""Largest memory in bytes for each weight of the model: four states of an optimiser in double precision, and what error
feedback keeps."""
BYTES_MORE = 16 << 20
"""Bytes on top of that, for small models."""

_MAGIC = b"folkmoot-memory/1\n"
_SALT_BYTES, _LENGTH_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 8, 12, 16
_NAME = re.compile(r"(\d+)-([0-9a-f]{64})\.(memory|draft)")

_ARRAYS, _VALUES = TASK_RECORDS = ("folkmoot.memory.arrays", "folkmoot.memory.values")
"""Names of the records with a task's memory in the state. The SuperNode does not get them."""

SENT_RECORD = "folkmoot.memory.sent"
"""Name of the record with what error feedback keeps of an update (`Sent`). An app's state must have none."""


class StateMemory(MutableMapping[str, Any]):
    """A task's memory (`folkmoot.tasks.memory`), whose values are in two records of a Flower state.

    An array is decoded when it is read. Values that can't be kept are refused when they are assigned.

    Args:
        state: The ``context.state`` of the train message. The memory's records appear with the first value.
    """

    def __init__(self, state: RecordDict) -> None:
        self._state = state

    @property
    def _arrays(self) -> ArrayRecord:
        return self._state.array_records.get(_ARRAYS) or ArrayRecord()

    @property
    def _values(self) -> ConfigRecord:
        return self._state.config_records.get(_VALUES) or ConfigRecord()

    def __getitem__(self, name: str) -> Any:
        arrays = self._arrays
        return arrays[name].numpy() if name in arrays else self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, np.generic):
            value = value.item()
        arrays, values = self._arrays, self._values
        try:
            if hasattr(value, "__array__"):
                arrays[name] = Array(_plain(value))
                values.pop(name, None)
            else:
                values[name] = value
                arrays.pop(name, None)
        except (TypeError, ValueError) as error:
            raise TaskError(
                f"The task's memory can't keep {name!r}, an object of the type {type(value).__name__}: {error}",
                remedy="Keep arrays of numbers, tensors, int, float, bool, str or bytes, or lists of one of them.",
                code="wrong-memory",
            ) from error
        self._state[_ARRAYS], self._state[_VALUES] = arrays, values

    def __delitem__(self, name: str) -> None:
        record: Any = self._arrays if name in self._arrays else self._values
        del record[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._arrays
        yield from self._values

    def __len__(self) -> int:
        return len(self._arrays) + len(self._values)


@dataclass(frozen=True)
class Sent:
    """What error feedback keeps of an update (docs/protocol.md section 5.1)."""

    change: F32
    """float32[256 n], the change that the update was made of."""
    update: bytes
    """The update file, of the width `feedback.WIDTH`."""
    exponents: tuple[int, ...]
    """The exponents of its round."""

    def to_record(self) -> ArrayRecord:
        """Return the record that a memory has it in."""
        arrays: dict[str, NDArray[Any]] = {
            "change": self.change,
            "update": np.frombuffer(self.update, dtype=np.uint8),
            "exponents": np.array(self.exponents, dtype=np.int64),
        }
        return ArrayRecord({name: Array(array) for name, array in arrays.items()})

    @classmethod
    def of_record(cls, record: ArrayRecord) -> Sent:
        """Read the record."""
        change, update, exponents = (record[name].numpy() for name in ("change", "update", "exponents"))
        return cls(change, update.tobytes(), tuple(exponents.tolist()))

    def residual(self, manifest: Manifest, *, delivered: bool) -> F32:
        """Return what the next update has to take up: the whole change if this update was not delivered."""
        return (
            feedback.left_out(self.change, self.update, self.exponents, manifest)
            if delivered
            else self.change
        )


def _plain(value: Any) -> Any:
    """Return an array, or the values of a tensor as one."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


@dataclass(frozen=True)
class Owner:
    """What a memory is of. A memory of another owner is not used."""

    chain: int
    """Id of the chain."""
    ledger: str
    """Address of the RoundLedger, in lower case."""
    account: str
    """The contributor's account, in lower case."""
    manifest: str
    """Hash of the manifest, hex. The manifest names task, layout and training settings."""
    bundle: str
    """sha256 of the app bundle, hex; zeros if none was verified."""


@dataclass(frozen=True)
class Kept:
    """A file of the store."""

    round: int
    """Round whose training left it."""
    hash: str
    """Its ``memoryHash``, hex."""
    path: Path
    """The file."""


class MemoryStore:
    """The memories of one owner in a folder.

    Args:
        folder: The folder. It is made with the first memory.
        owner: What the memories are of.
        key: The signer's key for drafts, 32 bytes.
        weights: Number of the model's weights, which limits the size.
    """

    def __init__(self, folder: Path, owner: Owner, key: bytes, weights: int) -> None:
        self._folder = folder
        self.owner = owner
        self._key = key
        self.limit = BYTES_PER_WEIGHT * weights + BYTES_MORE

    def settle(self, current: int, signed: Callable[[int], bytes | None]) -> None:
        """Finish what a process left that died: turn drafts of signed updates into memories, and remove older drafts.

        Args:
            current: The round that begins. Its drafts are left alone.
            signed: Returns the ``memoryHash`` of the update that was signed in a round; None if none was.
        """
        for draft in self.drafts():
            if signed(draft.round) == bytes.fromhex(draft.hash):
                commit_memory(self._folder, draft.round, bytes.fromhex(draft.hash))
            elif draft.round < current:
                draft.path.unlink(missing_ok=True)

    def choose(self, base: int, base_of: Callable[[int], int]) -> Kept | None:
        """Return the newest memory that a round builds on, and remove the others. None if there is none.

        Args:
            base: The round whose state the new round starts from.
            base_of: Returns the base of a round.
        """
        memories = sorted(self._files("memory"), key=lambda kept: kept.round, reverse=True)
        oldest = min((kept.round for kept in memories), default=0)
        made_of = {base}
        while memories and base > oldest and len(made_of) < OLDEST:
            base = base_of(base)
            made_of.add(base)
        chosen = next((kept for kept in memories if kept.round in made_of), None)
        for kept in memories:
            if kept is not chosen:
                kept.path.unlink(missing_ok=True)
        return chosen

    def drafts(self) -> list[Kept]:
        """Return the drafts in the folder."""
        return self._files("draft")

    def load(self, kept: Kept, header_hash: bytes) -> RecordDict:
        """Return the records of a memory.

        Args:
            kept: The memory.
            header_hash: Hash of the header that the chain has for its round.

        Raises:
            LocalError: ``memory-too-large``, ``memory-damaged`` or ``other-memory``.
        """
        try:
            size = kept.path.stat().st_size
            if size > self.limit + BYTES_MORE:
                raise _unusable(
                    kept,
                    f"it has {size:,} bytes, and this model's may have {self.limit:,}",
                    "memory-too-large",
                )
            plain = self._decrypted(kept)
            start = len(_MAGIC) + _SALT_BYTES
            at = start + _LENGTH_BYTES
            end = at + int.from_bytes(plain[start:at], "big")
            head = parse_canonical_json(plain[at:end])
            if not plain.startswith(_MAGIC) or hashlib.sha256(plain).hexdigest() != kept.hash:
                raise ValueError("it is not what was signed")
            whose = head["owner"] == asdict(self.owner) and head["round"] == kept.round
            if not whose or head["header"] != header_hash.hex():
                raise _unusable(kept, "it is of another federation, model, account or round", "other-memory")
            return _read(head, memoryview(plain)[end:])
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            raise _unusable(kept, f"it can't be read: {error}", "memory-damaged") from error

    def draft(self, round_id: int, header_hash: bytes, state: RecordDict) -> bytes:
        """Store what training left, as a draft; return its ``memoryHash``, 32 bytes.

        Args:
            round_id: The round.
            header_hash: Hash of the round's header.
            state: The records.

        Raises:
            LocalError: ``memory-too-large`` or ``memory-not-stored``. Nothing was stored.
        """
        described, blobs = _written(state)
        head = canonical_json(
            {"owner": asdict(self.owner), "round": round_id, "header": header_hash.hex(), **described}
        )
        salt, length = secrets.token_bytes(_SALT_BYTES), len(head).to_bytes(_LENGTH_BYTES, "big")
        pieces = [_MAGIC + salt + length + head, *blobs]
        size = sum(map(len, pieces))
        if size > self.limit:
            raise LocalError(
                f"What training keeps has {size:,} bytes, and this model's memory may have {self.limit:,}.",
                remedy="Keep less, for example in half precision. The next round starts from an earlier memory, or "
                "without one.",
                code="memory-too-large",
            )
        hashed = hashlib.sha256()
        for piece in pieces:
            hashed.update(piece)
        cipher = ChaCha20_Poly1305.new(key=self._key, nonce=secrets.token_bytes(_NONCE_BYTES))

        def encrypted() -> Iterator[bytes]:
            yield cipher.nonce
            for piece in pieces:
                yield cipher.encrypt(piece)
            yield cipher.digest()

        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._folder / f"{round_id}-{hashed.hexdigest()}.draft", encrypted(), mode=0o600)
        except OSError as error:
            raise LocalError(
                f"What training keeps can't be stored in {self._folder}: {error.strerror}.",
                remedy="Make room on the disk, or give the node's user the folder. The next round starts from an "
                "earlier memory, or without one.",
                code="memory-not-stored",
            ) from error
        return hashed.digest()

    def _files(self, kind: str) -> list[Kept]:
        """Return the files of a kind. The training code may write any name there, and put pipes and folders there."""
        try:
            names = [path.name for path in self._folder.iterdir() if path.is_file()]
        except OSError:
            return []
        matches = [match for name in names if (match := _NAME.fullmatch(name)) and match[3] == kind]
        return [Kept(int(match[1]), match[2], self._folder / match[0]) for match in matches]

    def _decrypted(self, kept: Kept) -> bytes:
        stored = memoryview(kept.path.read_bytes())
        cipher = ChaCha20_Poly1305.new(key=self._key, nonce=bytes(stored[:_NONCE_BYTES]))
        return cipher.decrypt_and_verify(stored[_NONCE_BYTES:-_TAG_BYTES], bytes(stored[-_TAG_BYTES:]))


def commit_memory(folder: Path, round_id: int, memory_hash: bytes) -> None:
    """Turn the draft of a signed update into a memory. Does nothing if there is no such draft."""
    draft = folder / f"{round_id}-{memory_hash.hex()}.draft"
    if draft.is_file():
        draft.replace(draft.with_suffix(".memory"))
        sync_folder(folder)


def _unusable(kept: Kept, why: str, code: str) -> LocalError:
    return LocalError(
        f"The memory of round {kept.round} in {kept.path} is not used: {why}.",
        remedy="Nothing else is lost: this round starts without a memory, and leaves a new one.",
        code=code,
    )


def _written(state: RecordDict) -> tuple[dict[str, Any], list[bytes]]:
    """Return the description of records, and the bytes that it describes: settings and metrics first, then arrays."""
    small = pack(
        RecordDict({name: record for name, record in state.items() if not isinstance(record, ArrayRecord)})
    )
    arrays = [
        {
            "record": name,
            "items": [
                [key, array.dtype, list(array.shape), array.stype, len(array.data)]
                for key, array in record.items()
            ],
        }
        for name, record in state.array_records.items()
    ]
    blobs = [array.data for record in state.array_records.values() for array in record.values()]
    return {"small": len(small), "arrays": arrays}, [small, *blobs]


def _read(head: dict[str, Any], data: memoryview) -> RecordDict:
    """Return the records of `_written`."""
    at = int(head["small"])
    state = unpack(bytes(data[:at]))
    for record in head["arrays"]:
        arrays = {}
        for key, dtype, shape, stype, size in record["items"]:
            arrays[key] = Array(dtype, tuple(shape), stype, bytes(data[at : at + size]))
            at += size
        state[record["record"]] = ArrayRecord(arrays)
    return state
