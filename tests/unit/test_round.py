# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot import round as rounds
from folkmoot.aggregation.lineage import GENESIS
from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol import acceleration
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.merkle import MEAN, leaf_hashes, tree
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.updates import FileUpdate, MemoryUpdate, UpdateReader
from folkmoot.protocol.verdict import Artifacts, Reason, Verdicts
from folkmoot.round import RoundOutcome, compute_leaves, compute_round
from tests.unit import reference, worlds
from tests.unit.worlds import MANIFEST, NAMES, World

COORDINATOR = worlds.account(worlds.COORDINATOR).address
KRUM = worlds.policy("multi_krum", (1, 0), 700, 900)
CLAMP = worlds.policy("clamped_mean", (), 700, 900)
FORMS = pytest.mark.parametrize("policy", [KRUM, CLAMP], ids=["weighted", "clamped"])
"""One rule of each form of aggregate."""


def world(policy: worlds.Policy = KRUM) -> World:
    return World(worlds.state(MANIFEST, 1), policy=policy)


def honest(where: World, count: int = 5) -> list[tuple[worlds.Commitment, UpdateReader | None]]:
    return [
        where.commit(name, worlds.update_bytes(MANIFEST, i, 30 + i)) for i, name in enumerate(NAMES[:count])
    ]


@FORMS
@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(5)))
def test_the_order_of_entries_permutes_the_weights_only(policy: worlds.Policy, order: list[int]) -> None:
    where = world(policy)
    pairs = honest(where)
    first = where.outcome(pairs)
    second = where.outcome([pairs[i] for i in order])
    assert second.weights == tuple(first.weights[i] for i in order)
    assert second.mean_root == first.mean_root
    assert second.state_root == first.state_root
    assert second.next_exponents == first.next_exponents


def test_only_privacy_settings_hold_the_exponents() -> None:
    cases: list[dict[str, object]] = [{}, {"privacy": {}}]
    for training in cases:
        manifest = replace(MANIFEST, training=training)
        where = World(worlds.state(manifest, 1), manifest=manifest, policy=KRUM)
        moved = where.outcome(honest(where)).next_exponents != where.exponents
        assert moved == (not training)


@FORMS
def test_any_range_of_leaves_is_the_slice_of_the_whole(policy: worlds.Policy) -> None:
    where = world(policy)
    pairs = honest(where)
    outcome = where.outcome(pairs)
    updates = [update for _, update in pairs]
    for first, last in itertools.combinations(range(MANIFEST.leaves + 1), 2):
        part = compute_leaves(
            MANIFEST, where.header, where.policy, where.state, updates, outcome.weights, first, last
        )
        place = slice(LEAF * first, LEAF * last)
        assert (part.theta == outcome.state.theta[place]).all()
        assert (part.momentum == outcome.state.momentum[place]).all()
        hashed = keccak(b"\x02", part.mean[0].tobytes())
        assert hashed == outcome.mean_tree.levels[0][first].tobytes()


@FORMS
@pytest.mark.parametrize("size", [1, LEAF * 10, 1 << 30])
def test_the_outcome_does_not_depend_on_the_chunks(
    monkeypatch: pytest.MonkeyPatch, policy: worlds.Policy, size: int
) -> None:
    where = world(policy)
    expected = where.outcome(honest(where)).anchor
    monkeypatch.setattr(rounds, "_CHUNK_BYTES", size)
    assert where.outcome(honest(where)).anchor == expected


@FORMS
def test_the_outcome_does_not_depend_on_numba(monkeypatch: pytest.MonkeyPatch, policy: worlds.Policy) -> None:
    pytest.importorskip("numba")
    where = world(policy)
    pairs = honest(where)
    with acceleration.without_kernels():
        slow = where.outcome(pairs).anchor
    monkeypatch.setattr(acceleration, "LOAD_AFTER", 0)
    monkeypatch.setattr(acceleration, "MINIMUM_WORK", 0)
    assert acceleration.kernels(1) is not None
    assert where.outcome(pairs).anchor == slow


def test_a_round_under_multi_krum_anchors_its_gram_tree() -> None:
    where = world(KRUM)
    pairs = [*honest(where, 4), (where.commit(NAMES[4], worlds.update_bytes(MANIFEST, 9))[0], None)]
    outcome = where.outcome(pairs)
    assert outcome.gram_tree is not None
    updates = [update.read(0, MANIFEST.leaves).tobytes() for _, update in pairs if update is not None]
    counts = [tensor.leaves for tensor in MANIFEST.tensors]
    assert outcome.anchor.gram_root == reference.gram_root(updates, where.header.exponents, counts)
    assert outcome.anchor.gram_root == outcome.gram_tree.root


@pytest.mark.parametrize("name", ["mean", "clamped_mean"])
def test_a_round_under_other_rules_anchors_none(name: str) -> None:
    where = world(worlds.policy(name, (), 700, 900))
    outcome = where.outcome(honest(where))
    assert outcome.gram_tree is None
    assert outcome.anchor.gram_root == bytes(32)


def test_an_anchor_reads_back_from_json() -> None:
    where = world(KRUM)
    anchor = where.outcome(honest(where)).anchor
    assert Anchor.from_json(json.loads(json.dumps(anchor.to_json()))) == anchor


def test_files_are_what_the_anchor_binds(tmp_path: Path) -> None:
    where = world()
    pairs = honest(where)
    paths = [tmp_path / str(i) for i in range(len(pairs))]
    for path, (_, update) in zip(paths, pairs, strict=True):
        assert update is not None
        path.write_bytes(update.read(0, MANIFEST.leaves).tobytes())
    with (tmp_path / "mean").open("wb") as sink:
        outcome = compute_round(
            MANIFEST,
            where.header,
            where.policy,
            where.state,
            [commitment for commitment, _ in pairs],
            [FileUpdate(path, 8) for path in paths],
            coordinator=COORDINATOR,
            lineage=GENESIS,
            mean_sink=sink,
        )
    assert outcome.anchor == where.outcome(pairs).anchor, "from files as from memory"
    mean = (tmp_path / "mean").read_bytes()
    artifacts = outcome.artifacts
    assert artifacts.mean == hashlib.sha256(mean).hexdigest()
    assert artifacts.state == hashlib.sha256(outcome.state.to_bytes()).hexdigest()
    assert artifacts.verdicts == hashlib.sha256(outcome.verdicts_file).hexdigest()
    assert artifacts.updates == tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    assert artifacts.header == where.header.encoded
    assert Artifacts.from_json(outcome.artifacts_file) == artifacts
    assert Verdicts.from_json(outcome.verdicts_file) == outcome.verdicts
    assert outcome.anchor.verdict_hash == keccak(outcome.verdicts_file)
    assert outcome.anchor.artifacts_hash == keccak(outcome.artifacts_file)
    leaves = rounds.compute_leaves(
        MANIFEST,
        where.header,
        where.policy,
        where.state,
        [u for _, u in pairs],
        outcome.weights,
        0,
        MANIFEST.leaves,
    ).mean
    assert leaves.tobytes() == mean
    assert tree(MEAN, leaf_hashes(MEAN, leaves)).root == outcome.mean_root
    assert outcome.state.root(MANIFEST.hash) == outcome.state_root
    anchor = outcome.anchor
    roots = (anchor.mean_root, anchor.state_root, anchor.gram_root, anchor.verdict_hash)
    more = (anchor.artifacts_hash, anchor.entries_root)
    assert anchor.hash == reference.anchor_hash(
        anchor.weights, anchor.pays, anchor.delivered, [*roots, *more]
    )
    assert anchor.entries_root == entries_tree([commitment for commitment, _ in pairs], anchor.weights).root
    assert anchor.delivered == sum(
        (file is not None) << i for i, file in enumerate(outcome.artifacts.updates)
    )


def damage(data: bytes, how: str) -> UpdateReader | None:
    flipped = bytes([data[0] % 255 + 1]) + data[1:]
    made = {"missing": None, "short": data[:-1], "zero": b"\0" + data[1:], "other": flipped}[how]
    return None if made is None else MemoryUpdate(made)


@pytest.mark.parametrize("how", ["missing", "short", "zero", "other"])
def test_what_does_not_arrive_as_committed_has_no_weight(how: str) -> None:
    where = world()
    pairs = honest(where)
    without = where.outcome(pairs[:2] + pairs[3:])
    data = worlds.update_bytes(MANIFEST, 2, 32)
    pairs[2] = (pairs[2][0], damage(data, how))
    outcome = where.outcome(pairs)
    verdict = outcome.verdicts.verdicts[2]
    assert (verdict.weight, verdict.reason) == (0, Reason.NOT_DELIVERED)
    assert verdict.numbers == {"sumSquares": pairs[2][0].sum_squares}
    assert outcome.artifacts.updates[2] is None
    assert outcome.state_root == without.state_root, "the others are weighed as if it were not there"


def test_a_round_without_updates_has_no_outcome() -> None:
    where = world()
    for pairs in ([], [(commitment, None) for commitment, _ in honest(where)]):
        with pytest.raises(InputError) as caught:
            where.outcome(pairs)
        assert caught.value.code == "no-updates"


def test_an_unreadable_update_is_no_verdict() -> None:
    """A file that the reader can't read is the reader's trouble, not the contributor's."""

    class Broken:
        size = MANIFEST.size
        width = 8

        def packed(self, first: int, last: int) -> np.ndarray:
            raise ArtifactError("The disk is gone.")

        def read(self, first: int, last: int) -> np.ndarray:
            raise ArtifactError("The disk is gone.")

        def pick(self, leaves: np.ndarray) -> np.ndarray:
            raise ArtifactError("The disk is gone.")

    where = world()
    pairs = honest(where)
    pairs[0] = (pairs[0][0], Broken())
    with pytest.raises(ArtifactError):
        where.outcome(pairs)


def test_parts_of_different_rounds_are_refused() -> None:
    where = world()
    pairs = honest(where)
    entries, updates = [c for c, _ in pairs], [u for _, u in pairs]
    header, state = where.header, where.state
    other = Manifest("other", MANIFEST.tensors)
    calls = [
        (other, header, KRUM, state, entries, updates),
        (MANIFEST, replace(header, exponents=(0,)), KRUM, state, entries, updates),
        (MANIFEST, replace(header, width=4), KRUM, state, entries, updates),
        (MANIFEST, header, replace(KRUM, mean_scale=0), state, entries, updates),
        (MANIFEST, header, replace(KRUM, mean_scale=2), state, entries, updates),
        (MANIFEST, header, KRUM, state, entries, updates[:-1]),
        (MANIFEST, header, KRUM, state, [replace(entries[0], round=2), *entries[1:]], updates),
        (
            MANIFEST,
            header,
            KRUM,
            state,
            [replace(entries[0], base_state_root=bytes(32)), *entries[1:]],
            updates,
        ),
        (MANIFEST, header, KRUM, worlds.state(MANIFEST, 5), entries, updates),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            compute_round(*call, coordinator=COORDINATOR, lineage=GENESIS)
        assert caught.value.code == "mismatch"


# A federation whose arithmetic is the same on every machine: each contributor goes towards a target, coordinate by
# coordinate, so no sum of floats has an order.


def towards(targets: dict[str, F32]) -> Callable[[str, F32], F32]:
    def train(name: str, weights: F32) -> F32:
        for _ in range(5):
            weights -= np.float32(0.125) * (weights - targets[name])
        return weights

    return train


def targets(manifest: Manifest, spread: int = 200) -> dict[str, F32]:
    made = {}
    for i, name in enumerate(NAMES):
        values = worlds.integers(99, manifest.size, 1 << 10) + worlds.integers(i, manifest.size, spread)
        vector = (values * 2.0**-10).astype(np.float32).reshape(-1, LEAF)
        vector[np.arange(LEAF)[None, :] >= manifest.values_in_leaf[:, None]] = 0
        made[name] = vector.reshape(-1)
    return made


def run(policy: worlds.Policy, count: int = 6) -> list[RoundOutcome]:
    where = World(worlds.state(MANIFEST, 7, 1 << 20), exponents=(-6, -6, -6), policy=policy)
    goals = targets(MANIFEST)
    goals["frank"] = -8 * goals["frank"]
    return [where.train(towards(goals), NAMES[:6]) for _ in range(count)]


def test_golden_run() -> None:
    """Not one bit of a whole history may change. Regenerate only with a new version of the protocol."""
    golden = json.loads((Path(__file__).parent / "golden_run.json").read_text(encoding="utf-8"))
    outcomes = run(KRUM)
    found = [
        {
            "anchor": "0x" + outcome.anchor.hash.hex(),
            "state": "0x" + outcome.state_root.hex(),
            "weights": list(outcome.weights),
            "exponents": list(outcome.next_exponents),
            "theta": outcome.state.theta[:4].tolist(),
        }
        for outcome in outcomes
    ]
    assert found == golden


def test_krum_withstands_what_the_mean_does_not() -> None:
    goal = np.mean([targets(MANIFEST)[name] for name in NAMES[:5]], axis=0)
    plain = worlds.policy("mean", (), 700, 300)
    robust = worlds.policy("multi_krum", (1, 0), 700, 300)
    errors = {}
    for policy in (plain, robust):
        outcome = run(policy, 10)[-1]
        errors[policy.rule] = float(np.abs(outcome.state.to_float32() - goal).mean())
    assert errors["multi_krum"] < 0.2 < errors["mean"]
    last = run(robust, 3)[-1].verdicts.verdicts
    assert last[5].reason is Reason.OUTLIER, "frank pulls the other way"


def test_a_model_of_one_leaf() -> None:
    manifest = Manifest("tiny", (Tensor("a", (3,)),))
    where = World(worlds.state(manifest, 1), exponents=(-8,), manifest=manifest)
    outcome = where.outcome([where.commit("alice", worlds.update_bytes(manifest, 1))])
    assert outcome.weights == (1,)
    assert len(outcome.mean_tree.levels) == 1
