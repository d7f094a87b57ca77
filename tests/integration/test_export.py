# SPDX-License-Identifier: Apache-2.0
"""`folkmoot export` from a real coordinator, and from the chain and a mirror when the coordinator is gone."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from folkmoot.artifacts.sources import missing, open_source
from folkmoot.artifacts.store import Store
from folkmoot.cli.main import run
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.devnet.report import write_report
from folkmoot.errors import CoordinatorError, LocalError
from folkmoot.export import coordinator, ledger
from folkmoot.export.evidence import Evidence
from server.api.routes import rounds
from tests import factories
from tests.integration.coordinator_world import Running, federation, open_round, report, running, train, until
from tools.node_toolchain import node_binary

CHECK = Path(__file__).parents[2] / "folkmoot/web/check.js"
NAMES = {1: ("ada", "ben", "cleo"), 2: ("ada", "ben", "dora")}


@pytest.fixture(scope="module")
def here(anvil_process: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two rounds that are settled, and a third one that is open."""
    snapshot = anvil_process.snapshot()
    world = federation(anvil_process)
    with running(tmp_path_factory.mktemp("home"), world) as found:
        found.api.start_run(3, 3, world.coordinator, found.domain)
        for number in NAMES:
            _, header, state = open_round(found.api, number)
            for name in NAMES[number]:
                signed = train(world, name, header, state)
                found.api.submit_update(number, signed.wire, signed.data)
            until(lambda number=number: found.api.get(f"/v1/rounds/{number}")["step"] == "settled")
        open_round(found.api, 3)
        report(found, 1, {"server": {"loss": 1.5, "accuracy": 0.5}})
        yield found
    world.chain.close()
    anvil_process.revert(snapshot)


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_of_a_coordinator(here: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "rounds.csv"
    words = ["export", "csv", "--coordinator", here.api.url, "--to", str(target), "--json"]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["rounds"] == 3
    first, second, third = lines(target)
    assert (first["phase"], first["entries"], first["accepted"]) == ("final", "3", "3")
    assert (first["server/loss"], first["server/accuracy"]) == ("1.5", "0.5")
    ada, cleo = (factories.account(name).address for name in ("ada", "cleo"))
    verdict = here.api.get(f"/v1/rounds/1/updates/{ada}/verdict")
    assert (first[f"weight {ada}"], first[f"verdict {ada}"]) == (str(verdict["weight"]), verdict["reason"])
    assert first[f"pay {ada}"] == ("" if verdict["payShare"] is None else str(verdict["payShare"]))
    assert first[f"weight {cleo}"]
    assert second[f"weight {cleo}"] == ""
    assert first["state"] == here.api.get("/v1/rounds/1")["state"]
    assert third["phase"] == "open"
    before = target.read_bytes()
    assert run(words) == 0
    assert target.read_bytes() == before, "the same again"


def test_the_chain_and_a_mirror_say_the_same(here: Running, tmp_path: Path) -> None:
    mirror, file = tmp_path / "mirror", tmp_path / "deployment.json"
    here.world.deployment.save(file)
    chain = ["--rpc", here.world.anvil.url, "--deployment", str(file)]
    assert run(["mirror", "--from", here.api.url, "--to", str(mirror), *chain]) == 0
    said = coordinator.read(here.api)
    source = open_source(str(mirror))
    found = ledger.read(here.world.chain, source, "mirror")
    source.close()
    assert found.warnings == ()
    assert (found.task, found.ledger) == (said.task, said.ledger)
    for one, other in zip(found.rounds, said.rounds, strict=True):
        assert one == replace(other, refused=None, metrics={}), "all but what is nowhere on the chain"
    assert found.rounds[0].reward > 0
    assert run(["export", "html", "--artifacts", str(mirror), *chain, "--to", str(tmp_path / "a.html")]) == 0
    assert "100%" in (tmp_path / "a.html").read_text()


def test_a_run_leaves_a_report_that_is_made_again_without_it(here: Running, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"a model")
    audit = {"entries": {"signed": 6}, "updates": 6, "recomputed": 2}
    page = write_report(tmp_path, here.api.url, app="my-app", model=model, audit=audit)
    text = page.read_text()
    for words in ("my-app", "The audit passed", "6 updates in 2 rounds recomputed to the bit", "50.0%"):
        assert words in text, words
    assert hashlib.sha256(b"a model").hexdigest() in text
    assert '<a href="model.safetensors">' in text
    assert run(["export", "html", "--from", str(tmp_path), "--to", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == text
    assert run(["export", "csv", "--from", str(tmp_path), "--to", str(tmp_path / "rounds.csv")]) == 0
    assert [line["round"] for line in lines(tmp_path / "rounds.csv")] == ["1", "2", "3"]
    write_report(tmp_path, here.api.url, app="my-app", model=None, interrupted="Ctrl-C ended it in round 3.")
    assert "No audit</span> is behind this page" in page.read_text()
    assert "Ctrl-C ended it in round 3." in page.read_text()
    (tmp_path / "taken").write_text("a file in the place of a folder")
    with pytest.raises(LocalError, match="can't be written") as caught:
        write_report(tmp_path / "taken", here.api.url, app="my-app", model=None)
    assert caught.value.code == "report-unwritable"


def test_a_mirror_that_lacks_files_is_a_warning(
    here: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, mirror = tmp_path / "deployment.json", tmp_path / "empty"
    here.world.deployment.save(file)
    mirror.mkdir()
    words = ["--artifacts", str(mirror), "--rpc", here.world.anvil.url, "--deployment", str(file)]
    assert run(["export", "csv", *words, "--to", str(tmp_path / "rounds.csv")]) == 0
    assert "warning: Round 1: verdicts or file hashes are left out." in capsys.readouterr().err
    first, *_ = lines(tmp_path / "rounds.csv")
    ada = factories.account("ada").address
    assert first[f"weight {ada}"]
    assert (first[f"verdict {ada}"], first["state"]) == ("", "")


def test_tensorboard_gets_what_is_new(
    here: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "tensorboard", "--coordinator", here.api.url, "--to", str(tmp_path), "--json"]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["added"] > 20
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "source-missing"),
        (["--artifacts", "mirror"], "setting-missing"),
        (["--coordinator", "http://127.0.0.1:9"], "coordinator-unreachable"),
    ],
)
def test_a_source_is_needed(
    words: list[str], code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", "csv", *words, "--to", str(tmp_path / "x.csv"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == code
    assert not (tmp_path / "x.csv").exists()


def test_a_file_that_can_not_be_written_is_said(
    here: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "csv", "--coordinator", here.api.url, "--to", str(tmp_path / "no" / "x.csv"), "--json"]
    assert run(words) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "export-unwritable"


def test_limits_of_the_coordinator_are_waited_for(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "PAUSE", 0.0)
    asked: list[str] = []
    plain = CoordinatorApi.get

    def get(self: CoordinatorApi, path: str, **parameters: Any) -> dict[str, Any]:
        asked.append(path)
        if len(asked) % 2:
            raise CoordinatorError("There were too many requests.", code="rate-limited")
        return plain(self, path, **parameters)

    monkeypatch.setattr(CoordinatorApi, "get", get)
    assert len(coordinator.read(here.api).rounds) == 3


def test_nonsense_of_a_coordinator_is_said(here: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = CoordinatorApi.get

    def get(self: CoordinatorApi, path: str, **parameters: Any) -> dict[str, Any]:
        found = plain(self, path, **parameters)
        return {"items": [{"round": "x"}]} if path == "/v1/rounds" else found

    monkeypatch.setattr(CoordinatorApi, "get", get)
    with pytest.raises(CoordinatorError, match="can't be read"):
        coordinator.read(here.api)


def without_block(evidence: bytes) -> tuple[dict[str, Any], bytes]:
    """Evidence without the block at which it was gathered: the chain goes on."""
    head, _, files = evidence.partition(b"\n")
    return {**json.loads(head), "block": None}, files


def test_evidence_that_is_not_there_or_too_much_is_refused_in_words(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(number: int) -> tuple[int, str]:
        answer = httpx.get(f"{here.api.url}/v1/rounds/{number}/evidence", timeout=60)
        assert answer.json()["remedy"]
        assert "/home" not in answer.text, "where the files are is nobody's business"
        return answer.status_code, answer.json()["code"]

    assert refused(3) == (409, "round-not-anchored")
    assert refused(99) == (404, "round-unknown")
    monkeypatch.setattr(rounds, "EVIDENCE_LIMIT", 1000)
    assert refused(1) == (422, "evidence-too-large")
    monkeypatch.undo()
    kept = Store.fetch

    def without_large(store: Store, sha256: str, limit: int) -> Path:
        path = kept(store, sha256, limit)
        if not path.read_bytes().startswith(b"{"):  # states and updates are gone, documents are there
            raise missing(sha256, "/home/of/the/store")
        return path

    monkeypatch.setattr(Store, "fetch", without_large)
    assert refused(1) == (404, "artifact-missing")

    monkeypatch.undo()
    begun, let_go = threading.Event(), threading.Event()

    def slow(*_: object) -> Evidence:
        begun.set()
        assert let_go.wait(60)
        return Evidence(b"{}", (), ())

    monkeypatch.setattr(rounds, "gather", slow)
    with ThreadPoolExecutor(1) as other:
        first = other.submit(httpx.get, f"{here.api.url}/v1/rounds/1/evidence", timeout=60)
        assert begun.wait(60)
        assert refused(1) == (429, "too-many"), "one of a client at once"
        let_go.set()
        assert first.result().content == b"{}\n"


def test_evidence_of_a_round_is_recomputed_by_the_second_implementation(
    here: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = tmp_path / "deployment.json"
    deployment.write_text(json.dumps(here.api.get("/v1/deployment")))
    chain = ["--rpc", here.world.anvil.url, "--deployment", str(deployment), "--coordinator", here.api.url]
    for number in NAMES:
        target = tmp_path / f"{number}.evidence"
        assert run(["export", "evidence", "--round", str(number), "--to", str(target), *chain, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert (said["round"], said["bytes"], said["missing"]) == (number, target.stat().st_size, [])
        command = [str(node_binary()), str(CHECK), str(target), "--json"]
        served = httpx.get(f"{here.api.url}/v1/rounds/{number}/evidence", timeout=60)
        assert served.status_code == 200
        assert served.headers["content-disposition"] == f'attachment; filename="round-{number}.evidence"'
        assert without_block(served.content) == without_block(target.read_bytes())
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        steps = json.loads(done.stdout)["steps"]
        assert done.returncode == 0, steps
        assert {one["verdict"] for one in steps} <= {"right", "none"}

    assert run(["export", "evidence", "--round", "3", "--to", str(tmp_path / "no"), *chain]) == 1
    assert "Round 3 has no anchor that stands." in capsys.readouterr().err
    for words in (["export", "evidence"], ["export", "csv", "--round", "1"]):
        assert run([*words, "--to", str(tmp_path / "no"), *chain]) == 2
    assert not (tmp_path / "no").exists()
