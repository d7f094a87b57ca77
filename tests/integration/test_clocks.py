# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump by hours while a round is open: this machine's, which decides no deadline, and the chain's."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path

import httpx
import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.devnet.anvil import Anvil
from folkmoot.rpc.client import Phase
from tests import factories
from tests.integration.coordinator_world import Running, federation, open_round, running, train, until

NAMES = ("ada", "ben", "cleo")
HOURS = 3600.0


@pytest.fixture
def world() -> Iterator[factories.Federation]:
    with Anvil() as anvil:
        made = federation(anvil)
        yield made
        made.chain.close()


class Wall:
    """The clock of this machine, as this process sees it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        truly, wall = time.time, self

        class Moved(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + timedelta(seconds=wall.ahead)

        patch.setattr(time, "time", lambda: truly() + self.ahead)
        server = [module for name, module in sys.modules.items() if name.startswith("server.")]
        using = [module for module in server if getattr(module, "datetime", None) is datetime]
        assert using
        for module in using:
            patch.setattr(module, "datetime", Moved)


def ended(here: Running) -> bool:
    run = here.api.run()
    assert run is not None
    assert run.state in ("running", "done"), run.error
    return run.state == "done"


@pytest.mark.long
def test_no_jump_of_this_machines_clock_ends_a_round_or_a_run(
    world: factories.Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path / "home", world) as here:
        wall = Wall(monkeypatch)
        here.api.start_run(2, len(NAMES), world.coordinator, here.domain)
        for number, jumps in ((1, (6, -6, 30)), (2, (-30, 0, -6))):
            _, header, state = until(partial(open_round, here.api, number), what=f"round {number}")
            for name, hours in zip(NAMES, jumps, strict=True):
                wall.ahead = hours * HOURS
                signed = train(world, name, header, state)
                here.api.submit_update(number, signed.wire, signed.data)
                assert httpx.get(f"{here.api.url}/v1/health", timeout=10).json()["status"] == "ok"
        until(lambda: ended(here), what="the end of the run")
        until(lambda: here.api.get("/v1/rounds/2")["step"] == "settled", what="the rewards")
        store = FolderSource(Path(here.coordinator.storage.store.location))
        assert audit([world.anvil.url], world.deployment, store).recomputed == 2


@pytest.mark.long
def test_a_chain_whose_clock_leaps_beyond_an_open_round_cancels_that_one_only(
    world: factories.Federation, tmp_path: Path
) -> None:
    with running(tmp_path / "home", world, time_travel=False) as here:
        here.api.start_run(1, len(NAMES), world.coordinator, here.domain)
        for number in (1, 2):
            _, header, state = until(partial(open_round, here.api, number), what=f"round {number}")
            for name in NAMES[: 3 if number == 2 else 1]:
                signed = train(world, name, header, state)
                here.api.submit_update(number, signed.wire, signed.data)
            if number == 1:
                world.anvil.advance(int(48 * HOURS))
        reader = world.chain.ledger
        until(lambda: reader.round(2).entries == len(NAMES), what="the entries")
        world.anvil.advance(reader.round(2).commit_deadline - reader.rpc.latest_timestamp())
        until(lambda: ended(here), what="the end of the run")
        assert [reader.round(number).phase for number in (1, 2)] == [Phase.CANCELLED, Phase.ANCHORED]
        assert httpx.get(f"{here.api.url}/v1/health", timeout=10).json()["status"] == "ok"
