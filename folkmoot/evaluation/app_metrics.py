# SPDX-License-Identifier: Apache-2.0
"""Find the loss and the accuracy among the metrics that an app reports, and format them.

Names and values are untrusted. Values that are not finite and metrics beyond the limits are left out. This module does
not depend on the source or the display of metrics.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

SOURCES = ("server", "evaluate", "train")
"""Sources by decreasing significance: the server's test set, the clients' held-out data, their training."""

MOST, LONGEST = 64, 64
"""Maximum number of metrics of a round, and maximum length of a name in characters."""

LARGEST = 1e100
"""Values from this bound on are left out: they are not real losses and do not fit into a chart."""

_APART = re.compile(r"[^a-z0-9]+")

_SHARES = ("acc", "accuracy", "recall", "precision", "f1", "auc")
"""Words in the names of metrics with values between 0 and 1."""


def flat(metrics: object) -> dict[str, float]:
    """Return the metrics of a round's report by `source/name`.

    Args:
        metrics: `{"train": {name: number} | null, "evaluate": ..., "server": ...}`, untrusted.

    Returns:
        At most `MOST` of them, in the order of `SOURCES`.
    """
    kept: dict[str, float] = {}
    if not isinstance(metrics, Mapping):
        return kept
    for source in SOURCES:
        values = metrics.get(source)
        if not isinstance(values, Mapping):
            continue
        for name, value in values.items():
            number = _number(value)
            if number is not None and len(kept) < MOST:
                kept[f"{source}/{str(name)[:LONGEST]}"] = number
    return kept


def is_loss(name: str) -> bool:
    """Return whether a metric is a loss, by its name."""
    return "loss" in _words(name)


def is_share(name: str) -> bool:
    """Return whether a metric is a share, shown in percent, by its name."""
    return bool(_words(name) & set(_SHARES))


def is_accuracy(name: str) -> bool:
    """Return whether a metric is an accuracy, by its name."""
    return bool(_words(name) & {"acc", "accuracy"})


def headline(metrics: Mapping[str, float]) -> tuple[str | None, str | None]:
    """Return the names of the main loss and the main accuracy of a round; None if missing.

    Args:
        metrics: Metrics in the form of `flat`.
    """
    ordered = sorted(metrics, key=rank)
    loss = next((name for name in ordered if is_loss(name)), None)
    accuracy = next((name for name in ordered if is_accuracy(name)), None)
    return loss, accuracy


def rank(name: str) -> tuple[int, int, str]:
    """Return the sort key of a name: the most significant source first, then the shortest name."""
    source, rest = _split(name)
    return SOURCES.index(source) if source else len(SOURCES), len(rest), rest


def shown(name: str, value: float) -> str:
    """Return a value as text: in percent for a share, otherwise with four digits."""
    if is_share(name) and 0 <= value <= 1:
        return f"{value:.1%}"
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value:.3f}"


def percent(value: float) -> str:
    """Return a share in percent, without superfluous decimals; other values as a number."""
    return f"{value:.1%}".replace(".0%", "%") if 0 <= value <= 1 else number(value)


def number(value: float) -> str:
    """Return a number with four digits; a large whole number with all of its digits."""
    whole = 1e4 <= abs(value) < 1e12 and value == int(value)
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def summary(metrics: Mapping[str, float]) -> str:
    """Return loss and accuracy of a round as text; empty if it has neither."""
    loss, accuracy = headline(metrics)
    pairs = [("loss", loss), ("accuracy", accuracy)]
    return ", ".join(f"{word} {shown(name, metrics[name])}" for word, name in pairs if name is not None)


def _split(name: str) -> tuple[str, str]:
    """Return source and name of a metric. An app's name may contain slashes."""
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
