# SPDX-License-Identifier: Apache-2.0
"""What follows from a round's entries, recomputed from its files and compared with its anchor.

The round's outcome has one implementation, `folkmoot.round.compute_round`. Here it is fed with files that have been
hashed, one round after the other, and everything that it yields is compared with what the coordinator claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from folkmoot.aggregation.lineage import GENESIS, Lineage, PastRound, window
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.registry import uses
from folkmoot.audit.failure import Subject, mismatch, require, require_that
from folkmoot.audit.files import Files
from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import History
from folkmoot.audit.rounds import Ledger, Round
from folkmoot.errors import ArtifactError, InputError, UpdateRefused
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import AGGREGATE
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import check_bytes
from folkmoot.protocol.updates import FileUpdate, UpdateReader
from folkmoot.protocol.verdict import Artifacts, Verdicts
from folkmoot.round import Anchor, RoundOutcome, compute_round

_HEADER = "header"
_FILES = "updates"
_VERDICTS = "verdicts"
_AGGREGATE = "aggregate"
_OF_LINEAGE = frozenset({ReferenceKind.TRAJECTORY, ReferenceKind.EARLIER})


@dataclass
class Recomputation:
    """Recomputes rounds in their order.

    It keeps one state, the newest: the base of most rounds is the round before. Of the rounds whose
    updates the next one is compared with it keeps the files, not the bytes.
    """

    history: History
    """The history."""
    ledger: Ledger
    """The replayed rounds."""
    files: Files
    """The artifacts."""
    origin: Origin
    """The genesis."""
    exponents: dict[int, tuple[int, ...]] = field(init=False)
    """Exponents of a round that builds on a round, by the number of the latter: of the newest lineage."""
    states: dict[int, str] = field(init=False)
    """sha256 of the state after each round of the newest lineage."""
    newest: tuple[int, State] = field(init=False)
    """The newest state and its round."""
    past: dict[int, PastRound] = field(init=False)
    """Rounds that the next one may be compared with, their updates checked."""
    held: dict[int, set[str]] = field(init=False)
    """sha256 of the files that are kept for that, by round."""
    sure: set[str] = field(init=False)
    """sha256 of states whose root is known to be the one on the chain."""

    def __post_init__(self) -> None:
        self.exponents = {0: self.origin.genesis.exponents}
        self.states = {0: self.origin.genesis.state}
        self.newest = (0, self.origin.state)
        self.past, self.held, self.sure = {}, {}, {self.origin.genesis.state}

    # The header

    def header(self, found: Round) -> RoundHeader:
        """Return the header that a round must have: everybody can derive it.

        Raises:
            AuditFailure: the base's artifacts file is needed and missing.
            ArtifactError: the source gave no answer.
        """
        deployment = self.history.deployment
        return RoundHeader(
            found.number,
            self.origin.manifest.hash,
            found.base_state_root,
            found.policy_id,
            found.policy.bits,
            derive_seed(deployment.chain_id, deployment.ledger, found.number, found.base_state_root),
            self._exponents_of(found.base),
        )

    def check_header(self, found: Round) -> RoundHeader:
        """Check a round's header hash.

        Raises:
            AuditFailure: it is the hash of another header; if the header was published, its wrong field is named.
            ArtifactError: the source gave no answer.
        """
        header = self.header(found)
        subject = Subject(check=_HEADER, round=found.number, event=found.opened)
        if header.hash != found.opened.header_hash:
            self._name_wrong_field(subject, found, header)
        require(subject, "the hash of the header", header.hash, found.opened.header_hash)
        return header

    # The outcome

    def check_outcome(self, found: Round, header: RoundHeader) -> RoundOutcome:
        """Recompute an anchored round and compare everything with its anchor.

        Raises:
            AuditFailure: something differs, or a file that the anchor commits to is missing.
            ArtifactError: the source gave no answer.
        """
        anchor = found.anchor
        assert anchor is not None  # noqa: S101  # only anchored rounds come here
        artifacts = self._artifacts(found, anchor)
        self._check_listed(found, header, artifacts)
        entries = found.commitments()
        updates = self._updates(found, entries, artifacts)
        outcome = self._compute(found, header, entries, updates)
        self._compare_deliveries(found, entries, updates, artifacts, outcome)
        self._compare_verdicts(found, entries, anchor, artifacts, outcome)
        self._compare_state(found, anchor, artifacts, outcome)
        self._let_go(found, header, artifacts, updates)
        self._remember(found, outcome)
        self.newest = (found.number, outcome.state)
        return outcome

    # Inside

    def _remember(self, found: Round, outcome: RoundOutcome) -> None:
        """Keep what rounds on this one need; what is older is read anew if a round is built on it after all."""
        self.sure.add(outcome.artifacts.state)
        self.exponents[found.number] = outcome.next_exponents
        self.states[found.number] = outcome.artifacts.state
        lineage = window(found.number, self._base_number)
        needed = {0, self._base_number(lineage[0]), *lineage}
        for number in self.exponents.keys() - needed:
            del self.exponents[number]
        for number in self.states.keys() - needed:
            del self.states[number]
        self.sure.intersection_update(self.states.values())

    def _exponents_of(self, base: int) -> tuple[int, ...]:
        if base not in self.exponents:  # not recomputed, because the audit started later
            self._learn(base)
        return self.exponents[base]

    def _base(self, found: Round) -> State:
        """Return the state that a round trained from; its root is checked by whoever computes with it."""
        number, state = self.newest
        if number == found.base:
            return state
        if found.base == 0:
            return self.origin.state
        if found.base not in self.states:
            self._learn(found.base)
        sha256 = self.states[found.base]
        subject = Subject(check=_FILES, round=found.base, artifact=sha256)
        state = self.files.state(subject, "the state file", sha256, self.origin.manifest)
        if sha256 not in self.sure:
            root = state.root(self.origin.manifest.hash)
            require(subject, "the root of the state file", found.base_state_root, root)
            self.sure.add(sha256)
        return state

    def _lineage(self, found: Round) -> Lineage:
        """Return what came before a round, as far as its rule uses it.

        Raises:
            AuditFailure: a file that an earlier anchor commits to is missing, or is not what it should be.
            ArtifactError: the source gave no answer.
            InputError: this release does not know the rule.
        """
        if not uses(found.policy.rule) & _OF_LINEAGE:
            return GENESIS
        numbers = window(found.base, self._base_number)
        if not numbers:
            return GENESIS
        rounds = tuple(self._past_round(self.ledger.rounds[number]) for number in numbers)
        return Lineage(rounds, self._base(self.ledger.rounds[numbers[0]]))

    def _base_number(self, number: int) -> int:
        return self.ledger.rounds[number].base

    def _past_round(self, found: Round) -> PastRound:
        """Return a round of the lineage; it is read anew if the audit began later, or let it go."""
        if found.number not in self.past:
            assert found.anchor is not None  # noqa: S101  # a base is anchored
            header, artifacts = self.check_header(found), self._artifacts(found, found.anchor)
            self._check_listed(found, header, artifacts)
            entries = found.commitments()
            updates = self._updates(found, entries, artifacts)
            for entry, update, sha256 in zip(entries, updates, artifacts.updates, strict=True):
                why = _why_refused(update, entry, self.origin.manifest) if update is not None else None
                subject = Subject(
                    check=_FILES, round=found.number, contributor=entry.contributor, artifact=sha256
                )
                what = "the update that was committed to"
                require_that(why is None, subject, "the update file", what, why)
            self._hold(found, header, artifacts, updates)
        return self.past[found.number]

    def _hold(
        self,
        found: Round,
        header: RoundHeader,
        artifacts: Artifacts,
        updates: Sequence[UpdateReader | None],
    ) -> None:
        """Keep a round's updates, and the state that it trained from: a trajectory may begin there."""
        delivered = tuple(update for update in updates if update is not None)
        self.past[found.number] = PastRound(header.exponents, delivered)
        self.held[found.number] = {artifacts.base_state, *filter(None, artifacts.updates)}

    def _let_go(
        self,
        found: Round,
        header: RoundHeader,
        artifacts: Artifacts,
        updates: Sequence[UpdateReader | None],
    ) -> None:
        """Keep what a round on this one is compared with, and say of everything else that it is not needed."""
        self._hold(found, header, artifacts, updates)
        compared = uses(found.policy.rule) & _OF_LINEAGE
        wanted = window(found.number, self._base_number) if compared else []
        gone = {artifacts.aggregate, artifacts.verdicts}
        for number in self.held.keys() - set(wanted):
            gone |= self.held.pop(number)
            del self.past[number]
        kept = {artifacts.manifest, artifacts.state}.union(*self.held.values())
        for sha256 in gone - kept:
            self.files.source.discard(sha256)

    def _learn(self, number: int) -> None:
        """Take exponents and state of a round from its artifacts file, which the chain commits to."""
        found = self.ledger.rounds[number]
        assert found.anchor is not None  # noqa: S101  # a base is anchored
        artifacts = self._artifacts(found, found.anchor)
        self.exponents[number] = artifacts.next_exponents
        self.states[number] = artifacts.state

    def _artifacts(self, found: Round, anchor: Anchor) -> Artifacts:
        subject = Subject(check=_FILES, round=found.number, event=found.anchored)
        data = self.files.document(subject, "the artifacts file", anchor.artifacts_hash)
        try:
            return Artifacts.from_json(data)
        except ArtifactError as error:
            raise mismatch(subject, "the artifacts file", "an artifacts file", error.message) from error

    def _name_wrong_field(self, subject: Subject, found: Round, header: RoundHeader) -> None:
        """Raise the failure of a field, if the coordinator published the header that it opened the round with."""
        anchor = found.anchor
        if anchor is None:
            return
        try:
            published = RoundHeader.decode(self._artifacts(found, anchor).header)
        except InputError:
            return
        if published.hash == found.opened.header_hash:
            for name in RoundHeader.__dataclass_fields__:
                what = f"the {name.replace('_', ' ')} in the header"
                require(subject, what, getattr(header, name), getattr(published, name))

    def _check_listed(self, found: Round, header: RoundHeader, artifacts: Artifacts) -> None:
        """Check what the artifacts file says before anything is fetched by it."""
        subject = Subject(check=_FILES, round=found.number, event=found.anchored)
        if found.base not in self.states:
            self._learn(found.base)
        for name, expected, listed in (
            ("round", found.number, artifacts.round),
            ("header", header.encoded, artifacts.header),
            ("manifest", self.origin.genesis.manifest, artifacts.manifest),
            ("base state", self.states[found.base], artifacts.base_state),
            ("number of updates", len(found.commits), len(artifacts.updates)),
        ):
            require(subject, f"the {name} in the artifacts file", expected, listed)

    def _updates(
        self, found: Round, entries: Sequence[Commitment], artifacts: Artifacts
    ) -> list[UpdateReader | None]:
        """Fetch the listed update files. One that is listed must be there; one that isn't has weight 0."""
        updates: list[UpdateReader | None] = []
        for entry, sha256 in zip(entries, artifacts.updates, strict=True):
            if sha256 is None:
                updates.append(None)
                continue
            subject = Subject(
                check=_FILES, round=found.number, contributor=entry.contributor, artifact=sha256
            )
            path = self.files.fetch(subject, "the update file", sha256, self.origin.manifest.size)
            updates.append(FileUpdate(path))
        return updates

    def _compute(
        self,
        found: Round,
        header: RoundHeader,
        entries: Sequence[Commitment],
        updates: Sequence[UpdateReader | None],
    ) -> RoundOutcome:
        subject = Subject(check=_VERDICTS, round=found.number, event=found.anchored)
        try:
            return compute_round(
                self.origin.manifest,
                header,
                found.policy,
                self._base(found),
                entries,
                updates,
                coordinator=found.opened.coordinator,
                lineage=self._lineage(found),
            )
        except InputError as error:  # no delivered update, or a rule that this release does not know
            raise mismatch(subject, "the outcome", "one that can be computed", error.message) from error

    def _compare_deliveries(
        self,
        found: Round,
        entries: Sequence[Commitment],
        updates: Sequence[UpdateReader | None],
        artifacts: Artifacts,
        outcome: RoundOutcome,
    ) -> None:
        """A file that is listed must be the update that was committed to."""
        for entry, update, listed, passed in zip(
            entries, updates, artifacts.updates, outcome.artifacts.updates, strict=True
        ):
            if listed != passed:
                subject = Subject(
                    check=_FILES, round=found.number, contributor=entry.contributor, artifact=listed
                )
                why = _why_refused(update, entry, self.origin.manifest) or "another file with the same update"
                raise mismatch(subject, "the update file", "the update that was committed to", why)

    def _compare_verdicts(
        self,
        found: Round,
        entries: Sequence[Commitment],
        anchor: Anchor,
        artifacts: Artifacts,
        outcome: RoundOutcome,
    ) -> None:
        for entry, expected, claimed in zip(entries, outcome.weights, anchor.weights, strict=True):
            subject = Subject(
                check=_VERDICTS, round=found.number, contributor=entry.contributor, event=found.anchored
            )
            require(subject, "the weight", expected, claimed)
        subject = Subject(
            check=_VERDICTS, round=found.number, artifact=artifacts.verdicts, event=found.anchored
        )
        data = self.files.document(subject, "the verdicts file", anchor.verdict_hash)
        _compare_verdict_files(subject, outcome.verdicts, data)
        require(subject, "the hash of the verdicts file", outcome.anchor.verdict_hash, anchor.verdict_hash)

    def _compare_state(
        self, found: Round, anchor: Anchor, artifacts: Artifacts, outcome: RoundOutcome
    ) -> None:
        manifest, expected = self.origin.manifest, outcome.artifacts
        subject = Subject(check=_AGGREGATE, round=found.number, event=found.anchored)
        require(subject, "the root of the aggregate", outcome.aggregate_root, anchor.aggregate_root)
        require(subject, "the aggregate in the artifacts file", expected.aggregate, artifacts.aggregate)
        require(subject, "the state root", outcome.state_root, anchor.state_root)
        require(subject, "the state in the artifacts file", expected.state, artifacts.state)
        require(subject, "the next exponents", outcome.next_exponents, artifacts.next_exponents)
        require(subject, "the verdicts in the artifacts file", expected.verdicts, artifacts.verdicts)
        for what, sha256, limit in (
            ("the aggregate file", artifacts.aggregate, AGGREGATE.leaf_bytes * manifest.leaves),
            ("the state file", artifacts.state, manifest.state_file_size),
        ):
            self.files.fetch(
                Subject(check=_AGGREGATE, round=found.number, artifact=sha256), what, sha256, limit
            )
        require(
            subject, "the hash of the artifacts file", outcome.anchor.artifacts_hash, anchor.artifacts_hash
        )
        stored = self.history.storage.rounds[found.number].anchor_hash
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
    """Compare a published verdicts file with the recomputed one; a wrong verdict is named by its contributor."""
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
        for name in ("index", "contributor", "weight", "reason", "numbers"):
            what = f"the {name} in the verdicts file"
            require(of_entry, what, getattr(mine, name), getattr(theirs, name))
    raise mismatch(
        subject, "the verdicts file", "the recomputed one", "one with another round, rule or length"
    )
