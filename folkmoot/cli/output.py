# SPDX-License-Identifier: Apache-2.0
"""Output of commands: text for people, one JSON document for machines.

All output goes through this module. rich is imported only for output for people.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.cli.context import context
from folkmoot.errors import FolkmootError, InputError

if TYPE_CHECKING:
    from rich.console import Console

LONG = 10.0
"""Seconds after which the path of the log is shown."""

LOOKS = 4.0
"""Refreshes of the display per second."""


def is_json() -> bool:
    """Return whether the command prints JSON (`--json`)."""
    return context().json


def emit(document: Mapping[str, Any], *renderables: Any) -> None:
    """Print a result.

    Args:
        document: Result for machines, printed as JSON on standard output with `--json`.
        renderables: Result for people: strings (printed unchanged) and rich objects.
    """
    if is_json():
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return
    console = _console()
    for renderable in renderables:
        if isinstance(renderable, str):
            console.print(printable(renderable), markup=False, highlight=False, soft_wrap=True)
        else:
            console.print(renderable)


def note(text: str, *, always: bool = False) -> None:
    """Print a remark for people on standard error; with `--json` only if `always`."""
    if always or not is_json():
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


def write_file(path: Path, data: bytes | Iterable[bytes], *, code: str = "file-unwritable") -> None:
    """Write the file that a command was asked for, whole; what was there is replaced.

    Raises:
        InputError: It can't be written; what was there still is.
    """
    from folkmoot.runtime.files import write_whole

    try:
        write_whole(path, data)
    except OSError as error:
        raise InputError(
            f"The file {path} can't be written: {error.strerror or error}.",
            remedy="Check that its folder exists and can be written, and that the disk has room.",
            code=code,
        ) from error


def printable(text: str) -> str:
    """Return a text without control characters of terminals.

    Titles, reasons and messages are untrusted: they come from the chain or a coordinator.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> Any:
    """Return a table for `emit`."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def pairs(values: Mapping[str, str]) -> str:
    """Return a table of names and values, one pair per line."""
    width = max((len(name) for name in values), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in values.items())


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a text while the block runs; show nothing with `--json` or without a terminal."""
    if is_json() or not sys.stderr.isatty():
        yield
        return
    with _console(stderr=True).status(text):
        yield


@contextmanager
def waiting(text: str, log: Path, console: Console | None = None) -> Iterator[None]:
    """Show on a terminal how long a step has been running, and later the path of its log, while the block runs.

    Args:
        text: Description of the step.
        log: Path of its log, shown after `LONG` seconds.
        console: The terminal; by default standard error. Nothing is shown on other consoles.
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
        shown = f"{text}  {format_duration(int(seconds))}" + (f"\n  log: {log}" if seconds >= LONG else "")
        spinner.update(text=Text(printable(shown), overflow="fold"))
        return spinner

    with Live(console=console, get_renderable=picture, refresh_per_second=LOOKS, transient=True):
        yield


def _console(*, stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr)
