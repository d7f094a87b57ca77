# SPDX-License-Identifier: Apache-2.0
"""What a local Anvil does that no other chain can: move its clock and fund an account.

Refuses to work on any other chain. Starts no program: `folkmoot.devnet` does.
"""

from __future__ import annotations

from folkmoot.errors import LocalError
from folkmoot.rpc.client import Rpc

LOCAL_CHAIN_ID = 31337
"""Chain id of local chains."""

FUNDS = 10**22
"""Wei that `fund` gives."""


def advance(rpc: Rpc, seconds: int) -> int:
    """Move the clock of a local chain forward by a number of seconds and mine a block; return the new Unix time.

    Raises:
        LocalError: the chain is not a local Anvil (chain id 31337), or `seconds` is not above zero.
    """
    require_local(rpc, "its clock can't be moved", "wait")
    if seconds <= 0:
        raise LocalError(
            f"A clock can't be moved by {seconds} seconds.",
            remedy="Give a number above zero.",
            code="not-forward",
        )
    rpc.call("evm_increaseTime", [seconds])
    rpc.call("evm_mine")
    return rpc.latest_timestamp()


def fund(rpc: Rpc, address: str, wei: int = FUNDS) -> None:
    """Set the balance of an account of a local chain, in wei.

    Raises:
        LocalError: the chain is not a local Anvil.
    """
    require_local(rpc, "money can't be made on it", "send the account some")
    rpc.call("hardhat_setBalance", [address, hex(wei)])  # Anvil has this name, too


def require_local(rpc: Rpc, so: str, elsewhere: str) -> None:
    """Check that an endpoint serves a local chain.

    Args:
        so: What follows if it does not.
        elsewhere: What to do on other chains.
    """
    chain_id = rpc.chain_id()
    if chain_id != LOCAL_CHAIN_ID:
        raise LocalError(
            f"Chain {chain_id} is not a local chain, so {so}.",
            remedy=f"Use this with a local Anvil (chain id {LOCAL_CHAIN_ID}) only; elsewhere, {elsewhere}.",
            code="not-a-local-chain",
        )
