# SPDX-License-Identifier: Apache-2.0
"""`train` begins a run once, whatever interrupts it. Coordinator and Flower are scripted: they must fail at a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from folkmoot.coordinator_api import CoordinatorApi, RunView
from folkmoot.errors import CoordinatorError, LocalError
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.commitment import Domain
from folkmoot.runtime.superlink import SuperLink
from server.relay import flower_run, training
from server.relay.flower_run import RunResult
from server.relay.training import Begun, Carrier, Memory
from tests import factories

ADDRESSES = {name: "0x" + f"{number:02x}" * 20 for number, name in enumerate(CONTRACTS, 1)}
DEPLOYMENT = Deployment(chain_id=31337, block=1, genesis_hash="0x" + "00" * 32, parent=None, **ADDRESSES)
DOMAIN = Domain(31337, "0x" + "11" * 20)
LINK = SuperLink("127.0.0.1:8000")


class Coordinator:
    """Starts a run for a wish, once; may lose its answer."""

    def __init__(self) -> None:
        self.runs: dict[str, RunView] = {}
        self.used: dict[str, str] = {}
        self.loses_answer = False

    def run(self, run_id: str = "current") -> RunView | None:
        return self.runs.get(run_id) if run_id != "current" else next(reversed(self.runs.values()), None)

    def send_run(self, wish: dict[str, Any]) -> RunView:
        known = self.used.get(wish["signature"])
        if known is not None:
            raise CoordinatorError("It was used.", code="signature-used", details={"run": known})
        made = RunView(f"run-{len(self.runs)}", "running", wish["rounds"], 0, wish["expect"], None)
        self.runs[made.id] = made
        self.used[wish["signature"]] = made.id
        if self.loses_answer:
            self.loses_answer = False
            raise CoordinatorError("It is away.")
        return made


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def begin(
    coordinator: Coordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], RunView]:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def call(rounds: int) -> RunView:
        memory = Memory.of(DEPLOYMENT)  # as a new process reads it
        api = cast(CoordinatorApi, coordinator)
        return training.begin(
            api, memory, rounds, 5, factories.account("coordinator"), DOMAIN, lambda _: None
        )

    return call


def test_a_wish_with_another_patience_is_another_wish() -> None:
    assert Begun({"rounds": 3, "expect": 2}).wishes(3, 2, 0), "a note without a patience"
    assert not Begun({"rounds": 3, "expect": 2}).wishes(3, 2, 60)
    assert Begun({"rounds": 3, "expect": 2, "patience": 60}).wishes(3, 2, 60)


def test_a_call_that_got_no_answer_is_gone_on_with(
    coordinator: Coordinator, begin: Callable[[int], RunView]
) -> None:
    coordinator.loses_answer = True
    with pytest.raises(CoordinatorError):
        begin(3)
    assert begin(3).id == "run-0"
    assert begin(3).id == "run-0", "and so is one that was told the run"
    assert len(coordinator.runs) == 1


def test_another_wish_does_not_take_an_old_run(
    coordinator: Coordinator, begin: Callable[[int], RunView]
) -> None:
    first = begin(3)
    coordinator.runs[first.id] = RunView(first.id, "done", 3, 3, 5, None)
    assert begin(4).id == "run-1"


def test_a_wish_that_is_too_old_is_made_anew(
    coordinator: Coordinator, begin: Callable[[int], RunView], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = coordinator.send_run

    def refuse(wish: dict[str, Any]) -> RunView:
        monkeypatch.setattr(coordinator, "send_run", plain)
        raise CoordinatorError("Too old.", code="signature-expired")

    def vanish(wish: dict[str, Any]) -> RunView:
        raise CoordinatorError("It is away.")

    monkeypatch.setattr(coordinator, "send_run", vanish)
    with pytest.raises(CoordinatorError):
        begin(3)
    monkeypatch.setattr(coordinator, "send_run", refuse)
    assert begin(3).id == "run-0"


def test_a_note_that_can_not_be_written_starts_nothing(coordinator: Coordinator, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    memory = Memory(tmp_path / "file" / "note.json")
    with pytest.raises(LocalError, match="can't be written"):
        training.begin(
            cast(CoordinatorApi, coordinator), memory, 1, 1, factories.account("coordinator"), DOMAIN, print
        )
    assert coordinator.runs == {}


def test_relays_follow_each_other_until_the_run_is_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(training, "FIRST_PAUSE", 0.0)
    told: list[str] = []

    def follow(link: SuperLink, number: int, on_line: Callable[[str], None]) -> RunResult:
        told.append(f"follow {number}")
        on_line("from the beginning")
        return RunResult(number, "finished:failed")

    def run(
        link: SuperLink,
        settings: dict[str, Any],
        on_start: Callable[[int], None],
        on_line: Callable[[str], None],
        app: Path | None,
    ) -> RunResult:
        told.append("run")
        on_line("a line")
        on_start(8)
        return RunResult(8, "finished:completed")

    monkeypatch.setattr(flower_run, "follow", follow)
    monkeypatch.setattr(flower_run, "run", run)
    memory = Memory(tmp_path / "note.json", Begun({}, "run-0", LINK.address, 7))
    ends = iter([False, False, True])
    lines: list[str] = []
    Carrier(LINK, memory, {}, lambda _: next(ends), told.append, lines.append).carry()
    assert lines == ["from the beginning", "a line"]
    assert [line for line in told if "Another" not in line] == ["follow 7", "run"]
    assert memory.begun is not None
    assert memory.begun.flower_run == 0, "a relay that ended is not followed again"


def test_a_superlink_that_never_answered_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*_: Any, **__: Any) -> RunResult:
        raise LocalError("Nobody is there.")

    monkeypatch.setattr(flower_run, "run", run)
    carrier = Carrier(LINK, Memory(tmp_path / "note.json"), {}, lambda _: False, lambda _: None)
    with pytest.raises(LocalError, match="Nobody is there"):
        carrier.carry()


def test_a_relay_that_ends_each_time_is_given_up_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FIRST_PAUSE", 0.0)
    began: list[Path | None] = []

    def run(link: SuperLink, settings: dict[str, Any], **more: Any) -> RunResult:
        began.append(more["app"])
        more["on_start"](len(began))
        return RunResult(len(began), "finished:failed")

    monkeypatch.setattr(flower_run, "run", run)
    carrier = Carrier(LINK, Memory(tmp_path / "note.json"), {}, lambda _: False, lambda _: None)
    carrier.app, carrier.tries = tmp_path, 3
    with pytest.raises(LocalError, match="has ended 3 times in a row") as raised:
        carrier.carry()
    assert raised.value.code == "relay-ended"
    assert "run 3 ended as finished:failed" in raised.value.message
    assert began == [tmp_path] * 3


def test_an_outage_of_the_superlink_is_no_failure_of_the_app(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "FIRST_PAUSE", 0.0)
    began: list[int] = []

    def run(link: SuperLink, settings: dict[str, Any], **more: Any) -> RunResult:
        began.append(len(began))
        if 1 <= began[-1] <= 5:
            raise LocalError("Flower did not start a run.", code="flower-run")
        more["on_start"](1 + began[-1])
        return RunResult(began[-1], "finished:failed")

    monkeypatch.setattr(flower_run, "run", run)
    carrier = Carrier(LINK, Memory(tmp_path / "note.json"), {}, lambda _: False, lambda _: None)
    carrier.app, carrier.tries = tmp_path, 3
    with pytest.raises(LocalError, match="has ended 3 times in a row"):
        carrier.carry()
    assert len(began) == 1 + 5 + 2


def _counting(monkeypatch: pytest.MonkeyPatch, *counts: int | None) -> list[str]:
    """Let a SuperLink have so many nodes, one look after the other; the last one stays."""
    left = list(counts)
    monkeypatch.setattr(
        "server.relay.flower_run.online_nodes", lambda _: left.pop(0) if len(left) > 1 else left[0]
    )
    monkeypatch.setattr("time.sleep", lambda _: None)
    return []


def test_a_run_begins_when_its_nodes_are_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    told = _counting(monkeypatch, 0, 1, 1, 3)
    training.await_nodes(SuperLink("127.0.0.1:1"), 3, 600, told.append)
    assert [text.partition(" The run")[0] for text in told] == [
        f"Waiting for nodes: {count} of 3 are connected." for count in (0, 1)
    ]
    assert told[0].endswith("or with some in 600 s (--wait).")


def test_a_run_begins_without_nodes_that_stay_away(monkeypatch: pytest.MonkeyPatch) -> None:
    told = _counting(monkeypatch, 2)
    training.await_nodes(SuperLink("127.0.0.1:1"), 3, 0, told.append)
    assert told == ["2 of 3 nodes are connected. The run begins without the others."]


def test_a_run_does_not_begin_with_nobody_unless_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    told = _counting(monkeypatch, 0)
    with pytest.raises(LocalError, match="No node is connected after 0 s") as refused:
        training.await_nodes(SuperLink("127.0.0.1:1"), 3, 0, told.append)
    assert (refused.value.code, told) == ("no-nodes", [])
    training.await_nodes(SuperLink("127.0.0.1:1"), 3, 0, told.append, anyway=True)
    assert told == ["0 of 3 nodes are connected. The run begins without the others."]


def test_a_superlink_that_does_not_list_nodes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    told = _counting(monkeypatch, None)
    training.await_nodes(SuperLink("127.0.0.1:1"), 3, 600, told.append)
    assert told == []
