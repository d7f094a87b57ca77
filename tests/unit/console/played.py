# SPDX-License-Identifier: Apache-2.0
"""Rounds that Python computed, with the evidence of each as `folkmoot export evidence` writes it, but without a chain.

What a chain would say is made here from the rounds. A lie is told as a coordinator would tell it: hashes and lists that
follow from it are right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from eth_abi.abi import encode

from folkmoot.aggregation.lineage import window
from folkmoot.ledger import packaged
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.batch import pack_batch, pack_entry
from folkmoot.protocol.commitment import NO_BUNDLE, Commitment, entries_hash
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.hashing import canonical_json, keccak, sha256_hex
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.mean import largest_scale
from folkmoot.protocol.packing import largest, pack
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import payments
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import UpdateReader
from folkmoot.protocol.verdict import Artifacts
from folkmoot.round import RoundOutcome, compute_round
from folkmoot.rpc.abi import encode_call, function
from tests.unit import worlds
from tests.unit.worlds import COORDINATOR, LEDGER, MANIFEST, NAMES, World

REWARDS = "0x" + "77" * 20
HASH = "0x" + "11" * 32


@dataclass
class Played:
    """A round as it was played."""

    header: RoundHeader
    policy: Policy
    base: State
    commitments: Sequence[Commitment]
    updates: Sequence[UpdateReader | None]
    signatures: list[bytes]
    anchor: Anchor
    verdicts: bytes
    artifacts: bytes
    mean: bytes
    signed: bool = True
    """Whether the batch went to the ledger; else to another contract, whose call data may have any meaning."""

    def relisted(self, **changes: Any) -> Played:
        """Return it with other entries in its list of files, and the hashes that follow."""
        listed = dataclasses.replace(Artifacts.from_json(self.artifacts), **changes)
        return self.anchored(artifacts=listed.to_json())

    def anchored(self, **changes: Any) -> Played:
        """Return it with other documents, or another anchor, and the hashes that follow."""
        anchor = {
            key: value for key, value in changes.items() if key not in ("verdicts", "artifacts", "mean")
        }
        other = dataclasses.replace(self, **{key: changes[key] for key in changes if key not in anchor})
        hashes = {"verdict_hash": keccak(other.verdicts), "artifacts_hash": keccak(other.artifacts)}
        return dataclasses.replace(other, anchor=dataclasses.replace(self.anchor, **hashes | anchor))


@dataclass
class Told(World):
    """A federation that remembers what it played."""

    rounds: dict[int, Played] = field(default_factory=dict)
    first: tuple[State, tuple[int, ...]] | None = None
    sink: BytesIO = field(default_factory=BytesIO)

    def outcome(self, pairs: Sequence[tuple[Commitment, UpdateReader | None]], **_: Any) -> RoundOutcome:
        """Outcome of the current round with these entries; the mean file goes to the sink."""
        self.sink = BytesIO()
        return compute_round(
            self.manifest, self.header, self.policy, self.state, [entry for entry, _ in pairs],
            [update for _, update in pairs], coordinator=worlds.account(COORDINATOR).address, lineage=self.lineage,
            mean_sink=self.sink,
        )  # fmt: skip

    def tell(self, pairs: Sequence[tuple[Commitment, UpdateReader | None]]) -> Played:
        """Play a round with these entries."""
        self.first = self.first or (self.state, self.exponents)
        header, policy, base, number = self.header, self.policy, self.state, self.round
        outcome: RoundOutcome = self.play(pairs)
        entries = [entry for entry, _ in pairs]
        names: dict[str, str] = {worlds.account(name).address: name for name in (*NAMES, COORDINATOR)}
        signatures = [one.sign(worlds.account(names[one.contributor]), worlds.DOMAIN) for one in entries]
        self.rounds[number] = Played(
            header, policy, base, entries, [update for _, update in pairs], signatures, outcome.anchor,
            outcome.verdicts_file, outcome.artifacts_file, self.sink.getvalue(),
        )  # fmt: skip
        return self.rounds[number]

    def evidence(self, number: int, *, without: Sequence[str] = (), **changes: Any) -> bytes:
        """Return the evidence of a round, with other values in its first line.

        Args:
            number: The round.
            without: Names of files that are left out.
            changes: Replaced fields.
        """
        assert self.first is not None
        round_ = self.rounds[number]
        numbers = [*window(number - 1, lambda one: one - 1), number]
        genesis = Genesis(
            sha256_hex(self.manifest.to_json()), self.first[0].sha256(), self.first[1]
        ).to_json()
        files = [genesis, self.manifest.to_json(), round_.verdicts, round_.mean, round_.base.to_bytes()]
        files.append(self.rounds[numbers[0]].base.to_bytes())
        for one in numbers:
            files.append(self.rounds[one].artifacts)
            files += [bytes(update) for update in map(packed, self.rounds[one].updates) if update]
        kept = {name: data for data in files if (name := sha256_hex(data)) not in without}
        amounts = payments(
            round_.policy.reward, round_.policy.max_contributors, round_.anchor.weights, round_.anchor.pays,
            [one.contributor != worlds.account(COORDINATOR).address for one in round_.commitments],
        )  # fmt: skip
        paid = [
            log(
                "rewards",
                "RewardCredited",
                [number, address_word(one.contributor)],
                encode(["uint256"], [amount]),
            )
            for one, amount in zip(round_.commitments, amounts, strict=True)
            if amount
        ]
        call = function("policies", "policies")
        head = {
            "format": "folkmoot/evidence/1",
            "chainId": worlds.CHAIN_ID,
            "ledger": LEDGER.lower(),
            "rewards": REWARDS,
            "block": {"number": 7, "hash": HASH},
            "round": number,
            "genesisHash": "0x" + keccak(genesis).hex(),
            "manifestHash": "0x" + self.manifest.hash.hex(),
            "policy": {"id": 1, "data": "0x" + encode(call.outputs, [round_.policy.abi_tuple()]).hex()},
            "settled": True,
            "rounds": [stored(one, self.rounds[one]) for one in numbers],
            "logs": [entry for one in numbers for entry in logs(one, self.rounds[one])] + paid,
            "transactions": [sent(number, round_)],
            "files": [{"sha256": name, "size": len(data)} for name, data in kept.items()],
            **changes,
        }
        return canonical_json(head) + b"\n" + b"".join(kept.values())


def packed(update: UpdateReader | None) -> bytes | None:
    """The bytes of an update's file."""
    return None if update is None else pack(update.read(0, MANIFEST.leaves), update.width).tobytes()


def address_word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def log(contract: str, event: str, topics: Sequence[Any], data: bytes) -> dict[str, Any]:
    """A log as an evidence has it."""
    entry = next(
        one for one in packaged.contract(contract).abi if one.get("name") == event and one["type"] == "event"
    )
    first = keccak(packaged.signature_of(entry).encode())
    words = [first, *(one if isinstance(one, bytes) else one.to_bytes(32, "big") for one in topics)]
    return {
        "address": LEDGER.lower() if contract == "ledger" else REWARDS,
        "topics": ["0x" + one.hex() for one in words],
        "data": "0x" + data.hex(),
        "block": 7,
        "blockHash": HASH,
        "transaction": HASH,
        "index": 0,
    }


def logs(number: int, round_: Played) -> list[dict[str, Any]]:
    coordinator = address_word(worlds.account(COORDINATOR).address)
    opened = encode(
        ["uint64", "bytes32", "bytes32", "uint40", "uint40"],
        [number - 1, round_.header.base_state_root, round_.header.hash, 1, 2],
    )
    # two events, as two calls record them
    half = len(round_.commitments) // 2
    parts = [(0, round_.commitments[:half]), (half, round_.commitments[half:])]
    anchor = "(uint32[],uint32[],uint256,bytes32,bytes32,bytes32,bytes32,bytes32,bytes32)"
    return [
        log("ledger", "RoundOpened", [number, 1, coordinator], opened),
        *(
            log(
                "ledger",
                "UpdatesCommitted",
                [number],
                encode(["uint16", "bytes32", "bytes"], [first, NO_BUNDLE, b"".join(map(pack_entry, part))]),
            )
            for first, part in parts
            if part
        ),
        log("ledger", "RoundAnchored", [number], encode([anchor, "uint40"], [round_.anchor.abi_tuple(), 3])),
    ]


def stored(number: int, round_: Played) -> dict[str, Any]:
    """What the ledger's `rounds` returns."""
    words = [
        1, 4, len(round_.commitments), 0, 1, 2, 3, int(worlds.account(COORDINATOR).address, 16), number - 1, number,
        *(
            int.from_bytes(one, "big")
            for one in (
                round_.header.hash, entries_hash(round_.commitments), round_.anchor.state_root, round_.anchor.hash
            )
        ),
    ]  # fmt: skip
    return {"round": number, "data": "0x" + b"".join(word.to_bytes(32, "big") for word in words).hex()}


def sent(number: int, round_: Played) -> dict[str, Any]:
    batch = pack_batch(round_.commitments, round_.signatures)
    data = encode_call("ledger", "commitUpdates", number, NO_BUNDLE, batch)
    to = LEDGER.lower() if round_.signed else REWARDS
    return {"hash": HASH, "to": to, "input": "0x" + data.hex()}


def random_world(seed: int, rounds: int) -> Told:
    """Play rounds with everything that may happen in one: the same for the same seed.

    Updates follow a direction with noise; some are copies, repeats of earlier ones, zeros or opposites; some do not
    arrive, or arrive damaged; the coordinator sometimes sends its own; the policy changes from round to round.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    world = Told(
        worlds.state(MANIFEST, 3 * seed), exponents=tuple(int(e) for e in random.integers(-14, -6, 3))
    )
    direction = random.normal(size=MANIFEST.size)
    earlier: list[bytes] = []
    for _ in range(rounds):
        width = int(random.choice([8, 8, 8, 4, 2]))
        share = (int(random.integers(1, 513)),) if random.random() < 0.3 else ()
        rule, parameters = ("clamped_mean", share) if random.random() < 0.9 else ("mean", ())
        world.policy = dataclasses.replace(
            worlds.policy(rule, parameters, int(random.integers(1, 4097)), int(random.integers(0, 1025))),
            width=width, mean_scale=int(random.integers(1, largest_scale(largest(width)) + 1)),
            reward=10**18 + seed, bond=10**19, max_sum_squares=(1 << 63),
        )  # fmt: skip
        chosen = [NAMES[i] for i in random.permutation(len(NAMES))[: int(random.integers(1, len(NAMES) + 1))]]
        if random.random() < 0.4:
            chosen.insert(int(random.integers(0, len(chosen) + 1)), COORDINATOR)
        if chosen == [COORDINATOR]:
            chosen.append(NAMES[0])
        pairs: list[tuple[Commitment, UpdateReader | None]] = []
        before: bytes | None = None
        for place, name in enumerate(chosen):
            kind = random.random()
            data = made(random, direction, largest(width), kind)
            if kind < 0.08 and earlier:
                data = clipped(earlier[int(random.integers(len(earlier)))], largest(width))
            elif kind < 0.16 and before is not None:
                data = before
            before = data
            commitment, update = world.commit(name, data)
            # the last one always arrives, and is not the coordinator's own
            safe = place == len(chosen) - (2 if chosen[-1] == COORDINATOR else 1)
            pairs.append((commitment, None if random.random() < 0.1 and not safe else update))
            earlier.append(data)
        world.tell(pairs)
    return world


def made(random: np.random.Generator, direction: Any, bound: int, kind: float) -> bytes:
    """The bytes q + 128 of an update."""
    sign = -1 if kind > 0.95 else 0 if kind > 0.9 else 1
    noise = random.normal(size=direction.shape) * random.choice([0.1, 1.0, 3.0])
    values = np.rint(sign * (direction + noise) * bound * random.choice([0.02, 0.2, 0.7]))
    return clipped((np.clip(values, -bound, bound) + 128).astype(np.uint8).tobytes(), bound)


def clipped(data: bytes, bound: int) -> bytes:
    """The bytes with integers of this width, and zeros in the padding."""
    values = np.clip(np.frombuffer(data, np.uint8).astype(np.int64) - 128, -bound, bound).reshape(-1, LEAF)
    values[np.arange(LEAF)[None, :] >= MANIFEST.values_in_leaf[:, None]] = 0
    return (values + 128).astype(np.uint8).tobytes()
