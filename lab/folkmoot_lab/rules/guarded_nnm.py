# SPDX-License-Identifier: Apache-2.0
"""``guarded_nnm``: ``nnm`` without copies and noise, clipped to the median norm.

Stages: ``copies``, ``uncorrelated``, ``clip``, ``mix``. Sources and limits are those of its stages. Assumes at most
``f < n / 2`` attackers. It gives little weight to rare data, and sign flips hidden in noise still cost it accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_minority, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.clipping import clip
from folkmoot_lab.rules.guarded_mean import admit
from folkmoot_lab.rules.stages.mixing import mix

NAME = "guarded_nnm"
PARAMETERS: tuple[str, ...] = ("f",)
USES: frozenset[ReferenceKind] = frozenset({ReferenceKind.EARLIER})


def check(parameters: Sequence[int], fewest: int, _: int, /) -> None:
    """Refuse f = 0 and f that is no minority. Arguments and errors as ``rules.Check``."""
    expect_minority(NAME, parameters[0], fewest)


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages; f is lowered by the number of updates that were excluded before ``mix``.

    Arguments, results and errors as ``interface.Rule``.
    """
    expect_parameters(NAME, parameters, PARAMETERS)
    state = clip(admit(facts))
    return mix(state, max(0, parameters[0] - (facts.count - len(state.included)))).results()
