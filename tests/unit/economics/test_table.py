# SPDX-License-Identifier: Apache-2.0
"""The table of strategies: nothing pays against what is shipped, and everything paid in the first version."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from folkmoot_lab.economics import setting as settings
from folkmoot_lab.economics.rules import PRESENT, VERSION_1
from folkmoot_lab.economics.setting import Setting
from folkmoot_lab.economics.table import STRATEGIES, in_tokens, play_all

from folkmoot.chain.bonds import least_bond, policy_warning
from folkmoot.chain.terms import PROFILES, RAISE
from folkmoot.cli.policy import default_of
from folkmoot.protocol.policy import ARBITER, NO_VERIFIER
from folkmoot.runtime.units import UNIT
from tests.factories import policy

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "contracts" / "src"
POLICIES = (SOURCES / "Policies.sol").read_text()

BONDS_VOTE = replace(PRESENT, bonds_vote=True)
ALL_PLACES = replace(PRESENT, quota_percent=100)
DRAWN_AGAIN = replace(PRESENT, lot_can_be_drawn_again=True)


@pytest.mark.parametrize("profile", PROFILES)
def test_no_strategy_pays_against_a_shipped_profile(profile: str) -> None:
    game = Setting(policy=default_of(profile))
    rows = play_all(game)
    assert [row.strategy for row in rows if row.pays] == []
    assert len(rows) == len({row.strategy for row in rows}) == len(STRATEGIES)
    assert policy_warning(game.policy) is None
    assert least_bond(game.policy) <= game.policy.bond


@pytest.mark.parametrize("profile", PROFILES)
def test_cheap_gas_changes_nothing(profile: str) -> None:
    assert not any(row.pays for row in play_all(Setting(policy=default_of(profile), gas_price=0)))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)
def test_each_strategy_paid_in_the_first_version(strategy: Any) -> None:
    audited = policy(
        verifier=ARBITER, rule="clamped_mean", bond=1_000 * UNIT, reward=900 * UNIT, max_contributors=64
    )
    assert strategy.best(Setting(policy=audited, rules=VERSION_1, honest=63)).profit > 0


@pytest.mark.parametrize(
    ("change", "paying"),
    [
        ({"worth": 280 * UNIT}, {"copied proof", "lies in a row", "bribery of a watcher"}),
        ({"worth": 23 * UNIT}, {"bribery of a watcher"}),
        ({"unseen": 4}, {"copied proof", "lies in a row"}),
        ({"caught": Fraction(1, 5)}, {"copied proof", "lies in a row"}),
        ({"watchers": 0}, {"bribery of a watcher"}),
        ({"honest_votes": 12_500 * UNIT, "rules": BONDS_VOTE}, {"lie for a vote"}),
        ({"honest_votes": 12_501 * UNIT, "rules": BONDS_VOTE}, set()),
        ({"honest_votes": 1}, set()),
        ({"honest": 151, "rules": ALL_PLACES}, {"spam of places", "coordinator with puppets"}),
        ({"honest": 151, "rules": DRAWN_AGAIN}, {"coordinator with puppets"}),
        ({"honest": 151}, set()),
    ],
)
def test_what_has_to_be_true_for_a_strategy_to_pay(change: dict[str, Any], paying: set[str]) -> None:
    rows = play_all(Setting(policy=default_of("l2"), **change))
    found = {row.strategy for row in rows if row.pays}
    assert paying <= found
    assert found <= paying | {"lie for a vote", "sham disputes and demands"}


def test_without_a_verifier_every_lie_pays() -> None:
    game = Setting(policy=replace(default_of("l2"), verifier=NO_VERIFIER))
    found = {row.strategy for row in play_all(game) if row.pays}
    assert {"copied proof", "lie for a vote", "bribery of a watcher", "sham disputes and demands"} <= found


def test_a_line_as_json_rounds_down() -> None:
    row = play_all(Setting(policy=policy(verifier=ARBITER, reward=3, bond=12), gas_price=0))[4]
    assert row.to_json() == {
        "strategy": "copied proof",
        "choice": "one lie, and a copy of the proof",
        "gain": "1",
        "cost": "4",
        "profit": "-4",
        "pays": False,
        "paysIf": row.pays_if,
    }


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "0.00"), (UNIT, "1.00"), (-UNIT // 200, "0.00"), (-1234 * UNIT - UNIT // 2, "-1,234.50")],
)
def test_amounts_are_shown_in_hundredths(amount: int, shown: str) -> None:
    assert in_tokens(Fraction(amount)) == shown


@pytest.mark.parametrize(
    ("name", "file", "figures"),
    [
        ("ANSWER_GAS", "Judges", ["show, list of the mean"]),
        ("COMMIT_GAS", "RoundLedger", ["commitUpdates, 100 signed"]),
        ("DEMAND_GAS", "Judges", ["demandTree, 1 M, 100"]),
        ("DISPUTE_GAS", "Judges", ["open a dispute"]),
        ("DRAW_GAS", "RoundLedger", ["openRound", "cancelEmpty"]),
        ("UPHOLD_GAS", "Judges", ["uphold a dispute"]),
    ],
)
def test_gas_is_about_what_was_measured(name: str, file: str, figures: list[str]) -> None:
    measured = json.loads((ROOT / "contracts" / "snapshots" / f"{file}.json").read_text())
    total = sum(int(measured[figure]) for figure in figures) / (100 if "100 signed" in figures[0] else 1)
    assert getattr(settings, name) == pytest.approx(total, rel=0.02)


def test_the_rules_are_those_of_the_contracts() -> None:
    vault = (SOURCES / "StakeVault.sol").read_text()
    ledger = (SOURCES / "RoundLedger.sol").read_text()
    assert constant(vault, "CHALLENGER_DIVISOR") == PRESENT.challenger_divisor
    assert constant(POLICIES, "BOND_FACTOR") == PRESENT.bond_factor
    standing = (SOURCES / "libraries" / "Standing.sol").read_text()
    assert constant(standing, "MAX_PENDING") == PRESENT.max_pending
    assert PRESENT.reward_factor == RAISE
    assert ("lockBond" in ledger) == PRESENT.bond_for_each_round
    assert (
        "_transferVotingUnits(account, address(0), amount)" in body(vault, "lockBond")
    ) != PRESENT.bonds_vote
    # The lots rest on what an anchor notes, and nothing that opens or cancels a round notes anything.
    noted = "vault.noteBasis()"
    assert (noted in body(ledger, "anchor"), ledger.count(noted)) == (not PRESENT.lot_can_be_drawn_again, 1)
    places = (SOURCES / "libraries" / "Places.sol").read_text()
    assert "* 4 / (available(maxContributors) * 3)" in body(places, "draw")
    assert PRESENT.quota_percent == 75
    assert PRESENT.quota(60, 90) == 2
    assert PRESENT.quota(60, 60) == 0
    disputes = (SOURCES / "Disputes.sol").read_text()
    assert constant(disputes, "DEPOSIT_SHARE") == PRESENT.dispute_share
    assert ("burn(amount)" in body(disputes, "release")) == (PRESENT.undecided_share == 1)
    availability = (SOURCES / "DataAvailability.sol").read_text()
    assert ("_demandOf[key] != 0" in body(availability, "_demand")) == PRESENT.demands_are_shared
    assert PRESENT.equal_roots_weigh_once == (SOURCES / "libraries" / "Shares.sol").is_file()


def body(source: str, name: str) -> str:
    """Return a function of a contract, up to the bracket that ends it."""
    found = re.search(rf"function {name}\(.*?\n    }}\n", source, re.DOTALL)
    assert found is not None, name
    return found[0]


def constant(source: str, name: str) -> int:
    found = re.search(rf"constant {name} = ([\d_]+);", source)
    assert found is not None, name
    return int(found[1])
