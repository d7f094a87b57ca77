# SPDX-License-Identifier: Apache-2.0
"""Nodes whose training raises, with a real chain, SuperLink and SuperNodes: nobody waits, and everybody is told why."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.federation import LocalFederation, Plan, prepare
from folkmoot.flower.relay.reports import NODE_LOG
from folkmoot.runtime.commands import folkmoot_command
from folkmoot.runtime.processes import ENDING, Supervisor
from tests.e2e.test_demo import processes_of

NODES = 3
WINDOW = 600
"""Seconds of the demo profile's commit window: what a round took when nobody saw that its nodes had failed."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

TASK = """
import os
from pathlib import Path

import torch


class Task:
    name = "raises"
    training = {"local_steps": 1, "learning_rate": 0.1}

    def model(self):
        torch.manual_seed(0)
        return torch.nn.Linear(4, 2)

    def load(self, partition, partitions, seed):
        return partition

    def train(self, model, data, settings):
        if str(data) in Path(os.environ["FAILING"]).read_text().split():
            raise RuntimeError(f"patient {data} has no age")
        with torch.no_grad():
            model.weight -= 0.01
        return 10

    def evaluate(self, model):
        return {"accuracy": 0.5}


task = Task()
"""
LINE = TASK[: TASK.index("raise RuntimeError")].count("\n") + 1
RAISED = f"training raised RuntimeError at raising.py, line {LINE}."


class Scene:
    """A federation of three nodes; `failing` says whose training raises."""

    def __init__(self, federation: LocalFederation, failing: Path) -> None:
        self.federation = federation
        self.api = CoordinatorApi(federation.api_url)
        self._failing = failing

    def words(self, rounds: int) -> list[str]:
        plan = self.federation.plan
        return folkmoot_command(
            *("train", "--rounds", str(rounds), "--expect", str(NODES), "--json"),
            *("--coordinator", self.federation.api_url, "--superlink", self.federation.superlink),
            *("--keystore", plan.keystore("coordinator"), "--password-file", plan.password_file),
        )

    def train(self, *failing: int, rounds: int = 1) -> tuple[subprocess.CompletedProcess[str], float]:
        """Run `folkmoot train`; return how it ended and how many seconds it took."""
        self._failing.write_text(" ".join(str(number) for number in failing))
        began = time.monotonic()
        ended = subprocess.run(
            self.words(rounds),
            env=self.federation.environment("train"),
            capture_output=True,
            text=True,
            timeout=WINDOW,
            check=False,
        )
        return ended, time.monotonic() - began


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("failures")
    (root / "raising.py").write_text(TASK)
    plan = Plan(root / "federation", task="raising:task", contributors=NODES, rule="mean")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # the task is found in the current folder, as a user has it
        patch.setenv("FAILING", str(root / "failing"))
        patch.setenv("XDG_DATA_HOME", str(root / "data"))
        (root / "failing").write_text("")
        with Supervisor(plan.logs) as supervisor:
            federation = LocalFederation(plan, supervisor)
            federation.node_words = ("--set", "pass-env=FAILING", "--data", root / "failing")
            federation.start_superlink()
            federation.start_chain()
            prepare(plan, federation.rpc_url)
            federation.start_coordinator()
            federation.start_nodes()
            made = Scene(federation, root / "failing")
            yield made
            made.api.close()


def events(output: str, kind: str) -> list[dict[str, Any]]:
    found = []
    for line in output.splitlines():
        if line.startswith('{"event"'):
            event = json.loads(line)
            if event["event"] == kind:
                found.append(event)
    return found


def relays(home: Path) -> list[str]:
    return [line for line in processes_of(home) if "flwr-serverapp" in line or "flwr run" in line]


def test_a_call_that_a_signal_ends_leaves_nothing_running(scene: Scene) -> None:
    plan, how = scene.federation.plan, random.choice(ENDING)  # noqa: S311  a search
    process = subprocess.Popen(
        scene.words(2),
        env=scene.federation.environment("train"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        end = time.monotonic() + WINDOW
        while not any("flwr-serverapp" in line for line in relays(plan.home)) and time.monotonic() < end:
            time.sleep(0.1)
        assert relays(plan.home)
        process.send_signal(how)
        said = process.communicate(timeout=WINDOW)[0]
    assert process.returncode == 130, f"{how!r}: {said}"
    assert "Traceback" not in said
    while relays(plan.home) and time.monotonic() < end:
        time.sleep(0.1)
    assert relays(plan.home) == []
    ended, _ = scene.train(rounds=2)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert events(ended.stdout, "run-done")


def test_one_node_fails_and_the_round_goes_on_without_it(scene: Scene) -> None:
    ended, seconds = scene.train(2)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert seconds < WINDOW / 2
    (failed,) = events(ended.stdout, "node-failed")
    number = failed["round"]
    assert failed["code"] == "training-failed"
    assert failed["detail"] == RAISED
    assert len(events(ended.stdout, "node-answered")) == 2
    assert "patient" not in ended.stdout + ended.stderr
    view = scene.api.get(f"/v1/rounds/{number}")
    assert (view["phase"], view["entries"]) == ("final", 2)
    report = scene.api.round_report(number)
    assert report is not None
    assert report["complete"]
    assert sorted(node["state"] for node in report["nodes"]) == ["answered", "answered", "failed"]
    # Its own machine is told more, with the log that has the traceback.
    log = scene.federation.plan.node_home("contributor-3") / "logs" / "supernode.log"
    joined = (scene.federation.plan.logs / "contributor-3.log").read_text()
    wanted = f"Refused: {RAISED} RuntimeError: patient 2 has no age. The traceback is in {log}."
    assert wanted in joined
    assert "Traceback (most recent call last)" in log.read_text()
    steps = (
        "Checking the chain at ",
        "the SuperLink at ",
        "Checking that the task raising:task",
        "Checking the base model, ",
    )
    places = [joined.index(step) for step in (*steps, "Starting the node in ", "waits for the next round")]
    assert places == sorted(places)


def test_all_nodes_fail_and_the_run_ends_within_a_minute(scene: Scene) -> None:
    ended, seconds = scene.train(0, 1, 2, rounds=2)
    assert ended.returncode == 1
    error = json.loads(ended.stdout[ended.stdout.rindex('{\n  "error"') :])["error"]
    assert error["code"] == "run-failed"
    assert "3 rounds in a row were cancelled." in error["message"]
    assert f"3 nodes failed (training-failed). T{RAISED[1:]}" in error["message"]
    assert NODE_LOG in error["message"]
    assert len(events(ended.stdout, "node-failed")) == 9
    assert seconds < 60 * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
    # And when they are well again, so is the federation.
    ended, _ = scene.train()
    assert ended.returncode == 0, ended.stdout + ended.stderr
