# SPDX-License-Identifier: Apache-2.0
"""What an endpoint answers about money is taken for nothing but a number."""

from __future__ import annotations

from typing import Any

import pytest

from folkmoot.errors import RpcError
from folkmoot.ledger.costs import gas_price
from folkmoot.rpc.client import Rpc


class Scripted(Rpc):
    """An endpoint that answers what it was given; an error is raised."""

    def __init__(self, **answers: Any) -> None:
        super().__init__("http://rpc.invalid")
        self.answers = answers

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        answer = self.answers[method]
        if isinstance(answer, Exception):
            raise answer
        return answer


BLOCK = {"number": "0x1", "hash": "0x" + "11" * 32, "timestamp": "0x1", "baseFeePerGas": "0x10"}


def test_a_price_is_base_fee_and_tip() -> None:
    assert gas_price(Scripted(eth_getBlockByNumber=BLOCK, eth_maxPriorityFeePerGas="0x2")) == 18
    unknown = RpcError("no such method", code="rpc-error")
    assert gas_price(Scripted(eth_getBlockByNumber=BLOCK, eth_maxPriorityFeePerGas=unknown)) == 16 + 10**9


@pytest.mark.parametrize("nonsense", [None, [], {}, "many", -1, "-0x1"])
def test_nonsense_is_an_error_of_the_endpoint(nonsense: Any) -> None:
    with pytest.raises(RpcError):
        Scripted(eth_getBalance=nonsense).balance("0x" + "11" * 20)
    with pytest.raises(RpcError):
        gas_price(Scripted(eth_getBlockByNumber=nonsense))
    with pytest.raises(RpcError):
        gas_price(Scripted(eth_getBlockByNumber=BLOCK, eth_maxPriorityFeePerGas=nonsense))
    with pytest.raises(RpcError):
        gas_price(Scripted(eth_getBlockByNumber=BLOCK, eth_maxPriorityFeePerGas=RpcError("away")))
