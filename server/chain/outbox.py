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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_typing import HexStr
from eth_utils.conversions import to_bytes
from hexbytes import HexBytes
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from folkmoot.chain.client import TX_GAS_LIMIT
from folkmoot.errors import ContractRefused, FolkmootError, RpcError
from folkmoot.runtime import logs
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.units import format_time
from server.chain import fees
from server.chain.node import FEE_TOO_LOW, TURNED_AWAY, Block, Node, Receipt
from server.db import events
from server.db.engine import Database
from server.db.models import SentTransaction, Transaction
from server.waiting import Waiting, Why, wait

logger = logging.getLogger(__name__)

GAS_MARGIN_PERCENT = 125
"""What is offered of the estimated gas: state may change between estimate and block."""
GAS_RESERVE = 60_000
"""Gas added to that, for a storage slot or two that are new by the time of the block."""
LOST_LOOKS = 3
"""Looks in a row that must say the same before a nonce counts as lost, or as missing: endpoints that many machines
answer for contradict themselves for a moment."""
NO_CEILING = 1 << 255
"""A ceiling for fees that none reaches."""
LONG_SECONDS = 600
"""Seconds after which a transaction that is in no block is worth a warning."""
FILL_GAS = 21_000
"""Gas of a transaction that does nothing."""
FILLER = "fill:"
"""Beginning of the purposes of transactions that only use up a nonce."""
_GWEI = 10**9


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
    told = {"state": row.state, "purpose": row.purpose, "round": row.round}
    events.notice(session, "transaction", told)


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


def told(transaction: Transaction | None) -> dict[str, Any]:
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
        node: The chain.
        account: Account that signs.
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
        node: Node,
        account: LocalAccount,
        chain_id: int,
        confirmations: int,
        max_fee: int = NO_CEILING,
        gas_limits: Mapping[bytes, int] = MappingProxyType({}),
    ) -> None:
        self.waiting: tuple[Waiting, ...] = ()
        self._database = database
        self._node = node
        self._account = account
        self._chain_id = chain_id
        self._confirmations = confirmations
        self._max_fee = max_fee
        self._gas_limits = gas_limits
        self._changed = False
        self._said: dict[int, Waiting] = {}  # by row, what is more than a matter of time
        self._looks: dict[str, int] = {}  # how often in a row something suspicious was seen
        self._refused: set[int] = set()  # rows whose fees the pool did not take
        self._pool: dict[int, _Pending] = {}  # by nonce, while the chain has lost blocks

    def tick(self) -> bool:
        """Look after every transaction under way, then sign and send the queued ones, oldest first.

        Returns:
            Whether a row changed.

        Raises:
            RpcError: The chain gave no answer; the rows are as good as before, call again later.
        """
        self._changed, self._said = False, {}
        try:
            latest = self._node.latest()
            for row in self._rows("signed", "mined"):
                self._follow(row, latest)
            self._fill_gap(latest)
            for row in self._rows("queued"):
                self._sign(row, latest)
            for row in self._rows("queued", "signed", "mined"):
                self._said.setdefault(row.id, self._waits(row, latest))
        finally:
            known, self.waiting = self.warnings, tuple(self._said.values())
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
        form = self._forms(row)[-1]
        if latest.timestamp - form.block_time < LONG_SECONDS:
            return wait(Why.IN_POOL, row.round, purpose=row.purpose)
        return wait(
            Why.NOT_MINED,
            row.round,
            purpose=row.purpose,
            sent=format_time(form.block_time),
            fee=_gwei(fees.offered(row.raw or b"").cap),
            hash=row.hash or "",
        )

    def withdraw(self) -> str:
        """Let every pending transaction of the account end: those that stay are replaced by ones that do nothing.

        Called in the place of `tick` while the chain has lost blocks. Nothing is written: whoever starts again begins
        anew, and the rows are put right when nothing is pending.

        Returns:
            What is waited for and what ends it, sentences; empty if nothing is pending.

        Raises:
            RpcError: The chain gave no answer.
        """
        latest, own = self._node.latest(), self._account.address
        first, end = (self._node.transaction_count(own, at) for at in ("latest", "pending"))
        self._pool = {nonce: seen for nonce, seen in self._pool.items() if first <= nonce < end}
        waits = ""
        for nonce in range(first, end):
            seen = self._pool.setdefault(nonce, _Pending(latest, self._offered(nonce)))
            if not _has_waited(seen.since.number, seen.since.timestamp, latest):
                continue
            tip = self._node.priority_fee()
            if seen.fees is None:
                new = fees.offer(latest.base_fee, tip, self._max_fee)
            else:
                new = fees.outbid(seen.fees, latest.base_fee, tip, self._max_fee)
            if new is None:
                waits = f" More than max_fee_gwei = {_gwei(self._max_fee)} would be needed now: raise it."
                continue
            form = self._signed(latest, nonce, to_bytes(hexstr=HexStr(own)), b"", FILL_GAS, new)
            logger.warning(
                "nonce %d is withdrawn, for %s gwei", nonce, _gwei(new.cap), extra=logs.fields("nonce-filled")
            )
            try:
                self._node.send(form.raw)
            except RpcError as error:
                if error.code not in TURNED_AWAY:
                    raise
                waits = f" The node does not take the replacement: {error}"
                if (
                    error.code == FEE_TOO_LOW
                ):  # at the next look more is offered, soon as much as a stranger did
                    self._pool[nonce] = _Pending(seen.since, fees.Fees(2 * new.tip, 2 * new.cap))
            else:
                self._pool[nonce] = _Pending(latest, new)
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

    def _forms(self, row: Transaction) -> list[SentTransaction]:
        """Every signed form of a row, the newest first."""
        with self._database.read() as session:
            query = select(SentTransaction).where(SentTransaction.transaction_id == row.id)
            forms = list(session.scalars(query.order_by(SentTransaction.id.desc())))
            session.expunge_all()
            return forms

    def _update(
        self, step: str, row: Transaction, form: SentTransaction | None = None, **values: Any
    ) -> None:
        """Write values into a row, and a new signed form of it in the same transaction."""
        with self._database.write(step) as session:
            stored = session.get_one(Transaction, row.id)
            for name, value in values.items():
                setattr(stored, name, value)
                setattr(row, name, value)
            if form is not None:
                session.add(form)
            told = {
                "state": stored.state,
                "purpose": stored.purpose,
                "round": stored.round,
                "transaction": stored.hash,
                "gas": stored.gas_used,
                "code": (stored.error or {}).get("code"),
                "why": (stored.error or {}).get("message"),
            }
            events.notice(session, "transaction", told)
        self._changed = True

    def _follow(self, row: Transaction, latest: Block) -> None:
        if row.hash is None or row.raw is None or row.nonce is None:
            raise AssertionError(f"transaction {row.purpose} is {row.state} but was never signed")
        forms = self._forms(row)
        if self._settled_by_any(row, forms, latest):
            return
        if row.state == "mined":
            self._update(
                "transaction-unmined", row, state="signed", block_number=None, block_hash=None, gas_used=None
            )
        settled = latest.number - self._confirmations + 1
        taken = settled >= 0 and self._node.transaction_count(self._account.address, settled) > row.nonce
        if taken and self._settled_by_any(row, forms, latest):
            return  # it was mined between the two questions
        if self._seen_often(f"lost:{row.id}", taken):
            self._sign_again(row)
        elif not taken:
            self._outbid(row, forms[0], latest)
            self._hand_over(row)
            fault_point("coordinator.transaction-sent-again")

    def _settled_by_any(self, row: Transaction, forms: Sequence[SentTransaction], latest: Block) -> bool:
        """Look for a receipt of any form that was ever signed; whether there is one."""
        found: tuple[SentTransaction, Receipt] | None = None
        for form in forms:
            receipt = self._node.receipt(form.hash)
            if receipt is None:
                continue
            found = form, receipt
            if receipt.succeeded:
                break  # under another nonce it may also have been mined in vain
        if found is None:
            return False
        self._settle(row, *found, latest)
        return True

    def _seen_often(self, what: str, now: bool) -> bool:
        """Count looks in a row at which something was so; whether they are enough to believe it."""
        looks = self._looks.pop(what, 0) + 1 if now else 0
        if not now:
            self._looks.pop(what, None)
        elif looks < LOST_LOOKS:
            self._looks[what] = looks
        return looks >= LOST_LOOKS

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

    def _outbid(self, row: Transaction, form: SentTransaction, latest: Block) -> None:
        """Offer more if the newest form has waited and the market has moved on."""
        if not _has_waited(form.block_number, form.block_time, latest):
            return
        old, tip = fees.offered(form.raw), self._node.priority_fee()
        if row.id not in self._refused and not fees.risen(old, latest.base_fee, tip):
            return
        new = fees.outbid(old, latest.base_fee, tip, self._max_fee)
        if new is None:
            self._said[row.id] = wait(
                Why.REPLACEMENT_FEES,
                row.round,
                purpose=row.purpose,
                fee=_gwei(old.cap),
                max_fee=_gwei(self._max_fee),
                base_fee=_gwei(latest.base_fee),
                tip=_gwei(tip),
            )
            return
        fields = TypedTransaction.from_bytes(HexBytes(form.raw)).as_dict()
        signed = self._signed(latest, form.nonce, bytes(fields["to"]), row.data, int(fields["gas"]), new)
        signed.transaction_id = row.id
        logger.warning(
            "transaction %s is replaced: %s gwei instead of %s",
            row.purpose,
            _gwei(new.cap),
            _gwei(old.cap),
            extra=logs.fields(
                "transaction-replaced", round=row.round, purpose=row.purpose, transaction=signed.hash
            ),
        )
        self._refused.discard(row.id)
        self._update(
            "transaction-replaced", row, signed, raw=signed.raw, hash=signed.hash, attempts=row.attempts + 1
        )

    def _hand_over(self, row: Transaction) -> None:
        """Give the newest form to the chain; what a node does not take now is offered again at the next look."""
        if row.raw is None:
            raise AssertionError(f"transaction {row.purpose} has no bytes to send")
        try:
            self._node.send(row.raw)
        except RpcError as error:
            if error.code not in TURNED_AWAY:
                raise
            if error.code == FEE_TOO_LOW:
                self._refused.add(row.id)
            refused = wait(
                Why.NOT_TAKEN, row.round, purpose=row.purpose, problem=error.message, remedy=error.remedy
            )
            self._said.setdefault(row.id, refused)  # That no higher fee is allowed explains more.

    def _settle(self, row: Transaction, form: SentTransaction, receipt: Receipt, latest: Block) -> None:
        seen: dict[str, Any] = {
            "nonce": form.nonce,
            "raw": form.raw,
            "hash": form.hash,
            "block_number": receipt.block_number,
            "block_hash": receipt.block_hash,
            "gas_used": receipt.gas_used,
        }
        self._looks.pop(f"lost:{row.id}", None)
        head = max(
            latest.number, receipt.block_number
        )  # a receipt may be of a block after the look at the newest
        if head - receipt.block_number + 1 < self._confirmations:
            if (row.state, row.block_hash, row.hash) != ("mined", receipt.block_hash, form.hash):
                self._update("transaction-mined", row, state="mined", **seen)
        elif receipt.succeeded:
            self._update("transaction-confirmed", row, state="confirmed", **seen)
        else:
            self._update(
                "transaction-reverted", row, state="failed", error=describe(self._why(row, receipt)), **seen
            )

    def _why(self, row: Transaction, receipt: Receipt) -> ContractRefused:
        """Run the call again, where it reverted, to hear the reason."""
        for block in (receipt.block_number, receipt.block_number - 1):
            try:
                self._node.call(self._account.address, row.to, row.data, block)
            except ContractRefused as refusal:
                return refusal
            except FolkmootError:
                break  # the node has no state of old blocks
        return ContractRefused(
            "The transaction reverted, and the reason can't be found out any more.",
            remedy=f"Look at the transaction {row.hash}.",
        )

    def _fill_gap(self, latest: Block) -> None:
        """Use up a nonce that nothing uses any more, as everything after it waits for it.

        It comes about when a transaction that was sent from elsewhere with this key was in the pool when ours were
        signed, and is dropped.
        """
        waiting = self._rows("signed")
        if not waiting or waiting[0].nonce is None:
            return
        form = self._forms(waiting[0])[0]
        if latest.timestamp - form.block_time < fees.REPLACE_SECONDS:
            return
        nonce = self._node.transaction_count(self._account.address, "pending")
        if not self._seen_often("gap", nonce < waiting[0].nonce):
            return
        new = fees.offer(latest.base_fee, self._node.priority_fee(), self._max_fee)
        purpose = f"{FILLER}{nonce}"
        with self._database.read() as session:
            if new is None or find(session, purpose) is not None:
                return
        own = self._account.address
        text = "nothing has nonce %d any more, and nonce %d waits for it: filling it"
        logger.warning(text, nonce, waiting[0].nonce, extra=logs.fields("nonce-filled", purpose=purpose))
        signed = self._signed(latest, nonce, to_bytes(hexstr=HexStr(own)), b"", FILL_GAS, new)
        with self._database.write("nonce-filled") as session:
            row = Transaction(
                purpose=purpose,
                state="signed",
                round=0,
                to=own,
                data=b"",
                nonce=nonce,
                raw=signed.raw,
                hash=signed.hash,
                attempts=1,
                created_at=datetime.now(UTC),
            )
            session.add(row)
            session.flush()
            signed.transaction_id = row.id
            session.add(signed)
        self._changed = True
        self._hand_over(row)

    def _sign(self, row: Transaction, latest: Block) -> None:
        forms = self._forms(row)
        if self._settled_by_any(row, forms, latest):
            return  # a form whose nonce counted as lost was mined after all
        try:
            limit = self._gas_limits.get(bytes(row.data[:4]))
            gas = self._node.estimate(self._account.address, row.to, row.data, limit)
        except ContractRefused as refusal:
            self._update("transaction-failed", row, state="failed", error=describe(refusal))
            return
        offer = fees.offer(latest.base_fee, self._node.priority_fee(), self._max_fee)
        if offer is None:
            self._said[row.id] = wait(
                Why.FEES,
                row.round,
                purpose=row.purpose,
                base_fee=_gwei(latest.base_fee),
                max_fee=_gwei(self._max_fee),
            )
            return
        with self._database.read() as session:
            taken = session.scalar(
                select(func.max(Transaction.nonce)).where(Transaction.state.in_(("signed", "mined")))
            )
        following = 0 if taken is None else taken + 1
        mined = self._node.transaction_count(self._account.address, "latest")
        if forms and forms[0].nonce == max(mined, following):
            # The chain lost its block, and the nonce is free again: the same bytes, which somebody may still have.
            newest = forms[0]
            self._update(
                "transaction-signed",
                row,
                state="signed",
                nonce=newest.nonce,
                raw=newest.raw,
                hash=newest.hash,
            )
            self._hand_over(row)
            return
        nonce = max(self._node.transaction_count(self._account.address, "pending"), following)
        gas = max(gas, min(gas * GAS_MARGIN_PERCENT // 100 + GAS_RESERVE, limit or TX_GAS_LIMIT))
        signed = self._signed(latest, nonce, to_bytes(hexstr=HexStr(row.to)), row.data, gas, offer)
        signed.transaction_id = row.id
        self._update(
            "transaction-signed",
            row,
            signed,
            state="signed",
            nonce=nonce,
            raw=signed.raw,
            hash=signed.hash,
            attempts=row.attempts + 1,
        )
        self._hand_over(row)
        fault_point("coordinator.transaction-sent")

    def _signed(
        self, latest: Block, nonce: int, to: bytes, data: bytes, gas: int, offer: fees.Fees
    ) -> SentTransaction:
        signed = self._account.sign_transaction(
            {
                "type": 2,
                "chainId": self._chain_id,
                "nonce": nonce,
                "to": to,
                "value": 0,
                "data": data,
                "gas": gas,
                "maxPriorityFeePerGas": offer.tip,
                "maxFeePerGas": offer.cap,
            }
        )
        return SentTransaction(
            nonce=nonce,
            hash="0x" + bytes(signed.hash).hex(),
            raw=bytes(signed.raw_transaction),
            block_number=latest.number,
            block_time=latest.timestamp,
        )


def _has_waited(number: int, timestamp: int, latest: Block) -> bool:
    """Whether what was offered at a block has waited long enough to be replaced."""
    long = latest.timestamp - timestamp >= fees.REPLACE_SECONDS
    return long and latest.number - number >= fees.REPLACE_BLOCKS


def _gwei(wei: int) -> str:
    return f"{wei / _GWEI:.4g}"
