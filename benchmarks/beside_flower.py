# SPDX-License-Identifier: Apache-2.0
"""One Flower app, unmodified, run by plain Flower and by `folkmoot run`, one after the other on this machine.

    python -m benchmarks.beside_flower [APP] [--nodes 3] [--rounds 6] [--idle 60] [--only flower|folkmoot] [--json]

Prints for both: seconds of the first and of the later rounds, processor seconds a round, what an idle node costs,
and the app's own metrics of the last round. Plain Flower is the peer: a SuperLink, SuperNodes and `flwr run`, as its
documentation starts them. Folkmoot adds a chain, a coordinator, signatures and a final state for each round.
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
from pathlib import Path
from statistics import median

from benchmarks.processes import descendants, tree_usage
from client.pauses import BUSY_SECONDS
from folkmoot.devnet.federation import program
from folkmoot.runtime.processes import Supervisor, accepts_connections, free_port

APP = Path(__file__).parent.parent / "examples" / "digits-pytorch"
_ROUND = re.compile(r"\[ROUND (\d+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NUMBERS = re.compile(r"'([\w-]+)': '?([-+.\w]+)")
_ANCHORED = re.compile(r"round \d+ \(.* (\d+\.\d) s$")
_SERVER = re.compile(r"\s+round \d+, server: (.*)")
_PAIRS = re.compile(r"([\w-]+) ([-+.\de]+)")


@dataclass
class Side:
    """What one of both took."""

    name: str
    starts: list[float] = field(default_factory=list)
    """Seconds after the command at which each round began, and last the end of the last."""
    processor: list[float] = field(default_factory=list)
    """Processor seconds of all processes at the same moments."""
    idle_node: float = 0.0
    """Share of a core that an idle node takes."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The app's own numbers on its held-out data, last round."""

    def row(self) -> dict[str, float | str | dict[str, float]]:
        """Return the figures."""
        seconds = [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]
        used = [b - a for a, b in zip(self.processor, self.processor[1:], strict=False)]
        return {
            "name": self.name,
            "untilFirstRound": round(self.starts[0], 1),
            "firstRound": round(seconds[0], 1),
            "laterRounds": round(median(seconds[1:]), 1),
            "processorSecondsARound": round(median(used[1:]), 1),
            "idleNodeShareOfACore": round(self.idle_node, 4),
            "metrics": self.metrics,
        }


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
        began, base = time.monotonic(), tree_usage(os.getpid())
        command = [program("flwr"), "run", str(app), "here", "--stream"]
        command += ["--run-config", f"num-server-rounds={rounds}"]
        for line in _lines(command, {**environment, "COLUMNS": "200"}):
            found = _ROUND.search(line)
            if found:
                side.starts.append(time.monotonic() - began)
                side.processor.append(tree_usage(os.getpid()).seconds - base.seconds)
            if "aggregated_evaluate" in line or "Evaluation" in line or "metrics" in line.lower():
                numbers = {name: float(value) for name, value in _NUMBERS.findall(line)}
                side.metrics = numbers or side.metrics
        side.starts.append(time.monotonic() - began)
        side.processor.append(tree_usage(os.getpid()).seconds - base.seconds)
    return side


def folkmoot_run(app: Path, nodes: int, rounds: int, idle: float, home: Path) -> Side:
    """Run the app by `folkmoot run`, and measure its nodes once they have been idle for a while."""
    side = Side("folkmoot run")
    began, me = time.monotonic(), os.getpid()
    base = tree_usage(me).seconds
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
            now, used = time.monotonic() - began, tree_usage(me).seconds - base
            if not side.starts:
                side.starts.append(now - float(found.group(1)))
                side.processor.append(used)  # the first round's is not counted: nodes start up in it
            side.starts.append(now)
            side.processor.append(used)
        elif found := _SERVER.match(line):
            side.metrics = {name: float(value) for name, value in _PAIRS.findall(found.group(1))}
        elif line.startswith("Ctrl-C") or "Next:" in line:
            break
    if idle:
        time.sleep(BUSY_SECONDS + 10)  # until nodes look as seldom as idle ones do
        side.idle_node = _idle(_joins(me), idle)
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
    parser.add_argument(
        "--idle", type=float, default=60, help="seconds to measure idle nodes; 0 leaves it out"
    )
    parser.add_argument("--only", choices=("flower", "folkmoot"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sides = []
    with tempfile.TemporaryDirectory(prefix="beside-flower-") as scratch:
        if options.only != "folkmoot":
            home = Path(scratch, "flower")
            home.mkdir()
            sides.append(
                plain_flower(options.app.resolve(), options.nodes, options.rounds, options.idle, home)
            )
        if options.only != "flower":
            home = Path(scratch, "folkmoot")
            home.mkdir()
            sides.append(
                folkmoot_run(options.app.resolve(), options.nodes, options.rounds, options.idle, home)
            )
    for side in sides:
        print(json.dumps({**side.row(), "raw": asdict(side)} if options.json else side.row()))


if __name__ == "__main__":
    main()
