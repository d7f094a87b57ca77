# SPDX-License-Identifier: Apache-2.0
"""A SuperLink with TLS that admits only nodes it knows: strangers stay out, and an expired certificate passes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from folkmoot.certificates import Authority
from folkmoot.local.commands import folkmoot_command
from folkmoot.local.federation import LocalFederation, Plan, program
from folkmoot.local.processes import Child, Supervisor, accepts_connections

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Guarded(LocalFederation):
    """A local federation whose SuperLink has TLS and a list of nodes."""

    @property
    def tls(self) -> Path:
        return self.plan.home / "tls"

    def start_superlink(self) -> None:
        self.supervisor.start(
            "superlink",
            [
                *(program("flower-superlink"), "--enable-supernode-auth", "--port", str(self.superlink_port)),
                *("--ssl-certfile", self.tls / "server.pem", "--ssl-keyfile", self.tls / "server.key"),
                *(
                    "--ssl-ca-certfile",
                    self.tls / "ca.pem",
                    "--database",
                    self.plan.home / "superlink.sqlite",
                ),
                "--disable-runtime-dependency-installation",
            ],
            environment=self.environment("superlink"),
            ready=lambda: accepts_connections(self.superlink_port),
        )

    def join_command(self, number: int, *words: str | Path) -> list[str]:
        name = f"contributor-{number}"
        return folkmoot_command(
            *("join", "--home", self.plan.node_home(name), "--rpc", self.rpc_url, "--json"),
            *("--coordinator", self.api_url, "--superlink", self.superlink),
            *(
                "--deployment",
                self.plan.deployment_file,
                "--task",
                "digits",
                "--partition",
                f"{number - 1}/2",
            ),
            *("--keystore", self.plan.keystore(name), "--password-file", self.plan.password_file),
            *words,
        )

    def key(self, number: int) -> Path:
        return self.plan.home / "node-keys" / f"{number}"

    def join(self, number: int) -> Child:
        command = self.join_command(
            number, "--root-certificates", self.tls / "ca.pem", "--node-key", self.key(number)
        )
        return self.supervisor.start(
            f"contributor-{number}", command, environment=self.environment(f"contributor-{number}")
        )

    def folkmoot(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            folkmoot_command(*words),
            env=self.environment("operator"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def train(self) -> None:
        done = self.folkmoot(
            *("train", "--rounds", "1", "--expect", "2", "--coordinator", self.api_url),
            *("--superlink", self.superlink, "--root-certificates", self.tls / "ca.pem"),
            *("--keystore", self.plan.keystore("coordinator"), "--password-file", self.plan.password_file),
        )
        assert done.returncode == 0, done.stderr

    def certificate(self) -> dict[str, object]:
        made = self.folkmoot(
            "superlink", "certificate", "--name", "moot.example", "--out", self.tls, "--json"
        )
        assert made.returncode == 0, made.stderr
        found: dict[str, object] = json.loads(made.stdout)
        return found

    def admit(self, *keys: Path) -> subprocess.CompletedProcess[str]:
        return self.folkmoot(
            *("superlink", "admit", *keys, "--superlink", self.superlink, "--json"),
            *("--root-certificates", self.tls / "ca.pem"),
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    plan = Plan(tmp_path_factory.mktemp("guarded"), "digits", 2)
    with Supervisor(plan.logs) as supervisor:
        federation = Guarded(plan, supervisor)
        assert federation.certificate()["made"]
        assert not federation.certificate()["made"], "a good certificate was replaced"
        federation.start_chain()
        federation.start_superlink()
        made = federation.folkmoot(
            *("prepare", "--rpc", federation.rpc_url, "--home", plan.home, "--contributors", "2", "--json")
        )
        assert made.returncode == 0, made.stderr
        federation.start_coordinator()
        yield federation


def test_strangers_stay_out_and_an_expired_certificate_passes(guarded: Guarded) -> None:
    ca = guarded.tls / "ca.pem"
    for words, code, said in (
        (["--root-certificates", ca], "node-key-missing", "--node-key"),
        (["--root-certificates", ca, "--node-key", guarded.key(1)], "node-unknown", "superlink admit"),
    ):
        refused = subprocess.run(
            guarded.join_command(1, *words),
            env=guarded.environment("contributor-1"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        error = json.loads(refused.stdout[refused.stdout.index('{\n  "error"') :])["error"]
        assert (refused.returncode, error["code"]) == (1, code), refused.stdout
        assert said in error["remedy"]
        assert "joined" not in refused.stdout

    assert guarded.admit(guarded.tls / "ca.pem").returncode == 1, "no key"
    first = guarded.admit(guarded.key(1).with_name("1.pub"))
    assert json.loads(first.stdout)["new"] == [str(guarded.key(1)) + ".pub"]
    one = guarded.join(1)
    until(lambda: '"joined"' in one.tail(50))
    two = guarded.join(2)
    until(lambda: not two.alive)
    assert "node-unknown" in two.tail(50)
    guarded.supervisor.stop_one("contributor-2")
    both = json.loads(guarded.admit(guarded.key(1).parent).stdout)
    assert (both["keys"], len(both["new"])) == (2, 1)
    two = guarded.join(2)
    until(lambda: two.tail(50).count('"joined"') == 1)
    guarded.train()

    # The certificate expires: nodes say so and wait.
    authority = Authority.load(ca, guarded.tls / "ca.key")
    expired = authority.issue("127.0.0.1", not_after=datetime.now(UTC) - timedelta(minutes=1))
    expired.save(guarded.tls / "server.pem", guarded.tls / "server.key")
    guarded.supervisor.stop_one("superlink")
    guarded.start_superlink()
    for node in (one, two):
        until(lambda node=node: "TLS: certificate has expired" in node.tail(50))
        assert node.alive
    refused = guarded.admit(guarded.key(1).parent)
    assert json.loads(refused.stdout)["error"]["code"] == "superlink-tls"
    assert "certificate has expired" in refused.stdout

    # It is renewed: they come back with the keys that the SuperLink kept, and nobody does anything.
    assert guarded.certificate()["made"]
    guarded.supervisor.stop_one("superlink")
    guarded.start_superlink()
    guarded.train()
    assert one.alive
    assert two.alive


def until(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 100
    while not look():
        assert time.monotonic() < end, "nothing came in time"
        time.sleep(0.2)
