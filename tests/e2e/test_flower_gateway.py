# SPDX-License-Identifier: Apache-2.0
"""nginx with the compose file's configuration before a SuperLink and an API: nodes get in, and nothing else does."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.federation import Plan
from folkmoot.runtime.processes import Supervisor, accepts_connections, free_port
from tests.e2e.guarded import Guarded, until

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "compose" / "gateway.conf"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]


class Behind(Guarded):
    """A federation that contributors see through the gateway only."""

    names = ("superlink",)

    def __init__(self, plan: Plan, supervisor: Supervisor) -> None:
        super().__init__(plan, supervisor)
        self.https_port, self.fleet_port, self.health_port = free_port(), free_port(), free_port()

    def start_gateway(self) -> None:
        """Start nginx with the configuration, other ports, addresses and folders in it."""
        text = CONFIGURATION.read_text()
        for old, new in (
            (" /tmp/", f" {self.plan.home}/"),
            ("/secrets/tls", str(self.tls)),
            ("listen 8080", f"listen 127.0.0.1:{self.health_port}"),
            ("listen 8443", f"listen 127.0.0.1:{self.https_port}"),
            ("listen 9443", f"listen 127.0.0.1:{self.fleet_port}"),
            ("http://coordinator:8800", self.api_url),
            ("https://superlink:8000", f"https://{self.superlink}"),
        ):
            assert old in text
            text = text.replace(old, new)
        configuration = self.plan.home / "gateway.conf"
        configuration.write_text(text)
        user = " user root;" if os.geteuid() == 0 else ""  # else the workers can't come to these folders
        self.supervisor.start(
            "gateway",
            ["nginx", "-c", configuration, "-g", f"daemon off;{user}"],
            ready=lambda: accepts_connections(self.fleet_port),
        )

    def join_command(self, number: int, *words: str | Path, host: str = "127.0.0.1") -> list[str]:
        command = super().join_command(number, *words, host=host)
        for option, value in (
            ("--coordinator", f"https://{host}:{self.https_port}"),
            ("--superlink", f"{host}:{self.fleet_port}"),
        ):
            command[command.index(option) + 1] = value
        return command

    def environment(self, name: str) -> dict[str, str]:
        more = {"SSL_CERT_FILE": str(self.tls / "ca.pem"), "FOLKMOOT_COORDINATOR_TRUST_PROXY": "true"}
        return {**super().environment(name), **more}

    def status(self, port: int, method: str, path: str) -> int:
        """Ask for a path exactly as it is, over TLS, and return the status of the answer."""
        trust = ssl.create_default_context(cafile=self.tls / "ca.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=trust, timeout=20)
        try:
            connection.request(method, path)
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    plan = Plan(tmp_path_factory.mktemp("behind"), "digits", 2)
    with Supervisor(plan.logs) as supervisor:
        federation = Behind(plan, supervisor)
        federation.start_all()
        federation.start_gateway()
        yield federation


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/control/list-runs", 404),
        ("/v1/runtime/push-messages", 404),
        ("/", 404),
        ("/v1/fleet", 301),  # to that place with a slash at its end
        ("/v1/fleet/../control/list-runs", 400),
        ("/v1/fleet/%2e%2e/control/list-runs", 400),
        ("/v1/fleet/%2E%2E%2fcontrol/list-runs", 400),
        ("//v1/control/list-runs", 400),
        ("/v1/fleet//../control/list-runs", 400),
    ],
)
def test_nobody_comes_to_the_rest_of_the_superlink(behind: Behind, path: str, status: int) -> None:
    assert behind.status(behind.superlink_port, "POST", "/v1/control/list-runs") != 404, (
        "it has another name now"
    )
    assert behind.status(behind.fleet_port, "POST", path) == status


def test_nodes_train_through_it(behind: Behind) -> None:
    assert behind.status(behind.https_port, "GET", "/v1/health") == 200
    assert behind.status(behind.https_port, "GET", "/metrics") == 404
    assert behind.status(behind.fleet_port, "GET", "/health") == 200  # the doctor asks for it
    for number in (1, 2):
        stranger = behind.join(number)  # makes its key
        until(lambda child=stranger: not child.alive)
        assert "node-unknown" in stranger.tail()
        behind.supervisor.stop_one(stranger.name)
    assert behind.admit(behind.key(1).parent).returncode == 0
    for number in (1, 2):
        behind.join(number)
    with behind.round(expect=2):
        pass
    with CoordinatorApi(behind.api_url) as api:
        assert len(list(api.items("/v1/rounds/1/updates"))) == 2
