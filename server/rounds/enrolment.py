# SPDX-License-Identifier: Apache-2.0
"""Find the enrolled accounts in the indexed events, and those that may be removed.

The ledger decides. This module only finds the accounts to ask it about.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

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
    """Enrolled accounts without a commitment in a round that the ledger would let anybody remove now.

    Raises:
        RpcError: The chain gave no answer.
    """
    entries = set(session.scalars(select(Entry.contributor).where(Entry.round == number)))
    return [account for account in sorted(enrolled(session) - entries) if ledger.can_remove(account)]
