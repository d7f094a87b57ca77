# SPDX-License-Identifier: Apache-2.0
"""The strategy carries rounds, one reply at a time, and outlives whatever goes wrong on either side."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from folkmoot.errors import CoordinatorError, InputError
from folkmoot.flower import FolkmootStrategy, folkmoot_mod
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.relay.asking import MOST_ASKS, Asking
from folkmoot.flower.relay.reports import Progress
from folkmoot.flower.relay.rounds import Relay
from folkmoot.flower.relay.strategy import Pacing, mean_metrics
from folkmoot.flower.signing import LocalSigner
from folkmoot.rpc.client import Phase
from tests.unit.flower.conftest import MANIFEST, MODEL
from tests.unit.flower.grid import LocalGrid
from tests.unit.flower.test_mod import private_world
from tests.unit.flower.world import World, account

Join = Callable[..., Contributor]
QUICK = Pacing(replies=0.005, coordinator=0.005, nodes=0.01, first_pause=0.01, longest_pause=0.05)


def app(name: str, shift: float = 0.01) -> ClientApp:
    """An ordinary app that is anchored by one line."""
    made = ClientApp(mods=[folkmoot_mod(signer=LocalSigner(account(name)))])

    @made.train()
    def train(message: Message, context: Context) -> Message:
        arrays = {name: array.numpy() for name, array in message.content.array_records["arrays"].items()}
        moved = {
            name: Array(a - np.float32(shift) if a.dtype == np.float32 else a) for name, a in arrays.items()
        }
        metrics = MetricRecord({"num-examples": 5, "loss": 10 * shift})
        return Message(RecordDict({"arrays": ArrayRecord(moved), "metrics": metrics}), reply_to=message)

    @made.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        total = float(message.content.array_records["arrays"]["weight"].numpy().sum())
        return Message(RecordDict({"metrics": MetricRecord({"sum": total})}), reply_to=message)

    return made


def strategy(world: World, **options: Any) -> FolkmootStrategy:
    return FolkmootStrategy(world.url, pacing=QUICK, **options)


def test_it_carries_a_run_to_its_end(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=2, rounds=3) as world:
        grid = LocalGrid()
        for name in ("ada", "ben"):
            grid.add(app(name), join(world, name))
        carrier = strategy(world)
        result = carrier.start(grid=grid, initial_arrays=ArrayRecord(), num_rounds=100)
    assert world.run_state == "done"
    assert [report.round for report in carrier.reports] == [1, 2, 3]
    assert all(len(report.accepted) == 2 for report in carrier.reports)
    assert world.states[-1].model(MANIFEST)["weight"].mean() == pytest.approx(-0.03, abs=0.002)
    final = {name: array.numpy() for name, array in result.arrays.items()}
    assert all(np.array_equal(final[name], a) for name, a in world.states[-1].model(MANIFEST).items())
    assert result.train_metrics_clientapp[2]["loss"] == pytest.approx(0.1)
    assert max(grid.pulled) <= 2


def test_an_apps_own_arrays_must_fit_the_ledger(world: World, join: Join) -> None:
    grid = LocalGrid()
    grid.add(app("ada"), join(world))
    other = ArrayRecord(
        {"weight": Array(np.zeros((3, 99), np.float32)), "bias": Array(np.zeros(3, np.float32))}
    )
    with pytest.raises(InputError, match=r"not the one on the ledger: steps, weight differ"):
        strategy(world).start(grid=grid, initial_arrays=other)
    ours = ArrayRecord({name: Array(array) for name, array in MODEL.items()})
    strategy(world).start(grid=grid, initial_arrays=ours)
    assert world.run_state == "done"


def test_a_node_without_the_mod_is_reported_and_the_others_go_on(join: Join) -> None:
    plain = ClientApp()

    @plain.train()
    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"loss": 1.0})}), reply_to=message)

    with World(MANIFEST, dict(MODEL), expect=1, rounds=1) as world:
        grid = LocalGrid()
        grid.add(plain, None)
        grid.add(app("ada"), join(world, "ada"))
        carrier = strategy(world)
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
    (report,) = carrier.reports
    assert report.accepted == [account("ada").address]
    assert report.refused[0][1].startswith("not-anchored:")


def test_an_update_that_the_coordinator_refuses(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=1) as world:
        grid, accept = LocalGrid(), world.accept

        def refuse(number: int, wire: str, data: bytes) -> tuple[int, dict[str, Any]]:
            return accept(number, wire, data if world.refusals else bytes([255 - data[0]]) + data[1:])

        world.accept = refuse  # type: ignore[method-assign]
        for name in ("ada", "ben"):
            grid.add(app(name), join(world, name))
        carrier = strategy(world)
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
    assert world.refusals == ["wrong-root"]
    assert len(carrier.reports[0].accepted) == 1
    assert carrier.reports[0].refused[0][1].startswith("wrong-root:")


def test_a_node_that_joins_in_the_middle_of_a_round(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=2, rounds=1) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world, "ada"))
        late = join(world, "ben")
        threading.Timer(0.1, lambda: grid.add(app("ben"), late)).start()
        grid.add(None, None)  # never answers
        strategy(world).start(grid=grid, initial_arrays=ArrayRecord())
    assert world.run_state == "done"
    assert len(grid.sent) == 3


class Growing(LocalGrid):
    """A second node, as silent as the first, connects when the relay has looked so many times."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.seen: list[int] = []
        """Messages that were sent, at each look."""

    def get_node_ids(self) -> Iterable[int]:
        if len(self.seen) == self.at:
            self.add(None, None)
        self.seen.append(len(self.sent))
        return super().get_node_ids()


def test_a_private_round_asks_nobody_until_enough_nodes_are_there(join: Join) -> None:
    """A training spends a part of the budget, in vain if the round is cancelled for too few updates."""
    with private_world() as world:
        world.policy, world.expect = replace(world.policy, min_contributors=2), 9
        grid = Growing(at=5)
        grid.add(None, None)

        def cancel() -> None:
            if grid.sent:
                world.rounds[-1].phase = Phase.CANCELLED
                world.run_state = "failed"

        grid.on_push = cancel
        with pytest.raises(CoordinatorError, match="The run failed"):
            strategy(world).start(grid=grid, initial_arrays=ArrayRecord())
    assert grid.seen[:6] == [0] * 6, "one node alone is not asked"
    assert sorted(message.metadata.dst_node_id for message in grid.sent) == [100, 101]


@pytest.mark.parametrize("code", [ErrorCode.CLIENT_APP_CRASHED, ErrorCode.MESSAGE_UNAVAILABLE])
def test_a_node_whose_answer_got_lost_is_asked_again_and_not_for_ever(join: Join, code: int) -> None:
    """Its process ended in training twice; another node's ends always."""
    with World(MANIFEST, dict(MODEL), expect=1, rounds=1) as world:
        grid = LocalGrid()
        node = grid.add(app("ada"), join(world, "ada"))
        hopeless = grid.add(app("ben"), join(world, "ben"))
        times: Counter[int] = Counter()

        def ends_before(message: Message) -> bool:
            who = message.metadata.dst_node_id
            times[who] += 1
            lost = who == hopeless or times[who] < 3
            if lost:
                answer = Message(Error(code, "ClientApp stopped responding."), reply_to=message)
                grid.replies[message.metadata.message_id] = answer
            return not lost

        grid.reaches = ends_before
        carrier = strategy(world)
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
    assert carrier.reports[0].accepted == [account("ada").address]
    assert times[node] == 3
    assert times[hopeless] <= MOST_ASKS


def test_a_round_does_not_wait_for_a_node_that_has_left(join: Join) -> None:
    """The run wants three nodes; one never comes, one comes late and is asked."""
    with World(MANIFEST, dict(MODEL), expect=2, rounds=2) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world, "ada"))
        late = join(world, "ben")
        threading.Timer(0.1, lambda: grid.add(app("ben"), late)).start()
        carrier = strategy(world, min_available_nodes=3)
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
    assert world.run_state == "done"
    assert [len(report.accepted) for report in carrier.reports] == [2, 2]


def test_the_coordinator_may_go_away_and_come_back(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=3) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world, "ada"))

        def away() -> None:
            world.down = True
            threading.Timer(0.2, lambda: setattr(world, "down", False)).start()

        grid.on_push = away
        carrier = strategy(world)
        carrier.start(grid=grid, initial_arrays=ArrayRecord(), num_rounds=10)
    assert world.run_state == "done"
    assert [len(report.accepted) for report in carrier.reports] == [1, 1, 1]


def test_a_coordinator_that_stays_away(world: World) -> None:
    world.down = True
    started = time.monotonic()
    with pytest.raises(CoordinatorError):
        strategy(world).start(grid=LocalGrid(), initial_arrays=ArrayRecord(), timeout=0.2)
    assert time.monotonic() - started < 5


def test_a_node_whose_message_got_lost_on_the_way_is_asked_again(join: Join) -> None:
    """The connection broke while the SuperLink handed the message out: the node is there and knows of nothing."""

    lose = [1, 2]
    with World(MANIFEST, dict(MODEL), expect=2) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world, "ada"))
        unlucky = grid.add(app("ben"), join(world, "ben"))
        grid.reaches = lambda message: not (message.metadata.dst_node_id == unlucky and lose and lose.pop())
        carrier = FolkmootStrategy(world.url, pacing=replace(QUICK, silence=0.05))
        carrier.start(grid=grid, initial_arrays=ArrayRecord())
    assert world.run_state == "done"
    asked = Counter(message.metadata.dst_node_id for message in grid.sent)
    assert asked[unlucky] == 3
    assert len(carrier.reports[0].accepted) == 2


@pytest.mark.parametrize("by_clock", [False, True])
def test_by_the_clock_a_silent_node_is_not_asked_again(by_clock: bool) -> None:
    """All nodes are silent until the window nearly ends."""
    grid = LocalGrid()
    node = grid.add(None, None)

    def write(nodes: list[int]) -> list[Message]:
        return [Message(RecordDict(), one, "train") for one in nodes]

    asking = Asking(grid, write, window=0.0, silence=0.0, progress=Progress(1), by_clock=by_clock)
    asking.ask(write([node]))
    asking.ask_again(joining=True)
    assert len(grid.sent) == (1 if by_clock else 2)


def test_a_silent_node_that_has_left_is_not_spoken_of(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaving(LocalGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            identifiers = list(super().push_messages(messages))
            self.nodes.pop(gone, None)
            return identifiers

    told: list[object] = []

    def log(level: int, text: str, *values: object) -> None:
        told.extend(values if "No word from" in text else ())

    monkeypatch.setattr("folkmoot.flower.relay.asking.log", log)
    lose = [1, 2]
    with World(MANIFEST, dict(MODEL), expect=2, rounds=1) as world:
        grid = Leaving()
        grid.add(app("ada"), join(world, "ada"))
        unlucky = grid.add(app("ben"), join(world, "ben"))
        gone = grid.add(app("cleo"), join(world, "cleo"))

        def reaches(message: Message) -> bool:
            node = message.metadata.dst_node_id
            return node != gone and not (node == unlucky and lose and lose.pop())

        grid.reaches = reaches
        FolkmootStrategy(world.url, pacing=replace(QUICK, silence=0.05)).start(
            grid=grid, initial_arrays=ArrayRecord()
        )
    assert told == [1, 1]


def test_a_strategy_that_is_started_again_in_the_middle_of_a_round(join: Join) -> None:
    """The relay died after one of two updates: the next one asks again and gets the same."""
    with World(MANIFEST, dict(MODEL), expect=2, rounds=1) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world, "ada"))
        grid.add(None, None)
        first = strategy(world)

        class DiedError(Exception):
            pass

        def die() -> list[int]:
            if len(world.rounds[-1].updates) == 1:
                raise DiedError
            return list(grid.nodes)

        grid.get_node_ids = die
        with pytest.raises(DiedError):
            first.start(grid=grid, initial_arrays=ArrayRecord())
        world.run_state = "running"
        before = dict(world.rounds[-1].updates)
        second = LocalGrid()
        second.nodes = dict(grid.nodes)
        second.nodes[101] = (app("ben"), LocalGrid_context(join(world, "ben")))
        strategy(world).start(grid=second, initial_arrays=ArrayRecord())
        ada = account("ada").address
        assert world.rounds[-1].updates[ada] == before[ada]
    assert world.run_state == "done"


def LocalGrid_context(contributor: Contributor) -> Context:
    from tests.unit.flower.grid import context

    return context(contributor, 101)


def test_num_rounds_is_a_bound(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=5) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world, "ada"))
        strategy(world).start(grid=grid, initial_arrays=ArrayRecord(), num_rounds=2)
    assert world.rounds[-1].number == 3
    assert world.run_state == "running"


def test_a_fraction_of_the_nodes(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=2, rounds=1) as world:
        grid = LocalGrid()
        for name in ("ada", "ben", "cleo", "dora"):
            grid.add(app(name), join(world, name))
        strategy(world, fraction_train=0.5).start(grid=grid, initial_arrays=ArrayRecord())
    assert len(grid.sent) == 2


def test_evaluation_on_nodes_and_at_the_server(join: Join) -> None:
    with World(MANIFEST, dict(MODEL), expect=1, rounds=2) as world:
        grid = LocalGrid()
        grid.add(app("ada"), join(world, "ada"))
        carrier = strategy(world, fraction_evaluate=1.0)
        result = carrier.start(
            grid=grid,
            initial_arrays=ArrayRecord(),
            evaluate_fn=lambda number, arrays: MetricRecord({"bias": float(arrays["bias"].numpy().mean())}),
        )
    assert set(result.evaluate_metrics_clientapp) == {0, 1}
    assert result.evaluate_metrics_clientapp[1]["sum"] == pytest.approx(-3.0, abs=0.3)
    assert result.evaluate_metrics_serverapp[0]["bias"] == 0.0
    assert result.evaluate_metrics_serverapp[1]["bias"] == pytest.approx(-0.01, abs=0.005)


@pytest.mark.parametrize("fraction", [0.0, 1.5, -1.0])
def test_impossible_fractions(fraction: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        FolkmootStrategy("http://127.0.0.1:9", fraction_train=fraction)


def test_arguments_of_fedavg_mean_what_they_mean_there(join: Join) -> None:
    """Keys of records, aggregations of metrics, and the setting of FedProx."""
    seen: list[RecordDict] = []
    made = ClientApp(mods=[folkmoot_mod(signer=LocalSigner(account("ada")))])

    @made.train()
    def train(message: Message, context: Context) -> Message:
        seen.append(message.content)
        content = {"model": message.content["model"], "metrics": MetricRecord({"loss": 2.0, "points": 3})}
        return Message(RecordDict(content), reply_to=message)

    @made.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        assert list(message.content) == ["model", "settings"]
        return Message(RecordDict({"metrics": MetricRecord({"points": 1})}), reply_to=message)

    def aggregate(said: list[RecordDict], key: str) -> MetricRecord:
        assert key == "points"
        return MetricRecord({"sum": sum(float(next(iter(r.metric_records.values()))[key]) for r in said)})

    with World(MANIFEST, dict(MODEL), expect=1, rounds=2) as world:
        grid = LocalGrid()
        grid.add(made, join(world, "ada"))
        result = strategy(
            world,
            arrayrecord_key="model",
            configrecord_key="settings",
            weighted_by_key="points",
            train_metrics_aggr_fn=aggregate,
            evaluate_metrics_aggr_fn=aggregate,
            fraction_evaluate=0.1,
            min_evaluate_nodes=1,
            proximal_mu=0.3,
        ).start(grid=grid, initial_arrays=ArrayRecord(), num_rounds=2)
    assert list(seen[0]) == ["model", "settings"]
    assert seen[0].config_records["settings"]["proximal-mu"] == 0.3
    assert dict(result.train_metrics_clientapp[1]) == {"sum": 3.0}
    assert dict(result.evaluate_metrics_clientapp[1]) == {"sum": 1.0}


def test_metrics_are_weighed_only_if_asked_for() -> None:
    said = [
        RecordDict({"m": MetricRecord({"loss": 1.0, "n": 1})}),
        RecordDict({"m": MetricRecord({"loss": 4.0, "n": 2, "odd": float("inf")})}),
        RecordDict({"m": MetricRecord({"loss": 7.0, "n": -5})}),
    ]
    assert mean_metrics(said)["loss"] == 4.0
    assert dict(mean_metrics(said, "n")) == {"loss": 3.0}


def test_the_relay_looks_less_often_the_longer_it_waits() -> None:
    pacing, now = Pacing(), time.monotonic()
    assert pacing.pause(0.1, now) == 0.1
    assert pacing.pause(0.1, now - 5) == pytest.approx(0.5, abs=0.1)
    assert pacing.pause(0.1, now - 3600) == 1.0
    assert pacing.pause(2.0, now - 3600) == 2.0, "never more often than was asked for"


def test_no_coordinator_is_said_at_once() -> None:
    with pytest.raises(InputError, match="URL is empty") as caught:
        FolkmootStrategy("")
    assert caught.value.code == "no-coordinator"
    assert "folkmoot-coordinator" in caught.value.remedy


def test_d3_a_round_below_the_last_one_is_served_after_a_rollback_of_the_chain(world: World) -> None:
    relay = Relay(world.url, pacing=QUICK)
    run = world.run()["id"]
    served = relay.await_round(run, None)
    assert served is not None
    assert (served.round, relay.still_open(served)) == (1, True)
    above = replace(served, round=7)
    assert relay.await_round(run, above) == served
    world.opened_at += 1
    again = relay.await_round(run, served)
    assert again is not None
    assert (again.round, relay.still_open(again), relay.still_open(served)) == (1, True, False)
    assert relay.await_end(run, served) is None, "nobody waits for the end of what the chain lost"
    assert relay.await_end(run, above) is None
    world.run_state = "done"
    assert relay.await_round(run, again) is None, "the same one is not served twice"
    relay.api.close()
