# SPDX-License-Identifier: Apache-2.0
"""Get data for the display of a run besides events: the metrics of new models, and the time left in a window.

`folkmoot task evaluate --watch` measures the models in a separate process. This process never loads a model.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from folkmoot.errors import CoordinatorError, LocalError
from folkmoot.runtime.commands import folkmoot_command

if TYPE_CHECKING:
    from folkmoot.cli.live import View
    from folkmoot.coordinator_api import CoordinatorApi, Event

ASK_SECONDS = 1.0
"""Seconds between two requests for a round's report."""

MEASURE_TIMEOUT = 20.0
"""Timeout in seconds for the measurement of the last model after the run has ended."""


def completed(api: CoordinatorApi, event: Event) -> Mapping[str, Any]:
    """Return an event's values with further data of the coordinator.

    For `round-opened`, add `secondsLeft` until the round takes no more updates; for `round-reported`, add `nodes` of
    the report. Data that are not available now are left out.
    """
    number = event.data.get("round")
    try:
        if event.type == "round-opened":
            current = api.current_round()
            if current is not None and current.round == number:
                return {**event.data, "secondsLeft": current.commit_deadline - current.chain_time}
        if event.type == "round-reported" and isinstance(number, int):
            return {**event.data, "nodes": api.get(f"/v1/rounds/{number}/report").get("nodes")}
    except CoordinatorError:
        pass
    return event.data


@contextmanager
def asking(view: View, url: str) -> Iterator[None]:
    """Poll the operator's report on the nodes every second while the block runs.

    No event has the nodes that were asked.

    This needs a live display, and a coordinator that supports reports.
    """
    over = threading.Event()

    def ask() -> None:
        from folkmoot.coordinator_api import CoordinatorApi

        with CoordinatorApi(url) as api:
            while not over.wait(ASK_SECONDS):
                current = view.progress.current
                if current is None or current.phase != "open":
                    continue
                try:
                    report = api.get(f"/v1/rounds/{current.number}/report")
                except CoordinatorError as error:
                    if error.code == "unknown-path":
                        return
                    continue
                view.progress.see("round-reported", {"round": current.number, "nodes": report.get("nodes")})

    thread = threading.Thread(target=ask, name="ask-for-reports", daemon=True)
    if not view.live:
        yield
        return
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Meter:
    """Measures each newly anchored model; without a process, measures nothing.

    Args:
        process: Process of `folkmoot task evaluate --watch`; None to measure nothing.
    """

    def __init__(self, process: subprocess.Popen[str] | None = None) -> None:
        self.tell: Callable[[dict[str, Any]], None] = lambda _measured: None
        """Called with `round` and either `metrics`, and a text model's `sample`, or `error`, in a separate thread."""
        self.say: Callable[[str], None] = lambda _text: None
        """Called with the reason when measuring has stopped."""
        self._process = process
        self._newest = 0
        self._changed = threading.Condition()
        self._over = process is None
        self._closing = False
        self._reader = threading.Thread(target=self._read, name="read-measurements", daemon=True)
        if process is not None:
            self._reader.start()

    def wait_for(self, number: int) -> None:
        """Wait until a round is measured, the process has ended, or the timeout has expired."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._newest >= number, MEASURE_TIMEOUT)

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._closing = True
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process is not None  # noqa: S101  otherwise this thread was not started
        assert self._process.stdout is not None  # noqa: S101  it was opened with a pipe
        last_line = ""
        with self._process.stdout as lines:
            for line in lines:
                measured = _measured(line)
                if measured is None:
                    last_line = line.strip() or last_line
                    continue
                self.tell(measured)
                with self._changed:
                    self._newest = max(self._newest, measured["round"])
                    self._changed.notify_all()
        if not self._closing:
            self.say(f"The evaluation has ended, so new models are not measured. {last_line}".strip())
        with self._changed:
            self._over = True
            self._changed.notify_all()


@contextmanager
def measuring(task: str, coordinator: str) -> Iterator[Meter]:
    """Measure each model that is anchored while the block runs.

    Args:
        task: Name of a task, as for `folkmoot task evaluate`; empty to measure nothing.
        coordinator: URL of the coordinator.
    """
    if not task:
        yield Meter()
        return
    words = folkmoot_command("task", "evaluate", "--task", task, "--coordinator", coordinator, "--watch")
    try:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        raise LocalError(
            f"The process that measures models can't be started: {error.strerror or error}.",
            remedy="Leave out --evaluate, or free some memory.",
            code="evaluator-failed",
        ) from error
    meter = Meter(process)
    try:
        yield meter
    finally:
        meter.close()


def _measured(line: str) -> dict[str, Any] | None:
    try:
        measured = json.loads(line)
        if "error" in measured:
            return {"round": int(measured["round"]), "error": str(measured["error"])}
        sample = {"sample": str(measured["sample"])} if "sample" in measured else {}
        return {"round": int(measured["version"]), "metrics": {"server": dict(measured["metrics"])}, **sample}
    except (ValueError, KeyError, TypeError):
        return None
