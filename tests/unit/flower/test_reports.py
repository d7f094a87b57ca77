# SPDX-License-Identifier: Apache-2.0
"""The relay logs what has become of every node, once, in a form that no node can forge."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import MOST_DETAIL, plain
from folkmoot.flower import FolkmootStrategy, folkmoot_mod
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.relay import reports
from folkmoot.flower.relay.reports import Progress, Report
from folkmoot.flower.signing import LocalSigner
from tests.unit.flower.conftest import MANIFEST, MODEL
from tests.unit.flower.grid import LocalGrid, number
from tests.unit.flower.test_strategy import QUICK, app
from tests.unit.flower.world import World, account

Join = Callable[..., Contributor]


def logged(caplog: pytest.LogCaptureFixture) -> list[Report]:
    return [found for message in caplog.messages if (found := reports.parse(message))]


def kinds(found: Iterable[Report]) -> list[str]:
    return [report.kind for report in found]


RAISE = '        raise error or RuntimeError("patient 17 has no age")'


def raising(name: str, error: Exception | None = None) -> ClientApp:
    made = ClientApp(mods=[folkmoot_mod(signer=LocalSigner(account(name)))])

    @made.train()
    def train(message: Message, context: Context) -> Message:
        raise error or RuntimeError("patient 17 has no age")

    return made


def test_a_line_is_read_as_it_was_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reports.emit(
        reports.FAILED, round=3, node=2**63, code="training-failed", detail="it\nraised\x1b[1m \u2028x"
    )
    (line,) = caplog.messages
    assert "\n" not in line
    for written in (line, f"INFO :      {line}\n"):
        assert reports.parse(written) == Report(
            "failed", 3, {"node": 2**63, "code": "training-failed", "detail": "it raised [1m x"}
        )
    with pytest.raises(ValueError, match="has the fields"):
        reports.emit(reports.FAILED, round=3)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "folkmoot-report",
        "folkmoot-report {",
        'folkmoot-report {"kind":"failed"}',
        'folkmoot-report {"kind":"failed","round":"1","node":1,"code":"a","detail":""}',
        'folkmoot-report {"kind":"asked","round":1,"nodes":["a"]}',
        'WARNING :  Node 7: x folkmoot-report {"answered":1,"failed":0,"kind":"complete","refused":0,"round":1}',
    ],
)
def test_what_is_no_report(line: str) -> None:
    assert reports.parse(line) is None


@given(st.text())
def test_any_line_can_be_read(text: str) -> None:
    reports.parse(f"folkmoot-report {{{text}}}")
    assert "\n" not in plain(text)
    assert len(plain(text)) <= MOST_DETAIL


def test_numbers_of_metrics() -> None:
    given_ = {"loss": 1, "nan": float("nan"), "flag": True, "text": "x", "list": [1.0]}
    assert reports.numbers(given_) == {"loss": 1.0}
    assert reports.numbers({}) is None
    assert len(reports.numbers({str(n): n for n in range(1000)}) or {}) == reports.MOST_METRICS


def test_a_round_is_complete_when_all_have_spoken(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    progress = Progress(4, expected=3, timeout=1000)
    progress.look()
    progress.asked([1, 2])
    progress.answered(1, "0xa")
    progress.failed(2, "training-failed", "training raised ValueError.")
    progress.look()  # a third is expected and may still be starting
    progress.asked([3])
    progress.look()
    progress.refused(3, None, "wrong-root", "It has another root.")
    progress.look()
    progress.look()
    found = logged(caplog)
    assert kinds(found) == ["asked", "answered", "failed", "asked", "refused", "complete"]
    assert found[-1].values == {"answered": 1, "refused": 1, "failed": 1}
    # The failed one comes back, and one that has answered is not asked for its progress again.
    progress.asked([1, 2])
    progress.look()
    progress.answered(2, "0xb")
    progress.look()
    later = logged(caplog)[len(found) :]
    assert kinds(later) == ["asked", "answered", "complete"]
    assert later[0].values == {"nodes": [2]}
    assert later[-1].values == {"answered": 2, "refused": 1, "failed": 0}


def test_nobody_waits_for_ever_for_nodes_that_never_came(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    progress = Progress(4, expected=3, timeout=-1)
    progress.look()
    progress.asked([1])
    progress.answered(1, "0xa")
    progress.look()
    assert kinds(logged(caplog)) == ["asked", "answered", "complete"]


def test_the_relay_tells_of_every_node(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with World(MANIFEST, dict(MODEL), expect=3, rounds=1) as world:
        grid = LocalGrid()
        grid.on_push = world.close_round  # Everybody has been asked.
        bad = grid.add(raising("ada"), join(world, "ada"))
        good = [grid.add(app(name), join(world, name)) for name in ("ben", "cleo")]
        FolkmootStrategy(world.url, pacing=QUICK).start(grid=grid, initial_arrays=ArrayRecord())
    found = logged(caplog)
    assert sorted(kinds(found)) == ["answered", "answered", "asked", "complete", "failed", "metrics"]
    (failed,) = (report for report in found if report.kind == "failed")
    raises = Path(__file__).read_text().splitlines().index(RAISE) + 1
    assert failed.values == {
        "node": bad,
        "code": "training-failed",
        "detail": f"training raised RuntimeError at test_reports.py, line {raises}.",
    }
    answered = {
        report.values["node"]: report.values["account"] for report in found if report.kind == "answered"
    }
    assert answered == dict(zip(good, (account("ben").address, account("cleo").address), strict=True))
    assert next(r for r in found if r.kind == "metrics").values["train"]["loss"] == pytest.approx(0.1)
    assert not any("patient 17" in str(report.values) for report in found)


def test_a_node_cannot_write_a_report_in_another_ones_name(
    join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    forged = 'x\nfolkmoot-report {"answered":1,"failed":0,"kind":"complete","refused":0,"round":1}'
    liar = ClientApp()

    @liar.train()
    def train(message: Message, context: Context) -> Message:
        return Message(Error(ErrorCode.MOD_FAILED_PRECONDITION, forged), reply_to=message)

    caplog.set_level(logging.INFO)
    with World(MANIFEST, dict(MODEL), expect=1, rounds=1) as world:
        grid = LocalGrid()
        grid.add(liar, None)
        grid.add(app("ben"), join(world, "ben"))
        FolkmootStrategy(world.url, pacing=QUICK).start(grid=grid, initial_arrays=ArrayRecord())
    lines = [line for message in caplog.messages for line in message.splitlines()]
    found = [report for line in lines if (report := reports.parse(line))]
    assert [report.values.get("code") for report in found if report.kind == "failed"] == ["node-failed"]
    (complete,) = (report for report in found if report.kind == "complete")
    assert complete.values == {"answered": 1, "refused": 0, "failed": 1}


def test_nor_by_the_reason_of_a_failed_evaluation(caplog: pytest.LogCaptureFixture, world: World) -> None:
    reply = Message(
        Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, f"x\n{reports.MARK} {{}}"),
        reply_to=number(Message(RecordDict(), 7, "evaluate"), "asked"),
    )
    FolkmootStrategy(world.url, pacing=QUICK).aggregate_evaluate(1, [reply])
    assert [line for line in caplog.text.splitlines() if line.startswith(reports.MARK)] == []


def test_a_node_that_is_gone_is_not_waited_for_and_may_come_back(
    join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    """Its process is killed and it leaves; it is failed for good, then it is back and its update counts."""
    caplog.set_level(logging.INFO)

    class Leaving(LocalGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            identifiers = list(super().push_messages(messages))
            for message in self.sent[-len(identifiers) :]:
                if message.metadata.dst_node_id == unlucky and unlucky not in gone:
                    gone[unlucky] = self.nodes.pop(unlucky)
                    lost = Message(Error(ErrorCode.NODE_UNAVAILABLE, "gone"), reply_to=message)
                    self.replies[str(message.metadata.message_id)] = lost
            return identifiers

        def get_node_ids(self) -> Iterable[int]:
            if any(report.kind == "failed" for report in logged(caplog)):
                self.nodes |= gone
            return super().get_node_ids()

    gone: dict[int, Any] = {}
    with World(MANIFEST, dict(MODEL), expect=2, rounds=1) as world:
        grid = Leaving()
        grid.add(app("ada"), join(world, "ada"))
        unlucky = grid.add(app("ben"), join(world, "ben"))
        grid.reaches = lambda message: message.metadata.dst_node_id != unlucky or unlucky in gone
        FolkmootStrategy(world.url, pacing=replace(QUICK, silence=0.05)).start(
            grid=grid, initial_arrays=ArrayRecord()
        )
    assert len(world.rounds[-1].updates) == 2
    of_unlucky = [report for report in logged(caplog) if report.values.get("node") == unlucky]
    assert [(r.kind, r.values.get("code")) for r in of_unlucky] == [
        ("failed", "node-lost"),
        ("answered", None),
    ]


def test_a_cancelled_round_is_none_of_num_rounds(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=9) as world:
        grid = LocalGrid()
        grid.add(raising("ada"), join(world, "ada"))

        def cancel() -> None:
            if len(world.rounds) == 2:
                world.cancel_round()
                grid.nodes[100] = (app("ada"), grid.nodes[100][1])

        grid.on_push = cancel
        carrier = FolkmootStrategy(world.url, pacing=QUICK)
        carrier.start(grid=grid, initial_arrays=ArrayRecord(), num_rounds=2)
    assert [report.round for report in carrier.reports] == [1, 2, 3]
    assert [len(report.accepted) for report in carrier.reports] == [0, 1, 1]
