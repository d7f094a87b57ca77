# SPDX-License-Identifier: Apache-2.0
"""From trained weights to an update of bytes (docs/protocol.md section 5).

Encoding is a pure function of the weights before and after training, the round's seed and the contributor:
clients keep no state, and an auditor who knows the weights can repeat it. The rounding is stochastic
(unbiased: the mean of many updates is right even where each is coarse), with SplitMix64 (Steele, Lea, Flood,
OOPSLA 2014) as the source of the offsets. Clamping to the range of the width bounds what one update can do: it is a
defence, not an accident.

This module knows nothing of files, signatures or chains. Floats end here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from folkmoot.errors import EncodingError
from folkmoot.protocol import acceleration
from folkmoot.protocol.arrays import F32, F64, I64, U8, U64
from folkmoot.protocol.commitment import canonical_address
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import check_exponents
from folkmoot.protocol.manifest import Manifest, padding_mask
from folkmoot.protocol.merkle import SumTree, leaf_largest, leaf_sums, update_tree
from folkmoot.protocol.packing import ZERO, largest, pack, unpack

_CHUNK = 1 << 16  # coordinates per numpy step, so that the temporaries stay in the cache
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class EncodedUpdate:
    """An update, ready to be committed to and sent."""

    data: bytes
    """The update file."""
    width: int
    """Bits of a coordinate in the file."""
    root: bytes
    """``updateRoot``, 32 bytes."""
    sum_squares: int
    """``sumSquares``."""
    sum_absolute: int
    """Sum of ``|q|``."""
    bound: int
    """``c``: no integer is larger in absolute value. ``Q``, or less where the update had to be fitted to the cap."""
    clamped: int
    """How many coordinates were cut to ±c. A share of some percent says that the exponents are too low."""

    @property
    def leaves(self) -> U8:
        """uint8[n, 256], ``q + 128``."""
        return unpack(np.frombuffer(self.data, dtype=np.uint8), self.width)


def rounding_key(seed: bytes, contributor: str) -> int:
    """Key of a contributor's rounding in a round, a uint64.

    Args:
        seed: The round's seed, 32 bytes.
        contributor: The contributor's address.
    """
    return int.from_bytes(keccak(seed, canonical_address(contributor))[:8], "big")


def rounding_offsets(key: int, first: int, last: int) -> F64:
    """Offsets ``u`` in [0, 1) of the places ``first`` to ``last`` (exclusive), multiples of 2^-24.

    Args:
        key: The contributor's key, a uint64.
        first: First place, counted over all leaves with padding.
        last: One after the last place.

    Returns:
        float64[last - first].
    """
    return (_mixed(key, np.arange(first, last, dtype=np.uint64)) >> np.uint64(40)).astype(
        np.float64
    ) * 2.0**-24


def rounding_bytes(key: int, leaves: I64) -> I64:
    """Offsets in 1/256, rounded down, of the places of some leaves, int64[k, 256].

    Args:
        key: The contributor's key, a uint64.
        leaves: int64[k].
    """
    places = leaves[:, None] * LEAF + np.arange(LEAF)
    return (_mixed(key, places.astype(np.uint64)) >> np.uint64(56)).astype(np.int64)


def _mixed(key: int, places: U64) -> U64:
    """Return the 64 bits of SplitMix64 at some places; changes ``places``."""
    z = places
    z += np.uint64(1)
    z *= _STEP
    z += np.uint64(key)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def encode_update(
    start: F32,
    end: F32,
    exponents: Sequence[int],
    manifest: Manifest,
    seed: bytes,
    contributor: str,
    *,
    width: int = 8,
    max_sum_squares: int | None = None,
) -> EncodedUpdate:
    """Encode what training changed, and fit it to the cap on its sum of squares.

    Args:
        start: float32[256 n], the base's weights (``State.to_float32``), finite.
        end: float32[256 n], the weights after training (``Manifest.flatten``).
        exponents: One a tensor, from the round's header.
        manifest: The model's layout.
        seed: The round's seed, 32 bytes.
        contributor: The contributor's address.
        width: Bits of an encoded coordinate, from the round's header.
        max_sum_squares: The cap of the round's policy; None leaves the update as it is.

    Returns:
        The update. A positive integer asks to lower the weight.

    Raises:
        EncodingError: ``not-finite``: a weight is NaN or infinite (the message names the tensor); ``cap-too-small``:
            the cap leaves room for no integer; or a size is wrong.
    """
    _check_vectors(start, end, manifest)
    if len(exponents) != len(manifest.tensors):
        raise EncodingError(f"There are {len(exponents)} exponents for {len(manifest.tensors)} tensors.")
    check_exponents(exponents)
    key = rounding_key(seed, contributor)
    out = np.full(manifest.size, ZERO, dtype=np.uint8)
    clamped = 0
    for tensor, exponent, place in zip(manifest.tensors, exponents, manifest.places, strict=True):
        if not (np.isfinite(start[place]).all() and np.isfinite(end[place]).all()):
            raise EncodingError(
                f"Tensor {tensor.name!r} has a weight that is NaN or infinite.",
                remedy="Nothing was sent. Lower the learning rate, or look for the step that diverged.",
                code="not-finite",
                details={"tensor": tensor.name},
            )
        clamped += _encode(start[place], end[place], exponent, key, place.start, largest(width), out[place])
    bound = largest(width)
    if max_sum_squares is not None and int(leaf_sums(out.reshape(-1, LEAF))[1].sum()) > max_sum_squares:
        counts = magnitudes(out)[: bound + 1]
        bound = fitting_bound(counts, max_sum_squares)
        clamped = sum(counts[bound + 1 :])
        np.clip(out, ZERO - bound, ZERO + bound, out=out)
    tree = update_tree(out)
    data = pack(out.reshape(-1, LEAF), width).tobytes()
    return EncodedUpdate(data, width, tree.root, tree.sum_squares, tree.sum_absolute, bound, clamped)


def magnitudes(data: U8) -> list[int]:
    """Count the coordinates of an update by absolute value.

    Args:
        data: uint8[m], leaves of ``q + 128``, without the byte 0x00.

    Returns:
        128 counts, of ``|q|`` = 0 to 127.
    """
    counts = np.zeros(2 * ZERO, dtype=np.int64)
    for at in range(0, data.size, _CHUNK):
        counts += np.bincount(data[at : at + _CHUNK], minlength=2 * ZERO)
    counts[ZERO + 1 :] += counts[ZERO - 1 : 0 : -1]
    return [int(count) for count in counts[ZERO:]]


def fitting_bound(counts: Sequence[int], max_sum_squares: int) -> int:
    """Return the largest ``c <= Q`` with ``sum min(|q|, c)^2 <= max_sum_squares``.

    Args:
        counts: How many coordinates have each absolute value, from 0 to Q.
        max_sum_squares: The cap.

    Raises:
        EncodingError: ``cap-too-small``: there are more coordinates other than 0 than the cap, so not even c = 1 fits.
    """
    total, above = 0, sum(counts)
    for bound in range(1, len(counts)):
        above -= counts[bound - 1]  # how many are at least the bound: each adds bound^2 - (bound - 1)^2
        total += (2 * bound - 1) * above
        if total > max_sum_squares:
            if bound == 1:
                raise EncodingError(
                    f"The update has {above} coordinates other than 0, and the policy's maxSumSquares of "
                    f"{max_sum_squares} leaves no room for them even at ±1.",
                    remedy="Nothing was sent. Ask the voters for a policy with a larger maxSumSquares; "
                    "`folkmoot policy` writes one that leaves room for honest updates.",
                    code="cap-too-small",
                )
            return bound - 1
    return len(counts) - 1


def _encode(start: F32, end: F32, exponent: int, key: int, first: int, bound: int, out: U8) -> int:
    """Fill ``out`` with the leaves of one tensor; return how many coordinates were clamped to ``±bound``."""
    scale = 2.0**-exponent
    kernels = acceleration.kernels(start.nbytes)
    if kernels is not None:
        return int(kernels.encode(start, end, scale, bound, np.uint64(key), first, out))
    clamped = 0
    for at in range(0, start.size, _CHUNK):
        to = min(at + _CHUNK, start.size)
        y = start[at:to].astype(np.float64)
        y -= end[at:to]
        y *= scale
        np.clip(y, -float(bound + 1), float(bound + 1), out=y)
        y += rounding_offsets(key, first + at, first + to)
        np.floor(y, out=y)
        clamped += int(np.count_nonzero(np.abs(y) > bound))
        np.clip(y, -float(bound), float(bound), out=y)
        out[at:to] = (y + ZERO).astype(np.uint8)
    return clamped


def _check_vectors(start: F32, end: F32, manifest: Manifest) -> None:
    for name, vector in (("start", start), ("end", end)):
        if vector.shape != (manifest.size,) or vector.dtype != np.float32:
            raise EncodingError(
                f"The {name} is {vector.dtype}{list(vector.shape)}, not float32[{manifest.size}].",
                remedy="Use Manifest.flatten.",
            )


def check_leaves(leaves: U8, manifest: Manifest, first: int, width: int) -> None:
    """Check that leaves are an encoding: no integer beyond the width's range, and 0x80 in the padding.

    Args:
        leaves: uint8[k, 256], the leaves from ``first`` on.
        manifest: The model's layout.
        first: Index of the first leaf.
        width: Bits of an encoded coordinate.

    Raises:
        EncodingError: They are not.
    """
    beyond, bound = leaf_largest(leaves), largest(width)
    if leaves.size and beyond.max() > bound:
        raise EncodingError(
            f"Leaf {first + int(np.argmax(beyond))} has an integer that is not between {-bound} and {bound}, the range "
            f"of {width} bits.",
            remedy="Encode the update at the policy's width.",
            code="invalid-encoding",
        )
    check_padding(leaves, manifest, first)


def check_padding(leaves: U8, manifest: Manifest, first: int) -> None:
    """Check that the padding of leaves is 0x80; arguments and errors as ``check_leaves``."""
    rows, mask = padding_mask(manifest, first, first + leaves.shape[0])
    wrong = ((leaves[rows] != ZERO) & mask.astype(bool)).any(axis=1)
    if wrong.any():
        raise EncodingError(f"The padding of leaf {first + int(rows[np.argmax(wrong)])} is not 0x80.")


def decode_update(data: bytes, manifest: Manifest, width: int = 8) -> I64:
    """Read an update file.

    Args:
        data: Its bytes.
        manifest: The model's layout.
        width: Bits of an encoded coordinate.

    Returns:
        int64[256 n], the integers q, zeros in the padding.

    Raises:
        EncodingError: The size is wrong (``wrong-size``) or the bytes are no encoding (``invalid-encoding``).
    """
    needed = manifest.update_file_size(width)
    if len(data) != needed:
        raise EncodingError(
            f"The update has {len(data)} bytes, the manifest needs {needed}.", code="wrong-size"
        )
    leaves = unpack(np.frombuffer(data, dtype=np.uint8), width)
    check_leaves(leaves, manifest, 0, width)
    return leaves.reshape(-1).astype(np.int64) - ZERO


def tree_of(update: EncodedUpdate) -> SumTree:
    """Build the whole tree of an encoded update, for proofs."""
    return update_tree(update.leaves)
