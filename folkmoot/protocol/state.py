# SPDX-License-Identifier: Apache-2.0
"""The global state: the model and its outer momentum as integers (docs/protocol.md sections 1, 3, 11 and 14).

A state has a root (what the chain knows), a file (what is published) and a float32 model (what people use);
each is a function of the integers alone. This module does not know how a state was computed.
"""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.errors import ArtifactError, LocalError
from folkmoot.protocol import fixed_point
from folkmoot.protocol.arrays import F32, I64
from folkmoot.protocol.fixed_point import LEAF, STATE_BOUND
from folkmoot.protocol.hashing import sha256_of
from folkmoot.protocol.manifest import Carried, Files, Manifest, Tensor, file_chunks, no_files, padding_mask
from folkmoot.protocol.merkle import MOMENTUM, THETA, Tree, state_root, state_tree

MAGIC = b"FMS1"
"""First bytes of a state file."""

_LEAVES = 2048  # leaves that are read, hashed or written at a time
_SAFETENSORS_DTYPE = {
    "bool": "BOOL",
    **{f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
}


@dataclass(frozen=True, eq=False)
class State:
    """A model and its outer momentum, padded to whole leaves, in memory or in a file.

    The methods read some leaves at a time and release them, so that a state in a file takes little memory.
    """

    theta: I64
    """int64[256 n], the weights with 26 fractional bits; 0 in the padding."""
    momentum: I64
    """int64[256 n], the outer momentum with 26 fractional bits; 0 in the padding."""
    mapping: mmap.mmap | None = field(default=None, repr=False, kw_only=True)
    """The mapped file that ends with both arrays; None if they are in memory."""

    @classmethod
    def genesis(cls, manifest: Manifest, values: Mapping[str, NDArray[Any]]) -> State:
        """Bring a float model into the state, with momentum 0.

        Args:
            manifest: The model's layout.
            values: Name to float array, as ``Manifest.flatten`` takes them.

        Raises:
            ManifestError: The model does not fit the manifest, or a weight is NaN, infinite, or of size 2^22 or more
                (``too-large``).
        """
        flat = manifest.flatten(values)
        manifest.check_range(flat)
        state = cls(np.empty(flat.shape, dtype=np.int64), np.zeros(flat.shape, dtype=np.int64))
        for first, last in state.ranges():
            place = slice(LEAF * first, LEAF * last)
            state.theta[place] = fixed_point.from_float(flat[place])
        return state

    @classmethod
    def mapped(cls, path: Path) -> State:
        """Map a file with the form of a state; the values are not checked.

        The file must not change while the state is used. Its name may be removed.

        Raises:
            ArtifactError: The file can't be read, or does not have the form.
        """
        try:
            with path.open("rb") as file:
                size = path.stat().st_size - len(MAGIC)
                if size <= 0 or size % (16 * LEAF) or file.read(len(MAGIC)) != MAGIC:
                    raise ArtifactError("The file is no state.", code="artifact-damaged")
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ArtifactError(f"The state file {path} can't be read: {error.strerror}.") from error
        return cls._views(memoryview(mapping), mapping)

    @classmethod
    def open(cls, path: Path, manifest: Manifest) -> State:
        """Map a state file, and check it; see ``mapped``.

        Raises:
            ArtifactError: The file can't be read, or is no state of this manifest.
        """
        try:
            size = path.stat().st_size
        except OSError as error:
            raise ArtifactError(f"The state file {path} can't be read: {error.strerror}.") from error
        if size != manifest.state_file_size:
            raise _damaged(size, manifest)
        state = cls.mapped(path)
        state.check(manifest)
        return state

    @classmethod
    def empty(cls, manifest: Manifest, folder: Path | None) -> State:
        """Make room for a state.

        Args:
            manifest: The model's layout.
            folder: Folder of the file without a name that holds the state until nobody uses it; None for memory.

        Raises:
            LocalError: The disk has no room for the file.
        """
        if folder is None:
            return cls(np.empty(manifest.size, dtype=np.int64), np.empty(manifest.size, dtype=np.int64))
        size = 16 * manifest.size
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                os.posix_fallocate(file.fileno(), 0, size)  # A full disk would end the process later.
                mapping = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise LocalError(
                f"A new state can't be written in {folder}: {error.strerror}.",
                remedy=f"Make room there: it needs {size:,} bytes. TMPDIR names another folder for temporary files.",
                code="state-disk",
            ) from error
        values = np.frombuffer(mapping, dtype=np.int64)
        return cls(values[: manifest.size], values[manifest.size :], mapping=mapping)

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return int(self.theta.size) // LEAF

    def release(self, first: int, last: int) -> None:
        """Give back the memory of the leaves ``first`` to ``last`` (exclusive) of a state in a file.

        The values stay: they are read from the file again when they are used.
        """
        if self.mapping is None:
            return
        for start in (len(self.mapping) - 16 * self.theta.size, len(self.mapping) - 8 * self.theta.size):
            begin = (start + 8 * LEAF * first) // mmap.PAGESIZE * mmap.PAGESIZE
            self.mapping.madvise(mmap.MADV_DONTNEED, begin, start + 8 * LEAF * last - begin)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Cut the leaves into ranges ``(first, last)``, and release each range when the next one is asked for."""
        for first in range(0, self.leaves, _LEAVES):
            last = min(first + _LEAVES, self.leaves)
            yield first, last
            self.release(first, last)

    def theta_tree(self) -> Tree:
        """Build the tree of theta."""
        return state_tree(THETA, self.theta, self.ranges())

    def momentum_tree(self) -> Tree:
        """Build the tree of the momentum."""
        return state_tree(MOMENTUM, self.momentum, self.ranges())

    def root(self, manifest_hash: bytes) -> bytes:
        """``stateRoot``, 32 bytes. Takes a pass of hashing over 16 bytes a coordinate."""
        return state_root(manifest_hash, self.theta_tree().root, self.momentum_tree().root)

    def to_float32(self) -> F32:
        """The model: float32[256 n], each weight rounded once."""
        values = np.empty(self.theta.shape, dtype=np.float32)
        for first, last in self.ranges():
            place = slice(LEAF * first, LEAF * last)
            values[place] = fixed_point.to_float32(self.theta[place])
        return values

    def model(self, manifest: Manifest, files: Files = no_files) -> dict[str, NDArray[Any]]:
        """The model as a state dict of float32 arrays, carried buffers included; see ``Manifest.unflatten``."""
        return manifest.unflatten(self.to_float32(), files=files)

    # Files

    def chunks(self) -> Iterator[bytes]:
        """The state file, in pieces: ``FMS1``, theta, momentum, both little-endian."""
        yield MAGIC
        for values in (self.theta, self.momentum):
            for first, last in self.ranges():
                yield values[LEAF * first : LEAF * last].astype("<i8", copy=False).tobytes()

    def to_bytes(self) -> bytes:
        """The state file, ``4 + 4096 n`` bytes."""
        return b"".join(self.chunks())

    def sha256(self) -> str:
        """Name of the state file: SHA-256 of its bytes, in hex."""
        return sha256_of(self.chunks())[0]

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, manifest: Manifest) -> State:
        """Read a state file. The arrays are views into ``data`` where the machine is little-endian.

        Raises:
            ArtifactError: The bytes are no state of this manifest, or a value is out of bounds or in the
                padding.
        """
        if len(data) != manifest.state_file_size or bytes(data[:4]) != MAGIC:
            raise _damaged(len(data), manifest)
        state = cls._views(data)
        state.check(manifest)
        return state

    @classmethod
    def _views(cls, data: bytes | memoryview, mapping: mmap.mmap | None = None) -> State:
        values = np.frombuffer(data, dtype="<i8", offset=len(MAGIC)).astype(np.int64, copy=False)
        return cls(values[: values.size // 2], values[values.size // 2 :], mapping=mapping)

    def check(self, manifest: Manifest) -> None:
        """Check the sizes, the bounds and the padding.

        Raises:
            ArtifactError: One of them is wrong.
        """
        for name, values in (("theta", self.theta), ("momentum", self.momentum)):
            if values.shape != (manifest.size,) or values.dtype != np.int64:
                raise ArtifactError(f"The state's {name} is not int64[{manifest.size}].")
            for first, last in self.ranges():
                leaves = values[LEAF * first : LEAF * last].reshape(-1, LEAF)
                if int(leaves.min()) < -STATE_BOUND or int(leaves.max()) > STATE_BOUND:
                    raise ArtifactError(f"The state's {name} has a value beyond ±{STATE_BOUND}.")
                rows, padding = padding_mask(manifest, first, last)
                wrong = ((leaves[rows] != 0) & padding.astype(bool)).any(axis=1)
                if wrong.any():
                    tensor = manifest.tensors[manifest.tensor_of_leaf[first + rows[np.argmax(wrong)]]]
                    raise ArtifactError(f"The state's {name} is not 0 in the padding of {tensor.name!r}.")

    def to_safetensors(
        self, manifest: Manifest, version: int, root: bytes | None = None, files: Files = no_files
    ) -> bytes:
        """The model file that people download, byte by byte the same for everybody; see ``safetensors_chunks``."""
        return b"".join(self.safetensors_chunks(manifest, version, root, files))

    def safetensors_chunks(
        self, manifest: Manifest, version: int, root: bytes | None = None, files: Files = no_files
    ) -> Iterator[bytes]:
        """The model file that people download, in pieces.

        Args:
            manifest: The model's layout.
            version: Number of the round that made the state.
            root: The state's root, if it is known already; else it is computed.
            files: Gives the values of carried arrays that are files.

        Returns:
            A safetensors file: trained tensors as float32 and carried arrays as they are, in the manifest's order.

        Raises:
            ManifestError: A file is needed (``file-needed``).
        """
        root = self.root(manifest.hash) if root is None else root
        header: dict[str, Any] = {
            "__metadata__": {"folkmoot.version": str(version), "folkmoot.stateRoot": "0x" + root.hex()}
        }
        at = 0
        for entry in manifest.arrays:
            trained = isinstance(entry, Tensor)
            size = 4 * entry.elements if isinstance(entry, Tensor) else entry.size
            dtype = "F32" if trained else _SAFETENSORS_DTYPE[entry.dtype]
            header[entry.name] = _entry(dtype, entry.shape, at, at + size)
            at += size
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        yield len(text).to_bytes(8, "little") + text
        offsets = iter(manifest.leaf_offsets)
        for entry in manifest.arrays:
            if isinstance(entry, Carried):
                yield entry.data
                continue
            if not isinstance(entry, Tensor):
                yield from file_chunks(files(entry))
                continue
            start = next(offsets)
            for first in range(start, start + entry.leaves, _LEAVES):
                last = min(first + _LEAVES, start + entry.leaves)
                values = self.theta[LEAF * first : min(LEAF * last, LEAF * start + entry.elements)]
                yield fixed_point.to_float32(values).astype("<f4", copy=False).tobytes()
                self.release(first, last)


def _damaged(size: int, manifest: Manifest) -> ArtifactError:
    return ArtifactError(
        f"The state file is damaged: it has {size} bytes, not {manifest.state_file_size}, or no FMS1 in front.",
        remedy="Fetch it again; its name is the SHA-256 of its bytes.",
    )


def _entry(dtype: str, shape: tuple[int, ...], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
