# SPDX-License-Identifier: Apache-2.0
"""What a round takes from the coordinator's own entry and from the rounds before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from folkmoot.aggregation import references as reference
from folkmoot.aggregation.cosines import UNIT, cosine
from folkmoot.aggregation.lineage import GENESIS, Lineage, PastRound, window
from folkmoot.aggregation.references import COMPARED_LEAVES, compared_leaves, references
from folkmoot.aggregation.trajectory import WINDOW, trajectory_update
from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment, entries_hash
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.updates import FileUpdate, MemoryUpdate, UpdateReader
from folkmoot.protocol.verdict import Reason, Verdict
from tests.unit import worlds
from tests.unit.worlds import COORDINATOR, MANIFEST, NAMES, World

Pairs = list[tuple[Commitment, UpdateReader | None]]


def related(manifest: Manifest, seed: int, own: int = 60, common: int = 40) -> bytes:
    """An update that shares a direction with every other one of these."""
    shared = np.frombuffer(worlds.update_bytes(manifest, 1000, common), dtype=np.uint8).astype(np.int64)
    mine = np.frombuffer(worlds.update_bytes(manifest, seed, own), dtype=np.uint8).astype(np.int64)
    return (np.clip(shared + mine - 256, -127, 127) + 128).astype(np.uint8).tobytes()


def world(rule: str, parameters: Sequence[int] = ()) -> World:
    return World(worlds.state(MANIFEST, 1), policy=worlds.policy(rule, parameters))


def entries(where: World, count: int = 5, seed: int = 0) -> Pairs:
    return [
        where.commit(name, related(where.manifest, 100 * seed + i)) for i, name in enumerate(NAMES[:count])
    ]


def with_root(where: World, pairs: Pairs, place: int, seed: int = 50) -> Pairs:
    return [*pairs[:place], where.commit(COORDINATOR, related(where.manifest, seed)), *pairs[place:]]


class Unread:
    """An update that nobody may read."""

    size = MANIFEST.size
    width = 8

    def packed(self, first: int, last: int) -> U8:
        raise ArtifactError("This file was not to be read.")

    def read(self, first: int, last: int) -> U8:
        raise ArtifactError("This file was not to be read.")

    def pick(self, leaves: I64) -> U8:
        raise ArtifactError("This file was not to be read.")


# The coordinator's own entry


@pytest.mark.parametrize("rule", ["mean", "clamped_mean"])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_the_coordinators_own_entry_is_never_summed(rule: str, place: int) -> None:
    where = world(rule)
    pairs = entries(where)
    outcome = where.outcome(with_root(where, pairs, place))
    verdict = outcome.verdicts.verdicts[place]
    own, _ = where.commit(COORDINATOR, related(MANIFEST, 50))
    pay = None if rule == "mean" else 0
    assert verdict == Verdict(place, own.contributor, 0, Reason.ROOT, {"sumSquares": own.sum_squares}, pay)
    assert outcome.artifacts.updates[place] is not None, "it is published like the others"
    others = [v for v in outcome.verdicts.verdicts if v.index != place]
    assert all(v.weight > 0 for v in others)
    if rule == "mean":  # then it changes nothing at all
        plain = where.outcome(pairs)
        assert [v.weight for v in others] == list(plain.weights)
        assert (outcome.state_root, outcome.next_exponents) == (plain.state_root, plain.next_exponents)


def test_a_huge_own_entry_moves_nothing() -> None:
    where = world("mean")
    pairs = entries(where)
    huge = where.commit(COORDINATOR, worlds.update_bytes(MANIFEST, 3))
    assert where.outcome([huge, *pairs]).state_root == where.outcome(pairs).state_root


def test_rules_with_a_root_use_the_coordinators_own_entry() -> None:
    where = world("clamped_mean")
    pairs = entries(where)
    against = bytearray(related(MANIFEST, 2))
    against[:] = bytes(256 - value for value in against)  # q becomes -q
    pairs[2] = where.commit(NAMES[2], bytes(against))
    rooted = where.outcome(with_root(where, pairs, 5)).verdicts.verdicts
    assert all("rootCosine" in verdict.numbers for verdict in rooted[:5] if verdict.weight)
    assert rooted[2].weight < min(one.weight for i, one in enumerate(rooted[:5]) if i != 2)
    plain = where.outcome(pairs).verdicts.verdicts
    assert not any("rootCosine" in verdict.numbers for verdict in plain)
    late = with_root(where, pairs, 5)
    late[5] = (late[5][0], None)
    assert where.outcome(late).verdicts.verdicts[5].reason is Reason.NOT_DELIVERED
    assert where.outcome(late).weights[:5] == where.outcome(pairs).weights


def test_an_own_entry_alone_is_no_round() -> None:
    where = world("mean")
    lost: Pairs = [(commitment, None) for commitment, _ in entries(where)]
    with pytest.raises(InputError) as caught:
        where.outcome(with_root(where, lost, 0))
    assert caught.value.code == "no-updates"


def test_the_same_account_in_another_round_is_a_contributor_like_any_other() -> None:
    where = world("mean")
    outcome = where.outcome(with_root(where, entries(where), 0), coordinator="somebody else")
    assert outcome.verdicts.verdicts[0].reason is Reason.ACCEPTED


# The lineage


@pytest.mark.parametrize(
    ("bases", "base", "expected"),
    [
        ({}, 0, []),
        ({1: 0}, 1, [1]),
        ({1: 0, 2: 1, 3: 1, 5: 3}, 5, [1, 3, 5]),  # 2 was voided, 4 cancelled
        ({n: n - 1 for n in range(1, 20)}, 19, list(range(12, 20))),
    ],
)
def test_the_window_follows_the_bases(bases: dict[int, int], base: int, expected: list[int]) -> None:
    assert window(base, bases.__getitem__) == expected


def test_what_a_rule_does_not_use_is_not_read() -> None:
    where = world("multi_krum", (1, 0))
    where.history = [(where.state, PastRound(where.exponents, (Unread(),)))]
    assert where.outcome(entries(where)).anchor == world("multi_krum", (1, 0)).outcome(entries(where)).anchor
    where.policy = worlds.policy("clamped_mean")
    with pytest.raises(ArtifactError, match="not to be read"):
        where.outcome(entries(where))


def test_a_lineage_that_lacks_something_is_refused() -> None:
    where = world("clamped_mean")
    past = PastRound(where.exponents, (MemoryUpdate(related(MANIFEST, 9)),))
    for lineage in (
        Lineage((past,)),
        Lineage((replace(past, updates=(MemoryUpdate(bytes(LEAF)),)),), where.state),
        Lineage((replace(past, exponents=(0,)),), where.state),
    ):
        with pytest.raises(InputError) as caught:
            where.outcome(entries(where), lineage=lineage)
        assert caught.value.code == "mismatch"


@pytest.mark.parametrize("rounds", [1, 3, WINDOW, WINDOW + 2])
def test_the_trajectory_begins_where_the_window_does(rounds: int) -> None:
    where = world("clamped_mean")
    states = [where.state, *(where.play(entries(where, seed=number)).state for number in range(rounds))]
    pairs = entries(where, seed=99)
    verdicts = where.outcome(pairs).verdicts.verdicts
    before = states[max(0, rounds - WINDOW)]
    moved = MemoryUpdate(trajectory_update(MANIFEST, where.exponents, 8, before, where.state))
    readers = [update for _, update in pairs if update is not None]
    (trajectory,) = references(MANIFEST, where.exponents, readers, [(moved, where.exponents)])
    assert trajectory.square > 0
    for verdict, product in zip(verdicts, trajectory.products, strict=True):
        assert (verdict.numbers["trajectoryCosine"] > 0) == (product > 0)
    assert len({v.numbers["trajectoryMedian"] for v in verdicts}) == 1
    first = world("clamped_mean").outcome(entries(world("clamped_mean"))).verdicts.verdicts
    assert not any("trajectoryCosine" in verdict.numbers for verdict in first), "on the genesis there is none"


@pytest.mark.parametrize("back", range(1, WINDOW + 2))
def test_a_replay_is_found_as_far_back_as_the_window_goes(back: int) -> None:
    where = world("clamped_mean")
    sent = []
    for number in range(WINDOW + 2):
        pairs = entries(where, seed=number)
        where.exponents = (-9, -9, -9)  # the same units, so that the bytes stay the same update
        sent.append([related(MANIFEST, 100 * number + i) for i in range(5)])
        where.play(pairs)
    where.exponents = (-9, -9, -9)
    pairs = entries(where, seed=77)
    pairs[1] = where.commit(NAMES[1], sent[-back][3])
    verdicts = where.outcome(pairs).verdicts.verdicts
    assert (verdicts[1].reason is Reason.COPY) == (back <= WINDOW)
    assert [v.index for v in verdicts if v.weight == 0] == ([1] if back <= WINDOW else [])


@pytest.mark.parametrize("then", [(-9, -9, -9), (-12, -9, -6), (-10, -12, -8), (-8, -7, -10)])
def test_a_replay_in_other_units_is_found(then: tuple[int, ...]) -> None:
    """What was cut off in finer units is another vector than the same training in coarser ones."""
    where = world("clamped_mean")
    start = where.state.to_float32()
    delta = np.where(start != 0, worlds.integers(3, MANIFEST.size, 300) * 2.0**-9, 0).astype(np.float32)

    def sent(name: str) -> tuple[Commitment, UpdateReader | None]:
        address = worlds.account(name).address
        base = where.state.to_float32()
        encoded = encode_update(base, base - delta, where.exponents, MANIFEST, where.header.seed, address)
        return where.commit(name, encoded)

    where.exponents = then
    where.play([*entries(where, 4), sent(NAMES[4])])
    where.exponents = (-9, -9, -9)
    verdicts = where.outcome([*entries(where, 4, seed=8), sent(NAMES[5])]).verdicts.verdicts
    assert [verdict.reason is Reason.COPY for verdict in verdicts] == [False] * 4 + [True]


def test_the_coordinators_own_entry_of_an_earlier_round_is_no_free_work() -> None:
    where = world("clamped_mean")
    where.play(with_root(where, entries(where), 5))
    where.exponents = (-9, -9, -9)
    pairs = entries(where, seed=7)
    pairs[4] = where.commit(NAMES[4], related(MANIFEST, 50))
    assert where.outcome(pairs).verdicts.verdicts[4].reason is Reason.COPY


# The sample of a large model

LARGE = Manifest("large", (Tensor("a", (3 * 256 + 5,)), Tensor("b", (2 * COMPARED_LEAVES * LEAF,))))
"""8,196 leaves, of which every third one is compared."""


def noise(seed: int) -> U8:
    """uint8[n, 256]."""
    values = np.random.default_rng(seed).integers(1, 256, (LARGE.leaves, LEAF), dtype=np.uint8)
    values[3, 5:] = 128  # the padding of a
    return values


@pytest.mark.parametrize("leaves", [1, COMPARED_LEAVES])
def test_a_small_model_is_compared_whole(leaves: int) -> None:
    assert compared_leaves(leaves, bytes(32)) is None


@pytest.mark.parametrize("leaves", [COMPARED_LEAVES + 1, LARGE.leaves, 100_000])
def test_the_sample_has_one_leaf_of_each_run_and_is_decided_by_the_entries(leaves: int) -> None:
    run = -(-leaves // COMPARED_LEAVES)
    first, second = (compared_leaves(leaves, keccak(text)) for text in (b"one", b"two"))
    assert first is not None
    assert second is not None
    for found in (first, second):
        assert len(set((found // run).tolist())) == len(found) <= COMPARED_LEAVES
        assert len(found) >= leaves // run
        assert found.max() < leaves
        assert all(np.bincount(found % run, minlength=run) > 0)
    expected = int.from_bytes(keccak(keccak(b"one"), (7).to_bytes(4, "big")), "big") % run
    assert first[7] == 7 * run + expected
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("text", [b"one", b"two"])
def test_sampled_products_are_exact(tmp_path: Path, text: bytes) -> None:
    here, there = (-10, -14), (-12, -3)
    ours, other = [noise(1), noise(2)], noise(3)
    ours[0][:] = 255
    ours[0][3, 5:] = 128
    other[1000:] = 1
    path = tmp_path / "other"
    path.write_bytes(other.tobytes())
    readers = [MemoryUpdate(update.tobytes()) for update in ours]
    sample = compared_leaves(LARGE.leaves, keccak(text))
    (found,) = references(LARGE, here, readers, [(FileUpdate(path, 8), there)], sample)

    def values(update: U8, up: tuple[int, int]) -> list[int]:
        """One exact number per coordinate of the sample: clamped at 2^-12 and 2^-14, in units of the latter."""
        chosen = update[sample].astype(object) - 128
        tensor = LARGE.tensor_of_leaf[sample]
        clamped = np.clip(chosen * np.array([1 << up[t] for t in tensor], dtype=object)[:, None], -127, 127)
        return list((clamped * np.array([4 >> (2 * t) for t in tensor], dtype=object)[:, None]).reshape(-1))

    mine, theirs = [values(update, (2, 0)) for update in ours], values(other, (0, 11))
    assert found.square == sum(x * x for x in theirs)
    assert found.products == tuple(sum(x * y for x, y in zip(one, theirs, strict=True)) for one in mine)
    assert found.own == tuple(sum(x * x for x in one) for one in mine)


def test_a_replay_that_is_altered_where_a_comparison_was_expected_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One leaf in 129 is compared: who knew which could replay the others."""
    monkeypatch.setattr(reference, "COMPARED_LEAVES", 64)
    where = World(
        worlds.state(LARGE, 1), exponents=(-9, -9), manifest=LARGE, policy=worlds.policy("clamped_mean")
    )
    old = noise(10)
    past = PastRound(where.exponents, (MemoryUpdate(old.tobytes()),), (7,), ("another",), {})
    where.history = [(where.state, past)]
    altered, expected = old.copy(), compared_leaves(LARGE.leaves, bytes(32))
    altered[expected] = noise(11)[expected]
    pairs = [where.commit("alice", altered.tobytes())]
    pairs += [where.commit(name, noise(20 + i).tobytes()) for i, name in enumerate(("bob", "carol"))]

    def seen(sample: I64 | None) -> int:
        others = [(update, past.exponents) for update in past.updates]
        (found,) = references(LARGE, where.exponents, [update for _, update in pairs], others, sample)
        assert found.own is not None
        return cosine(found.products[0], found.own[0], found.square)

    assert abs(seen(expected)) < UNIT // 20, "there it would be hidden"
    chosen = compared_leaves(LARGE.leaves, entries_hash([commitment for commitment, _ in pairs]))
    assert seen(chosen) > 0.97 * UNIT
    verdict = where.outcome(pairs).verdicts.verdicts[0]
    assert (verdict.reason, verdict.numbers["copyCosine"]) == (Reason.COPY, seen(chosen))


def test_some_leaves_are_read_from_files_as_from_memory(tmp_path: Path) -> None:
    data = noise(4)
    path = tmp_path / "update"
    path.write_bytes(data.tobytes())
    leaves = np.array([0, 3, 7, 4000, 8195])
    for reader in (FileUpdate(path, 8), MemoryUpdate(data.tobytes())):
        assert (reader.pick(leaves) == data[leaves]).all()
    opened = FileUpdate(path, 8)
    path.write_bytes(data.tobytes()[:-LEAF])
    with pytest.raises(ArtifactError):
        opened.pick(leaves)


def test_without_a_lineage_it_is_that_of_the_genesis() -> None:
    assert world("mean").lineage is GENESIS
