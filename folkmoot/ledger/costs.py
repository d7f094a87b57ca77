# SPDX-License-Identifier: Apache-2.0
"""What a round costs its coordinator in gas, and how many rounds an account can pay.

A coordinator whose account has no coins left can't anchor, and loses the round; one that can't answer a demand loses
its bond.
"""

from __future__ import annotations

from folkmoot.errors import RpcError
from folkmoot.rpc.client import Rpc

# Measured: contracts/snapshots/RoundLedger.json (open, commit and anchor 100 entries, finalize, settle 100 entries).
_ROUND = 400_000
_ENTRY = 43_000

_GWEI = 10**9

COIN = 10**18
"""Wei of one of the chain's native coins."""


def round_gas(entries: int) -> int:
    """Return about what a round with so many entries takes in gas, from its opening to its settlement."""
    return _ROUND + _ENTRY * entries


def gas_price(rpc: Rpc) -> int:
    """Return what a unit of gas costs now, in wei: the base fee of the newest block and a tip.

    Raises:
        RpcError: the endpoint failed.
    """
    method = "eth_getBlockByNumber"
    block = rpc.call(method, ["latest", False])
    rpc.member(method, block, "number")
    base = rpc.quantity(method, block.get("baseFeePerGas") or "0x0")  # chains without EIP-1559 have none
    method = "eth_maxPriorityFeePerGas"
    try:
        return base + rpc.quantity(method, rpc.call(method))
    except RpcError as error:
        if error.code != "rpc-error":
            raise
        return base + _GWEI  # not every node offers the method


def balance_of(rpc: Rpc, account: str) -> int:
    """Return what an account has of the chain's native coin, in wei.

    Raises:
        RpcError: the endpoint failed.
    """
    method = "eth_getBalance"
    return rpc.quantity(method, rpc.call(method, [account, "latest"]))


def rounds_affordable(balance: int, gas: int, price: int) -> float:
    """Return how many rounds a balance pays.

    Args:
        balance: In wei.
        gas: Gas of a round.
        price: Wei of a unit of gas.
    """
    return balance / max(1, gas * price)
