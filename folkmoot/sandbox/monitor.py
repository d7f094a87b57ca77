# SPDX-License-Identifier: Apache-2.0
"""Guard a sandboxed process from outside: answer its connects and forks, hold its limits, and end all that it started.

The kernel stops each `connect` and each new process of the sandbox until the monitor has answered. The monitor connects
the process's own socket itself, from its own copy of the address, so that nothing can change after the check. It is a
thread of the parent, which runs no code of the sandbox.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import os
import re
import select
import signal
import socket
import stat
import struct
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from folkmoot.sandbox.calls import CALLS
from folkmoot.sandbox.kernel import libc
from folkmoot.sandbox.rules import DEPTH, FILES, THREADS, Rules
from folkmoot.sandbox.trees import size_of

LOOK = 0.25
"""Seconds between two measurements of memory, disk and threads."""

SOCKET = 1 << 19
"""Bytes of memory that a socket counts as: what may wait in it."""

PIPE = 1 << 16
"""The same of a pipe."""

_MEMORY = ("RssAnon", "RssShmem", "HugetlbPages")
_REMOVED = " (deleted)"

LOCKS = 4096
"""Limit of locks of parts of files, of all processes together. The kernel keeps about 200 bytes for each."""

LOCK_CALLS = 1024
"""Calls for such a lock between two counts."""

RENAMED = 3
"""Measurements in a row in which a folder had another name each time when it was opened."""

OUTPUT = 4 << 20
"""Limit of a process's output that is passed on, in bytes."""

_HOLDER = re.compile(r" (?:READ|WRITE) +(\d+) ")
"""Process that has a lock, in a line of /proc/locks."""

_STARTS = {str(CALLS[name]).encode() for name in ("clone", "fork", "vfork") if name in CALLS}

_RECEIVE, _SEND, _VALID, _INSTALL = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_CONTINUE, _IN_ITS_PLACE = 1, 1
_LONGEST_ADDRESS = 128
_PIDFD_GETFD = 438  # The same on all machines.


@dataclass(frozen=True)
class Usage:
    """What the processes of a sandbox use."""

    processes: int
    """Number of processes."""
    threads: int
    """Number of threads."""
    memory: int
    """Memory in bytes. What a process shares with the one that it was forked from counts in both."""
    tables: int
    """Bytes of the tables of its pages, which are there for pages without memory too."""


def tree_of(root: int) -> list[int]:
    """Return the ids of a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := _parent(int(entry.name))) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    pids, at = [root], 0
    while at < len(pids):
        pids += children.get(pids[at], [])
        at += 1
    return pids


def usage_of(pids: list[int]) -> Usage:
    """Return what processes use together; one that has ended uses nothing."""
    memory = threads = tables = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            status = _status(Path(f"/proc/{pid}"))
            threads += int(status["Threads"])
            if "RssAnon" not in status:  # Its first thread has ended.
                status = next((one for task in _tasks(pid) if "RssAnon" in (one := _status(task))), {})
            memory += 1024 * sum(int(status.get(name, "0").split()[0]) for name in _MEMORY)
            tables += 1024 * int(status.get("VmPTE", "0").split()[0])
    return Usage(len(pids), threads, memory, tables)


def _status(process: Path) -> dict[str, str]:
    # A process names itself, also in bytes that are no text.
    lines = (process / "status").read_text(errors="replace").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _tasks(pid: int) -> list[Path]:
    """Return the folders of a process's threads. What they share is empty in that of one which has ended."""
    return sorted(Path(f"/proc/{pid}/task").iterdir())


@dataclass(frozen=True)
class Opened:
    """What the processes of a sandbox have open."""

    size: int
    """Bytes on the disk of files that no folder has any more."""
    files: int
    """Number of these files."""
    waiting: int
    """Bytes of the kernel's memory that may wait in sockets and pipes."""
    unknown: bool
    """Whether there is such a file in memory only, where nobody can see its size."""
    hidden: frozenset[int]
    """Ids of processes that do not let their open files be seen."""


def opened_by(pids: list[int], folders: list[Path]) -> Opened:
    """Return what processes have open. A file in memory only counts if it was below one of these folders."""
    removed: dict[tuple[int, int], int] = {}
    waiting: dict[tuple[int, int], int] = {}
    mapped: set[tuple[int, int]] = set()
    hidden: set[int] = set()
    below = tuple(f"{folder.resolve()}/" for folder in folders)
    for pid in pids:
        try:
            for task in _tasks(pid):  # All threads share them, which the filter sees to.
                descriptors = list((task / "fd").iterdir())
                for descriptor in descriptors:
                    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                        status = descriptor.stat()  # A link's name may be longer than the system takes.
                        key = status.st_dev, status.st_ino
                        if stat.S_ISSOCK(status.st_mode):
                            waiting[key] = SOCKET
                        elif stat.S_ISFIFO(status.st_mode):
                            waiting[key] = PIPE
                        elif stat.S_ISREG(status.st_mode) and not status.st_nlink:
                            removed[key] = 512 * status.st_blocks
                maps = (task / "maps").read_bytes()
                for line in maps.splitlines() if os.fsencode(_REMOVED) in maps else ():
                    words = os.fsdecode(line).split(maxsplit=5)
                    if line.endswith(os.fsencode(_REMOVED)) and words[-1].startswith(below):
                        device = os.makedev(*(int(part, 16) for part in words[3].split(":")))
                        mapped.add((device, int(words[4])))
                if descriptors or maps:
                    break
        except PermissionError:
            hidden.add(pid)
        except (OSError, ValueError):
            continue  # It has ended.
    return Opened(
        sum(removed.values()),
        len(removed),
        sum(waiting.values()),
        bool(mapped - set(removed)),
        frozenset(hidden),
    )


def memory_of(pids: list[int]) -> int:
    """Return the memory in bytes that processes use together, each shared page once (proportional set size, proc(5)).

    It takes longer than `usage_of`: the kernel walks through all pages. Where it refuses, shared pages count in each.
    """
    memory = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            sizes = {name: value for name, _, value in (line.partition(":") for line in lines[1:])}
            memory += 1024 * sum(int(sizes[name].split()[0]) for name in ("Pss_Anon", "Pss_Shmem"))
        except (OSError, KeyError, ValueError, IndexError):
            memory += usage_of([pid]).memory
    return memory


def _parent(pid: int) -> int | None:
    try:
        # The name of the program is in parentheses and may hold any character.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _group(tid: int) -> int:
    """Return the process of a thread."""
    return int(_status(Path(f"/proc/{tid}"))["Tgid"])


def _is_past_start(tid: int) -> bool:
    """Whether a thread is past its call that starts a process, so that the process is there to be seen."""
    try:
        now = Path(f"/proc/{tid}/syscall").read_bytes().split()
    except OSError:
        return not Path(
            f"/proc/{tid}"
        ).exists()  # Some kernels do not tell; then it counts until it calls again.
    return bool(now) and now[0] not in {b"running", *_STARTS}


def _locks_of(pids: set[int]) -> int:
    """Return the number of locks of parts of files that processes have or wait for."""
    lines = Path("/proc/locks").read_text().splitlines()
    return sum(int(holder[1]) in pids for line in lines if (holder := _HOLDER.search(line)))


def addresses_of(rules: Rules) -> dict[str, list[str]]:
    """Look up the hosts of rules; return their IP addresses. A host without an address has an empty list."""
    addresses: dict[str, list[str]] = {}
    for host, port in rules.hosts:
        addresses.setdefault(host, [])
        with contextlib.suppress(OSError):
            resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses[host] += [str(one[4][0]) for one in resolved if str(one[4][0]) not in addresses[host]]
    return addresses


class Monitor:
    """Guards one sandbox, in two threads, from its start to its end.

    Args:
        reaper: The process that waits for the sandbox's processes and ends with the last of them (`process.keep`).
        scratch: Its temporary folder.
        addresses: IP addresses of the hosts of the rules.
        control: Connection on which the process sends the descriptor of its filter; the monitor closes it.
        output: Reading end of its standard output; the monitor closes it.
        write: Called with each part of its output.
        say: Called with the reason if the monitor ends the sandbox.
    """

    def __init__(
        self,
        reaper: int,
        rules: Rules,
        scratch: Path,
        addresses: dict[str, list[str]],
        control: socket.socket,
        output: int,
        *,
        write: Callable[[bytes], None],
        say: Callable[[str], None],
    ) -> None:
        self.reaper = reaper
        self.reason = ""
        """Why the monitor has ended the sandbox; empty if it has not."""
        self._rules = rules
        self._folders = [scratch, *(Path(path) for path in rules.writable)]
        self._before = size_of(self._folders)
        self._hidden: frozenset[int] = frozenset()
        self._renamed = 0
        self._starting: set[int] = set()
        self._lock_calls = 0
        self._sockets = {os.fsencode(path) for path in rules.sockets}
        self._ends = {
            (ipaddress.ip_address(address.partition("%")[0]), port)
            for host, port in rules.hosts
            for address in addresses.get(host, [])
        }
        self._control = control
        self._output = output
        self._write = write
        self._say = say
        self._over = threading.Event()
        self._handle = os.pidfd_open(reaper)
        self._closing = weakref.finalize(self, os.close, self._handle)
        self._threads = [
            threading.Thread(target=target, name=f"sandbox-{reaper}", daemon=True)
            for target in (self._answer_calls, self._watch)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def over(self) -> bool:
        """Whether all processes of the sandbox have ended."""
        return self._over.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all processes of the sandbox have ended; return whether they have."""
        return self._over.wait(timeout)

    def end(self, reason: str) -> None:
        """End all processes of the sandbox."""
        self.reason = self.reason or reason
        self._kill()

    # What the process may do.

    def _answer_calls(self) -> None:
        with self._control:
            try:
                _, listeners, _, _ = socket.recv_fds(self._control, 1, 1)
            except OSError:
                return
        if not listeners:
            return  # It ended before it had a filter.
        listener = listeners[0]
        try:
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            while not any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll()):
                self._answer(listener)
        finally:
            os.close(listener)

    def _answer(self, listener: int) -> None:
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, request)
        except OSError:
            return  # The process that asked was killed, or interrupted by a signal.
        cookie, tid, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", request)
        error, flags = 0, 0
        try:
            if call == CALLS["connect"]:
                error = self._connect(listener, cookie, tid, arguments)
            elif call == CALLS["flock"]:
                error = self._lock(listener, cookie, tid, arguments)
            elif call == CALLS["fcntl"]:
                error, flags = (0, _CONTINUE) if self._may_lock() else (errno.ENOLCK, 0)
            else:
                error, flags = (0, _CONTINUE) if self._may_start(tid) else (errno.EAGAIN, 0)
        except OSError as refused:
            error = refused.errno or errno.EACCES
        with contextlib.suppress(OSError):  # It may have ended in the meantime.
            fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", cookie, 0, -error, flags))

    def _may_start(self, tid: int) -> bool:
        """Whether a thread may start a process.

        One that was allowed counts from then on: it may take long until it can be seen, if it has much memory.
        """
        self._starting = {other for other in self._starting - {tid} if not _is_past_start(other)}
        if self.reason or len(self._processes()) + len(self._starting) >= self._rules.processes:
            return False
        self._starting.add(tid)
        return True

    def _may_lock(self) -> bool:
        """Whether a process may lock a part of a file. Each call makes one more lock at most."""
        if self._lock_calls >= LOCK_CALLS:
            if _locks_of(set(self._processes())) > LOCKS:
                return False
            self._lock_calls = 0
        self._lock_calls += 1
        return True

    def _connect(self, listener: int, cookie: int, tid: int, arguments: list[int]) -> int:
        """Connect a socket of the process if the address is allowed; return the error number, 0 for none."""
        length = min(arguments[2], _LONGEST_ADDRESS)
        memory = os.open(f"/proc/{tid}/mem", os.O_RDONLY)
        try:
            address = os.pread(memory, length, arguments[1])
        finally:
            os.close(memory)
        if not self._allowed(address):
            return errno.EACCES
        wanted = arguments[0] & 0xFFFFFFFF
        try:
            theirs = _borrow(listener, cookie, tid, wanted)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOSYS):
                raise
            return self._connect_another(listener, cookie, tid, wanted, address)
        try:
            return _connect(theirs, address)
        finally:
            os.close(theirs)

    def _lock(self, listener: int, cookie: int, tid: int, arguments: list[int]) -> int:
        """Lock a file of the process for it, if the process may write the file; return the error number, 0 for none.

        A lock that is not free is not waited for, and a container that may not borrow the file has no such locks.
        """
        theirs = _borrow(listener, cookie, tid, arguments[0] & 0xFFFFFFFF)
        try:
            if fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                return errno.EBADF  # As on NFS.
            fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return errno.EWOULDBLOCK if arguments[1] & fcntl.LOCK_NB else errno.ENOLCK
        finally:
            os.close(theirs)
        return 0

    def _connect_another(self, listener: int, cookie: int, tid: int, wanted: int, address: bytes) -> int:
        """Connect a new socket and put it in the place of the process's own, which a container may not share."""
        flags = 0
        for line in Path(f"/proc/{tid}/fdinfo/{wanted}").read_text().splitlines():
            if line.startswith("flags:"):
                flags = int(line.split()[1], 8)
        with socket.socket(struct.unpack_from("=H", address)[0], socket.SOCK_STREAM) as another:
            another.setblocking(not flags & os.O_NONBLOCK)
            error = _connect(another.fileno(), address)
            if error in (0, errno.EINPROGRESS):
                place = struct.pack(
                    "=QIIII", cookie, _IN_ITS_PLACE, another.fileno(), wanted, flags & os.O_CLOEXEC
                )
                fcntl.ioctl(listener, _INSTALL, place)
            return error

    def _allowed(self, address: bytes) -> bool:
        if len(address) < 2:
            return False
        (family,) = struct.unpack_from("=H", address)
        if family == socket.AF_UNIX:
            return address[2:].partition(b"\0")[0] in self._sockets - {b""}
        if family == socket.AF_INET and len(address) >= 8:
            return (ipaddress.ip_address(address[4:8]), _port(address)) in self._ends
        if family == socket.AF_INET6 and len(address) >= 24:
            mapped = ipaddress.IPv6Address(address[8:24])
            return (mapped.ipv4_mapped or mapped, _port(address)) in self._ends
        return False

    # Its limits and its end.

    def _processes(self) -> list[int]:
        return tree_of(self.reaper)[1:]

    def _watch(self) -> None:
        passed, next_look = 0, time.monotonic()
        events = select.poll()
        for descriptor in (self._handle, self._output):
            events.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in events.poll(1000 * LOOK)]
            if self._output in ready:
                data = os.read(self._output, 1 << 16)
                if not data:
                    events.unregister(self._output)
                self._write(data[: max(0, OUTPUT - passed)])
                passed += len(data)
            elif self._handle in ready:
                break
            if time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + LOOK
            if not self.reason and (reason := self._excess()):
                self.reason = reason
                self._say(reason)
            if self.reason:
                self._kill()
        os.close(self._output)
        self._over.set()

    def _excess(self) -> str:
        """Return the limit that is exceeded; empty if none is."""
        rules, processes = self._rules, self._processes()
        used, opened = usage_of(processes), opened_by(processes, self._folders)
        of_kernel = used.tables + opened.waiting
        if used.memory + of_kernel > rules.memory and memory_of(processes) + of_kernel > rules.memory:
            return f"it used more than {rules.memory / 1e9:.1f} GB of memory"
        if used.threads > THREADS:
            return f"it had more than {THREADS} threads"
        folders = size_of(self._folders)
        if folders.size + opened.size - self._before.size > rules.disk:
            return f"it wrote more than {rules.disk / 1e9:.1f} GB"
        if folders.files + opened.files - self._before.files > FILES:
            return f"it made more than {FILES:,} files"
        if folders.depth > max(DEPTH, self._before.depth):
            return f"it made more than {DEPTH} folders inside each other"
        if folders.closed > self._before.closed:
            return "it made a folder that can't be read, so nobody could measure what is in it"
        self._renamed = self._renamed + 1 if folders.renamed else 0
        if self._renamed == RENAMED:
            return "it kept renaming a folder, so nobody could measure what is in it"
        if opened.unknown:
            return "it kept a removed file in its memory only, so nobody could measure that file"
        before, self._hidden = self._hidden, opened.hidden
        if before & opened.hidden:  # Twice, since the kernel hides them for a moment while a program starts.
            return "it hid its open files, so nobody could measure them"
        return ""

    def _kill(self) -> None:
        """Kill the processes of the sandbox. They can't start others any more, and the reaper ends after the last."""
        if self._over.is_set():
            return
        for pid in self._processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _borrow(listener: int, cookie: int, tid: int, descriptor: int) -> int:
    """Return another descriptor of an open file of the process that asks."""
    group = os.pidfd_open(_group(tid))
    try:
        # Fails if the thread is no longer the one that asked.
        fcntl.ioctl(listener, _VALID, struct.pack("=Q", cookie))
        theirs = int(libc.syscall(_PIDFD_GETFD, group, ctypes.c_int(descriptor), 0))
        if theirs < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return theirs
    finally:
        os.close(group)


def _connect(descriptor: int, address: bytes) -> int:
    return 0 if libc.connect(descriptor, address, len(address)) == 0 else ctypes.get_errno()


def _port(address: bytes) -> int:
    return int.from_bytes(address[2:4], "big")
