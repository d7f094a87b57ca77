# SPDX-License-Identifier: Apache-2.0
"""What hostile training code is after: a node with its files and memory, and servers that it must not reach."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from client.signer.agent import RECORD_FOLDER
from client.signer.record import RECORD_FILE
from folkmoot.flower.contributor import MEMORY_FOLDER
from tests import hostile

SECRET = "cloud-secret-of-the-node"

HARMLESS = {"leave a program behind"}
"""What works in a sandbox too: the program ends with the sandbox."""

Targets = Callable[[], dict[str, Any]]


@contextmanager
def victims(home: Path) -> Iterator[Targets]:
    """Run a node and servers; yield a function that puts the files back and returns the targets of an attack."""
    (home / ".ssh").mkdir(parents=True)
    code = "import time; time.sleep(1200)"
    with ExitStack() as stack:
        node = stack.enter_context(subprocess.Popen([sys.executable, "-c", code], env={"TOKEN": SECRET}))
        stack.callback(node.kill)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        allowed = stack.enter_context(socket.create_server(("", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        short = stack.enter_context(tempfile.TemporaryDirectory())  # The path of a socket may not be long.
        queue, semaphore, shared = _of_system_v(stack)
        addresses = (f"\0folkmoot-test-{node.pid}", f"{short}/socket")
        for address in addresses:
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(address)
            server.listen()

        def fresh() -> dict[str, Any]:
            files = {
                "key": "key.json",
                "password": "password",
                "record": f"{RECORD_FOLDER}/{RECORD_FILE}",
                "ssh": ".ssh/id",
                "memory": f"{MEMORY_FOLDER}/{'ab' * 32}/1-{'cd' * 32}.memory",
            }
            for file in (*files.values(), "victim"):
                (home / file).parent.mkdir(parents=True, exist_ok=True)
                (home / file).write_text("secret")
            (home / "key.json").chmod(0o600)
            return {
                **{what: str(home / file) for what, file in files.items()},
                "pid": node.pid,
                "queue": queue(),
                "semaphore": semaphore,
                "shared": shared,
                "secret": SECRET,
                "outside": str(home),
                "victim": str(home / "victim"),
                "left": str(home / "left"),
                "port": tcp.getsockname()[1],
                "allowed": allowed.getsockname()[1],
                "abstract": addresses[0][1:],
                "unix": addresses[1],
            }

        yield fresh


def _of_system_v(stack: ExitStack) -> tuple[Callable[[], int], int, int]:
    """Make a message queue, a semaphore and shared memory; return what sends a message and names the queue, and ids."""
    libc = ctypes.CDLL(None, use_errno=True)
    queue, semaphore, shared = libc.msgget(0, 0o1600), libc.semget(0, 1, 0o1600), libc.shmget(0, 4096, 0o1600)
    assert min(queue, semaphore, shared) >= 0
    stack.callback(libc.msgctl, queue, 0, None)
    stack.callback(libc.semctl, semaphore, 0, 0)
    stack.callback(libc.shmctl, shared, 0, None)

    def send() -> int:
        assert libc.msgsnd(queue, (1).to_bytes(8, "little") + b"secret", 6, 0o4000) == 0
        return int(queue)

    return send, semaphore, shared


def results(output: str) -> dict[str, bool]:
    """Return what the hostile code has printed."""
    (line,) = [line for line in output.splitlines() if line.startswith(hostile.MARK)]
    return dict(json.loads(line.removeprefix(hostile.MARK)))


def refused_to_all() -> set[str]:
    """Return what this machine may refuse without a sandbox too."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    free = os.getuid() == 0 or not scope.exists() or scope.read_text().strip() == "0"
    tracing = set() if free else {"read the memory of the node", "trace the node"}
    return tracing | {"use io_uring", "join a kernel keyring", "read the flags of a file"}
