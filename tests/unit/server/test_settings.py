# SPDX-License-Identifier: Apache-2.0
"""Settings: argument over environment over file over default, and messages with the value."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from folkmoot.errors import InputError
from server import coordinator
from server.api import limits, parts
from server.rounds import patience
from server.settings import FIXED, Settings, load
from tests import factories


@pytest.fixture
def home(tmp_path: Path) -> Path:
    Settings(home=tmp_path, rpc_url="http://chain", keystore=Path("key.json"), port=1111).save()
    return tmp_path


def test_sources_come_in_their_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(home).port == 1111
    monkeypatch.setenv("FOLKMOOT_COORDINATOR_PORT", "2222")
    assert load(home).port == 2222
    assert load(home, port=3333, host=None).port == 3333
    assert load(home).host == "127.0.0.1"


def test_file_holds_only_what_differs(home: Path) -> None:
    assert "max_fee_gwei" not in (home / "coordinator.json").read_text()
    assert load(home).resolved_database_url == f"sqlite:///{home.resolve() / 'coordinator.sqlite3'}"


def test_wrong_value_is_named_with_its_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLKMOOT_COORDINATOR_CONFIRMATIONS", "0")
    with pytest.raises(InputError, match=r"'confirmations' is wrong.*FOLKMOOT_COORDINATOR_CONFIRMATIONS"):
        load(home)


def test_broken_or_missing_file_is_named(home: Path, tmp_path: Path) -> None:
    (home / "coordinator.json").write_text("{")
    with pytest.raises(InputError, match="can't be read"):
        load(home)
    (home / "coordinator.json").write_text('{"rpc_url": "x", "keystore": "k", "colour": 1}')
    with pytest.raises(InputError, match="colour"):
        load(home)
    with pytest.raises(InputError, match="folkmoot coordinator init"):
        load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", FIXED)
def test_a_setting_that_is_fixed_now_is_refused_with_its_value(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    variable = f"FOLKMOOT_COORDINATOR_{name.upper()}"
    with monkeypatch.context() as patch:
        patch.setenv(variable, "1")
        with pytest.raises(InputError) as caught:
            load(home)
    assert caught.value.code == "setting-fixed"
    assert caught.value.message.startswith(
        f"The setting '{variable}' in the environment is no setting any more"
    )
    assert FIXED[name] in caught.value.message
    (home / "coordinator.json").write_text(json.dumps({"rpc_url": "x", "keystore": "k", name: 1}))
    with pytest.raises(InputError, match=f"'{name}' in .*coordinator.json is no setting any more"):
        load(home)


def test_the_values_that_are_told_are_those_of_the_code() -> None:
    numbers = {name: int(found[0]) for name in FIXED if (found := re.match(r"\d+", FIXED[name]))}
    assert numbers == {
        "scrub_pause": coordinator.SCRUB_PAUSE,
        "cancelled_limit": patience.CANCELLED_LIMIT,
        "cancelled_pause": patience.FIRST_PAUSE,
        "longest_cancelled_pause": patience.LONGEST_PAUSE,
        "body_limit": limits.BODY_LIMIT >> 20,
        "account_writes_per_minute": parts.ACCOUNT_WRITES_PER_MINUTE,
        "account_burst": parts.ACCOUNT_BURST,
        "connections": limits.CONNECTIONS,
        "connections_per_client": limits.CONNECTIONS_PER_CLIENT,
        "streams": parts.STREAMS,
        "streams_per_client": parts.STREAMS_PER_CLIENT,
        "patience": limits.PATIENCE,
        "slowest_upload": limits.SLOWEST_UPLOAD,
    }
    assert not set(FIXED) & set(Settings.model_fields)


def test_limits_of_the_canary_are_one_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLKMOOT_COORDINATOR_CANARY_LIMITS", '{"loss_rise": 2.5, "least_examples": 7}')
    assert load(home).canary_limits == {"loss_rise": 2.5, "least_examples": 7}
    for wrong, text in (
        ('{"los_rise": 1}', "there is no limit 'los_rise'; the limits are accuracy_drop, "),
        ('{"accuracy_drop": 2}', "Shares are from 0 to 1"),
        ('{"least_examples": 1.5}', "whole number"),
        ('{"loss_rise": NaN}', "'canary_limits' is wrong"),
        ("[]", "'canary_limits' is wrong"),
        ('{"loss_rise": "x"}', "FOLKMOOT_COORDINATOR_CANARY_LIMITS."),
        ("{", "A setting in the environment can't be read"),
    ):
        monkeypatch.setenv("FOLKMOOT_COORDINATOR_CANARY_LIMITS", wrong)
        with pytest.raises(InputError, match=re.escape(text)):
            load(home)
    monkeypatch.delenv("FOLKMOOT_COORDINATOR_CANARY_LIMITS")
    monkeypatch.setenv("folkmoot_coordinator_canary_loss_rise", "2")
    with pytest.raises(InputError, match="another form now") as caught:
        load(home)
    assert caught.value.remedy == 'Write "canary_limits": {"loss_rise": ...} in coordinator.json.'


def test_several_endpoints_come_as_a_list_or_with_commas(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "coordinator.json").write_text('{"rpc_url": ["http://a", "http://b"], "keystore": "k"}')
    found = load(home)
    assert found.rpc_url == "http://a,http://b"
    found.save()
    assert load(home).rpc_url == found.rpc_url
    monkeypatch.setenv("FOLKMOOT_COORDINATOR_RPC_URL", "http://c, http://d")
    assert load(home).rpc_url == "http://c,http://d"
    assert load(home, rpc_url=["http://e"]).rpc_url == "http://e"


@pytest.mark.parametrize("wrong", ['["http://a", "http://a/"]', "[]", "[7]", "null", '""'])
def test_endpoints_that_are_none_or_twice_are_named(home: Path, wrong: str) -> None:
    (home / "coordinator.json").write_text(f'{{"rpc_url": {wrong}, "keystore": "k"}}')
    with pytest.raises(InputError, match="'rpc_url' is wrong"):
        load(home)


ACCOUNTS = ["0x" + digit * 40 for digit in "12"]


def test_names_are_kept_by_the_account_that_the_chain_writes(home: Path) -> None:
    account = factories.account("ada").address
    found = load(home, names={account.lower(): " Charit\u00e9 <Berlin> "})
    assert found.names == {account: "Charit\u00e9 <Berlin>"}
    found.save()
    assert load(home).names == found.names


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["Ada", "ADA"], "same name"),
        (["0x1234abcd"], "looks like an address"),
        (["clinic 0xAB12"], "looks like an address"),
        (["Member 3"], "looks like an address or a member number"),
        (["\u202eadA"], "printable"),
        (["a\nb"], "printable"),
        ([""], "1 to 40"),
        (["x" * 41], "1 to 40"),
    ],
)
def test_a_name_that_misleads_is_refused(home: Path, names: list[str], said: str) -> None:
    with pytest.raises(InputError, match=f"'names' is wrong.*{said}"):
        load(home, names=dict(zip(ACCOUNTS, names, strict=False)))
    with pytest.raises(InputError, match="'names' is wrong"):
        load(home, names={"ada": "Ada"})
