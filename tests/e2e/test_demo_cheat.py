# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --cheat`, as a person runs it: a coordinator lies, and a watcher that nobody helps has it slashed.

Each takes one to three minutes, so that all but one are slow; tests/integration/test_cheating.py has them with a real
coordinator and no Flower.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from folkmoot.devnet.federation import BOND
from tests.e2e.test_demo import DEMO, left_behind


def tell(cheat: str, home: Path) -> tuple[dict[str, object], str]:
    """Run the demo of a cheat; return its summary and what it told."""
    words = (
        "--cheat",
        cheat,
        "--home",
        home,
        "--task",
        "digits",
        "--contributors",
        "3",
        "--rounds",
        "1",
        "--json",
    )
    done = subprocess.run([*DEMO, *map(str, words)], capture_output=True, text=True, check=False, timeout=380)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert left_behind(home) == []
    summary: dict[str, object] = json.loads(done.stdout)
    return summary, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("cheat", ["sum", "withhold", "weights", "outer-step", "norm", "censor"])
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
    assert dict(summary["audit"])["recomputed"] == 2  # type: ignore[call-overload]


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_the_ledger_takes_one_anchor_a_round(tmp_path: Path) -> None:
    summary, told = tell("double-anchor", tmp_path / "demo")
    assert summary["refused"] == "RoundLedgerWrongPhase"
    assert summary["stakeBefore"] == summary["stakeAfter"]
    assert dict(summary["audit"])["recomputed"] == 3  # type: ignore[call-overload]
    assert told.count("is right") == 3, "honest rounds are never challenged"


def test_what_can_not_be_shown_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "folkmoot", "demo", "--home", str(tmp_path / "demo"), "--json"]
    for words, code in (
        (["--cheat", "theft"], "unknown-cheat"),
        (["--cheat", "weights", "--rule", "guarded_mean"], "cheat-not-shown"),
    ):
        done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["code"] == code
        assert "Traceback" not in done.stderr
