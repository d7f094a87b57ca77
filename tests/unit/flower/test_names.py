# SPDX-License-Identifier: Apache-2.0
"""Train messages have names only; nodes with a keeper get the base from it, and others get it in a second message."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, Message

from client.keeper.keeper import Keeper
from client.keeper.transfers import DOWN, UP, Transfers
from folkmoot.errors import CoordinatorError, LocalError
from folkmoot.flower import mod
from folkmoot.flower.contributor import Contributor
from folkmoot.protocol.state import State
from folkmoot.rpc.client import Phase
from tests.unit.flower.conftest import MANIFEST, MODEL
from tests.unit.flower.grid import LocalGrid
from tests.unit.flower.test_anchored import Node, Whisper, federation, fresh, run
from tests.unit.flower.test_strategy import Join, app, strategy
from tests.unit.flower.world import World, account


@pytest.fixture
def nodes_without_keepers() -> None:
    """Let the relay find out."""


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


def kept(world: World, contributor: Contributor, transfers: Transfers) -> Keeper:
    return Keeper(contributor, MANIFEST, world.genesis, (), transfers)


def test_a_keeper_saves_both_ways_and_a_node_without_one_is_remembered(join: Join) -> None:
    transfers = Transfers(bar=False)
    with World(MANIFEST, dict(MODEL), expect=2, rounds=3) as world, contextlib.ExitStack() as stack:
        grid = Carried()
        ada, ben = (join(world, name) for name in ("ada", "ben"))
        stack.enter_context(kept(world, ada, transfers))
        with_keeper, without = grid.add(app("ada"), ada), grid.add(app("ben"), ben)
        carrier = strategy(world)
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
        everybody = {account(name).address for name in ("ada", "ben")}
        assert [set(report.accepted) for report in carrier.reports] == [everybody] * 3
    theta, update = 8 * MANIFEST.size, MANIFEST.size
    assert [(down, up) for node, down, up in grid.bytes if node == with_keeper] == [(0, 0)] * 3
    asked, *carried = [(down, up) for node, down, up in grid.bytes if node == without]
    assert asked == (0, 0)
    assert len(carried) == 3
    assert all(theta < down < theta + 200 and update < up < update + 200 for down, up in carried)
    assert transfers.bytes == {DOWN: MANIFEST.state_file_size + 2 * MANIFEST.size, UP: 3 * update}


def test_a_relay_of_nodes_with_keepers_fetches_the_last_model_only(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=3) as world, contextlib.ExitStack() as stack:
        grid, ada = LocalGrid(), join(world, "ada")
        stack.enter_context(kept(world, ada, Transfers(bar=False)))
        grid.add(app("ada"), ada)
        carrier = strategy(world)
        fetched: list[str] = []
        download = carrier._relay.api.download

        def count(sha256: str, target: Path, size: int) -> Path:
            fetched.append(sha256)
            return download(sha256, target, size)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(carrier._relay.api, "download", count)
            result = carrier.start(grid=grid, initial_arrays=ArrayRecord())
        assert [len(report.accepted) for report in carrier.reports] == [1, 1, 1]
        assert fetched == [world.states[-1].sha256()]
        assert result.arrays


def test_a_keeper_that_fails_costs_the_bytes_of_one_round(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=2) as world, contextlib.ExitStack() as stack:
        grid, ada = Carried(), join(world, "ada")
        keeper = stack.enter_context(kept(world, ada, Transfers(bar=False)))
        grid.add(app("ada"), ada)
        base = keeper.base

        def full_in_the_first_round(number: int, *, closed: bool = False) -> Path:
            if number == 1:
                raise LocalError("The disk is full.", code="keeper-disk")
            return base(number, closed=closed)

        monkeypatch.setattr(keeper, "base", full_in_the_first_round)
        carrier = strategy(world)
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
        assert [len(report.accepted) for report in carrier.reports] == [1, 1]
    assert [down > 0 for _, down, _ in grid.bytes] == [False, True, False]


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


def test_a_base_that_is_not_the_chains_is_not_sent_in_a_message(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=2) as world, contextlib.ExitStack() as stack:
        grid, ada = LocalGrid(), join(world, "ada")
        other = State(world.states[0].theta + 1, world.states[0].momentum)
        genesis = replace(world.genesis, state=world.publish(other.to_bytes()))
        stack.enter_context(Keeper(ada, MANIFEST, genesis, (), Transfers(bar=False)))
        grid.add(app("ada"), ada)
        assert refusals(world, grid) == ["wrong-base"]
        assert len(grid.sent) == 1


def test_an_update_that_a_node_only_says_it_delivered_does_not_count(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=1) as world, contextlib.ExitStack() as stack:
        grid, ada = LocalGrid(), join(world, "ada")
        stack.enter_context(kept(world, ada, Transfers(bar=False)))
        grid.add(app("ada"), ada)
        monkeypatch.setattr(mod, "deliver", lambda *_: None)
        assert refusals(world, grid) == ["not-delivered"]


def test_an_app_that_aggregates_itself_gets_updates_in_replies(join: Join) -> None:
    strategy = Whisper(fraction_evaluate=0.0)
    results: list[Any] = []
    with federation(join, Node(), Node(), rounds=1) as (world, grid), contextlib.ExitStack() as stack:
        for _, context in grid.nodes.values():
            contributor = Contributor.of_node(context.node_config)
            keeper = Keeper(contributor, world.manifest, world.genesis, (), Transfers(bar=False))
            stack.enter_context(keeper)
        run(world, grid, lambda grid, context: results.append(strategy.start(grid, fresh())))
        assert len(strategy.trained) == 2
        assert all(size(message) == 0 for message in grid.sent)
