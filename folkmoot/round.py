# SPDX-License-Identifier: Apache-2.0
"""The one implementation of a round's outcome, for whoever needs it (docs/protocol.md sections 7 to 11).

The coordinator runs it to anchor a round, an auditor to see whether the anchor is right, a challenger to find
the leaf that is wrong. It streams: some mebibytes of all updates and states are in memory at a time, if both states
are in files. This module knows no chain and no clock: bytes come from readers and go to sinks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from folkmoot.aggregation.form import mean_of_updates
from folkmoot.aggregation.gram import gram_matrix
from folkmoot.aggregation.gram_tree import GramTree, gram_tree, has_tree
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.lineage import Lineage, Published, published_of
from folkmoot.aggregation.pay import WeighedRound, pays
from folkmoot.aggregation.references import (
    Reference,
    ReferencedFacts,
    ReferenceKind,
    Windows,
    compared_leaves,
    references,
)
from folkmoot.aggregation.registry import rule, uses
from folkmoot.aggregation.repeats import compare_earlier
from folkmoot.aggregation.shares import copies_among
from folkmoot.aggregation.trajectory import WINDOW, TrajectoryUpdate
from folkmoot.aggregation.weighted_sum import check_weights
from folkmoot.aggregation.windows import windows
from folkmoot.errors import InputError, UpdateRefused
from folkmoot.protocol import merkle
from folkmoot.protocol.anchor import NO_GRAM_ROOT, Anchor
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.codec import rounding_key
from folkmoot.protocol.commitment import Commitment, checksum_address, entries_hash
from folkmoot.protocol.exponents import next_exponents
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import HASH_BYTES, keccak, sha256_hex
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import largest_scale, mean_values
from folkmoot.protocol.merkle import MEAN, MOMENTUM, THETA, Tree
from folkmoot.protocol.outer_step import outer_step
from folkmoot.protocol.packing import largest, pack
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import UpdateSummary, check_bytes
from folkmoot.protocol.updates import UpdateReader
from folkmoot.protocol.verdict import Artifacts, Reason, Verdict, Verdicts

_CHUNK_BYTES = 1 << 20  # bytes of all updates that are summed in one step, but not less than:
_LEAST_LEAVES = 256  # of each update in one step, or many updates would be opened over and over


class Sink(Protocol):
    """Takes the bytes of a file in order; a file opened for writing is one."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


@dataclass(frozen=True, eq=False)
class LeafRange:
    """The outcome for some consecutive leaves."""

    mean: U8
    """uint8[k, 256], ``B + 128``."""
    theta: I64
    """int64[256 k], the new theta."""
    momentum: I64
    """int64[256 k], the new momentum."""


@dataclass(frozen=True, eq=False)
class RoundOutcome:
    """All that follows from a round's entries."""

    anchor: Anchor
    """What goes on chain."""
    verdicts: Verdicts
    """What was decided about each entry."""
    artifacts: Artifacts
    """The names of the round's files."""
    verdicts_file: bytes
    """Bytes of the verdicts file."""
    artifacts_file: bytes
    """Bytes of the artifacts file."""
    state: State
    """The new state."""
    next_exponents: tuple[int, ...]
    """Exponents of a round that builds on this one."""
    mean_tree: Tree
    """Tree of the mean."""
    theta_tree: Tree
    """Tree of the new theta."""
    momentum_tree: Tree
    """Tree of the new momentum."""
    gram_tree: GramTree | None
    """Tree of the Gram matrix, where the policy's rule is proven by it."""

    @property
    def weights(self) -> tuple[int, ...]:
        """One weight an entry."""
        return self.anchor.weights

    @property
    def state_root(self) -> bytes:
        """Root of the new state."""
        return self.anchor.state_root

    @property
    def mean_root(self) -> bytes:
        """Root of the mean's tree."""
        return self.anchor.mean_root


def compute_leaves(
    manifest: Manifest,
    header: RoundHeader,
    policy: Policy,
    base: State,
    updates: Sequence[UpdateReader | None],
    weights: Sequence[int],
    first: int,
    last: int,
) -> LeafRange:
    """Compute the outcome for the leaves ``first`` to ``last`` (exclusive) from the weights.

    Args:
        manifest: The model's layout.
        header: The round's header.
        policy: The round's policy.
        base: The state that the round trained from.
        updates: One an entry; None is allowed where the weight is 0.
        weights: One an entry.
        first: First leaf.
        last: One after the last leaf.

    Raises:
        InputError: The weights are none that a rule may give.
        ArtifactError: An update can't be read.
    """
    mean = mean_of_updates(policy.rule, updates, weights, policy.mean_scale, first, last)
    return step_leaves(manifest, header, policy, base, mean, first)


def step_leaves(
    manifest: Manifest,
    header: RoundHeader,
    policy: Policy,
    base: State,
    mean: U8,
    first: int,
) -> LeafRange:
    """Compute the outcome for some consecutive leaves from their mean, without updates and weights.

    Args:
        manifest: The model's layout.
        header: The round's header.
        policy: The round's policy.
        base: The state that the round trained from.
        mean: uint8[k, 256], ``B + 128``.
        first: First leaf.
    """
    last = first + len(mean)
    exponents = np.array(header.exponents, dtype=np.int64)[manifest.tensor_of_leaf[first:last]]
    place = slice(LEAF * first, LEAF * last)
    theta, momentum = outer_step(
        base.theta[place],
        base.momentum[place],
        mean_values(mean),
        policy.mean_scale,
        exponents,
        policy.rate,
        policy.momentum,
    )
    base.release(first, last)
    return LeafRange(mean, theta, momentum)


def compute_round(
    manifest: Manifest,
    header: RoundHeader,
    policy: Policy,
    base: State,
    entries: Sequence[Commitment],
    updates: Sequence[UpdateReader | None],
    *,
    coordinator: str,
    lineage: Lineage,
    mean_sink: Sink | None = None,
    folder: Path | None = None,
) -> RoundOutcome:
    """Compute everything that follows from the entries of a round and from what came before.

    Each update's bytes are checked against its commitment; one that does not pass counts as not delivered.
    The caller checks signatures, norm caps, ``entriesHash``, that the header is the right one, and that the
    lineage is the round's.

    Args:
        manifest: The model's layout.
        header: The round's header.
        policy: The round's policy.
        base: The state that the round trained from.
        entries: The round's commitments in entry order.
        updates: The update of each entry, None where none arrived.
        coordinator: Account that opened the round. Its own entry is the root-set update: it is compared, where
            the rule does that, and never summed.
        lineage: What came before. What the policy's rule does not use (``rules.uses``) may be left out.
        mean_sink: Gets the bytes of the mean file.
        folder: Folder of the file without a name that holds the new state; None for memory, 16 bytes a coordinate.

    Returns:
        The outcome.

    Raises:
        InputError: Header, policy, base, manifest, entries and lineage do not belong together (``mismatch``),
            the policy's rule is unknown or its parameters are wrong, or nobody but the coordinator delivered an
            update (``no-updates``): such a round can only be cancelled.
        ArtifactError: An update can't be read.
        LocalError: The folder's disk has no room for the new state.
    """
    _check_belonging(manifest, header, policy, base, entries, updates)
    summaries = [_delivered(update, entry, manifest) for update, entry in zip(updates, entries, strict=True)]
    root = [entry.contributor == checksum_address(coordinator) for entry in entries]
    copies = copies_among(entries, [summary is not None for summary in summaries], coordinator)
    weighed = [
        (update, summary, entry)
        for index, (update, summary, own, entry) in enumerate(
            zip(updates, summaries, root, entries, strict=True)
        )
        if update is not None and summary is not None and not own and index not in copies
    ]
    if not weighed:
        raise InputError(
            f"No update of round {header.round} was delivered.",
            remedy="Cancel the round, or fetch the missing files.",
            code="no-updates",
        )
    readers = [update for update, _, _ in weighed]
    contributors = [entry.contributor for _, _, entry in weighed]
    used = uses(policy.rule)
    trajectory = _trajectory(manifest, header, base, lineage) if ReferenceKind.TRAJECTORY in used else None
    sample = compared_leaves(manifest.leaves, entries_hash(entries))
    known = _references(
        manifest,
        header,
        used,
        readers,
        contributors,
        root=next(
            (u for u, s, own in zip(updates, summaries, root, strict=True) if own and s is not None), None
        ),
        trajectory=trajectory,
        lineage=lineage,
        sample=sample,
        published=published_of(
            entries,
            [None if summary is None else update for update, summary in zip(updates, summaries, strict=True)],
            coordinator,
        ),
    )
    products = gram_tree(manifest, header.exponents, readers) if has_tree(policy.rule, len(readers)) else None
    elements = tuple(tensor.elements for tensor in manifest.tensors)
    facts = ReferencedFacts(
        gram_matrix(manifest, header.exponents, readers) if products is None else products.gram,
        tuple(summary.sum_squares for _, summary, _ in weighed),
        tuple(summary.sum_absolute for _, summary, _ in weighed),
        *known,
        elements=elements,
        noisy=manifest.private,
    )
    verdicts = _verdicts(header, policy, entries, summaries, root, copies, facts)
    if policy.has_pays:
        verdicts = _paid(
            verdicts,
            WeighedRound(manifest, header, readers, contributors, lineage, trajectory, sample),
        )
    weights = verdicts.weights
    exponents = header.exponents
    if not manifest.private:
        exponents = next_exponents(
            exponents,
            [s.tensors for s, weight in zip(summaries, weights, strict=True) if s is not None and weight],
            header.width,
        )

    state = State.empty(manifest, folder)
    hashes = {
        kind: np.empty((manifest.leaves, HASH_BYTES), dtype=np.uint8) for kind in (MEAN, THETA, MOMENTUM)
    }
    digest = hashlib.sha256()
    chunk = max(_LEAST_LEAVES, _CHUNK_BYTES // (LEAF * len(entries)))
    for first in range(0, manifest.leaves, chunk):
        last = min(first + chunk, manifest.leaves)
        part = compute_leaves(manifest, header, policy, base, updates, weights, first, last)
        place = slice(LEAF * first, LEAF * last)
        state.theta[place] = part.theta
        state.momentum[place] = part.momentum
        state.release(first, last)
        packed = pack(part.mean, policy.mean_width).tobytes()
        digest.update(packed)
        if mean_sink is not None:
            mean_sink.write(packed)
        hashes[MEAN][first:last] = merkle.leaf_hashes(MEAN, part.mean)
        hashes[THETA][first:last] = merkle.leaf_hashes(THETA, merkle.state_leaves(part.theta))
        hashes[MOMENTUM][first:last] = merkle.leaf_hashes(MOMENTUM, merkle.state_leaves(part.momentum))
    mean_tree, theta_tree, momentum_tree = (merkle.tree(kind, rows) for kind, rows in hashes.items())

    verdicts_file = verdicts.to_json()
    artifacts = Artifacts(
        round=header.round,
        header=header.encoded,
        manifest=sha256_hex(manifest.to_json()),
        base_state=base.sha256(),
        updates=tuple(None if summary is None else summary.sha256 for summary in summaries),
        mean=digest.hexdigest(),
        state=state.sha256(),
        verdicts=sha256_hex(verdicts_file),
        next_exponents=exponents,
    )
    artifacts_file = artifacts.to_json()
    anchor = Anchor(
        weights,
        verdicts.pays,
        sum((summary is not None) << index for index, summary in enumerate(summaries)),
        mean_tree.root,
        merkle.state_root(manifest.hash, theta_tree.root, momentum_tree.root),
        NO_GRAM_ROOT if products is None else products.root,
        keccak(verdicts_file),
        keccak(artifacts_file),
        entries_tree(entries, weights).root,
    )
    return RoundOutcome(
        anchor,
        verdicts,
        artifacts,
        verdicts_file,
        artifacts_file,
        state,
        exponents,
        mean_tree,
        theta_tree,
        momentum_tree,
        products,
    )


def _check_belonging(
    manifest: Manifest,
    header: RoundHeader,
    policy: Policy,
    base: State,
    entries: Sequence[Commitment],
    updates: Sequence[UpdateReader | None],
) -> None:
    """Raise InputError (``mismatch``) unless the inputs are of one round."""
    base.check(manifest)
    problem = ""
    if header.manifest_hash != manifest.hash:
        problem = "The header is for another manifest."
    elif len(header.exponents) != len(manifest.tensors):
        problem = "The header has not one exponent a tensor."
    elif header.width != policy.width:
        problem = "The header's width is not the policy's."
    elif not 1 <= policy.mean_scale <= largest_scale(largest(policy.width)):
        problem = "The policy's mean scale is none for its width."
    elif len(entries) != len(updates):
        problem = f"There are {len(updates)} updates for {len(entries)} entries."
    elif any(update is not None and update.width != header.width for update in updates):
        problem = "An update is read at another width than the header's."
    elif any(entry.round != header.round for entry in entries):
        problem = "An entry is for another round."
    elif any(entry.base_state_root != header.base_state_root for entry in entries):
        problem = "An entry is for another base."
    elif header.base_state_root != base.root(manifest.hash):
        problem = "The state is not the header's base."
    if problem:
        raise InputError(problem, code="mismatch")


def _delivered(update: UpdateReader | None, entry: Commitment, manifest: Manifest) -> UpdateSummary | None:
    """Summary of an update that arrived as committed, else None."""
    if update is None:
        return None
    try:
        return check_bytes(update, entry, manifest)
    except UpdateRefused:
        return None


def _trajectory(
    manifest: Manifest, header: RoundHeader, base: State, lineage: Lineage
) -> TrajectoryUpdate | None:
    """Return the trajectory that a round is compared with, None on the genesis.

    Raises:
        InputError: ``mismatch``: the lineage lacks the state that it begins at.
    """
    if not lineage.rounds:
        return None
    if lineage.before is None:
        raise InputError("The lineage lacks the state that the trajectory begins at.", code="mismatch")
    return TrajectoryUpdate(manifest, header.exponents, header.width, lineage.before, base)


def _references(
    manifest: Manifest,
    header: RoundHeader,
    used: frozenset[ReferenceKind],
    updates: Sequence[UpdateReader],
    contributors: Sequence[str],
    *,
    root: UpdateReader | None,
    trajectory: UpdateReader | None,
    lineage: Lineage,
    sample: I64 | None,
    published: Mapping[str, Published],
) -> tuple[Reference | None, Reference | None, tuple[Reference, ...], Windows | None, tuple[int, ...]]:
    """Compare the references that a rule uses with the delivered updates: root, trajectory, earlier updates, windows.

    The last of the results are the repeat cosines of the delivered updates, if earlier updates are used.

    Raises:
        InputError: ``mismatch``: the lineage lacks what was weighed, or an earlier update has another size.
    """
    single: dict[ReferenceKind, UpdateReader] = {}
    if ReferenceKind.ROOT in used and root is not None:
        single[ReferenceKind.ROOT] = root
    if trajectory is not None:
        single[ReferenceKind.TRAJECTORY] = trajectory
    compared = references(
        manifest, header.exponents, updates, [(one, header.exponents) for one in single.values()]
    )
    products = dict(zip(single, compared, strict=True))
    earlier: tuple[Reference, ...] = ()
    repeats: tuple[int, ...] = ()
    if ReferenceKind.EARLIER in used:
        keys = [rounding_key(header.seed, who) for who in contributors]
        earlier, repeats = compare_earlier(
            manifest, header.exponents, updates, keys, contributors, lineage.rounds, sample
        )
    window = None
    if ReferenceKind.WINDOW in used:
        before = [round_.published for round_ in lineage.rounds[-(WINDOW - 1) :]]
        # Integers of another width are of another size: a round of one adds nothing.
        known = [
            {who: one for who, one in weighed.items() if one.update.width == header.width}
            for weighed in before
            if weighed is not None
        ]
        if len(known) < len(before):
            raise InputError("The lineage lacks what was weighed in an earlier round.", code="mismatch")
        window = windows(manifest, header.exponents, [*known, published], trajectory)
    return products.get(ReferenceKind.ROOT), products.get(ReferenceKind.TRAJECTORY), earlier, window, repeats


def _verdicts(
    header: RoundHeader,
    policy: Policy,
    entries: Sequence[Commitment],
    summaries: Sequence[UpdateSummary | None],
    root: Sequence[bool],
    copies: Mapping[int, int],
    facts: RoundFacts,
) -> Verdicts:
    """Weigh the delivered entries by the policy's rule; the others, the coordinator's own and copies get weight 0."""
    results = iter(rule(policy.rule)(facts, policy.parameters))
    verdicts = []
    for index, (entry, summary, own) in enumerate(zip(entries, summaries, root, strict=True)):
        numbers = {"sumSquares": entry.sum_squares}
        weight, reason = 0, Reason.NOT_DELIVERED
        if summary is not None and own:
            reason = Reason.ROOT
        elif index in copies:
            reason = Reason.COPY
            numbers["copyOfEntry"] = copies[index]
        elif summary is not None:
            result = next(results)
            weight, reason = result.weight, result.reason
            numbers.update(result.numbers)
        verdicts.append(Verdict(index, entry.contributor, weight, reason, numbers))
    check_weights([verdict.weight for verdict in verdicts])
    return Verdicts(header.round, policy.rule, policy.parameters, tuple(verdicts))


def _paid(verdicts: Verdicts, weighed: WeighedRound) -> Verdicts:
    """Return the verdicts with their pays: entries that the rule did not weigh get 0."""
    weight_of = {verdict.contributor: verdict.weight for verdict in verdicts.verdicts}
    weights = [weight_of[who] for who in weighed.contributors]
    paid_of = dict(zip(weighed.contributors, pays(weighed, weights), strict=True))
    return replace(
        verdicts,
        verdicts=tuple(
            replace(verdict, pay=paid.pay, numbers={**verdict.numbers, "novelty": paid.novelty})
            if (paid := paid_of.get(verdict.contributor)) is not None
            else replace(verdict, pay=0)
            for verdict in verdicts.verdicts
        ),
    )
