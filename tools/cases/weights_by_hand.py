# SPDX-License-Identifier: Apache-2.0
"""Cases of section 8 of docs/protocol.md: weights at the edges of each rule."""

from __future__ import annotations

from collections.abc import Callable


def hand_picked_weights(add: Callable[..., None]) -> None:
    """The edges of section 8."""
    many = [[60 + i % 3, i % 5] for i in range(258)]
    add(
        "the largest weight is min(2^16, floor(16843009 / k)): k = 258",
        "clamped_mean",
        [],
        many,
        flags=["UnitCap"],
    )
    add("k = 257: the unit is still 2^16 ", "clamped_mean", [], many[:257], flags=["UnitCap"])
    add("all updates are 0: every weight is 1", "clamped_mean", [], [[0, 0], [0, 0]], flags=["ZeroUpdate"])
    add("an update of zeros", "clamped_mean", [], [[0, 0], [3, 4], [30, 40]], flags=["ZeroUpdate"])
    plain = [[60, 10, 0, 4], [60, -9, 5, 0], [58, 0, -12, 3], [61, 3, 8, -11]]
    for size in (160 * 16 - 1, 160 * 16, 31, 32, 300, 50):
        add(
            f"the ratio of copies with {size} coordinates", "clamped_mean", [],
            [*plain, [59, 11, 0, 4]], [size], flags=["Copy"],
        )  # fmt: skip
    apart = [[60, 10, 0], [-40, 30, 5], [-8, -52, 12], [3, 3, -28]]
    for comment, alike_to in (
        ("one is like the root-set update", (-30, 40, 9)),
        ("it is a zero update", (0, 0, 0)),
        ("it is like two", (20, -5, -20)),
    ):
        add(f"a root share: {comment}", "clamped_mean", [307], apart, [50], root=alike_to)
    add(
        "a root share: a cosine below 0 is none",
        "clamped_mean",
        [512],
        [[60, 9], [40, 30]],
        [50],
        root=(-9, 1),
    )
    add("a root share where there is no root-set update", "clamped_mean", [512], apart, [50])
    add("an exact copy among two", "clamped_mean", [], [[5, 6], [10, 12]], flags=["Copy"])
    add(
        "two that are nearly the same are no copies", "clamped_mean", [], [[60, 61], [61, 60]], flags=["Copy"]
    )
    add(
        "a copy of a copy is a copy of the first",
        "clamped_mean",
        [],
        [plain[0], *plain, plain[0]],
        flags=["Copy"],
    )
    add(
        "near the one that was left out only: no copy", "clamped_mean", [],
        [[100, 0, 0, 5], [100, 18, 0, 5], [100, 36, 0, 5], [60, -50, 30, 0], [50, 0, -60, 20]], flags=["Copy"],
    )  # fmt: skip
    for factor in (1, 2):
        add(
            f"a replay of an earlier round, times {factor}", "clamped_mean", [], plain,
            earlier=[[factor * q for q in plain[2]]], flags=["Replay"],
        )  # fmt: skip
    add(
        "all are replays: nobody is excluded, and all have the numbers", "clamped_mean", [], plain[:3],
        earlier=[*plain[:3], [1, 2, 3, 4]], flags=["Replay"],
    )  # fmt: skip
    for repeats_of_equal in ((65_536, 65_535), (65_535, 65_536)):
        add(
            f"of two equal likenesses the first counts: repeat cosines {repeats_of_equal}", "clamped_mean", [],
            [[100, 0, 0, 17], [0, 100, 0, 3], [0, 3, 100, 0], [2, 0, 7, 100]], [1 << 18],
            repeats=[65_536] * 4, earlier=[[100, 0, 0, 0], [100, 0, 0, 0]], earlier_repeats=repeats_of_equal,
            flags=["Replay", "Noise"],
        )  # fmt: skip
    add(
        "a replay of what another sent is not derived as well", "clamped_mean", [],
        [[100, 0, 0, 7], [0, 100, 0, 3], [0, 3, 100, 0], [2, 0, 7, 100]], [1 << 18],
        earlier=[[0, 3, 100, 0], [0, 50, 0, 90]], earlier_by=[(0, 0), (2, 0)], flags=["Replay", "Derived"],
    )  # fmt: skip
    for earlier_repeat in (60_000, 40_000, 9_000):
        add(
            f"noise: a repetition has a cosine of about {earlier_repeat}", "clamped_mean", [],
            [[40, 3, -9, 2], [38, 8, -14, 9], [10, 50, 3, -40], [5, -9, 60, 33]], [1 << 17],
            repeats=[61_000, 60_500, 62_000, 61_500], earlier=[[42, -3, -6, 12], [7, 30, 50, -20]],
            earlier_repeats=[earlier_repeat, 61_000], flags=["Copy", "Replay", "Noise"],
        )  # fmt: skip
    for size in (1 << 12, 1 << 15, 1 << 18, 1 << 20):
        add(
            f"noise: copies of the round with {size} coordinates", "clamped_mean", [],
            [[40, 3, -9, 2], [36, 12, -20, 9], [10, 50, 3, -40], [5, -9, 60, 33], [50, 50, 50, 51]], [size],
            repeats=[50_000, 52_500, 48_000, 51_500, 65_536], flags=["Copy", "Noise"],
        )  # fmt: skip
    for others, why in (
        (65_536, "of two updates only: no copy in a small model"),
        (64_880, "of all: a copy"),
    ):
        add(
            f"noise {why}", "clamped_mean", [],
            [[100, 0, 0, 0], [91, 36, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100], [0, 60, -80, 0]], [1 << 10],
            repeats=[64_880, 64_880, others, others, others], flags=["Copy", "Noise"],
        )  # fmt: skip
    for repeat in (65_500, 60_000, 20_000):
        add(
            f"noise of {repeat}: all are alike, two are parallel", "clamped_mean", [],
            [[90, 10, 0, 0], [91, 9, 1, 0], [89, 10, 1, 1], [91, 9, 1, 0], [90, 9, 0, 2]], [1 << 16],
            repeats=[repeat] * 5, earlier=[[180, 20, 0, 0], [90, 12, 4, 0]], earlier_repeats=[repeat, repeat],
            flags=["Copy", "Replay", "Noise"],
        )  # fmt: skip
    drawn: list[tuple[str, list[list[int]], int, list[int], list[list[int]], list[int]]] = [
        (
            "the scatter of dequantised updates",
            [
                [-44, 55, -9, 42],
                [-44, 56, -12, 42],
                [-43, 55, -13, 38],
                [-47, 58, -12, 41],
                [-46, 55, -13, 40],
            ],
            8192,
            [40304, 38169, 41003, 38869, 38323],
            [[-48, 57, -11, 41], [-46, 59, -11, 41]],
            [41418, 35341],
        ),
        (
            "six scatters above the median",
            [[33, 54, -29, -8], [28, 50, -31, -6], [30, 46, -29, -5], [29, 53, -30, -3], [38, 49, -31, -3]],
            4096,
            [25118, 23689, 24132, 26226, 27761],
            [],
            [],
        ),
        (
            "the largest corrected cosine",
            [[-12, 47, 29, -5], [-8, 48, 26, -8], [-15, 50, 24, 0], [-19, 45, 28, 4], [-11, 56, 35, 2]],
            131072,
            [21481, 21840, 23256, 20701, 22283],
            [[-14, 51, 24, 3], [-12, 46, 28, -6]],
            [24044, 19687],
        ),
        (
            "2^18 coordinates lower the scatter",
            [[-36, 6, 52, -38], [-35, 3, 55, -34], [-32, 4, 56, -34], [-35, 6, 53, -35], [-32, 2, 53, -37]],
            1048576,
            [51262, 50626, 51209, 51012, 51786],
            [[-35, 7, 53, -36], [-35, 7, 52, -39]],
            [59111, 51292],
        ),
        (
            "honest updates of a round",
            [[33, 24, 33, -40], [-14, -39, 24, 60], [-49, -18, -60, 47], [25, 20, 24, -49]],
            4096,
            [31095, 29246, 31421, 31463],
            [],
            [],
        ),
        (
            "three scatters above honest updates",
            [[-60, 7, -37, 14], [52, 24, 3, 13], [-51, -42, 12, -13], [42, -54, -21, -19], [-50, 3, -33, 3]],
            4096,
            [33962, 30308, 31168, 29700, 32766],
            [],
            [],
        ),
        (
            "an honest update and an earlier one",
            [[35, -11, 54, 4], [-25, -56, 27, -46], [43, -2, -22, -12], [20, -49, 33, 12], [49, -8, 34, -3]],
            4096,
            [60401, 62538, 65069, 60269, 62333],
            [[53, -9, -30, -10], [50, -16, -17, -24]],
            [65536, 65536],
        ),
        (
            "at the threshold",
            [[59, -53, -52, -5], [16, -8, -6, -36], [-3, 52, -48, 45], [54, -59, -56, -8]],
            32768,
            [51999, 51688, 56210, 52437],
            [[56, -53, -51, -8], [18, -9, -8, -37]],
            [53363, 55873],
        ),
    ]
    for why, rows, size, rounded, before, earlier_rounded in drawn:
        add(
            f"noise, drawn near a threshold: {why}", "clamped_mean", [], rows, [size], repeats=rounded,
            earlier=before, earlier_repeats=earlier_rounded, flags=["Copy", "Replay", "Noise"],
        )  # fmt: skip
    add(
        "near an earlier update, but no replay",
        "clamped_mean",
        [],
        plain,
        earlier=[[57, 2, -12, 3]],
        flags=["Replay"],
    )
    for size in (2560, 640, 63, 64):
        add(
            f"nearly a replay with {size} coordinates", "clamped_mean", [], plain, [size],
            earlier=[[58, 1, -12, 3], [-58, 1, 3, 0]], flags=["Replay"],
        )  # fmt: skip
    for name, q in (("the same direction is a replay", 200), ("near an earlier one is none", 100)):
        add(
            f"of two updates, {name}", "clamped_mean", [], [[100, 0, 0, 0], [0, 0, 90, 4]], [2560],
            earlier=[[q // 2, 0 if q == 200 else 3, 0, 0]], flags=["Replay"],
        )  # fmt: skip
    first, second, aside = [100, 0, 0, 0], [100, 35, 0, 0], [[0, 0, 90, 0], [3, 0, 0, 90]]
    source, unlike = [100, -35, 0, 0], [60, 0, 0, 90]  # the source is as alike to the first as the second is
    left, right = [100, 17, 0, 0], [100, -17, 0, 0]
    made: dict[str, tuple[list[list[int]], list[list[int]], list[tuple[int, int]]]] = {
        "derived from what another one sent": ([first, second], [unlike, source], [(0, 0), (1, 0)]),
        "derived from what nobody of this round sent": ([first, second], [unlike, source], [(0, 0), (-1, 0)]),
        "it sent nothing before the source": ([first, second], [source, unlike], [(-1, 0), (0, 1)]),
        "it sent nothing at all": ([first, second], [source], [(-1, 0)]),
        "what it sent itself is no source": ([first, second], [unlike, source], [(0, 0), (0, 1)]),
        "the root of an own likeness explains the source": (
            [first, second], [[100, 0, 50, 0], source], [(0, 0), (-1, 0)],
        ),
        "the root of an own likeness does not quite explain the source": (
            [first, second], [[100, 0, 52, 0], source], [(0, 0), (-1, 0)],
        ),
        "a tie of the root of an own likeness with the source": (
            [first, second], [[91, 0, 45, 0], [100, -34, 0, 0]], [(0, 0), (-1, 0)],
        ),
        "one of two own updates explains the source": (
            [first, second], [unlike, [100, 0, 50, 0], source], [(0, 0), (0, 0), (-1, 0)],
        ),
        "the earlier is more alike to what the later sent before": (
            [first, second], [[100, -31, 0, 0], unlike], [(1, 0), (0, 1)],
        ),
        "the earlier is more alike to what the later sent before, and sent nothing itself": (
            [first, second], [[100, -31, 0, 0]], [(1, 0)],
        ),
        "the earlier is as alike to what the later sent before": ([first, second], [source], [(1, 0)]),
        "the earlier is less alike to what the later sent before": ([first, second], [[100, -40, 0, 0]], [(1, 0)]),
        "the earlier is more alike to what somebody else sent before": (
            [first, second], [[100, -31, 0, 0]], [(2, 0)],
        ),
        "the later is still more alike to what the earlier sent before": (
            [first, second], [[100, 72, 0, 0], [100, 0, 44, 0], [100, -31, 0, 0]], [(0, 0), (0, 0), (1, 1)],
        ),
        "each is as alike to what the other sent before": (
            [left, right], [[100, -50, 0, 0], [100, 17, 44, 0], [100, 50, 0, 0]], [(0, 0), (0, 0), (1, 1)],
        ),
        "nobody is a copy of a replay": ([[60, -21, 0, 0], [100, 10, 9, 0]], [source], [(1, 0)]),
    }  # fmt: skip
    for why, (pair, before, by) in made.items():
        add(
            f"made before: {why}", "clamped_mean", [], [*pair, *aside],
            earlier=before, earlier_by=by, flags=["Copy", "Derived"],
        )  # fmt: skip
    noisy: dict[str, tuple[int, list[list[int]], list[tuple[int, int]]]] = {
        "an own likeness explains the source within three scatters": (
            4096, [[100, 0, 60, 0], [100, -45, 0, 0]], [(0, 0), (-1, 0)],
        ),
        "without the noise of rounding the earlier is less alike to what the later sent before": (
            4096, [[100, -50, 0, 0]], [(1, 0)],
        ),
    }  # fmt: skip
    for why, (size, before, by) in noisy.items():
        add(
            f"made before: {why}", "clamped_mean", [], [first, [100, 45, 0, 0], *aside], [size],
            repeats=[62_000] * 4, earlier=before, earlier_repeats=[62_000] * len(before), earlier_by=by,
            flags=["Copy", "Derived", "Noise"],
        )  # fmt: skip
    add(
        "in a small model the ratio is at least 1", "clamped_mean", [],
        [[100, 0, 0, 0], [100, 4, 0, 0], [3, 0, 90, 0], [0, 5, 0, 90]], [10], flags=["Copy"],
    )  # fmt: skip
    add("a negative median counts as 0", "clamped_mean", [], [[60, 0], [47, 37], [-60, -10]], flags=["Copy"])
    back = [[60, 30], [60, -30], [-60, 30]]
    add(
        "exactly at the threshold of the trajectory",
        "clamped_mean",
        [],
        back,
        [10],
        trajectory=[1, 0],
        flags=["Trajectory"],
    )
    add(
        "multi_krum: exactly 2 f + 2",
        "multi_krum",
        [2, 0],
        [[10, 0], [11, 0], [13, 0], [40, 0], [41, 0], [91, 5]],
    )
    add("only replays", "clamped_mean", [], plain[:2], earlier=plain[:2], flags=["Replay"])
    add(
        "the negative of an earlier update is no replay",
        "clamped_mean",
        [],
        plain,
        earlier=[[-58, 0, 12, -3]],
        flags=["Replay"],
    )
    noise = [[60, 5, 0, 1], [60, 0, 3, 3], [61, 5, 0, -4], [58, 6, 0, 2]]
    for size in (50, 64 * 32 - 32, 64 * 32, 500, 100_000):
        for last in ([1, -60, 5, 0], [8, -60, 5, 0], [14, -60, 5, 0]):
            add(
                f"an uncorrelated update with {size} coordinates, cosine about {last[0]}/60", "clamped_mean", [],
                [*noise, last], [size], flags=["Uncorrelated"],
            )  # fmt: skip
    for size in (5300, 5600):  # 16 times the average of noise
        add(
            f"an update with {size} coordinates, about as uncorrelated as noise", "clamped_mean", [],
            [*noise, [1, -60, 5, 0]], [size], flags=["Uncorrelated"],
        )  # fmt: skip
    add(
        "an uncorrelated update, where updates are private", "clamped_mean", [],
        [*noise, [1, -60, 5, 0]], [64 * 32], private=True, flags=["Uncorrelated"],
    )  # fmt: skip
    add(
        "an uncorrelated update of three", "clamped_mean", [],
        [[60, 30, 0, 1], [60, -30, 3, 3], [1, -1, 60, 0]], [64 * 32], flags=["Uncorrelated"],
    )  # fmt: skip
    add(
        "an opposite update is correlated",
        "clamped_mean",
        [],
        [*noise, [-60, 1, 0, 0]],
        flags=["Uncorrelated"],
    )
    add("of two none is uncorrelated", "clamped_mean", [], [[60, 0], [0, 60]], flags=["Uncorrelated"])
    add(
        "a tensor that exactly half of the updates change does not count", "clamped_mean", [],
        [[60, 1, 0], [60, 2, 0], [59, 3, 5], [61, 9, 4]], [50, 4096], [0, 0, 1], flags=["Dimensions"],
    )  # fmt: skip
    add(
        "a tensor that more than half change counts", "clamped_mean", [],
        [[60, 1, 1], [60, 2, 0], [59, 3, 5], [61, 9, 4]], [50, 4096], [0, 0, 1], flags=["Dimensions"],
    )  # fmt: skip
    core = [[60, 10, 0, 4], [60, -9, 5, 0], [58, 0, -12, 3], [10, 60, 0, 0], [-60, 20, 30, 3]]
    settled = [[60, 10, 0, 4], [-40, 30, 5, 0], [-8, -52, 12, 3], [3, 3, -28, 41], [-15, 9, 11, -48]]
    for trajectory_ in ([7, -3, 9, 12], [80, 2, 1, 1], [-9, 60, 3, 0], [30, 30, -30, -10]):
        add(
            f"cosines with the trajectory {trajectory_}",
            "clamped_mean",
            [],
            settled,
            trajectory=trajectory_,
            flags=["Trajectory"],
        )
    add(
        "one update and a trajectory", "clamped_mean", [], [[60, 1]], trajectory=[50, 2], flags=["Trajectory"]
    )
    add(
        "one update against the trajectory",
        "clamped_mean",
        [],
        [[60, 1]],
        trajectory=[-50, 2],
        flags=["Trajectory"],
    )
    add(
        "two updates, one against the trajectory",
        "clamped_mean",
        [],
        [[60, 1], [-30, 50]],
        trajectory=[50, 2],
        flags=["Trajectory"],
    )
    add(
        "antiparallel to the trajectory",
        "clamped_mean",
        [],
        [[60, 0], [60, 1], [-60, 0]],
        trajectory=[1, 0],
        flags=["Trajectory"],
    )
    add(
        "a zero trajectory",
        "clamped_mean",
        [],
        core,
        trajectory=[0, 0, 0, 0],
        flags=["Trajectory"],
    )
    for root in ([50, 0, 3, 1], [-50, 3, 0, 2], [0, 0, 0, 0], [3, 50, 9, 0], [1, 0, 0, 0]):
        add(f"root {root}", "clamped_mean", [], core, root=root, trajectory=[70, 9, 0, 0], flags=["Root"])
    add("without a root", "clamped_mean", [], core, trajectory=[70, 9, 0, 0], flags=["Root"])
    back_ = [[60, 10], [60, -9], [58, 3], [-60, 4], [9, 60]]
    for comment, sums_, rounds_, trajectory__ in (
        ("the sums are the updates", back_, [1] * 5, [60, 0]),
        ("no trajectory", back_, [8, 8, 8, 8, 8], []),
        ("one turned against the others", [*back_[:3], [200, -3], [-150, 70]], [8, 8, 8, 8, 8], [60, 0]),
        ("three that are alike share", [[80, 2], [80, 3], [80, 1], [5, 60], [40, -60]], [8] * 5, [60, 0]),
        ("a sum of zeros", [*back_[:4], [0, 0]], [8, 8, 8, 8, 2], [60, 0]),
        ("new accounts", back_, [8, 8, 3, 1, 1], [60, 0]),
        ("all cosines are negative", [[9, 0], [-9, 5], [-9, -5]], [1, 2, 8], [60, 0]),
        ("two", [[9, 1], [-9, 5]], [2, 7], [60, 0]),
        ("one", [[9, 1]], [1], []),
    ):
        for root_ in ([], [50, -20]):
            add(
                f"clamped_mean; {comment}; root {root_}", "clamped_mean", [], back_[: len(sums_)], [50],
                root=root_, trajectory=trajectory__, window=list(zip(sums_, rounds_, strict=True)),
                flags=["Window"],
            )  # fmt: skip
    add(
        "clamped_mean; 200 equal updates of 256: sums and products are as large as they get", "clamped_mean", [],
        [[127, 0]] * 200 + [[0, 127 - i % 7] for i in range(56)], [50], root=[127, 1], trajectory=[127, 2],
        window=[([1016, i % 3], 8) for i in range(200)] + [([i % 9, -1016], 1 + i % 8) for i in range(56)],
        flags=["Window", "UnitCap"],
    )  # fmt: skip
    line = [[10, 0], [11, 0], [13, 0], [40, 0], [90, 0], [91, 5]]
    for f, m in ((0, 0), (1, 0), (1, 2), (2, 3), (9, 1), (2, 6), (1, 1)):
        add(f"multi_krum with f = {f}, m = {m}", "multi_krum", [f, m], line, flags=["Krum"])
    add("multi_krum: fewer than 2 f + 3", "multi_krum", [3, 0], line, flags=["Krum"])
    add("multi_krum: exactly 2 f + 3", "multi_krum", [2, 0], [*line, [12, 1]], flags=["Krum"])
    add("multi_krum: two updates and m = 1", "multi_krum", [0, 1], line[:2], flags=["Krum"])
    add("multi_krum: one update", "multi_krum", [1, 1], line[:1], flags=["Krum"])
