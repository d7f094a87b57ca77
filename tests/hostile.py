# SPDX-License-Identifier: Apache-2.0
"""Training code that attacks the machine it runs on, and says what it got. Tests run it with and without a sandbox.

It needs only the standard library, so that it can travel in a bundle and run by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "ATTACK "
"""How the line with the results begins."""

FORKS = 150
"""Processes that count as forking without end."""

_libc = ctypes.CDLL(None, use_errno=True)
_X86 = platform.machine() == "x86_64"


def attack(targets: dict[str, Any]) -> dict[str, bool]:
    """Try everything that ends by itself; return which of it worked."""
    pid, secret = int(targets["pid"]), str(targets["secret"])
    port = int(targets["port"])
    outside = Path(targets["outside"])
    attempts: dict[str, Callable[[], bool]] = {
        "read the key file": lambda: _read(targets["key"]),
        "read the password": lambda: _read(targets["password"]),
        "read the record": lambda: _read(targets["record"]),
        "read an SSH key": lambda: _read(targets["ssh"]),
        "read another bundle's memory": lambda: _read(targets["memory"]),
        "list the home folder": lambda: bool(list(Path(targets["ssh"]).parent.iterdir())),
        "read a secret in its environment": lambda: secret in _environment("self"),
        "read the environment of the node": lambda: secret in _environment(str(pid)),
        "read the memory of the node": lambda: _memory(pid),
        "trace the node": lambda: _libc.ptrace(0x4206, pid, 0, 0) == 0,
        "send a signal to the node": lambda: _done(lambda: os.kill(pid, signal.SIGCONT)),
        "change the node's limits": lambda: _limits(pid),
        "write a new file": lambda: bool((outside / "new").write_text("hostile")),
        "change a file": lambda: _append(Path(targets["key"])),
        "make the key file readable for all": lambda: _chmod(Path(targets["key"])),
        "remove a file": lambda: _done(Path(targets["victim"]).unlink),
        "connect to another address": lambda: _connect(socket.AF_INET, ("127.0.0.1", port)),
        "connect to another address at an allowed port": lambda: _connect(
            socket.AF_INET, ("127.0.0.2", int(targets["allowed"]))
        ),
        "connect by fast open": lambda: _fast_open(port),
        "send a datagram": lambda: _datagram(port),
        "look at the network's interfaces": lambda: _done(
            lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
        ),
        "open a port": lambda: _done(lambda: socket.create_server(("127.0.0.1", 0)).close()),
        "connect to an abstract socket": lambda: _connect(socket.AF_UNIX, f"\0{targets['abstract']}"),
        "connect to another Unix socket": lambda: _connect(socket.AF_UNIX, targets["unix"]),
        "use io_uring": lambda: _libc.syscall(425, 1, ctypes.create_string_buffer(120)) >= 0,
        "join a kernel keyring": lambda: _libc.syscall(250 if _X86 else 219, 0, -3, 1) >= 0,
        "make shared memory": lambda: _libc.syscall(29 if _X86 else 194, 0, 4096, 0o1600) >= 0,
        "leave a program behind": lambda: _daemon(targets["left"]),
        "fork without end": _forks,
    }
    got = {}
    for name, attempt in attempts.items():
        try:
            got[name] = attempt()
        except OSError:
            got[name] = False
    return got


def fill_memory(size: int) -> None:
    """Take memory that no limit of one allocation covers."""
    import mmap

    taken = []
    for _ in range(size >> 24):
        block = mmap.mmap(-1, 1 << 24)  # Shared: it counts as nobody's data.
        for at in range(0, 1 << 24, 4096):
            block[at] = 1
        taken.append(block)
        time.sleep(0.02)
    time.sleep(1)  # The monitor measures every quarter of a second.


def fill_disk(size: int) -> None:
    """Write files into the temporary folder."""
    for number in range(size >> 24):
        Path(os.environ["TMPDIR"], f"file-{number}").write_bytes(bytes(1 << 24))
        time.sleep(0.02)
    time.sleep(1)  # As above.


def _read(path: str) -> bool:
    return bool(Path(path).read_text())


def _environment(pid: str) -> str:
    found = Path(f"/proc/{pid}/environ").read_text()
    return found + str(dict(os.environ)) if pid == "self" else found


def _memory(pid: int) -> bool:
    maps = Path(f"/proc/{pid}/maps").read_text()
    start = int(maps.partition("-")[0], 16)
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(start)
        return bool(memory.read(16))


def _limits(pid: int) -> bool:
    import resource

    before = resource.prlimit(pid, resource.RLIMIT_CORE)
    resource.prlimit(pid, resource.RLIMIT_CORE, before)
    return True


def _chmod(path: Path) -> bool:
    path.chmod(0o644)
    return path.stat().st_mode & 0o777 == 0o644


def _append(path: Path) -> bool:
    with path.open("a") as file:
        return file.write(" ") == 1


def _done(action: Callable[[], object]) -> bool:
    action()
    return True


def _connect(family: int, address: Any) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as one:
        one.settimeout(2)
        one.connect(address)
        return True


def _fast_open(port: int) -> bool:
    with socket.socket() as one:
        return one.sendto(b"x", 0x20000000, ("127.0.0.1", port)) == 1


def _datagram(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(b"x", ("127.0.0.1", port)) == 1


def _daemon(mark: str) -> bool:
    """Start a program in its own session, whose parent ends at once, and which would write a file later."""
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(4)
            with contextlib.suppress(OSError):
                Path(mark).write_text("left")
        os._exit(0)
    os.waitpid(child, 0)
    return True


def _forks() -> bool:
    children: list[int] = []
    try:
        while len(children) < FORKS:
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            children.append(child)
    except OSError:
        return False
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return True


if __name__ == "__main__":
    what, argument = sys.argv[1:]
    if what == "memory":
        fill_memory(int(argument))
    elif what == "disk":
        fill_disk(int(argument))
    else:
        sys.stdout.write(MARK + json.dumps(attack(json.loads(argument))) + "\n")
    sys.stdout.write("done\n")
