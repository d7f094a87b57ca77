# SPDX-License-Identifier: Apache-2.0
"""The files that the examination of a round needs, found by the hashes that the chain commits to.

What is missing becomes a demand, never a failure: half of the files are enough for some proofs. Of the rounds
whose updates the next one is compared with it keeps the files, not the bytes; of states the newest. Knows no endpoint.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from folkmoot.aggregation.lineage import GENESIS, Lineage, PastRound, window
from folkmoot.aggregation.registry import uses
from folkmoot.artifacts.gather import OF_LINEAGE, gather_lineage
from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.errors import ArtifactError, InputError, UpdateRefused
from folkmoot.fraud.proofs.case import Case, Demand
from folkmoot.fraud.proofs.examine import unsure
from folkmoot.fraud.proofs.finding import Material
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.packing import file_size
from folkmoot.protocol.state import MAGIC, State
from folkmoot.protocol.update_checks import check_bytes
from folkmoot.protocol.updates import FileUpdate, UpdateReader
from folkmoot.protocol.verdict import Artifacts


@dataclass
class RoundFiles:
    """Finds the files of rounds."""

    source: ArtifactSource
    """Where files come from."""
    genesis: Genesis
    """The genesis file, as the ledger names it."""
    manifest: Manifest
    """The model's layout, as the ledger names it."""
    bytes_read: int = 0
    """Bytes that were fetched."""
    _newest: tuple[str, State] | None = None
    _sure: dict[str, bytes] = field(default_factory=dict)  # roots of state files, by their sha256
    _past: dict[int, tuple[bytes, PastRound, set[str]]] = field(
        default_factory=dict
    )  # by round, with its anchor

    def material(self, case: Case, cases: Mapping[int, Case]) -> Material:
        """Find the files of a round.

        Args:
            case: The round.
            cases: All anchored rounds by number: the lineage is among them.
        """
        missing: list[Demand] = []
        artifacts = self._artifacts(case, missing)
        exponents, base_name = self._left_by(case.base, cases, missing)
        updates = self._updates(case, artifacts, missing)
        base = self._state(case, base_name, missing) if base_name else None
        return Material(
            case,
            self.manifest,
            artifacts,
            exponents,
            base,
            self._lineage(case, cases, missing),
            updates,
            lambda: self._mean(case, artifacts),
            lambda: self._published_state(artifacts),
            missing,
            self._shown,
            Path(tempfile.gettempdir()),
        )

    def done(self, material: Material, kept: Mapping[int, Case], state: State | None) -> None:
        """Let go of what no later round is compared with.

        Args:
            material: What was examined.
            kept: Rounds that are still to be examined or to be built on.
            state: The state after the round, if it is right: the next round trains from it.
        """
        artifacts, case = material.artifacts, material.case
        if artifacts is None:
            return
        if state is not None:
            self._newest = (artifacts.state, state)
            self._sure[artifacts.state] = case.anchor.state_root
        names = {
            artifacts.mean,
            artifacts.verdicts,
            artifacts.base_state,
            *filter(None, artifacts.updates),
        }
        base_of = partial(_base_of, kept)
        wanted = {number for other in kept.values() for number in window(other.base, base_of)}
        wanted |= set(window(case.round, base_of))
        held = {artifacts.state, artifacts.manifest}
        for number in [number for number in self._past if number not in wanted]:
            names |= self._past.pop(number)[2]
        for _, _, files in self._past.values():
            held |= files
        if case.round in wanted and uses_lineage(case):
            held |= names
            self._remember(case, material, artifacts)
        for name in names - held:
            self.source.discard(name)
        roots = {root for other in kept.values() for root in (other.base_state_root, other.anchor.state_root)}
        self._sure = {name: root for name, root in self._sure.items() if root in roots}

    # Documents

    def _artifacts(self, case: Case, missing: list[Demand]) -> Artifacts | None:
        try:
            data = self.source.document(case.anchor.artifacts_hash.hex())
            self.bytes_read += len(data)
            return Artifacts.from_json(data)
        except ArtifactError as error:
            text = f"The artifacts file of round {case.round} is not there. {error.message}"
            missing.append(Demand("artifacts", text, root=case.anchor.artifacts_hash, unsure=unsure(error)))
            return None

    def _shown(self, keccak256: bytes) -> bytes | None:
        """Return a document that no round must have, if a source has it."""
        try:
            data = self.source.document(keccak256.hex())
        except ArtifactError:
            return None
        self.bytes_read += len(data)
        return data

    def _left_by(
        self, base: int, cases: Mapping[int, Case], missing: list[Demand]
    ) -> tuple[tuple[int, ...] | None, str]:
        """Return exponents and state file that a base left, as its anchor's artifacts file says."""
        if base == 0:
            return self.genesis.exponents, self.genesis.state
        artifacts = self._artifacts(cases[base], missing) if base in cases else None
        return (artifacts.next_exponents, artifacts.state) if artifacts is not None else (None, "")

    # Updates

    def _updates(
        self, case: Case, artifacts: Artifacts | None, missing: list[Demand]
    ) -> list[UpdateReader | None]:
        readers: list[UpdateReader | None] = [None] * len(case.entries)
        listed = artifacts.updates if artifacts is not None else ()
        if len(listed) != len(readers):
            return readers
        for index, name in enumerate(listed):
            if name is None:
                continue
            try:
                width = case.policy.width
                path = self.source.fetch(name, self.manifest.update_file_size(width))
            except ArtifactError as error:
                entry = case.entries[index]
                text = (
                    f"The update of entry {index} ({entry.contributor}) of round {case.round} is not there."
                )
                missing.append(
                    Demand("update", f"{text} {error.message}", index, entry.update_root, unsure(error))
                )
                continue
            self.bytes_read += path.stat().st_size
            readers[index] = FileUpdate(path, width)
        return readers

    # States

    def _state(self, case: Case, name: str, missing: list[Demand]) -> State | None:
        """Return the state that a round trained from, if a file is that."""
        if self._newest is not None and self._newest[0] == name:
            return self._newest[1] if self._sure.get(name) == case.base_state_root else None
        text = f"The state that round {case.round} trained from is not there."
        try:
            path = self.source.fetch(name, self.manifest.state_file_size)
            self.bytes_read += path.stat().st_size
            state = State.open(path, self.manifest)
        except ArtifactError as error:
            missing.append(
                Demand(
                    "base-state", f"{text} {error.message}", root=case.base_state_root, unsure=unsure(error)
                )
            )
            return None
        if name not in self._sure:
            self._sure[name] = state.root(self.manifest.hash)
        if self._sure[name] != case.base_state_root:
            missing.append(
                Demand("base-state", f"{text} The file has another root.", root=case.base_state_root)
            )
            return None
        self._newest = (name, state)
        return state

    def state_before(self, case: Case, cases: Mapping[int, Case], missing: list[Demand]) -> State | None:
        """Return the state that a round trained from, if a file is that."""
        _, name = self._left_by(case.base, cases, missing)
        return self._state(case, name, missing) if name else None

    def _mean(self, case: Case, artifacts: Artifacts | None) -> UpdateReader:
        if artifacts is None:
            raise _nothing("mean")
        width = case.policy.mean_width
        path = self.source.fetch(artifacts.mean, file_size(1 << self.manifest.depth, width))
        return FileUpdate(path, width)

    def _published_state(self, artifacts: Artifacts | None) -> State:
        if artifacts is None:
            raise _nothing("state")
        return State.mapped(self.source.fetch(artifacts.state, len(MAGIC) + (4096 << self.manifest.depth)))

    # What came before

    def _lineage(self, case: Case, cases: Mapping[int, Case], missing: list[Demand]) -> Lineage | None:
        """Return what came before a round, as far as its rule uses it; None if some of it is missing."""
        try:
            return gather_lineage(uses(case.policy.rule), case.base, _Earlier(self, cases, missing))
        except InputError:  # the computation says so
            return GENESIS

    def past_round(self, case: Case, missing: list[Demand]) -> PastRound | None:
        """Return a round of a lineage; None if a file of it is missing."""
        kept = self._past.get(case.round)
        if kept is not None and kept[0] == case.anchor.hash:
            return kept[1]
        artifacts = self._artifacts(case, missing)
        if artifacts is None:
            return None
        before = len(missing)
        updates = self._updates(case, artifacts, missing)
        for index, (entry, update) in enumerate(zip(case.entries, updates, strict=True)):
            try:
                if update is not None:
                    check_bytes(update, entry, self.manifest)
            except UpdateRefused as error:
                text = f"The update of entry {index} of round {case.round} is not the committed one: {error.code}."
                missing.append(Demand("earlier", text, index, entry.update_root))
        if len(missing) > before or keccak(artifacts.header) != case.header_hash:
            return None
        material = Material(
            case,
            self.manifest,
            artifacts,
            None,
            None,
            None,
            updates,
            lambda: self._mean(case, None),
            lambda: self._published_state(None),
        )
        return self._remember(case, material, artifacts)

    def _remember(self, case: Case, material: Material, artifacts: Artifacts) -> PastRound | None:
        """Keep a round for those that are compared with it, unless a file that it lists is missing."""
        listed = zip(artifacts.updates, material.updates, strict=False)
        if any(name is not None and update is None for name, update in listed):
            return None
        try:
            header = RoundHeader.decode(artifacts.header)
        except InputError:
            return None
        past = PastRound.of(header, case.entries, material.updates, case.coordinator)
        names = {artifacts.base_state, *filter(None, artifacts.updates)}
        self._past[case.round] = (case.anchor.hash, past, names)
        return past


def uses_lineage(case: Case) -> bool:
    """Whether rounds of this policy are compared with earlier ones."""
    try:
        return bool(uses(case.policy.rule) & OF_LINEAGE)
    except InputError:
        return False


@dataclass(frozen=True)
class _Earlier:
    """Gives the files of earlier rounds; what is missing becomes a demand."""

    files: RoundFiles
    cases: Mapping[int, Case]
    missing: list[Demand]

    def base_of(self, number: int) -> int:
        return _base_of(self.cases, number)

    def past_rounds(self, numbers: Sequence[int], *, updates: bool) -> list[PastRound | None]:
        cases = (self.cases.get(number) for number in numbers)
        return [None if case is None else self.files.past_round(case, self.missing) for case in cases]

    def state_before(self, number: int) -> State | None:
        case = self.cases.get(number)
        return None if case is None else self.files.state_before(case, self.cases, self.missing)


def _base_of(cases: Mapping[int, Case], number: int) -> int:
    return cases[number].base if number in cases else 0


def _nothing(what: str) -> ArtifactError:
    return ArtifactError(f"The {what} is not listed.", code="artifact-missing")
