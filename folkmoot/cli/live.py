# SPDX-License-Identifier: Apache-2.0
"""Show a run on a terminal: its rounds, one line per node, the time left. In a file or pipe, write plain lines.

Shows the state in `folkmoot.cli.progress`. Imports rich only when it shows something.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from folkmoot.cli.output import printable
from folkmoot.cli.progress import Node, RoundLine, RunProgress, TimeLeft
from folkmoot.evaluation import app_metrics
from folkmoot.runtime.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

LOOKS = 4.0
"""Refreshes of the display per second."""

NOTEWORTHY = frozenset(
    {
        *(
            "update-refused",
            "node-failed",
            "node-refused",
            "round-cancelled",
            "round-slashed",
            "round-withheld",
        ),
        *("round-released", "canary-reported", "canary-missing", "data-withheld", "contributor-slashed"),
        *("dispute-opened", "dispute-decided", "run-failed", "run-waiting", "chain-rewound"),
        "round-not-measured",
    }
)
"""Events whose lines are also printed on a terminal. The display shows the others."""

MOST_ROUNDS, LEAST_ROUNDS = 10, 2
"""Maximum and minimum number of rounds in the display. Older rounds stay above it."""

LEAST_NODES = 4
"""Minimum number of nodes in the display."""

_COLOURS = {"answered": "cyan", "committed": "cyan", "refused": "red", "failed": "red", "training": "yellow"}
_PHASES = {
    "open": "contributors train",
    "committed": "computing and anchoring",
    "anchored": "waiting for the next round",
    "final": "waiting for the next round",
    "cancelled": "waiting for the next round",
    "slashed": "waiting for the next round",
}


class View:
    """Shows a run while its block runs.

    Args:
        progress: State of the run to show.
        console: Console for the output; by default standard output.
        quiet: Whether to show nothing, for `--json`.
        rounds: Whether to show rounds. Otherwise the caller shows them.
    """

    def __init__(
        self,
        progress: RunProgress,
        console: Console | None = None,
        *,
        quiet: bool = False,
        rounds: bool = True,
    ) -> None:
        self.progress = progress
        self._console = console
        self._quiet = quiet
        self._rounds = rounds
        self._live: Live | None = None
        self._scrolled = 0
        """Newest round that was moved out of the display."""
        self._shown: dict[int, str] = {}
        """Text printed on a round's metrics, by round."""

    def __enter__(self) -> Self:
        if self._quiet:
            return self
        from rich.console import Console
        from rich.live import Live

        self._console = self._console or Console()
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._picture,
                refresh_per_second=LOOKS,
                transient=not self._rounds,
                redirect_stdout=True,
                redirect_stderr=sys.stderr.isatty(),
                vertical_overflow="crop",
            )
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        live, self._live = self._live, None
        if live is not None:
            self.progress.activity = "interrupted" if kind is not None else "done"
            live.stop()

    @property
    def live(self) -> bool:
        """Whether there is a live display."""
        return self._live is not None

    def event(self, kind: str, data: Mapping[str, Any], line: str = "") -> None:
        """Process an event, as `RunProgress.see` does.

        Args:
            kind: Type of the event.
            data: Values of the event.
            line: Text to print without a live display; with one, only if the event is noteworthy.
        """
        self.progress.see(kind, data)
        if self._quiet or self._console is None:
            return
        if line and (self._live is None or kind in NOTEWORTHY):
            self.say(line)
        if not line and kind == "round-measured" and self._live is None and self._rounds:
            self._say_metrics(data)
        if self._live is not None and self._rounds:
            self._scroll()

    def say(self, text: str) -> None:
        """Print a line, above the display if there is one."""
        if not self._quiet and self._console is not None:
            self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    # Plain lines.

    def _say_metrics(self, data: Mapping[str, Any]) -> None:
        number = data.get("round")
        line = self.progress.rounds.get(number) if isinstance(number, int) else None
        if line is None or not line.metrics:
            return
        text = app_metrics.summary(line.metrics) or ", ".join(
            f"{name} {app_metrics.shown(name, value)}" for name, value in sorted(line.metrics.items())[:3]
        )
        if text != self._shown.get(line.number):
            self._shown[line.number] = text
            self.say(f"round {line.number}: {text}")

    # The live display.

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        progress = self.progress
        with progress.lock:
            parts: list[RenderableType] = []
            if self._rounds and (shown := self._in_picture()):
                parts.append(_rounds_table(shown))
            if nodes := progress.shown():
                parts.append(_nodes_table(nodes[: self._room()]))
                if len(nodes) > self._room():
                    parts.append(Text(f"and {len(nodes) - self._room()} more", style="dim"))
            headline = Text(printable(self._headline(progress.left())))
            ended = progress.activity in ("done", "interrupted")
            parts.append(headline if ended else Spinner("dots", headline))
            return Group(*parts)

    def _headline(self, time_left: TimeLeft) -> str:
        progress, current = self.progress, self.progress.current
        parts = [f"{progress.completed} of {progress.total} rounds"]
        if progress.activity in ("done", "interrupted"):
            return f"{parts[0]}, {progress.activity}"
        if progress.activity:
            parts.append(progress.activity)
        elif progress.waiting:
            left = (
                ""
                if time_left.waiting is None
                else f" (for another {format_duration(int(time_left.waiting))})"
            )
            parts.append(progress.waiting[:1].lower() + progress.waiting[1:].rstrip(".") + left)
        elif current is None:
            parts.append("waiting for the first round")
        else:
            parts.append(f"round {current.number}: {_PHASES[current.phase]}")
        if time_left.window is not None:
            parts.append(f"takes updates for {format_duration(int(time_left.window))} at most")
        if (
            current is not None
            and current.phase == "open"
            and not progress.activity
            and (rate := progress.rate()) is not None
        ):
            parts.append(
                f"{current.received} received ({current.bytes / 1e6:,.2f} MB, {rate / 1e6:,.3f} MB/s), "
                f"{current.entries} on the chain"
            )
        if time_left.run is not None and time_left.run >= 1 and progress.completed < progress.total:
            parts.append(f"about {format_duration(int(time_left.run))} left")
        return ", ".join(parts)

    def _room(self) -> int:
        """Return the number of nodes that fit into the display."""
        assert self._console is not None  # noqa: S101  it exists while the display does
        return max(LEAST_NODES, self._console.height - LEAST_ROUNDS - 7)

    def _in_picture(self) -> list[RoundLine]:
        assert self._console is not None  # noqa: S101  it exists while the display does
        room = self._console.height - min(len(self.progress.shown()), self._room()) - 6
        count = max(LEAST_ROUNDS, min(MOST_ROUNDS, room))
        known = sorted(self.progress.rounds.values(), key=lambda line: line.number)
        return [line for line in known if line.number > self._scrolled][-count:]

    def _scroll(self) -> None:
        """Print rounds that no longer fit into the display above it."""
        assert self._console is not None  # noqa: S101  it exists while the display does
        with self.progress.lock:
            kept = self._in_picture()
            first = kept[0].number if kept else 0
            scrolled = [
                line for line in self.progress.rounds.values() if self._scrolled < line.number < first
            ]
            self._scrolled = (
                max(self._scrolled, *(line.number for line in scrolled)) if scrolled else self._scrolled
            )
        for line in sorted(scrolled, key=lambda line: line.number):
            cells = [cell for cell in _round_cells(line) if cell]
            self.say(f"round {cells[0]}: {', '.join(cells[1:])}")


def _rounds_table(lines: list[RoundLine]) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
    for name in ("round", "loss", "accuracy", "accepted", "time", "phase"):
        table.add_column(name, justify="left" if name == "phase" else "right", no_wrap=True)
    for line in lines:
        number, loss, accuracy, accepted, seconds, phase = _round_cells(line)
        colour = {"cancelled": "yellow", "slashed": "red"}.get(line.phase, "")
        table.add_row(
            number,
            loss.removeprefix("loss "),
            accuracy.removeprefix("accuracy "),
            accepted.removesuffix(" accepted"),
            seconds,
            f"[{colour}]{phase}[/]" if colour else phase,
        )
    return table


def _round_cells(line: RoundLine) -> tuple[str, str, str, str, str, str]:
    loss, accuracy = app_metrics.headline(line.metrics)
    return (
        str(line.number),
        "" if loss is None else f"loss {app_metrics.shown(loss, line.metrics[loss])}",
        "" if accuracy is None else f"accuracy {app_metrics.shown(accuracy, line.metrics[accuracy])}",
        "" if line.accepted is None else f"{line.accepted} of {line.entries} accepted",
        "" if line.seconds is None else f"{line.seconds:.1f} s",
        line.phase,
    )


def _nodes_table(nodes: list[Node]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
    for name in ("node", "state", "last weight", "last pay", ""):
        right = name in ("last weight", "last pay")
        table.add_column(name, justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    for node in nodes:
        share = "" if node.share is None else "root" if node.reason == "root" else f"{node.share:.0%}"
        fresh = node.state == "weighed"
        style = (
            "dim" if not fresh else "green" if (node.share or 0) >= 0.5 else "yellow" if node.share else "red"
        )
        table.add_row(
            Text(printable(node.name)),
            Text(node.state, style=_COLOURS.get(node.state, "")),
            Text(share, style=style),
            Text("" if node.pay is None or node.reason == "root" else f"{node.pay:.0%}", style=style),
            Text(printable(node.detail), style="dim"),
        )
    return table
