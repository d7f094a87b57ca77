# SPDX-License-Identifier: Apache-2.0
"""Evaluation reports: what a model does on held-out examples, by class, by group and under triggers.

The format is section 11.1 of docs/protocol.md. A task gives labels and predictions; every number of a report
follows from these by counting. Ratios are rounded once, so that equal predictions make equal bytes. It knows
nothing of models, tasks or rounds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from folkmoot.arrays import I64
from folkmoot.errors import InputError
from folkmoot.hashing import canonical_json, parse_canonical_json

FORMAT = "folkmoot/evaluation/2"

DIGITS = 6
"""Decimals of every number of a report that is not an integer."""

TRIGGERS = ("corner", "middle")
"""Where the bright patch of a probe is."""

MAX_NAMES = 100_000
"""Most classes, or groups, of a report."""

Predict = Callable[[NDArray[Any]], ArrayLike]
"""From images to one predicted label each."""


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
    correct: int
    """Those of them that the model labels right."""

    @property
    def accuracy(self) -> Fraction:
        """Share of its examples that are labelled right."""
        return Fraction(self.correct, self.support)


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
    """What was measured of one model. Counts are exact; everything else follows from them."""

    metrics: Mapping[str, float | None]
    """The task's own numbers, e.g. loss and accuracy, rounded; None where one is not finite."""
    classes: tuple[ClassCount, ...] = ()
    """By class, in the order of the labels; empty if the task gives no predictions."""
    groups: tuple[GroupCount, ...] = ()
    """By group, in the order of their names' first examples or of the labels."""
    probes: tuple[Probe, ...] = ()
    """One a trigger, for images."""

    @property
    def examples(self) -> int:
        """Held-out examples."""
        return sum(one.support for one in self.classes)

    @property
    def accuracy(self) -> Fraction | None:
        """Share of examples that are labelled right, else the task's own metric; None if there is neither."""
        if self.examples:
            return Fraction(sum(one.correct for one in self.classes), self.examples)
        value = self.metrics.get("accuracy")
        return None if value is None else Fraction(str(value))

    @property
    def worst_class(self) -> ClassCount | None:
        """The class with the lowest recall (the first of equal ones)."""
        known = [(one.recall, place) for place, one in enumerate(self.classes) if one.recall is not None]
        return self.classes[min(known)[1]] if known else None

    @property
    def worst_group(self) -> GroupCount | None:
        """The group with the lowest accuracy (the first of equal ones)."""
        return min(self.groups, key=lambda one: one.accuracy, default=None)

    @property
    def gaps(self) -> tuple[Fraction, Fraction] | None:
        """Best minus worst group, and all examples minus worst group; None without groups."""
        if not self.groups or self.worst_group is None:
            return None
        worst = self.worst_group.accuracy
        total = Fraction(sum(one.correct for one in self.groups), sum(one.support for one in self.groups))
        return max(one.accuracy for one in self.groups) - worst, total - worst

    def to_json(self) -> dict[str, Any]:
        """The measurement as it stands in a report."""
        worst_class, worst_group, gaps = self.worst_class, self.worst_group, self.gaps
        return {
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
            "groups": [
                {
                    "group": one.name,
                    "support": one.support,
                    "correct": one.correct,
                    "accuracy": rounded(one.accuracy),
                }
                for one in self.groups
            ],
            "worstGroup": worst_group and worst_group.name,
            "gaps": None
            if gaps is None
            else {"bestMinusWorst": rounded(gaps[0]), "meanMinusWorst": rounded(gaps[1])},
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
            made = cls(
                metrics={_text(name): _metric(number) for name, number in value["metrics"].items()},
                classes=tuple(
                    ClassCount(
                        _text(one["class"]),
                        _count(one["support"]),
                        _count(one["predicted"]),
                        _count(one["correct"]),
                    )
                    for one in value["classes"]
                ),
                groups=tuple(
                    GroupCount(_text(one["group"]), _count(one["support"], 1), _count(one["correct"]))
                    for one in value["groups"]
                ),
                probes=tuple(
                    Probe(
                        _text(one["trigger"]),
                        _text(one["class"]),
                        _count(one["examples"], 1),
                        _count(one["drawn"]),
                        _count(one["drawnWithout"]),
                    )
                    for one in value["probes"]
                ),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"The measurement can't be read: {error!r}.", code="invalid-report") from error
        made._check()
        if made.to_json() != value:
            raise InputError(
                "The measurement has a number that does not follow from its counts, or an unknown field.",
                code="invalid-report",
            )
        return made

    def _check(self) -> None:
        """Raise InputError unless the counts can be those of one set of examples."""
        names = [one.name for one in self.classes]
        groups = [one.name for one in self.groups]
        triggers = [one.trigger for one in self.probes]
        total = self.examples
        possible = (
            max(len(names), len(groups)) <= MAX_NAMES
            and all(len(set(some)) == len(some) for some in (names, groups, triggers))
            and all(one.correct <= min(one.support, one.predicted) for one in self.classes)
            and sum(one.predicted for one in self.classes) == total
            and all(one.correct <= one.support for one in self.groups)
            and (not groups or sum(one.support for one in self.groups) == total)
            and (
                not groups or sum(one.correct for one in self.groups) == sum(c.correct for c in self.classes)
            )
            and all(one.trigger in TRIGGERS and one.name in names for one in self.probes)
            and all(max(one.drawn, one.drawn_without) <= one.examples <= total for one in self.probes)
        )
        if not possible:
            raise InputError("The measurement's counts contradict each other.", code="invalid-report")


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


def rounded(value: Fraction | float) -> float | None:
    """A number as a report has it: the binary64 nearest to it, rounded to DIGITS decimals; None if not finite."""
    number = float(value)
    if not math.isfinite(number):
        return None
    return round(number, DIGITS) + 0.0  # no negative zero


def measure(
    metrics: Mapping[str, float],
    labels: ArrayLike | None = None,
    predictions: ArrayLike | None = None,
    groups: Iterable[Any] | None = None,
    images: ArrayLike | None = None,
    predict: Predict | None = None,
) -> Measurement:
    """Count what a report says.

    Args:
        metrics: The task's own numbers.
        labels: One class an example, integers or texts; None if the task has no classes.
        predictions: What the model says of each example, in the same values.
        groups: One group an example; None takes the classes for groups.
        images: [n, ..., rows, columns], for probes; None if the examples are no images.
        predict: From images of that shape to predictions, for probes.

    Raises:
        InputError: The lengths differ, or there are no examples.
    """
    own = {str(name): rounded(value) for name, value in metrics.items()}
    if labels is None or predictions is None:
        return Measurement(own)
    truth, guess = _names(labels), _names(predictions)
    members = truth if groups is None else _names(list(groups))
    if not len(truth) == len(guess) == len(members) or not len(truth):
        raise InputError(
            f"There are {len(truth)} labels, {len(guess)} predictions and {len(members)} groups.",
            remedy="A task gives one of each for every held-out example, of which there is at least one.",
        )
    names = _ordered({*truth.tolist(), *guess.tolist()})
    wanted, given = _places(truth, names), _places(guess, names)
    kinds = _ordered(set(members.tolist()))
    belongs = _places(members, kinds)
    right = wanted == given
    columns = (wanted, given, wanted[right])
    counts = zip(names, *(np.bincount(one, minlength=len(names)).tolist() for one in columns), strict=True)
    shares = (belongs, belongs[right])
    sizes = zip(kinds, *(np.bincount(one, minlength=len(kinds)).tolist() for one in shares), strict=True)
    probes: tuple[Probe, ...] = ()
    if images is not None and predict is not None:
        probes = tuple(_probes(np.asarray(images), predict, wanted, given, names))
    return Measurement(
        metrics=own,
        classes=tuple(ClassCount(*row) for row in counts),
        groups=tuple(GroupCount(*row) for row in sizes),
        probes=probes,
    )


def triggered(images: NDArray[Any], trigger: str) -> NDArray[Any]:
    """Images with a patch of an eighth of the rows, as bright as the brightest pixel of all, in one place.

    Args:
        images: [n, ..., rows, columns].
        trigger: One of TRIGGERS.

    Returns:
        A copy of the same shape.
    """
    rows, columns = images.shape[-2:]
    side = max(1, rows // 8)
    top, left = (0, 0) if trigger == "corner" else (rows // 2, columns // 2)
    changed = images.copy()
    changed[..., top : top + side, left : left + side] = images.max()
    return changed


def _probes(
    images: NDArray[Any], predict: Predict, wanted: I64, given: I64, names: Sequence[str]
) -> Iterable[Probe]:
    if images.ndim < 3 or len(images) != len(wanted):
        raise InputError(
            f"The images have the shape {list(images.shape)}, not [{len(wanted)}, ..., rows, columns]."
        )
    others = len(wanted) - np.bincount(wanted, minlength=len(names))
    without = _drawn(given, wanted, len(names))
    for trigger in TRIGGERS:
        drawn = _drawn(_places(_names(predict(triggered(images, trigger))), names), wanted, len(names))
        found = [
            Probe(trigger, *row)
            for row in zip(names, others.tolist(), drawn.tolist(), without.tolist(), strict=True)
            if row[1]
        ]
        if found:
            yield max(found, key=lambda probe: probe.rise)


def _drawn(given: I64, wanted: I64, count: int) -> I64:
    """How many examples of other classes are given each class."""
    wrong = given[(given != wanted) & (given >= 0)]
    return np.asarray(np.bincount(wrong, minlength=count), dtype=np.int64)


def _places(texts: NDArray[Any], names: Sequence[str]) -> I64:
    """The place of each text among the names, -1 for one that is not there."""
    places = {name: place for place, name in enumerate(names)}
    found, inverse = np.unique(texts, return_inverse=True)
    of_found = np.array([places.get(name, -1) for name in found.tolist()], dtype=np.int64)
    return np.asarray(of_found[inverse], dtype=np.int64)


def _names(values: ArrayLike) -> NDArray[Any]:
    """Labels as texts; whole numbers without a decimal point."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(
            f"Labels, predictions and groups are one a row; these have the shape {list(array.shape)}."
        )
    if array.dtype.kind == "f":
        if not (np.floor(array) == array).all():
            raise InputError("A label, prediction or group is a number that is not whole.")
        array = array.astype(np.int64)
    return array.astype(str)


def _ordered(names: Iterable[str]) -> list[str]:
    """Texts in order, whole numbers by value."""
    return sorted(names, key=lambda name: (0, int(name), name) if _whole(name) else (1, 0, name))


def _whole(name: str) -> bool:
    return name.removeprefix("-").isascii() and name.removeprefix("-").isdigit()


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise ValueError(f"{value!r} is no text of at most 200 characters")
    return value


def _count(value: Any, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**53:
        raise ValueError(f"{value!r} is no count")
    return value


def _metric(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    if abs(value) > sys.float_info.max or math.isnan(value):  # `math.isfinite` fails on integers beyond
        raise ValueError("a metric is no finite number")
    if rounded(value) != value:
        raise ValueError(f"{value!r} has more than {DIGITS} decimals")
    return float(value)
