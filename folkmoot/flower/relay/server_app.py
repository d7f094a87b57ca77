# SPDX-License-Identifier: Apache-2.0
"""Anchor an unchanged `ServerApp`: replace methods of its strategy when the strategy starts.

    app = anchored_server(somebodys_app)

The run config has the coordinator's URL (`folkmoot-coordinator`) and its run (`folkmoot-run`). The app's main function
runs with a grid that sends train messages only in anchored rounds. `anchor.py` has the anchored strategy.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging import WARNING
from typing import Any

from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy
from flwr.supercore import log

from folkmoot.errors import InputError
from folkmoot.flower import records
from folkmoot.flower.relay.anchor import Anchor, plain_error
from folkmoot.flower.relay.legacy import described, owner, servers_replaced
from folkmoot.flower.relay.rounds import Pacing, Relay
from folkmoot.flower.relay.starts import Start, starts_replaced
from folkmoot.runtime import flower_internals

NOISE = "it adds noise to the sum at the server, and nobody could recompute that"
TREES = "it sends trees, and a federation trains arrays of floats that keep their shape"
REFUSED = {"DifferentialPrivacy": NOISE, "DPFedAvg": NOISE, "FedXgb": TREES}
"""Beginnings of the names of Flower's strategies that can't be anchored, and the reasons."""

_NO_REPLY = Error(
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "The node's update did not come in time, or was refused."
)

AVERAGES = frozenset({"FedAvg", "FedProx"})
"""Strategies of Flower whose aggregation is a plain mean."""


def anchored_server(app: ServerApp) -> ServerApp:
    """Anchor an app's server side. The app's own strategy chooses nodes and settings, and aggregates the metrics.

    Args:
        app: The app. Its run config names the coordinator (`folkmoot-coordinator`) and its run (`folkmoot-run`).

    Returns:
        An app that runs the main function of ``app`` in anchored rounds; ``app`` itself if it is anchored already.
    """
    return app if isinstance(app, AnchoredServerApp) else AnchoredServerApp(app)


class AnchoredServerApp(ServerApp):
    """Runs an app's own main function with an anchored strategy.

    Args:
        app: The app.
        pacing: Seconds between polls.
    """

    def __init__(self, app: ServerApp, pacing: Pacing | None = None) -> None:
        super().__init__()
        self._app = app
        self._pacing = pacing

    @property
    def original(self) -> ServerApp:
        """The original app."""
        return self._app

    def __call__(self, grid: Grid, context: Context) -> None:
        """Run the app.

        Raises:
            InputError: The app can't be anchored (`unsupported-app`), or the coordinator's URL is missing.
        """
        settings = context.run_config
        relay = Relay(
            str(settings.get(records.COORDINATOR, "")),
            run_id=str(settings.get(records.RUN, "")),
            pacing=self._pacing,
        )
        anchored = AnchoredGrid(grid, relay)
        try:
            with starts_replaced(functools.partial(_anchoring, anchored)), servers_replaced(anchored):
                self._app(anchored, context)
        finally:
            relay.close()
        if not anchored.started:
            raise unsupported(
                "The app started no strategy",
                "Start a strategy of Flower in its main function: Folkmoot can anchor only its rounds.",
            )


def unsupported(what: str, remedy: str) -> InputError:
    """Return the error for an app that can't be anchored."""
    return InputError(f"{what}.", remedy=remedy, code="unsupported-app")


def check_strategy(strategy: Strategy) -> None:
    """Check that a strategy can be anchored, and log which of its parts are not used.

    Raises:
        InputError: The strategy can't be anchored (code `unsupported-app`).
    """
    kind = type(described(strategy))
    reason = refusal(kind)
    if reason:
        raise unsupported(
            f"{kind.__name__} can't be anchored: {reason}",
            "Use FedAvg or another strategy that averages. Contributors may add noise on their nodes.",
        )
    if getattr(strategy, "fraction_train", 1) == 0:
        raise unsupported(
            f"{kind.__name__} trains on no node: its fraction_train is 0", "Give it a fraction_train above 0."
        )
    kind, name = owner(strategy, "aggregate_train")
    if kind.__name__ not in AVERAGES or not kind.__module__.startswith("flwr."):
        log(
            WARNING,
            "The arrays of %s.%s are not used: the federation's policy combines the updates",
            kind.__name__,
            name,
        )


def refusal(kind: type) -> str:
    """Return why strategies of a class can't be anchored; empty if they can."""
    names = [base.__name__ for base in kind.__mro__ if base.__module__.startswith("flwr.")]
    return next((REFUSED[start] for start in REFUSED if any(name.startswith(start) for name in names)), "")


class AnchoredGrid(Grid):
    """The grid that an anchored app sees: it sends train messages only in anchored rounds.

    Args:
        grid: Flower's own grid.
        relay: Connection to the coordinator.
    """

    def __init__(self, grid: Grid, relay: Relay) -> None:
        self.started = False
        self._grid, self._relay = grid, relay
        self._anchor: Anchor | None = None
        self._kept: dict[str, Message] = {}  # Replies to train messages.
        self._count = 0

    @contextmanager
    def anchoring(self, strategy: Strategy) -> Iterator[Anchor]:
        """Anchor a strategy while the block runs."""
        if self.started:
            raise unsupported(
                "The app's main function starts a second strategy",
                "Start one strategy per run of the app.",
            )
        self.started = True
        anchor = Anchor(strategy, self._relay, self._grid, self)
        seams = ("configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate")
        before = {name: vars(strategy)[name] for name in seams if name in vars(strategy)}
        for name in seams:
            setattr(strategy, name, getattr(anchor, name))
        self._anchor = anchor
        try:
            yield anchor
        finally:
            self._anchor = None
            for name in seams:
                delattr(strategy, name)
            vars(strategy).update(before)

    @property
    def timeout(self) -> float:
        """Seconds without an answer of the coordinator after which to give up."""
        return self._relay.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._relay.timeout = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    @property
    def run(self) -> Any:
        """Flower's run."""
        return self._grid.run

    def set_run(self, run: Any) -> None:
        """Set Flower's run."""
        self._grid.set_run(run)

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Create a message."""
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the connected nodes."""
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages.

        For train messages this call runs their round, so that their replies are available when it returns.
        """
        listed = list(messages)
        train = [message for message in listed if _is_train(message)]
        numbers = iter(list(self._grid.push_messages([m for m in listed if not _is_train(m)])))
        by_node = {reply.metadata.src_node_id: reply for reply in self._trained(train)}
        pushed = []
        for message in listed:
            if _is_train(message):
                self._count += 1
                pushed.append(f"folkmoot-{self._count}")
                reply = by_node.pop(message.metadata.dst_node_id, None) or Message(
                    _NO_REPLY, reply_to=message
                )
                flower_internals.answer(reply, pushed[-1])
                self._kept[pushed[-1]] = reply
            else:
                pushed.append(next(numbers))
        return pushed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Fetch replies."""
        listed = list(message_ids)
        kept = [self._kept.pop(number) for number in listed if number in self._kept]
        others = [number for number in listed if not number.startswith("folkmoot-")]
        return [*kept, *(self._pulled(others) if others else [])]

    def _pulled(self, numbers: list[str]) -> list[Message]:
        replies = self._grid.pull_messages(numbers)
        return [plain_error(reply) if reply.has_error() else reply for reply in replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and wait for the replies. For train messages, wait until the round is anchored."""
        listed = list(messages)
        replies = self._trained([message for message in listed if _is_train(message)])
        others = [message for message in listed if not _is_train(message)]
        waiting = {number for number in self._grid.push_messages(others) if number} if others else set()
        end = None if timeout is None else time.monotonic() + timeout
        while waiting and (end is None or time.monotonic() < end):
            for reply in self._pulled(sorted(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
            time.sleep(self._relay.pacing.replies)
        return replies

    def _trained(self, messages: list[Message]) -> list[Message]:
        if not messages:
            return []
        if self._anchor is None:
            raise unsupported(
                "The app sends train messages itself, not through the start of a strategy",
                "Use a Strategy. Folkmoot can't anchor secure aggregation or an app's own workflow.",
            )
        return self._anchor.train(messages)


def _is_train(message: Message) -> bool:
    return message.metadata.message_type.partition(".")[0] == "train"


# Replacing the strategy's start


def _anchoring(grid: AnchoredGrid, own: Start) -> Start:
    """Return a `start` that anchors the strategy and calls its own `start`.

    A `start` may call its parent's, and only the parent's may have the arrays among its arguments. So what the outer
    one does not have is replaced in the inner one.
    """
    signature = inspect.signature(own)

    @functools.wraps(own)
    def start(strategy: Strategy, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(strategy, *args, **kwargs)
        bound.apply_defaults()
        anchor = getattr(strategy.configure_train, "__self__", None)
        if isinstance(anchor, Anchor):
            anchor.replace(bound.arguments)
            return own(*bound.args, **bound.kwargs)
        check_strategy(strategy)
        timeout = bound.arguments.get("timeout")
        if isinstance(timeout, int | float):
            grid.timeout = float(timeout)
        with grid.anchoring(strategy) as anchored:
            anchored.begin()
            anchored.replace(bound.arguments)
            return own(*bound.args, **bound.kwargs)

    return start
