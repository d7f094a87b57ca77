# SPDX-License-Identifier: Apache-2.0
"""A Flower grid whose nodes are ClientApps in this process: no SuperLink, no SuperNodes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from folkmoot.flower.contributor import HOME, Contributor


def context(contributor: Contributor | None, node_id: int = 1) -> Context:
    config: dict[str, Any] = {HOME: str(contributor.home)} if contributor else {}
    return Context(
        run_id=1, node_id=node_id, node_config=config, state=RecordDict(), run_config={}, series_id=1
    )


def number(message: Message, identifier: str) -> Message:
    """Give a message the number that a SuperLink would give it."""
    message.metadata.__dict__["_message_id"] = identifier
    return message


class LocalGrid(Grid):
    """Nodes answer at once; a node without an app never answers."""

    def __init__(self, fab_hash: str = "ab" * 32) -> None:
        self.nodes: dict[int, tuple[ClientApp | None, Context]] = {}
        self.replies: dict[str, Message] = {}
        self.sent: list[Message] = []
        self.pulled: list[int] = []
        self.on_push: Callable[[], None] = lambda: None
        self.reaches: Callable[[Message], bool] = lambda message: True  # Whether its node gets a message.
        self._run = SimpleNamespace(fab_hash=fab_hash, run_id=1)
        self._lock = threading.Lock()

    def add(self, app: ClientApp | None, contributor: Contributor | None) -> int:
        node = 100 + len(self.nodes)
        self.nodes[node] = (app, context(contributor, node))
        return node

    def set_run(self, run: Any) -> None: ...

    @property
    def run(self) -> Any:
        return self._run

    def create_message(self, *_: Any, **__: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = []
        for message in messages:
            with self._lock:  # Flower's old interface sends from several threads.
                identifier = f"message-{len(self.sent)}"
                self.sent.append(number(message, identifier))
            identifiers.append(identifier)
            app, where = self.nodes[message.metadata.dst_node_id]
            if app is not None and self.reaches(self.sent[-1]):
                # Nodes get copies over the wire; here they would share the records.
                content = RecordDict(dict(message.content))
                own = Message(content, message.metadata.dst_node_id, message.metadata.message_type)
                self.replies[identifier] = app(number(own, identifier), where)
        self.on_push()
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        found = [
            self.replies.pop(identifier) for identifier in list(message_ids) if identifier in self.replies
        ]
        self.pulled.append(len(found))
        return found

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        raise AssertionError("the strategy polls by itself")
