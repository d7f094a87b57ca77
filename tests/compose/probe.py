# SPDX-License-Identifier: Apache-2.0
"""Attack from inside a container, and print what worked as JSON. `tests.compose.attack` runs the text of this file.

It imports only the standard library, because it runs in images that hold nothing of the tests. The argument is a JSON
document: `sizes`, the sizes in bytes of the secrets; `ends`, pairs of address and port; `paths`, requests to the
gateway.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import select
import socket
import ssl
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

SECONDS = 4.0
"""How long connections are waited for."""

_UNREAD = ("/proc", "/sys", "/dev")
_libc = ctypes.CDLL(None, use_errno=True)


def found_files(sizes: set[int]) -> dict[str, str]:
    """Return the SHA-256 of each readable file that has the size of a secret, with its path."""
    found: dict[str, str] = {}
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if str(Path(folder, name)) not in _UNREAD]
        for name in files:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                facts = path.lstat()
                if stat.S_ISREG(facts.st_mode) and facts.st_size in sizes:
                    found[hashlib.sha256(path.read_bytes()).hexdigest()] = str(path)
    return found


def found_words() -> dict[str, str]:
    """Return the SHA-256 of each argument and variable of the processes that can be read."""
    found: dict[str, str] = {}
    for process in Path("/proc").iterdir():
        for kind in ("environ", "cmdline"):
            with contextlib.suppress(OSError):
                for word in (process / kind).read_bytes().split(b"\0") if process.name.isdigit() else ():
                    for part in (word, word.partition(b"=")[2]):
                        found[hashlib.sha256(part.strip()).hexdigest()] = f"{process.name}/{kind}"
    return found


def written_places() -> list[str]:
    """Return the folders that a file could be made in: mounts, and the folders at the root and one level below it."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    places = {
        "/",
        *mounts,
        *(str(path) for path in Path("/").glob("*")),
        *(str(path) for path in Path("/").glob("*/*")),
    }
    written = []
    for place in sorted(places):
        if place.startswith("/proc/") and place.split("/")[2].isdigit():
            continue
        with contextlib.suppress(OSError), tempfile.NamedTemporaryFile(dir=place):
            written.append(place)
    return written


def reached_ends(ends: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the ends that take a TCP connection."""
    poll, waiting, reached = select.poll(), {}, []
    with contextlib.ExitStack() as stack:
        for end in ends:
            with contextlib.suppress(OSError):
                one = stack.enter_context(socket.socket())
                one.setblocking(False)
                if one.connect_ex(end) in (0, 115):  # 115: in progress
                    poll.register(one, select.POLLOUT)
                    waiting[one.fileno()] = (one, end)
        until = time.monotonic() + SECONDS
        while waiting and time.monotonic() < until:
            for descriptor, _ in poll.poll(200):
                one, end = waiting.pop(descriptor)
                poll.unregister(descriptor)
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                    reached.append(end)
    return reached


def got_paths(paths: list[tuple[int, str, str]]) -> list[str]:
    """Return the requests to the gateway that it passed on and that were answered with something."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    got = []
    for port, method, path in paths:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPSConnection("gateway", port, context=trust, timeout=10)
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read(1 << 16)
            # nginx refuses with a page of its own. Whatever else answers is behind it.
            if answer.status < 300 or (port == 9443 and b"nginx" not in body):
                got.append(f"{method} {port}{path}: {answer.status}")
    return got


def rights() -> list[str]:
    """Return what worked of becoming more than a user without rights in a closed container."""
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    attempts: dict[str, Callable[[], object]] = {
        "become root": lambda: os.setuid(0),
        "keep a capability": lambda: _require(
            any(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd"))
        ),
        "gain rights by a program": lambda: _require(status["NoNewPrivs"] != "1"),
        "use every system call": lambda: _require(status["Seccomp"] != "2"),
        "mount": lambda: _require(_libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0),
        "make a user namespace": lambda: _require(_libc.unshare(0x10000000) == 0),
        "make a device": lambda: os.mknod("/tmp/device", stat.S_IFBLK | 0o600, os.makedev(8, 0)),
        "read the machine's memory": lambda: Path("/proc/kcore").read_bytes(),
        "change the kernel's settings": lambda: Path("/proc/sys/kernel/core_pattern").open("r+").close(),
        "restart the machine": lambda: Path("/proc/sysrq-trigger").open("w").close(),
        "change control groups": lambda: Path("/sys/fs/cgroup/attack").mkdir(),
        "read the machine's log": lambda: _require(_libc.klogctl(3, ctypes.create_string_buffer(64), 64) > 0),
    }
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
        attempts[f"reach {path}"] = partial(socket.socket(socket.AF_UNIX).connect, path)
    worked = []
    for what, attempt in attempts.items():
        with contextlib.suppress(OSError):
            attempt()
            worked.append(what)
    return worked


def _require(condition: bool) -> None:
    if not condition:
        raise PermissionError


def main(given: dict[str, Any]) -> dict[str, Any]:
    """Try everything; return what worked."""
    tries: dict[str, Callable[[], object]] = {
        "files": lambda: found_files(set(given["sizes"])),
        "words": found_words,
        "ends": lambda: reached_ends([tuple(end) for end in given["ends"]]),
        "paths": lambda: got_paths([tuple(path) for path in given["paths"]]),
        "rights": rights,
        "written": written_places,
    }
    results: dict[str, Any] = {}
    for name, attempt in tries.items():
        try:
            results[name] = attempt()
        except PermissionError:  # In the sandbox of training code.
            results[name] = None
    return results


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
