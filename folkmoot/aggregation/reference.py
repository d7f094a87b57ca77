# SPDX-License-Identifier: Apache-2.0
"""Facts about what is no entry of the round: the root-set update, the model's path, updates of earlier rounds.

A **reference** is compared with the entries and never summed. The root-set update is the coordinator's own entry,
trained like any other from the round's base; the path is the difference of two public states; the updates of
earlier rounds are public files. So everything here can be recomputed from bytes.

Earlier updates are many, so in a large model they are compared on a sample of its leaves: one of each run of equal
length, chosen by the hash of all entries. Nobody knows that hash before the last commitment, and who makes the last
one can only draw again and again: of thousands of leaves no number of draws finds all in the part of a replay that
was altered.
The products are taken in float32, which is exact: ``127^2`` times 1024 coordinates stays below 2^24, up to which
float32 holds every integer, so no order of additions (nor a fused one) can round.

This module knows nothing of what a rule makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from folkmoot.aggregation.interface import RoundFacts
from folkmoot.arrays import F32, I64, U8
from folkmoot.errors import InputError
from folkmoot.fixed_point import LEAF
from folkmoot.hashing import keccak
from folkmoot.manifest import Manifest
from folkmoot.updates import UpdateReader

COMPARED_LEAVES = 4096
"""Most leaves on which earlier updates are compared with the round's."""

_CHUNK_BYTES = 16 << 20  # bytes of all updates that are looked at in one step
_EXACT = 1024  # coordinates whose products a float32 sums without rounding: 127^2 * 1024 < 2^24


class Use(StrEnum):
    """A kind of reference that a rule uses. The others are neither loaded nor compared."""

    ROOT = "root"
    """The root-set update: the coordinator's own entry."""
    PATH = "path"
    """What the model moved by in the last rounds."""
    EARLIER = "earlier"
    """The delivered updates of the last rounds."""


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


@dataclass(frozen=True)
class Reference:
    """The exact products of one reference with the k delivered updates of a round."""

    products: tuple[int, ...]
    """k inner products, in units of ``2^e_min 2^e'_min``: the round's smallest exponent and the reference's."""
    square: int
    """The reference's product with itself, in units of ``4^e'_min``."""
    own: tuple[int, ...] | None = None
    """The k updates' products with themselves on the same sample of leaves, in the Gram matrix's units; None if
    everything was compared: then they are the Gram matrix's."""


@dataclass(frozen=True)
class ReferencedFacts(RoundFacts):
    """The facts of a round, with the references that its rule uses."""

    root: Reference | None = None
    """The root-set update, if the coordinator delivered one."""
    path: Reference | None = None
    """What the model moved by in the last rounds (``path``), if there were any."""
    earlier: tuple[Reference, ...] = ()
    """Updates of earlier rounds, in the order of their rounds and entries."""


def references(
    manifest: Manifest,
    exponents: Sequence[int],
    updates: Sequence[UpdateReader],
    others: Sequence[tuple[UpdateReader, Sequence[int]]],
    sample: I64 | None = None,
) -> tuple[Reference, ...]:
    """Compare references with the updates of a round.

    The product is ``P_i = sum_b 2^(e_b - e_min + e'_b - e'_min) sum_c q_ic q'_c`` and the square
    ``S = sum_b 4^(e'_b - e'_min) sum_c q'_c^2``, so that ``P_i / sqrt(G_ii S)`` is the cosine. On a sample all sums
    are over its coordinates only, those of ``G_ii`` as well.

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
    if not others:
        return ()
    for values in (exponents, *(theirs for _, theirs in others)):
        if len(values) != len(manifest.tensors):
            raise InputError("There is not one exponent a tensor.", code="mismatch")
    here = [exponent - min(exponents) for exponent in exponents]
    there = [[exponent - min(theirs) for exponent in theirs] for _, theirs in others]
    products = [[0] * len(updates) for _ in others]
    squares, own = [0] * len(others), [0] * len(updates)
    tensors = manifest.tensor_of_leaf if sample is None else manifest.tensor_of_leaf[sample]
    chunk = max(1, _CHUNK_BYTES // (LEAF * (len(updates) + len(others))))
    part = _Sums(len(updates), len(others))
    for begin in range(0, len(tensors), chunk):
        place = tensors[begin : begin + chunk]
        leaves = None if sample is None else sample[begin : begin + chunk]
        ours = _values(updates, begin, begin + len(place), leaves)
        theirs = _values([other for other, _ in others], begin, begin + len(place), leaves)
        for tensor, from_, to in _runs(place):
            part.add(ours[:, LEAF * from_ : LEAF * to], theirs[:, LEAF * from_ : LEAF * to])
            if begin + to < len(tensors) and tensors[begin + to] == tensor:
                continue  # the tensor goes on in the next chunk
            for index, square in enumerate(part.own.tolist()):
                own[index] += square << (2 * here[tensor])
            for other, (square, row) in enumerate(
                zip(part.squares.tolist(), part.products.tolist(), strict=True)
            ):
                shift = there[other][tensor]
                squares[other] += square << (2 * shift)
                for index, product in enumerate(row):
                    products[other][index] += product << (here[tensor] + shift)
            part = _Sums(len(updates), len(others))
    sampled = None if sample is None else tuple(own)
    return tuple(
        Reference(tuple(row), square, sampled) for row, square in zip(products, squares, strict=True)
    )


class _Sums:
    """Integer sums of products over coordinates of one tensor, k updates and r references."""

    def __init__(self, updates: int, others: int) -> None:
        self.products: I64 = np.zeros((others, updates), dtype=np.int64)
        self.squares: I64 = np.zeros(others, dtype=np.int64)
        self.own: I64 = np.zeros(updates, dtype=np.int64)

    def add(self, ours: U8, theirs: U8) -> None:
        """Add coordinates: uint8[k, m] and uint8[r, m]."""
        for at in range(0, ours.shape[1], _EXACT):
            a, b = (_integers(values[:, at : at + _EXACT]) for values in (ours, theirs))
            self.products += (b @ a.T).astype(np.int64)
            self.squares += np.einsum("ij,ij->i", b, b).astype(np.int64)
            self.own += np.einsum("ij,ij->i", a, a).astype(np.int64)


def _runs(tensors: I64) -> list[tuple[int, int, int]]:
    """Cut the tensors of some leaves into runs: ``(tensor, first place, one after the last)``."""
    ends = [*(np.flatnonzero(np.diff(tensors)) + 1).tolist(), len(tensors)]
    return [(int(tensors[start]), start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _values(updates: Sequence[UpdateReader], first: int, last: int, leaves: I64 | None) -> U8:
    """uint8[k, m]: the bytes of the leaves ``first`` to ``last``, or of those that are named."""
    rows = [update.read(first, last) if leaves is None else update.pick(leaves) for update in updates]
    return np.stack([row.reshape(-1) for row in rows])


def _integers(values: U8) -> F32:
    integers = values.astype(np.float32)
    integers -= 128
    return integers
