# SPDX-License-Identifier: Apache-2.0
"""Cases of section 8.3 of docs/protocol.md: comparisons with earlier rounds, the trajectory and the window."""

from __future__ import annotations

import numpy as np

from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.repeats import repeat_cosines
from folkmoot.protocol import codec, packing
from folkmoot.protocol.commitment import checksum_address
from folkmoot.protocol.fixed_point import STATE_BOUND
from folkmoot.protocol.updates import MemoryUpdate
from tools.cases.group import Group
from tools.cases.values import manifest_of, packed
from tools.vectors.values import stream, update_file


def repeat_cases() -> Group:
    """Section 8.3, repeat cosines."""
    group = Group(
        "repeatCosines", "8.3", "Repeat cosines of updates of a round with this seed; sample: the leaves compared, "
        "empty for all.",
    )  # fmt: skip
    elements = [700, 5, 256]
    manifest = manifest_of([str(size) for size in elements])
    people = [checksum_address("0x" + stream(f"repeat person {i}", 20).hex()) for i in range(5)]
    seed = stream("repeat seed", 32)

    def encoded(i: int, size: float, width: int, who: str) -> bytes:
        values = np.frombuffer(update_file(f"repeat {i}", manifest, 127), dtype=np.uint8)
        vector = (values.astype(np.float32) - np.float32(128)) * np.float32(size * 2.0**-10)
        zeros = np.zeros_like(vector)
        return codec.encode_update(vector, zeros, (-10, -9, -11), manifest, seed, who, width=width).data

    zero = {width: encoded(0, 0.0, width, people[0]) for width in (8, 4, 2)}
    for width, size in ((8, 1.0), (4, 0.03), (4, 0.002), (2, 0.004), (2, 0.001)):
        sizes = (size, size, 2 * size, size / 2, size)
        data = [encoded(i, one, width, who) for i, (one, who) in enumerate(zip(sizes, people, strict=True))]
        common = {"elements": elements, "exponents": (-10, -9, -11), "width": width, "seed": seed}
        name = f"width {width}, amplitude {size}"
        group.valid(name, {**common, "contributors": people, "updates": data, "sample": ()}, ["Noise"])
        group.valid(
            f"{name}; on a sample, with two updates of zeros",
            {
                **common,
                "contributors": [people[0], people[3], *people[1:3]],
                "updates": [zero[width]] * 2 + data[1:3],
                "sample": (0, 2, 4),
            },
            ["Noise", "Sampled"],
        )
        group.valid(
            f"{name}; two are rounded with the offsets of others",
            {**common, "contributors": [*people[:3], people[4], people[3]], "updates": data, "sample": ()},
            ["Noise"],
        )
    few = manifest_of(["40"])
    noisy: list[tuple[str, bytes]] = []
    number = 0
    while len(noisy) < 3:  # updates that seem to be nothing but noise: about a third of these
        who = checksum_address("0x" + stream(f"noisy person {number}", 20).hex())
        number += 1
        update = packed(bytes([128 + (i == number % 40) for i in range(40)]) + b"\x80" * 216, 2)
        found = repeat_cosines(few, [0], [MemoryUpdate(update, 2)], [codec.rounding_key(seed, who)])
        if found == (UNIT // 16,):
            noisy.append((who, update))
    clear = packed(bytes([129 if i % 2 else 127 for i in range(40)]) + b"\x80" * 216, 2)
    group.valid(
        "most seem to be nothing but noise: at least a sixteenth",
        {
            "elements": [40], "exponents": [0], "width": 2, "seed": seed, "sample": (),
            "contributors": [*(who for who, _ in noisy), people[0]],
            "updates": [*(update for _, update in noisy), clear],
        },
        ["Noise"],
    )  # fmt: skip
    group.valid(
        "only updates of zeros",
        {**common, "contributors": people[:2], "updates": [zero[2]] * 2, "sample": ()}, ["Noise"],
    )  # fmt: skip
    return group


def stride_cases() -> Group:
    """Section 8.3, which leaves of a large model the repeat cosines look at."""
    group = Group(
        "repeatCosinesAtStride", "8.3", "As repeatCosines, of one tensor of whole leaves: an update's packed file has "
        "the leaf usual at each place but one, which has the leaf other.",
    )  # fmt: skip
    people = [checksum_address("0x" + stream(f"stride person {i}", 20).hex()) for i in range(3)]
    leaves = [stream(f"stride leaf {i}", 64) for i in range(3)]
    # Two bits a coordinate, of which 00 is in no file.
    coded = [bytes(byte | ~(byte | byte >> 1) & 0x55 for byte in leaf) for leaf in leaves]
    for count in (1024, 1025, 1535, 2049):
        given = {
            "leaves": count, "width": 2, "seed": stream("stride seed", 32), "contributors": people,
            "usual": [b"\xaa" * 64] * 3, "other": coded, "place": (1, 2, count - 1),
        }  # fmt: skip
        group.valid(f"{count} leaves", given, ["Noise"])
    return group


def compared_cases() -> Group:
    """Section 8.3, the sample."""
    group = Group(
        "comparedLeaves", "8.3", "Leaves that are compared with earlier rounds: s, their number, the first and last "
        "five, and keccak of all of them as uint32.",
    )  # fmt: skip
    for leaves in (1, 4095, 4096, 4097, 8191, 8192, 8193, 12_289, 40_000, 100_003):
        for label in ("one", "two"):
            digest = stream(f"entries {label} {leaves}", 32)
            flags = ["Sampled"] if leaves > 4096 else []
            group.valid(
                f"{leaves} leaves, {label}",
                {"leaves": leaves, "entriesHash": digest},
                flags,
                s=-(-leaves // 4096),
            )
    return group


def compare_cases() -> Group:
    """Section 8.3, products."""
    group = Group(
        "compare",
        "8.3",
        "Products and squares of updates with one reference, files of these widths; sample: the leaves compared, empty "
        "for all.",
    )
    elements = [300, 5, 256]
    manifest = manifest_of([str(size) for size in elements])
    updates = [update_file(f"compare {i}", manifest, bound) for i, bound in enumerate((127, 9))]
    other = update_file("compare reference", manifest, 60)
    cases = {
        "the same exponents": ((-12, 4, -40), (-12, 4, -40), ()),
        "the reference is coarser": ((-12, -3, -14), (-10, -3, -10), ()),
        "the reference is finer": ((-10, -2, -10), (-12, -4, -11), ()),
        "far apart: all is clamped": ((-40, -40, 4), (4, -40, -40), ()),
        "a sample of two leaves": ((-12, 4, -12), (-12, 4, -12), (1, 3)),
        "a sample, other exponents": ((-12, 1, -12), (-11, -1, -15), (0, 2, 3)),
    }
    for comment, (ours, theirs, sample) in cases.items():
        group.valid(
            comment,
            {
                "elements": elements, "exponents": ours, "width": 8, "updates": updates, "reference": other,
                "referenceExponents": theirs, "referenceWidth": 8, "sample": sample,
            },
            ["Sampled"] if sample else [],
        )  # fmt: skip
    for width, other_width in ((4, 4), (4, 8), (8, 4), (2, 2), (2, 4)):
        ours_, theirs_ = (
            packed(update_file(f"compare {label}", manifest, packing.largest(one)), one)
            for label, one in (("ours", width), ("theirs", other_width))
        )
        group.valid(
            f"width {width}, the reference's {other_width}",
            {
                "elements": elements, "exponents": (-8, 1, -9), "width": width, "updates": [ours_],
                "reference": theirs_, "referenceExponents": (-9, 1, -7), "referenceWidth": other_width, "sample": (),
            },
            ["Width"],
        )  # fmt: skip
    return group


def trajectory_cases() -> Group:
    """Section 8.3, the trajectory."""
    group = Group(
        "trajectory",
        "8.3",
        "One integer of the trajectory: moved = theta_before - theta_base, s = 26 + e - (8 - width).",
    )
    widths = [(exponent, 8) for exponent in (-40, -28, -27, -26, -25, -12, 0, 4)]
    for exponent, width in (*widths, (-40, 4), (-22, 4), (-9, 4), (-40, 2), (-20, 2), (-6, 2)):
        s = 26 + exponent - (8 - width)
        unit = 1 << max(s, 0)
        for moved in sorted(
            {
                0,
                1,
                -1,
                3,
                -3,
                100,
                -128,
                unit // 2,
                -unit // 2,
                unit // 2 - 1,
                -unit // 2 - 1,
                3 * unit // 2,
                -3 * unit // 2,
                127 * unit,
                128 * unit,
                -127 * unit,
                -200 * unit,
            }
        ):
            if abs(moved) > STATE_BOUND:
                continue
            offset = 5 if abs(moved) < 1 << 40 else 0
            q = (2 * moved + (1 << s)) // (1 << (s + 1)) if s >= 0 else moved << -s
            group.valid(
                f"e = {exponent}, moved {moved}" + ("" if width == 8 else f", width {width}"),
                {"thetaBefore": moved + offset, "thetaBase": offset, "exponent": exponent, "width": width},
                ["NegativeShift"] if s < 0 else [],
                moved=moved, s=s, q=min(max(q, -127), 127),
            )  # fmt: skip
    return group


def window_cases() -> Group:
    """Section 8.3, the window."""
    group = Group(
        "window",
        "8.3",
        "The rounds of the window, the oldest first: bases[i] is the base of round i + 1.",
    )
    straight = list(range(20))
    group.valid("a round on the genesis", {"base": 0, "bases": straight})
    group.valid("fewer than 8 rounds", {"base": 5, "bases": straight})
    group.valid("exactly 8", {"base": 8, "bases": straight})
    group.valid("more than 8", {"base": 12, "bases": straight})
    group.valid("rounds that were voided are beside it", {"base": 9, "bases": [0, 1, 1, 3, 3, 5, 5, 7, 8]})
    return group


def window_sum_cases() -> Group:
    """Section 8.3, window sums."""
    group = Group(
        "windowSums",
        "8.3",
        "Products of window sums: rounds has what was weighed in the rounds of the window, the oldest first, the last "
        "being the round itself; gram is H; products and square are those with the trajectory.",
    )
    elements = [300, 5, 256]
    manifest = manifest_of([str(size) for size in elements])

    def update(label: str, bound: int = 60) -> bytes:
        return bytes(update_file(f"window {label}", manifest, bound))

    zero = bytes([128]) * manifest.size
    ones = [update("a"), update("b"), update("c", 127)]
    cases: dict[str, list[tuple[str, list[bytes]]]] = {
        "the round alone": [("abc", ones)],
        "of two the longer is scaled to the shorter": [("ab", [update("short", 9), update("long", 127)])],
        "one was away, one is new": [("ab", [update("d"), update("e", 20)]), ("bc", ones[:2])],
        "zero updates are in no sum and set no median": [
            ("abc", [zero, update("f", 9), zero]),
            ("abc", ones),
        ],
        "nothing but zeros": [("ab", [zero, zero])],
        "eight rounds": [("abc", [update(f"{i} {who}", 20 + 15 * i) for who in "abc"]) for i in range(8)],
        "one takes back what it sent": [("ab", ones[:2]), ("ab", [bytes(256 - q for q in ones[0]), ones[1]])],
    }
    for comment, weighed in cases.items():
        for exponents, trajectory_ in (((-12, -12, -12), b""), ((-10, 2, -14), update("trajectory", 127))):
            given = {
                "elements": elements, "exponents": exponents, "trajectory": trajectory_,
                "rounds": [{"contributors": list(who), "updates": sent} for who, sent in weighed],
            }  # fmt: skip
            group.valid(comment, given, ["Window"])
    return group
