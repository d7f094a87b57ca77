# SPDX-License-Identifier: Apache-2.0
"""Keeps a coordinator running as systemd would, and does harm to it: kills, reorgs, outages, in a seeded order."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx

from folkmoot.runtime.fault_points import VARIABLE
from tests.chaos.local_chain import Miner
from tests.line import Line

RESTART_SECONDS = 0.2
"""Pause before a process that ended is started again."""
EARLY_SHARE = 0.25
"""Share of the random kills that hit the process while it starts."""
MAX_LAG = 8
"""Blocks that it may be behind and still counts as on."""
LONG_OUTAGE_SECONDS = 60.0
"""Longer than any of the coordinator's time-outs and pauses."""
PATIENCE = 240.0
"""Seconds on the wall without harm in which one thing must happen, on a slow machine."""


@dataclass(frozen=True)
class Plan:
    """What is to be done to one coordinator."""

    points: tuple[str, ...] = ()
    """Fault points at which it dies once each; those of other commands as `commands.planned` writes them."""
    kills: int = 0
    """Kills at random times."""
    reorgs: int = 0
    """Reorgs, each up to the depth at which transactions count as settled."""
    outages: int = 0
    """Outages of the RPC endpoint."""
    cuts: int = 0
    """Outages of the database's server and of the bucket."""
    long_outages: int = 0
    """How many of all outages, the first ones, last a minute instead of seconds."""
    losses: bool = False
    """Whether files and databases are lost where the story says so."""


@dataclass
class Fault:
    """One harm that was done."""

    kind: str
    """point, kill, reorg, outage, cut; repair and restore for the deaths of these."""
    what: str
    where: str
    """Rounds and steps, as the database had them."""
    began: float
    """Monotonic time."""
    on_after: float | None = None
    """Seconds until the coordinator was up and had read the chain; None for a reorg, which stops nothing, and for a
    fault that another one followed before that."""


@dataclass
class Supervisor:
    """Runs the coordinator of a home folder.

    Args:
        home: The folder.
        port: Port of its API.
        plan: The harm.
        seed: Decides when and what.
        depth: Blocks at which a transaction counts as settled: reorgs take fewer.
        miner: The chain.
        lines: The ways to the servers that it needs, that to the RPC endpoint first.
        account: The coordinator's address.
        where: Says where the rounds are.
        say: Takes a line for people.
    """

    home: Path
    port: int
    plan: Plan
    seed: str
    depth: int
    miner: Miner
    lines: tuple[Line, ...]
    account: str
    where: Callable[[], str]
    say: Callable[[str], None]
    faults: list[Fault] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What must not happen and did."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._marks = self.home / "faults"
        self._marks.mkdir(exist_ok=True)
        self._armed = [point for point in self.plan.points if ":" not in point]
        self._seen: set[str] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._started = self._born = self._harmed = time.monotonic()
        self._up: float | None = None
        self._start_takes = 5.0
        self._kill_at: float | None = None
        self._kills = self.plan.kills
        self._reorgs, self._reorg_at = self.plan.reorgs, self._soon(2, 10)
        chain, *others = self.lines
        self._outages = [chain] * self.plan.outages
        if self.plan.cuts:
            self._outages += islice(cycle(others), self.plan.cuts)
        self._random.shuffle(self._outages)
        self._outage_at, self._mend_at = self._soon(5, 25), 0.0
        self._long_outages = min(self.plan.long_outages, len(self._outages))
        self._out: Line | None = None
        self._script: tuple[str, Path] | None = None
        self._scripted: set[str] = set()
        self._held = False
        self._waiting: list[Fault] = []
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=3.0)

    # From other threads.

    def __enter__(self) -> Supervisor:
        self._start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for line in self.lines:
            line.mend()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._http.close()

    @property
    def left(self) -> Plan:
        """What of the plan was not done yet."""
        points = tuple(point for point in self._armed if not (self._marks / point).exists())
        outages = self._outages.count(self.lines[0])
        cuts = len(self._outages) - outages
        return Plan(points, self._kills, self._reorgs, outages, cuts, self._long_outages)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The process stands still meanwhile, as a virtual machine may."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            process = self._process
            if process is None:
                raise AssertionError("it was started")
            process.send_signal(signal.SIGSTOP)
            try:
                yield
            finally:
                process.send_signal(signal.SIGCONT)

    @contextmanager
    def down(self, at: str | None = None, bring: Callable[[], None] = lambda: None) -> Iterator[None]:
        """The process is dead meanwhile, as the story wants it: with harm and without.

        Args:
            at: The fault point at whose next pass it dies; now if none.
            bring: Called once it was started to die there.

        Raises:
            AssertionError: It did not come to that point.
        """
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._hit_again()
            self._held, self._script = at is None, None
            if at is not None:
                self._script = at, self._marks / f"{at}~{len(self._scripted)}"
                self._scripted.add(self._script[1].name)
                self._start()
        bring()
        began = time.monotonic()
        while not self._held:
            if self.wrong or self.waited(began) > PATIENCE:
                raise AssertionError(self.wrong[0] if self.wrong else f"it did not come to {at}")
            time.sleep(0.05)
        try:
            yield
        finally:
            with self._lock:
                self._held, self._script = False, None

    def mend(self) -> None:
        """End the outage that is under way: nobody looks after it while the process is dead."""
        with self._lock:
            if self._out is not None:
                self._out.mend()
                self._out, self._up = None, None

    def note(self, kind: str, what: str) -> None:
        """Note something that was done to another command."""
        self.faults.append(Fault(kind, what, "", time.monotonic()))
        self.tell(what)

    def tell(self, what: str) -> None:
        """Print a line about what the story does."""
        self.say(f"{self._clock()} {what}")

    def waited(self, since: float) -> float:
        """Seconds without harm since a monotonic time: what was just hit needs its time again."""
        return time.monotonic() - max(since, self._harmed)

    @property
    def held(self) -> bool:
        """Whether the process is dead as the story wants it."""
        return self._held

    # The thread.

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            try:
                with self._lock:
                    self._look()
            except Exception as error:  # the harness must not die silently
                self.wrong.append(f"the supervisor failed: {error!r}")
                raise

    def _look(self) -> None:
        process, now = self._process, time.monotonic()
        if self._held:
            return
        if process is None or process.poll() is not None:
            self._died(None if process is None else process.returncode)
            return
        if self._up is None and self._out is None and self._is_on():
            self._up = time.monotonic()
            self._start_takes = self._up - self._started
            self._tell_on()
            if self._kill_at is None and self._kills:
                self._kill_at = self._soon(0.1, 4.0)
        if self._kill_at is not None and now >= self._kill_at and self._kills:
            self._kills -= 1
            self._kill_at = None
            self._note("kill", "killed at a random time")
            process.kill()
            process.wait()
            return
        self._harm_others(now)

    def _harm_others(self, now: float) -> None:
        if self._out is not None:
            self._harmed = now
            if now >= self._mend_at:
                self._out.mend()
                self._out, self._up = None, None  # it is on again when it has read the chain
            return
        if self._outages and now >= self._outage_at:
            line = self._outages.pop()
            kind, seconds = self._random.choice(line.outages), self._random.uniform(1, 8)
            if self._long_outages:
                self._long_outages -= 1
                seconds = LONG_OUTAGE_SECONDS
            self._mend_at, self._outage_at = now + seconds, now + seconds + self._random.uniform(5, 25)
            fault = "outage" if line is self.lines[0] else "cut"
            self._note(fault, f"outage of {line.name} ({kind}, {seconds:.1f} s)")
            self._out = line
            line.fail(kind)
            return
        if self._reorgs and now >= self._reorg_at:
            depth = self._random.randrange(1, self.depth)
            hurts = any(tx["from"] == self.account.lower() for tx in self.miner.newest(depth))
            if not hurts and now < self._reorg_at + 10:
                return  # wait for one that takes something of the coordinator's
            taken = self.miner.reorg(depth)
            if taken is not None:
                self._reorgs -= 1
                self._reorg_at = self._soon(2, 10)
                own = sum(tx["from"] == self.account.lower() for tx in taken)
                self._note("reorg", f"reorg of {depth} blocks with {own} of its transactions")

    def _died(self, code: int | None) -> None:
        new = sorted(
            (path for path in self._marks.iterdir() if path.name not in self._seen),
            key=lambda path: path.stat().st_mtime,
        )
        for path in new:
            self._seen.add(path.name)
            if path.name not in self._scripted:
                self._note("point", f"killed at {path.name}")
            self._held |= self._script is not None and path.name in (self._script[0], self._script[1].name)
        if not new and code != -signal.SIGKILL:
            self._ended_by_itself(code)
        time.sleep(RESTART_SECONDS)
        if not self._held:
            self._start()

    def _ended_by_itself(self, code: int | None) -> None:
        log = (self.home / "log").read_text(errors="replace").splitlines()
        self.wrong.append(f"the coordinator ended by itself with {code}: {log[-1] if log else ''}")

    def _start(self) -> None:
        wanted = {point: self._marks / point for point in self._armed}
        if self._script is not None and not self._script[1].exists():
            point, mark = self._script
            if point not in wanted or wanted[point].exists():
                wanted[point] = mark  # else one death is both the plan's and the story's
        faults = ",".join(f"{point}@{mark}" for point, mark in wanted.items())
        self._seen.intersection_update(path.name for path in self._marks.iterdir())
        command = [sys.executable, "-m", "folkmoot", "coordinator", "serve", "--home", str(self.home)]
        environment = dict(os.environ) | ({VARIABLE: faults} if faults else {})
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)], stdout=log, stderr=log, env=environment
            )
        self._started, self._up, self._kill_at = time.monotonic(), None, None
        if self._kills and self._random.random() < EARLY_SHARE:
            self._kill_at = self._soon(0, self._start_takes)

    def _note(self, kind: str, what: str) -> None:
        where = "unknown"
        with suppress(Exception):  # the database may be locked by a process that is being killed
            where = self.where()
        self._harmed = time.monotonic()
        fault = Fault(kind, what, where, self._harmed)
        self.faults.append(fault)
        if kind == "reorg":
            self.say(f"{self._clock()} {what} · {where}")
        else:
            self._hit_again()
            self._waiting = [fault]

    def _hit_again(self) -> None:
        for earlier in self._waiting:
            self.say(f"{self._clock()} {earlier.what} · {earlier.where} · hit again before it was on")
        self._waiting = []

    def _tell_on(self) -> None:
        for fault in self._waiting:
            fault.on_after = time.monotonic() - fault.began
            self.say(f"{self._clock()} {fault.what} · {fault.where} · on after {fault.on_after:.1f} s")
        self._waiting = []

    def _is_on(self) -> bool:
        try:
            said: dict[str, Any] = self._http.get("/v1/health").json()
        except (httpx.HTTPError, ValueError):
            return False
        lag = said.get("chainLag")
        return said.get("status") == "ok" and lag is not None and lag <= MAX_LAG

    def _soon(self, least: float, most: float) -> float:
        return time.monotonic() + self._random.uniform(least, most)

    def _clock(self) -> str:
        return f"[{time.monotonic() - self._born:6.1f} s]"
