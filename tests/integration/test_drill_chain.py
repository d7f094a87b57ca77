# SPDX-License-Identifier: Apache-2.0
"""`folkmoot drill --chain`: what a drill says of stakes and rewards is what the real contracts hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from folkmoot_lab.drills.data import workload
from folkmoot_lab.simulation.chain import BOND, STAKE, ChainReport, ChainRun
from folkmoot_lab.simulation.federation import _FIRST_EXPONENT, REWARD, Outcome, Plan

from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ChainError, InputError
from folkmoot.runtime.units import UNIT

SMALL = Plan(rule="multi_krum", parameters=(1, 0), attack="sign-flip", contributors=5, malicious=1, rounds=2)


@contextmanager
def drill(anvil: Anvil, plan: Plan) -> Iterator[ChainRun]:
    made = ChainRun(workload("digits"), plan, anvil)
    try:
        made.run()
        yield made
    finally:
        made.close()


def played(anvil: Anvil, plan: Plan) -> tuple[Outcome, ChainReport]:
    with drill(anvil, plan) as made:
        return made.outcome(), made.report()


def test_a_poisoner_earns_nothing_and_nobody_loses_stake(anvil: Anvil) -> None:
    with drill(anvil, replace(SMALL, attack="gaussian")) as made:
        first = made.past[0].exponents
        assert set(first) != {_FIRST_EXPONENT}  # they were calibrated: no honest update is above the norm cap
        outcome, report = made.outcome(), made.report()
        assert made.chain.ledger.head().round == report.rounds == 2
    assert outcome.detected == 1
    assert [one.attacker for one in report.holdings] == [True, False, False, False, False]
    assert all(one.stake_before == one.stake_after == STAKE for one in report.holdings)
    assert report.bond_before == report.bond_after == BOND
    assert report.honest_stake_lost == report.stake_lost == 0
    assert report.holdings[0].claimable == 0
    assert [one.claimable for one in report.holdings[1:]] == [2 * (REWARD // 6)] * 4
    assert not report.refusals
    assert all(len(gas) == 2 and min(gas) > 21_000 for gas in report.gas.values())
    assert json.loads(json.dumps(report.to_json()))["holdings"][1]["claimable"] == str(2 * (REWARD // 6))


@pytest.mark.parametrize(
    ("attack", "reason", "error"),
    [
        ("wrong-round", "round-unknown", "RoundLedgerInvalidSignature / RoundLedgerWrongPhase"),
        ("wrong-base", "wrong-base", "RoundLedgerInvalidSignature / RoundLedgerWrongBase"),
        ("extreme", "norm-too-large", "RoundLedgerNormTooLarge"),
    ],
)
def test_what_the_checks_refuse_the_ledger_refuses(
    anvil: Anvil, attack: str, reason: str, error: str
) -> None:
    outcome, report = played(anvil, replace(SMALL, rule="mean", parameters=(), attack=attack))
    assert [(one.round, one.number, one.reason, one.error) for one in report.refusals] == [
        (round_, 1, reason, error) for round_ in (1, 2)
    ]
    assert outcome.detected == 1
    assert [one.claimable for one in report.holdings] == [0, *[2 * (REWARD // 6)] * 4]


def test_the_root_set_update_is_an_entry_that_nobody_is_paid_for(anvil: Anvil) -> None:
    with drill(anvil, replace(SMALL, rule="root_guard", parameters=(), root="good")) as made:
        report = made.report()
        assert made.chain.ledger.round(2).entries == 6
        assert made.chain.rewards.claimable(made.coordinator) == 0
        assert "rootCosine" in made.results[-1][1].numbers
    assert (
        0 < max(one.claimable for one in report.holdings) <= 2 * (REWARD // 6)
    )  # the root-set update has a place too


@pytest.mark.long
def test_a_drill_on_the_chain_is_a_function_of_its_plan(anvil: Anvil) -> None:
    snapshot = anvil.snapshot()
    first = played(anvil, replace(SMALL, rounds=1))
    anvil.revert(snapshot)
    assert played(anvil, replace(SMALL, rounds=1)) == first


def test_a_report_that_does_not_add_up_is_a_failure(anvil: Anvil) -> None:
    with drill(anvil, replace(SMALL, rounds=1)) as made:
        made.chain.send(made.chain.vault.functions.requestUnbond(UNIT), made.accounts[3])
        with pytest.raises(ChainError, match=f"honest stake lost is {UNIT}, not 0") as caught:
            made.report()
    assert caught.value.code == "drill-mismatch"


def test_a_federation_without_enough_commitments_stands_still(anvil: Anvil) -> None:
    plan = replace(SMALL, parameters=(2, 0), attack="wrong-base", malicious=2)
    with pytest.raises(InputError, match="3 commitments"):
        played(anvil, plan)


def test_the_command_shows_what_the_chain_has(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["drill", "--chain", "--task", "digits", "--contributors", "4", "--malicious", "1"]
    options += ["--rounds", "2", "--attack", "wrong-base", "--rule", "mean", "--start", "eager"]
    options += ["--width", "2", "--feedback"]
    assert run(options) == 0
    captured = capsys.readouterr()
    assert "round 2 of 2: 3 commitments, 1 refused" in captured.err
    for text in ("0 MOOT, as the chain has it", "RoundLedgerWrongBase", "stake after", "100 MOOT"):
        assert text in captured.out
