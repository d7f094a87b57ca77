# SPDX-License-Identifier: Apache-2.0
"""Run Flower's tasks in a sandbox, and faster: import the heavy libraries once, and fork for each message.

Flower starts a new Python process for every message. Importing torch and Flower takes longer than a small round of
training. This module runs Flower's own SuperExec with another executor: a server process imports the third-party
libraries and forks a new child for each ClientApp task. The server never imports the packages of Folkmoot: each child
imports them from the unpacked bundle, so that the code that runs has the bundle's hash. Before that, the child enters a
sandbox (`folkmoot.sandbox`), which this process guards. Flower's files are not changed. This module has no access to
keys and is not part of the app bundle.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResult, SubprocessExecutor

from client.node.pauses import ExecutorPause
from client.node.task import BUNDLE_FILE, BUNDLES_FOLDER, Task, run
from folkmoot.flower.contributor import MEMORY_FOLDER
from folkmoot.runtime import flower_internals
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.processes import accepts_connections
from folkmoot.sandbox.kernel import OPEN_FILES, enter
from folkmoot.sandbox.monitor import Monitor, addresses_of
from folkmoot.sandbox.process import Sandboxed, keep, make_scratch
from folkmoot.sandbox.rules import DEPTH, FILES, Rules
from folkmoot.sandbox.trees import remove, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_HASH = re.compile(r"[0-9a-f]{64}")

UNNAMED = "unnamed"
"""Name of the folders of a bundle whose hash the SuperLink does not announce."""

KEPT_MEMORIES = 2
"""Number of bundles whose memories are kept: the running one's, and those of the one before."""

PRELOADED = (
    "numpy",
    "httpcore",
    "httpx",
    "Crypto.Cipher.ChaCha20_Poly1305",
    "Crypto.Hash.keccak",
    "eth_abi",
    "eth_account",
    "flwr.clientapp",
    "flwr.supernode.runtime.run_clientapp",
)
"""Libraries that every task needs."""


def _do_nothing() -> None:
    """Return at once: for example the body of a task that only warms up the server."""


class TrainingExecutor(SubprocessExecutor):
    """Starts a process for each ClientApp task, in a sandbox, and refuses other tasks.

    Args:
        home: Folder for unpacked bundles.
        memories: Folder with a folder for each bundle, in which its training keeps what it needs in later rounds.
        rules: What a task may do; None to run it without a sandbox.
        pinned: SHA-256 of the only bundle that may run; empty for any.
        fork: Whether to fork a process that has imported the libraries, or to start a new Python.
        preload: Further modules to import once, for example torch. Missing modules are skipped.
        started: Called when a task was started.
    """

    def __init__(
        self,
        home: Path,
        memories: Path,
        rules: Rules | None = None,
        pinned: str = "",
        *,
        fork: bool = True,
        preload: Sequence[str] = (),
        started: Callable[[], None] = _do_nothing,
    ) -> None:
        self._home = home
        self._memories = memories
        self._rules = rules
        self._pinned = pinned
        self._context: ForkServerContext | None = multiprocessing.get_context("forkserver") if fork else None
        if self._context is not None:
            self._context.set_forkserver_preload([*PRELOADED, *preload])
            forkserver.ensure_running()  # Its imports begin now; nothing waits for them here.
        self._started = started
        self._running: list[Running] = []
        self._last = ""

    def warm_up(self) -> None:
        """Start the server and wait until it has imported everything. The first task is then not delayed."""
        if self._context is None:
            return
        child = self._context.Process(target=_do_nothing)
        child.start()
        child.join()
        child.close()

    def get_eligible_capacity(
        self, supported_task_types: set[TaskType], **_: Any
    ) -> tuple[set[TaskType], set[str]]:
        """Accept ClientApps only: Flower would start other tasks without a sandbox."""
        return supported_task_types & {TaskType.CLIENT_APP}, set()

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start a task."""
        if spec.task_type is not TaskType.CLIENT_APP:
            return LaunchResult.failed(f"this node runs ClientApps only, not {spec.task_type}")
        bundle = spec.fab_hash or ""
        if bundle and not _HASH.fullmatch(bundle):
            return LaunchResult.failed("the bundle's hash is malformed")
        if self._pinned and not bundle:
            return LaunchResult.failed("the SuperLink did not announce the bundle's hash, and one is pinned")
        try:
            if bundle != self._last:
                self._home.mkdir(parents=True, exist_ok=True)
                write_whole(self._home / BUNDLE_FILE, bundle.encode())
                self._last = bundle
            unpacked = self._new_folder(self._home / (bundle or UNNAMED))
            memory = self._memory_of(bundle or UNNAMED)
            task = Task(
                spec.runtime_api_address, spec.token, bundle or None, self._pinned, str(unpacked), str(memory)
            )
            self._running.append(replace(self._start(task), folder=unpacked))
        except Exception as error:  # Whatever one message does, the node takes the next.
            return LaunchResult.failed(f"the task can't be started: {error}")
        self._started()
        return LaunchResult.accepted()

    def _new_folder(self, bundle: Path) -> Path:
        """Return a new folder for a task, and remove those of ended tasks: their code could have changed the files.

        Flower does not unpack a bundle again that it finds unpacked. The folder of the last task is kept to be read.
        """
        bundle.mkdir(parents=True, exist_ok=True)
        used = {running.folder for running in self._running if not running.over()}
        for old in bundle.iterdir():
            if old not in used:
                remove(old)
        return Path(tempfile.mkdtemp(prefix="task-", dir=bundle))

    def _memory_of(self, bundle: str) -> Path:
        """Return the folder of a bundle's memories, and remove those of bundles that ran long ago.

        A task sees no other bundle's memories: they may be of code whose owner trusted another coordinator. The monitor
        counts what one task writes, so a folder to which several tasks have written more than its limit is removed.
        """
        folder = self._memories / bundle
        folder_size = size_of([folder])
        if self._rules is not None and (
            folder_size.size > self._rules.disk
            or folder_size.files > FILES
            or folder_size.depth > DEPTH
            or folder_size.closed
        ):
            remove(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(folder)
        others = [path for path in self._memories.iterdir() if path != folder]
        others.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for old in others[KEPT_MEMORIES - 1 :]:
            remove(old)
        return folder

    def _start(self, task: Task) -> Running:
        if self._rules is None:
            return _start_without_sandbox(self._context, replace(task, parent=os.getpid()))
        host, _, port = task.address.rpartition(":")
        rules = replace(
            self._rules,
            hosts=(*self._rules.hosts, (host.strip("[]"), int(port))),
            writable=(*self._rules.writable, task.flower_home, task.memory),
        )
        for folder in self._rules.writable:
            Path(folder).mkdir(mode=0o700, exist_ok=True)
        return _start_in_sandbox(self._context, task, rules)

    @property
    def busy(self) -> bool:
        """Whether a task runs, as `reconcile` saw it last."""
        return bool(self._running)

    def reconcile(self) -> None:
        """Remove tasks that have ended."""
        for running in [running for running in self._running if running.over()]:
            self._running.remove(running)
            _close(running)

    def close(self) -> None:
        """End all tasks that still run."""
        while self._running:
            _close(self._running.pop())


@dataclass(frozen=True)
class Running:
    """A task that runs."""

    over: Callable[[], bool]
    """Returns whether it has ended."""
    close: Callable[[], object]
    """Ends it if it runs, and removes what it leaves behind."""
    folder: Path | None = None
    """Folder with its unpacked bundle."""


def _close(running: Running) -> None:
    try:
        running.close()
    except Exception as error:  # As in `launch`.
        _write(f"What a task has left behind could not be removed: {error!r}.\n".encode())


def _start_without_sandbox(context: ForkServerContext | None, task: Task) -> Running:
    if context is None:
        with tempfile.TemporaryFile() as words:
            words.write(task.to_json().encode())
            words.seek(0)
            program = subprocess.Popen([sys.executable, "-m", "client.node.task"], stdin=words)
        return Running(lambda: program.poll() is not None, program.terminate)
    child = context.Process(target=run, args=(task,), daemon=False)  # A task may start processes itself.
    child.start()
    return Running(lambda: not child.is_alive(), lambda: _end(child))


def _start_in_sandbox(context: ForkServerContext | None, task: Task, rules: Rules) -> Running:
    scratch, addresses = make_scratch(), addresses_of(rules)
    task = replace(task, scratch=str(scratch), addresses=addresses)
    if context is None:
        program = Sandboxed(
            [sys.executable, "-m", "client.node.task"],
            rules,
            os.environ,
            scratch=scratch,
            addresses=addresses,
            stdin=task.to_json().encode(),
            write=_write,
            say=_say,
        )
        return Running(lambda: program.monitor.over, lambda: program.__exit__())
    control, their_control = socket.socketpair()
    output, their_output = socket.socketpair()
    with their_control, their_output:
        child = context.Process(
            target=run_in_sandbox, args=(task, rules, their_control, their_output), daemon=False
        )
        child.start()
    monitor = Monitor(
        int(child.pid or 0), rules, scratch, addresses, control, output.detach(), write=_write, say=_say
    )

    def close() -> None:
        _end(child)
        monitor.wait(5)
        remove(scratch)

    return Running(lambda: monitor.over, close)


def _end(child: ForkServerProcess) -> None:
    child.terminate()
    child.join(5)
    if not child.is_alive():
        child.close()


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _say(reason: str) -> None:
    _write(f"Refused: The sandbox has ended the training code, because {reason}.\n".encode())


def run_in_sandbox(task: Task, rules: Rules, control: socket.socket, output: socket.socket) -> None:
    """Run a task in a forked child, in a sandbox."""

    def body() -> None:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        ours = control.fileno()
        os.closerange(3, ours)
        os.closerange(ours + 1, OPEN_FILES)
        enter(rules, Path(task.scratch), control)
        control.close()
        run(task)

    keep(body)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a SuperExec with this executor until its SuperNode ends."""
    parser = argparse.ArgumentParser(prog="client.node.executor", description=__doc__)
    parser.add_argument("--runtime-api-address", required=True, help="host:port of the SuperNode")
    parser.add_argument("--parent-pid", type=int, required=True, help="process to end with")
    parser.add_argument("--preload", action="append", default=[], help="module to import once")
    parser.add_argument("--no-fork", action="store_true", help="start a Python for every message")
    parser.add_argument("--sandbox", default="", help="rules of the sandbox; without them there is none")
    parser.add_argument("--bundle", default="", help="SHA-256 of the only bundle that may run")
    parser.add_argument("--ready", type=int, help="descriptor to close once everything is imported")
    parser.add_argument(
        "--secret", type=int, required=True, help="descriptor with the secret for taking tasks"
    )
    options = parser.parse_args(arguments)
    secret = os.read(options.secret, 1024)
    os.close(options.secret)

    pause = ExecutorPause(sys.stdin.fileno())
    home = Path(os.environ["FLWR_HOME"])
    executor = TrainingExecutor(
        home / BUNDLES_FOLDER,
        home.parent / MEMORY_FOLDER,
        Rules.from_json(options.sandbox) if options.sandbox else None,
        options.bundle,
        fork=not options.no_fork,
        preload=options.preload,
        started=pause.rest,
    )
    importlib.import_module(flower_internals.SUPEREXEC)  # While the server imports.
    executor.warm_up()
    if options.ready is not None:
        os.close(options.ready)
    _await_node(options.runtime_api_address, options.parent_pid)
    flower_internals.run_superexec(executor, pause, options.runtime_api_address, secret, options.parent_pid)


def _await_node(address: str, parent: int) -> None:
    """Wait until the SuperNode listens or has ended. Flower's own retries wait longer each time."""
    host, _, port = address.rpartition(":")
    while os.getppid() == parent and not accepts_connections(int(port), host):
        time.sleep(0.05)


if __name__ == "__main__":
    main()
