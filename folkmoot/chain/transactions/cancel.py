# SPDX-License-Identifier: Apache-2.0
"""A way out for what an interrupted call left behind: its note may go once its transaction can't be mined any more.

While it can, an empty transaction of the account to itself, with the same nonce and a higher fee, takes its place, as
wallets cancel. Nonces before it that nothing uses are filled in the same way, or neither could ever be mined.

Knows the chain and the notes. Raises what web3 raises, as `status`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from folkmoot.chain.fees import offered
from folkmoot.chain.transactions import confirmations
from folkmoot.chain.transactions.journal import Intent, PendingTx, TransactionJournal
from folkmoot.chain.transactions.sender import Sender
from folkmoot.chain.transactions.status import TxLookup, TxStatus, rpc_of
from folkmoot.errors import ChainError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3
    from web3.types import TxReceipt

FREE = (TxStatus.UNDERWAY, TxStatus.ABSENT, TxStatus.GAP)
"""What became of a transaction that may still be mined."""

MOST_FILLED = 32
"""Nonces that are filled at most: more are missing only where something is wrong."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What took the place of a transaction."""

    receipt: TxReceipt
    """Receipt of what has its nonce now."""
    in_vain: bool
    """Whether that is the transaction itself: it was mined before it could be cancelled."""
    filled: int
    """Empty transactions that were sent for nonces before it."""


def require_deep(w3: Web3, notes: TransactionJournal, note: PendingTx, seen: TxLookup) -> None:
    """Check that nothing can come any more of a transaction whose nonce is used, not even after a reorg.

    Args:
        notes: How deep the block must lie that used the nonce.
        note: Of what.
        seen: What became of it: one of those that are not in `FREE`.

    Raises:
        ChainError: ``not-confirmed``: that block does not lie so deep, or nobody can say which one it is.
    """
    block = seen.receipt["blockNumber"] if seen.receipt is not None else seen.block
    if notes.depth <= 1 or (block is not None and w3.eth.block_number - block + 1 >= notes.depth):
        return
    where = "in an unknown block" if block is None else f"in block {block}"
    raise ChainError(
        f"Nonce {note.nonce} of {note.intent.sender} was used {where}, which may not be {notes.depth} blocks deep.",
        remedy="Wait, or ask for fewer --confirmations.",
        code="not-confirmed",
        details={"nonce": note.nonce, "block": block, "confirmations": notes.depth},
    )


def cancel(
    w3: Web3,
    notes: TransactionJournal,
    note: PendingTx,
    seen: TxLookup,
    account: LocalAccount,
    timeout: float,
) -> Cancelled:
    """Let an empty transaction take the place of one that may still be mined, and wait until it is deep enough.

    Args:
        notes: Where the note is; they say how deep.
        note: What is cancelled. Its note stays: whoever is killed here finds it, and what became of its nonce.
        seen: What became of it: one of `FREE`.
        account: Its sender, who pays.
        timeout: Seconds that it may take to be mined.

    Raises:
        ChainError: ``not-mined``: neither was mined in time; ``nonce-gap``: the endpoint lacks more than `MOST_FILLED`
            transactions before it; what `confirmations.await_depth` raises.
    """
    first = seen.following if seen.fate is TxStatus.GAP else note.nonce
    if note.nonce - first > MOST_FILLED:
        raise ChainError(
            f"This endpoint knows nothing of {account.address} from nonce {first} on, and this has nonce {note.nonce}: "
            "too much is missing.",
            remedy="It is far behind, or serves another chain of the same id: use another endpoint.",
            code="nonce-gap",
            details={"nonce": note.nonce, "next": first},
        )
    rpc = rpc_of(w3)
    sender = Sender(rpc, account.address, account, note.intent.chain_id, notes, notes.depth)
    # Taken note of, and not written down: a cancellation is no form of what was wanted.
    sent = []
    for nonce in range(first, note.nonce + 1):
        intent = Intent(note.intent.chain_id, account.address, account.address, f"use up nonce {nonce}")
        empty = PendingTx(intent, nonce, [*note.forms] if nonce == note.nonce else [], noted=False)
        form = sender.sign_empty(rpc.latest(), nonce, offered(note.forms[-1].raw) if empty.forms else None)
        if form is None:
            raise AssertionError("there is no ceiling")
        confirmations.begin(w3, notes, empty, sender, form)
        sent.append(confirmations.Sent(empty, sender, "the cancellation"))
    receipts = confirmations.await_receipts(w3, notes, sent, timeout)
    for one, receipt in zip(sent, receipts, strict=True):
        mined = receipt["transactionHash"].to_0x_hex()
        notes.mined(one.note, mined, earlier=False)
    if notes.depth > 1:
        receipt = confirmations.await_depth(w3, notes, timeout)[mined]
    in_vain = receipt["transactionHash"].to_0x_hex() in note.hashes
    return Cancelled(receipt, in_vain, note.nonce - first)
