# SPDX-License-Identifier: Apache-2.0
"""HTTP's content coding gzip: code files, and decode bodies within bounds.

Nobody who sends a coded body is trusted. It is decoded in small pieces, so that whoever reads it can stop at the size
that the file should have, and a body that is longer than its content is refused. One coding at a time is decoded: two
of them would multiply.

Updates and means are coded by Huffman's code alone. Their bytes have few values and no repetitions, so that zlib's
search for repetitions makes them larger, and takes three times as long. Travels in the Flower App Bundle.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

CODINGS = ("gzip", "x-gzip", "deflate")
"""Codings that are decoded."""

PIECE = 1 << 18
"""Maximum size in bytes of a decoded piece."""

OVERHEAD = 1 << 16
"""Bytes by which a body may be longer than its content."""

SAMPLE = 1 << 18
"""Bytes of a file that are coded to see whether it pays."""

SMALLEST = 1 << 10
"""Size in bytes below which a file is not coded."""

_BITS, _MEMORY = 31, 9
"""Of zlib: gzip's format with the largest window, and the most memory."""


class CodingError(Exception):
    """A body can't be decoded; the text says why."""


class Decoder:
    """Decodes one body."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=47)  # gzip's or zlib's format, by the first bytes.
        self._read = self._made = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next part of the body stands for, at most `PIECE` bytes at a time.

        Raises:
            CodingError: The part can't be decoded, or the body is longer than its content.
        """
        while True:
            if self._zlib.eof and data:
                raise CodingError("it goes on after its end")
            try:
                piece = self._zlib.decompress(data, PIECE)
            except zlib.error as error:
                raise CodingError(str(error)) from error
            left = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            self._read += len(data) - len(left)
            self._made += len(piece)
            if self._read > self._made + OVERHEAD:
                raise CodingError(f"{self._read:,} bytes stand for {self._made:,}")
            data = left
            if piece:
                yield piece
            if not data and len(piece) < PIECE:
                return

    def end(self) -> None:
        """Check that the body is complete."""
        if self._read and not self._zlib.eof:
            raise CodingError("it ends too early")


class Coder:
    """Codes one body by gzip.

    Args:
        packed: Whether it is an update or a mean.
    """

    def __init__(self, packed: bool) -> None:
        strategy = zlib.Z_HUFFMAN_ONLY if packed else zlib.Z_DEFAULT_STRATEGY
        self._zlib = zlib.compressobj(1, zlib.DEFLATED, _BITS, _MEMORY, strategy)

    def code(self, data: bytes, last: bool) -> bytes:
        """Return what is ready to be sent after the next part of the file."""
        coded = self._zlib.compress(data)
        return coded + self._zlib.flush() if last else coded


def pays(sample: bytes, packed: bool) -> bool:
    """Return whether a file that begins so loses at least a sixteenth of its bytes by the coding."""
    return len(sample) >= SMALLEST and len(Coder(packed).code(sample, last=True)) <= len(sample) * 15 // 16


def coded(parts: Iterable[bytes], packed: bool) -> Iterator[bytes]:
    """Yield a body of parts, coded."""
    coder = Coder(packed)
    for part in parts:
        if ready := coder.code(part, last=False):
            yield ready
    yield coder.code(b"", last=True)
