# SPDX-License-Identifier: Apache-2.0
"""``guarded_nnm``: ``nnm`` among the updates that are no copy and no noise, shortened to the median length.

Stages: ``copies``, ``unrelated``, ``clip``, ``mix``. Sources and limits are those of its stages; the pipeline
without a root set that was measured before ours. Assumes at most ``f < n / 2`` attackers. It mutes
contributors with rare data, and noise-disguised sign flips still cost it accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_minority, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.rules.guarded_mean import admit
from folkmoot.aggregation.stages.clipping import clip
from folkmoot.aggregation.stages.mixing import mix

NAME = "guarded_nnm"
PARAMETERS: tuple[str, ...] = ("f",)
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.EARLIER})


def check(parameters: Sequence[int], fewest: int, _: int, /) -> None:
    """Refuse f that is unknown or no minority. Arguments and errors as ``rules.Check``."""
    expect_minority(NAME, parameters[0], fewest)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages; what was left out before ``mix`` is taken off f.

    Arguments, results and errors as ``interface.Rule``.
    """
    expect_parameters(NAME, parameters, PARAMETERS)
    ballot = clip(admit(facts))
    return mix(ballot, max(0, parameters[0] - (facts.count - len(ballot.standing)))).results()
