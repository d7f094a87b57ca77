# SPDX-License-Identifier: Apache-2.0
"""The training settings that a report compares: the federation's own, and the same with differential privacy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from folkmoot.leaks.measures import Limit


@dataclass(frozen=True)
class Setting:
    """Training settings under attack."""

    name: str
    """Name in the report."""
    training: Mapping[str, Any]
    """Settings of the task."""
    limit: Limit | None = None
    """What differential privacy guarantees for all rounds together; None without it."""
    nearly_without_noise: Mapping[str, Any] | None = None
    """The same settings with hardly any noise, in which the strong adversary repeats trainings."""


def settings_of(training: Mapping[str, Any]) -> list[Setting]:
    """Return what a report compares for a federation's training settings."""
    return [Setting("as it is", training)]
