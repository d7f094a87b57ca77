# SPDX-License-Identifier: Apache-2.0
"""An app of Flower's old interface is anchored without a change, and its server sees what Flower's shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.client import Client, NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    GetPropertiesIns,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.compat.server import ServerAppComponents
from flwr.server import ServerConfig, SimpleClientManager
from flwr.server.history import History
from flwr.server.server import Server
from flwr.server.strategy import DPFedAvgFixed, FedAvg, FedProx, FedXgbBagging
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg as Averages

from folkmoot.errors import InputError
from folkmoot.flower import anchored_client, anchored_server
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.encoding import failure
from folkmoot.flower.relay.server_app import AnchoredServerApp
from folkmoot.flower.signing import LocalSigner
from folkmoot.protocol.manifest import Manifest
from tests.unit.flower import test_anchored
from tests.unit.flower.grid import LocalGrid
from tests.unit.flower.test_anchored import QUICK, context
from tests.unit.flower.world import World, account

Join = Callable[..., Contributor]

LIST: list[Any] = [np.linspace(-1, 1, 300), np.array(7, np.int64), np.full(3, 0.5, np.float32)]
"""A net with BatchNorm as its state_dict's values: a counter in the middle."""
MANIFEST = Manifest.from_arrays("old", {str(at): value for at, value in enumerate(LIST)})


class Moves(NumPyClient):
    """Moves all floats down; keeps what it saw in its node's state, as FedBN and FedRep do."""

    def __init__(self, node: Node, state: RecordDict) -> None:
        self.node, self.state = node, state

    def get_properties(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"shift": self.node.shift}

    def fit(self, parameters: Any, config: dict[str, Any]) -> Any:
        kept = self.state.array_records.get("kept")
        self.node.rounds.append(0 if kept is None else int(kept["rounds"].numpy()))
        self.state["kept"] = ArrayRecord({"rounds": Array(np.array(self.node.rounds[-1] + 1))})
        self.node.seen.append((dict(config), parameters))
        moved = [a - a.dtype.type(self.node.shift) if a.dtype.kind == "f" else a + 1 for a in parameters]
        return moved, 40, {"loss": 0.5, "who": "a text", "blob": b"bytes"}

    def evaluate(self, parameters: Any, config: dict[str, Any]) -> Any:
        return float(parameters[0][0]), 40, {"accuracy": 0.25}


class Node:
    def __init__(self, shift: float = 0.01) -> None:
        self.shift = shift
        self.seen: list[tuple[dict[str, Any], list[Any]]] = []
        self.rounds: list[int] = []
        self.app = ClientApp(client_fn=lambda context: Moves(self, context.state).to_client())


class Saves(Server):
    """Keeps the history, as most of Flower's baselines do."""

    history: History

    def fit(self, num_rounds: int, timeout: float | None) -> Any:
        self.history, seconds = super().fit(num_rounds, timeout)
        return self.history, seconds


def legacy(strategy: Any, rounds: int = 2) -> tuple[ServerApp, Saves]:
    server = Saves(client_manager=SimpleClientManager(), strategy=strategy)

    def server_fn(context: Context) -> ServerAppComponents:
        return ServerAppComponents(server=server, config=ServerConfig(num_rounds=rounds))

    return ServerApp(server_fn=server_fn), server


@contextmanager
def federation(join: Join, *nodes: Node, rounds: int = 2) -> Iterator[tuple[World, LocalGrid]]:
    arrays = {str(at): value for at, value in enumerate(LIST)}
    with World(MANIFEST, arrays, expect=len(nodes), rounds=rounds) as world:
        grid = LocalGrid()
        for at, node in enumerate(nodes):
            name = ("ada", "ben", "cleo")[at]
            grid.add(anchored_client(node.app, signer=LocalSigner(account(name))), join(world, name))
        yield world, grid


def run(world: World, grid: Grid, app: ServerApp) -> None:
    AnchoredServerApp(app, QUICK)(grid, context(world.url))


def model(world: World, at: int = -1) -> list[Any]:
    return list(MANIFEST.unflatten(world.states[at].to_float32(), dtypes=True).values())


def same(first: list[Any], second: list[Any]) -> bool:
    return all(
        a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
        for a, b in zip(first, second, strict=True)
    )


def zeros() -> Parameters:
    return ndarrays_to_parameters([np.zeros_like(value) for value in LIST])


def test_an_app_as_it_is(join: Join) -> None:
    ada, ben = Node(), Node(0.02)
    seen: list[tuple[int, list[Any]]] = []
    examples: list[list[int]] = []

    def evaluate(number: int, arrays: list[Any], config: Any) -> Any:
        seen.append((number, arrays))
        return float(number), {"nested": {"of": "things"}, "kind": "text"}

    def mean(metrics: list[tuple[int, Any]]) -> Any:
        examples.append([number for number, _ in metrics])
        assert all(one.get("blob", b"bytes") == b"bytes" for _, one in metrics)
        return {"mean": sum(one.get("loss", 1) for _, one in metrics) / len(metrics)}

    strategy = FedProx(
        proximal_mu=0.5,
        initial_parameters=zeros(),
        evaluate_fn=evaluate,
        on_fit_config_fn=lambda number: {"round": number},
        fit_metrics_aggregation_fn=mean,
        evaluate_metrics_aggregation_fn=mean,
    )
    app, server = legacy(strategy, rounds=3)
    with federation(join, ada, ben, rounds=3) as (world, grid):
        run(world, grid, app)
        assert world.run_state == "done"
        assert [number for number, _ in seen] == [0, 1, 2, 3]
        assert all(same(arrays, model(world, number)) for number, arrays in seen)
        assert same(parameters_to_ndarrays(server.parameters), model(world))
        for at, (config, arrays) in enumerate(ada.seen):
            assert config == {"round": at + 1, "proximal_mu": 0.5}
            assert same(arrays, model(world, at))
    assert ada.rounds == [0, 1, 2], "the state goes from round to round"
    assert server.history.losses_centralized == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    assert server.history.metrics_distributed_fit == {"mean": [(1, 0.5), (2, 0.5), (3, 0.5)]}
    last = float(model(world)[0][0])
    assert server.history.losses_distributed[-1][1] == pytest.approx(last)
    assert examples == [[1, 1]] * 6, "how many records a node has does not leave it"
    assert "configure_fit" not in vars(strategy)


def test_what_flower_shows_without_us_is_the_same(join: Join) -> None:
    """The same app by Flower alone: the calls of its strategy are the same, one by one."""

    class Notes(FedAvg):
        def __init__(self, **more: Any) -> None:
            super().__init__(initial_parameters=zeros(), **more)
            self.calls: list[Any] = []

        def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
            self.calls.append(("configure_fit", server_round, client_manager.num_available()))
            return super().configure_fit(server_round, parameters, client_manager)

        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            self.calls.append(
                ("aggregate_fit", server_round, sorted(c.node_id for c, _ in results), failures)
            )
            return super().aggregate_fit(server_round, results, failures)

        def configure_evaluate(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
            self.calls.append(("configure_evaluate", server_round))
            return super().configure_evaluate(server_round, parameters, client_manager)

        def aggregate_evaluate(self, server_round: int, results: Any, failures: Any) -> Any:
            self.calls.append(("aggregate_evaluate", server_round, len(results), failures))
            return super().aggregate_evaluate(server_round, results, failures)

        def evaluate(self, server_round: int, parameters: Any) -> Any:
            self.calls.append(("evaluate", server_round))
            return 1.0, {}

    class PlainGrid(LocalGrid):
        def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> Any:
            return self.pull_messages(self.push_messages(messages))

    plain, anchored = Notes(), Notes()
    grid = PlainGrid()
    for node in (Node(), Node(0.02)):
        grid.add(node.app, None)
    legacy(plain)[0](grid, context(""))
    with federation(join, Node(), Node(0.02)) as (world, ours):
        run(world, ours, legacy(anchored)[0])
    assert anchored.calls == plain.calls
    assert len(plain.calls) == 11


def test_an_own_aggregation_gets_what_clients_trained_and_its_metrics_count(join: Join) -> None:
    trained: list[Any] = []

    class Own(FedAvg):
        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            trained.extend(parameters_to_ndarrays(result.parameters) for _, result in results)
            assert all(result.metrics["who"] == "a text" for _, result in results)
            return ndarrays_to_parameters([np.ones(3)]), {"its": 1.5}

    app, server = legacy(Own(initial_parameters=zeros(), fraction_evaluate=0.0), rounds=1)
    with federation(join, Node(), Node(0.05), rounds=1) as (world, grid):
        run(world, grid, app)
        assert same(parameters_to_ndarrays(server.parameters), model(world))
    assert server.history.metrics_distributed_fit == {"its": [(1, 1.5)]}
    starts = sorted(float(arrays[0][0]) for arrays in trained)
    assert starts == pytest.approx([-1.05, -1.01], abs=2**-9)


def test_a_strategy_given_to_the_serverapp_and_one_that_flower_supplies(join: Join) -> None:
    for app in (
        ServerApp(config=ServerConfig(num_rounds=1), strategy=FedAvg(initial_parameters=zeros())),
        ServerApp(
            config=ServerConfig(num_rounds=1)
        ),  # Its parameters would come from a client: the chain has them.
    ):
        with federation(join, Node(), Node(0.02), rounds=1) as (world, grid):
            run(world, grid, app)
            assert world.run_state == "done"


def test_a_main_function_with_a_workflow_of_the_old_interface(join: Join) -> None:
    from flwr.server import LegacyContext
    from flwr.server.workflow import DefaultWorkflow

    kept: list[Any] = []
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        old = LegacyContext(context, ServerConfig(num_rounds=1), FedAvg(initial_parameters=zeros()))
        DefaultWorkflow()(grid, old)
        kept.append(old.history)

    with federation(join, Node(), Node(0.02), rounds=1) as (world, grid):
        run(world, grid, app)
        assert kept[0].losses_distributed[0][0] == 1


def test_a_strategy_that_asks_clients_and_selects_one(join: Join) -> None:
    class Selects(FedAvg):
        def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
            clients = client_manager.sample(2, 2)
            ins = FitIns(parameters, {"round": server_round})
            shifts = {
                c.get_properties(GetPropertiesIns({}), timeout=30, group_id=1).properties["shift"]: c
                for c in clients
            }
            return [(shifts[max(shifts)], ins)]

    ada, ben = Node(), Node(0.02)
    with federation(join, ada, ben, rounds=1) as (world, grid):
        world.expect = 1
        run(world, grid, legacy(Selects(initial_parameters=zeros(), fraction_evaluate=0.0), rounds=1)[0])
        assert world.run_state == "done"
    assert (len(ada.seen), len(ben.seen)) == (0, 1)


def test_a_client_that_fails_is_a_failure_for_the_strategy(join: Join) -> None:
    found: list[Any] = []

    class Counts(FedAvg):
        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            found.append((len(results), [str(one) for one in failures]))
            return super().aggregate_fit(server_round, results, failures)

    class Says(Client):
        def fit(self, ins: FitIns) -> FitRes:
            return FitRes(Status(Code.FIT_NOT_IMPLEMENTED, "no data today"), Parameters([], ""), 0, {})

    broken = Node()
    broken.app = ClientApp(client_fn=lambda context: Says())
    with federation(join, Node(), broken, rounds=1) as (world, grid):
        world.expect, grid.on_push = 9, world.close_round  # It ends once both have been asked.
        strategy = Counts(initial_parameters=zeros(), fraction_evaluate=0.0)
        run(world, grid, legacy(strategy, rounds=1)[0])
    ((results, failures),) = found
    assert (results, len(failures)) == (1, 1)
    assert "training-failed" in failures[0]


def test_a_server_that_is_started_again_goes_on_at_the_right_round(join: Join) -> None:
    class DiedError(Exception):
        pass

    node, seen = Node(), []

    def app(dies_at: int) -> ServerApp:
        def evaluate(number: int, arrays: list[Any], config: Any) -> Any:
            seen.append((number, arrays))
            if number == dies_at:
                raise DiedError
            return 0.0, {}

        strategy = FedAvg(
            initial_parameters=zeros(),
            evaluate_fn=evaluate,
            min_fit_clients=1,
            min_evaluate_clients=1,
            min_available_clients=1,
        )
        return legacy(strategy, rounds=4)[0]

    with federation(join, node, rounds=4) as (world, grid):
        with pytest.raises(DiedError):
            run(world, grid, app(2))
        assert world.completed == 2
        seen.clear()
        run(world, grid, app(99))
        assert world.run_state == "done"
        assert [number for number, _ in seen] == [0, 1, 2, 3, 4]
        assert all(same(arrays, model(world, number)) for number, arrays in seen)
    assert len(node.seen) == 4


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (lambda: DPFedAvgFixed(FedAvg(initial_parameters=zeros()), 2, 1.0), "it adds noise to the sum"),
        (lambda: FedXgbBagging(initial_parameters=zeros()), "it sends trees"),
    ],
)
def test_strategies_that_cant_be_anchored(strategy: Callable[[], Any], words: str) -> None:
    grid = LocalGrid()
    grid.add(None, None)
    with pytest.raises(InputError, match=words) as caught:
        anchored_server(legacy(strategy())[0])(grid, context("http://127.0.0.1:9"))
    assert caught.value.code == "unsupported-app"
    assert not grid.sent


def test_a_strategy_that_sends_each_client_another_model_is_refused(join: Join) -> None:
    class Parts(FedAvg):
        def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
            first = ndarrays_to_parameters(parameters_to_ndarrays(parameters)[:1])
            return [(c, FitIns(first, {})) for c in client_manager.sample(2, 2)]

    with federation(join, Node(), Node()) as (world, grid):
        with pytest.raises(InputError, match="sends a client other arrays than the model") as caught:
            run(world, grid, legacy(Parts(initial_parameters=zeros()))[0])
        assert caught.value.code == "unsupported-app"


def test_a_start_with_other_names_for_its_arrays_is_anchored(join: Join) -> None:
    """Its own loop, and one that calls its parent's: only that has the arrays as a record."""
    seen: list[tuple[int, ArrayRecord]] = []

    class Packs(Averages):
        def start(self, grid: Grid, models: list[ArrayRecord], rounds: int) -> Any:  # type: ignore[override]
            return super().start(
                grid, models[0], rounds, evaluate_fn=lambda n, arrays: seen.append((n, arrays))
            )

    class Loops(Averages):
        def start(self, grid: Grid, models: list[ArrayRecord], rounds: int) -> Any:  # type: ignore[override]
            messages = self.configure_train(1, models[0], ConfigRecord(), grid)
            arrays, _ = self.aggregate_train(1, grid.send_and_receive(messages))
            seen.append((1, arrays))  # type: ignore[arg-type]

    for kind, numbers in ((Packs, [0, 1]), (Loops, [1])):
        seen.clear()
        app = ServerApp()

        @app.main()
        def main(grid: Grid, context: Context, kind: Any = kind) -> None:
            first = ArrayRecord(
                {name: Array(np.zeros_like(value)) for name, value in test_anchored.LIST.items()}
            )
            kind(fraction_evaluate=0.0).start(grid, [first], 9)

        nodes = test_anchored.Node(), test_anchored.Node()
        with test_anchored.federation(join, *nodes, rounds=1) as (world, grid):
            run(world, grid, app)
            assert world.run_state == "done"
            assert [number for number, _ in seen] == numbers
            assert all(
                test_anchored.same(arrays, test_anchored.model(world, number)) for number, arrays in seen
            )


def test_a_reply_without_a_status_is_no_failure() -> None:
    assert failure(RecordDict()) == ""
    assert failure(Message(RecordDict(), 1, "train").content) == ""
