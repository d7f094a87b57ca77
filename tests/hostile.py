# SPDX-License-Identifier: Apache-2.0
"""Training code that attacks the machine it runs on, and says what it got. Tests run it with and without a sandbox.

It needs only the standard library, so that it can travel in a bundle and run by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MARK = "ATTACK "
"""How the line with the results begins."""

FORKS = 150
"""Processes that count as forking without end."""

LOCK = fcntl.LOCK_EX | fcntl.LOCK_NB

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
        "read a message of another program": lambda: _message(int(targets["queue"])),
        "change a semaphore of another program": lambda: (
            _libc.semctl(int(targets["semaphore"]), 0, 16, 5) == 0
        ),
        "look at shared memory of another program": lambda: _shared(int(targets["shared"])),
        "change the priority of the node": lambda: _priority(pid),
        "look at the network's connections": lambda: _read("/proc/self/net/tcp"),
        "look at a thread's network": lambda: _read(f"/proc/self/task/{os.getpid()}/net/unix"),
        "look at the network's names": _interface,
        "look at the mounts": lambda: _read("/proc/self/mountinfo"),
        "lock a file that it may read": lambda: _on_itself(lambda file: fcntl.flock(file, LOCK)),
        "keep others from opening a file": lambda: _on_itself(
            lambda file: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        ),
        "read the flags of a file": lambda: _on_itself(lambda file: fcntl.ioctl(file, 0x80086601, bytes(8))),
        "send an open file": _send_file,
        "watch a folder": lambda: _libc.inotify_add_watch(_libc.inotify_init(), b"/", 0x100) >= 0,
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


def _pause() -> None:
    time.sleep(0.02)


def fill_removed(size: int, keep: str = "open") -> None:
    """Write files that no folder has any more: they stay open, or in memory only."""
    kept = []
    for number in range(size >> 24):
        path = Path(os.environ["TMPDIR"], f"file-{number}")
        with path.open("w+b", buffering=0) as file:
            file.write(bytes(1 << 24))
            if keep == "open":
                kept.append(os.dup(file.fileno()))
            else:
                _libc.mmap.restype = ctypes.c_void_p
                _libc.mmap(None, ctypes.c_size_t(4096), 1, 1, file.fileno(), ctypes.c_long(0))
        path.unlink()
        _pause()
    time.sleep(1)  # As above.


def fill_deep(size: int) -> None:
    """Write files below a path that is longer than the system takes."""
    at = os.open(os.environ["TMPDIR"], os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 255, dir_fd=at)
        at = os.open("x" * 255, os.O_RDONLY, dir_fd=at)
    for number in range(size >> 24):
        file = os.open(f"file-{number}", os.O_CREAT | os.O_WRONLY, dir_fd=at)
        os.write(file, bytes(1 << 24))
        os.close(file)
        _pause()
    time.sleep(1)  # As above.


def without_first_thread(what: Callable[[], None]) -> None:
    """Do something in a second thread, and end the first, whose place in /proc then shows nothing."""

    def work() -> None:
        time.sleep(0.2)
        what()
        os.write(1, b"done\n")
        os._exit(0)

    threading.Thread(target=work).start()
    _libc.syscall(60 if _X86 else 93, 0)


def fill_sockets(size: int) -> None:
    """Let data wait in sockets: it is the kernel's memory, and no process's."""
    kept: list[socket.socket] = []
    for number in range(size >> 18):
        pair = socket.socketpair()
        kept += pair
        for one in pair:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    one.send(bytes(1 << 16))
        if number % 50 == 0:
            _pause()
    time.sleep(1)  # As above.


def fill_tables(size: int) -> None:
    """Read where no memory is: each 2 MiB cost a page of the kernel's tables."""
    _libc.mmap.restype = ctypes.c_void_p
    step = 2 << 20
    start = _libc.mmap(None, ctypes.c_size_t(step * (size >> 12)), 1, 0x4022, -1, ctypes.c_long(0))
    for number in range(size >> 12):
        _ = ctypes.c_char.from_address(start + number * step).value
    time.sleep(1)  # As above.


def fill_depth(size: int) -> None:
    """Make folders inside each other."""
    at = os.open(os.environ["TMPDIR"], os.O_RDONLY)
    for _ in range(size >> 20):
        os.mkdir("x", dir_fd=at)
        below = os.open("x", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    time.sleep(1)  # As above.


def fill_nameless(size: int) -> None:
    """Take memory under a name that is no text."""
    _libc.prctl(15, b"\xff\xfe", 0, 0, 0)
    fill_memory(size)


def fill_removed_deep(size: int) -> None:
    """Write removed files below a path that is longer than the system takes."""
    at = os.open(os.environ["TMPDIR"], os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 255, dir_fd=at)
        at = os.open("x" * 255, os.O_RDONLY, dir_fd=at)
    for _ in range(size >> 24):
        file = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at)
        os.write(file, bytes(1 << 24))
        os.unlink("file", dir_fd=at)
        _pause()
    time.sleep(1)  # As above.


LIMITS: dict[str, Callable[[int], None]] = {
    "memory": fill_memory,
    "memory without a first thread": lambda size: without_first_thread(lambda: fill_memory(size)),
    "memory under a name that is no text": fill_nameless,
    "memory in sockets": fill_sockets,
    "memory in tables": fill_tables,
    "disk": fill_disk,
    "disk below a long path": fill_deep,
    "disk in removed files": fill_removed,
    "disk in removed files below a long path": fill_removed_deep,
    "disk in removed files without a first thread": lambda size: without_first_thread(
        lambda: fill_removed(size)
    ),
    "disk in files in memory": lambda size: fill_removed(size, "mapped"),
    "folders": fill_depth,
}
"""What to do with more than a limit."""


def _read(path: str) -> bool:
    return bool(Path(path).read_text())


def _message(queue: int) -> bool:
    return _libc.msgrcv(queue, ctypes.create_string_buffer(64), 8, 0, 0o4000 | 0o10000) >= 0


def _shared(segment: int) -> bool:
    return _libc.shmctl(segment, 2, ctypes.create_string_buffer(256)) == 0


def _priority(pid: int) -> bool:
    os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))
    return True


def _interface() -> bool:
    with socket.socket() as one:
        return bool(fcntl.ioctl(one, 0x8910, bytes(16) + (1).to_bytes(4, sys.byteorder) + bytes(20)))


def _on_itself(action: Callable[[Any], object]) -> bool:
    with Path(__file__).open("rb") as file:
        action(file)
    return True


def _send_file() -> bool:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return socket.send_fds(ours, [b"x"], [0]) == 1


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
    if what in LIMITS:
        LIMITS[what](int(argument))
    else:
        sys.stdout.write(MARK + json.dumps(attack(json.loads(argument))) + "\n")
    sys.stdout.write("done\n")
