# SPDX-License-Identifier: Apache-2.0
"""The kept wishes of contributors to delete their update files (docs/protocol.md section 12.3)."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.protocol.deletion import DeletionWish
from server.db.models import Wish


def kept(session: Session) -> list[DeletionWish]:
    """Return all wishes."""
    return [
        DeletionWish(row.contributor, row.last_round, bytes.fromhex(row.signature[2:]))
        for row in session.scalars(select(Wish))
    ]


def keep(session: Session, wanted: DeletionWish) -> int:
    """Keep a wish, unless that of the account is for as many rounds. Return the last round of the kept one."""
    row = session.get(Wish, wanted.contributor)
    if row is not None and row.last_round >= wanted.last_round:
        return row.last_round
    session.merge(
        Wish(
            contributor=wanted.contributor,
            last_round=wanted.last_round,
            signature="0x" + wanted.signature.hex(),
            received_at=datetime.now(UTC),
        )
    )
    return wanted.last_round
