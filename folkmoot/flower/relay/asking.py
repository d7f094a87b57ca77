# SPDX-License-Identifier: Apache-2.0
"""Send the messages of one round to nodes, and send them again if replies get lost.

Handles Flower's messages without their contents, and uses neither coordinator nor chain. The strategy decides when a
round is over.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from logging import INFO, WARNING

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore import log

from folkmoot.errors import plain
from folkmoot.flower.relay.reports import Progress
from folkmoot.runtime.fault_points import fault_point

BATCH = 64
"""Maximum number of replies in memory at once."""

MOST_ASKS = 4
"""Maximum number of messages to a node in one round if its replies get lost."""

TIMES_SLOWER = 4
"""A silent node is asked again after this multiple of the time that the slowest other node took."""
SHARE_SILENT = 1 / 8
"""Share of the round's window after which silent nodes are asked again if no node has replied yet."""

_LOST = frozenset(
    {
        ErrorCode.NODE_UNAVAILABLE,
        ErrorCode.CLIENT_APP_CRASHED,
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    }
)
"""Flower's error codes for a process or machine that ended. They say nothing about the update."""


class Asking:
    """The nodes that were asked in one round, and those whose replies are outstanding.

    Args:
        grid: Connection to the nodes.
        write: Returns the messages for nodes.
        window: Length of the round's window in seconds.
        silence: Minimum seconds until a connected, silent node is asked again; doubled each time.
        progress: Receives the nodes that were asked, and those that are disconnected.
        by_clock: Whether nodes train until shortly before the window's end. Then they are silent until then, and none
            is asked again for that reason: it would handle the second message before that of the next round.
        least: Connected nodes with fewer than which no further node is asked.
    """

    def __init__(
        self,
        grid: Grid,
        write: Callable[[list[int]], list[Message]],
        *,
        window: float,
        silence: float,
        progress: Progress,
        by_clock: bool = False,
        least: int = 1,
    ) -> None:
        self._grid = grid
        self._progress = progress
        self._by_clock = by_clock
        self._least = least
        self._write = write
        self._least_silence = silence
        self._timeout = window * SHARE_SILENT
        self._slowest = 0.0
        self._waiting: dict[
            str, int
        ] = {}  # Node by the message's number. A node that was asked twice has two entries.
        self._asked: Counter[int] = Counter()
        self._since: dict[int, float] = {}
        self._lost: dict[int, float] = {}  # Nodes whose replies got lost, and the time of the loss.

    @property
    def owed(self) -> int:
        """Number of nodes that have not replied."""
        return len(set(self._waiting.values()))

    def ask(self, messages: Iterable[Message]) -> None:
        """Send messages, one per node."""
        listed = list(messages)
        nodes = [message.metadata.dst_node_id for message in listed]
        self._asked.update(nodes)
        self._since.update(dict.fromkeys(nodes, time.monotonic()))
        log(INFO, "\tAsking %d nodes", len(listed))
        self._progress.asked(nodes)
        pushed = list(self._grid.push_messages(listed)) if listed else []
        fault_point("relay.asked")
        self._waiting |= {number: node for number, node in zip(pushed, nodes, strict=True) if number}

    def replies(self) -> Iterator[Message]:
        """Yield the available replies, one per node. The next `ask_again` asks again for lost replies."""
        listed = sorted(self._waiting)
        for at in range(0, len(listed), BATCH):
            for reply in self._grid.pull_messages(listed[at : at + BATCH]):
                node = self._waiting.pop(reply.metadata.reply_to_message_id, None)
                fault_point("relay.reply-taken")
                if node is None:
                    continue  # The node was asked twice, and both replies came together.
                if _is_lost(reply) and self._asked[node] < MOST_ASKS:
                    log(WARNING, "\tNode %d: %s It is asked again", node, plain(reply.error.reason or ""))
                    self._lost.setdefault(node, time.monotonic())
                    continue
                if reply.has_error() and node in self._waiting.values():
                    continue  # A node that was asked twice may train twice but signs once: its other reply counts.
                self._waiting = {number: who for number, who in self._waiting.items() if who != node}
                self._slowest = max(self._slowest, time.monotonic() - self._since[node])
                self._timeout = TIMES_SLOWER * self._slowest
                yield reply

    def ask_again(self, *, joining: bool) -> None:
        """Ask connected nodes again if their replies got lost or they have been silent for too long.

        Args:
            joining: Whether to ask nodes that have not been asked yet, too.
        """
        present = set(self._grid.get_node_ids())
        again = self._lost.keys() & present | self._silent(present)
        enough = joining and len(present) >= self._least
        joined = {node for node in present if node not in self._asked} if enough else set()
        self._lost = {node: since for node, since in self._lost.items() if node not in again}
        for node in [node for node, since in self._lost.items() if self._is_gone(since)]:
            self._lost[node] = math.inf  # Reported once. If the node returns, it is asked again.
            self._progress.failed(node, "node-lost", "The connection to the node ended before it answered.")
        if joined:
            log(INFO, "\t%d nodes joined", len(joined))
        if again or joined:
            self.ask(self._write(sorted(again | joined)))

    def _is_gone(self, since: float) -> bool:
        """Return whether a node has been disconnected for too long to wait for it."""
        return time.monotonic() - since > max(self._timeout, self._least_silence)

    def _silent(self, present: set[int]) -> set[int]:
        """Return the nodes with outstanding replies that have been silent for too long.

        Flower delivers a message once. If the connection breaks at that moment, the node never gets it, and Flower
        reports no error. Asking twice is harmless: a node replies with the update that it has signed.
        """
        now = time.monotonic()
        timeout = max(self._timeout, self._least_silence)
        silent = {
            node
            for node in present.intersection(self._waiting.values())
            if not self._by_clock
            and self._asked[node] < MOST_ASKS
            and now - self._since[node] > timeout * 2 ** (self._asked[node] - 1)
        }
        if silent:
            log(WARNING, "\tNo word from %d nodes: they are asked again", len(silent))
        return silent


def _is_lost(reply: Message) -> bool:
    """Return whether a reply got lost with a process or a machine, so that asking again may help."""
    return reply.has_error() and reply.error.code in _LOST
