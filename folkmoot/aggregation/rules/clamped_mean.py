# SPDX-License-Identifier: Apache-2.0
"""``clamped_mean``, the default: a mean that judges contributors by the sum of their last eight updates.

Stages: ``copies``, ``uncorrelated``; then, with the window sums in the place of the updates, ``weigh_by_likeness``,
``weigh_by_median_cosine``, ``weigh_by_trajectory``; then, with the round's own updates, ``weigh_by_root_bounded``,
``share_by_root`` if the policy has a root share, ``weigh_by_presence`` and ``clip``. It needs no number of attackers.
There may be a root set. There is no core that attackers could join. Where updates carry the noise of differential
privacy, there is no test for noise (``uncorrelated``): attackers who know the honest updates could have half of them
fail it. Sources and limits are those of its stages. The combination is ours. It was chosen by the drills of
docs/robustness.md, so that its results there are no independent evidence. Assumes ``f < n / 2``, and that contributors
stay for several rounds: one that joins counts an eighth at first.

Each of the five factors of a multiplier is at most 2^16, and so is the clip factor; a root share adds 34 bits with 256
updates. So all products stay below 2^146, and 256 bits hold every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferencedFacts, ReferenceKind
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.copies import exclude_copies
from folkmoot.aggregation.stages.likeness import (
    weigh_by_likeness,
    weigh_by_median_cosine,
    weigh_by_presence,
)
from folkmoot.aggregation.stages.root import MOST_SHARE, share_by_root, weigh_by_root_bounded
from folkmoot.aggregation.stages.trajectory import weigh_by_trajectory
from folkmoot.aggregation.stages.uncorrelated import exclude_uncorrelated
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot.errors import InputError
from folkmoot.protocol.policy import CLAMPED_MEAN, ROOT_SHARE_UNIT

NAME = CLAMPED_MEAN
PARAMETERS: tuple[str, ...] = ("rootShare",)
OPTIONAL = 1
USES: frozenset[ReferenceKind] = frozenset(ReferenceKind)

COPY_RATIO = 160
"""Ratio of the stage ``copies``, in 1/1024: less than a sixth of the median cosine distance."""

UNCORRELATED_RATIO = 64
"""Ratio of the stage ``uncorrelated``, in 1/1024: a sixteenth of the median sum of squared cosines."""


def check(parameters: Sequence[int], fewest: int, most: int, /) -> None:
    """Refuse a root share that is out of its range. Arguments and errors as ``rules.Check``."""
    _expect_share(parameters, "impossible-policy")


def _expect_share(parameters: Sequence[int], code: str) -> None:
    for share in parameters:
        if not 0 < share <= MOST_SHARE:
            raise InputError(
                f"The root share of {NAME} is {share}, and must be from 1 to {MOST_SHARE} (of {ROOT_SHARE_UNIT}).",
                remedy="Leave the parameter out if the root set is to give out no weight.",
                code=code,
            )


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Results as ``interface.Rule``.

    Args:
        facts: With window sums.
        parameters: Nothing, or the part of the weight that the root set gives out, from 1 to ``root.MOST_SHARE`` in
            1/``ROOT_SHARE_UNIT``.

    Raises:
        InputError: ``invalid-policy``: the parameters are others; ``mismatch``: the facts have no window sums.
    """
    expect_parameters(NAME, parameters, PARAMETERS, OPTIONAL)
    _expect_share(parameters, "invalid-policy")
    if not isinstance(facts, ReferencedFacts) or facts.window is None:
        raise InputError(f"The rule {NAME} needs the window sums, and the facts have none.", code="mismatch")
    window = facts.window
    state = exclude_copies(WeightingState.of(facts), COPY_RATIO)
    if not facts.noisy:
        state = exclude_uncorrelated(state, UNCORRELATED_RATIO)
    state = replace(state, facts=replace(facts, gram=window.gram, trajectory=window.trajectory))
    state = weigh_by_trajectory(weigh_by_median_cosine(weigh_by_likeness(state)))
    state = weigh_by_root_bounded(replace(state, facts=facts))
    for share in parameters:
        state = share_by_root(state, share)
    return clip(weigh_by_presence(state, window.rounds)).results()
