# SPDX-License-Identifier: Apache-2.0
"""Verdicts with their explanations and reputations, from the database: of the rounds that this coordinator led."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from folkmoot.explain.reputation import Part
from folkmoot.explain.why import Judgement, judge, weighed_in
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.verdict import Reason, Verdict
from server.db.models import ChainEvent, Entry, Round
from server.db.steps import PHASES, Step

JUDGED = tuple(step for step, phase in PHASES.items() if phase in ("anchored", "final"))
"""Steps of rounds whose verdicts are on the chain."""

AT_ONCE = 1_000
"""Rounds of one query: databases take only so many values."""


def own_entries(address: str) -> Select[Entry, Round]:
    """A query for the judged entries of an account, with their rounds."""
    query = select(Entry, Round).join(Round, Round.number == Entry.round)
    return query.where(Round.step.in_(JUDGED), Entry.contributor == address)


@dataclass(frozen=True, slots=True)
class RoundTotals:
    """What the entries of a judged round have in common."""

    largest: int
    """Largest weight."""
    entries: int
    """Number of entries."""
    coordinator: str
    """Account that opened the round."""


class VerdictQueries:
    """Explains verdicts, and remembers what the entries of a round have in common.

    Args:
        policy: Gives a policy by its number.
    """

    def __init__(self, policy: Callable[[int], Policy]) -> None:
        self._policy = policy
        self._totals: dict[tuple[int, str], RoundTotals] = {}
        """By round and verdicts file, which fixes them: reputations need those of every round, at every request."""

    def judgements(self, session: Session, rows: Sequence[Row[Entry, Round]]) -> list[Judgement]:
        """Explain entries that were found with `own_entries`, all of one account, in their order."""
        if not rows:
            return []
        address = rows[0][0].contributor
        totals = self._known_totals(
            session, {round_.number: round_.verdicts_sha256 or "" for _, round_ in rows}
        )
        amounts = _credited(session, address, list(totals))
        judged = []
        for entry, round_ in rows:
            verdict, shared = _verdict(entry), totals[round_.number]
            weighed: list[str] = []
            if "copyOf" in verdict.numbers:
                query = select(Entry).where(Entry.round == entry.round).order_by(Entry.position)
                weighed = weighed_in(
                    [_verdict(other) for other in session.scalars(query)], shared.coordinator
                )
            policy = self._policy(round_.policy_id)
            part = _part(verdict, shared, round_.number, round_.step, policy)
            judged.append(
                judge(
                    part,
                    verdict,
                    policy,
                    entries=shared.entries,
                    credited=amounts.get(round_.number),
                    weighed=weighed,
                )
            )
        return judged

    def parts_of(self, session: Session, address: str) -> list[Part]:
        """What an account got in all judged rounds, oldest first."""
        query = (
            select(
                Entry.position,
                Entry.weight,
                Entry.pay,
                Entry.reason,
                Round.number,
                Round.step,
                Round.policy_id,
                Round.verdicts_sha256,
            )
            .join(Round, Round.number == Entry.round)
            .where(Round.step.in_(JUDGED), Entry.contributor == address)
            .order_by(Entry.round)
        )
        rows = session.execute(query).all()
        totals = self._known_totals(
            session, {number: digest or "" for _, _, _, _, number, _, _, digest in rows}
        )
        return [
            _part(
                Verdict(position, address, weight or 0, _reason(reason), pay=pay),
                totals[number],
                number,
                step,
                self._policy(policy_id),
            )
            for position, weight, pay, reason, number, step, policy_id, _ in rows
        ]

    def _known_totals(self, session: Session, verdicts: dict[int, str]) -> dict[int, RoundTotals]:
        """What rounds have in common, by number, from their numbers and verdicts files."""
        missing = [number for number, digest in verdicts.items() if (number, digest) not in self._totals]
        for start in range(0, len(missing), AT_ONCE):
            for number, totals in _counted(session, missing[start : start + AT_ONCE]).items():
                self._totals[number, verdicts[number]] = totals
        return {number: self._totals[number, digest] for number, digest in verdicts.items()}


def credited(session: Session, address: str, numbers: Sequence[int]) -> dict[int, int]:
    """What the ledger credited to an account in those of the rounds in which it credited something."""
    events = session.execute(
        select(ChainEvent.subject, ChainEvent.arguments).where(
            ChainEvent.name == "RewardCredited",
            ChainEvent.account == address,
            ChainEvent.subject.in_([str(number) for number in numbers]),
        )
    )
    return {int(subject): int(arguments["amount"]) for subject, arguments in events}


def _counted(session: Session, numbers: Sequence[int]) -> dict[int, RoundTotals]:
    """The same from the anchors, which have all weights: the entries of a long history are too many to look at."""
    opened = session.execute(
        select(ChainEvent.subject, ChainEvent.arguments).where(
            ChainEvent.name == "RoundOpened", ChainEvent.subject.in_([str(number) for number in numbers])
        )
    )
    coordinators = {int(subject): str(arguments["coordinator"]) for subject, arguments in opened}
    anchors = session.execute(select(Round.number, Round.anchor).where(Round.number.in_(numbers)))
    return {
        number: RoundTotals(
            max(anchor["weights"]),
            len(anchor["weights"]),
            coordinators[number],
        )
        for number, anchor in anchors
        if anchor is not None
    }


def _credited(session: Session, address: str, numbers: Sequence[int]) -> dict[int, int]:
    """What the ledger credited to an account for those of the rounds that are settled: 0 where it got nothing."""
    settled = session.scalars(
        select(ChainEvent.subject).where(
            ChainEvent.name == "RoundSettled", ChainEvent.subject.in_([str(number) for number in numbers])
        )
    )
    return dict.fromkeys((int(subject) for subject in settled), 0) | credited(session, address, numbers)


def _part(verdict: Verdict, shared: RoundTotals, number: int, step: str, policy: Policy) -> Part:
    return Part(
        number,
        verdict.weight,
        verdict.reason,
        shared.largest,
        policy.max_contributors,
        policy.reward,
        final=PHASES[Step(step)] == "final",
        root=verdict.contributor == shared.coordinator,
        share=verdict.pay,
    )


def _verdict(entry: Entry) -> Verdict:
    return Verdict(
        entry.position,
        entry.contributor,
        entry.weight or 0,
        _reason(entry.reason),
        {name: int(number) for name, number in (entry.numbers or {}).items()},
        entry.pay,
    )


def _reason(code: str | None) -> Reason:
    return Reason.NOT_DELIVERED if code is None else Reason(code)
