# SPDX-License-Identifier: Apache-2.0
"""A local federation whose SuperLink has TLS and admits only the nodes that are on its list, for tests."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from folkmoot.devnet.federation import LocalFederation, program
from folkmoot.runtime.commands import folkmoot_command
from folkmoot.runtime.processes import Child, accepts_connections
from tests.hosts import Host


class Guarded(LocalFederation):
    """A local federation whose SuperLink has TLS and a list of nodes."""

    names: tuple[str, ...] = ("moot.example",)
    """Names in the SuperLink's certificate, beside those of this machine."""

    @property
    def tls(self) -> Path:
        """Folder of the authority and of the SuperLink's certificate."""
        return self.plan.home / "tls"

    def start_superlink(self) -> None:
        """Start it, and wait until it listens."""
        tls = self.tls
        self.supervisor.start(
            "superlink",
            [
                *(program("flower-superlink"), "--enable-supernode-auth"),
                *("--host", self.host, "--port", str(self.superlink_port)),
                *("--ssl-certfile", tls / "server.pem", "--ssl-keyfile", tls / "server.key"),
                *("--ssl-ca-certfile", tls / "ca.pem", "--database", self.plan.home / "superlink.sqlite"),
                "--disable-runtime-dependency-installation",
            ],
            environment=self.environment("superlink"),
            ready=lambda: accepts_connections(self.superlink_port),
        )

    def start_all(self) -> None:
        """Start chain, SuperLink and coordinator with contracts, stakes and certificates of their own."""
        made = self.certificate()
        assert made["made"]
        self.start_chain()
        self.start_superlink()
        count = str(self.plan.contributors)
        done = self.folkmoot(
            *(
                "up",
                "--only-prepare",
                "--rpc",
                self.rpc_url,
                "--home",
                self.plan.home,
                "--contributors",
                count,
                "--json",
            )
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.start_coordinator()

    def join_command(self, number: int, *words: str | Path, host: str = "127.0.0.1") -> list[str]:
        """Return the command of a contributor, counted from 1, that knows this machine by an address."""
        name, plan = f"contributor-{number}", self.plan
        return folkmoot_command(
            *("join", "--home", plan.node_home(name), "--json"),
            *("--rpc", f"http://{host}:{self.chain_port}", "--coordinator", f"http://{host}:{self.api_port}"),
            *("--superlink", f"{host}:{self.superlink_port}"),
            *("--deployment", plan.deployment_file, "--task", plan.task),
            *("--partition", f"{number - 1}/{plan.contributors}"),
            *("--keystore", plan.keystore(name), "--password-file", plan.password_file),
            *words,
        )

    def key(self, number: int) -> Path:
        """Key that a contributor's node shows to the SuperLink; its public half ends in `.pub`."""
        return self.plan.home / "node-keys" / f"{number}"

    def join(self, number: int, on: Host | None = None) -> Child:
        """Start a contributor's node, here or on another host."""
        words = ("--root-certificates", self.tls / "ca.pem", "--node-key", self.key(number))
        name = f"contributor-{number}"
        command = self.join_command(number, *words, **({"host": on.here} if on else {}))
        return self.supervisor.start(
            name, [*(on.prefix if on else ()), *command], environment=self.environment(name)
        )

    def folkmoot(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            folkmoot_command(*words),
            env=self.environment("operator"),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    @contextmanager
    def round(self, expect: int, seconds: float = 120) -> Iterator[Child]:
        """Train one round, which need not wait for more answers than these; it must end well."""
        training = self.supervisor.start(
            "train",
            folkmoot_command(
                *("train", "--rounds", "1", "--expect", str(expect), "--coordinator", self.api_url),
                *("--superlink", self.superlink, "--root-certificates", self.tls / "ca.pem"),
                *("--keystore", self.plan.keystore("coordinator")),
                *("--password-file", self.plan.password_file),
            ),
            environment=self.environment("train"),
            expected_to_end=True,
        )
        yield training
        until(lambda: not training.alive, seconds)
        assert training.process.returncode == 0, training.tail()
        self.supervisor.stop_one("train")

    def certificate(self) -> dict[str, object]:
        """Make the SuperLink's certificate, or leave it if it is good; say which."""
        names = [word for name in self.names for word in ("--certificate", name)]
        made = self.folkmoot("superlink", *names, "--out", self.tls, "--json")
        assert made.returncode == 0, made.stdout + made.stderr
        found: dict[str, object] = json.loads(made.stdout)
        return found

    def admit(self, *keys: Path) -> subprocess.CompletedProcess[str]:
        """Put nodes on the list."""
        listed = ("--superlink", self.superlink, "--json", "--root-certificates", self.tls / "ca.pem")
        return self.folkmoot("superlink", *(word for key in keys for word in ("--admit", key)), *listed)


def until(look: Callable[[], bool], seconds: float = 300) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "nothing came in time"
        time.sleep(0.2)  # logs, files and processes change without a word
