# SPDX-License-Identifier: Apache-2.0
"""Cases of section 8 of docs/protocol.md: which entries a rule weighs, and their weights in drawn rounds."""

from __future__ import annotations

import random
from collections.abc import Sequence

from eth_account import Account

from folkmoot.aggregation.references import (
    ReferenceKind,
)
from folkmoot.aggregation.registry import PARAMETERS, uses
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.policy import CLAMPED_MEAN
from tools.cases.group import Group
from tools.cases.values import Values
from tools.cases.weights_by_hand import hand_picked_weights
from tools.vectors.values import product


def _case_vectors(chance: random.Random, count: int, size: int) -> list[list[int]]:
    """Vectors with a common direction, and some that a rule has to deal with."""
    common = [chance.randint(-40, 40) for _ in range(size)]
    spread = chance.choice([4, 20, 60])
    vectors: list[list[int]] = []
    for _ in range(count):
        kind = chance.choice(["usual"] * 7 + ["copy", "flip", "boost", "noise", "zero", "near"])
        own = [c + chance.randint(-spread, spread) for c in common]
        if kind == "copy" and vectors:
            own = list(chance.choice(vectors))
        elif kind == "near" and vectors:
            own = [q + chance.randint(-2, 2) for q in chance.choice(vectors)]
        elif kind == "flip":
            own = [-q for q in own]
        elif kind == "boost":
            own = [3 * q for q in own]
        elif kind == "noise":
            own = [chance.randint(-60, 60) for _ in own]
        elif kind == "zero":
            own = [0] * size
        vectors.append([min(max(q, -127), 127) for q in own])
    return vectors


def _parameters(name: str, chance: random.Random, count: int) -> list[int]:
    if name == CLAMPED_MEAN:
        return chance.choice([[], [1], [307], [512]])
    values = {"f": chance.randint(0, max(1, count // 2)), "m": chance.choice([0, 0, 1, 2, 3, count]), "t": 1}
    return [values[parameter] for parameter in PARAMETERS[name]]


def weights_cases() -> Group:
    """Section 8."""
    group = Group(
        "weights",
        "8",
        "A round of small vectors, one a delivered update. tensors says in which tensor each coordinate lies, elements "
        "how many coordinates each tensor of the model has (the vectors stand for all of them). root, trajectory and "
        "earlier are references in the same units; an empty list: there is none. window has the window sums, one a "
        "vector, where the rule uses them, and windowRounds the number of updates in each. repeats and earlierRepeats "
        "are the repeat cosines of vectors and earlier, 65536 where they are missing. earlierContributors has for each "
        "of earlier the index of its contributor's vector, -1 if there is none, as where they are missing; "
        "earlierRounds the place of its round in the lineage, the oldest first, 0 where they are missing. gram is the "
        "Gram matrix. "
        "numbers are those of the verdicts: the intermediate values of the stages.",
    )

    def add(
        comment: str, name: str, parameters: Sequence[int], vectors: Sequence[Sequence[int]],
        elements: Sequence[int] = (4096,), tensors: Sequence[int] | None = None, *,
        root: Sequence[int] = (), trajectory: Sequence[int] = (), earlier: Sequence[Sequence[int]] = (),
        window: Sequence[tuple[Sequence[int], int]] = (), flags: Sequence[str] = (),
        repeats: Sequence[int] = (), earlier_repeats: Sequence[int] = (),
        earlier_by: Sequence[tuple[int, int]] = (), private: bool = False,
    ) -> None:  # fmt: skip
        gram = [[product(x, y) for y in vectors] for x in vectors]
        if ReferenceKind.WINDOW in uses(name) and not window:  # as in the first round of all
            window = [(vector, 1) for vector in vectors]
        given = {
            "rule": name, "parameters": parameters, "elements": elements,
            "tensors": [0] * len(vectors[0]) if tensors is None else tensors, "vectors": vectors,
            "root": root, "trajectory": trajectory, "earlier": earlier,
        }  # fmt: skip
        if window:
            given |= {"window": [one for one, _ in window], "windowRounds": [rounds for _, rounds in window]}
        if repeats:
            given |= {"repeats": repeats}
        if earlier_repeats:
            given |= {"earlierRepeats": earlier_repeats}
        if earlier_by:
            given |= {"earlierContributors": [who for who, _ in earlier_by]}
            given |= {"earlierRounds": [when for _, when in earlier_by]}
        flagged: Values = {**given, "private": True} if private else given
        more: Values = {"gram": gram} if len(vectors) <= 9 else {}
        group.valid(comment, flagged, flags, **more)

    hand_picked_weights(add)
    pair = [[30, 40], [50, -60]]
    for comment, parameters in (
        ("of 0", [0]),
        ("of more than half", [513]),
        ("and another parameter", [5, 5]),
    ):
        group.invalid(
            f"a root share {comment}",
            {
                "rule": CLAMPED_MEAN, "parameters": parameters, "elements": [50], "tensors": [0, 0], "vectors": pair,
                "root": [10, 20], "trajectory": [], "earlier": [], "window": pair, "windowRounds": [1, 1],
            },
        )  # fmt: skip
    for name in PARAMETERS:
        chance = random.Random(f"weights of {name}")  # noqa: S311  the same draws each time
        for number in range(14):
            count, size = chance.choice([1, 2, 3, 4, 5, 5, 6, 7, 8, 9]), chance.randint(3, 7)
            vectors = _case_vectors(chance, count, size)
            tensors = sorted(chance.choice([0, 0, 1]) for _ in range(size))
            elements = [chance.choice([20, 50, 300, 2600, 70_000]) for _ in range(max(tensors) + 1)]
            mean = [sum(column) // count for column in zip(*vectors, strict=True)]
            root = [q + chance.randint(-15, 15) for q in mean] if number % 3 else []
            trajectory_ = [q + chance.randint(-30, 30) for q in mean] if number % 4 else []
            earlier = _case_vectors(chance, 2, size) if number % 2 else []
            if number % 5 == 1:
                earlier.append([2 * q for q in chance.choice(vectors)])
            if number == 7:
                root = [0] * size
            if number == 9:
                trajectory_ = [0] * size
            window: list[tuple[list[int], int]] = []
            if ReferenceKind.WINDOW in uses(name):
                before = _case_vectors(chance, count, size)
                for own, past in zip(vectors, before, strict=True):
                    rounds = chance.randint(1, 8)
                    window.append(([a + (rounds - 1) * b for a, b in zip(own, past, strict=True)], rounds))
            add(
                f"{name}, drawn {number}", name, _parameters(name, chance, count), vectors, elements, tensors,
                root=root, trajectory=trajectory_, earlier=earlier, window=window,
            )  # fmt: skip
    return group


def shares_cases() -> Group:
    """Section 8."""
    group = Group(
        "shares",
        "8",
        "Which entries a rule weighs: weighed and delivered have one bit an entry, the lowest for the first.",
    )
    people = [Account.from_key(keccak(f"folkmoot vector contributor {i}".encode())).address for i in range(5)]
    a, b, c = (keccak(b"root " + name) for name in (b"a", b"b", b"c"))

    def add(
        comment: str, roots: Sequence[bytes], weighed: int, delivered: int = 31, coordinator: int = 4
    ) -> None:
        given = {
            "coordinator": people[coordinator],
            "delivered": delivered,
            "contributors": people[: len(roots)],
            "roots": roots,
        }
        group.valid(comment, given, ["Copy"] if len(set(roots)) < len(roots) else [], weighed=weighed)

    add("no copies", [a, b, c], 0b111, 0b111)
    add("one entry", [a], 0b1, 0b1)
    add("all are copies of the first", [a, a, a, a], 0b1, 0b1111)
    add("two groups", [a, b, a, b], 0b11, 0b1111)
    add("a copy that is not next to the first", [a, b, c, a], 0b111, 0b1111)
    add("the first was not delivered: the second counts", [a, a, b], 0b110, 0b110)
    add("the first two were not delivered: the third counts", [a, a, a, a], 0b100, 0b1100)
    add("a copy that was not delivered", [a, a, b], 0b101, 0b101)
    add("the coordinator's own is the first: the next one counts", [a, a, a], 0b10, 0b111, coordinator=0)
    add("the coordinator's own copies", [a, b, a], 0b11, 0b111, coordinator=2)
    add("the coordinator's own is between two copies", [a, a, a], 0b1, 0b111, coordinator=1)
    add("nothing was delivered", [a, a, b], 0, 0)
    return group
