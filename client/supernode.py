# SPDX-License-Identifier: Apache-2.0
"""Flower's SuperNode with our executor beside it, and a shorter pause between two looks for messages.

Flower's node looks for messages every three seconds and can't be told otherwise; in a round of a few seconds
that is most of the time. This starts the same SuperNode in this process with another clock in that one loop
(`client.pauses`). It knows no key and does not travel in the app bundle.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING

from client.pauses import NodePause, Waker, replace_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_PAUSE = 0.5
"""Seconds between two looks for messages while a run is going on."""

WARM_UP_SECONDS = 120.0
"""Time after which a node connects although its executor still imports libraries."""

LOST = 1
"""Exit status when the connection to the SuperLink was lost for good."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a SuperNode; what is not known here is handed on to Flower."""
    parser = argparse.ArgumentParser(prog="client.supernode", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port of the node's own Runtime API")
    parser.add_argument(
        "--pause", type=float, default=DEFAULT_PAUSE, help="seconds between looks for messages during a run"
    )
    parser.add_argument("--preload", action="append", default=[], help="module that tasks find imported")
    parser.add_argument(
        "--no-fork", action="store_true", help="start a Python for every message, as Flower does"
    )
    options, rest = parser.parse_known_args(arguments)

    from flwr.supernode import start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    sys.argv = ["flower-supernode", "--port", str(options.port), *rest]
    wake: Callable[[], None] = lambda: None  # noqa: E731  replaced where there is an executor to wake
    if not options.no_fork:
        sys.argv += ["--isolation", "process"]
        wake = start_executor(options.port, options.preload)
    replace_clock(start_client_internal, NodePause(options.pause, wake))
    run_to_the_end(flower_supernode)


def run_to_the_end(supernode: Callable[[], None], end: Callable[[int], object] = os._exit) -> None:
    """Run a SuperNode, and end the process with it.

    When its connection is lost for good, e.g. since the SuperLink's certificate has expired, Flower's node returns (or
    raises) and leaves the thread of its Runtime API behind: the process would live on and do nothing.
    """
    try:
        supernode()
    except Exception:
        traceback.print_exc()
    end(LOST)


def start_executor(port: int, preload: Sequence[str]) -> Callable[[], None]:
    """Start the executor, and wait until it has imported what tasks need: only then can the node work.

    Returns:
        Wakes the executor when there is a task for it.
    """
    reader, writer = os.pipe()
    warm, ready = os.pipe()
    command = [*executor_command(port, preload), "--ready", str(ready)]
    subprocess.Popen(command, stdin=reader, pass_fds=[ready])
    os.close(reader)
    os.close(ready)
    select.select([warm], [], [], WARM_UP_SECONDS)  # readable as soon as the executor has closed its end
    os.close(warm)
    return Waker(writer)


def executor_command(port: int, preload: Sequence[str]) -> list[str]:
    """Return the command of the executor beside a SuperNode on this port."""
    command = [sys.executable, "-m", "client.executor", "--runtime-api-address", f"127.0.0.1:{port}"]
    command += ["--parent-pid", str(os.getpid())]
    for name in preload:
        command += ["--preload", name]
    return command


if __name__ == "__main__":
    main()
