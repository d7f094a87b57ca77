# SPDX-License-Identifier: Apache-2.0
"""`folkmoot economics` plays the strategies, and its exit status says whether one pays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from folkmoot_lab.economics.rules import PRESENT

from folkmoot.aggregation import policy_file
from folkmoot.cli.main import run
from folkmoot.protocol.policy import ARBITER
from folkmoot.runtime.units import UNIT
from tests.factories import policy


def test_nothing_pays_against_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["economics"]) == 0
    shown = capsys.readouterr().out
    assert "None of these strategies pays." in shown
    assert "locks 25 bonds at once: 12500 MOOT." in shown


def test_bonds_that_vote_are_counted_in_minimum_stakes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("folkmoot_lab.economics.rules.RULES", {"present": replace(PRESENT, bonds_vote=True)})
    assert run(["economics"]) == 0
    assert "12500 MOOT, which vote like 125 minimum stakes." in capsys.readouterr().out


def test_the_document_has_what_was_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--caught", "12.5", "--worth", "10", "--unseen", "2", "--watchers", "3", "--share", "25%"]
    assert run(["economics", "--json", "--profile", "demo", "--honest", "9", *arguments]) == 1
    found = json.loads(capsys.readouterr().out)
    assumed = found["assumed"]
    assert (assumed["caught"], assumed["share"], assumed["worth"]) == ("1/8", "1/4", str(10 * UNIT))
    assert (assumed["unseen"], assumed["watchers"], assumed["honest"]) == (2, 3, 9)
    assert "lies in a row" in found["pays"]
    assert found["pays"] == [row["strategy"] for row in found["strategies"] if row["pays"]]
    assert found["capital"] == {"rounds": 2, "bonds": str(1_000 * UNIT)}


def test_the_first_version_of_the_contracts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["economics", "--rules", "version-1", "--honest", "63"]) == 1
    shown = capsys.readouterr().out
    assert "These pay: spam of places" in shown
    assert "has one bond for 25 rounds: 500 MOOT" in shown


def test_a_policy_file_is_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy_file.to_json(policy(verifier=ARBITER, reward=UNIT, bond=4 * UNIT))))
    assert run(["economics", "--policy", str(file), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["assumed"]["policy"]["bond"] == str(4 * UNIT)
    assert "bribery of a watcher" in found["pays"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--profile", "mars"), "unknown-profile"),
        (("--rules", "version-0"), "unknown-rules"),
        (("--caught", "half"), "invalid-percent"),
        (("--caught", "1/2"), "invalid-percent"),
        (("--caught", "0"), "invalid-assumption"),
        (("--share", "100"), "invalid-assumption"),
        (("--worth", "much"), "invalid-amount"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, str], code: str
) -> None:
    assert run(["economics", "--json", *words]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
