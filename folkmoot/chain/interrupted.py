# SPDX-License-Identifier: Apache-2.0
"""Taking up what an interrupted call sent, so that nothing is done twice.

Knows the chain and the notes, and not what a transaction is for. Raises what web3 raises, as `sending`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from folkmoot.chain import depth
from folkmoot.chain.notes import Intent, Note, Notes
from folkmoot.chain.sending import LOOK_PAUSE, LOOKS, await_receipt, in_pool, receipt_of
from folkmoot.errors import ChainError

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import TxData, TxReceipt

LOCAL_CHAIN_ID = 31337
"""Id of the chains that `folkmoot up` and Anvil start: they may be started anew, with all nonces at zero."""


def take_up(
    w3: Web3, notes: Notes, intent: Intent, doing: str, timeout: float, *, wait: bool = True
) -> tuple[TxReceipt | None, Note | None]:
    """See what became of the transaction of an interrupted call, and wait for it if it is on its way.

    Args:
        w3: The connection.
        notes: Where it would be noted.
        intent: What it was for.
        doing: The same, for messages.
        timeout: Seconds for which it is waited for.
        wait: Whether to wait until it lies `notes.depth` blocks deep, if it was mined and had its effect. Of what
            failed that is always so: a reorg may still let it succeed.

    Returns:
        Its receipt if it was mined and had its effect, else None; and its note, if it may still be mined: whatever is
        sent instead must have its nonce.

    Raises:
        ChainError: code `not-mined`: it is on its way, and was not mined in time; `nonce-gap`: the endpoint lacks
            transactions that the account sent before it; what `depth.await_depth` raises.
        LocalError: the note can't be read.
    """
    note = notes.find(intent)
    if note is None:
        return None, None
    receipt, lost = _settled(w3, note)
    if lost:
        notes.forget(note)
        notes.say(
            "What an interrupted call signed can't be mined any more: another transaction had its nonce."
        )
        return None, None
    if receipt is None:
        pooled = in_pool(w3, note.forms)
        if pooled is None and _has_gap(w3, notes, note):
            notes.forget(note)
            notes.say("What an interrupted call signed was for a local chain that is no more.")
            return None, None
        if pooled is None or _pays_too_little(w3, pooled):
            return None, note
        notes.say(f"An interrupted call sent this already, in transaction {note.forms[-1]}: waiting for it.")
        receipt = await_receipt(w3, note.forms, doing, timeout, noted=True)
    transaction = receipt["transactionHash"].to_0x_hex()
    notes.mined(note, transaction, earlier=True)
    if notes.depth > 1 and (wait or receipt["status"] != 1):
        receipt = depth.await_depth(w3, notes, timeout)[transaction]
    if receipt["status"] != 1:
        notes.forget(note)
        notes.say(f"An interrupted call sent this, but it failed on the chain (transaction {transaction}).")
        return None, None
    notes.say(
        f"An interrupted call did this already: transaction {transaction} was mined in block "
        f"{receipt['blockNumber']}. Nothing was sent now: call again if you want it once more."
    )
    return receipt, note


def _settled(w3: Web3, note: Note) -> tuple[TxReceipt | None, bool]:
    """Return the receipt of a noted transaction, if it has one, and whether it can't get one any more."""
    for look in range(LOOKS):
        if look:
            time.sleep(LOOK_PAUSE)
        # The count first: a transaction that is mined between the two questions must not look lost.
        used = w3.eth.get_transaction_count(w3.to_checksum_address(note.intent.sender))
        receipt = receipt_of(w3, note.forms)
        if receipt is not None or used <= note.nonce:
            return receipt, False
    return None, True


def _has_gap(w3: Web3, notes: Notes, note: Note) -> bool:
    """Whether the chain was started anew since, so that nothing from before can be mined on it.

    Raises:
        ChainError: code `nonce-gap`: it seems so, but it can't be on this chain. Then nothing may be sent with a lower
            nonce instead: the one that was noted may still be in the pool of another node, and both would be mined.
    """
    sender = w3.to_checksum_address(note.intent.sender)
    following = w3.eth.get_transaction_count(sender, "pending")
    if note.nonce <= following:
        return False
    if note.intent.chain_id == LOCAL_CHAIN_ID:
        return True
    raise ChainError(
        f"An interrupted call signed a transaction for this with the nonce {note.nonce}, and this endpoint knows none "
        f"of {sender} from {following} on.",
        remedy="Use the endpoint that you used then, or wait until this one has them; if nothing of that account is on "
        f"its way any more, remove {notes.folder / note.intent.name}.",
        code="nonce-gap",
        details={"nonce": note.nonce, "next": following, "transaction": note.forms[-1]},
    )


def _pays_too_little(w3: Web3, pooled: TxData) -> bool:
    base = w3.eth.get_block("latest").get("baseFeePerGas")
    return base is not None and base > pooled.get("maxFeePerGas", pooled.get("gasPrice", 0))
