# SPDX-License-Identifier: Apache-2.0
"""Measure on shaped lines what one exchange of each way takes: seconds, and bytes by the counters of the devices.

An exchange is a step of DDP or FSDP, and a round of DiLoCo or Folkmoot. Contributors of Folkmoot train, because the
bytes of a coded update depend on its values; the time of training does not count.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.links.contributor import BEFORE, NOW
from benchmarks.links.lines import DEVICE, Line, Network, Party, joined
from benchmarks.links.losses import WORKERS
from folkmoot.errors import LocalError

TORCH = ("ddp", "fsdp", "diloco")
CURRENT = ("width 8", "width 4", "width 2")
FOLKMOOT = (BEFORE, *CURRENT)
WAYS = (*TORCH, *FOLKMOOT)
"""What can be measured: torch's ways, and Folkmoot as it was and by width."""

FAST = Line(1000, 1000)


@dataclass(frozen=True)
class Setting:
    """The lines of a measurement."""

    name: str
    line: Line
    """Of each contributor."""
    coordinator: Line
    """Of the coordinator, which torch's ways do not have."""


SETTINGS = {
    made.name: made
    for made in (
        Setting("100", Line(100, 100), FAST),
        Setting("20", Line(20, 20), FAST),
        Setting("5", Line(5, 5), FAST),
        Setting("adsl", Line(5, 0.8), FAST),
        Setting("20-slow-coordinator", Line(20, 20), Line(20, 20)),
    )
}
"""By name: the same rate both ways, ADSL, and a coordinator behind such a line itself."""

DELAY = 0.01
"""Seconds that a packet takes over one line: 20 ms from one party to another."""

_COORDINATOR = "coordinator"
_CONTRIBUTORS = [f"contributor-{number}" for number in range(WORKERS)]
_ROUNDS = 1000
_UNMEASURED = 2
"""First rounds: the first one has no mean to fetch, and the optimisers start cold."""
_PORT = 29500


@dataclass(frozen=True)
class Exchange:
    """What one exchange took: means over the workers and over its repetitions."""

    way: str
    model: str
    parameters: int
    setting: str
    down: float
    """Bytes that a worker received."""
    up: float
    """Bytes that it sent."""
    seconds: float
    """Seconds of communication. Of Folkmoot: to get the base and to send the update."""
    round: float
    """Seconds of the whole exchange; of Folkmoot with chain, looks for the next round and the coordinator's work."""
    times: int
    """Repetitions."""
    load: float
    """Load of the machine in the minute before the end."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a line of the results."""
        rounded = {name: round(value, 3) for name, value in asdict(self).items() if isinstance(value, float)}
        return {**asdict(self), **rounded}


class _Worker:
    """A process in the namespace of a party that answers lines with lines."""

    def __init__(self, party: Party, module: str, words: Sequence[str], log: Path) -> None:
        self._log = log
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                party.command([sys.executable, "-m", f"benchmarks.links.{module}", *words]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )

    def tell(self, text: str) -> None:
        if self._process.stdin is None:
            raise self._failed()
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise self._failed()
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise LocalError(f"A worker can't do this: {found['error']}", code="not-supported")
        return found

    def close(self) -> None:
        self._process.communicate()

    def _failed(self) -> LocalError:
        return LocalError(
            f"A worker ended. It wrote:\n{self._log.read_text()[-2000:]}",
            remedy="Correct what it says.",
            code="ended",
        )


def _asked(workers: Sequence[_Worker], text: str) -> list[dict[str, Any]]:
    """Tell all workers the same, and return their answers."""
    for worker in workers:
        worker.tell(text)
    return [worker.answer() for worker in workers]


def _rounds(players: Sequence[_Worker], mode: str, times: int) -> list[dict[str, Any]]:
    """Play rounds; return each round's answers. All send at the same time, when all have trained."""
    answers = []
    for _ in range(times):
        _asked(players, f"base {mode}")
        _asked(players, "train")
        answers += _asked(players, "send")
    return answers


@contextlib.contextmanager
def _peers(network: Network, folder: Path) -> Iterator[list[_Worker]]:
    """Start the workers of torch's ways."""
    first = network.parties[_CONTRIBUTORS[0]].address
    with contextlib.ExitStack() as stack:
        workers = []
        for rank, name in enumerate(_CONTRIBUTORS):
            words = [str(rank), str(WORKERS), first, str(_PORT), DEVICE]
            worker = _Worker(network.parties[name], "peers", words, folder / f"{name}.log")
            stack.callback(worker.close)
            workers.append(worker)
        yield workers


@contextlib.contextmanager
def _federation(network: Network, folder: Path, model: str, width: int) -> Iterator[list[_Worker]]:
    """Start a coordinator with its chain, and contributors; open the first round."""
    with contextlib.ExitStack() as stack:
        party = network.parties[_COORDINATOR]
        words = [str(folder), model, str(width), str(WORKERS), str(_ROUNDS)]
        served = _Worker(party, "served", words, folder / "served.log")
        stack.callback(served.close)
        ports = served.answer()
        urls = [f"http://{party.address}:{ports[name]}" for name in ("coordinator", "rpc")]
        workers = []
        for number, name in enumerate(_CONTRIBUTORS):
            words = [str(folder), str(number), str(WORKERS), *urls, DEVICE]
            worker = _Worker(network.parties[name], "contributor", words, folder / f"{name}.log")
            stack.callback(worker.close)
            workers.append(worker)
        for worker in workers:
            worker.answer()
        served.tell("start")
        yield workers


def measure(
    model: str,
    ways: Sequence[str],
    settings: Sequence[str],
    times: int,
    found: Callable[[Exchange], None],
    failed: Callable[[str], None],
) -> None:
    """Measure ways in settings.

    Args:
        model: Name of the model.
        ways: Some of WAYS.
        settings: Names of SETTINGS.
        times: Repetitions of each exchange.
        found: Called with each measurement.
        failed: Called with a sentence about each that can't be done.

    Raises:
        LocalError: ``no-namespaces``, or a process ended.
    """
    from benchmarks.links.models import manifest_of

    parameters = manifest_of(model).elements
    federations = {width: [way for way in ways if _width(way) == width] for width in (8, 4, 2)}
    with joined([*_CONTRIBUTORS, _COORDINATOR], DELAY) as network:

        def take(way: str, setting: str, ask: Callable[[], list[dict[str, Any]]]) -> None:
            lines = SETTINGS[setting]
            for name in _CONTRIBUTORS:
                network.shape(name, lines.line)
            network.shape(_COORDINATOR, lines.coordinator)
            try:
                answers = ask()
            except LocalError as error:
                if error.code != "not-supported":
                    raise
                failed(f"{way}, {model}, {setting}: {error.message}")
                return
            mean = {name: fmean(one[name] for one in answers) for name in answers[0]}
            whole = mean.get("whole", mean.get("seconds", 0.0))
            talked = mean.get("seconds", mean.get("base", 0.0) + mean.get("sent", 0.0))
            load = os.getloadavg()[0]
            found(
                Exchange(
                    way, model, parameters, setting, mean["down"], mean["up"], talked, whole, times, load
                )
            )

        def folder(stack: contextlib.ExitStack) -> Path:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="folkmoot-links-")))

        if torch_ways := [way for way in TORCH if way in ways]:
            with contextlib.ExitStack() as stack:
                peers = stack.enter_context(_peers(network, folder(stack)))
                for setting in settings:
                    if (
                        SETTINGS[setting].coordinator == FAST
                    ):  # without a coordinator its line changes nothing
                        for way in torch_ways:
                            take(way, setting, partial(_asked, peers, f"{way} {model} {times}"))
        for width, chosen in federations.items():
            if chosen:
                with contextlib.ExitStack() as stack:
                    players = stack.enter_context(_federation(network, folder(stack), model, width))
                    _rounds(players, NOW, _UNMEASURED)
                    for way in sorted(chosen, key=FOLKMOOT.index, reverse=True):  # the keeper has then no gap
                        for setting in settings:
                            mode = BEFORE if way == BEFORE else NOW
                            take(way, setting, partial(_rounds, players, mode, times))


def _width(way: str) -> int | None:
    """Return the width of a way of Folkmoot."""
    if way == BEFORE:
        return 8
    return int(way.removeprefix("width ")) if way in FOLKMOOT else None
