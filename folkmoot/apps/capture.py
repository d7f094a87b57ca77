# SPDX-License-Identifier: Apache-2.0
"""Read the start arguments of an app's ServerApp: its arrays in its own order, its rounds and its settings.

`capture` runs the ServerApp in a separate process, in which `start` of every strategy only records its arguments.
Nothing is trained and no node gets a message. The process also detects apps that can't be anchored, with the reason.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from folkmoot.apps import apart
from folkmoot.apps.folder import AppFolder, of_partition
from folkmoot.apps.limit import StepLimit
from folkmoot.errors import InputError
from folkmoot.runtime.flower_internals import pack, take_identity

if TYPE_CHECKING:
    from flwr.app import ArrayRecord
    from numpy.typing import NDArray

    from folkmoot.flower.relay.starts import Start

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

WAITS = 15
"""Number of times that an app may list the nodes without a start. After more, it probably waits for more nodes."""

WAIT_TIMEOUT = 20.0
"""Seconds after which an app that repeatedly lists the nodes is assumed to wait for more nodes."""


@dataclass(frozen=True)
class Captured:
    """Start arguments of an app."""

    app: AppFolder
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
    legacy: bool
    """Whether the app uses Flower's old interface: `server_fn`, or a strategy of `flwr.server.strategy`."""
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


def capture(
    app: AppFolder,
    scratch: Path,
    nodes: int,
    limit: StepLimit | None = None,
    node_config: Mapping[str, Any] | None = None,
) -> Captured:
    """Run an app's ServerApp in a separate process until it starts its strategy.

    Args:
        scratch: Folder for logs and results.
        nodes: Number of nodes that it sees.
        limit: How long it may take.
        node_config: Further entries of the node config, for a strategy that asks a client before its first round.

    Raises:
        InputError: The app can't be anchored, or its own code failed; codes are ``app-...``.
        TaskError: The app ended the process, or exceeded the limit.
    """
    words = [str(nodes), json.dumps(dict(app.overrides)), json.dumps(dict(node_config or {}))]
    outcome = apart.run_apart("folkmoot.apps.capture", app, scratch, words, "capture", limit=limit)
    with np.load(scratch / ARRAYS, allow_pickle=False) as file:
        arrays = {name: file[f"arr_{number}"] for number, name in enumerate(outcome.pop("names"))}
    message = (scratch / MESSAGE).read_bytes()
    outcome["notes"] = tuple(outcome["notes"])
    return Captured(app=app, arrays=arrays, message=message, nodes=nodes, **outcome)


# The child process


class _Examiner:
    """Runs a ServerApp and writes its start arguments.

    Args:
        scratch: Folder for the results.
        nodes: Number of nodes that the ServerApp sees.
        node_config: Further entries of the node config.
    """

    def __init__(self, app: AppFolder, scratch: Path, nodes: int, node_config: Mapping[str, Any]) -> None:
        self.app, self.scratch, self.nodes, self.node_config = app, scratch, nodes, node_config
        self.started_in = Path.cwd()
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

        from folkmoot.flower.relay.legacy import servers_replaced
        from folkmoot.flower.relay.starts import starts_replaced

        take_identity()
        server = apart.load_component(self.app, self.app.serverapp, "The ServerApp")
        if not isinstance(server, ServerApp):
            raise InputError(
                f"{self.app.serverapp} is of the type {type(server).__name__}, not a ServerApp.",
                remedy="Correct [tool.flwr.app.components].",
                code="app-component",
            )
        os.chdir(self.scratch / apart.WORK)
        context = Context(
            run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config=dict(self.app.run_config)
        )
        grid = self._grid()
        self._watch_waiting()
        with starts_replaced(partial(_noting, self)), servers_replaced(grid, ask=True):
            server(grid, context)
        raise InputError(
            f"The ServerApp of {self.app.name} ended without starting a strategy.",
            remedy="Call `strategy.start(...)` in it: Folkmoot can anchor only training by a strategy.",
            code="app-no-strategy",
        )

    def _watch_waiting(self) -> None:
        """End the process if a client manager of the old interface would wait for more nodes: it waits for a day."""
        from flwr.server.client_manager import SimpleClientManager

        def wait_for(manager: Any, num_clients: int, timeout: int = 86400) -> bool:
            if num_clients > self.nodes:
                apart.fail(self.scratch, self._too_few(num_clients))
            return True

        kind: Any = SimpleClientManager
        kind.wait_for = wait_for

    def _too_few(self, wanted: int) -> InputError:
        return InputError(
            f"The strategy of the app {self.app.name} waits for {wanted} nodes, but there are {self.nodes}.",
            remedy=f"Start {wanted} nodes (--nodes {wanted}), or lower the app's own minimum, for example "
            "min_available_nodes (min_available_clients) and min_train_nodes (min_fit_clients).",
            code="app-nodes",
            details={"wanted": wanted},
        )

    def counted(self) -> None:
        """Record that the app counts its nodes. End the process if it only waits for more of them.

        A thread of Flower's old interface counts them forever.
        """
        if threading.current_thread() is not threading.main_thread():
            return
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

        from folkmoot.flower.relay.legacy import ASKING

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

            def send_and_receive(self, messages: Iterable[Any], **__: Any) -> Any:
                listed = list(messages)
                if not listed or any(one.metadata.message_type not in ASKING for one in listed):
                    return examiner.driven()
                return [examiner.answered(message) for message in listed]

        return ShownGrid()

    def answered(self, message: Any) -> Any:
        """Return what the app's own client answers, with the data of its partition."""
        from flwr.app import Context, RecordDict

        partition = message.metadata.dst_node_id - FIRST_NODE
        node = {**of_partition(self.node_config, partition), "partition-id": partition}
        context = Context(
            run_id=1,
            node_id=message.metadata.dst_node_id,
            node_config={"num-partitions": self.nodes, **node},
            state=RecordDict(),
            run_config=dict(self.app.run_config),
        )
        os.chdir(self.started_in)
        try:
            client = apart.load_component(self.app, self.app.clientapp, "The ClientApp")
            if client._call is None:
                raise mixed(self.app, f"no answer to {message.metadata.message_type}", legacy=False)
            return client(message, context)
        except InputError as error:
            apart.fail(self.scratch, error)
        except BaseException as error:
            failure = apart.raised(self.app, error, "The ClientApp")
            kind = message.metadata.message_type
            failure.remedy = (
                f"The strategy asks a client for this before the first round ({kind}). {failure.remedy}"
            )
            apart.fail(self.scratch, failure)
        finally:
            os.chdir(self.scratch / apart.WORK)

    def driven(self) -> NoReturn:
        """End the process with an error, because the app sends messages itself."""
        from folkmoot.flower.relay.legacy import secure

        frames = inspect.stack()
        if any("secure_aggregation" in frame.filename for frame in frames):
            apart.fail(self.scratch, secure(f"The app {self.app.name}"))
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
            outcome = self._outcome_of(strategy, given)
        except InputError as error:
            apart.fail(self.scratch, error)
        except BaseException as error:
            apart.fail(self.scratch, apart.raised(self.app, error, "The app"))
        apart.finish(self.scratch, outcome)

    def _outcome_of(self, strategy: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        from flwr.app import ConfigRecord

        from folkmoot.flower.relay.legacy import described
        from folkmoot.flower.relay.server_app import NOISE, TREES, refusal

        kind = type(described(strategy))
        legacy = kind is not type(strategy)
        bases = [cls for cls in kind.__mro__ if cls.__module__.startswith("flwr.")]
        reason = refusal(kind)
        if reason == NOISE:
            raise _noisy(self.app, kind.__name__)
        record: Any = _record_of(given)
        arrays = {} if reason == TREES else _values(self.app, record)
        if all(array.dtype.kind == "u" and array.ndim <= 1 for array in arrays.values()):
            raise _trees(self.app)
        self._check_client()
        settings = {
            name: value
            for name, value in sorted(vars(strategy).items())
            if name.startswith(("fraction_", "min_")) and isinstance(value, int | float)
        }
        required = max(int(settings.get(name, 0)) for name in ("min_available_nodes", "min_train_nodes"))
        if required > self.nodes:
            raise self._too_few(required)
        config = given.get("train_config") or ConfigRecord()
        messages, problem = self._messages(strategy, record, config)
        (self.scratch / MESSAGE).write_bytes(pack(messages[0].content))
        with (self.scratch / ARRAYS).open("wb") as file:
            np.savez(file, *arrays.values())
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
            "strategy": kind.__name__,
            "base": bases[0].__name__ if bases else "Strategy",
            "own_start": not legacy and not kind.start.__module__.startswith("flwr."),
            "legacy": legacy,
            "evaluates": given.get("evaluate_fn") is not None,
            "settings": settings,
            "train_config": {key: value for key, value in config.items() if not isinstance(value, bytes)},
            "message_type": messages[0].metadata.message_type,
            "notes": [*_notes(strategy, bases), *([problem] if problem else [])],
        }

    def _messages(self, strategy: Any, record: ArrayRecord, config: Any) -> tuple[list[Any], str]:
        """Return the strategy's messages of its first round, or one like FedAvg's if it fails."""
        from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

        try:
            copy = ArrayRecord(dict(record.items()))
            messages = list(strategy.configure_train(1, copy, ConfigRecord(dict(config)), self._grid()))
            problem = ""
        except InputError:
            raise
        except Exception as error:
            print("configure_train failed before start:", repr(error), file=sys.stderr)  # noqa: T201  goes to the log
            problem = f"configure_train raised {type(error).__name__} when it was called before start."
            messages = []
        if messages and messages[0].has_content():
            return messages, problem
        content = RecordDict({"arrays": record, "config": ConfigRecord({**dict(config), "server-round": 1})})
        default = [Message(content, dst_node_id=FIRST_NODE, message_type="train")]
        return default * self.nodes, problem

    def _check_client(self) -> None:
        """Check that the app has a train function, and no mod that masks its result."""
        from flwr.clientapp import ClientApp

        from folkmoot.flower.relay.legacy import secure

        client = apart.load_component(self.app, self.app.clientapp, "The ClientApp")
        if not isinstance(client, ClientApp):
            raise InputError(
                f"{self.app.clientapp} is of the type {type(client).__name__}, not a ClientApp.",
                remedy="Correct [tool.flwr.app.components].",
                code="app-component",
            )
        if any(getattr(mod, "__name__", "") in ("secagg_mod", "secaggplus_mod") for mod in client._mods):
            raise secure(f"The app {self.app.name}")
        if client._call is None and not any(name.startswith("train.") for name in client._registered_funcs):
            raise InputError(
                f"The ClientApp of {self.app.name} has no train function.",
                remedy="Add a function under `@app.train()`, or a client_fn: Folkmoot can anchor only apps that train.",
                code="app-no-train",
            )


def _noting(examiner: _Examiner, original: Start) -> Start:
    """Return a replacement for a `start` that records its arguments by name.

    A `start` of the app's own without arrays runs: it calls its parent's with them, or `configure_train`.
    """
    signature = inspect.signature(original)

    def start(self: Any, *args: Any, **more: Any) -> Any:
        bound = signature.bind(self, *args, **more)
        bound.apply_defaults()
        given = dict(bound.arguments)
        for parameter in signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given.update(given.pop(parameter.name))
        if _record_of(given) is not None or original.__module__.startswith("flwr."):
            examiner.caught(self, given)

        def configure(server_round: int, arrays: Any, config: Any, grid: Any) -> NoReturn:
            del self.configure_train
            examiner.caught(self, {"train_config": config, **given, "initial_arrays": arrays})

        self.configure_train = configure
        return original(self, *args, **more)

    start.__module__ = original.__module__
    return start


def _record_of(given: Mapping[str, Any]) -> ArrayRecord | None:
    """Return the first record of arrays among the arguments of a `start`, whatever its name is."""
    from flwr.app import ArrayRecord

    return next((value for value in given.values() if isinstance(value, ArrayRecord)), None)


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


def mixed(app: AppFolder, missing: str, *, legacy: bool) -> InputError:
    """Return the error for an app of both interfaces.

    Args:
        missing: What the client does not find, or does not have.
        legacy: Whether the client is of the old interface.
    """
    client, server = (
        ("client_fn", "a strategy of flwr.serverapp") if legacy else ("@app.train()", "server_fn")
    )
    return InputError(
        f"The app {app.name} mixes Flower's two interfaces: its ClientApp uses {client} and its ServerApp {server}. "
        f"The client has {missing}, with plain Flower too.",
        remedy="Use client_fn together with server_fn, or @app.train() together with @app.main().",
        code="app-mixed",
    )


def _trees(app: AppFolder) -> InputError:
    return InputError(
        f"The app {app.name} sends its model as bytes of changing length (trees, XGBoost, CatBoost).",
        remedy="Trees can't be anchored: there are no weights to sum. Use a model of float arrays.",
        code="app-trees",
    )


def _noisy(app: AppFolder, strategy: str) -> InputError:
    return InputError(
        f"The app {app.name} adds noise on the server ({strategy}), so nobody could recompute the sum.",
        remedy="Use the strategy inside it, and add the noise on the clients, with a mod of the ClientApp.",
        code="app-server-noise",
    )


def _notes(strategy: Any, bases: Sequence[Any]) -> list[str]:
    from folkmoot.flower.relay.legacy import own_method

    notes = []
    flowers = next((cls.__name__ for cls in bases if cls.__name__ in OTHERS_RULE), None)
    if flowers:
        notes.append(f"The policy's rule and outer step aggregate instead of {flowers}.")
    if own := own_method(strategy, "aggregate_train"):
        notes.append(
            f"The policy's rule replaces {own} in making the new model, so that anybody can recompute it. The app's "
            "method still runs: it gets the trained arrays, and its metrics are shown. If the app depends on how it "
            "combines arrays, choose a similar rule (--rule), move that step to the ClientApp, or use plain Flower."
        )
    return notes


def _main(arguments: Sequence[str]) -> NoReturn:
    folder, scratch, nodes, overrides, node_config = arguments
    app = AppFolder.read(Path(folder)).with_overrides(json.loads(overrides))
    _Examiner(app, Path(scratch), int(nodes), json.loads(node_config)).run()


if __name__ == "__main__":
    _main(sys.argv[1:])
