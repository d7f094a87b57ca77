# SPDX-License-Identifier: Apache-2.0
"""Weight, pay and tokens of an entry, as its round's anchor has them. Why they are so, `folkmoot why` says."""

from __future__ import annotations

from typing import Any, NamedTuple

from folkmoot.explain.reasons import percent_of
from folkmoot.ledger.replay import Round
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.rpc.client import Phase
from folkmoot.runtime.units import format_amount, format_time


def challengeable(number: int, deadline: int, now: int) -> str:
    """Say how long an anchored round can still be challenged: until it is made final, which its deadline allows.

    Args:
        number: Number of the round.
        deadline: End of its challenge window, in seconds.
        now: Chain time in seconds.
    """
    if now < deadline:
        return f"can be challenged until {format_time(deadline)}"
    return f"can be challenged until `folkmoot close {number}` makes it final"


class Due(NamedTuple):
    """What an account gets for a round with an anchor that has an entry of it."""

    round: Round
    """The round."""
    account: str
    """The account, checksummed."""
    now: int
    """Chain time in seconds."""

    @property
    def amount(self) -> int:
        """Units of 1e-18 tokens; 0 if the round is void."""
        return 0 if self.round.void else self.round.rewards.get(self.account, 0)

    @property
    def row(self) -> tuple[str, ...]:
        """Round, weight, pay, tokens and what stands between them and the account, for a table."""
        json, round_ = self.to_json(), self.round
        weight = percent_of(json["weight"], json["largestWeight"])
        pay = weight if json["payShare"] is None else percent_of(json["payShare"], FULL_PAY)
        state = challengeable(round_.number, round_.challenge_deadline, self.now)
        if round_.void:
            state = "void"
        elif round_.settled is not None:
            state = "credited"
        elif round_.phase is Phase.FINAL:
            state = f"final; `folkmoot close {round_.number}` credits it"
        own = self.account == round_.opened.coordinator
        return (
            str(round_.number),
            weight,
            "the coordinator's" if own else pay,
            format_amount(self.amount),
            state,
        )

    @property
    def text(self) -> str:
        """The same in a sentence, and who says why."""
        number, weight, pay, tokens, state = self.row
        return (
            f"Weight {weight} of the largest, pay {pay} of a full place: {tokens} ({state}). Why: `folkmoot why "
            f"{self.account} --round {number}`."
        )

    def to_json(self) -> dict[str, Any]:
        """The numbers with the names that a verdict has in the API."""
        anchor, index = self.round.known_anchor, self.round.contributors[self.account]
        return {
            "round": self.round.number,
            "phase": self.round.phase.name.lower(),
            "weight": anchor.weights[index],
            "largestWeight": max(anchor.weights),
            "payShare": anchor.pays[index] if anchor.pays else None,
            "pay": str(self.amount),
        }
