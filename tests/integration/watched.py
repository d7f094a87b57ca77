# SPDX-License-Identifier: Apache-2.0
"""A watcher in this process, with what it said and a clock that a test turns."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from folkmoot.artifacts.sources import ArtifactSource, FolderSource
from folkmoot.fraud.watcher.journal import Journal
from folkmoot.fraud.watcher.watch import Options, Watcher
from folkmoot.rpc.client import Phase
from tests import factories
from tests.integration.audit_world import World
from tests.integration.fraud_world import CHALLENGER, TOKENS
from tests.logged import log_to

NAMES = ["ada", "ben", "cleo"]
QUARTER = factories.policy().bond // 4
"""What a challenger wins with a round."""

opened: list[Watcher] = []


def close_all() -> None:
    """Close the watchers of a test."""
    while opened:
        opened.pop().close()


def won(world: World) -> int:
    return world.federation.chain.token.balance_of(factories.account(CHALLENGER).address) - TOKENS


def phase(world: World, number: int) -> Phase:
    return world.federation.chain.ledger.round(number).phase


def play_lie(cheat: Any) -> Callable[[World], int]:
    return lambda world: world.play(NAMES, cheat)


class Watched:
    """A watcher with what it said; `close_all` closes it."""

    def __init__(
        self,
        world: World,
        folder: Path,
        *,
        challenges: bool = True,
        urls: list[str] | None = None,
        mirrors: dict[str, ArtifactSource] | None = None,
        **options: Any,
    ) -> None:
        deployment = world.federation.deployment
        self.stream = io.StringIO()
        self.now = 0.0
        account = factories.account(CHALLENGER) if challenges else None
        self.watcher = Watcher(
            urls or [world.federation.anvil.url],
            deployment,
            mirrors or {"folder": FolderSource(world.folder.path)},
            Journal.open(folder, deployment.chain_id, deployment.ledger),
            log_to(self.stream),
            Options(account, **options),
            clock=lambda: self.now,
            timeout=2.0,
        )
        opened.append(self.watcher)

    def look(self) -> int:
        assert self.watcher.look()
        return self.watcher.verdict

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]
