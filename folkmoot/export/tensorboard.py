# SPDX-License-Identifier: Apache-2.0
"""Write TensorBoard event files with one scalar per number and round. TensorBoard itself is not needed.

A file is a sequence of TFRecords (length, its masked CRC-32C, data, its masked CRC-32C; little endian). Each is an
`Event` of tensorboard/compat/proto/event.proto: wall_time = 1 (double), step = 2 (int64), file_version = 3 (string),
and summary = 5 with value = 1 of tag = 1 (string) and simple_value = 2 (float).

A second file records the written values, so that another export appends only new values. A running TensorBoard then
shows them.
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
"""Value of `file_version` in the first record of every file."""

_POLYNOMIAL = 0x82F63B78
"""CRC-32C (Castagnoli), reflected: RFC 3720, 12.1."""

_MASK = 0xA282EAD8
"""Added to the rotated CRC, so that the CRC of data that contain CRCs differs from them."""


def _table() -> tuple[int, ...]:
    entries = []
    for start in range(256):
        value = start
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of bytes (RFC 3720, appendix B.4)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """Return data as a TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def scalar(tag: str, value: float, step: int, wall_time: float) -> bytes:
    """Return an event with one scalar. The value is rounded to binary32."""
    name = tag.encode("utf-8", "replace")
    summary_value = _bytes(1, name) + b"\x15" + struct.pack("<f", value)
    return _head(wall_time, step) + _bytes(5, _bytes(1, summary_value))


def file_version(wall_time: float) -> bytes:
    """Return the first event of a file."""
    return _head(wall_time, 0) + _bytes(3, VERSION.encode())


def export(history: FederationRecord, folder: Path) -> tuple[Path, int]:
    """Write the values that the file does not have yet.

    Args:
        history: The federation and its rounds.
        folder: A log folder of TensorBoard; it is created if it does not exist.

    Returns:
        The event file, and the number of added scalars.

    Raises:
        InputError: The folder can't be written to.
    """
    name = f"folkmoot.{history.chain_id}.{history.ledger[2:12].lower()}"
    path, note = folder / f"events.out.tfevents.0.{name}", folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        kept = _Kept.read(note, path)
        data, added = b"", 0
        if kept.size == 0:
            data = record(file_version(float(history.rounds[0].time if history.rounds else 0)))
        for round_ in history.rounds:
            for tag, value in _new(round_, kept):
                data += record(scalar(tag, value, round_.number, float(round_.time)))
                added += 1
        if data:
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.truncate(kept.size)  # An interrupted export left a part of a record.
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
    """Contents of an event file."""

    size: int = 0
    """Size in bytes of its complete records."""
    points: dict[str, dict[str, float]] = field(default_factory=dict)
    """Its values by round and tag."""

    @classmethod
    def read(cls, note: Path, path: Path) -> _Kept:
        """Read the second file. Return empty contents if it does not match the event file."""
        try:
            document = json.loads(note.read_bytes())
            kept = cls(
                int(document["size"]), {str(key): dict(values) for key, values in document["rounds"].items()}
            )
            return kept if path.stat().st_size >= kept.size else cls()
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, note: Path) -> None:
        write_whole(note, json.dumps({"size": self.size, "rounds": self.points}).encode())


def _new(one: RoundRecord, kept: _Kept) -> Iterator[tuple[str, float]]:
    """Return the numbers of a round that are new or changed. An unfinished round has none."""
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
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _masked(data: bytes) -> bytes:
    value = crc32c(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF)
