# SPDX-License-Identifier: Apache-2.0
"""A real SuperLink and real SuperNodes on free ports, for tests."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from client.keeper.keeper import Keeper
from client.keeper.transfers import Transfers
from client.node.node import NodeOptions, node_command, node_environment
from client.signer.agent import RECORD_FOLDER, SignerAgent
from client.signer.checks import SigningRules
from client.signer.keys import LocalKey
from folkmoot.artifacts.federation import Federation
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.flower.contributor import HOME, Contributor
from folkmoot.ledger.deployment import Deployment
from folkmoot.rpc.client import LedgerReader
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.processes import Supervisor, accepts_connections, free_port
from folkmoot.runtime.superlink import SuperLink
from server.relay import flower_run


class Flower(contextlib.ExitStack):
    """A SuperLink; `join` adds nodes. Everything ends with the block."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.port = free_port()
        self._starts: dict[str, Callable[[], None]] = {}
        self.supervisor = self.enter_context(Supervisor(root / "logs"))
        programs = str(Path(sys.executable).parent)
        self.environment = flower_run.environment(root / "superlink")
        self.environment["PATH"] = os.pathsep.join([programs, os.environ["PATH"]])
        self.supervisor.start(
            "superlink",
            [
                Path(programs, "flower-superlink"),
                *("--insecure", "--disable-runtime-dependency-installation", "--port", str(self.port)),
            ],
            ready=lambda: accepts_connections(self.port),
            environment=self.environment,
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def join(
        self,
        contributor: Contributor,
        account: Any = None,
        *,
        stock: bool = False,
        keeper: Transfers | None = None,
        config: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> int:
        """Start a node, and its signer agent and keeper if there is an account; return the node's port.

        The node is ours, with more options of `NodeOptions`, or Flower's own SuperNode as it is. Its keeper shows its
        transfers in `keeper`.
        """
        contributor.save()
        if account is not None:
            self.enter_context(agent_of(contributor, account, contributor.home / RECORD_FOLDER))
            self.enter_context(keeper_of(contributor, keeper))
        port = free_port()
        share = {"partition-id": contributor.partition, "num-partitions": contributor.partitions}
        config = {**share, **(config or {})}
        command = node_command(
            contributor, NodeOptions(SuperLink(self.address), pause=0.2, config=config, **options), port
        )
        if stock:
            command = [
                str(Path(sys.executable).with_name("flower-supernode")),
                *("--insecure", "--superlink", self.address, "--port", str(port)),
                *("--node-config", f'{HOME}="{contributor.home}"'),
            ]
        name, home = f"node-{contributor.home.name}", contributor.home

        def start() -> None:
            self.supervisor.start(
                name,
                command,
                ready=lambda: accepts_connections(port),
                environment=node_environment(home, os.environ),
            )

        start()
        self._starts[home.name] = start
        return port

    def restart(self, name: str) -> None:
        """End the SuperNode in the folder of this name, and start it again. Its signer agent goes on."""
        self.supervisor.stop_one(f"node-{name}")
        self._starts[name]()

    def run(
        self,
        settings: dict[str, Any],
        app: Path | None = None,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> tuple[flower_run.RunResult, list[str]]:
        """Run an app and return how it ended and its log."""
        lines: list[str] = []

        def keep(line: str) -> None:
            lines.append(line)
            on_line(line)

        with contextlib.ExitStack() as stack:
            before = os.environ["PATH"]
            os.environ["PATH"] = self.environment["PATH"]
            stack.callback(os.environ.__setitem__, "PATH", before)
            result = flower_run.run(
                SuperLink(self.address), settings, app=app, flower_home=self.root / "cli", on_line=keep
            )
        return result, lines


def keeper_of(contributor: Contributor, transfers: Transfers | None = None) -> Keeper:
    """Return the keeper of a contributor, whose coordinator must be running."""
    deployment = Deployment.from_json(contributor.deployment)
    with open_rpc(contributor.rpc) as rpc, CoordinatorApi(contributor.coordinator) as api:
        opened = Federation.open(deployment, api.files, LedgerReader(rpc, deployment.ledger))
    return Keeper(contributor, opened.manifest, opened.genesis, (), transfers or Transfers(bar=False))


def agent_of(contributor: Contributor, account: Any, record: Path) -> SignerAgent:
    """Return the signer agent of a contributor, whose coordinator must be running."""
    deployment = Deployment.from_json(contributor.deployment)
    with open_rpc(contributor.rpc) as rpc, CoordinatorApi(contributor.coordinator) as api:
        opened = Federation.open(deployment, api.files, LedgerReader(rpc, deployment.ledger))
        rules = SigningRules(deployment, opened.manifest)
    return SignerAgent(LocalKey(account), rules, contributor.rpc, contributor.socket, record)


def anchored(plain: Path, target: Path) -> Path:
    """Copy an ordinary app and change its two lines: a mod on the ClientApp, our strategy in the ServerApp."""
    import shutil

    app = Path(shutil.copytree(plain, target / "plain-app", ignore=shutil.ignore_patterns("__pycache__")))
    _change(
        app / "plain" / "client_app.py",
        "app = ClientApp()",
        "from folkmoot.flower import folkmoot_mod\n\napp = ClientApp(mods=[folkmoot_mod()])",
    )
    _change(
        app / "plain" / "server_app.py",
        "strategy = FedAvg(fraction_evaluate=0.0)",
        "from folkmoot.flower import FolkmootStrategy\n\n"
        '    strategy = FolkmootStrategy(context.run_config["coordinator"])',
    )
    return app


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
