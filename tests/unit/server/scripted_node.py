# SPDX-License-Identifier: Apache-2.0
"""A chain that does what a script says: it loses transactions, reorganises, goes away. Only for tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from folkmoot.errors import ContractRefused, RpcError
from server.chain.fees import offered
from server.chain.node import FEE_TOO_LOW, Block, Receipt


@dataclass
class ScriptedNode:
    """A node whose chain is a list of blocks, each with the hashes of its transactions."""

    blocks: list[tuple[str, list[str]]] = field(default_factory=lambda: [("0xgenesis", [])])
    pool: dict[str, bytes] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    refusal: ContractRefused | None = None
    reverting: bool = False
    failing: int = 0
    foreign: int = 0
    """Transactions of the account that are not ours."""
    forks: int = 0
    base_fee: int = 10
    tip: int = 1
    step: int = 12
    """Seconds from block to block."""
    hidden: set[str] = field(default_factory=set)
    """Transactions that the pool has and does not count."""
    mined: dict[str, bytes] = field(default_factory=dict)
    """Bytes of every transaction that was ever in a block."""
    logs_of: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    limits: list[int | None] = field(default_factory=list)
    """Gas that each estimate was limited to."""
    before_answer: Callable[[str], None] = lambda _method: None

    def _answer(self, method: str) -> None:
        self.before_answer(method)
        if self.failing:
            self.failing -= 1
            raise RpcError("The node is away.")

    def mine(self) -> None:
        """Make a block of everything in the pool that pays its base fee."""
        number = len(self.blocks)
        taken: dict[str, bytes] = {}
        count = self.transaction_count("", number)
        for name, raw in sorted(self.pool.items(), key=lambda item: nonce_of(item[1])):
            if nonce_of(raw) == count + len(taken) and offered(raw).cap >= self.base_fee + offered(raw).tip:
                taken[name] = raw
        self.blocks.append((f"0xblock-{self.forks}-{number}", list(taken)))
        self.mined |= taken
        for name in taken:
            del self.pool[name]

    def bring_back(self, raw: bytes) -> None:
        """Make a block of one transaction, whatever the pool has: somebody kept it."""
        self.pool = {"0x" + keccak(raw).hex(): raw}
        self.mine()

    def reorganise(self, depth: int) -> None:
        """Take the newest blocks away; their transactions are lost."""
        del self.blocks[-depth:]
        self.forks += 1

    def latest(self) -> Block:
        """See `Node`."""
        self._answer("latest")
        return self._block(len(self.blocks) - 1)

    def _block(self, number: int) -> Block:
        return Block(number, self.blocks[number][0], number * self.step, self.base_fee)

    def block(self, number: int) -> Block | None:
        """See `Node`."""
        self._answer("block")
        return self._block(number) if number < len(self.blocks) else None

    def transaction_count(self, account: str, block: int | str) -> int:
        """See `Node`."""
        self._answer("transaction_count")
        until = block + 1 if isinstance(block, int) else len(self.blocks)
        count = sum(len(hashes) for _, hashes in self.blocks[:until]) + self.foreign
        if block == "pending":  # a pool counts what can follow without a gap
            waiting = {nonce_of(raw) for name, raw in self.pool.items() if name not in self.hidden}
            while count in waiting:
                count += 1
        return count

    def receipt(self, transaction_hash: str) -> Receipt | None:
        """See `Node`."""
        self._answer("receipt")
        for number, (block_hash, hashes) in enumerate(self.blocks):
            if transaction_hash in hashes:
                return Receipt(number, block_hash, not self.reverting, 21_000)
        return None

    def send(self, raw: bytes) -> None:
        """See `Node`."""
        self._answer("send")
        self.sent.append(raw)
        transaction_hash = "0x" + keccak(raw).hex()
        if self.receipt(transaction_hash) is not None:
            return
        for name, old in list(self.pool.items()):
            if nonce_of(old) == nonce_of(raw) and name != transaction_hash:
                if (
                    offered(raw).tip * 10 < offered(old).tip * 11
                    or offered(raw).cap * 10 < offered(old).cap * 11
                ):
                    raise RpcError("replacement transaction underpriced", code=FEE_TOO_LOW)
                del self.pool[name]
        self.pool[transaction_hash] = raw

    def estimate(self, account: str, to: str, data: bytes, gas: int | None = None) -> int:
        """See `Node`."""
        self._answer("estimate")
        self.limits.append(gas)
        if self.refusal is not None:
            raise self.refusal
        return 21_000

    def call(self, account: str, to: str, data: bytes, block: int | str = "latest") -> bytes:
        """See `Node`."""
        self._answer("call")
        if self.refusal is not None:
            raise self.refusal
        return b""

    def priority_fee(self) -> int:
        """See `Node`."""
        self._answer("priority_fee")
        return self.tip

    def logs(self, addresses: list[str], first: int, last: int) -> list[dict[str, Any]]:
        """See `Node`."""
        self._answer("logs")
        found = []
        for number in range(first, min(last, len(self.blocks) - 1) + 1):
            block_hash = self.blocks[number][0]
            for index, log in enumerate(self.logs_of.get(block_hash, [])):
                place = {"blockNumber": hex(number), "blockHash": block_hash, "logIndex": hex(index)}
                found.append({**log, **place, "transactionHash": "0x" + "11" * 32})
        return found


def nonce_of(raw: bytes) -> int:
    """The nonce of a signed transaction."""
    return int(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["nonce"])


ACCOUNT = Account.from_key(b"\x07" * 32)
