# SPDX-License-Identifier: Apache-2.0
"""The world of the audit's tests with a judge in it, and coordinators that lie in every way that a proof refutes.

How rounds are judged is said here once: `judged` makes the policy's verifier and deploys it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rlp
from eth_utils.address import to_canonical_address, to_checksum_address

from folkmoot.aggregation.gram_tree import ENTRY_BYTES, block_matrices, build, matrix_bytes, square
from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.rules import multi_krum
from folkmoot.chain.deploy import creation_of
from folkmoot.chain.transactions.connection import send, web3_over
from folkmoot.devnet.anvil import Anvil
from folkmoot.fraud.contracts.judges import find_judges
from folkmoot.fraud.proofs.trees import raw_update_tree
from folkmoot.ledger import packaged
from folkmoot.protocol import merkle
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import MEAN, update_tree
from folkmoot.protocol.packing import ZERO, pack
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate, MemoryUpdate
from folkmoot.round import RoundOutcome, compute_leaves, step_leaves
from folkmoot.rpc.client import Contract, Rpc
from folkmoot.runtime.units import UNIT
from tests import factories
from tests.integration.audit_world import MANIFEST, World

JUDGE = "judge"
"""Account that deploys the judges; it has sent nothing before."""
CHALLENGER = "watcher"
"""Account that challenges."""
TOKENS = 50 * UNIT
"""What it has for deposits."""
DEPOSIT = 5 * UNIT
"""Of a demand. That of a dispute is a quarter of the bond."""
ANSWER_WINDOW = 60
"""Seconds in which a demand can be answered."""


def judged(anvil: Anvil, path: Path, *, without: str = "", **changes: Any) -> World:
    """Deploy a federation whose policy has an arbiter, and that with its judges; `changes` are the policy's.

    `without` names a judge that the arbiter does not know.
    """
    judge = factories.account(JUDGE)
    for name in (JUDGE, CHALLENGER):
        anvil.fund(factories.account(name).address)
    with Rpc(anvil.url) as rpc:
        w3 = web3_over(rpc)
        nonce = w3.eth.get_transaction_count(judge.address)
        windows = {
            "ContributorFaults": (),
            "DataAvailability": (DEPOSIT, ANSWER_WINDOW),
            "Disputes": (factories.GOVERNANCE.unbonding,),
            "FraudProofs": (),
            "GramProofs": (),
        }
        names = [name for name in windows if name != without]
        arbiter = _address(judge.address, nonce + len(names))
        policy = factories.policy(momentum=922, verifier=arbiter, **changes)
        world = World.create(anvil, path, policy)
        place = world.federation.deployment

        def deploy(name: str, *arguments: Any) -> str:
            creation = creation_of(packaged.named(name), *arguments)
            return str(send(w3, creation, judge)["contractAddress"])

        of_tokens = (place.token, place.vault)
        known = {"DataAvailability": of_tokens, "Disputes": (*of_tokens, place.timelock)}
        judges = [deploy(name, place.ledger, *known.get(name, ()), *windows[name]) for name in names]
        assert deploy("Arbiter", place.ledger, judges) == arbiter
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


def mean_file(world: World, outcome: RoundOutcome, leaves: U8) -> bytes:
    """Pack the leaves of a mean as the round's policy says."""
    return pack(leaves, world.rounds[outcome.verdicts.round].policy.mean_width).tobytes()


def wrong_mean(world: World, outcome: RoundOutcome) -> U8:
    """Return the leaves of the mean with one coordinate moved by one, in leaf 8. It stays in range."""
    width = world.rounds[outcome.verdicts.round].policy.mean_width
    rows = FileUpdate(world.folder.place(outcome.artifacts.mean), width).read(0, MANIFEST.leaves).copy()
    rows[8, 3] = int(rows[8, 3]) + (1 if rows[8, 3] <= ZERO else -1)
    return rows


def computed(world: World, outcome: RoundOutcome, weights: tuple[int, ...]) -> tuple[bytes, bytes, State]:
    """Return mean file, mean root and state that follow from other weights."""
    record = world.rounds[outcome.verdicts.round]
    updates = record.readers()
    part = compute_leaves(
        MANIFEST, record.header, record.policy, base_of(world, outcome), updates, weights, 0, MANIFEST.leaves
    )
    root = merkle.tree(MEAN, merkle.leaf_hashes(MEAN, part.mean)).root
    return mean_file(world, outcome, part.mean), root, State(part.theta, part.momentum)


def lie_mean(world: World, outcome: RoundOutcome) -> Anchor:
    """Move one coordinate of the mean by one, in leaf 8."""
    rows = wrong_mean(world, outcome)
    name = world.folder.put(mean_file(world, outcome, rows))
    root = merkle.tree(MEAN, merkle.leaf_hashes(MEAN, rows)).root
    return replace(outcome.anchor, mean_root=root, artifacts_hash=sealed(world, outcome, mean=name))


def lie_mean_and_hide(kept: dict[str, bytes]) -> Callable[[World, RoundOutcome], Anchor]:
    """Return a lie about the mean whose artifacts file nobody gets; it is put into `kept`."""

    def lie(world: World, outcome: RoundOutcome) -> Anchor:
        anchor = lie_mean(world, outcome)
        pointer = world.folder.path / "by-keccak" / anchor.artifacts_hash.hex()
        kept["artifacts"] = world.folder.place(pointer.read_text()).read_bytes()
        pointer.unlink()
        return anchor

    return lie


def lie_consistent(world: World, outcome: RoundOutcome) -> Anchor:
    """The same, with the state that follows from it: only the updates show that it is wrong."""
    record, base = world.rounds[outcome.verdicts.round], base_of(world, outcome)
    rows = wrong_mean(world, outcome)
    part = step_leaves(MANIFEST, record.header, record.policy, base, rows, 0)
    state = State(part.theta, part.momentum)
    published = {
        "mean": world.folder.put(mean_file(world, outcome, rows)),
        "state": world.folder.put(state.to_bytes()),
    }
    return replace(
        outcome.anchor,
        mean_root=merkle.tree(MEAN, merkle.leaf_hashes(MEAN, rows)).root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=sealed(world, outcome, **published),
    )


def lie_entries(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor the root over the entries with other weights."""
    entries = world.rounds[outcome.verdicts.round].commitments
    return replace(outcome.anchor, entries_root=entries_tree(entries, [0, *outcome.weights[1:]]).root)


def lie_behind_the_last_leaf(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor a mean with something at a place that must be empty."""
    data, _, _ = computed(world, outcome, outcome.weights)
    rows = np.frombuffer(data + bytes(MEAN.leaf_bytes), dtype=np.uint8).reshape(-1, MEAN.leaf_bytes)
    root = merkle.tree(MEAN, merkle.leaf_hashes(MEAN, rows)).root
    name = world.folder.put(rows.tobytes())
    return replace(outcome.anchor, mean_root=root, artifacts_hash=sealed(world, outcome, mean=name))


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
    published = {"mean": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
    return replace(
        outcome.anchor,
        weights=weights,
        mean_root=root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=sealed(world, outcome, **published),
    )


def lie_root(world: World, outcome: RoundOutcome) -> Anchor:
    """Count the coordinator's own update."""
    weights = (1,) * len(outcome.weights)
    data, root, state = computed(world, outcome, weights)
    published = {"mean": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
    return replace(
        outcome.anchor,
        weights=weights,
        mean_root=root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=sealed(world, outcome, **published),
    )


def lie_left_out(world: World, outcome: RoundOutcome) -> Anchor:
    """Leave the second entry out where the rule does not, with everything that follows: no leaf is wrong."""
    weights = (outcome.weights[0], 0, *outcome.weights[2:])
    data, root, state = computed(world, outcome, weights)
    published = {"mean": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
    return replace(
        outcome.anchor,
        weights=weights,
        mean_root=root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=sealed(world, outcome, **published),
    )


def lie_pay(world: World, outcome: RoundOutcome) -> Anchor:
    """Give the first entry that is paid half of its pay. No leaf and no weight is wrong."""
    pays = list(outcome.anchor.pays)
    robbed = next(index for index, pay in enumerate(pays) if pay)
    pays[robbed] //= 2
    return replace(outcome.anchor, pays=tuple(pays))


def lie_moved(world: World, outcome: RoundOutcome) -> Anchor:
    """Give the weight of the first entry that counts to the first that does not, with everything that follows."""
    weights = list(outcome.weights)
    first, last = weights.index(1), weights.index(0)
    weights[first], weights[last] = 0, 1
    data, root, state = computed(world, outcome, tuple(weights))
    published = {"mean": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
    return replace(
        outcome.anchor,
        weights=tuple(weights),
        mean_root=root,
        state_root=state.root(MANIFEST.hash),
        artifacts_hash=sealed(world, outcome, **published),
    )


def lie_no_gram_root(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor no Gram root, where the rule has one."""
    return replace(outcome.anchor, gram_root=bytes(32))


def lie_hidden_gram_root(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor the root of a Gram tree that nobody can see."""
    return replace(outcome.anchor, gram_root=keccak(b"another tree"))


def lie_gram_tree(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor, and show, a Gram matrix on which the rule yields other weights than on the true one: those."""
    tree = outcome.gram_tree
    assert tree is not None
    assert tree.depth == 0  # one block
    left_out = outcome.weights.index(0)
    false = list(tree.matrix)
    for other in range(tree.count):  # as if it were close to everybody
        a, b = max(left_out, other), min(left_out, other)
        false[a * (a + 1) // 2 + b] = tree.gram[other][other] // 2 if other != left_out else 0
    matrix = tuple(false)
    world.folder.put(b"\x12" + matrix_bytes(matrix), by_keccak=True)
    facts = RoundFacts(square(matrix, tree.count), (), (), elements=())
    policy = world.rounds[outcome.verdicts.round].policy
    weights = tuple(found.weight for found in multi_krum.weigh(facts, policy.parameters))
    assert weights != outcome.weights
    data, root, state = computed(world, outcome, weights)
    published = {"mean": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
    return replace(
        outcome.anchor,
        weights=weights,
        mean_root=root,
        state_root=state.root(MANIFEST.hash),
        gram_root=build([matrix], 1, tree.count).root,
        artifacts_hash=sealed(world, outcome, **published),
    )


Changes = Mapping[tuple[int, int], Callable[[bytes], bytes]]
"""What becomes of the matrices of some nodes, by level and index; an empty one has no bytes."""


def one_more(matrix: bytes) -> bytes:
    """Add one to the entry (2, 1)."""
    values = [int.from_bytes(matrix[at : at + 24], "big", signed=True) for at in range(0, len(matrix), 24)]
    values[4] += 1
    return matrix_bytes(values)


def lie_shown_tree(world: World, outcome: RoundOutcome, manifest: Manifest, changed: Changes) -> Anchor:
    """Anchor a tree with other matrices at some nodes, and what follows above them; show it by keccak."""
    record, tree = world.rounds[outcome.verdicts.round], outcome.gram_tree
    assert tree is not None
    updates = [MemoryUpdate(data) for data in record.updates if data is not None]
    blocks = list(block_matrices(manifest, record.header.exponents, updates))
    assert len(blocks) == 3
    size = ENTRY_BYTES * len(tree.matrix)
    matrices = [matrix_bytes(block) for block in blocks] + [b""]
    hashes: list[bytes] = []
    for level in range(tree.depth + 1):
        if level:
            totals = zip(*(iter([_numbers(matrix, size) for matrix in matrices]),) * 2, strict=True)
            matrices = [matrix_bytes([a + b for a, b in zip(*pair, strict=True)]) for pair in totals]
        matrices = [changed.get((level, i), lambda same: same)(matrix) for i, matrix in enumerate(matrices)]
        below, hashes = hashes, []
        for index, matrix in enumerate(matrices):
            if not matrix:
                hashes.append(bytes(32))
                continue
            node = b"\x12" + matrix
            if level:
                node = b"\x13" + below[2 * index] + below[2 * index + 1] + keccak(matrix)
                world.folder.put(matrix, by_keccak=True)
            world.folder.put(node, by_keccak=True)
            hashes.append(keccak(node))
    return replace(outcome.anchor, gram_root=hashes[0])


def _numbers(matrix: bytes, size: int) -> list[int]:
    whole = matrix if len(matrix) == size else bytes(size)
    return [int.from_bytes(whole[at : at + 24], "big", signed=True) for at in range(0, size, 24)]


def lie_verdicts(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor another verdicts file: no contract can see that."""
    return replace(outcome.anchor, verdict_hash=keccak(b"other verdicts"))


def lie_withheld(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor an aggregate that nobody can see."""
    return replace(outcome.anchor, mean_root=keccak(b"another aggregate"))


def lie_withheld_state(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor a state that nobody can see."""
    return replace(outcome.anchor, state_root=keccak(b"another state"))


def lie_withheld_artifacts(world: World, outcome: RoundOutcome) -> Anchor:
    """Anchor a list of files that nobody can see."""
    return replace(outcome.anchor, artifacts_hash=keccak(b"another list"))


def play_false_norm(world: World, names: list[str], *, count: bool = True, off: int = -1) -> int:
    """Play a round with an update whose norm was claimed wrong, and a coordinator that counts it, or not."""
    return _play_bad_update(world, names, lambda data: data, lambda true: true + off, count=count)


def play_bad_padding(world: World, names: list[str]) -> int:
    """Play a round in which the coordinator counts an update with something in the padding."""

    def spoil(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[6 * LEAF + 200] = 0x81  # leaf 6 is the last of a tensor of 1,600
        return bytes(changed)

    return _play_bad_update(world, names, spoil, lambda true: true)


def play_out_of_range(world: World, names: list[str]) -> int:
    """Play a round in which the coordinator counts an update whose first integer is below the range of its width."""
    width = world.policies[-1].width

    def spoil(data: bytes) -> bytes:
        return bytes([data[0] & (1 << 8 - width) - 1]) + data[1:]

    return _play_bad_update(world, names, spoil, lambda true: true)


@contextmanager
def trained_by(world: World, train: Callable[[int, str], tuple[Commitment, bytes]]) -> Iterator[None]:
    """Let a world's contributors train in another way for as long as this lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "train", train)
        yield


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
        tree = raw_update_tree(MemoryUpdate(data, world.rounds[number].header.width))
        assert tree is not None
        return replace(made, update_root=tree.root, sum_squares=claim(tree.sum_squares)), data

    with trained_by(world, train):
        number = world.open()
        world.commit(number, names)

    def count_it(world: World, outcome: RoundOutcome) -> Anchor:
        weights = (1,) * len(names)
        data, root, state = computed(world, outcome, weights)
        updates = [world.folder.put(raw) for raw in world.rounds[number].updates if raw is not None]
        published = {"mean": world.folder.put(data), "state": world.folder.put(state.to_bytes())}
        return replace(
            outcome.anchor,
            weights=weights,
            delivered=(1 << len(names)) - 1,
            mean_root=root,
            state_root=state.root(MANIFEST.hash),
            artifacts_hash=sealed(world, outcome, updates=tuple(updates), **published),
        )

    world.anchor(number, count_it if count else None)
    return number


def play_copy(
    world: World, names: list[str], cheat: Callable[[World, RoundOutcome], Anchor] | None = None
) -> int:
    """Play a round in which the last contributor sends the first one's update."""
    honest = world.train

    def train(number: int, name: str) -> tuple[Commitment, bytes]:
        made, data = honest(number, name)
        if name != names[-1]:
            return made, data
        original, data = honest(number, names[0])
        return replace(made, update_root=original.update_root, sum_squares=original.sum_squares), data

    with trained_by(world, train):
        number = world.open()
        world.commit(number, names)
    world.anchor(number, cheat)
    return number


def play_wrong_header(world: World, names: list[str]) -> int:
    """Play a round that was opened with another round's header, which is published."""
    return _play_header(world, names, seed=keccak(b"a seed of my choice"))


def play_replay(world: World, names: list[str]) -> int:
    """Play an honest round in which the second contributor sends the first one's update of round 1 again."""
    number = world.open()
    _, stolen = world.train(1, names[0])
    honest = world.train

    def train(of: int, name: str) -> Any:
        made, data = honest(of, name)
        if name != names[1]:
            return made, data
        tree = update_tree(np.frombuffer(stolen, dtype=np.uint8))
        return replace(made, update_root=tree.root, sum_squares=tree.sum_squares), stolen

    with trained_by(world, train):
        world.commit(number, names)
    world.anchor(number)
    return number


def play_censored(world: World, names: list[str]) -> int:
    """Play a round in which the second contributor delivers all of its update, and is anchored as if it had not."""
    number = world.open()
    world.commit(number, names)
    made, data = world.rounds[number].commitments[1], world.rounds[number].updates[1]
    judge = find_judges(world.federation.anvil.rpc, world.policies[0]).availability
    assert data is not None
    assert judge is not None
    deliver = Contract(world.federation.anvil.rpc, judge, "data_availability").functions.deliver
    layout, document = MANIFEST.layout, keccak(MANIFEST.to_json())
    call = deliver(number, made.update_root, layout, document, 0, data, b"")
    world.federation.chain.send(call, factories.account(names[1]))
    world.rounds[number].updates[1] = None
    world.anchor(number)
    return number


def play_no_header(world: World, names: list[str]) -> int:
    """Play a round that was opened with bytes that are no header, which are published."""
    garbage = b"no header at all"
    number = world.open(header_hash=keccak(garbage))
    world.commit(number, names)
    world.anchor(
        number,
        lambda world, outcome: replace(outcome.anchor, artifacts_hash=sealed(world, outcome, header=garbage)),
    )
    return number


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
