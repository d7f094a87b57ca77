# SPDX-License-Identifier: Apache-2.0
"""The manifest: which tensors a model has and where each coordinate lies (docs/protocol.md section 2).

A model is one padded vector of ``256 * leaves`` coordinates: the tensors in order, row-major, each padded to
whole leaves of 256, so that a leaf never spans two tensors. This module knows nothing of rounds, hashes of
states or chains.
"""

from __future__ import annotations

import base64
import math
import mmap
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.errors import ArtifactError, InputError, ManifestError
from folkmoot.protocol.arrays import F32, I64, U8
from folkmoot.protocol.fixed_point import LEAF, ONE, STATE_BOUND
from folkmoot.protocol.hashing import canonical_json, keccak, parse_canonical_json, sha256_hex
from folkmoot.protocol.packing import file_size
from folkmoot.protocol.parent import Parent

FORMAT = "folkmoot/manifest/2"
MAX_LEAVES = 1 << 24
MAX_TENSORS = 4096
"""Most tensors of a model: a proof on chain carries a number for each and walks through them."""
MAX_SIZE = 1 << 32
"""Largest size in a shape: more elements than the leaves of a model can have."""
MAX_DIMENSIONS = 32
"""Most sizes in a shape: what every NumPy can hold."""
MAX_NAME = 64
INLINE = 1 << 16
"""Largest carried array, in bytes, that `Manifest.from_arrays` puts into the manifest, which travels with every message
of a round. Each larger array is a file, which costs a node one request. Biases, norms and counters of most models are
smaller."""
INLINE_SUM = 1 << 24
"""Most bytes of carried arrays in such a manifest: as text they are a third of what a reader takes."""
MAX_CONTENT_POLICY = 1 << 14
"""Most bytes of a content policy, in UTF-8: it travels with the manifest."""
PRIVACY = "privacy"
"""Key of the training settings under which a federation declares differential privacy."""
TRAINED_DTYPES = ("float16", "float32", "float64")
CARRIED_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *TRAINED_DTYPES,
)
_CHUNK = 1 << 20
LARGEST = (STATE_BOUND + 1) // ONE
"""2^22: a weight's size must be below it, or no state can hold it."""


@dataclass(frozen=True)
class Tensor:
    """One float tensor that is trained."""

    name: str
    """Name in the model's state dict."""
    shape: tuple[int, ...]
    """Positive sizes; empty for a scalar."""
    dtype: str = "float32"
    """What the app computes in, one of TRAINED_DTYPES. What crosses the wire is the same for each."""

    @property
    def elements(self) -> int:
        """Number of values, without padding."""
        return math.prod(self.shape)

    @property
    def leaves(self) -> int:
        """Number of leaves, the last one padded."""
        return -(-self.elements // LEAF)


@dataclass(frozen=True)
class Carried:
    """One small array that every version of the model carries unchanged (a counter, an index, a mask)."""

    name: str
    """Name in the model's state dict."""
    dtype: str
    """One of CARRIED_DTYPES."""
    shape: tuple[int, ...]
    """Positive sizes; empty for a scalar."""
    data: bytes
    """The values, row-major, little-endian."""

    def array(self) -> NDArray[Any]:
        """Return the values as an array of the buffer's own dtype and shape."""
        little = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(self.data, dtype=little).astype(np.dtype(self.dtype)).reshape(self.shape)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return _bytes_of(self)


@dataclass(frozen=True)
class CarriedFile:
    """One array that every version of the model carries unchanged, and whose values are a file of their own."""

    name: str
    """Name in the model's state dict."""
    dtype: str
    """One of CARRIED_DTYPES."""
    shape: tuple[int, ...]
    """Positive sizes; empty for a scalar."""
    sha256: str
    """Name of the file, in hex: SHA-256 of the values, row-major, little-endian."""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return _bytes_of(self)

    def open(self, path: Path) -> NDArray[Any]:
        """Map the file, whose hash was checked. The array can't be written; the file must not change meanwhile.

        Raises:
            ArtifactError: The file can't be read, or its size disagrees with shape and dtype (``wrong-size``).
        """
        try:
            with path.open("rb") as file:
                return self.mapped(file.fileno())
        except OSError as error:
            raise ArtifactError(
                f"The file {path} of the array {self.name!r} can't be read: {error.strerror}."
            ) from error

    def mapped(self, descriptor: int) -> NDArray[Any]:
        """Map an open file; see `open`. The descriptor may be closed afterwards.

        Raises:
            ArtifactError: ``wrong-size``, as for `open`.
            OSError: The file can't be mapped.
        """
        size = os.fstat(descriptor).st_size
        if size != self.size:
            raise ArtifactError(
                f"The file {self.sha256} of the array {self.name!r} has {size} bytes; its shape {list(self.shape)} of "
                f"{self.dtype} needs {self.size}.",
                remedy="The manifest is wrong: whoever started the federation must make another genesis.",
                code="wrong-size",
            )
        return self.read(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))

    def read(self, data: memoryview | mmap.mmap) -> NDArray[Any]:
        """Return the array of the file's bytes, which it shares."""
        little = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(data, dtype=little).astype(self.dtype, copy=False).reshape(self.shape)


Files = Callable[[CarriedFile], NDArray[Any]]
"""Returns the values of a carried array that is a file, in its dtype and shape. Nobody writes to them."""


def no_files(entry: CarriedFile) -> NDArray[Any]:
    """Refuse to give the values of a file: for whoever has none.

    Raises:
        ManifestError: Always, ``file-needed``.
    """
    raise ManifestError(
        f"The values of the array {entry.name!r} are in the file {entry.sha256}, which is not here.",
        remedy="Fetch it from the coordinator or a mirror.",
        code="file-needed",
    )


@dataclass(frozen=True)
class Manifest:
    """Layout of a model, and the settings that its contributors train with.

    Raises:
        ManifestError: On construction, when a field is out of its range or a name appears twice.
    """

    task: str
    """Name of the task, 1 to 64 characters."""
    arrays: tuple[Tensor | Carried | CarriedFile, ...]
    """The trained tensors and the carried arrays, in the model's order."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the task (local steps, learning rate, ...); any JSON values."""
    parent: Parent | None = None
    """The version of another federation with whose state this one starts."""
    content_policy: str = ""
    """What the model may be used for and may say, and under which licence, in words: they bind people, no program."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.task) <= MAX_NAME:
            raise ManifestError(f"The task's name has {len(self.task)} characters, not 1 to {MAX_NAME}.")
        if (size := len(self.content_policy.encode("utf-8", "replace"))) > MAX_CONTENT_POLICY:
            raise ManifestError(
                f"The content policy has {size:,} bytes, more than {MAX_CONTENT_POLICY:,}.",
                remedy="Give a short one that names a longer text by its address and its sha256.",
                code="content-policy-too-long",
            )
        _check_count(len(self.tensors))
        names = [entry.name for entry in self.arrays]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ManifestError(f"The name {twice!r} appears twice.", remedy="Give each tensor its own name.")
        for entry in self.arrays:
            if entry.name in ("", "__metadata__"):
                raise ManifestError(f"A tensor can't have the name {entry.name!r}.")
            if len(entry.shape) > MAX_DIMENSIONS:  # before anybody multiplies them
                raise ManifestError(
                    f"Tensor {entry.name!r} has {len(entry.shape)} dimensions, more than {MAX_DIMENSIONS}."
                )
            if any(not 1 <= size <= MAX_SIZE for size in entry.shape):
                raise ManifestError(
                    f"Tensor {entry.name!r} has a size below 1 or above {MAX_SIZE} in its shape {list(entry.shape)}."
                )
        for tensor in self.tensors:
            if tensor.dtype not in TRAINED_DTYPES:
                raise ManifestError(
                    f"Tensor {tensor.name!r} has the dtype {tensor.dtype}.", remedy=_TRAINED_REMEDY
                )
        for buffer in self.carried:
            if buffer.dtype not in CARRIED_DTYPES:
                raise ManifestError(
                    f"Buffer {buffer.name!r} has the dtype {buffer.dtype}.", remedy=_CARRIED_REMEDY
                )
            if isinstance(buffer, CarriedFile):
                if not re.fullmatch("[0-9a-f]{64}", buffer.sha256):
                    raise ManifestError(
                        f"The hash of the array {buffer.name!r} is no SHA-256: {buffer.sha256!r:.80}."
                    )
            elif len(buffer.data) != buffer.size:
                raise ManifestError(
                    f"Buffer {buffer.name!r} has {len(buffer.data)} bytes, its shape needs {buffer.size}."
                )
        if not self.tensors:
            raise ManifestError("The model has no float array to train.", remedy=_TRAINED_REMEDY)
        if self.leaves > MAX_LEAVES:
            raise ManifestError(f"The model has {self.leaves} leaves, more than {MAX_LEAVES}.")

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """The trained tensors in the model's order: what exponents, leaves and updates are numbered by."""
        return tuple(entry for entry in self.arrays if isinstance(entry, Tensor))

    @cached_property
    def carried(self) -> tuple[Carried | CarriedFile, ...]:
        """The carried arrays in the model's order."""
        return tuple(entry for entry in self.arrays if not isinstance(entry, Tensor))

    @cached_property
    def files(self) -> tuple[CarriedFile, ...]:
        """The carried arrays that are files, in the model's order."""
        return tuple(entry for entry in self.arrays if isinstance(entry, CarriedFile))

    @cached_property
    def file_bytes(self) -> int:
        """Number of bytes of the carried arrays that are files."""
        return sum(entry.size for entry in self.files)

    # Layout

    @cached_property
    def leaf_counts(self) -> tuple[int, ...]:
        """Number of leaves of each tensor."""
        return tuple(tensor.leaves for tensor in self.tensors)

    @cached_property
    def leaf_offsets(self) -> tuple[int, ...]:
        """First leaf of each tensor, and after them the number of all leaves."""
        offsets = [0]
        for count in self.leaf_counts:
            offsets.append(offsets[-1] + count)
        return tuple(offsets)

    @cached_property
    def places(self) -> tuple[slice, ...]:
        """Place of each tensor among the ``256 n`` coordinates of all leaves, without its padding."""
        starts = (LEAF * leaf for leaf in self.leaf_offsets)
        return tuple(slice(at, at + one.elements) for one, at in zip(self.tensors, starts, strict=False))

    @cached_property
    def leaves(self) -> int:
        """Number of leaves, ``n``."""
        return sum(tensor.leaves for tensor in self.tensors)

    @cached_property
    def elements(self) -> int:
        """Number of values without padding."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def private(self) -> bool:
        """Whether contributors train with differential privacy: then the exponents never change."""
        return PRIVACY in self.training

    @property
    def size(self) -> int:
        """Number of coordinates with padding, ``256 * n``."""
        return LEAF * self.leaves

    def update_file_size(self, width: int) -> int:
        """Bytes of an update file.

        Args:
            width: Bits of an encoded coordinate.
        """
        return file_size(self.leaves, width)

    @property
    def state_file_size(self) -> int:
        """Bytes of a state file: four, and eight each for the weight and the momentum of a coordinate."""
        return 4 + 16 * self.size

    @property
    def depth(self) -> int:
        """Levels of the trees: the smallest d with ``2^d >= n``."""
        return (self.leaves - 1).bit_length()

    @cached_property
    def tensor_of_leaf(self) -> I64:
        """int64[n], the index of the tensor that each leaf belongs to."""
        return np.repeat(np.arange(len(self.tensors), dtype=np.int64), self.leaf_counts)

    @cached_property
    def values_in_leaf(self) -> I64:
        """int64[n], how many coordinates of each leaf are not padding (1 to 256)."""
        values = np.full(self.leaves, LEAF, dtype=np.int64)
        for tensor, end in zip(self.tensors, self.leaf_offsets[1:], strict=True):
            values[end - 1] = tensor.elements - LEAF * (tensor.leaves - 1)
        return values

    def tensor_ranges(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Cut the leaves ``first`` to ``last`` (exclusive) at the tensors' borders.

        Yields:
            ``(tensor, start, end)``: the tensor's index and the leaves of it that lie in the range.
        """
        if first >= last:
            return
        tensor = int(self.tensor_of_leaf[first])
        while first < last:
            end = min(last, self.leaf_offsets[tensor + 1])
            yield tensor, first, end
            first, tensor = end, tensor + 1

    # Values

    def flatten(self, values: Mapping[str, NDArray[Any]], *, check_finite: bool = True) -> F32:
        """Lay the tensors of a model out as one padded vector.

        Args:
            values: Name to array of a float dtype (cast to float32). Carried buffers may be present and are
                left out.
            check_finite: Refuse NaN and infinity. An encoder that checks by itself may pass False.

        Returns:
            float32[256 n], zeros in the padding.

        Raises:
            ManifestError: A tensor is missing, unknown, of another shape or dtype, or not finite.
        """
        known = {entry.name for entry in self.arrays}
        for name in values:
            if name not in known:
                raise ManifestError(f"Tensor {name!r} is not in the manifest.", remedy=_FIT_REMEDY)
        flat = np.zeros(self.size, dtype=np.float32)
        for tensor, first in zip(self.tensors, self.leaf_offsets, strict=False):
            if tensor.name not in values:
                raise ManifestError(f"Tensor {tensor.name!r} is missing.", remedy=_FIT_REMEDY)
            array = np.asarray(values[tensor.name])
            if tuple(array.shape) != tensor.shape:
                raise ManifestError(
                    f"Tensor {tensor.name!r} has the shape {list(array.shape)}, not {list(tensor.shape)}.",
                    remedy=_FIT_REMEDY,
                )
            if array.dtype.kind != "f":
                raise ManifestError(f"Tensor {tensor.name!r} has the dtype {array.dtype}, not a float.")
            place = flat[LEAF * first : LEAF * first + tensor.elements]
            with np.errstate(over="ignore"):
                place[:] = array.reshape(-1)
            if check_finite and not np.isfinite(place).all():
                raise ManifestError(
                    f"Tensor {tensor.name!r} has a value that is NaN or infinite.",
                    remedy="Lower the learning rate, or look for the step that diverged.",
                    code="not-finite",
                )
        return flat

    def check_range(self, flat: F32) -> None:
        """Make sure that a state can hold a model.

        Args:
            flat: float32[256 n], finite.

        Raises:
            ManifestError: code ``too-large``: a weight's size is 2^22 or more.
        """
        for tensor, first in zip(self.tensors, self.leaf_offsets, strict=False):
            _check_range(tensor.name, flat[LEAF * first : LEAF * (first + tensor.leaves)])

    def unflatten(
        self,
        flat: NDArray[Any],
        *,
        carried: bool = True,
        dtypes: bool = False,
        files: Files | None = no_files,
    ) -> dict[str, NDArray[Any]]:
        """Cut a padded vector into named arrays.

        Args:
            flat: Any dtype, [256 n].
            carried: Add the carried arrays, so that the result is a whole state dict.
            dtypes: Give each tensor the dtype that the app computes in; else that of ``flat``.
            files: Gives the values of carried arrays that are files. None leaves these arrays out.

        Returns:
            Name to array, tensors and carried arrays in the model's order; copies, so they may be changed, but for what
            ``files`` gives.

        Raises:
            ManifestError: The vector has another length, or a file is needed (``file-needed``).
        """
        if flat.shape != (self.size,):
            raise ManifestError(
                f"The vector has the shape {list(flat.shape)}, the manifest needs [{self.size}]."
            )
        values: dict[str, NDArray[Any]] = {}
        offsets = iter(self.leaf_offsets)
        for entry in self.arrays:
            if isinstance(entry, Tensor):
                first = LEAF * next(offsets)
                part = flat[first : first + entry.elements].reshape(entry.shape)
                values[entry.name] = part.astype(entry.dtype) if dtypes else part.copy()
            elif not carried:
                continue
            elif isinstance(entry, Carried):
                values[entry.name] = entry.array()
            elif files is not None:
                values[entry.name] = files(entry)
        return values

    @classmethod
    def from_arrays(
        cls,
        task: str,
        values: Mapping[str, NDArray[Any]],
        training: Mapping[str, Any] | None = None,
        *,
        carry: Collection[str] = (),
    ) -> Manifest:
        """Make the manifest of a model.

        Float arrays become tensors that are trained; integer and bool arrays are carried, and so are float arrays
        with an infinite value, like a causal mask: no training changes them in a way that a state could hold. A carried
        array of more than INLINE bytes becomes a file, with the bytes that `file_chunks` gives. So does one with which
        the carried arrays in the manifest would have more than INLINE_SUM bytes.

        Args:
            task: Name of the task.
            values: Name to array, in the model's order.
            training: Settings of the task.
            carry: Names of float arrays that are constant too, and carried as they are.

        Raises:
            ManifestError: An array is neither float nor integer, has NaN or a value that no state can hold, a name in
                ``carry`` is not in the model, or the result is out of range; code ``too-many-tensors``: more than
                MAX_TENSORS would be trained.
        """
        if unknown := set(carry) - set(values):
            raise ManifestError(f"The model has no array {min(unknown)!r} to carry.", remedy=_FIT_REMEDY)
        trained = {
            name for name, value in values.items() if name not in carry and _is_trained(np.asarray(value))
        }
        _check_count(len(trained))
        entries: list[Tensor | Carried | CarriedFile] = []
        inline = 0
        for name, value in values.items():
            array = np.asarray(value)
            shape = tuple(int(size) for size in array.shape)
            if name in trained:
                _check_range(name, array)
                entries.append(Tensor(name, shape, array.dtype.name))
            elif array.dtype.name not in CARRIED_DTYPES:
                raise ManifestError(f"Tensor {name!r} has the dtype {array.dtype}.", remedy=_CARRIED_REMEDY)
            elif array.nbytes > INLINE or inline + array.nbytes > INLINE_SUM:
                entries.append(CarriedFile(name, array.dtype.name, shape, file_name(array)))
            else:
                inline += array.nbytes
                entries.append(Carried(name, array.dtype.name, shape, _little(array).tobytes()))
        return cls(task, tuple(entries), dict(training or {}))

    # Bytes

    @cached_property
    def _json(self) -> bytes:
        value: dict[str, Any] = {
            "format": FORMAT,
            "task": self.task,
            "arrays": [_described(entry) for entry in self.arrays],
            "training": dict(self.training),
        }
        if self.parent is not None:
            value["parent"] = self.parent.to_json()
        if self.content_policy:
            value["contentPolicy"] = self.content_policy
        try:
            return canonical_json(value)
        except InputError as error:
            raise ManifestError(error.message) from error

    def to_json(self) -> bytes:
        """Return the manifest file: canonical JSON.

        Raises:
            ManifestError: A training setting is not a JSON value.
        """
        return self._json

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read a manifest file.

        Raises:
            ManifestError: The bytes are not canonical JSON, a field is missing, unknown or out of range.
        """
        try:
            value = parse_canonical_json(data)
            if not isinstance(value, dict) or set(value) - _OPTIONAL != _REQUIRED:
                raise ManifestError(
                    "The manifest does not have the fields of docs/protocol.md section 2.",
                    remedy="It may be of an earlier release: start a new federation.",
                )
            if value["format"] != FORMAT:
                raise ManifestError(f"The manifest's format is {value['format']!r}, not {FORMAT!r}.")
            if not isinstance(value["training"], dict) or not isinstance(value["task"], str):
                raise ManifestError(
                    "The manifest's task must be a string and its training settings an object."
                )
            _check_count(
                sum(isinstance(entry, dict) and not _VALUES & set(entry) for entry in value["arrays"])
            )
            arrays = tuple(_entry(entry) for entry in value["arrays"])
            parent = Parent.from_json(value["parent"]) if "parent" in value else None
            content_policy = _text(value.get("contentPolicy", ""))
        except ManifestError:
            raise
        except (InputError, TypeError, ValueError) as error:  # ValueError: base64 that is none
            raise ManifestError(f"The manifest can't be read: {error}") from error
        manifest = cls(value["task"], arrays, value["training"], parent, content_policy)
        if manifest.to_json() != data:
            raise ManifestError("The manifest is not in canonical form (docs/protocol.md section 2).")
        return manifest

    @property
    def layout(self) -> bytes:
        """The elements of each tensor, a big-endian uint64 each."""
        return b"".join(tensor.elements.to_bytes(8, "big") for tensor in self.tensors)

    @cached_property
    def hash(self) -> bytes:
        """``manifestHash``: 32 bytes that bind the layout and the whole file."""
        return keccak(b"\x10", keccak(self.layout), keccak(self.to_json()))


_REQUIRED, _OPTIONAL = {"format", "task", "arrays", "training"}, {"parent", "contentPolicy"}
"""Fields of a manifest file."""
_VALUES = {"data", "hash"}
"""Fields of a carried array's values in the manifest file, of which it has one."""
_TRAINED_REMEDY = f"Use float tensors of {', '.join(TRAINED_DTYPES)}."
_CARRIED_REMEDY = f"Use arrays of {', '.join(CARRIED_DTYPES)}."
_FIT_REMEDY = "Check that the model is the one that the federation trains."


def padding_mask(manifest: Manifest, first: int, last: int) -> tuple[I64, U8]:
    """Find the padding in the leaves ``first`` to ``last`` (exclusive).

    Returns:
        int64[k], the leaves with padding, counted from ``first``; and uint8[k, 256], 1 where a coordinate is
        padding.
    """
    values = manifest.values_in_leaf[first:last]
    rows = np.flatnonzero(values < LEAF)
    mask = (np.arange(LEAF)[None, :] >= values[rows, None]).astype(np.uint8)
    return rows.astype(np.int64), mask


def _check_count(tensors: int) -> None:
    """Raise ManifestError if a model has more tensors than the proofs of its rounds can carry."""
    if tensors > MAX_TENSORS:
        raise ManifestError(
            f"The model has {tensors} tensors to train, more than {MAX_TENSORS}: a proof against the coordinator "
            "carries the layout of all, and would cost more gas than a transaction may.",
            remedy="Merge small tensors, for example into one tensor a layer, or have those that are not trained "
            "carried (`carry` of Manifest.from_arrays).",
            code="too-many-tensors",
        )


def _is_trained(array: NDArray[Any]) -> bool:
    """Whether an array that nobody names as carried is one that training can change."""
    return array.dtype.name in TRAINED_DTYPES and not np.isinf(array).any()


def _check_range(name: str, array: NDArray[Any]) -> None:
    """Raise ManifestError unless a state can hold all values of a float array."""
    if np.isnan(array).any():
        raise ManifestError(
            f"Tensor {name!r} has a value that is NaN.",
            remedy="Initialise it. If it is a constant, have it carried (`carry` of Manifest.from_arrays).",
            code="not-finite",
        )
    largest = max(float(array.max(initial=0)), -float(array.min(initial=0)))
    if largest >= LARGEST:
        raise ManifestError(
            f"Tensor {name!r} has a value of size {largest:g}; a weight must be below {LARGEST}.",
            remedy="Scale it. If it is a constant, have it carried (`carry` of Manifest.from_arrays).",
            code="too-large",
        )


def _bytes_of(entry: Carried | CarriedFile) -> int:
    return math.prod(entry.shape) * np.dtype(entry.dtype).itemsize


def _little(array: NDArray[Any]) -> U8:
    """Return the bytes of an array's values, row-major and little-endian, as uint8[size]; a view where possible."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8)


def file_name(array: NDArray[Any]) -> str:
    """Return the SHA-256, in hex, of an array's values as a file has them."""
    return sha256_hex(_little(array).data)


def file_chunks(array: NDArray[Any]) -> Iterator[bytes]:
    """Return an array's values in pieces, as a file has them."""
    values = _little(array)
    for first in range(0, values.size, _CHUNK):
        yield values[first : first + _CHUNK].tobytes()


def _described(entry: Tensor | Carried | CarriedFile) -> dict[str, Any]:
    """An array as the manifest file describes it."""
    value = {"name": entry.name, "shape": list(entry.shape), "dtype": entry.dtype}
    if isinstance(entry, Carried):
        value["data"] = base64.b64encode(entry.data).decode("ascii")
    elif isinstance(entry, CarriedFile):
        value["hash"] = entry.sha256
    return value


def _entry(value: Any) -> Tensor | Carried | CarriedFile:
    """Read what `_described` wrote."""
    fields = set(value) if isinstance(value, dict) else set()
    if fields - _VALUES != {"name", "shape", "dtype"} or fields >= _VALUES:
        raise ManifestError(
            "An array of the manifest has other fields than name, shape, dtype and one of data and hash."
        )
    name, shape, dtype = _text(value["name"]), _shape(value["shape"]), _text(value["dtype"])
    if "hash" in value:
        return CarriedFile(name, dtype, shape, _text(value["hash"]))
    if "data" in value:
        return Carried(name, dtype, shape, base64.b64decode(_text(value["data"]), validate=True))
    return Tensor(name, shape, dtype)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ManifestError(f"The manifest has {value!r} where a string belongs.")
    return value


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(size) is not int for size in value):
        raise ManifestError(f"The manifest has the shape {value!r}, which is not a list of integers.")
    return tuple(value)
