# SPDX-License-Identifier: Apache-2.0
"""TensorBoard event files, one scalar a number and round. Needs no TensorBoard: the format is short.

A file is a sequence of TFRecords (length, its masked CRC-32C, data, its masked CRC-32C; little endian). Each is an
`Event` of tensorboard/compat/proto/event.proto: wall_time = 1 (double), step = 2 (int64), file_version = 3 (string),
and summary = 5 with value = 1 of tag = 1 (string) and simple_value = 2 (float).

What was written is noted beside the file, so that another export appends only what is new, and TensorBoard, which may
be reading it, sees it.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from folkmoot.errors import InputError
from folkmoot.export.rounds import FederationRecord, RoundRecord
from folkmoot.runtime.files import write_whole

VERSION = "brain.Event:2"
"""What the first record of every file says."""

_POLYNOMIAL = 0x82F63B78
"""CRC-32C (Castagnoli), reflected: RFC 3720, 12.1."""

_MASK = 0xA282EAD8
"""Added to the rotated CRC, so that a CRC of data that holds CRCs is none of them."""


def _table() -> tuple[int, ...]:
    found = []
    for start in range(256):
        value = start
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return tuple(found)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C of bytes (RFC 3720, appendix B.4)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """A TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def scalar(tag: str, value: float, step: int, wall_time: float) -> bytes:
    """An event with one scalar; the value becomes a binary32."""
    name = tag.encode("utf-8", "replace")
    summary_value = _bytes(1, name) + b"\x15" + struct.pack("<f", value)
    return _head(wall_time, step) + _bytes(5, _bytes(1, summary_value))


def file_version(wall_time: float) -> bytes:
    """The event with which a file begins."""
    return _head(wall_time, 0) + _bytes(3, VERSION.encode())


def export(found: FederationRecord, folder: Path) -> tuple[Path, int]:
    """Write what is not there yet.

    Args:
        found: The rounds.
        folder: A log folder of TensorBoard; made if it is not there.

    Returns:
        The event file, and how many scalars were added.

    Raises:
        InputError: The folder can't be written to.
    """
    name = f"folkmoot.{found.chain_id}.{found.ledger[2:12].lower()}"
    path, note = folder / f"events.out.tfevents.0.{name}", folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = _Kept.read(note, path)
        data, added = b"", 0
        if kept.size == 0:
            data = record(file_version(float(found.rounds[0].time if found.rounds else 0)))
        for one in found.rounds:
            for tag, value in _new(one, kept):
                data += record(scalar(tag, value, one.number, float(one.time)))
                added += 1
        if data:
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.truncate(kept.size)  # an interrupted export left a part of a record
                file.seek(kept.size)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            kept.size += len(data)
            kept.write(note)
    except OSError as error:
        raise InputError(
            f"The folder {folder} can't be written to: {error.strerror or error}.",
            remedy="Check its permissions and the disk, or give another folder with --to.",
            code="export-unwritable",
        ) from error
    return path, added


@dataclass
class _Kept:
    """What an event file holds."""

    size: int = 0
    """Bytes of it that are whole."""
    points: dict[str, dict[str, float]] = field(default_factory=dict)
    """Its values by round and tag."""

    @classmethod
    def read(cls, note: Path, path: Path) -> _Kept:
        """Read the note; nothing is kept where note and file do not fit."""
        try:
            said = json.loads(note.read_bytes())
            kept = cls(int(said["size"]), {str(key): dict(values) for key, values in said["rounds"].items()})
            return kept if path.stat().st_size >= kept.size else cls()
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, note: Path) -> None:
        write_whole(note, json.dumps({"size": self.size, "rounds": self.points}).encode())


def _new(one: RoundRecord, kept: _Kept) -> Iterator[tuple[str, float]]:
    """Numbers of a round that are new or have changed; a round that is under way has none yet."""
    if not one.judged:
        return
    known = kept.points.setdefault(str(one.number), {})
    for tag, value in sorted(one.numbers().items()):
        if known.get(tag) != value:
            known[tag] = value
            yield tag, value


def _head(wall_time: float, step: int) -> bytes:
    return b"\x09" + struct.pack("<d", wall_time) + (b"\x10" + _varint(step) if step else b"")


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _masked(data: bytes) -> bytes:
    value = crc32c(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF)
