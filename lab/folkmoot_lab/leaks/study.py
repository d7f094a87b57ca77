# SPDX-License-Identifier: Apache-2.0
"""Run all attacks on a simulated federation, for several training settings, and collect what they find.

Everything random comes from the plan's seed, except what differential privacy draws in secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from folkmoot.errors import InputError, TaskError
from folkmoot.privacy.settings import PrivacySettings
from folkmoot.protocol.arrays import F32, F64, I64
from folkmoot.tasks import Data, Task
from folkmoot_lab.leaks import distinguish, inversion, membership
from folkmoot_lab.leaks.learner import Learner, canaries, joined, pick, records_of
from folkmoot_lab.leaks.measures import Interval, Separation, separation, separation_of_sums, share
from folkmoot_lab.leaks.rounds import PublishedRound, decoded, encoded, first_exponents, simulate
from folkmoot_lab.leaks.settings import Setting

CANDIDATES = 0.05
"""Share of a contributor's records in each of four groups: canaries and average records, present and absent."""

SIZES = (1, 4, 8, 64)
"""Numbers of records from which an update is inverted."""

MATCHED_SIZES = (1, 4)
"""The same, if gradients have to be matched."""

LAST_ROUNDS = 3
"""Rounds that the strong adversary attacks if there is no limit to compare it with."""

NO_PRIVACY = ("not-private", "layer-mixes-records", "grid-too-fine")
"""Codes of a task that can't train with privacy as it is."""

LEAST_RECORDS = 40
"""Fewest records of all contributors together with which the attacks can be measured."""

_SEED_BYTES = 32
_MATCHED = 2  # updates

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is tried."""

    contributors: int = 5
    """Contributors of the simulated federation."""
    rounds: int = 20
    """Rounds that each takes part in."""
    runs: int = 8
    """Federations that are trained for the membership attack, each with other canaries."""
    targets: int = 2
    """Records that the strong adversary asks for."""
    trials: int = 30
    """Trainings with each of these records, and as many without it."""
    inversions: int = 20
    """Updates that are inverted for each number of records."""
    seed: int = 0
    """Seed."""


@dataclass(frozen=True)
class Inverted:
    """What inversion found in updates from a number of records."""

    records: int
    """Records that the update was trained on."""
    psnr: float
    """Median peak signal-to-noise ratio of the best reconstruction of each record, in dB."""
    found: Interval
    """Share of these records that were found."""
    absent: Interval
    """The same for records that were not trained on: what chance finds."""

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "records": self.records,
            "psnr": round(self.psnr, 1),
            "found": self.found.to_json(),
            "absent": self.absent.to_json(),
        }


@dataclass(frozen=True)
class Finding:
    """What the attacks found for one setting."""

    setting: Setting
    """The setting."""
    metrics: dict[str, float]
    """Metrics of the trained model on the task's test set, mean of the runs."""
    canaries: Separation
    """Membership of records with wrong labels."""
    average: Separation
    """Membership of records as they are."""
    one_round: Separation
    """The strong adversary, from the last round alone."""
    several_rounds: Separation
    """The strong adversary, from ``attacked_rounds`` rounds together."""
    worst_content: Separation
    """The adversary who knows that a record is there, and asks what it says: for the record that shows most."""
    median_content: Separation
    """The same for the record in the middle."""
    attacked_rounds: int
    """All rounds where there is a limit; else the last LAST_ROUNDS, which are enough for the adversary to be right."""
    inverted: tuple[Inverted, ...]
    """Inversion, by the number of records."""

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        limit = self.setting.limit
        return {
            "setting": self.setting.name,
            "training": dict(self.setting.training),
            "limit": None if limit is None else limit.to_json(),
            "metrics": {name: round(value, 4) for name, value in self.metrics.items()},
            "membership": {"canaries": self.canaries.to_json(), "average": self.average.to_json()},
            "strongAdversary": {
                "oneRound": self.one_round.to_json(),
                "severalRounds": self.several_rounds.to_json(),
                "rounds": self.attacked_rounds,
            },
            "content": {"worst": self.worst_content.to_json(), "median": self.median_content.to_json()},
            "inversion": [one.to_json() for one in self.inverted],
        }


@dataclass(frozen=True)
class Study:
    """What a report is about."""

    task: str
    """Name of the task."""
    plan: Plan
    """How much was tried."""
    records: tuple[int, ...]
    """Records of each simulated contributor."""
    split: bool
    """Whether the contributors share one contributor's data, because the task gives everybody the same."""
    method: str
    """How updates were inverted."""
    findings: tuple[Finding, ...]
    """One a setting."""
    refused: str
    """Why the task can't be compared with privacy; empty if it can."""

    def to_json(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "task": self.task,
            "plan": dict(vars(self.plan)),
            "records": list(self.records),
            "splitData": self.split,
            "inversionMethod": self.method,
            "findings": [one.to_json() for one in self.findings],
            "refused": self.refused or None,
        }


def shares_of(task: Task, plan: Plan) -> tuple[list[Data], bool]:
    """Return the records of each simulated contributor, and whether they are parts of one contributor's data.

    A shipped task gives each contributor a share. A task with real private data gives everybody the same: then these
    are split at random.

    Raises:
        InputError: There are too few records (``too-few-records``), or the attacks can't look at them.
    """
    seed = int(task.training.get("split_seed", 0))
    loaded = [
        records_of(task, task.load(place, plan.contributors, seed)) for place in range(plan.contributors)
    ]
    alike = plan.contributors > 1 and all(
        one.inputs.shape == loaded[0].inputs.shape and bool((one.inputs == loaded[0].inputs).all())
        for one in loaded
    )
    if alike:
        order = np.random.default_rng([plan.seed, 9]).permutation(len(loaded[0]))
        loaded = [pick(loaded[0], part) for part in np.array_split(order, plan.contributors)]
    total = sum(len(one) for one in loaded)
    if total < LEAST_RECORDS or min(len(one) for one in loaded) < 8:
        raise InputError(
            f"{total} records, the smallest share {min(len(one) for one in loaded)}, are too few to measure attacks.",
            remedy=f"Use at least {LEAST_RECORDS} records and 8 for each contributor, or fewer --contributors.",
            code="too-few-records",
        )
    return loaded, alike


def records_a_contributor(task: Task, plan: Plan) -> int:
    """Return the median number of records of a simulated contributor.

    Raises:
        InputError: See `shares_of`.
    """
    shares, _ = shares_of(task, plan)
    return sorted(len(one) for one in shares)[len(shares) // 2]


def study(
    task: Task, settings: Sequence[Setting], plan: Plan, progress: Progress = lambda what: None
) -> Study:
    """Attack a simulated federation in each setting.

    If the task can't train in a later setting, because it ignores privacy or has a layer that mixes records, the study
    ends there.

    Args:
        task: The task.
        settings: What is compared.
        plan: How much is tried.
        progress: Called with what is being done.

    Raises:
        InputError: See `shares_of`; or nothing could be measured.
        TaskError: The task can't train in the first setting.
    """
    shares, split = shares_of(task, plan)
    findings = []
    method = refused = ""
    for setting in settings:
        learner = Learner(task, setting.training)
        method = method or _method(learner, shares[0])
        try:
            findings.append(_find(learner, setting, shares, plan, progress))
        except TaskError as error:
            if not findings or error.code not in NO_PRIVACY:
                raise
            refused = f"{error.message} So there is no comparison with privacy."
            break
    records = tuple(len(one) for one in shares)
    return Study(task.name, plan, records, split, method, tuple(findings), refused)


def _find(
    learner: Learner, setting: Setting, shares: Sequence[Data], plan: Plan, progress: Progress
) -> Finding:
    rng = np.random.default_rng([plan.seed, 1])
    progress(f"{setting.name}: membership")
    scored: tuple[list[F64], ...] = ([], [], [], [])
    metrics: dict[str, list[float]] = {}
    published: list[PublishedRound] = []
    for _ in range(plan.runs):
        groups = [_grouped(learner, data, rng) for data in shares]
        trained = [joined(candidates[0], candidates[2], rest) for candidates, rest in groups]
        published = simulate(learner, trained, plan.rounds, rng)
        for place, (candidates, _) in enumerate(groups):
            seen = [(one.base, one.updates[place]) for one in published]
            found = membership.scores(learner, seen, joined(*candidates))
            for scores, part in zip(scored, np.array_split(found, 4), strict=True):
                scores.append(part)
        for name, value in measured(learner, published[-1].base).items():
            metrics.setdefault(name, []).append(value)
    present, absent, known, unknown = (np.concatenate(scores) for scores in scored)
    progress(f"{setting.name}: strong adversary")
    own = sorted(shares, key=len)[len(shares) // 2]
    attacked = published if setting.limit is not None else published[-LAST_ROUNDS:]
    one_round, several_rounds = _strong(learner, setting, own, attacked, plan, rng)
    progress(f"{setting.name}: what a known record says")
    worst, median = contents(learner, setting, own, attacked, plan, rng)
    progress(f"{setting.name}: inversion")
    return Finding(
        setting,
        {name: float(np.mean(values)) for name, values in metrics.items()},
        separation(present, absent, rng),
        separation(known, unknown, rng),
        one_round,
        several_rounds,
        worst,
        median,
        len(attacked),
        tuple(_inverted(learner, own, published[0].base, count, plan, rng) for count in _sizes(learner, own)),
    )


def measured(learner: Learner, base: F32) -> dict[str, float]:
    """Return the task's metrics of a model."""
    learner.load(base)
    return dict(learner.task.evaluate(learner.model))


def _grouped(learner: Learner, data: Data, rng: np.random.Generator) -> tuple[list[Data], Data]:
    """Return four groups of candidates (canaries present and absent, records present and absent), and the rest."""
    count = max(1, round(CANDIDATES * len(data)))
    order: I64 = rng.permutation(len(data))
    wrong = canaries(pick(data, order[: 2 * count]), learner, rng)
    own = np.arange(count)
    plain = pick(data, order[2 * count : 4 * count])
    groups = [pick(wrong, own), pick(wrong, own + count), pick(plain, own), pick(plain, own + count)]
    return groups, pick(data, order[4 * count :])


def _strong(
    learner: Learner,
    setting: Setting,
    own: Data,
    published: Sequence[PublishedRound],
    plan: Plan,
    rng: np.random.Generator,
) -> tuple[Separation, Separation]:
    adversary = _adversary(setting)
    present, absent = [], []
    for _ in range(plan.targets):
        order: I64 = rng.permutation(len(own))
        known = pick(own, order[1:])
        together = joined(known, canaries(pick(own, order[:1]), learner, rng))
        found = distinguish.ratios(learner, published, known, together, plan.trials, adversary, rng)
        present.append(found[0])
        absent.append(found[1])
    there, gone = (np.concatenate([one[:, -1] for one in scores]) for scores in (present, absent))
    return separation(there, gone, rng), separation_of_sums(present, absent, rng)


def _adversary(setting: Setting) -> distinguish.Adversary:
    if setting.nearly_without_noise is None:
        return distinguish.Adversary()
    return distinguish.Adversary(1, setting.nearly_without_noise)


def contents(
    learner: Learner,
    setting: Setting,
    own: Data,
    published: Sequence[PublishedRound],
    plan: Plan,
    rng: np.random.Generator,
) -> tuple[Separation, Separation]:
    """Ask which of two labels a record has: its own, or another one. All records are real, none is a canary.

    Of all records, those are attacked whose two gradients are farthest apart, and in the middle.
    """
    wrong = canaries(own, learner, rng)
    private = PrivacySettings.of(learner.training)
    apart = np.zeros(len(own))
    for one in published:
        gradients = [learner.gradients(one.base, data).astype(np.float64) for data in (own, wrong)]
        if private is not None:
            for rows in gradients:
                norms = np.linalg.norm(rows, axis=1, keepdims=True)
                rows /= np.maximum(1, norms / private.clip)
        apart += np.square(gradients[0] - gradients[1]).sum(axis=1)
    found = []
    for place in np.argsort(apart)[[-1, len(own) // 2]]:
        rest = pick(own, np.delete(np.arange(len(own)), place))
        here = np.array([place])
        other, own_content = (joined(rest, pick(data, here)) for data in (wrong, own))
        told = distinguish.ratios(
            learner,
            published,
            other,
            own_content,
            plan.trials * plan.targets,
            _adversary(setting),
            rng,
        )
        found.append(separation_of_sums([told[0]], [told[1]], rng))
    return found[0], found[1]


def _sizes(learner: Learner, own: Data) -> list[int]:
    """Return the numbers of records to invert an update of: SIZES, and half of a contributor's records.

    Matching gradients takes seconds for each update, and it is tried on few records only.
    """
    if inversion.dense_layer(learner, own) is None:
        return list(MATCHED_SIZES)
    return [*(size for size in SIZES if size < len(own) // 2), len(own) // 2]


def _inverted(
    learner: Learner, own: Data, base: F32, count: int, plan: Plan, rng: np.random.Generator
) -> Inverted:
    found: list[inversion.Match] = []
    missed: list[inversion.Match] = []
    dense = inversion.dense_layer(learner, own)
    times = plan.inversions if dense is not None else min(plan.inversions, _MATCHED)
    for _ in range(times):
        order: I64 = rng.permutation(len(own))
        data = pick(own, order[:count])
        end = learner.train(base, data, int(rng.integers(1 << 31)))
        exponents = first_exponents(learner, base - end)
        file = encoded(learner, base, end, exponents, rng.bytes(_SEED_BYTES), 0)
        update = decoded(file, learner.manifest, exponents)
        if dense is None:
            everything = own.inputs.flatten(1).numpy()
            shape = own.inputs.shape[1:]
            rebuilt = inversion.matched(learner, base, update, data.labels, shape, int(rng.integers(1 << 31)))
        else:
            everything = dense[1].numpy()
            rebuilt = inversion.closed_form(learner, dense[0], update, exponents)
        found += inversion.matches(everything[order[:count]], rebuilt, everything)
        missed += inversion.matches(everything[order[count : 2 * count]], rebuilt, everything)
    return Inverted(
        count,
        float(np.median([one.psnr for one in found])),
        share(sum(one.found for one in found), len(found)),
        share(sum(one.found for one in missed), len(missed)),
    )


def _method(learner: Learner, data: Data) -> str:
    dense = inversion.dense_layer(learner, data)
    if dense is None:
        return "by matching gradients"
    same = dense[1].shape[1] == data.inputs[0].numel()
    return "in closed form" if same else "in closed form, of the features that the model computes first"
