# SPDX-License-Identifier: Apache-2.0
"""Anchor an app of Flower's old interface: `client_fn`, `server_fn`, and strategies of `flwr.server.strategy`.

Flower's `Server` runs such an app: its `fit` calls the strategy's `configure_fit`, `aggregate_fit` and so on.
`LegacyStrategy` shows that server as a strategy of the Message API, so that everything else knows one interface. Its
`start` lets the app's own server run, whose strategy meanwhile goes through `configure_train`, `aggregate_train` and
the others, which `anchor.py` replaces.

On a node nothing is translated: a train message has Flower's own records of the old interface (`fitins.parameters`,
`fitins.config`), and the reply has `fitres.parameters`. Arrays have no names there, but their places: `0`, `1`, ...
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from numbers import Real
from typing import Any, cast

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common import Code, FitRes, GetParametersIns, Parameters, Status, parameters_to_ndarrays
from flwr.server.server import Server, run_fl
from flwr.server.server_config import ServerConfig
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from folkmoot.errors import InputError
from folkmoot.flower.records import LEGACY_EXAMPLES
from folkmoot.runtime.flower_internals import content_of, parameters_of, servers_run_by, start_grid

ASKING = frozenset({"get_parameters", "get_properties"})
"""Types of messages by which a strategy asks a client."""

PARAMETERS = "fitins.parameters"
"""Name of the record with the model in a train message."""

_METRICS, _EXAMPLES = "fitres.metrics", f"fitres.{LEGACY_EXAMPLES}"
_LONGEST_NAME = 64
_METHODS = {"configure_train": "configure_fit", "aggregate_train": "aggregate_fit"}
"""Methods of the Message API, and those of the old interface."""
_FRACTIONS = {
    "fraction_train": "fraction_fit",
    "fraction_evaluate": "fraction_evaluate",
    "min_train_nodes": "min_fit_clients",
    "min_evaluate_nodes": "min_evaluate_clients",
    "min_available_nodes": "min_available_clients",
}
"""Names of the Message API, and those of the old interface."""


class LegacyStrategy(Strategy):
    """A server of the old interface with its strategy, as a strategy of the Message API.

    Args:
        server: The app's server.
    """

    arrayrecord_key = PARAMETERS

    def __init__(self, server: Server) -> None:
        self.server = server
        self.legacy: Any = server.strategy
        self._first = Parameters([], "numpy.ndarray")
        for ours, theirs in _FRACTIONS.items():
            value = getattr(self.legacy, theirs, None)
            if value and isinstance(value, int | float):  # With a fraction of 0, the minimum counts.
                setattr(self, ours, value)
        self._seams = {
            "initialize_parameters": lambda client_manager: self._first,
            "configure_fit": self._configure_fit,
            "aggregate_fit": self._aggregate_fit,
            "configure_evaluate": self._configure_evaluate,
            "aggregate_evaluate": self._aggregate_evaluate,
            "evaluate": self._evaluate,
        }
        self._own = {name: getattr(self.legacy, name) for name in self._seams}
        self._measure: Any = None
        self._instructions: list[tuple[Any, Any]] = []
        self._replies: dict[int, Message] = {}
        self._given: tuple[Any, Any] = ((), ())
        """Results and failures that the server gave to the strategy last."""
        self._made: Any = None
        """What the strategy's own method returned last, as the old interface has it."""

    @property
    def evaluates(self) -> bool:
        """Whether the strategy evaluates on the server."""
        own = type(self.legacy).evaluate.__module__
        return not own.startswith("flwr.") or getattr(self.legacy, "evaluate_fn", None) is not None

    def start(  # type: ignore[override]  # the server keeps a History
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 1,
        timeout: float | None = None,
        evaluate_fn: Any = None,
    ) -> Any:
        """Let the app's server run; return its `History`."""
        self._grid, self._measure, self._first = grid, evaluate_fn, _parameters(initial_arrays)
        vars(self.legacy).update(self._seams)
        try:
            return run_fl(self.server, ServerConfig(num_rounds=num_rounds, round_timeout=timeout))
        finally:
            for name in self._seams:
                delattr(self.legacy, name)

    # What the server calls in the place of the strategy's own methods

    def _configure_fit(self, server_round: int, parameters: Parameters, client_manager: Any) -> list[Any]:
        """Have the round's clients train already, so that each has its result when the server asks for it."""
        messages = list(self.configure_train(server_round, ArrayRecord(), ConfigRecord(), self._grid))
        if not messages:  # The round is done already, or nobody was selected: the server aggregates nothing.
            arrays, _ = self.aggregate_train(server_round, [])
            if arrays is not None:
                self.server.parameters = _parameters(arrays)
            return []
        replies = self._grid.send_and_receive(messages)
        self._replies = {reply.metadata.src_node_id: reply for reply in replies}
        for proxy, _ in self._instructions:  # Others than at first, after a cancelled round.
            proxy.fit = partial(self._fitted, proxy.node_id)
        return self._instructions

    def _fitted(self, node: int, ins: Any, timeout: float | None, group_id: int | None) -> FitRes:
        """Return a client's result.

        Raises:
            ValueError: It has none, as for Flower's own proxy.
        """
        reply = self._replies.get(node)
        if reply is None or reply.has_error():
            raise ValueError("no reply" if reply is None else reply.error.reason)
        content = reply.content
        arrays = content.array_records.get(PARAMETERS)
        examples = content.metric_records.get(_EXAMPLES, MetricRecord()).get(LEGACY_EXAMPLES, 1)
        metrics: Any = dict(content.config_records.get(_METRICS, ConfigRecord()))
        parameters = _parameters(ArrayRecord() if arrays is None else arrays)
        return FitRes(Status(Code.OK, ""), parameters, cast(int, examples), metrics)

    def _aggregate_fit(self, server_round: int, results: list[Any], failures: list[Any]) -> Any:
        self._given, self._made = (results, failures), {}
        arrays, _ = self.aggregate_train(server_round, list(self._replies.values()))
        return None if arrays is None else _parameters(arrays), self._made

    def _configure_evaluate(self, server_round: int, parameters: Parameters, client_manager: Any) -> Any:
        self._instructions = []
        list(self.configure_evaluate(server_round, _record(parameters), ConfigRecord(), self._grid))
        return self._instructions

    def _aggregate_evaluate(self, server_round: int, results: list[Any], failures: list[Any]) -> Any:
        self._given, self._made = (results, failures), (None, {})
        self.aggregate_evaluate(server_round, [])
        return self._made

    def _evaluate(self, server_round: int, parameters: Parameters) -> Any:
        if self._measure is None:
            return self._own["evaluate"](server_round, parameters)
        self._made = None
        self._measure(server_round, _record(parameters))
        return self._made

    # The Message API

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Return the strategy's instructions as messages.

        Raises:
            InputError: The strategy sends other arrays than the model.
        """
        given = _parameters(arrays)
        instructions = self._own["configure_fit"](server_round, given, self.server.client_manager())
        self._instructions = list(instructions or [])
        contents: dict[int, RecordDict] = {}
        messages = []
        for proxy, ins in self._instructions:
            if given.tensors and ins.parameters.tensors != given.tensors:
                raise InputError(
                    f"{type(self.legacy).__name__}.configure_fit sends a client other arrays than the model "
                    f"({len(ins.parameters.tensors)} arrays; the model has {len(given.tensors)}).",
                    remedy="In a federation all nodes start a round from the same model, which the chain names. Send "
                    "what else a client needs in the config, or run this app with plain Flower.",
                    code="unsupported-app",
                )
            if id(ins) not in contents:
                contents[id(ins)] = content_of(ins)
            messages.append(Message(contents[id(ins)], proxy.node_id, "train", group_id=str(server_round)))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the strategy's metrics, without arrays. The clients' results come from the server."""
        results, failures = self._given
        measure = getattr(self.legacy, "fit_metrics_aggregation_fn", None)
        if own_method(self, "aggregate_train"):
            _, self._made = self._own["aggregate_fit"](server_round, results, failures)
        elif results and measure is not None:
            self._made = measure([(result.num_examples, result.metrics) for _, result in results])
        return None, _numbers(self._made)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Keep the strategy's instructions, which the server itself sends."""
        instructions = self._own["configure_evaluate"](
            server_round, _parameters(arrays), self.server.client_manager()
        )
        self._instructions = list(instructions or [])
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return the strategy's loss and metrics."""
        self._made = self._own["aggregate_evaluate"](server_round, *self._given)
        return _measured(self._made)

    def evaluate_fn(self, server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Return what the strategy measures on the server."""
        self._made = self._own["evaluate"](server_round, _parameters(arrays))
        return _measured(self._made)

    def summary(self) -> None:
        """Log nothing: Flower's server logs its settings."""


def described(strategy: Strategy) -> Any:
    """Return the strategy that the app's author wrote."""
    return strategy.legacy if isinstance(strategy, LegacyStrategy) else strategy


def owner(strategy: Strategy, name: str) -> tuple[type, str]:
    """Return the class that defines a method of a strategy, and the method's name in the strategy's interface.

    Args:
        strategy: The strategy.
        name: Name of the method in the Message API.
    """
    if isinstance(strategy, LegacyStrategy):
        name = _METHODS[name]
    return next(base for base in type(described(strategy)).__mro__ if name in vars(base)), name


def own_method(strategy: Strategy, name: str) -> str:
    """Return a method as ``Class.method`` if the app defines it itself; empty if it is Flower's."""
    kind, name = owner(strategy, name)
    return "" if kind.__module__.startswith("flwr.") else f"{kind.__name__}.{name}"


def metrics_of(content: RecordDict) -> dict[str, float]:
    """Return the numbers that a client of the old interface returned with its arrays."""
    numbers = _numbers(content.config_records.get(_METRICS, {}))
    return {} if numbers is None else dict(cast(Any, numbers))


@contextmanager
def servers_replaced(grid: Grid, *, ask: bool = False) -> Iterator[None]:
    """Have Flower start a `LegacyStrategy` where it would let a server of the old interface run.

    Args:
        grid: The grid.
        ask: Whether to ask a client for the first parameters if the strategy has none. Otherwise the strategy is
            started with an empty record.
    """
    workflows: Any = sys.modules.get("flwr.server.workflow")
    kind = None if workflows is None else workflows.DefaultWorkflow
    own = None if kind is None else kind.__call__
    if kind is not None:
        kind.__call__ = _run_workflow
    try:
        with servers_run_by(partial(_run, grid, ask)):
            yield
    finally:
        if kind is not None:
            kind.__call__ = own


def _run(grid: Grid, ask: bool, server: Server, config: ServerConfig) -> Any:
    strategy = LegacyStrategy(server)
    first = strategy.legacy.initialize_parameters(client_manager=server.client_manager())
    if first is None and ask:
        asked = server.client_manager().sample(1)[0]
        first = asked.get_parameters(
            GetParametersIns({}), timeout=config.round_timeout, group_id=0
        ).parameters
    return strategy.start(
        grid,
        ArrayRecord() if first is None else _record(first),
        num_rounds=config.num_rounds,
        timeout=config.round_timeout,
        evaluate_fn=strategy.evaluate_fn if strategy.evaluates else None,
    )


def _run_workflow(workflow: Any, grid: Grid, context: Any) -> None:
    """Run Flower's default workflow, which does what a server does.

    Raises:
        InputError: A part of the workflow is not Flower's own: it masks updates, or drives the grid itself.
    """
    from flwr.server.workflow import default_workflows as default

    parts = (workflow.fit_workflow, workflow.evaluate_workflow)
    if parts != (default.default_fit_workflow, default.default_evaluate_workflow):
        masked = "secagg" in type(workflow.fit_workflow).__name__.lower()
        raise (
            secure("The app")
            if masked
            else InputError(
                "The app runs a workflow of its own.",
                remedy="Start a strategy: Folkmoot can anchor only its rounds.",
                code="app-drives-grid",
            )
        )
    context.history = start_grid(grid, context)


def secure(app: str) -> InputError:
    """Return the error for an app that masks its updates.

    Args:
        app: The app, as the beginning of a sentence.
    """
    return InputError(
        f"{app} masks its updates (secure aggregation), so nobody could check a single update.",
        remedy="Remove the SecAgg workflow and mod.",
        code="app-secure-aggregation",
    )


def _parameters(arrays: ArrayRecord) -> Parameters:
    parameters = parameters_of(arrays)
    return Parameters(parameters.tensors, "numpy.ndarray")


def _record(parameters: Parameters) -> ArrayRecord:
    """Return parameters as a record of arrays that have their shapes.

    Raises:
        InputError: They are no arrays.
    """
    try:
        return ArrayRecord(parameters_to_ndarrays(parameters))
    except (ValueError, OSError, EOFError) as error:
        raise InputError(
            f"The strategy's parameters are no arrays of NumPy: {error}",
            remedy="Use a model of float arrays: trees and objects can't be summed.",
            code="app-arrays",
        ) from error


def _measured(result: Any) -> MetricRecord | None:
    """Return what an evaluation says; its loss is `loss`."""
    if not isinstance(result, tuple) or len(result) != 2:
        return None
    metrics = result[1] if isinstance(result[1], Mapping) else {}
    return _numbers({"loss": result[0], **metrics})


def _numbers(metrics: Any) -> MetricRecord | None:
    """Return the finite numbers of metrics: the old interface also has texts, bytes, and names without a limit."""
    if not isinstance(metrics, Mapping):
        return None
    numbers: dict[str, Any] = {
        str(name): float(value)
        for name, value in metrics.items()
        if isinstance(value, Real) and np.isfinite(float(value)) and len(str(name)) <= _LONGEST_NAME
    }
    return MetricRecord(numbers) if numbers else None
