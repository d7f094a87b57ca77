# SPDX-License-Identifier: Apache-2.0
"""Write the valid and invalid cases of the protocol: tests/vectors/cases.json.

    python tools/make_cases.py            write the file
    python tools/make_cases.py --check    fail if the file is not what this program writes

``protocol.json`` has what fits one section of the page. A case here is one call with one result, valid or invalid, and
has intermediate values where there are some, as the vectors of Project Wycheproof do. The cases are chosen so that each
small misreading of docs/protocol.md fails at least one: ``tools/vector_mutations.py`` tries them.

``FUNCTIONS`` says how the library computes the result of a case. Intermediate values are computed here, in plain
integers, from the formulas of the page; the program stops where they lead to another result than the library's.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from eth_account import Account

from folkmoot import round as rounds
from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.lineage import Lineage, PastRound, Published, window
from folkmoot.aggregation.references import (
    Reference,
    ReferencedFacts,
    ReferenceKind,
    Windows,
    compared_leaves,
    references,
)
from folkmoot.aggregation.registry import PARAMETERS, rule, uses
from folkmoot.aggregation.repeats import repeat_cosines
from folkmoot.aggregation.shares import copies_of
from folkmoot.aggregation.trajectory import trajectory_update
from folkmoot.aggregation.trimmed_sum import check_binary_weights
from folkmoot.aggregation.weighted_sum import check_weights
from folkmoot.aggregation.windows import windows
from folkmoot.errors import FolkmootError
from folkmoot.explain.reputation import next_standing
from folkmoot.protocol import codec, merkle, packing
from folkmoot.protocol import exponents as next_round
from folkmoot.protocol import outer_step as optimizer
from folkmoot.protocol.budget import MAX_STEPS, cost_of
from folkmoot.protocol.commitment import Commitment, Domain, checksum_address, entries_hash
from folkmoot.protocol.fixed_point import LEAF, STATE_BOUND
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, parse_canonical_json
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.mean import check_mean
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import payments
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import check_bytes
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.protocol.verdict import Artifacts, Verdicts

HERE = Path(__file__).resolve().parent
PATH = HERE.parent / "tests" / "vectors" / "cases.json"


def _vectors() -> Any:
    spec = util.spec_from_file_location("make_vectors", HERE / "make_vectors.py")
    if spec is None or spec.loader is None:
        raise SystemExit("tools/make_vectors.py is missing.")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shared = _vectors()
stream: Callable[[str, int], bytes] = shared.stream
hexed: Callable[[bytes], str] = shared.hexed
LEDGER: str = shared.LEDGER
CHAIN_ID: int = shared.CHAIN_ID

Case = dict[str, Any]
Values = dict[str, Any]


def raw(text: str) -> bytes:
    """Bytes of 0x-hex."""
    return bytes.fromhex(text.removeprefix("0x"))


def text(value: Any) -> Any:
    """Integers as decimal strings, bytes as 0x-hex, all the way down."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return hexed(value)
    if isinstance(value, dict):
        return {str(key): text(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [text(part) for part in value]
    return str(int(value))


def ints(values: Sequence[str]) -> list[int]:
    """Decimal strings as integers."""
    return [int(value) for value in values]


def manifest_of(elements: Sequence[str]) -> Manifest:
    """A manifest of flat tensors with these elements."""
    return Manifest("cases", tuple(Tensor(f"t{i}", (int(size),)) for i, size in enumerate(elements)))


# What the library says


def outer_step(given: Values) -> Values:
    """Section 9."""
    theta, momentum, mean = (
        np.full(LEAF, int(given[name]), dtype=np.int64) for name in ("theta", "momentum", "mean")
    )
    exponents = np.array([int(given["exponent"])], dtype=np.int64)
    rate, decay = int(given["rate"]), int(given["decay"])
    found = optimizer.outer_step(theta, momentum, mean, int(given["meanScale"]), exponents, rate, decay)
    return {"newTheta": int(found[0][0]), "newMomentum": int(found[1][0])}


def _product(x: Sequence[int], y: Sequence[int]) -> int:
    return sum(a * b for a, b in zip(x, y, strict=True))


def weights(given: Values) -> Values:
    """Section 8."""
    vectors = [ints(vector) for vector in given["vectors"]]
    elements, places = ints(given["elements"]), ints(given["tensors"])

    def reference(vector: Sequence[str], rows: Sequence[Sequence[int]] = vectors) -> Reference:
        values = ints(vector)
        return Reference(tuple(_product(values, one) for one in rows), _product(values, values))

    gram = tuple(tuple(_product(x, y) for y in vectors) for x in vectors)
    sums = [ints(one) for one in given.get("window", ())]
    window = Windows(
        tuple(tuple(_product(x, y) for y in sums) for x in sums),
        reference(given["trajectory"], sums) if given["trajectory"] else None,
        tuple(ints(given.get("windowRounds", ()))),
    )
    absolute = tuple(
        tuple(
            sum(abs(q) for q, t in zip(one, places, strict=True) if t == tensor)
            for tensor in range(len(elements))
        )
        for one in vectors
    )
    facts: RoundFacts = ReferencedFacts(
        gram,
        tuple(row[i] for i, row in enumerate(gram)),
        absolute,
        root=reference(given["root"]) if given["root"] else None,
        trajectory=reference(given["trajectory"]) if given["trajectory"] else None,
        earlier=tuple(
            replace(
                reference(one),
                repeat=int(given["earlierRepeats"][i]) if "earlierRepeats" in given else UNIT,
                contributor=int(given["earlierContributors"][i]) if "earlierContributors" in given else None,
                round=int(given["earlierRounds"][i]) if "earlierRounds" in given else 0,
            )
            for i, one in enumerate(given["earlier"])
        ),
        window=window if sums else None,
        repeats=tuple(ints(given.get("repeats", ()))),
        elements=tuple(elements),
    )
    results = rule(given["rule"])(facts, ints(given["parameters"]))
    return {
        "weights": [one.weight for one in results],
        "reasons": [one.reason.value for one in results],
        "numbers": [one.numbers for one in results],
    }


def shares(given: Values) -> Values:
    """Section 8, which entries are weighed."""
    roots = [
        raw(root) if int(given["delivered"]) >> i & 1 and contributor != given["coordinator"] else None
        for i, (contributor, root) in enumerate(zip(given["contributors"], given["roots"], strict=True))
    ]
    copies = copies_of(roots)
    return {"weighed": sum((root is not None and i not in copies) << i for i, root in enumerate(roots))}


def repeats(given: Values) -> Values:
    """Section 8.3, repeat cosines."""
    found = repeat_cosines(
        manifest_of(given["elements"]),
        ints(given["exponents"]),
        [MemoryUpdate(raw(update), int(given["width"])) for update in given["updates"]],
        [codec.rounding_key(raw(given["seed"]), who) for who in given["contributors"]],
        np.array(ints(given["sample"]), dtype=np.int64) if given["sample"] else None,
    )
    return {"cosines": found}


def compared(given: Values) -> Values:
    """Section 8.3, the sample."""
    count = int(given["leaves"])
    chosen = compared_leaves(count, raw(given["entriesHash"]))
    leaves = list(range(count)) if chosen is None else chosen.tolist()
    return {
        "count": len(leaves),
        "first": leaves[:5],
        "last": leaves[-5:],
        "digest": keccak(b"".join(leaf.to_bytes(4, "big") for leaf in leaves)),
    }


def compare(given: Values) -> Values:
    """Section 8.3, products with a reference."""
    sample = np.array(ints(given["sample"]), dtype=np.int64) if given["sample"] else None
    (found,) = references(
        manifest_of(given["elements"]),
        ints(given["exponents"]),
        [MemoryUpdate(raw(one), int(given["width"])) for one in given["updates"]],
        [
            (
                MemoryUpdate(raw(given["reference"]), int(given["referenceWidth"])),
                ints(given["referenceExponents"]),
            )
        ],
        sample,
    )
    result: Values = {"products": found.products, "square": found.square}
    return result if found.own is None else {**result, "ownSquares": found.own}


def window_sums(given: Values) -> Values:
    """Section 8.3, window sums and their products."""
    manifest = manifest_of(given["elements"])
    rounds = []
    for one in given["rounds"]:
        trees = [merkle.update_tree(np.frombuffer(raw(update), dtype=np.uint8)) for update in one["updates"]]
        rounds.append(
            {
                who: Published(MemoryUpdate(raw(update)), tree.sum_squares)
                for who, update, tree in zip(one["contributors"], one["updates"], trees, strict=True)
            }
        )
    trajectory_ = MemoryUpdate(raw(given["trajectory"])) if raw(given["trajectory"]) else None
    found = windows(manifest, ints(given["exponents"]), rounds, trajectory_)
    result: Values = {"gram": found.gram, "rounds": found.rounds}
    if found.trajectory is not None:
        result |= {"products": found.trajectory.products, "square": found.trajectory.square}
    return result


def lineage_window(given: Values) -> Values:
    """Section 8.3, the rounds of the window."""
    bases = ints(given["bases"])
    return {"rounds": window(int(given["base"]), lambda number: bases[number - 1])}


def trajectory(given: Values) -> Values:
    """Section 8.3, one integer of the trajectory."""
    manifest = manifest_of(["1"])
    states = []
    for name in ("thetaBefore", "thetaBase"):
        theta = np.zeros(LEAF, dtype=np.int64)
        theta[0] = int(given[name])
        states.append(State(theta, np.zeros_like(theta)))
    exponents, width = [int(given["exponent"])], int(given["width"])
    return {"q": int(trajectory_update(manifest, exponents, width, *states)[0]) - packing.ZERO}


def next_exponent(given: Values) -> Values:
    """Section 10."""
    sums = [next_round.TensorSums(*ints(one)) for one in given["sums"]]
    width = int(given["width"])
    votes = [next_round.vote(one, width) for one in sums]
    return {"votes": votes, "next": next_round.next_exponent(int(given["exponent"]), sums, width)}


def pay(given: Values) -> Values:
    """Section 16."""
    return {"payments": payments(int(given["reward"]), ints(given["weights"]), given["paid"])}


def cost(given: Values) -> Values:
    """Section 6.3."""
    return {"cost": cost_of(int(given["noise1024"]), int(given["steps"]))}


def standing(given: Values) -> Values:
    """Section 17."""
    values, value = [], 0
    for weight, largest in zip(ints(given["weights"]), ints(given["largest"]), strict=True):
        value = next_standing(value, weight, largest)
        values.append(value)
    return {"standings": values}


def signature(given: Values) -> Values:
    """Section 6."""
    commitment = commitment_of(given)
    domain = Domain(int(given["chainId"]), given["verifyingContract"])
    commitment.check_signature(raw(given["signature"]), domain)
    return {"digest": commitment.digest(domain)}


def commitment_of(given: Values) -> Commitment:
    """A commitment from its fields."""
    return Commitment(
        given["contributor"],
        int(given["round"]),
        raw(given["baseStateRoot"]),
        raw(given["updateRoot"]),
        int(given["sumSquares"]),
        raw(given["memoryHash"]),
        raw(given["bundleHash"]),
    )


def update_bytes(given: Values) -> Values:
    """Section 7, the checks of the bytes."""
    claimed = Commitment(LEDGER, 1, bytes(32), raw(given["updateRoot"]), int(given["sumSquares"]))
    update = MemoryUpdate(raw(given["data"]), int(given["width"]))
    found = check_bytes(update, claimed, manifest_of(given["elements"]))
    return {"tensors": [list(one) for one in found.tensors]}


def update_proof(given: Values) -> Values:
    """Section 3, a path in an update tree."""
    siblings = [(raw(one[0]), int(one[1]), int(one[2])) for one in given["siblings"]]
    arguments = (raw(given["root"]), int(given["sumSquares"]), raw(given["leaf"]), int(given["index"]))
    _require(merkle.verify_update(*arguments, siblings, int(given["leaves"])))
    return {}


def tree_proof(given: Values) -> Values:
    """Section 3, a path in a plain tree."""
    kind = {"mean": merkle.MEAN, "theta": merkle.THETA, "momentum": merkle.MOMENTUM}[given["tree"]]
    siblings = [raw(one) for one in given["siblings"]]
    arguments = (raw(given["root"]), raw(given["leaf"]), int(given["index"]))
    _require(merkle.verify(kind, *arguments, siblings, int(given["leaves"])))
    return {}


def mean_leaves(given: Values) -> Values:
    """Section 9, the checks of a mean's bytes."""
    leaves = np.frombuffer(raw(given["data"]), dtype=np.uint8).reshape(-1, LEAF)
    check_mean(leaves, manifest_of(given["elements"]), int(given["first"]), int(given["bound"]))
    return {}


def weight_sum(given: Values) -> Values:
    """Section 9, what weights a form takes."""
    check = check_binary_weights if given["form"] == "trimmed" else check_weights
    return {"sum": check(ints(given["weights"]))}


def encode(given: Values) -> Values:
    """Section 5, one update of a model of one tensor."""
    before = [given["before"]] if int(given["before"]) else []
    manifest = manifest_of([*before, given["elements"]])
    first = LEAF * manifest.leaf_offsets[-2]
    start, end = (np.zeros(manifest.size, dtype=np.float32) for _ in range(2))
    for values, name in ((start, "start"), (end, "end")):
        part = np.frombuffer(raw(given[name]), dtype=">f4")
        values[first : first + part.size] = part
    cap = int(given["maxSumSquares"]) if given["maxSumSquares"] else None
    exponents = [int(given["exponent"])] * len(manifest.tensors)
    found = codec.encode_update(
        start,
        end,
        exponents,
        manifest,
        raw(given["seed"]),
        given["contributor"],
        width=int(given["width"]),
        max_sum_squares=cap,
    )
    values_ = [byte - packing.ZERO for byte in found.leaves.reshape(-1).tolist()]
    return {
        "q": values_[first : first + int(given["elements"])],
        "bound": found.bound,
        "sumSquares": found.sum_squares,
    }


def document(given: Values) -> Values:
    """Sections 2 and 11, a document."""
    data = raw(given["data"])
    kind = given["kind"]
    if kind == "json":
        parse_canonical_json(data)
    elif kind == "manifest":
        return {"manifestHash": Manifest.from_json(data).hash}
    elif kind == "state":
        return {"stateRoot": State.from_bytes(data, manifest_of(["3"])).root(manifest_of(["3"]).hash)}
    elif kind == "header":
        return {"exponents": RoundHeader.decode(data).exponents}
    elif kind == "genesis":
        Genesis.from_json(data)
    elif kind == "verdicts":
        Verdicts.from_json(data)
    else:
        Artifacts.from_json(data)
    return {}


def whole_round(given: Values) -> Values:
    """Sections 7 to 11, a round."""
    manifest = manifest_of(given["elements"])
    base = State.from_bytes(raw(given["baseState"]), manifest)
    root = base.root(manifest.hash)
    number = int(given["round"])
    header = RoundHeader(
        number,
        manifest.hash,
        root,
        1,
        int(given["width"]),
        derive_seed(CHAIN_ID, LEDGER, number, root),
        tuple(ints(given["exponents"])),
    )
    policy = Policy(
        given["rule"], tuple(ints(given["parameters"])), 1 << 40, 1, 16, header.width,
        int(given["rate"]), int(given["decay"]), 60, 60, 60, 1, 0, 0, mean_scale=int(given["meanScale"]),
    )  # fmt: skip
    entries = [
        Commitment(one["contributor"], number, root, raw(one["updateRoot"]), int(one["sumSquares"]))
        for i, one in enumerate(given["entries"])
    ]
    lineage = Lineage(
        tuple(_past_round(one, given["coordinator"]) for one in given["earlier"]),
        State.from_bytes(raw(given["stateBefore"]), manifest) if given["earlier"] else None,
    )
    found = rounds.compute_round(
        manifest,
        header,
        policy,
        base,
        entries,
        [None if one is None else MemoryUpdate(raw(one), header.width) for one in given["updates"]],
        coordinator=given["coordinator"],
        lineage=lineage,
    )
    return {
        "headerHash": header.hash,
        "entriesHash": entries_hash(entries),
        "weights": found.weights,
        "delivered": found.anchor.delivered,
        "meanRoot": found.mean_root,
        "thetaRoot": found.theta_tree.root,
        "momentumRoot": found.momentum_tree.root,
        "stateRoot": found.state_root,
        "gramRoot": found.anchor.gram_root,
        "nextExponents": found.next_exponents,
        "verdicts": found.verdicts_file.decode(),
        "artifacts": found.artifacts_file.decode(),
        "anchorHash": found.anchor.hash,
    }


def _past_round(one: Values, coordinator: str) -> PastRound:
    """A round of the lineage, all of whose entries were delivered."""
    width = int(one["width"])
    updates = [MemoryUpdate(raw(update), width) for update in one["updates"]]
    trees = [
        merkle.update_tree(update.read(0, update.size // packing.file_size(1, width))) for update in updates
    ]
    entries = [
        Commitment(who, 1, bytes(32), tree.root, tree.sum_squares)
        for who, tree in zip(one["contributors"], trees, strict=True)
    ]
    header = RoundHeader(1, bytes(32), bytes(32), 1, width, raw(one["seed"]), tuple(ints(one["exponents"])))
    return PastRound.of(header, entries, updates, coordinator)


class CheckFailedError(FolkmootError):
    """A proof does not hold."""


def _require(holds: bool) -> None:
    if not holds:
        raise CheckFailedError("The proof does not hold.", remedy="It is meant to.", code="proof")


FUNCTIONS: dict[str, Callable[[Values], Values]] = {
    "canonicalJson": document,
    "documents": document,
    "updateProof": update_proof,
    "treeProof": tree_proof,
    "encode": encode,
    "signature": signature,
    "updateBytes": update_bytes,
    "weights": weights,
    "repeatCosines": repeats,
    "comparedLeaves": compared,
    "compare": compare,
    "trajectory": trajectory,
    "window": lineage_window,
    "windowSums": window_sums,
    "weightSum": weight_sum,
    "outerStep": outer_step,
    "nextExponent": next_exponent,
    "payments": pay,
    "standing": standing,
    "cost": cost,
    "round": whole_round,
    "shares": shares,
    "meanLeaves": mean_leaves,
}
"""How the library computes the result of a case, by the group's name."""


def outcome(group: str, given: Values) -> tuple[str, Values]:
    """Return what the library makes of an input: ``valid`` or ``invalid``, and the values as text."""
    try:
        return "valid", text(FUNCTIONS[group](given))
    except FolkmootError as error:
        return "invalid", {"code": error.code} if error.code else {}


def failures(document_: Any) -> Iterator[str]:
    """Yield what the library gets wrong: one line a case."""
    for group in document_["groups"]:
        for case in group["tests"]:
            try:
                result, values = outcome(group["group"], {**group["common"], **case["input"]})
            except Exception as error:  # a mutated library may raise anything
                yield f"{group['group']} {case['id']} ({case['comment']}): {type(error).__name__}"
                continue
            expected = case["expected"]
            wrong = [name for name, value in values.items() if name != "code" and expected.get(name) != value]
            if result != case["result"] or wrong or expected.get("code") != values.get("code"):
                what = ", ".join(wrong) or f"{result} {values.get('code', '')}".strip()
                yield f"{group['group']} {case['id']} ({case['comment']}): {what}"


# The cases


class Group:
    """The cases of one function."""

    def __init__(self, name: str, section: str, about: str) -> None:
        self.name, self.section, self.about = name, section, about
        self.common: Values = {}
        self.tests: list[Case] = []

    def add(self, comment: str, given: Values, flags: Sequence[str] = (), **more: Any) -> None:
        """Add a case; the library says whether it is valid. ``more`` are intermediate values."""
        given = text(given)
        result, values = outcome(self.name, {**self.common, **given})
        for name in set(more) & set(values):
            if text(more[name]) != values[name]:
                raise SystemExit(
                    f"{self.name}, {comment}: the formula gives {name} = {more[name]}, not {values[name]}."
                )
        expected = {**text(more), **values}
        self.tests.append(
            {"comment": comment, "flags": list(flags), "input": given, "expected": expected, "result": result}
        )

    def invalid(self, comment: str, given: Values, flags: Sequence[str] = ()) -> None:
        """Add a case that must be refused."""
        self.add(comment, given, flags)
        if self.tests[-1]["result"] != "invalid":
            raise SystemExit(f"{self.name}, {comment}: the library does not refuse it.")

    def valid(self, comment: str, given: Values, flags: Sequence[str] = (), **more: Any) -> None:
        """Add a case that must be accepted."""
        self.add(comment, given, flags, **more)
        if self.tests[-1]["result"] != "valid":
            raise SystemExit(f"{self.name}, {comment}: the library refuses it: {self.tests[-1]['expected']}.")


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
        earlier_by: Sequence[tuple[int, int]] = (),
    ) -> None:  # fmt: skip
        gram = [[_product(x, y) for y in vectors] for x in vectors]
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
        more: Values = {"gram": gram} if len(vectors) <= 9 else {}
        group.valid(comment, given, flags, **more)

    hand_picked_weights(add)
    for name in PARAMETERS:
        chance = random.Random(f"weights of {name}")  # noqa: S311
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


def hand_picked_weights(add: Callable[..., None]) -> None:
    """The edges of section 8."""
    many = [[60 + i % 3, i % 5] for i in range(258)]
    add(
        "the largest weight is min(2^16, floor(16843009 / k)): k = 258",
        "clipped_mean",
        [],
        many,
        flags=["UnitCap"],
    )
    add("k = 257: the unit is still 2^16 ", "clipped_mean", [], many[:257], flags=["UnitCap"])
    add("all updates are 0: every weight is 1", "clipped_mean", [], [[0, 0], [0, 0]], flags=["ZeroUpdate"])
    add("an update of zeros", "clipped_mean", [], [[0, 0], [3, 4], [30, 40]], flags=["ZeroUpdate"])
    plain = [[60, 10, 0, 4], [60, -9, 5, 0], [58, 0, -12, 3], [61, 3, 8, -11]]
    for size in (160 * 16 - 1, 160 * 16, 31, 32, 300, 50):
        add(
            f"the ratio of copies with {size} coordinates", "guarded_mean", [],
            [*plain, [59, 11, 0, 4]], [size], flags=["Copy"],
        )  # fmt: skip
    add("an exact copy among two", "guarded_mean", [], [[5, 6], [10, 12]], flags=["Copy"])
    add(
        "two that are nearly the same are no copies", "guarded_mean", [], [[60, 61], [61, 60]], flags=["Copy"]
    )
    add(
        "a copy of a copy is a copy of the first",
        "guarded_mean",
        [],
        [plain[0], *plain, plain[0]],
        flags=["Copy"],
    )
    add(
        "near the one that was left out only: no copy", "guarded_mean", [],
        [[100, 0, 0, 5], [100, 18, 0, 5], [100, 36, 0, 5], [60, -50, 30, 0], [50, 0, -60, 20]], flags=["Copy"],
    )  # fmt: skip
    for factor in (1, 2):
        add(
            f"a replay of an earlier round, times {factor}", "guarded_mean", [], plain,
            earlier=[[factor * q for q in plain[2]]], flags=["Replay"],
        )  # fmt: skip
    for earlier_repeat in (60_000, 40_000, 9_000):
        add(
            f"noise: a repetition has a cosine of about {earlier_repeat}", "guarded_mean", [],
            [[40, 3, -9, 2], [38, 8, -14, 9], [10, 50, 3, -40], [5, -9, 60, 33]], [1 << 17],
            repeats=[61_000, 60_500, 62_000, 61_500], earlier=[[42, -3, -6, 12], [7, 30, 50, -20]],
            earlier_repeats=[earlier_repeat, 61_000], flags=["Copy", "Replay", "Noise"],
        )  # fmt: skip
    for size in (1 << 12, 1 << 15, 1 << 18, 1 << 20):
        add(
            f"noise: copies of the round with {size} coordinates", "guided_mean", [],
            [[40, 3, -9, 2], [36, 12, -20, 9], [10, 50, 3, -40], [5, -9, 60, 33], [50, 50, 50, 51]], [size],
            repeats=[50_000, 52_500, 48_000, 51_500, 65_536], flags=["Copy", "Noise"],
        )  # fmt: skip
    for repeat in (65_500, 60_000, 20_000):
        add(
            f"noise of {repeat}: all are alike, two are parallel", "guarded_mean", [],
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
            f"noise, drawn near a threshold: {why}", "guarded_mean", [], rows, [size], repeats=rounded,
            earlier=before, earlier_repeats=earlier_rounded, flags=["Copy", "Replay", "Noise"],
        )  # fmt: skip
    add(
        "near an earlier update, but no replay",
        "guarded_mean",
        [],
        plain,
        earlier=[[57, 2, -12, 3]],
        flags=["Replay"],
    )
    for size in (2560, 640, 63, 64):
        add(
            f"nearly a replay with {size} coordinates", "guarded_mean", [], plain, [size],
            earlier=[[58, 1, -12, 3], [-58, 1, 3, 0]], flags=["Replay"],
        )  # fmt: skip
    for name, q in (("the same direction is a replay", 200), ("near an earlier one is none", 100)):
        add(
            f"of two updates, {name}", "guarded_mean", [], [[100, 0, 0, 0], [0, 0, 90, 4]], [2560],
            earlier=[[q // 2, 0 if q == 200 else 3, 0, 0]], flags=["Replay"],
        )  # fmt: skip
    first, second, aside = [100, 0, 0, 0], [100, 35, 0, 0], [[0, 0, 90, 0], [3, 0, 0, 90]]
    source = [100, -35, 0, 0]  # as alike to the first as the second is, and less to the second
    derived: dict[str, tuple[list[list[int]], list[list[int]], list[tuple[int, int]]]] = {
        "the earlier of two was derived: a tie of its likenesses": ([first, second], [source], [(1, 0)]),
        "what the own contributor sent before is no source": ([first, second], [source], [(0, 0)]),
        "what nobody of this round sent before is a source": ([first, second], [source], [(-1, 0)]),
        "an own update of the same round is as alike as the source": (
            [first, second], [[200, -70, 0, 0], source], [(0, 1), (1, 1)],
        ),
        "an own update of the round before is as alike as the source": (
            [first, second], [[200, -70, 0, 0], source], [(0, 0), (1, 1)],
        ),
        "an own update is as alike as the source, but later": (
            [first, second], [source, [200, -70, 0, 0]], [(1, 0), (0, 1)],
        ),
        "an own update is less alike than the source": (
            [first, second], [[200, -80, 0, 0], source], [(0, 0), (1, 0)],
        ),
        "both were derived from one update, as much": (
            [[100, 29, 0, 0], [100, -29, 0, 0]], [[100, 0, 0, 0]], [(-1, 0)],
        ),
        "both were derived from one update, the earlier more": (
            [[97, 28, 0, 0], [113, -33, 0, 0]], [[100, 0, 0, 0]], [(-1, 0)],
        ),
        "the earlier is more alike to an update before than the later, but less than to it": (
            [first, [100, 0, 35, 0]], [[100, 45, 0, 0]], [(-1, 0)],
        ),
        "nobody is a copy of a replay": ([[60, -21, 0, 0], [100, 10, 9, 0]], [source], [(1, 0)]),
    }  # fmt: skip
    for why, (pair, before, by) in derived.items():
        add(
            f"derived copies: {why}", "guarded_mean", [], [*pair, *aside],
            earlier=before, earlier_by=by, flags=["Copy", "Derived"],
        )  # fmt: skip
    noisy: dict[str, tuple[int, list[list[int]], int]] = {
        "without the noise of rounding less alike to the source": (1 << 20, [[100, -45, 0, 0]], 64_000),
        "without the noise of rounding more alike to the source": (1 << 20, [[100, -45, 0, 0]], 61_000),
        "less alike to the source by less than three scatters": (4096, [[500, -242, 0, 0]], 62_000),
        "an own update is less alike by less than three scatters": (
            4096, [[100, -45, 0, 0], [500, -242, 0, 0]], 62_000,
        ),
    }  # fmt: skip
    for why, (size, before, repeat) in noisy.items():
        add(
            f"derived copies: {why}", "guarded_mean", [], [first, [100, 45, 0, 0], *aside], [size],
            repeats=[62_000] * 4, earlier=before, earlier_repeats=[repeat] * len(before),
            earlier_by=[(1, 0), (0, 0)][: len(before)], flags=["Copy", "Derived", "Noise"],
        )  # fmt: skip
    add(
        "in a small model the ratio is at least 1", "guarded_mean", [],
        [[100, 0, 0, 0], [100, 4, 0, 0], [3, 0, 90, 0], [0, 5, 0, 90]], [10], flags=["Copy"],
    )  # fmt: skip
    add("a negative median counts as 0", "guarded_mean", [], [[60, 0], [47, 37], [-60, -10]], flags=["Copy"])
    add(
        "mix: an update is its own nearest, also among copies",
        "nnm",
        [2, 0],
        [[1, 0]] * 4,
        flags=["Mix", "Tie"],
    )
    add(
        "the veto takes the later of equal ones", "root_veto", [1],
        [[60, 5, 0], [61, -5, 9], [-60, 7, 0], [-60, 0, 7], [58, 9, 30]], [10], root=[9, 0, 0], flags=["Root", "Tie"],
    )  # fmt: skip
    back = [[60, 30], [60, -30], [-60, 30]]
    add(
        "exactly at the threshold of the trajectory",
        "guided_mean",
        [],
        back,
        [10],
        trajectory=[1, 0],
        flags=["Trajectory"],
    )
    add(
        "geometric_median: the least distance is rounded up", "geometric_median", [],
        [[7, -107], [20, -24], [51, -46], [21, 58], [74, 97], [46, -118], [3, -19]], flags=["Iterated"],
    )  # fmt: skip
    add(
        "multi_krum: exactly 2 f + 2",
        "multi_krum",
        [2, 0],
        [[10, 0], [11, 0], [13, 0], [40, 0], [41, 0], [91, 5]],
    )
    add("only replays", "guarded_mean", [], plain[:2], earlier=plain[:2], flags=["Replay"])
    add(
        "the negative of an earlier update is no replay",
        "guarded_mean",
        [],
        plain,
        earlier=[[-58, 0, 12, -3]],
        flags=["Replay"],
    )
    noise = [[60, 5, 0, 1], [60, 0, 3, 3], [61, 5, 0, -4], [58, 6, 0, 2]]
    for size in (50, 64 * 32 - 32, 64 * 32, 500, 100_000):
        for last in ([1, -60, 5, 0], [8, -60, 5, 0], [14, -60, 5, 0]):
            add(
                f"an uncorrelated update with {size} coordinates, cosine about {last[0]}/60", "guarded_mean", [],
                [*noise, last], [size], flags=["Uncorrelated"],
            )  # fmt: skip
    add(
        "an opposite update is correlated",
        "guarded_mean",
        [],
        [*noise, [-60, 1, 0, 0]],
        flags=["Uncorrelated"],
    )
    add("of two none is uncorrelated", "guarded_mean", [], [[60, 0], [0, 60]], flags=["Uncorrelated"])
    add(
        "a tensor that exactly half of the updates change does not count", "guarded_mean", [],
        [[60, 1, 0], [60, 2, 0], [59, 3, 5], [61, 9, 4]], [50, 4096], [0, 0, 1], flags=["Dimensions"],
    )  # fmt: skip
    add(
        "a tensor that more than half change counts", "guarded_mean", [],
        [[60, 1, 1], [60, 2, 0], [59, 3, 5], [61, 9, 4]], [50, 4096], [0, 0, 1], flags=["Dimensions"],
    )  # fmt: skip
    core = [[60, 10, 0, 4], [60, -9, 5, 0], [58, 0, -12, 3], [10, 60, 0, 0], [-60, 20, 30, 3]]
    for last in ([-20, 70, 0, 0], [-7, 70, 9, 1], [-60, 20, 30, 3], [0, 70, -9, 20]):
        add(f"outside of the core: {last}", "guarded_mean", [], [*core[:4], last], flags=["Core"])
        add(
            f"outside of the core with a trajectory: {last}",
            "guided_mean",
            [],
            [*core[:4], last],
            trajectory=[80, 2, 1, 1],
            flags=["Core", "Trajectory"],
        )
    add(
        "the core's factors are those of the core alone",
        "guarded_mean",
        [],
        [[120, 10, 0, 4], *core[1:], [9, 9, 60, 0]],
        flags=["Core"],
    )
    add(
        "a tie of cosines: the earlier pair joins first",
        "majority",
        [],
        [[1, 0], [0, 1], [-1, 0], [0, -1]],
        flags=["Tie"],
    )
    add(
        "a tie of cosines among five",
        "majority",
        [],
        [[5, 0], [0, 5], [5, 5], [-5, 5], [-5, 0]],
        flags=["Tie"],
    )
    add(
        "a majority of four is three",
        "majority",
        [],
        [[60, 0], [59, 5], [0, 60], [5, 59]],
        flags=["Majority"],
    )
    settled = [[60, 10, 0, 4], [-40, 30, 5, 0], [-8, -52, 12, 3], [3, 3, -28, 41], [-15, 9, 11, -48]]
    for trajectory_ in ([7, -3, 9, 12], [80, 2, 1, 1], [-9, 60, 3, 0], [30, 30, -30, -10]):
        add(
            f"cosines with the trajectory {trajectory_}",
            "guided_mean",
            [],
            settled,
            trajectory=trajectory_,
            flags=["Trajectory"],
        )
    add("one update and a trajectory", "guided_mean", [], [[60, 1]], trajectory=[50, 2], flags=["Trajectory"])
    add(
        "one update against the trajectory",
        "guided_mean",
        [],
        [[60, 1]],
        trajectory=[-50, 2],
        flags=["Trajectory"],
    )
    add(
        "two updates, one against the trajectory",
        "guided_mean",
        [],
        [[60, 1], [-30, 50]],
        trajectory=[50, 2],
        flags=["Trajectory"],
    )
    add(
        "antiparallel to the trajectory",
        "guided_mean",
        [],
        [[60, 0], [60, 1], [-60, 0]],
        trajectory=[1, 0],
        flags=["Trajectory"],
    )
    add(
        "a zero trajectory: multipliers outside of the core have their floor",
        "guided_mean",
        [],
        core,
        trajectory=[0, 0, 0, 0],
        flags=["Trajectory"],
    )
    for name in ("fltrust", "root_cosine", "root_guard", "rooted_mean", "root_veto"):
        parameters = [1] if name == "root_veto" else []
        for root in ([50, 0, 3, 1], [-50, 3, 0, 2], [0, 0, 0, 0], [3, 50, 9, 0], [1, 0, 0, 0]):
            add(
                f"{name}, root {root}",
                name,
                parameters,
                core,
                root=root,
                trajectory=[70, 9, 0, 0],
                flags=["Root"],
            )
        add(f"{name} without a root", name, parameters, core, trajectory=[70, 9, 0, 0], flags=["Root"])
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
        add(
            f"windowed_mean; {comment}",
            "windowed_mean",
            [],
            back_[: len(sums_)],
            [50],
            trajectory=trajectory__,
            window=list(zip(sums_, rounds_, strict=True)),
            flags=["Window"],
        )
    add(
        "a short update is lengthened 16 times at most",
        "fltrust",
        [],
        [[1, 0], [100, 3], [99, -5]],
        root=[9, 1],
        flags=["Root"],
    )
    add(
        "an update at a right angle to the root is left out",
        "root_cosine",
        [],
        [[60, 0], [0, 60], [59, 9]],
        [50],
        root=[9, 0],
        flags=["Root"],
    )
    add(
        "the veto takes the worst first, of equal ones the later",
        "root_veto",
        [1],
        [[60, 5], [61, -5], [-60, 7], [-60, 7], [58, 9]],
        [50],
        root=[9, 0],
        flags=["Root", "Tie"],
    )
    add(
        "the veto takes f and no more",
        "root_veto",
        [2],
        [[60, 5], [61, -5], [-60, 9], [-60, -9], [-58, 8]],
        [50],
        root=[9, 0],
        flags=["Root"],
    )
    add(
        "a cosine of 0 is not vetoed",
        "root_veto",
        [2],
        [[60, 5], [61, -5], [0, 60], [0, -50], [55, 8]],
        [50],
        root=[9, 0],
        flags=["Root"],
    )
    line = [[10, 0], [11, 0], [13, 0], [40, 0], [90, 0], [91, 5]]
    for f, m in ((0, 0), (1, 0), (1, 2), (2, 3), (9, 1), (2, 6), (1, 1)):
        add(f"mix with f = {f}, m = {m}", "nnm", [f, m], line, flags=["Mix"])
        add(f"multi_krum with f = {f}, m = {m}", "multi_krum", [f, m], line, flags=["Krum"])
    add(
        "mix: of equal distances the earlier is nearer",
        "nnm",
        [2, 0],
        [[10, 0], [12, 0], [8, 0], [10, 2], [10, -2]],
        flags=["Mix", "Tie"],
    )
    add("mix: equal scores", "nnm", [1, 2], [[10, 0], [-10, 0], [0, 10], [0, -10]], flags=["Mix", "Tie"])
    add("multi_krum: fewer than 2 f + 3", "multi_krum", [3, 0], line, flags=["Krum"])
    add("multi_krum: exactly 2 f + 3", "multi_krum", [2, 0], [*line, [12, 1]], flags=["Krum"])
    add("multi_krum: two updates and m = 1", "multi_krum", [0, 1], line[:2], flags=["Krum"])
    add("multi_krum: one update", "multi_krum", [1, 1], line[:1], flags=["Krum"])
    add("geometric_median of equal updates", "geometric_median", [], [[3, 4]] * 3, flags=["Iterated"])
    add("geometric_median with one far away", "geometric_median", [], line, flags=["Iterated"])
    add("centered_clipping with one far away", "centered_clipping", [], line, flags=["Iterated"])
    add("trimmed: zeros do not count", "trimmed_mean", [1], [[0, 0], [1, 2], [3, 4]], flags=["Trimmed"])
    add("trimmed: all are zeros", "trimmed_mean", [1], [[0, 0], [0, 0]], flags=["Trimmed"])
    add(
        "guarded_trimmed_mean leaves out a copy",
        "guarded_trimmed_mean",
        [1],
        [plain[0], *plain],
        flags=["Trimmed", "Copy"],
    )


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
        values = np.frombuffer(shared.update_bytes(f"repeat {i}", manifest, 127), dtype=np.uint8)
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
    group.valid(
        "only updates of zeros",
        {**common, "contributors": people[:2], "updates": [zero[2]] * 2, "sample": ()}, ["Noise"],
    )  # fmt: skip
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
    updates = [shared.update_bytes(f"compare {i}", manifest, bound) for i, bound in enumerate((127, 9))]
    other = shared.update_bytes("compare reference", manifest, 60)
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
            packed(shared.update_bytes(f"compare {label}", manifest, packing.largest(one)), one)
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


def packed(leaves: bytes, width: int) -> bytes:
    """The update file of leaves, in plain integers."""
    bits = "".join(f"{byte - 128 + (1 << width - 1):0{width}b}" for byte in leaves)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


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


def cost_cases() -> Group:
    """Section 6.3."""
    group = Group("cost", "6.3", "What an update costs of a privacy budget.")
    group.valid("the example of the page", {"noise1024": 2745, "steps": 1})
    group.valid("rounded up", {"noise1024": (1 << 32) - 1, "steps": 1})
    group.valid("the largest cost", {"noise1024": 1, "steps": MAX_STEPS})
    group.valid("no rounding", {"noise1024": 1024, "steps": 3})
    group.invalid("no noise", {"noise1024": 0, "steps": 1})
    group.invalid("noise of 33 bits", {"noise1024": 1 << 32, "steps": 1})
    group.invalid("no step", {"noise1024": 2745, "steps": 0})
    group.invalid("a step too many", {"noise1024": 2745, "steps": MAX_STEPS + 1})
    return group


def signature_cases() -> Group:
    """Section 6."""
    group = Group("signature", "6", "A commitment, a domain and 65 bytes r || s || v.")
    account = Account.from_key(shared.KEYS[0])
    other = Account.from_key(shared.KEYS[1])
    commitment = Commitment(
        account.address,
        7,
        stream("base", 32),
        stream("root", 32),
        1234,
        stream("memory", 32),
        stream("bundle", 32),
    )
    domain = Domain(CHAIN_ID, LEDGER)
    signed = commitment.sign(account, domain)
    fields = {
        "contributor": commitment.contributor, "round": 7, "baseStateRoot": commitment.base_state_root,
        "updateRoot": commitment.update_root, "sumSquares": 1234, "memoryHash": commitment.memory_hash,
        "bundleHash": commitment.bundle_hash,
        "chainId": CHAIN_ID, "verifyingContract": LEDGER, "signature": signed,
    }  # fmt: skip
    group.valid("the contributor's signature", fields)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high = (order - int.from_bytes(signed[32:64], "big")).to_bytes(32, "big")
    v = signed[64]
    compact = bytearray(signed[32:64])
    compact[0] |= (v - 27) << 7
    bad = {
        "v is 0 or 1": signed[:64] + bytes([v - 27]),
        "v of EIP-155": signed[:64] + bytes([v + 8]),
        "the other v": signed[:64] + bytes([55 - v]),
        "s in the upper half": signed[:32] + high + bytes([55 - v]),
        "the compact form of EIP-2098": signed[:32] + bytes(compact),
        "one byte more": signed + b"\0",
        "empty": b"",
        "r is 0": bytes(32) + signed[32:],
        "s is 0": signed[:32] + bytes(32) + signed[64:],
        "r is the curve's order": order.to_bytes(32, "big") + signed[32:],
    }
    for comment, data in bad.items():
        group.invalid(comment, {**fields, "signature": data})
    theirs = Commitment(
        other.address,
        7,
        stream("base", 32),
        stream("root", 32),
        1234,
        stream("memory", 32),
        stream("bundle", 32),
    )
    group.invalid("another account's signature", {**fields, "signature": theirs.sign(other, domain)})
    group.invalid(
        "ERC-1271: the contributor is a contract, its owner signed; only the chain can check that",
        {**fields, "contributor": LEDGER}, ["ERC1271"],
    )  # fmt: skip
    for name, value in {
        "round": 8, "sumSquares": 1235, "memoryHash": bytes(32), "chainId": 1, "bundleHash": bytes(32),
        "verifyingContract": account.address, "updateRoot": stream("base", 32), "baseStateRoot": bytes(32),
    }.items():  # fmt: skip
        group.invalid(f"another {name}", {**fields, name: value})
    return group


def bytes_cases() -> Group:
    """Section 7."""
    group = Group(
        "updateBytes",
        "7",
        "A file of this width against updateRoot and sumSquares. tensors: A, S, M and N of each tensor.",
    )
    elements = [300, 5]
    manifest = manifest_of([str(size) for size in elements])
    data = shared.update_bytes("update bytes", manifest)
    tree = merkle.update_tree(np.frombuffer(data, dtype=np.uint8))

    def given(changed: bytes, **more: Any) -> Values:
        return {
            "elements": elements,
            "width": 8,
            "data": changed,
            "updateRoot": tree.root,
            "sumSquares": tree.sum_squares,
            **more,
        }

    def with_byte(place: int, byte: int) -> bytes:
        return bytes(data[:place]) + bytes([byte]) + bytes(data[place + 1 :])

    group.valid("the update", given(data))
    low = bytes([1]) * 300 + bytes([128]) * 212 + bytes([255]) * 5 + bytes([128]) * 251
    tree_ = merkle.update_tree(np.frombuffer(low, dtype=np.uint8))
    group.valid(
        "the smallest and the largest integers",
        given(low, updateRoot=tree_.root, sumSquares=tree_.sum_squares),
    )
    group.invalid("a byte too few", given(data[:-1]))
    group.invalid("a leaf too many", given(data + bytes([128]) * LEAF))
    group.invalid("empty", given(b""))
    group.invalid("a byte 0x00", given(with_byte(17, 0)))
    group.invalid("padding 0x81", given(with_byte(300, 129)))
    group.invalid("padding 0x7f in the last place", given(with_byte(767, 127)))
    group.invalid("padding 0x00", given(with_byte(600, 0)))
    group.invalid("another byte", given(with_byte(3, 200 if data[3] != 200 else 201)))
    group.invalid("another sum of squares", given(data, sumSquares=tree.sum_squares + 1))
    group.invalid("another root", given(data, updateRoot=bytes(32)))
    for width in (4, 2):
        bound = packing.largest(width)
        leaves = shared.update_bytes(f"update bytes {width}", manifest, bound)
        tree = merkle.update_tree(np.frombuffer(leaves, dtype=np.uint8))
        group.valid(f"width {width}", given(packed(leaves, width), width=width), ["Width"])
        group.invalid(f"width {width}: unpacked", given(leaves, width=width), ["Width"])
        group.invalid(f"width {width} for a round of width 8", given(packed(leaves, width)), ["Width"])
        group.invalid(
            f"width {width}: the first coordinate in the lowest bits",
            given(bytes(int(f"{b:08b}"[::-1], 2) for b in packed(leaves, width)), width=width),
            ["Width"],
        )
        for comment, place, q in (
            ("the bits 0", 17, -bound - 1),
            ("padding of 1", 300, 1),
            ("padding of the bits 0", 600, -bound - 1),
        ):
            # The commitment is to the wrong integers, so only they can be what is refused.
            wrong = leaves[:place] + bytes([128 + q]) + leaves[place + 1 :]
            false = merkle.update_tree(np.frombuffer(wrong, dtype=np.uint8))
            claim = {"width": width, "updateRoot": false.root, "sumSquares": false.sum_squares}
            group.invalid(f"width {width}: {comment}", given(packed(wrong, width), **claim), ["Width"])
    row = bytes([128]) * 7 + bytes([129]) * 2 + bytes([128]) * 503 + bytes([128, 127]) + bytes([128]) * 254
    tree = merkle.update_tree(np.frombuffer(row, dtype=np.uint8))
    group.valid(
        "N counts blocks of 8 other than 0, without padding", given(packed(row, 2), width=2), ["Width"]
    )
    return group


def proof_cases() -> list[Group]:
    """Section 3."""
    group = Group(
        "updateProof",
        "3",
        "A leaf of an update tree; siblings from the lowest level up: hash, sum |q|, sum q^2.",
    )
    leaves = np.frombuffer(bytes(max(byte, 1) for byte in stream("proof", 5 * LEAF)), dtype=np.uint8).reshape(
        5, LEAF
    )
    tree = merkle.update_tree(leaves)
    good: Values = {}
    for index in range(5):
        good = {
            "root": tree.root, "sumSquares": tree.sum_squares, "leaf": leaves[index].tobytes(), "index": index,
            "siblings": [list(one) for one in tree.proof(index)], "leaves": 5,
        }  # fmt: skip
        group.valid(f"leaf {index} of 5", good)
    path_ = good["siblings"]
    group.invalid("another index", {**good, "index": 3})
    group.invalid("an index behind the last leaf", {**good, "index": 5})
    group.invalid("a path too short", {**good, "siblings": path_[:-1]})
    group.invalid("a path too long", {**good, "siblings": [*path_, path_[0]]})
    group.invalid("siblings from the top down", {**good, "siblings": path_[::-1]})
    group.invalid("another number of leaves", {**good, "leaves": 9})
    group.invalid("another sum of squares", {**good, "sumSquares": tree.sum_squares + 1})
    group.invalid("a sum in a sibling", {**good, "siblings": [[path_[0][0], path_[0][1], 1], *path_[1:]]})
    group.invalid("sum |q| in a sibling", {**good, "siblings": [[path_[0][0], 1, path_[0][2]], *path_[1:]]})
    group.invalid("a sum beyond 64 bits", {**good, "siblings": [[path_[0][0], 1 << 64, 0], *path_[1:]]})
    group.invalid("a sibling's hash", {**good, "siblings": [[bytes([1]) * 32, 0, 0], *path_[1:]]})
    zero = bytes(1) + leaves[4].tobytes()[1:]
    node: Any = (keccak(b"\0", zero), sum(abs(b - 128) for b in zero), sum((b - 128) ** 2 for b in zero))
    for sibling in tree.proof(4)[:2]:
        node = merkle._sum_node(node, sibling)
    node = merkle._sum_node(tree.proof(4)[2], node)
    group.invalid(
        "a leaf with the byte 0x00 in a tree that has it",
        {**good, "leaf": zero, "root": node[0], "sumSquares": node[2]},
    )
    inner = [[keccak(b"\0", b"".join([tree.levels[0].node(0)[0]])), 0, 0]]
    group.invalid(
        "a node in the place of a leaf",
        {**good, "leaf": inner[0][0], "index": 0, "siblings": path_[1:], "leaves": 4},
    )

    second = Group("treeProof", "3", "A leaf of a plain tree; siblings from the lowest level up.")
    for kind in (merkle.MEAN, merkle.THETA, merkle.MOMENTUM):
        rows = np.frombuffer(stream(f"proof {kind.name}", 3 * kind.leaf_bytes), dtype=np.uint8).reshape(3, -1)
        plain = merkle.tree(kind, merkle.leaf_hashes(kind, rows))
        base: Values = {
            "tree": kind.name, "root": plain.root, "leaf": rows[2].tobytes(), "index": 2,
            "siblings": list(plain.proof(2)), "leaves": 3,
        }  # fmt: skip
        second.valid(f"{kind.name}: the last leaf, beside an empty place", base)
        second.invalid(f"{kind.name}: another index", {**base, "index": 1})
        second.invalid(f"{kind.name}: an index behind the last leaf", {**base, "index": 3})
        second.invalid(f"{kind.name}: a path too short", {**base, "siblings": base["siblings"][:1]})
        second.invalid(f"{kind.name}: another number of leaves", {**base, "leaves": 5})
        short = rows[0].tobytes()[:-1]
        lone = {
            "root": keccak(bytes([kind.leaf_prefix]), short),
            "leaf": short,
            "index": 0,
            "siblings": [],
            "leaves": 1,
        }
        second.invalid(f"{kind.name}: a leaf that is too short, in a tree of its own", {**base, **lone})
        second.invalid(f"{kind.name}: another leaf", {**base, "leaf": rows[1].tobytes()})
        second.invalid(f"{kind.name}: a byte too few", {**base, "leaf": rows[2].tobytes()[:-1]})
        other = "theta" if kind is not merkle.THETA else "momentum"
        if kind is not merkle.MEAN:
            second.invalid(f"{kind.name}: as a leaf of {other}", {**base, "tree": other})
    return [group, second]


def weight_sum_cases() -> Group:
    """Section 9."""
    group = Group(
        "weightSum", "9", "Which weights an aggregate takes: W of a weighted sum, k of a trimmed sum."
    )
    group.valid("weighted", {"form": "weighted", "weights": [3, 0, 4]})
    group.valid("weighted: the largest sum", {"form": "weighted", "weights": [16_843_008, 1]})
    group.invalid("weighted: above the largest sum", {"form": "weighted", "weights": [16_843_009, 1]})
    group.invalid("weighted: all 0", {"form": "weighted", "weights": [0, 0]})
    group.invalid("weighted: a negative one", {"form": "weighted", "weights": [2, -1]})
    group.valid("trimmed", {"form": "trimmed", "weights": [1, 0, 1]})
    group.invalid("trimmed: a weight of 2", {"form": "trimmed", "weights": [1, 2]})
    group.invalid("trimmed: all 0", {"form": "trimmed", "weights": [0, 0]})
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


def encode_cases() -> Group:
    """Section 5."""
    group = Group(
        "encode", "5", "An update of one tensor; before: elements of a tensor of zeros in front. start and end are "
        "float32, big-endian. units: u * 2^24 by place; y: "
        "the quotient as binary64, big-endian. maxSumSquares empty: no cap. q: leaves, not the file.",
    )  # fmt: skip
    seed, contributor = stream("seed", 32), Account.from_key(shared.KEYS[0]).address
    key = codec.rounding_key(seed, contributor)

    def add(
        comment: str,
        pairs: Sequence[tuple[float, float]],
        exponent: int,
        cap: str = "",
        *,
        before: int = 0,
        width: int = 8,
        valid: bool = True,
    ) -> None:
        start, end = (b"".join(struct.pack(">f", one[side]) for one in pairs) for side in (0, 1))
        given = {
            "before": before, "elements": len(pairs), "start": start, "end": end, "exponent": exponent, "seed": seed,
            "contributor": contributor, "maxSumSquares": cap, "width": width,
        }  # fmt: skip
        if not valid:
            group.invalid(comment, given)
            return
        first = LEAF * -(-before // LEAF)
        places = range(first, first + len(pairs))
        units = [int(codec.rounding_offsets(key, place, place + 1)[0] * 2**24) for place in places]
        y = [(_float32(a) - _float32(b)) * 2.0**-exponent for a, b in pairs]
        group.valid(comment, given, y=[struct.pack(">d", one) for one in y], units=units)

    add("integers are not rounded", [(float(i), 0.0) for i in (0, 1, -1, 126, -126, 127, -127)], 0)
    add("halves go up or down by u", [(i / 2, 0.0) for i in range(-21, 21, 2)], 0)
    add("start - end, not end - start", [(1.5, 4.0), (4.0, 1.5)], -1)
    add(
        "beyond the range",
        [
            (127.25, 0.0),
            (127.9, 0.0),
            (128.0, 0.0),
            (500.0, 0.0),
            (-127.25, 0.0),
            (-128.0, 0.0),
            (-500.0, 0.0),
        ]
        * 3,
        0,
    )
    add("tiny changes", [(2.0**-40, 0.0), (-(2.0**-40), 0.0)] * 4, -12)
    add("the difference is taken in float64", [(1.0, 2.0**-30), (1.0, -(2.0**-30))] * 3, -26 + 20)
    add("places count the tensors in front, with their padding", [(0.5, 0.0), (0.25, 0.0)] * 8, 0, before=300)
    offsets = [float(u) for u in codec.rounding_offsets(key, 0, 24)]
    above = [float(np.nextafter(np.float32(u), np.float32(2))) for u in offsets]
    add("just below the step of u, in float64", [(64.0, u) for u in above], 0)
    add("u has 24 bits", [(1.0, u) for u in above], 0)
    add("fitted to a cap", [(float(i), 0.0) for i in (100, -50, 20, 3, 0)], 0, str(50**2 * 2 + 20**2 + 3**2))
    add("one below", [(float(i), 0.0) for i in (100, -50, 20, 3, 0)], 0, str(50**2 * 2 + 20**2 + 3**2 - 1))
    for width in (4, 2):
        q = packing.largest(width)
        edges = (q - 0.75, q, q + 0.25, q + 0.9, q + 1, 500, -q, -q - 0.25, -q - 1, -500)
        add(f"width {width}: beyond the range", [(float(y), 0.0) for y in edges] * 3, 0, width=width)
        add(f"width {width}: halves", [(i / 2, 0.0) for i in range(-21, 21, 2)], 0, width=width)
    many = [(7.0, 0.0), (-7.0, 0.0), (4.0, 0.0), (-3.0, 0.0), (1.0, 0.0)]
    add("width 4: fitted to a cap", many, 0, str(3 * 4**2 + 3**2 + 1), width=4)
    add("width 4: one below", many, 0, str(3 * 4**2 + 3**2), width=4)
    add("width 2: at the cap", [(1.0, 0.0), (-5.0, 0.0), (0.0, 0.0)], 0, "2", width=2)
    add("width 2: the cap leaves no room", [(1.0, 0.0), (-5.0, 0.0)], 0, "1", width=2, valid=False)
    add("the cap leaves no room", [(5.0, 0.0), (5.0, 0.0)], 0, "1", valid=False)
    add("NaN", [(1.0, float("nan"))], 0, valid=False)
    add("infinity", [(1.0, float("inf"))], 0, valid=False)
    add("the exponent is above 4", [(1.0, 0.0)], 5, valid=False)
    add("the exponent is below -40", [(1.0, 0.0)], -41, valid=False)
    return group


def _float32(value: float) -> float:
    return float(np.float32(value))


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
            shared.state_values(f"{label} theta", manifest, 1 << 30),
            shared.state_values(f"{label} momentum", manifest, 1 << 22),
        )

    def altered(data: bytes, label: str, noise: int) -> bytes:
        common = np.frombuffer(data, dtype=np.uint8).astype(int) - 128
        own = np.frombuffer(shared.update_bytes(label, manifest, noise), dtype=np.uint8).astype(int) - 128
        return bytes((np.clip(common + own, -127, 127) + 128).astype(np.uint8))

    def near(label: str, size: int, noise: int) -> bytes:
        return altered(shared.update_bytes("round common", manifest, size), label, noise)

    base, before = state("round base"), state("round before")
    group.common = text({"baseState": base.to_bytes(), "stateBefore": before.to_bytes()})
    people = [Account.from_key(keccak(f"folkmoot vector contributor {i}".encode())).address for i in range(8)]
    usual = [near(f"round case {i}", 30, 20) for i in range(5)]
    loud = shared.update_bytes("round loud", manifest, 127)

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
    add("guarded_mean; a copy", "guarded_mean", [], [*usual, usual[2]], flags=["Copy"])
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
    add("multi_krum; copies are not weighed", "multi_krum", [1, 0], [loud, *usual, loud], flags=["Copy"])
    add(
        "trimmed_mean; copies are not among the values",
        "trimmed_mean",
        [1],
        [loud, loud, *usual[:3], loud],
        flags=["Copy", "Trimmed"],
    )
    add(
        "clipped_mean; all are zero and copies",
        "clipped_mean",
        [],
        [bytes([128]) * 768] * 3,
        flags=["Copy", "ZeroUpdate"],
    )
    add(
        "guided_mean; a replay in other units",
        "guided_mean",
        [],
        usual,
        earlier=[((-9, -14), [loud]), ((-8, -14), [near("round case 2", 15, 10), usual[4]])],
        flags=["Replay", "Trajectory"],
    )
    add(
        "rooted_mean; trajectory and root",
        "rooted_mean",
        [],
        usual,
        coordinator=0,
        earlier=[((-10, -13), [loud])],
        flags=["Root", "Trajectory"],
    )
    add(
        "root_veto; the root entry is the last",
        "root_veto",
        [1],
        [*usual, loud],
        coordinator=5,
        flags=["Root"],
    )
    add(
        "trimmed_mean",
        "trimmed_mean",
        [1],
        [*usual, loud],
        missing=[0],
        coordinator=3,
        flags=["Trimmed", "NotDelivered"],
    )
    signed = np.frombuffer(usual[2], dtype=np.uint8).astype(int) - 128
    scale = np.where(np.arange(signed.size) < 512, 4, 1)
    finer = bytes((np.clip(signed * scale, -127, 127) + 128).astype(np.uint8))
    add(
        "guarded_mean; a replay in finer units: both sides are clamped", "guarded_mean", [], usual,
        earlier=[((-11, -14), [finer, loud])], flags=["Replay"],
    )  # fmt: skip
    source = altered(usual[2], "round source", 2)
    framing = altered(source, "round made", 2)
    add(
        "guarded_mean; the first is derived from what the fourth sent, and sent that too, but later",
        "guarded_mean", [], [framing, *usual], earlier=[((-9, -14), [source], [3]), ((-9, -14), [source], [0])],
        flags=["Copy", "Derived"],
    )  # fmt: skip
    add(
        "guarded_mean; what the first sent before is its own",
        "guarded_mean", [], [framing, *usual], earlier=[((-9, -14), [loud, source], [3, 0])],
        flags=["Copy", "Derived"],
    )  # fmt: skip
    past = [near(f"round past {i}", 30, 40) for i in range(6)]
    add(
        "windowed_mean; one turns, one is new, one was away, exact copies and the coordinator's are in no sum",
        "windowed_mean",
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
        "windowed_mean; of nine rounds seven are in the sums, eight in the trajectory",
        "windowed_mean",
        [],
        usual,
        earlier=[((-9, -14), [past[i % 6], past[(i + 1) % 6]], [i % 5, (i + 2) % 5]) for i in range(8)],
        flags=["Window", "Trajectory"],
    )
    add("windowed_mean; the first round", "windowed_mean", [], usual, flags=["Window"])
    nibbles = [shared.update_bytes(f"round nibbles {i}", manifest, 7) for i in range(5)]
    signs = [shared.update_bytes(f"round signs {i}", manifest, 1) for i in range(5)]
    add(
        "guided_mean; width 4 after a round of width 8, with a replay",
        "guided_mean",
        [],
        nibbles,
        width=4,
        exponents=(-7, -12),
        earlier=[((-9, -14), [loud, usual[0]]), ((-7, -11), [nibbles[2]], [], 4)],
        flags=["Width", "Replay", "Trajectory"],
    )
    add(
        "windowed_mean; width 4, rounds of width 8 are in no sum",
        "windowed_mean",
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
    add("trimmed_mean; width 4", "trimmed_mean", [1], nibbles, width=4, flags=["Width", "Trimmed"])
    add("width 4: S Q is 133", "mean", [], nibbles, width=4, scale=19, flags=["Width"], valid=False)
    add("one entry", "mean", [], usual[:1])
    add("an entry of zeros", "clipped_mean", [], [bytes([128]) * 768, *usual[:2]], flags=["ZeroUpdate"])
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
        return bytes(shared.update_bytes(f"window {label}", manifest, bound))

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


def json_cases() -> list[Group]:
    """Sections 2 and 11."""
    group = Group(
        "canonicalJson", "2", "Bytes that are canonical JSON, or not. The comment says what differs."
    )
    good = {
        "an object": b'{"a":1,"b":[true,false,null,"x"]}',
        "empty": b"{}",
        "a number alone": b"7",
        "keys by code point, not by UTF-16 as in RFC 8785": '{"\uff01":1,"\U0001f600":2}'.encode(),
        "upper case before lower case": b'{"B":1,"a":2}',
        "no escape but the needed ones": '{"ä":"€ ß / \u007f"}'.encode(),
        "the short escapes": b'"\\b\\f\\n\\r\\t\\"\\\\"',
        "other control characters, lower-case hex": b'"\\u0000\\u001f"',
        "an integer beyond 2^53 stays exact": b"9007199254740993",
        "an integer beyond 2^64": b"36893488147419103233",
        "a negative integer": b"-1",
        "a float with an integral value keeps its .0": b"1.0",
        "negative zero of a float": b"-0.0",
        "0.1": b"0.1",
        "a small number in exponent form": b"1e-07",
        "0.0001 is not in exponent form": b"0.0001",
        "0.00001 is": b"1e-05",
        "exponent form from 1e16 on": b"1e+16",
        "the largest without it": b"9999999999999998.0",
        "17 digits": b"0.30000000000000004",
        "the smallest": b"5e-324",
        "64 levels": b"[" * 64 + b"]" * 64,
    }
    bad = {
        "white space after a colon": b'{"a": 1}',
        "white space after a comma": b"[1, 2]",
        "a line feed at the end": b"{}\n",
        "white space in front": b" {}",
        "keys in another order": b'{"b":1,"a":2}',
        "a duplicate key": b'{"a":1,"a":2}',
        "a duplicate key with the same value": b'{"a":1,"a":1}',
        "keys as RFC 8785 sorts them": '{"\U0001f600":2,"\uff01":1}'.encode(),
        "an escape that is not needed": b'"\\u0041"',
        "a non-ASCII character escaped": b'"\\u00e4"',
        "an escaped solidus": b'"\\/"',
        "upper-case hex in an escape": b'"\\u001F"',
        "a long escape where there is a short one": b'"\\u000a"',
        "a control character": b'"\n"',
        "a lone surrogate, escaped": b'"\\ud800"',
        "a surrogate pair, escaped": b'"\\ud83d\\ude00"',
        "a surrogate in UTF-8": b'"\xed\xa0\x80"',
        "not UTF-8": b'"\xff"',
        "an overlong form": b'"\xc0\xaf"',
        "a byte order mark": b"\xef\xbb\xbf{}",
        "UTF-16": '{"a":1}'.encode("utf-16-le"),
        "a leading zero": b"01",
        "a plus sign": b"+1",
        "-0 as an integer": b"-0",
        "an integer in exponent form": b"1e2",
        "RFC 8785's form of 1e16": b"10000000000000000.0",
        "RFC 8785's form of 1e-7": b"1e-7",
        "an upper-case exponent": b"1E-07",
        "a trailing zero": b"0.10",
        "more digits than needed": b"0.1000000000000000055511151231257827",
        "no digit before the point": b".5",
        "no digit behind it": b"1.",
        "NaN": b"NaN",
        "infinity": b"Infinity",
        "a number too large for binary64": b"1e400",
        "a trailing comma": b"[1,]",
        "a comment": b"{}//",
        "single quotes": b"{'a':1}",
        "a key that is no string": b"{1:2}",
        "two values": b"{}{}",
        "nothing": b"",
        "65 levels": b"[" * 65 + b"]" * 65,
        "an open string": b'"a',
        "an integer of more than 4300 digits": b"1" * 4301,
    }
    for comment, data in good.items():
        group.valid(comment, {"kind": "json", "data": data})
    for comment, data in bad.items():
        group.invalid(comment, {"kind": "json", "data": data})
    return [group, document_cases()]


def document_cases() -> Group:
    """Sections 2, 4 and 11: whole documents."""
    group = Group(
        "documents", "2, 4, 11", "Documents of each kind; a state file is for a manifest of one tensor of 3 elements.",
    )  # fmt: skip
    vectors = json.loads((PATH.parent / "protocol.json").read_text(encoding="utf-8"))
    whole = vectors["round"]

    def changed(kind: str, source: str, changes: dict[str, Callable[[Any], Any]]) -> None:
        group.valid(f"{kind}: as it is", {"kind": kind, "data": source.encode()})
        for comment, change in changes.items():
            value = json.loads(source)
            change(value)
            data = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            group.invalid(f"{kind}: {comment}", {"kind": kind, "data": data})
        spaced = json.dumps(json.loads(source), ensure_ascii=False).encode()
        group.invalid(f"{kind}: white space", {"kind": kind, "data": spaced})
        twice = source.encode().replace(b'{"', b'{"format":"x","', 1)
        group.invalid(f"{kind}: a key twice", {"kind": kind, "data": twice})

    def put(name: str, value: Any, *places: Any) -> Callable[[Any], Any]:
        def change(document_: Any) -> None:
            for place in places:
                document_ = document_[place]
            document_[name] = value

        return change

    def drop(name: str) -> Callable[[Any], Any]:
        return lambda document_: document_.pop(name)

    changed("manifest", vectors["manifest"]["json"], {
        "an unknown field": put("extra", 1),
        "no task": drop("task"),
        "another format": put("format", "folkmoot/manifest/1"),
        "an empty task": put("task", ""),
        "a task of 65 characters": put("task", "x" * 65),
        "no tensor": put("arrays", []),
        "a size of 0": put("shape", [0], "arrays", 0),
        "a size that is a float": put("shape", [3.0, 100], "arrays", 0),
        "a size that is a bool": put("shape", [True], "arrays", 0),
        "a size above 2^32": put("shape", [(1 << 32) + 1], "arrays", 0),
        "33 dimensions": put("shape", [1] * 33, "arrays", 0),
        "too many leaves": put("shape", [1 << 32, 2], "arrays", 0),
        "a name twice": put("name", "layer.bias", "arrays", 0),
        "the name __metadata__": put("name", "__metadata__", "arrays", 0),
        "an empty name": put("name", "", "arrays", 0),
        "a tensor of int8": put("dtype", "int8", "arrays", 0),
        "carried data of another length": put("data", "AAAA", "arrays", 1),
        "base64 with bits left over": put("data", "+f////////9=", "arrays", 1),
        "base64 with a line feed": put("data", "+f//////\n//8=", "arrays", 1),
        "training that is a list": put("training", []),
    })  # fmt: skip
    changed("genesis", whole["genesis"], {
        "an unknown field": put("extra", 1),
        "another format": put("format", "folkmoot/genesis/2"),
        "an exponent above 4": put("exponents", [5]),
        "an exponent below -40": put("exponents", [-41]),
        "an exponent that is a float": put("exponents", [-3.0]),
        "an exponent that is a bool": put("exponents", [True]),
        "upper-case hex": put("state", "A" * 64),
        "a hash with 0x": put("state", "0x" + "a" * 62),
    })  # fmt: skip
    changed("verdicts", whole["verdicts"], {
        "an unknown field": put("extra", 1),
        "an unknown field in a verdict": put("extra", 1, "verdicts", 0),
        "no rule": drop("rule"),
        "an address without its checksum": put("contributor", "0x" + "ab" * 20, "verdicts", 0),
        "a reason that does not exist": put("reason", "disliked", "verdicts", 0),
        "a weight that is a string": put("weight", "1", "verdicts", 0),
        "a weight that is a float": put("weight", 1.0, "verdicts", 0),
        "a negative weight": put("weight", -1, "verdicts", 0),
        "a weight beyond uint32": put("weight", 1 << 32, "verdicts", 0),
        "an index out of order": put("index", 1, "verdicts", 0),
        "a negative round": put("round", -1),
        "a parameter beyond uint32": put("parameters", [1 << 32]),
        "a number that is an integer": put("sumSquares", 5, "verdicts", 0, "numbers"),
        "a number with a leading zero": put("sumSquares", "05", "verdicts", 0, "numbers"),
        "a number with white space": put("sumSquares", " 5", "verdicts", 0, "numbers"),
        "a number with an underscore": put("sumSquares", "5_0", "verdicts", 0, "numbers"),
    })  # fmt: skip
    changed("artifacts", whole["artifacts"], {
        "an unknown field": put("extra", 1),
        "no state": drop("state"),
        "upper-case hex in the header": put("header", "AB"),
        "an update that is a number": put("updates", [1]),
        "an update of 63 digits": put("updates", ["a" * 63]),
        "an exponent out of range": put("nextExponents", [-41]),
        "a negative round": put("round", -1),
    })  # fmt: skip
    header = raw(whole["header"])
    group.valid("header: as it is", {"kind": "header", "data": header})
    group.invalid("header: a byte too many", {"kind": "header", "data": header + b"\0"})
    group.invalid("header: a word too few", {"kind": "header", "data": header[:-32]})
    group.invalid("header: round beyond uint64", {"kind": "header", "data": b"\1" + header[1:]})
    group.invalid("header: padding that is not 0", {"kind": "header", "data": header[:-1] + b"\1"})
    place = 8 * 32
    group.invalid(
        "header: an exponent of 5", {"kind": "header", "data": header[:place] + b"\5" + header[place + 1 :]}
    )
    manifest = manifest_of(["3"])
    theta = np.zeros(LEAF, dtype=np.int64)
    theta[:3] = [STATE_BOUND, -STATE_BOUND, -1]
    state = State(theta, theta[::1].copy()).to_bytes()
    group.valid("state: the largest values", {"kind": "state", "data": state})

    def word(value: int, at: int) -> bytes:
        place = 4 + 8 * at
        return state[:place] + value.to_bytes(8, "little", signed=True) + state[place + 8 :]

    group.invalid("state: a value above the bound", {"kind": "state", "data": word(STATE_BOUND + 1, 0)})
    group.invalid("state: a value below the bound", {"kind": "state", "data": word(-STATE_BOUND - 1, 256)})
    group.invalid("state: padding that is not 0", {"kind": "state", "data": word(1, 3)})
    group.invalid("state: padding of the momentum that is not 0", {"kind": "state", "data": word(1, 511)})
    group.invalid("state: another magic", {"kind": "state", "data": b"FMS2" + state[4:]})
    group.invalid("state: a byte too few", {"kind": "state", "data": state[:-1]})
    group.invalid(
        "state: big-endian",
        {
            "kind": "state",
            "data": state[:4] + b"".join(state[at : at + 8][::-1] for at in range(4, len(state), 8)),
        },
    )
    assert manifest.leaves == 1  # noqa: S101
    return group


def cases() -> dict[str, Any]:
    """All groups."""
    groups = [
        *json_cases(),
        *proof_cases(),
        encode_cases(),
        signature_cases(),
        cost_cases(),
        bytes_cases(),
        weights_cases(),
        repeat_cases(),
        compared_cases(),
        compare_cases(),
        trajectory_cases(),
        window_cases(),
        weight_sum_cases(),
        outer_step_cases(),
        exponent_cases(),
        *pay_cases(),
        round_cases(),
        shares_cases(),
        window_sum_cases(),
        mean_leaves_cases(),
    ]
    number = 0
    written = []
    for group in groups:
        for case in group.tests:
            number += 1
            case["id"] = str(number)
        written.append(
            {
                "group": group.name,
                "section": group.section,
                "about": group.about,
                "common": group.common,
                "tests": [
                    {name: case[name] for name in ("id", "comment", "flags", "input", "expected", "result")}
                    for case in group.tests
                ],
            }
        )
    return {
        "about": "Valid and invalid cases of docs/protocol.md, written by tools/make_cases.py. Integers are decimal "
        "strings, bytes are 0x-hex. common holds inputs of all cases of a group. An implementation passes a valid "
        "case if it computes all of expected that it has a name for, and an invalid case if it refuses the input. "
        "code, where there is one, is a reason of section 7 or an error code of this library, which nobody else has to "
        "have.",
        "numberOfTests": str(number),
        "groups": written,
    }


def encoded(document_: Any) -> str:
    """The file: one line a case, so that a change is seen as one."""
    lines = ["{", f' "about": {json.dumps(document_["about"], ensure_ascii=False)},']
    lines += [f' "numberOfTests": "{document_["numberOfTests"]}",', ' "groups": [']
    for last_group, group in _with_last(document_["groups"]):
        lines.append("  {")
        lines += [
            f'   "{name}": {json.dumps(group[name], ensure_ascii=False)},'
            for name in ("group", "section", "about", "common")
        ]
        lines.append('   "tests": [')
        for last, case in _with_last(group["tests"]):
            lines.append(
                "    " + json.dumps(case, ensure_ascii=False, separators=(",", ":")) + ("" if last else ",")
            )
        lines += ["   ]", "  }" if last_group else "  },"]
    return "\n".join([*lines, " ]", "}"]) + "\n"


def _with_last(values: Sequence[Any]) -> Iterator[tuple[bool, Any]]:
    return ((index == len(values) - 1, value) for index, value in enumerate(values))


def main() -> int:
    """Write the file, or compare it."""
    parser = argparse.ArgumentParser(description="Write or check tests/vectors/cases.json.")
    parser.add_argument("--check", action="store_true", help="fail if the file differs, write nothing")
    arguments = parser.parse_args()
    data = encoded(cases())
    if not arguments.check:
        PATH.write_text(data, encoding="utf-8")
        print(f"Wrote {PATH.name}: {len(data)} characters.")
        return 0
    if PATH.read_text(encoding="utf-8") != data:
        print(
            f"{PATH.name} is not what tools/make_cases.py writes. Run it and look at the difference.",
            file=sys.stderr,
        )
        return 1
    print(f"{PATH.name} is up to date.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
