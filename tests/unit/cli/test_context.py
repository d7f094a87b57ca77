# SPDX-License-Identifier: Apache-2.0
"""Where a setting comes from: option, environment, the file of a federation; and the commands for these files."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from folkmoot.cli import context as contexts
from folkmoot.cli import federation as federations
from folkmoot.cli.main import run
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from tests import factories


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command with --json; return what it printed."""

    def command(*words: str, fails: int = 0) -> dict[str, Any]:
        status = run([*words, "--json"])
        printed = capsys.readouterr()
        assert status == fails, printed.out + printed.err
        document: dict[str, Any] = json.loads(printed.out)
        return document

    return command


def setting(document: dict[str, Any], name: str) -> tuple[str, str]:
    shown = document["settings"][name]
    return shown["value"], shown["from"]


def test_an_option_wins_over_the_environment_and_that_over_the_file(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("federation", "add", "moot", "--coordinator", "http://file", "--confirmations", "3")
    assert setting(call("federation", "list"), "coordinator") == ("http://file", "file")
    monkeypatch.setenv("FOLKMOOT_COORDINATOR", "http://environment")
    assert setting(call("federation", "list"), "coordinator") == ("http://environment", "environment")
    shown = call("federation", "list", "--coordinator", "http://option")
    assert setting(shown, "coordinator") == ("http://option", "option")
    assert setting(shown, "confirmations") == ("3", "file")


def test_global_options_stand_before_or_after_the_command(call: Any) -> None:
    for words in (
        ("--confirmations", "4", "federation", "list"),
        ("federation", "--confirmations", "4", "list"),
        ("federation", "list", "--confirmations", "4"),
    ):
        assert setting(call(*words), "confirmations") == ("4", "option"), words
    assert "confirmations" not in call("federation", "list")["settings"], (
        "the next command knows nothing of it"
    )


def test_a_missing_setting_says_how_to_set_it(call: Any) -> None:
    error = call("submit", "1", "--home", "node", fails=1)["error"]
    assert error["code"] == "no-update"
    error = call("status", fails=1)["error"]
    assert error["code"] == "setting-missing"
    assert error["remedy"] == (
        "Give --deployment FILE, set FOLKMOOT_DEPLOYMENT, or add the federation once: "
        "`folkmoot federation add NAME --deployment FILE ...`."
    )


def test_federations_are_added_listed_used_and_removed(call: Any, tmp_path: Path) -> None:
    assert call("federation", "list")["federations"] == []
    file = Path(call("federation", "add", "one", "--rpc", "http://a", "--rpc", "http://b")["file"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    call("federation", "add", "two", "--keystore", "key.json")
    listed = {one["federation"]: one["used"] for one in call("federation", "list")["federations"]}
    assert listed == {"one": False, "two": True}
    key = setting(call("federation", "list"), "keystore")[0]
    assert key == str(Path.cwd() / "key.json"), "it is found from every folder"
    call("federation", "use", "one")
    assert setting(call("federation", "list"), "rpc") == ("http://a, http://b", "file")
    assert setting(call("federation", "list", "two"), "keystore") == (key, "file")
    assert call("--federation", "two", "federation", "list")["federation"] == "two"
    assert call("--federation", "none", "federation", "list")["settings"] == {}
    call("federation", "use", "none")
    assert call("federation", "list")["federation"] is None
    call("federation", "use", "two")
    call("federation", "remove", "two")
    assert call("federation", "list")["federation"] is None
    assert [one["federation"] for one in call("federation", "list")["federations"]] == ["one"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("add", "../x", "--rpc", "u"), "invalid-federation", "can't be the name"),
        (("add", "none", "--rpc", "u"), "invalid-federation", "can't be the name"),
        (("add", "x"), "setting-missing", "no settings to save"),
        (("add", "moot", "--rpc", "u"), "federation-exists", "already"),
        (("add", "x", "--deployment", "missing.json"), "deployment-missing", "missing.json"),
        (("use", "moott"), "federation-unknown", "Did you mean moot?"),
        (("remove", "other"), "federation-unknown", "Federations: moot."),
        (("list", "--federation", "gone"), "settings-missing", "Federations: moot."),
    ],
)
def test_wrong_federations(call: Any, words: tuple[str, ...], code: str, said: str) -> None:
    call("federation", "add", "moot", "--rpc", "http://a")
    error = call("federation", *words, fails=1)["error"]
    assert error["code"] == code
    assert said in f"{error['message']} {error['remedy']}"
    assert [one["federation"] for one in call("federation", "list")["federations"]] == ["moot"]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('coordinater = "http://a"', "unknown-setting", "Did you mean coordinator?"),
        ('password = "secret"', "unknown-setting", "Secrets never lie in this file."),
        ('private_key = "0x1"', "unknown-setting", "Secrets never lie in this file."),
        ("rpc = 7", "invalid-setting", "rpc must be a list, each of it a text, not 7."),
        ("confirmations = 0", "invalid-setting", "confirmations must be 1 to 1000, not 0."),
        ("confirmations = 1.5", "invalid-setting", "confirmations must be a whole number, not 1.5."),
        ("confirmations = true", "invalid-setting", "confirmations must be a whole number, not True."),
        ('keystore = ""', "invalid-setting", "keystore must be a path"),
        ("rpc = ", "invalid-settings", "is not TOML"),
        ("\x00", "invalid-settings", "is not TOML"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(call: Any, text: str, code: str, said: str) -> None:
    path = Path(call("federation", "add", "moot", "--rpc", "http://a")["file"])
    path.write_text(text)
    error = call("federation", "list", fails=1)["error"]
    assert error["code"] == code
    assert str(path) in error["message"]
    assert said in f"{error['message']} {error['remedy']}"


def test_the_password_of_the_environment_wins_over_the_file_of_a_federation(
    call: Any, tmp_path: Path, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("federation", "add", "moot", "--password-file", str(tmp_path / "of-another-key"))
    assert call("account", "new", "--out", str(tmp_path), "--password-file", str(password_file))["address"]
    monkeypatch.setenv("FOLKMOOT_PASSWORD", factories.PASSWORD)
    assert call("account", "new", "--out", str(tmp_path))["address"]
    assert contexts.context().password_file is None


def test_the_keys_in_addresses_are_not_shown(call: Any) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    shown = call("federation", "add", "moot", "--rpc", f"https://rpc.example/v2/{secret}")
    assert secret not in json.dumps(shown)
    assert secret not in json.dumps(call("federation", "list"))


def test_a_local_federation_is_used_while_it_runs(call: Any, tmp_path: Path) -> None:
    call("federation", "add", "moot", "--rpc", "http://a")
    deployment = tmp_path / "deployment.json"
    addresses = dict.fromkeys(CONTRACTS, "0x" + "11" * 20)
    Deployment(1, 0, parent=None, **addresses, genesis_hash="0x" + "22" * 32).save(deployment)
    with federations.local({"rpc": ["http://127.0.0.1:1"], "deployment": deployment}):
        assert call("federation", "list")["federation"] == "local"
    assert call("federation", "list")["federation"] == "moot"


def test_a_local_federation_runs_without_a_folder_for_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    ran = False
    with federations.local({"rpc": ["http://127.0.0.1:1"]}):
        ran = True
    assert ran
    assert "other commands need options" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["bytes", "folder"])
def test_a_choice_that_can_not_be_read_says_how_to_choose_again(call: Any, kind: str) -> None:
    call("federation", "add", "moot", "--coordinator", "http://file")
    current = contexts.folder() / "current"
    current.unlink()
    if kind == "folder":
        current.mkdir()
    else:
        current.write_bytes(b"\xff\xfe")
    error = call("federation", "list", fails=1)["error"]
    assert error["code"] == "invalid-federation"
    assert "folkmoot federation use NAME" in error["remedy"]
    assert call("federation", "list", "--federation", "moot")["federation"] == "moot"
    with federations.local({"coordinator": "http://local"}):  # `up` warns, and goes on
        pass


def test_a_folder_that_can_not_be_written_is_said_by_every_command_that_writes_there(call: Any) -> None:
    call("federation", "add", "moot", "--coordinator", "http://file")
    (contexts.folder() / "current").unlink()
    (contexts.folder() / "current").mkdir()
    assert call("federation", "use", "moot", "--federation", "none", fails=1)["error"]["code"] == "folder"


def test_one_file_that_can_not_be_read_hides_no_other(call: Any, capsys: pytest.CaptureFixture[str]) -> None:
    call("federation", "add", "moot", "--coordinator", "http://file")
    (contexts.folder() / "broken.toml").write_text("rcp = 3\n")
    listed = call("federation", "list")["federations"]
    assert [(one["federation"], one["used"]) for one in listed] == [("broken", False), ("moot", True)]


def test_a_command_with_a_federation_of_its_own_takes_options_only(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("federation", "add", "moot", "--coordinator", "http://file", "--rpc", "http://file")
    for key in contexts.KEYS:
        monkeypatch.setenv(key.variable, "3")
    monkeypatch.setenv(contexts.FEDERATION_VARIABLE, "moot")
    contexts.begin()
    contexts.context().given["rpc"] = ["http://option"]
    contexts.leave_environment()
    settings = {key.name: contexts.context().find(key.name) for key in contexts.KEYS}
    assert {name: value for name, value in settings.items() if value is not None} == {
        "rpc": ["http://option"],
        "log-format": "3",
    }
