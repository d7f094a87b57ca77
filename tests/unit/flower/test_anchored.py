# SPDX-License-Identifier: Apache-2.0
"""An app of somebody else's is anchored without a change, and sees what it would see without us."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp import strategy as theirs
from flwr.serverapp.strategy import FedAvg, Result, Strategy

from folkmoot.errors import CoordinatorError, InputError
from folkmoot.flower import anchored_client, anchored_server
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.records import COORDINATOR
from folkmoot.flower.relay.reports import parse
from folkmoot.flower.relay.rounds import Pacing
from folkmoot.flower.relay.server_app import AnchoredServerApp
from folkmoot.flower.signing import LocalSigner
from folkmoot.protocol.manifest import Manifest
from tests.unit.flower.grid import LocalGrid
from tests.unit.flower.world import World, account

Join = Callable[..., Contributor]
QUICK = Pacing(replies=0.005, coordinator=0.005, nodes=0.01, first_pause=0.01, longest_pause=0.05)

LIST = {
    "0": np.linspace(-1, 1, 300),
    "1": np.array(7, np.int64),
    "2": np.full(3, 0.5, np.float16),
    "3": np.array([0, -np.inf], np.float32),
    "4": np.array(0.25, np.float32),
}
"""What a list of arrays of a net with BatchNorm and a mask looks like: a counter in the middle."""
MANIFEST = Manifest.from_arrays("list", LIST)


class Node:
    """An app that takes its weights by place, as lists of NumPy arrays are used, and wants one ConfigRecord."""

    def __init__(self, shift: float = 0.01) -> None:
        self.shift = shift
        self.seen: list[tuple[int, list[np.ndarray[Any, Any]]]] = []
        self.records: list[list[str]] = []
        self.app = ClientApp()
        self.app.train()(self.train)
        self.app.evaluate()(self.evaluate)

    def train(self, message: Message, context: Context) -> Message:
        (config,) = message.content.config_records.values()
        (record,) = message.content.array_records.values()
        arrays = record.to_numpy_ndarrays()
        self.seen.append((int(config["server-round"]), arrays))
        self.records.append(list(message.content))
        trained = [
            (a - a.dtype.type(self.shift)) if a.dtype.kind == "f" else a + 1 for a in map(np.asarray, arrays)
        ]
        metrics = MetricRecord({"num-examples": 4, "loss": 0.5, "lr": float(config.get("lr", 0))})
        reply = {
            "arrays": ArrayRecord({str(i): Array(np.asarray(a)) for i, a in enumerate(trained)}),
            "metrics": metrics,
            "fit": ConfigRecord({"trained": True}),
        }
        return Message(RecordDict(reply), reply_to=message)

    def evaluate(self, message: Message, context: Context) -> Message:
        arrays = message.content.array_records["arrays"].to_numpy_ndarrays()
        metrics = MetricRecord({"num-examples": 1, "first": float(arrays[0][0])})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)


def fresh() -> ArrayRecord:
    """What the app's main function makes: the right layout, and other weights than the federation's."""
    return ArrayRecord({name: Array(np.zeros_like(value)) for name, value in LIST.items()})


def server(main: Callable[[Grid, Context], None]) -> ServerApp:
    app = ServerApp()
    app.main()(main)
    return app


def context(url: str) -> Context:
    return Context(
        run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={COORDINATOR: url}, series_id=1
    )


@contextmanager
def federation(
    join: Join, *nodes: Node, rounds: int = 2, expect: int = 0
) -> Iterator[tuple[World, LocalGrid]]:
    with World(MANIFEST, dict(LIST), expect=expect or len(nodes), rounds=rounds) as world:
        grid = LocalGrid()
        for at, node in enumerate(nodes):
            name = ("ada", "ben", "cleo")[at]
            grid.add(anchored_client(node.app, signer=LocalSigner(account(name))), join(world, name))
        yield world, grid


def run(world: World, grid: Grid, main: Callable[[Grid, Context], None]) -> None:
    AnchoredServerApp(server(main), QUICK)(grid, context(world.url))


def model(world: World, at: int = -1) -> dict[str, np.ndarray[Any, Any]]:
    return MANIFEST.unflatten(world.states[at].to_float32(), dtypes=True)


def same(record: ArrayRecord, expected: dict[str, np.ndarray[Any, Any]]) -> bool:
    found = {name: array.numpy() for name, array in record.items()}
    return list(found) == list(expected) and all(
        found[name].dtype == value.dtype and found[name].shape == value.shape and (found[name] == value).all()
        for name, value in expected.items()
    )


# What an app sees


def test_an_app_as_it_is(join: Join) -> None:
    ada, ben = Node(), Node(0.02)
    seen: list[tuple[int, ArrayRecord]] = []
    results: list[Result] = []

    def main(grid: Grid, context: Context) -> None:
        results.append(
            FedAvg(fraction_evaluate=1.0).start(
                grid=grid,
                initial_arrays=fresh(),
                num_rounds=3,
                train_config=ConfigRecord({"lr": 0.1}),
                evaluate_fn=lambda number, arrays: seen.append((number, arrays)),
            )
        )

    with federation(join, ada, ben, rounds=3) as (world, grid):
        run(world, grid, main)
    assert world.run_state == "done"
    (result,) = results
    # Numbers, order, dtypes and weights are those of the app and of the chain; nothing is the app's fresh model.
    assert [number for number, _ in seen] == [0, 1, 2, 3]
    assert all(same(arrays, model(world, number)) for number, arrays in seen)
    assert same(result.arrays, model(world))
    for number, arrays in ada.seen:
        expected = model(world, number - 1)
        assert [array.dtype for array in arrays] == [value.dtype for value in LIST.values()]
        assert all((array == value).all() for array, value in zip(arrays, expected.values(), strict=True))
    assert [number for number, _ in ada.seen] == [1, 2, 3]
    assert ada.records == [["arrays", "config"]] * 3
    assert float(model(world)["4"]) == pytest.approx(0.25 - 3 * 0.015, abs=0.005)
    # The metrics are the app's own: a mean, weighted by num-examples, which Flower leaves out.
    assert dict(result.train_metrics_clientapp[3]) == pytest.approx({"loss": 0.5, "lr": 0.1})
    assert result.evaluate_metrics_clientapp[3]["first"] == pytest.approx(float(model(world)["0"][0]))


class OwnStart(FedAvg):
    """A strategy with a loop of its own, like that of Flower's advanced example."""

    def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3, **_: Any) -> Result:  # type: ignore[override]
        result, arrays, config = Result(), initial_arrays, ConfigRecord({"lr": 1.0})
        self.saved = [arrays]
        for number in range(1, num_rounds + 1):
            replies = grid.send_and_receive(self.configure_train(number, arrays, config, grid), timeout=60)
            made, metrics = self.aggregate_train(number, replies)
            assert made is not None
            assert metrics is not None
            arrays = result.arrays = made
            result.train_metrics_clientapp[number] = metrics
            self.saved.append(arrays)
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        if server_round == 2:
            config["lr"] = float(config["lr"]) / 2
        return super().configure_train(server_round, arrays, config, grid)


def test_a_start_of_its_own_sees_every_rounds_model(join: Join) -> None:
    strategy = OwnStart()
    results: list[Result] = []

    def main(grid: Grid, context: Context) -> None:
        results.append(strategy.start(grid, fresh(), num_rounds=3))

    with federation(join, Node(), Node(), rounds=3) as (world, grid):
        run(world, grid, main)
    assert all(same(arrays, model(world, number)) for number, arrays in enumerate(strategy.saved))
    assert [results[0].train_metrics_clientapp[number]["lr"] for number in (1, 2, 3)] == [1.0, 0.5, 0.5]


def test_a_start_that_calls_its_parents_and_one_that_is_defined_later(join: Join) -> None:
    before = Strategy.start

    def main(grid: Grid, context: Context) -> None:
        class Later(OwnStart):
            def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3, **_: Any) -> Result:  # type: ignore[override]
                return super().start(grid, initial_arrays, num_rounds)

        assert same(Later().start(grid, fresh()).arrays, model(world))

    with federation(join, Node(), Node()) as (world, grid):
        run(world, grid, main)
    assert world.run_state == "done"
    assert Strategy.start is before
    assert "__init_subclass__" not in vars(Strategy)


def test_a_loop_that_pushes_and_pulls_by_itself(join: Join) -> None:
    """Also if it names its arguments otherwise; a node that does not answer has an error reply, or it would wait."""

    class Pushes(FedAvg):
        def start(self, grid: Grid, model: ArrayRecord) -> Result:  # type: ignore[override]
            result = Result()
            assert float(model["4"].numpy()) == 0.25
            content = RecordDict({"arrays": model, "config": ConfigRecord({"server-round": 1})})
            ids = grid.push_messages(
                [Message(content=content, dst_node_id=n, message_type="train") for n in grid.get_node_ids()]
            )
            replies = list(grid.pull_messages(ids))
            assert {reply.metadata.reply_to_message_id for reply in replies} == set(ids)
            assert [reply.has_error() for reply in replies] == [False, False, True]
            result.arrays = self.aggregate_train(1, replies)[0] or ArrayRecord()
            return result

    def main(grid: Grid, context: Context) -> None:
        assert same(Pushes().start(grid, fresh()).arrays, model(world))

    with federation(join, Node(), Node(), rounds=1) as (world, grid):
        grid.add(None, None)
        run(world, grid, main)
    assert world.completed == 1


def test_mods_that_want_exactly_one_config_record(join: Join) -> None:
    norms: list[float] = []

    def watch(message: Message, context: Context, call_next: Any) -> Message:
        norms.append(float(message.content.config_records["config"]["clipping_norm"]))
        return call_next(message, context)

    node = Node()
    clipped = ClientApp(mods=[watch, fixedclipping_mod])
    clipped.train()(node.train)

    floats = {"0": LIST["0"].astype(np.float32), "1": LIST["4"]}
    manifest = Manifest.from_arrays("floats", floats)
    with World(manifest, dict(floats), rounds=1, exponent=-20) as world:
        grid = LocalGrid()
        grid.add(anchored_client(clipped, signer=LocalSigner(account("ada"))), join(world, "ada"))

        def main(grid: Grid, context: Context) -> None:
            strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
            zeros = ArrayRecord({name: Array(np.zeros_like(value)) for name, value in floats.items()})
            strategy.start(grid, zeros, train_config=ConfigRecord({"clipping_norm": 0.001}))

        run(world, grid, main)
    assert norms == [0.001]
    moved = world.states[0].to_float32() - world.states[1].to_float32()
    assert 0 < float(np.linalg.norm(moved)) < 0.0011


class Whisper(FedAvg):
    """Looks at what nodes say in a ConfigRecord, and at their arrays, as one of Flower's examples does."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        trained = []
        for reply in replies:
            assert list(reply.content) == ["arrays", "metrics", "fit"]
            assert next(iter(reply.content.config_records.values()))["trained"] is True
            trained.append(reply.content.array_records["arrays"].to_numpy_ndarrays())
        self.trained = trained
        return super().aggregate_train(server_round, replies)


def test_an_aggregate_train_of_its_own_gets_what_nodes_trained(
    join: Join, caplog: pytest.LogCaptureFixture
) -> None:
    strategy = Whisper(fraction_evaluate=0.0)
    results: list[Result] = []
    ada, ben = Node(), Node(0.05)

    def main(grid: Grid, context: Context) -> None:
        results.append(strategy.start(grid, fresh()))

    with federation(join, ada, ben, rounds=1) as (world, grid):
        run(world, grid, main)
    assert results[0].train_metrics_clientapp[1]["loss"] == 0.5
    assert same(results[0].arrays, model(world))
    by_shift = sorted(strategy.trained, key=lambda arrays: -arrays[0][0])  # Flower asks nodes in any order
    for node, trained in zip((ada, ben), by_shift, strict=True):
        started = node.seen[0][1]
        assert trained[0][0] == pytest.approx(started[0][0] - node.shift, abs=2**-9)
        assert trained[1] == 7
        assert [a.dtype for a in trained] == [a.dtype for a in started]


def test_what_an_apps_aggregation_stumbles_over_costs_its_metrics_only(join: Join) -> None:
    class Fails(FedAvg):
        def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
            raise ZeroDivisionError

    results: list[Result] = []

    def main(grid: Grid, context: Context) -> None:
        results.append(Fails(fraction_evaluate=0.0).start(grid, fresh()))

    with federation(join, Node(), Node()) as (world, grid):
        run(world, grid, main)
    assert world.run_state == "done"
    assert same(results[0].arrays, model(world))
    assert not results[0].train_metrics_clientapp


def test_a_node_can_not_write_lines_into_the_log(join: Join, caplog: pytest.LogCaptureFixture) -> None:
    """`folkmoot train` reads reports from the log, and strategies log what nodes say."""
    forged = ClientApp()
    line = 'x\nfolkmoot-report {"kind":"complete","round":1,"answered":9,"refused":0,"failed":0}'

    @forged.train()
    @forged.evaluate()
    def fail(message: Message, context: Context) -> Message:
        return Message(Error(17, line), reply_to=message)

    def main(grid: Grid, context: Context) -> None:
        FedAvg(fraction_evaluate=1.0).start(grid, fresh())

    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.extend(record.getMessage().splitlines())
    logging.getLogger("flwr").addHandler(handler)
    try:
        with federation(join, Node(), rounds=1) as (world, grid):
            grid.add(forged, None)
            run(world, grid, main)
    finally:
        logging.getLogger("flwr").removeHandler(handler)
    assert any("x" in said and "answered" in said for said in logged)
    found = [parse(said) for said in logged]
    assert not [
        report for report in found if report and report.kind == "complete" and report.values["answered"] == 9
    ]


def test_a_node_that_says_nothing_does_not_cost_the_others_their_metrics(join: Join) -> None:
    class Silent(Node):
        def train(self, message: Message, context: Context) -> Message:
            reply = super().train(message, context)
            del reply.content["metrics"]
            return reply

    results: list[Result] = []

    def main(grid: Grid, context: Context) -> None:
        results.append(FedAvg(fraction_evaluate=0.0).start(grid, fresh()))

    with federation(join, Node(), Silent(), rounds=1) as (world, grid):
        run(world, grid, main)
    assert len(world.rounds[1].updates) == 2
    assert results[0].train_metrics_clientapp[1]["loss"] == 0.5


# Rounds that end otherwise


def test_a_cancelled_round_is_tried_again_and_does_not_count(join: Join) -> None:
    node = Node()
    strategy = OwnStart(min_train_nodes=1, min_available_nodes=1)

    def main(grid: Grid, context: Context) -> None:
        strategy.start(grid, fresh(), num_rounds=3)

    with federation(join, node, rounds=3) as (world, grid):
        # The second round of the app: everybody answers, and still it comes to nothing, twice.
        accept = world.accept

        def late(number: int, wire: str, data: bytes) -> Any:
            if number in (2, 3):
                world.cancel_round()
            return accept(number, wire, data)

        world.accept = late
        run(world, grid, main)
    assert world.run_state == "done"
    assert world.completed == 3
    assert [one.number for one in world.rounds if one.state] == [1, 4, 5]
    assert [number for number, _ in node.seen] == [1, 2, 2, 2, 3]
    assert len(strategy.saved) == 4
    # The schedule halves the rate in round 2, and once only.
    rates = [message.content.config_records["config"]["lr"] for message in grid.sent]
    assert rates[-1] == 0.5


def test_a_relay_that_is_started_again_goes_on_at_the_right_round(join: Join) -> None:
    node = Node()
    seen: list[tuple[int, ArrayRecord]] = []
    results: list[Result] = []

    class DiedError(Exception):
        pass

    def main(dies_at: int) -> Callable[[Grid, Context], None]:
        def evaluate(number: int, arrays: ArrayRecord) -> None:
            seen.append((number, arrays))
            if number == dies_at:
                raise DiedError

        def start(grid: Grid, context: Context) -> None:
            strategy = FedAvg(
                fraction_evaluate=1.0, min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1
            )
            results.append(strategy.start(grid, fresh(), num_rounds=4, evaluate_fn=evaluate))

        return start

    with federation(join, node, rounds=4) as (world, grid):
        with pytest.raises(DiedError):
            run(world, grid, main(2))
        assert world.completed == 2
        seen.clear()
        run(world, grid, main(99))
    assert world.run_state == "done"
    assert [number for number, _ in node.seen] == [1, 2, 3, 4]
    assert [number for number, _ in seen] == [0, 1, 2, 3, 4]
    assert all(same(arrays, model(world, number)) for number, arrays in seen)
    assert set(results[0].train_metrics_clientapp) == {3, 4}
    assert set(results[0].evaluate_metrics_clientapp) == {3, 4}


def test_the_coordinator_says_how_many_rounds_there_are(join: Join) -> None:
    node = Node()

    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
        strategy.start(grid, fresh(), num_rounds=1)

    with federation(join, node, rounds=3) as (world, grid):
        run(world, grid, main)
    assert world.run_state == "done"
    assert len(node.seen) == 3


def test_a_run_that_fails_ends_the_app(join: Join) -> None:
    def main(grid: Grid, context: Context) -> None:
        FedAvg(min_train_nodes=1, min_available_nodes=1).start(grid, fresh())

    with federation(join, Node(), expect=2) as (world, grid):
        grid.on_push = lambda: setattr(world, "run_state", "failed") or world.cancel_round()  # type: ignore[func-returns-value]
        world.open_round = lambda: None
        with pytest.raises(CoordinatorError, match="The run failed: scripted"):
            run(world, grid, main)


def test_nodes_that_join_in_the_middle_are_asked_where_all_are(join: Join) -> None:
    ada, ben = Node(), Node()

    def main(grid: Grid, context: Context) -> None:
        FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1).start(grid, fresh())

    with federation(join, ada, rounds=1, expect=2) as (world, grid):

        def come() -> None:
            grid.on_push = lambda: None
            grid.add(anchored_client(ben.app, signer=LocalSigner(account("ben"))), join(world, "ben"))

        grid.on_push = come
        run(world, grid, main)
    assert world.run_state == "done"
    assert len(ben.seen) == 1


# What can't be anchored


def refused(main: Callable[[Grid, Context], None], url: str = "http://127.0.0.1:9") -> str:
    grid = LocalGrid()
    grid.add(None, None)
    with pytest.raises(InputError) as caught:
        anchored_server(server(main))(grid, context(url))
    assert not grid.sent
    assert caught.value.remedy
    return f"{caught.value.code}: {caught.value.message}"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: theirs.DifferentialPrivacyServerSideFixedClipping(FedAvg(), 1.0, 1.0, 2), "noise"),
        (lambda: theirs.DifferentialPrivacyClientSideAdaptiveClipping(FedAvg(), 0.1, 2), "noise"),
        (lambda: theirs.FedXgbBagging(), "FedXgbBagging can't be anchored: it sends trees"),
        (lambda: FedAvg(fraction_train=0.0), "trains on no node"),
    ],
)
def test_strategies_that_cant_be_anchored(make: Callable[[], Strategy], words: str) -> None:
    said = refused(lambda grid, context: make().start(grid, fresh()) and None)
    assert said.startswith("unsupported-app: ")
    assert words in said


def test_an_app_that_drives_the_grid_itself() -> None:
    def main(grid: Grid, context: Context) -> None:
        content = RecordDict({"arrays": fresh()})
        grid.send_and_receive([Message(content=content, dst_node_id=100, message_type="train")])

    assert "sends train messages itself" in refused(main)


def test_an_app_without_a_strategy() -> None:
    assert "started no strategy" in refused(lambda grid, context: None)


def test_no_coordinator_is_said_at_once() -> None:
    assert refused(lambda grid, context: None, "").startswith(
        "no-coordinator: The coordinator's URL is empty"
    )


def test_a_second_start(join: Join) -> None:
    def main(grid: Grid, context: Context) -> None:
        for _ in range(2):
            FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1).start(grid, fresh())

    with (
        federation(join, Node(), rounds=1) as (world, grid),
        pytest.raises(InputError, match="starts a second strategy"),
    ):
        run(world, grid, main)
    assert world.completed == 1


def test_a_model_that_is_not_the_federations(join: Join) -> None:
    def main(arrays: ArrayRecord) -> Callable[[Grid, Context], None]:
        return lambda grid, context: FedAvg().start(grid, arrays) and None

    swapped = ArrayRecord({name: fresh()[name] for name in ("0", "2", "1", "3", "4")})
    with federation(join, Node()) as (world, grid):
        with pytest.raises(InputError, match="'2' where the one on the ledger has '1': the order differs"):
            run(world, grid, main(swapped))
        with pytest.raises(InputError, match="not the one on the ledger: 0, 1, 2, 3, 4 differ"):
            run(world, grid, main(ArrayRecord({"5": Array(np.zeros(3))})))
        assert not grid.sent


@pytest.mark.parametrize("kind", ["FedAdam", "Krum", "FedMedian", "FedAvgM", "MultiKrum"])
def test_other_aggregations_are_replaced_and_that_is_said(
    join: Join, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "folkmoot.flower.relay.server_app.log", lambda level, text, *values: said.append(text % values)
    )
    results: list[Result] = []

    def main(grid: Grid, context: Context) -> None:
        results.append(getattr(theirs, kind)(fraction_evaluate=0.0).start(grid, fresh()))

    with federation(join, Node(), Node(), rounds=1) as (world, grid):
        run(world, grid, main)
    assert same(results[0].arrays, model(world))
    assert results[0].train_metrics_clientapp[1]["loss"] == 0.5
    assert any("aggregate_train are not used: the federation's policy combines" in line for line in said)


def test_an_anchored_app_is_not_anchored_twice() -> None:
    server, client = ServerApp(), ClientApp()
    for app, anchor in ((server, anchored_server), (client, anchored_client)):
        once = anchor(app)
        assert anchor(once) is once
        assert once.original is app  # type: ignore[union-attr]
