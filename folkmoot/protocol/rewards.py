# SPDX-License-Identifier: Apache-2.0
"""The rewards of a round, exactly as `settle` of `Rewards` computes them.

Each place of a round has an equal share, ``reward / places``, however many are taken. An entry gets the part of it that
its pay says, ``floor(reward * pay_i / (places * FULL_PAY))``. Under a rule without pays its weight says it:
``floor(reward * w_i / (places * max_j w_j))``. The coordinator's own entry is not paid. What a place does not get is
not minted, so that leaving others out earns nothing. This module knows weights, pays and amounts, but no chain and no
rule.
"""

from __future__ import annotations

from collections.abc import Sequence

FULL_PAY = 1 << 16
"""The pay that is a full place."""


def payments(
    reward: int, places: int, weights: Sequence[int], pays: Sequence[int], paid: Sequence[bool] | None = None
) -> list[int]:
    """Split the reward of a round.

    Args:
        reward: Of the round's policy, in units of 1e-18 tokens.
        places: `max_contributors` of the policy.
        weights: One an entry, at least 0, one of them above 0.
        pays: One an entry, from 0 to FULL_PAY; empty under a rule without pays.
        paid: Whether each entry is paid: it is not the coordinator's own. None: all are.

    Returns:
        One amount an entry, in units of 1e-18 tokens. Each is at most ``reward // places``, so that they add up to
        at most the reward; a full pay, or the largest weight, gets that, if its entry is paid.
    """
    counted = [True] * len(weights) if paid is None else paid
    parts, whole = (pays, FULL_PAY) if pays else (weights, max(weights))
    divisor = whole * places
    return [reward * part // divisor if counts else 0 for part, counts in zip(parts, counted, strict=True)]
