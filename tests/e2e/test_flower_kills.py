# SPDX-License-Identifier: Apache-2.0
"""One training run through the deaths of everything that Flower starts; then all rounds are there, and audit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.federation import LocalFederation, Plan, prepare
from folkmoot.errors import CoordinatorError
from folkmoot.runtime.commands import run_folkmoot
from folkmoot.runtime.fault_points import VARIABLE
from folkmoot.runtime.processes import Child, Supervisor

ROUNDS = 5
FIRST = {
    # The relay is started by the SuperLink, ClientApps by the SuperNodes: they inherit what these are told.
    "superlink": ("relay.reply-taken", "relay.handed-in"),
    "train": ("cli.run-noted", "cli.run-started", "cli.relay-started"),
    "contributor-1": ("node.remembered",),
    "contributor-2": ("node.trained",),
    "contributor-3": ("node.signed",),
}
"""Where they die in the first round."""
LATER = {
    "superlink": ("relay.round-loaded", "relay.asked"),
    "contributor-1": ("node.base-checked",),
    "contributor-2": ("node.drafted",),
    "contributor-3": ("node.kept",),
}
"""Where they die after the second round: until then the file that spares them is there. Flower takes a minute to notice
the death of a ClientApp, and all in one round would take longer than its window."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(2000),
    # web3 keeps a session for each thread and leaves closing it to the end of the process.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


class Mortal(LocalFederation):
    """A federation whose processes die where they are told to, and are started again as an init system would."""

    node_words = ("--without-sandbox",)  # A fault point writes a file outside of the sandbox before it dies.

    def environment(self, name: str) -> dict[str, str]:
        points = FIRST.get(name, ()) + LATER.get(name, ())
        faults = ",".join(f"{point}@{self.plan.home / point}" for point in points)
        data = {"XDG_DATA_HOME": str(self.plan.home / "data")}
        return {**super().environment(name), **data, **({VARIABLE: faults} if faults else {})}

    def again(self, name: str) -> None:
        """Start a process again."""
        match name:
            case "superlink":
                self.start_superlink()
            case "train":
                self.start_training(ROUNDS)
            case _:
                share = f"{int(name[-1]) - 1}/{self.plan.contributors}"
                self._start_node(name, name, "--partition", share)

    def tend(self) -> list[str]:
        """Start again whatever was killed; return the names."""
        killed = [
            child for child in self.supervisor.children if not child.alive and child.process.returncode < 0
        ]
        for child in killed:
            self.supervisor.stop_one(child.name)
            self.again(child.name)
        return [child.name for child in killed]

    def child(self, name: str) -> Child:
        return next(child for child in self.supervisor.children if child.name == name)

    def kill(self, name: str) -> None:
        os.kill(self.child(name).pid, signal.SIGKILL)
        self.child(name).process.wait()


@pytest.fixture
def moot(tmp_path: Path) -> Iterator[Mortal]:
    plan = Plan(tmp_path / "moot", task="digits", contributors=3, rule="mean")
    with Supervisor(plan.logs) as supervisor:
        federation = Mortal(plan, supervisor)
        federation.start_chain()
        federation.start_superlink()
        prepare(plan, federation.rpc_url)
        federation.start_coordinator()
        federation.start_nodes()
        yield federation


def test_a_run_goes_through_the_death_of_each_process_and_nobody_does_anything(moot: Mortal) -> None:
    api = CoordinatorApi(moot.api_url)
    deaths: list[str] = []

    def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            deaths.extend(moot.tend())
            assert time.monotonic() < end, f"{what} did not happen; {deaths}; {moot.child('train').tail()}"
            time.sleep(0.2)

    def completed(rounds: int) -> bool:
        try:
            run = api.run()
        except CoordinatorError:
            return False
        return run is not None and run.completed >= rounds

    def died(faults: dict[str, tuple[str, ...]]) -> list[str]:
        marks = [moot.plan.home / point for points in faults.values() for point in points]
        return [mark.name for mark in marks if mark.exists()]

    for points in LATER.values():
        for point in points:
            (moot.plan.home / point).touch()
    moot.start_training(ROUNDS)
    until(lambda: completed(1), 420, "the first round")
    assert sorted(died(FIRST)) == sorted(point for points in FIRST.values() for point in points)
    moot.kill("superlink")  # with the relay, every node's registration and all messages
    until(lambda: completed(2), 300, "the round in which the SuperLink died")
    for point in died(LATER):
        (moot.plan.home / point).unlink()
    until(lambda: completed(4), 600, "the rounds of the later deaths")
    assert sorted(died(LATER)) == sorted(point for points in LATER.values() for point in points)
    moot.kill("train")  # its relay goes on without it
    until(lambda: completed(5), 240, "the round in which `train` died")
    until(lambda: not moot.child("train").alive and not moot.tend(), 240, "the end of `train`")

    assert moot.child("train").process.returncode == 0, moot.child("train").tail()
    run = api.run()
    assert run is not None
    assert (run.state, run.completed) == ("done", ROUNDS)
    people = {str(one["address"]) for one in api.items("/v1/contributors") if one["rounds"]}
    assert len(people) == moot.plan.contributors
    rounds = list(api.items("/v1/rounds"))
    assert sorted(found["round"] for found in rounds) == list(range(1, ROUNDS + 1)), (
        "no round was lost, no second run"
    )
    assert {found["run"] for found in rounds} == {run.id}
    for number in range(1, ROUNDS + 1):
        updates = list(api.items(f"/v1/rounds/{number}/updates"))
        assert {update["contributor"] for update in updates} == people
        assert len(updates) == len(people), "each contributor once"
        assert all(update["weight"] for update in updates)
    api.close()
    report = run_folkmoot(
        [
            *("audit", "--rpc", moot.rpc_url, "--deployment", moot.plan.deployment_file),
            *("--artifacts", moot.plan.artifacts),
        ]
    )
    assert report
