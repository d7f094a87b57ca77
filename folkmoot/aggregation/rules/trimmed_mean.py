# SPDX-License-Identifier: Apache-2.0
"""``trimmed_mean``: per coordinate the mean without the t smallest and the t largest values.

Source: Yin, Chen, Kannan, Bartlett, ICML 2018, arXiv 1803.01498. Assumes ``f <= t < n / 2`` attackers and
honest updates that spread alike in every coordinate. No attacker can move a coordinate beyond what honest
contributors sent, however large its values are. It can't stop attackers who stay inside of the honest spread
and all push the same way (ALIE, min-max), it mutes coordinates that only a minority's data moves, and it finds
nobody: every update counts, so an attacker is paid like anybody else.

Only zeros are left out. The weights say who counts; the trimming is the form of the aggregate (``form``).
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.aggregation.interface import RoundFacts, Weighted, expect_minority, expect_parameters
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.stages.ballot import Ballot
from folkmoot.protocol.verdict import Reason

NAME = "trimmed_mean"
PARAMETERS: tuple[str, ...] = ("t",)
USES: frozenset[ReferenceKind] = frozenset()


def check(parameters: Sequence[int], fewest: int, _: int, /) -> None:
    """Refuse t that trims nothing or too much. Arguments and errors as ``rules.Check``."""
    expect_minority(NAME, parameters[0], fewest, "t")


def counted(ballot: Ballot) -> list[Weighted]:
    """End a ballot whose aggregate is a trimmed sum: weight 1 for what stands, or for all if nothing does."""
    if not ballot.standing:
        return [Weighted(1, Reason.ACCEPTED, numbers) for numbers in ballot.numbers]
    return [
        Weighted(min(vote, 1), reason, numbers)
        for vote, reason, numbers in zip(ballot.votes, ballot.reasons, ballot.numbers, strict=True)
    ]


def weigh(facts: RoundFacts, parameters: Sequence[int], /) -> list[Weighted]:
    """Let every update that is not zero count once. Arguments, results and errors as ``interface.Rule``."""
    expect_parameters(NAME, parameters, PARAMETERS)
    return counted(Ballot.of(facts))
