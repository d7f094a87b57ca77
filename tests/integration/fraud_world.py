# SPDX-License-Identifier: Apache-2.0
"""The world of the audit's tests with a judge in it, and coordinators that lie in every way that a proof refutes.

How rounds are judged is said here once: `judged` makes the policy's verifier and deploys it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rlp
from eth_utils.address import to_canonical_address, to_checksum_address

from folkmoot import merkle
from folkmoot.aggregation.weighted_sum import aggregate_of
from folkmoot.chain.amounts import UNIT
from folkmoot.chain.client import send
from folkmoot.commitment import Commitment
from folkmoot.fixed_point import LEAF
from folkmoot.fraud import proof
from folkmoot.fraud.challenge import connection
from folkmoot.hashing import keccak
from folkmoot.header import RoundHeader, derive_seed
from folkmoot.local.anvil import Anvil
from folkmoot.merkle import AGGREGATE, update_tree
from folkmoot.optimizer import outer_step
from folkmoot.round import Anchor, RoundOutcome, compute_leaves
from folkmoot.state import State
from folkmoot.updates import MemoryUpdate
from tests import factories
from tests.integration.audit_world import MANIFEST, World

JUDGE = "judge"
"""Account that deploys the judges; it has sent nothing before."""
CHALLENGER = "watcher"
"""Account that challenges."""
TOKENS = 50 * UNIT
"""What it has for deposits."""
DEPOSIT = 5 * UNIT
"""Of a demand, and of a dispute."""
ANSWER_WINDOW = 60
"""Seconds in which a demand can be answered."""


def judged(anvil: Anvil, path: Path, **changes: Any) -> World:
    """Deploy a federation whose policy has an arbiter, and that with its judges; `changes` are the policy's."""
    judge = factories.account(JUDGE)
    for name in (JUDGE, CHALLENGER):
        anvil.fund(factories.account(name).address)
    with connection(anvil.url) as w3:
        nonce = w3.eth.get_transaction_count(judge.address)
        policy = factories.policy(momentum=922, verifier=_address(judge.address, nonce + 4), **changes)
        world = World.create(anvil, path, policy)
        place = world.federation.deployment

        def deploy(name: str, *arguments: Any) -> str:
            packaged = proof.packaged_contract(name)
            contract = w3.eth.contract(abi=packaged["abi"], bytecode=packaged["bytecode"])
            return str(send(w3, contract.constructor(*arguments), judge)["contractAddress"])

        of_tokens = (place.ledger, place.token, place.vault)
        judges = [
            deploy("ContributorFaults", place.ledger),
            deploy("DataAvailability", *of_tokens, DEPOSIT, ANSWER_WINDOW),
            deploy("Disputes", *of_tokens, place.timelock, DEPOSIT, factories.GOVERNANCE.unbonding),
            deploy("FraudProofs", place.ledger),
        ]
        assert deploy("Arbiter", place.ledger, judges) == policy.verifier
    world.send("token", "transfer", factories.account(CHALLENGER).address, TOKENS)
    return world


def _address(sender: str, nonce: int) -> str:
    return to_checksum_address(keccak(rlp.encode([to_canonical_address(sender), nonce]))[12:])


# Lies. Each publishes files that fit what is anchored, so that only recomputing finds it.


def sealed(world: World, outcome: RoundOutcome, **files: Any) -> bytes:
    """Publish an artifacts file with other files in it; return its keccak."""
    data = replace(outcome.artifacts, **files).to_json()
    world.folder.put(data, by_keccak=True)
    return keccak(data)


def base_of(world: World, outcome: RoundOutcome) -> State:
    return world.states[world.rounds[outcome.verdicts.round].base]


def computed(world: World, outcome: RoundOutcome, weights: tuple[int, ...]) -> tuple[bytes, bytes, State]:
    """Return aggregate file, aggregate root and state that follow from other weights."""
    record = world.rounds[outcome.verdicts.round]
    updates = [None if data is None else MemoryUpdate(data) for data in record.updates]
    part = compute_leaves(
        MANIFEST, record.header, record.policy, base_of(world, outcome), updates, weights, 0, MANIFEST.leaves
    )
    rows = merkle.aggregate_leaves(part.lanes)
    return rows.tobytes(), merkle.aggregate_root(part.lanes), State(part.theta, part.momentum)


def lie_aggregate(world: World, outcome: RoundOutcome) -> Anchor:
    """Add one to one coordinate of the aggregate, in leaf 8."""
    weights = outcome.weights
    data, _, _ = computed(world, outcome, weights)
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, AGGREGATE.leaf_bytes).copy()
    rows[8, 3] += 1
    name = world.folder.put(rows.tobytes())
    root = merkle.tree(AGGREGATE, merkle.leaf_hashes(AGGREGATE, rows)).root
    return replace(outcome.anchor, aggregate_root=root, artifacts_hash=sealed(world, outcome, aggregate=name))


def lie_consistent(world: World, outcome: RoundOutcome) -> Anchor:
    """The same, with the state that follows from it: only the updates show that it is wrong."""
    record, base = world.rounds[outcome.verdicts.round], base_of(world, outcome)
    data, _, _ = computed(world, outcome, outcome.weights)
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, AGGREGATE.leaf_bytes).copy()
    rows[8, 3] += 1
    total = sum(outcome.weights)
    theta, momentum = outer_step(
        base.theta,
        base.momentum,
        aggregate_of(merkle.aggregate_lanes(rows), total),
        total,
        np.array(record.header.exponents, dtype=np.int64)[MANIFEST.tensor_of_leaf],
        record.policy.rate,
        record.policy.momentum,
    )
    state = State(theta, momentum)
    published = {"aggregate": world.folder.put(rows.tobytes()), "state": world.folder.put(state.to_bytes())}
    return replace(
        outcome.anchor,
        aggregate_root=merkle.tree(AGGREGATE, merkle.leaf_hashes(AGGREGATE, rows)).root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=sealed(world, outcome, **published),
    )


def lie_behind_the_last_leaf(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor an aggregate with something at a place that must be empty."""
    data, _, _ = computed(world, outcome, outcome.weights)
    rows = np.frombuffer(data + bytes(AGGREGATE.leaf_bytes), dtype=np.uint8).reshape(-1, AGGREGATE.leaf_bytes)
    root = merkle.tree(AGGREGATE, merkle.leaf_hashes(AGGREGATE, rows)).root
    name = world.folder.put(rows.tobytes())
    return replace(outcome.anchor, aggregate_root=root, artifacts_hash=sealed(world, outcome, aggregate=name))


def _lie_state(part: str, coordinate: int) -> Callable[[World, RoundOutcome], Anchor]:
    def lie(world: World, outcome: RoundOutcome) -> Anchor:
        values = getattr(outcome.state, part).copy()
        values[coordinate] += 1
        state = replace(outcome.state, **{part: values})
        name = world.folder.put(state.to_bytes())
        return replace(
            outcome.anchor,
            state_root=state.root(MANIFEST.hash),
            artifacts_hash=sealed(world, outcome, state=name),
        )

    return lie


lie_theta = _lie_state("theta", 3 * LEAF + 5)
lie_momentum = _lie_state("momentum", 9 * LEAF + 1)
lie_padding = _lie_state("theta", 9 * LEAF + 200)


def lie_weight(world: World, outcome: RoundOutcome) -> Anchor:
    """Give the second entry twice the weight, and everything that follows from that."""
    weights = (outcome.weights[0], 2, *outcome.weights[2:])
    data, root, state = computed(world, outcome, weights)
    published = {"aggregate": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
    return replace(
        outcome.anchor,
        weights=weights,
        aggregate_root=root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=sealed(world, outcome, **published),
    )


def lie_root(world: World, outcome: RoundOutcome) -> Anchor:
    """Count the coordinator's own update."""
    weights = (1,) * len(outcome.weights)
    data, root, state = computed(world, outcome, weights)
    published = {"aggregate": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
    return replace(
        outcome.anchor,
        weights=weights,
        aggregate_root=root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=sealed(world, outcome, **published),
    )


def lie_left_out(world: World, outcome: RoundOutcome) -> Anchor:
    """Leave the second entry out where the rule does not, with everything that follows: no leaf is wrong."""
    weights = (outcome.weights[0], 0, *outcome.weights[2:])
    data, root, state = computed(world, outcome, weights)
    published = {"aggregate": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
    return replace(
        outcome.anchor,
        weights=weights,
        aggregate_root=root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=sealed(world, outcome, **published),
    )


def lie_withheld(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor an aggregate that nobody can see."""
    return replace(outcome.anchor, aggregate_root=keccak(b"another aggregate"))


def lie_withheld_state(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor a state that nobody can see."""
    return replace(outcome.anchor, state_root=keccak(b"another state"))


def lie_withheld_artifacts(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor a list of files that nobody can see."""
    return replace(outcome.anchor, artifacts_hash=keccak(b"another list"))


def play_false_norm(world: World, names: list[str], *, count: bool = True) -> int:
    """Play a round with an update whose norm was claimed too low, and a coordinator that counts it, or not."""
    return _play_bad_update(world, names, lambda data: data, lambda true: true - 1, count=count)


def play_bad_padding(world: World, names: list[str]) -> int:
    """Play a round in which the coordinator counts an update with something in the padding."""

    def spoil(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[6 * LEAF + 200] = 0x81  # leaf 6 is the last of a tensor of 1,600
        return bytes(changed)

    return _play_bad_update(world, names, spoil, lambda true: true)


def _play_bad_update(
    world: World,
    names: list[str],
    spoil: Callable[[bytes], bytes],
    claim: Callable[[int], int],
    *,
    count: bool = True,
) -> int:
    honest = world.train

    def train(number: int, name: str) -> tuple[Commitment, bytes]:
        made, data = honest(number, name)
        if name != names[-1]:
            return made, data
        data = spoil(data)
        tree = update_tree(np.frombuffer(data, dtype=np.uint8))
        return replace(made, update_root=tree.root, sum_squares=claim(tree.sum_squares)), data

    world.train = train  # type: ignore[method-assign]
    number = world.open()
    world.commit(number, names)
    world.train = honest  # type: ignore[method-assign]

    def count_it(world: World, outcome: RoundOutcome) -> Anchor:
        weights = (1,) * len(names)
        data, root, state = computed(world, outcome, weights)
        updates = [world.folder.put(raw) for raw in world.rounds[number].updates if raw is not None]
        published = {"aggregate": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
        return replace(
            outcome.anchor,
            weights=weights,
            delivered=(1 << len(names)) - 1,
            aggregate_root=root,
            state_root=state.root(MANIFEST.hash),
            artifacts_hash=sealed(world, outcome, updates=tuple(updates), **published),
        )

    world.anchor(number, count_it if count else None)
    return number


def play_wrong_header(world: World, names: list[str]) -> int:
    """Play a round that was opened with another round's header, which is published."""
    return _play_header(world, names, seed=keccak(b"a seed of my choice"))


def play_wrong_exponents(world: World, names: list[str]) -> int:
    """Play a round that was opened with exponents that the base did not leave: a header all the same."""
    return _play_header(world, names, exponents=(-11, -11, -11))


def _play_header(world: World, names: list[str], **changes: Any) -> int:
    number = max(world.rounds, default=0) + 1
    place = world.federation.deployment
    root = world.states[world.head].root(MANIFEST.hash)
    honest = RoundHeader(
        number,
        MANIFEST.hash,
        root,
        len(world.policies),
        8,
        derive_seed(place.chain_id, place.ledger, number, root),
        world.exponents[world.head],
    )
    header = replace(honest, **changes)
    world.open(exponents=header.exponents, header_hash=header.hash)
    world.rounds[number].header = header
    world.commit(number, names)
    world.anchor(number)
    return number
