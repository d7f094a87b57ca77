# SPDX-License-Identifier: Apache-2.0
"""What `train` says of events, and its last look at a coordinator that is being restarted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from folkmoot.cli.live import View
from folkmoot.cli.progress import RunProgress
from folkmoot.coordinator_api import CoordinatorApi, Event, RunView
from folkmoot.errors import CoordinatorError
from server.commands import train as train_cli
from tests.unit.worlds import MANIFEST

ADA = "0x" + "ab" * 20
DONE = RunView("run", "done", 1, 1, 1, None)


@pytest.mark.parametrize(
    ("kind", "data", "line"),
    [
        (
            "node-answered",
            {"node": "7", "account": ADA, "seconds": 4.25},
            "round 3: node 7 (0xababab…) answered after 4.25 s",
        ),
        (
            "node-failed",
            {
                "node": "7",
                "account": None,
                "state": "failed",
                "code": "training-failed",
                "detail": "training raised KeyError.",
            },
            "round 3: node 7 failed (training-failed). Training raised KeyError. The traceback is in the log "
            "that `folkmoot join` names on that machine.",
        ),
        (
            "node-failed",
            {"node": "7", "account": ADA, "state": "refused", "code": "wrong-root", "detail": "another root"},
            "round 3: node 7 (0xababab…) was refused (wrong-root). Another root. "
            "For more, read the log that `folkmoot join` names on that machine.",
        ),
        ("round-reported", {"complete": True, "metrics": {"train": None}}, ""),
        ("round-not-measured", {"error": "It is gone."}, "round 3: its model was not measured. It is gone."),
        (
            "run-waiting",
            {
                "cancelled": 1,
                "message": "Waiting until 23:00:10 UTC for the next round: 1 round was cancelled.",
            },
            "Waiting until 23:00:10 UTC for the next round: 1 round was cancelled.",
        ),
        (
            "round-reported",
            {"complete": True, "metrics": {"train": {"loss": 0.25, "n": 3.0}, "server": {"accuracy": 0.5}}},
            "round 3: training: loss 0.25, n 3; server's evaluation: accuracy 0.5",
        ),
    ],
)
def test_a_line_a_node(kind: str, data: dict[str, Any], line: str) -> None:
    assert train_cli.describe(Event(1, kind, {"round": 3, **data})) == line


@pytest.mark.parametrize(
    ("wanted", "changes", "is_relay", "found"),
    [
        ("", {"task": "digits"}, True, ("digits", True)),
        ("", {"task": "digits"}, False, ("", True)),
        ("", {"task": "ward"}, True, ("", True)),
        ("", {"task": "digits", "training": {"privacy": {}}}, True, ("", False)),
        ("none", {"task": "digits"}, True, ("", True)),
        ("ward:task", {"task": "ward"}, False, ("ward:task", True)),
        ("ward:task", {"task": "ward", "training": {"privacy": {}}}, True, ("ward:task", False)),
    ],
)
def test_the_federations_own_task_is_measured_unless_its_records_may_be_secret(
    wanted: str, changes: dict[str, Any], is_relay: bool, found: tuple[str, bool]
) -> None:
    manifest = replace(MANIFEST, **changes)
    assert train_cli._measured_task(manifest, wanted, is_relay=is_relay) == found


class Coordinator:
    """Answers after some failures."""

    def __init__(self, *failures: CoordinatorError) -> None:
        self.failures = list(failures)

    def run(self, _: str) -> RunView:
        if self.failures:
            raise self.failures.pop(0)
        return DONE


def away(code: str = "coordinator-unreachable", **details: Any) -> CoordinatorError:
    return CoordinatorError("It is away.", code=code, details=details)


def test_the_last_look_outlives_a_restart() -> None:
    api = Coordinator(away(), away("rpc-unreachable", status=503))
    assert train_cli._ended(cast(CoordinatorApi, api), "run") == DONE
    assert not api.failures


def test_the_last_look_ends_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CoordinatorError) as refused:
        train_cli._ended(cast(CoordinatorApi, Coordinator(away("wrong", status=403))), "run")
    assert train_cli.AGAIN in refused.value.remedy
    monkeypatch.setattr(train_cli, "END_TIMEOUT", 0.1)
    with pytest.raises(CoordinatorError, match="It is away"):
        train_cli._ended(cast(CoordinatorApi, Coordinator(away())), "run")


def test_a_defect_of_the_display_is_not_swallowed() -> None:
    """It ended the thread that follows the run, and `train` said that all was done."""

    class Broken(View):
        def event(self, *_: object, **__: object) -> None:
            raise NameError("progress")

    run = RunView("1", "running", 2, 1, 1, None, waiting="The chain is away.")
    follower = train_cli._Follower("http://127.0.0.1:9", run, None, Broken(RunProgress(2)))
    follower.run()
    assert isinstance(follower.broken, NameError)


def test_an_interrupted_call_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), train_cli._explain_interrupt():
        raise KeyboardInterrupt
    assert capsys.readouterr().err.startswith(
        "Interrupted. Anchored rounds stay. The run has not ended: start"
    )
