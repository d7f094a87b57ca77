# SPDX-License-Identifier: Apache-2.0
"""Flower's SuperNode with our executor beside it, and a shorter pause between two looks for messages.

Flower's node looks for messages every three seconds and can't be told otherwise; in a round of a few seconds
that is most of the time. This starts the same SuperNode in this process with another clock in that one loop.
With a Flower that looks different inside, the pause simply stays what it is. It knows no key and does not travel
in the app bundle.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
import traceback
from types import ModuleType
from typing import TYPE_CHECKING, Any

from client.pauses import replace_sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_PAUSE = 0.5
"""Seconds between two looks for messages."""

LOST = 1
"""Exit status when the connection to the SuperLink was lost for good."""


def shorten_pauses(module: ModuleType, longest: float, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Make a module's own `time.sleep` wait `longest` seconds at most; other modules are not touched.

    Returns:
        Whether the module has such a clock.
    """
    return replace_sleep(module, lambda seconds: sleep(min(seconds, longest)))


def tell_of_messages(module: ModuleType, pipe: int) -> bool:
    """Write a byte into a pipe for each message that a SuperNode has received, so that nobody has to ask.

    Returns:
        Whether the module receives messages in the way that is known here.
    """
    receive = getattr(module, "_pull_and_store_message", None)
    if receive is None:
        return False

    def receive_and_tell(*arguments: Any, **named: Any) -> Any:
        run = receive(*arguments, **named)
        if run is not None:
            with contextlib.suppress(
                OSError
            ):  # full of bytes that nobody has read yet, or its reader has ended
                os.write(pipe, b".")
        return run

    module._pull_and_store_message = receive_and_tell  # type: ignore[attr-defined]
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a SuperNode; what is not known here is handed on to Flower."""
    parser = argparse.ArgumentParser(prog="client.supernode", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port of the node's own Runtime API")
    parser.add_argument(
        "--pause", type=float, default=DEFAULT_PAUSE, help="seconds between looks for messages"
    )
    parser.add_argument("--preload", action="append", default=[], help="module that tasks find imported")
    parser.add_argument(
        "--no-fork", action="store_true", help="start a Python for every message, as Flower does"
    )
    options, rest = parser.parse_known_args(arguments)

    from flwr.supernode import start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    shorten_pauses(start_client_internal, options.pause)
    sys.argv = ["flower-supernode", "--port", str(options.port), *rest]
    if not options.no_fork:
        sys.argv += ["--isolation", "process"]
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        told = tell_of_messages(start_client_internal, writing)
        command = executor_command(options.port, options.preload, wake=reading if told else None)
        subprocess.Popen(command, pass_fds=(reading,) if told else ())
        os.close(reading)
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


def executor_command(port: int, preload: Sequence[str], wake: int | None = None) -> list[str]:
    """Return the command of the executor beside a SuperNode on this port.

    Args:
        port: The port.
        preload: Modules that tasks find imported.
        wake: Reading end of the pipe that tells of messages; without one the executor asks often.
    """
    command = [sys.executable, "-m", "client.executor", "--runtime-api-address", f"127.0.0.1:{port}"]
    command += ["--parent-pid", str(os.getpid())]
    if wake is not None:
        command += ["--wake", str(wake)]
    for name in preload:
        command += ["--preload", name]
    return command


if __name__ == "__main__":
    main()
