# SPDX-License-Identifier: Apache-2.0
"""The files of past rounds: fetched into the store, each held against what the chain has of it.

Hashes and roots are checked, outcomes are not recomputed: that is the audit's work, and a round that is final is what
the next one builds on, whatever an audit says of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from folkmoot.artifacts.retention import KEPT_EVERY, Reason
from folkmoot.artifacts.sources import DOCUMENT_LIMIT, ArtifactSource, SeveralSources
from folkmoot.artifacts.states import ABSENT, RebuildingSource
from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.audit.files import Files
from folkmoot.audit.genesis import Origin, check_genesis
from folkmoot.audit.history import History
from folkmoot.audit.ledger_state import Round
from folkmoot.errors import ArtifactError, InputError, UpdateRefused
from folkmoot.protocol import merkle
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import mean_tree
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import check_bytes
from folkmoot.protocol.updates import FileUpdate
from folkmoot.protocol.verdict import Artifacts, Verdicts
from folkmoot.runtime.fault_points import fault_point
from server.store import Store, StoreSource

_CHECK = "restore"
_T = TypeVar("_T")


@dataclass(frozen=True)
class RoundFiles:
    """The files of an anchored round. All of them are in the store, except those that are deleted by rule."""

    artifacts: Artifacts
    """Its artifacts file, which names the others."""
    artifacts_sha256: str
    """Name of that file."""
    verdicts: Verdicts
    """What was decided about its entries."""
    momentum_root: bytes
    """Root of the momentum after it, 32 bytes."""
    base_momentum_root: bytes | None
    """Root of the momentum before it, if the files of its base are not there to tell."""
    sizes: dict[str, int]
    """Bytes of each file, by sha256."""
    deleted: dict[str, Reason]
    """Why update files are deleted, by sha256, of those that are. They need not be in the store."""
    spare: bool
    """Whether its state file is deleted by rule. It need not be in the store."""


@dataclass
class Importer:
    """Brings files into a store.

    Args:
        history: What the chain says.
        store: Where they go. What is there already is hashed, not fetched.
        source: Where they come from; never believed.
    """

    history: History
    store: Store
    source: ArtifactSource
    deleted: Callable[[Round, str], Reason | None] = lambda found, contributor: None
    """Why the update file of a contributor in a round is deleted; None if it is not. Deleted ones are not imported."""
    spare: Callable[[int], bool] = lambda number: False
    """Whether the state file of a round is deleted by rule. It is rebuilt, and not imported."""
    rounds: Mapping[int, Round] = field(default_factory=dict)
    """All rounds of the chain: a state is rebuilt from those below it."""
    fetched: int = 0
    """Files that were fetched."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each file that is in the store for sure, by sha256."""
    states: RebuildingSource = field(init=False)
    """Source of states: the store, then `source`, or what they are rebuilt from. Call `clear` at the end."""

    def __post_init__(self) -> None:
        self.states = RebuildingSource(SeveralSources([StoreSource(self.store), self.source]))

    def genesis(self) -> Origin:
        """Import genesis, manifest, first state and carried files, and check them against the chain.

        Raises:
            ArtifactError: One can't be had.
            AuditFailure: One is not what the chain has.
        """
        data = self._document(0, "genesis file", self.history.storage.genesis_hash)
        genesis = Genesis.from_json(data)
        path = self._file(0, "manifest", genesis.manifest, DOCUMENT_LIMIT)
        manifest = Manifest.from_json(path.read_bytes())
        self._file(0, "first state", genesis.state, manifest.state_file_size)
        for entry in manifest.files:
            self._file(0, f"file of the carried array {entry.name!r}", entry.sha256, entry.size)
        return check_genesis(self.history, Files(StoreSource(self.store)))

    def round(self, found: Round, origin: Origin, base_state: str | None) -> RoundFiles:
        """Import the files of an anchored round.

        Args:
            found: The round, as the chain has it.
            origin: The genesis.
            base_state: sha256 of the state that it trained from; None if its base was restored without files.

        Raises:
            ArtifactError: A file can't be had; the message says which, and of which round.
            AuditFailure: A file is not what the chain commits to.
        """
        anchor, number, manifest = found.known_anchor, found.number, origin.manifest
        subject = Subject(check=_CHECK, round=number, event=found.anchored)
        data = self._document(number, "artifacts file", anchor.artifacts_hash)
        artifacts = _parsed(subject, "the artifacts file", lambda: Artifacts.from_json(data))
        header = _parsed(subject, "the header", lambda: RoundHeader.decode(artifacts.header))
        for what, expected, listed in (
            ("the round in the artifacts file", number, artifacts.round),
            ("the hash of the header", found.opened.header_hash, header.hash),
            ("the manifest in the artifacts file", origin.genesis.manifest, artifacts.manifest),
            (
                "the base state in the artifacts file",
                base_state or artifacts.base_state,
                artifacts.base_state,
            ),
            ("the number of updates", len(found.commits), len(artifacts.updates)),
            ("the number of exponents", len(manifest.tensors), len(artifacts.next_exponents)),
        ):
            require(subject, what, expected, listed)
        self.states.learn(artifacts, found.policy, manifest)
        verdicts = self._verdicts(found, artifacts)
        deleted = self._updates(found, artifacts, manifest)
        self._mean(found, artifacts, manifest)
        before = None
        if base_state is None:
            before = self._state(
                number, "base state", found.base, artifacts.base_state, found.base_state_root, origin
            )
        momentum_root = self._state(number, "state", number, artifacts.state, anchor.state_root, origin)
        absent = {
            **dict.fromkeys(filter(None, artifacts.updates), manifest.update_file_size(found.policy.width)),
            **dict.fromkeys((artifacts.base_state, artifacts.state), manifest.state_file_size),
        }
        names = {*artifacts.files(), self.store.by_keccak(anchor.artifacts_hash.hex())}
        return RoundFiles(
            artifacts,
            self.store.by_keccak(anchor.artifacts_hash.hex()),
            verdicts,
            momentum_root,
            before,
            {name: self.sizes[name] if name in self.sizes else absent[name] for name in names},
            deleted,
            self.spare(number),
        )

    def report(self, sha256: str, limit: int) -> bool:
        """Import an evaluation report; whether it could be had."""
        try:
            self._file(0, "evaluation report", sha256, limit)
        except ArtifactError:
            return False
        return True

    # One kind of file each

    def _verdicts(self, found: Round, artifacts: Artifacts) -> Verdicts:
        anchor = found.known_anchor
        data = self._document(found.number, "verdicts file", anchor.verdict_hash)
        subject = Subject(check=_CHECK, round=found.number, artifact=artifacts.verdicts, event=found.anchored)
        verdicts = _parsed(subject, "the verdicts file", lambda: Verdicts.from_json(data))
        expected = [
            (entry.contributor, weight) for entry, weight in zip(found.commits, anchor.weights, strict=True)
        ]
        listed = [(verdict.contributor, verdict.weight) for verdict in verdicts.verdicts]
        require(subject, "contributors and weights in the verdicts file", expected, listed)
        require(
            subject,
            "the verdicts in the artifacts file",
            self.store.by_keccak(anchor.verdict_hash.hex()),
            artifacts.verdicts,
        )
        return verdicts

    def _updates(self, found: Round, artifacts: Artifacts, manifest: Manifest) -> dict[str, Reason]:
        """Import the update files that are not deleted. Return why the others are, by sha256."""
        reasons: dict[str, Reason] = {}
        kept: set[str] = set()
        for entry, sha256 in zip(found.commitments(), artifacts.updates, strict=True):
            if sha256 is None:
                continue
            if why := self.deleted(found, entry.contributor):
                reasons[sha256] = why
                continue
            kept.add(sha256)
            what = f"update file of {entry.contributor}"
            path = self._file(found.number, what, sha256, manifest.update_file_size(found.policy.width))
            subject = Subject(
                check=_CHECK, round=found.number, contributor=entry.contributor, artifact=sha256
            )
            try:
                check_bytes(FileUpdate(path, found.policy.width), entry, manifest)
            except UpdateRefused as error:
                what, found_ = "the update that was committed to", f"{error.code}: {error.message}"
                raise mismatch(subject, "the update file", what, found_) from error
        return {sha256: why for sha256, why in reasons.items() if sha256 not in kept}

    def _mean(self, found: Round, artifacts: Artifacts, manifest: Manifest) -> None:
        anchor = found.known_anchor
        size, width = manifest.update_file_size(found.policy.mean_width), found.policy.mean_width
        mean = FileUpdate(self._file(found.number, "mean", artifacts.mean, size), width)
        subject = Subject(check=_CHECK, round=found.number, artifact=artifacts.mean)
        require(subject, "the size of the mean", size, mean.size)
        root = mean_tree(mean, manifest.leaves).root
        require(subject, "the root of the mean", anchor.mean_root, root)

    def _state(self, number: int, what: str, after: int, sha256: str, root: bytes, origin: Origin) -> bytes:
        """Import the state after a round, or rebuild it if it is spare; return the root of its momentum."""
        manifest = origin.manifest
        if self.spare(after):
            with _named(number, what):
                path = self._rebuilt(after, sha256, manifest)
        else:
            fetch = partial(self._rebuilt, after, sha256, manifest)
            path = self._file(number, what, sha256, manifest.state_file_size, fetch)
        subject = Subject(check=_CHECK, round=number, artifact=sha256)
        state = _parsed(subject, f"the {what}", lambda: State.open(path, manifest))
        if self.spare(after):
            self.states.discard(sha256)
        momentum_root = state.momentum_tree().root
        found = merkle.state_root(manifest.hash, state.theta_tree().root, momentum_root)
        require(subject, f"the root of the {what}", root, found)
        return momentum_root

    def _rebuilt(self, after: int, sha256: str, manifest: Manifest) -> Path:
        """Return the state after a round from the store or a source, or rebuild it."""
        try:
            return self.states.fetch(sha256, manifest.state_file_size)
        except ArtifactError as error:
            if error.code not in ABSENT:
                raise
        while after % KEPT_EVERY and after in self.rounds:
            found = self.rounds[after]
            data = self.states.document(found.known_anchor.artifacts_hash.hex())
            self.states.learn(Artifacts.from_json(data), found.policy, manifest)
            after = found.base
        return self.states.fetch(sha256, manifest.state_file_size)

    # Fetching

    def _file(
        self, number: int, what: str, sha256: str, limit: int, fetch: Callable[[], Path] | None = None
    ) -> Path:
        if sha256 in self.sizes:
            return self.store.path(sha256)
        try:
            path = self.store.verified(sha256)
        except ArtifactError:
            with _named(number, what):
                found = self.source.fetch(sha256, limit) if fetch is None else fetch()
            fault_point("restore.file-imported.before")
            self.store.put_file(found)
            fault_point("restore.file-imported.after")
            self.states.discard(sha256)
            self.fetched += 1
            path = self.store.path(sha256)
        self.sizes[sha256] = path.stat().st_size
        return path

    def _document(self, number: int, what: str, keccak256: bytes) -> bytes:
        name = keccak256.hex()
        try:
            data = StoreSource(self.store).document(name)
        except ArtifactError:
            with _named(number, what):
                data = self.source.document(name)
            self.store.link(name, self.store.put(data).sha256)
            self.fetched += 1
        self.sizes[self.store.by_keccak(name)] = len(data)
        return data


@contextmanager
def _named(number: int, what: str) -> Iterator[None]:
    """Say of which round a file is that can't be had."""
    try:
        yield
    except ArtifactError as error:
        whose = f" of round {number}" if number else ""
        raise ArtifactError(
            f"The {what}{whose} can't be had. {error.message}",
            remedy="Give a further --mirror that has it. Nothing was written to the database.",
            code=error.code,
            details={**error.details, "round": number},
        ) from error


def _parsed(subject: Subject, what: str, parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except (ArtifactError, InputError) as error:
        raise mismatch(subject, what, "a file of this kind", error.message) from error
