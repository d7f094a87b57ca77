# SPDX-License-Identifier: Apache-2.0
"""``windowed_mean``: a mean for noisy updates, that judges contributors by the sum of their last eight updates.

Stages: ``copies``; then, with the window sums in the place of the updates, ``weigh_by_likeness``,
``weigh_by_median_cosine``, ``weigh_by_trajectory``, ``weigh_by_presence``; then ``clip`` of the round's own updates. It
needs neither f nor a root set. It excludes nobody as noise: a contributor with few records sends little else. Sources
and limits are those of its stages. The combination is ours. It was chosen by the drills of docs/robustness.md with
digits, seed 0, so that its results there are no independent evidence. Assumes ``f <= (n - 2) / 2``, and that
contributors stay for several rounds: one that joins counts an eighth at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.references import ReferencedFacts, ReferenceKind
from folkmoot.aggregation.rules.guarded_mean import COPY_RATIO
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.copies import exclude_copies
from folkmoot.aggregation.stages.likeness import (
    weigh_by_likeness,
    weigh_by_median_cosine,
    weigh_by_presence,
)
from folkmoot.aggregation.stages.trajectory import weigh_by_trajectory
from folkmoot.aggregation.stages.weighting_state import WeightingState
from folkmoot.errors import InputError

NAME = "windowed_mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[ReferenceKind] = frozenset(
    {ReferenceKind.EARLIER, ReferenceKind.TRAJECTORY, ReferenceKind.WINDOW}
)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``.

    Raises:
        InputError: Also with ``mismatch``: the facts have no window sums.
    """
    expect_parameters(NAME, parameters, PARAMETERS)
    if not isinstance(facts, ReferencedFacts) or facts.window is None:
        raise InputError(f"The rule {NAME} needs the window sums, and the facts have none.", code="mismatch")
    window = facts.window
    state = exclude_copies(WeightingState.of(facts), COPY_RATIO)
    state = replace(state, facts=replace(facts, gram=window.gram, trajectory=window.trajectory))
    state = weigh_by_trajectory(weigh_by_median_cosine(weigh_by_likeness(state)))
    return clip(replace(weigh_by_presence(state, window.rounds), facts=facts)).results()
