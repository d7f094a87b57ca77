# SPDX-License-Identifier: Apache-2.0
"""The rewards of a round: ``floor(reward * w_i / (n * max_j w_j))``, exactly as the ledger's ``settle`` does.

n counts the entries that are not the coordinator's own; those are never paid. Nobody gets more than an equal
share, ``reward / n``, and what an entry does not get is not minted, so that excluding others earns nothing. This module
knows weights and amounts, but no chain and no rule.
"""

from __future__ import annotations

from collections.abc import Sequence


def payments(reward: int, weights: Sequence[int], paid: Sequence[bool] | None = None) -> list[int]:
    """Split the reward of a round.

    Args:
        reward: Of the round, in units of 1e-18 tokens.
        weights: One an entry, at least 0, one of them above 0.
        paid: Whether each entry is paid: it is not the coordinator's own. None: all are.

    Returns:
        One amount an entry, in units of 1e-18 tokens. Each is at most ``reward // n``, so that they add up to
        at most the reward; the largest weight gets that, if its entry is paid.
    """
    counted = [True] * len(weights) if paid is None else paid
    divisor = max(weights) * sum(counted)
    return [
        reward * weight // divisor if counts else 0 for weight, counts in zip(weights, counted, strict=True)
    ]
