# SPDX-License-Identifier: Apache-2.0
"""What the federation of a lie is made of, and what can't be shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from folkmoot_lab.stories.cheat import CHEATS, staged
from folkmoot_lab.stories.federation import Story

from folkmoot.devnet.federation import BOND, COORDINATOR_STAKE
from folkmoot.errors import InputError


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_lie_comes_after_the_honest_rounds_and_leaves_a_bond(tmp_path: Path, cheat: str) -> None:
    plan = staged(Story(tmp_path, contributors=4), cheat, honest=3)
    assert plan.cheat == ("" if cheat == "double-anchor" else f"{cheat}@4")
    assert plan.watched
    assert COORDINATOR_STAKE >= 6 * BOND, "a bond for each round, and one to lose"
    assert dict(plan.attackers) == ({4: "false-norm"} if cheat == "norm" else {})


def test_weights_are_shown_where_a_contract_judges_them(tmp_path: Path) -> None:
    assert staged(Story(tmp_path), "weights", 1).rule == "multi_krum"
    with pytest.raises(InputError) as vote:
        staged(Story(tmp_path, rule="mean", parameters=()), "weights", 1)
    assert vote.value.code == "cheat-not-shown"
    with pytest.raises(InputError) as unknown:
        staged(Story(tmp_path), "theft", 1)
    assert unknown.value.code == "unknown-cheat"
