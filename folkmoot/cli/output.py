# SPDX-License-Identifier: Apache-2.0
"""What commands print: text for people, one JSON document for machines.

Everything that is printed goes through here; rich is imported only when something is printed for people.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.errors import FolkmootError

if TYPE_CHECKING:
    from rich.console import Console

LONG = 10.0
"""Seconds after which people may want to look into a log."""

LOOKS = 4.0
"""Pictures a second."""


def emit(document: Mapping[str, Any], as_json: bool, *renderables: Any) -> None:
    """Print a result.

    Args:
        document: The result for machines; printed as JSON on standard output if `as_json`.
        as_json: Whether `--json` was given.
        renderables: The result for people: strings (printed as they are) and rich objects.
    """
    if as_json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return
    console = _console()
    for renderable in renderables:
        if isinstance(renderable, str):
            console.print(printable(renderable), markup=False, highlight=False, soft_wrap=True)
        else:
            console.print(renderable)


def note(text: str, as_json: bool) -> None:
    """Print a remark for people on standard error; nothing with `--json`."""
    if not as_json:
        _console(stderr=True).print(printable(text), markup=False, highlight=False, soft_wrap=True)


def fail(error: FolkmootError, as_json: bool) -> None:
    """Print a failure: `error: message remedy` on standard error, or `{"error": ...}` on standard output."""
    if as_json:
        content = {
            "code": error.code,
            "message": error.message,
            "remedy": error.remedy,
            "details": error.details,
        }
        print(json.dumps({"error": content}, indent=2, ensure_ascii=False, default=str))
        return
    print(printable(f"error: {error}"), file=sys.stderr)


def printable(text: str) -> str:
    """Return a text without the characters that a terminal would act on.

    Titles, reasons and messages come from strangers, by the chain or by a coordinator.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:
    """Return a table for `emit`."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        made.add_column(header, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def pairs(values: Mapping[str, str]) -> str:
    """Return names and values, one a line, the values under each other."""
    width = max((len(name) for name in values), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in values.items())


@contextmanager
def working(text: str, as_json: bool) -> Iterator[None]:
    """Show that something takes its time while the block runs; nothing with `--json` or without a terminal."""
    if as_json or not sys.stderr.isatty():
        yield
        return
    with _console(stderr=True).status(text):
        yield


@contextmanager
def waiting(text: str, log: Path, console: Console | None = None) -> Iterator[None]:
    """Show on a terminal for how long something has been running, and soon where its log is, while the block runs.

    Args:
        text: What it is.
        log: Its log, shown after `LONG` seconds.
        console: The terminal, standard error if left out; anything else shows nothing.
    """
    console = console or _console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield
        return
    from rich.live import Live
    from rich.spinner import Spinner
    from rich.text import Text

    from folkmoot.runtime.units import format_duration

    began, spinner = time.monotonic(), Spinner("dots")

    def picture() -> Spinner:
        seconds = time.monotonic() - began
        said = f"{text}  {format_duration(int(seconds))}" + (f"\n  log: {log}" if seconds >= LONG else "")
        spinner.update(text=Text(printable(said), overflow="fold"))
        return spinner

    with Live(console=console, get_renderable=picture, refresh_per_second=LOOKS, transient=True):
        yield


def _console(*, stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr)
