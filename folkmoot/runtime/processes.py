# SPDX-License-Identifier: Apache-2.0
"""Child processes that start in order, are ready before the next one starts, and never outlive their parent.

Knows nothing of what the programs do: chain, coordinator and nodes are all just names, commands and probes here.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from folkmoot.errors import LocalError

GRACE = 10.0
"""Seconds that a process gets between SIGTERM and SIGKILL."""

ORPHAN_GRACE = 2.0
"""Seconds that a process may take to end by itself after its parent has ended."""

LOG_TAIL = 15
"""Lines of a log that an error shows."""

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that end a program."""

_PR_SET_PDEATHSIG = 1
_IF_PARENT_LIVES = '[ "$PPID" = "$0" ] && exec "$@"'
"""For a shell: there is no signal from a parent that ended before it was asked for."""

Probe = Callable[[], bool]
"""Returns whether a process is ready; must return soon and raise nothing."""


@dataclass(eq=False)
class Child:
    """One supervised process."""

    name: str
    """Name for people and for the log file."""
    process: subprocess.Popen[bytes]
    """The running process; it leads its own session and process group."""
    log: Path
    """File with its standard output and standard error."""
    expected_to_end: bool = field(default=False)
    """Whether its end is no failure, e.g. of a run that is over when it is done."""
    wave: str = field(default="")
    """Neighbours with the same wave are ended together."""

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def tail(self, lines: int = LOG_TAIL) -> str:
        """Return the last lines of its log."""
        return tail(self.log, lines)

    def ask_to_end(self) -> None:
        """Send SIGTERM to the process and its group; does not wait."""
        if self.alive:
            _signal_group(self.process.pid, signal.SIGTERM)

    def stop(self, grace: float = GRACE) -> None:
        """End the process and its group: SIGTERM, then SIGKILL after `grace` seconds. May be called again."""
        group = self.process.pid
        if self.alive:
            self.ask_to_end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace)
        # What its own children left behind is in the same group, whether or not the leader still lives.
        _signal_group(group, signal.SIGKILL)
        self.process.wait()


class Supervisor:
    """Starts named processes and ends all of them, in reverse order, when its block is left.

    Use as a context manager, in the main thread: Linux ends children with the thread that started them. Signals of
    `ENDING` become `KeyboardInterrupt` inside the block, so that the processes are ended on these as well. If this
    process is killed, Linux ends the direct children.

    Args:
        logs: Folder for the log files, one a process, `<name>.log`.
        grace: Seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, logs: Path, *, grace: float = GRACE) -> None:
        self.logs = logs
        self.grace = grace
        self.children: list[Child] = []
        self.after = contextlib.ExitStack()
        """Left when all processes have ended."""
        self._signals = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._signals.enter_context(interruptible())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._signals, self.after:
            self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        ready: Probe | None = None,
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        expected_to_end: bool = False,
        wave: str = "",
    ) -> Child:
        """Start a process and wait until it is ready.

        Args:
            name: Name of the process and of its log file.
            command: Program and arguments; no shell.
            ready: Probe that is asked until it says yes; if left out, the process counts as ready at once.
            timeout: Seconds that it may take to become ready.
            environment: The whole environment of the process; that of this process if left out.
            folder: Working folder.
            expected_to_end: Whether its end is no failure (`check` passes over it).
            wave: Processes that are started one after the other with the same wave are ended together.

        Raises:
            LocalError: the program can't be started, ends before it is ready, or is not ready in time. The error shows
                the end of its log.
        """
        with interrupts_deferred():  # an interrupt between the two would leave a process that nobody ends
            child = spawn(name, command, self.logs / f"{name}.log", environment=environment, folder=folder)
            self.children.append(child)
        child.expected_to_end, child.wave = expected_to_end, wave or name
        if ready is not None:
            self._await(child, ready, timeout)
        return child

    def check(self) -> None:
        """Raise if a process that should run has ended.

        Raises:
            LocalError: names the process, its exit status and the end of its log.
        """
        for child in self.children:
            if not child.alive and not child.expected_to_end:
                raise died(child)

    def watch(self, until: Probe, *, timeout: float | None = None, every: float = 0.2) -> bool:
        """Wait until a condition holds while all processes live.

        Args:
            until: The condition.
            timeout: Seconds to wait at most, None for ever.
            every: Seconds between two looks.

        Returns:
            Whether the condition holds; False after the timeout.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not until():
            self.check()
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(every)
        return True

    def stop(self) -> None:
        """End all processes, the youngest wave first. Interrupts that come meanwhile wait until all are ended."""
        with interrupts_held():
            while self.children:
                together = self._youngest_wave()
                for child in together:
                    child.ask_to_end()
                for child in together:
                    child.stop(self.grace)
                    self.children.remove(child)

    def _youngest_wave(self) -> list[Child]:
        wave = self.children[-1].wave
        return list(itertools.takewhile(lambda child: child.wave == wave, reversed(self.children)))

    def stop_one(self, name: str) -> None:
        """End the processes of this name, if there are any."""
        with interrupts_held():
            for child in [child for child in self.children if child.name == name]:
                child.stop(self.grace)
                self.children.remove(child)

    def _await(self, child: Child, ready: Probe, timeout: float) -> None:
        end = time.monotonic() + timeout
        while not ready():
            if not child.alive:
                raise died(child)
            self.check()
            if time.monotonic() >= end:
                last_words, remedy = _last_words(child)
                raise LocalError(
                    f"{child.name} was not ready after {timeout:g} seconds. {last_words}",
                    remedy=remedy,
                    code="local-not-ready",
                    details={"name": child.name, "log": str(child.log)},
                )
            time.sleep(0.05)


def spawn(
    name: str,
    command: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Child:
    """Start one process in its own session and group, its output in a log file (appended).

    Without a terminal of its own it can't wait for somebody who types: a question raises an exception there.

    Raises:
        LocalError: the program is missing or can't be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in command]
    # setpriv asks for the signal, and the shell becomes the program. Python code between fork and exec can hang for
    # ever in a process with threads, so it is only the way of a system without setpriv.
    tools = [shutil.which(name) if sys.platform == "linux" else None for name in ("setpriv", "sh")]
    paths = None if environment is None else environment.get("PATH")
    executable = shutil.which(words[0], path=paths) is not None
    start = words
    if all(tools) and executable:
        setpriv, shell = map(str, tools)
        start = [setpriv, "--pdeathsig", "TERM", shell, "-c", _IF_PARENT_LIVES, str(os.getpid()), *words]
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                start,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else dict(environment),
                cwd=folder,
                start_new_session=True,
                preexec_fn=_dies_with(os.getpid()) if sys.platform == "linux" and start is words else None,
            )
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LocalError(
            f"{name} can't be started: {words[0]}: {reason}.",
            remedy="Run `make install`, or give the path of the program.",
            code="local-program-missing",
            details={"name": name, "command": words},
        ) from error
    return Child(name, process, log)


def died(child: Child) -> LocalError:
    """Return the error for a process that ended, with the end of its log."""
    status = child.process.poll()
    how = f"ended with status {status}" if status is None or status >= 0 else f"was ended by signal {-status}"
    last_words, remedy = _last_words(child)
    return LocalError(
        f"{child.name} {how}. {last_words}",
        remedy=remedy,
        code="local-process-died",
        details={"name": child.name, "status": status, "log": str(child.log)},
    )


def _last_words(child: Child) -> tuple[str, str]:
    """Return the end of a process's log in a sentence, and where to look next."""
    last = child.tail()
    if last.strip():
        return f"Its log ends with:\n{last}\n", f"Read {child.log}."
    remedy = "The machine may be too busy, or short of memory: look at its load, then try again."
    if not child.alive:
        remedy = "It ended before it wrote a word: look at the machine's memory and disk, then try again."
    return f"Its log {child.log} is empty.", remedy


def tail(path: Path, lines: int = LOG_TAIL) -> str:
    """Return the last lines of a text file, an empty string if there is none. Reads at most 64 KiB."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 65_536))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that is free now. Another program may take it before you do."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def require_free_port(port: int, what: str, host: str = "127.0.0.1") -> None:
    """Check that nothing listens on a port.

    Raises:
        LocalError: the port is taken, or no such port can be used.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise LocalError(
                f"Port {port} can't be used for {what}: {reason}.",
                remedy="Stop the program that listens there, or choose another port.",
                code="port-taken",
                details={"port": port},
            ) from error


def accepts_connections(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether something listens on a port; a simple readiness probe."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


if sys.platform == "linux":
    _LIBC = ctypes.CDLL(None, use_errno=True)

    def _dies_with(parent: int) -> Callable[[], None]:
        """Return what a new process calls to end with its parent, which may have ended before."""

        def ask() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        return ask
else:

    def _dies_with(parent: int) -> None:
        """Return None: other systems have no such call."""


def end_with_parent() -> None:
    """End this process, and the group that its parent leads, `ORPHAN_GRACE` seconds after its parent.

    Flower sends SIGINT to a ServerApp whose parent has ended, but to a thread: a main thread that waits for a lock
    never hears of it, and a simulation waits for nodes that no longer train.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        time.sleep(ORPHAN_GRACE)
        if os.getpgrp() == parent:  # Flower's executor leads a group of its own, which includes all of Ray.
            os.killpg(parent, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


@dataclass
class _Deferral:
    """Whether an interrupt is kept for later, and whether one came."""

    depth: int = 0
    came: bool = False


_deferral = _Deferral()


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _deferral.depth:
        _deferral.came = True
        return
    raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` on a signal of `ENDING` inside the block, in the main thread."""
    before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}
    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # else: nohup
                before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Raise an interrupt that comes inside the block at its end. Unlike a mask, it is not inherited by children."""
    _deferral.depth += 1
    try:
        yield
    finally:
        _deferral.depth -= 1
        if _deferral.came and not _deferral.depth:
            _deferral.came = False
            raise KeyboardInterrupt


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold `ENDING` signals back: ending the children must not be cut short."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
