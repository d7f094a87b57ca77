# SPDX-License-Identifier: Apache-2.0
"""What a watcher says, in a stream of its own."""

from __future__ import annotations

import logging
from typing import TextIO

from folkmoot.fraud.watcher.journal import Log
from folkmoot.runtime import logs


def log_to(stream: TextIO, log_format: str = "json") -> Log:
    """Return a log that writes into a stream, in one of `logs.FORMATS`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.Formatter(log_format))
    logger = logging.Logger("folkmoot.watch")
    logger.addHandler(handler)
    return Log(logger)
