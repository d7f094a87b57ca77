# SPDX-License-Identifier: Apache-2.0
"""What a round costs its coordinator in gas, and how many rounds an account can pay.

A coordinator whose account has no coins left can't anchor, and loses the round; one that can't answer a demand loses
its bond.
"""

from __future__ import annotations

from folkmoot.rpc.client import Rpc

# Measured, with 100 entries: contracts/snapshots/RoundLedger.json (open, commit, anchor, finalize) and Rewards.json
# (settle).
_ROUND = 400_000
_ENTRY = 43_000

COIN = 10**18
"""Wei of one of the chain's native coins."""


def round_gas(entries: int) -> int:
    """Return about what a round with so many entries takes in gas, from its opening to its settlement."""
    return _ROUND + _ENTRY * entries


def gas_price(rpc: Rpc) -> int:
    """Return what a unit of gas costs now, in wei: the base fee of the newest block and a tip."""
    return rpc.latest().base_fee + rpc.priority_fee()


def rounds_affordable(balance: int, gas: int, price: int) -> float:
    """Return how many rounds a balance pays.

    Args:
        balance: In wei.
        gas: Gas of a round.
        price: Wei of a unit of gas.
    """
    return balance / max(1, gas * price)
