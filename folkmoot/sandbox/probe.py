# SPDX-License-Identifier: Apache-2.0
"""Try, in a sandbox, what must not work there, and print what did, as JSON. `folkmoot doctor --join` runs this file.

It imports nothing of Folkmoot, because it runs as a program of its own.
"""

from __future__ import annotations

import contextlib
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

SIGNAL = "send a signal"
"""The attempt that works on kernels before Linux 6.12."""


def attempts(given: dict[str, Any]) -> dict[str, dict[str, Callable[[], object]]]:
    """Return the attempts of each check by their description. An attempt that returns without an OSError worked."""
    pid = int(given["pid"])
    local = ("127.0.0.1", int(given["port"]))
    return {
        "files": {f"read {path}": partial(_read, Path(path)) for path in given["hidden"]},
        "writing": {f"write in {folder}": partial(_write, folder) for folder in given["folders"]},
        "environment": {
            "read your variables": lambda: _require(given["variable"] in os.environ),
            "read your variables from /proc": lambda: _require(given["variable"] in _first_environment()),
        },
        "network": {
            "connect to a TCP port": lambda: _connect(socket.AF_INET, local),
            "send a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", local),
            "open a port": lambda: socket.create_server(("127.0.0.1", 0)).close(),
        },
        "sockets": {
            "connect to an abstract Unix socket": lambda: _connect(socket.AF_UNIX, f"\0{given['abstract']}"),
            "connect to a Unix socket": lambda: _connect(socket.AF_UNIX, given["unix"]),
        },
        "programs": {
            SIGNAL: lambda: os.kill(pid, signal.SIGCONT),
            "read an environment": lambda: Path(f"/proc/{pid}/environ").read_bytes(),
            "read memory": lambda: Path(f"/proc/{pid}/maps").read_bytes(),
        },
        "processes": {f"start {FORKS} processes": _fork},
    }


def _read(path: Path) -> None:
    if path.is_dir():
        list(path.iterdir())
    else:
        path.read_bytes()


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
    found: dict[str, Any] = {}
    for check, tries in attempts(json.loads(sys.argv[1])).items():
        found[check] = []
        for what, attempt in tries.items():
            with contextlib.suppress(OSError):
                attempt()
                found[check].append(what)
    found["left"] = os.fork()
    if found["left"] == 0:
        os.setsid()
        time.sleep(60)  # The sandbox ends it long before; without one it must not stay.
        os._exit(0)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
