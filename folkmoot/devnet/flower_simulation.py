# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run --simulation`: Flower's simulation engine (Ray) instead of SuperNodes.

Ray's workers train; the keys stay in one process, `client.cli.signers`. This module imports neither Ray nor `server`
nor `client`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from folkmoot.errors import InputError
from folkmoot.flower.contributor import HOMES, SOCKET_FILE

if TYPE_CHECKING:
    from folkmoot.devnet.federation import Plan

RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
"""Environment variables for Ray: no telemetry, and the lines of all nodes in the log."""

LONGEST_END = 10.0
"""Seconds after which a process that does not end is left to the system."""


def check_simulation(node_config: Sequence[str] | None) -> None:
    """Check that Flower's simulation engine is installed and supports the options.

    Raises:
        InputError: Ray is not installed, or a node configuration is given.
    """
    if find_spec("ray") is None:
        raise InputError(
            "--simulation needs Ray, which is not installed.",
            remedy="Install it with: `pip install 'folkmoot[simulation]'`, or leave out --simulation.",
            code="extra-missing",
        )
    if node_config:
        raise InputError(
            "--node-config can't be used with --simulation: Flower's simulation engine gives a node its partition "
            "and nothing else.",
            remedy="Leave out --simulation, or let the app read that setting from its run config (--run-config).",
        )


def superlink_environment(plan: Plan) -> dict[str, str]:
    """Return the environment variables that the SuperLink passes on to simulated nodes."""
    return {HOMES: str(plan.node_homes), **RAY}


def end_strays(plan: Plan) -> list[int]:
    """End the processes of Flower's simulation engine and of Ray that outlived the SuperLink; return their ids.

    They are known by a variable of their environment that only this federation has. Flower's engine and Ray start
    processes in sessions of their own. Each ends with its parent only if it gets far enough to look for it.
    """
    ended: list[int] = []
    mark = f"{HOMES}={plan.node_homes}".encode()
    end = time.monotonic() + LONGEST_END
    while (strays := _with_variable(mark)) and time.monotonic() < end:
        for pid in strays:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended += [pid for pid in strays if pid not in ended]
        time.sleep(0.1)  # One of them may have started another one.
    return ended


def _with_variable(variable: bytes) -> list[int]:
    """Return the ids of processes with a variable in their environment; none on a system without `/proc`."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # It has ended, or is another user's.
            if variable in (folder / "environ").read_bytes().split(b"\0"):
                pids.append(int(folder.name))
    return [pid for pid in pids if pid != os.getpid()]


def signers_command(plan: Plan, rpc_url: str, api_url: str) -> list[str]:
    """Return the command that signs for all contributors."""
    words = [
        *("--federation", "none", "--nodes", str(plan.contributors), *plan.subject),
        *("--homes", plan.node_homes, "--keys", plan.keys, "--log", plan.app_log),
        *("--layout", plan.layout, "--password-file", plan.password_file),
        *("--rpc", rpc_url, "--coordinator", api_url, "--deployment", plan.deployment_file),
    ]
    return [sys.executable, "-m", "client.cli.signers", *map(str, words)]


def signs(plan: Plan) -> bool:
    """Return whether the signer agents of all contributors are running."""
    return all((plan.node_home(name) / SOCKET_FILE).exists() for name in plan.names())
