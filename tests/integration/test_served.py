# SPDX-License-Identifier: Apache-2.0
"""What is served is what was anchored: damaged files, wrong links and altered rows are named, and never handed out."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account.messages import SignableMessage
from eth_account.signers.local import LocalAccount
from eth_keys.datatypes import PrivateKey
from sqlalchemy import select, text

from folkmoot.artifacts.sources import CoordinatorSource
from folkmoot.errors import ArtifactError
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.requests import end_run_message, run_message, upload_message
from folkmoot.protocol.signatures import digest
from server.db.models import Artifact, LogEntry
from server.settings import load
from server.storage import file_row
from tests import factories
from tests.integration.coordinator_world import Running, open_round, running, serving, train, until

OTHER_ROOT = "0x" + "ab" * 32
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@dataclass
class Served:
    """A coordinator with one settled round, and where its files are."""

    running: Running
    mirror: Path
    """A whole copy of the store."""

    @property
    def url(self) -> str:
        return str(self.running.api.url)

    def place(self, sha256: str) -> Path:
        return Path(self.running.coordinator.storage.store.location) / sha256[:2] / sha256

    def names(self) -> dict[str, str]:
        """A file of each kind."""
        with self.running.coordinator.storage.database.read() as session:
            rows = session.scalars(select(Artifact).order_by(Artifact.round))
            return {row.kind: row.sha256 for row in rows}

    def damage(self, sha256: str) -> bytes:
        """Flip a bit of a file at rest; return what it was."""
        place = self.place(sha256)
        good = place.read_bytes()
        at = len(good) // 2
        place.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        return good

    def events(self, kind: str, sha256: str = "") -> list[dict[str, Any]]:
        with self.running.coordinator.storage.database.read() as session:
            found = session.scalars(select(LogEntry.data).where(LogEntry.type == kind))
            return [data for data in found if sha256 in ("", data["file"])]

    def await_event(self, kind: str, sha256: str = "", times: int = 1) -> None:
        until(lambda: len(self.events(kind, sha256)) >= times, what=f"the event {kind}")


def settled(here: Running) -> None:
    """Play one round."""
    here.api.start_run(1, 2, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        here.api.submit_update(1, signed.wire, signed.data)
    until(lambda: here.api.get("/v1/rounds/1")["step"] == "settled", what="settlement")
    httpx.get(f"{here.api.url}/v1/models/1/download").raise_for_status()


@pytest.fixture
def served(world: factories.Federation, tmp_path: Path) -> Iterator[Served]:
    with running(tmp_path / "home", world) as here:
        settled(here)
        shutil.copytree(here.coordinator.storage.store.location, tmp_path / "mirror")
        yield Served(here, tmp_path / "mirror")


def test_d2_a_damaged_file_is_never_handed_out_and_is_named(served: Served) -> None:
    """Round files, states, the model file, genesis and manifest; whole, in part and without a body."""
    names = served.names()
    assert names.keys() == {
        "genesis",
        "manifest",
        "carried",
        "state",
        "update",
        "mean",
        "verdicts",
        "artifacts",
        "model",
    }
    for kind, sha256 in names.items():
        url = f"{served.url}/v1/artifacts/{sha256}"
        before = httpx.get(url, headers={"Accept-Encoding": "identity"})
        assert (before.status_code, before.headers["etag"]) == (200, f'"{sha256}"')
        good = served.damage(sha256)
        assert before.content == good
        by_itself = kind in ("model", "state")  # Made again at once, of the state or of the means.
        for headers in ({},) if by_itself else ({}, {"Range": "bytes=0-3"}):
            found = httpx.get(url, headers=headers)
            assert (found.status_code, found.json()["code"]) == (500, "artifact-damaged"), kind
            assert found.json()["file"] == sha256
            assert found.headers["cache-control"] == "no-store"
            assert "etag" not in found.headers
        assert by_itself or httpx.head(url).status_code == 500
        served.await_event("artifact-damaged", sha256)
        health = str(served.running.api.health())
        while not by_itself and sha256 not in health:  # The warning comes after the event.
            health = str(served.running.api.health())
        assert served.running.coordinator.storage.store.location not in health
        served.place(sha256).write_bytes(good)
        assert httpx.get(url).content == good, "good again as soon as its bytes are"
        assert [event["kind"] for event in served.events("artifact-damaged", sha256)] == [kind]
    metrics = httpx.get(f"{served.url}/metrics").text
    assert f'folkmoot_events_total{{type="artifact-damaged"}} {float(len(names))}' in metrics


def test_d2_a_damaged_model_is_not_downloaded_and_is_made_again(served: Served) -> None:
    url, sha256 = f"{served.url}/v1/models/1/download", served.names()["model"]
    good = served.damage(sha256)
    first = httpx.get(url)
    assert (first.status_code, first.json()["code"]) == (500, "artifact-damaged")
    until(lambda: httpx.get(url).content == good, what="the model's return")
    served.await_event("artifact-repaired", sha256)


def test_d2_a_wrong_link_hands_out_nothing_and_is_mended(served: Served) -> None:
    view = served.running.api.get("/v1/rounds/1")
    keccak = view["artifactsHash"][2:]
    link = Path(served.running.coordinator.storage.store.location) / "by-keccak" / keccak
    url = f"{served.url}/v1/artifacts/by-keccak/{keccak}"
    good = httpx.get(url).content
    for wrong in (view["verdicts"].encode(), b"nothing", None):
        link.unlink() if wrong is None else link.write_bytes(wrong)
        found = httpx.get(url)
        assert (found.status_code, found.json()["code"]) == (500, "artifact-damaged")
        until(lambda: httpx.get(url).content == good, what="the link's return")
    served.await_event("artifact-repaired", view["artifacts"], 3)


@pytest.mark.long
def test_d2_a_damaged_file_comes_back_from_a_mirror_by_itself(
    world: factories.Federation, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with running(tmp_path / "home", world, mirrors=["/nowhere", str(mirror)]) as here:
        settled(here)
        shutil.copytree(here.coordinator.storage.store.location, mirror, dirs_exist_ok=True)
        served = Served(here, mirror)
        for kind, sha256 in served.names().items():
            url = f"{served.url}/v1/artifacts/{sha256}"
            good = served.damage(sha256)
            assert httpx.get(url).status_code == 500
            served.await_event("artifact-repaired", sha256)
            assert httpx.get(url).content == good, kind
            assert served.place(sha256).read_bytes() == good
        assert here.api.health()["warnings"] == []


def test_d2_a_source_that_reads_from_a_coordinator_names_the_damage(served: Served) -> None:
    sha256 = served.names()["mean"]
    served.damage(sha256)
    with CoordinatorSource(served.url) as source, pytest.raises(ArtifactError) as caught:
        source.fetch(sha256, 1 << 20)
    assert caught.value.code == "artifact-damaged"


def test_d2_a_file_that_changes_while_it_is_sent_ends_in_a_broken_connection(served: Served) -> None:
    storage = served.running.coordinator.storage
    stored = storage.store.put(os.urandom(64 << 20))
    with storage.database.write("report-kept") as session:
        session.add(file_row(stored, "report"))
    time.sleep(0.2)
    host, port = served.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    connection.request("GET", f"/v1/artifacts/{stored.sha256}")
    answer = connection.getresponse()
    assert (answer.status, len(answer.read(1 << 10))) == (200, 1 << 10)
    with served.place(stored.sha256).open("r+b") as file:
        file.seek((64 << 20) - 1)
        file.write(b"!" if file.read(1) != b"!" else b"?")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()
    served.await_event("artifact-damaged", stored.sha256)


def other_forms(signature: bytes) -> dict[str, bytes]:
    """Forms of a signature that recover the same account where nobody asks for the one that counts."""
    r, s, v = signature[:32], int.from_bytes(signature[32:64], "big"), signature[64]
    high = (ORDER - s).to_bytes(32, "big")
    return {
        "v - 27": signature[:64] + bytes([v - 27]),
        "v + 8": signature[:64] + bytes([v + 8]),
        "high s": r + high + bytes([55 - v]),
        "high s, v - 27": r + high + bytes([28 - v]),
        "64 bytes": signature[:64],
        "66 bytes": signature + b"\0",
    }


def test_d5_a_signed_request_starts_one_run_in_whatever_form_its_signature_comes(
    world: factories.Federation, tmp_path: Path
) -> None:
    with running(tmp_path / "home", world) as here:
        deadline = int(time.time()) + 1200
        salt = "00" * 16
        message = run_message(here.domain, 1, 2, 0, 0, salt, deadline)
        signature = bytes(world.coordinator.sign_message(message).signature)

        def send(form: bytes) -> httpx.Response:
            content = {"rounds": 1, "expect": 2, "salt": salt, "deadline": deadline}
            content["signature"] = "0x" + form.hex()
            return httpx.post(f"{here.api.url}/v1/runs", json=content)

        for name, form in other_forms(signature).items():
            found = send(form)
            code = "not-authorised" if len(form) == 65 else "invalid-request"
            assert found.json()["code"] == code, name
        run = send(signature).json()["id"]
        here.api.end_run(run, "test", world.coordinator, here.domain)
        for form in (signature, signature_of_other_nonce(world.coordinator, message)):
            again = send(form)
            assert (again.status_code, again.json()["code"], again.json()["run"]) == (
                403,
                "signature-used",
                run,
            )
        for _ in range(2):  # of one second, with equal numbers
            run = here.api.start_run(1, 2, world.coordinator, here.domain).id
            here.api.end_run(run, "test", world.coordinator, here.domain)
        end = end_run_message(here.domain, run, "again", deadline)
        ending = bytes(world.coordinator.sign_message(end).signature)
        for name, form in other_forms(ending).items():
            content = {"reason": "again", "deadline": deadline, "signature": "0x" + form.hex()}
            assert httpx.post(f"{here.api.url}/v1/runs/{run}/end", json=content).status_code >= 403, name
        report = b'{"a": 1}'
        upload = upload_message(here.domain, sha256_hex(report), deadline)
        for name, form in other_forms(bytes(factories.account("ada").sign_message(upload).signature)).items():
            claim = {
                "account": factories.account("ada").address,
                "deadline": deadline,
                "signature": form.hex(),
            }
            header = {"Folkmoot-Upload": base64.urlsafe_b64encode(json.dumps(claim).encode()).decode()}
            refused = httpx.post(f"{here.api.url}/v1/artifacts", content=report, headers=header)
            assert refused.json()["code"] == "not-authorised", name


def signature_of_other_nonce(account: LocalAccount, message: SignableMessage) -> bytes:
    """Sign with another nonce than RFC 6979 has: another signature of the same digest."""
    key, hashed = int.from_bytes(bytes(account.key), "big"), int.from_bytes(digest(message), "big")
    for nonce in range(2, 100):
        point = PrivateKey(nonce.to_bytes(32, "big")).public_key.to_bytes()
        r = int.from_bytes(point[:32], "big")
        s = pow(nonce, -1, ORDER) * (hashed + r * key) % ORDER
        if s <= ORDER // 2:
            return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + point[63] % 2])
    raise AssertionError("no nonce gives a low s")


def hand_out_another_model(served: Served) -> str:
    """Let the coordinator hand out another model under a hash that fits. Return the hash of the right one."""
    storage, right = served.running.coordinator.storage, served.names()["model"]
    data = bytearray(storage.store.read(right))
    data[-3] ^= 0x40  # of the last weight: a good file of another model
    stored = storage.store.put(bytes(data))
    with storage.database.write("model-kept") as session:
        session.delete(session.get(Artifact, right))
        session.add(file_row(stored, "model", of=1))
    return right


@pytest.mark.long
def test_d2_audit_why_and_download_name_a_coordinator_that_hands_out_another_model(
    served: Served, folkmoot: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    good = httpx.get(f"{served.url}/v1/models/1/download").content
    honest = folkmoot("audit", "--artifacts", served.url)
    assert honest["models"] == 2, "the first state, and the one after round 1"
    assert folkmoot("audit", "--artifacts", str(served.mirror))["models"] == 0, "a mirror hands out none"
    lean = folkmoot("audit", "--artifacts", served.url, "--without-states")
    assert (lean["recomputed"], lean["stateRoot"]) == (honest["recomputed"], honest["stateRoot"])
    assert lean["models"] == 0
    assert lean["bytes"] < honest["bytes"]
    assert folkmoot("why", "--round", "1", "--coordinator", served.url)["model"]["checked"]
    model = tmp_path / "model.safetensors"
    got = folkmoot("model", "1", "--to", str(model), "--artifacts", served.url)
    assert (got["compared"], got["final"], got["sha256"]) == ([served.url], True, served.names()["model"])
    assert model.read_bytes() == good

    right = hand_out_another_model(served)
    lie = served.names()["model"]
    assert httpx.head(f"{served.url}/v1/models/1/download").headers["etag"] == f'"{lie}"'
    for options in (
        ("--artifacts", served.url),
        ("--artifacts", str(served.mirror), "--coordinator", served.url),
    ):
        error = folkmoot("audit", *options, fails=1)["error"]
        assert error["details"]["check"] == "models"
        assert served.url in error["message"]
        assert lie in error["message"]
    said = folkmoot("why", "--round", "1", "--coordinator", served.url)["model"]
    assert (said["checked"], said["code"]) == (False, "wrong-model")
    model.unlink()
    error = folkmoot("model", "1", "--to", str(model), "--artifacts", served.url, fails=1)["error"]
    assert (error["code"], error["details"]["found"]) == ("wrong-model", lie)
    assert sha256_hex(model.read_bytes()) == right, "the right file was made from the state"
    nothing = folkmoot("model", "--to", str(model), "--artifacts", served.url, fails=1)["error"]
    assert nothing["code"] == "no-active-version"
    unknown = folkmoot("model", "7", "--to", str(model), "--artifacts", served.url, fails=1)["error"]
    assert unknown["code"] == "unknown-version"


ALTERED = (
    "UPDATE rounds SET anchor = json_set(anchor, '$.stateRoot', :other), step = 'slashed', base_state_root = :other",
    "UPDATE entries SET weight = 3",
    "DELETE FROM chain_events WHERE name = 'RoundFinalized'",
    "UPDATE chain_events SET block_hash = :other WHERE name = 'RoundSettled'",
    "INSERT INTO chain_events "
    "(block_number, block_hash, log_index, transaction_hash, name, subject, account, arguments) "
    "SELECT 900000, block_hash, 7, transaction_hash, name, subject, account, arguments FROM chain_events "
    "WHERE name = 'RewardCredited' LIMIT 1",
    "UPDATE accounts SET rewards = '1' WHERE rewards <> '0'",
)
NAMED = {
    ("rounds", "anchor"),
    ("rounds", "step"),
    ("rounds", "base_state_root"),
    ("entries", "weight"),
    ("chain_events", "block_hash"),
    ("chain_events", ""),
    ("accounts", "rewards"),
}


@pytest.mark.long
def test_d4_a_running_coordinator_tells_of_altered_rows_and_repair_puts_them_right(
    world: factories.Federation, tmp_path: Path, folkmoot: Callable[..., dict[str, Any]]
) -> None:
    with running(tmp_path / "home", world, values={"server.coordinator.SCRUB_PAUSE": 0.01}) as here:
        settled(here)
        url = f"{here.api.url}/v1/rounds/1"
        before = httpx.get(url).json()
        right = rows_of(here)
        assert not told(here)
        with here.coordinator.storage.database.write("altered") as session:
            for sql in ALTERED:
                done = session.execute(text(sql), {"other": OTHER_ROOT} if ":other" in sql else {})
                assert getattr(done, "rowcount", 1) > 0, sql
        altered = rows_of(here)
        until(lambda: {(one["table"], one["column"]) for one in told(here)} >= NAMED, what="all to be told")
        time.sleep(1)  # some more passes
        names = [tuple(sorted(one.items())) for one in told(here)]
        assert len(names) == len(set(names)), "each is told once"
        assert {(one["table"], one["column"]) for one in told(here)} == NAMED, "and nothing honest"
        assert rows_of(here) == altered, "no row was changed"
        assert httpx.get(url).json() != before
        warnings = httpx.get(f"{here.api.url}/v1/health").json()["warnings"]
        assert any("rows of the database differ" in one and "rebuild rows" in one for one in warnings)
        metrics = httpx.get(f"{here.api.url}/metrics").text
        assert 'folkmoot_events_total{type="row-altered"}' in metrics
        home = here.coordinator.settings.home
        command = ("coordinator", "rebuild", "rows", "--home", str(home))
    assert len(folkmoot(*command)["altered"]) >= len(NAMED)
    assert folkmoot(*command)["altered"] == []
    with serving(load(home), world) as here:
        assert rows_of(here) == right
        assert httpx.get(f"{here.api.url}/v1/rounds/1").json() == before


def rows_of(here: Running) -> dict[str, set[str]]:
    """What the tables have that are compared."""
    with here.coordinator.storage.database.read() as session:
        return {
            table: {str(row) for row in session.execute(text(f"SELECT {columns} FROM {table}"))}  # noqa: S608  our own names
            for table, columns in (
                ("rounds", "number, step, anchor, base_state_root"),
                ("entries", "round, position, weight, commitment"),
                ("accounts", "address, rewards, staked"),
                ("chain_events", "block_number, block_hash, log_index, name, arguments"),
            )
        }


def told(here: Running) -> list[dict[str, Any]]:
    with here.coordinator.storage.database.read() as session:
        return list(session.scalars(select(LogEntry.data).where(LogEntry.type == "row-altered")))
