# SPDX-License-Identifier: Apache-2.0
"""What a report says of a model: counts and sums, what follows from them, and the file (docs/protocol.md 11.1).

Counts and sums are exact integers. Everything else follows from them, and a reader refuses a file in which it does
not. It knows nothing of models, tasks or rounds.
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
"""A task that gives one loss an example and nothing else, for example an autoencoder."""
METRICS = "metrics"
"""A task that gives its own numbers only."""
BY_LOSS = (REGRESSION, LANGUAGE_MODEL, LOSS)
"""Kinds whose groups are compared by their mean loss."""
KINDS = (CLASSIFICATION, *BY_LOSS, METRICS)

TRIGGERS = ("corner", "middle")
"""Where the bright patch of a probe is."""

MAX_NAMES = 100_000
"""Most classes, or groups, of a report."""


@dataclass(frozen=True)
class ClassCount:
    """One class on the held-out examples."""

    name: str
    """The label as text."""
    support: int
    """Examples that have it."""
    predicted: int
    """Examples that the model gives it to."""
    correct: int
    """Examples that have it and are given it."""

    @property
    def recall(self) -> Fraction | None:
        """Share of its examples that the model finds; None if it has none."""
        return Fraction(self.correct, self.support) if self.support else None


@dataclass(frozen=True)
class GroupCount:
    """One group of the held-out examples."""

    name: str
    """Its name."""
    support: int
    """Its examples, at least 1."""
    correct: int | None = None
    """Those of them that the model labels right; None if the task does not classify."""
    losses: Losses | None = None
    """Their losses, if the task gives losses or predicts numbers."""

    @property
    def accuracy(self) -> Fraction | None:
        """Share of its examples that are labelled right; None if the task does not classify."""
        return None if self.correct is None else Fraction(self.correct, self.support)

    @property
    def mean_loss(self) -> Fraction | None:
        """Mean loss; None if there is none, or an example is unmeasured."""
        return None if self.losses is None else self.losses.mean


@dataclass(frozen=True)
class Probe:
    """The class to which a trigger draws most examples of other classes."""

    trigger: str
    """One of TRIGGERS."""
    name: str
    """The class."""
    examples: int
    """Held-out examples of other classes, at least 1."""
    drawn: int
    """Those of them that are given this class when they bear the trigger."""
    drawn_without: int
    """Those that are given it anyway."""

    @property
    def rise(self) -> Fraction:
        """By how much the trigger raises the share."""
        return Fraction(self.drawn - self.drawn_without, self.examples)


@dataclass(frozen=True)
class Measurement:
    """What was measured of one model. Counts and sums are exact; everything else follows from them."""

    kind: str
    """One of KINDS."""
    metrics: Mapping[str, float | None]
    """The task's own numbers, e.g. loss and accuracy, rounded; None where one is not finite."""
    classes: tuple[ClassCount, ...] = ()
    """By class, in the order of the labels; empty if the task does not classify."""
    groups: tuple[GroupCount, ...] = ()
    """By group, in the order of their names."""
    probes: tuple[Probe, ...] = ()
    """One a trigger, for images."""
    losses: Losses | None = None
    """Of all examples; None if the task gives none."""
    regression: Regression | None = None
    """Errors of predicted numbers; None if the task predicts none."""

    @property
    def examples(self) -> int:
        """Held-out examples."""
        return self.losses.examples if self.losses else sum(one.support for one in self.classes)

    @property
    def accuracy(self) -> Fraction | None:
        """Share of examples that are labelled right, else the task's own metric; None if there is neither."""
        if self.kind == CLASSIFICATION and self.examples:
            return Fraction(sum(one.correct for one in self.classes), self.examples)
        return self._metric("accuracy")

    @property
    def mean_loss(self) -> Fraction | None:
        """Mean loss of the examples, else the task's own metric; None if there is neither, or no number."""
        return self.losses.mean if self.losses else self._metric("loss")

    @property
    def perplexity(self) -> Fraction | None:
        """Of a language model; None for others, or if there is no mean loss or it is too large."""
        return self.losses.perplexity if self.losses and self.kind == LANGUAGE_MODEL else None

    @property
    def worst_class(self) -> ClassCount | None:
        """The class with the lowest recall (the first of equal ones)."""
        known = [(one.recall, place) for place, one in enumerate(self.classes) if one.recall is not None]
        return self.classes[min(known)[1]] if known else None

    @property
    def worst_group(self) -> GroupCount | None:
        """The group with the lowest accuracy or the highest loss (the first of equal ones; before all, one without)."""
        if self.kind not in BY_LOSS:
            return min(self.groups, key=lambda one: one.accuracy or Fraction(0), default=None)
        unmeasured = (one for one in self.groups if one.mean_loss is None)
        highest = max(self.groups, key=lambda one: one.mean_loss or Fraction(0), default=None)
        return next(unmeasured, highest)

    @property
    def gaps(self) -> tuple[Fraction, Fraction] | None:
        """How much worse the worst group is than the best one, and than all examples, in accuracy or in mean loss.

        None without groups, or if an example is unmeasured.
        """
        if self.kind not in BY_LOSS:
            shares = [one.accuracy for one in self.groups if one.accuracy is not None]
            mean = self.accuracy
            return None if not shares or mean is None else (max(shares) - min(shares), mean - min(shares))
        means = [one.mean_loss for one in self.groups]
        known = [one for one in means if one is not None]
        mean = self.mean_loss
        if not known or len(known) < len(means) or mean is None:
            return None
        return max(known) - min(known), max(known) - mean

    def to_json(self) -> dict[str, Any]:
        """The measurement as it stands in a report."""
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
                    "class": one.name,
                    "support": one.support,
                    "predicted": one.predicted,
                    "correct": one.correct,
                    "recall": None if one.recall is None else rounded(one.recall),
                }
                for one in self.classes
            ],
            "worstClass": worst_class and worst_class.name,
            "loss": self.losses and self.losses.to_json(),
            "perplexity": None if self.perplexity is None else rounded(self.perplexity),
            "regression": self.regression.to_json(self.losses) if self.regression and self.losses else None,
            "groups": [_group_json(one) for one in self.groups],
            "worstGroup": worst_group and worst_group.name,
            "gaps": gaps and {name: rounded(gap) for name, gap in zip(names, gaps, strict=True)},
            "probes": [
                {
                    "trigger": one.trigger,
                    "class": one.name,
                    "examples": one.examples,
                    "drawn": one.drawn,
                    "drawnWithout": one.drawn_without,
                    "share": rounded(Fraction(one.drawn, one.examples)),
                    "shareWithout": rounded(Fraction(one.drawn_without, one.examples)),
                }
                for one in self.probes
            ],
        }

    @classmethod
    def from_json(cls, value: Any) -> Measurement:
        """Read what ``to_json`` wrote.

        Raises:
            InputError: A field is missing, unknown or malformed, or a number does not follow from the counts.
        """
        try:
            examples, losses, errors = read_count(value["examples"]), value["loss"], value["regression"]
            made = cls(
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
            raise InputError(f"The measurement can't be read: {error!r}.", code="invalid-report") from error
        if not (made._has_what_its_kind_has() and made._counts_fit() and made._losses_fit()):
            raise InputError("The measurement's counts contradict each other.", code="invalid-report")
        if made.to_json() != value:
            raise InputError(
                "The measurement has a number that does not follow from its counts, or an unknown field.",
                code="invalid-report",
            )
        return made

    def _metric(self, name: str) -> Fraction | None:
        value = self.metrics.get(name)
        return None if value is None else Fraction(str(value))

    def _has_what_its_kind_has(self) -> bool:
        """Whether the parts are there that the kind has, and no others."""
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
        """Whether the counts can be those of one set of examples."""
        names = [one.name for one in self.classes]
        groups = [one.name for one in self.groups]
        triggers = [one.trigger for one in self.probes]
        all_ = self.examples
        counts = [one.correct for one in self.groups if one.correct is not None]
        right = sum(one.correct for one in self.classes)
        by_class = self.kind == CLASSIFICATION
        return (
            max(len(names), len(groups)) <= MAX_NAMES
            and all(len(set(some)) == len(some) for some in (names, groups, triggers))
            and all(one.correct <= min(one.support, one.predicted) for one in self.classes)
            and (not by_class or sum(one.support for one in self.classes) == all_)
            and (not by_class or sum(one.predicted for one in self.classes) == all_)
            and len(counts) == (len(groups) if by_class else 0)
            and all(one.correct is None or one.correct <= one.support for one in self.groups)
            and (not groups or sum(one.support for one in self.groups) == all_)
            and (not counts or sum(counts) == right)
            and all(one.trigger in TRIGGERS and one.name in names for one in self.probes)
            and all(max(one.drawn, one.drawn_without) <= one.examples <= all_ for one in self.probes)
        )

    def _losses_fit(self) -> bool:
        """Whether the sums can be those of one set of losses, and the groups' add up to all."""
        parts = [one.losses for one in self.groups if one.losses is not None]
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
    found: dict[str, Any] = {"group": group.name, "support": group.support}
    if group.accuracy is not None:
        found |= {"correct": group.correct, "accuracy": rounded(group.accuracy)}
    if group.losses is not None:
        found["loss"] = group.losses.to_json()
    return found


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
    """Its ``folkmoot.version``; empty if the file names none."""
    state_root: str
    """Its ``folkmoot.stateRoot``, 0x-hex; empty if the file names none."""
    measured: Measurement
    """What was measured."""

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "format": FORMAT,
            "task": self.task,
            "model": self.model,
            "version": self.version,
            "stateRoot": self.state_root,
            **self.measured.to_json(),
        }

    def to_bytes(self) -> bytes:
        """The report file: canonical JSON."""
        return canonical_json(self.to_json())

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        """Read a report file.

        Raises:
            InputError: It is not canonical JSON of this format, or its numbers contradict each other.
        """
        try:
            value = parse_canonical_json(data)
        except InputError as error:
            raise InputError(error.message, code="invalid-report") from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InputError(f"This is no report of the format {FORMAT}.", code="invalid-report")
        fields = {"format", "task", "model", "version", "stateRoot"}
        head = [value.get(name) for name in sorted(fields)]
        if not all(isinstance(one, str) for one in head):
            raise InputError(f"A report has the texts {', '.join(sorted(fields))}.", code="invalid-report")
        rest = {name: one for name, one in value.items() if name not in fields}
        measured = Measurement.from_json(rest)
        made = cls(value["task"], value["model"], value["version"], value["stateRoot"], measured)
        if made.to_bytes() != data:  # 1 and 1.0 are the same number: one file, one meaning
            raise InputError("The report writes a number in another form.", code="invalid-report")
        return made
