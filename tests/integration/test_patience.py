# SPDX-License-Identifier: Apache-2.0
"""A run with patience waits while its rounds are cancelled, says so everywhere, and outlives kills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from folkmoot.cli.main import run as folkmoot
from folkmoot.coordinator_api import CoordinatorApi, RunView, sign_report, sign_run
from folkmoot.errors import CoordinatorError
from folkmoot.protocol.commitment import Domain
from folkmoot.runtime.processes import free_port
from tests import factories
from tests.integration.coordinator_world import Process, Running, make_home, open_round, running, train, until

HOUR = 3600
SLOW = {"server.rounds.patience.FIRST_PAUSE": HOUR, "server.rounds.patience.LONGEST_PAUSE": HOUR}
FAILED = {
    "node": "1",
    "account": None,
    "state": "failed",
    "code": "node-lost",
    "detail": "The connection to the node ended.",
    "seconds": None,
}


def fail(api: CoordinatorApi, world: factories.Federation, number: int) -> None:
    """Let a round be cancelled: the operator reports that its one node was lost."""
    open_round(api, number)
    content = {
        "round": number,
        "complete": True,
        "nodes": [FAILED],
        "metrics": dict.fromkeys(("train", "evaluate", "server")),
    }
    domain = Domain(world.deployment.chain_id, world.deployment.ledger)
    api.send_report(sign_report(content, world.coordinator, domain))
    until(lambda: api.get(f"/v1/rounds/{number}")["step"] == "cancelled", what=f"the end of round {number}")


def events(api: CoordinatorApi, kind: str) -> list[dict[str, Any]]:
    found, last = [], api.newest_event()
    for event in api.events(0):
        if event.type == kind:
            found.append(event.data)
        if event.id >= last:
            return found
    raise AssertionError("the stream ended")


def newest_round(api: CoordinatorApi) -> int:
    return int(api.get("/v1/rounds", limit=1)["items"][0]["round"])


def looked_again(here: Running) -> None:
    """Wait until the coordinator has had the time to do what it should not."""
    for _ in range(2):
        since = time.time()
        until(partial(_looked, here, since), what="another look")


def _looked(here: Running, since: float) -> bool:
    return here.worker.status.succeeded_time > since


@pytest.fixture
def slow(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    """A coordinator that waits for an hour after a cancelled round."""
    with running(tmp_path / "home", world, values=SLOW) as found:
        yield found


@pytest.fixture
def swift(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    """A coordinator with short pauses."""
    short = {"server.rounds.patience.FIRST_PAUSE": 0.01, "server.rounds.patience.LONGEST_PAUSE": 0.05}
    with running(tmp_path / "home", world, values=short) as found:
        yield found


def wait_begins(here: Running) -> RunView:
    run = here.api.start_run(2, 2, here.world.coordinator, here.domain, patience=8 * HOUR)
    assert (run.patience, run.waiting) == (8 * HOUR, None)
    fail(here.api, here.world, 1)
    return _waiting(here.api)


def _waiting(api: CoordinatorApi) -> RunView:
    found: RunView = until(lambda: (run := api.run()) and run.waiting and run, what="the pause")
    return found


def test_why_a_run_waits_is_said_everywhere_and_it_can_be_ended(slow: Running) -> None:
    run = wait_begins(slow)
    assert run.next_round_at is not None
    assert HOUR - 60 < run.next_round_at - time.time() <= HOUR + 1
    clock = time.strftime("%H:%M:%S", time.gmtime(run.next_round_at))
    assert run.waiting == f"Waiting until {clock} UTC for the next round: 1 round was cancelled."
    (event,) = events(slow.api, "run-waiting")
    assert event == {
        "run": run.id,
        "round": 1,
        "code": "cancelled-rounds",
        "cancelled": 1,
        "until": run.next_round_at,
        "message": run.waiting,
    }
    assert slow.api.get("/v1/runs/current")["nextRoundAt"] == run.next_round_at
    page = httpx.get(slow.api.url, headers={"Accept": "text/html"}, timeout=20).text
    assert str(run.waiting) in page
    looked_again(slow)
    assert newest_round(slow.api) == 1
    ended = slow.api.end_run(run.id, "Enough.", slow.world.coordinator, slow.domain)
    assert (ended.state, ended.waiting, ended.next_round_at) == ("failed", None, None)
    # The pause was that run's own.
    slow.api.start_run(1, 2, slow.world.coordinator, slow.domain)
    open_round(slow.api, 2)


@pytest.mark.long
def test_train_goes_on_with_a_run_that_waits(slow: Running, tmp_path: Path) -> None:
    run = wait_begins(slow)
    home = slow.coordinator.settings.home
    for more in ((), ("--json",)):  # the second one finds what the first one has noted
        with training(home, slow.api.url, tmp_path, "--patience", "60", *more) as following:
            until(partial(following.has, str(run.waiting)), what="the line")
        text = following.text()
        assert "A run is under way, 0 of 2 rounds are done: going on with it." in text or more
        assert "It keeps its patience of 28800 s." in text or more
    shown = [json.loads(line) for line in text.splitlines() if line.startswith('{"event": "run-waiting"')]
    assert [(one["message"], one["until"]) for one in shown] == [(run.waiting, run.next_round_at)]
    still = slow.api.run()
    assert still is not None
    assert (still.id, still.state) == (run.id, "running")


@dataclass
class Following:
    """A `folkmoot train` in a process of its own."""

    process: subprocess.Popen[bytes]
    said: Path

    def text(self) -> str:
        return self.said.read_text()

    def has(self, line: str) -> bool:
        return line in self.text()


@contextmanager
def training(home: Path, url: str, tmp_path: Path, *more: str) -> Iterator[Following]:
    """Run `folkmoot train` for the run that is under way, and kill it at the end."""
    words = [
        *(sys.executable, "-m", "folkmoot", "train", "--rounds", "2", "--expect", "2"),
        *("--coordinator", url, "--keystore", str(home / "key.json")),
        *("--password-file", str(home / "password"), *more),
    ]
    said = tmp_path / "said"
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
    with said.open("w") as file:
        process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            yield Following(process, said)
        finally:
            process.kill()
            process.wait()


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_killed_coordinator_goes_on_with_the_pause(world: factories.Federation, tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_home(home, world)
    process = Process(home, free_port(), SLOW)
    domain = Domain(world.deployment.chain_id, world.deployment.ledger)
    with CoordinatorApi(process.url) as api, ExitStack() as stack:
        try:
            process.start()
            until(lambda: _answers(api), what="the start")
            api.start_run(1, 2, world.coordinator, domain, patience=8 * HOUR)
            fail(api, world, 1)
            before = _waiting(api)
            following = stack.enter_context(training(home, process.url, tmp_path))
            until(lambda: str(before.waiting) in following.text(), what="the line")
            process.kill()
            until(lambda: "Trying again for 8h, or until it answers." in following.text(), what="the word")
            process.start()
            until(lambda: _answers(api), what="the restart")
            assert api.run() == before
            since = api.health()["chainTime"]
            world.anvil.advance(2 * HOUR)  # the wall decides, not the chain
            until(lambda: api.health()["chainTime"] >= since + 2 * HOUR, what="another look")
            assert (newest_round(api), api.run()) == (1, before)
            assert api.end_run(before.id, "Enough.", world.coordinator, domain).state == "failed"
            assert following.process.wait(timeout=60) == 1
            assert "The run failed. The operator ended it: Enough." in following.text()
        finally:
            process.kill()


def _answers(api: CoordinatorApi) -> bool:
    try:
        return bool(api.health()["status"] == "ok")
    except CoordinatorError:
        return False


def test_after_an_outage_the_run_goes_on_to_its_end(swift: Running) -> None:
    here = swift
    run = here.api.start_run(1, 2, here.world.coordinator, here.domain, patience=HOUR)
    for number in range(1, 6):
        fail(here.api, here.world, number)
    _, header, state = open_round(here.api, 6)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        here.api.submit_update(6, signed.wire, signed.data)
    until(lambda: (found := here.api.run()) and found.state == "done", what="the run's end")
    found = here.api.run(run.id)
    assert found is not None
    assert (found.completed, found.cancelled, found.waiting) == (1, 0, None)
    assert [event["cancelled"] for event in events(here.api, "run-waiting")] == [1, 2, 3, 4, 5]


@pytest.mark.long
def test_it_fails_when_the_patience_is_over_and_says_for_how_long_it_was_tried(swift: Running) -> None:
    here = swift
    run = here.api.start_run(1, 2, here.world.coordinator, here.domain, patience=3)
    number = 0
    while number < 3 or (found := here.api.run(run.id)) is None or found.state == "running":
        number += 1
        fail(here.api, here.world, number)
        if number >= 3:
            until(partial(_settled, here.api, number), what="the next round, or the end")
    assert found.error is not None
    assert found.error.startswith(f"{number} rounds in a row were cancelled, for ")
    assert " (the patience is 3s). 0 of at least 2 contributors committed an update." in found.error


def _settled(api: CoordinatorApi, number: int) -> bool:
    """Whether the run is over, or its next round is open."""
    run, current = api.run(), api.current_round()
    return (run is not None and run.state == "failed") or (current is not None and current.round > number)


def test_a_patience_that_nobody_signed_is_refused(here: Running) -> None:
    wish = sign_run(1, 2, here.world.coordinator, here.domain, patience=60)
    for patience, status, code in (
        (61, 403, "not-authorised"),
        (0, 403, "not-authorised"),
        (-1, 422, "invalid-request"),
        (30 * 86_400 + 1, 422, "invalid-request"),
        ("8h", 422, "invalid-request"),
    ):
        answer = httpx.post(f"{here.api.url}/v1/runs", json=wish | {"patience": patience})
        assert (answer.status_code, answer.json()["code"]) == (status, code), patience
    assert here.api.send_run(wish).patience == 60
    found = here.api.run()
    assert found is not None
    assert found.patience == 60


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("-1", "-1 is not in the range 0<=x<=2592000"),
        ("8h", "'8h' is not a valid int"),
        ("nan", "'nan' is not a valid int"),
        ("2592001", "2592001 is not in the range"),
    ],
)
def test_a_patience_that_is_none_gets_a_clear_error(
    value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert folkmoot(["train", "--rounds", "1", "--expect", "1", "--patience", value]) == 2
    error = capsys.readouterr().err
    assert "--patience" in error
    assert said in " ".join(error.replace("│", " ").split())
