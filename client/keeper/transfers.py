# SPDX-License-Identifier: Apache-2.0
"""Show the transfers of a node: a bar with the rate on a terminal, and an event for each that is done.

Knows nothing of files, rounds and the network.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

DOWN, UP = "down", "up"

At = Callable[[int, int, int | None], None]
"""Called with the number of bytes that have just been transferred, of all that are there, and of the whole file."""


class Transfers:
    """The transfers of one node.

    Args:
        say: Called with an event for each transfer that is done: ``what``, ``direction``, ``bytes`` and ``seconds``.
        bar: Whether to show a bar; by default if standard error is a terminal.
    """

    def __init__(
        self, say: Callable[[dict[str, object]], object] = lambda event: None, *, bar: bool | None = None
    ) -> None:
        self.say = say
        self.bytes = {DOWN: 0, UP: 0}
        """Bytes of files that were transferred in each direction; repeated ones count again."""
        self._bar = sys.stderr.isatty() if bar is None else bar

    @contextlib.contextmanager
    def transfer(self, what: str, direction: str) -> Iterator[At]:
        """Show a transfer while the block runs; give the function that is called for each part of it."""
        began, moved = time.monotonic(), 0
        with _shown(f"{what}, {direction}") if self._bar else contextlib.nullcontext() as show:

            def at(new: int, done: int, total: int | None) -> None:
                nonlocal moved
                moved += new
                self.bytes[direction] += new
                if show is not None:
                    show(done, total)

            yield at
        if moved:
            seconds = time.monotonic() - began
            self.say(
                {
                    "event": "transferred",
                    "what": what,
                    "direction": direction,
                    "bytes": moved,
                    "seconds": round(seconds, 3),
                }
            )


@contextlib.contextmanager
def _shown(text: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on standard error while the block runs."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as SpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        SpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(text, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
