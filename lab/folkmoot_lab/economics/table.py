# SPDX-License-Identifier: Apache-2.0
"""Every known strategy against a policy: the attacker's best choice, and what would have to be true for it to pay."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from folkmoot_lab.economics import entries, lies, votes
from folkmoot_lab.economics.play import Play, Strategy
from folkmoot_lab.economics.setting import Setting

STRATEGIES = (
    Strategy("spam of places", entries.spam, entries.places_pay_if),
    Strategy("coordinator with puppets", entries.puppets_of_coordinator, entries.puppets_pay_if),
    Strategy("Sybil split", entries.sybil_split, entries.sybil_pays_if),
    Strategy("riders", entries.riders, entries.riders_pay_if),
    Strategy("copied proof", lies.copied_proof, lies.lie_pays_if),
    Strategy("lies in a row", lies.lies_in_a_row, lies.lie_pays_if),
    Strategy("lie for a vote", lies.lie_for_a_vote, lies.vote_pays_if),
    Strategy("self-report", lies.self_report, lies.self_report_pays_if),
    Strategy("bribery of a watcher", lies.bribery, lies.bribery_pays_if),
    Strategy("sham disputes and demands", votes.sham_disputes_and_demands, votes.sham_pays_if),
    Strategy("capture of a vote", votes.capture, votes.capture_pays_if),
)
"""All strategies, in the order of docs/economics.md."""


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy's line of the table.

    Attributes:
        strategy: Its name.
        best: The choice with the largest profit.
        pays_if: What would have to be true for it to pay.
    """

    strategy: str
    best: Play
    pays_if: str

    @property
    def pays(self) -> bool:
        """Whether the profit is above 0."""
        return self.best.profit > 0

    def to_json(self) -> dict[str, Any]:
        """Return the line as JSON: amounts in units of 1e-18 tokens as decimal strings, rounded down."""
        return {
            "strategy": self.strategy,
            "choice": self.best.choice,
            "gain": str(self.best.gain // 1),
            "cost": str(self.best.cost // 1),
            "profit": str(self.best.profit // 1),
            "pays": self.pays,
            "paysIf": self.pays_if,
        }


def play_all(setting: Setting) -> list[Row]:
    """Return one line for each strategy, in the order of `STRATEGIES`."""
    return [Row(strategy.name, strategy.best(setting), strategy.pays_if(setting)) for strategy in STRATEGIES]


def in_tokens(amount: Fraction) -> str:
    """Return an amount in units of 1e-18 tokens as tokens with two decimal places, rounded to the nearest."""
    hundredths = round(amount / 10**16)
    whole, rest = divmod(abs(hundredths), 100)
    return f"{'-' if hundredths < 0 else ''}{whole:,}.{rest:02}"
