# SPDX-License-Identifier: Apache-2.0
"""What a local federation is made of, and what its commands refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from folkmoot.cli.main import run as main
from folkmoot.cli.policy import parse_rule
from folkmoot.devnet import federation
from folkmoot.devnet.federation import Plan, prepare
from folkmoot.errors import InputError, LocalError
from folkmoot.runtime import keystore
from folkmoot.runtime.commands import run_folkmoot
from folkmoot.runtime.processes import free_port


def test_a_rule_has_a_name_and_numbers() -> None:
    assert parse_rule("mean") == ("mean", ())
    assert parse_rule("multi_krum:1,0") == ("multi_krum", (1, 0))


@pytest.mark.parametrize("text", ["", ":1", "multi_krum:a", "multi_krum:1,-2"])
def test_a_malformed_rule_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"multi_krum:1,0"):
        parse_rule(text)


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--window", "60"],
        ["up", "--window", "60"],
        ["demo", "--private", "--clock"],
        ["demo", "--cheat", "mean", "--clock"],
    ],
)
def test_a_clock_that_is_not_followed_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["remedy"].startswith("Leave ")


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--feedback"],
        ["demo", "--task", "text", "--feedback"],
        ["demo", "--private", "--width", "2", "--feedback"],
        ["up", "--width", "4", "--feedback"],
        ["run", "app", "--feedback"],
        ["drill", "--width", "8", "--feedback"],
        ["task", "init", "--task", "digits", "--feedback", "--out", "genesis"],
    ],
)
def test_feedback_that_would_do_nothing_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--json"]) == 1
    assert "--feedback" in json.loads(capsys.readouterr().out)["error"]["remedy"]
    assert not list(tmp_path.iterdir())


def test_a_root_set_is_one_more_entry(tmp_path: Path) -> None:
    assert Plan(tmp_path, contributors=3).entries == 3
    assert Plan(tmp_path, contributors=3, root="biased").entries == 4
    with pytest.raises(InputError, match="no root set 'huge'"):
        Plan(tmp_path, root="huge")


def test_a_folder_with_a_federation_is_not_made_again(tmp_path: Path) -> None:
    plan = Plan(tmp_path)
    plan.deployment_file.write_text("{}")
    with pytest.raises(InputError, match="already holds a federation"):
        prepare(plan, f"http://127.0.0.1:{free_port()}")


def test_a_failed_command_speaks_for_itself(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="no key file") as caught:
        run_folkmoot(["account", "list", tmp_path / "missing.json"])
    assert caught.value.code == "keystore-missing"
    assert caught.value.remedy


def test_each_contributor_is_handed_its_own_key_and_password(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "federation", "digits", contributors=2, hand_out=tmp_path / "out")
    accounts = federation._make_keys(plan)
    plan.deployment_file.write_text("{}")
    federation.hand_out(plan, tmp_path / "out")
    files = {
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    own = {f"contributor-{n}/{name}" for n in (1, 2) for name in ("key.json", "password", "deployment.json")}
    assert files == own | {"public/deployment.json"}
    assert {path.name for path in plan.keys.iterdir()} == {"coordinator.json"}
    passwords = [(tmp_path / "out" / f"contributor-{n}" / "password") for n in (1, 2)]
    assert len({path.read_text() for path in (*passwords, plan.password_file)}) == 3
    for name, password in zip(plan.names(), passwords, strict=True):
        assert password.stat().st_mode & 0o777 == 0o600
        unlocked = keystore.load(plan.keystore(name), password.read_text().strip())
        assert unlocked.address == accounts[name].address
