# SPDX-License-Identifier: Apache-2.0
"""Start a program or a function in a sandbox, and end all that it started with it.

Between the monitor's process and the sandbox stands a reaper: a process without rules that waits for the first process
of the sandbox, becomes the parent of what that one leaves behind, and kills it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

from folkmoot.sandbox.kernel import PDEATHSIG, SUBREAPER, enter, libc
from folkmoot.sandbox.monitor import Monitor, addresses_of, tree_of
from folkmoot.sandbox.rules import Rules
from folkmoot.sandbox.trees import remove

_ENDED_BY_SIGNAL = 128


def keep(body: Callable[[], object]) -> NoReturn:
    """Run a function in a new process; end this one when the new one and all that it started have ended.

    Args:
        body: The function. It enters the sandbox itself.
    """
    libc.prctl(SUBREAPER, 1, 0, 0, 0)
    parent = os.getpid()
    first = os.fork()
    if first == 0:
        status = 1
        try:
            libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == parent:
                body()
                status = 0
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def end(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):  # It has ended, and what it left behind is ended now.
            os.kill(first, signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    libc.prctl(PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):  # Else the reader of the output would wait for this process.
            os.close(descriptor)
    _, waited = os.waitpid(first, 0)
    status = os.waitstatus_to_exitcode(waited)
    while others := tree_of(parent)[1:]:
        for pid in others:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.001)  # The kernel needs a moment to end them; then look again.
    os._exit(status if status >= 0 else _ENDED_BY_SIGNAL - status)


class Sandboxed(contextlib.AbstractContextManager["Sandboxed"]):
    """A program that runs in a sandbox. The block ends it, and removes its temporary folder.

    Args:
        command: Program and arguments.
        rules: What it may do.
        environment: Its whole environment; `TMPDIR` and `HOME` become its temporary folder.
        scratch: Its temporary folder; a new one if left out.
        addresses: IP addresses of the hosts of the rules; they are looked up if left out.
        stdin: What it reads from its standard input.
        write: Called with each part of its output.
        say: Called with the reason if a limit ends it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        rules: Rules,
        environment: Mapping[str, str] | None = None,
        *,
        scratch: Path | None = None,
        addresses: dict[str, list[str]] | None = None,
        stdin: bytes = b"",
        write: Callable[[bytes], object] = lambda data: None,
        say: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.scratch = scratch or make_scratch()
        self._write = write
        self._parts: list[bytes] = []
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        addresses = addresses_of(rules) if addresses is None else addresses
        work = {
            "rules": rules.to_json(),
            "scratch": str(self.scratch),
            "control": theirs.fileno(),
            "command": [str(word) for word in command],
            "environment": {**(environment or {}), "TMPDIR": str(self.scratch), "HOME": str(self.scratch)},
        }
        with tempfile.TemporaryFile() as words:
            words.write(stdin)
            words.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "folkmoot.sandbox", json.dumps(work)],
                stdin=words,
                stdout=writer,
                stderr=writer,
                pass_fds=[theirs.fileno()],
            )
        theirs.close()
        os.close(writer)
        self.monitor = Monitor(
            self._process.pid, rules, self.scratch, addresses, ours, reader, write=self._take, say=say
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes of the sandbox and remove its folder."""
        self._process.terminate()
        self.wait(10)
        remove(self.scratch)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return b"".join(self._parts).decode(errors="replace")

    def _take(self, data: bytes) -> None:
        self._parts.append(data)
        self._write(data)

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait until all its processes have ended; return the exit status, None if they still run."""
        if not self.monitor.wait(timeout):
            return None
        return self._process.wait()


def make_scratch() -> Path:
    """Make a temporary folder for a sandbox."""
    return Path(tempfile.mkdtemp(prefix="folkmoot-sandbox-")).resolve()


def main(text: str) -> NoReturn:
    """Enter a sandbox and become the program: the start of a `Sandboxed`."""
    work = json.loads(text)
    control = socket.socket(fileno=work["control"])

    def body() -> None:
        enter(Rules.from_json(work["rules"]), Path(work["scratch"]), control)
        control.close()
        os.execvpe(work["command"][0], work["command"], work["environment"])  # noqa: S606  no shell

    keep(body)
