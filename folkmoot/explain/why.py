# SPDX-License-Identifier: Apache-2.0
"""Verdict, explanation and pay of an account in a round, in one record, as text and as JSON.

The command line makes the record from the chain and a mirror, the coordinator from its database. This module knows no
chain and no database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.explain.reasons import Case, Explanation, explain, percent_of
from folkmoot.explain.reputation import FULL, Part
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.protocol.verdict import Reason, Verdict
from folkmoot.runtime.units import format_amount


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one account in one anchored round, explained."""

    part: Part
    """Weight, reason, and what the pay depends on."""
    position: int
    """Place among the round's entries, from 0."""
    entries: int
    """Number of entries."""
    rule: str
    """Name of the policy's rule."""
    parameters: tuple[int, ...]
    numbers: dict[str, int]
    """The integers behind the verdict."""
    credited: int | None
    """What the ledger credited, in units of 1e-18 tokens; None before the round is settled."""
    explanation: Explanation
    """The verdict in words."""

    @property
    def phase(self) -> str:
        """Phase of the round: anchored or final."""
        return "final" if self.part.final else "anchored"

    @property
    def pay_text(self) -> str:
        """The formula of the pay with its numbers, and whether the pay is final."""
        part = self.part
        if part.root:
            return "Pay: none, the coordinator's own entry is never paid."
        most = format_amount(part.reward)
        if part.share is None:
            text = (
                f"Pay = floor(reward * weight / (places * largest weight)) = floor({most} * {part.weight} / "
                f"({part.places} * {part.largest})) = {format_amount(part.pay)}"
            )
        else:
            text = (
                f"The anchor gives it {percent_of(part.share, FULL_PAY)} of a full place, apart from its weight. "
                f"Pay = floor(reward * share / (places * {FULL_PAY})) = floor({most} * {part.share} / ({part.places} * "
                f"{FULL_PAY})) = {format_amount(part.pay)}"
            )
        if self.credited is not None and self.credited != part.pay:
            return f"{text}; but the ledger credited {format_amount(self.credited)}: run `folkmoot audit`."
        if part.pay == 0:
            return f"{text}."
        if self.credited is not None:
            return f"{text}, credited by the ledger."
        if part.final:
            return f"{text}; the round is final, the ledger credits it when somebody settles the round."
        return f"{text}, once the round is final; it may still be challenged."

    def to_json(self) -> dict[str, Any]:
        """The record as the API has it: large integers and amounts are decimal strings."""
        part = self.part
        return {
            "round": part.round,
            "phase": self.phase,
            "position": self.position,
            "entries": self.entries,
            "rule": self.rule,
            "parameters": list(self.parameters),
            "weight": part.weight,
            "largestWeight": part.largest,
            "payShare": part.share,
            "reason": str(part.reason),
            "numbers": {name: str(number) for name, number in self.numbers.items()},
            "reward": str(part.reward),
            "places": part.places,
            "pay": str(part.pay),
            "credited": None if self.credited is None else str(self.credited),
            "explanation": {
                "summary": self.explanation.summary,
                "details": list(self.explanation.details),
                "weight": self.explanation.weight,
                "pay": self.pay_text,
                "advice": self.explanation.advice,
            },
        }


def judge(
    part: Part,
    verdict: Verdict,
    policy: Policy,
    *,
    entries: int,
    credited: int | None,
    weighed: Sequence[str] = (),
) -> Judgement:
    """Create a judgement from a verdict.

    Args:
        part: Weight and reason of the entry.
        entries: Entries of the round.
        credited: What the ledger credited, None before the round is settled.
        weighed: Contributors of the entries that the rule weighed (``weighed_in``); only for naming others.
    """
    case = Case(
        policy.rule,
        policy.parameters,
        verdict.weight,
        verdict.reason,
        verdict.numbers,
        part.largest,
        policy.max_sum_squares,
        weighed,
        verdict.pay,
    )
    return Judgement(
        part,
        verdict.index,
        entries,
        policy.rule,
        policy.parameters,
        verdict.numbers,
        credited,
        explain(case),
    )


def weighed_in(verdicts: Sequence[Verdict], coordinator: str) -> list[str]:
    """Return the contributors of the entries that the rule weighed, in entry order."""
    return [
        verdict.contributor
        for verdict in verdicts
        if verdict.reason is not Reason.NOT_DELIVERED
        and verdict.contributor != coordinator
        and "copyOfEntry" not in verdict.numbers
    ]


def reputation_text(fields: Mapping[str, Any]) -> str:
    """Return a reputation, as ``Reputation.to_json`` has it, in one sentence."""
    rounds, counted, pending, root = (int(fields[name]) for name in ("rounds", "counted", "pending", "root"))
    reasons = ", ".join(f"{reason} {int(count)}" for reason, count in fields["leftOut"].items())
    text = (
        f"Standing {int(fields['standing'])} of {FULL}: {_rounds(rounds)}, {int(fields['delivered'])} delivered, "
        f"{counted} counted, {rounds - counted} left out{f' ({reasons})' if reasons else ''}; "
        f"earned {format_amount(int(fields['earned']))}"
    )
    if pending:
        text += f", {format_amount(pending)} more if no challenge succeeds"
    if root:
        text += f"; led {_rounds(root)} with an entry of its own"
    return text + "."


def _rounds(count: int) -> str:
    return f"{count} round{'' if count == 1 else 's'}"
