# SPDX-License-Identifier: Apache-2.0
"""One training, twice: as federated averaging in floats, and through codec, cap, exponents and outer step.

Both start from the same weights and draw the same batches. Left out of the integers are only signatures and the chain:
who trains honestly meets neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from folkmoot.aggregation.lineage import GENESIS
from folkmoot.errors import UpdateRefused
from folkmoot.protocol import feedback
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.genesis import calibrated_exponent, first_exponent
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.outer_step import UNIT
from folkmoot.protocol.packing import ZERO, largest
from folkmoot.protocol.policy import MEAN_SQUARE_CAPS, NO_VERIFIER, Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import check_norm
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.round import compute_round

Arrays = dict[str, NDArray[Any]]

CLIENTS = 5
"""Clients of a federation, where nobody says otherwise."""

LAST_ROUNDS = 5
"""A final loss is the mean of these: the loss of a single round jumps."""

SHAKE = 0.05
"""Noise of the shaken training, about the error of an encoded update."""

_WINDOW = 60  # seconds of the policy's windows, which nothing here waits for


class Subject(Protocol):
    """What is trained: a model, its data, split among the clients, and an optimizer."""

    @property
    def name(self) -> str:
        """Name in the table."""

    def initial(self, seed: int) -> Arrays:
        """The first weights and buffers, by name."""

    def train(
        self, arrays: Arrays, client: int, number: int, seed: int, rate: float, frozen: Sequence[str]
    ) -> Arrays:
        """What a client makes of the arrays in a round; the same arguments give the same result."""

    def loss(self, arrays: Arrays) -> float:
        """Loss over all clients' examples."""

    @property
    def steps(self) -> int:
        """Local steps of a client in a round."""


@dataclass(frozen=True)
class Course:
    """How a federation trains."""

    rate: float
    """Learning rate."""
    rounds: int = 20
    """Rounds."""
    seed: int = 0
    """Decides first weights, batches and roundings."""
    schedule: Mapping[int, float] = field(default_factory=dict)
    """From a round on (counted from 1) the rate is multiplied by this. A later entry replaces an earlier one."""
    client_rates: Mapping[int, float] = field(default_factory=dict)
    """The rates of single clients are multiplied by this."""
    frozen: tuple[str, ...] = ()
    """Tensors whose names begin so are not trained until ``thawed``."""
    thawed: int = 1
    """First round in which they are."""
    octaves: int = 0
    """Added to the first exponents."""
    calibrated: bool = True
    """Whether the first exponents come from one training, or are guessed."""
    width: int = 8
    """Bits of an encoded coordinate."""
    mean_scale: int = 1
    """Mean scale of the policy."""
    clients: int = CLIENTS
    """Clients of the federation."""
    feedback: bool = False
    """Whether a client's update takes up what its earlier ones left out."""
    outer: tuple[int, int] = (UNIT, 0)
    """Rate and momentum of the policy's outer step, in 1/UNIT."""

    def rate_of(self, client: int, number: int) -> float:
        """Learning rate of a client in a round."""
        since = [start for start in self.schedule if start <= number]
        factor = self.schedule[max(since)] if since else 1.0
        return self.rate * factor * self.client_rates.get(client, 1.0)

    def frozen_in(self, number: int) -> tuple[str, ...]:
        """What is frozen in a round."""
        return self.frozen if number < self.thawed else ()


@dataclass(frozen=True)
class Result:
    """What came of a training through the integers, beside the same in floats. Losses are means of the last rounds."""

    first: float
    """Loss before the first round."""
    floats: float
    """Loss after federated averaging in floats."""
    shaken: float
    """The same with noise of SHAKE of each round's change: how far apart two trainings are that mean the same."""
    integers: float
    """Loss through codec, cap, exponents and outer step."""
    refused: int
    """Updates that the cap refused."""
    fitted: int
    """Updates that were clamped below 127 to fit the cap."""
    error: float
    """Largest of the rounds' median relative errors of an update, ``|sent - true| / |true|``, from round 4 on."""

    @property
    def converged(self) -> bool:
        """Whether the floats made the loss smaller."""
        return math.isfinite(self.floats) and self.floats < self.first

    @property
    def above(self) -> float:
        """By how much the integers' loss is above the floats', as a share of the floats'."""
        return (self.integers - self.floats) / self.floats


def compare(subject: Subject, course: Course) -> Result:
    """Train in all three ways."""
    start = subject.initial(course.seed)
    run = Integers(subject, course, start)
    losses = []
    for number in range(1, course.rounds + 1):
        run.round(number)
        losses.append(subject.loss(run.arrays()))
    return Result(
        subject.loss(start),
        _floats(subject, course, start, 0.0),
        _floats(subject, course, start, SHAKE),
        _last(losses),
        run.refused,
        run.fitted,
        run.worst_error,
    )


def _last(losses: Sequence[float]) -> float:
    return float(np.mean(losses[-LAST_ROUNDS:]))


def _floats(subject: Subject, course: Course, start: Arrays, shake: float) -> float:
    """Federated averaging; each change gets normal noise of the root mean square ``shake`` times its own."""
    arrays, losses, rng = start, [], np.random.default_rng([course.seed, 99])
    for number in range(1, course.rounds + 1):
        trained = [_train(subject, course, arrays, client, number) for client in range(course.clients)]
        made: Arrays = {}
        for name, before in arrays.items():
            mean = np.mean([one[name] for one in trained], axis=0, dtype=np.float64)
            if before.dtype.kind == "f":
                size = float(np.sqrt(np.mean(np.square(mean - before))))
                mean = mean + shake * size * rng.standard_normal(mean.shape)
            made[name] = mean.astype(before.dtype)
        arrays = made
        losses.append(subject.loss(arrays))
    return _last(losses)


def _train(subject: Subject, course: Course, arrays: Arrays, client: int, number: int) -> Arrays:
    rate = course.rate_of(client, number)
    return subject.train(arrays, client, number, course.seed, rate, course.frozen_in(number))


class Integers:
    """A federation that trains through the integers."""

    def __init__(self, subject: Subject, course: Course, start: Arrays) -> None:
        self.subject, self.course = subject, course
        self.manifest = Manifest.from_arrays(subject.name, start)
        self.state = State.genesis(self.manifest, start)
        self.root = self.state.root(self.manifest.hash)
        self.carried = {name: value for name, value in start.items() if name not in _names(self.manifest)}
        self.policy = Policy(
            "mean",
            (),
            MEAN_SQUARE_CAPS[course.width] * self.manifest.elements,
            1,
            course.clients,
            course.width,
            *course.outer,
            _WINDOW,
            _WINDOW,
            _WINDOW,
            0,
            0,
            0,
            mean_scale=course.mean_scale,
        )
        self.accounts = [
            "0x" + bytes([client + 1]).rjust(20, b"\0").hex() for client in range(course.clients)
        ]
        self.exponents = self._first(start)
        self.refused = self.fitted = 0
        self.worst_error = 0.0
        self._residuals: dict[str, F32] = {}

    def arrays(self) -> Arrays:
        """The model as the clients see it."""
        return {**self.carried, **self.manifest.unflatten(self.state.to_float32())}

    def _first(self, start: Arrays) -> tuple[int, ...]:
        course = self.course
        guess = first_exponent(course.rate, self.subject.steps, course.width)
        exponents = [guess] * len(self.manifest.tensors)
        if course.calibrated:
            trained = _train(self.subject, replace(course, client_rates={}), start, 0, 1)
            exponents = [
                calibrated_exponent(
                    (start[tensor.name] - trained[tensor.name]).astype(np.float32), guess, course.width
                )
                for tensor in self.manifest.tensors
            ]
        return tuple(min(max(exponent + course.octaves, -40), 4) for exponent in exponents)

    def round(self, number: int) -> None:
        """Train, encode, check, compute."""
        flat, arrays, manifest, width = (
            self.state.to_float32(),
            self.arrays(),
            self.manifest,
            self.policy.width,
        )
        seed = keccak(self.course.seed.to_bytes(8, "big"), number.to_bytes(8, "big"))
        header = RoundHeader(number, manifest.hash, self.root, 1, width, seed, self.exponents)
        sizes = np.exp2(np.array(self.exponents, dtype=np.float64)[manifest.tensor_of_leaf]).repeat(256)
        entries, updates, errors = [], [], []
        for client, account in enumerate(self.accounts):
            trained = _train(self.subject, self.course, arrays, client, number)
            end = manifest.flatten({name: trained[name] for name in _names(manifest)})
            given, cap = (flat, end, self.exponents, manifest, seed, account), self.policy.max_sum_squares
            if self.course.feedback:
                residual = self._residuals.get(account)
                encoded, change = feedback.encode(*given, residual=residual, max_sum_squares=cap)
                self._residuals[account] = feedback.left_out(change, encoded.data, self.exponents, manifest)
            else:
                encoded = encode_update(*given, width=width, max_sum_squares=cap)
            entry = Commitment(account, number, self.root, encoded.root, encoded.sum_squares)
            try:
                check_norm(entry, self.policy)
            except UpdateRefused:
                self.refused += 1
                continue
            self.fitted += encoded.bound < largest(width)
            true = flat.astype(np.float64) - end
            sent = (encoded.leaves.reshape(-1).astype(np.float64) - ZERO) * sizes
            errors.append(float(np.linalg.norm(sent - true) / max(float(np.linalg.norm(true)), 1e-30)))
            entries.append(entry)
            updates.append(MemoryUpdate(encoded.data, width))
        if not entries:
            return  # such a round is cancelled
        if number > 3:
            self.worst_error = max(self.worst_error, float(np.median(errors)))
        outcome = compute_round(
            manifest,
            header,
            self.policy,
            self.state,
            entries,
            updates,
            coordinator=NO_VERIFIER,
            lineage=GENESIS,
        )
        self.state, self.root, self.exponents = outcome.state, outcome.state_root, outcome.next_exponents


def _names(manifest: Manifest) -> list[str]:
    return [tensor.name for tensor in manifest.tensors]
