# SPDX-License-Identifier: Apache-2.0
"""Training code that leaves behind what it can, and code of a later message that looks for it."""

from __future__ import annotations

import atexit
import builtins
import contextlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType

from client.node import executor
from client.node.task import Task
from folkmoot.sandbox.rules import Rules
from tests import hostile_trees

LEAVE, LOOK, RUIN = "leave", "look", "ruin"
"""Tokens of the kinds of tasks. A number may follow that of ruin."""

FOUND = "found.json"
"""Name of the file with what a task found, in its bundle's memory."""

NAME = "left_behind"


def run_in_sandbox(task: Task, rules: Rules, control: socket.socket, output: socket.socket) -> None:
    """Do as the executor's own function, with the code of this module in the place of Flower's."""
    kinds = {LEAVE: _leave, LOOK: _look, RUIN: _ruin}
    vars(executor)["run"] = kinds[task.token.rstrip("0123456789")]
    executor.run_in_sandbox(task, rules, control, output)


def _places(task: Task) -> list[Path]:
    """Return files in all folders that a task may write, or could try to."""
    return [Path(folder, NAME) for folder in (task.flower_home, task.scratch, "/tmp", Path.cwd())]  # noqa: S108  where a task could leave one


def _leave(task: Task) -> None:
    os.environ[NAME] = "yes"
    sys.modules[NAME] = ModuleType(NAME)
    sys.path.insert(0, f"/{NAME}")
    setattr(builtins, NAME, True)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    socket.setdefaulttimeout(0.001)
    os.umask(0)
    memory = Path(task.memory)
    atexit.register((memory / "atexit").touch)
    for path in _places(task):
        with contextlib.suppress(OSError):
            path.touch()
    started = threading.Event()

    def wait() -> None:
        started.set()
        threading.Event().wait()

    threading.Thread(target=wait, daemon=True).start()
    started.wait()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            (memory / FOUND).write_text(json.dumps({"pid": os.getpid()}))
            signal.pause()
        os._exit(0)
    os.wait()
    while not (memory / FOUND).exists():
        os.sched_yield()


def _look(task: Task) -> None:
    found = {
        "environment": NAME in os.environ,
        "module": NAME in sys.modules,
        "path": f"/{NAME}" in sys.path,
        "builtin": hasattr(builtins, NAME),
        "signal": signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL,
        "timeout": socket.getdefaulttimeout() is not None,
        "umask": os.umask(0o022) == 0,
        "thread": threading.active_count() != 1,
        "file": any(path.exists() for path in _places(task)),
        "atexit": Path(task.memory, "atexit").exists(),
    }
    Path(task.memory, FOUND).write_text(json.dumps(found))


def _ruin(task: Task) -> None:
    """Make folders that are hard to remove in all that a task may write."""
    for folder in (task.flower_home, task.scratch, task.memory):
        hostile_trees.grow(Path(folder), int(task.token.removeprefix(RUIN)), Path("/"))
