# SPDX-License-Identifier: Apache-2.0
"""The global state: the model and its outer momentum as integers (docs/protocol.md sections 1, 3, 11 and 14).

A state has a root (what the chain knows), a file (what is published) and a float32 model (what people use);
each is a function of the integers alone. This module does not know how a state was computed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.errors import ArtifactError, InputError, ManifestError
from folkmoot.protocol import fixed_point
from folkmoot.protocol.arrays import F32, I64
from folkmoot.protocol.fixed_point import LEAF, STATE_BOUND
from folkmoot.protocol.hashing import parse_json
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.merkle import MOMENTUM, THETA, Tree, state_root, state_tree

MAGIC = b"FMS1"
"""First bytes of a state file."""

_CHUNK = 1 << 20  # coordinates written at a time
_SAFETENSORS_DTYPE = {
    "bool": "BOOL",
    **{f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
}


@dataclass(frozen=True, eq=False)
class State:
    """A model and its outer momentum, padded to whole leaves."""

    theta: I64
    """int64[256 n], the weights with 26 fractional bits; 0 in the padding."""
    momentum: I64
    """int64[256 n], the outer momentum with 26 fractional bits; 0 in the padding."""

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
        theta = fixed_point.from_float(flat)
        return cls(theta, np.zeros_like(theta))

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return int(self.theta.size) // LEAF

    def theta_tree(self) -> Tree:
        """Build the tree of theta."""
        return state_tree(THETA, self.theta)

    def momentum_tree(self) -> Tree:
        """Build the tree of the momentum."""
        return state_tree(MOMENTUM, self.momentum)

    def root(self, manifest_hash: bytes) -> bytes:
        """``stateRoot``, 32 bytes. Takes a pass of hashing over 16 bytes a coordinate."""
        return state_root(manifest_hash, self.theta_tree().root, self.momentum_tree().root)

    def to_float32(self) -> F32:
        """The model: float32[256 n], each weight rounded once."""
        return fixed_point.to_float32(self.theta)

    def model(self, manifest: Manifest) -> dict[str, NDArray[Any]]:
        """The model as a state dict of float32 arrays, carried buffers included."""
        return manifest.unflatten(self.to_float32())

    # Files

    def chunks(self) -> Iterator[bytes]:
        """The state file, in pieces: ``FMS1``, theta, momentum, both little-endian."""
        yield MAGIC
        for values in (self.theta, self.momentum):
            for at in range(0, values.size, _CHUNK):
                yield values[at : at + _CHUNK].astype("<i8", copy=False).tobytes()

    def to_bytes(self) -> bytes:
        """The state file, ``4 + 4096 n`` bytes."""
        return b"".join(self.chunks())

    def sha256(self) -> str:
        """Name of the state file: SHA-256 of its bytes, in hex."""
        digest = hashlib.sha256()
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, manifest: Manifest) -> State:
        """Read a state file. The arrays are views into ``data`` where the machine is little-endian.

        Raises:
            ArtifactError: The bytes are no state of this manifest, or a value is out of bounds or in the
                padding.
        """
        size = manifest.state_file_size
        if len(data) != size or bytes(data[:4]) != MAGIC:
            raise ArtifactError(
                f"The state file is damaged: it has {len(data)} bytes, not {size}, or no FMS1 in front.",
                remedy="Fetch it again; its name is the SHA-256 of its bytes.",
            )
        values = np.frombuffer(data, dtype="<i8", offset=len(MAGIC)).astype(np.int64, copy=False)
        state = cls(values[: manifest.size], values[manifest.size :])
        state.check(manifest)
        return state

    def check(self, manifest: Manifest) -> None:
        """Check the sizes, the bounds and the padding.

        Raises:
            ArtifactError: One of them is wrong.
        """
        for name, values in (("theta", self.theta), ("momentum", self.momentum)):
            if values.shape != (manifest.size,) or values.dtype != np.int64:
                raise ArtifactError(f"The state's {name} is not int64[{manifest.size}].")
            if int(values.min()) < -STATE_BOUND or int(values.max()) > STATE_BOUND:
                raise ArtifactError(f"The state's {name} has a value beyond ±{STATE_BOUND}.")
            for tensor, first in zip(manifest.tensors, manifest.leaf_offsets, strict=False):
                start = LEAF * first + tensor.elements
                if values[start : LEAF * (first + tensor.leaves)].any():
                    raise ArtifactError(f"The state's {name} is not 0 in the padding of {tensor.name!r}.")

    def to_safetensors(self, manifest: Manifest, version: int, root: bytes | None = None) -> bytes:
        """The model file that people download, byte by byte the same for everybody.

        Args:
            manifest: The model's layout.
            version: Number of the round that made the state.
            root: The state's root, if it is known already; else it is computed.

        Returns:
            A safetensors file: trained tensors as float32 and carried arrays as they are, in the manifest's order.
        """
        root = self.root(manifest.hash) if root is None else root
        header: dict[str, Any] = {
            "__metadata__": {"folkmoot.version": str(version), "folkmoot.stateRoot": "0x" + root.hex()}
        }
        flat = self.to_float32().astype("<f4", copy=False)
        parts: list[bytes] = []
        at = 0
        offsets = iter(manifest.leaf_offsets)
        for entry in manifest.arrays:
            if isinstance(entry, Tensor):
                first = LEAF * next(offsets)
                dtype, data = "F32", flat[first : first + entry.elements].tobytes()
            else:
                dtype, data = _SAFETENSORS_DTYPE[entry.dtype], entry.data
            parts.append(data)
            header[entry.name] = _entry(dtype, entry.shape, at, at + len(data))
            at += len(data)
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _entry(dtype: str, shape: tuple[int, ...], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def read_safetensors(data: bytes, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Read the tensors of a model file that ``to_safetensors`` wrote.

    Returns:
        Name to array, in the manifest's order.

    Raises:
        ArtifactError: The file is damaged.
        ManifestError: It is not a model of this manifest.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = parse_json(data[8 : 8 + length])
        values: dict[str, NDArray[Any]] = {}
        kinds = {code: name for name, code in _SAFETENSORS_DTYPE.items()}
        for name in [entry.name for entry in manifest.arrays]:
            if name not in header:
                raise ManifestError(f"The model file has no tensor {name!r}.")
            entry = header[name]
            dtype = np.dtype(kinds[entry["dtype"]]).newbyteorder("<")
            start, end = entry["data_offsets"]
            if end - start != math.prod(entry["shape"]) * dtype.itemsize:
                raise ArtifactError(f"The model file is damaged: tensor {name!r} has the wrong length.")
            raw = np.frombuffer(data[8 + length + start : 8 + length + end], dtype=dtype)
            values[name] = raw.astype(dtype.newbyteorder("="), copy=True).reshape(entry["shape"])
    except ManifestError:
        raise
    except (InputError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise ArtifactError(f"The model file is damaged: {error}.") from error
    return values
