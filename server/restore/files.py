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

from folkmoot.artifacts.federation import read_genesis
from folkmoot.artifacts.retention import KEPT_EVERY, Reason
from folkmoot.artifacts.sources import ArtifactSource, SeveralSources
from folkmoot.artifacts.states import ABSENT, RebuildingSource
from folkmoot.artifacts.store import DOCUMENT_LIMIT, Store
from folkmoot.audit.failure import Subject, mismatch, require
from folkmoot.audit.files import Files
from folkmoot.audit.genesis import Origin, check_genesis
from folkmoot.audit.history import History
from folkmoot.errors import ArtifactError, InputError, UpdateRefused
from folkmoot.ledger.replay import Round
from folkmoot.protocol import merkle
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import mean_tree
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import check_bytes
from folkmoot.protocol.updates import FileUpdate
from folkmoot.protocol.verdict import Artifacts, Verdicts
from folkmoot.runtime.fault_points import fault_point

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
    deleted: Callable[[Round, str], Reason | None] = lambda past, contributor: None
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
        self.states = RebuildingSource(SeveralSources([self.store, self.source]))

    def genesis(self) -> Origin:
        """Import genesis, manifest, first state and carried files, and check them against the chain."""
        data = self._document(0, "genesis file", self.history.storage.genesis_hash)
        genesis, manifest = read_genesis(
            data, lambda name: self._file(0, "manifest", name, DOCUMENT_LIMIT).read_bytes()
        )
        self._file(0, "first state", genesis.state, manifest.state_file_size)
        for entry in manifest.files:
            self._file(0, f"file of the carried array {entry.name!r}", entry.sha256, entry.size)
        return check_genesis(self.history, Files(self.store))

    def round(self, past: Round, origin: Origin, base_state: str | None) -> RoundFiles:
        """Import the files of an anchored round.

        Args:
            past: The round, as the chain has it.
            origin: The genesis.
            base_state: sha256 of the state that it trained from; None if its base was restored without files.
        """
        anchor, number, manifest = past.known_anchor, past.number, origin.manifest
        subject = Subject(check=_CHECK, round=number, event=past.anchored)
        data = self._document(number, "artifacts file", anchor.artifacts_hash)
        artifacts = _parsed(subject, "the artifacts file", lambda: Artifacts.from_json(data))
        header = _parsed(subject, "the header", lambda: RoundHeader.decode(artifacts.header))
        for what, expected, listed in (
            ("the round in the artifacts file", number, artifacts.round),
            ("the hash of the header", past.opened.header_hash, header.hash),
            ("the manifest in the artifacts file", origin.genesis.manifest, artifacts.manifest),
            (
                "the base state in the artifacts file",
                base_state or artifacts.base_state,
                artifacts.base_state,
            ),
            ("the number of updates", len(past.commits), len(artifacts.updates)),
            ("the number of exponents", len(manifest.tensors), len(artifacts.next_exponents)),
        ):
            require(subject, what, expected, listed)
        self.states.learn(artifacts, past.policy, manifest)
        verdicts = self._verdicts(past, artifacts)
        deleted = self._updates(past, artifacts, manifest)
        self._mean(past, artifacts, manifest)
        before = None
        if base_state is None:
            before = self._state(
                number, "base state", past.base, artifacts.base_state, past.base_state_root, origin
            )
        momentum_root = self._state(number, "state", number, artifacts.state, anchor.state_root, origin)
        absent = {
            **dict.fromkeys(filter(None, artifacts.updates), manifest.update_file_size(past.policy.width)),
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

    def _verdicts(self, past: Round, artifacts: Artifacts) -> Verdicts:
        anchor = past.known_anchor
        data = self._document(past.number, "verdicts file", anchor.verdict_hash)
        subject = Subject(check=_CHECK, round=past.number, artifact=artifacts.verdicts, event=past.anchored)
        verdicts = _parsed(subject, "the verdicts file", lambda: Verdicts.from_json(data))
        expected = [
            (entry.contributor, weight) for entry, weight in zip(past.commits, anchor.weights, strict=True)
        ]
        listed = [(verdict.contributor, verdict.weight) for verdict in verdicts.verdicts]
        require(subject, "contributors and weights in the verdicts file", expected, listed)
        require(subject, "the pays in the verdicts file", anchor.pays, verdicts.pays)
        require(
            subject,
            "the verdicts in the artifacts file",
            self.store.by_keccak(anchor.verdict_hash.hex()),
            artifacts.verdicts,
        )
        return verdicts

    def _updates(self, past: Round, artifacts: Artifacts, manifest: Manifest) -> dict[str, Reason]:
        """Import the update files that are not deleted. Return why the others are, by sha256."""
        reasons: dict[str, Reason] = {}
        kept: set[str] = set()
        for entry, sha256 in zip(past.commitments(), artifacts.updates, strict=True):
            if sha256 is None:
                continue
            if why := self.deleted(past, entry.contributor):
                reasons[sha256] = why
                continue
            kept.add(sha256)
            what = f"update file of {entry.contributor}"
            path = self._file(past.number, what, sha256, manifest.update_file_size(past.policy.width))
            subject = Subject(check=_CHECK, round=past.number, contributor=entry.contributor, artifact=sha256)
            try:
                check_bytes(FileUpdate(path, past.policy.width), entry, manifest)
            except UpdateRefused as error:
                what, refused = "the update that was committed to", f"{error.code}: {error.message}"
                raise mismatch(subject, "the update file", what, refused) from error
        return {sha256: why for sha256, why in reasons.items() if sha256 not in kept}

    def _mean(self, past: Round, artifacts: Artifacts, manifest: Manifest) -> None:
        anchor = past.known_anchor
        size, width = manifest.update_file_size(past.policy.mean_width), past.policy.mean_width
        mean = FileUpdate(self._file(past.number, "mean", artifacts.mean, size), width)
        subject = Subject(check=_CHECK, round=past.number, artifact=artifacts.mean)
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
        actual = merkle.state_root(manifest.hash, state.theta_tree().root, momentum_root)
        require(subject, f"the root of the {what}", root, actual)
        return momentum_root

    def _rebuilt(self, after: int, sha256: str, manifest: Manifest) -> Path:
        """Return the state after a round from the store or a source, or rebuild it."""
        try:
            return self.states.fetch(sha256, manifest.state_file_size)
        except ArtifactError as error:
            if error.code not in ABSENT:
                raise
        while after % KEPT_EVERY and after in self.rounds:
            past = self.rounds[after]
            data = self.states.document(past.known_anchor.artifacts_hash.hex())
            self.states.learn(Artifacts.from_json(data), past.policy, manifest)
            after = past.base
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
                fetched = self.source.fetch(sha256, limit) if fetch is None else fetch()
            fault_point("restore.file-imported.before")
            self.store.put_file(fetched)
            fault_point("restore.file-imported.after")
            self.states.discard(sha256)
            self.fetched += 1
            path = self.store.path(sha256)
        self.sizes[sha256] = path.stat().st_size
        return path

    def _document(self, number: int, what: str, keccak256: bytes) -> bytes:
        name = keccak256.hex()
        try:
            data = self.store.document(name)
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
