# SPDX-License-Identifier: Apache-2.0
"""Rebuild state files that were deleted by rule (docs/protocol.md section 12.2).

The state of a round follows from the state of its base, the round's mean file, the exponents of its header and the
outer step of its policy. Every file that is made has the sha256 in its name, so what it was made from need not be
trusted. This module knows no chain; `fetch_state` reads one.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from folkmoot.artifacts.inventory import Commitments
from folkmoot.artifacts.retention import KEPT_EVERY
from folkmoot.artifacts.sources import EXPIRED, SPARE, ArtifactSource
from folkmoot.errors import ArtifactError, InputError, LocalError
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

MADE_PREFIX = "folkmoot-states-"
"""First part of the name of a folder with states that are made. A killed process leaves it behind."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the state after a round follows from the state of its base."""

    round: int
    """The round."""
    state: str
    """sha256 of the state file after it."""
    base: str
    """sha256 of the state file that it trained from."""
    mean: str
    """sha256 of its mean file."""
    exponents: tuple[int, ...]
    """The exponents of its header, one a tensor."""
    policy: Policy
    """The policy that it pinned."""
    manifest: Manifest
    """The model's layout."""

    @property
    def mean_size(self) -> int:
        """Bytes of the mean file."""
        return self.manifest.update_file_size(self.policy.mean_width)


class RebuildingSource:
    """A source that makes a state file that the wrapped source does not have any more.

    Args:
        source: The wrapped source. Whatever it has is taken from there.
        folder: Folder for the states that are made; by default the system's for temporary files.
    """

    def __init__(self, source: ArtifactSource, folder: Path | None = None) -> None:
        self.source = source
        self._parent = folder
        self._recipes: dict[str, Recipe] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._spent = ""  # The last discarded state. It is kept, because the next one mostly follows from it.

    def learn(self, artifacts: Artifacts, policy: Policy, manifest: Manifest) -> None:
        """Note how the state of a round is made.

        Args:
            artifacts: The round's artifacts file.
            policy: The policy that the round pinned.
            manifest: The model's layout.

        Raises:
            ArtifactError: The artifacts file has no header of this manifest.
        """
        try:
            exponents = RoundHeader.decode(artifacts.header).exponents
        except InputError as error:
            raise _no_recipe(artifacts, error.message) from error
        if len(exponents) != len(manifest.tensors):
            raise _no_recipe(artifacts, "there is not one exponent a tensor.")
        known = self._recipes.get(artifacts.state)
        if known is None or known.round > artifacts.round:  # Later rounds may have left the state as it was.
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
            LocalError: The disk has no room (``state-disk``).
        """
        with self._writing() as part:
            with part.open("wb") as file:
                file.writelines(state.chunks())
            sha256 = _digest(part)
        part.rename(self._place(sha256))
        return sha256

    def discard(self, sha256: str) -> None:
        """See `ArtifactSource.discard`."""
        if self._made(sha256) is None:
            self.source.discard(sha256)
        elif sha256 != self._spent:
            if self._spent:
                self._place(self._spent).unlink(missing_ok=True)
            self._spent = sha256

    def clear(self) -> None:
        """Remove all states that were made."""
        if self._folder is not None:
            self._folder.cleanup()
        self._folder = None

    def close(self) -> None:
        """See `ArtifactSource.close`."""
        self.clear()
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove all states that were made. The wrapped source stays open."""
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
            LocalError: The disk failed, or has no room (``state-disk``).
        """
        wanted = recipes[-1].state
        for recipe in recipes:
            before, path = path, self._step(recipe, path, wanted)
            if recipe is not recipes[0]:
                before.unlink()
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
        read = FileUpdate(mean, recipe.policy.mean_width).read
        with self._writing() as part:
            write_next_state(base, read, recipe.exponents, recipe.policy, recipe.manifest, part)
            found = _digest(part)
        self.source.discard(recipe.mean)
        if found != recipe.state:
            part.unlink()
            why = (
                f"from the state {recipe.base} and the mean {recipe.mean}, round {recipe.round} leads to the state "
                f"{found}, and its artifacts file names {recipe.state}."
            )
            raise _not_rebuilt(wanted, recipe, why, "artifact-damaged")
        fault_point("states.rebuilt")
        return part.rename(self._place(recipe.state))

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        """Give the path of a state that has no name yet; remove it if it can't be written.

        Raises:
            LocalError: The disk failed, or has no room (``state-disk``).
        """
        part = self._place("part")
        try:
            yield part
        except OSError as error:
            part.unlink(missing_ok=True)
            raise LocalError(
                f"A state can't be written in {part.parent}: {error.strerror or error}.",
                remedy="Make room there. TMPDIR names another folder for temporary files.",
                code="state-disk",
            ) from error

    def _place(self, sha256: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix=MADE_PREFIX, dir=self._parent)
        return Path(self._folder.name) / sha256

    def _made(self, sha256: str) -> Path | None:
        if self._folder is None or not self._place(sha256).is_file():
            return None
        return self._place(sha256)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_state(states: RebuildingSource, commitments: Commitments, manifest: Manifest, number: int) -> Path:
    """Return the path of the state file after an anchored round, wherever it is, or made anew.

    Args:
        states: Source of the files.
        commitments: What the chain commits to, read before.
        manifest: The model's layout.
        number: Number of the round.

    Raises:
        ArtifactError: A file is missing or damaged.
        RpcError: The endpoint failed.
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
