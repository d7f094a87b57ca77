# SPDX-License-Identifier: Apache-2.0
"""The trimmed rules count whole updates or none; what is trimmed is no matter of weights."""

from __future__ import annotations

import numpy as np
import pytest

from folkmoot.aggregation.registry import check_policy_rule, rule
from folkmoot.errors import InputError
from folkmoot.protocol.verdict import Reason
from tests import factories
from tests.unit.aggregation.test_rules import facts_of, honest

RULES = ("trimmed_mean", "guarded_trimmed_mean")


@pytest.mark.parametrize("name", RULES)
def test_an_update_of_zeros_does_not_count(name: str) -> None:
    vectors = honest(1, 6, 256)
    vectors[2] = 0
    results = rule(name)(facts_of(vectors), [1])
    assert [result.weight for result in results] == [1, 1, 0, 1, 1, 1]
    assert results[2].reason is Reason.ZERO_UPDATE


def test_only_the_guarded_one_leaves_copies_out() -> None:
    vectors = honest(2, 8, 4096)
    vectors[5] = vectors[7] = vectors[1]
    weights = {name: [result.weight for result in rule(name)(facts_of(vectors), [2])] for name in RULES}
    assert weights["trimmed_mean"] == [1] * 8
    assert weights["guarded_trimmed_mean"] == [1, 1, 1, 1, 1, 0, 1, 0]


@pytest.mark.parametrize("name", RULES)
def test_where_all_send_zeros_all_count(name: str) -> None:
    results = rule(name)(facts_of(np.zeros((3, 16), dtype=np.int64)), [1])
    assert [(result.weight, result.reason) for result in results] == [(1, Reason.ACCEPTED)] * 3


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("trim", "fewest", "reason"), [(0, 9, "withstands none"), (2, 4, "t = 2 attackers")])
def test_a_policy_that_trims_nothing_or_too_much_is_refused(
    name: str, trim: int, fewest: int, reason: str
) -> None:
    check_policy_rule(factories.policy(rule=name, parameters=(2,), min_contributors=5))
    with pytest.raises(InputError, match=reason) as caught:
        check_policy_rule(factories.policy(rule=name, parameters=(trim,), min_contributors=fewest))
    assert caught.value.code == "impossible-policy"
