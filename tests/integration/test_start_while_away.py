# SPDX-License-Identifier: Apache-2.0
"""A coordinator that starts while its endpoint, database or bucket is away: it waits, and goes on when it is back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from folkmoot.devnet.anvil import Anvil
from folkmoot.runtime.processes import free_port
from server.settings import Settings
from tests import factories, postgres, s3
from tests.integration.coordinator_world import federation, make_home, until
from tests.line import Line
from tests.rpc_proxy import RpcProxy, Trouble


class Started:
    """A coordinator in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        self.log = settings.home / "log"
        port = free_port()
        command = [sys.executable, "-m", "folkmoot", "coordinator", "serve", "--home", str(settings.home)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def health(self) -> tuple[int, dict[str, Any]] | None:
        """Status and document; none while nothing listens."""
        try:
            answer = self.http.get("/v1/health")
        except httpx.HTTPError:
            return None
        return answer.status_code, answer.json()

    def healthy(self) -> bool:
        found = self.health()
        return found is not None and found[0] == 200


@contextmanager
def started(settings: Settings) -> Iterator[Started]:
    found = Started(settings)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()
        found.http.close()


@pytest.fixture
def world(anvil: Anvil) -> Iterator[factories.Federation]:
    made = federation(anvil)
    yield made
    made.chain.close()


def test_it_waits_and_says_so_and_then_it_works(world: factories.Federation, tmp_path: Path) -> None:
    with RpcProxy(world.anvil.url) as proxy:
        proxy.become(Trouble.AWAY)
        settings = make_home(tmp_path / "home", world, rpc_url=proxy.url)
        with started(settings) as here:
            until(here.health, what="its API")

            def told() -> bool:
                found = here.health()
                assert found is not None
                status, said = found
                assert status == 503
                assert said["chain"] is False
                return "can't be reached" in (said["error"] or "")

            until(told, what="the reason")
            assert "the chain is waited for" in here.log.read_text()
            proxy.become(Trouble.NONE)
            until(here.healthy, what="the chain")
            assert here.process.poll() is None


@pytest.mark.long
def test_it_can_be_stopped_while_it_waits(world: factories.Federation, tmp_path: Path) -> None:
    with RpcProxy(world.anvil.url) as proxy:
        proxy.become(Trouble.AWAY)
        with started(make_home(tmp_path / "home", world, rpc_url=proxy.url)) as here:
            until(here.health, what="its API")
            here.process.send_signal(signal.SIGTERM)
            assert here.process.wait(15) == 0


@pytest.mark.long
@pytest.mark.parametrize("when", ["at once", "after a wait"])
def test_the_wrong_chain_ends_it(world: factories.Federation, tmp_path: Path, when: str) -> None:
    with RpcProxy(world.anvil.url) as proxy:
        settings = make_home(tmp_path / "home", world, rpc_url=proxy.url, time_travel=False)
        file = settings.home / "deployment.json"
        file.write_text(file.read_text().replace("31337", "31338"))
        if when == "after a wait":
            proxy.become(Trouble.AWAY)
        with started(settings) as here:
            if when == "after a wait":
                until(here.health, what="its API")
                proxy.become(Trouble.NONE)
            assert here.process.wait(60) == 1
            log = here.log.read_text()
            assert "serves chain 31337, the deployment is on chain 31338" in log
            assert "Traceback" not in log


def waits(here: Started) -> None:
    """It said what it waits for, and it is there."""
    until(lambda: "it is waited for" in here.log.read_text(), what="the reason")
    assert here.process.poll() is None


@pytest.mark.long
def test_its_database_is_waited_for(world: factories.Federation, tmp_path: Path) -> None:
    with postgres.postgres() as server:
        settings = make_home(tmp_path / "home", world, database_url=server.url)
        server.stop()
        with started(settings) as here:
            waits(here)
            here.process.send_signal(signal.SIGTERM)
            assert here.process.wait(15) == 0
        with started(settings) as here:
            waits(here)
            server.start()
            until(here.healthy, what="the database")
            assert here.log.read_text().count("it is waited for") == 1


def with_bucket(home: Path, world: factories.Federation, endpoint: str) -> Settings:
    """The home of a coordinator whose store is in the bucket `federation`."""
    place: dict[str, Any] = {
        "store": "s3://federation/ours",
        "store_endpoint": endpoint,
        "store_region": s3.REGION,
    }
    return make_home(home, world, **place)


@pytest.mark.long
def test_its_bucket_is_waited_for(
    world: factories.Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.use_keys(monkeypatch)
    with s3.moto(tmp_path / "moto") as server:
        server.make_bucket("federation")
        line = Line(server.port)
        settings = with_bucket(tmp_path / "home", world, line.url)
        line.fail()
        with started(settings) as here:
            waits(here)
            line.mend()
            until(here.healthy, what="the bucket")
        line.close()


@pytest.mark.long
def test_a_bucket_that_is_not_there_ends_it(
    world: factories.Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.use_keys(monkeypatch)
    with s3.moto(tmp_path / "moto") as server:
        server.make_bucket("federation")
        settings = with_bucket(tmp_path / "home", world, server.endpoint)
        file = settings.home / "coordinator.json"
        file.write_text(file.read_text().replace("federation/ours", "another/ours"))
        with started(settings) as here:
            assert here.process.wait(60) == 1
            log = here.log.read_text()
            assert "s3://another/ours" in log
            assert "Traceback" not in log
