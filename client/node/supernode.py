# SPDX-License-Identifier: Apache-2.0
"""Flower's SuperNode with Folkmoot's executor, and a shorter pause between two polls for messages.

Flower's node polls for messages every three seconds, and has no option for it. In a round of a few seconds that is most
of the time. This module starts the same SuperNode in this process with another clock in that loop
(`client.node.pauses`). It has no access to keys and is not part of the app bundle.
"""

from __future__ import annotations

import argparse
import importlib
import os
import secrets
import select
import subprocess
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from client.node.access import training_environment
from client.node.pauses import NodePause, Waker
from folkmoot.runtime import flower_internals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_PAUSE = 0.5
"""Maximum number of seconds between two polls for messages during a run."""

WARM_UP_SECONDS = 120.0
"""Seconds after which a node connects even if its executor still imports libraries."""

LOST = 1
"""Exit status after the connection to the SuperLink was lost permanently, or the executor has ended."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a SuperNode. Unknown arguments are passed on to Flower."""
    parser = argparse.ArgumentParser(prog="client.node.supernode", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port of the node's own Runtime API")
    parser.add_argument(
        "--pause",
        type=float,
        default=DEFAULT_PAUSE,
        help="maximum number of seconds between two polls for messages during a run",
    )
    parser.add_argument(
        "--preload", action="append", default=[], help="module to import before the first task"
    )
    parser.add_argument(
        "--no-fork", action="store_true", help="start a Python for every message, as Flower does"
    )
    parser.add_argument(
        "--sandbox", default="", help="rules of the training code's sandbox; without them none"
    )
    parser.add_argument("--bundle", default="", help="SHA-256 of the only bundle that may run")
    parser.add_argument(
        "--pass-env", action="append", default=[], help="environment variable that the training code gets"
    )
    options, rest = parser.parse_known_args(arguments)

    # Only the executor may take tasks from the Runtime API: the training code can connect to it too.
    secret = secrets.token_bytes(32)
    sys.argv = ["flower-supernode", "--port", str(options.port), *rest, "--isolation", "process"]
    sys.argv += ["--superexec-auth-secret-file", f"/dev/fd/{filled_pipe(secret)}"]
    words = [word for name in options.preload for word in ("--preload", name)]
    words += ["--sandbox", options.sandbox, "--bundle", options.bundle]
    if options.no_fork:
        words += ["--no-fork"]
    wake, warm = start_executor(options.port, secret, words, options.pass_env if options.sandbox else None)

    importlib.import_module(flower_internals.SUPERNODE)  # While the executor imports its own libraries.
    select.select([warm], [], [], WARM_UP_SECONDS)  # Readable when the executor has closed its end.
    os.close(warm)
    run_to_the_end(flower_internals.supernode(NodePause(options.pause), wake))


def run_to_the_end(supernode: Callable[[], None], end: Callable[[int], object] = os._exit) -> None:
    """Run a SuperNode, and end the process with it.

    If the connection is lost permanently, e.g. because the SuperLink's certificate has expired, Flower's node returns
    (or raises), but the thread of its Runtime API continues. The process would then run on without work.
    """
    try:
        supernode()
    except Exception:
        traceback.print_exc()
    end(LOST)


def end_with(executor: subprocess.Popen[bytes], end: Callable[[int], object] = os._exit) -> None:
    """End this process when its executor has ended: nobody else takes its tasks. `folkmoot join` starts both again."""
    executor.wait()
    end(LOST)


def filled_pipe(data: bytes) -> int:
    """Return the reading end of a pipe with a few bytes in it."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


def start_executor(
    port: int, secret: bytes, words: Sequence[str], names: Sequence[str] | None
) -> tuple[Callable[[], None], int]:
    """Start the executor.

    Args:
        port: Port of this SuperNode's Runtime API.
        secret: With which it takes tasks from there.
        words: Further words of the executor's command.
        names: Environment variables that it gets, beside those that the training code always gets; None for all.

    Returns:
        Function that wakes the executor when there is a task for it, and a descriptor that can be read once the
        executor has imported the libraries for tasks.
    """
    reader, writer = os.pipe()
    warm, ready = os.pipe()
    command = [sys.executable, "-m", "client.node.executor", "--runtime-api-address", f"127.0.0.1:{port}"]
    command += ["--parent-pid", str(os.getpid()), "--ready", str(ready), *words]
    key = filled_pipe(secret)
    command += ["--secret", str(key)]
    environment = None if names is None else training_environment(os.environ, ["FLWR_HOME", *names])
    executor = subprocess.Popen(command, stdin=reader, pass_fds=[ready, key], env=environment)
    threading.Thread(target=end_with, args=(executor,), name="executor", daemon=True).start()
    os.close(reader)
    os.close(ready)
    os.close(key)
    return Waker(writer), warm


if __name__ == "__main__":
    main()
