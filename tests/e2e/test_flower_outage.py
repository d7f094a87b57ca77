# SPDX-License-Identifier: Apache-2.0
"""All nodes are gone for longer than three rounds, and the run goes on when they are back: real chain and Flower."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.federation import LocalFederation, Plan, prepare
from folkmoot.runtime.commands import folkmoot_command
from folkmoot.runtime.processes import Child, Supervisor
from folkmoot.sandbox.monitor import tree_of
from tests import fixed_values

NODES, ROUNDS = 2, 3
WINDOW = 8
"""Seconds of the commit window, after which a round without nodes is cancelled."""
LIMIT = 3
"""Cancelled rounds in a row after which a run without patience fails."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

TASK = """
import torch


class Task:
    name = "swift"
    training = {"local_steps": 1, "learning_rate": 0.1}

    def model(self):
        torch.manual_seed(0)
        return torch.nn.Linear(64, 8)

    def load(self, partition, partitions, seed):
        return partition

    def train(self, model, data, settings):
        with torch.no_grad():
            model.weight -= 0.01 * torch.randn_like(model.weight)  # the signer refuses an update of an earlier round
        return 10

    def evaluate(self, model):
        return {"accuracy": 0.5}


task = Task()
"""


class Moot(LocalFederation):
    """A federation whose nodes can be gone for a while."""

    def coordinator_program(self) -> list[str]:
        """Return the command of a coordinator whose pauses after cancelled rounds are short."""
        pauses = {"server.rounds.patience.FIRST_PAUSE": 0.5, "server.rounds.patience.LONGEST_PAUSE": 2}
        return [*fixed_values.command(pauses), "coordinator"]

    def kill(self, name: str) -> None:
        """Let nothing of a node be left, as if its machine were switched off."""
        child = self._child(name)
        os.kill(child.pid, signal.SIGKILL)
        child.process.wait()
        self.supervisor.stop_one(name)

    def start_again(self, name: str) -> None:
        """Start a node that was killed, with its folder."""
        self._start_node(name, name, "--partition", f"{self.plan.names().index(name)}/{NODES}")

    def signal_all(self, name: str, number: signal.Signals) -> None:
        """Send a signal to all processes of a node: SIGSTOP lets its machine sleep, SIGCONT wakes it."""
        for pid in tree_of(self._child(name).pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _child(self, name: str) -> Child:
        return next(child for child in self.supervisor.children if child.name == name)


@pytest.fixture
def moot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moot]:
    (tmp_path / "swift.py").write_text(TASK)
    monkeypatch.chdir(tmp_path)  # the task is found in the current folder, as a user has it
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    # By the clock, the window may be short. The task does not take all of it.
    plan = Plan(
        tmp_path / "moot",
        task="swift:task",
        contributors=NODES,
        rule="mean",
        clock=True,
        commit_window=WINDOW,
    )
    with Supervisor(plan.logs) as supervisor:
        federation = Moot(plan, supervisor)
        federation.start_superlink()
        federation.start_chain()
        prepare(plan, federation.rpc_url)
        federation.start_coordinator()
        federation.start_nodes()
        yield federation


def test_a_run_outlives_an_outage_of_all_nodes(moot: Moot, tmp_path: Path) -> None:
    plan = moot.plan
    words = folkmoot_command(
        *("train", "--rounds", str(ROUNDS), "--expect", str(NODES), "--patience", "1800", "--json"),
        *("--coordinator", moot.api_url, "--superlink", moot.superlink),
        *("--keystore", plan.keystore("coordinator"), "--password-file", plan.password_file),
    )
    said = tmp_path / "said"
    with said.open("w") as file, CoordinatorApi(moot.api_url) as api:
        process = subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, env=moot.environment("train")
        )
        try:

            def until(condition: Callable[[], Any], seconds: float, what: str) -> None:
                end = time.monotonic() + seconds
                while not condition():
                    assert process.poll() is None or what == "the end", said.read_text()
                    assert time.monotonic() < end, f"{what} did not happen: {said.read_text()}"
                    time.sleep(0.2)

            def completed() -> int:
                run = api.run()
                return 0 if run is None else run.completed

            until(lambda: completed() >= 1, 240, "the first round")
            switched_off, asleep = plan.names()
            moot.kill(switched_off)
            moot.signal_all(asleep, signal.SIGSTOP)
            done = completed()
            until(lambda: (run := api.run()) and run.cancelled >= LIMIT, 240, "the outage")
            run = api.run()
            assert run is not None
            assert (run.state, run.patience) == ("running", 1800)
            assert completed() <= done + 1, "one may have been under way"
            moot.start_again(switched_off)
            moot.signal_all(asleep, signal.SIGCONT)
            until(lambda: process.poll() is not None, 240, "the end")
        finally:
            moot.signal_all(plan.names()[1], signal.SIGCONT)
            process.kill()
            process.wait()
        assert process.returncode == 0, said.read_text()
        run = api.run()
        assert run is not None
        assert (run.state, run.completed, run.cancelled) == ("done", ROUNDS, 0)
    lines = [json.loads(line) for line in said.read_text().splitlines() if line.startswith('{"event"')]
    waiting = [line["message"] for line in lines if line["event"] == "run-waiting"]
    assert any(
        text.endswith(f" UTC for the next round: {LIMIT} rounds in a row were cancelled.") for text in waiting
    )
