# SPDX-License-Identifier: Apache-2.0
"""Check a round whose update files were deleted by rule, as far as its other files go (docs/protocol.md section 13).

What follows from the updates alone is not checked: that weights and pays are those of the rule, that the mean is that
of the updates, and, without privacy settings, the next exponents. All else is: an anchor with another root, mean or
state still fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from folkmoot.aggregation.weighted_sum import check_weights
from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.audit.files import Files
from folkmoot.errors import ArtifactError, EncodingError, InputError
from folkmoot.ledger.replay import Round
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import check_mean, mean_tree
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate
from folkmoot.protocol.verdict import Artifacts, Reason, Verdicts
from folkmoot.round import step_leaves

_VERDICTS = "verdicts"
_MEAN = "mean"
_LEAVES = 1024
"""Number of leaves that are stepped at a time."""


def check_remaining(
    files: Files,
    manifest: Manifest,
    header: RoundHeader,
    replayed: Round,
    artifacts: Artifacts,
    base: State,
) -> State:
    """Check verdicts, mean and roots of an anchored round without its updates.

    Args:
        files: The artifacts.
        header: The round's header, which was checked.
        artifacts: Its artifacts file, which was checked against the chain.
        base: The state that it trained from.

    Returns:
        The state after the round. Its root is that of the anchor.
    """
    entries = replayed.commitments()
    _check_verdicts(files, replayed, artifacts, entries)
    return _check_state(files, manifest, header, replayed, artifacts, base)


def _check_verdicts(
    files: Files, replayed: Round, artifacts: Artifacts, entries: Sequence[Commitment]
) -> None:
    anchor = replayed.known_anchor
    subject = Subject(
        check=_VERDICTS, round=replayed.number, artifact=artifacts.verdicts, event=replayed.anchored
    )
    listed = sum((sha256 is not None) << index for index, sha256 in enumerate(artifacts.updates))
    require(subject, "the bits of the delivered updates", listed, anchor.delivered)
    require(
        subject, "the root of the entries", entries_tree(entries, anchor.weights).root, anchor.entries_root
    )
    data = files.document(subject, "the verdicts file", anchor.verdict_hash)
    require(subject, "the verdicts in the artifacts file", sha256_hex(data), artifacts.verdicts)
    try:
        published = Verdicts.from_json(data)
    except ArtifactError as error:
        raise mismatch(subject, "the verdicts file", "a verdicts file", error.message) from error
    policy = replayed.policy
    head = (replayed.number, policy.rule, policy.parameters, len(entries))
    actual = (published.round, published.rule, published.parameters, len(published.verdicts))
    require(subject, "round, rule, parameters and length of the verdicts file", head, actual)
    require(subject, "the pays in the verdicts file", anchor.pays, published.pays)
    for entry, weight, sha256, verdict in zip(
        entries, anchor.weights, artifacts.updates, published.verdicts, strict=True
    ):
        of_entry = Subject(
            check=_VERDICTS,
            round=replayed.number,
            contributor=entry.contributor,
            artifact=artifacts.verdicts,
            event=replayed.anchored,
        )
        for what, expected, published_value in (
            ("the contributor", entry.contributor, verdict.contributor),
            ("the weight", weight, verdict.weight),
            ("the sum of squares", entry.sum_squares, verdict.numbers.get("sumSquares")),
            ("the delivery", sha256 is not None, verdict.reason is not Reason.NOT_DELIVERED),
        ):
            require(of_entry, f"{what} in the verdicts file", expected, published_value)
        if sha256 is None:
            require(of_entry, "the weight of an update that was not delivered", 0, weight)


def _check_state(
    files: Files,
    manifest: Manifest,
    header: RoundHeader,
    replayed: Round,
    artifacts: Artifacts,
    base: State,
) -> State:
    anchor, policy = replayed.known_anchor, replayed.policy
    subject = Subject(check=_MEAN, round=replayed.number, artifact=artifacts.mean, event=replayed.anchored)
    try:
        check_weights(anchor.weights)
    except InputError as error:
        raise mismatch(subject, "the weights", "weights that the rule may give", error.message) from error
    size = manifest.update_file_size(policy.mean_width)
    mean = FileUpdate(files.fetch(subject, "the mean file", artifacts.mean, size), policy.mean_width)
    require(subject, "the size of the mean file", size, mean.size)
    root = mean_tree(mean, manifest.leaves).root
    require(subject, "the root of the mean", root, anchor.mean_root)
    state = State.empty(manifest, Path(tempfile.gettempdir()))
    for first in range(0, manifest.leaves, _LEAVES):
        leaves = mean.read(first, min(first + _LEAVES, manifest.leaves))
        try:
            check_mean(leaves, manifest, first, policy.mean_bound)
        except EncodingError as error:
            raise mismatch(subject, "the mean file", "a mean of updates", error.message) from error
        part = step_leaves(manifest, header, policy, base, leaves, first)
        place = slice(LEAF * first, LEAF * first + part.theta.size)
        state.theta[place], state.momentum[place] = part.theta, part.momentum
        state.release(first, first + len(leaves))
    require(subject, "the state root", state.root(manifest.hash), anchor.state_root)
    require(subject, "the state in the artifacts file", state.sha256(), artifacts.state)
    count = len(artifacts.next_exponents)
    require(subject, "the number of exponents in the artifacts file", len(manifest.tensors), count)
    if manifest.private:
        require(subject, "the next exponents", header.exponents, artifacts.next_exponents)
    return state
