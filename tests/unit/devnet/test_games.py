# SPDX-License-Identifier: Apache-2.0
"""What the federation of an attack with money or several accounts is made of, and when an attack has paid."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from folkmoot_lab.stories.capture import ATTACKER, Capture
from folkmoot_lab.stories.cheat import CHEATS, GAMES, check_cheat
from folkmoot_lab.stories.copied_proof import CopiedProof
from folkmoot_lab.stories.federation import Story
from folkmoot_lab.stories.game import Game, Result, error_of
from folkmoot_lab.stories.games import CLASSES
from folkmoot_lab.stories.puppets import Puppets
from folkmoot_lab.stories.spam import Spam
from rich.console import Console

from folkmoot.devnet.federation import BOND, CONTRIBUTOR_STAKE, COORDINATOR_STAKE, REWARD
from folkmoot.errors import ContractRefused, LocalError
from folkmoot.protocol.places import available, is_crowd, quota_of


def game(kind: type[Game], home: Path) -> Game:
    return kind(kind.staged(Story(home)), 1, Console(file=io.StringIO()))


def test_each_game_has_a_class_and_a_name_of_its_own() -> None:
    assert set(CLASSES) == set(GAMES)
    assert not set(GAMES) & set(CHEATS)
    for name in (*CHEATS, *GAMES):
        check_cheat(name)


@pytest.mark.parametrize("contributors", [1, 3, 5, 20])
def test_puppets_make_a_crowd_in_which_a_contributor_has_a_quota_and_a_puppet_a_fourth(
    tmp_path: Path, contributors: int
) -> None:
    plan = Puppets.staged(Story(tmp_path, contributors=contributors))
    puppets = sum(plan.others.values())
    total = contributors * plan.stake + puppets
    assert puppets * 3 == total
    assert is_crowd(total, plan.most, CONTRIBUTOR_STAKE)
    assert quota_of(total, plan.most, CONTRIBUTOR_STAKE) == plan.stake == 4 * CONTRIBUTOR_STAKE
    assert len(plan.others) == available(plan.most), "who comes first would take every place"


def test_an_attacker_of_the_vote_has_three_tenths_of_the_stake(tmp_path: Path) -> None:
    plan = Capture.staged(Story(tmp_path, contributors=4))
    others = COORDINATOR_STAKE + 4 * CONTRIBUTOR_STAKE
    share = plan.others[ATTACKER]
    assert 10 * share >= 3 * (share + others) > 10 * (share - 1)


@pytest.mark.parametrize(
    ("kind", "outcome", "bound"),
    [
        (Capture, {}, 0),
        (CopiedProof, {}, -(BOND - BOND // 4)),
        (Spam, {"places": 9}, REWARD // 9),
    ],
)
def test_an_attack_has_paid_if_it_brings_in_one_unit_more_than_it_may(
    tmp_path: Path, kind: type[Game], outcome: dict[str, int], bound: int
) -> None:
    played = game(kind, tmp_path)
    assert played._show_result(Result(max(bound, 0), max(-bound, 0), 1), outcome) == bound
    with pytest.raises(LocalError) as paid:
        played._show_result(Result(max(bound, 0) + 1, max(-bound, 0), 1), outcome)
    assert paid.value.code == "demo-attack-paid"
    assert paid.value.details == {"net": str(bound + 1), "bound": str(bound)}


def test_a_refusal_is_named_with_the_field_that_it_is_about() -> None:
    arguments = {"field": "reward", "value": 5, "account": "0x" + "1" * 40}
    refusal = ContractRefused("no", details={"error": "PoliciesInvalidPolicy", "arguments": arguments})
    assert error_of(refusal) == "PoliciesInvalidPolicy(reward)"
    assert error_of(ContractRefused("no", details={"error": "StakeVaultNotLedger"})) == "StakeVaultNotLedger"
