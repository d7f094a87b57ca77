# SPDX-License-Identifier: Apache-2.0
"""Asking the nodes of one round, and asking again those whose answers got lost.

Knows Flower's messages, not what is in them; neither coordinator nor chain. The strategy says when a round is over.
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

from folkmoot.flower.reports import Progress, plain
from folkmoot.runtime.fault_points import fault_point

MOST_ASKS = 4
"""How often a node is asked in one round, if its answers get lost."""

TIMES_SLOWER = 4
"""How many times as long as the slowest of the others a node may be silent before it is asked again."""
SHARE_SILENT = 1 / 8
"""Share of the round's window for which nodes may be silent if none has answered yet."""

_LOST = frozenset(
    {
        ErrorCode.NODE_UNAVAILABLE,
        ErrorCode.CLIENT_APP_CRASHED,
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    }
)
"""Flower's errors that say nothing of the update, only that a process or a machine ended."""


class Asking:
    """What nodes were asked in one round, and which of them owe an answer.

    Args:
        grid: Connection to the nodes.
        write: Writes the messages for nodes.
        window: Seconds that the round has.
        silence: Least seconds until a node that is there and says nothing is asked again; doubled each time.
        batch: How many replies may be in memory at once.
        progress: Is told who was asked, and who is gone.
    """

    def __init__(
        self,
        grid: Grid,
        write: Callable[[list[int]], list[Message]],
        *,
        window: float,
        silence: float,
        batch: int,
        progress: Progress,
    ) -> None:
        self._grid = grid
        self._progress = progress
        self._write = write
        self._least_silence = silence
        self._batch = batch
        self._patience = window * SHARE_SILENT
        self._slowest = 0.0
        self._waiting: dict[
            str, int
        ] = {}  # node by the message's number; a node that was asked twice is there twice
        self._asked: Counter[int] = Counter()
        self._since: dict[int, float] = {}
        self._lost: dict[int, float] = {}  # nodes whose answers got lost, and since when

    @property
    def owed(self) -> int:
        """How many nodes have not answered."""
        return len(set(self._waiting.values()))

    def ask(self, messages: Iterable[Message]) -> None:
        """Send messages, one a node."""
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
        """Yield the replies that are there, one a node; what is lost is noted and asked for at the next `ask_again`."""
        listed = sorted(self._waiting)
        for at in range(0, len(listed), self._batch):
            for reply in self._grid.pull_messages(listed[at : at + self._batch]):
                node = self._waiting.pop(reply.metadata.reply_to_message_id, None)
                fault_point("relay.reply-taken")
                if node is None:
                    continue  # it was asked twice, and its other answer came with this one
                if _is_lost(reply) and self._asked[node] < MOST_ASKS:
                    log(WARNING, "\tNode %d: %s It is asked again", node, plain(reply.error.reason or ""))
                    self._lost.setdefault(node, time.monotonic())
                    continue
                if reply.has_error() and node in self._waiting.values():
                    continue  # asked twice, it may have trained twice, and signs once: the other answer counts
                self._waiting = {number: who for number, who in self._waiting.items() if who != node}
                self._slowest = max(self._slowest, time.monotonic() - self._since[node])
                self._patience = TIMES_SLOWER * self._slowest
                yield reply

    def ask_again(self, *, joining: bool) -> None:
        """Ask the nodes that are there and whose answers got lost, or from which nothing has come for too long.

        Args:
            joining: Whether to ask also those that were not asked yet.
        """
        present = set(self._grid.get_node_ids())
        again = self._lost.keys() & present | self._silent(present)
        joined = {node for node in present if node not in self._asked} if joining else set()
        self._lost = {node: since for node, since in self._lost.items() if node not in again}
        for node in [node for node, since in self._lost.items() if self._gone(since)]:
            self._lost[node] = math.inf  # said once; if it comes back, it is asked again
            self._progress.failed(node, "node-lost", "The connection to the node ended before it answered.")
        if joined:
            log(INFO, "\t%d nodes joined", len(joined))
        if again or joined:
            self.ask(self._write(sorted(again | joined)))

    def _gone(self, since: float) -> bool:
        """Whether a node is away for so long that nobody waits for it any more."""
        return time.monotonic() - since > max(self._patience, self._least_silence)

    def _silent(self, present: set[int]) -> set[int]:
        """Find those of the nodes that owe an answer from which nothing has come for too long.

        Flower hands a message out once: if the connection breaks in that moment, the node never sees it, and nobody is
        told. Asking twice does no harm: a node answers with the update that it has signed.
        """
        now = time.monotonic()
        patience = max(self._patience, self._least_silence)
        silent = {
            node
            for node in present.intersection(self._waiting.values())
            if self._asked[node] < MOST_ASKS
            and now - self._since[node] > patience * 2 ** (self._asked[node] - 1)
        }
        if silent:
            log(WARNING, "\tNo word from %d nodes: they are asked again", len(silent))
        return silent


def _is_lost(reply: Message) -> bool:
    """Whether an answer got lost with a process or a machine, so that asking again may help."""
    return reply.has_error() and reply.error.code in _LOST
