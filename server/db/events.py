# SPDX-License-Identifier: Apache-2.0
"""The event log: appended in the transaction that makes the event true, read by `/v1/events`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from server.db.engine import PENDING_EVENTS
from server.db.models import LogEntry

_LOCK = 0x464F4C4B  # any constant: names the log among PostgreSQL's advisory locks


def append(session: Session, kind: str, data: dict[str, Any], *, key: str | None = None) -> None:
    """Append an event; with a key that is in the log already, do nothing."""
    if session.get_bind().dialect.name == "postgresql":
        # Numbers are taken in the order of the commits, or a reader could step over one that is still under
        # way.
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if key is not None and session.scalar(select(LogEntry.id).where(LogEntry.key == key)) is not None:
        return
    session.add(LogEntry(type=kind, data=data, key=key, created_at=datetime.now(UTC)))
    session.flush()
    notice(session, kind, data)


def notice(session: Session, kind: str, data: dict[str, Any]) -> None:
    """Tell this process's log and numbers of something once the transaction is committed; the stream is not told."""
    session.info.setdefault(PENDING_EVENTS, []).append((kind, data))


def after(session: Session, last: int, limit: int = 200) -> list[LogEntry]:
    """Events with a number above `last`, oldest first."""
    query = select(LogEntry).where(LogEntry.id > last).order_by(LogEntry.id).limit(limit)
    return list(session.scalars(query))


def newest(session: Session) -> int:
    """Number of the newest event, zero if there is none."""
    return session.scalar(select(func.max(LogEntry.id))) or 0
