# SPDX-License-Identifier: Apache-2.0
"""Reports on a model: counts and sums, the numbers computed from them, and the file (docs/protocol.md 11.1).

Counts and sums are exact integers. All other numbers are computed from them, and a reader refuses a file with other
numbers. This module does not depend on models, tasks or rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from folkmoot.errors import InputError
from folkmoot.evaluation.losses import Losses, Regression, total
from folkmoot.evaluation.numbers import read_count, read_metric, read_text, rounded
from folkmoot.protocol.hashing import canonical_json, parse_canonical_json

FORMAT = "folkmoot/evaluation/3"

CLASSIFICATION, REGRESSION, LANGUAGE_MODEL = "classification", "regression", "language-model"
LOSS = "loss"
"""Kind of a task that gives only one loss per example, for example an autoencoder."""
METRICS = "metrics"
"""Kind of a task that gives only its own metrics."""
BY_LOSS = (REGRESSION, LANGUAGE_MODEL, LOSS)
"""Kinds whose groups are compared by their mean loss."""
KINDS = (CLASSIFICATION, *BY_LOSS, METRICS)

TRIGGERS = ("corner", "middle")
"""Positions of the bright patch of a probe."""

INVALID = "Make the report again with `folkmoot task evaluate`, in the same release."
"""Remedy for an invalid report."""

MAX_NAMES = 100_000
"""Maximum number of classes, or of groups, of a report."""


@dataclass(frozen=True)
class ClassCount:
    """Counts of one class on the held-out examples."""

    name: str
    """The label as text."""
    support: int
    """Number of examples of the class."""
    predicted: int
    """Number of examples that are predicted as this class."""
    correct: int
    """Number of examples of the class that are predicted as this class."""

    @property
    def recall(self) -> Fraction | None:
        """Share of its examples that are predicted right; None if it has none."""
        return Fraction(self.correct, self.support) if self.support else None


@dataclass(frozen=True)
class GroupCount:
    """Counts of one group of the held-out examples."""

    name: str
    support: int
    """Number of its examples, at least 1."""
    correct: int | None = None
    """Number of right predictions; None if the task has no classes."""
    losses: Losses | None = None
    """Losses of the group, if the task gives losses or predicts numbers."""

    @property
    def accuracy(self) -> Fraction | None:
        """Share of right predictions; None if the task has no classes."""
        return None if self.correct is None else Fraction(self.correct, self.support)

    @property
    def mean_loss(self) -> Fraction | None:
        """Mean loss; None if there are no losses, or an example is unmeasured."""
        return None if self.losses is None else self.losses.mean


@dataclass(frozen=True)
class Probe:
    """The class to which a trigger draws most examples of other classes."""

    trigger: str
    """One of TRIGGERS."""
    name: str
    """The class."""
    examples: int
    """Number of held-out examples of other classes, at least 1."""
    drawn: int
    """Number of these examples that are predicted as this class with the trigger."""
    drawn_without: int
    """Number of these examples that are predicted as this class without the trigger."""

    @property
    def rise(self) -> Fraction:
        """Rise of the share by the trigger."""
        return Fraction(self.drawn - self.drawn_without, self.examples)


@dataclass(frozen=True)
class Measurement:
    """Measurement of one model. Counts and sums are exact; all other numbers are computed from them."""

    kind: str
    """One of KINDS."""
    metrics: Mapping[str, float | None]
    """The task's own metrics, e.g. loss and accuracy, rounded; None for one that is not finite."""
    classes: tuple[ClassCount, ...] = ()
    """Counts by class, in the order of the labels; empty if the task has no classes."""
    groups: tuple[GroupCount, ...] = ()
    """Counts by group, in the order of their names."""
    probes: tuple[Probe, ...] = ()
    """One probe per trigger, for images."""
    losses: Losses | None = None
    """Losses of all examples; None if the task gives none."""
    regression: Regression | None = None
    """Errors of predicted numbers; None if the task predicts none."""

    @property
    def examples(self) -> int:
        """Number of held-out examples."""
        return self.losses.examples if self.losses else sum(class_.support for class_ in self.classes)

    @property
    def accuracy(self) -> Fraction | None:
        """Share of right predictions, or else the task's own metric; None if there is neither."""
        if self.kind == CLASSIFICATION and self.examples:
            return Fraction(sum(class_.correct for class_ in self.classes), self.examples)
        return self._metric("accuracy")

    @property
    def mean_loss(self) -> Fraction | None:
        """Mean loss of the examples, or else the task's own metric; None if there is neither, or it is not finite."""
        return self.losses.mean if self.losses else self._metric("loss")

    @property
    def perplexity(self) -> Fraction | None:
        """Perplexity of a language model; None for other kinds, or if the mean loss is missing or too large."""
        return self.losses.perplexity if self.losses and self.kind == LANGUAGE_MODEL else None

    @property
    def worst_class(self) -> ClassCount | None:
        """Class with the lowest recall (the first of equal ones)."""
        known = [(one.recall, place) for place, one in enumerate(self.classes) if one.recall is not None]
        return self.classes[min(known)[1]] if known else None

    @property
    def worst_group(self) -> GroupCount | None:
        """Group with the lowest accuracy or the highest loss (the first of equal ones).

        A group without a loss is the worst.
        """
        if self.kind not in BY_LOSS:
            return min(self.groups, key=lambda one: one.accuracy or Fraction(0), default=None)
        unmeasured = (group for group in self.groups if group.mean_loss is None)
        highest = max(self.groups, key=lambda one: one.mean_loss or Fraction(0), default=None)
        return next(unmeasured, highest)

    @property
    def gaps(self) -> tuple[Fraction, Fraction] | None:
        """Return the gaps of the worst group to the best one and to all examples, in accuracy or in mean loss.

        None without groups, or if an example is unmeasured.
        """
        if self.kind not in BY_LOSS:
            shares = [group.accuracy for group in self.groups if group.accuracy is not None]
            mean = self.accuracy
            return None if not shares or mean is None else (max(shares) - min(shares), mean - min(shares))
        means = [group.mean_loss for group in self.groups]
        known = [one for one in means if one is not None]
        mean = self.mean_loss
        if not known or len(known) < len(means) or mean is None:
            return None
        return max(known) - min(known), max(known) - mean

    def to_json(self) -> dict[str, Any]:
        """Return the measurement as in a report."""
        worst_class, worst_group, gaps = self.worst_class, self.worst_group, self.gaps
        names = (
            ("worstMinusBest", "worstMinusMean")
            if self.kind in BY_LOSS
            else ("bestMinusWorst", "meanMinusWorst")
        )
        return {
            "kind": self.kind,
            "metrics": dict(self.metrics),
            "examples": self.examples,
            "classes": [
                {
                    "class": class_.name,
                    "support": class_.support,
                    "predicted": class_.predicted,
                    "correct": class_.correct,
                    "recall": None if class_.recall is None else rounded(class_.recall),
                }
                for class_ in self.classes
            ],
            "worstClass": worst_class and worst_class.name,
            "loss": self.losses and self.losses.to_json(),
            "perplexity": None if self.perplexity is None else rounded(self.perplexity),
            "regression": self.regression.to_json(self.losses) if self.regression and self.losses else None,
            "groups": [_group_json(group) for group in self.groups],
            "worstGroup": worst_group and worst_group.name,
            "gaps": gaps and {name: rounded(gap) for name, gap in zip(names, gaps, strict=True)},
            "probes": [
                {
                    "trigger": probe.trigger,
                    "class": probe.name,
                    "examples": probe.examples,
                    "drawn": probe.drawn,
                    "drawnWithout": probe.drawn_without,
                    "share": rounded(Fraction(probe.drawn, probe.examples)),
                    "shareWithout": rounded(Fraction(probe.drawn_without, probe.examples)),
                }
                for probe in self.probes
            ],
        }

    @classmethod
    def from_json(cls, value: Any) -> Measurement:
        """Read the result of ``to_json``.

        Raises:
            InputError: A field is missing, unknown or malformed, or a number does not follow from the counts.
        """
        try:
            examples, losses, errors = read_count(value["examples"]), value["loss"], value["regression"]
            measurement = cls(
                kind=read_text(value["kind"]),
                metrics={read_text(name): read_metric(number) for name, number in value["metrics"].items()},
                classes=tuple(
                    ClassCount(
                        read_text(one["class"]),
                        read_count(one["support"]),
                        read_count(one["predicted"]),
                        read_count(one["correct"]),
                    )
                    for one in value["classes"]
                ),
                groups=tuple(_read_group(one) for one in value["groups"]),
                probes=tuple(
                    Probe(
                        read_text(one["trigger"]),
                        read_text(one["class"]),
                        read_count(one["examples"], 1),
                        read_count(one["drawn"]),
                        read_count(one["drawnWithout"]),
                    )
                    for one in value["probes"]
                ),
                losses=None if losses is None else Losses.from_json(losses, examples),
                regression=None if errors is None else Regression.from_json(errors),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"The measurement can't be read: {error!r}.", remedy=INVALID, code="invalid-report"
            ) from error
        if not (
            measurement._has_what_its_kind_has() and measurement._counts_fit() and measurement._losses_fit()
        ):
            raise InputError(
                "The measurement's counts contradict each other.", remedy=INVALID, code="invalid-report"
            )
        if measurement.to_json() != value:
            raise InputError(
                "The measurement has a number that does not follow from its counts, or an unknown field.",
                remedy=INVALID,
                code="invalid-report",
            )
        return measurement

    def _metric(self, name: str) -> Fraction | None:
        value = self.metrics.get(name)
        return None if value is None else Fraction(str(value))

    def _has_what_its_kind_has(self) -> bool:
        """Return whether exactly the parts of the kind exist."""
        classes, losses, errors = bool(self.classes), self.losses is not None, self.regression is not None
        match self.kind:
            case "classification":
                return classes and not errors
            case "regression":
                return losses and errors and not classes
            case "language-model" | "loss":
                return losses and not errors and not classes
            case "metrics":
                return not (classes or losses or errors or self.groups)
            case _:
                return False

    def _counts_fit(self) -> bool:
        """Return whether the counts can be those of one set of examples."""
        names = [class_.name for class_ in self.classes]
        groups = [group.name for group in self.groups]
        triggers = [probe.trigger for probe in self.probes]
        all_ = self.examples
        counts = [group.correct for group in self.groups if group.correct is not None]
        right = sum(class_.correct for class_ in self.classes)
        by_class = self.kind == CLASSIFICATION
        return (
            max(len(names), len(groups)) <= MAX_NAMES
            and all(len(set(some)) == len(some) for some in (names, groups, triggers))
            and all(class_.correct <= min(class_.support, class_.predicted) for class_ in self.classes)
            and (not by_class or sum(class_.support for class_ in self.classes) == all_)
            and (not by_class or sum(class_.predicted for class_ in self.classes) == all_)
            and len(counts) == (len(groups) if by_class else 0)
            and all(group.correct is None or group.correct <= group.support for group in self.groups)
            and (not groups or sum(group.support for group in self.groups) == all_)
            and (not counts or sum(counts) == right)
            and all(probe.trigger in TRIGGERS and probe.name in names for probe in self.probes)
            and all(max(probe.drawn, probe.drawn_without) <= probe.examples <= all_ for probe in self.probes)
        )

    def _losses_fit(self) -> bool:
        """Return whether the sums can be those of one set of losses, and the sums of the groups add up to the total."""
        parts = [group.losses for group in self.groups if group.losses is not None]
        if self.losses is None:
            return not parts
        weighted = self.kind == LANGUAGE_MODEL
        return (
            self.examples > 0
            and all(one.possible(weighted) for one in (self.losses, *parts))
            and len(parts) == len(self.groups)
            and (not parts or total(parts) == self.losses)
            and (self.regression is None or self.regression.possible(self.losses))
        )


def _group_json(group: GroupCount) -> dict[str, Any]:
    document: dict[str, Any] = {"group": group.name, "support": group.support}
    if group.accuracy is not None:
        document |= {"correct": group.correct, "accuracy": rounded(group.accuracy)}
    if group.losses is not None:
        document["loss"] = group.losses.to_json()
    return document


def _read_group(value: Any) -> GroupCount:
    support = read_count(value["support"], 1)
    correct = read_count(value["correct"]) if "correct" in value else None
    losses = Losses.from_json(value["loss"], support) if "loss" in value else None
    return GroupCount(read_text(value["group"]), support, correct, losses)


@dataclass(frozen=True)
class Report:
    """A report about one model file."""

    task: str
    """Name of the task."""
    model: str
    """sha256 of the safetensors file, hex without 0x."""
    version: str
    """Value of its ``folkmoot.version``; empty if missing."""
    state_root: str
    """Value of its ``folkmoot.stateRoot``, 0x-hex; empty if missing."""
    measured: Measurement

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return {
            "format": FORMAT,
            "task": self.task,
            "model": self.model,
            "version": self.version,
            "stateRoot": self.state_root,
            **self.measured.to_json(),
        }

    def to_bytes(self) -> bytes:
        """Return the report file: canonical JSON."""
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        """Read a report file.

        Raises:
            InputError: The file is not canonical JSON of this format, or its numbers contradict each other.
        """
        try:
            value = parse_canonical_json(data)
        except InputError as error:
            raise InputError(error.message, remedy=INVALID, code="invalid-report") from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InputError(
                f"This is not a report of the format {FORMAT}.", remedy=INVALID, code="invalid-report"
            )
        fields = {"format", "task", "model", "version", "stateRoot"}
        head = [value.get(name) for name in sorted(fields)]
        if not all(isinstance(one, str) for one in head):
            raise InputError(
                f"A report has the texts {', '.join(sorted(fields))}.", remedy=INVALID, code="invalid-report"
            )
        rest = {name: one for name, one in value.items() if name not in fields}
        measured = Measurement.from_json(rest)
        report = cls(value["task"], value["model"], value["version"], value["stateRoot"], measured)
        if report.to_bytes() != data:  # 1 and 1.0 are the same number, but a report has only one valid file.
            raise InputError(
                "The report writes a number in another form.", remedy=INVALID, code="invalid-report"
            )
        return report
