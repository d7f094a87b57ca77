# SPDX-License-Identifier: Apache-2.0
"""Copy the files to which a chain commits into a folder, and report why a file is missing.

The folder has the layout of docs/protocol.md section 12. Files that may be deleted are deleted, and not fetched: update
files by rule (section 12.1) or because their contributors want it (12.3), and spare states (12.2). A state is made of
its base and the mean, and fetched only where that fails: a state has 16 bytes a parameter, a mean one at most. Every
byte is hashed before a file gets its name, so a file with its final name is complete. Existing files are hashed once.
Damaged ones are fetched again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from folkmoot.artifacts.federation import read_genesis
from folkmoot.artifacts.inventory import Anchored, Commitments
from folkmoot.artifacts.retention import Wishes
from folkmoot.artifacts.sources import ArtifactSource, fetch_into
from folkmoot.artifacts.states import RebuildingSource
from folkmoot.artifacts.store import DOCUMENT_LIMIT, FolderStore, Owner, disk
from folkmoot.errors import ArtifactError, LocalError
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.deletion import DeletionWish, to_file
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import MAGIC
from folkmoot.protocol.verdict import Artifacts
from folkmoot.runtime import locks
from folkmoot.runtime.fault_points import fault_point

UNREACHABLE_LIMIT = 3
"""Number of consecutive files without an answer of any source, after which the other files are skipped."""

REPORT_LIMIT = 2**20
"""Maximum size in bytes of an evaluation report."""

MIRROR = Owner("mirror", 0o644, "Ask another mirror for it.")

_NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that could not be fetched."""

    what: str
    """Description of the file, e.g. `the update file of entry 3`."""
    file: str
    """sha256 of the file, or `by-keccak/` and its keccak256."""
    why: str
    round: int | None = None
    needed: bool = True
    """Whether an audit needs it. It does not need files of void rounds and evaluation reports."""

    def __str__(self) -> str:
        where = f" of round {self.round}" if self.round is not None else ""
        return f"{self.what}{where}: {self.why}"

    def to_json(self) -> dict[str, Any]:
        """Return the missing file as JSON values."""
        return asdict(self)


@dataclass
class Copied:
    """Result of a copy."""

    fetched: int = 0
    kept: int = 0
    """Number of complete files that already existed."""
    bytes: int = 0
    made: int = 0
    """Number of states that were made of a mean, and not fetched."""
    rounds: int = 0
    """Number of rounds with all files."""
    deleted: int = 0
    missing: list[Missing] = field(default_factory=list)


class MirrorFolder(FolderStore):
    """The folder of a mirror; it is made if it is not there."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MIRROR)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the folder for this process while the block runs, and remove unfinished files of an earlier process."""
        with disk(self.root):
            lock = locks.try_acquire(self.incoming / "lock")
        if lock is None:
            raise LocalError(
                f"Another process is filling the mirror {self.root}.",
                remedy="Stop it first, or give another folder by --to.",
                code="already-running",
            )
        with lock:
            self.clear_incoming()
            for name in self.unfinished():
                self.forget(name)
            yield


class Copier:
    """Copies the files to which a chain commits into a folder.

    Args:
        source: Source of the files. It is not trusted.
        sure: Names of files that are known to be complete, so that no file is hashed twice. The copier adds to it.
    """

    def __init__(self, folder: MirrorFolder, source: ArtifactSource, sure: set[str] | None = None) -> None:
        self._folder, self._source = folder, source
        self._sure = sure if sure is not None else set()
        self._states = RebuildingSource(folder, folder)
        self._silent = 0
        self.copied = Copied()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the states that were made and are not in the folder."""
        self._states.clear()

    def genesis(self, genesis_hash: bytes, manifest_hash: bytes) -> tuple[Genesis, Manifest]:
        """Copy the genesis, its manifest and its state.

        Returns:
            The genesis, and the manifest, which determines the maximum sizes of the files of rounds.

        Raises:
            ArtifactError: One of the three can't be fetched. Without them no other file can be copied.
        """
        data = self._document("the genesis file", genesis_hash, 0)
        if data is None:
            raise self._nothing()

        def fetch(sha256: str) -> bytes:
            path = self._file("the manifest", sha256, DOCUMENT_LIMIT, 0)
            if path is None:
                raise self._nothing()
            return path.read_bytes()

        genesis, manifest = read_genesis(data, fetch, manifest_hash)
        if self._file("the first state", genesis.state, manifest.state_file_size, 0) is None:
            raise self._nothing()
        return genesis, manifest

    def carried(self, manifest: Manifest) -> None:
        """Copy the carried files of a manifest."""
        for entry in manifest.files:
            self._file(f"the file of the carried array {entry.name!r}", entry.sha256, entry.size, 0)

    def round(
        self,
        anchored: Anchored,
        manifest: Manifest,
        policy: Policy | None = None,
        *,
        unwanted: Collection[int] = (),
        spare: Collection[int] = (),
        link: bool = False,
    ) -> bool:
        """Copy a round's files. Return whether no file is missing.

        Args:
            anchored: The round.
            manifest: The federation's manifest.
            policy: The policy that the round pinned, by which its state is made; None to fetch the state.
            unwanted: Numbers of the entries whose update files may be deleted, and are left out.
            spare: Rounds whose states are left out.
            link: Copy only what the state of a later round is rebuilt from.
        """
        before = len(self.copied.missing)
        number, needed = anchored.number, not anchored.void
        data = self._document("the artifacts file", anchored.artifacts_hash, number, needed)
        if not link:
            self._document("the verdicts file", anchored.verdict_hash, number, needed)
        if data is not None:
            name = f"by-keccak/{anchored.artifacts_hash.hex()}"
            try:
                artifacts = Artifacts.from_json(data)
            except ArtifactError as error:
                self._add_missing("the artifacts file", name, error.message, number, needed)
            else:
                if artifacts.round == number and len(artifacts.updates) == anchored.entries:
                    files = self._listed(artifacts, anchored, manifest, unwanted, spare, link)
                    for what, sha256, limit in files:
                        self._file(what, sha256, limit, number, needed)
                    if policy is not None and not anchored.void:
                        self._learn(artifacts, policy, manifest)
                    if not link and number not in spare:
                        self._file("the state", artifacts.state, manifest.state_file_size, number, needed)
                else:
                    self._add_missing(
                        "the artifacts file", name, "it is that of another round", number, needed
                    )
        whole = len(self.copied.missing) == before
        self.copied.rounds += whole
        return whole

    def report(self, sha256: str) -> None:
        """Copy an evaluation report, if it is public."""
        self._file("an evaluation report", sha256, REPORT_LIMIT, None, needed=False)

    def listed(self, anchored: Anchored) -> Artifacts | None:
        """Return a round's artifacts file, if the folder has it."""
        try:
            artifacts = Artifacts.from_json(self._folder.document(anchored.artifacts_hash.hex()))
        except ArtifactError:
            return None
        if artifacts.round != anchored.number or len(artifacts.updates) != anchored.entries:
            return None
        return artifacts

    def delete(self, sha256: str, size: int, magic: bytes = b"") -> None:
        """Delete a file from the folder, if it can be what a round lists it as.

        The coordinator of a void round can list any file as an update or a state. Documents stay. Means have the size
        of updates: the caller must keep them.

        Args:
            sha256: Name of the file.
            size: Size in bytes of such files.
            magic: First bytes of such files.
        """
        place = self._folder.place(sha256)
        with disk(self._folder.root):
            if not place.exists() or place.stat().st_size != size:
                return
            with place.open("rb") as file:
                if file.read(len(magic)) != magic:
                    return
        fault_point("mirror.file-deleted.before")
        self._folder.delete(sha256)
        fault_point("mirror.file-deleted.after")
        self._sure.discard(sha256)
        self.copied.deleted += 1

    def _listed(
        self,
        artifacts: Artifacts,
        anchored: Anchored,
        manifest: Manifest,
        unwanted: Collection[int],
        spare: Collection[int],
        link: bool,
    ) -> list[tuple[str, str, int]]:
        """Return description, sha256 and maximum size of the files that are copied of a round."""
        mean = ("the mean", artifacts.mean, manifest.update_file_size(anchored.mean_width))
        base = ("the base state", artifacts.base_state, manifest.state_file_size)
        bases = [] if anchored.base in spare else [base]
        if link:
            return [*bases, mean]
        files = [("the manifest", artifacts.manifest, DOCUMENT_LIMIT), *bases]
        for index, sha256 in enumerate(artifacts.updates):
            if sha256 is not None and index not in unwanted:
                size = manifest.update_file_size(anchored.width)
                files.append((f"the update file of entry {index}", sha256, size))
        return [*files, mean, ("the verdicts file", artifacts.verdicts, DOCUMENT_LIMIT)]

    def _learn(self, artifacts: Artifacts, policy: Policy, manifest: Manifest) -> None:
        with suppress(ArtifactError):  # A header that says nothing: then the state is fetched.
            self._states.learn(artifacts, policy, manifest)

    def _make(self, sha256: str) -> bool:
        """Make a state of the round's mean; return False where its base or the mean is missing, or the anchor lies."""
        with suppress(ArtifactError):
            self._states.rebuild(sha256)
            self.copied.made += 1
            return True
        return False

    def _file(
        self, what: str, sha256: str, limit: int, round_number: int | None, needed: bool = True
    ) -> Path | None:
        place = self._folder.place(sha256)
        if sha256 in self._sure:
            return place
        with suppress(ArtifactError):  # A missing or damaged file is made or fetched.
            self._folder.fetch(sha256, limit)
            self.copied.kept += 1
            self._sure.add(sha256)
            return place
        if self._states.knows(sha256) and self._make(sha256):
            self._sure.add(sha256)
            return place
        try:
            fetch_into(self._folder, self._source, sha256, limit)
        except ArtifactError as error:
            self._refused(what, sha256, error, round_number, needed)
            return None
        self._sure.add(sha256)
        self._got(place.stat().st_size)
        return place

    def _document(self, what: str, keccak256: bytes, round_number: int, needed: bool = True) -> bytes | None:
        name = keccak256.hex()
        with suppress(ArtifactError):  # A missing or damaged file is fetched.
            data = self._folder.document(name)
            self.copied.kept += 1
            self._sure.add(sha256_hex(data))
            return data
        try:
            data = self._source.document(name)
        except ArtifactError as error:
            self._refused(what, f"by-keccak/{name}", error, round_number, needed)
            return None
        self._sure.add(self._folder.put_document(data).sha256)
        self._got(len(data))
        return data

    def _got(self, size: int) -> None:
        self._silent = 0
        self.copied.fetched += 1
        self.copied.bytes += size

    def _refused(
        self, what: str, file: str, error: ArtifactError, round_number: int | None, needed: bool
    ) -> None:
        self._add_missing(what, file, error.message, round_number, needed)
        self._silent = self._silent + 1 if error.code == "artifact-unreachable" else 0
        if self._silent >= UNREACHABLE_LIMIT:
            raise ArtifactError(
                f"No source gave an answer for {self._silent} files in a row. {error.message}",
                remedy="Try again later (existing files are kept), or give another --from.",
                code="artifact-unreachable",
                details={"missing": [file.to_json() for file in self.copied.missing]},
            ) from error

    def _add_missing(self, what: str, file: str, why: str, round_number: int | None, needed: bool) -> None:
        self.copied.missing.append(Missing(what, file, why, round_number, needed))

    def _nothing(self) -> ArtifactError:
        missing = self.copied.missing[-1]
        return ArtifactError(
            f"Without {missing.what} nothing can be copied. {missing.why}",
            remedy="Give another --from.",
            code="mirror-incomplete",
            details={"missing": [missing.to_json()]},
        )


@dataclass
class Mirroring:
    """Progress of a mirror: the completed rounds and the remaining ones."""

    commitments: Commitments
    folder: MirrorFolder
    source: ArtifactSource
    rounds: range | None = None
    """Rounds to copy; None for all."""
    whole: set[int] = field(default_factory=set)
    """Rounds that are complete and final."""
    first: tuple[Genesis, Manifest] | None = None
    """The genesis and the manifest; None until they are copied."""
    sure: set[str] = field(default_factory=set)
    """Names of complete files in the folder."""
    emptied: dict[int, frozenset[int]] = field(default_factory=dict)
    """Numbers of the entries whose update files were deleted, by round."""
    thinned: set[int] = field(default_factory=set)
    """Rounds whose state files were deleted."""
    named: dict[int, tuple[bytes, str, str]] = field(default_factory=dict)
    """Hash of the artifacts file of each round, and the mean and the state that it names."""
    _written: list[DeletionWish] = field(default_factory=list)
    """Wishes in the folder's list, as this process wrote it."""

    def step(self) -> Iterator[tuple[int, Copied]]:
        """Read the chain and copy the missing files, round by round; then delete those that may be deleted.

        Yields:
            The number of the round, or 0 for the genesis and the reports, and the result of its copy.

        Raises:
            ArtifactError: No source answers, or the genesis can't be fetched.
        """
        self.commitments.look()
        with Copier(self.folder, self.source, self.sure) as copier:
            yield from self._step(copier)

    def _step(self, copier: Copier) -> Iterator[tuple[int, Copied]]:
        if self.first is None:
            ledger = self.commitments.ledger
            self.first = copier.genesis(ledger.genesis_hash(), ledger.manifest_hash())
        _, manifest = self.first
        copier.carried(manifest)
        for sha256 in sorted(self.commitments.reports):
            copier.report(sha256)
        yield 0, copier.copied
        unwanted, spare = self._unwanted(self._wishes()), self.commitments.spare()
        links = self._links(spare)
        for number, anchored in self.commitments.rounds.items():
            chosen = self.rounds is None or number in self.rounds
            if number in self.whole or not (chosen or number in links):
                continue
            copier.copied = Copied()
            policy = self.commitments.policy(anchored.policy)
            wishes = unwanted.get(number, ())
            if copier.round(anchored, manifest, policy, unwanted=wishes, spare=spare, link=not chosen):
                self.whole.add(number)
            yield number, copier.copied
        self.emptied = {number: done & unwanted.get(number, _NOBODY) for number, done in self.emptied.items()}
        self.thinned &= spare
        if spare > self.thinned or any(
            indexes > self.emptied.get(number, _NOBODY) for number, indexes in unwanted.items()
        ):
            yield from self._delete(copier, unwanted, spare)

    def _wishes(self) -> Wishes:
        """Return the wishes that folder and source know, and keep those that count in the folder."""
        deployment = self.commitments.deployment
        known: list[DeletionWish] = []
        with suppress(ArtifactError):  # The list is damaged: the source's is what is known.
            known += self.folder.wishes()
        with suppress(ArtifactError):  # Without an answer, the folder's list is what is known.
            known += self.source.wishes()
        wishes = Wishes(known, Domain(deployment.chain_id, deployment.ledger), self.commitments.accepts)
        numbers = self.commitments.rounds
        accounts = {account for number in numbers for account in self.commitments.contributors(number)}
        counting = wishes.counting(sorted(accounts))
        if counting and self._written != counting:
            self.folder.write_wishes(to_file(counting))
            self._written = counting
        return wishes

    def _unwanted(self, wishes: Wishes) -> dict[int, frozenset[int]]:
        """Return the numbers of the entries whose update files may be deleted, by round."""
        commitments, expired = self.commitments, self.commitments.expired()
        unwanted = {number: frozenset(range(commitments.rounds[number].entries)) for number in expired}
        for number in commitments.free() - expired:
            accounts = enumerate(commitments.contributors(number))
            if wanted := frozenset(index for index, account in accounts if wishes.cover(account, number)):
                unwanted[number] = wanted
        return unwanted

    def _links(self, spare: Collection[int]) -> set[int]:
        """Return the rounds from whose means the state before the first copied round is rebuilt."""
        numbers: set[int] = set()
        if self.rounds is not None:
            rounds = self.commitments.rounds
            number = next((rounds[round_].base for round_ in rounds if round_ in self.rounds), 0)
            while number in spare:
                numbers.add(number)
                number = rounds[number].base
        return numbers

    def _delete(
        self, copier: Copier, unwanted: Mapping[int, frozenset[int]], spare: set[int]
    ) -> Iterator[tuple[int, Copied]]:
        """Delete unwanted update files and the states of spare rounds, unless another entry or round keeps them."""
        rounds = self.commitments.rounds
        new = {
            number: indexes
            for number, indexes in unwanted.items()
            if indexes > self.emptied.get(number, _NOBODY)
        }
        assert self.first is not None  # noqa: S101  # the step has copied it
        genesis, manifest = self.first
        kept = {genesis.state, *(entry.sha256 for entry in manifest.files)}
        kept |= self._kept(copier, unwanted, spare, reads_updates=bool(new))
        for number in sorted(new.keys() | (spare - self.thinned)):
            copier.copied = Copied()
            listed = copier.listed(rounds[number])
            if listed is not None:
                indexes = new.get(number, _NOBODY)
                names = {name for index, name in enumerate(listed.updates) if name and index in indexes}
                size = manifest.update_file_size(rounds[number].width)
                for name in names - kept:
                    copier.delete(name, size)
                if number in spare - self.thinned and listed.state not in kept:
                    copier.delete(listed.state, manifest.state_file_size, MAGIC)
            if number in new:
                self.emptied[number] = new[number]
            self.thinned |= {number} & spare
            yield number, copier.copied

    def _kept(
        self,
        copier: Copier,
        unwanted: Mapping[int, frozenset[int]],
        spare: set[int],
        *,
        reads_updates: bool,
    ) -> set[str]:
        """Return the files of rounds that stay: wanted updates, means and states of rounds that are not void."""
        kept: set[str] = set()
        for number, anchored in self.commitments.rounds.items():
            known, indexes = self.named.get(number), unwanted.get(number, _NOBODY)
            if (
                known is None
                or known[0] != anchored.artifacts_hash
                or (reads_updates and len(indexes) < anchored.entries)
            ):
                listed = copier.listed(anchored)
                if listed is None:
                    continue
                kept |= {name for index, name in enumerate(listed.updates) if name and index not in indexes}
                known = self.named[number] = (anchored.artifacts_hash, listed.mean, listed.state)
            if not anchored.void:
                kept.update(known[1:] if number not in spare else known[1:2])
        return kept
