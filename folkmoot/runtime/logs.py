# SPDX-License-Identifier: Apache-2.0
"""Logs: one line an event, as text for people or as JSON for machines, with the same fields in every program.

A line has `time`, `level`, `event` (a stable name) and `text`; what it is about stands beside it as fields, under the
same names everywhere: `round`, `account`, `transaction`, `purpose`, `code`. Secrets that ended up in a message (the key
in an endpoint's URL, the password in a database's) are taken out. Decides nothing about what is logged. The standard
library's logging, not structlog: that takes 80 ms to import, which Flower's nodes would pay for each message.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO

from folkmoot.errors import InputError
from folkmoot.runtime.urls import REMOVED

FORMATS = ("text", "json")
"""Ways to write a line."""

FORMAT_VARIABLE = "FOLKMOOT_LOG_FORMAT"
"""Environment variable with the format, where no option or setting says it."""

_KEY = "folkmoot"
_QUIET = ("httpx", "httpcore", "alembic", "urllib3", "web3")


def fields(event: str, **values: Any) -> dict[str, Any]:
    """Return the `extra` of a logging call.

    Args:
        event: Stable name of what happened, lower case with hyphens.
        values: What it is about, JSON types; those that are None are left out.
    """
    return {_KEY: {"event": event, **{name: value for name, value in values.items() if value is not None}}}


def chosen(name: str | None) -> str:
    """Return the format that an option means; without one, that of the environment, else text."""
    format_ = name or os.environ.get(FORMAT_VARIABLE) or FORMATS[0]
    if format_ not in FORMATS:
        raise InputError(
            f"{format_!r} is no log format.",
            remedy=f"Choose one of {', '.join(FORMATS)} with --log-format or {FORMAT_VARIABLE}.",
            code="invalid-log-format",
        )
    return format_


def setup(log_format: str, *, hidden: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Write everything that this process logs to one stream, in one format.

    Args:
        log_format: One of `FORMATS`.
        hidden: Secrets that must not be written, as `folkmoot.runtime.urls.secrets_of` gives them.
        stream: Where to; standard error if left out.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Formatter(log_format, hidden))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class Formatter(logging.Formatter):
    """Writes a record as one line.

    Args:
        log_format: One of `FORMATS`.
        hidden: Secrets that must not be written.
    """

    converter = time.gmtime  # type: ignore[assignment]  # typeshed calls it a method

    def __init__(self, log_format: str, hidden: Iterable[str] = ()) -> None:
        super().__init__()
        self._json = log_format == "json"
        self._hidden = sorted({secret for secret in hidden if secret}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without its end."""
        values: dict[str, Any] = dict(getattr(record, _KEY, {}))
        event = values.pop("event", None)
        text = record.getMessage()
        moment = f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z"
        level = record.levelname.lower()
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._json:
            document = {"time": moment, "level": level, "event": event or "log", "text": text, **values}
            document["logger"] = record.name
            if trace:
                document["trace"] = trace
            return self._cleaned(json.dumps(document, ensure_ascii=False, default=str))
        about = " ".join(f"{name}={value}" for name, value in values.items() if str(value) not in text)
        line = f"{moment} {level} {event or record.name}: {text}{f' [{about}]' if about else ''}"
        # What strangers sent must not act on a terminal, or look like a line of its own.
        line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
        return self._cleaned(f"{line}\n{trace}" if trace else line)

    def _cleaned(self, line: str) -> str:
        for secret in self._hidden:
            line = line.replace(secret, REMOVED)
        return line
