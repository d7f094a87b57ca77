# SPDX-License-Identifier: Apache-2.0
"""Of the rules, what the vectors do not say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.aggregation.interface import RoundFacts
from folkmoot.aggregation.references import Reference, ReferencedFacts, ReferenceKind, Windows
from folkmoot.aggregation.registry import (
    PARAMETERS,
    SHIPPED,
    check_policy_rule,
    fewest_contributors,
    rule,
    uses,
)
from folkmoot.errors import InputError
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.verdict import Reason
from tests import factories
from tests.unit import reference

VECTORS = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=9)


def facts_of(vectors: list[tuple[int, int]]) -> RoundFacts:
    gram = tuple(tuple(a * c + b * d for c, d in vectors) for a, b in vectors)
    return RoundFacts(
        gram,
        tuple(row[i] for i, row in enumerate(gram)),
        tuple((abs(a) + abs(b),) for a, b in vectors),
        elements=(2,),
    )


@given(VECTORS, st.integers(0, 5), st.integers(0, 10))
def test_multi_krum_is_the_references(vectors: list[tuple[int, int]], f: int, m: int) -> None:
    facts = facts_of(vectors)
    results = rule("multi_krum")(facts, (f, m))
    flat = [product for row in facts.gram for product in row]
    weights, scores = reference.multi_krum(flat, len(vectors), f, m)
    assert [result.weight for result in results] == weights
    assert [result.numbers["krumScore"] for result in results] == scores
    assert sum(weights) >= 1
    for result in results:
        assert result.reason == (Reason.ACCEPTED if result.weight else Reason.OUTLIER)
        assert result.weight == 0 or result.numbers["krumScore"] <= result.numbers["krumThreshold"]


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


def policy(rule: str, parameters: tuple[int, ...], fewest: int = 5, most: int = 20) -> Policy:
    return Policy(rule, parameters, 1, fewest, most, 8, 1024, 0, 60, 60, 60, 0, 0, 0)


@pytest.mark.parametrize(
    ("rule", "parameters", "code", "why"),
    [
        ("median", (), "unknown-rule", "no aggregation rule 'median'"),
        ("mean", (1,), "wrong-parameters", "has 0 parameters, not 1"),
        ("multi_krum", (1,), "wrong-parameters", "has 2 parameters, not 1"),
        ("clamped_mean", (1, 1), "wrong-parameters", "has 0 to 1 parameters, not 2"),
        (
            "clamped_mean",
            (0,),
            "impossible-policy",
            "root share of clamped_mean is 0, and must be from 1 to 512",
        ),
        ("clamped_mean", (513,), "impossible-policy", "is 513, and must be"),
        ("multi_krum", (3, 0), "impossible-policy", "f = 3 attackers are no minority of a round with 5"),
        ("guided_mean", (), "former-rule", "guided_mean is no longer one that a federation can have"),
        ("trimmed_mean", (1,), "former-rule", "trimmed_mean is no longer"),
        ("multi_krum", (0, 0), "impossible-policy", "f = 0 attackers"),
        (
            "multi_krum",
            (2, 21),
            "impossible-policy",
            "m = 21 updates shall be selected, and a round has at most 20",
        ),
    ],
)
def test_a_policy_that_can_not_work_is_refused(
    rule: str, parameters: tuple[int, ...], code: str, why: str
) -> None:
    with pytest.raises(InputError, match=why) as caught:
        check_policy_rule(policy(rule, parameters))
    assert caught.value.code == code
    assert caught.value.remedy


@pytest.mark.parametrize("name", [module.NAME for module in SHIPPED])
def test_every_rule_can_be_in_a_policy(name: str) -> None:
    parameters = (2, 0) if name == "multi_krum" else ()
    check_policy_rule(policy(name, parameters))
    fewest = fewest_contributors(name, parameters)
    assert fewest == (5 if parameters else 2)
    check_policy_rule(policy(name, parameters, fewest))
    if parameters:
        with pytest.raises(InputError):
            check_policy_rule(policy(name, parameters, fewest - 1))


def test_fewest_contributors_of_what_never_works() -> None:
    with pytest.raises(InputError, match="withstands none"):
        fewest_contributors("multi_krum", (0, 0))


def test_what_rules_use() -> None:
    assert uses("mean") == uses("multi_krum") == frozenset()
    assert uses("clamped_mean") == set(ReferenceKind)
    with pytest.raises(InputError):
        uses("median")


@pytest.mark.parametrize("name", [module.NAME for module in SHIPPED])
def test_a_rule_uses_what_it_says_and_nothing_else(name: str) -> None:
    """What a rule does not use is left out of anchored rounds, so it must make no difference."""
    rng = np.random.default_rng(3)
    vectors = rng.integers(-40, 41, (9, 64)) + rng.integers(-60, 61, 64)
    gram = tuple(tuple(int(x) for x in row) for row in vectors @ vectors.T)
    squares = tuple(row[i] for i, row in enumerate(gram))

    def compared(other: np.ndarray) -> Reference:
        return Reference(tuple(int(x) for x in vectors @ other), int(other @ other))

    known: dict[ReferenceKind, dict[str, Any]] = {
        ReferenceKind.ROOT: {"root": compared(vectors[0] + vectors[1] - 2 * vectors[5])},
        ReferenceKind.TRAJECTORY: {"trajectory": compared(vectors[2] - vectors[3] + vectors[4])},
        ReferenceKind.EARLIER: {"earlier": (compared(vectors[6]),)},
    }

    def judged(kinds: frozenset[ReferenceKind]) -> object:
        chosen: dict[str, Any] = {}
        for kind in kinds - {ReferenceKind.WINDOW}:
            chosen |= known[kind]
        if ReferenceKind.WINDOW in kinds:
            chosen["window"] = Windows(gram, chosen.get("trajectory"), (1,) * 9)
        facts = ReferencedFacts(gram, squares, ((1,),) * 9, **chosen, elements=(64,))
        return rule(name)(facts, (2, 0)[: len(PARAMETERS[name])])

    everything = frozenset(ReferenceKind)
    assert judged(uses(name)) == judged(everything)
    least = uses(name) & {ReferenceKind.WINDOW}
    for kind in uses(name) - least:
        assert judged(least | {kind}) != judged(least), f"{name} does not use {kind}"
    if least:
        with pytest.raises(InputError, match="needs the window sums"):
            judged(uses(name) - least)
        assert {ReferenceKind.EARLIER, ReferenceKind.TRAJECTORY} <= uses(name), (
            "callers read the files by these"
        )


def test_what_the_ledger_refuses_is_refused_before_a_vote() -> None:
    least = 4 * factories.policy().reward
    check_policy_rule(factories.policy(bond=least))
    with pytest.raises(InputError, match="bond is below 4 times its reward") as caught:
        check_policy_rule(factories.policy(bond=least - 1))
    assert caught.value.code == "impossible-policy"
    krum = {"rule": "multi_krum", "parameters": (2, 0), "min_contributors": 5}
    check_policy_rule(factories.policy(**krum, max_contributors=32))
    with pytest.raises(InputError, match="takes at most 32") as caught:
        check_policy_rule(factories.policy(**krum, max_contributors=33))
    assert caught.value.code == "impossible-policy"
