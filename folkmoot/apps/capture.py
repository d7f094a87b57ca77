# SPDX-License-Identifier: Apache-2.0
"""Read the start arguments of an app's ServerApp: its arrays in its own order, its rounds and its settings.

`capture` runs the ServerApp in a separate process, in which `start` of every strategy only records its arguments.
Nothing is trained and no node gets a message. The process also detects apps that can't be anchored, with the reason.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from folkmoot.apps import apart
from folkmoot.apps.folder import AppFolder
from folkmoot.apps.limit import StepLimit
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from flwr.app import ArrayRecord
    from numpy.typing import NDArray

    from folkmoot.flower.starts import Start

ARRAYS = "arrays.npz"
"""File with the arrays; ``arr_0`` is the app's first array."""
MESSAGE = "message.pb"
"""File with the content of the first train message, as Flower serialises it."""

FIRST_NODE = 1
"""Id of the first node that the ServerApp sees."""

OTHERS_RULE = frozenset(
    {"FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan", "QFedAvg"}
    | {"FedAvgM", "FedOpt", "FedAdam", "FedYogi", "FedAdagrad"}
)
"""Strategies of Flower whose aggregation is replaced by the policy's rule and the outer step."""

TREES = frozenset({"FedXgbBagging", "FedXgbCyclic"})
"""Strategies of Flower that aggregate trees."""


WAITS = 15
"""Number of times that an app may list the nodes without a start. After more, it probably waits for more nodes."""

WAIT_TIMEOUT = 20.0
"""Seconds after which an app that repeatedly lists the nodes is assumed to wait for more nodes."""


@dataclass(frozen=True)
class Captured:
    """Start arguments of an app."""

    app: AppFolder
    """The app."""
    arrays: Mapping[str, NDArray[Any]]
    """Initial arrays, by name, in the app's own order."""
    num_rounds: int
    """Number of rounds that the app requests."""
    nodes: int
    """Number of nodes that the app saw."""
    asked: int
    """Number of nodes that it selects to train in its first round."""
    strategy: str
    """Class name of its strategy."""
    base: str
    """Name of Flower's class from which the strategy is derived."""
    own_start: bool
    """Whether the strategy has a `start` of its own."""
    evaluates: bool
    """Whether the app evaluates on the server (`evaluate_fn`)."""
    settings: Mapping[str, Any]
    """Fractions and minimum numbers of nodes of the strategy."""
    train_config: Mapping[str, Any]
    """Settings for the app's train function."""
    message_type: str
    """Type of the first train message."""
    message: bytes
    """Content of that message, as Flower serialises it."""
    notes: tuple[str, ...]
    """One sentence for each change in behaviour when the app is anchored."""


def capture(app: AppFolder, scratch: Path, nodes: int, limit: StepLimit | None = None) -> Captured:
    """Run an app's ServerApp in a separate process until it starts its strategy.

    Args:
        app: The app.
        scratch: Folder for logs and results.
        nodes: Number of nodes that it sees.
        limit: How long it may take.

    Raises:
        InputError: The app can't be anchored, or its own code failed; codes are ``app-...``.
        TaskError: The app ended the process, or exceeded the limit.
    """
    words = [str(nodes), json.dumps(dict(app.overrides))]
    outcome = apart.run_apart("folkmoot.apps.capture", app, scratch, words, "capture", limit=limit)
    with np.load(scratch / ARRAYS, allow_pickle=False) as file:
        arrays = {name: file[f"arr_{number}"] for number, name in enumerate(outcome.pop("names"))}
    message = (scratch / MESSAGE).read_bytes()
    outcome["notes"] = tuple(outcome["notes"])
    captured = Captured(app=app, arrays=arrays, message=message, nodes=nodes, **outcome)
    _check_enough(captured)
    return captured


def _check_enough(captured: Captured) -> None:
    """Check that the app does not wait for more nodes than exist."""
    required = max(
        [int(captured.settings.get(name, 0)) for name in ("min_available_nodes", "min_train_nodes")] or [0]
    )
    if required > captured.nodes:
        raise InputError(
            f"The strategy of the app {captured.app.name} waits for {required} nodes, but there are {captured.nodes}.",
            remedy=f"Start {required} nodes (--nodes {required}), or lower min_available_nodes and min_train_nodes.",
            code="app-nodes",
            details={"wanted": required},
        )


# The child process


class _Examiner:
    """Runs a ServerApp and writes its start arguments.

    Args:
        app: The app.
        scratch: Folder for the results.
        nodes: Number of nodes that the ServerApp sees.
    """

    def __init__(self, app: AppFolder, scratch: Path, nodes: int) -> None:
        self.app, self.scratch, self.nodes = app, scratch, nodes
        self.counts: list[float] = []
        """Times at which the app listed the nodes."""

    def run(self) -> NoReturn:
        """Run the ServerApp. The process ends with an outcome."""
        try:
            self._run()
        except InputError as error:
            apart.fail(self.scratch, error)
        except BaseException as error:
            apart.fail(self.scratch, apart.raised(self.app, error, "The ServerApp"))

    def _run(self) -> NoReturn:
        from flwr.app import Context, RecordDict
        from flwr.serverapp import ServerApp

        from folkmoot.flower.starts import starts_replaced

        apart.take_identity()
        server = apart.load_component(self.app, self.app.serverapp, "The ServerApp")
        if not isinstance(server, ServerApp):
            raise InputError(
                f"{self.app.serverapp} is of the type {type(server).__name__}, not a ServerApp.",
                remedy="Correct [tool.flwr.app.components].",
                code="app-component",
            )
        if server._main is None:
            raise _legacy(self.app, "server_fn, or a strategy given to ServerApp")
        self._refuse_workflows()
        context = Context(
            run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=dict(self.app.run_config)
        )
        with starts_replaced(partial(_noting, self)):
            server(self._grid(), context)
        raise InputError(
            f"The ServerApp of {self.app.name} ended without starting a strategy.",
            remedy="Call `strategy.start(...)` in it: Folkmoot can anchor only training by a strategy.",
            code="app-no-strategy",
        )

    def _refuse_workflows(self) -> None:
        """Refuse the workflows of Flower's old interface when the app runs one: they wait endlessly for nodes."""
        workflows: Any = sys.modules.get("flwr.server.workflow")
        if workflows is None:
            return

        def run(workflow: Any, *_: Any) -> NoReturn:
            secure = isinstance(getattr(workflow, "fit_workflow", None), workflows.SecAggPlusWorkflow)
            apart.fail(self.scratch, _secure(self.app) if secure else _legacy(self.app, "a workflow"))

        workflows.DefaultWorkflow.__call__ = run

    def counted(self) -> None:
        """Record that the app counts its nodes. End the process if it only waits for more of them."""
        now = time.monotonic()
        self.counts.append(now)
        if len(self.counts) > WAITS and now - self.counts[0] > WAIT_TIMEOUT:
            apart.fail(
                self.scratch,
                InputError(
                    f"The ServerApp of {self.app.name} waits for more nodes than there are ({self.nodes}).",
                    remedy="Start more nodes (--nodes), or lower the number that the app waits for.",
                    code="app-nodes",
                ),
            )

    def _grid(self) -> Any:
        """Return a grid that has nodes but sends nothing."""
        from flwr.serverapp import Grid

        examiner = self

        class ShownGrid(Grid):
            run: Any = SimpleNamespace(run_id=1)

            def set_run(self, run: Any) -> None:
                """Ignore the run."""

            def get_node_ids(self) -> Iterable[int]:
                """Return the ids of the nodes that the app sees."""
                examiner.counted()
                return list(range(FIRST_NODE, FIRST_NODE + examiner.nodes))

            def create_message(self, *_: Any, **__: Any) -> Any:
                return examiner.driven()

            def push_messages(self, *_: Any, **__: Any) -> Any:
                return examiner.driven()

            def pull_messages(self, *_: Any, **__: Any) -> Any:
                return examiner.driven()

            def send_and_receive(self, *_: Any, **__: Any) -> Any:
                return examiner.driven()

        return ShownGrid()

    def driven(self) -> NoReturn:
        """End the process with an error, because the app sends messages itself."""
        frames = inspect.stack()
        if any("secure_aggregation" in frame.filename for frame in frames):
            apart.fail(self.scratch, _secure(self.app))
        own = [frame for frame in frames if Path(frame.filename).is_relative_to(self.app.path)]
        where = f" ({apart._short(self.app, own[0].filename)}, line {own[0].lineno})" if own else ""
        apart.fail(
            self.scratch,
            InputError(
                f"The ServerApp of {self.app.name} sends its messages itself{where} and starts no strategy.",
                remedy="Folkmoot can anchor only training by a strategy, which sums the updates of one model. Start a "
                "strategy, or run this app with plain Flower. Analytics, retrieval, trees and vertical learning have "
                "no such model.",
                code="app-drives-grid",
            ),
        )

    def caught(self, strategy: Any, given: Mapping[str, Any]) -> NoReturn:
        """Record the arguments of `start`, and end the process."""
        try:
            outcome = self._found(strategy, given)
        except InputError as error:
            apart.fail(self.scratch, error)
        except BaseException as error:
            apart.fail(self.scratch, apart.raised(self.app, error, "The app"))
        apart.finish(self.scratch, outcome)

    def _found(self, strategy: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        from flwr.app import ConfigRecord
        from flwr.common.serde import recorddict_to_proto

        bases = [cls for cls in type(strategy).__mro__ if cls.__module__.startswith("flwr.")]
        names = {cls.__name__ for cls in type(strategy).__mro__}
        _refuse_noise(self.app, names, type(strategy).__name__)
        record: Any = given.get("initial_arrays")
        arrays = _values(self.app, record)
        _refuse_trees(self.app, names, arrays)
        self._check_client()
        config = given.get("train_config") or ConfigRecord()
        messages, problem = self._messages(strategy, record, config)
        (self.scratch / MESSAGE).write_bytes(
            recorddict_to_proto(messages[0].content).SerializeToString(deterministic=True)
        )
        with (self.scratch / ARRAYS).open("wb") as file:
            np.savez(file, *arrays.values())
        settings = {
            name: value
            for name, value in sorted(vars(strategy).items())
            if name.startswith(("fraction_", "min_")) and isinstance(value, int | float)
        }
        rounds = given.get("num_rounds", 3)
        if not isinstance(rounds, int) or rounds < 1:
            raise InputError(
                f"The app {self.app.name} asks for {rounds!r} rounds.",
                remedy="Set num_rounds to at least 1.",
                code="app-rounds",
            )
        return {
            "names": list(arrays),
            "num_rounds": rounds,
            "asked": len(messages),
            "strategy": type(strategy).__name__,
            "base": bases[0].__name__ if bases else "Strategy",
            "own_start": not type(strategy).start.__module__.startswith("flwr."),
            "evaluates": given.get("evaluate_fn") is not None,
            "settings": settings,
            "train_config": {key: value for key, value in config.items() if not isinstance(value, bytes)},
            "message_type": messages[0].metadata.message_type,
            "notes": [*_notes(type(strategy), bases), *([problem] if problem else [])],
        }

    def _messages(self, strategy: Any, record: ArrayRecord, config: Any) -> tuple[list[Any], str]:
        """Return the strategy's messages of its first round, or one like FedAvg's if it fails."""
        from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

        try:
            copy = ArrayRecord(dict(record.items()))
            messages = list(
                strategy.configure_train(1, copy, ConfigRecord(dict(config)), self._patient_grid(strategy))
            )
            problem = ""
        except Exception as error:
            print("configure_train failed before start:", repr(error), file=sys.stderr)  # noqa: T201  goes to the log
            problem = f"configure_train raised {type(error).__name__} when it was called before start."
            messages = []
        if messages and messages[0].has_content():
            return messages, problem
        content = RecordDict({"arrays": record, "config": ConfigRecord({**dict(config), "server-round": 1})})
        default = [Message(content, dst_node_id=FIRST_NODE, message_type="train")]
        return default * self.nodes, problem

    def _patient_grid(self, strategy: Any) -> Any:
        """Return a grid with as many nodes as the strategy requires, so that it does not wait endlessly."""
        minimums = [getattr(strategy, name, 0) for name in ("min_available_nodes", "min_train_nodes")]
        shown = max([self.nodes, *(value for value in minimums if isinstance(value, int))])
        grid = self._grid()
        grid.get_node_ids = lambda: list(range(FIRST_NODE, FIRST_NODE + shown))
        return grid

    def _check_client(self) -> None:
        """Check that the app has a train function, and no mod that masks its result."""
        from flwr.clientapp import ClientApp

        client = apart.load_component(self.app, self.app.clientapp, "The ClientApp")
        if not isinstance(client, ClientApp):
            raise InputError(
                f"{self.app.clientapp} is of the type {type(client).__name__}, not a ClientApp.",
                remedy="Correct [tool.flwr.app.components].",
                code="app-component",
            )
        if any(getattr(mod, "__name__", "") in ("secagg_mod", "secaggplus_mod") for mod in client._mods):
            raise _secure(self.app)
        if client._call is not None:
            raise InputError(
                f"The ClientApp of {self.app.name} uses Flower's old interface (client_fn and NumPyClient).",
                remedy="Change it to `@app.train()`. Flower's documentation explains the upgrade to the Message API.",
                code="app-legacy",
            )
        if not any(name.startswith("train.") for name in client._registered_funcs):
            raise InputError(
                f"The ClientApp of {self.app.name} has no train function.",
                remedy="Add a function under `@app.train()`: Folkmoot can anchor only apps that train.",
                code="app-no-train",
            )


def _noting(examiner: _Examiner, original: Start) -> Start:
    """Return a replacement for a `start` that records its arguments by name."""
    signature = inspect.signature(original)

    def start(self: Any, *args: Any, **more: Any) -> Any:
        bound = signature.bind(self, *args, **more)
        bound.apply_defaults()
        given = dict(bound.arguments)
        for parameter in signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given.update(given.pop(parameter.name))
        examiner.caught(self, given)

    start.__module__ = original.__module__
    return start


def _values(app: AppFolder, record: Any) -> dict[str, NDArray[Any]]:
    if record is None or not len(record):
        raise InputError(
            f"The app {app.name} starts its strategy without arrays.",
            remedy="Give `start` the model's arrays as initial_arrays.",
            code="app-no-arrays",
        )
    values: dict[str, NDArray[Any]] = {}
    for name, array in record.items():
        try:
            values[name] = array.numpy()
        except Exception as error:
            raise InputError(
                f"The array {name!r} of the app {app.name} can't be read as NumPy: {type(error).__name__}: {error}",
                remedy="Use a dtype that NumPy has, for example float32 instead of bfloat16.",
                code="app-arrays",
            ) from error
        if values[name].dtype.hasobject:
            raise InputError(
                f"The array {name!r} of the app {app.name} holds Python objects.",
                remedy="Use arrays of numbers.",
                code="app-arrays",
            )
    return values


def _refuse_trees(app: AppFolder, names: set[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    blob = all(array.dtype.kind == "u" and array.ndim <= 1 for array in arrays.values())
    if names & TREES or blob:
        raise InputError(
            f"The app {app.name} sends its model as bytes of changing length (trees, XGBoost, CatBoost).",
            remedy="Trees can't be anchored: there are no weights to sum. Use a model of float arrays.",
            code="app-trees",
        )


def _refuse_noise(app: AppFolder, names: set[str], strategy: str) -> None:
    if any(name.startswith("DifferentialPrivacy") for name in names):
        raise InputError(
            f"The app {app.name} adds noise on the server ({strategy}), so nobody could recompute the sum.",
            remedy="Use the strategy inside it, and add the noise on the clients, with a mod of the ClientApp.",
            code="app-server-noise",
        )


def _legacy(app: AppFolder, what: str) -> InputError:
    return InputError(
        f"The app {app.name} uses Flower's old interface ({what}).",
        remedy="Change it to `@app.main()` and `strategy.start(...)`. The Flower documentation explains how to "
        "upgrade to the Message API.",
        code="app-legacy",
    )


def _secure(app: AppFolder) -> InputError:
    return InputError(
        f"The app {app.name} masks its updates (secure aggregation), so nobody could check a single update.",
        remedy="Remove the SecAgg workflow and mod.",
        code="app-secure-aggregation",
    )


def _notes(strategy: Any, bases: Sequence[Any]) -> list[str]:
    notes = []
    flowers = next((cls.__name__ for cls in bases if cls.__name__ in OTHERS_RULE), None)
    if flowers:
        notes.append(f"The policy's rule and outer step aggregate instead of {flowers}.")
    if not strategy.aggregate_train.__module__.startswith("flwr."):
        notes.append(
            "The app's own aggregate_train only computes metrics. The policy's rule makes the new model."
        )
    return notes


def _main(arguments: Sequence[str]) -> NoReturn:
    folder, scratch, nodes, overrides = arguments
    app = AppFolder.read(Path(folder)).with_overrides(json.loads(overrides))
    _Examiner(app, Path(scratch), int(nodes)).run()


if __name__ == "__main__":
    _main(sys.argv[1:])
