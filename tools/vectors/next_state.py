# SPDX-License-Identifier: Apache-2.0
"""Sections 9 and 10 of docs/protocol.md: sums, the mean, the outer step and the next exponents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from folkmoot.aggregation.clamped_sum import rank_of, ranked_magnitudes, sum_clamped
from folkmoot.aggregation.form import mean_of_updates
from folkmoot.aggregation.weighted_sum import aggregate_of, sum_lanes
from folkmoot.protocol import exponents as next_round
from folkmoot.protocol import outer_step as optimizer
from folkmoot.protocol import packing
from folkmoot.protocol.fixed_point import LEAF, STATE_BOUND
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.mean import MAX_MEAN, MAX_WEIGHT_SUM, largest_scale, mean_of
from folkmoot.protocol.updates import MemoryUpdate
from tools.vectors.values import hexed, hexes, stream_integers, text, update_file


def weighted_sum_section() -> dict[str, Any]:
    """Section 9, sums."""
    manifest = Manifest("sum", (Tensor("w", (LEAF,)),))
    data = [update_file(f"sum {i}", manifest) for i in range(4)]
    data[3] = bytes([255]) * LEAF
    weights = [1, 0, 70_000, MAX_WEIGHT_SUM - 70_001]
    readers = [MemoryUpdate(update) for update in data]
    lanes = sum_lanes(readers, weights, 0, 1)
    return {
        "about": "Section 9: updates of one leaf, the lanes U, the aggregate A and the mean's leaf, with a mean "
        "scale of 1. The weights add up to the largest sum.",
        "updates": hexes(data),
        "weights": text(weights),
        "weightSum": str(sum(weights)),
        "lanes": text(lanes[0]),
        "aggregate": text(aggregate_of(lanes, sum(weights))),
        "leaf": hexed(mean_of_updates("mean", readers, weights, 1, 0, 1).tobytes()),
    }


def clamped_case(weights: Sequence[int], data: Sequence[bytes], scale: int = 1) -> dict[str, Any]:
    """The clamped sum of updates of one leaf, and the magnitudes that a proof brings."""
    readers = [MemoryUpdate(update) for update in data]
    lanes = sum_clamped(readers, weights, 0, 1)
    included = np.stack(
        [reader.read(0, 1).reshape(-1) for reader, weight in zip(readers, weights, strict=True) if weight]
    )
    return {
        "updates": hexes(data),
        "weights": text(weights),
        "weightSum": str(sum(weights)),
        "meanScale": str(scale),
        "magnitudes": hexed(ranked_magnitudes(included, rank_of(len(included))).tobytes()),
        "lanes": text(lanes[0]),
        "aggregate": text(aggregate_of(lanes, sum(weights))),
        "leaf": hexed(mean_of_updates("clamped_mean", readers, weights, scale, 0, 1).tobytes()),
    }


def clamped_sum_section() -> dict[str, Any]:
    """Section 9, clamped sums."""
    manifest = Manifest("sum", (Tensor("w", (LEAF,)),))
    data = [update_file(f"clamped {i}", manifest, 1 + 40 * (i % 4)) for i in range(7)]
    small = [update_file(f"small {i}", manifest, 1) for i in range(6)]
    nibbles = [update_file(f"nibbles {i}", manifest, 7) for i in range(5)]
    most, least, zeros = (bytes([value]) * LEAF for value in (255, 1, 128))
    return {
        "about": "Section 9: as weightedSum, for the rule with a clamped sum; magnitudes are the lower medians of "
        "|q| over the entries with a weight above 0. usual: of seven updates one does not count. half: three of six "
        "hold the only values other than 0, and count one step. majority: four of six do, and count whole. edges: the "
        "largest and the smallest values among small ones, with the largest sum of weights. nibbles and steps: widths "
        "4 and 2 with their mean scales. two: of two updates the smaller one decides.",
        "usual": clamped_case([60_000, 1, 0, 65_536, 30_000, 9, 12_345], data),
        "half": clamped_case([5, 6, 3, 3, 3, 3], [most, least, most, *[zeros] * 3]),
        "majority": clamped_case([5, 6, 3, 3, 3, 3], [most, least, most, least, *[zeros] * 2]),
        "edges": clamped_case([65_536, MAX_WEIGHT_SUM - 65_539, 1, 1, 1], [most, least, *small[:3]]),
        "nibbles": clamped_case([7, 1, 2, 65_536, 3], nibbles, 18),
        "steps": clamped_case([7, 1, 2, 65_536, 3, 1], small, 127),
        "two": clamped_case([3, 40_000], [most, small[0]]),
    }


def mean_section() -> dict[str, Any]:
    """Section 9, the mean of aggregates."""
    cases: list[tuple[int, int, int]] = []
    for scale, bound in ((1, 127), (7, 1), (127, 1), (18, 7), (2, 63), (1, 1)):
        for weight_sum in (1, 2, 3, 14, 255, 65_536, MAX_WEIGHT_SUM):
            most = bound * weight_sum
            half = weight_sum // (2 * scale)  # S A / W is 1/2, or just below
            for aggregate in (0, 1, half, half + 1, weight_sum, most - half, most - half - 1, most - 1, most):
                cases += [(a, weight_sum, scale) for a in (aggregate, -aggregate) if abs(a) <= most]
    draws = stream_integers("mean", 3 * 100, 1 << 40)
    for i in range(100):
        a, b, c = draws[3 * i : 3 * i + 3]
        weight_sum, scale = abs(b) % MAX_WEIGHT_SUM + 1, abs(c) % MAX_MEAN + 1
        most = largest_scale(scale) * weight_sum
        cases.append((a % (2 * most + 1) - most, weight_sum, scale))
    cases = list(dict.fromkeys(cases))
    return {
        "about": "Section 9, one coordinate a place of the arrays: aggregate is A, weightSum W, meanScale S, mean B.",
        **{
            name: text(values)
            for name, values in zip(
                ("aggregate", "weightSum", "meanScale"), zip(*cases, strict=True), strict=True
            )
        },
        "mean": text(int(mean_of(np.array([a], dtype=np.int64), w, s)[0]) for a, w, s in cases),
    }


def outer_step_section() -> dict[str, Any]:
    """Section 9."""
    cases: list[tuple[int, int, int, int, int, int, int]] = []
    for exponent in (-40, -39, -27, -26, -25, -12, 0, 3, 4):
        for mean, scale in (
            (0, 1),
            (1, 1),
            (-1, 1),
            (127, 1),
            (-127, 1),
            (-1, 2),
            (1, 2),
            (-3, 2),
            (7, 7),
            (-5, 7),
        ):
            cases.append((12345, -678, mean, scale, exponent, 1024, 0))
            cases.append((-(1 << 26), (1 << 20) + 7, mean, scale, exponent, 700, 921))
    cases += [
        (0, 0, 127, 127, 4, 1024, 0),
        (0, 0, -127, 127, 4, 1024, 0),
        (STATE_BOUND, STATE_BOUND, -127, 1, 4, 1024, 1023),
        (-STATE_BOUND, -STATE_BOUND, 127, 1, 4, 1024, 1023),
        (STATE_BOUND, -STATE_BOUND, -1, 1, -40, 65535, 65535),
        (-STATE_BOUND, STATE_BOUND, 127, 1, 4, 65535, 65535),
        (0, -1, 0, 1, -12, 1024, 1023),
        (0, 1, 0, 1, -12, 1024, 1023),
        (0, -1, 0, 5, -12, 1, 1),
        (7, -1025, 0, 5, -12, 1023, 1),
    ]
    bounds = stream_integers("outer", 4 * 200, 1 << 40)
    for i in range(200):
        a, b, c, d = bounds[4 * i : 4 * i + 4]
        scale, mean = abs(d) % MAX_MEAN + 1, c % (2 * MAX_MEAN + 1) - MAX_MEAN
        cases.append((a, b, mean, scale, abs(a + d) % 45 - 40, abs(b) % 2049, abs(c) % 1024))
    new_theta, new_momentum = [], []
    for theta, momentum, mean, scale, exponent, rate, decay in cases:
        results = optimizer.outer_step(
            np.full(LEAF, theta, dtype=np.int64),
            np.full(LEAF, momentum, dtype=np.int64),
            np.full(LEAF, mean, dtype=np.int64),
            scale,
            np.array([exponent], dtype=np.int64),
            rate,
            decay,
        )
        new_theta.append(int(results[0][0]))
        new_momentum.append(int(results[1][0]))
    names = ("theta", "momentum", "mean", "meanScale", "exponent", "rate", "decay")
    return {
        "about": "Section 9, one coordinate a place of the arrays: decay is the policy's momentum, mean is B, "
        "meanScale is S.",
        **{name: text(values) for name, values in zip(names, zip(*cases, strict=True), strict=True)},
        "newTheta": text(new_theta),
        "newMomentum": text(new_momentum),
    }


def eager_start_section() -> dict[str, Any]:
    """Section 9.1."""
    cases: list[tuple[int, int, int, int, int, int, int]] = [
        (12345, -678, 0, 1, -12, 1024, 0),
        (12345, -678, 7, 1, -26, 512, 307),
        (-(1 << 26), (1 << 20) + 7, -1, 7, -27, 512, 307),
        (STATE_BOUND, STATE_BOUND, -1, 127, 4, 1024, 1023),
        (-STATE_BOUND, -STATE_BOUND, 127, 1, 4, 1024, 1023),
    ]
    drawn = stream_integers("eager start", 4 * 60, 1 << 40)
    for i in range(60):
        a, b, c, d = drawn[4 * i : 4 * i + 4]
        bound = packing.largest((8, 4, 2)[i % 3])
        update, scale = c % (2 * bound + 1) - bound, abs(d) % (MAX_MEAN // bound) + 1
        cases.append((a, b, update, scale, abs(a + d) % 45 - 40, abs(b) % 2049, abs(c) % 1024))
    start = [
        optimizer.eager_start(
            np.full(LEAF, theta, dtype=np.int64),
            np.full(LEAF, momentum, dtype=np.int64),
            np.full(LEAF, update, dtype=np.int64),
            scale,
            np.array([exponent], dtype=np.int64),
            rate,
            decay,
        )[0]
        for theta, momentum, update, scale, exponent, rate, decay in cases
    ]
    names = ("theta", "momentum", "update", "meanScale", "exponent", "rate", "decay")
    return {
        "about": "Section 9.1, one coordinate a place of the arrays: update is q, decay is the policy's momentum.",
        **{name: text(values) for name, values in zip(names, zip(*cases, strict=True), strict=True)},
        "start": text(start),
    }


def exponents_section() -> dict[str, Any]:
    """Section 10."""
    absolute = 16_000
    cases: list[tuple[int, int, int, int]] = [
        (-11, 0, 0, 0),  # frozen
        (-12, 0, 0, 0),
        (-30, 0, 0, 0),
        (-40, 5, 5, 1),  # far below the target, at the smallest exponent
        (-38, 5, 5, 1),
        (4, 127 * 9, 127**2 * 9, 127),  # saturated, at the largest exponent
        (-12, 127 * 9, 127**2 * 9, 127),
        (-12, 64 * 100, 64**2 * 100, 64),  # saturated at the smallest bound of the default cap
        (-12, 63 * 100, 63**2 * 100, 63),  # as large, but below it
        (-12, 800, 70_000, 100),  # 8 S = 7 M A
        (-12, 800, 69_999, 100),
        (-12, 1, 1, 1),  # one coordinate of a large tensor
        (-12, 127 + 20_000, 127**2 + 20_000, 127),  # a spike among many small ones
        (-12, 127 << 40, 127**2 << 40, 127),  # products beyond 64 bits
        (-12, 16 << 40, 16**2 << 40, 127),
    ]
    for change in range(-4, 4):
        # the least S with 2 S^2 >= (16 A)^2 4^d, and the one below; 2 S^2 = (16 A)^2 4^d has no solution, since the
        # square root of 2 is irrational
        wanted = (next_round.TARGETS[8] * absolute) ** 2
        least = next(s for s in _candidates(wanted, change) if 2 * s * s * 4**4 >= wanted * 4 ** (change + 4))
        cases += [(-12, absolute, least, 127), (-12, absolute, least - 1, 127)]
    sums = [next_round.TensorSums(*case[1:], LEAF) for case in cases]
    entries = [(127, 127**2, 127), (1, 1, 1), (0, 0, 0), (24, 24**2, 24), (64, 64**2, 64), (8, 8**2, 8)]
    return {
        "about": "Section 10, width 8. exponent, absolute (A), squares (S), largest (M), vote, and next if all entries "
        "vote so, one a place; the last ones lie at the thresholds. entries* are six entries of a tensor with their "
        "votes, and entriesNext is its next exponent from -20.",
        "exponent": text(case[0] for case in cases),
        "absolute": text(one.absolute for one in sums),
        "squares": text(one.squares for one in sums),
        "largest": text(one.largest for one in sums),
        "vote": text(next_round.vote(one, 8) for one in sums),
        "next": text(
            next_round.next_exponents([case[0]], [[one]], 8)[0] for case, one in zip(cases, sums, strict=True)
        ),
        "entriesAbsolute": text(one[0] for one in entries),
        "entriesSquares": text(one[1] for one in entries),
        "entriesLargest": text(one[2] for one in entries),
        "entriesVotes": text(next_round.vote(next_round.TensorSums(*one, LEAF), 8) for one in entries),
        "entriesNext": str(
            next_round.next_exponent(-20, [next_round.TensorSums(*one, LEAF) for one in entries], 8)
        ),
    }


def _candidates(wanted: int, shift: int) -> Iterable[int]:
    near = int((wanted * 4.0**shift / 2) ** 0.5)
    return range(max(near - 2, 0), near + 3)
