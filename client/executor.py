# SPDX-License-Identifier: Apache-2.0
"""Run Flower's tasks faster: import the heavy libraries once, and fork for each message.

Flower starts a new Python process for every message. Importing torch and Flower takes longer than a small round of
training. This module runs Flower's own SuperExec with another executor: a server process imports the third-party
libraries and forks a new child for each ClientApp task. The server never imports the packages of Folkmoot: each child
imports them from the unpacked bundle, so that the code that runs has the bundle's hash. Flower's files are not
changed. This module has no access to keys and is not part of the app bundle.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import sys
import time
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import TYPE_CHECKING

from flwr.supercore.constant import TaskType
from flwr.supercore.superexec.executor import ExecutionSpec, LaunchResult, SubprocessExecutor

from client.pauses import ExecutorPause, replace_clock
from folkmoot.runtime.processes import accepts_connections

if TYPE_CHECKING:
    from collections.abc import Sequence

PRELOADED = (
    "numpy",
    "httpx",
    "eth_abi",
    "eth_account",
    "flwr.clientapp",
    "flwr.supernode.runtime.run_clientapp",
)
"""Libraries that every task needs."""

BUNDLED = frozenset({"folkmoot", "client", "server"})
"""Packages that must be imported from the bundle."""


class ForkExecutor(SubprocessExecutor):
    """Forks a child for each ClientApp task. Other tasks are started in Flower's own way.

    Args:
        preload: Further modules to import once, for example torch. Missing modules are skipped.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*PRELOADED, *preload])
        self._children: list[ForkServerProcess] = []

    def warm_up(self) -> None:
        """Start the server and wait until it has imported everything. The first task is then not delayed."""
        child = self._context.Process(target=_do_nothing)
        child.start()
        child.join()
        child.close()

    def launch(self, spec: ExecutionSpec) -> LaunchResult:
        """Start a task."""
        if spec.task_type is not TaskType.CLIENT_APP:
            return super().launch(spec)
        child = self._context.Process(
            target=run_task,
            args=(
                spec.runtime_api_address,
                spec.token,
                spec.insecure,
                spec.root_certificates_path,
                spec.parent_pid,
                spec.runtime_dependency_install,
            ),
            daemon=False,  # A task may start processes itself, for example to load data.
        )
        try:
            child.start()
        except OSError as error:
            return LaunchResult.failed(f"fork server: {error}")
        self._children.append(child)
        return LaunchResult.accepted()

    def reconcile(self) -> None:
        """Remove children that have ended."""
        for child in [child for child in self._children if not child.is_alive()]:
            child.join()
            child.close()
            self._children.remove(child)

    def close(self) -> None:
        """End all children that still run."""
        for child in self._children:
            child.terminate()


def _do_nothing() -> None:
    """Return at once: the body of a task that only warms up the server."""


def run_task(
    address: str, token: str, insecure: bool, certificates: str | None, parent: int | None, install: bool
) -> None:
    """Run one ClientApp task in a forked child."""
    for name in list(sys.modules):
        if name.partition(".")[0] in BUNDLED:
            del sys.modules[name]
    importlib.invalidate_caches()
    from flwr.supercore.tls import validate_and_resolve_root_certificates
    from flwr.supernode.runtime.run_clientapp import run_clientapp

    run_clientapp(
        runtime_api_address=address,
        token=token,
        insecure=insecure,
        certificates=validate_and_resolve_root_certificates(certificates, insecure),
        parent_pid=parent,
        runtime_dependency_install=install,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a SuperExec with the forking executor until its SuperNode ends."""
    parser = argparse.ArgumentParser(prog="client.executor", description=__doc__)
    parser.add_argument("--runtime-api-address", required=True, help="host:port of the SuperNode")
    parser.add_argument("--parent-pid", type=int, required=True, help="process to end with")
    parser.add_argument("--preload", action="append", default=[], help="module to import once")
    parser.add_argument("--ready", type=int, help="descriptor to close once everything is imported")
    options = parser.parse_args(arguments)

    from flwr.supercore.superexec import run_superexec as superexec

    executor = ForkExecutor(options.preload)
    executor.warm_up()
    if options.ready is not None:
        os.close(options.ready)
    _await_node(options.runtime_api_address, options.parent_pid)
    # Flower has no option for a custom executor. Its factory is a name in this module.
    setattr(superexec, "get_executor", lambda *_, **__: executor)  # noqa: B010  not for type checkers
    replace_clock(superexec, ExecutorPause(sys.stdin.fileno()))
    superexec.run_superexec(
        runtime_api_address=options.runtime_api_address, insecure=True, parent_pid=options.parent_pid
    )


def _await_node(address: str, parent: int) -> None:
    """Wait until the SuperNode listens or has ended. Flower's own retries wait longer each time."""
    host, _, port = address.rpartition(":")
    while os.getppid() == parent and not accepts_connections(int(port), host):
        time.sleep(0.05)


if __name__ == "__main__":
    main()
