# SPDX-License-Identifier: Apache-2.0
"""Facts about what is no entry of the round: the root-set update, the model's path, updates of earlier rounds.

A **reference** is compared with the entries and never summed. The root-set update is trained like any other
from the round's base, on examples that the coordinator committed to; the updates (and aggregates) of earlier
rounds are public files. So both are artifacts, and everything here can be recomputed from bytes.

This module knows nothing of what a rule makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from folkmoot.aggregation.interface import RoundFacts
from folkmoot.arrays import F64
from folkmoot.errors import InputError
from folkmoot.fixed_point import LEAF
from folkmoot.manifest import Manifest
from folkmoot.updates import UpdateReader

_CHUNK_BYTES = 1 << 20  # bytes of all updates that are looked at in one step


@dataclass(frozen=True)
class Reference:
    """The exact products of one reference with the k delivered updates of a round."""

    products: tuple[int, ...]
    """k inner products, in units of ``2^e_min 2^e'_min``: the round's smallest exponent and the reference's."""
    square: int
    """The reference's product with itself, in units of ``4^e'_min``."""


@dataclass(frozen=True)
class ReferencedFacts(RoundFacts):
    """The facts of a round, with references."""

    root: Reference | None = None
    """The root-set update, if the coordinator committed to one."""
    path: Reference | None = None
    """What the model moved by in the last rounds (``path``), if there were any."""
    earlier: tuple[Reference, ...] = ()
    """Updates of earlier rounds, in the order of their rounds and entries."""


def references(
    manifest: Manifest,
    exponents: Sequence[int],
    updates: Sequence[UpdateReader],
    others: Sequence[tuple[UpdateReader, Sequence[int]]],
) -> tuple[Reference, ...]:
    """Compare references with the updates of a round.

    The product is ``P_i = sum_b 2^(e_b - e_min + e'_b - e'_min) sum_c q_ic q'_c`` and the square
    ``S = sum_b 4^(e'_b - e'_min) sum_c q'_c^2``, so that ``P_i / sqrt(G_ii S)`` is the cosine.

    Args:
        manifest: The model's layout.
        exponents: One a tensor, of the round.
        updates: The k valid updates of the round, k >= 1.
        others: Each reference's bytes, valid, and the exponents of the round that it was made in.

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
    squares = [0] * len(others)
    chunk = max(1, _CHUNK_BYTES // (LEAF * (len(updates) + len(others))))
    for first in range(0, manifest.leaves, chunk):
        last = min(first + chunk, manifest.leaves)
        # float64 is exact here: a chunk's sums stay far below 2^53, so no order of additions can round.
        ours = _values(updates, first, last)
        theirs = _values([other for other, _ in others], first, last)
        for tensor, start, end in manifest.tensor_ranges(first, last):
            place = slice(LEAF * (start - first), LEAF * (end - first))
            part = theirs[:, place]
            sums = (part @ ours[:, place].T).tolist()
            own = np.einsum("ij,ij->i", part, part).tolist()
            for other, row in enumerate(sums):
                shift = there[other][tensor]
                squares[other] += int(own[other]) << (2 * shift)
                for index, product in enumerate(row):
                    products[other][index] += int(product) << (here[tensor] + shift)
    return tuple(Reference(tuple(row), square) for row, square in zip(products, squares, strict=True))


def _values(updates: Sequence[UpdateReader], first: int, last: int) -> F64:
    return np.stack([update.read(first, last).reshape(-1) for update in updates]).astype(np.float64) - 128
