# SPDX-License-Identifier: Apache-2.0
"""Cases of sections 9 and 10 of docs/protocol.md: weights that a sum takes, means, the outer step, exponents."""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.protocol.fixed_point import LEAF, STATE_BOUND
from tools.cases.group import Group


def weight_sum_cases() -> Group:
    """Section 9."""
    group = Group("weightSum", "9", "Which weights an aggregate takes, and their sum W.")
    group.valid("one weight is 0", {"weights": [3, 0, 4]})
    group.valid("the largest sum", {"weights": [16_843_008, 1]})
    group.invalid("above the largest sum", {"weights": [16_843_009, 1]})
    group.invalid("all 0", {"weights": [0, 0]})
    group.invalid("a negative one", {"weights": [2, -1]})
    return group


def mean_leaves_cases() -> Group:
    """Section 9."""
    group = Group(
        "meanLeaves",
        "9",
        "Leaves of a mean file from the leaf first on; bound is S times the largest value of an update, which no B is "
        "beyond.",
    )
    for bound in (127, 126, 7, 1):
        usual = bytearray([128]) * (4 * LEAF)
        for place, value in {0: -bound, 299: bound, 512: bound, 516: -bound, 1023: bound}.items():
            usual[place] += value
        given = {"elements": [300, 5, 256], "first": 0, "bound": bound}
        group.valid(f"the largest values, {bound}", {**given, "data": bytes(usual)})
        group.valid(f"from the second leaf on, {bound}", {**given, "first": 1, "data": bytes(usual[LEAF:])})
        group.invalid(f"padding of another leaf, {bound}", {**given, "data": bytes(usual[LEAF:])})
        changes = {"too small": (299, -bound - 1), "too large": (1023, bound + 1)}
        changes |= {f"padding in place {place}": (place, 1) for place in (300, 511, 517, 767)}
        for comment, (place, value) in changes.items():
            if value <= 127:
                data = bytearray(usual)
                data[place] = 128 + value
                group.invalid(f"{comment}, {bound}", {**given, "data": bytes(data)})
    return group


def _clamp(value: int) -> int:
    return min(max(value, -STATE_BOUND), STATE_BOUND)


def outer_step_cases() -> Group:
    """Section 9."""
    group = Group(
        "outerStep",
        "9",
        "One coordinate. decay is the policy's momentum. shift is s, numerator and denominator are N and D, step is g, "
        "decayed = floor(m * momentum / 1024), lookAhead = floor(m' * momentum / 1024), move = floor(rate * (g + "
        "lookAhead) / 1024).",
    )
    names = ("theta", "momentum", "mean", "meanScale", "exponent", "rate", "decay")

    def add(comment: str, values: Sequence[int], *flags: str) -> None:
        theta, momentum, mean, scale, exponent, rate, decay = values
        s = 26 + exponent
        n, d = (mean << s, scale) if s >= 0 else (mean, scale << -s)
        g = (2 * n + d) // (2 * d)
        decayed = momentum * decay // 1024
        new = _clamp(decayed + g)
        ahead = new * decay // 1024
        move = rate * (g + ahead) // 1024
        group.valid(
            comment, dict(zip(names, values, strict=True)), flags, shift=s, numerator=n, denominator=d, step=g,
            decayed=decayed, newMomentum=new, lookAhead=ahead, move=move, newTheta=_clamp(theta - move),
        )  # fmt: skip

    add("FedAvg: momentum 0, rate 1024", (1000, 0, -7, 3, -12, 1024, 0))
    add("momentum of the policy above 0, mean 0", (1000, 4097, 0, 1, -12, 1024, 900), "Momentum")
    add(
        "negative momentum is decayed towards minus infinity",
        (0, -1, 0, 1, -12, 1024, 1),
        "Momentum",
        "Negative",
    )
    add("the Nesterov term takes the new momentum", (0, 1 << 20, 100, 3, -20, 1024, 512), "Momentum")
    add(
        "the Nesterov term is floored for a negative momentum", (0, -1025, -3, 1, -26, 1024, 1023), "Negative"
    )
    add("the rate is applied to the sum of step and Nesterov term", (5, 3, 1, 1, -26, 3, 700), "Momentum")
    add("a negative move is floored", (0, 0, -1, 1, -26, 1, 0), "Negative")
    add("a tie of the quotient is rounded up: 1/2", (0, 0, 1, 2, -26, 1024, 0), "Tie")
    add("a tie of the quotient is rounded up: -1/2", (0, 0, -1, 2, -26, 1024, 0), "Tie", "Negative")
    add("a tie of the quotient is rounded up: -3/2", (0, 0, -3, 2, -26, 1024, 0), "Tie", "Negative")
    for exponent in (-27, -28, -40):
        for mean in (1, -1, 3, -3, 100, -101):
            add(
                f"s < 0: exponent {exponent}, mean {mean}",
                (9, -9, mean, 1, exponent, 1024, 100),
                "NegativeShift",
            )
    add("s < 0 with a large mean scale", (0, 0, -125, 64, -27, 1024, 0), "NegativeShift", "Negative")
    add("the momentum is clamped above", (0, STATE_BOUND, 127, 1, 4, 1024, 1024), "Clamp")
    add("the momentum is clamped below", (0, -STATE_BOUND, -127, 1, 4, 1024, 1024), "Clamp")
    add("the Nesterov term takes the clamped momentum", (0, STATE_BOUND, 127, 1, 4, 1, 1024), "Clamp")
    add("theta is clamped above", (STATE_BOUND, 0, -127, 1, 4, 4096, 0), "Clamp")
    add("theta is clamped below", (-STATE_BOUND, 0, 127, 1, 4, 4096, 0), "Clamp")
    add("the largest mean scale", (1, 1, -127, 127, 4, 1024, 1023), "Clamp")
    good = dict(zip(names, (0, 0, 0, 1, 0, 1024, 0), strict=True))
    for comment, change in {
        "the mean scale is 0": {"meanScale": 0},
        "the mean scale is above 127": {"meanScale": 128},
        "the exponent is above 4": {"exponent": 5},
        "the exponent is below -40": {"exponent": -41},
        "the rate is no uint16": {"rate": 1 << 16},
        "the momentum is no uint16": {"decay": -1},
    }.items():
        group.invalid(comment, {**good, **change})
    return group


def exponent_cases() -> Group:
    """Section 10."""
    group = Group(
        "nextExponent",
        "10",
        "One tensor: A, S, M and N of each entry with a weight above 0; its votes and the next exponent.",
    )
    cases: dict[str, tuple[int, list[tuple[int, int, int]]]] = {
        "nobody changed it, above -12": (-5, [(0, 0, 0)] * 3),
        "nobody changed it, at -12": (-12, [(0, 0, 0)]),
        "nobody changed it, at -11": (-11, [(0, 0, 0)]),
        "nobody changed it, below -12": (-13, [(0, 0, 0)]),
        "most did not change it: their votes are 0": (-20, [(0, 0, 0), (0, 0, 0), (127, 16129, 127)]),
        "the lower median of two": (-20, [(127, 16129, 127), (1, 1, 1)]),
        "the lower median of four": (-20, [(127, 16129, 127), (16, 256, 16), (1, 1, 1), (64, 4096, 64)]),
        "saturated at 64": (-20, [(64, 4096, 64)]),
        "63 is not saturated": (-20, [(63, 3969, 63)]),
        "8 S = 7 M A": (-20, [(800, 70_000, 100)]),
        "8 S = 7 M A - 8": (-20, [(800, 69_999, 100)]),
        "clamped above": (3, [(127, 16129, 127)]),
        "clamped below": (-39, [(1, 1, 1)]),
        "a vote of -1 from a negative ratio": (-20, [(10, 100, 10)]),
        "ratio 16": (-20, [(16, 256, 16)]),
        "ratio 12": (-20, [(12, 144, 12)]),
        "ratio 11": (-20, [(11, 121, 11)]),
        "ratio 22 and 23": (-20, [(22, 484, 22), (23, 529, 23)]),
        "products beyond 2^64": (-20, [(127 << 40, 16129 << 40, 127), (16 << 40, 256 << 40, 40)]),
    }
    for comment, (exponent, sums) in cases.items():
        group.valid(comment, {"exponent": exponent, "width": 8, "sums": [(*one, 256) for one in sums]})
    for amplitude in range(1, 64):
        sums_ = [(amplitude, amplitude**2, amplitude, 256)]
        group.valid(f"all |q| = {amplitude}", {"exponent": -20, "width": 8, "sums": sums_})
    narrow: dict[str, tuple[int, int, list[tuple[int, int, int, int]]]] = {
        "width 4: nobody changed it": (4, -11, [(0, 0, 0, 0)]),
        "width 4: saturated at 4": (4, -8, [(400, 1600, 4, 256)]),
        "width 4: 3 is not saturated": (4, -8, [(300, 900, 3, 256)]),
        "width 4: 8 S = 7 M A": (4, -8, [(800, 4900, 7, 256)]),
        "width 4: 8 S = 7 M A - 8": (4, -8, [(800, 4899, 7, 256)]),
        "width 4: ratio 3": (4, -8, [(100, 300, 7, 256)]),
        "width 4: ratio 2.13 and 2.12": (4, -8, [(100, 213, 5, 256), (100, 212, 5, 256)]),
        "width 4: ratio 1": (4, -8, [(90, 90, 1, 256)]),
        "width 4: the lower median": (4, -8, [(400, 2800, 7, 256), (100, 300, 7, 256), (90, 90, 1, 256)]),
        "width 4: clamped above": (4, 3, [(400, 2800, 7, 256)]),
        "width 2: nobody changed it": (2, -12, [(0, 0, 0, 0)] * 2),
        "width 2: 8 A = 7 N": (2, -6, [(224, 224, 1, 256)]),
        "width 2: 8 A = 7 N - 8": (2, -6, [(223, 223, 1, 256)]),
        "width 2: a quarter": (2, -6, [(64, 64, 1, 256)]),
        "width 2: a fall of 4 from one of many": (2, -6, [(1, 1, 1, 256)]),
        "width 2: the lower median": (2, -6, [(224, 224, 1, 256), (64, 64, 1, 256), (20, 20, 1, 256)]),
        "width 2: blocks of zeros and padding do not count": (2, -6, [(3, 3, 1, 5)]),
        "width 2: clamped below": (2, -38, [(1, 1, 1, 4096)]),
        "width 2: products beyond 2^64": (2, -6, [(1 << 34, 1 << 34, 1, 3 << 34)]),
    }
    for comment, (width, exponent, entries) in narrow.items():
        given = {"exponent": exponent, "width": width, "sums": entries}
        group.valid(comment, given, ["Width"])
    for absolute in range(1, 256, 2):
        entries = [(absolute, absolute, 1, 256)]
        group.valid(f"width 2: A = {absolute}", {"exponent": -6, "width": 2, "sums": entries}, ["Width"])
    return group
