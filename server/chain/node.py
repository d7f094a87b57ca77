# SPDX-License-Identifier: Apache-2.0
"""What the coordinator asks of an Ethereum node, and the one real implementation, over `folkmoot.rpc.client`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from folkmoot.errors import ContractRefused, RpcError
from folkmoot.ledger.reverts import explain
from folkmoot.rpc.client import PLACE_BITS, Rpc
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.rpc.refusals import Refusal, refusal_in

_GWEI = 10**9
FEE_TOO_LOW = "fee-too-low"
"""Code of the error of a node that takes a transaction only with higher fees."""
TURNED_AWAY = (FEE_TOO_LOW, "no-gas-money", "rpc-error")
"""Codes of errors of a node that is there and does not take a transaction now."""


@dataclass(frozen=True)
class Block:
    """A block, as far as it matters here."""

    number: int
    hash: str
    timestamp: int
    base_fee: int


@dataclass(frozen=True)
class Receipt:
    """What became of a transaction."""

    block_number: int
    block_hash: str
    succeeded: bool
    gas_used: int


class Node(Protocol):
    """An Ethereum node. Every method raises RpcError when there is no answer."""

    def latest(self) -> Block:
        """The newest block."""

    def block(self, number: int) -> Block | None:
        """A block of the canonical chain; none if it is not there (yet)."""

    def transaction_count(self, account: str, block: int | str) -> int:
        """Transactions that the account has sent up to a block, or with the mempool ("pending")."""

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """Receipt of a transaction; none while it is not in the canonical chain."""

    def send(self, raw: bytes) -> None:
        """Hand over a signed transaction. To hand it over again does no harm.

        Raises:
            RpcError: Also when the node does not take it now, with a code of `TURNED_AWAY`.
        """

    def estimate(self, account: str, to: str, data: bytes, gas: int | None = None) -> int:
        """Gas that the call would take now, with at most so much.

        Raises:
            ContractRefused: It would revert, or take more; decoded.
        """

    def call(self, account: str, to: str, data: bytes, block: int | str = "latest") -> bytes:
        """Result of a call at the end of a block.

        Raises:
            ContractRefused: It reverts; decoded.
        """

    def priority_fee(self) -> int:
        """Tip per gas that gets a transaction in."""

    def logs(self, addresses: list[str], first: int, last: int) -> list[dict[str, Any]]:
        """Raw logs of a range of blocks, both ends included."""

    def block_logs(self, addresses: list[str], block_hash: str) -> list[dict[str, Any]]:
        """Raw logs of the block with this hash. A node that does not have it gives no answer, not an empty one."""


class RpcNode:
    """A node behind a JSON-RPC endpoint."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc

    def latest(self) -> Block:
        """The newest block."""
        block = self._block("latest")
        if block is None:
            raise RpcError("The RPC endpoint has no newest block.", remedy="Check that the node is in sync.")
        return block

    def block(self, number: int) -> Block | None:
        """A block of the canonical chain."""
        return self._block(hex(number))

    def now(self, chain_id: int) -> int:
        """The chain's time. A local Anvil makes blocks only on demand: there the block under way counts."""
        latest = self.latest().timestamp
        if chain_id == LOCAL_CHAIN_ID:
            pending = self._block("pending")
            return max(latest, pending.timestamp if pending else 0)
        return latest

    def transaction_count(self, account: str, block: int | str) -> int:
        """Transactions that the account has sent."""
        tag = hex(block) if isinstance(block, int) else block
        method = "eth_getTransactionCount"
        return self.rpc.quantity(method, self.rpc.call(method, [account, tag]))

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """Receipt of a transaction."""
        method = "eth_getTransactionReceipt"
        found = self.rpc.call(method, [transaction_hash])
        if found is None:
            return None
        member, quantity = partial(self.rpc.member, method, found), partial(self.rpc.quantity, method)
        if member("blockHash") is None:
            return None  # some nodes answer for what is in their pool
        if self.rpc.digest(method, member("transactionHash")) != transaction_hash:
            raise self.rpc.nonsense(method, member("transactionHash"))
        return Receipt(
            block_number=quantity(member("blockNumber"), PLACE_BITS),
            block_hash=self.rpc.digest(method, member("blockHash")),
            succeeded=quantity(member("status")) == 1,
            gas_used=quantity(member("gasUsed"), PLACE_BITS),
        )

    def send(self, raw: bytes) -> None:
        """Hand over a signed transaction."""
        try:
            self.rpc.call("eth_sendRawTransaction", ["0x" + raw.hex()])
        except RpcError as exc:
            refusal = refusal_in(exc.message)
            if refusal in (Refusal.ALREADY_KNOWN, Refusal.NONCE_USED):
                return
            if refusal is Refusal.FEE_TOO_LOW:
                raise RpcError(
                    exc.message,
                    remedy="It is replaced by one with higher fees once it has waited.",
                    code=FEE_TOO_LOW,
                ) from exc
            if refusal is Refusal.NO_GAS_MONEY:
                raise RpcError(
                    exc.message,
                    remedy="Send the coordinator's account native coins: it can't pay the gas.",
                    code="no-gas-money",
                ) from exc
            raise

    def estimate(self, account: str, to: str, data: bytes, gas: int | None = None) -> int:
        """Gas that the call would take now."""
        method = "eth_estimateGas"
        limit = {} if gas is None else {"gas": hex(gas)}
        return self.rpc.quantity(method, self._simulate(method, account, to, data, **limit))

    def call(self, account: str, to: str, data: bytes, block: int | str = "latest") -> bytes:
        """Result of a call at the end of a block."""
        tag = hex(block) if isinstance(block, int) else block
        result = self._simulate("eth_call", account, to, data, tag)
        try:
            return bytes.fromhex(result.removeprefix("0x"))
        except (AttributeError, ValueError) as exc:
            raise self.rpc.nonsense("eth_call", result) from exc

    def priority_fee(self) -> int:
        """Tip per gas that gets a transaction in."""
        method = "eth_maxPriorityFeePerGas"
        try:
            return self.rpc.quantity(method, self.rpc.call(method, []))
        except RpcError as exc:
            if exc.code != "rpc-error":
                raise
            return _GWEI  # not every node offers the method

    def logs(self, addresses: list[str], first: int, last: int) -> list[dict[str, Any]]:
        """Raw logs of a range of blocks."""
        return self._logs({"address": addresses, "fromBlock": hex(first), "toBlock": hex(last)})

    def block_logs(self, addresses: list[str], block_hash: str) -> list[dict[str, Any]]:
        """Raw logs of the block with this hash."""
        return self._logs({"address": addresses, "blockHash": block_hash})

    def move_clock(self, timestamp: int) -> None:
        """Let the next block have this time, and make it. Only Anvil can do this."""
        self.rpc.call("evm_setNextBlockTimestamp", [timestamp])
        self.rpc.call("evm_mine", [])

    def _logs(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        found = self.rpc.call("eth_getLogs", [query])
        if not isinstance(found, list) or not all(isinstance(log, dict) for log in found):
            raise self.rpc.nonsense("eth_getLogs", found)
        return found

    def _simulate(self, method: str, account: str, to: str, data: bytes, *more: str, **limit: str) -> Any:
        call = {"from": account, "to": to, "data": "0x" + data.hex(), **limit}
        try:
            return self.rpc.call(method, [call, *more])
        except ContractRefused as exc:
            raise explain(exc.details.get("data")) from exc

    def _block(self, tag: str) -> Block | None:
        method = "eth_getBlockByNumber"
        found = self.rpc.call(method, [tag, False])
        if found is None:
            return None
        member, quantity = partial(self.rpc.member, method, found), partial(self.rpc.quantity, method)
        pending = tag == "pending"  # it has no hash yet, and with some nodes no number
        number = 0 if pending else quantity(member("number"), PLACE_BITS)
        if tag.startswith("0x") and number != int(tag, 16):
            raise self.rpc.nonsense(method, found)
        return Block(
            number=number,
            hash="" if pending else self.rpc.digest(method, member("hash")),
            timestamp=quantity(member("timestamp"), PLACE_BITS),
            base_fee=quantity(found.get("baseFeePerGas") or "0x0"),
        )
