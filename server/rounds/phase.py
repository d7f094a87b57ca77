# SPDX-License-Identifier: Apache-2.0
"""What every phase of a round has at hand: the database, the chain, the outbox, and small steps.

A phase holds nothing that could not be computed again: what must outlive the process is in the database. It
knows nothing of the other phases; the engine says which one is at work.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy.orm import Session

from folkmoot.protocol.anchor import Anchor
from folkmoot.rpc.abi import encode_call
from folkmoot.rpc.client import Contract
from folkmoot.runtime.logs import fields
from server.chain import outbox
from server.chain.view import ChainView
from server.db.engine import Database
from server.db.models import Round, Transaction
from server.db.steps import Step
from server.waiting import DONE, Progress, Waiting, Why, wait

logger = logging.getLogger(__name__)


class StepHandler:
    """Base of the phases.

    Args:
        database: Where rounds and transactions are.
    """

    def __init__(self, database: Database, chain: ChainView) -> None:
        self._database = database
        self._chain = chain
        self._ledger = chain.ledger

    def _transaction(self, purpose: str) -> Transaction | None:
        with self._database.read() as session:
            row = outbox.find(session, purpose)
            session.expunge_all()
            return row

    def _enqueue(self, session: Session, number: int, function: str, *arguments: Any) -> bool:
        return self._send(session, f"{function}:{number}", number, function, *arguments)

    def _send(self, session: Session, purpose: str, number: int, function: str, *arguments: Any) -> bool:
        """Have a call of the ledger, or of the rewards, sent; False if one of this purpose is under way."""
        called: Contract = self._chain.rewards if function == "settle" else self._ledger
        data = encode_call(called.role, function, *arguments)
        return outbox.enqueue(session, purpose, number, called.address, data)

    def _send_anchor(self, session: Session, stored: Round) -> None:
        """Take a computed round's outcome to the chain."""
        if stored.anchor is None or stored.entries_hash is None:
            raise AssertionError(f"round {stored.number} has no outcome to anchor")
        entries = bytes.fromhex(stored.entries_hash[2:])
        anchor = Anchor.from_json(stored.anchor).abi_tuple()
        self._enqueue(session, stored.number, "anchor", stored.number, entries, anchor)
        stored.step = Step.ANCHORING

    def _under_way(self, transaction: Transaction | None) -> Waiting | None:
        """Return the wait for a transaction on its way to the chain; None if there is none. The outbox knows more."""
        if transaction is None or not outbox.is_pending(transaction):
            return None
        return wait(Why.TRANSACTION, transaction.round, purpose=transaction.purpose)

    def _confirmations(self, round_: Round) -> Waiting:
        return wait(Why.CONFIRMATIONS, round_.number, confirmations=self._chain.confirmations)

    def _step(self, name: str, round_: Round, step: Step, *, error: str | None = None) -> Progress:
        """Write a new step, and nothing else; `name` is that of the transaction."""
        with self._database.write(name) as session:
            stored = session.get_one(Round, round_.number)
            stored.step = step
            if error:
                stored.error = error
        return DONE

    def _note(self, round_: Round, error: str) -> Waiting:
        if round_.error != error:
            with self._database.write("problem-noted") as session:
                session.get_one(Round, round_.number).error = error
            logger.error(
                "round %d: %s", round_.number, error, extra=fields("round-stuck", round=round_.number)
            )
        return wait(Why.STUCK, round_.number, problem=error)


def refused(why: Why, transaction: Transaction) -> Waiting:
    """Return the wait for another try of a transaction that the chain refused."""
    error = transaction.error or {}
    problem, remedy = error.get("message") or "it gave no reason.", error.get("remedy") or ""
    return wait(why, transaction.round, problem=problem, remedy=remedy)
