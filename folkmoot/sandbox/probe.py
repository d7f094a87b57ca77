# SPDX-License-Identifier: Apache-2.0
"""Try, in a sandbox, what must not work there, and print what did, as JSON. `folkmoot doctor --join` runs this file.

It imports nothing of Folkmoot, because it runs as a program of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

FORKS = 32
"""Processes that the probe tries to start: more than its rules allow."""

_GET_FLAGS, _GET_INTERFACE, _IPC_INFO = 0x80086601, 0x8910, 3

SIGNAL = "send a signal"
"""The attempt that works on kernels before Linux 6.12."""


def attempts(given: dict[str, Any]) -> dict[str, dict[str, Callable[[], object]]]:
    """Return the attempts of each check by their description. An attempt that returns without an OSError worked."""
    pid = int(given["pid"])
    local = ("127.0.0.1", int(given["port"]))
    return {
        "files": {f"read {path}": partial(_read, Path(path)) for path in given["hidden"]},
        "writing": {
            **{f"write in {folder}": partial(_write, folder) for folder in given["folders"]},
            "lock a file": lambda: _on_itself(lambda file: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)),
            "keep others from opening a file": lambda: _on_itself(
                lambda file: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            ),
            "use the flags of a file": lambda: _on_itself(
                lambda file: fcntl.ioctl(file, _GET_FLAGS, bytes(8))
            ),
        },
        "environment": {
            "read your variables": lambda: _require(given["variable"] in os.environ),
            "read your variables from /proc": lambda: _require(given["variable"] in _first_environment()),
        },
        "network": {
            "connect to a TCP port": lambda: _connect(socket.AF_INET, local),
            "send a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", local),
            "see your connections": partial(_read, Path("/proc/self/net/tcp")),
            "see your addresses": _interface,
            "see your mounts": partial(_read, Path("/proc/self/mountinfo")),
            "open a port": lambda: socket.create_server(("127.0.0.1", 0)).close(),
        },
        "sockets": {
            "connect to an abstract Unix socket": lambda: _connect(socket.AF_UNIX, f"\0{given['abstract']}"),
            "connect to a Unix socket": lambda: _connect(socket.AF_UNIX, given["unix"]),
        },
        "programs": {
            SIGNAL: lambda: os.kill(pid, signal.SIGCONT),
            "read an environment": lambda: Path(f"/proc/{pid}/environ").read_bytes(),
            "change a priority": lambda: os.setpriority(
                os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid)
            ),
            **{
                f"use {what} of System V": partial(_system_v, what) for what in ("msgctl", "semctl", "shmctl")
            },
            "read memory": lambda: Path(f"/proc/{pid}/maps").read_bytes(),
        },
        "processes": {f"start {FORKS} processes": _fork},
    }


def _read(path: Path) -> None:
    if path.is_dir():
        list(path.iterdir())
    else:
        path.read_bytes()


def _on_itself(action: Callable[[Any], object]) -> None:
    """Do something to this file, which may only be read."""
    with Path(__file__).open("rb") as file:
        action(file)


def _interface() -> None:
    with socket.socket() as one:
        fcntl.ioctl(one, _GET_INTERFACE, bytes(16) + (1).to_bytes(4, sys.byteorder) + bytes(20))


def _system_v(call: str) -> None:
    """Ask for the limits of a kind of communication between processes: that changes nothing."""
    buffer = ctypes.create_string_buffer(256)
    function = getattr(ctypes.CDLL(None, use_errno=True), call)
    if function(0, *([0] if call == "semctl" else []), _IPC_INFO, buffer) < 0:
        raise OSError(ctypes.get_errno(), call)


def _write(folder: str) -> None:
    tempfile.TemporaryFile(dir=folder).close()


def _first_environment() -> set[str]:
    """Return the names of the variables that the process began with."""
    entries = Path("/proc/self/environ").read_text().split("\0")
    return {entry.partition("=")[0] for entry in entries}


def _require(there: bool) -> None:
    if not there:
        raise FileNotFoundError("it is not there")


def _connect(family: int, address: Any) -> None:
    with socket.socket(family) as one:
        one.settimeout(2)
        one.connect(address)


def _fork() -> None:
    children: list[int] = []
    try:
        for _ in range(FORKS):
            children.append(os.fork())
            if not children[-1]:
                signal.pause()  # Until it is killed below.
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def main() -> None:
    """Try everything, and print for each check what worked, and the process that is left behind."""
    results: dict[str, Any] = {}
    for check, tries in attempts(json.loads(sys.argv[1])).items():
        results[check] = []
        for what, attempt in tries.items():
            with contextlib.suppress(OSError):
                attempt()
                results[check].append(what)
    results["left"] = os.fork()
    if results["left"] == 0:
        os.setsid()
        time.sleep(60)  # The sandbox ends it long before; without one it must not stay.
        os._exit(0)
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
