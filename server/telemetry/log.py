# SPDX-License-Identifier: Apache-2.0
"""A coordinator's events and the steps of its transactions as log lines, in the form of `folkmoot.runtime.logs`."""

from __future__ import annotations

import logging
from typing import Any

from folkmoot.runtime.logs import fields

logger = logging.getLogger(__name__)

_LEVELS = {
    "canary-missing": logging.WARNING,
    "chain-rewound": logging.WARNING,
    "data-demanded": logging.WARNING,
    "dispute-opened": logging.WARNING,
    "round-cancelled": logging.WARNING,
    "round-withheld": logging.WARNING,
    "run-waiting": logging.WARNING,
    "contributor-slashed": logging.WARNING,
    "artifact-damaged": logging.ERROR,
    "row-altered": logging.ERROR,
    "data-withheld": logging.ERROR,
    "demand-unanswerable": logging.ERROR,
    "round-slashed": logging.ERROR,
    "run-failed": logging.ERROR,
}
_NAMES = {"contributor": "account", "reason": "code"}
"""Names that events have for what is called otherwise in the log."""
_PROSE = {"round-cancelled", "dispute-opened", "vote-cast"}
"""Events whose reason is a text and no code."""


def log_event(kind: str, data: dict[str, Any]) -> None:
    """Log an event once it is committed. Lists become their lengths: a line is not the place for a hundred verdicts."""
    values: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, (list, tuple, dict)):
            values[name] = len(value)
        else:
            values[name if kind in _PROSE else _NAMES.get(name, name)] = value
    level = _LEVELS.get(kind, logging.INFO)
    if kind == "transaction" and values.get("state") == "failed":
        level = logging.ERROR
    shown = ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)
    logger.log(level, "%s", shown or kind, extra=fields(kind, **values))
