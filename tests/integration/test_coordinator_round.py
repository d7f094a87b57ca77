# SPDX-License-Identifier: Apache-2.0
"""Whole rounds on a real chain, with contributors whose training is noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.errors import CoordinatorError, UpdateRefused
from folkmoot.local.anvil import Anvil
from tests import factories
from tests.integration.coordinator_world import (
    MANIFEST,
    Running,
    federation,
    open_round,
    running,
    train,
    until,
)


@pytest.fixture(scope="module")
def module_world(anvil_process: Anvil) -> Iterator[factories.Federation]:
    made = federation(anvil_process)
    yield made
    made.chain.close()


@pytest.fixture
def here(module_world: factories.Federation, anvil: Anvil, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "home", module_world) as found:
        yield found


def start(here: Running, rounds: int, expect: int) -> None:
    here.api.start_run(rounds, expect, here.world.coordinator, here.domain)


def test_round_ends_with_a_version_rewards_and_the_next_round(here: Running) -> None:
    api = here.api
    start(here, 2, 3)
    _, header, state = open_round(api, 1)
    for name in ("ada", "ben"):
        signed = train(here.world, name, header, state)
        api.submit_update(1, signed.wire, signed.data)
        api.submit_update(1, signed.wire, signed.data)
    bad = train(here.world, "cleo", header, state)
    with pytest.raises(UpdateRefused) as refused:
        api.submit_update(1, bad.wire, bad.data[:-1] + bytes([bad.data[-1] ^ 1]))
    assert refused.value.code in ("invalid-encoding", "wrong-root")
    until(lambda: api.get("/v1/rounds/1")["step"] == "settled", what="settlement")
    view = api.get("/v1/rounds/1")
    assert view["weights"] == [1, 1], view
    chain = here.world.chain
    assert "0x" + chain.round(1).state_root.hex() == view["stateRoot"]
    assert chain.claimable(here.world["ada"].address) == 5 * 10**18
    _, header2, state2 = open_round(api, 2)
    assert state2.root(MANIFEST.hash) == chain.round(1).state_root
    for name in ("ada", "ben", "cleo"):
        signed = train(here.world, name, header2, state2)
        api.submit_update(2, signed.wire, signed.data)
    until(lambda: (run := api.run()) and run.state == "done", what="the run's end")
    assert chain.version(2).parent == 1
    assert [item["version"] for item in api.items("/v1/models")] == [0, 1, 2]
    with pytest.raises(CoordinatorError) as missing:
        api.get("/v1/models/active")
    assert missing.value.code == "no-active-version"
