# SPDX-License-Identifier: Apache-2.0
"""Wait until what was mined has N confirmations, and send again what a reorg removes meanwhile.

The same signed bytes are sent again, so whatever the chain decides, each is mined once at most. Knows the chain and
the notes, and not what a transaction is for. Raises what web3 raises, as `sending`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hexbytes import HexBytes
from web3.exceptions import Web3RPCError

from folkmoot.chain.transactions.journal import PendingTx, TransactionJournal
from folkmoot.chain.transactions.sending import LOOKS, in_pool, receipt_of
from folkmoot.errors import ChainError, RpcError
from folkmoot.runtime.fault_points import fault_point

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import TxReceipt

PAUSE = 0.5
"""Seconds between two looks at the newest block."""


@dataclass
class _Sent:
    """A transaction that is waited for."""

    note: PendingTx
    receipt: TxReceipt | None = None
    """Its receipt at the last look; None if it is in no block."""
    announced: bool = False
    """Whether it was told that it is in no block any more."""
    refusal: str = ""
    """Why the node did not take it when it was sent again."""
    taken_at: int = 0
    """Newest block when another transaction was first seen with its nonce."""
    taken_looks: int = 0
    """Looks in a row at which that was so."""


def await_depth(
    w3: Web3, notes: TransactionJournal, timeout: float, say: Callable[[str], None] | None = None
) -> dict[str, TxReceipt]:
    """Wait until everything that was mined and not told lies `notes.depth` blocks deep, its own block included.

    Args:
        w3: The connection.
        notes: What was mined.
        timeout: Seconds for which nothing may happen: no new block, none with what a reorg took, or no answer.
        say: Is told, in words for people, that it waits, and of a reorg; `notes.say` if left out.

    Returns:
        The receipts as they are then, by hash (0x-hex) as `notes.mined` was told, in the order of nonces. They may be
        of transactions that failed.

    Raises:
        ChainError: code `not-confirmed`: no block came in time; `not-mined`: a reorg took a transaction, and it was not
            mined again in time; `nonce-taken`: another one has its nonce, as deep: then its note is removed.
        OSError, RpcError: the endpoint gave no answer for that time.
    """
    tell = say if say is not None else notes.say
    waiting = {transaction: _Sent(note) for transaction, note in notes.untold().items()}
    seen: HexBytes | None = None
    moved, told = time.monotonic(), False
    while True:
        try:
            newest = w3.eth.get_block("latest")
            if newest["hash"] != seen or any(one.receipt is None for one in waiting.values()):
                for one in waiting.values():
                    _look(w3, notes, one, newest["number"], tell)
                if newest["hash"] != seen and all(one.receipt is not None for one in waiting.values()):
                    moved = time.monotonic()
                seen = newest["hash"]
        except (OSError, RpcError):  # requests' failures are OSErrors too
            if time.monotonic() - moved > timeout:
                raise
            time.sleep(PAUSE)  # until the endpoint is back
            continue
        lying = [_depth(one, newest["number"]) for one in waiting.values()]
        if all(lies >= notes.depth for lies in lying):
            return {
                transaction: one.receipt for transaction, one in waiting.items() if one.receipt is not None
            }
        if time.monotonic() - moved > timeout:
            raise _stuck(list(waiting.values()), min(lying), notes.depth, timeout)
        if not told:
            told = True
            tell(f"Waiting until {notes.depth} blocks hold it, its own included. Ctrl-C loses nothing.")
            fault_point("sender.waiting")
        time.sleep(PAUSE)  # nobody tells of a new block


def _depth(one: _Sent, newest: int) -> int:
    """Return how many blocks hold it; 0 if none does. A receipt may be of a block after the newest one seen."""
    return 0 if one.receipt is None else max(1, newest - one.receipt["blockNumber"] + 1)


def _look(w3: Web3, notes: TransactionJournal, one: _Sent, newest: int, tell: Callable[[str], None]) -> None:
    """Look for the receipt; without one, send the transaction again.

    Raises:
        ChainError: code `nonce-taken`.
    """
    note = one.note
    sender = w3.to_checksum_address(note.intent.sender)
    # The count first: a transaction that is mined between the two questions must not look lost.
    used = w3.eth.get_transaction_count(sender) > note.nonce
    one.receipt = receipt_of(w3, note.forms)
    if one.receipt is not None:
        one.taken_looks = 0
        return
    if used:
        one.taken_at = one.taken_at if one.taken_looks else newest
        one.taken_looks += 1
        if one.taken_looks >= LOOKS and newest - one.taken_at + 1 >= notes.depth:
            notes.forget(note)
            raise ChainError(
                f"A reorg took the transaction {note.forms[-1]}, and another one of {sender} has its nonce "
                f"{note.nonce} now: it can't be mined any more.",
                remedy="Does somebody else use this account? Call the same command again to do it all the same.",
                code="nonce-taken",
                details={"transaction": note.forms[-1], "nonce": note.nonce},
            )
        return
    one.taken_looks = 0
    if not one.announced:
        one.announced = True
        tell(f"A reorg took the transaction {note.forms[-1]} out of its block: it is sent again.")
    if note.raw and in_pool(w3, note.forms) is None:
        try:
            w3.eth.send_raw_transaction(HexBytes(note.raw))
            one.refusal = ""
        except (
            Web3RPCError
        ) as error:  # mined just now, or the account has spent its gas money: the next look says
            one.refusal = str(error)


def _stuck(waiting: list[_Sent], least: int, depth: int, timeout: float) -> ChainError:
    lost = next((one for one in waiting if one.receipt is None), None)
    if lost is None:
        return ChainError(
            f"It was mined and lies {least} blocks deep, not yet {depth}, and no block came in {timeout:g} seconds.",
            remedy="Call the same command again: it goes on waiting, and does nothing twice.",
            code="not-confirmed",
            details={"depth": least, "confirmations": depth},
        )
    why = f" The node does not take it: {lost.refusal}." if lost.refusal else ""
    return ChainError(
        f"A reorg took the transaction {lost.note.forms[-1]}, and it was not mined again in {timeout:g} seconds.{why}",
        remedy="Call the same command again: it goes on waiting, and does nothing twice.",
        code="not-mined",
        details={"transaction": lost.note.forms[-1]},
    )
