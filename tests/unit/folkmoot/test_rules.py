# SPDX-License-Identifier: Apache-2.0
"""Of the rules, what the vectors do not say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.rules import PARAMETERS, rule
from folkmoot.errors import InputError
from folkmoot.verdict import Reason
from tests.unit.folkmoot import reference

VECTORS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=9)


def facts_of(vectors: list[tuple[int, int]]) -> RoundFacts:
    gram = tuple(tuple(a * c + b * d for c, d in vectors) for a, b in vectors)
    return RoundFacts(
        gram, tuple(row[i] for i, row in enumerate(gram)), tuple((abs(a) + abs(b),) for a, b in vectors)
    )


@given(VECTORS, st.integers(0, 5), st.integers(0, 10))
def test_multi_krum_is_the_references(vectors: list[tuple[int, int]], f: int, m: int) -> None:
    facts = facts_of(vectors)
    results = rule("multi_krum")(facts, (f, m))
    flat = [product for row in facts.gram for product in row]
    weights, scores = reference.multi_krum(flat, len(vectors), f, m)
    assert [result.weight for result in results] == weights
    assert [result.numbers["score"] for result in results] == scores
    assert sum(weights) >= 1
    for result in results:
        assert result.reason == (Reason.ACCEPTED if result.weight else Reason.OUTLIER)
        assert result.weight == 0 or result.numbers["score"] <= result.numbers["threshold"]


@given(VECTORS)
def test_mean_weighs_all_alike(vectors: list[tuple[int, int]]) -> None:
    results = rule("mean")(facts_of(vectors), ())
    assert {(result.weight, result.reason) for result in results} == {(1, Reason.ACCEPTED)}


def test_two_attackers_of_seven_are_left_out() -> None:
    honest = [(3, 4), (4, 3), (3, 3), (4, 4), (5, 4)]
    results = rule("multi_krum")(facts_of([(-90, -90), *honest, (90, -90)]), (2, 0))
    assert [result.weight for result in results] == [0, 1, 1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("name", "parameters"), [("mean", (1,)), ("multi_krum", ()), ("multi_krum", (1, 2, 3))]
)
def test_wrong_parameters_are_refused(name: str, parameters: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        rule(name)(facts_of([(1, 1)]), parameters)
    assert caught.value.code == "invalid-policy"


def test_unknown_rule_names_the_known() -> None:
    with pytest.raises(InputError, match="multi_krum") as caught:
        rule("median")
    assert caught.value.code == "unknown-rule"
    assert PARAMETERS["multi_krum"] == ("f", "m")
