# SPDX-License-Identifier: Apache-2.0
"""Rebuild state files that were deleted by rule (docs/protocol.md section 12.2).

The state of a round follows from the state of its base, the round's mean file, the exponents of its header and the
outer step of its policy. Every file that is made has the sha256 in its name, so what it was made from need not be
trusted. This module knows no chain; `fetch_state` reads one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from folkmoot.artifacts.inventory import Commitments
from folkmoot.artifacts.retention import KEPT_EVERY
from folkmoot.artifacts.sources import EXPIRED, SPARE, ArtifactSource
from folkmoot.artifacts.store import FolderStore, Owner, disk
from folkmoot.errors import ArtifactError, EncodingError, InputError
from folkmoot.protocol.deletion import DeletionWish
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.next_state import write_next_state
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate
from folkmoot.protocol.verdict import Artifacts
from folkmoot.runtime.fault_points import fault_point

ABSENT = frozenset({"artifact-missing", "artifact-unknown", EXPIRED, SPARE})
"""Codes of the errors that a source does not have a file."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the state after a round follows from the state of its base."""

    round: int
    state: str
    """sha256 of the state file after it."""
    base: str
    """sha256 of the state file that it trained from."""
    mean: str
    """sha256 of its mean file."""
    exponents: tuple[int, ...]
    """The exponents of its header, one a tensor."""
    policy: Policy
    manifest: Manifest

    @property
    def mean_size(self) -> int:
        """Bytes of the mean file."""
        return self.manifest.update_file_size(self.policy.mean_width)


class RebuildingSource:
    """A source that makes a state file that the wrapped source does not have any more.

    Args:
        source: The wrapped source. Whatever it has is taken from there.
        store: Store in which the states that are made stay; by default a temporary one.
    """

    def __init__(self, source: ArtifactSource, store: FolderStore | None = None) -> None:
        self.source = source
        self._given = self._store = store
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._recipes: dict[str, Recipe] = {}
        self._names: set[str] = set()  # Of the states that were made.
        self._spent = ""  # The last discarded state. It is kept, because the next one mostly follows from it.

    def learn(self, artifacts: Artifacts, policy: Policy, manifest: Manifest) -> None:
        """Note how the state of a round is made.

        Raises:
            ArtifactError: The artifacts file has no header of this manifest.
        """
        try:
            exponents = RoundHeader.decode(artifacts.header).exponents
        except InputError as error:
            raise _no_recipe(artifacts, error.message) from error
        if len(exponents) != len(manifest.tensors):
            raise _no_recipe(artifacts, "there is not one exponent a tensor.")
        other = self._recipes.get(artifacts.state)
        if other is None or other.round > artifacts.round:  # Later rounds may have left the state as it was.
            self._recipes[artifacts.state] = Recipe(
                artifacts.round,
                artifacts.state,
                artifacts.base_state,
                artifacts.mean,
                exponents,
                policy,
                manifest,
            )

    def knows(self, sha256: str) -> bool:
        """Return whether it was learned how a state is made."""
        return sha256 in self._recipes

    def fetch(self, sha256: str, limit: int) -> Path:
        """See `ArtifactSource.fetch`. A state that was made is in a temporary folder.

        Raises:
            ArtifactError: As there. For a state that can't be made, the message says which file is missing or wrong.
        """
        made = self._made(sha256)
        if made is not None:
            self._spent = "" if self._spent == sha256 else self._spent
            return made
        try:
            return self.source.fetch(sha256, limit)
        except ArtifactError as error:
            if error.code not in ABSENT or sha256 not in self._recipes:
                raise
        return self.rebuild(sha256)

    def document(self, keccak256: str) -> bytes:
        """See `ArtifactSource.document`."""
        return self.source.document(keccak256)

    def wishes(self) -> tuple[DeletionWish, ...]:
        """See `ArtifactSource.wishes`."""
        return self.source.wishes()

    def keep(self, state: State) -> str:
        """Keep a state that was computed elsewhere as one that was made; return the sha256 of its file.

        Raises:
            StoreError: The disk failed, or has no room.
        """
        sha256 = self._made_store().put_chunks(state.chunks()).sha256
        self._names.add(sha256)
        return sha256

    def discard(self, sha256: str) -> None:
        """See `ArtifactSource.discard`."""
        if self._made(sha256) is None:
            self.source.discard(sha256)
        elif sha256 != self._spent:
            if self._spent:
                self._remove(self._spent)
            self._spent = sha256

    def clear(self) -> None:
        """Remove all states that were made, unless they are in a given store."""
        self._names.clear()
        self._store = self._given
        if self._temporary is not None:
            self._temporary.cleanup()
        self._temporary = None

    def close(self) -> None:
        """See `ArtifactSource.close`."""
        self.clear()
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `clear`. The wrapped source stays open."""
        self.clear()

    def rebuild(self, sha256: str) -> Path:
        """Make a state from the nearest earlier one that can be fetched. See `follow`.

        Args:
            sha256: Name of the state. Its recipe must have been learned.
        """
        steps: list[Recipe] = []
        path: Path | None = None
        name = sha256
        while path is None:
            recipe = self._recipes[name]
            steps.insert(0, recipe)
            path = self._base_of(recipe, sha256)
            name = recipe.base
        return self.follow(steps, path)

    def follow(self, recipes: Sequence[Recipe], path: Path) -> Path:
        """Make the state to which recipes lead.

        The memory does not grow with the model. Three states are on the disk at most, the first included.

        Args:
            recipes: One at least, in the order of their rounds.
            path: The state from which they start.

        Returns:
            The path. It is valid until `discard`, `clear` or `close`.

        Raises:
            ArtifactError: A mean is missing or damaged, or what follows is another state. The message says where.
            StoreError: The disk failed, or has no room.
        """
        wanted = recipes[-1].state
        for recipe in recipes:
            before, path = path, self._step(recipe, path, wanted)
            if recipe is not recipes[0]:
                self._remove(before.name)
        return path

    def _base_of(self, recipe: Recipe, wanted: str) -> Path | None:
        """Return the state from which a recipe starts; None if that has to be made as well."""
        made = self._made(recipe.base)
        if made is not None:
            return made
        try:
            return self.source.fetch(recipe.base, recipe.manifest.state_file_size)
        except ArtifactError as error:
            before = self._recipes.get(recipe.base)
            if error.code in ABSENT and before is not None and before.round < recipe.round:
                return None
            why = f"the state before round {recipe.round}: {error.message}"
            raise _not_rebuilt(wanted, recipe, why, error.code) from error

    def _step(self, recipe: Recipe, base: Path, wanted: str) -> Path:
        """Make the next state, check it, and give it its name."""
        try:
            mean = self.source.fetch(recipe.mean, recipe.mean_size)
        except ArtifactError as error:
            why = f"the mean of round {recipe.round}: {error.message}"
            raise _not_rebuilt(wanted, recipe, why, error.code) from error
        for what, path, size in (
            ("mean", mean, recipe.mean_size),
            ("base state", base, recipe.manifest.state_file_size),
        ):
            if path.stat().st_size != size:
                why = f"the {what} of round {recipe.round} has {path.stat().st_size} bytes, not {size}."
                raise _not_rebuilt(wanted, recipe, why, "artifact-damaged")
        store = self._made_store()
        with store.writer() as writer:
            try:
                read = FileUpdate(mean, recipe.policy.mean_width).read
                with disk(store.root):
                    write_next_state(
                        base, read, recipe.exponents, recipe.policy, recipe.manifest, writer.path
                    )
            except (EncodingError, InputError) as error:
                why = f"the mean {recipe.mean} of round {recipe.round}: {error.message}"
                raise _not_rebuilt(wanted, recipe, why, "artifact-damaged") from error
            self.source.discard(recipe.mean)
            writer.reread()
            if writer.sha256() != recipe.state:
                why = (
                    f"from the state {recipe.base} and the mean {recipe.mean}, round {recipe.round} leads to the state "
                    f"{writer.sha256()}, and its artifacts file names {recipe.state}."
                )
                raise _not_rebuilt(wanted, recipe, why, "artifact-damaged")
            fault_point("states.rebuilt")
            writer.keep()
        self._names.add(recipe.state)
        return store.place(recipe.state)

    def _made_store(self) -> FolderStore:
        if self._store is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="folkmoot-states-")
            self._store = FolderStore(Path(self._temporary.name), Owner("states"))
        return self._store

    def _made(self, sha256: str) -> Path | None:
        """Return the path of a state that was made; None for another one."""
        return self._made_store().place(sha256) if sha256 in self._names else None

    def _remove(self, sha256: str) -> None:
        self._names.discard(sha256)
        self._made_store().delete(sha256)


def fetch_state(states: RebuildingSource, commitments: Commitments, manifest: Manifest, number: int) -> Path:
    """Return the path of the state file after an anchored round, wherever it is, or made anew.

    Args:
        states: Source of the files.
        commitments: What the chain commits to, read before.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    anchored = commitments.rounds[number]
    artifacts = Artifacts.from_json(states.document(anchored.artifacts_hash.hex()))
    name = artifacts.state
    try:
        return states.fetch(name, manifest.state_file_size)
    except ArtifactError as error:
        if error.code not in ABSENT or number % KEPT_EVERY == 0:
            raise
    states.learn(artifacts, commitments.policy(anchored.policy), manifest)
    while anchored.base % KEPT_EVERY:
        anchored = commitments.rounds[anchored.base]
        artifacts = Artifacts.from_json(states.document(anchored.artifacts_hash.hex()))
        states.learn(artifacts, commitments.policy(anchored.policy), manifest)
    return states.rebuild(name)


def _no_recipe(artifacts: Artifacts, why: str) -> ArtifactError:
    return ArtifactError(
        f"The artifacts file of round {artifacts.round} does not say how its state is made: {why}",
        remedy="Run `folkmoot audit`: the coordinator has anchored a wrong list.",
        code="artifact-damaged",
        details={"file": artifacts.state, "round": artifacts.round},
    )


def _not_rebuilt(wanted: str, recipe: Recipe, why: str, code: str) -> ArtifactError:
    return ArtifactError(
        f"The state {wanted} was deleted by rule, and can't be rebuilt at round {recipe.round}. What fails is {why}",
        remedy="Ask another mirror. If all have the same files, run `folkmoot audit`: the anchor may be a lie.",
        code=code,
        details={"file": wanted, "round": recipe.round, "found": why},
    )
