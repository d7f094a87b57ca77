# SPDX-License-Identifier: Apache-2.0
"""Taking up what an interrupted call sent, so that nothing is done twice.

Knows the notes and what became of transactions, and not what they are for. Raises what web3 raises, as `status`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from folkmoot.chain.fees import offered
from folkmoot.chain.transactions import confirmations
from folkmoot.chain.transactions.journal import Intent, PendingTx, TransactionJournal
from folkmoot.chain.transactions.sender import Sender
from folkmoot.chain.transactions.status import TxLookup, TxStatus, look, rpc_of
from folkmoot.errors import ChainError
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID

if TYPE_CHECKING:
    from web3 import Web3
    from web3.types import TxReceipt


def take_up(
    w3: Web3,
    notes: TransactionJournal,
    sender: Sender[PendingTx],
    intent: Intent,
    doing: str,
    timeout: float,
    *,
    wait: bool = True,
    once: bool = False,
) -> tuple[TxReceipt | None, PendingTx | None]:
    """See what became of the transaction of an interrupted call, and wait for it if it is on its way.

    Args:
        notes: Where it would be noted.
        sender: What looks after transactions of its account.
        intent: What it was for.
        doing: The same, for messages.
        timeout: Seconds for which it is waited for.
        wait: Whether to wait until it lies `notes.depth` blocks deep, if it was mined and had its effect. Of what
            failed that is always so: a reorg may still let it succeed.
        once: Whether the contract lets it happen only once, or twice is as good as once: then it is tried again where
            nobody can say what became of it.

    Returns:
        Its receipt if it was mined and had its effect, else None; and its note, if it may still be mined: whatever is
        sent instead must have its nonce.

    Raises:
        ChainError: code `not-mined`: it is on its way, and was not mined in time; `nonce-gap`: the endpoint lacks
            transactions that the account sent before it; `outcome-unknown`: it may have been mined, and the endpoint
            can't say; `not-confirmed`: another one has its nonce, not as deep as it should lie; what
            `confirmations.await_depth` raises.
    """
    note = notes.find(intent)
    if note is None:
        return None, None
    seen = look(w3, note)
    why = _over(w3, notes, note, seen, once=once)
    if why:
        notes.forget(note)
        notes.say(why)
        return None, None
    receipt = seen.receipt
    if receipt is None:
        if seen.pooled is None or offered(seen.pooled.raw).cap < rpc_of(w3).latest().base_fee:
            return None, note
        notes.say(f"An interrupted call sent this already, in transaction {note.hashes[-1]}: waiting for it.")
        sent = confirmations.Sent(note, sender, doing)
        (receipt,) = confirmations.await_receipts(w3, notes, [sent], timeout)
    transaction = receipt["transactionHash"].to_0x_hex()
    notes.mined(note, transaction, earlier=True)
    if notes.depth > 1 and (wait or receipt["status"] != 1):
        receipt = confirmations.await_depth(w3, notes, timeout)[transaction]
    if receipt["status"] != 1:
        notes.forget(note)
        notes.say(f"An interrupted call sent this, but it failed on the chain (transaction {transaction}).")
        return None, None
    notes.say(
        f"An interrupted call did this already: transaction {transaction} was mined in block "
        f"{receipt['blockNumber']}. Nothing was sent now: call again if you want it once more."
    )
    return receipt, note


def _over(w3: Web3, notes: TransactionJournal, note: PendingTx, seen: TxLookup, *, once: bool) -> str:
    """Return why nothing can come of a noted transaction any more, so that its note may go; empty if something can."""
    if seen.fate is TxStatus.LOST:
        if seen.block is not None and w3.eth.block_number - seen.block + 1 < notes.depth:
            raise ChainError(
                f"Another transaction of {note.intent.sender} had the nonce {note.nonce} of what an interrupted call "
                f"signed, in block {seen.block}, which is not {notes.depth} blocks deep yet: a reorg may still decide "
                "otherwise.",
                remedy="Call the same command again in a while.",
                code="not-confirmed",
                details={"nonce": note.nonce, "block": seen.block, "confirmations": notes.depth},
            )
        return "What an interrupted call signed can't be mined any more: another transaction had its nonce."
    if seen.fate is TxStatus.UNCLEAR:
        if once:
            return "What became of what an interrupted call sent can't be found out; to try it again does no harm."
        raise _unknown(notes, note, seen)
    if seen.fate is TxStatus.GAP:
        if note.intent.chain_id != LOCAL_CHAIN_ID:
            raise _gap(notes, note, seen)
        return "What an interrupted call signed was for a local chain that is no more."
    return ""


def _unknown(notes: TransactionJournal, note: PendingTx, seen: TxLookup) -> ChainError:
    """Return the failure for what may have been done: to send it again might do it twice."""
    text = (
        f"Nonce {note.nonce} of {note.intent.sender} was used, and this endpoint can't say whether by the transaction "
        f"{note.hashes[-1]} that an interrupted call signed for this"
        if seen.block is None
        else f"The transaction {note.hashes[-1]} of an interrupted call was mined in block {seen.block}, and this "
        "endpoint can't say whether it succeeded"
    )
    return ChainError(
        f"{text}: it has no receipt of it.",
        remedy="Use an endpoint that keeps the whole history, or look the transaction up in a block explorer. If it "
        f"was not done, forget it, and call again: `{notes.way_out(note.hashes[-1])}`.",
        code="outcome-unknown",
        details={"nonce": note.nonce, "transactions": note.hashes, "block": seen.block},
    )


def _gap(notes: TransactionJournal, note: PendingTx, seen: TxLookup) -> ChainError:
    """Return the failure for what waits for others before it.

    Nothing may be sent with a lower nonce instead: the one that was noted may still be in the pool of another node, and
    both would be mined.
    """
    return ChainError(
        f"An interrupted call signed a transaction for this with the nonce {note.nonce}, and this endpoint knows none "
        f"of {note.intent.sender} from {seen.following} on.",
        remedy="Use the endpoint that you used then, or wait until this one has them; or cancel it, and call again: "
        f"`{notes.way_out(note.hashes[-1])}`.",
        code="nonce-gap",
        details={"nonce": note.nonce, "next": seen.following, "transaction": note.hashes[-1]},
    )
