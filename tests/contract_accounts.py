# SPDX-License-Identifier: Apache-2.0
"""Accounts that are contracts, on a local chain: the real Safe, a plain owner's wallet, and hostile ones.

The Safe's artifacts are those of the npm package of `package.json`. The others are a few instructions of the EVM, given
to an address by `anvil_setCode`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eth_abi.abi import decode, encode
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.devnet.anvil import Anvil
from folkmoot.protocol.wallets import join_signatures
from tests import factories

PACKAGE = Path(__file__).resolve().parent.parent / "node_modules/@safe-global/safe-smart-account"
NOBODY = "0x" + "00" * 20

_ANSWER = "631626ba7e60e01b025f5260205ff3"
"""Return the magic value if the word on the stack is 1, and zero if it is 0."""

OWNED = (
    "600435" + "5f52"  # the digest to memory 0
    "60a435" + "5f1a" + "602052"  # v
    "606435" + "604052"  # r
    "608435" + "606052"  # s
    "60205f60805f60015afa50"  # ecrecover to memory 0
    "5f51" + "5f54" + "14" + _ANSWER  # whether that is the address in storage 0
)
"""Accepts a signature of the digest by the account in its first storage slot, as OpenZeppelin's `ECDSA` reads it."""

HOSTILE = {
    "accepts everything": "6001" + _ANSWER,
    "accepts in simulations only": "3a15" + _ANSWER,  # whether the gas price is zero
    "burns all gas in transactions": "3a15600657fe5b6001" + _ANSWER,
    "burns all gas": "fe",
    "reverts": "5f5ffd",
    "leaves no gas to the ledger": "5b5a610fa011155f576001" + _ANSWER,
    "answers junk": "7f" + "ab" * 32 + "5f5260205ff3",
    "answers nothing": "00",
    "answers four bytes": "631626ba7e60e01b5f5260045ff3",
    "answers 200,000 bytes of junk": "62030d405ff3",
    "answers 200,000 bytes and accepts": "631626ba7e60e01b5f5262030d405ff3",
}


class Unlocked:
    """Sends transactions of any account of a local chain, contracts included."""

    def __init__(self, anvil: Anvil) -> None:
        self.anvil = anvil

    def send(self, sender: str, to: str | None, data: bytes) -> dict[str, Any]:
        """Send a transaction that must succeed; return its receipt."""
        self.anvil.fund(sender)
        self.anvil.call("anvil_impersonateAccount", sender)
        call = {"from": sender, "data": "0x" + data.hex(), "gas": hex(8_000_000)}
        hash_ = self.anvil.call("eth_sendTransaction", call if to is None else {**call, "to": to})
        self.anvil.call("anvil_stopImpersonatingAccount", sender)
        end = time.monotonic() + 30
        while (receipt := self.anvil.call("eth_getTransactionReceipt", hash_)) is None:
            assert time.monotonic() < end, "the transaction is not mined"
        assert receipt["status"] == "0x1", receipt
        return dict(receipt)

    def call(self, to: str, signature: str, returns: list[str], *arguments: Any) -> Any:
        """Call a function; return its only result."""
        answer = self.anvil.call("eth_call", {"to": to, "data": "0x" + _data(signature, *arguments).hex()})
        (value,) = decode(returns, bytes.fromhex(answer[2:]))
        return value


def _data(signature: str, *arguments: Any) -> bytes:
    types = signature[signature.index("(") + 1 : -1]
    return keccak(text=signature)[:4] + encode(types.split(",") if types else [], list(arguments))


class Safes(Unlocked):
    """The Safe contracts on a local chain."""

    def __init__(self, anvil: Anvil) -> None:
        super().__init__(anvil)
        self.handler = self._deploy("handler/CompatibilityFallbackHandler")
        self._singleton, self._factory = self._deploy("Safe"), self._deploy("proxies/SafeProxyFactory")

    def _deploy(self, source: str) -> str:
        name = source.rpartition("/")[2]
        path = PACKAGE / "build/artifacts/contracts" / f"{source}.sol" / f"{name}.json"
        assert path.exists(), f"{path} is missing: run `make install`"
        code = bytes.fromhex(json.loads(path.read_text())["bytecode"][2:])
        return str(self.send(factories.account("outsider").address, None, code)["contractAddress"])

    def create(self, owners: Sequence[str], threshold: int, handler: str | None = None) -> str:
        """Create a Safe of named owners; return its address."""
        addresses = [factories.account(owner).address for owner in owners]
        types = "(address[],uint256,address,bytes,address,address,uint256,address)"
        handler = self.handler if handler is None else handler
        setup = _data(f"setup{types}", addresses, threshold, NOBODY, b"", handler, NOBODY, 0, NOBODY)
        create = _data("createProxyWithNonce(address,bytes,uint256)", self._singleton, setup, threshold)
        receipt = self.send(factories.account("outsider").address, self._factory, create)
        topic = "0x" + keccak(text="ProxyCreation(address,address)").hex()
        (log,) = [one for one in receipt["logs"] if one["topics"][0] == topic]
        return str(to_checksum_address("0x" + log["topics"][1][-40:]))

    def execute(self, safe: str, owners: Sequence[str], to: str, data: bytes) -> None:
        """Let a Safe call a contract, signed by named owners."""
        fields = (to, 0, data, 0, 0, 0, 0, NOBODY, NOBODY)
        types = "address,uint256,bytes,uint8,uint256,uint256,uint256,address,address"
        nonce = self.call(safe, "nonce()", ["uint256"])
        digest = self.call(safe, f"getTransactionHash({types},uint256)", ["bytes32"], *fields, nonce)
        people = [factories.account(owner) for owner in owners]
        signatures = join_signatures({who.address: _signature(who, digest) for who in people})
        call = _data(f"execTransaction({types},bytes)", *fields, signatures)
        self.send(factories.account("outsider").address, safe, call)


def _signature(who: LocalAccount, digest: bytes) -> bytes:
    return bytes(who.unsafe_sign_hash(Hash32(digest)).signature)


def plant(anvil: Anvil, name: str, code: str, owner: str = "") -> str:
    """Make the account of a name a contract with this code; return its address."""
    address = factories.account(f"contract {name}").address
    anvil.call("anvil_setCode", address, "0x" + code)
    if owner:
        word = "0x" + factories.account(owner).address[2:].lower().rjust(64, "0")
        anvil.call("anvil_setStorageAt", address, "0x0", word)
    return str(address)


def enrolling(world: factories.Federation, account: str) -> tuple[str, bytes]:
    """Stake for a contract account; return the call by which it enrols: the address to call, and the data."""
    chain, payer = world.chain, world["newcomer"]
    amount = factories.policy().min_stake
    chain.send(chain.token.functions.approve(chain.deployment.vault, amount), payer)
    chain.send(chain.vault.functions.stake(account, amount), payer)
    return chain.deployment.ledger, _data("enrol(uint256)", amount)


def enrol(world: factories.Federation, account: str) -> None:
    """Stake for a contract account that is no Safe, and enrol it."""
    Unlocked(world.anvil).send(account, *enrolling(world, account))
