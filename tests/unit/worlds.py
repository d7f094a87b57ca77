# SPDX-License-Identifier: Apache-2.0
"""A small federation without chain, files or clock: named contributors that move towards targets of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from eth_account import Account
from eth_account.signers.local import LocalAccount

from folkmoot.aggregation.lineage import GENESIS, Lineage, PastRound
from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.codec import EncodedUpdate, encode_update
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.packing import pack
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import MemoryUpdate, UpdateReader
from folkmoot.round import RoundOutcome, compute_round

CHAIN_ID = 31337
LEDGER = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
DOMAIN = Domain(CHAIN_ID, LEDGER)
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace")
COORDINATOR = "coordinator"
"""Name of the account that opens the rounds."""
MANIFEST = Manifest("world", (Tensor("w", (30, 31)), Tensor("b", (31,)), Tensor("scale", ())))


def account(name: str) -> LocalAccount:
    """The account of a named contributor."""
    return Account.from_key(sum(name.encode()).to_bytes(32, "big"))


def policy(rule: str = "mean", parameters: Sequence[int] = (), rate: int = 1024, momentum: int = 0) -> Policy:
    """A policy with wide limits."""
    return Policy(rule, tuple(parameters), 1 << 40, 1, 100, 8, rate, momentum, 60, 60, 60, 0, 0, 0)


def integers(seed: int, count: int, bound: int) -> np.ndarray:
    """int64[count] in [-bound, bound]."""
    raw = np.random.PCG64(seed).random_raw(count)  # numpy promises that this stream never changes
    return (raw % np.uint64(2 * bound + 1)).astype(np.int64) - bound


def update_bytes(manifest: Manifest, seed: int, bound: int = 127) -> bytes:
    """A valid update file."""
    values = integers(seed, manifest.size, bound).reshape(-1, LEAF)
    values[np.arange(LEAF)[None, :] >= manifest.values_in_leaf[:, None]] = 0
    return (values + 128).astype(np.uint8).tobytes()


def state(manifest: Manifest, seed: int, bound: int = 1 << 30) -> State:
    """A valid state."""
    parts = []
    for i in range(2):
        values = integers(seed + i, manifest.size, bound).reshape(-1, LEAF)
        values[np.arange(LEAF)[None, :] >= manifest.values_in_leaf[:, None]] = 0
        parts.append(values.reshape(-1))
    return State(*parts)


@dataclass
class World:
    """A federation at some round."""

    state: State
    exponents: tuple[int, ...] = (-9, -9, -9)
    manifest: Manifest = MANIFEST
    policy: Policy = field(default_factory=policy)
    round: int = 1
    history: list[tuple[State, PastRound]] = field(default_factory=list)

    @property
    def lineage(self) -> Lineage:
        """What came before the current round."""
        last = self.history[-WINDOW:]
        return Lineage(tuple(past for _, past in last), last[0][0]) if last else GENESIS

    @property
    def header(self) -> RoundHeader:
        """Header of the current round."""
        root = self.state.root(self.manifest.hash)
        seed = derive_seed(CHAIN_ID, LEDGER, self.round, root)
        width = self.policy.width
        return RoundHeader(self.round, self.manifest.hash, root, 1, width, seed, self.exponents)

    def commit(self, name: str, data: bytes | EncodedUpdate) -> tuple[Commitment, MemoryUpdate]:
        """Commit to an update, one byte a coordinate, as a named contributor."""
        from folkmoot.protocol.merkle import update_tree

        width = self.policy.width
        leaves = data.leaves if isinstance(data, EncodedUpdate) else np.frombuffer(data, np.uint8)
        tree = update_tree(leaves)
        root = self.header.base_state_root
        commitment = Commitment(account(name).address, self.round, root, tree.root, tree.sum_squares)
        return commitment, MemoryUpdate(pack(leaves.reshape(-1, LEAF), width), width)

    def train(self, train: Callable[[str, F32], F32], names: Sequence[str] = NAMES) -> RoundOutcome:
        """Run a round in which each contributor trains with `train(name, weights)`; move to the next."""
        header, start = self.header, self.state.to_float32()
        pairs = []
        for name in names:
            end = train(name, start.copy())
            address = account(name).address
            encoded = encode_update(
                start, end, self.exponents, self.manifest, header.seed, address, width=header.width
            )
            pairs.append(self.commit(name, encoded))
        return self.play(pairs)

    def play(self, pairs: Sequence[tuple[Commitment, UpdateReader | None]]) -> RoundOutcome:
        """Run a round with these entries; move to the next."""
        outcome = self.outcome(pairs)
        entries, updates = [entry for entry, _ in pairs], [update for _, update in pairs]
        past = PastRound.of(self.header, entries, updates, account(COORDINATOR).address)
        self.history.append((self.state, past))
        self.state, self.exponents, self.round = outcome.state, outcome.next_exponents, self.round + 1
        return outcome

    def outcome(
        self,
        pairs: Sequence[tuple[Commitment, UpdateReader | None]],
        *,
        coordinator: str = COORDINATOR,
        lineage: Lineage | None = None,
    ) -> RoundOutcome:
        """Outcome of the current round with these entries."""
        entries = [commitment for commitment, _ in pairs]
        updates = [update for _, update in pairs]
        return compute_round(
            self.manifest,
            self.header,
            self.policy,
            self.state,
            entries,
            updates,
            coordinator=account(coordinator).address,
            lineage=self.lineage if lineage is None else lineage,
        )
