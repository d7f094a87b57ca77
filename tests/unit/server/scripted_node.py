# SPDX-License-Identifier: Apache-2.0
"""A chain that answers JSON-RPC as a script says: it loses transactions, reorganises, goes away. Only for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eth_abi.abi import encode
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from folkmoot.chain.fees import offered
from folkmoot.errors import ContractRefused, RpcError
from folkmoot.rpc import reverts
from folkmoot.rpc.client import Rpc


class ScriptedNode(Rpc):
    """An endpoint whose chain is a list of blocks, each with the hashes of its transactions."""

    def __init__(self, blocks: list[tuple[str, list[str]]] | None = None) -> None:
        super().__init__("http://node.invalid")
        self.blocks = blocks or [(block_hash(0, 0), [])]
        self.pool: dict[str, bytes] = {}
        self.sent: list[bytes] = []
        self.refusal: ContractRefused | None = None
        self.reverting = False
        self.failing = 0
        self.foreign = 0
        """Transactions of the account that are not ours."""
        self.forks = 0
        self.base_fee = 10
        self.tip = 1
        self.least_tip = 0
        """Tip that the pool asks for."""
        self.wanted_tip = 0
        """Tip that makers of blocks ask for."""
        self.step = 12
        """Seconds from block to block."""
        self.hidden: set[str] = set()
        """Transactions that the pool has and does not count."""
        self.mined: dict[str, bytes] = {}
        """Bytes of every transaction that was ever in a block."""
        self.logs_of: dict[str, list[dict[str, Any]]] = {}
        """Logs by the hash of their block."""
        self.limits: list[int | None] = []
        """Gas that each estimate was limited to."""
        self.before_answer: Callable[[str], None] = lambda _method: None

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        """Answer a request."""
        self.before_answer(method)
        if self.failing:
            self.failing -= 1
            raise RpcError("The node is away.")
        asked = params or []
        match method:
            case "eth_getBlockByNumber":
                return self._block(asked[0])
            case "eth_getTransactionCount":
                return hex(self._count(asked[1]))
            case "eth_getTransactionReceipt":
                return self._receipt(asked[0])
            case "eth_sendRawTransaction":
                return self._take(bytes.fromhex(asked[0][2:]))
            case "eth_estimateGas":
                self.limits.append(int(asked[0]["gas"], 16) if "gas" in asked[0] else None)
                return self._or_refusal(hex(21_000))
            case "eth_call":
                return self._or_refusal("0x")
            case "eth_maxPriorityFeePerGas":
                return hex(self.tip)
            case "eth_getLogs":
                return self._logs(int(asked[0]["fromBlock"], 16), int(asked[0]["toBlock"], 16))
        raise AssertionError(f"{method} is not part of the script")

    def mine(self) -> None:
        """Make a block of everything in the pool that pays its base fee."""
        number = len(self.blocks)
        taken: dict[str, bytes] = {}
        count = self._count(hex(number))
        for name, raw in sorted(self.pool.items(), key=lambda item: nonce_of(item[1])):
            pays = (
                offered(raw).tip >= self.wanted_tip and offered(raw).cap >= self.base_fee + offered(raw).tip
            )
            if nonce_of(raw) == count + len(taken) and pays:
                taken[name] = raw
        self.blocks.append((block_hash(self.forks, number), list(taken)))
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

    def _block(self, tag: str) -> dict[str, str] | None:
        number = len(self.blocks) - 1 if tag == "latest" else int(tag, 16)
        if number >= len(self.blocks):
            return None
        place = {"number": hex(number), "hash": self.blocks[number][0]}
        return {**place, "timestamp": hex(number * self.step), "baseFeePerGas": hex(self.base_fee)}

    def _count(self, tag: str) -> int:
        until = int(tag, 16) + 1 if tag.startswith("0x") else len(self.blocks)
        count = sum(len(hashes) for _, hashes in self.blocks[:until]) + self.foreign
        if tag == "pending":  # a pool counts what can follow without a gap
            waiting = {nonce_of(raw) for name, raw in self.pool.items() if name not in self.hidden}
            while count in waiting:
                count += 1
        return count

    def _receipt(self, name: str) -> dict[str, str] | None:
        for number, (place, hashes) in enumerate(self.blocks):
            if name in hashes:
                where = {"transactionHash": name, "blockNumber": hex(number), "blockHash": place}
                return {**where, "status": "0x0" if self.reverting else "0x1", "gasUsed": hex(21_000)}
        return None

    def _take(self, raw: bytes) -> str:
        self.sent.append(raw)
        name = "0x" + keccak(raw).hex()
        if self._receipt(name) is not None:
            raise _refused("nonce too low")
        if offered(raw).tip < self.least_tip:
            raise _refused(
                f"transaction underpriced: gas tip cap {offered(raw).tip}, minimum needed {self.least_tip}"
            )
        for other, old in list(self.pool.items()):
            if nonce_of(old) == nonce_of(raw) and other != name:
                new, paid = offered(raw), offered(old)
                if new.tip * 10 < paid.tip * 11 or new.cap * 10 < paid.cap * 11:
                    raise _refused("replacement transaction underpriced")
                del self.pool[other]
        self.pool[name] = raw
        return name

    def _or_refusal(self, answer: str) -> str:
        if self.refusal is not None:
            raise self.refusal
        return answer

    def _logs(self, first: int, last: int) -> list[dict[str, Any]]:
        logs = []
        for number in range(first, min(last, len(self.blocks) - 1) + 1):
            name = self.blocks[number][0]
            for index, log in enumerate(self.logs_of.get(name, [])):
                place = {"blockNumber": hex(number), "blockHash": name, "logIndex": hex(index)}
                logs.append({**log, **place, "transactionHash": "0x" + "11" * 32})
        return logs


def _refused(message: str) -> RpcError:
    return RpcError(f"The node answered: {message}.", code="rpc-error", details={"message": message})


def reverted(name: str) -> ContractRefused:
    """Return what `Rpc.call` raises when a call reverts with a contract's error; its values are zeros."""
    selector, error = next(item for item in reverts.catalogue().items() if item[1].name == name)
    zeros = encode(error.types, [0] * len(error.types))
    return reverts.explain(selector + zeros)


def block_hash(fork: int, number: int) -> str:
    """Return the hash of a block, which has its number in clear."""
    return f"0x{fork:032x}{number:032x}"


def nonce_of(raw: bytes) -> int:
    """The nonce of a signed transaction."""
    return int(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["nonce"])


ACCOUNT = Account.from_key(b"\x07" * 32)
