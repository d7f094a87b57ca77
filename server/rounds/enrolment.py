# SPDX-License-Identifier: Apache-2.0
"""Find the enrolled accounts in the indexed events, and those that may be removed.

The ledger decides. This module only finds the accounts to ask it about.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.ledger.admission import NOBODY
from folkmoot.rpc.client import LedgerReader
from server.db.models import ChainEvent, Entry


def enrolled(session: Session) -> set[str]:
    """Accounts that are enrolled, as far as the events are read."""
    query = select(ChainEvent).where(ChainEvent.name.in_(("Enrolled", "Left")))
    found: set[str] = set()
    for event in session.scalars(query.order_by(ChainEvent.block_number, ChainEvent.log_index)):
        if event.name == "Enrolled":
            found.add(event.account)
        else:
            found.discard(event.account)
    return found


def removable(session: Session, ledger: LedgerReader, number: int) -> list[str]:
    """Enrolled accounts that the ledger would let anybody remove after a round.

    In an open federation accounts with a commitment in the round are left out: they are not absent. In a closed one
    they may have ceased to be members.

    Raises:
        RpcError: The chain gave no answer.
    """
    asked = enrolled(session)
    if ledger.admission() == NOBODY:
        asked -= set(session.scalars(select(Entry.contributor).where(Entry.round == number)))
    return [account for account in sorted(asked) if ledger.can_remove(account)]
