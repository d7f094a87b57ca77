# SPDX-License-Identifier: Apache-2.0
"""A chain on which nothing but rounds happens, as JSON-RPC shows it: logs and storage of a RoundLedger without a node.

For histories that a real node would take hours for, and for reorgs as deep as wanted. What it shows agrees with itself
as a real ledger's would; nothing in it was signed, and no contract was asked whether it may be.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
from dataclasses import dataclass, field, replace
from typing import Any

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.ledger import packaged
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.batch import pack_entry
from folkmoot.protocol.commitment import NO_BUNDLE, Commitment, entries_hash
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.abi import function
from folkmoot.rpc.client import Phase, RoundView, Rpc
from tests import factories

SECONDS = 12
"""Between two blocks."""

BLOCKS = 100
"""From the opening of a round to that of the next, in `ScriptedLedger.play`."""


def hash_of(*about: object) -> bytes:
    """Return 32 bytes that stand for something."""
    return keccak(text=" ".join(map(str, about)))


def address_of(*about: object) -> str:
    """Return an address that stands for somebody."""
    return str(to_checksum_address(hash_of(*about)[:20]))


@dataclass
class ScriptedRound:
    """A round, as the storage has it."""

    view: RoundView
    base_state_root: bytes
    commitments: list[Commitment] = field(default_factory=list)


class ScriptedLedger:
    """A chain, which grows by what its methods are told.

    Args:
        policy: Its first policy.
        salt: Blocks of chains with other salts have other hashes.
    """

    def __init__(self, policy: Policy | None = None, salt: str = "") -> None:
        addresses = {role: address_of(role) for role in CONTRACTS}
        self.deployment = Deployment(31337, 1, **addresses, genesis_hash="0x" + hash_of("genesis").hex())
        self.policies = [policy or factories.policy()]
        self.block = 1
        self.rounds: dict[int, ScriptedRound] = {}
        self.asked: list[tuple[str, list[Any]]] = []
        self._salts = [(0, salt)]
        self._logs: list[tuple[int, int, list[str], str]] = []  # block, index, topics, data
        self._log("PolicyAdded", policyId=1, policy=self.policies[0].abi_tuple())

    # What happens

    def add_policy(self, policy: Policy) -> None:
        """Add a policy, which the next rounds pin."""
        self.policies.append(policy)
        self._log("PolicyAdded", policyId=len(self.policies), policy=policy.abi_tuple())

    def mine(self, blocks: int) -> None:
        """Let blocks go by."""
        self.block += blocks

    def open(self, base: int) -> int:
        """Open a round on a base; return its number."""
        number = max(self.rounds, default=0) + 1
        root = self.rounds[base].view.state_root if base else hash_of("state", 0)
        coordinator, header = address_of("coordinator"), hash_of("header", number)
        view = RoundView(
            len(self.policies),
            Phase.OPEN,
            0,
            self._time,
            self._time + 600,
            self._time + 1200,
            0,
            coordinator,
            base,
            0,
            header,
            bytes(32),
            bytes(32),
            bytes(32),
        )
        self.rounds[number] = ScriptedRound(view, root)
        self._log(
            "RoundOpened",
            round=number,
            policyId=view.policy,
            coordinator=coordinator,
            base=base,
            baseStateRoot=root,
            headerHash=header,
            commitDeadline=view.commit_deadline,
            anchorDeadline=view.anchor_deadline,
        )
        return number

    def commit(self, number: int, updates: int, roots: dict[int, bytes] | None = None) -> None:
        """Record updates in a round; `roots` has update roots by entry, where they are to be other ones."""
        one = self.rounds[number]
        for index in range(updates):
            root = (roots or {}).get(index, hash_of("update", number, index))
            made = Commitment(address_of("contributor", index), number, one.base_state_root, root, 1_000)
            one.commitments.append(made)
        entries = b"".join(map(pack_entry, one.commitments[-updates:] if updates else []))
        if entries:
            self._log("UpdatesCommitted", round=number, first=0, bundleHash=NO_BUNDLE, entries=entries)

    def anchor(self, number: int) -> None:
        """Anchor a round: all of its updates count."""
        count = len(self.rounds[number].commitments)
        roots = (hash_of(what, number) for what in ("mean", "state"))
        rest = (hash_of(what, number) for what in ("verdicts", "artifacts", "entries"))
        policy = self.policies[self.rounds[number].view.policy - 1]
        pays = (1,) * count if policy.has_pays else ()
        anchor = Anchor((1,) * count, pays, (1 << count) - 1, *roots, bytes(32), *rest)
        deadline = self._time + policy.challenge_window
        self._change(
            number,
            phase=Phase.ANCHORED,
            challenge_deadline=deadline,
            state_root=anchor.state_root,
            anchor_hash=anchor.hash,
        )
        self._log("RoundAnchored", round=number, anchor=anchor.abi_tuple(), challengeDeadline=deadline)

    def finalize(self, number: int) -> None:
        """Make a round final."""
        self._change(number, phase=Phase.FINAL)
        self._log("RoundFinalized", round=number, stateRoot=self.rounds[number].view.state_root)

    def cancel(self, number: int) -> None:
        """Cancel a round."""
        self._change(number, phase=Phase.CANCELLED)
        self._log("RoundCancelled", round=number, reason=1)

    def slash(self, number: int) -> None:
        """Void a round by a proof."""
        self._change(number, phase=Phase.SLASHED)
        who = {"verifier": address_of("verifier"), "challenger": address_of("challenger")}
        self._log("RoundSlashed", round=number, **who, bond=1)

    def play(self, updates: int, pending: int = 3, roots: dict[int, bytes] | None = None) -> int:
        """Play a whole round in `BLOCKS` blocks, and make the one final that is `pending` before it."""
        number = self.open(max(self.rounds, default=0))
        self.commit(number, updates, roots)
        self.mine(BLOCKS // 2)
        self.anchor(number)
        if number > pending:
            self.finalize(number - pending)
        self.mine(BLOCKS - BLOCKS // 2)
        return number

    def rewind(self, block: int, salt: str) -> None:
        """Take back all logs above a block, which a reorg took, and give later blocks other hashes.

        What the storage has of rounds that were changed since is the caller's to put right.
        """
        self.block = block
        self._logs = [log for log in self._logs if log[0] <= block]
        self._salts = [*(one for one in self._salts if one[0] <= block), (block + 1, salt)]
        seen = {int(topics[1], 16) for _, _, topics, _ in self._logs if topics[0] == _topic("RoundOpened")}
        self.rounds = {number: one for number, one in self.rounds.items() if number in seen}

    # What is answered

    def answer(self, method: str, params: list[Any]) -> Any:
        """Answer a request of JSON-RPC."""
        self.asked.append((method, params))
        match method:
            case "eth_chainId":
                return hex(self.deployment.chain_id)
            case "eth_blockNumber":
                return hex(self.block)
            case "eth_getCode":
                return "0x60"
            case "eth_getBlockByNumber":
                number = self.block if params[0] == "latest" else int(params[0], 16)
                made = {"number": hex(number), "timestamp": hex(number * SECONDS)}
                return {**made, "hash": self._block_hash(number)} if number <= self.block else None
            case "eth_getLogs":
                return self._found(int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16))
            case "eth_call":
                return "0x" + self._called(bytes.fromhex(params[0]["data"][2:])).hex()
        raise AssertionError(f"nothing is scripted for {method}")

    def _called(self, data: bytes) -> bytes:
        argument = int.from_bytes(data[4:36], "big")
        match data[:4]:
            case selector if selector == keccak(text="genesisHash()")[:4]:
                return hash_of("genesis")
            case selector if selector == keccak(text="nextRound()")[:4]:
                return encode(["uint64"], [max(self.rounds, default=0) + 1])
            case selector if selector == keccak(text="policies(uint32)")[:4]:
                return encode(
                    function("policies", "policies").outputs, [self.policies[argument - 1].abi_tuple()]
                )
            case selector if selector == keccak(text="policies()")[:4]:
                return encode(["address"], [self.deployment.policies])
            case selector if selector == keccak(text="rounds(uint64)")[:4]:
                one = self.rounds[argument]
                view = replace(
                    one.view, entries=len(one.commitments), entries_hash=self._entries_hash(argument)
                )
                return encode(function("ledger", "rounds").outputs, [dataclasses.astuple(view)])
        raise AssertionError(f"nothing is scripted for a call of 0x{data[:4].hex()}")

    def _found(self, first: int, last: int) -> list[dict[str, Any]]:
        start = bisect.bisect_left(self._logs, first, key=lambda log: log[0])
        end = bisect.bisect_right(self._logs, last, key=lambda log: log[0])
        return [
            {
                "address": self._emitter(topics[0]),
                "topics": topics,
                "data": data,
                "blockNumber": hex(block),
                "blockHash": self._block_hash(block),
                "transactionHash": self._block_hash(block),
                "logIndex": hex(index),
            }
            for block, index, topics, data in self._logs[start:end]
        ]

    # Inside

    def _emitter(self, topic: str) -> str:
        place = self.deployment
        return place.policies if topic == _topic("PolicyAdded") else place.ledger

    @property
    def _time(self) -> int:
        return self.block * SECONDS

    def _change(self, number: int, **values: Any) -> None:
        one = self.rounds[number]
        one.view = replace(one.view, **values)

    def _entries_hash(self, number: int) -> bytes:
        return entries_hash(self.rounds[number].commitments)

    def _block_hash(self, number: int) -> str:
        salt = next(salt for since, salt in reversed(self._salts) if since <= number)
        return _block_hash(number, salt)

    def _log(self, name: str, **values: Any) -> None:
        entry = _events()[name]
        indexed = [one for one in entry["inputs"] if one["indexed"]]
        plain = [one for one in entry["inputs"] if not one["indexed"]]
        topics = [encode([packaged.type_of(one)], [values[one["name"]]]) for one in indexed]
        data = encode([packaged.type_of(one) for one in plain], [values[one["name"]] for one in plain])
        index = self._logs[-1][1] + 1 if self._logs and self._logs[-1][0] == self.block else 0
        listed = [_topic(name), *("0x" + topic.hex() for topic in topics)]
        self._logs.append((self.block, index, listed, "0x" + data.hex()))


class ScriptedRpc(Rpc):
    """An endpoint of a scripted chain, in this process.

    Args:
        ledger: The chain.
        url: What it is called.
    """

    def __init__(self, ledger: ScriptedLedger, url: str = "http://scripted") -> None:
        super().__init__(url)
        self.ledger = ledger

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        """Answer as the chain does."""
        return self.ledger.answer(method, params or [])


@functools.cache
def _events() -> dict[str, dict[str, Any]]:
    entries = [*packaged.contract("policies").abi, *packaged.contract("ledger").abi]
    return {entry["name"]: entry for entry in entries if entry["type"] == "event"}


@functools.cache
def _topic(name: str) -> str:
    return "0x" + keccak(text=packaged.signature_of(_events()[name])).hex()


@functools.lru_cache(maxsize=1024)
def _block_hash(number: int, salt: str) -> str:
    return "0x" + hash_of("block", number, salt).hex()
