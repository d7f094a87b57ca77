# SPDX-License-Identifier: Apache-2.0
"""References: the root-set update, the model's trajectory, and the updates of earlier rounds.

A **reference** is a vector that is compared with the entries and never summed. The root-set update is the coordinator's
own entry, trained like any other from the round's base. The trajectory is the difference of two public states. The
updates of earlier rounds are public files. So everybody can recompute all of these from public bytes.

There are many earlier updates, so in a large model they are compared on a sample of its leaves: one of each run of
equal length, chosen by the hash of all entries. Nobody knows that hash before the last commitment. Who makes the last
one can only draw again by changing it, and no number of draws puts thousands of sampled leaves into the part of a
replay that was altered.

The products are taken in float32, which is exact: ``127^2`` times 1024 coordinates stays below 2^24, up to which
float32 holds every integer, so no order of additions (nor a fused one) can round.

This module does not know how a rule uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import Gram, RoundFacts
from folkmoot.errors import InputError
from folkmoot.protocol.arrays import F32, I64, U8
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.packing import ZERO, largest
from folkmoot.protocol.updates import UpdateReader

COMPARED_LEAVES = 4096
"""Most leaves on which earlier updates are compared with the round's."""

_CHUNK_BYTES = 16 << 20  # bytes of all updates that are looked at in one step
_EXACT = 1024  # coordinates whose products a float32 sums without rounding: 127^2 * 1024 < 2^24


class ReferenceKind(StrEnum):
    """A kind of reference that a rule uses. The others are neither loaded nor compared."""

    ROOT = "root"
    """The root-set update: the coordinator's own entry."""
    TRAJECTORY = "trajectory"
    """What the model moved by in the last rounds."""
    EARLIER = "earlier"
    """The delivered updates of the last rounds."""
    WINDOW = "window"
    """The window sums of the contributors; a rule that uses them uses the trajectory and earlier updates too."""


def compared_leaves(leaves: int, entries_hash: bytes) -> I64 | None:
    """Choose the leaves on which a round is compared with earlier updates.

    With ``s = ceil(n / COMPARED_LEAVES)`` it is ``k s + keccak(entriesHash || uint32 k) mod s`` for each k, as far as
    that is below n.

    Args:
        leaves: n, leaves of the model.
        entries_hash: ``entriesHash`` of the round, 32 bytes.

    Returns:
        int64[k], ascending; None for all leaves, if they are not too many.
    """
    run = -(-leaves // COMPARED_LEAVES)
    if run == 1:
        return None
    starts = range(0, leaves, run)
    drawn = [int.from_bytes(keccak(entries_hash, k.to_bytes(4, "big")), "big") for k in range(len(starts))]
    chosen = np.array([at + value % run for at, value in zip(starts, drawn, strict=True)], dtype=np.int64)
    return chosen[chosen < leaves]


def thinned(manifest: Manifest, sample: I64 | None, most: int) -> I64:
    """Return each ``ceil(n / most)``-th of n leaves, from the first on.

    Args:
        manifest: The model's layout.
        sample: int64[n], ascending; None means all leaves of the model.
        most: At most this many are left.
    """
    leaves = np.arange(manifest.leaves, dtype=np.int64) if sample is None else sample
    return leaves[:: -(-len(leaves) // most)]


@dataclass(frozen=True)
class Reference:
    """The exact products of one reference with the k delivered updates of a round."""

    products: tuple[int, ...]
    """k inner products, in units of ``4^m_min``, with m the smaller of both exponents of each tensor."""
    square: int
    """The reference's inner product with itself, in the same units."""
    own: tuple[int, ...] | None = None
    """Inner products of the k updates with themselves, in the same units and over the same coordinates. None if the
    units are the round's and all leaves were compared: then they are the diagonal of the Gram matrix."""
    repeat: int = UNIT
    """Its repeat cosine, in 1/UNIT, if it is an update of an earlier round (``aggregation.repeats``)."""
    contributor: int | None = None
    """Index of the same contributor's delivered update, if it is an update of an earlier round and there is one."""
    round: int = 0
    """Place of that round in the lineage, the oldest first."""


@dataclass(frozen=True)
class Windows:
    """The exact products of the window sums of the k delivered updates' contributors."""

    gram: Gram
    """``H_ij``: inner products, in units of ``4^e_min`` as the Gram matrix."""
    trajectory: Reference | None
    """The sums' products with the trajectory, if there is one."""
    rounds: tuple[int, ...]
    """Number of updates in each sum, the round's own among them."""


@dataclass(frozen=True)
class ReferencedFacts(RoundFacts):
    """The facts of a round, with the references that its rule uses."""

    root: Reference | None = None
    """The root-set update, if the coordinator delivered one."""
    trajectory: Reference | None = None
    """What the model moved by in the last rounds, if there were any."""
    earlier: tuple[Reference, ...] = ()
    """Updates of earlier rounds, in the order of their rounds and entries."""
    window: Windows | None = None
    """Products of the contributors' window sums."""
    repeats: tuple[int, ...] = ()
    """The repeat cosines of the k updates, in 1/UNIT; empty if all are UNIT, or the rule does not use them."""


def references(
    manifest: Manifest,
    exponents: Sequence[int],
    updates: Sequence[UpdateReader],
    others: Sequence[tuple[UpdateReader, Sequence[int]]],
    sample: I64 | None = None,
) -> tuple[Reference, ...]:
    """Compute the inner products of references with the updates of a round.

    Both are converted to the smaller of their exponents in each tensor, ``m_b = min(e_b, e'_b)``, and clamped there:
    ``a_ic = clamp(q_ic 2^(e_b - m_b), -Q, Q)``, the reference's likewise, with Q of the larger of both widths.
    Encoding clamps, so the same vector in other units can be a different one; with both clamped a replay is found in
    all units. With ``m_min`` the smallest m_b the product is ``P_i = sum_b 4^(m_b - m_min) sum_c a_ic a'_c``, and
    ``S_ii`` and S are the products of each with itself. On a sample all sums are over its coordinates only.

    Args:
        manifest: The model's layout.
        exponents: One a tensor, of the round.
        updates: The k valid updates of the round, k >= 1. Some megabytes of all are in memory at a time.
        others: Each reference's bytes, valid, and the exponents of the round that it was made in.
        sample: int64[l], ascending, the leaves to compare; None compares all.

    Raises:
        InputError: There is not one exponent a tensor.
        ArtifactError: An update can't be read.
    """
    for values in (exponents, *(theirs for _, theirs in others)):
        if others and len(values) != len(manifest.tensors):
            raise InputError("There is not one exponent a tensor.", code="mismatch")
    groups: dict[tuple[tuple[int, ...], int], _Group] = {}
    for number, (other, theirs) in enumerate(others):
        width = max(other.width, *(update.width for update in updates))
        group = groups.setdefault((tuple(theirs), width), _Group(exponents, theirs, width, len(updates)))
        group.places.append(number)
        group.readers.append(other)
    tensors = manifest.tensor_of_leaf if sample is None else manifest.tensor_of_leaf[sample]
    chunk = max(1, _CHUNK_BYTES // (LEAF * (len(updates) + len(others))))
    for begin in range(0, len(tensors) if others else 0, chunk):
        place = tensors[begin : begin + chunk]
        leaves = None if sample is None else sample[begin : begin + chunk]
        ours = _values(updates, begin, begin + len(place), leaves)
        for group in groups.values():
            compared = _values(group.readers, begin, begin + len(place), leaves)
            for tensor, first, last in _runs(place):
                group.add(tensor, ours, compared, slice(LEAF * first, LEAF * last))
    products_of: dict[int, Reference] = {}
    for group in groups.values():
        products_of |= group.references(whole=sample is None)
    return tuple(products_of[place] for place in range(len(others)))


class _Group:
    """References with the same exponents and width, compared with k updates."""

    def __init__(self, ours: Sequence[int], theirs: Sequence[int], width: int, updates: int) -> None:
        finer = [min(pair) for pair in zip(ours, theirs, strict=True)]
        self.places: list[int] = []
        self.readers: list[UpdateReader] = []
        self._up = [exponent - least for exponent, least in zip(ours, finer, strict=True)]
        self._up_theirs = [exponent - least for exponent, least in zip(theirs, finer, strict=True)]
        self._shift = [2 * (least - min(finer)) for least in finer]
        self._bound = largest(width)
        self._updates = updates
        self._sums: dict[int, tuple[I64, I64, I64]] = {}  # by tensor: products, squares, own squares

    def add(self, tensor: int, ours: U8, theirs: U8, place: slice) -> None:
        """Add some coordinates of one tensor: those at ``place`` of uint8[k, m] and uint8[r, m]."""
        count = len(self.readers)
        if tensor not in self._sums:
            self._sums[tensor] = (
                np.zeros((count, self._updates), dtype=np.int64),
                np.zeros(count, dtype=np.int64),
                np.zeros(self._updates, dtype=np.int64),
            )
        products, squares, own = self._sums[tensor]
        for at in range(place.start, place.stop, _EXACT):
            part = slice(at, min(at + _EXACT, place.stop))
            a = _integers(ours[:, part], self._up[tensor], self._bound)
            b = _integers(theirs[:, part], self._up_theirs[tensor], self._bound)
            products += (b @ a.T).astype(np.int64)
            squares += np.einsum("ij,ij->i", b, b).astype(np.int64)
            own += np.einsum("ij,ij->i", a, a).astype(np.int64)

    def references(self, *, whole: bool) -> dict[int, Reference]:
        """Add up the tensors; ``whole`` if every leaf was compared."""
        products = [[0] * self._updates for _ in self.readers]
        squares, own = [0] * len(self.readers), [0] * self._updates
        for tensor, sums in self._sums.items():
            shift = self._shift[tensor]
            for row, part in zip(products, sums[0].tolist(), strict=True):
                for index, product in enumerate(part):
                    row[index] += product << shift
            for index, square in enumerate(sums[1].tolist()):
                squares[index] += square << shift
            for index, square in enumerate(sums[2].tolist()):
                own[index] += square << shift
        own_squares = None if whole and not any(self._up) and not any(self._up_theirs) else tuple(own)
        return {
            place: Reference(tuple(row), square, own_squares)
            for place, row, square in zip(self.places, products, squares, strict=True)
        }


def _runs(tensors: I64) -> list[tuple[int, int, int]]:
    """Cut the tensors of some leaves into runs: ``(tensor, first place, one after the last)``."""
    ends = [*(np.flatnonzero(np.diff(tensors)) + 1).tolist(), len(tensors)]
    return [(int(tensors[start]), start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _values(updates: Sequence[UpdateReader], first: int, last: int, leaves: I64 | None) -> U8:
    """uint8[k, m]: the bytes of the leaves ``first`` to ``last``, or of those that are named."""
    rows = [update.read(first, last) if leaves is None else update.pick(leaves) for update in updates]
    return np.stack([row.reshape(-1) for row in rows])


def _integers(values: U8, up: int, bound: int) -> F32:
    """The integers ``clamp(q 2^up, -bound, bound)`` of bytes."""
    integers = values.astype(np.float32)
    integers -= ZERO
    if up:
        integers *= np.float32(2.0**up)  # exact: a power of two
        np.clip(integers, -bound, bound, out=integers)
    return integers
