# SPDX-License-Identifier: Apache-2.0
"""What the library makes of a case: one function a group, and the check of a whole file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from folkmoot import round as rounds
from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.lineage import Lineage, PastRound, Published, window
from folkmoot.aggregation.references import (
    Reference,
    ReferencedFacts,
    Windows,
    compared_leaves,
    references,
)
from folkmoot.aggregation.registry import rule
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
from folkmoot.protocol.budget import cost_of
from folkmoot.protocol.commitment import Commitment, Domain, entries_hash
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak, parse_canonical_json
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import check_mean
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import payments
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import check_bytes
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.protocol.verdict import Artifacts, Verdicts
from tools.cases.values import Values, ints, manifest_of, raw, text
from tools.vectors.values import CHAIN_ID, LEDGER, product


def layout(given: Values) -> Values:
    """Section 2."""
    manifest = manifest_of([given["elements"]] * int(given["tensors"]))
    return {"leaves": manifest.leaves, "depth": manifest.depth, "layoutHash": keccak(manifest.layout)}


def outer_step(given: Values) -> Values:
    """Section 9."""
    theta, momentum, mean = (
        np.full(LEAF, int(given[name]), dtype=np.int64) for name in ("theta", "momentum", "mean")
    )
    exponents = np.array([int(given["exponent"])], dtype=np.int64)
    rate, decay = int(given["rate"]), int(given["decay"])
    found = optimizer.outer_step(theta, momentum, mean, int(given["meanScale"]), exponents, rate, decay)
    return {"newTheta": int(found[0][0]), "newMomentum": int(found[1][0])}


def weights(given: Values) -> Values:
    """Section 8."""
    vectors = [ints(vector) for vector in given["vectors"]]
    elements, places = ints(given["elements"]), ints(given["tensors"])

    def reference(vector: Sequence[str], rows: Sequence[Sequence[int]] = vectors) -> Reference:
        values = ints(vector)
        return Reference(tuple(product(values, one) for one in rows), product(values, values))

    gram = tuple(tuple(product(x, y) for y in vectors) for x in vectors)
    sums = [ints(one) for one in given.get("window", ())]
    window = Windows(
        tuple(tuple(product(x, y) for y in sums) for x in sums),
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
    "layout": layout,
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
