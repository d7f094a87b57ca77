# SPDX-License-Identifier: Apache-2.0
"""A run that stands still says why and what ends it, everywhere, and goes on by itself. Nobody moves its clock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from folkmoot.cli.main import run as folkmoot
from folkmoot.coordinator_api import sign_run
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ChainError, CoordinatorError
from folkmoot.runtime.units import UNIT, format_amount
from tests import factories
from tests.integration.coordinator_world import (
    Running,
    federation,
    make_home,
    open_round,
    running,
    serving,
    train,
    until,
)

BOND = factories.BOND
"""The policy's bond is the coordinator's whole stake: one round at a time."""
PEOPLE = ("ada", "ben")
CHALLENGES = 1_800


def small(anvil: Anvil, **policy: Any) -> factories.Federation:
    """Return a federation of few people, whose rounds end as soon as these have committed."""
    world = federation(anvil, challenge_window=CHALLENGES, **policy)
    for name in factories.CONTRIBUTORS:
        if name not in PEOPLE:
            world.chain.send(world.chain.ledger.functions.leave(), world[name])
    return world


@pytest.fixture
def few(anvil: Anvil) -> Iterator[factories.Federation]:
    world = small(anvil, bond=BOND)
    yield world
    world.chain.close()


@pytest.fixture
def poor(few: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    """A coordinator whose stake is enough for one bond."""
    with running(tmp_path / "home", few, time_travel=False) as found:
        yield found


def contribute(here: Running, number: int) -> None:
    _, header, state = open_round(here.api, number)
    for name in PEOPLE:
        signed = train(here.world, name, header, state)
        here.api.submit_update(number, signed.wire, signed.data)


def stalled(here: Running, code: str) -> dict[str, Any]:
    """Wait until the run waits for this, and return the reason."""

    def first() -> dict[str, Any] | None:
        waits: list[dict[str, Any]] = here.api.get("/v1/runs/current")["waits"]
        return waits[0] if waits and waits[0]["code"] == code else None

    found: dict[str, Any] = until(first, what=code)
    return found


def told_everywhere(here: Running, reason: dict[str, Any]) -> None:
    """Look for a reason in the API, on the page, in health and in the events."""
    said = f"{reason['message']} {reason['remedy']}".strip()
    run = here.api.run()
    assert run is not None
    assert (run.state, run.waiting) == ("running", said)
    assert here.api.get("/v1/runs/current")["waiting"] == said
    assert said in here.api.health()["warnings"]
    page = httpx.get(here.api.url, headers={"Accept": "text/html"}, timeout=20).text
    assert reason["message"].replace("'", "&#39;") in page or reason["message"] in page
    until(lambda: said in [event["message"] for event in events(here, "run-waiting")], what="the event")


def events(here: Running, kind: str) -> list[dict[str, Any]]:
    found, newest = [], here.api.newest_event()
    for event in here.api.events(0):
        if event.type == kind:
            found.append(event.data)
        if event.id >= newest:
            break
    return found


def test_a_locked_bond_is_told_and_more_stake_ends_the_wait(
    poor: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    poor.api.start_run(3, 2, poor.world.coordinator, poor.domain)
    contribute(poor, 1)
    reason = stalled(poor, "bond-locked")
    view = poor.world.chain.ledger.round(1)
    assert (reason["until"], reason["round"]) == (view.challenge_deadline, None)
    assert reason["message"].startswith(
        f"The next round can't open: a round needs a bond of {format_amount(BOND)}, and of the coordinator's stake of "
        f"{format_amount(BOND)}, {format_amount(BOND)} are locked as bonds. Round 1 is final at the earliest at "
    )
    assert f"`folkmoot enrol --only-stake {BOND // UNIT} --keystore ...`" in reason["remedy"]
    told_everywhere(poor, reason)
    assert poor.api.get("/v1/rounds/1")["waiting"].startswith("Round 1 can be challenged until ")
    place = [
        "--rpc",
        poor.world.anvil.url,
        "--deployment",
        str(poor.coordinator.settings.home / "deployment.json"),
    ]
    assert folkmoot(["status", "--json", "--coordinator", poor.api.url, *place]) == 0
    assert json.loads(capsys.readouterr().out)["waiting"] == f"{reason['message']} {reason['remedy']}"
    (event,) = events(poor, "run-waiting")
    assert 0 < event["secondsLeft"] <= CHALLENGES

    factories.stake(poor.world.chain, poor.world.coordinator, BOND)
    contribute(poor, 2)
    stalled(poor, "bond-locked")
    poor.world.anvil.advance(CHALLENGES + 1)  # the first round is final, and frees its bond
    contribute(poor, 3)
    run = until(lambda: (run := poor.api.run()) and run.state == "done" and run, what="the run's end")
    assert (run.completed, run.waiting) == (3, None)


def staked(world: factories.Federation) -> bool:
    """Stake again, unless the coordinator has just taken the nonce: the remedy of that error is to try again."""
    try:
        factories.stake(world.chain, world.coordinator, BOND - UNIT)
    except ChainError as error:
        if error.code != "nonce-taken":
            raise
        return False
    return True


def test_a_stake_that_ends_in_the_middle_of_a_run_stops_it_until_it_is_back(
    few: factories.Federation, tmp_path: Path
) -> None:
    world = few
    settings = make_home(tmp_path / "home", world, time_travel=False)
    with serving(settings, world) as here:
        run = here.api.start_run(2, 2, world.coordinator, here.domain)
        contribute(here, 1)
        stalled(here, "bond-locked")
    world.anvil.advance(CHALLENGES + 1)
    world.chain.send(world.chain.ledger.functions.finalize(1), world.coordinator)
    world.chain.send(world.chain.vault.functions.requestUnbond(BOND - UNIT), world.coordinator)
    with serving(settings, world) as here:
        reason = stalled(here, "bond-too-low")
        assert reason["remedy"] == (
            f"The run goes on once {format_amount(BOND - UNIT)} more are at stake: `folkmoot enrol --only-stake "
            f"{BOND // UNIT - 1} --keystore ...` with the coordinator's key."
        )
        told_everywhere(here, reason)
        until(lambda: staked(world), what="the stake beside the coordinator's own transactions")
        contribute(here, 2)
        until(lambda: here.api.get(f"/v1/runs/{run.id}")["state"] == "done", what="the run's end")


def test_what_a_run_needs_is_told_before_it_starts(poor: Running) -> None:
    """The policy's windows are of half an hour: three rounds with one bond stand still for one hour."""
    until(lambda: poor.api.health()["chainLag"] == 0, what="the reading of who is enrolled")
    bond, *others = poor.api.needs(3, 2)
    assert (bond["check"], bond["state"]) == ("coordinator's bond", "failed")
    assert bond["text"] == (
        "3 rounds lock 1500 MOOT, each 500 MOOT until its challenge window of 30m is over. The coordinator has "
        "500 MOOT free: enough for 1 round. A run of 3 rounds stands still for about 1h."
    )
    assert bond["remedy"].startswith(
        "Stake 1000 MOOT more: `folkmoot enrol --only-stake 1000` with the key of 0x"
    )
    assert {line["check"]: line["state"] for line in others} == {
        "gas money": "ok",
        "pending rounds": "ok",
        "contributors": "ok",
    }
    assert poor.api.needs(2, 2)[0]["state"] == "ok", "half an hour is told while it passes"
    assert poor.api.needs(1, 9)[-1]["text"].startswith(
        "A round waits for 9 updates (--expect), and 2 accounts are enrolled: it lasts until"
    )
    (contributors,) = [line for line in poor.api.needs(1, 33) if line["check"] == "contributors"]
    assert contributors["text"] == (
        "A round waits for 33 updates (--expect), and the policy takes 2 to 32: each round lasts until the end of its "
        "commit window."
    )


def test_train_refuses_a_run_that_would_stand_still(
    poor: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    home = poor.coordinator.settings.home
    words = ["train", "--rounds", "3", "--expect", "2", "--coordinator", poor.api.url]
    words += ["--keystore", str(home / "key.json"), "--password-file", str(home / "password")]
    assert folkmoot(words) == 1
    said = capsys.readouterr().err
    assert "A run of 3 rounds stands still for about 1h." in said
    assert "Or start it all the same with --anyway" in said
    assert poor.api.run() is None


def test_a_run_that_waits_for_nodes_is_a_run_everywhere_and_opens_no_round(poor: Running) -> None:
    run = poor.api.send_run(sign_run(1, 2, poor.world.coordinator, poor.domain, wait=600))
    reason = stalled(poor, "nodes")
    assert reason["message"].startswith(
        "Waiting for 2 nodes to connect: the first round opens once they are there, at "
    )
    assert reason["remedy"] == "Start nodes with `folkmoot join`."
    assert not reason["normal"]
    assert 590 <= reason["until"] - time.time() <= 601
    page = httpx.get(poor.api.url, headers={"Accept": "text/html"}).text
    assert "Waiting for 2 nodes to connect" in page
    assert "for the operator to start a run" not in page
    assert poor.api.get("/v1/runs/current")["nextRoundAt"] == reason["until"]
    assert poor.api.get("/v1/rounds")["items"] == []

    assert poor.api.begin_run(run.id, poor.world.coordinator, poor.domain).next_round_at is None
    open_round(poor.api, 1)
    again = poor.api.begin_run(run.id, poor.world.coordinator, poor.domain)
    assert (again.state, again.next_round_at) == ("running", None)


def test_nobody_else_ends_the_wait_and_it_ends_by_itself(poor: Running) -> None:
    run = poor.api.send_run(sign_run(1, 2, poor.world.coordinator, poor.domain, wait=4))
    with pytest.raises(CoordinatorError) as refused:
        poor.api.begin_run(run.id, poor.world["ada"], poor.domain)
    assert refused.value.code == "not-authorised"
    with pytest.raises(CoordinatorError) as unknown:
        poor.api.begin_run("0" * 32, poor.world.coordinator, poor.domain)
    assert unknown.value.code == "unknown-run"
    assert poor.api.get("/v1/rounds")["items"] == []
    open_round(poor.api, 1)


def test_train_ends_its_run_if_no_node_comes(
    few: factories.Federation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("server.relay.flower_run.online_nodes", lambda _: 0)
    monkeypatch.setattr("folkmoot.runtime.superlink.SuperLink.check", lambda _: None)
    with running(tmp_path / "home", few, time_travel=False) as here:
        home = here.coordinator.settings.home
        words = ["train", "--rounds", "1", "--expect", "2", "--wait", "1", "--coordinator", here.api.url]
        words += ["--keystore", str(home / "key.json"), "--password-file", str(home / "password")]
        assert folkmoot([*words, "--superlink", "127.0.0.1:1", "--insecure"]) == 1
        said = capsys.readouterr().err
        assert "Waiting for nodes: 0 of 2 are connected." in said
        assert "No node is connected after 1 s, so the run does not begin." in said
        run = here.api.run()
        assert run is not None
        assert run.state == "failed"
        assert "No node is connected after 1 s" in str(run.error)
        assert here.api.get("/v1/rounds")["items"] == []
        assert folkmoot([*words, "--superlink", "127.0.0.1:1", "--insecure"]) == 1, (
            "another run, not the ended one"
        )
        assert "No node is connected after 1 s" in capsys.readouterr().err


def test_the_interval_of_the_policy_is_told_and_no_opening_is_tried_before(
    anvil: Anvil, tmp_path: Path
) -> None:
    world, interval = small(anvil, interval=900), 900
    with running(tmp_path / "home", world, time_travel=False) as here:
        here.api.start_run(2, 2, world.coordinator, here.domain)
        contribute(here, 1)
        reason = stalled(here, "interval")
        opened = world.chain.ledger.round(1).opened_at
        assert (reason["until"], reason["remedy"]) == (opened + interval, "")
        assert "interval from one opening to the next is 15m, and round 1 was opened at" in reason["message"]
        told_everywhere(here, reason)
        codes = [event.get("code") for event in events(here, "run-waiting")]
        assert "opening-refused" not in codes
        anvil.advance(interval)
        contribute(here, 2)
        until(lambda: (run := here.api.run()) and run.state == "done", what="the run's end")
        assert world.chain.ledger.round(2).opened_at >= opened + interval
    world.chain.close()
