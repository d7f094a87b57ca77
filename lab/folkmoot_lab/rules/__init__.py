# SPDX-License-Identifier: Apache-2.0
"""Aggregation rules that no federation can have: for drills and comparisons.

Each lost to an attack that the product's rules withstand (docs/robustness.md), or is a textbook rule. `register` adds
them to `folkmoot.aggregation.registry` in this process only, so that a drill finds them by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from folkmoot.aggregation import registry
from folkmoot.protocol.arrays import I64, U8
from folkmoot_lab.rules import (
    centered_clipping,
    clipped_mean,
    fltrust,
    geometric_median,
    guarded_mean,
    guarded_nnm,
    guarded_trimmed_mean,
    guided_mean,
    majority,
    nnm,
    root_cosine,
    root_guard,
    root_veto,
    rooted_mean,
    trimmed_mean,
)

MODULES = (
    clipped_mean,
    nnm,
    geometric_median,
    centered_clipping,
    majority,
    guarded_mean,
    guarded_nnm,
    trimmed_mean,
    guarded_trimmed_mean,
    guided_mean,
    fltrust,
    root_cosine,
    root_guard,
    root_veto,
    rooted_mean,
)
"""The rules, a module each, as in `folkmoot.aggregation.rules`."""

AGGREGATES: Mapping[str, Callable[[U8, Sequence[int]], tuple[I64, int]]] = {
    trimmed_mean.NAME: trimmed_mean.aggregate,
    guarded_trimmed_mean.NAME: trimmed_mean.aggregate,
}
"""Rules with an aggregate that the product does not have; arguments and results as in `trimmed_mean.aggregate`."""


def register() -> None:
    """Let this process find the laboratory's rules by name."""
    for module in MODULES:
        registry.register(module)
