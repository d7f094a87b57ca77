# SPDX-License-Identifier: Apache-2.0
"""``guided_mean``: ``guarded_mean``, and what it lets through is weighted by the model's own path.

Stages: ``copies``, ``unrelated``, ``weigh_by_core``, ``weigh_by_path``, ``clip``. It needs neither f nor a root
set. Sources and limits are those of its stages; the combination is ours and was chosen on the drills of
docs/robustness.md, with the attacks that it is reported on: take its lead as a lead, not as proof. Assumes
``f < n / 2``, and that the last rounds went mostly right. Without a path (the first round) it is
``guarded_mean``.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.clipping import clip
from folkmoot.aggregation.company import weigh_by_core
from folkmoot.aggregation.guarded_mean import CORE, admit
from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_parameters
from folkmoot.aggregation.path import weigh_by_path
from folkmoot.aggregation.reference import Use

NAME = "guided_mean"
PARAMETERS: tuple[str, ...] = ()
USES: frozenset[Use] = frozenset({Use.EARLIER, Use.PATH})


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Weigh by the stages. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return clip(weigh_by_path(weigh_by_core(admit(facts), CORE))).results()
