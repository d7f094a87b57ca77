# SPDX-License-Identifier: Apache-2.0
"""One Flower app, unmodified, run by plain Flower and by `folkmoot run`, one after the other on this machine.

    python -m benchmarks.beside_flower [APP] [--nodes 3] [--rounds 6] [--repeat 1] [--idle 60]
                                       [--only flower|folkmoot] [--json]

Prints for both: seconds of the first and of the later rounds, processor seconds a round and what used them, what an
idle node costs, and the app's own metrics of the last round; and for Folkmoot how long each part of a round took. Plain
Flower is the peer: a SuperLink, SuperNodes and `flwr run`, as its documentation starts them. Folkmoot adds a chain, a
coordinator, signatures and a final state for each round. With `--repeat`, both run in turn, so that a machine that
others use too treats both alike; the load is printed. `tests/e2e/plain_app` is an app that trains for milliseconds: its
rounds show what a round costs by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

from benchmarks.processes import Usage, descendants, tree_usage
from client.node.pauses import BUSY_SECONDS
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.federation import program
from folkmoot.errors import FolkmootError
from folkmoot.runtime.processes import Supervisor, accepts_connections, free_port

APP = Path(__file__).resolve().parents[2] / "examples" / "digits-pytorch"
_ROUND = re.compile(r"\[ROUND (\d+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NUMBERS = re.compile(r"'([\w-]+)': '?([-+.\w]+)")
_ANCHORED = re.compile(r"round \d+ \(.* (\d+\.\d) s$")
_COORDINATOR = re.compile(r"coordinator (http://\S+?),? ")
_SERVER = re.compile(r"\s+round \d+, server: (.*)")
_PAIRS = re.compile(r"([\w-]+) ([-+.\de]+)")


@dataclass
class Side:
    """What one of both took."""

    name: str
    starts: list[float] = field(default_factory=list)
    """Seconds after the command at which each round began, and last the end of the last."""
    usages: list[Usage] = field(default_factory=list)
    """Processor seconds of all processes at the same moments."""
    parts: dict[int, dict[str, float]] = field(default_factory=dict)
    """Seconds of the parts of each round. Folkmoot only."""
    load: float = 0.0
    """The machine's load when the last round had ended."""
    idle_node: float = 0.0
    """Share of a core that an idle node takes."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The app's own numbers on its held-out data, last round."""

    def mark(self, now: float) -> None:
        """Note that a round has begun or that the last one has ended."""
        self.starts.append(now)
        self.usages.append(tree_usage(os.getpid()))
        self.load = os.getloadavg()[0]

    @property
    def rounds(self) -> list[float]:
        """Seconds of each round."""
        return [b - a for a, b in pairwise(self.starts)]

    def used(self) -> dict[str, float]:
        """Return the processor seconds of a later round by what the processes do: the mean."""
        first, last = self.usages[1].by_kind, self.usages[-1].by_kind
        spent = {kind: (last[kind] - first.get(kind, 0.0)) / (len(self.usages) - 2) for kind in last}
        return dict(sorted(spent.items(), key=lambda one: -one[1]))

    def row(self) -> dict[str, Any]:
        """Return the figures."""
        used = [b.seconds - a.seconds for a, b in pairwise(self.usages)]
        return {
            "name": self.name,
            "untilFirstRound": round(self.starts[0], 1),
            "firstRound": round(self.rounds[0], 1),
            "laterRounds": round(median(self.rounds[1:]), 2),
            "processorSecondsARound": round(median(used[1:]), 2),
            "processorSecondsByKind": {kind: round(seconds, 2) for kind, seconds in self.used().items()},
            "partsOfARound": {
                part: round(median(took[part] for took in list(self.parts.values())[1:]), 2)
                for part in PARTS.values()
                if self.parts
            },
            "idleNodeShareOfACore": round(self.idle_node, 4),
            "metrics": self.metrics,
            "load": self.load,
        }


PARTS = {
    "round-opened": "opening, from the settled round before",
    "update-received": "nodes train, until the last update has arrived",
    "updates-committed": "commitments on the chain",
    "round-computed": "last files, aggregation",
    "round-anchored": "anchor",
    "rewards-settled": "final and settled",
}
"""Event that ends a part of a round, and what the part is."""


def _listen(url: str, side: Side) -> None:
    """Note how long the parts of each round take, as the coordinator's events come."""
    before = time.monotonic()
    with CoordinatorApi(url) as api, contextlib.suppress(FolkmootError):  # It ends with the run.
        for event in api.events(0):
            if part := PARTS.get(event.type):
                parts = side.parts.setdefault(int(event.data["round"]), dict.fromkeys(PARTS.values(), 0.0))
                parts[part] += time.monotonic() - before
                before = time.monotonic()


def plain_flower(app: Path, nodes: int, rounds: int, idle: float, home: Path) -> Side:
    """Run the app as Flower's documentation says."""
    side = Side("plain Flower")
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "FLWR_HOME": str(home / "flwr")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    port = free_port()
    (home / "flwr").mkdir()
    connection = (
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    (home / "flwr" / "config.toml").write_text(connection)
    with Supervisor(home / "logs") as supervisor:
        words = ["--insecure", "--disable-runtime-dependency-installation", "--port", str(port)]
        link = [program("flower-superlink"), *words]
        supervisor.start(
            "superlink", link, environment=environment, ready=lambda: accepts_connections(port), timeout=90
        )
        node_pids = []
        for number in range(nodes):
            own = home / f"node-{number}"
            own.mkdir()
            words = ["--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(free_port())]
            words += ["--node-config", f"partition-id={number} num-partitions={nodes}"]
            child = supervisor.start(
                f"node-{number}",
                [program("flower-supernode"), *words],
                environment={**environment, "FLWR_HOME": str(own)},
            )
            node_pids.append(child.process.pid)
        side.idle_node = _idle(node_pids, idle)
        began = time.monotonic()
        command = [program("flwr"), "run", str(app), "here", "--stream"]
        command += ["--run-config", f"num-server-rounds={rounds}"]
        for line in _lines(command, {**environment, "COLUMNS": "200"}):
            found = _ROUND.search(line)
            if found:
                side.mark(time.monotonic() - began)
            if "aggregated_evaluate" in line or "Evaluation" in line or "metrics" in line.lower():
                numbers = {name: float(value) for name, value in _NUMBERS.findall(line)}
                side.metrics = numbers or side.metrics
        side.mark(time.monotonic() - began)
    return side


def folkmoot_run(app: Path, nodes: int, rounds: int, idle: float, home: Path) -> Side:
    """Run the app by `folkmoot run`, and measure its nodes once they have been idle for a while."""
    side = Side("folkmoot run")
    began = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "folkmoot",
        "run",
        str(app),
        "--nodes",
        str(nodes),
        "--rounds",
        str(rounds),
    ]
    command += ["--home", str(home / "run"), "--keep"]
    lines = _lines(command, {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "200"})
    for line in lines:
        if found := _ANCHORED.match(line):
            now = time.monotonic() - began
            if not side.starts:
                side.mark(
                    now - float(found.group(1))
                )  # Its processor time is not counted: nodes start up in it.
            side.mark(now)
        elif found := _COORDINATOR.search(line):
            Thread(target=_listen, args=(found.group(1), side), daemon=True).start()
        elif found := _SERVER.match(line):
            side.metrics = {name: float(value) for name, value in _PAIRS.findall(found.group(1))}
        elif line.startswith("Ctrl-C") or "Next:" in line:
            break
    if idle:
        time.sleep(BUSY_SECONDS + 10)  # until nodes look as seldom as idle ones do
        side.idle_node = _idle(_joins(os.getpid()), idle)
    lines.close()
    return side


def _joins(root: int) -> list[int]:
    """Find the `folkmoot join` processes below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"join" in words and int(entry.name) in descendants(root):
                found.append(int(entry.name))
    return found


def _idle(pids: Sequence[int], seconds: float) -> float:
    """Return the share of a core that one of these processes, with its children, takes while nothing happens."""
    if not seconds:
        return 0.0
    time.sleep(30)  # until they have started up
    before, began = [tree_usage(pid) for pid in pids], time.monotonic()
    time.sleep(seconds)
    used = [tree_usage(pid).seconds - was.seconds for pid, was in zip(pids, before, strict=True)]
    return sum(used) / len(pids) / (time.monotonic() - began)


def _lines(command: Sequence[str], environment: dict[str, str]) -> Generator[str, None, None]:
    """Run a command and yield what it prints."""
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            yield _ANSI.sub("", line).rstrip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_flower", description=__doc__)
    parser.add_argument("app", nargs="?", type=Path, default=APP, help="folder of a Flower app")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--repeat", type=int, default=1, help="how many times to run both")
    parser.add_argument(
        "--idle", type=float, default=60, help="seconds to measure idle nodes; 0 leaves it out"
    )
    parser.add_argument("--only", choices=("flower", "folkmoot"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sides: dict[str, list[Side]] = {}
    for turn in range(options.repeat):
        for name, run in (("flower", plain_flower), ("folkmoot", folkmoot_run)):
            if options.only in (None, name):
                with tempfile.TemporaryDirectory(prefix="beside-flower-") as scratch:
                    idle = 0 if turn else options.idle
                    side = run(options.app.resolve(), options.nodes, options.rounds, idle, Path(scratch))
                sides.setdefault(name, []).append(side)
                print(
                    json.dumps({**side.row(), "raw": asdict(side)} if options.json else side.row()),
                    flush=True,
                )
    if options.only is None:
        print(json.dumps(ratios(sides["flower"], sides["folkmoot"])))


def ratios(flower: Sequence[Side], folkmoot: Sequence[Side]) -> dict[str, float]:
    """Return how many times longer plain Flower took, and how much longer a first round is than a later one."""

    def later(sides: Sequence[Side]) -> float:
        return median(seconds for side in sides for seconds in side.rounds[1:])

    def work(sides: Sequence[Side]) -> float:
        return median(b.seconds - a.seconds for side in sides for a, b in pairwise(side.usages[1:]))

    return {
        "secondsARound": round(later(flower) / later(folkmoot), 2),
        "processorSecondsARound": round(work(flower) / work(folkmoot), 2),
        "firstRoundToLater": round(median(side.rounds[0] for side in folkmoot) / later(folkmoot), 2),
    }


if __name__ == "__main__":
    main()
