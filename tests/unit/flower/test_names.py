# SPDX-License-Identifier: Apache-2.0
"""Flower's messages have names only: the keeper brings the base and delivers the update."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, Message

from client.keeper.keeper import Keeper
from client.keeper.transfers import DOWN, UP, Transfers
from folkmoot.errors import CoordinatorError
from folkmoot.flower import mod
from folkmoot.protocol.state import State
from folkmoot.rpc.client import Phase
from tests.unit.flower.conftest import MANIFEST, MODEL
from tests.unit.flower.grid import LocalGrid
from tests.unit.flower.test_anchored import Node, Whisper, federation, fresh, run
from tests.unit.flower.test_strategy import Join, app, strategy
from tests.unit.flower.world import World, account


class Carried(LocalGrid):
    """Counts the bytes of arrays in messages and replies."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: list[tuple[int, int, int]] = []

    def push_messages(self, messages: Any) -> Any:
        numbers = list(super().push_messages(messages))
        for number in numbers:
            (sent,) = [message for message in self.sent if message.metadata.message_id == number]
            reply = self.replies[number]
            self.bytes.append((sent.metadata.dst_node_id, size(sent), size(reply)))
        return numbers


def size(message: Message) -> int:
    if not message.has_content():
        return 0
    found: list[ArrayRecord] = list(message.content.array_records.values())
    return sum(len(array.data) for record in found for array in record.values())


def test_messages_have_no_bytes_of_arrays(join: Join) -> None:
    transfers = Transfers(bar=False)
    with World(MANIFEST, dict(MODEL), expect=2, rounds=3) as world:
        grid = Carried()
        grid.add(app("ada"), join(world, "ada", transfers=transfers))
        grid.add(app("ben"), join(world, "ben"))
        carrier = strategy(world)
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
        everybody = {account(name).address for name in ("ada", "ben")}
        assert [set(report.accepted) for report in carrier.reports] == [everybody] * 3
    assert [(down, up) for _, down, up in grid.bytes] == [(0, 0)] * 6
    assert transfers.bytes == {DOWN: MANIFEST.state_file_size + 2 * MANIFEST.size, UP: 3 * MANIFEST.size}


def test_a_relay_fetches_the_last_model_only(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=3) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world))
        carrier = strategy(world)
        fetched: list[str] = []
        files = carrier._relay.api.files
        fetch = files.fetch

        def count(sha256: str, limit: int) -> Path:
            if limit == MANIFEST.state_file_size:
                fetched.append(sha256)
            return fetch(sha256, limit)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(files, "fetch", count)
            result = carrier.start(grid=grid, initial_arrays=ArrayRecord())
        assert [len(report.accepted) for report in carrier.reports] == [1, 1, 1]
        assert fetched == [world.states[-1].sha256()]
        assert result.arrays


def ended(world: World) -> None:
    world.rounds[-1].phase = Phase.CANCELLED
    world.run_state = "failed"


def refusals(world: World, grid: LocalGrid) -> list[str]:
    """Run until the first answers; return the codes of what is refused."""
    grid.on_push = lambda: ended(world)
    carrier = strategy(world)
    with pytest.raises(CoordinatorError, match="The run failed"):
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
    assert carrier.reports[0].accepted == []
    return [why.partition(":")[0] for _, why in carrier.reports[0].refused]


def test_a_node_without_a_keeper_is_reported(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=2) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world, keeper=False))
        assert refusals(world, grid) == ["no-keeper"]
        assert len(grid.sent) == 1


def test_a_base_that_is_not_the_chains_is_refused(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=2) as world, contextlib.ExitStack() as stack:
        grid, ada = LocalGrid(), join(world, keeper=False)
        other = State(world.states[0].theta + 1, world.states[0].momentum)
        genesis = replace(world.genesis, state=world.publish(other.to_bytes()))
        stack.enter_context(Keeper(ada, MANIFEST, genesis, (), Transfers(bar=False)))
        grid.add(app("ada"), ada)
        assert refusals(world, grid) == ["wrong-base"]
        assert len(grid.sent) == 1


def test_an_update_that_a_node_only_says_it_delivered_does_not_count(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=1) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world))
        monkeypatch.setattr(mod, "deliver", lambda *_: None)
        assert refusals(world, grid) == ["not-delivered"]


def test_an_app_that_aggregates_itself_gets_the_arrays_of_the_updates(join: Join) -> None:
    strategy = Whisper(fraction_evaluate=0.0)
    results: list[Any] = []
    with federation(join, Node(), Node(), rounds=1) as (world, grid):
        run(world, grid, lambda grid, context: results.append(strategy.start(grid, fresh())))
        assert len(strategy.trained) == 2
        assert all(size(message) == 0 for message in grid.sent)


def test_an_update_that_cant_be_fetched_costs_the_app_its_arrays_and_not_the_run(
    join: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    strategy = Whisper(fraction_evaluate=0.0)
    results: list[Any] = []
    with federation(join, Node(), Node(), rounds=1) as (world, grid):
        close = world.close_round

        def close_and_lose() -> None:
            close()
            for _, data in world.rounds[1].updates.values():
                world.artifacts.pop(hashlib.sha256(data).hexdigest(), None)

        monkeypatch.setattr(world, "close_round", close_and_lose)
        run(world, grid, lambda grid, context: results.append(strategy.start(grid, fresh())))
        assert world.run_state == "done"
    assert caplog.text.count("The app's strategy gets no arrays of 0x") == 2
