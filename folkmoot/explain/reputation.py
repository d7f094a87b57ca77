# SPDX-License-Identifier: Apache-2.0
"""A contributor's reputation: an exact integer function of the public verdicts (docs/protocol.md section 17).

It is shown and explained. It changes no weight and no stake, so a wrong verdict costs at most the pay of its round.
This module knows verdicts, but no rule, no chain and no clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from folkmoot.errors import InputError
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.protocol.verdict import Reason, Verdict

FULL = 1024
"""Highest standing: always the round's largest weight."""

START = 0
"""Standing of an account without a verdict. It is the lowest, so that a new account is no advantage."""

MEMORY = 8
"""A round moves the standing by 1/MEMORY of the difference to its target (exponential smoothing)."""


@dataclass(frozen=True, slots=True)
class Part:
    """Weight, pay and reason of one entry in one anchored round, with what its tokens depend on."""

    round: int
    """Number of the round."""
    weight: int
    """Weight of the entry."""
    reason: Reason
    """Why."""
    largest: int
    """Largest weight of the round, at least 1."""
    places: int
    """Shares of the round's reward: the most contributors that its policy allows."""
    reward: int
    """Tokens (1e-18) that the policy gives for the round."""
    final: bool
    """Whether the challenge window is over, so that the pay stands."""
    root: bool = False
    """Whether it is the coordinator's own entry, which is compared and never summed."""
    share: int | None = None
    """What the anchor says that it gets of a full place, in 1/FULL_PAY; None under a rule without pays."""

    @property
    def pay(self) -> int:
        """Tokens (1e-18), as ``rewards.payments``: by the share, or else by the weight."""
        if self.root:
            return 0
        part, whole = (self.weight, self.largest) if self.share is None else (self.share, FULL_PAY)
        return self.reward * part // (self.places * whole)


@dataclass(frozen=True, slots=True)
class Reputation:
    """Totals of the verdicts on one account."""

    rounds: int = 0
    """Rounds with an entry of it, without those that it led itself."""
    counted: int = 0
    """Rounds in which it got a weight above 0."""
    delivered: int = 0
    """Rounds in which the file of its update arrived."""
    left_out: dict[Reason, int] = field(default_factory=dict)
    """Rounds in which it got the weight 0, by reason."""
    root: int = 0
    """Rounds that it led, with an entry of its own."""
    earned: int = 0
    """Pay of the final rounds, in units of 1e-18 tokens."""
    pending: int = 0
    """Pay of the rounds that may still be challenged."""
    standing: int = START
    """From 0 to FULL."""

    def to_json(self) -> dict[str, Any]:
        """The fields with the names and forms of the API: amounts as decimal strings."""
        return {
            "standing": self.standing,
            "rounds": self.rounds,
            "counted": self.counted,
            "delivered": self.delivered,
            "leftOut": {str(reason): count for reason, count in self.left_out.items()},
            "root": self.root,
            "earned": str(self.earned),
            "pending": str(self.pending),
        }


def next_standing(standing: int, weight: int, largest: int) -> int:
    """Return the standing after one more entry: an eighth of the way to ``t = ceil(1024 weight / largest)``.

    The step is rounded up. So the standing rises only below t, falls by at least 1 above it, is above 0 after every
    entry with a weight above 0, and one round moves it by at most 128.

    Args:
        standing: Before, 0 to FULL.
        weight: Of the entry.
        largest: Largest weight of the round.
    """
    if not 0 <= weight <= largest or largest == 0:
        raise InputError(f"The weight {weight} is not from 0 to the round's largest, {largest}.")
    target = -(-FULL * weight // largest)
    step = -(-abs(target - standing) // MEMORY)
    return standing + step if target > standing else standing - step


def parts_of_round(
    number: int, verdicts: Sequence[Verdict], coordinator: str, policy: Policy, *, final: bool
) -> dict[str, Part]:
    """Return the weight and reason of every contributor of an anchored round, by account.

    Args:
        verdicts: One an entry.
        coordinator: Account that opened the round, checksummed.
        policy: Policy of the round.
        final: Whether the round is final.
    """
    largest = max((verdict.weight for verdict in verdicts), default=0)
    return {
        verdict.contributor: Part(
            number,
            verdict.weight,
            verdict.reason,
            largest,
            policy.max_contributors,
            policy.reward,
            final,
            root=verdict.contributor == coordinator,
            share=verdict.pay,
        )
        for verdict in verdicts
    }


def reputation(parts: Iterable[Part]) -> Reputation:
    """Compute the reputation of one account.

    Args:
        parts: One a round that it has an entry in; rounds in ascending order, without cancelled and slashed ones.
    """
    rounds = counted = delivered = root = earned = pending = last = 0
    left_out: Counter[Reason] = Counter()
    standing = START
    for part in parts:
        if part.round <= last:
            raise InputError(f"Round {part.round} comes after round {last}.")
        last = part.round
        if part.root:
            root += 1
            continue
        rounds += 1
        delivered += part.reason is not Reason.NOT_DELIVERED
        if part.weight > 0:
            counted += 1
        else:
            left_out[part.reason] += 1
        earned += part.pay if part.final else 0
        pending += 0 if part.final else part.pay
        standing = next_standing(standing, part.weight, part.largest)
    return Reputation(
        rounds, counted, delivered, dict(sorted(left_out.items())), root, earned, pending, standing
    )
