# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --cheat`, as a person runs it: lies of a coordinator, and attacks with money and several accounts.

Each takes one to three minutes, so that they are slow, and one stands for those that are proven in the same way;
tests/integration/test_cheating.py has all lies with a real coordinator and no Flower, tests/integration/test_capture.py
the one without rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from folkmoot.devnet.federation import BOND, REWARD
from tests.e2e.test_demo import DEMO, left_behind


def tell(cheat: str, home: Path, rounds: int = 1, contributors: int = 3) -> tuple[dict[str, Any], str]:
    """Run the demo of a cheat; return its summary and what it told."""
    words = (
        "--cheat",
        cheat,
        "--home",
        home,
        "--task",
        "digits",
        "--contributors",
        contributors,
        "--rounds",
        rounds,
        "--json",
    )
    done = subprocess.run([*DEMO, *map(str, words)], capture_output=True, text=True, check=False, timeout=380)
    assert done.returncode == 0, done.stdout + done.stderr  # With --json, an error is on standard output.
    assert "Traceback" not in done.stderr
    assert left_behind(home) == []
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary, done.stderr


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "cheat",
    [
        pytest.param("mean", marks=pytest.mark.story),
        *(pytest.param(cheat, marks=pytest.mark.long) for cheat in ("withhold", "censor")),
    ],
)
def test_a_lie_is_proven_by_the_watcher_alone_and_the_next_round_is_honest(
    tmp_path: Path, cheat: str
) -> None:
    summary, told = tell(cheat, tmp_path / "demo")
    assert summary["round"] == 2
    assert int(str(summary["stakeBefore"])) - int(str(summary["stakeAfter"])) == BOND
    assert (summary["burnt"], summary["reward"]) == (str(BOND - BOND // 4), str(BOND // 4))
    if cheat != "censor":  # there the contributor gets it
        assert int(str(summary["watcherAfter"])) >= int(str(summary["watcherBefore"])) + BOND // 4
    assert (summary["headBefore"], summary["headAfter"]) == (1, 1)
    assert "Round 1 is right" in told, "an honest round is never challenged"
    assert "Round 3 is right" in told
    assert summary["audit"]["recomputed"] == 2


@pytest.mark.timeout(400)
@pytest.mark.long
def test_a_bent_pay_is_disputed_named_by_an_audit_and_voted_on(tmp_path: Path) -> None:
    summary, told = tell("pay", tmp_path / "demo")
    assert summary["round"] == 2
    assert int(summary["stakeBefore"]) - int(summary["stakeAfter"]) == BOND
    assert (summary["burnt"], summary["reward"]) == (str(BOND), "0"), "nobody is paid for a vote"
    assert summary["watcherAfter"] == summary["watcherBefore"], "its deposit is back"
    assert (summary["headBefore"], summary["headAfter"]) == (1, 1)
    words = " ".join(told.split())
    assert "the pay is not what it must be" in words
    assert "this lie is not proven" in words
    assert "folkmoot propose --uphold 2" in words
    assert "was proven wrong" not in words
    assert "Round 3 is right" in words
    assert summary["audit"]["recomputed"] == 2


@pytest.mark.timeout(400)
@pytest.mark.story
def test_who_leaves_others_out_earns_nothing_by_it(tmp_path: Path) -> None:
    summary, told = tell("left-out", tmp_path / "demo", contributors=4)
    assert sorted(summary["gas"]) == ["contributor-1", "contributor-2"]
    assert all(60_000 < used < 110_000 for used in summary["gas"].values())
    assert 0 < int(summary["puppets"]) <= 2 * int(summary["share"]) + 10**6
    assert int(summary["others"]) > 0
    assert summary["stakeBefore"] == summary["stakeAfter"]
    assert summary["audit"]["recomputed"] == 2
    assert "signed that it has the update, and has not recorded it" in told


@pytest.mark.timeout(400)
@pytest.mark.long
def test_the_ledger_takes_one_anchor_a_round(tmp_path: Path) -> None:
    summary, told = tell("double-anchor", tmp_path / "demo")
    assert summary["refused"] == "RoundLedgerWrongPhase"
    assert summary["stakeBefore"] == summary["stakeAfter"]
    assert summary["audit"]["recomputed"] == 3
    assert told.count("is right") == 3, "honest rounds are never challenged"


@pytest.mark.timeout(400)
@pytest.mark.long
def test_who_copies_the_proof_of_its_own_lie_loses_what_burns(tmp_path: Path) -> None:
    summary, told = tell("copied-proof", tmp_path / "demo")
    assert (summary["earned"], summary["lost"]) == (str(BOND // 4), str(BOND))
    assert int(summary["net"]) == int(summary["bound"]) == -(BOND - BOND // 4)
    assert summary["burnt"] == str(BOND - BOND // 4)
    assert summary["watcherTokens"] == "0"
    assert int(summary["watcherGasCoins"]) > 0
    assert "came too late" in told
    assert summary["audit"]["recomputed"] == 1


@pytest.mark.timeout(400)
@pytest.mark.long
def test_who_fills_a_round_earns_one_share_for_one_trained_update(tmp_path: Path) -> None:
    summary, _ = tell("spam", tmp_path / "demo")
    assert summary["tries"] == {
        "no stake": "RoundLedgerStakeTooLow",
        "enrolled once the round is open": "RoundLedgerEnrolledTooLate",
        "another one's file, once it is public": "round-closed",
    }
    reasons = summary["reasons"]
    assert [reasons[name] for name in ("garbage", "thief", "twin-2")] == [
        "not-delivered",
        "not-delivered",
        "copy",
    ]
    assert summary["entries"] == len(reasons) == 3 + 4
    assert summary["batch"]["status"] == 1
    assert summary["batch"]["place"] == 2, "both of the attacker's transactions came first"
    assert 0 <= int(summary["net"]) <= int(summary["bound"]) == REWARD // summary["places"]
    assert summary["audit"]["recomputed"] == 1


@pytest.mark.timeout(400)
@pytest.mark.long
def test_a_stake_that_is_split_has_no_more_places_than_its_lots(tmp_path: Path) -> None:
    summary, _ = tell("puppets", tmp_path / "demo", rounds=2)
    for played in summary["played"]:
        assert played["puppets"] <= len(played["lots"])
        assert played["contributors"] == min(3, 6 - played["puppets"])
        assert played["entries"] == played["puppets"] + played["contributors"]
        assert set(played["refused"].values()) <= {"RoundLedgerNoPlace", "RoundLedgerRoundFull"}
        assert len(played["refused"]) == 6 - played["puppets"]
    assert 0 <= int(summary["net"]) <= int(summary["bound"])
    assert summary["share"] == pytest.approx(1 / 3)
    assert summary["lotsOf"] == 120
    assert summary["audit"]["recomputed"] == 2


def test_what_can_not_be_shown_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "folkmoot", "demo", "--home", str(tmp_path / "demo"), "--json"]
    for words, code in (
        (["--cheat", "theft"], "unknown-cheat"),
        (["--cheat", "weights", "--rule", "mean"], "cheat-not-shown"),
        (["--cheat", "pay", "--rule", "multi_krum:1,0"], "cheat-not-shown"),
        (["--cheat", "spam", "--root", "good"], "cheat-not-shown"),
        (["--cheat", "capture", "--attack", "1=sign-flip"], "cheat-not-shown"),
    ):
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["code"] == code
        assert "Traceback" not in done.stderr
