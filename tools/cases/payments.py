# SPDX-License-Identifier: Apache-2.0
"""Cases of sections 16 and 17 of docs/protocol.md: payments and standings."""

from __future__ import annotations

from tools.cases.group import Group


def pay_cases() -> list[Group]:
    """Sections 16 and 17."""
    group = Group(
        "payments",
        "16",
        "paid: whether each entry is paid, which the coordinator's own is not. "
        "With pays: floors of reward * pay / (places * 65536); without: of reward * w / (places * max w).",
    )
    group.valid(
        "equal weights, all places taken",
        {"reward": 100, "places": 3, "weights": [1, 1, 1], "pays": [], "paid": [True] * 3},
    )
    group.valid(
        "a share does not depend on how many places are taken",
        {"reward": 100, "places": 3, "weights": [1, 1], "pays": [], "paid": [True] * 2},
    )
    group.valid(
        "the coordinator's own entry leaves its place unpaid",
        {"reward": 1000, "places": 4, "weights": [0, 3, 2, 1], "pays": [], "paid": [False, True, True, True]},
    )
    group.valid(
        "the maximum is over all entries",
        {"reward": 999, "places": 5, "weights": [5, 2, 3], "pays": [], "paid": [False, True, True]},
    )
    group.valid(
        "large amounts",
        {
            "reward": (1 << 128) - 1,
            "places": 256,
            "weights": [65536, 1, 65535],
            "pays": [],
            "paid": [True] * 3,
        },
    )
    group.valid(
        "pays, whatever the weights",
        {"reward": 1000, "places": 3, "weights": [1, 9, 5], "pays": [65536, 1, 30000], "paid": [True] * 3},
    )
    group.valid(
        "the coordinator's own entry is not paid by its pay",
        {
            "reward": 1000,
            "places": 4,
            "weights": [3, 2, 1],
            "pays": [65536, 0, 65535],
            "paid": [False, True, True],
        },
    )
    group.valid(
        "a pay is not relative to the largest",
        {"reward": 1 << 20, "places": 2, "weights": [1, 1], "pays": [256, 128], "paid": [True, True]},
    )
    second = Group("standing", "17", "The standing after each round, from 0.")
    second.valid("always the largest weight", {"weights": [1] * 30, "largest": [1] * 30})
    second.valid(
        "up and down", {"weights": [5, 0, 3, 65536, 0, 1, 0, 0], "largest": [5, 9, 4, 65536, 1, 65536, 2, 2]}
    )
    second.valid("one tiny weight", {"weights": [1, 1, 0], "largest": [65536, 65536, 1]})
    second.valid("down from the top", {"weights": [1] * 60 + [0] * 40, "largest": [1] * 100})
    return [group, second]
