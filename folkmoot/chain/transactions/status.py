# SPDX-License-Identifier: Apache-2.0
"""What became of a transaction that was noted, as far as an endpoint can say.

A receipt says all. Where there is none, the account's nonce decides: while it is free, the transaction may still be
mined; once it is used, it was used by this transaction or by another one, and the block in which that happened says by
which. Endpoints that have thrown away receipts, or do not find transactions by their hash, often still have blocks.

Only looks. Raises `RpcError` and `ContractRefused` as the endpoint gave them, and what web3 raises;
`connection.chain_errors` puts them in words.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from eth_typing import BlockNumber, HexStr
from web3.exceptions import BlockNotFound, TransactionNotFound

from folkmoot.chain.transactions.journal import PendingTx
from folkmoot.chain.transactions.sender import LOOKS, Form
from folkmoot.errors import RpcError
from folkmoot.rpc.local_chain import (
    LOCAL_CHAIN_ID,  # it keeps all receipts, and may start anew with nonces at zero
)

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress
    from web3 import Web3
    from web3.types import TxData, TxReceipt

    from folkmoot.rpc.client import Rpc

LOOK_PAUSE = 1.0
"""Seconds between two of the looks that must find a nonce used and no receipt before a transaction is called lost: a
node may know the account's nonce before it has the receipt."""

MARGIN = 64
"""Blocks before a note was written in which its nonce may have been used all the same, after a reorg."""


class TxStatus(StrEnum):
    """What became of it."""

    MINED = "mined"
    """It is in a block, and had its effect."""
    FAILED = "failed"
    """It is in a block, and had no effect."""
    UNDERWAY = "underway"
    """The node has it, and it is in no block."""
    ABSENT = "absent"
    """The node does not have it. Others may, and its nonce is free."""
    GAP = "gap"
    """The node does not have it, nor anything with the nonces before it."""
    LOST = "lost"
    """Another transaction had its nonce: it can't be mined any more."""
    UNCLEAR = "unclear"
    """Its nonce was used, and the node can't say what came of it."""


SETTLED = (TxStatus.MINED, TxStatus.FAILED, TxStatus.LOST)
"""What became of a transaction whose nonce is used, by what is known."""


@dataclass(frozen=True, slots=True)
class TxLookup:
    """What an endpoint says of a noted transaction."""

    fate: TxStatus
    """What became of it."""
    receipt: TxReceipt | None = None
    """Its receipt, if it was mined."""
    pooled: Form | None = None
    """The newest form that the node has, if it is under way."""
    following: int = 0
    """Nonce that follows what the node knows of the account, if there is a gap."""
    block: int | None = None
    """Block that used its nonce, if it is lost; that has it, if what came of it is unclear; None if nobody can say."""


def rpc_of(w3: Web3) -> Rpc:
    """Return what a connection asks."""
    rpc: Rpc = cast("Any", w3.provider).rpc
    return rpc


def look(w3: Web3, note: PendingTx) -> TxLookup:
    """See what became of a noted transaction."""
    sender = w3.to_checksum_address(note.intent.sender)
    for again in range(LOOKS):
        if again:
            time.sleep(LOOK_PAUSE)  # a node may count a transaction before it has its receipt
        # The count first: a transaction that is mined between the two questions must not look lost.
        used = w3.eth.get_transaction_count(sender)
        receipt = receipt_of(w3, note.hashes)
        if receipt is not None:
            return _mined(receipt)
        if used <= note.nonce:
            return _waiting(w3, note, sender)
    return _used(w3, note, sender)


def receipt_of(w3: Web3, hashes: Sequence[str]) -> TxReceipt | None:
    """Return the receipt of whichever form was mined; None if none was."""
    for name in hashes:
        try:
            return w3.eth.get_transaction_receipt(HexStr(name))
        except TransactionNotFound:
            continue
    return None


def in_pool(w3: Web3, note: PendingTx) -> Form | None:
    """Return the newest form that the node knows; None if it knows none."""
    known = (form for form in note.forms[::-1] if _transaction(w3, form.hash) is not None)
    return next(known, None)


def _transaction(w3: Web3, name: str) -> dict[str, Any] | None:
    answer: dict[str, Any] | None = rpc_of(w3).call("eth_getTransactionByHash", [name])
    return answer


def _mined(receipt: TxReceipt) -> TxLookup:
    return TxLookup(TxStatus.MINED if receipt["status"] == 1 else TxStatus.FAILED, receipt)


def _waiting(w3: Web3, note: PendingTx, sender: ChecksumAddress) -> TxLookup:
    """Return where it is while its nonce is free."""
    pooled = in_pool(w3, note)
    if pooled is not None:
        return TxLookup(TxStatus.UNDERWAY, pooled=pooled)
    following = w3.eth.get_transaction_count(sender, "pending")
    return TxLookup(TxStatus.GAP if note.nonce > following else TxStatus.ABSENT, following=following)


def _used(w3: Web3, note: PendingTx, sender: ChecksumAddress) -> TxLookup:
    """Return what became of it where its nonce is used and there is no receipt."""
    number = _block_with(w3, note.hashes)
    if number is None:
        user = _user_of(w3, sender, note.nonce, note.forms[0].block_number)
        if user is not None and user[1] not in note.hashes:
            return TxLookup(TxStatus.LOST, block=user[0])
        if user is None:
            # A local chain has all receipts; whoever started it anew can't tell when.
            return TxLookup(TxStatus.LOST if note.intent.chain_id == LOCAL_CHAIN_ID else TxStatus.UNCLEAR)
        number = user[0]
    receipt = _receipt_in(w3, number, note.hashes)
    return TxLookup(TxStatus.UNCLEAR, block=number) if receipt is None else _mined(receipt)


def _block_with(w3: Web3, hashes: Sequence[str]) -> int | None:
    """Return the number of the block that has one of the forms, if the node finds it by its hash."""
    for name in hashes:
        number = (_transaction(w3, name) or {}).get("blockNumber")
        if number is not None:
            return int(number, 16)
    return None


def _user_of(w3: Web3, sender: ChecksumAddress, nonce: int, since: int) -> tuple[int, str] | None:
    """Return block and hash (0x-hex) of the transaction that used a nonce; None if the node can't say.

    Looks for the block by halves. Nodes have no state of old blocks: then the other half may still do.

    Args:
        sender: The account.
        nonce: Its nonce, which is used in the newest block.
        since: Number of a block in which it was free.
    """
    high = int(w3.eth.block_number)
    low, certain = max(-1, since - MARGIN), True  # certain: that it was free in the block `low`
    if low >= high:  # a chain that was started anew
        low = -1
    while high - low > 1:
        middle = (low + high) // 2
        try:
            used = w3.eth.get_transaction_count(sender, BlockNumber(middle)) > nonce
        except RpcError as error:
            _require_no_state(error)
            low, certain = middle, False
            continue
        if used:
            high = middle
        else:
            low, certain = middle, True
    if not certain:
        return None
    try:
        block = w3.eth.get_block(BlockNumber(high), full_transactions=True)
    except BlockNotFound:
        return None
    for transaction in cast("Sequence[TxData]", block["transactions"]):
        if transaction["from"] == sender and transaction["nonce"] == nonce:
            return high, transaction["hash"].to_0x_hex()
    return None


def _receipt_in(w3: Web3, number: int, hashes: Sequence[str]) -> TxReceipt | None:
    """Return the receipt of one of the forms among all of a block; None if the node has none."""
    try:
        receipts = w3.eth.get_block_receipts(BlockNumber(number))
    except BlockNotFound:
        return None
    except RpcError as error:
        _require_no_state(error)
        return None
    return next((receipt for receipt in receipts if receipt["transactionHash"].to_0x_hex() in hashes), None)


def _require_no_state(error: RpcError) -> None:
    """Raise the error again unless it says that the endpoint has no state of a block, or not enough of them have."""
    if error.code not in ("rpc-error", "rpc-no-quorum"):
        raise error
