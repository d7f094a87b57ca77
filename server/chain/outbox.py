# SPDX-License-Identifier: Apache-2.0
r"""Transactions that leave exactly once.

The engine writes a row in the database transaction that decides to send. From there on only this module
touches it:

    queued -> signed -> mined -> confirmed
       |         ^---------/         |  (a reorg took it out: the same bytes are sent again)
       |         ^-------------------/  (`server.restore.rewind`: the chain lost a block that had its confirmations)
       |         \-> queued  (another transaction of this account took the nonce, at depth: sign again)
       \-> failed            (would revert, or did revert at depth; with the decoded error)

Nonce and raw bytes are stored before anything is sent, so that a process that dies anywhere sends the same
bytes again. What is not mined while fees rise is signed again with the same nonce and higher fees, up to the
operator's ceiling. Every form that was ever signed is remembered, and whichever of them is mined settles the row: a
reorg may bring an older one back. It may not know what a transaction is for.

Time is the chain's throughout; the clock of this machine decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from eth_account.signers.local import LocalAccount
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from folkmoot.chain import fees
from folkmoot.chain.fees import NO_CEILING
from folkmoot.chain.transactions.sender import FEE_TOO_LOW, Form, Look, Sender, why_failed
from folkmoot.errors import ContractRefused, FolkmootError
from folkmoot.rpc.client import Block, Rpc
from folkmoot.runtime import logs
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.units import format_gwei, format_time
from server.db import events
from server.db.engine import Database
from server.db.models import SentTransaction, Transaction
from server.waiting import Waiting, Why, wait

logger = logging.getLogger(__name__)

LONG_SECONDS = 600
"""Seconds after which a transaction that is in no block is worth a warning."""
FILLER = "fill:"
"""Beginning of the purposes of transactions that only use up a nonce."""


def enqueue(session: Session, purpose: str, round_number: int, to: str, data: bytes) -> bool:
    """Want a transaction. A purpose that is under way or done stays as it is; one that failed starts anew.

    Returns:
        Whether something is to be sent that was not before.
    """
    row = session.scalar(select(Transaction).where(Transaction.purpose == purpose))
    if row is None:
        row = Transaction(purpose=purpose, created_at=datetime.now(UTC), attempts=0)
        session.add(row)
    elif row.state != "failed":
        return False
    row.state, row.round, row.to, row.data = "queued", round_number, to, data
    row.nonce = row.raw = row.hash = row.block_number = row.block_hash = row.gas_used = row.error = None
    session.flush()
    session.execute(delete(SentTransaction).where(SentTransaction.transaction_id == row.id))
    return True


def requeue(session: Session, row: Transaction) -> None:
    """Want a transaction once more, whose block the chain has lost. Whatever was signed of it is remembered."""
    row.state = "queued"
    row.nonce = row.raw = row.hash = row.block_number = row.block_hash = row.gas_used = row.error = None
    values = {"state": row.state, "purpose": row.purpose, "round": row.round}
    events.notice(session, "transaction", values)


def remove(session: Session, row: Transaction) -> None:
    """Want a transaction no more, and forget what was signed of it."""
    session.execute(delete(SentTransaction).where(SentTransaction.transaction_id == row.id))
    session.delete(row)


def find(session: Session, purpose: str) -> Transaction | None:
    """The transaction of a purpose."""
    return session.scalar(select(Transaction).where(Transaction.purpose == purpose))


def is_pending(transaction: Transaction | None) -> bool:
    """Whether a transaction is on its way: neither confirmed nor failed."""
    return transaction is not None and transaction.state not in ("confirmed", "failed")


def described(transaction: Transaction | None) -> dict[str, Any]:
    """What an event says of the transaction behind it: hash and gas, None where somebody else sent it."""
    return {
        "transaction": transaction.hash if transaction else None,
        "gas": transaction.gas_used if transaction else None,
    }


def under_way(session: Session) -> bool:
    """Whether a transaction has not been settled yet."""
    query = select(Transaction.id).where(Transaction.state.in_(("queued", "signed", "mined"))).limit(1)
    return session.scalar(query) is not None


def describe(error: FolkmootError) -> dict[str, Any]:
    """An error as it is kept in a row."""
    return {"code": error.code, "message": error.message, "remedy": error.remedy, "details": error.details}


@dataclass
class _Pending:
    """A nonce that the pool of the node holds while the chain has lost blocks."""

    since: Block
    """Newest block when the form that has it now was seen or sent."""
    fees: fees.Fees | None
    """What that form offers; None if another process signed it."""


class Outbox:
    """Carries queued transactions to the chain.

    Args:
        database: Where the rows are.
        chain_id: Chain that the signatures are for.
        confirmations: Blocks, its own included, after which a transaction counts as settled.
        max_fee: Most that is offered for a unit of gas, in wei.
        gas_limits: Most gas that a call may take, by the four bytes of its function, if not what any may.

    Attributes:
        waiting: Why each transaction that is not settled waits; replaced at every look.
    """

    def __init__(
        self,
        database: Database,
        rpc: Rpc,
        account: LocalAccount,
        chain_id: int,
        confirmations: int,
        max_fee: int = NO_CEILING,
        gas_limits: Mapping[bytes, int] = MappingProxyType({}),
    ) -> None:
        self.waiting: tuple[Waiting, ...] = ()
        self._database = database
        self._rpc = rpc
        self._own = account.address
        self._sender = Sender[Transaction](
            rpc, account.address, account, chain_id, self, confirmations, max_fee
        )
        self._confirmations = confirmations
        self._max_fee = max_fee
        self._gas_limits = gas_limits
        self._changed = False
        self._waits_of: dict[int, Waiting] = {}  # by row, what is more than a matter of time
        self._pool: dict[int, _Pending] = {}  # by nonce, while the chain has lost blocks

    def tick(self) -> bool:
        """Look after every transaction under way, then sign and send the queued ones, oldest first.

        Returns:
            Whether a row changed.

        Raises:
            RpcError: The chain gave no answer; the rows are as good as before, call again later.
        """
        self._changed, self._waits_of = False, {}
        try:
            latest = self._rpc.latest()
            for row in self._rows("signed", "mined"):
                self._follow(row, latest)
            self._fill_gap(latest)
            for row in self._rows("queued"):
                self._sign(row, latest)
            for row in self._rows("queued", "signed", "mined"):
                self._waits_of.setdefault(row.id, self._waits(row, latest))
        finally:
            known, self.waiting = self.warnings, tuple(self._waits_of.values())
            for warning in self.warnings:
                if warning not in known:
                    logger.warning("%s", warning, extra=logs.fields("outbox-waits"))
        return self._changed

    @property
    def warnings(self) -> tuple[str, ...]:
        """What keeps transactions from leaving now, and is no matter of time; each a sentence for the operator."""
        return tuple(one.sentence for one in self.waiting if not one.normal)

    def _waits(self, row: Transaction, latest: Block) -> Waiting:
        """Say what a transaction waits for that nothing else was said of."""
        if row.state == "queued":
            return wait(Why.QUEUED, row.round, purpose=row.purpose)
        if row.state == "mined":
            depth = latest.number - (row.block_number or 0) + 1
            return wait(
                Why.MINED, row.round, purpose=row.purpose, depth=depth, confirmations=self._confirmations
            )
        form = self.forms(row)[-1]
        if latest.timestamp - form.block_time < LONG_SECONDS:
            return wait(Why.IN_POOL, row.round, purpose=row.purpose)
        return wait(
            Why.NOT_MINED,
            row.round,
            purpose=row.purpose,
            sent=format_time(form.block_time),
            fee=format_gwei(fees.offered(row.raw or b"").cap),
            hash=row.hash or "",
        )

    def withdraw(self) -> str:
        """Let every pending transaction of the account end: those that stay are replaced by ones that do nothing.

        Called in the place of `tick` while the chain has lost blocks. Nothing is written: whoever starts again begins
        anew, and the rows are put right when nothing is pending.

        Returns:
            What is waited for and what ends it, sentences; empty if nothing is pending.
        """
        latest, own = self._rpc.latest(), self._own
        first, end = (self._rpc.transaction_count(own, at) for at in ("latest", "pending"))
        self._pool = {nonce: seen for nonce, seen in self._pool.items() if first <= nonce < end}
        waits = ""
        for nonce in range(first, end):
            seen = self._pool.setdefault(nonce, _Pending(latest, self._offered(nonce)))
            blocks, seconds = latest.number - seen.since.number, latest.timestamp - seen.since.timestamp
            if not fees.has_waited(blocks, seconds):
                continue
            form = self._sender.sign_empty(latest, nonce, seen.fees)
            if form is None:
                limit = format_gwei(self._max_fee)
                waits = f" More than max_fee_gwei = {limit} would be needed now: raise it."
                continue
            new = fees.offered(form.raw)
            text, marks = "nonce %d is withdrawn, for %s gwei", logs.fields("nonce-filled")
            logger.warning(text, nonce, format_gwei(new.cap), extra=marks)
            refusal = self._sender.hand_over(form)
            if refusal is None:
                self._pool[nonce] = _Pending(latest, new)
                continue
            waits = f" The node does not take the replacement: {refusal}"
            if refusal.code == FEE_TOO_LOW:  # soon more is offered than a stranger did
                self._pool[nonce] = _Pending(seen.since, fees.Fees(2 * new.tip, 2 * new.cap))
        if first >= end:
            return ""
        return (
            f"Pending transactions of {own}: {end - first}, from nonce {first} on. The next blocks end them; "
            f"each that stays for {fees.REPLACE_BLOCKS} blocks and {fees.REPLACE_SECONDS} s of the chain's time is "
            f"replaced by one that does nothing and offers more.{waits}"
        )

    def _offered(self, nonce: int) -> fees.Fees | None:
        """The most that this coordinator has offered for a nonce."""
        with self._database.read() as session:
            raws = session.scalars(select(SentTransaction.raw).where(SentTransaction.nonce == nonce))
            return max((fees.offered(raw) for raw in raws), key=lambda offer: offer.cap, default=None)

    def _rows(self, *states: str) -> list[Transaction]:
        with self._database.read() as session:
            query = (
                select(Transaction)
                .where(Transaction.state.in_(states))
                .order_by(Transaction.nonce, Transaction.id)
            )
            rows = list(session.scalars(query))
            session.expunge_all()
            return rows

    def forms(self, row: Transaction) -> list[Form]:
        """Return every signed form of a row, the newest first."""
        with self._database.read() as session:
            query = select(SentTransaction).where(SentTransaction.transaction_id == row.id)
            return [
                Form(one.nonce, one.hash, one.raw, one.block_number, one.block_time)
                for one in session.scalars(query.order_by(SentTransaction.id.desc()))
            ]

    def write(self, row: Transaction, form: Form, over: Form | None = None) -> None:
        """Note a new signed form of a row."""
        values = {"state": "signed", "attempts": row.attempts + 1, **_columns(form)}
        if over is None:
            self._update("transaction-signed", row, form, **values)
            return
        new, old = fees.offered(form.raw), fees.offered(over.raw)
        logger.warning(
            "transaction %s is replaced: a tip of %s gwei and at most %s, instead of %s and %s",
            row.purpose,
            *map(format_gwei, (new.tip, new.cap, old.tip, old.cap)),
            extra=logs.fields(
                "transaction-replaced", round=row.round, purpose=row.purpose, transaction=form.hash
            ),
        )
        self._update("transaction-replaced", row, form, **values)

    def _update(self, step: str, row: Transaction, form: Form | None = None, **values: Any) -> None:
        """Write values into a row, and a new signed form of it in the same transaction."""
        with self._database.write(step) as session:
            stored = session.get_one(Transaction, row.id)
            for name, value in values.items():
                setattr(stored, name, value)
                setattr(row, name, value)
            if form is not None:
                session.add(SentTransaction(transaction_id=row.id, **asdict(form)))
            changes = {
                "state": stored.state,
                "purpose": stored.purpose,
                "round": stored.round,
                "transaction": stored.hash,
                "gas": stored.gas_used,
                "code": (stored.error or {}).get("code"),
                "why": (stored.error or {}).get("message"),
            }
            events.notice(session, "transaction", changes)
        self._changed = True

    def _follow(self, row: Transaction, latest: Block) -> None:
        seen = self._sender.look(row, latest)
        if self._settled(row, seen, latest):
            return
        if row.state == "mined":
            self._update(
                "transaction-unmined", row, state="signed", block_number=None, block_hash=None, gas_used=None
            )
        if seen.lost:
            self._sign_again(row)
        elif seen.sent:
            self._explain(row, seen, latest)
            fault_point("coordinator.transaction-sent-again")

    def _explain(self, row: Transaction, seen: Look, latest: Block) -> None:
        """Say why the chain does not take a transaction. That no higher fee is allowed explains more."""
        if seen.ceiling:
            offered, tip = fees.offered(row.raw or b""), self._sender.tip(latest)
            values = {"fee": offered.cap, "max_fee": self._max_fee, "base_fee": latest.base_fee, "tip": tip}
            gwei: dict[str, Any] = {name: format_gwei(value) for name, value in values.items()}
            self._waits_of[row.id] = wait(Why.REPLACEMENT_FEES, row.round, purpose=row.purpose, **gwei)
        elif seen.refusal is not None:
            problem, remedy = seen.refusal.message, seen.refusal.remedy
            self._waits_of[row.id] = wait(
                Why.NOT_TAKEN, row.round, purpose=row.purpose, problem=problem, remedy=remedy
            )

    def _sign_again(self, row: Transaction) -> None:
        """The nonce is gone at depth: whoever else has this key sent something."""
        logger.warning(
            "transaction %s lost its nonce %s to one that was not sent from here: does somebody else use the "
            "coordinator's key?",
            row.purpose,
            row.nonce,
            extra=logs.fields("nonce-lost", round=row.round, purpose=row.purpose, transaction=row.hash),
        )
        if row.purpose.startswith(FILLER):
            error = ContractRefused("Another transaction took the nonce.", code="nonce-taken")
            self._update("transaction-requeued", row, state="failed", error=describe(error))
        else:
            self._update("transaction-requeued", row, state="queued", nonce=None, raw=None, hash=None)

    def _settled(self, row: Transaction, seen: Look | None, latest: Block) -> bool:
        """Write down what became of a transaction that was mined; return whether it was."""
        if seen is None or seen.form is None or seen.receipt is None:
            return False
        form, receipt = seen.form, seen.receipt
        block = {"block_number": receipt.block_number, "block_hash": receipt.block_hash}
        values = {**_columns(form), **block, "gas_used": receipt.gas_used}
        if not seen.confirmed:
            if (row.state, row.block_hash, row.hash) != ("mined", receipt.block_hash, form.hash):
                self._update("transaction-mined", row, state="mined", **values)
        elif receipt.succeeded:
            self._update("transaction-confirmed", row, state="confirmed", **values)
        else:
            error = why_failed(self._rpc, self._own, form.raw, receipt.block_number) or ContractRefused(
                "The transaction reverted, and the reason can't be found out any more.",
                remedy=f"Look at the transaction {form.hash}.",
            )
            self._update("transaction-reverted", row, state="failed", error=describe(error), **values)
        return True

    def _fill_gap(self, latest: Block) -> None:
        """Use up a nonce that nothing uses any more, as everything after it waits for it.

        It comes about when a transaction that was sent from elsewhere with this key was in the pool when ours were
        signed, and is dropped.
        """
        waiting = self._rows("signed")
        if not waiting or waiting[0].nonce is None:
            return
        form = self.forms(waiting[0])[0]
        if latest.timestamp - form.block_time < fees.REPLACE_SECONDS:
            return
        nonce = self._rpc.transaction_count(self._own, "pending")
        if not self._sender.often("gap", nonce < waiting[0].nonce):
            return
        purpose = f"{FILLER}{nonce}"
        with self._database.read() as session:
            if find(session, purpose) is not None:
                return
        signed = self._sender.sign_empty(latest, nonce)
        if signed is None:
            return
        text = "nothing has nonce %d any more, and nonce %d waits for it: filling it"
        logger.warning(text, nonce, waiting[0].nonce, extra=logs.fields("nonce-filled", purpose=purpose))
        with self._database.write("nonce-filled") as session:
            row = Transaction(purpose=purpose, state="signed", round=0, to=self._own, **_columns(signed))
            row.data, row.attempts, row.created_at = b"", 1, datetime.now(UTC)
            session.add(row)
            session.flush()
            session.add(SentTransaction(transaction_id=row.id, **asdict(signed)))
        self._changed = True
        self._explain(row, Look(refusal=self._sender.hand_over(signed)), latest)

    def _sign(self, row: Transaction, latest: Block) -> None:
        forms = self.forms(row)
        if self._settled(row, self._sender.mined(forms, latest), latest):
            return  # a form whose nonce counted as lost was mined after all
        try:
            limit = self._gas_limits.get(bytes(row.data[:4]))
            gas = self._rpc.estimate(self._own, row.to, row.data, limit)
        except ContractRefused as refusal:
            self._update("transaction-failed", row, state="failed", error=describe(refusal))
            return
        offer = self._sender.offer(latest)
        if offer is None:
            base, most = format_gwei(latest.base_fee), format_gwei(self._max_fee)
            self._waits_of[row.id] = wait(
                Why.FEES, row.round, purpose=row.purpose, base_fee=base, max_fee=most
            )
            return
        with self._database.read() as session:
            taken = session.scalar(
                select(func.max(Transaction.nonce)).where(Transaction.state.in_(("signed", "mined")))
            )
        following = 0 if taken is None else taken + 1
        if forms and forms[0].nonce == max(self._rpc.transaction_count(self._own), following):
            # The chain lost its block, and the nonce is free again: the same bytes, which somebody may still have.
            form = forms[0]
            self._update("transaction-signed", row, state="signed", **_columns(form))
        else:
            nonce = max(self._rpc.transaction_count(self._own, "pending"), following)
            form = self._sender.sign(latest, nonce, row.to, row.data, fees.gas_limit(gas, limit), offer)
            self.write(row, form)
        self._explain(row, Look(refusal=self._sender.hand_over(form)), latest)
        fault_point("coordinator.transaction-sent")


def _columns(form: Form) -> dict[str, Any]:
    """Return what a row says of its newest form."""
    return {"nonce": form.nonce, "raw": form.raw, "hash": form.hash}
