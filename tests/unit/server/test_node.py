# SPDX-License-Identifier: Apache-2.0
"""What a node answers is taken for what it says only if it can be that."""

from __future__ import annotations

from typing import Any

import pytest

from folkmoot.errors import RpcError
from folkmoot.rpc.client import Rpc
from server.chain.node import RpcNode

HASH = "0x" + "ab" * 32
BLOCK = {"number": "0x5", "hash": HASH, "timestamp": "0x10", "baseFeePerGas": "0x7"}
RECEIPT = {
    "transactionHash": HASH,
    "blockNumber": "0x5",
    "blockHash": HASH,
    "status": "0x1",
    "gasUsed": "0x5208",
}


class _Says(Rpc):
    """An endpoint with one answer to everything."""

    def __init__(self, answer: Any) -> None:
        super().__init__("http://node.invalid")
        self.answer = answer

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        return self.answer


def test_whole_answers_are_taken() -> None:
    block = RpcNode(_Says(BLOCK)).block(5)
    assert block is not None
    assert (block.number, block.hash, block.timestamp, block.base_fee) == (5, HASH, 16, 7)
    receipt = RpcNode(_Says(RECEIPT)).receipt(HASH)
    assert receipt is not None
    assert (receipt.block_number, receipt.succeeded, receipt.gas_used) == (5, True, 21_000)
    assert RpcNode(_Says({**RECEIPT, "blockHash": None})).receipt(HASH) is None


@pytest.mark.parametrize(
    "answer",
    ["0x5", [], {}, {**BLOCK, "number": "0x6"}, {**BLOCK, "number": -1}, {**BLOCK, "hash": "0xab"}],
)
def test_a_block_that_is_none_is_an_rpc_error(answer: Any) -> None:
    with pytest.raises(RpcError, match="answered eth_getBlockByNumber with"):
        RpcNode(_Says(answer)).block(5)


@pytest.mark.parametrize(
    "answer",
    [
        True,
        {"blockHash": HASH},
        {**RECEIPT, "status": None},
        {**RECEIPT, "transactionHash": "0x" + "cd" * 32},
    ],
)
def test_a_receipt_that_is_none_or_of_another_is_an_rpc_error(answer: Any) -> None:
    with pytest.raises(RpcError, match="answered eth_getTransactionReceipt with"):
        RpcNode(_Says(answer)).receipt(HASH)


@pytest.mark.parametrize("answer", [None, {}, "0x", ["log"]])
def test_logs_that_are_none_are_an_rpc_error(answer: Any) -> None:
    with pytest.raises(RpcError, match="answered eth_getLogs with"):
        RpcNode(_Says(answer)).logs([], 0, 1)


def test_a_pending_block_needs_neither_number_nor_hash() -> None:
    class Pending(_Says):
        def call(self, method: str, params: list[Any] | None = None) -> Any:
            pending = {**BLOCK, "number": None, "hash": None, "timestamp": "0x12"}
            return pending if params and params[0] == "pending" else self.answer

    assert RpcNode(Pending(BLOCK)).now(31337) == 18
