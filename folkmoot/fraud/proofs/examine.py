# SPDX-License-Identifier: Apache-2.0
"""Find errors in an anchor, from the round's record and its published files.

First the round is computed with `folkmoot.round`. If the anchor equals the result, it is right, and the examination
ends. Otherwise every claim of the anchor is checked against its own premises, as in the contracts: the weights against
the record, the mean against the anchored weights, the state against the anchored mean. Each difference is a
suspicion that can be proven, a demand for withheld data, or a dispute that no contract can check. This module uses no
chain, clock or folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError

from folkmoot.aggregation.form import mean_of_updates
from folkmoot.aggregation.gram_tree import gram_tree, has_tree
from folkmoot.aggregation.rules import multi_krum
from folkmoot.aggregation.weighted_sum import check_weights
from folkmoot.errors import ArtifactError, EncodingError, InputError
from folkmoot.fraud.proofs import gram
from folkmoot.fraud.proofs.case import Case, Demand, Dispute, Kind, Suspicion
from folkmoot.fraud.proofs.finding import BY_RULE, Finding, Material
from folkmoot.fraud.proofs.trees import TreeCache, differing, plain_tree
from folkmoot.protocol import merkle
from folkmoot.protocol.anchor import NO_GRAM_ROOT
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.codec import check_padding
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import HASH_BYTES, keccak
from folkmoot.protocol.header import MAX_EXPONENT, MIN_EXPONENT, RoundHeader, decode_exponents
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import mean_tree
from folkmoot.protocol.merkle import MEAN, MOMENTUM, THETA, Tree, depth_of
from folkmoot.protocol.packing import file_size, largest
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.updates import UpdateReader
from folkmoot.round import compute_round, step_leaves

MOST_PLACES = 1000
"""Maximum number of listed wrong leaves. The first one is enough for a proof."""

HEADER_TYPES = ("uint64", "bytes32", "bytes32", "uint32", "uint8", "bytes32", "bytes")
"""ABI types of a RoundHeader's fields."""

EQUAL_WEIGHTS = ("mean", "multi_krum")
"""Rules with weights 0 or 1, as in FraudProofs."""
_MAX_WEIGHT = 1 << 16
_CHUNK_BYTES = 1 << 20  # Bytes of all updates that are read in one step.
_CHECKED = 4096  # Leaves of an update that are checked at a time.


def examine(material: Material) -> Finding:
    """Examine an anchored round; return the finding.

    Args:
        material: The record and the files.

    Raises:
        ArtifactError: A file was changed or removed during the examination.
    """
    finding = Finding(material, TreeCache(material.updates), demands=list(material.missing))
    _check_header(finding)
    _check_listed(finding)
    _compute(finding)
    if finding.outcome is not None and finding.outcome.anchor == material.case.anchor:
        return finding
    _check_weights(finding)
    _check_entries(finding)
    _check_updates(finding)
    _check_rule(finding)
    _check_mean(finding)
    _dispute(finding)
    finding.outcome = None  # No round uses it as a base, and its state is large.
    return finding


# The header


def _check_header(finding: Finding) -> None:
    material, case = finding.material, finding.case
    expected = None
    if material.exponents is not None:
        try:
            expected = case.header(material.manifest.hash, material.exponents)
        except InputError as error:  # Exponents of the base that are invalid in a header.
            text = f"The exponents that round {case.base} left are none: {error.message}"
            finding.disputes.append(Dispute("exponents", text, "exponents", str(list(material.exponents))))
    if expected is not None and expected.hash == case.header_hash:
        finding.header, finding.header_bytes = expected, expected.encoded
        return
    published = material.artifacts.header if material.artifacts is not None else b""
    if keccak(published) != case.header_hash:
        if material.artifacts is not None and expected is not None:
            text = f"Round {case.round} was not opened with the header that it must have, and its own is not published."
            finding.demands.append(Demand("header", text, root=case.header_hash))
        return
    finding.header_bytes = published
    wrong = wrong_header_field(case, material.manifest, published)
    if wrong:
        text = f"The header of round {case.round} is not the round's: {wrong}."
        finding.suspicions.append(Suspicion(Kind.HEADER, 0, text, (0,)))
        return
    try:
        finding.header = RoundHeader.decode(published)
    except InputError as error:  # It has the hash in the ledger, so no other header can be shown.
        text = f"The header of round {case.round} is none. {error.message}"
        finding.suspicions.append(Suspicion(Kind.HEADER, 0, text, (0,)))
        return
    if expected is not None:
        text = f"Round {case.round} was opened with other exponents than those that round {case.base} left."
        exponents_text = str(list(finding.header.exponents))
        finding.disputes.append(Dispute("exponents", text, str(list(expected.exponents)), exponents_text))


def wrong_header_field(case: Case, manifest: Manifest, header: bytes) -> str:
    """Return the field of a header that a contract finds wrong; empty if none, or if it can't read the bytes."""
    try:
        fields: tuple[Any, ...] = decode(HEADER_TYPES, header)
    except (DecodingError, ValueError, OverflowError):
        return ""
    must = case.header(manifest.hash, (0,) * len(manifest.tensors))
    names = ("round", "manifest_hash", "base_state_root", "policy_id", "width", "seed")
    for name, actual in zip(names, fields, strict=False):
        expected = getattr(must, name)
        if actual != expected:
            shown = [
                "0x" + value.hex() if isinstance(value, bytes) else value for value in (expected, actual)
            ]
            return f"its {name.replace('_', ' ')} is {shown[1]}, not {shown[0]}"
    exponents = decode_exponents(fields[-1])
    if len(exponents) != len(manifest.tensors):
        return f"it has {len(exponents)} exponents for {len(manifest.tensors)} tensors"
    outside = [exponent for exponent in exponents if not MIN_EXPONENT <= exponent <= MAX_EXPONENT]
    return f"its exponent {outside[0]} is not between {MIN_EXPONENT} and {MAX_EXPONENT}" if outside else ""


# Deliveries, and the outcome


def _check_listed(finding: Finding) -> None:
    """Check that the artifacts file and the anchor list the same delivered entries."""
    artifacts, case = finding.material.artifacts, finding.case
    if artifacts is None:
        return
    if len(artifacts.updates) != len(case.entries):
        text = f"The artifacts file of round {case.round} lists another number of updates than the round has entries."
        finding.disputes.append(
            Dispute("artifacts", text, str(len(case.entries)), str(len(artifacts.updates)))
        )
        return
    for index, listed in enumerate(artifacts.updates):
        who = f"entry {index} ({case.entries[index].contributor}) of round {case.round}"
        if listed is None and case.delivered(index):
            text = f"The update of {who} arrived, as the anchor says, but no file is listed for it."
            finding.demands.append(Demand("update", text, index, case.entries[index].update_root))
        elif listed is not None and not case.delivered(index):
            text = f"A file is listed for {who}, whose update did not arrive, as the anchor says."
            finding.disputes.append(Dispute("delivered", text, "no file", listed, index))


def _compute(finding: Finding) -> None:
    """Compute the round with `folkmoot.round`, if all data are available."""
    material, case = finding.material, finding.case
    arrived = [update if case.delivered(i) else None for i, update in enumerate(material.updates)]
    incomplete = any(case.delivered(i) and update is None for i, update in enumerate(material.updates))
    if finding.header is None or material.base is None or material.lineage is None or incomplete:
        return
    try:
        finding.outcome = compute_round(
            material.manifest,
            finding.header,
            case.policy,
            material.base,
            case.entries,
            arrived,
            coordinator=case.coordinator,
            lineage=material.lineage,
            folder=material.folder,
        )
    except InputError as error:  # No update was delivered, or this release does not support the rule.
        text = f"The outcome of round {case.round} can't be computed. {error.message}"
        finding.disputes.append(Dispute("outcome", text, "one that can be computed", error.code))


# Checks that the contracts can repeat


def _check_weights(finding: Finding) -> None:
    """Find weights that FraudProofs.proveWeight can disprove."""
    case = finding.case
    most = 1 if case.policy.rule in EQUAL_WEIGHTS else _MAX_WEIGHT
    weighed, copies = set(gram.members_of(case)), gram.copies_in(case)
    wrong = [
        index
        for index, weight in enumerate(case.anchor.weights)
        if weight > (most if index in weighed else 0)
    ]
    if wrong:
        index = wrong[0]
        entry, weight = case.entries[index], case.anchor.weights[index]
        if entry.contributor == case.coordinator:
            why = "it is the coordinator's own"
        elif not case.delivered(index):
            why = "its update did not arrive, as the anchor itself says"
        elif index in copies:
            why = f"it is a copy of entry {copies[index]}"
        else:
            why = f"the rule {case.policy.rule} gives at most {most}"
        text = (
            f"Entry {index} ({entry.contributor}) of round {case.round} has the weight {weight}, but {why}."
        )
        finding.suspicions.append(Suspicion(Kind.WEIGHT, index, text, tuple(wrong)))


def _check_entries(finding: Finding) -> None:
    """Compare the root over the entries with that of the recorded entries and the anchored weights."""
    case = finding.case
    if entries_tree(case.entries, case.anchor.weights).root != case.anchor.entries_root:
        text = f"The anchor of round {case.round} has a false root over the entries and their weights."
        finding.suspicions.append(Suspicion(Kind.ENTRIES, 0, text, (0,)))


def _check_updates(finding: Finding) -> None:
    """Check the delivered updates against their commitments."""
    case = finding.case
    faulty: list[tuple[int, str]] = []
    for index, entry in enumerate(case.entries):
        if not case.delivered(index) or finding.material.updates[index] is None:
            continue
        tree = finding.trees.tree(index)
        if tree is None or tree.root != entry.update_root or tree.leaves != finding.material.manifest.leaves:
            text = (
                f"The file that is published for entry {index} ({entry.contributor}) of round {case.round} is not the "
                "update that was committed to."
            )
            finding.demands.append(Demand("update", text, index, entry.update_root))
            finding.material.updates[index] = None
        elif case.anchor.weights[index] > 0:
            why = _fault_in_words(finding, index, tree.sum_squares, entry.sum_squares)
            if why:
                faulty.append((index, why))
    if faulty:
        index, why = faulty[0]
        text = f"Entry {index} ({case.entries[index].contributor}) of round {case.round} counts, but {why}."
        finding.suspicions.append(Suspicion(Kind.UPDATE, index, text, tuple(place for place, _ in faulty)))


def _fault_in_words(finding: Finding, index: int, truth: int, claimed: int) -> str:
    leaf = faulty_leaf(finding, index)
    if leaf is not None:
        return f"leaf {leaf} of its update has an integer that is not allowed there"
    return f"the sum of squares of its update is {truth}, not {claimed}" if truth != claimed else ""


def faulty_leaf(finding: Finding, index: int) -> int | None:
    """Return the first leaf of an update with an integer beyond its width's range, or with padding other than 0."""
    update, manifest = finding.material.updates[index], finding.material.manifest
    if update is None:
        return None
    for first in range(0, manifest.leaves, _CHECKED):
        leaves = update.read(first, min(first + _CHECKED, manifest.leaves))
        beyond = merkle.leaf_largest(leaves) > largest(update.width)
        if beyond.any():
            return first + int(np.argmax(beyond))
        try:
            check_padding(leaves, manifest, first)
        except EncodingError:
            values = manifest.values_in_leaf[first : first + leaves.shape[0], None]
            wrong = ((leaves != 0x80) & (np.arange(LEAF)[None, :] >= values)).any(axis=1)
            return first + int(np.argmax(wrong))
    return None


def _check_rule(finding: Finding) -> None:
    """Find weights and a Gram root that GramProofs can disprove."""
    case = finding.case
    if not gram.is_judged(case.policy.rule):
        return
    try:
        must = _krum(finding) if case.policy.rule == multi_krum.NAME else gram.mean_weights(case)
    except InputError:  # Invalid parameters of the rule.
        return
    if must is None:
        return
    known = {
        place
        for suspicion in finding.suspicions
        if suspicion.kind is Kind.WEIGHT
        for place in suspicion.places
    }
    pairs = enumerate(zip(must, case.anchor.weights, strict=True))
    wrong = [index for index, (mine, theirs) in pairs if mine != theirs and index not in known]
    if wrong:
        index = wrong[0]
        text = (
            f"The rule {case.policy.rule} gives entry {index} ({case.entries[index].contributor}) of round "
            f"{case.round} the weight {must[index]}, not {case.anchor.weights[index]}."
        )
        finding.suspicions.append(Suspicion(Kind.RULE, index, text, tuple(wrong)))


def _krum(finding: Finding) -> list[int] | None:
    """Check the Gram root against the updates; return the weights that follow from its matrix."""
    case, root = finding.case, finding.case.anchor.gram_root
    count = len(gram.members_of(case))
    expects_root = has_tree(case.policy.rule, count)
    if expects_root == (root == NO_GRAM_ROOT):
        why = "has none, and must have one" if expects_root else "has one, and must have none"
        text = f"The anchor of round {case.round} is wrong about its Gram root: it {why}."
        finding.suspicions.append(Suspicion(Kind.GRAM_ROOT, 0, text, (0,)))
        return None
    truth = _true_gram(finding) if expects_root else None
    if truth is None:
        return None
    if truth.tree.root == root:
        finding.gram_root = truth.root()
        return gram.krum_weights(case, truth.tree.matrix)
    document = finding.material.document
    finding.gram_root = gram.open_root(truth, root, document)
    if finding.gram_root is None:  # Nobody publishes the tree: a vote must decide.
        return None
    finding.gram_lie = gram.find_lie(truth, finding.gram_root, document)
    if finding.gram_lie is not None:
        finding.suspicions.append(_gram_suspicion(case, finding.gram_lie))
    matrix = gram.triangle_of(finding.gram_root, count)
    return gram.krum_weights(case, matrix) if matrix is not None else None


def _gram_suspicion(case: Case, lie: gram.Lie) -> Suspicion:
    kind = Kind.GRAM_NODE if lie.children else Kind.GRAM_LEAF
    at = f"Node {lie.node.index} on level {lie.node.level}" if lie.children else f"Leaf {lie.node.index}"
    what = "the sum of its children" if lie.children else "what the updates give"
    text = f"{at} of the Gram tree of round {case.round} is not {what}."
    return Suspicion(kind, lie.node.index, text, (lie.node.index,))


def _true_gram(finding: Finding) -> gram.Truth | None:
    """Return the Gram tree of the entries with delivered updates, if all their data are available."""
    material, case, header, outcome = finding.material, finding.case, finding.header, finding.outcome
    members = gram.members_of(case)
    readers = [update for update in (material.updates[index] for index in members) if update is not None]
    if header is None or len(readers) != len(members):
        return None
    tree = outcome.gram_tree if outcome is not None else None
    if outcome is None or tree is None or outcome.anchor.delivered != case.anchor.delivered:
        if any(faulty_leaf(finding, index) is not None for index in members):
            return None  # Invalid bytes.
        tree = gram_tree(material.manifest, header.exponents, readers)
    return gram.Truth(material.manifest, header.exponents, readers, tree)


def _check_mean(finding: Finding) -> None:
    """Compute mean and state from the anchored weights, and compare them with the anchored roots."""
    case, material = finding.case, finding.material
    try:
        check_weights(case.anchor.weights)
    except InputError:  # Weights that `_check_weights` disproves.
        return
    if all(material.updates[i] is not None for i, weight in enumerate(case.anchor.weights) if weight):
        mean = _computed(material.updates, case)
        truth = plain_tree(MEAN, material.manifest.leaves, mean)
        if truth.root != case.anchor.mean_root:
            _compare_mean(finding, truth)
            return  # The state is checked against the anchored mean, which has its own proof.
        finding.mean_tree = truth
    elif (published := _publish_mean(finding)) is not None:
        mean = published[0].read
    else:
        return
    if finding.header is not None and material.base is not None:
        _compare_state(finding, mean)


def _computed(updates: Sequence[UpdateReader | None], case: Case) -> Callable[[int, int], U8]:
    """Return a function that computes the mean of a range of leaves, with about 1 MiB of updates in memory."""
    chunk = max(1, _CHUNK_BYTES // (LEAF * max(1, len(updates))))
    weights, policy = case.anchor.weights, case.policy

    def mean(first: int, last: int) -> U8:
        places = range(first, last, chunk)
        return np.concatenate(
            [
                mean_of_updates(policy.rule, updates, weights, policy.mean_scale, at, min(at + chunk, last))
                for at in places
            ]
        )

    return mean


def _publish_mean(finding: Finding, truth: Tree | None = None) -> tuple[UpdateReader, Tree] | None:
    """Load the published mean and its tree into the finding. Return both, None if no mean has the anchored root."""
    known = (truth,) if truth is not None else ()
    case, manifest = finding.case, finding.material.manifest
    if finding.material.artifacts is None:
        return None
    text = f"No file of round {case.round} is the mean that was anchored."
    try:
        mean = finding.material.mean()
    except ArtifactError as error:
        finding.demands.append(
            Demand(
                "mean",
                f"{text} {error.message}",
                root=case.anchor.mean_root,
                unsure=unsure(error),
                truth=known,
            )
        )
        return None
    tree = None
    leaves = mean.size // file_size(1, mean.width)
    if manifest.leaves <= leaves <= 1 << manifest.depth:
        tree = mean_tree(mean, leaves)
    if tree is None or tree.root != case.anchor.mean_root:
        finding.demands.append(Demand("mean", text, root=case.anchor.mean_root, truth=known))
        return None
    finding.mean, finding.mean_tree = mean, tree
    return mean, tree


def _compare_mean(finding: Finding, truth: Tree) -> None:
    published = _publish_mean(finding, truth)
    if published is None:
        return
    places = differing(truth, published[1])
    what = f"of the mean of round {finding.case.round}"
    text = f"{_leaves(places, what)} not what the anchored weights make of the updates."
    finding.suspicions.append(Suspicion(Kind.MEAN, places[0], text, tuple(places[:MOST_PLACES])))


def _compare_state(finding: Finding, mean: Callable[[int, int], U8]) -> None:
    """Compare the outer step of the base with the anchored state."""
    case, manifest, root = finding.case, finding.material.manifest, finding.case.anchor.state_root
    theta, momentum = _step(finding, mean)
    if merkle.state_root(manifest.hash, theta.root, momentum.root) == root:
        return
    if finding.material.artifacts is None:
        return
    text = f"No file of round {case.round} is the state that was anchored."
    try:
        rows = finding.material.state()
    except ArtifactError as error:
        finding.demands.append(
            Demand(
                "state", f"{text} {error.message}", root=root, unsure=unsure(error), truth=(theta, momentum)
            )
        )
        return
    if manifest.leaves <= rows.leaves and depth_of(rows.leaves) == manifest.depth:
        finding.theta_tree, finding.momentum_tree = rows.theta_tree(), rows.momentum_tree()
    if finding.theta_tree is None or finding.momentum_tree is None:
        finding.demands.append(Demand("state", text, root=root, truth=(theta, momentum)))
        return
    if merkle.state_root(manifest.hash, finding.theta_tree.root, finding.momentum_tree.root) != root:
        finding.theta_tree = finding.momentum_tree = None
        finding.demands.append(Demand("state", text, root=root, truth=(theta, momentum)))
        return
    of_theta, of_momentum = differing(theta, finding.theta_tree), differing(momentum, finding.momentum_tree)
    places = sorted({*of_theta, *of_momentum})
    names = " and ".join(
        name for name, wrong in (("theta", of_theta), ("the momentum", of_momentum)) if places[0] in wrong
    )
    what = f"of the state after round {case.round}"
    text = f"{_leaves(places, what)} not the outer step of its base (in {names})."
    finding.suspicions.append(Suspicion(Kind.OUTER_STEP, places[0], text, tuple(places[:MOST_PLACES])))


def _step(finding: Finding, mean: Callable[[int, int], U8]) -> tuple[Tree, Tree]:
    """Return the trees of theta and momentum after the round."""
    header, base, policy = finding.header, finding.material.base, finding.case.policy
    assert header is not None and base is not None  # noqa: S101, PT018  # the caller has checked
    manifest = finding.material.manifest
    hashes = {kind: np.empty((manifest.leaves, HASH_BYTES), dtype=np.uint8) for kind in (THETA, MOMENTUM)}
    chunk = max(1, _CHUNK_BYTES // (LEAF * 16))
    for first in range(0, manifest.leaves, chunk):
        last = min(first + chunk, manifest.leaves)
        part = step_leaves(manifest, header, policy, base, mean(first, last), first)
        hashes[THETA][first:last] = merkle.leaf_hashes(THETA, merkle.state_leaves(part.theta))
        hashes[MOMENTUM][first:last] = merkle.leaf_hashes(MOMENTUM, merkle.state_leaves(part.momentum))
    return merkle.tree(THETA, hashes[THETA]), merkle.tree(MOMENTUM, hashes[MOMENTUM])


# Errors that only a vote can judge


def _dispute(finding: Finding) -> None:
    """Record where the anchor differs from the computed one, if no difference can be proven."""
    outcome, case = finding.outcome, finding.case
    if outcome is None or any(suspicion.kind not in BY_RULE for suspicion in finding.suspicions):
        return
    disputes = finding.fallback if finding.suspicions else finding.disputes
    truth, anchor = outcome.anchor, case.anchor
    for verdict, weight in zip(outcome.verdicts.verdicts, anchor.weights, strict=True):
        if verdict.weight != weight:
            text = f"The rule {case.policy.rule} gives entry {verdict.index} ({verdict.contributor}) another weight."
            expected = f"{verdict.weight} ({verdict.reason})"
            disputes.append(Dispute("weight", text, expected, str(weight), verdict.index))
    if truth.weights == anchor.weights:
        for index, (entry, mine, theirs) in enumerate(
            zip(case.entries, truth.pays, anchor.pays, strict=False)
        ):
            if mine != theirs:
                text = (
                    f"The pay of entry {index} ({entry.contributor}) of round {case.round} is another one than "
                    "everybody computes."
                )
                disputes.append(Dispute("pay", text, str(mine), str(theirs), index))
        for what, right, claimed in (
            ("mean", truth.mean_root, anchor.mean_root),
            ("state", truth.state_root, anchor.state_root),
        ):
            if right != claimed:
                text = f"The {what} of round {case.round} is another one than everybody computes."
                disputes.append(Dispute(what, text, "0x" + right.hex(), "0x" + claimed.hex()))
    for what, name, right, claimed in (
        ("delivered", "list of deliveries", _word(truth.delivered), _word(anchor.delivered)),
        ("gram-root", "Gram root", truth.gram_root, anchor.gram_root),
        ("verdicts", "hash of the verdicts file", truth.verdict_hash, anchor.verdict_hash),
        ("artifacts", "hash of the artifacts file", truth.artifacts_hash, anchor.artifacts_hash),
    ):
        if right != claimed:
            text = f"The anchor of round {case.round} has another {name} than everybody computes."
            disputes.append(Dispute(what, text, "0x" + right.hex(), "0x" + claimed.hex()))


# Helpers


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def unsure(error: ArtifactError) -> bool:
    """Return whether a source gave no answer, so that the file may exist."""
    return error.code == "artifact-unreachable"


def _leaves(places: Sequence[int], what: str) -> str:
    if len(places) == 1:
        return f"Leaf {places[0]} {what} is"
    return f"{len(places)} leaves {what}, the first of them {places[0]}, are"
