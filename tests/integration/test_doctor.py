# SPDX-License-Identifier: Apache-2.0
"""`folkmoot doctor` finds nothing on a deployment that is well, and names what was really broken."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from folkmoot.cli import main
from folkmoot.doctor import chain as chain_doctor
from folkmoot.local.anvil import Anvil
from folkmoot.local.processes import free_port
from server.db.models import Update
from tests import factories
from tests.integration.coordinator_world import (
    Running,
    federation,
    make_home,
    open_round,
    running,
    train,
)

HOME = (
    "key file", "password file", "database", "database schema", "database writable", "store",
    "files of rounds", "disk",
)  # fmt: skip
CHAIN = (
    "deployment file", "chain", "chain id", "clock", "contracts", "genesis", "coordinator's account",
    "coordinator's bond", "gas money",
)  # fmt: skip
API = ("coordinator's API", "coordinator's deployment", "coordinator's health")

Told = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def world(anvil_process: Anvil) -> Iterator[factories.Federation]:
    snapshot = anvil_process.snapshot()
    made = federation(anvil_process)
    yield made
    made.chain.close()
    anvil_process.revert(snapshot)


@pytest.fixture
def here(world: factories.Federation, anvil: Anvil, tmp_path: Path) -> Iterator[Running]:
    """A coordinator at work, with an update in a round that is open."""
    with running(tmp_path / "home", world) as found:
        found.api.start_run(1, 3, world.coordinator, found.domain)
        _, header, state = open_round(found.api, 1)
        signed = train(world, "ada", header, state)
        found.api.submit_update(1, signed.wire, signed.data)
        yield found


@pytest.fixture(scope="module")
def pattern(world: factories.Federation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to copy."""
    folder = tmp_path_factory.mktemp("doctor") / "home"
    make_home(folder, world, port=free_port())
    return folder


@pytest.fixture
def home(pattern: Path, anvil: Anvil, tmp_path: Path) -> Path:
    """The folder of a coordinator that does not run."""
    return shutil.copytree(pattern, tmp_path / "home")


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Told]:
    capsys.readouterr()
    status = main.run([*words, "--json"])
    document = json.loads(capsys.readouterr().out)
    found = {line["check"]: line for line in document["checks"]}
    assert document["well"] == (status == 0)
    return status, found


def diagnose(
    capsys: pytest.CaptureFixture[str], home: Path, api: str | None = None, *more: str
) -> tuple[int, Told]:
    where = ("--coordinator", api) if api else ()
    return told(capsys, "coordinator", "doctor", "--home", str(home), *where, *more)


def states(found: Told, *names: str) -> set[str]:
    return {found[name]["state"] for name in names}


def test_a_coordinator_that_is_well_passes_every_check_from_inside_and_from_outside(
    here: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = here.coordinator.settings.home
    status, found = diagnose(capsys, folder, here.api.url, "--deep")
    assert (status, tuple(found)) == (0, ("settings", *CHAIN, *HOME, *API)), found
    assert states(found, *found) == {"ok"}, found
    assert found["files of rounds"]["text"].startswith("All 3 files"), "manifest, state and an update"

    outside = ("--rpc", here.world.anvil.url, "--deployment", str(folder / "deployment.json"))
    assert main.run(["doctor", *outside, "--coordinator", here.api.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:1] for line in lines[:-1]] == ["✓"] * len((*CHAIN, *API))
    assert lines[-1] == "0 failed, 0 warnings, 12 well."


def test_a_missing_or_damaged_file_of_an_open_round_is_named(
    here: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    with here.coordinator.database.read() as session:
        name = session.scalars(select(Update.sha256)).one()
    path = here.coordinator.store.path(name)
    whole = path.read_bytes()
    for break_it in (path.unlink, lambda: path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])):
        break_it()
        status, found = diagnose(capsys, here.coordinator.settings.home, here.api.url)
        assert (status, found["files of rounds"]["state"]) == (1, "failed")
        assert f"update of round 1 ({name})" in found["files of rounds"]["text"]
        assert "mirror" in found["files of rounds"]["remedy"]
    path.write_bytes(whole)
    assert diagnose(capsys, here.coordinator.settings.home, here.api.url)[0] == 0


def write_settings(home: Path, **values: Any) -> None:
    path = home / "coordinator.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def write_deployment(home: Path, world: factories.Federation, **values: Any) -> None:
    replace(world.deployment, **values).save(home / "deployment.json")


def other_key(home: Path) -> None:
    from folkmoot.keystore import create

    (home / "key.json").unlink()
    create(home / "key.json", factories.PASSWORD, private_key=bytes(factories.account("ada").key), work=2)


def older_schema(home: Path) -> None:
    with sqlite3.connect(home / "coordinator.sqlite3") as database:
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    database.close()


def locked_database(home: Path) -> None:
    """A database that refuses to be written, as one on a full or read-only disk; for root too."""
    with sqlite3.connect(home / "coordinator.sqlite3") as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON alembic_version BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    database.close()


def open_files(home: Path) -> None:
    for name in ("key.json", "password"):
        (home / name).chmod(0o644)


def store_is_a_file(home: Path) -> None:
    shutil.rmtree(home / "artifacts")
    (home / "artifacts").write_text("")


Break = Callable[[Path, factories.Federation], Any]

BREAKAGES: dict[str, tuple[str, str, Break]] = {
    "settings": ("settings", "prot", lambda home, _: write_settings(home, prot=1)),
    "open key and password": ("password file", "can read both", lambda home, _: open_files(home)),
    "no key": ("key file", "key.json", lambda home, _: (home / "key.json").unlink()),
    "empty password": ("password file", "is empty", lambda home, _: (home / "password").write_text("")),
    "no password": ("password file", "password", lambda home, _: (home / "password").unlink()),
    "no database": ("database", "no database", lambda home, _: (home / "coordinator.sqlite3").unlink()),
    "no such database": (
        "database",
        "is not a database",
        lambda home, _: (home / "coordinator.sqlite3").write_bytes(b"no database at all" * 100),
    ),
    "old schema": ("database schema", "0001", lambda home, _: older_schema(home)),
    "full database": ("database writable", "no room", lambda home, _: locked_database(home)),
    "no store": ("store", "no folder", lambda home, _: shutil.rmtree(home / "artifacts")),
    "store is a file": ("store", "no folder", lambda home, _: store_is_a_file(home)),
    "no deployment": (
        "deployment file",
        "can't be read",
        lambda home, _: (home / "deployment.json").unlink(),
    ),
    "no chain": (
        "chain",
        "can't be reached",
        lambda home, _: write_settings(home, rpc_url=f"http://127.0.0.1:{free_port()}"),
    ),
    "another chain": ("chain id", "31337", lambda home, world: write_deployment(home, world, chain_id=1)),
    "no contract": (
        "contracts",
        "StakeVault",
        lambda home, world: write_deployment(home, world, vault=factories.account("ada").address),
    ),
    "another contract": (
        "contracts",
        "StakeVault",
        lambda home, world: write_deployment(home, world, vault=world.deployment.token),
    ),
    "another genesis": (
        "genesis",
        "0x" + "11" * 32,
        lambda home, world: write_deployment(home, world, genesis_hash="0x" + "11" * 32),
    ),
    "another key": (
        "coordinator's account",
        factories.account("ada").address,
        lambda home, _: other_key(home),
    ),
    "no bond": (
        "coordinator's bond",
        "the policy asks for 200 MOOT",
        lambda _, world: world.chain.send(
            world.chain.vault.functions.requestUnbond(400 * 10**18), world.coordinator
        ),
    ),
    "no gas money": (
        "gas money",
        "pay 0 full rounds",
        lambda _, world: world.anvil.fund(world.coordinator.address, 10**9),
    ),
    "no coordinator": ("coordinator's API", "can't be reached", lambda _home, _world: None),
}


ALSO = {"open key and password": {"key file"}, "another genesis": {"files of rounds"}}
"""Other checks that the same thing breaks; beside the API's, since nobody serves these folders."""


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_what_is_broken_is_named_with_a_remedy(
    home: Path, world: factories.Federation, capsys: pytest.CaptureFixture[str], breakage: str
) -> None:
    check, words, break_it = BREAKAGES[breakage]
    break_it(home, world)
    there = set(home.rglob("*"))
    status, found = diagnose(capsys, home)
    assert (status, found[check]["state"]) == (1, "failed"), found
    assert words in found[check]["text"]
    assert found[check]["remedy"]
    wrong = {name for name, line in found.items() if line["state"] in ("failed", "warning")}
    assert wrong <= {check, "coordinator's API", *ALSO.get(breakage, ())}, found
    made = {path.name for path in set(home.rglob("*")) - there}
    assert made <= {"coordinator.sqlite3-wal", "coordinator.sqlite3-shm"}, "a doctor makes nothing"


def test_little_money_little_room_and_a_wrong_clock_are_told(
    home: Path,
    world: factories.Federation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert diagnose(capsys, home, None, "--rounds", "1000000000")[1]["gas money"]["state"] == "warning"
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    monkeypatch.setattr(chain_doctor, "LOCAL_CHAIN_ID", 1)  # as if this were no chain whose clock is moved
    world.anvil.advance(86_400)
    status, found = diagnose(capsys, home)
    assert status == 1
    assert states(found, "disk", "clock") == {"failed"}
    assert "0.0 GB are free" in found["disk"]["text"]
    assert "ahead of this machine's clock" in found["clock"]["text"]


def test_what_a_running_coordinator_warns_of_is_passed_on(
    here: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here.coordinator.settings.home
    monkeypatch.setattr(type(here.worker), "warnings", property(lambda _: ["Fees are at their ceiling."]))
    status, found = diagnose(capsys, folder, here.api.url)
    assert (status, found["coordinator's health"]["state"]) == (0, "warning")
    assert "at their ceiling" in found["coordinator's health"]["text"]


def test_a_coordinator_of_another_federation_is_told_apart(
    here: Running, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "deployment.json"
    replace(here.world.deployment, block=here.world.deployment.block + 1).save(path)
    words = ("--rpc", here.world.anvil.url, "--deployment", str(path), "--coordinator", here.api.url)
    status, found = told(capsys, "doctor", *words)
    assert (status, found["coordinator's deployment"]["state"]) == (1, "failed")
    assert "block differ" in found["coordinator's deployment"]["text"]
