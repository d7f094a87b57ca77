# SPDX-License-Identifier: Apache-2.0
"""Cases of sections 7 to 11 of docs/protocol.md: whole rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from eth_account import Account

from folkmoot.protocol import merkle
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.state import State
from tools.cases.group import Group
from tools.cases.values import manifest_of, packed, text
from tools.vectors.values import state_values, stream, update_file


def round_cases() -> Group:
    """Sections 7 to 11 in one."""
    group = Group(
        "round", "7 to 11", "Rounds of a model of two tensors and three leaves: a null update was not delivered; "
        "the coordinator's own entry is the root-set update. Header: policy 1, chain and ledger as in protocol.json.",
    )  # fmt: skip
    elements = [300, 10]
    manifest = manifest_of([str(size) for size in elements])

    def state(label: str) -> State:
        return State(
            state_values(f"{label} theta", manifest, 1 << 30),
            state_values(f"{label} momentum", manifest, 1 << 22),
        )

    def altered(data: bytes, label: str, noise: int) -> bytes:
        common = np.frombuffer(data, dtype=np.uint8).astype(int) - 128
        own = np.frombuffer(update_file(label, manifest, noise), dtype=np.uint8).astype(int) - 128
        return bytes((np.clip(common + own, -127, 127) + 128).astype(np.uint8))

    def near(label: str, size: int, noise: int) -> bytes:
        return altered(update_file("round common", manifest, size), label, noise)

    base, before = state("round base"), state("round before")
    group.common = text({"baseState": base.to_bytes(), "stateBefore": before.to_bytes()})
    people = [
        Account.from_key(keccak(f"folkmoot vector contributor {i}".encode())).address for i in range(34)
    ]
    usual = [near(f"round case {i}", 30, 20) for i in range(5)]
    loud = update_file("round loud", manifest, 127)

    def add(
        comment: str, name: str, parameters: Sequence[int], data: Sequence[bytes], *,
        missing: Sequence[int] = (), damaged: Sequence[int] = (), coordinator: int = 7,
        exponents: Sequence[int] = (-9, -14), width: int = 8, scale: int = 1,
        earlier: Sequence[tuple[Any, ...]] = (), rate: int = 700, decay: int = 900,
        flags: Sequence[str] = (), valid: bool = True,
    ) -> None:  # fmt: skip
        trees = [merkle.update_tree(np.frombuffer(one, dtype=np.uint8)) for one in data]
        sent: list[bytes | None] = [
            None
            if i in missing
            else packed(bytes([one[0] ^ 1 or 3]) + one[1:] if i in damaged else one, width)
            for i, one in enumerate(data)
        ]
        given = {
            "elements": elements, "round": 5, "width": width, "exponents": exponents, "rule": name,
            "parameters": parameters, "meanScale": scale, "rate": rate, "decay": decay,
            "entries": [
                {"contributor": people[i], "updateRoot": tree.root, "sumSquares": tree.sum_squares}
                for i, tree in enumerate(trees)
            ],
            "updates": sent, "coordinator": people[coordinator],
            "earlier": [
                {
                    "exponents": one[0], "width": one[3] if len(one) > 3 else 8, "seed": stream(f"seed {n}", 32),
                    "updates": [packed(update, one[3] if len(one) > 3 else 8) for update in one[1]],
                    "contributors": [people[i] for i in (one[2] if len(one) > 2 and one[2] else range(len(one[1])))],
                }
                for n, one in enumerate(earlier)
            ],
        }  # fmt: skip
        (group.valid if valid else group.invalid)(comment, given, flags)

    add(
        "mean; one was not delivered, one arrived damaged",
        "mean",
        [],
        usual,
        missing=[1],
        damaged=[3],
        flags=["NotDelivered"],
    )
    add("mean; the root entry is the second", "mean", [], usual, coordinator=1, flags=["Root"])
    add(
        "mean; the root entry was not delivered",
        "mean",
        [],
        usual,
        coordinator=1,
        missing=[1],
        flags=["Root", "NotDelivered"],
    )
    add(
        "multi_krum; the outlier has no vote on the exponents",
        "multi_krum",
        [1, 2],
        [usual[0], loud, *usual[1:4], loud],
        coordinator=2,
        missing=[4],
        flags=["Root", "Exponents"],
    )
    add(
        "multi_krum; most are left out, the exponents follow the rest",
        "multi_krum",
        [1, 1],
        [loud, usual[0], usual[1], bytes([255]) * 300 + bytes([128]) * 468],
        exponents=(-40, 4),
        flags=["Exponents", "NegativeShift"],
    )
    add("clamped_mean; a copy", "clamped_mean", [], [*usual, usual[2]], flags=["Copy"])
    add("mean; copies share one share", "mean", [], [*usual[:3], usual[1], loud, usual[1]], flags=["Copy"])
    add(
        "mean; of three copies one is the coordinator's own, one was not delivered",
        "mean",
        [],
        [usual[0], usual[1], usual[0], usual[0], usual[1]],
        missing=[2],
        coordinator=0,
        flags=["Copy", "Root", "NotDelivered"],
    )
    many = [update_file(f"round of many {i}", manifest, 1) for i in range(33)]
    for count, what in (
        (32, "of 32 updates have a Gram tree"),
        (33, "of 33 updates have none: gramRoot is 0"),
    ):
        add(
            f"multi_krum; the products {what}",
            "multi_krum",
            [1, 0],
            many[:count],
            coordinator=33,
            width=2,
            flags=["Width", "GramRoot"],
        )
    add("multi_krum; copies are not weighed", "multi_krum", [1, 0], [loud, *usual, loud], flags=["Copy"])
    add(
        "clamped_mean; all are zero and copies",
        "clamped_mean",
        [],
        [bytes([128]) * 768] * 3,
        flags=["Copy", "ZeroUpdate"],
    )
    add(
        "clamped_mean; a replay in other units",
        "clamped_mean",
        [],
        usual,
        earlier=[((-9, -14), [loud]), ((-8, -14), [near("round case 2", 15, 10), usual[4]])],
        flags=["Replay", "Trajectory"],
    )
    signed = np.frombuffer(usual[2], dtype=np.uint8).astype(int) - 128
    scale = np.where(np.arange(signed.size) < 512, 4, 1)
    finer = bytes((np.clip(signed * scale, -127, 127) + 128).astype(np.uint8))
    add(
        "clamped_mean; a replay in finer units: both sides are clamped", "clamped_mean", [], usual,
        earlier=[((-11, -14), [finer, loud])], flags=["Replay"],
    )  # fmt: skip
    source = altered(usual[2], "round source", 2)
    framing = altered(source, "round made", 2)
    add(
        "clamped_mean; the first is derived from what the fourth sent",
        "clamped_mean", [], [framing, *usual], earlier=[((-9, -14), [loud, source], [0, 3])],
        flags=["Copy", "Derived"],
    )  # fmt: skip
    add(
        "clamped_mean; the fourth is alike to the first, as that is to what the fourth sent before",
        "clamped_mean", [], [framing, *usual], earlier=[((-9, -14), [source], [3]), ((-9, -14), [source], [0])],
        flags=["Copy", "Derived"],
    )  # fmt: skip
    add(
        "clamped_mean; what the first sent came after what the fourth sent, so it is not derived",
        "clamped_mean", [], [framing, *usual], earlier=[((-9, -14), [source], [3]), ((-9, -14), [loud], [0])],
        flags=["Copy", "Derived"],
    )  # fmt: skip
    add(
        "clamped_mean; the fourth is derived from what the first sent",
        "clamped_mean", [], [framing, *usual], earlier=[((-9, -14), [loud, source], [3, 0])],
        flags=["Copy", "Derived"],
    )  # fmt: skip
    add(
        "clamped_mean; a replay of the coordinator's own entry of an earlier round", "clamped_mean", [], usual,
        earlier=[((-9, -14), [loud, usual[2]], [3, 7])], flags=["Replay", "Root"],
    )  # fmt: skip
    past = [near(f"round past {i}", 30, 40) for i in range(6)]
    add(
        "clamped_mean; one turns, one is new, one was away, exact copies and the coordinator's are in no sum",
        "clamped_mean",
        [],
        [*usual[:4], bytes(256 - q for q in usual[4])],
        coordinator=6,
        earlier=[
            ((-9, -13), [past[0], past[1], past[0], loud], [0, 1, 2, 6]),
            ((-8, -14), [past[3], past[4], loud], [0, 4, 1]),
        ],
        flags=["Window", "Trajectory"],
    )
    add(
        "clamped_mean; of nine rounds seven are in the sums, eight in the trajectory",
        "clamped_mean",
        [],
        usual,
        earlier=[((-9, -14), [past[i % 6], past[(i + 1) % 6]], [i % 5, (i + 2) % 5]) for i in range(8)],
        flags=["Window", "Trajectory"],
    )
    add(
        "clamped_mean; one turns, one is new, one was away; the coordinator's is the root",
        "clamped_mean",
        [],
        [*usual[:4], bytes(256 - q for q in usual[4]), near("round root", 30, 10)],
        coordinator=5,
        earlier=[
            ((-9, -13), [past[0], past[1], past[0], loud], [0, 1, 2, 5]),
            ((-8, -14), [past[3], past[4], loud], [0, 4, 1]),
        ],
        flags=["Window", "Trajectory", "Root"],
    )
    add("clamped_mean; the first round", "clamped_mean", [], usual, flags=["Window"])
    nibbles = [update_file(f"round nibbles {i}", manifest, 7) for i in range(5)]
    signs = [update_file(f"round signs {i}", manifest, 1) for i in range(5)]
    add(
        "clamped_mean; width 4 after a round of width 8, with a replay",
        "clamped_mean",
        [],
        nibbles,
        width=4,
        exponents=(-7, -12),
        earlier=[((-9, -14), [loud, usual[0]]), ((-7, -11), [nibbles[2]], [], 4)],
        flags=["Width", "Replay", "Trajectory"],
    )
    add(
        "clamped_mean; width 4, rounds of width 8 are in no sum",
        "clamped_mean",
        [],
        nibbles[:4],
        width=4,
        exponents=(-7, -12),
        earlier=[((-9, -14), [past[0], past[1], past[2]]), ((-7, -12), [nibbles[4], nibbles[0]], [0, 3], 4)],
        flags=["Width", "Window", "Trajectory"],
    )
    add(
        "multi_krum; width 2, seven steps of the mean in one of an update",
        "multi_krum",
        [1, 0],
        signs,
        width=2,
        scale=7,
        exponents=(-5, -10),
        missing=[3],
        flags=["Width", "NotDelivered"],
    )
    add("width 4: S Q is 133", "mean", [], nibbles, width=4, scale=19, flags=["Width"], valid=False)
    add("one entry", "mean", [], usual[:1])
    add("an entry of zeros", "clamped_mean", [], [bytes([128]) * 768, *usual[:2]], flags=["ZeroUpdate"])
    add(
        "nobody but the coordinator delivered",
        "mean",
        [],
        usual[:2],
        coordinator=0,
        missing=[1],
        flags=["Root"],
        valid=False,
    )
    return group
