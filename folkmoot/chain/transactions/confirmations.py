# SPDX-License-Identifier: Apache-2.0
"""Wait until a transaction is mined, and until everything that was mined has N confirmations.

What a reorg removes is sent again. Knows the chain and the notes, and not what a transaction is for. Raises what web3
raises, as `status`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from folkmoot.chain.transactions.journal import PendingTx, Say, TransactionJournal
from folkmoot.chain.transactions.sender import FEE_LIMIT, FEE_TOO_LOW, Form, Look, Sender
from folkmoot.chain.transactions.status import TxStatus, in_pool, look, receipt_of, rpc_of
from folkmoot.errors import ChainError, RpcError
from folkmoot.runtime.backoff import Backoff
from folkmoot.runtime.fault_points import fault_point

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import TxReceipt

    from folkmoot.rpc.client import Block

FIRST_PAUSE, PAUSE = 0.02, 0.5
"""Seconds between two looks: at first, and at most. A local chain mines within milliseconds."""

AGAIN = "Call the same command again: it goes on waiting, and does nothing twice."


@dataclass
class Sent:
    """A transaction that is waited for."""

    note: PendingTx
    sender: Sender[PendingTx]
    doing: str = ""
    """What it does, for the message; empty if it was mined before."""
    seen: Look = field(default_factory=Look)
    announced: bool = False
    """Whether it was told that it is in no block any more."""

    def depth(self, newest: int) -> int:
        """Return how many blocks hold it; 0 if none does. A receipt may be of a block after the newest one seen."""
        return 0 if self.seen.receipt is None else max(1, newest - self.seen.receipt.block_number + 1)

    def look(self, w3: Web3, notes: TransactionJournal, latest: Block, tell: Say) -> None:
        """See what became of it."""
        self.seen = self.sender.look(self.note, latest)
        # The block that used its nonce must say so, too: an endpoint may only lack the receipt.
        if self.seen.lost and look(w3, self.note).fate is TxStatus.LOST:
            notes.forget(self.note)
            raise ChainError(
                f"Another transaction of {self.note.intent.sender} has the nonce {self.note.nonce} of the transaction "
                f"{self.note.hashes[-1]} now: it can't be mined any more.",
                remedy="Does somebody else use this account? Call the same command again to do it all the same.",
                code="nonce-taken",
                details={"transaction": self.note.hashes[-1], "nonce": self.note.nonce},
            )
        if self.seen.ceiling and self.seen.refusal is not None:
            raise RpcError(
                f"{self.seen.refusal.message} The limit for a unit of gas allows no more.",
                remedy="Wait until gas is cheaper, or raise the limit.",
                code=FEE_LIMIT,
            )
        if self.seen.sent and not self.doing and not self.announced:
            self.announced = True
            tell(f"A reorg took the transaction {self.note.hashes[-1]} out of its block: it is sent again.")


def begin(
    w3: Web3, notes: TransactionJournal, note: PendingTx, sender: Sender[PendingTx], form: Form
) -> None:
    """Note a form and send it.

    Raises:
        RpcError: The node does not take it, for another reason than its fees: then it would be replaced.
    """
    notes.write(note, form)
    refusal = sender.hand_over(form)
    if refusal is None or refusal.code == FEE_TOO_LOW:
        return
    # A node that has one of the forms refuses others of that nonce.
    if receipt_of(w3, note.hashes) is None and in_pool(w3, note) is None:
        raise refusal


def await_receipts(w3: Web3, notes: TransactionJournal, sent: list[Sent], timeout: float) -> list[TxReceipt]:
    """Wait until transactions are mined, and let them offer more meanwhile if they have to.

    Args:
        timeout: Seconds that it may take.

    Raises:
        ChainError: code `not-mined`: one was not in time; `nonce-taken`: another one has its nonce: then its note is
            removed.
        RpcError: ``fee-limit``: the chain node wants more than is allowed; or the endpoint gave no answer in time.
    """
    return _wait(w3, notes, sent, 1, timeout, None)


def await_depth(
    w3: Web3, notes: TransactionJournal, timeout: float, say: Say | None = None
) -> dict[str, TxReceipt]:
    """Wait until everything that was mined and not told lies `notes.depth` blocks deep, its own block included.

    Args:
        notes: What was mined.
        timeout: Seconds for which nothing may happen: no new block, none with what a reorg took, or no answer.
        say: Is told, in words for people, that it waits, and of a reorg; `notes.say` if left out.

    Returns:
        The receipts as they are then, by hash (0x-hex) as `notes.mined` was told, in the order of nonces. They may be
        of transactions that failed.

    Raises:
        ChainError: code `not-confirmed`: no block came in time; `not-mined`: a reorg took a transaction, and it was not
            mined again in time; `nonce-taken`: another one has its nonce, as deep: then its note is removed.
        RpcError: the endpoint gave no answer for that time.
    """
    rpc, untold = rpc_of(w3), notes.untold()
    sent = [
        Sent(note, Sender(rpc, note.intent.sender, None, note.intent.chain_id, notes, notes.depth))
        for note in untold.values()
    ]
    return dict(zip(untold, _wait(w3, notes, sent, notes.depth, timeout, say or notes.say), strict=True))


def _wait(
    w3: Web3, notes: TransactionJournal, sent: list[Sent], depth: int, timeout: float, tell: Say | None
) -> list[TxReceipt]:
    known, shown, rpc, moved = "", False, rpc_of(w3), time.monotonic()
    backoff = Backoff(FIRST_PAUSE, PAUSE)
    while True:
        try:
            newest = rpc.latest()
            if newest.hash != known or any(one.seen.receipt is None for one in sent):
                for one in sent:
                    one.look(w3, notes, newest, notes.say if tell is None else tell)
                if newest.hash != known and all(one.seen.receipt is not None for one in sent):
                    moved = time.monotonic()
                known = newest.hash
            least = min((one.depth(newest.number) for one in sent), default=depth)
            if least >= depth:
                receipts = [receipt_of(w3, one.note.hashes) for one in sent]
                settled = [receipt for receipt in receipts if receipt is not None]
                if len(settled) == len(sent):
                    return settled
        except RpcError as error:
            if error.code in ("rpc-error", FEE_LIMIT) or time.monotonic() - moved > timeout:
                raise
            time.sleep(backoff.next())  # until the endpoint is back
            continue
        if time.monotonic() - moved > timeout:
            raise _stuck(sent, least, depth, timeout)
        if tell is not None and not shown:
            shown = True
            tell(f"Waiting until {depth} blocks hold it, its own included. Ctrl-C loses nothing.")
            fault_point("sender.waiting")
        time.sleep(backoff.next())  # nobody tells of a new block


def _stuck(sent: list[Sent], least: int, depth: int, timeout: float) -> ChainError:
    lost = next((one for one in sent if one.seen.receipt is None), None)
    if lost is None:
        return ChainError(
            f"It was mined and lies {least} blocks deep, not yet {depth}, and no block came in {timeout:g} seconds.",
            remedy=AGAIN,
            code="not-confirmed",
            details={"depth": least, "confirmations": depth},
        )
    name, again = lost.note.hashes[-1], lost.seen.refusal
    what = f"A reorg took the transaction {name}, and it was not mined again in {timeout:g} seconds."
    if lost.doing:
        what = f"The transaction {name} ({lost.doing}) was sent, but not mined in {timeout:g} seconds."
    return ChainError(
        what + (f" The node does not take it: {again.message}" if again is not None else ""),
        remedy=AGAIN if lost.note.noted else "It may still be mined: look for it before you send it again.",
        code="not-mined",
        details={"transaction": name},
    )
