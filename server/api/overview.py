# SPDX-License-Identifier: Apache-2.0
"""Read the state of the federation for the page at `/` from database and chain, and keep it for 2 seconds.

If the chain does not answer, only the values from the chain are missing. Knows nothing of HTML.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from fastapi import Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from folkmoot.errors import ChainError
from folkmoot.evaluation import app_metrics
from folkmoot.explain.reasons import why_low, why_paid_less, words_of
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.protocol.verdict import Reason
from folkmoot.rpc.client import Member
from server.api.pages import Window
from server.api.parts import AppState
from server.api.problems import Problem
from server.api.routes import health, models, proposals, rounds, runs
from server.api.schemas import HealthView, ProposalView, RoundView, RunView, VersionView
from server.db.models import Account, Entry, Refusal, Round, RoundReport, Update

FRESH = 2.0
"""Seconds for which a look is shown again: many who look at once cost one."""

ROUNDS, PROPOSALS = 200, 5
"""Rounds in the charts, and proposals, the newest."""

PEOPLE = 100
"""Contributors of whom the page tells more than their number."""

_LOCAL = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d{1,5}/?")
"""An endpoint of this machine without a path: no key is in it."""


@dataclass(frozen=True)
class Share:
    """What one entry of a round got."""

    weight: int
    largest: int
    """Largest weight of the round."""
    pay: float | None
    """Part of a full place that it is paid; None under a rule that pays by weight."""
    reason: str
    note: str
    """Why it has no weight, or a low one, or is paid less; empty if there is nothing to say."""


@dataclass(frozen=True)
class Person:
    """A contributor."""

    account: str
    name: str
    """The operator's name of it; empty if there is none."""
    number: int | None
    """Its member number; None while the chain does not answer."""
    enrolled: bool | None
    """Whether the next round takes its update; None while the chain does not answer."""
    answer: str
    """What came of it in the newest round: accepted, refused, or nothing."""
    share: Share | None
    """What it got in the newest round with weights."""


@dataclass(frozen=True)
class Overview:
    """The state of a federation at one moment."""

    task: str
    chain_id: int
    ledger: str
    rpc: str | None
    """Endpoint that the page may name: that of a chain on this machine, never one that may hold a key."""
    health: HealthView
    run: RunView | None
    rounds: Sequence[RoundView]
    """Newest first."""
    metrics: Mapping[int, Mapping[str, float]]
    """By round, of those that somebody reported, as `measures.flat` returns them."""
    judged: int | None
    """The newest round with weights."""
    people: Sequence[Person]
    """Contributors, at most `PEOPLE`: those who took part lately first, then by member number. The coordinator is one
    only if it has an entry."""
    contributors: int
    """Number of accounts that ever staked, without the coordinator's."""
    active: VersionView | None
    alarms: Sequence[str]
    """Recalled versions; and open votes to recall one, while the chain answers."""
    proposals: Sequence[ProposalView] | None
    """Newest first; None while the chain does not answer."""
    parent: str
    """The version of another federation with whose state this one started; empty if there is none."""
    content_policy: str
    """Content policy of the manifest; empty if it has none."""


@dataclass
class Looker:
    """Looks, at most every `FRESH` seconds."""

    parts: AppState
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _overview: Overview | None = None
    _at: float = -FRESH

    def look(self) -> Overview:
        """The state now, or a moment ago."""
        with self._lock:
            if self._overview is None or time.monotonic() - self._at >= FRESH:
                self._overview = overview(self.parts)
                self._at = time.monotonic()
            return self._overview


def overview(parts: AppState) -> Overview:
    """Look at database and chain."""
    with parts.database.read() as session:
        weighed = select(Entry.round).where(Entry.weight.is_not(None)).order_by(Entry.round.desc())
        judged = session.scalar(weighed.limit(1))
        shares = {} if judged is None else _shares(session, judged)
        answers = _answers(session)
        metrics = reported(session)
        others = Account.staked & (Account.address != parts.federation.coordinator)
        contributors = session.scalar(select(func.count()).where(others)) or 0
        staked = session.scalars(
            select(Account.address).where(others).order_by(Account.address).limit(PEOPLE)
        )
        accounts = list(dict.fromkeys([*shares, *answers, *staked]))[:PEOPLE]
    return Overview(
        task=parts.federation.manifest.task,
        chain_id=parts.federation.deployment.chain_id,
        ledger=parts.federation.deployment.ledger,
        rpc=parts.settings.rpc_url if _LOCAL.fullmatch(parts.settings.rpc_url) else None,
        health=health.health(parts, Response()),
        run=_run(parts),
        rounds=rounds.rounds(parts, Window(ROUNDS)).items,
        metrics=metrics,
        judged=judged,
        people=_people(parts, accounts, shares, answers),
        contributors=contributors,
        active=_active(parts),
        alarms=models.alarms(parts),
        proposals=_proposals(parts),
        parent=str(parts.federation.manifest.parent or ""),
        content_policy=parts.federation.manifest.content_policy,
    )


def reported(session: Session) -> dict[int, dict[str, float]]:
    """Metrics of the newest rounds that were reported, by round."""
    query = select(RoundReport).order_by(RoundReport.round.desc()).limit(ROUNDS)
    metrics_of = {
        report.round: app_metrics.flat(report.document.get("metrics")) for report in session.scalars(query)
    }
    return {number: metrics for number, metrics in metrics_of.items() if metrics}


def _shares(session: Session, number: int) -> dict[str, Share]:
    query = select(Entry).where(Entry.round == number).order_by(Entry.position)
    entries = list(session.scalars(query))
    largest = max((entry.weight or 0 for entry in entries), default=0)
    return {
        entry.contributor: Share(
            entry.weight or 0,
            largest,
            None if entry.pay is None else entry.pay / FULL_PAY,
            entry.reason or "",
            _note(entry, largest),
        )
        for entry in entries
    }


def _note(entry: Entry, largest: int) -> str:
    """What `folkmoot why` begins with."""
    if entry.reason in (None, Reason.ROOT):
        return ""
    if not entry.weight and entry.reason != Reason.ACCEPTED:
        return words_of(str(entry.reason)).summary
    weight = entry.weight or 0
    verdict = {"weight": weight, "pay": entry.pay, "numbers": entry.numbers}
    notes = (why_low(verdict, weight / max(1, largest)), why_paid_less(verdict))
    return "; ".join(note.strip(" ()") for note in notes if note)


def _answers(session: Session) -> dict[str, str]:
    """Answers to the newest round, by contributor."""
    newest = select(func.max(Round.number)).scalar_subquery()
    refused = select(Refusal.contributor).where(Refusal.round == newest, Refusal.authenticated)
    taken = select(Update.contributor).where(Update.round == newest, Update.dropped.is_(None))
    return dict.fromkeys(session.scalars(refused), "refused") | dict.fromkeys(
        session.scalars(taken), "accepted"
    )


def _people(
    parts: AppState, accounts: list[str], shares: Mapping[str, Share], answers: Mapping[str, str]
) -> list[Person]:
    members: Mapping[str, Member] = {}
    with suppress(ChainError):
        members = parts.chain.vault.members(accounts) if accounts else {}
    people = []
    for account in accounts:
        member = members.get(account)
        number, enrolled = (None, None) if member is None else (member.number, member.enrolled > 0)
        name = parts.settings.names.get(account, "")
        people.append(Person(account, name, number, enrolled, answers.get(account, ""), shares.get(account)))
    return sorted(people, key=lambda one: (one.share is None and not one.answer, one.number or 0))


def _run(parts: AppState) -> RunView | None:
    try:
        return runs.current(parts)
    except Problem:
        return None


def _active(parts: AppState) -> VersionView | None:
    try:
        return models.active(parts)
    except Problem:
        return None


def _proposals(parts: AppState) -> list[ProposalView] | None:
    try:
        return proposals.proposals(parts, Window(PROPOSALS)).items
    except ChainError:
        return None
