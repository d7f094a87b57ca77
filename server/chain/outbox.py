# SPDX-License-Identifier: Apache-2.0
r"""Transactions that leave exactly once.

The engine writes a row in the database transaction that decides to send. From there on only this module
touches it:

    queued -> signed -> mined -> confirmed
       |         ^---------/  (a reorg took it out: the same bytes are sent again)
       |         \-> queued  (another transaction of this account took the nonce, at depth: sign again)
       \-> failed            (would revert, or did revert at depth; with the decoded error)

Nonce and raw bytes are stored before anything is sent, so that a process that dies anywhere sends the same
bytes again. It may not know what a transaction is for.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_typing import HexStr
from eth_utils.conversions import to_bytes
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from folkmoot.chain.client import TX_GAS_LIMIT
from folkmoot.errors import ContractRefused, FolkmootError
from folkmoot.fault_points import fault_point
from server.chain.node import Block, Node, Receipt
from server.db.engine import Database
from server.db.models import Transaction

logger = logging.getLogger(__name__)

GAS_MARGIN_PERCENT = 125
"""What is offered of the estimated gas: state may change between estimate and block."""
GAS_RESERVE = 60_000
"""Gas added to that, for a storage slot or two that are new by the time of the block."""
BASE_FEE_FACTOR = 4
"""The offered fee covers a base fee that grew this many times, as the bytes are never changed to offer
more."""


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
    return True


def find(session: Session, purpose: str) -> Transaction | None:
    """The transaction of a purpose."""
    return session.scalar(select(Transaction).where(Transaction.purpose == purpose))


def describe(error: FolkmootError) -> dict[str, Any]:
    """An error as it is kept in a row."""
    return {"code": error.code, "message": error.message, "remedy": error.remedy, "details": error.details}


class Outbox:
    """Carries queued transactions to the chain.

    Args:
        database: Where the rows are.
        node: The chain.
        account: Account that signs.
        chain_id: Chain that the signatures are for.
        confirmations: Blocks, its own included, after which a transaction counts as settled.
    """

    def __init__(
        self, database: Database, node: Node, account: LocalAccount, chain_id: int, confirmations: int
    ) -> None:
        self._database = database
        self._node = node
        self._account = account
        self._chain_id = chain_id
        self._confirmations = confirmations
        self._changed = False

    def tick(self) -> bool:
        """Look after every transaction under way, then sign and send the queued ones, oldest first.

        Returns:
            Whether a row changed.

        Raises:
            RpcError: The chain gave no answer; the rows are as good as before, call again later.
        """
        self._changed = False
        latest = self._node.latest()
        for row in self._rows("signed", "mined"):
            self._follow(row, latest)
        for row in self._rows("queued"):
            self._sign(row, latest)
        return self._changed

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

    def _update(self, step: str, row: Transaction, **values: Any) -> None:
        with self._database.write(step) as session:
            stored = session.get_one(Transaction, row.id)
            for name, value in values.items():
                setattr(stored, name, value)
        self._changed = True
        logger.info("transaction %s: %s", row.purpose, values.get("state"))

    def _follow(self, row: Transaction, latest: Block) -> None:
        if row.hash is None or row.raw is None or row.nonce is None:
            raise AssertionError(f"transaction {row.purpose} is {row.state} but was never signed")
        receipt = self._node.receipt(row.hash)
        if receipt is not None:
            self._settle(row, receipt, latest)
            return
        if row.state == "mined":
            self._update(
                "transaction-unmined", row, state="signed", block_number=None, block_hash=None, gas_used=None
            )
        settled = latest.number - self._confirmations + 1
        if settled >= 0 and self._node.transaction_count(self._account.address, settled) > row.nonce:
            receipt = self._node.receipt(row.hash)
            if receipt is not None:  # it was mined between the two questions
                self._settle(row, receipt, latest)
                return
            logger.warning(
                "transaction %s lost its nonce %d to another one; signing again", row.purpose, row.nonce
            )
            self._update("transaction-requeued", row, state="queued", nonce=None, raw=None, hash=None)
            return
        self._node.send(row.raw)
        fault_point("coordinator.transaction-sent-again")

    def _settle(self, row: Transaction, receipt: Receipt, latest: Block) -> None:
        seen = {
            "block_number": receipt.block_number,
            "block_hash": receipt.block_hash,
            "gas_used": receipt.gas_used,
        }
        if latest.number - receipt.block_number + 1 < self._confirmations:
            if row.state != "mined" or row.block_hash != receipt.block_hash:
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

    def _sign(self, row: Transaction, latest: Block) -> None:
        try:
            gas = self._node.estimate(self._account.address, row.to, row.data)
        except ContractRefused as refusal:
            self._update("transaction-failed", row, state="failed", error=describe(refusal))
            return
        tip = self._node.priority_fee()
        with self._database.read() as session:
            taken = session.scalar(
                select(func.max(Transaction.nonce)).where(Transaction.state.in_(("signed", "mined")))
            )
        nonce = self._node.transaction_count(self._account.address, "pending")
        if taken is not None:
            nonce = max(nonce, taken + 1)
        signed = self._account.sign_transaction(
            {
                "type": 2,
                "chainId": self._chain_id,
                "nonce": nonce,
                "to": to_bytes(hexstr=HexStr(row.to)),
                "value": 0,
                "data": row.data,
                "gas": max(gas, min(gas * GAS_MARGIN_PERCENT // 100 + GAS_RESERVE, TX_GAS_LIMIT)),
                "maxPriorityFeePerGas": tip,
                "maxFeePerGas": BASE_FEE_FACTOR * latest.base_fee + tip,
            }
        )
        raw = bytes(signed.raw_transaction)
        self._update(
            "transaction-signed",
            row,
            state="signed",
            nonce=nonce,
            raw=raw,
            hash="0x" + bytes(signed.hash).hex(),
            attempts=row.attempts + 1,
        )
        self._node.send(raw)
        fault_point("coordinator.transaction-sent")
