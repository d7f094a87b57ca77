# SPDX-License-Identifier: Apache-2.0
"""What other tools get: read again by their own readers where they are installed, and byte by byte."""

from __future__ import annotations

import csv
import io
import json
import re
import struct
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from folkmoot.cli import main
from folkmoot.errors import FolkmootError, InputError
from folkmoot.export import csv_file, history, html_page, mlflow_run, tensorboard
from folkmoot.export.rounds import FederationRecord, Outcome, RoundRecord
from tests import factories

ADA, BEN = (factories.account(name).address for name in ("ada", "ben"))
EVIL = '=HYPERLINK("http://evil")</td><script>alert(1)</script>\r\n\x1b[31m'


def round_(number: int, **more: object) -> RoundRecord:
    made = RoundRecord(
        number=number,
        phase="final",
        base=number - 1,
        policy=1,
        opened_at=1_700_000_000 + 100 * number,
        seconds=40,
        entries=2,
        refused=1,
        gas=500_000,
        weights={ADA: 1024, BEN: 512},
        pays={ADA: 65536, BEN: 0},
        reasons={ADA: "accepted", BEN: "against-core"},
        rewards={ADA: 2 * 10**18, BEN: 10**18 + 1},
        metrics={"server/loss": 2.0 / number, "server/accuracy": 0.25},
        hashes={"state_root": "0x" + "ab" * 32},
    )
    return replace(made, **more)  # type: ignore[arg-type]


def federation(*rounds: RoundRecord) -> FederationRecord:
    return FederationRecord("mnist", 31337, "0x" + "11" * 20, "http://127.0.0.1:8800", rounds)


OPEN = RoundRecord(3, "open", 2, 1)


def test_csv_has_a_line_a_round() -> None:
    found = federation(round_(1), round_(2, metrics={"server/loss": 1.0, f"train/{EVIL}": 7.0}), OPEN)
    lines = list(csv.DictReader(io.StringIO(csv_file.written(found).decode())))
    assert [line["round"] for line in lines] == ["1", "2", "3"]
    first, second, last = lines
    assert (first["phase"], first["accepted"], first["gas"]) == ("final", "2", "500000")
    assert (first[f"weight {BEN}"], first[f"verdict {BEN}"]) == ("512", "against-core")
    assert [first[f"pay {who}"] for who in (ADA, BEN)] == ["65536", "0"]
    assert (first["reward"], first[f"reward {BEN}"]) == ("3.000000000000000001", "1.000000000000000001")
    assert (first["server/loss"], second["server/accuracy"]) == ("2.0", "")
    assert set(last.values()) == {"3", "open", "0", "2", "1", ""}
    assert not any(name.startswith(("=", "+", "-", "@")) for name in first)
    assert not any("\r" in name or "\x1b" in name for name in first)


class Reader(HTMLParser):
    """Balanced, and without scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_whole_and_has_a_chart_a_group() -> None:
    metrics = {"server/loss": 1.0, "server/accuracy": 0.5, f"train/{EVIL}": 7.0}
    page = html_page.written(federation(round_(1), round_(2, metrics=metrics), OPEN)).decode()
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    assert page.count("<figure") == 5, "loss, accuracy, the other one, gas, seconds"
    assert "\x1b" not in page
    assert "3.000000000000000001 MOOT" in page


def test_html_of_a_federation_without_rounds() -> None:
    found = replace(federation(), warnings=("Round 1: its files are missing.",))
    assert "its files are missing" in html_page.written(found).decode()


RAN = replace(
    federation(round_(1), round_(2, weights={ADA: 0, BEN: 512}), OPEN),
    names={ADA: f"Ada {EVIL}"},
    outcome=Outcome(audit="6 signatures checked", model="model.safetensors", sha256="ab" * 32),
)


def test_html_is_for_people_first_and_costs_last() -> None:
    page = html_page.written(RAN).decode()
    order = (
        "The audit passed",
        "Loss and accuracy",
        "Who contributed how much",
        "Model and audit",
        "<h2>Rounds",
    )
    places = [page.index(words) for words in (*order, "What it cost on the chain")]
    assert places == sorted(places)
    assert '<a href="model.safetensors">' in page
    assert "ab" * 32 in page
    assert page.index("<title>Gas by round") > places[-1]
    gas = page[page.index("<title>Gas by round") :]
    assert ">0</text>" in gas[: gas.index("</svg>")], "the axis of gas begins at zero"
    assert re.search(r"<b>Ada =HYPERLINK.*?&lt;script&gt;.*?33%.*?1 of 2", page, re.DOTALL), (
        "its part of both rounds"
    )
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//|<script", page)


def test_html_has_pays_beside_weights_where_there_are_pays() -> None:
    page = html_page.written(federation(round_(1), round_(2))).decode()
    assert "Pay, all rounds" in page
    assert re.search(r"1: 100%, paid 100%", page)
    assert re.search(r"50%</span>, paid 0%", page), "an update with weight and without pay"
    assert "What would raise them: <code>folkmoot why" in page
    by_weight = html_page.written(federation(round_(1, pays={}), round_(2, pays={}))).decode()
    assert "paid" not in by_weight[by_weight.index("<main>") :]
    assert "Pay, all rounds" not in by_weight


def test_html_says_when_no_audit_passed() -> None:
    assert "No audit</span> is behind this page" in html_page.written(federation(round_(1))).decode()
    failed = replace(
        RAN, outcome=Outcome(failure="Round 2 has another mean.", interrupted="Ctrl-C ended it.")
    )
    page = html_page.written(failed).decode()
    for words in (
        "The audit failed",
        "Round 2 has another mean.",
        "Ctrl-C ended it.",
        "Do not use this model",
    ):
        assert words in page, words
    assert "The audit passed" not in page


def test_a_finished_run_is_exported_from_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history.write(RAN, tmp_path)
    assert history.read(tmp_path) == RAN
    words = ["export", "html", "--from", str(tmp_path), "--to"]
    assert main.run([*words, str(tmp_path / "report.html")]) == 0
    assert (tmp_path / "report.html").read_bytes() == html_page.written(RAN)
    (tmp_path / "elsewhere").mkdir()
    assert main.run([*words, str(tmp_path / "elsewhere" / "a.html")]) == 0
    assert str(tmp_path / "model.safetensors") in (tmp_path / "elsewhere" / "a.html").read_text()
    capsys.readouterr()
    assert main.run([*words, str(tmp_path / "b.html"), "--coordinator", "http://127.0.0.1:9", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "source-twice"


@pytest.mark.parametrize("path", sorted(history.PLAIN) + sorted(f"rounds/0/{name}" for name in history.ROUND))
@pytest.mark.parametrize("value", [[], {"a": []}, "x", 1.5, {"a": {}}])
def test_a_damaged_history_is_refused_or_shown(path: str, value: object, tmp_path: Path) -> None:
    """Whatever is in a place of the file: one clear error, or a page; never a defect."""
    history.write(RAN, tmp_path)
    file = tmp_path / history.FILE
    content = json.loads(file.read_text())
    *folders, name = path.split("/")
    place = content
    for folder in folders:
        place = place[int(folder) if folder.isdigit() else folder]
    place[name] = value
    file.write_text(json.dumps(content))
    code = "shown"
    try:
        assert html_page.written(history.read(tmp_path))
    except InputError as error:
        code = error.code
    assert code in ("history-damaged", "shown")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"rounds": 3}', '{"rounds": [{}]}', "\x00"])
def test_a_history_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no history\.json"):
        history.read(tmp_path)
    (tmp_path / history.FILE).write_text(text)
    with pytest.raises(InputError, match="can't be read"):
        history.read(tmp_path)


def test_the_checksum_is_that_of_the_standard() -> None:
    assert tensorboard.crc32c(b"123456789") == 0xE3069283
    assert tensorboard.crc32c(bytes(32)) == 0x8A9136AA, "RFC 3720, B.4"


def records(path: Path) -> list[bytes]:
    """The data of each record of a file, checked."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert data[:12] == tensorboard.record(data[12 : 12 + length])[:12]
        assert data[12 + length : 16 + length] == tensorboard.record(data[12 : 12 + length])[-4:]
        found.append(data[12 : 12 + length])
        data = data[16 + length :]
    return found


def test_events_are_appended_once(tmp_path: Path) -> None:
    path, added = tensorboard.export(federation(round_(1)), tmp_path / "logs")
    first = path.read_bytes()
    assert added == len(round_(1).numbers()) == 14
    assert tensorboard.VERSION.encode() in records(path)[0]
    assert tensorboard.export(federation(round_(1)), tmp_path / "logs") == (path, 0)
    assert path.read_bytes() == first
    assert tensorboard.export(federation(round_(1), round_(2)), tmp_path / "logs") == (path, 14)
    assert path.read_bytes().startswith(first), "a reader that has it open goes on"
    assert len(records(path)) == 29
    settled = round_(2, rewards={ADA: 3 * 10**18})
    assert tensorboard.export(federation(round_(1), settled, OPEN), tmp_path / "logs") == (path, 1)
    assert b"server/loss" in path.read_bytes()
    assert struct.pack("<f", 2.0) in first


def test_an_interrupted_export_is_mended(tmp_path: Path) -> None:
    path, _ = tensorboard.export(federation(round_(1)), tmp_path)
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(tensorboard.record(b"never noted") + b"half a rec")
    tensorboard.export(federation(round_(1), round_(2)), tmp_path)
    assert path.read_bytes().startswith(whole)
    assert b"never noted" not in path.read_bytes()
    assert len(records(path)) == 29
    for note in tmp_path.glob("*.json"):
        note.write_text('{"size": "x"}')
    tensorboard.export(federation(round_(1)), tmp_path)
    assert len(records(path)) == 15, "without its note it begins anew"
    path.write_bytes(b"")
    tensorboard.export(federation(round_(1)), tmp_path)
    assert len(records(path)) == 15


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(InputError, match="can't be written to"):
        tensorboard.export(federation(round_(1)), tmp_path / "logs")


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    module = "tensorboard.backend.event_processing.event_accumulator"
    event_accumulator = pytest.importorskip(module, reason="TensorBoard is not installed")
    tensorboard.export(federation(round_(1)), tmp_path)
    reader = event_accumulator.EventAccumulator(str(tmp_path))
    reader.Reload()
    tensorboard.export(federation(round_(1), round_(2, metrics={"train/ein Verlust ü": -1e30})), tmp_path)
    reader.Reload()  # it had the file open
    assert [(one.step, one.value) for one in reader.Scalars("server/loss")] == [(1, 2.0)]
    assert [(one.step, one.value) for one in reader.Scalars(f"weight/{BEN}")] == [(1, 0.5), (2, 0.5)]
    (odd,) = reader.Scalars("train/ein Verlust ü")
    assert (odd.step, odd.value, odd.wall_time) == (2, pytest.approx(-1e30), 1_700_000_240.0)


def test_mlflow_has_each_value_once(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    run, added = mlflow_run.export(federation(round_(1)), str(tmp_path / "runs"), "tests")
    assert added == 14
    assert mlflow_run.export(federation(round_(1)), str(tmp_path / "runs"), "tests") == (run, 0)
    odd = {
        f"train/{EVIL}": 7.0,
        "train/../../../up": 8.0,
        "train/..": 9.0,
        "server/a/b:c": 1.0,
        "train/ü": 2.0,
    }
    more = federation(round_(1), round_(2, metrics=odd))
    assert mlflow_run.export(more, str(tmp_path / "runs"), "tests") == (run, 15)
    assert mlflow_run.export(more, str(tmp_path / "runs"), "tests") == (run, 0)
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())
    history = client.get_metric_history(run, f"weight/{ADA}")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (1, 1.0, 1_700_000_140_000),
        (2, 1.0, 1_700_000_240_000),
    ]
    assert client.get_run(run).data.params["task"] == "mnist"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "runs"], "no name leads out of the folder"
    other = replace(more, ledger="0x" + "22" * 20)
    assert mlflow_run.export(other, str(tmp_path / "runs"), "tests")[0] != run


def test_a_tracking_server_that_is_away_is_said() -> None:
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    with pytest.raises(FolkmootError, match="failed") as caught:
        mlflow_run.export(federation(round_(1)), "http://127.0.0.1:9", "tests")
    assert caught.value.code == "mlflow-failed"


def test_without_mlflow_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(InputError, match="not installed") as caught:
        mlflow_run.export(federation(round_(1)), "runs", "tests")
    assert "folkmoot[mlflow]" in caught.value.remedy
