# SPDX-License-Identifier: Apache-2.0
"""Recompute a round's outcome from its files and compare it with its anchor.

A round whose update files were deleted by rule is checked as far as its other files go (`remaining`).

The outcome of a round has one implementation, `folkmoot.round.compute_round`. This module calls it for one round after
the other with files whose hashes were checked, and compares the results with the coordinator's claims.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from folkmoot.aggregation.lineage import Lineage, PastRound, window
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.registry import uses
from folkmoot.artifacts.gather import OF_LINEAGE, RoundInputs, gather_lineage, header_of
from folkmoot.artifacts.inventory import Retentions
from folkmoot.artifacts.retention import Wishes
from folkmoot.audit.failure import Subject, mismatch, require, require_that
from folkmoot.audit.files import Files
from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import History
from folkmoot.audit.ledger_state import Expired, Ledger
from folkmoot.audit.remaining import check_remaining
from folkmoot.errors import ArtifactError, InputError, UpdateRefused
from folkmoot.ledger.replay import Round
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import check_bytes
from folkmoot.protocol.updates import FileUpdate, UpdateReader
from folkmoot.protocol.verdict import Artifacts, Verdicts
from folkmoot.round import RoundOutcome

_HEADER = "header"
_FILES = "updates"
_VERDICTS = "verdicts"
_MEAN = "mean"


@dataclass(frozen=True, slots=True)
class CheckedOutcome:
    """What was checked of a round."""

    updates: int
    """Number of update files that were checked."""
    expired: Expired | None = None
    """Why it was not recomputed; None if it was."""


@dataclass
class Recomputation:
    """Recomputes rounds in order.

    It keeps only the newest state, because the base of most rounds is the previous round. It keeps the files, not the
    bytes, of rounds with whose updates the next round is compared.
    """

    history: History
    ledger: Ledger
    """The replayed rounds."""
    files: Files
    """The artifacts."""
    origin: Origin
    """The genesis."""
    reads_states: bool
    """Whether state files are read too, or only computed."""
    exponents: dict[int, tuple[int, ...]] = field(init=False)
    """Exponents for the rounds on a base, by the number of the base, in the newest lineage."""
    states: dict[int, str] = field(init=False)
    """sha256 of the state after each round of the newest lineage."""
    newest: tuple[int, State] = field(init=False)
    """The newest state and its round."""
    past: dict[int, PastRound] = field(init=False)
    """Rounds with checked updates with which the next round may be compared."""
    held: dict[int, set[str]] = field(init=False)
    """sha256 of the files that are kept for the comparison, by round."""
    sure: set[str] = field(init=False)
    """sha256 of states that are known to have the root on the chain."""
    deleted: dict[int, Expired] = field(init=False)
    """Why update files are missing, by round, of rounds of which some were deleted by rule."""
    wished: dict[int, list[str]] = field(init=False)
    """Contributors whose update files are missing because they wanted it, by round."""
    retentions: Retentions = field(init=False)
    """Which update files and states may be missing."""
    learned: set[int] = field(init=False)
    """Rounds whose states can be rebuilt."""

    def __post_init__(self) -> None:
        self.deleted, self.retentions = (
            {},
            Retentions(self.ledger.rounds, self.history.storage.unbonding_period),
        )
        self.wished = {}
        self.exponents = {0: self.origin.genesis.exponents}
        self.states = {0: self.origin.genesis.state}
        self.newest = (0, self.origin.state)
        self.learned = set()
        self.past, self.held, self.sure = {}, {}, {self.origin.genesis.state}

    # The header

    def header(self, replayed: Round) -> RoundHeader:
        """Return the header that a round must have, derived from public data."""
        return header_of(
            self.history.deployment, self.origin.manifest, replayed, self._exponents_of(replayed.base)
        )

    def check_header(self, replayed: Round) -> RoundHeader:
        """Check a round's header hash."""
        header = self.header(replayed)
        subject = Subject(check=_HEADER, round=replayed.number, event=replayed.opened)
        if header.hash != replayed.opened.header_hash:
            self._name_wrong_field(subject, replayed, header)
        require(subject, "the hash of the header", header.hash, replayed.opened.header_hash)
        return header

    # The outcome

    def check_outcome(self, replayed: Round, header: RoundHeader) -> CheckedOutcome:
        """Recompute an anchored round and compare the results with its anchor.

        Without the update files that were deleted by rule, check what does not need them.
        """
        anchor = replayed.known_anchor
        artifacts = self._artifacts(replayed)
        self._check_listed(replayed, header, artifacts)
        entries = replayed.commitments()
        updates = self._updates(replayed, entries, artifacts)
        lineage = gather_lineage(self._uses(replayed), replayed.base, self)
        if replayed.number in self.deleted or lineage is None:
            self._require_committed(replayed, entries, updates, artifacts)
            expired = self.deleted.get(replayed.number, Expired.WINDOW)
            base = self.state_after(replayed.base)
            state = check_remaining(self.files, self.origin.manifest, header, replayed, artifacts, base)
        else:
            expired = None
            outcome = self._compute(replayed, header, entries, updates, lineage)
            self._compare_deliveries(replayed, entries, updates, artifacts, outcome)
            self._compare_verdicts(replayed, entries, anchor, artifacts, outcome)
            self._compare_state(replayed, anchor, artifacts, outcome)
            state = outcome.state
        self._require_state_file(replayed, artifacts, state)
        self._release_unneeded(replayed, header, artifacts, updates)
        self._remember(replayed, artifacts)
        self.newest = (replayed.number, state)
        return CheckedOutcome(sum(update is not None for update in updates), expired)

    # Internal methods

    def _remember(self, replayed: Round, artifacts: Artifacts) -> None:
        """Keep the data for rounds with this base. Older data are read again if needed."""
        self.sure.add(artifacts.state)
        self.exponents[replayed.number] = artifacts.next_exponents
        self.states[replayed.number] = artifacts.state
        lineage = window(replayed.number, self.base_of)
        needed = {0, self.base_of(lineage[0]), *lineage}
        for number in self.exponents.keys() - needed:
            del self.exponents[number]
        for number in self.states.keys() - needed:
            del self.states[number]
        self.sure.intersection_update(self.states.values())

    def _exponents_of(self, base: int) -> tuple[int, ...]:
        if base not in self.exponents:  # Not recomputed, because the audit started at a later round.
            self._read_lineage(base)
        return self.exponents[base]

    def state_after(self, number: int) -> State:
        """Return the state after a round, or the first state. Its root is that on the chain."""
        newest, state = self.newest
        if number == newest:
            return state
        if number == 0:
            return self.origin.state
        if number not in self.states:
            self._read_lineage(number)
        self._learn(number)
        sha256 = self.states[number]
        subject = Subject(check=_FILES, round=number, artifact=sha256)
        state = self.files.state(subject, "the state file", sha256, self.origin.manifest)
        if sha256 not in self.sure:
            root = state.root(self.origin.manifest.hash)
            require(subject, "the root of the state file", self.ledger.state_root(number), root)
            self.sure.add(sha256)
        return state

    def _learn(self, number: int) -> None:
        """Note how the state after a round is rebuilt, if it may have been deleted."""
        while number not in self.learned and self._is_spare(number):
            replayed = self.ledger.rounds[number]
            artifacts = self._artifacts(replayed)
            self.files.states.learn(artifacts, replayed.policy, self.origin.manifest)
            self.learned.add(number)
            number = replayed.base

    def _is_spare(self, number: int) -> bool:
        return number > 0 and self.retentions.of(number).spare()

    def _require_state_file(self, replayed: Round, artifacts: Artifacts, state: State) -> None:
        """Check that the state file is there, unless it may have been deleted by now.

        If state files are not read, keep the computed state for later rounds: as a base, or for their trajectory.
        """
        subject = Subject(check=_MEAN, round=replayed.number, artifact=artifacts.state)
        if not self.reads_states:
            rebuilt = self.files.states.keep(state)
            require(subject, "the state in the artifacts file", rebuilt, artifacts.state)
        elif not self._is_spare(replayed.number):
            limit = self.origin.manifest.state_file_size
            self.files.fetch(subject, "the state file", artifacts.state, limit)

    def base_of(self, number: int) -> int:
        """Return the base of a round; 0 is the genesis."""
        return self.ledger.rounds[number].base

    def past_rounds(self, numbers: Sequence[int], *, updates: bool) -> list[PastRound] | None:
        """Return rounds of a lineage; None if their updates are needed, and some were deleted."""
        rounds = [self._past_round(self.ledger.rounds[number]) for number in numbers]
        return None if updates and not self.deleted.keys().isdisjoint(numbers) else rounds

    def state_before(self, number: int) -> State:
        """Return the state that a round trained from; see `state_after`."""
        return self.state_after(self.base_of(number))

    def _uses(self, replayed: Round) -> frozenset[ReferenceKind]:
        """Return the references that a round's rule uses."""
        try:
            return uses(replayed.policy.rule)
        except InputError as error:
            subject = Subject(check=_VERDICTS, round=replayed.number, event=replayed.anchored)
            raise mismatch(subject, "the outcome", "one that can be computed", error.message) from error

    def _past_round(self, replayed: Round) -> PastRound:
        """Return a round of the lineage. It is read again if it is not in memory."""
        if replayed.number not in self.past:
            header, artifacts = self.check_header(replayed), self._artifacts(replayed)
            self._check_listed(replayed, header, artifacts)
            entries = replayed.commitments()
            updates = self._updates(replayed, entries, artifacts)
            self._require_committed(replayed, entries, updates, artifacts)
            self._hold(replayed, header, artifacts, updates)
        return self.past[replayed.number]

    def _require_committed(
        self,
        replayed: Round,
        entries: Sequence[Commitment],
        updates: Sequence[UpdateReader | None],
        artifacts: Artifacts,
    ) -> None:
        """Check each update file that is there against its commitment."""
        for entry, update, sha256 in zip(entries, updates, artifacts.updates, strict=True):
            why = _why_refused(update, entry, self.origin.manifest) if update is not None else None
            subject = Subject(
                check=_FILES, round=replayed.number, contributor=entry.contributor, artifact=sha256
            )
            what = "the update that was committed to"
            require_that(why is None, subject, "the update file", what, why)

    def _hold(
        self,
        replayed: Round,
        header: RoundHeader,
        artifacts: Artifacts,
        updates: Sequence[UpdateReader | None],
    ) -> None:
        """Keep a round's updates and its base state, where a trajectory may begin."""
        self.past[replayed.number] = PastRound.of(
            header, replayed.commitments(), updates, replayed.opened.coordinator
        )
        self.held[replayed.number] = {artifacts.base_state, *filter(None, artifacts.updates)}

    def _release_unneeded(
        self,
        replayed: Round,
        header: RoundHeader,
        artifacts: Artifacts,
        updates: Sequence[UpdateReader | None],
    ) -> None:
        """Keep the data with which the next round is compared, and discard all others."""
        self._hold(replayed, header, artifacts, updates)
        compared = self._uses(replayed) & OF_LINEAGE
        kept_rounds = window(replayed.number, self.base_of) if compared else []
        unneeded = {artifacts.mean, artifacts.verdicts}
        for number in self.held.keys() - set(kept_rounds):
            unneeded |= self.held.pop(number)
            del self.past[number]
        kept = {artifacts.manifest, artifacts.state}.union(*self.held.values())
        for sha256 in unneeded - kept:
            self.files.states.discard(sha256)

    def _read_lineage(self, number: int) -> None:
        """Read exponents and state of a round from its artifacts file, to which the chain commits."""
        replayed = self.ledger.rounds[number]
        artifacts = self._artifacts(replayed)
        self.exponents[number] = artifacts.next_exponents
        self.states[number] = artifacts.state

    def _artifacts(self, replayed: Round) -> Artifacts:
        subject = Subject(check=_FILES, round=replayed.number, event=replayed.anchored)
        data = self.files.document(subject, "the artifacts file", replayed.known_anchor.artifacts_hash)
        try:
            return Artifacts.from_json(data)
        except ArtifactError as error:
            raise mismatch(subject, "the artifacts file", "an artifacts file", error.message) from error

    def _name_wrong_field(self, subject: Subject, replayed: Round, header: RoundHeader) -> None:
        """Raise the failure of a wrong field, if the coordinator published the header of the round."""
        if replayed.anchor is None:
            return
        try:
            published = RoundHeader.decode(self._artifacts(replayed).header)
        except InputError:
            return
        if published.hash == replayed.opened.header_hash:
            for name in RoundHeader.__dataclass_fields__:
                what = f"the {name.replace('_', ' ')} in the header"
                require(subject, what, getattr(header, name), getattr(published, name))

    def _check_listed(self, replayed: Round, header: RoundHeader, artifacts: Artifacts) -> None:
        """Check the contents of the artifacts file before its files are fetched."""
        subject = Subject(check=_FILES, round=replayed.number, event=replayed.anchored)
        if replayed.base not in self.states:
            self._read_lineage(replayed.base)
        for name, expected, listed in (
            ("round", replayed.number, artifacts.round),
            ("header", header.encoded, artifacts.header),
            ("manifest", self.origin.genesis.manifest, artifacts.manifest),
            ("base state", self.states[replayed.base], artifacts.base_state),
            ("number of updates", len(replayed.commits), len(artifacts.updates)),
        ):
            require(subject, f"the {name} in the artifacts file", expected, listed)

    def _updates(
        self, replayed: Round, entries: Sequence[Commitment], artifacts: Artifacts
    ) -> list[UpdateReader | None]:
        """Fetch the listed update files. A listed file must exist, unless it may have been deleted by now.

        An update without a listed file has weight 0.
        """
        updates: list[UpdateReader | None] = []
        for entry, sha256 in zip(entries, artifacts.updates, strict=True):
            if sha256 is None:
                updates.append(None)
                continue
            subject = Subject(
                check=_FILES, round=replayed.number, contributor=entry.contributor, artifact=sha256
            )
            width = replayed.policy.width
            limit = self.origin.manifest.update_file_size(width)
            retention, now = self.retentions.of(replayed.number), self.history.head.timestamp
            if not retention.free(now):
                path = self.files.fetch(subject, "the update file", sha256, limit)
                updates.append(FileUpdate(path, width))
                continue
            kept = self.files.fetch_or_none(subject, "the update file", sha256, limit)
            updates.append(None if kept is None else FileUpdate(kept, width))
            if kept is not None:
                continue
            if retention.expired(now):
                self.deleted[replayed.number] = Expired.RETENTION
            elif self._wishes.cover(entry.contributor, replayed.number):
                self.deleted.setdefault(replayed.number, Expired.WISH)
                self.wished.setdefault(replayed.number, []).append(entry.contributor)
            else:
                self.files.fetch(subject, "the update file", sha256, limit)
        return updates

    @cached_property
    def _wishes(self) -> Wishes:
        """The wishes that the source knows and that count at the audited block."""
        deployment = self.history.deployment
        domain = Domain(deployment.chain_id, deployment.ledger)
        return Wishes(self.files.source.wishes(), domain, self.history.accepts)

    def _compute(
        self,
        replayed: Round,
        header: RoundHeader,
        entries: Sequence[Commitment],
        updates: Sequence[UpdateReader | None],
        lineage: Lineage,
    ) -> RoundOutcome:
        subject = Subject(check=_VERDICTS, round=replayed.number, event=replayed.anchored)
        try:
            return RoundInputs(
                self.origin.manifest,
                header,
                replayed.policy,
                self.state_after(replayed.base),
                entries,
                updates,
                replayed.opened.coordinator,
                lineage,
            ).compute(folder=Path(tempfile.gettempdir()))
        except InputError as error:  # No delivered update, or a rule that this release does not support.
            raise mismatch(subject, "the outcome", "one that can be computed", error.message) from error

    def _compare_deliveries(
        self,
        replayed: Round,
        entries: Sequence[Commitment],
        updates: Sequence[UpdateReader | None],
        artifacts: Artifacts,
        outcome: RoundOutcome,
    ) -> None:
        """Check that each listed file is the committed update."""
        for entry, update, listed, passed in zip(
            entries, updates, artifacts.updates, outcome.artifacts.updates, strict=True
        ):
            if listed != passed:
                subject = Subject(
                    check=_FILES, round=replayed.number, contributor=entry.contributor, artifact=listed
                )
                why = _why_refused(update, entry, self.origin.manifest) or "another file with the same update"
                raise mismatch(subject, "the update file", "the update that was committed to", why)

    def _compare_verdicts(
        self,
        replayed: Round,
        entries: Sequence[Commitment],
        anchor: Anchor,
        artifacts: Artifacts,
        outcome: RoundOutcome,
    ) -> None:
        for what, truth, claims in (
            ("the weight", outcome.weights, anchor.weights),
            ("the pay", outcome.anchor.pays, anchor.pays),
        ):
            for entry, expected, claimed in zip(entries, truth, claims, strict=bool(truth)):
                subject = Subject(
                    check=_VERDICTS,
                    round=replayed.number,
                    contributor=entry.contributor,
                    event=replayed.anchored,
                )
                require(subject, what, expected, claimed)
        subject = Subject(check=_VERDICTS, round=replayed.number, event=replayed.anchored)
        require(subject, "the root of the entries", outcome.anchor.entries_root, anchor.entries_root)
        subject = Subject(
            check=_VERDICTS, round=replayed.number, artifact=artifacts.verdicts, event=replayed.anchored
        )
        data = self.files.document(subject, "the verdicts file", anchor.verdict_hash)
        _compare_verdict_files(subject, outcome.verdicts, data)
        require(subject, "the hash of the verdicts file", outcome.anchor.verdict_hash, anchor.verdict_hash)

    def _compare_state(
        self, replayed: Round, anchor: Anchor, artifacts: Artifacts, outcome: RoundOutcome
    ) -> None:
        expected = outcome.artifacts
        subject = Subject(check=_MEAN, round=replayed.number, event=replayed.anchored)
        require(subject, "the root of the mean", outcome.mean_root, anchor.mean_root)
        require(subject, "the mean in the artifacts file", expected.mean, artifacts.mean)
        require(subject, "the state root", outcome.state_root, anchor.state_root)
        require(subject, "the state in the artifacts file", expected.state, artifacts.state)
        require(subject, "the next exponents", outcome.next_exponents, artifacts.next_exponents)
        require(subject, "the verdicts in the artifacts file", expected.verdicts, artifacts.verdicts)
        of_mean = Subject(check=_MEAN, round=replayed.number, artifact=artifacts.mean)
        size = self.origin.manifest.update_file_size(replayed.policy.mean_width)
        self.files.fetch(of_mean, "the mean file", artifacts.mean, size)
        require(
            subject, "the hash of the artifacts file", outcome.anchor.artifacts_hash, anchor.artifacts_hash
        )
        stored = self.history.storage.rounds[replayed.number].anchor_hash
        require(subject, "the hash of the anchor", outcome.anchor.hash, stored)


def _why_refused(update: UpdateReader | None, entry: Commitment, manifest: Manifest) -> str | None:
    if update is None:
        return "a file that is not listed"
    try:
        check_bytes(update, entry, manifest)
    except UpdateRefused as error:
        return f"{error.code}: {error.message}"
    return None


def _compare_verdict_files(subject: Subject, expected: Verdicts, data: bytes) -> None:
    """Compare a published verdicts file with the recomputed one.

    The failure names the contributor of a wrong verdict.
    """
    if data == expected.to_json():
        return
    try:
        published = Verdicts.from_json(data)
    except ArtifactError as error:
        raise mismatch(subject, "the verdicts file", "a verdicts file", error.message) from error
    for mine, theirs in zip(expected.verdicts, published.verdicts, strict=False):
        of_entry = Subject(
            check=subject.check,
            round=subject.round,
            contributor=mine.contributor,
            artifact=subject.artifact,
            event=subject.event,
        )
        for name in ("index", "contributor", "weight", "pay", "reason", "numbers"):
            what = f"the {name} in the verdicts file"
            require(of_entry, what, getattr(mine, name), getattr(theirs, name))
    raise mismatch(
        subject, "the verdicts file", "the recomputed one", "one with another round, rule or length"
    )
