# SPDX-License-Identifier: Apache-2.0
"""What the library makes of a case: one function a group, and the check of a whole file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from folkmoot import round as rounds
from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.lineage import Lineage, PastRound, Published, window
from folkmoot.aggregation.pay import WeighedRound, new_parts, novelties, pays_of, products
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
from folkmoot.aggregation.weighted_sum import check_weights
from folkmoot.aggregation.windows import windows
from folkmoot.artifacts.retention import Retention
from folkmoot.audit.ledger_state import Missable, Roll, missed_in_a_row
from folkmoot.errors import FolkmootError
from folkmoot.evaluation.canary import CanaryReport, Limits, findings
from folkmoot.evaluation.losses import fixed
from folkmoot.evaluation.report import Measurement, Report
from folkmoot.explain.reputation import next_standing
from folkmoot.privacy.settings import PrivacySettings, check_bounds, floor_of
from folkmoot.protocol import codec, merkle, packing
from folkmoot.protocol import exponents as next_round
from folkmoot.protocol import outer_step as optimizer
from folkmoot.protocol.acknowledgement import Acknowledgement
from folkmoot.protocol.attestation import Attestation
from folkmoot.protocol.batch import pack_entry, read_batch
from folkmoot.protocol.budget import cost_of
from folkmoot.protocol.commitment import Commitment, Domain, entries_hash
from folkmoot.protocol.deletion import DeletionWish, from_file
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.genesis import Genesis, noise_exponent
from folkmoot.protocol.hashing import keccak, parse_canonical_json, sha256_hex
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import CarriedFile, Manifest, Tensor
from folkmoot.protocol.mean import check_mean
from folkmoot.protocol.places import available, has_place
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.receipt import Receipt
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
        noisy=bool(given.get("private", False)),
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


def public_products(given: Values) -> Values:
    """Section 8.7, products of all vectors."""
    manifest = manifest_of(given["elements"])
    exponents = [tuple(ints(one)) for one in given["exponents"]]
    readers = [MemoryUpdate(raw(one)) for one in given["vectors"]]
    header = RoundHeader(1, manifest.hash, bytes(32), 1, 8, bytes(32), exponents[0])
    past = tuple(
        PastRound(theirs, published={"": Published(reader, 1)})
        for reader, theirs in zip(readers[1:], exponents[1:], strict=True)
    )
    weighed = WeighedRound(manifest, header, readers[:1], [""], Lineage(past), None, None)
    return {"products": products(weighed, np.arange(manifest.leaves))}


def pays_of_cosines(given: Values) -> Values:
    """Section 8.7, from the cosines to the pays."""
    table, weights = tuple(tuple(ints(row)) for row in given["table"]), ints(given["weights"])
    found = novelties(table, len(weights), int(given["dimensions"]))
    paid = pays_of(found, weights)
    return {
        "newParts": new_parts(table, len(weights)),
        "confirmed": [part.confirmed for part in found],
        "noise": [part.noise for part in found],
        "shares": [one.novelty for one in paid],
        "pays": [one.pay for one in paid],
    }


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
    return {
        "payments": payments(
            int(given["reward"]),
            int(given["places"]),
            ints(given["weights"]),
            ints(given["pays"]),
            given["paid"],
        )
    }


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
    """Section 9, what weights an aggregate takes."""
    return {"sum": check_weights(ints(given["weights"]))}


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
        "pays": found.anchor.pays,
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


def privacy_settings(given: Values) -> Values:
    """Section 2.2."""
    training = json.loads(given["training"])
    settings = PrivacySettings.of(training)
    if settings is None:
        raise SystemExit("The settings have no privacy.")
    deviation = float(training["learning_rate"]) * settings.deviation_of_training
    return {"cost": cost_of(settings.noise1024, settings.steps), "exponent": noise_exponent(deviation)}


def _private(given: Values) -> tuple[Manifest, list[int], int]:
    tensors = tuple(Tensor(f"t{i}", (int(size),), given["dtype"]) for i, size in enumerate(given["elements"]))
    return (
        Manifest("cases", tensors, json.loads(given["training"])),
        ints(given["exponents"]),
        int(given["width"]),
    )


def floor(given: Values) -> Values:
    """Section 6.3, the floor."""
    return {"floor": floor_of(*_private(given)).least}


def private_bounds(given: Values) -> Values:
    """Section 6.3, whether a contributor may train."""
    manifest, exponents, width = _private(given)
    least, most = int(given["minSumSquares"]), int(given["maxSumSquares"])
    check_bounds(manifest, exponents, min_sum_squares=least, max_sum_squares=most, width=width)
    return {}


def batch(given: Values) -> Values:
    """Section 6, the batch of `commitUpdates` and what its event lists."""
    domain = Domain(int(given["chainId"]), given["verifyingContract"])
    call = int(given["round"]), raw(given["baseStateRoot"]), raw(given["bundleHash"])
    entries = []
    for listed, sent in read_batch(raw(given["batch"])):
        entry = listed.commitment(*call)
        entry.check_signature(sent, domain)
        entries.append(entry)
    return {
        "contributors": [entry.contributor for entry in entries],
        "commitmentHashes": [entry.struct_hash for entry in entries],
        "event": b"".join(map(pack_entry, entries)),
    }


def close_commits(given: Values) -> Values:
    """Section 6.1."""
    since = {account: int(time) for account, time in given["since"].items()}
    counted = Roll(set(since)).counted(since.__getitem__, int(given["openedAt"]))
    most, committed = int(given["maxContributors"]), set(given["committed"])
    complete = len(committed) >= int(given["minContributors"]) and counted and counted <= committed
    if given["drawn"]:
        complete, most = False, available(most)
    _require(len(committed) >= most or bool(complete))
    return {"counted": sorted(counted)}


def missed(given: Values) -> Values:
    """Section 6.2, missed rounds."""
    account, since, enrolled = given["account"], int(given["since"]), int(given["enrolled"])
    rounds = []
    for number, one in enumerate(given["rounds"]):
        quota, places = int(one["quota"]), int(one["maxContributors"])
        counts = int(one["phase"]) in (3, 4)
        if quota:
            counts = (
                counts and since < int(one["at"]) and has_place(quota, int(one["seed"]), account, enrolled)
            )
            places = available(places)
        contributors = {account} if one["committed"] else set()
        rounds.append(
            Missable(number, int(one["openedAt"]), counts and int(one["entries"]) < places, contributors)
        )
    return {"missed": missed_in_a_row(account, since, rounds)}


def retention(given: Values) -> Values:
    """Sections 12.1 and 12.2."""
    over = int(given["phase"]) in (4, 5, 6)
    known = (int(given[name]) for name in ("freeAt", "above", "retainRounds"))
    now, one = int(given["now"]), Retention(int(given["round"]), over, *known)
    return {"free": one.free(now), "expired": one.expired(now), "spare": one.spare()}


def wish(given: Values) -> Values:
    """Section 12.3, a wish."""
    domain = Domain(int(given["chainId"]), given["verifyingContract"])
    one = DeletionWish(given["contributor"], int(given["lastRound"]), raw(given["signature"]))
    _require(one.is_of_key(domain))
    return {"digest": one.digest(domain)}


def public_file(given: Values) -> Values:
    """Sections 11.1 to 11.4, 12.3 and 13.2."""
    data, kind = raw(given["data"]), given["kind"]
    if kind == "report":
        Report.from_bytes(data)
    elif kind == "canary":
        CanaryReport.from_bytes(data)
    elif kind == "receipt":
        receipt = Receipt.from_json(json.loads(data))
        _require(receipt.is_consistent() and receipt.anchor_hash == raw(given["anchorHash"]))
    elif kind == "acknowledgement":
        domain = Domain(int(given["chainId"]), given["verifyingContract"])
        _require(Acknowledgement.from_json(json.loads(data)).signer(domain) == given["coordinator"])
    elif kind == "deletions":
        from_file(data)
    else:
        return {"digest": Attestation.from_json(data).digest}
    return {}


def canary(given: Values) -> Values:
    """Section 11.2, the verdict."""
    base, candidate = (Measurement.from_json(json.loads(given[name])) for name in ("base", "candidate"))
    limits = Limits(
        accuracy_drop=float(given["accuracyDrop"]),
        recall_drop=float(given["recallDrop"]),
        least_examples=int(given["leastExamples"]),
        loss_rise=float(given["lossRise"]),
        group_loss_rise=float(given["groupLossRise"]),
        trigger_rise=float(given["triggerRise"]),
    )
    return {"fell": [f"{one.kind} {one.subject}".strip() for one in findings(base, candidate, limits)]}


def loss_units(given: Values) -> Values:
    """Section 11.1, numbers as integers."""
    values, known = fixed(np.frombuffer(raw(given["values"]), dtype=">f8").astype(np.float64))
    return {"units": [int(one) if is_known else None for one, is_known in zip(values, known, strict=True)]}


def model(given: Values) -> Values:
    """Section 14."""
    manifest = Manifest.from_json(given["manifest"].encode())
    theta = np.frombuffer(raw(given["theta"]), dtype=">i8").astype(np.int64)
    state = State(theta, np.zeros_like(theta))
    data = {raw(one) for one in given["files"]}

    def files(entry: CarriedFile) -> np.ndarray[Any, np.dtype[Any]]:
        (chosen,) = (one for one in data if sha256_hex(one) == entry.sha256)
        return np.frombuffer(chosen, dtype=np.dtype(entry.dtype).newbyteorder("<")).reshape(entry.shape)

    return {"model": state.to_safetensors(manifest, int(given["version"]), files=files)}


def repeats_at_stride(given: Values) -> Values:
    """Section 8.3, repeat cosines of an update that is one leaf over and over, but for one leaf."""
    count, width = int(given["leaves"]), int(given["width"])
    files = [
        raw(leaf) * place + raw(other) + raw(leaf) * (count - place - 1)
        for leaf, other, place in zip(given["usual"], given["other"], ints(given["place"]), strict=True)
    ]
    one = {"elements": [str(LEAF * count)], "exponents": ["0"], "width": str(width), "sample": []}
    updates = ["0x" + file.hex() for file in files]
    return repeats(one | {"updates": updates, "seed": given["seed"], "contributors": given["contributors"]})


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
    "publicProducts": public_products,
    "pays": pays_of_cosines,
    "payments": pay,
    "standing": standing,
    "cost": cost,
    "round": whole_round,
    "shares": shares,
    "meanLeaves": mean_leaves,
    "privacySettings": privacy_settings,
    "floor": floor,
    "privateBounds": private_bounds,
    "batch": batch,
    "closeCommits": close_commits,
    "missed": missed,
    "retention": retention,
    "wish": wish,
    "files": public_file,
    "canary": canary,
    "lossUnits": loss_units,
    "model": model,
    "repeatCosinesAtStride": repeats_at_stride,
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
