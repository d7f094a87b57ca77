# SPDX-License-Identifier: Apache-2.0
"""The training settings that a report compares: the federation's own, and the same with differential privacy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from folkmoot.privacy.accountant import noise_for, rho_of
from folkmoot.privacy.settings import PrivacySettings
from folkmoot.protocol.manifest import PRIVACY
from folkmoot_lab.leaks.measures import Limit

EPSILONS = (8.0, 3.0, 1.0)
"""What a report compares with."""

DELTA = 1e-5
"""Delta, if the federation declares none."""

_CLIP, _RATE, _GRID = 1.0, 1.0, 8
"""Clip, learning rate and grid, if the federation declares none. They are common ones, and not tuned to any data."""


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


def settings_of(
    training: Mapping[str, Any], rounds: int, records: int, epsilons: Sequence[float] = EPSILONS
) -> list[Setting]:
    """Return what a report compares: a federation's training settings, and privacy at each of some epsilons.

    Args:
        training: The federation's settings.
        rounds: Rounds that a contributor takes part in.
        records: Records of a contributor, about: what the noisy sum is divided by if the federation declares nothing.
        epsilons: Epsilons for all rounds together.

    Raises:
        InputError: The privacy settings are invalid (``invalid-privacy``).
    """
    own = PrivacySettings.of(training)
    if own is None:
        found = [Setting("as it is, without privacy", training)]
        steps, delta = 1, DELTA
        rest: Mapping[str, Any] = {**training, "learning_rate": _RATE}
        model = PrivacySettings(
            noise1024=1024, steps=steps, divisor=records, clip=_CLIP, grid=_GRID, delta=delta
        )
    else:
        found = [_private(f"as it is, epsilon {own.epsilon(rounds):.2g}", training, own, rounds)]
        rest, model = training, own
    for epsilon in epsilons:
        noisy = replace(model, noise1024=noise_for(epsilon, model.delta, rounds, model.steps))
        if noisy == own:
            continue
        found.append(_private(f"epsilon {epsilon:g}", rest, noisy, rounds))
    return found


def _private(name: str, training: Mapping[str, Any], privacy: PrivacySettings, rounds: int) -> Setting:
    rho = rho_of(privacy.noise1024, rounds, privacy.steps)
    return Setting(
        name,
        {**training, PRIVACY: privacy.to_json()},
        Limit.of_rho(rho),
        {**training, PRIVACY: replace(privacy, noise1024=1).to_json()},
    )
