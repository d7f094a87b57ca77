# SPDX-License-Identifier: Apache-2.0
"""Read the state of the federation for the page at `/` from database and chain, and keep it for 2 seconds.

If the chain does not answer, only the values from the chain are missing. Knows nothing of HTML.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Response
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from folkmoot.errors import ChainError
from folkmoot.evaluation import app_metrics as measures
from server.api.pages import Window
from server.api.parts import AppState
from server.api.problems import Problem
from server.api.routes import health, models, proposals, rounds, runs
from server.api.schemas import HealthView, ProposalView, RoundView, RunView, VersionView
from server.db.models import Account, Entry, RoundReport

FRESH = 2.0
"""Seconds for which a look is shown again: many who look at once cost one."""

ROUNDS, PROPOSALS = 200, 5
"""Rounds in the charts, and proposals, the newest."""

_LOCAL = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d{1,5}/?")
"""An endpoint of this machine without a path: no key is in it."""


@dataclass(frozen=True)
class Share:
    """What one entry of a round got."""

    contributor: str
    weight: int
    largest: int
    """Largest weight of the round."""
    reason: str


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
    shares: Sequence[Share]
    """Its entries."""
    contributors: int
    """Accounts that ever staked."""
    active: VersionView | None
    proposals: Sequence[ProposalView] | None
    """Newest first; None while the chain does not answer."""


@dataclass
class Looker:
    """Looks, at most every `FRESH` seconds."""

    here: AppState
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _found: Overview | None = None
    _at: float = -FRESH

    def look(self) -> Overview:
        """The state now, or a moment ago.

        Raises:
            DatabaseError: The database does not answer.
        """
        with self._lock:
            if self._found is None or time.monotonic() - self._at >= FRESH:
                self._found = overview(self.here)
                self._at = time.monotonic()
            return self._found


def overview(here: AppState) -> Overview:
    """Look at database and chain.

    Raises:
        DatabaseError: The database does not answer.
    """
    with here.database.read() as session:
        weighed = select(Entry.round).where(Entry.weight.is_not(None)).order_by(Entry.round.desc())
        judged = session.scalar(weighed.limit(1))
        shares = [] if judged is None else _shares(session, judged)
        metrics = reported(session)
        contributors = session.scalar(select(func.count()).where(Account.staked)) or 0
    return Overview(
        task=here.federation.manifest.task,
        chain_id=here.federation.deployment.chain_id,
        ledger=here.federation.deployment.ledger,
        rpc=here.settings.rpc_url if _LOCAL.fullmatch(here.settings.rpc_url) else None,
        health=health.health(here, Response()),
        run=_run(here),
        rounds=rounds.rounds(here, Window(ROUNDS)).items,
        metrics=metrics,
        judged=judged,
        shares=shares,
        contributors=contributors,
        active=_active(here),
        proposals=_proposals(here),
    )


def reported(session: Session) -> dict[int, dict[str, float]]:
    """Metrics of the newest rounds that were reported, by round."""
    query = select(RoundReport).order_by(RoundReport.round.desc()).limit(ROUNDS)
    found = {report.round: measures.flat(report.document.get("metrics")) for report in session.scalars(query)}
    return {number: metrics for number, metrics in found.items() if metrics}


def _shares(session: Session, number: int) -> list[Share]:
    query = select(Entry).where(Entry.round == number).order_by(Entry.position)
    entries = [(entry.contributor, entry.weight or 0, entry.reason or "") for entry in session.scalars(query)]
    largest = max((weight for _, weight, _ in entries), default=0)
    return [Share(contributor, weight, largest, reason) for contributor, weight, reason in entries]


def _run(here: AppState) -> RunView | None:
    try:
        return runs.current(here)
    except Problem:
        return None


def _active(here: AppState) -> VersionView | None:
    try:
        return models.active(here)
    except Problem:
        return None


def _proposals(here: AppState) -> list[ProposalView] | None:
    try:
        return proposals.proposals(here, Window(PROPOSALS)).items
    except ChainError:
        return None
