# SPDX-License-Identifier: Apache-2.0
"""Compute counts and sums from a task's predictions for its held-out examples.

Labels, predictions, targets, losses and groups are columns: one value per example, as a list, an array or a tensor.
This module does not depend on models, tasks or rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from folkmoot.errors import InputError
from folkmoot.evaluation.losses import BOUND, UNIT, Losses, Regression, fixed, squared_losses
from folkmoot.evaluation.numbers import rounded
from folkmoot.evaluation.report import (
    CLASSIFICATION,
    LANGUAGE_MODEL,
    LOSS,
    METRICS,
    REGRESSION,
    TRIGGERS,
    ClassCount,
    GroupCount,
    Measurement,
    Probe,
)
from folkmoot.protocol.arrays import I64

Predict = Callable[[NDArray[Any]], ArrayLike]
"""Returns one predicted label for each image."""


def measure(
    metrics: Mapping[str, float],
    labels: ArrayLike | None = None,
    predictions: ArrayLike | None = None,
    groups: Iterable[Any] | None = None,
    images: ArrayLike | None = None,
    predict: Predict | None = None,
    *,
    targets: ArrayLike | None = None,
    losses: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Measurement:
    """Return the measurement for a report.

    The given columns decide its kind: labels, targets, losses with weights, or losses.

    Args:
        metrics: The task's own metrics.
        labels: One class per example, integers or texts.
        predictions: Prediction for each example: a class in the values of ``labels``, or a number with ``targets``.
        groups: One group per example. With classes and None, the classes are the groups.
        images: [n, ..., rows, columns], for probes; None if the examples are no images.
        predict: Function from images of that shape to predictions, for probes.
        targets: True number of each example.
        losses: One loss per example; for a language model, the mean over its tokens.
        weights: Number of tokens of each example, at least 1.

    Raises:
        InputError: The columns do not match each other or the kind, or there are no examples.
    """
    own = {str(name): rounded(value) for name, value in metrics.items()}
    if labels is not None:
        if targets is not None or weights is not None:
            raise InputError(
                "There are labels together with targets or weights.",
                remedy="Give labels for classes, targets for numbers, losses and weights for a language model.",
            )
        if predictions is None:
            raise InputError(
                "There are labels but no predictions.", remedy="Give one predicted class per example."
            )
        return _classification(own, labels, predictions, groups, images, predict, losses)
    if images is not None or predict is not None:
        raise InputError(
            "Only a classification can have images and predict.", remedy="Leave out images and predict."
        )
    if targets is not None:
        return _regression(own, targets, predictions, groups, losses, weights)
    if predictions is not None:
        raise InputError(
            "There are predictions, but neither labels nor targets.",
            remedy="Give labels for classes, or targets for numbers.",
        )
    if losses is None:
        if groups is not None or weights is not None:
            raise InputError("There is nothing to measure.", remedy="Give labels, targets or losses.")
        return Measurement(METRICS, own)
    values, known = _fixed("losses", losses)
    if weights is None:
        return _by_loss(LOSS, own, values, None, known, groups)
    tokens = _numbers("weights", weights)
    if not (np.isfinite(tokens) & (tokens == np.floor(tokens)) & (tokens >= 1) & (tokens < 2**53)).all():
        raise InputError(
            "The weights are not whole numbers of at least 1.",
            remedy="Give the number of tokens of each example, and leave out examples without tokens.",
        )
    if (values[known] < 0).any():
        raise InputError(
            "A loss of a language model is negative.",
            remedy="Give the mean negative log-likelihood per token. Only losses without weights may be below 0.",
        )
    return _by_loss(LANGUAGE_MODEL, own, values, tokens, known, groups)


def crossed(labels: ArrayLike, groups: Iterable[Any]) -> dict[tuple[str, str], int]:
    """Return the number of examples of each class and group that occur together; columns as for ``measure``."""
    return dict(
        Counter(
            zip(_names("labels", labels).tolist(), _names("groups", _listed(groups)).tolist(), strict=True)
        )
    )


def triggered(images: NDArray[Any], trigger: str) -> NDArray[Any]:
    """Return images with a patch of an eighth of the rows, as bright as the brightest pixel of all images.

    Args:
        images: [n, ..., rows, columns].
        trigger: One of TRIGGERS.

    Returns:
        A copy of the same shape.
    """
    rows, columns = images.shape[-2:]
    side = max(1, rows // 8)
    top, column = (0, 0) if trigger == "corner" else (rows // 2, columns // 2)
    changed = images.copy()
    changed[..., top : top + side, column : column + side] = images.max()
    return changed


def _classification(
    own: dict[str, float | None],
    labels: ArrayLike,
    predictions: ArrayLike,
    groups: Iterable[Any] | None,
    images: ArrayLike | None,
    predict: Predict | None,
    losses: ArrayLike | None,
) -> Measurement:
    truth, guess = _names("labels", labels), _names("predictions", predictions)
    members = truth if groups is None else _names("groups", _listed(groups))
    _same_length(labels=truth, predictions=guess, groups=members)
    names = _ordered({*truth.tolist(), *guess.tolist()})
    true_classes, given = _places(truth, names), _places(guess, names)
    kinds = _ordered(set(members.tolist()))
    belongs = _places(members, kinds)
    right = true_classes == given
    columns = (true_classes, given, true_classes[right])
    counts = zip(
        names, *(np.bincount(column, minlength=len(names)).tolist() for column in columns), strict=True
    )
    shares = (belongs, belongs[right])
    sizes = zip(kinds, *(np.bincount(share, minlength=len(kinds)).tolist() for share in shares), strict=True)
    all_losses = None
    parts: list[Losses | None] = [None] * len(kinds)
    if losses is not None:
        values, known = _fixed("losses", losses)
        _same_length(labels=truth, losses=values)
        all_losses = Losses.of(values.astype(object), _ones(values), known)
        parts = [*_parts(values.astype(object), _ones(values), known, belongs, len(kinds))]
    probes: tuple[Probe, ...] = ()
    if images is not None and predict is not None:
        probes = tuple(_probes(_array(images), predict, true_classes, given, names))
    return Measurement(
        kind=CLASSIFICATION,
        metrics=own,
        classes=tuple(ClassCount(*row) for row in counts),
        groups=tuple(
            GroupCount(name, support, correct, part)
            for (name, support, correct), part in zip(sizes, parts, strict=True)
        ),
        probes=probes,
        losses=all_losses,
    )


def _regression(
    own: dict[str, float | None],
    targets: ArrayLike,
    predictions: ArrayLike | None,
    groups: Iterable[Any] | None,
    losses: ArrayLike | None,
    weights: ArrayLike | None,
) -> Measurement:
    if predictions is None or weights is not None:
        raise InputError(
            "There are targets and no predictions."
            if predictions is None
            else "There are targets and weights.",
            remedy="For numbers, give targets and predictions, one of each an example; weights are tokens.",
        )
    true_values, finite = _fixed("targets", targets)
    given, known = _fixed("predictions", predictions)
    _same_length(targets=true_values, predictions=given)
    if not finite.all():
        raise InputError(
            f"A target is not finite, or beyond {BOUND // UNIT:,}.",
            remedy="Leave out examples without a target; give large numbers in thousands or millions.",
        )
    if losses is not None:
        values, finite = _fixed("losses", losses)
        _same_length(targets=true_values, losses=values)
        known = known & finite
        chosen = values.astype(object)
    else:
        chosen = squared_losses(true_values.astype(object), given.astype(object))
    errors = Regression.of(true_values[known].astype(object), given[known].astype(object), losses is not None)
    return _by_loss(REGRESSION, own, chosen, None, known, groups, errors)


def _by_loss(
    kind: str,
    own: dict[str, float | None],
    losses: NDArray[Any],
    weights: NDArray[np.float64] | None,
    known: NDArray[np.bool_],
    groups: Iterable[Any] | None,
    errors: Regression | None = None,
) -> Measurement:
    values = losses.astype(object)
    counts = _ones(values) if weights is None else weights.astype(np.int64).astype(object)
    _same_length(losses=values, weights=counts)
    group_counts: tuple[GroupCount, ...] = ()
    if groups is not None:
        members = _names("groups", _listed(groups))
        _same_length(losses=values, groups=members)
        kinds = _ordered(set(members.tolist()))
        parts = _parts(values, counts, known, _places(members, kinds), len(kinds))
        group_counts = tuple(
            GroupCount(name, part.examples, losses=part) for name, part in zip(kinds, parts, strict=True)
        )
    return Measurement(
        kind, own, groups=group_counts, losses=Losses.of(values, counts, known), regression=errors
    )


def _parts(
    losses: NDArray[Any], weights: NDArray[Any], known: NDArray[np.bool_], belongs: I64, count: int
) -> list[Losses]:
    """Return the losses of each group."""
    order = np.argsort(belongs, kind="stable")
    cuts = np.cumsum(np.bincount(belongs, minlength=count))[:-1]
    return [Losses.of(losses[some], weights[some], known[some]) for some in np.split(order, cuts)]


def _ones(values: NDArray[Any]) -> NDArray[Any]:
    return np.ones(len(values), dtype=object)


def _fixed(what: str, values: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    return fixed(_numbers(what, values))


def _same_length(**columns: NDArray[Any]) -> None:
    """Check that all columns have one value per example, and that there is an example."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1 or not next(iter(lengths.values())):
        shown = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise InputError(
            f"There are {shown}.",
            remedy="Give one of each for every held-out example, of which there is at least one.",
        )


def _probes(
    images: NDArray[Any], predict: Predict, true_classes: I64, given: I64, names: Sequence[str]
) -> Iterable[Probe]:
    if images.ndim < 3 or len(images) != len(true_classes):
        raise InputError(
            f"The images have the shape {list(images.shape)}, not [{len(true_classes)}, ..., rows, columns].",
            remedy="Return the images in the order of the labels, with rows and columns as the last two dimensions.",
        )
    others = len(true_classes) - np.bincount(true_classes, minlength=len(names))
    without = _drawn(given, true_classes, len(names))
    for trigger in TRIGGERS:
        drawn = _drawn(
            _places(_names("predictions", predict(triggered(images, trigger))), names),
            true_classes,
            len(names),
        )
        probes = [
            Probe(trigger, *row)
            for row in zip(names, others.tolist(), drawn.tolist(), without.tolist(), strict=True)
            if row[1]
        ]
        if probes:
            yield max(probes, key=lambda probe: probe.rise)


def _drawn(given: I64, true_classes: I64, count: int) -> I64:
    """Return how many examples of other classes are predicted as each class."""
    wrong = given[(given != true_classes) & (given >= 0)]
    return np.asarray(np.bincount(wrong, minlength=count), dtype=np.int64)


def _places(texts: NDArray[Any], names: Sequence[str]) -> I64:
    """Return the index of each text among the names; -1 for a missing one."""
    places = {name: place for place, name in enumerate(names)}
    distinct, inverse = np.unique(texts, return_inverse=True)
    of_found = np.array([places.get(name, -1) for name in distinct.tolist()], dtype=np.int64)
    return np.asarray(of_found[inverse], dtype=np.int64)


def _array(values: Any) -> NDArray[Any]:
    """Return a column as an array. Tensors are detached and copied to the CPU."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # NumPy does not have this type.
            values = values.float()
    return np.asarray(values)


def _listed(groups: Iterable[Any]) -> Any:
    return groups if hasattr(groups, "dtype") else list(groups)


def _column(what: str, values: Any) -> NDArray[Any]:
    """Return a column with one value per example. A table with a single column is accepted."""
    array = _array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        scores = what == "predictions" and array.ndim == 2
        raise InputError(
            f"The {what} have the shape {list(array.shape)}, not one value an example.",
            remedy="Of scores by class, give the best class: scores.argmax(dim=1)."
            if scores
            else "Give a list or a tensor with one dimension; for several numbers an example, give losses=.",
        )
    return array


def _numbers(what: str, values: Any) -> NDArray[np.float64]:
    """Return a column of numbers as float64."""
    array = _column(what, values)
    if array.dtype.kind not in "fiub" and len(array):
        raise InputError(f"The {what} are not numbers: the first is {array[0]!r}.", remedy="Give numbers.")
    return array.astype(np.float64)


def _names(what: str, values: Any) -> NDArray[Any]:
    """Return a column of classes or groups as texts. Whole numbers have no decimal point."""
    array = _column(what, values)
    if array.dtype.kind == "b":  # Comparisons give booleans, while labels are 0 and 1.
        array = array.astype(np.int64)
    if array.dtype.kind == "f":
        odd = array[~(np.isfinite(array) & (np.floor(array) == array))]
        if len(odd):
            looks = {
                "labels": "they look like the targets of a regression. Give them as targets=, and the predicted "
                "numbers as predictions=.",
                "predictions": "they look like scores or numbers. Give one class an example, for example "
                "scores.argmax(dim=1); if the task predicts numbers, give targets= in the place of labels.",
                "groups": "a group is a text or a whole number. Give a name for each range, for example '40 to 59'.",
            }[what]
            raise InputError(f"The {what} are not whole (one is {odd[0]:g}):", remedy=looks)
        array = array.astype(np.int64)
    return array.astype(str)


def _ordered(names: Iterable[str]) -> list[str]:
    """Return the texts in order, with whole numbers by value."""
    return sorted(names, key=lambda name: (0, int(name), name) if _whole(name) else (1, 0, name))


def _whole(name: str) -> bool:
    return name.removeprefix("-").isascii() and name.removeprefix("-").isdigit()
