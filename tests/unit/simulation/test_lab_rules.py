# SPDX-License-Identifier: Apache-2.0
"""The rules that only drills have: integer weights, and what each promises."""

from __future__ import annotations

import numpy as np
import pytest
from folkmoot_lab import rules as laboratory
from folkmoot_lab.rules import centered_clipping, geometric_median, trimmed_mean
from hypothesis import given, settings
from hypothesis import strategies as st

from folkmoot.aggregation import registry as rules
from folkmoot.errors import InputError
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.mean import MAX_WEIGHT_SUM
from folkmoot.protocol.verdict import Reason
from tests import factories
from tests.unit.aggregation.test_rules import any_updates, facts_of, honest, weigh, weights

laboratory.register()

ALL = sorted(module.NAME for module in laboratory.MODULES)
ROOTED = {
    "fltrust": "guarded_mean",
    "root_cosine": "guarded_mean",
    "root_guard": "guarded_mean",
    "root_veto": "guarded_nnm",
    "rooted_mean": "guided_mean",
}
"""Rules that use a root-set update, and what each is without one."""
TRIMMED = ("trimmed_mean", "guarded_trimmed_mean")


def test_no_federation_can_have_one() -> None:
    assert set(ALL) | {"windowed_mean"} == rules.FORMER
    for name in ALL:
        with pytest.raises(InputError, match="no longer one that a federation can have") as caught:
            rules.check_policy_rule(factories.policy(rule=name))
        assert caught.value.code == "former-rule"
        assert "clamped_mean" in str(caught.value.remedy)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=30, deadline=None)
@given(vectors=any_updates(), attackers=st.integers(0, 12), rooted=st.booleans(), past=st.booleans())
def test_weights_are_always_in_range(
    name: str, vectors: I64, attackers: int, rooted: bool, past: bool
) -> None:
    facts = facts_of(
        vectors,
        vectors[-1] if rooted else None,
        [vectors[0]] if past else (),
        trajectory=vectors[0] if past else None,
    )
    results = weigh(name, facts, attackers)
    assert all(result.weight >= 0 for result in results)
    assert 1 <= sum(result.weight for result in results) <= MAX_WEIGHT_SUM
    assert all((result.reason is Reason.ACCEPTED) == (result.weight > 0) for result in results)


@pytest.mark.parametrize("name", ALL)
def test_a_wrong_number_of_parameters_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="takes"):
        rules.rule(name)(facts_of(honest(1, 3, 64)), [1, 2, 3])


@pytest.mark.parametrize("name", ["geometric_median", "centered_clipping"])
def test_a_common_factor_changes_iterations_by_their_rounding_only(name: str) -> None:
    vectors = honest(3, 8, 128)
    plain, scaled = weights(name, facts_of(vectors)), weights(name, facts_of(vectors, scale=1000))
    assert all(abs(a - b) <= 64 for a, b in zip(plain, scaled, strict=True))


@pytest.mark.parametrize(("name", "other"), sorted(ROOTED.items()))
@pytest.mark.parametrize("root", [None, np.zeros(4096, dtype=np.int64)], ids=["none", "zero"])
def test_a_root_rule_without_a_root_is_the_rule_that_needs_none(
    name: str, other: str, root: I64 | None
) -> None:
    vectors = honest(1)
    vectors[8] //= -2
    facts = facts_of(vectors, root, trajectory=honest(1)[0])
    assert weights(name, facts) == weights(other, facts)


def test_without_a_trajectory_the_guided_mean_is_the_guarded_one() -> None:
    facts = facts_of(with_a_flipped_one(5))
    assert weights("guided_mean", facts) == weights("guarded_mean", facts)
    assert weights("guided_mean", facts)[0] == 0


def test_mixing_counts_neighbourhoods() -> None:
    line = np.array([[0, 1], [1, 1], [2, 1], [50, 1]], dtype=np.int64)  # the last one's nearest: 2, 1, itself
    assert [4 * w // 65536 for w in weights("nnm", facts_of(line), 1)] == [3, 4, 4, 1]


@pytest.mark.parametrize("selected", [1, 3, 6, 7])
@pytest.mark.parametrize("seed", range(5))
def test_only_the_selected_mixed_updates_are_averaged(seed: int, selected: int) -> None:
    """Compare with vectors: averaged are the mixed updates (sums of groups of one size) with the smallest scores."""
    count, attackers = 7, 2
    vectors = np.random.default_rng(seed).integers(-50, 50, (count, 3))
    nearest = [
        np.argsort(((vectors - vector) ** 2).sum(axis=1), kind="stable")[: count - attackers]
        for vector in vectors
    ]
    mixed = np.array([vectors[group].sum(axis=0) for group in nearest])
    distances = ((mixed[:, None] - mixed[None]) ** 2).sum(axis=2)
    scores = np.sort(distances, axis=1)[:, 1 : count - attackers - 1].sum(axis=1)
    counts = np.bincount(
        np.concatenate([nearest[i] for i in np.argsort(scores, kind="stable")[:selected]]), minlength=count
    )
    found = [result.weight for result in rules.rule("nnm")(facts_of(vectors), (attackers, selected))]
    assert found == [int(times) * 65536 // int(counts.max()) for times in counts]


def test_the_geometric_median_of_a_line_is_near_its_middle() -> None:
    line = np.array([[10, 1], [11, 1], [12, 1], [13, 1], [120, 1]], dtype=np.int64)
    found = geometric_median.weiszfeld(facts_of(line).gram)
    assert 11 < sum(w * x for w, x in zip(found, line[:, 0], strict=True)) / sum(found) < 14


def test_the_geometric_median_agrees_with_floats() -> None:
    vectors = honest(4, 7, 64)
    vectors[0] = 127
    point = vectors.mean(axis=0)
    for _ in range(8):
        inverse = 1 / np.linalg.norm(vectors - point, axis=1)
        point = inverse @ vectors / inverse.sum()
    found = np.array(geometric_median.weiszfeld(facts_of(vectors).gram), dtype=float)
    assert np.allclose(found @ vectors / found.sum(), point, atol=0.01)


def test_centered_clipping_agrees_with_floats() -> None:
    vectors = honest(4, 7, 64)
    vectors[0] = 127
    centre = np.zeros(64)
    for _ in range(3):
        distance = np.linalg.norm(vectors - centre, axis=1)
        pull = np.minimum(1, np.sort(distance)[3] / distance)
        centre = centre + (pull[:, None] * (vectors - centre)).mean(axis=0)
    found = np.array(centered_clipping.coefficients(facts_of(vectors).gram), dtype=float) / 65536
    assert np.allclose(found @ vectors, centre, atol=0.05)


def with_a_flipped_one(count: int) -> I64:
    vectors = honest(1, count)
    vectors[0] *= -1
    return vectors


@pytest.mark.parametrize("name", TRIMMED)
def test_trimmed_an_update_of_zeros_does_not_count(name: str) -> None:
    vectors = honest(1, 6, 256)
    vectors[2] = 0
    assert weights(name, facts_of(vectors)) == [1, 1, 0, 1, 1, 1]


def test_trimmed_only_the_guarded_one_leaves_copies_out() -> None:
    vectors = honest(2, 8, 4096)
    vectors[5] = vectors[7] = vectors[1]
    assert weights("trimmed_mean", facts_of(vectors), 2) == [1] * 8
    assert weights("guarded_trimmed_mean", facts_of(vectors), 2) == [1, 1, 1, 1, 1, 0, 1, 0]


def middle(rows: U8, trim: int) -> tuple[list[int], int]:
    """Sums of the middle values of each column, with plain integers; how many they are."""
    ends = min(trim, (len(rows) - 1) // 2)
    columns = [sorted(column)[ends : len(rows) - ends] for column in rows.T.tolist()]
    return [sum(column) - 128 * len(column) for column in columns], len(rows) - 2 * ends


def rows_of(seed: int, values: tuple[int, int], count: int) -> U8:
    return np.random.default_rng(seed).integers(*values, (count, 64), dtype=np.uint8, endpoint=True)


ROWS = st.builds(
    rows_of,
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 255), (127, 129), (1, 1), (255, 255)]),
    st.integers(1, 12),
)


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, trim=st.one_of(st.integers(0, 7), st.just(2**32 - 1)))
def test_trimmed_the_aggregate_is_the_sum_of_the_middle_of_the_sorted_values(rows: U8, trim: int) -> None:
    sums, count = trimmed_mean.aggregate(rows, (trim,))
    assert (sums.tolist(), count) == middle(rows, trim)
    assert sums.dtype == np.int64
    assert count >= 1
    assert trimmed_mean.aggregate(rows[::-1], (trim,))[0].tolist() == sums.tolist()


@pytest.mark.parametrize("trim", [0, 100, 127, 1000])
@pytest.mark.parametrize("value", [1, 255])
def test_trimmed_the_largest_round_fits(value: int, trim: int) -> None:
    rows = np.full((256, 64), value, dtype=np.uint8)
    rows[:, ::2] = rows_of(trim, (1, 255), 256)[:, ::2]
    sums, count = trimmed_mean.aggregate(rows, (trim,))
    assert (sums.tolist(), count) == middle(rows, trim)


@settings(max_examples=20, deadline=None)
@given(trim=st.integers(0, 3), sent=st.lists(st.integers(1, 255), min_size=3, max_size=3))
def test_trimmed_no_minority_moves_a_coordinate_beyond_the_others(trim: int, sent: list[int]) -> None:
    others = rows_of(trim, (1, 255), 7)
    attackers = np.repeat(np.array(sent[:trim], dtype=np.uint8)[:, None], 64, axis=1)
    sums, count = trimmed_mean.aggregate(np.concatenate([attackers, others]), (trim,))
    values = others.astype(np.int64) - 128
    assert (sums >= values.min(axis=0) * count).all()
    assert (sums <= values.max(axis=0) * count).all()
