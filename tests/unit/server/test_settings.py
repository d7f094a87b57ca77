# SPDX-License-Identifier: Apache-2.0
"""Settings: argument over environment over file over default, and messages with the value."""

from __future__ import annotations

from pathlib import Path

import pytest

from folkmoot.errors import InputError
from server.settings import Settings, load
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
    assert "body_limit" not in (home / "coordinator.json").read_text()
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
