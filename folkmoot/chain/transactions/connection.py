# SPDX-License-Identifier: Apache-2.0
"""The one place where web3 meets an endpoint, and sending over it: noted before it is sent, resumed, confirmed.

web3 asks what `rpc` reads, one endpoint or the majority of several, and gets its errors as they are. `chain_errors`
puts them in words.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any, cast

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.providers.base import JSONBaseProvider

from folkmoot.chain.fees import NO_CEILING, gas_limit, offered
from folkmoot.chain.transactions import CONFIRM_TIMEOUT, confirmations, resume
from folkmoot.chain.transactions.journal import Intent, PendingTx, Say, TransactionJournal
from folkmoot.chain.transactions.sender import FEE_LIMIT, Sender, named, why_failed
from folkmoot.chain.transactions.status import in_pool, rpc_of
from folkmoot.errors import ContractRefused, RpcError
from folkmoot.rpc import reverts
from folkmoot.rpc.client import DEFAULT_TIMEOUT, Call, Rpc
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.fault_points import fault_point

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.types import RPCEndpoint, RPCResponse, TxReceipt


def connect_web3(rpc_url: str | Sequence[str], *, timeout: float = DEFAULT_TIMEOUT) -> Web3:
    """Return a web3 connection with a bounded time for each request; nothing is asked yet.

    Args:
        rpc_url: HTTP address of an endpoint, or of several (`quorum.split_urls`).
        timeout: Seconds that one request may take.
    """
    return web3_over(open_rpc(rpc_url, timeout))


def web3_over(rpc: Rpc) -> Web3:
    """Return a web3 connection to what reads the chain."""
    return Web3(RpcProvider(rpc))


class RpcProvider(JSONBaseProvider):
    """Lets web3 ask an endpoint, or several.

    Args:
        rpc: What is asked.
    """

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self.rpc = rpc
        self.endpoint_uri = rpc.url

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Ask, and return the answer in the form that web3 expects.

        Raises:
            RpcError: there is none, or it is an error.
        """
        asked = json.loads(self.encode_rpc_request(method, params))
        try:
            result = self.rpc.call(method, asked["params"])
        except RpcError as error:
            if method != "eth_getTransactionReceipt" or error.code != "rpc-no-quorum":
                raise
            result = None  # whoever waits for it looks again
        return cast("RPCResponse", {"jsonrpc": "2.0", "id": asked["id"], "result": result})


def logs_of(receipt: TxReceipt) -> list[dict[str, Any]]:
    """Return the logs of a receipt as JSON-RPC has them."""
    return [
        {
            "address": log["address"],
            "topics": [topic.to_0x_hex() for topic in log["topics"]],
            "data": log["data"].to_0x_hex(),
            "blockNumber": hex(log["blockNumber"]),
            "blockHash": log["blockHash"].to_0x_hex(),
            "transactionHash": log["transactionHash"].to_0x_hex(),
            "logIndex": hex(log["logIndex"]),
        }
        for log in receipt["logs"]
    ]


@contextlib.contextmanager
def chain_errors(doing: str) -> Iterator[None]:
    """Say what was done when the chain failed or refused inside the block.

    Args:
        doing: What is being done, for the message.
    """
    try:
        yield
    except ContractRefused as error:
        raise reverts.explain(error.details.get("data"), doing) from error
    except RpcError as error:
        raise named(error) from error
    except Web3Exception as error:
        raise RpcError(
            f"The RPC endpoint does not answer {doing} as a node does: {error!s:.200}.",
            remedy="Use another endpoint.",
            code="rpc-error",
        ) from error


def send(
    w3: Web3,
    call: Call,
    account: LocalAccount,
    *,
    timeout: float = CONFIRM_TIMEOUT,
    notes: TransactionJournal | None = None,
    purpose: str = "",
    nonce: int | None = None,
    wait: bool = True,
    once: bool = False,
    harmless: bool = False,
    max_fee: int = NO_CEILING,
) -> TxReceipt:
    """Send a call or a deployment; see `Chain.send`.

    Args:
        call: The call, or the creation of a contract.
        account: Account that signs and pays.
        timeout: Seconds that it may take to be mined.
        notes: Where it is noted before it is sent; None notes nothing.
        purpose: What for; a creation that is noted must have one.
        nonce: The nonce that it must have; the account's next one if left out.
        wait: Whether to wait until it has the confirmations that the notes ask for; else `settle` must.
        once: As for `Chain.send`.
        harmless: Whether it does no harm to do it twice. It is not noted then, and only waited for with the others.
        max_fee: As for `Chain`.
    """
    kept = notes or TransactionJournal()
    rpc, note = rpc_of(w3), None
    with chain_errors(call.name):
        intent = Intent(
            w3.eth.chain_id, account.address, call.to, purpose or f"{call.name}{call.arguments!r}"
        )
        sender = Sender(rpc, account.address, account, intent.chain_id, kept, kept.depth, max_fee)
        if not harmless:
            taken, note = resume.take_up(w3, kept, sender, intent, call.name, timeout, wait=wait, once=once)
            if taken is not None:
                return taken
        if note is None:
            following = rpc.transaction_count(account.address, "pending") if nonce is None else nonce
            note = PendingTx(intent, following, noted=kept.keeps and not harmless)
        estimate = rpc.estimate(account.address, call.to, call.data, block=rpc.fresh_block()[0])
        latest, pooled = rpc.latest(), in_pool(w3, note)
        offer = sender.offer(latest, offered(pooled.raw) if pooled is not None else None)
        if offer is None:
            raise RpcError(
                f"Gas costs {max(latest.base_fee, sender.tip(latest)) / 10**9:,.3g} gwei now, and the limit is "
                f"{max_fee / 10**9:,.3g} gwei.",
                remedy="Nothing was sent. Wait until gas is cheaper, or raise the limit.",
                code=FEE_LIMIT,
            )
        form = sender.sign(latest, note.nonce, call.to, call.data, gas_limit(estimate), offer)
        confirmations.begin(w3, kept, note, sender, form)
        fault_point("sender.sent")
        waiting = [confirmations.Sent(note, sender, call.name)]
        (receipt,) = confirmations.await_receipts(w3, kept, waiting, timeout)
        fault_point("sender.mined")
    kept.mined(note, receipt["transactionHash"].to_0x_hex(), earlier=False)
    if (wait and not harmless) or receipt["status"] != 1:  # a reorg may still let it succeed
        (receipt,) = settle(w3, kept, receipt)
    if receipt["status"] != 1:
        kept.forget(note)
        raise _failed(w3, note, receipt, call.name)
    return receipt


def settle(
    w3: Web3, notes: TransactionJournal, *receipts: TxReceipt, say: Say | None = None
) -> list[TxReceipt]:
    """Wait until all that was sent has the confirmations that its notes ask for; see `Chain.settle`.

    Args:
        notes: What was sent.
        receipts: Those that are returned as they are then.
        say: As for `confirmations.await_depth`.
    """
    if notes.depth <= 1:
        return list(receipts)
    with chain_errors("waiting for confirmations"):
        settled = confirmations.await_depth(w3, notes, CONFIRM_TIMEOUT, say)
    for (transaction, note), receipt in zip(notes.untold().items(), settled.values(), strict=True):
        if receipt["status"] != 1:
            notes.forget(note)
            raise _failed(w3, note, receipt, shorten(note.intent.purpose, 60))
        notes.mined(  # after a reorg it may be another form of it
            note, receipt["transactionHash"].to_0x_hex(), earlier=notes.is_earlier(transaction)
        )
    return [settled[receipt["transactionHash"].to_0x_hex()] for receipt in receipts]


def earlier(
    w3: Web3,
    notes: TransactionJournal,
    contract: str,
    sender: str,
    purpose: str,
    *,
    wait: bool = True,
    once: bool = False,
) -> TxReceipt | None:
    """Return the receipt of what an interrupted call sent to a contract; see `Chain.earlier`."""
    with chain_errors(purpose):
        intent = Intent(w3.eth.chain_id, sender, contract, purpose)
        looking = Sender(rpc_of(w3), sender, None, intent.chain_id, notes, notes.depth)
        receipt, _ = resume.take_up(
            w3, notes, looking, intent, purpose, CONFIRM_TIMEOUT, wait=wait, once=once
        )
    return receipt


def _failed(w3: Web3, note: PendingTx, receipt: TxReceipt, doing: str) -> ContractRefused:
    """Ask for the reason of a transaction that was mined as failed."""
    details = {"transaction": receipt["transactionHash"].to_0x_hex()}
    raw = next(form.raw for form in note.forms if form.hash == details["transaction"])
    why = why_failed(rpc_of(w3), note.intent.sender, raw, receipt["blockNumber"])
    if why is not None:
        why = reverts.explain(why.details.get("data"), doing)
        why.details.update(details)
        return why
    return ContractRefused(
        f"The transaction {details['transaction']} ({doing}) failed on the chain.",
        remedy="The state changed between the check and the block; look at it and try again.",
        details=details,
    )
