# SPDX-License-Identifier: Apache-2.0
"""Repeat cosines, and the stage ``copies`` with updates of small widths, whose rounding hides replays and copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from folkmoot import round as rounds
from folkmoot.aggregation import repeats
from folkmoot.aggregation.cosines import UNIT
from folkmoot.aggregation.repeats import repeat_cosines
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.codec import encode_update, rounding_bytes, rounding_key, rounding_offsets
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.protocol.verdict import Reason
from tests.unit import worlds
from tests.unit.worlds import World, account

MANIFEST = Manifest("repeats", (Tensor("w", (64, 256)), Tensor("b", (100,))))
EXPONENTS = (-8, -6)
SEED = bytes(range(32))
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")


def vector(number: int, size: float, manifest: Manifest = MANIFEST) -> F32:
    """Heavy-tailed changes with this root mean square in steps of the exponents, padding 0."""
    random = np.random.default_rng(number)
    parts = {
        tensor.name: (random.standard_t(5, tensor.shape) * np.sqrt(3 / 5) * size * 2.0**exponent).astype(
            np.float32
        )
        for tensor, exponent in zip(manifest.tensors, EXPONENTS, strict=True)
    }
    return manifest.flatten(parts)


def encode(values: F32, name: str, width: int, seed: bytes = SEED) -> tuple[MemoryUpdate, int]:
    """Return an update of these changes and its key."""
    who = account(name).address
    made = encode_update(values, np.zeros_like(values), EXPONENTS, MANIFEST, seed, who, width=width)
    return MemoryUpdate(made.data, width), rounding_key(seed, who)


def cosines(made: Sequence[tuple[MemoryUpdate, int]]) -> tuple[int, ...]:
    """Return the repeat cosines of updates with their keys, on all leaves."""
    return repeat_cosines(MANIFEST, EXPONENTS, [one for one, _ in made], [key for _, key in made])


def integers(update: MemoryUpdate) -> np.ndarray:
    """float64[n]: the changes that an update says, in units of the smaller exponent."""
    values = update.read(0, MANIFEST.leaves).astype(np.float64) - 128
    return (values * np.exp2(np.array(EXPONENTS)[MANIFEST.tensor_of_leaf] + 8)[:, None]).reshape(-1)


def measured(one: np.ndarray, two: np.ndarray) -> float:
    """Cosine of two vectors."""
    return float(one @ two / np.sqrt((one @ one) * (two @ two)))


@pytest.mark.parametrize(("width", "size"), [(8, 9.0), (4, 1.5), (4, 0.4), (2, 0.35), (2, 0.1)])
def test_it_is_the_cosine_of_two_encodings(width: int, size: float) -> None:
    values = vector(1, size)
    made = [encode(values, name, width) for name in NAMES]
    found = cosines(made)
    rows = [integers(one) for one, _ in made]
    seen = [measured(rows[i], rows[j]) for i in range(len(rows)) for j in range(i)]
    scatter = np.sqrt((1 - np.mean(seen) ** 2) / MANIFEST.elements)
    assert np.mean(found) / UNIT == pytest.approx(np.mean(seen), abs=4 * scatter)
    assert np.std(found) / UNIT < 4 * scatter


def test_offsets_in_bytes_are_those_of_the_encoding() -> None:
    key = rounding_key(SEED, account("alice").address)
    whole = rounding_offsets(key, 0, 5 * 256).reshape(5, 256)
    leaves = np.array([0, 3, 4])
    assert (rounding_bytes(key, leaves) == np.floor(256 * whole[leaves])).all()


def test_other_roundings_change_it_within_bounds() -> None:
    """Who rounds to the nearest has no noise that can be seen; who aims at the offsets has nothing else."""
    values = vector(2, 1.0)
    made = [encode(values, name, 4) for name in NAMES[:4]]
    honest = cosines(made)
    key = rounding_key(SEED, account("erin").address)
    offsets = rounding_offsets(key, 0, MANIFEST.size).reshape(-1, 256)
    used = np.arange(256) < MANIFEST.values_in_leaf[:, None]
    aimed = np.where(used & (offsets > 0.5), 1, np.where(used & (offsets < 0.5), -1, 0)) + 128
    nearest = encode(values, "frank", 4)[0]
    everybody = [
        *made,
        (MemoryUpdate(worlds.pack(aimed.astype(np.uint8), 4), 4), key),
        (nearest, rounding_key(SEED, account("grace").address)),
    ]
    found = cosines(everybody)
    assert found[:4] == honest
    median = sorted([*honest, 0, UNIT])[2]
    assert found[4] == median - median // 4
    assert found[5] == UNIT - (UNIT - median) // 2


def test_updates_of_zeros_say_nothing() -> None:
    made = [encode(vector(3, size), name, 2) for name, size in zip(NAMES, (0.0, 0.0, 0.0, 0.2), strict=False)]
    found = cosines(made)
    assert found[:3] == (UNIT - (UNIT - found[3]) // 2,) * 3
    assert repeat_cosines(MANIFEST, EXPONENTS, [made[0][0]], [made[0][1]]) == (UNIT,)


def test_noise_alone_keeps_a_smallest_cosine() -> None:
    """Of changes far below a step hardly anything is left but noise."""
    made = [encode(vector(4, 0.002), name, 2) for name in NAMES]
    found = cosines(made)
    assert min(found) == repeats.LEAST


def test_of_many_leaves_some_are_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [encode(vector(5, 1.0), name, 4) for name in NAMES]
    readers, keys = [one for one, _ in made], [key for _, key in made]
    every_third = np.arange(0, MANIFEST.leaves, 3)
    on_sample = repeat_cosines(MANIFEST, EXPONENTS, readers, keys, every_third)
    assert on_sample != repeat_cosines(MANIFEST, EXPONENTS, readers, keys)
    monkeypatch.setattr(repeats, "EXAMINED_LEAVES", len(every_third))
    assert repeat_cosines(MANIFEST, EXPONENTS, readers, keys) == on_sample


@pytest.mark.parametrize(("width", "corrected"), [(8, True), (4, True), (4, False)])
def test_a_replay_is_found_at_each_width(
    width: int, corrected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Honest updates have a cosine of 0.9 with their own of the rounds before, the replay 1 without its rounding."""
    if not corrected:
        monkeypatch.setattr(repeats, "repeat_cosines", _without_noise)
    size = {8: 24.0, 4: 1.5}[width]
    world = World(
        worlds.state(MANIFEST, 1),
        EXPONENTS,
        MANIFEST,
        replace(worlds.policy("clamped_mean"), width=width),
    )
    common = vector(100, size)

    def change(name: str, number: int) -> F32:
        own = 0.5 * common + np.sqrt(np.float32(0.75)) * vector(NAMES.index(name), size)
        if name == "frank":
            return np.asarray(own, dtype=np.float32)
        fresh = vector(200 + 10 * number + NAMES.index(name), size)
        return np.asarray(0.95 * own + 0.312 * fresh, dtype=np.float32)

    def moved(name: str, start: F32, number: int) -> F32:
        return np.asarray(start - change(name, number), dtype=np.float32)

    for number in range(3):
        world.exponents = EXPONENTS
        outcome = world.train(partial(moved, number=number), NAMES)
    reasons = [verdict.reason for verdict in outcome.verdicts.verdicts]
    assert reasons[:-1] == [Reason.ACCEPTED] * 5
    assert (reasons[-1] is Reason.COPY) == corrected


@pytest.mark.parametrize("width", [8, 4, 2])
def test_contributors_with_the_same_data_are_no_copies(width: int) -> None:
    """Without their rounding the updates are nearly one vector: half of the pairs are above the median."""
    size = {8: 9.0, 4: 1.5, 2: 0.35}[width]
    world = World(
        worlds.state(MANIFEST, 1),
        EXPONENTS,
        MANIFEST,
        replace(worlds.policy("clamped_mean"), width=width),
    )
    common = vector(100, size)
    outcome = world.train(
        lambda name, start: start - common - np.float32(0.05) * vector(NAMES.index(name), size), NAMES
    )
    assert {verdict.reason for verdict in outcome.verdicts.verdicts} == {Reason.ACCEPTED}


def _without_noise(
    manifest: Manifest, exponents: object, updates: list[MemoryUpdate], keys: object, sample: object = None
) -> tuple[int, ...]:
    return (UNIT,) * len(updates)


def test_rounds_use_them_where_earlier_updates_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def compare(*arguments: object) -> tuple[tuple[()], tuple[()]]:
        asked.append(1)
        return (), ()

    monkeypatch.setattr(rounds, "compare_earlier", compare)
    for rule, used in (("mean", 0), ("clamped_mean", 1)):
        asked.clear()
        World(worlds.state(MANIFEST, 1), EXPONENTS, MANIFEST, worlds.policy(rule)).train(
            lambda name, start: start - vector(NAMES.index(name), 9.0), NAMES
        )
        assert len(asked) == used
