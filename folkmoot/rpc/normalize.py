# SPDX-License-Identifier: Apache-2.0
"""What counts in an answer of an endpoint, when the answers of several are compared.

Nodes add members of their own (`blockTimestamp` in logs, `l1Fee` in receipts), write addresses in upper and lower case
and sort logs as they like. What is left here is what the Ethereum specification has in every node's answer and what
Folkmoot reads; nothing else of an answer reaches a reader, as nobody vouched for it. Travels in the Flower App Bundle.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

_LOG = frozenset(
    {
        *("address", "topics", "data", "blockNumber", "blockHash"),
        *("transactionHash", "transactionIndex", "logIndex"),
    }
)
_RECEIPT = frozenset(
    {
        *("transactionHash", "transactionIndex", "blockHash", "blockNumber", "from", "to", "contractAddress"),
        *("status", "gasUsed", "cumulativeGasUsed", "effectiveGasPrice", "logs", "logsBloom", "type"),
    }
)
_BLOCK = frozenset(
    {
        *("number", "hash", "parentHash", "timestamp", "stateRoot", "transactionsRoot", "receiptsRoot"),
        *("gasLimit", "gasUsed", "baseFeePerGas", "transactions", "miner", "extraData", "logsBloom"),
    }
)
_TRANSACTION = frozenset(
    {
        *("hash", "blockHash", "blockNumber", "transactionIndex", "from", "to", "nonce", "value", "input"),
        *("gas", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas", "type", "chainId", "accessList"),
        *("authorizationList", "v", "r", "s"),
    }
)
_MEMBERS = {
    "eth_getTransactionReceipt": _RECEIPT,
    "eth_getBlockReceipts": _RECEIPT,
    "eth_getBlockByNumber": _BLOCK,
    "eth_getBlockByHash": _BLOCK,
    "eth_getTransactionByHash": _TRANSACTION,
    "eth_getLogs": _LOG,
}


def normalize_response(method: str, answer: Any) -> Any:
    """Return what counts in an answer to a method: for every other form than the expected one, all of it."""
    return _reduced(answer, _MEMBERS.get(method))


def fingerprint(value: Any) -> bytes:
    """Return 32 bytes that are the same for two JSON values only if they are equal.

    Raises:
        ValueError: the value nests too deeply to be written.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    except RecursionError as error:
        raise ValueError("the answer nests too deeply") from error
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _reduced(value: Any, members: frozenset[str] | None) -> Any:
    if isinstance(value, dict):
        kept = {name: one for name, one in value.items() if members is None or name in members}
        return {name: _reduced(one, _inner(name, members)) for name, one in kept.items()}
    if isinstance(value, list):
        listed = [_reduced(one, members) for one in value]
        return sorted(listed, key=_place) if members is _LOG and _are_logs(listed) else listed
    if isinstance(value, str) and value[:2] in ("0x", "0X"):
        return value.lower()
    return value


def _inner(name: str, members: frozenset[str] | None) -> frozenset[str] | None:
    if name == "logs":
        return _LOG
    return _TRANSACTION if name == "transactions" and members is _BLOCK else None


def _are_logs(values: list[Any]) -> bool:
    try:
        return all(_place(value) for value in values)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _place(log: Any) -> tuple[int, int]:
    return int(log["blockNumber"], 16), int(log["logIndex"], 16)
