# SPDX-License-Identifier: Apache-2.0
"""A coordinator whose store or database is elsewhere, and goes away in the middle of a round: nothing is lost, and it
goes on by itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from folkmoot.artifacts import s3 as s3_module
from folkmoot.artifacts.s3 import S3Store
from folkmoot.artifacts.sources import CoordinatorSource
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import CoordinatorError, DatabaseError, StoreError
from server.coordinator import open_coordinator
from server.home import open_account
from server.rounds import runs
from server.rounds.inputs import read_base
from tests import factories, postgres, s3
from tests.integration.coordinator_world import (
    Running,
    make_home,
    open_round,
    running,
    serving,
    train,
    until,
)
from tests.line import Line


def step_of(here: Running, number: int) -> str:
    return str(here.api.get(f"/v1/rounds/{number}")["step"])


def start(here: Running, rounds: int, expect: int) -> None:
    here.api.start_run(rounds, expect, here.world.coordinator, here.domain)


@pytest.mark.long
def test_a_store_that_is_away_when_a_round_should_open_ends_no_run(
    world: factories.Federation, anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = [DatabaseError("It restarts."), StoreError("It restarts.")]

    def restarting(*arguments: Any) -> Any:
        if away:
            raise away.pop()
        return read_base(*arguments)

    monkeypatch.setattr(runs, "read_base", restarting)
    with running(tmp_path / "home", world) as here:
        start(here, 1, 2)
        open_round(here.api, 1)
    assert not away


@pytest.mark.long
def test_a_run_waits_for_a_base_that_is_damaged_and_goes_on_when_it_is_repaired(
    world: factories.Federation, tmp_path: Path
) -> None:
    with running(tmp_path / "home", world) as here:
        store = here.coordinator.storage.store
        state = here.coordinator.federation.genesis.state
        good = store.read(state)
        store.path(state).write_bytes(good[:100])
        start(here, 1, 2)
        error = until(lambda: here.worker.status.error, what="the worker's complaint")
        assert f"{state} at {store.location} is not the one that its name promises" in error
        run = here.api.run()
        assert run is not None
        assert (run.state, here.api.current_round()) == ("running", None)

        assert store.put(good).sha256 == state
        open_round(here.api, 1)


@pytest.mark.long
def test_round_in_a_bucket_survives_its_absence(
    world: factories.Federation, anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "ATTEMPTS", 1)
    monkeypatch.setattr(s3_module, "PROBE_SECONDS", 0.0)
    s3.use_keys(monkeypatch)
    with s3.moto(tmp_path / "log") as server:
        server.make_bucket("federation")
        line = Line(server.port)
        place: dict[str, Any] = {"store": "s3://federation/ours", "store_endpoint": line.url}
        with running(tmp_path / "home", world, **place, store_region=s3.REGION) as here:
            store = here.coordinator.storage.store
            assert isinstance(store, S3Store)
            start(here, 1, 2)
            _, header, state = open_round(here.api, 1)
            first, second = (train(here.world, name, header, state) for name in ("ada", "ben"))
            here.api.submit_update(1, first.wire, first.data)

            line.fail()
            with pytest.raises(CoordinatorError, match="is tried again") as away:
                here.api.submit_update(1, second.wire, second.data)
            assert (away.value.code, away.value.details["status"]) == ("store-unreachable", 503)
            health = httpx.get(f"{here.api.url}/v1/health")
            assert health.status_code == 503
            assert health.json()["store"] is False
            assert "s3://federation/ours" in health.json()["error"]
            line.mend()

            anvil.call("evm_setAutomine", False)
            here.api.submit_update(1, second.wire, second.data)
            until(lambda: step_of(here, 1) == "collecting", what="the batch")
            for copy in store.cache.root.glob("??/*"):
                copy.unlink()  # so that the computation has to ask the bucket
            line.fail()
            anvil.call("evm_setAutomine", True)
            anvil.call("evm_mine")
            waits = until(lambda: here.api.get("/v1/rounds/1")["error"], what="the round's complaint")
            assert "s3://federation/ours" in waits
            assert step_of(here, 1) == "computing"
            line.mend()

            until(lambda: step_of(here, 1) == "settled", what="settlement")
            view = here.api.get("/v1/rounds/1")
            assert view["weights"] == [1, 1], "no update was taken for lost"
            until(lambda: here.api.health()["status"] == "ok", what="health")
        line.close()
        server.publish("federation")
        mirror = CoordinatorSource(f"{server.endpoint}/federation/ours")
        try:
            found = mirror.document(view["artifactsHash"][2:])
        finally:
            mirror.close()
        assert b'"updates"' in found, "the bucket is a mirror"


def test_truncated_and_lost_files_are_named_and_come_back_from_a_mirror(
    world: factories.Federation, anvil: Anvil, tmp_path: Path
) -> None:
    home, mirror = tmp_path / "home", tmp_path / "mirror"
    with running(home, world) as here:
        start(here, 1, 2)
        _, header, state = open_round(here.api, 1)
        for name in ("ada", "ben"):
            signed = train(here.world, name, header, state)
            here.api.submit_update(1, signed.wire, signed.data)
        until(lambda: step_of(here, 1) == "settled", what="settlement")
        view = here.api.get("/v1/rounds/1")
        store = here.coordinator.storage.store
    shutil.copytree(store.location, mirror)

    def repair(*options: str, fails: int = 0) -> dict[str, Any]:
        command = [
            sys.executable,
            "-m",
            "folkmoot",
            "coordinator",
            "rebuild",
            "files",
            "--home",
            str(home),
            *options,
        ]
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
        assert done.returncode == fails, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    truncated, lost = store.path(view["mean"]), store.path(view["state"])
    os.truncate(truncated, 100)
    lost.unlink()
    (Path(store.location) / "by-keccak" / view["artifactsHash"][2:]).unlink()
    named = repair(fails=1)["error"]
    assert named["code"] == "store-incomplete"
    lacking = {lack["sha256"]: lack["why"] for lack in named["details"]["lacking"]}
    assert lacking.keys() == {view["mean"], view["state"], view["artifacts"]}
    assert "leads to nothing" in lacking[view["artifacts"]], "a link is looked at without a mirror, too (D9)"
    assert not lost.exists(), "without a mirror nothing is changed"
    assert len(repair("--mirror", str(mirror))["repaired"]) == 3
    assert repair()["repaired"] == []
    assert store.by_keccak(view["artifactsHash"][2:]) == view["artifacts"]


@pytest.mark.long
def test_round_on_postgresql_survives_a_restart_of_the_server(
    world: factories.Federation, tmp_path: Path
) -> None:
    with postgres.postgres() as server:
        settings = make_home(tmp_path / "home", world, database_url=server.url)
        with serving(settings, world) as here:
            start(here, 1, 2)
            _, header, state = open_round(here.api, 1)
            first, second = (train(here.world, name, header, state) for name in ("ada", "ben"))
            here.api.submit_update(1, first.wire, first.data)

            twin = make_home(tmp_path / "twin", world, database_url=server.url)
            with pytest.raises(DatabaseError, match="Another coordinator uses the database") as taken:
                open_coordinator(twin, open_account(twin))
            assert taken.value.code == "database-in-use"

            server.stop()
            with pytest.raises(CoordinatorError, match="is tried again") as away:
                here.api.submit_update(1, second.wire, second.data)
            assert (away.value.code, away.value.details["status"]) == ("database-unreachable", 503)
            until(lambda: here.worker.status.error, what="the worker's complaint")
            health = httpx.get(f"{here.api.url}/v1/health")
            assert health.status_code == 503
            assert health.json()["database"] is False
            assert "can't be reached" in health.json()["error"]
            server.start()

            here.api.submit_update(1, second.wire, second.data)
            until(lambda: step_of(here, 1) == "settled", what="settlement")
            assert here.api.get("/v1/rounds/1")["weights"] == [1, 1], "no update was lost"
            until(lambda: here.api.health()["status"] == "ok", what="health")
            kinds = []
            with contextlib.closing(here.api.events(0, timeout=5)) as stream:
                for event in stream:
                    kinds.append(event.type)
                    if event.type == "run-done":
                        break
            assert kinds.count("round-anchored") == kinds.count("rewards-settled") == 1


@pytest.mark.long
def test_a_coordinator_that_lost_the_database_unawares_writes_nothing_and_ends(
    world: factories.Federation, tmp_path: Path
) -> None:
    """Its connection is ended, and another one takes over before it looks again: between two steps, and in the API."""
    with postgres.postgres() as server:
        settings = make_home(tmp_path / "home", world, database_url=server.url, poll_interval=30)
        twin = make_home(tmp_path / "twin", world, database_url=server.url)
        with serving(settings, world) as old:
            start(old, 1, 2)
            _, header, state = open_round(old.api, 1)
            signed = [train(old.world, name, header, state) for name in ("ada", "ben")]
            with old.coordinator.storage.database.read() as session:
                session.execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
                )
            with serving(twin, world) as new:
                with pytest.raises(CoordinatorError) as fenced:
                    old.api.submit_update(1, signed[0].wire, signed[0].data)
                assert (fenced.value.code, fenced.value.details["status"]) == ("database-fenced", 503)
                assert new.api.current_round() is not None
                assert new.api.get("/v1/rounds/1")["received"] == 0

                old.worker.wake()
                refusal = until(lambda: old.worker.refusal, what="the end of the old one's worker")
                assert refusal.code == "database-fenced"
                assert httpx.get(f"{old.api.url}/v1/health").status_code == 503

                for one in signed:
                    new.api.submit_update(1, one.wire, one.data)
                until(lambda: step_of(new, 1) == "settled", what="settlement")
                assert new.api.get("/v1/rounds/1")["weights"] == [1, 1]
