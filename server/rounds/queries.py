# SPDX-License-Identifier: Apache-2.0
"""Questions about rounds that several parts ask of the database."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from folkmoot.ledger import costs
from folkmoot.ledger.admission import NOBODY
from folkmoot.ledger.entries import entries_of
from folkmoot.ledger.events import UpdatesCommitted
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import LedgerReader
from server.chain.indexer import by_name
from server.chain.recorded import event_of
from server.db import events
from server.db.models import (
    Artifact,
    ChainEvent,
    Entry,
    Refusal,
    Round,
    RoundReport,
    Run,
    Transaction,
    Update,
)
from server.db.steps import OPEN, UNSETTLED

SAMPLED_ROUNDS = 10
"""Rounds whose gas says what the next one takes."""


def open_round(session: Session) -> Round | None:
    """The round that is open, or on its way to its anchor.

    There are two after a rollback that took the end of one and the opening of the next: the first comes first.
    """
    return session.scalar(select(Round).where(Round.step.in_(OPEN)).order_by(Round.number).limit(1))


def unfinished(session: Session) -> list[int]:
    """Numbers of the rounds in which something is left to do, oldest first."""
    query = select(Round.number).where(Round.step.in_((*OPEN, *UNSETTLED))).order_by(Round.number)
    return list(session.scalars(query))


def running_run(session: Session) -> Run | None:
    """The run that is under way."""
    return session.scalar(select(Run).where(Run.state == "running"))


def recorded(
    session: Session, round_: Round, account: str | None = None
) -> list[tuple[Commitment, ChainEvent]]:
    """Commitments that are on the chain (of one account), in the order of the entries."""
    entries = recorded_on(session, round_.number, bytes.fromhex(round_.base_state_root[2:]))
    return [(one, event) for one, event in entries if account in (None, one.contributor)]


def recorded_on(session: Session, number: int, base_state_root: bytes) -> list[tuple[Commitment, ChainEvent]]:
    """Commitments that are on the chain of a round with this base, in the order of the entries."""
    return [
        (entry.commitment(base_state_root), row)
        for row in by_name(session, "UpdatesCommitted", str(number))
        if isinstance(event := event_of(row), UpdatesCommitted)
        for entry in entries_of(event)
    ]


def awaited(session: Session, round_number: int) -> list[Entry]:
    """Entries whose files may still arrive: those without a file, where no entry with the same root has one."""
    entries = list(session.scalars(select(Entry).where(Entry.round == round_number)))
    arrived = {entry.commitment["updateRoot"] for entry in entries if entry.sha256 is not None}
    return [
        entry for entry in entries if entry.sha256 is None and entry.commitment["updateRoot"] not in arrived
    ]


def accepted(session: Session, round_number: int) -> list[Update]:
    """Updates that stand, in the order of their arrival."""
    query = select(Update).where(Update.round == round_number, Update.dropped.is_(None)).order_by(Update.id)
    return list(session.scalars(query))


def contributors(session: Session, round_: Round) -> set[str]:
    """Accounts that have a place in a round: with an update that stands, or a commitment on the chain."""
    standing = select(Update.contributor).where(Update.round == round_.number, Update.dropped.is_(None))
    return {*session.scalars(standing), *(one.contributor for one, _ in recorded(session, round_))}


def answered(session: Session, round_: Round, *, forgeable: bool) -> set[str]:
    """Contributors that have given their answer, good or bad.

    A commitment on the chain without its update is none: anybody with stake could let others' time run out by it.

    Args:
        forgeable: Also count refusals that anybody may have caused in the contributor's name. Only where nothing
            but a local clock hangs on it.
    """
    names = {update.contributor for update in accepted(session, round_.number)}
    delivered = by_name(session, "Delivered", str(round_.number))
    names |= {event.account for event in delivered if int(event.arguments["missing"]) == 0}
    query = select(Refusal.contributor).where(Refusal.round == round_.number)
    if not forgeable:
        query = query.where(Refusal.authenticated)
    return names | set(session.scalars(query))


def refuse(
    session: Session, round_number: int, contributor: str, reason: str, detail: str, *, authenticated: bool
) -> None:
    """Write down a refusal and tell it."""
    session.add(
        Refusal(
            round=round_number,
            contributor=contributor,
            authenticated=authenticated,
            reason=reason,
            detail=detail,
            received_at=datetime.now(UTC),
        )
    )
    data = {
        "round": round_number,
        "contributor": contributor,
        "reason": reason,
        "detail": detail,
        "authenticated": authenticated,
    }
    events.append(session, "update-refused", data)


def remove_round(session: Session, row: Round) -> None:
    """Delete a round that the chain does not have, and what belongs to it. Its transactions stay."""
    for table in (Entry, Update, RoundReport, Refusal):
        session.execute(delete(table).where(table.round == row.number))
    # Updates that are sent again are hidden until another deadline; a model is made of another state.
    files = Artifact.kind.in_(("update", "model")) & (Artifact.round == row.number)
    session.execute(delete(Artifact).where(files))
    session.delete(row)
    session.flush()


def fail_run(session: Session, run: Run, error: str) -> None:
    """End a run that can't go on, and tell it."""
    run.state, run.error = "failed", error
    events.append(session, "run-failed", {"run": run.id, "error": error}, key=f"run-failed:{run.id}")


def round_gas(session: Session, policy: Policy) -> int:
    """Gas that a round takes: the mean of the last ones that ended well, else an estimate for a full one."""
    settled = (
        select(Round.number)
        .where(Round.step == "settled")
        .order_by(Round.number.desc())
        .limit(SAMPLED_ROUNDS)
    )
    numbers = list(session.scalars(settled))
    if numbers:
        used = (
            session.scalar(select(func.sum(Transaction.gas_used)).where(Transaction.round.in_(numbers))) or 0
        )
        if used:
            return int(used) // len(numbers)
    return costs.round_gas(policy.max_contributors)


def enrolled(session: Session) -> set[str]:
    """Accounts that are enrolled, as far as the events are read."""
    query = select(ChainEvent).where(ChainEvent.name.in_(("Enrolled", "Left")))
    accounts: set[str] = set()
    for event in session.scalars(query.order_by(ChainEvent.block_number, ChainEvent.log_index)):
        if event.name == "Enrolled":
            accounts.add(event.account)
        else:
            accounts.discard(event.account)
    return accounts


def removable(session: Session, ledger: LedgerReader, number: int) -> list[str]:
    """Enrolled accounts that the ledger would let anybody remove after a round.

    In an open federation accounts with a commitment in the round are left out: they are not absent. In a closed one
    they may have ceased to be members.
    """
    asked = enrolled(session)
    if ledger.admission() == NOBODY:
        asked -= set(session.scalars(select(Entry.contributor).where(Entry.round == number)))
    return [account for account in sorted(asked) if ledger.can_remove(account)]
