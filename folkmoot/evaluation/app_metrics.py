# SPDX-License-Identifier: Apache-2.0
"""Find the loss and the accuracy among the metrics that an app reports, and format them.

Names and values come from strangers. Leaves out values that are not finite, and metrics beyond the limits. Knows
neither where metrics come from nor where they are shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

SOURCES = ("server", "evaluate", "train")
"""Who measured, the most telling first: the server's own test set, the clients' held-out data, their training."""

MOST, LONGEST = 64, 64
"""Most metrics of a round, and characters of a name."""

LARGEST = 1e100
"""Values from here on are nobody's loss, and no chart has room for them."""

_APART = re.compile(r"[^a-z0-9]+")

_SHARES = ("acc", "accuracy", "recall", "precision", "f1", "auc")
"""Words in the names of metrics that lie between 0 and 1."""


def flat(metrics: object) -> dict[str, float]:
    """Metrics by `source/name`, from what a round's report holds.

    Args:
        metrics: `{"train": {name: number} | null, "evaluate": ..., "server": ...}`, from a stranger.

    Returns:
        At most `MOST` of them, in the order of `SOURCES`.
    """
    found: dict[str, float] = {}
    if not isinstance(metrics, Mapping):
        return found
    for source in SOURCES:
        values = metrics.get(source)
        if not isinstance(values, Mapping):
            continue
        for name, value in values.items():
            number = _number(value)
            if number is not None and len(found) < MOST:
                found[f"{source}/{str(name)[:LONGEST]}"] = number
    return found


def is_loss(name: str) -> bool:
    """Whether a metric is a loss, by its name."""
    return "loss" in _words(name)


def is_share(name: str) -> bool:
    """Whether a metric is a share, which people read in percent, by its name."""
    return bool(_words(name) & set(_SHARES))


def is_accuracy(name: str) -> bool:
    """Whether a metric is an accuracy, by its name."""
    return bool(_words(name) & {"acc", "accuracy"})


def headline(metrics: Mapping[str, float]) -> tuple[str | None, str | None]:
    """Names of the loss and of the accuracy that speak for a round, None where there is none.

    Args:
        metrics: As `flat` returns them.
    """
    ordered = sorted(metrics, key=rank)
    loss = next((name for name in ordered if is_loss(name)), None)
    accuracy = next((name for name in ordered if is_accuracy(name)), None)
    return loss, accuracy


def rank(name: str) -> tuple[int, int, str]:
    """Key to sort names by: the most telling source first, then the shortest name."""
    source, rest = _split(name)
    return SOURCES.index(source) if source else len(SOURCES), len(rest), rest


def shown(name: str, value: float) -> str:
    """A value as people read it: percent for a share, else four digits."""
    if is_share(name) and 0 <= value <= 1:
        return f"{value:.1%}"
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value:.3f}"


def percent(value: float) -> str:
    """A share in percent, without a decimal that says nothing; what is no share, as a number."""
    return f"{value:.1%}".replace(".0%", "%") if 0 <= value <= 1 else number(value)


def number(value: float) -> str:
    """A number in four digits; a large whole one in all of its digits."""
    whole = 1e4 <= abs(value) < 1e12 and value == int(value)
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def said(metrics: Mapping[str, float]) -> str:
    """Loss and accuracy of a round in words, empty if it has neither."""
    loss, accuracy = headline(metrics)
    found = [("loss", loss), ("accuracy", accuracy)]
    return ", ".join(f"{word} {shown(name, metrics[name])}" for word, name in found if name is not None)


def _split(name: str) -> tuple[str, str]:
    """Source and name of a metric; a name that an app gave may hold slashes of its own."""
    source, _, rest = name.partition("/")
    return (source, rest) if source in SOURCES and rest else ("", name)


def _words(name: str) -> set[str]:
    return set(_APART.split(_split(name)[1].lower()))


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and abs(number) < LARGEST else None
