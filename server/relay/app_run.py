# SPDX-License-Identifier: Apache-2.0
"""Run a user's Flower app as the relay: anchor and start it, keep its log, and explain why it ended."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from folkmoot.apps.folder import AppFolder
from folkmoot.apps.staging import COORDINATOR_KEY, OUTPUT_LINE, RUN_KEY, stage_app
from folkmoot.errors import LocalError
from server.relay.training import Carrier, Raised

TRIES = 3
"""Number of ServerApps in a row that may end early. An app that fails each time would fail again."""

_TRACEBACK = "Traceback (most recent call last):"
_FRAME = re.compile(r'^  File "(?:.*/apps/[^/]+/)?([^"]+)", (line \d+)')
"""A frame of a traceback. Flower unpacks an app into a folder of `apps`, so only its own files get a relative path."""


def carry(app: AppFolder, carrier: Carrier, coordinator: str, run: str, log: Path | None = None) -> str:
    """Run an app's ServerApp, anchored, until the coordinator's run is over.

    Args:
        carrier: Keeps a relay running; its settings are replaced.
        coordinator: URL of the coordinator.
        run: The coordinator's run.
        log: File for the ServerApp's log, begun anew; one beside the carrier's note if left out.

    Returns:
        What the last ServerApp raised, and its log, in sentences; empty if it raised nothing.

    Raises:
        LocalError: Flower can't start it, or the ServerApp ends early each time.
    """
    with tempfile.TemporaryDirectory(prefix="folkmoot-app-") as folder:
        carrier.app = stage_app(app, Path(folder))
        carrier.settings = {COORDINATOR_KEY: coordinator, RUN_KEY: run}
        carrier.tries = TRIES
        others = carrier.on_line
        with AppLog(log or carrier.memory.path.with_suffix(".log")) as kept:

            def take(line: str) -> None:
                kept.take(line)
                if others is not None:
                    others(line)

            carrier.on_line, carrier.raised = take, kept.take_raised
            try:
                carrier.carry()
            except LocalError as error:
                error.remedy = f"{error.remedy} The ServerApp's log is {kept.path}.".strip()
                error.details["log"] = str(kept.path)
                raise
        if kept.output:
            carrier.say(f"{OUTPUT_LINE}{kept.output}.")
        return f"The ServerApp failed. {carrier.last} Its log is {kept.path}." if carrier.last else ""


class AppLog:
    """Keeps what a ServerApp logs, and what of it is worth telling; a context manager.

    Args:
        path: File to write; begun anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.output = ""
        self._raised: Raised | None = None
        self._place: str | None = None
        """Place of the newest frame of a traceback that is being read, if possible of one of the app."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = path.open("w", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def take(self, line: str) -> None:
        """Take note of a line."""
        self._file.write(line + "\n")
        self._file.flush()
        if OUTPUT_LINE in line:
            self.output = line.partition(OUTPUT_LINE)[2].strip()
        elif line.startswith(_TRACEBACK):
            self._place = ""
        elif self._place is not None and (match := _FRAME.match(line)):
            if not self._place or self._place.startswith("/") or not match[1].startswith("/"):
                self._place = f"{match[1]}, {match[2]}"
        elif self._place is not None and line and not line[0].isspace():
            self._raised = Raised(" ".join(line.split())[:500], self._place)
            self._place = None

    def take_raised(self) -> Raised | None:
        """Return the newest exception since the last call."""
        raised, self._raised = self._raised, None
        return raised
