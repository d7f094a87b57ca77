# SPDX-License-Identifier: Apache-2.0
"""How alike two encodings of one vector are: the repeat cosines of a round (docs/protocol.md section 8.3).

Stochastic rounding adds noise to each update, and it is independent between contributors and rounds. So two encodings
of one vector have a cosine below 1: about 0.95 at width 4, 0.3 to 0.6 at width 2. How much of an update is noise
follows from its bytes and its rounding offsets, which are public: with the offset taken away again (subtractive
dither), the error of a coordinate is uniform and its variance a twelfth, whatever the coordinate is.

Source: subtractive dither (Schuchman, IEEE Transactions on Communication Technology 1964; Gray and Stockham, IEEE
Transactions on Information Theory 1993).
The bounds are ours: who rounds in another way seems to have no noise, and who aims at its offsets seems to have nothing
else, so that no update counts as much less or much noisier than the round's median. Assumes that fewer than half of the
updates are not encoded as section 5 says.

This module does not know how a rule uses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.lineage import PastRound
from folkmoot.aggregation.references import Reference, references, thinned
from folkmoot.aggregation.stages.weighting_state import lower_median
from folkmoot.errors import InputError
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.codec import rounding_bytes
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.packing import ZERO
from folkmoot.protocol.updates import UpdateReader

EXAMINED_LEAVES = 1024
"""Most leaves of an update whose noise is measured."""

LEAST = UNIT // 16
"""Smallest repeat cosine, in 1/UNIT."""

_HALVES = 512  # a dequantised coordinate is a multiple of 1/_HALVES
_CHUNK = 256  # leaves at a time


def repeat_cosines(
    manifest: Manifest,
    exponents: Sequence[int],
    updates: Sequence[UpdateReader],
    keys: Sequence[int],
    sample: I64 | None = None,
) -> tuple[int, ...]:
    """Return the cosine that a second encoding of each update's vector would have with it.

    With the offset ``u`` of a coordinate in 1/256, rounded down, ``v = 512 q + 255 - 2 u`` is the coordinate without
    the rounding, in 1/512. Over the examined coordinates ``L = sum_b 4^(e_b - e_min) sum_c (12 v^2 - 2^18)`` and
    ``S = sum_b 4^(e_b - e_min) sum_c 12 * 2^18 q^2``; the cosine is ``floor(UNIT L / S)``, from 0 to UNIT. With m the
    lower median of those with S > 0 (UNIT if there is none), it is at most ``UNIT - floor((UNIT - m) / 2)`` and at
    least ``m - floor(m / 4)`` and LEAST.

    Args:
        manifest: The model's layout.
        exponents: One a tensor, of the updates' round.
        updates: The updates, valid.
        keys: Each contributor's key in that round (``codec.rounding_key``).
        sample: int64[l], ascending, the leaves to look at; None means all. Of n leaves each ``ceil(n /
            EXAMINED_LEAVES)``-th is examined, from the first on.

    Returns:
        One cosine an update, in 1/UNIT.

    Raises:
        ArtifactError: An update can't be read.
    """
    leaves = thinned(manifest, sample, EXAMINED_LEAVES)
    shifts = [2 * (exponent - min(exponents)) for exponent in exponents]
    cosines = [_cosine(manifest, shifts, *one, leaves) for one in zip(updates, keys, strict=True)]
    known = [cosine for cosine in cosines if cosine is not None]
    median = lower_median(known) if known else UNIT
    most, least = UNIT - (UNIT - median) // 2, max(median - median // 4, LEAST)
    return tuple(max(least, min(UNIT if cosine is None else cosine, most)) for cosine in cosines)


def compare_earlier(
    manifest: Manifest,
    exponents: Sequence[int],
    updates: Sequence[UpdateReader],
    keys: Sequence[int],
    contributors: Sequence[str],
    rounds: Sequence[PastRound],
    sample: I64 | None = None,
) -> tuple[tuple[Reference, ...], tuple[int, ...]]:
    """Compare the updates of earlier rounds with a round's; return them as references, and the round's repeat cosines.

    Arguments and errors as ``repeat_cosines`` and ``references``; ``contributors`` has the account of each update.

    Raises:
        InputError: ``mismatch``: an earlier update has another size.
    """
    past = [(update, round_.exponents) for round_ in rounds for update in round_.updates]
    if any(update.size != manifest.update_file_size(update.width) for update, _ in past):
        raise InputError("An update of an earlier round has not the manifest's size.", code="mismatch")
    compared = references(manifest, exponents, updates, past, sample)
    index_of = {who: index for index, who in enumerate(contributors)}
    known = [
        (number, index_of.get(who), cosine)
        for number, one in enumerate(rounds)
        for who, cosine in zip(
            one.contributors,
            repeat_cosines(manifest, one.exponents, one.updates, one.keys, sample),
            strict=True,
        )
    ]
    earlier = tuple(
        replace(reference, repeat=cosine, contributor=contributor, round=number)
        for reference, (number, contributor, cosine) in zip(compared, known, strict=True)
    )
    return earlier, repeat_cosines(manifest, exponents, updates, keys, sample)


def _cosine(
    manifest: Manifest, shifts: Sequence[int], update: UpdateReader, key: int, leaves: I64
) -> int | None:
    """Return an update's cosine in 1/UNIT without the bounds; None if the leaves are zero."""
    count = len(manifest.tensors)
    without, squares = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for at in range(0, len(leaves), _CHUNK):
        part = leaves[at : at + _CHUNK]
        q = update.pick(part).astype(np.int64) - ZERO
        v = _HALVES * q + 255 - 2 * rounding_bytes(key, part)
        used = np.arange(LEAF) < manifest.values_in_leaf[part, None]
        tensor = manifest.tensor_of_leaf[part]
        np.add.at(without, tensor, ((12 * v * v - (1 << 18)) * used).sum(axis=1))
        np.add.at(squares, tensor, (q * q).sum(axis=1))
    total = sum(value << shift for value, shift in zip(squares.tolist(), shifts, strict=True))
    if total == 0:
        return None
    rest = sum(value << shift for value, shift in zip(without.tolist(), shifts, strict=True))
    return min(UNIT, max(0, UNIT * rest // ((12 << 18) * total)))
