# SPDX-License-Identifier: Apache-2.0
"""Get what the display of a run needs besides events: the metrics of new models, and the time left in a window.

Models are measured by `folkmoot task evaluate --watch` in a process of its own: this one never loads a model.
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
"""Seconds between two looks at a round's report."""

MEASURE_TIMEOUT = 20.0
"""Seconds that the measurement of the last model may take once the run is over."""


def completed(api: CoordinatorApi, event: Event) -> Mapping[str, Any]:
    """An event's values, with what the coordinator says beside it.

    Of `round-opened` also `secondsLeft`, for which the round takes updates; of `round-reported` also `nodes`, as the
    report has them. What can't be had now is left out.
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
    """Ask every second what the operator reports of the nodes while the block runs: no event says who was asked.

    Only where there is a live picture, and as long as the coordinator knows reports.
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
    """Measures each newly anchored model; one without a task measures nothing.

    Args:
        process: `folkmoot task evaluate --watch`, None to measure nothing.
    """

    def __init__(self, process: subprocess.Popen[str] | None = None) -> None:
        self.tell: Callable[[dict[str, Any]], None] = lambda _measured: None
        """Is told `round` and `metrics`, in a thread of its own."""
        self.say: Callable[[str], None] = lambda _text: None
        """Is told why nothing is measured any more."""
        self._process = process
        self._newest = 0
        self._changed = threading.Condition()
        self._over = process is None
        self._closing = False
        self._reader = threading.Thread(target=self._read, name="read-measurements", daemon=True)
        if process is not None:
            self._reader.start()

    def wait_for(self, number: int) -> None:
        """Wait until a round is measured, the process has ended, or the timeout is over."""
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
        assert self._process is not None  # noqa: S101  else this thread was not started
        assert self._process.stdout is not None  # noqa: S101  it was opened with a pipe
        said = ""
        with self._process.stdout as lines:
            for line in lines:
                measured = _measured(line)
                if measured is None:
                    said = line.strip() or said
                    continue
                self.tell(measured)
                with self._changed:
                    self._newest = max(self._newest, measured["round"])
                    self._changed.notify_all()
        if not self._closing:
            self.say(f"The evaluation has ended, so new models are not measured. {said}".strip())
        with self._changed:
            self._over = True
            self._changed.notify_all()


@contextmanager
def measuring(task: str, coordinator: str) -> Iterator[Meter]:
    """Measure each model that is anchored while the block runs.

    Args:
        task: Name of a task, as `folkmoot task evaluate` takes it; empty to measure nothing.
        coordinator: URL of the coordinator.

    Raises:
        LocalError: The process can't be started.
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
        found = json.loads(line)
        return {"round": int(found["version"]), "metrics": {"server": dict(found["metrics"])}}
    except (ValueError, KeyError, TypeError):
        return None
