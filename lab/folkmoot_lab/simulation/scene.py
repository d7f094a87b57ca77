# SPDX-License-Identifier: Apache-2.0
"""What attackers know in one round, by their level of knowledge: the interface of every attack of a drill.

An attack is a function of a ``Scene``. It returns one row an attacker: float32[f, d], changes of the model (start minus
end), which are encoded and fitted to the norm cap as a node does; or integers[f, d], exactly what is published.

This module uses vectors of floats; it knows no bytes, trees or rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import F32, I64
from folkmoot.protocol.manifest import Manifest

OWN, PUBLIC, ALL = LEVELS = ("own", "public", "all")
"""Levels of knowledge: own data and the present model; also the published rounds, whose last one stands for this round
when the rule is tried out; also this round's honest updates, everybody's data and the root-set update."""


class PublishedRound(NamedTuple):
    """A round that was anchored. Rows are of the same contributors in every round: the honest in front."""

    model: F32
    """float32[d], its base."""
    updates: F32
    """float32[n, d], the updates as published: integers times the size of a step; 0 where one was refused."""
    weights: Sequence[int]
    """The weight of each; empty where somebody else's code aggregates."""
    pays: Sequence[float]
    """What each was paid, as a share of a full place; empty likewise."""


@dataclass(frozen=True, eq=False)
class Tried:
    """What the rule in use would make of candidate updates."""

    moved: F32
    """float32[d], what the model would move by."""
    weights: Sequence[int]
    """The weight of each contributor, the honest in front; empty where somebody else's code aggregates."""
    _pay: Callable[[], Sequence[float]] = field(default=tuple, repr=False)

    @cached_property
    def pays(self) -> Sequence[float]:
        """What each would be paid, as a share of a full place; empty under a rule without pays. Made when asked for.

        What is new is compared with what was public before the round of the honest updates: the last one, or this one.
        """
        return self._pay()


@dataclass(frozen=True)
class Trigger:
    """What a backdoor is to do: examples of a class with these pixels bright are taken for another class."""

    pixels: tuple[int, ...]
    """Places in an example."""
    target: int = 0
    """The class that the attackers want."""
    source: int | None = None
    """The class that is to be taken for it; None: every other."""

    def fits(self, inputs: int, classes: int) -> bool:
        """Whether an example of so many inputs has these pixels, and a task of so many classes these classes."""
        labels = (self.target, self.target if self.source is None else self.source)
        return all(place in range(inputs) for place in self.pixels) and all(
            label in range(classes) for label in labels
        )

    def on(self, inputs: F32) -> F32:
        """Return float32[..., m], the examples with the trigger."""
        shown = np.array(inputs, dtype=np.float32)
        shown[..., list(self.pixels)] = 1.0
        return shown

    def of(self, labels: I64) -> Any:
        """Return bool[m], which examples the trigger is for."""
        return labels != self.target if self.source is None else labels == self.source


@dataclass(frozen=True, eq=False)
class Scene:
    """What the attackers know in one round. An update is start minus end, as everywhere.

    What is above the level of knowledge raises ``InputError`` with the code ``not-known``.
    """

    level: str
    """One of LEVELS."""
    number: int
    """The round, from 0 on."""
    left: int
    """The rounds after this one."""
    model: F32
    """float32[d], the base of this round."""
    manifest: Manifest
    """Names and shapes; ``flatten`` and ``unflatten`` have a model as arrays by name."""
    step: F32
    """float32[d], what an integer of 1 changes of each coordinate."""
    largest: int
    """The largest integer of an update."""
    max_sum_squares: int
    """The policy's cap on the sum of an update's squared integers."""
    classes: int
    """Number of labels."""
    own: F32
    """float32[f, d], the updates of the attackers' own training (on poisoned data, if the attack poisons it)."""
    earlier: F32 | None
    """float32[f, d], the updates of the attackers' training in the round before; None in the first."""
    sent: F32 | None
    """float32[f, d], what the attackers sent in the round before; None in the first."""
    rng: np.random.Generator
    """The attackers' source of randomness."""
    strength: float
    """The attack's strength; its meaning depends on the attack."""
    memory: dict[str, Any]
    """The attackers' own, kept from round to round. ``trigger`` has the ``Trigger`` of a backdoor."""
    gradient: Callable[[F32, F32, I64], F32]
    """From a model float32[d], inputs and labels to float32[d]: adding it to a model raises the mean loss."""
    loss: Callable[[F32, F32, I64], float]
    """From the same to the mean loss."""
    _count: int = field(repr=False)
    _honest: F32 = field(repr=False)
    _root: F32 | None = field(repr=False)
    _rounds: Sequence[PublishedRound] = field(repr=False)
    _examples: tuple[F32, I64] | None = field(repr=False)
    _prepare: Callable[[F32, F32 | None, bool], Callable[[F32], Tried]] = field(repr=False)

    def _known(self, name: str, level: str) -> None:
        if LEVELS.index(self.level) < LEVELS.index(level):
            raise InputError(
                f"An attacker with the knowledge {self.level!r} does not know {name!r}.",
                remedy=f"It is known from {level!r} on.",
                code="not-known",
            )

    @property
    def count(self) -> int:
        """Number of attackers, f."""
        return self._count

    # Own

    @property
    def examples(self) -> tuple[F32, I64]:
        """Inputs and labels that the attackers have: their own, with the knowledge ``all`` everybody's."""
        if self._examples is None:
            raise InputError("This attack has no data.", code="not-known")
        return self._examples

    # Public

    @property
    def rounds(self) -> Sequence[PublishedRound]:
        """The last published rounds that the rule uses, eight at most, the oldest first."""
        self._known("rounds", PUBLIC)
        return self._rounds

    @property
    def honest_past(self) -> list[F32]:
        """float32[h, d] each, the honest updates of these rounds."""
        return [past.updates[: -self.count] for past in self.rounds]

    @property
    def last_mean(self) -> F32 | None:
        """float32[d], what the model moved by in the last round; None in the first."""
        return self.rounds[-1].model - self.model if self.rounds else None

    @property
    def trajectory(self) -> F32 | None:
        """float32[d], what the model moved by in the last rounds; None in the first."""
        return self.rounds[0].model - self.model if self.rounds else None

    @cached_property
    def before(self) -> Scene:
        """What was public when the last published round began: who tries for pay makes candidates of that only."""
        last = self.rounds[-1]
        return replace(
            self, number=self.number - 1, left=self.left + 1, model=last.model, _rounds=self.rounds[:-1]
        )

    @cached_property
    def _trial(self) -> Callable[[F32], Tried]:
        self._known("try_out", PUBLIC)
        return self._prepare(self.believed, self._root if self.level == ALL else None, self.level != ALL)

    def try_out(self, sent: F32) -> Tried:
        """Try the rule in use on candidate updates float32[f, d] and what the honest ones are believed to be."""
        return self._trial(sent)

    # All

    @property
    def honest(self) -> F32:
        """float32[h, d], the honest updates of this round."""
        self._known("honest", ALL)
        return self._honest

    @property
    def root(self) -> F32 | None:
        """float32[d], the root-set update, where the federation has one."""
        self._known("root", ALL)
        return self._root

    # Derived from what is known

    @property
    def believed(self) -> F32:
        """float32[k, d]: the honest updates, or those of the last round in their place, or the attackers' own."""
        if self.level == ALL:
            return self._honest
        if self.level == PUBLIC and self._rounds:
            return self.honest_past[-1]
        return self.own

    @cached_property
    def real(self) -> Any:
        """bool[d]: which coordinates are the model's, and not padding."""
        return self.manifest.flatten({one.name: np.ones(one.shape) for one in self.manifest.tensors}) > 0

    @cached_property
    def mean(self) -> F32:
        """float32[d], mean of the honest updates as they are believed to be."""
        return np.asarray(self.believed.mean(axis=0), dtype=np.float32)

    @property
    def norm(self) -> float:
        """Median norm of the honest updates as they are believed to be; without any, a quarter of the cap."""
        usual = float(np.median(np.linalg.norm(self.believed, axis=1)))
        return usual or float(self.step.min()) * self.max_sum_squares**0.5 / 4

    @cached_property
    def noise(self) -> F32:
        """float32[f, d], independent directions of length 1."""
        raw = self.rng.standard_normal(self.own.shape).astype(np.float32)
        # No noise where all honest updates are 0, as in the padding: it would be easy to detect there.
        moved = np.any(self.own != 0, axis=0) | np.any(self.believed != 0, axis=0)
        raw *= moved if moved.any() else self.real
        return np.asarray(raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12), np.float32)

    def alike(self, vector: F32) -> F32:
        """The same vector from each attacker, float32[f, d]."""
        return np.repeat(vector[None].astype(np.float32), self.count, axis=0)

    def hidden(self, direction: F32, share: float, victims: float = 0.0) -> F32:
        """Return updates of ordinary norm with a share of it along a direction, the rest noise.

        Args:
            direction: float32[d] or float32[f, d], of length 1.
            share: From 0 to 1.
            victims: How much there is of an honest update in the noise, relative to it: a bridge to a victim each.
        """
        rest = self.noise
        if victims:
            places = np.arange(self.count) % len(self.believed)
            rest = units(rest + np.float32(victims) * units(self.believed)[places])
        sent = np.float32(share) * direction + np.float32(np.sqrt(1 - share**2)) * rest
        return np.asarray(np.float32(self.norm) * sent, dtype=np.float32)

    def objective(self, sent: F32) -> float:
        """Return the projection of the aggregate on the honest mean, 1 for the honest mean itself."""
        return float(self.try_out(sent).moved @ self.mean) / max(float(self.mean @ self.mean), 1e-12)


def unit(vector: F32) -> F32:
    """Return a vector of length 1, or 0."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)


def units(rows: F32) -> F32:
    """Return rows of length 1, or 0."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), dtype=np.float32)
