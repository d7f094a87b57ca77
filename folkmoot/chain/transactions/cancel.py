# SPDX-License-Identifier: Apache-2.0
"""A way out for what an interrupted call left behind: its note may go once its transaction can't be mined any more.

While it can, an empty transaction of the account to itself, with the same nonce and a higher fee, takes its place, as
wallets cancel. Nonces before it that nothing uses are filled in the same way, or neither could ever be mined.

Knows the chain and the notes. Raises what web3 raises, as `sending`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes
from web3.exceptions import Web3RPCError

from folkmoot.chain.transactions import confirmations, sending
from folkmoot.chain.transactions.journal import Intent, PendingTx, TransactionJournal
from folkmoot.chain.transactions.status import TxLookup, TxStatus
from folkmoot.errors import ChainError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3
    from web3.types import TxData, TxReceipt

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
        w3: The connection.
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
        w3: The connection.
        notes: Where the note is; they say how deep.
        note: What is cancelled. Its note stays: whoever is killed here finds it, and what became of its nonce.
        seen: What became of it: one of `FREE`.
        account: Its sender, who pays.
        timeout: Seconds that it may take to be mined.

    Raises:
        ChainError: ``not-mined``: neither was mined in time; ``nonce-gap``: the endpoint lacks more than `MOST_FILLED`
            transactions before it; what `depth.await_depth` raises.
    """
    chain_id = note.intent.chain_id
    first = seen.following if seen.fate is TxStatus.GAP else note.nonce
    if note.nonce - first > MOST_FILLED:
        raise ChainError(
            f"This endpoint knows nothing of {account.address} from nonce {first} on, and this has nonce {note.nonce}: "
            "too much is missing.",
            remedy="It is far behind, or serves another chain of the same id: use another endpoint.",
            code="nonce-gap",
            details={"nonce": note.nonce, "next": first},
        )
    empty = [_send_empty(w3, account, chain_id, nonce, None) for nonce in range(first, note.nonce)]
    form, raw = _send_empty(w3, account, chain_id, note.nonce, _offer(note.raw) or seen.pooled)
    forms = (*note.forms, form)
    receipt = sending.await_receipt(w3, forms, "the cancellation", timeout, noted=True)
    mined = receipt["transactionHash"].to_0x_hex()
    # Taken note of, and not written down: a cancellation is no form of what was wanted.
    for nonce, (filler, filling) in enumerate(empty, start=first):
        notes.mined(PendingTx(_nothing(note, nonce), nonce, (filler,), filling), filler, earlier=False)
    notes.mined(PendingTx(_nothing(note, note.nonce), note.nonce, forms, raw), mined, earlier=False)
    if notes.depth > 1:
        receipt = confirmations.await_depth(w3, notes, timeout)[mined]
    in_vain = receipt["transactionHash"].to_0x_hex() != form
    return Cancelled(receipt, in_vain, note.nonce - first)


def _nothing(note: PendingTx, nonce: int) -> Intent:
    """Return what an empty transaction is for."""
    return Intent(note.intent.chain_id, note.intent.sender, note.intent.sender, f"use up nonce {nonce}")


def _send_empty(
    w3: Web3, account: LocalAccount, chain_id: int, nonce: int, over: TxData | None
) -> tuple[str, str]:
    """Send nothing to oneself; return hash and bytes, 0x-hex.

    Args:
        w3: The connection.
        account: Who signs.
        chain_id: EIP-155 id of the chain.
        nonce: Its nonce.
        over: What it replaces, and so has to outbid.
    """
    empty: dict[str, Any] = {"from": account.address, "to": account.address, "value": 0}
    gas = w3.eth.estimate_gas(cast("Any", empty))
    fields = {**empty, "gas": gas, "nonce": nonce, "chainId": chain_id, **sending.fees(w3, over)}
    signed = account.sign_transaction(fields)
    form = signed.hash.to_0x_hex()
    try:
        w3.eth.send_raw_transaction(signed.raw_transaction)
    except Web3RPCError:
        # What has this nonce may have been mined just now; or an earlier call sent the same bytes.
        used = w3.eth.get_transaction_count(account.address) > nonce
        if not used and sending.in_pool(w3, (form,)) is None:
            raise
    return form, signed.raw_transaction.to_0x_hex()


def _offer(raw: str) -> TxData | None:
    """Return what a signed transaction pays; None if its bytes are not known, or of the old kind without a type."""
    if not raw or raw[2:4] > "7f":
        return None
    return cast("TxData", TypedTransaction.from_bytes(HexBytes(raw)).as_dict())
