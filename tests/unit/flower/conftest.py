# SPDX-License-Identifier: Apache-2.0
"""A small scripted federation, and nodes without Flower's processes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.keeper.keeper import Keeper
from client.keeper.transfers import Transfers
from folkmoot.flower.contributor import Contributor
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from tests.unit.flower.world import World, account

MODEL: dict[str, NDArray[Any]] = {
    "weight": np.linspace(-1, 1, 300, dtype=np.float32).reshape(3, 100),
    "bias": np.zeros(3, np.float32),
    "steps": np.array(7, np.int64),
}
MANIFEST = Manifest.from_arrays("scripted", MODEL, {"local_steps": 1, "learning_rate": 0.1})


@pytest.fixture
def world() -> Iterator[World]:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=1) as running:
        yield running


class FalseKeeper(Keeper):
    """Gives any base another theta."""

    theta: Any

    def base(self, number: int, *, closed: bool = False) -> Path:
        path = self._contributor.home / "false"
        path.write_bytes(State(self.theta, np.zeros_like(self.theta)).to_bytes())
        return path


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Callable[..., Contributor]]:
    """Make a contributor of a world, with a keeper; it needs no agent as long as its signer is given to the mod."""
    with contextlib.ExitStack() as stack:

        def make(
            world: World,
            name: str = "ada",
            *,
            keeper: bool = True,
            transfers: Transfers | None = None,
            theta: Any = None,
            **changes: Any,
        ) -> Contributor:
            home = tmp_path / name
            home.mkdir(exist_ok=True)
            values: dict[str, Any] = {
                "home": home,
                "rpc": world.url,
                "coordinator": world.url,
                "deployment": world.deployment,
                "account": account(name).address,
                "task": "scripted",
                "partition": 0,
                "partitions": 1,
            }
            contributor = Contributor(**{**values, **changes})
            contributor.save()
            if keeper:
                kind = Keeper if theta is None else FalseKeeper
                kept = kind(contributor, world.manifest, world.genesis, (), transfers or Transfers(bar=False))
                if isinstance(kept, FalseKeeper):
                    kept.theta = theta
                stack.enter_context(kept)
            return contributor

        yield make


@pytest.fixture(autouse=True)
def _identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages can be made inside a Flower task only; say that this is one."""
    from flwr.supercore.task_identity import TaskIdentity

    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture(autouse=True)
def _flowers_log_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests read what Flower's logger says, whatever other tests of this process did to it."""
    logger = logging.getLogger("flwr")
    monkeypatch.setattr(logger, "disabled", False)
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    monkeypatch.setattr(logging.root.manager, "disable", 0)
    vars(logger)["_cache"].clear()  # what it has found out about levels
