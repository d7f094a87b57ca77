# SPDX-License-Identifier: Apache-2.0
"""Run one ClientApp task, in the process that the sandbox confines: check the bundle, then let Flower run it.

Nothing of the bundle has been imported or unpacked when `run` begins. The names of hosts are looked up outside of the
sandbox, which has no name service. This module has no access to keys and is not part of the app bundle.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any, NoReturn

from folkmoot.errors import InputError
from folkmoot.flower.contributor import MEMORY_VARIABLE
from folkmoot.runtime import flower_internals
from folkmoot.tasks.text.texts import WORKS_FILE, WORKS_VARIABLE

BUNDLES_FOLDER = "bundles"
"""Name of the folder in Flower's home that has unpacked bundles, each in a folder of its hash."""

BUNDLE_FILE = "running"
"""Name of the file in that folder with the hash of the bundle that runs. The training code can't write it."""

BUNDLED = frozenset({"folkmoot", "client", "server"})
"""Packages that must be imported from the bundle."""


@dataclass(frozen=True)
class Task:
    """One message for the ClientApp."""

    address: str
    """host:port of the SuperNode's Runtime API."""
    token: str
    """Flower's token of the task."""
    bundle: str | None
    """SHA-256 of the bundle according to the SuperLink."""
    pinned: str
    """SHA-256 of the only bundle that may run; empty for any."""
    flower_home: str
    """New folder in which Flower unpacks the bundle, for this task only."""
    memory: str
    """Folder for what this bundle's training keeps from round to round."""
    scratch: str = ""
    """Temporary folder; empty without a sandbox."""
    addresses: Mapping[str, list[str]] | None = None
    """IP addresses of the hosts that the task may connect to; None without a sandbox."""
    parent: int | None = None
    """Process to end with; None in a sandbox, whose keeper ends it."""

    def to_json(self) -> str:
        """Return the task as JSON."""
        return json.dumps(asdict(self))


def check_bundle(content: bytes, task: Task) -> None:
    """Check that a bundle is the one that was announced and that is admitted."""
    digest = hashlib.sha256(content).hexdigest()
    if task.pinned and digest != task.pinned:
        raise InputError(
            f"The coordinator sent the bundle {digest}, and this node runs only {task.pinned}.",
            remedy="Nothing of it ran. Read the new bundle, then join again with --set bundle=HASH, or leave.",
            code="wrong-bundle",
        )
    if task.bundle and digest != task.bundle:
        raise InputError(
            f"The SuperLink announced the bundle {task.bundle} and sent {digest}.",
            remedy="Nothing of it ran. Tell the coordinator's operator.",
            code="wrong-bundle",
        )


def run(task: Task) -> None:
    """Run a task. Ends the process."""
    os.environ["FLWR_HOME"] = task.flower_home
    os.environ[MEMORY_VARIABLE] = task.memory
    os.environ[WORKS_VARIABLE] = str(files("folkmoot.tasks.text") / WORKS_FILE)
    if task.scratch:
        os.environ.update(TMPDIR=task.scratch, HOME=task.scratch)
        tempfile.tempdir = None
    if task.addresses is not None:
        _look_up_from(task.addresses)
    if numbers := sys.modules.get("numpy.random"):
        numbers.seed()  # Imported before the fork, it would draw the same numbers for each message.
    for name in list(sys.modules):
        if name.partition(".")[0] in BUNDLED:
            del sys.modules[name]
    importlib.invalidate_caches()

    def check(content: bytes) -> None:
        try:
            check_bundle(content, task)
        except InputError as error:
            sys.stdout.write(f"Refused: {error}\n")
            sys.stdout.flush()
            raise

    flower_internals.run_clientapp(task.address, task.token, task.parent, check=check, leaving=_after_work)


def _after_work(leave: Callable[..., NoReturn]) -> Callable[..., NoReturn]:
    """Return Flower's function that ends the process, with the training that goes on after the reply before it.

    The SuperNode is told before that the task has ended.
    """

    def work_and_leave(*arguments: Any, **options: Any) -> NoReturn:
        try:
            if (eager := sys.modules.get("folkmoot.flower.eager")) is not None and eager.waits():
                flower_internals.report_end_of_task()
                eager.train_on()
        finally:
            leave(*arguments, **options)

    return work_and_leave


def _look_up_from(addresses: Mapping[str, list[str]]) -> None:
    """Look up names of hosts in a table. IP addresses are looked up as usual."""
    usual = socket.getaddrinfo

    def from_table(host: Any, port: Any, *arguments: Any, **options: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else host
        if not isinstance(name, str) or name not in addresses:
            return usual(host, port, *arguments, **options)
        return [one for address in addresses[name] for one in usual(address, port, *arguments, **options)]

    socket.getaddrinfo = from_table


if __name__ == "__main__":
    run(Task(**json.loads(sys.stdin.read())))
