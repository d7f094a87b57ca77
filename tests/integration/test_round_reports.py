# SPDX-License-Identifier: Apache-2.0
"""The operator's reports on the nodes of a round: they end waiting, say reasons, and exclude no update."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from folkmoot.coordinator_api import sign_report
from folkmoot.errors import MOST_DETAIL, CoordinatorError, UpdateRefused
from folkmoot.flower.relay import reports
from folkmoot.flower.relay.reports import Report
from server.relay import reporting
from server.relay.reporting import Reporter
from tests import factories
from tests.integration.coordinator_world import Running, open_round, running, train, until

FAILED = {"state": "failed", "code": "training-failed", "detail": "training raised RuntimeError."}


def node(number: int, **values: Any) -> dict[str, Any]:
    blank: dict[str, Any] = {"account": None, "state": "asked", "code": "", "detail": "", "seconds": None}
    return {"node": str(number), **blank, **values}


def content(number: int, *nodes: dict[str, Any], complete: bool = True, **metrics: Any) -> dict[str, Any]:
    return {
        "round": number,
        "complete": complete,
        "nodes": list(nodes),
        "metrics": {"train": None, "evaluate": None, "server": None, **metrics},
    }


def send(here: Running, said: dict[str, Any], by: str = "") -> None:
    account = here.world[by] if by else here.world.coordinator
    here.api.send_report(sign_report(said, account, here.domain))


def start(here: Running, rounds: int, expect: int) -> None:
    here.api.start_run(rounds, expect, here.world.coordinator, here.domain)


def events(here: Running, *wanted: str) -> list[dict[str, Any]]:
    found, last = [], here.api.newest_event()
    for event in here.api.events(0):
        if event.type in wanted:
            found.append({"type": event.type, **event.data})
        if event.id >= last:
            return found
    raise AssertionError("the stream ended")


def test_a_round_goes_on_without_the_node_that_failed(here: Running) -> None:
    start(here, 1, 3)
    _, header, state = open_round(here.api, 1)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        here.api.submit_update(1, signed.wire, signed.data)
    ada, ben = (here.world[name].address for name in ("ada", "ben"))
    answered = {"state": "answered", "seconds": 1.5}
    first, second = node(1, account=ada, **answered), node(2, account=ben, **answered)
    send(here, content(1, first, second, node(3), complete=False))
    assert here.api.get("/v1/rounds/1")["phase"] == "open"
    send(here, content(1, first, second, node(3, **FAILED), train={"loss": 0.5}))
    until(lambda: here.api.get("/v1/rounds/1")["step"] == "settled", what="settlement")
    assert here.api.get("/v1/rounds/1")["entries"] == 2
    told = events(here, "node-answered", "node-failed", "round-reported")
    assert [one["type"] for one in told] == [
        "node-answered",
        "node-answered",
        "node-failed",
        "round-reported",
    ]
    assert told[2] == {"type": "node-failed", "round": 1, "node": "3", "account": None, **FAILED}
    assert told[3]["metrics"]["train"] == {"loss": 0.5}
    report = here.api.round_report(1)
    assert report is not None
    assert report["complete"]
    assert report["nodes"][0] == {**first, "account": ada}


def test_a_run_of_failed_rounds_ends_at_once_and_says_why(here: Running) -> None:
    start(here, 3, 3)
    for number in (1, 2, 3):
        open_round(here.api, number)
        lost = node(2, state="failed", code="node-lost", detail="The connection to the node ended.")
        send(here, content(number, node(1, **FAILED), lost, node(3, **FAILED)))
        until(lambda n=number: here.api.get(f"/v1/rounds/{n}")["step"] == "cancelled", what="cancellation")
    run = until(lambda: (run := here.api.run()) and run.state == "failed" and run, what="the run's failure")
    wanted = (
        "0 of at least 2 contributors committed an update. 2 nodes failed (training-failed). Training raised "
        "RuntimeError. The traceback is in the log that `folkmoot join` names on that machine. 1 node failed "
        "(node-lost). The connection to the node ended. Check the machine and its connection. The node takes part "
        "again when it is back."
    )
    assert run.error == f"3 rounds in a row were cancelled. {wanted}"
    assert [one["reason"] for one in events(here, "round-cancelled")] == [wanted] * 3


def test_a_report_excludes_no_update_that_arrived(here: Running) -> None:
    """The operator says that everybody failed, but two updates are there: they are committed and count."""
    start(here, 1, 5)
    _, header, state = open_round(here.api, 1)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        here.api.submit_update(1, signed.wire, signed.data)
    send(here, content(1, *(node(number, **FAILED) for number in range(5))))
    until(lambda: here.api.get("/v1/rounds/1")["step"] == "settled", what="settlement")
    assert here.api.get("/v1/rounds/1")["weights"] == [1, 1]


def test_without_time_travel_a_late_update_is_taken_after_a_complete_report(
    world: factories.Federation, tmp_path: Path
) -> None:
    with running(tmp_path / "home", world, time_travel=False) as here:
        start(here, 1, 3)
        _, header, state = open_round(here.api, 1)
        ada, ben = (train(here.world, name, header, state) for name in ("ada", "ben"))

        def committed(name: str) -> bool:
            return here.world.chain.ledger.has_committed(1, here.world[name].address)

        here.api.submit_update(1, ada.wire, ada.data)
        send(here, content(1, node(1, state="answered", seconds=1.0), node(2, **FAILED)))
        until(lambda: committed("ada"), what="the commitment, long before the window's end")
        here.api.submit_update(1, ben.wire, ben.data)
        until(lambda: committed("ben"), what="that of the node that was reported failed")


def test_a_real_chain_cancels_an_empty_round_at_once(world: factories.Federation, tmp_path: Path) -> None:
    """No clock is moved: the coordinator's own call ends the round, long before its window."""
    with running(tmp_path / "home", world, time_travel=False) as here:
        start(here, 2, 3)
        for number in (1, 2, 3):
            current, _, _ = open_round(here.api, number)
            send(here, content(number, node(1, **FAILED)))
            until(
                lambda n=number: here.api.get(f"/v1/rounds/{n}")["step"] == "cancelled", what="cancellation"
            )
            assert here.coordinator.chain.now() < current.commit_deadline
        run = until(
            lambda: (run := here.api.run()) and run.state == "failed" and run, what="the run's failure"
        )
        assert str(run.error).startswith("3 rounds in a row were cancelled. 0 of at least 2 contributors")
        assert "1 node failed (training-failed)." in str(run.error)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda s: s | {"complete": False}, "not-authorised"),
        (lambda s: s | {"signature": "0x" + "00" * 65}, "not-authorised"),
        (lambda s: s | {"deadline": s["deadline"] + 1}, "not-authorised"),
        (lambda s: s | {"round": 7}, "invalid-report"),
        (lambda s: s | {"nodes": [node(1, detail="a\nb")]}, "invalid-request"),
        (lambda s: s | {"nodes": [node(1, detail="\ud800")]}, "invalid-request"),
        (lambda s: s | {"metrics": {"train": {"loss": float("inf")}}}, "invalid-request"),
    ],
)
def test_a_report_that_is_not_as_signed(
    here: Running, spoil: Callable[[dict[str, Any]], dict[str, Any]], code: str
) -> None:
    import json

    import httpx

    start(here, 1, 3)
    open_round(here.api, 1)
    signed = sign_report(content(1, node(1, **FAILED)), here.world.coordinator, here.domain)
    answer = httpx.post(
        f"{here.api.url}/v1/rounds/1/report",
        content=json.dumps(spoil(signed)),
        headers={"Content-Type": "application/json"},
    )
    assert answer.json()["code"] == code
    assert here.api.round_report(1) is None


def test_who_may_report_on_what(here: Running) -> None:
    start(here, 1, 3)
    open_round(here.api, 1)
    for said, by, code in (
        (content(1, node(1)), "", "invalid-report"),  # complete, and a node owes its answer
        (content(1, node(1), node(1), complete=False), "", "invalid-report"),
        (content(9), "", "round-unknown"),
        (content(1), "ada", "not-authorised"),
    ):
        with pytest.raises((CoordinatorError, UpdateRefused)) as refused:
            send(here, said, by)
        assert refused.value.code == code
    old = sign_report(content(1, node(1), complete=False), here.world.coordinator, here.domain)
    new = sign_report(
        content(1, complete=False), here.world.coordinator, here.domain, after=old["deadline"] + 1
    )
    here.api.send_report(new)
    with pytest.raises(CoordinatorError) as replayed:
        here.api.send_report(old)
    assert replayed.value.code == "report-outdated"
    assert replayed.value.details["deadline"] == new["deadline"]


def emitted(kind: str, **values: Any) -> str:
    from folkmoot.protocol.hashing import canonical_json

    line = f"{reports.MARK} {canonical_json({'kind': kind, **values}).decode()}"
    assert reports.parse(line)
    return f"INFO :      {line}"


def test_the_reporter_hands_in_what_the_relay_logs(here: Running) -> None:
    start(here, 1, 3)
    open_round(here.api, 1)
    said: list[str] = []
    ada = here.world["ada"].address
    with Reporter(here.api.url, here.world.coordinator, here.domain, first=1, say=said.append) as reporter:
        reporter.take("INFO :      [ROUND 0]")
        reporter.take(
            emitted("asked", round=0, nodes=[5])
        )  # an older round: the log is read from its beginning
        reporter.take(emitted("asked", round=1, nodes=[1, 2, 2**63]))
        reporter.take(emitted("answered", round=1, node=1, account=ada, seconds=2))
        until(lambda: here.api.round_report(1), what="the first report")
        reporter.take(emitted("failed", round=1, node=2, code="node-lost", detail="It is gone."))
        reporter.take(emitted("asked", round=1, nodes=[1, 2]))  # a relay that was started again asks all
        reporter.take(emitted("answered", round=1, node=2, account=ada, seconds=4))
        reporter.take(emitted("metrics", round=1, train={"loss": 1}, evaluate=None, server=None))
    report = here.api.round_report(1)
    assert report is not None
    assert [(one["node"], one["state"]) for one in report["nodes"]] == [
        ("1", "answered"),
        ("2", "answered"),
        (str(2**63), "asked"),
    ]
    assert not report["complete"]
    assert report["metrics"]["train"] == {"loss": 1.0}
    assert said == []


def test_what_the_operator_measures_is_in_the_report_with_the_nodes(here: Running) -> None:
    start(here, 1, 3)
    open_round(here.api, 1)
    with Reporter(here.api.url, here.world.coordinator, here.domain, first=1) as reporter:
        reporter.take(emitted("asked", round=1, nodes=[7]))
        reporter.take(emitted("metrics", round=1, train={"loss": 1}, evaluate=None, server={"f1": 0.5}))
        reporter.measure(1, {"loss": 0.25, "accuracy": 0.75, "auc": None})
        reporter.measure(2, {"loss": 0.1})
    report = here.api.round_report(1)
    assert report is not None
    assert [one["node"] for one in report["nodes"]] == ["7"], "a report takes the place of the one before"
    assert report["metrics"]["train"] == {"loss": 1.0}
    assert report["metrics"]["server"] == {"accuracy": 0.75, "f1": 0.5, "loss": 0.25}


@pytest.mark.long
def test_a_flood_of_failing_nodes_keeps_no_report_away(here: Running) -> None:
    """Strangers may come as thousands of nodes that fail: who answered is in the report all the same."""
    start(here, 1, 3)
    open_round(here.api, 1)
    nodes = list(range(2, 12_000))
    detail = "x" * MOST_DETAIL
    with Reporter(here.api.url, here.world.coordinator, here.domain) as reporter:
        for number in nodes:
            reporter._nodes.take(
                Report("failed", 1, {"node": number, "code": "node-failed", "detail": detail})
            )
        reporter.take(emitted("answered", round=1, node=12_000, account=here.world["ada"].address, seconds=1))
        reporter.take(emitted("complete", round=1, answered=1, refused=0, failed=len(nodes)))
        until(lambda: (here.api.round_report(1) or {}).get("complete"), what="the whole report")
    report = here.api.round_report(1)
    assert report is not None
    assert [one["node"] for one in report["nodes"] if one["state"] == "answered"] == ["12000"]


@pytest.mark.long
def test_a_reporter_with_an_older_deadline_catches_up(here: Running) -> None:
    """Another `train`, on a machine whose clock is ahead, reported before."""
    start(here, 1, 3)
    open_round(here.api, 1)
    ahead = int(time.time()) + 3000
    here.api.send_report(
        sign_report(content(1, complete=False), here.world.coordinator, here.domain, after=ahead)
    )
    with Reporter(here.api.url, here.world.coordinator, here.domain) as reporter:
        reporter.take(emitted("asked", round=1, nodes=[1]))
        until(lambda: (here.api.round_report(1) or {}).get("nodes"), what="the report after the older one")
    report = here.api.round_report(1)
    assert report is not None
    assert [one["node"] for one in report["nodes"]] == ["1"]


def test_a_reporter_whose_coordinator_refuses_says_so_once(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(reporting, "PAUSE", 0.01)
    with Reporter(here.api.url, here.world["ada"], here.domain, say=said.append) as reporter:
        for number in (1, 2):
            reporter.take(emitted("asked", round=number, nodes=[1]))
    (line,) = said
    assert line.startswith("The coordinator refused a report on nodes. The signature is of ")
    assert line.endswith("Training continues without reports.")


def test_a_reporter_whose_coordinator_is_away_keeps_nobody_waiting(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "FLUSH", 0.5)
    began = time.monotonic()
    with Reporter("http://127.0.0.1:9", here.world.coordinator, here.domain) as reporter:
        reporter.take(emitted("asked", round=1, nodes=[1]))
    assert time.monotonic() - began < 20
