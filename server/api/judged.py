# SPDX-License-Identifier: Apache-2.0
"""Verdicts with their explanations and reputations, from the database: of the rounds that this coordinator led."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session

from folkmoot.reputation import Part
from folkmoot.verdict import Reason, Verdict
from folkmoot.why import Judgement, judge, weighed_in
from server.api.parts import Parts
from server.chain.indexer import by_name
from server.db.models import ChainEvent, Entry, Round
from server.rounds.steps import PHASES, Step

JUDGED = tuple(step for step, phase in PHASES.items() if phase in ("anchored", "final"))
"""Steps of rounds whose verdicts are on the chain."""


@dataclass(frozen=True)
class _Totals:
    """What the entries of a round have in common."""

    largest: int
    entries: int
    sharers: int
    coordinator: str


def own_entries(address: str) -> Select[Entry, str, int]:
    """A query for the judged entries of an account: entry, step and policy of the round."""
    query = select(Entry, Round.step, Round.policy_id).join(Round, Round.number == Entry.round)
    return query.where(Round.step.in_(JUDGED), Entry.contributor == address)


def judgements(here: Parts, session: Session, rows: Sequence[Row[Entry, str, int]]) -> list[Judgement]:
    """Explain entries that were found with `own_entries`, all of one account."""
    totals = _totals(session, {entry.round for entry, _, _ in rows})
    return [
        _judgement(here, session, entry, step, policy_id, totals[entry.round])
        for entry, step, policy_id in rows
    ]


def parts_of(here: Parts, session: Session, addresses: Sequence[str]) -> dict[str, list[Part]]:
    """What accounts got in all judged rounds, oldest first."""
    columns = select(Entry.round, Entry.contributor, Entry.weight, Entry.reason, Round.step, Round.policy_id)
    query = columns.join(Round, Round.number == Entry.round).where(
        Round.step.in_(JUDGED), Entry.contributor.in_(addresses)
    )
    rows = session.execute(query.order_by(Entry.round)).all()
    totals = _totals(session, {row[0] for row in rows})
    found: defaultdict[str, list[Part]] = defaultdict(list)
    for number, contributor, weight, reason, step, policy_id in rows:
        part = _part(here, number, contributor, weight or 0, _reason(reason), step, policy_id, totals[number])
        found[contributor].append(part)
    return found


def _totals(session: Session, numbers: Collection[int]) -> dict[int, _Totals]:
    opened = session.execute(
        select(ChainEvent.subject, ChainEvent.arguments).where(
            ChainEvent.name == "RoundOpened", ChainEvent.subject.in_([str(number) for number in numbers])
        )
    )
    coordinators = {int(subject): str(arguments["coordinator"]) for subject, arguments in opened}
    theirs = session.execute(
        select(Entry.round, Entry.contributor).where(
            Entry.round.in_(numbers), Entry.contributor.in_(set(coordinators.values()))
        )
    )
    own = {number for number, contributor in theirs if coordinators.get(number) == contributor}
    counted = session.execute(
        select(Entry.round, func.max(Entry.weight), func.count())
        .where(Entry.round.in_(numbers))
        .group_by(Entry.round)
    )
    return {
        number: _Totals(largest or 0, count, count - (number in own), coordinators.get(number, ""))
        for number, largest, count in counted
    }


def _part(
    here: Parts,
    number: int,
    contributor: str,
    weight: int,
    reason: Reason,
    step: str,
    policy_id: int,
    totals: _Totals,
) -> Part:
    return Part(
        number,
        weight,
        reason,
        totals.largest,
        totals.sharers,
        here.policy(policy_id).reward,
        final=PHASES[Step(step)] == "final",
        root=contributor == totals.coordinator,
    )


def _judgement(
    here: Parts, session: Session, entry: Entry, step: str, policy_id: int, totals: _Totals
) -> Judgement:
    verdict = _verdict(entry)
    part = _part(
        here, entry.round, entry.contributor, verdict.weight, verdict.reason, step, policy_id, totals
    )
    weighed: list[str] = []
    if "copyOf" in verdict.numbers:
        query = select(Entry).where(Entry.round == entry.round).order_by(Entry.position)
        weighed = weighed_in([_verdict(other) for other in session.scalars(query)], totals.coordinator)
    credited = None
    if by_name(session, "RoundSettled", str(entry.round)):
        events = by_name(session, "RewardCredited", str(entry.round))
        amounts = {event.arguments["contributor"]: int(event.arguments["amount"]) for event in events}
        credited = amounts.get(entry.contributor, 0)
    return judge(
        part, verdict, here.policy(policy_id), entries=totals.entries, credited=credited, weighed=weighed
    )


def _verdict(entry: Entry) -> Verdict:
    return Verdict(
        entry.position,
        entry.contributor,
        entry.weight or 0,
        _reason(entry.reason),
        {name: int(number) for name, number in (entry.numbers or {}).items()},
    )


def _reason(code: str | None) -> Reason:
    return Reason.NOT_DELIVERED if code is None else Reason(code)
