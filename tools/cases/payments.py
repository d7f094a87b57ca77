# SPDX-License-Identifier: Apache-2.0
"""Cases of sections 16 and 17 of docs/protocol.md: payments and standings."""

from __future__ import annotations

from tools.cases.group import Group


def pay_cases() -> list[Group]:
    """Sections 16 and 17."""
    group = Group(
        "payments",
        "16",
        "paid: whether each entry is paid, which the coordinator's own is not. Floors of reward * w / (n * max w).",
    )
    group.valid("equal weights", {"reward": 100, "weights": [1, 1, 1], "paid": [True] * 3})
    group.valid(
        "the coordinator's own entry is not counted in n",
        {"reward": 1000, "weights": [0, 3, 2, 1], "paid": [False, True, True, True]},
    )
    group.valid("weight 0 is counted in n", {"reward": 1000, "weights": [3, 0, 2], "paid": [True] * 3})
    group.valid(
        "the maximum is over all entries", {"reward": 999, "weights": [5, 2, 3], "paid": [False, True, True]}
    )
    group.valid("large amounts", {"reward": (1 << 128) - 1, "weights": [65536, 1, 65535], "paid": [True] * 3})
    second = Group("standing", "17", "The standing after each round, from 0.")
    second.valid("always the largest weight", {"weights": [1] * 30, "largest": [1] * 30})
    second.valid(
        "up and down", {"weights": [5, 0, 3, 65536, 0, 1, 0, 0], "largest": [5, 9, 4, 65536, 1, 65536, 2, 2]}
    )
    second.valid("one tiny weight", {"weights": [1, 1, 0], "largest": [65536, 65536, 1]})
    second.valid("down from the top", {"weights": [1] * 60 + [0] * 40, "largest": [1] * 100})
    return [group, second]
