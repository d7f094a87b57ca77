# SPDX-License-Identifier: Apache-2.0
"""The three addresses of a federation, each given in the place of another: said in words, with the right option."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.chain.client import Chain
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import CoordinatorError, LocalError, RpcError
from folkmoot.rpc.client import Rpc
from folkmoot.runtime import services
from folkmoot.runtime.processes import Supervisor, accepts_connections, free_port
from folkmoot.runtime.services import CHAIN, COORDINATOR, SUPERLINK, service_at
from folkmoot.runtime.superlink import SuperLink
from server.relay import flower_run
from tests.integration.coordinator_world import Running


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of a busy machine may answer after more than the two seconds that a user is kept waiting."""
    monkeypatch.setattr(services, "TIMEOUT", 60.0)


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real SuperLink."""
    root, port = tmp_path_factory.mktemp("superlink"), free_port()
    program = Path(sys.executable).with_name("flower-superlink")
    environment = flower_run.environment(root / "home")
    environment["PATH"] = os.pathsep.join(
        [str(program.parent), environment["PATH"]]
    )  # it starts its helpers by name
    with Supervisor(root) as supervisor:
        supervisor.start(
            "superlink",
            [program, "--insecure", "--disable-runtime-dependency-installation", "--port", str(port)],
            ready=lambda: accepts_connections(port),
            environment=environment,
        )
        yield f"127.0.0.1:{port}"


def test_each_service_is_known_by_its_answers(here: Running, superlink: str) -> None:
    assert service_at(here.world.anvil.url) == CHAIN
    assert service_at(here.api.url) == COORDINATOR
    assert service_at(f"http://{superlink}") == SUPERLINK
    assert service_at(f"http://127.0.0.1:{free_port()}") is None
    assert service_at("nonsense") is None


def test_the_chains_address_is_another_ones(here: Running, superlink: str) -> None:
    for url, what, option in (
        (here.api.url, COORDINATOR, "--coordinator"),
        (f"http://{superlink}", SUPERLINK, "--superlink"),
    ):
        said = (
            f"{url} is {what}, not {CHAIN}. Give --rpc the address of {CHAIN}. Use this address for {option}."
        )
        with Rpc(url) as rpc, pytest.raises(RpcError) as by_httpx:
            rpc.chain_id()
        assert str(by_httpx.value) == said
        with pytest.raises(RpcError) as by_web3:
            Chain.connect(url, here.world.deployment)
        assert str(by_web3.value) == said


def test_the_coordinators_address_is_another_ones(here: Running, superlink: str) -> None:
    for url, what, option in (
        (here.world.anvil.url, CHAIN, "--rpc"),
        (f"http://{superlink}", SUPERLINK, "--superlink"),
    ):
        with CoordinatorApi(url) as api, pytest.raises(CoordinatorError) as refused:
            api.deployment()
        assert str(refused.value) == (
            f"{url} is {what}, not {COORDINATOR}. Give --coordinator the address of {COORDINATOR}. Use this address "
            f"for {option}."
        )


def test_the_superlinks_address_is_another_ones(here: Running, superlink: str) -> None:
    SuperLink(superlink).check()
    for url, what, option in (
        (here.world.anvil.url, CHAIN, "--rpc"),
        (here.api.url, COORDINATOR, "--coordinator"),
    ):
        address = url.removeprefix("http://")
        with pytest.raises(LocalError) as refused:
            SuperLink(address).check()
        assert refused.value.code == "wrong-service"
        assert str(refused.value).startswith(f"{address} is {what}, not {SUPERLINK}.")
        assert option in refused.value.remedy
