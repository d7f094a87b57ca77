# SPDX-License-Identifier: Apache-2.0
"""Rows of the database that were altered by SQL: each kind is named by the doctor, and put right by a repair."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from folkmoot.cli import main
from folkmoot.errors import RpcError
from server.db.models import Round
from server.home import only_process
from server.restore.compare import Altered, Comparison, Scrub
from tests import factories
from tests.integration.coordinator_world import Running, running
from tests.integration.test_served import settled

OTHER = "0x" + "ab" * 32
ALTERATIONS = {
    "state root of an anchor": (
        "UPDATE rounds SET anchor = json_set(anchor, '$.stateRoot', :other) WHERE number = 1",
        ("rounds 1", "anchor"),
    ),
    "weights of an anchor": (
        "UPDATE rounds SET anchor = json_set(anchor, '$.weights[0]', 9) WHERE number = 1",
        ("rounds 1", "anchor"),
    ),
    "state file of a round": (
        "UPDATE rounds SET state_sha256 = base_state_sha256 WHERE number = 1",
        ("rounds 1", "state_sha256"),
    ),
    "mean of a round": (
        "UPDATE rounds SET mean_sha256 = state_sha256 WHERE number = 1",
        ("rounds 1", "mean_sha256"),
    ),
    "policy of a round": ("UPDATE rounds SET policy_id = 7 WHERE number = 1", ("rounds 1", "policy_id")),
    "step of a round": ("UPDATE rounds SET step = 'slashed' WHERE number = 1", ("rounds 1", "step")),
    "entries of a round": ("UPDATE rounds SET entries = 5 WHERE number = 1", ("rounds 1", "entries")),
    "deadline of a round": (
        "UPDATE rounds SET commit_deadline = commit_deadline + 1 WHERE number = 1",
        ("rounds 1", "commit_deadline"),
    ),
    "weight of an entry": (
        "UPDATE entries SET weight = 3 WHERE position = 0",
        ("entries round 1, entry 0", "weight"),
    ),
    "reason of an entry": (
        "UPDATE entries SET reason = 'copy' WHERE position = 1",
        ("entries round 1, entry 1", "reason"),
    ),
    "contributor of an entry": (
        "UPDATE entries SET contributor = '0x000000000000000000000000000000000000dEaD' WHERE position = 1",
        ("entries round 1, entry 1", "contributor"),
    ),
    "rewards of an account": (
        "UPDATE accounts SET rewards = '1' WHERE rewards <> '0'",
        ("accounts 0x", "rewards"),
    ),
    "reward in an event": (
        "UPDATE chain_events SET arguments = json_set(arguments, '$.amount', '1') WHERE name = 'RewardCredited'",
        ("chain_events RewardCredited", "arguments"),
    ),
    "root of a version in an event": (
        "UPDATE chain_events SET arguments = json_set(arguments, '$.stateRoot', :other) "
        "WHERE name = 'VersionRegistered' AND subject = '1'",
        ("chain_events VersionRegistered", "arguments"),
    ),
    "event that is gone": (
        "DELETE FROM chain_events WHERE name = 'RoundFinalized'",
        ("chain_events RoundFinalized", "no such row"),
    ),
    "active version that no vote made": (
        "INSERT INTO chain_events (block_number, block_hash, log_index, transaction_hash, name, subject, account, "
        "arguments) SELECT block_number, block_hash, 999, transaction_hash, 'VersionActivated', '1', '', "
        "json_object('version', 1, 'reportHash', :other) FROM chain_events WHERE name = 'RoundAnchored'",
        ("chain_events VersionActivated", "no such event"),
    ),
    "hash of an event's block": (
        "UPDATE chain_events SET block_hash = :other WHERE name = 'RoundAnchored'",
        ("chain_events RoundAnchored", "block_hash"),
    ),
    "reward before the contracts": (
        "INSERT INTO chain_events (block_number, block_hash, log_index, transaction_hash, name, subject, account, "
        "arguments) SELECT -1, :other, log_index, transaction_hash, name, subject, account, arguments "
        "FROM chain_events WHERE name = 'RewardCredited'",
        ("chain_events RewardCredited in block -1", "no such event"),
    ),
    "base of a round": (
        "UPDATE rounds SET base_state_root = :other WHERE number = 1",
        ("rounds 1", "base_state_root"),
    ),
    "exponents of a round": (
        "UPDATE rounds SET exponents = json_array(1, 1) WHERE number = 1",
        ("rounds 1", "exponents"),
    ),
    "header of a round as text": (
        "UPDATE rounds SET header = 'abc' WHERE number = 1",
        ("rounds 1", "header"),
    ),
    "commitment that is no JSON": (
        "UPDATE entries SET commitment = '{' WHERE position = 0",
        ("entries 1, 0", "commitment"),
    ),
    "signature of an update": (
        "UPDATE updates SET signature = '0x12' WHERE id = 1",
        ("updates", "signature"),
    ),
    "update that is gone": ("DELETE FROM updates WHERE id = 1", ("updates round 1", "no such row")),
    "update said to be deleted": (
        "UPDATE artifacts SET deleted = 'retention' WHERE kind = 'update'",
        ("artifacts update", "deleted"),
    ),
    "state said to be deleted": (
        "UPDATE artifacts SET deleted = 'spare', gone = 1 WHERE kind = 'state'",
        ("artifacts state", "deleted"),
    ),
    "manifest said to be deleted": (
        "UPDATE artifacts SET deleted = 'wish', public_from = 9000000000 WHERE kind = 'manifest'",
        ("artifacts manifest", "deleted"),
    ),
    "manifest said to be public later": (
        "UPDATE artifacts SET public_from = 9000000000 WHERE kind = 'manifest'",
        ("artifacts manifest", "public_from"),
    ),
    "data of a transaction": (
        "UPDATE transactions SET data = x'00' WHERE purpose LIKE 'anchor%'",
        ("transactions anchor:1", "data"),
    ),
    "entry that is gone": (
        "DELETE FROM entries WHERE position = 1",
        ("entries round 1, entry 1", "no such row"),
    ),
    "entry that was added": (
        "INSERT INTO entries (round, position, contributor, commitment, commitment_hash, transaction_hash) SELECT "
        "round, 9, contributor, commitment, commitment_hash, transaction_hash FROM entries WHERE position = 1",
        ("entries round 1, entry 9", "no such row"),
    ),
    "account that is gone": ("DELETE FROM accounts WHERE rewards <> '0'", ("accounts 0x", "no such row")),
    "size of a file": (
        "UPDATE artifacts SET size = 1 WHERE kind = 'mean'",
        ("artifacts mean", "size"),
    ),
    "kind of a file": (
        "UPDATE artifacts SET kind = 'report' WHERE kind = 'update'",
        ("artifacts update", "kind"),
    ),
    "model of another round": (
        "UPDATE artifacts SET round = 1 WHERE kind = 'report'",
        ("artifacts model of round 1", "sha256"),
    ),
}
ORDINARY = {"weights of an anchor", "reward in an event", "header of a round as text", "update that is gone"}
"""One of each kind; the others are long tests."""
"""What is altered, by SQL, and what the doctor names: the row, and the column."""


@pytest.fixture(scope="module")
def origin(module_world: factories.Federation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A coordinator that compares nothing by itself, with one settled round."""
    never = {"server.coordinator.SCRUB_PAUSE": 3600}
    with running(tmp_path_factory.mktemp("origin") / "home", module_world, values=never) as here:
        settled(here)
        yield here


def diagnose(home: Path, url: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    main.run(["coordinator", "doctor", "--home", str(home), "--coordinator", url, "--deep", "--json"])
    lines = json.loads(capsys.readouterr().out)["checks"]
    return {line["check"]: line for line in lines}


@pytest.mark.parametrize(
    "what",
    [pytest.param(what, marks=() if what in ORDINARY else pytest.mark.long) for what in ALTERATIONS],
)
def test_d4_an_altered_row_is_named_and_put_right(
    what: str, origin: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copied(origin, tmp_path)
    alter(home, what)
    found = diagnose(home, origin.api.url, capsys)["database rows"]
    assert found["state"] == "failed"
    for named in ALTERATIONS[what][1]:
        assert named in found["text"], what
    assert main.run(["coordinator", "rebuild", "rows", "--home", str(home)]) == 0
    assert diagnose(home, origin.api.url, capsys)["database rows"]["state"] == "ok", "it was put right"


def test_f10_api_health_and_doctor_name_the_same_cell(
    origin: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    here, told = origin.coordinator, ("rounds 1, column header", "coordinator rebuild rows")
    with here.storage.database.read() as session:
        good = session.scalars(select(Round.header)).one()
    with here.storage.database.write() as session:
        session.execute(text("UPDATE rounds SET header = 'abc'"))
    answer = httpx.get(f"{origin.api.url}/v1/rounds/1")
    assert (answer.status_code, answer.json()["code"]) == (503, "row-unreadable")
    health = httpx.get(f"{origin.api.url}/v1/health")
    assert health.status_code == 503
    found = diagnose(here.settings.home, origin.api.url, capsys)["database rows"]
    for said in (answer.json()["detail"] + answer.json()["remedy"], health.json()["error"]):
        assert all(part in said for part in told), said
    assert all(part in found["text"] + found["remedy"] for part in told), found
    with here.storage.database.write() as session:
        session.execute(text("UPDATE rounds SET header = :good"), {"good": good})
    assert httpx.get(f"{origin.api.url}/v1/health").json()["status"] == "ok"


def comparison_of(origin: Running) -> Comparison:
    here = origin.coordinator
    return Comparison(here.storage, here.chain, here.federation)


def test_d4_an_altered_base_spoils_no_honest_entry(
    origin: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copied(origin, tmp_path)
    alter(home, "base of a round")
    assert "entries" not in diagnose(home, origin.api.url, capsys)["database rows"]["text"]


def test_d4_a_node_that_leaves_out_logs_takes_no_event_away(
    origin: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    rpc, comparison = origin.coordinator.chain.rpc, comparison_of(origin)
    whole = rpc.logs
    first = origin.coordinator.federation.deployment.block
    monkeypatch.setattr(rpc, "logs", lambda query: whole(query) if "blockHash" in query else [])
    assert comparison.events(first) == []
    there = rpc.block_at
    monkeypatch.setattr(rpc, "block_at", lambda at: None if isinstance(at, int) else there(at))
    with pytest.raises(RpcError) as caught:
        comparison.events(first)
    assert caught.value.code == "node-behind"


def test_d4_events_are_asked_for_in_ranges_that_every_provider_takes(
    origin: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    rpc, asked = origin.coordinator.chain.rpc, list[int]()
    whole = rpc.logs

    def limited(query: dict[str, Any]) -> list[dict[str, Any]]:
        if "fromBlock" in query:
            first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
            assert last - first < 3
            asked.extend(range(first, last + 1))
        return whole(query)

    monkeypatch.setattr(rpc, "logs", limited)
    monkeypatch.setattr("server.restore.compare.BATCH_BLOCKS", 3)
    assert list(comparison_of(origin).everything([1])) == []
    assert asked == list(range(origin.coordinator.federation.deployment.block, asked[-1] + 1))


def test_d4_a_step_that_fails_does_not_end_the_pass(origin: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, done, ended = comparison_of(origin), list[int](), list[int]()

    def fail() -> list[Altered]:
        raise RpcError("away")

    def compared(number: int) -> list[Altered]:
        done.append(number)
        return []

    monkeypatch.setattr(comparison, "accounts", fail)
    monkeypatch.setattr(comparison, "round", compared)
    scrub = Scrub(comparison, lambda altered: None, lambda: ended.append(1), 0)
    while not done:
        with suppress(RpcError):
            scrub()
    assert (done, ended) == ([1], []), "a pass with a hole tells nothing of what is right now"


def test_d4_the_doctor_compares_nothing_with_a_chain_that_went_back(
    origin: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copied(origin, tmp_path)
    with sqlite3.connect(home / "coordinator.sqlite3") as database:
        database.execute("UPDATE chain_blocks SET hash = ?", (OTHER,))
        database.execute("UPDATE chain_events SET block_hash = ?", (OTHER,))
    database.close()
    found = diagnose(home, origin.api.url, capsys)["database rows"]
    assert (found["state"], "has lost its blocks" in found["text"]) == ("failed", True)
    capsys.readouterr()
    assert main.run(["coordinator", "rebuild", "rows", "--home", str(home), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "chain-rolled-back"


def test_d4_rows_are_not_repaired_beside_the_coordinator(
    origin: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    home = origin.coordinator.settings.home
    capsys.readouterr()
    with only_process(home):
        assert main.run(["coordinator", "rebuild", "rows", "--home", str(home), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "already-running"


def alter(home: Path, what: str) -> None:
    with sqlite3.connect(home / "coordinator.sqlite3") as database:
        if what == "model of another round":  # a right model is replaced by a file of another one
            database.execute("UPDATE artifacts SET kind = 'report', round = 9 WHERE kind = 'model'")
            done = database.execute("UPDATE artifacts SET kind = 'model', round = 1 WHERE kind = 'manifest'")
        else:
            sql = ALTERATIONS[what][0]
            done = database.execute(sql, {"other": OTHER} if ":other" in sql else {})
        assert done.rowcount > 0, "something was altered"
    database.close()


def copied(origin: Running, folder: Path) -> Path:
    """A copy of the coordinator's folder, as a backup makes it."""
    home = origin.coordinator.settings.home
    shutil.copytree(home, folder / "home", ignore=shutil.ignore_patterns("coordinator.sqlite3*", "*.lock"))
    source, target = (
        sqlite3.connect(home / "coordinator.sqlite3"),
        sqlite3.connect(folder / "home" / "coordinator.sqlite3"),
    )
    source.backup(target)
    source.close()
    target.close()
    return folder / "home"


def test_d4_a_damaged_page_of_the_database_is_found(
    origin: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copied(origin, tmp_path)
    sound = diagnose(home, origin.api.url, capsys)
    assert (sound["database rows"]["state"], sound["database pages"]["state"]) == ("ok", "ok")
    path = home / "coordinator.sqlite3"
    with sqlite3.connect(path) as database:
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'ix_artifacts_round'"
        ).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    data = bytearray(path.read_bytes())
    at = (page - 1) * size
    data[at + size - 40 : at + size] = bytes(40)
    path.write_bytes(data)
    found = diagnose(home, origin.api.url, capsys)["database pages"]
    assert (found["state"], "integrity_check" in found["text"]) == ("failed", True)


def flip(path: Path) -> None:
    data = path.read_bytes()
    at = len(data) // 2
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize(
    "kind", ["genesis", "manifest", "state", "update", "mean", "verdicts", "artifacts", "model"]
)
def test_d2_a_flipped_byte_at_rest_is_named_by_repair(
    kind: str, origin: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copied(origin, tmp_path)
    with sqlite3.connect(home / "coordinator.sqlite3") as database:
        names = [row[0] for row in database.execute("SELECT sha256 FROM artifacts WHERE kind = ?", (kind,))]
    database.close()
    assert names
    for name in names:
        flip(home / "artifacts" / name[:2] / name)
    assert lacking(home, capsys) == {(kind, name) for name in names}


@pytest.mark.parametrize("hash_", ["verdictHash", "artifactsHash", "genesis"])
def test_d9_a_flipped_byte_in_a_link_is_named_by_repair_without_a_mirror(
    hash_: str, origin: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copied(origin, tmp_path)
    if hash_ == "genesis":
        keccak = origin.coordinator.federation.deployment.genesis_hash
    else:
        keccak = origin.api.get("/v1/rounds/1")[hash_]
    link = home / "artifacts" / "by-keccak" / keccak.removeprefix("0x")
    name = link.read_text()
    flip(link)
    assert {found for _, found in lacking(home, capsys)} == {name}


def lacking(home: Path, capsys: pytest.CaptureFixture[str]) -> set[tuple[str, str]]:
    capsys.readouterr()
    assert main.run(["coordinator", "rebuild", "files", "--home", str(home), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["error"]["details"]["lacking"]
    return {(lack["kind"], lack["sha256"]) for lack in found}


@pytest.mark.parametrize("field", ["ledger", "vault", "registry", "genesisHash", "chainId"])
def test_d4_an_altered_deployment_is_named_by_the_doctor(
    field: str, origin: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = copied(origin, tmp_path)
    document = json.loads((home / "deployment.json").read_text())
    value = document[field]
    document[field] = value + 1 if isinstance(value, int) else value[:-1] + ("0" if value[-1] != "0" else "1")
    (home / "deployment.json").write_text(json.dumps(document))
    found = diagnose(home, origin.api.url, capsys)
    assert any(line["state"] == "failed" for line in found.values())
    assert found["coordinator's deployment"]["state"] in ("failed", "skipped")
