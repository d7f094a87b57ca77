# SPDX-License-Identifier: Apache-2.0
"""All that Folkmoot uses of Flower's inside: names outside of its interface, which a release of Flower may move.

Flower has no option or hook for what stands here. No other module reads or replaces such a name, and
tests/unit/runtime/test_flower_internals.py has a test for each. Flower is imported late: each of its programs is one of
the processes that a node starts, and imports only its own part.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, Message, RecordDict
    from flwr.common import FitIns, Parameters
    from flwr.serverapp import Grid
    from flwr.supercore.superexec.executor import SubprocessExecutor

SUPEREXEC = "flwr.supercore.superexec.run_superexec"
"""Module with the loop that takes tasks from a SuperNode."""

SUPERNODE = "flwr.supernode.start_client_internal"
"""Module with the loop that takes messages from a SuperLink."""

_TASK = "flwr.supernode.runtime.run_clientapp"
"""Module that runs one task of a ClientApp."""

_MESSAGE_PULLED = "_pull_and_store_message"
"""Function of that module that returns a run once there is a task of it."""


# The node's processes


def run_superexec(
    executor: SubprocessExecutor, sleep: Callable[[float], None], address: str, secret: bytes, parent: int
) -> None:
    """Take tasks from a SuperNode, until it ends.

    Args:
        executor: Starts the tasks.
        sleep: Waits between two polls.
        address: host:port of the SuperNode's Runtime API.
        secret: With which tasks may be taken.
        parent: Process to end with.
    """
    module = import_module(SUPEREXEC)
    vars(module)["get_executor"] = lambda *_, **__: executor
    replace_clock(module, sleep)
    module.run_superexec(
        runtime_api_address=address, insecure=True, superexec_auth_secret=secret, parent_pid=parent
    )


def supernode(sleep: Callable[[float], None], wake: Callable[[], None]) -> Callable[[], None]:
    """Return Flower's SuperNode, which reads its options from `sys.argv`.

    Args:
        sleep: Waits between two polls of the node's loop.
        wake: Called after a message has come.
    """
    from flwr.supernode.cli.flower_supernode import flower_supernode

    module = import_module(SUPERNODE)
    call_after(module, _MESSAGE_PULLED, wake)
    replace_clock(module, sleep)
    return flower_supernode


def run_clientapp(
    address: str,
    token: str,
    parent: int | None,
    *,
    check: Callable[[bytes], None],
    leaving: Callable[[Callable[..., NoReturn]], Callable[..., NoReturn]],
) -> None:
    """Run one task of a ClientApp, and end the process.

    Args:
        address: host:port of the SuperNode's Runtime API.
        token: Flower's token of the task.
        parent: Process to end with, if any.
        check: Called with the bundle before it is unpacked.
        leaving: Given Flower's function that ends the process, returns the one to call after the reply.
    """
    from flwr.clientapp import utils

    module = import_module(_TASK)
    flower = vars(module)
    install = flower["install_from_fab"]

    def checked(content: bytes, *arguments: Any, **options: Any) -> Any:
        check(content)
        unpacked = install(content, *arguments, **options)
        # Flower would load the folder that the SuperLink's id, version and hash name, whatever was unpacked.
        for holder in (module, utils):
            vars(holder)["get_project_dir"] = lambda *_, **__: unpacked
        return unpacked

    flower["install_from_fab"], flower["flwr_exit"] = checked, leaving(flower["flwr_exit"])
    module.run_clientapp(runtime_api_address=address, token=token, insecure=True, parent_pid=parent)


def report_end_of_task() -> None:
    """Tell the SuperNode that this process's task has ended. It may then start the next one beside this process."""
    from flwr.supercore.exit.exit_handler import trigger_exit_handlers

    for before in (True, False):
        trigger_exit_handlers(run_before_force_exit=before)


def replace_clock(module: ModuleType, sleep: Callable[[float], None]) -> bool:
    """Replace `time` in a module by one with this `sleep`. Other modules do not change.

    Returns:
        Whether the module has such a clock. In a Flower version with other internals, the pauses do not change.
    """
    if getattr(module, "time", None) is not time:
        return False
    clock = SimpleNamespace(**{name: getattr(time, name) for name in dir(time) if not name.startswith("_")})
    clock.sleep = sleep
    vars(module)["time"] = clock
    return True


def call_after(module: ModuleType, name: str, then: Callable[[], None]) -> bool:
    """Replace a function in a module by one that calls `then` at its end if it returns something.

    Returns:
        Whether the module has such a function. A Flower version with other internals may not.
    """
    own = getattr(module, name, None)
    if own is None:
        return False

    @functools.wraps(own)
    def called(*arguments: Any, **options: Any) -> Any:
        result = own(*arguments, **options)
        if result is not None:
            then()
        return result

    setattr(module, name, called)
    return True


# Messages and records


def answer(reply: Message, number: str) -> None:
    """Let a reply answer the message with this number."""
    reply.metadata.__dict__["_reply_to_message_id"] = number


def take_identity() -> None:
    """Set task, run and node in this process, as Flower does before it calls an app."""
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1


def pack(content: RecordDict) -> bytes:
    """Encode records as bytes, to store them in a file."""
    from flwr.common.serde import recorddict_to_proto

    return cast(bytes, recorddict_to_proto(content).SerializeToString(deterministic=True))


def unpack(data: bytes) -> RecordDict:
    """Decode the result of `pack`."""
    from flwr.common.serde import recorddict_from_proto
    from flwr.proto import recorddict_pb2

    return recorddict_from_proto(recorddict_pb2.RecordDict.FromString(data))


# Bundles and settings


def build_bundle(folder: Path, keep: Callable[[str], bool] = lambda name: True) -> bytes:
    """Build the Flower App Bundle of a folder as ``flwr run`` does.

    Args:
        folder: The app.
        keep: Returns whether a file may be in the bundle, by its path in the folder.
    """
    from flwr.cli.build import build_fab_from_files
    from flwr.cli.utils import collect_files

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Flower's own use of pathspec.
        files = {name: path for name, path in collect_files(folder).items() if keep(name)}
        return build_fab_from_files(files)[0]


def parse_pairs(texts: Sequence[str]) -> dict[str, Any]:
    """Return the settings of options such as ``--run-config``."""
    from flwr.common.config import parse_config_args

    return dict(parse_config_args(list(texts)))


def flatten(values: Any) -> dict[str, Any]:
    """Return nested settings under names with dots."""
    from flwr.common.config import flatten_dict

    return dict(flatten_dict(values))


# The old interface


def parameters_of(arrays: ArrayRecord) -> Parameters:
    """Return a record's arrays as parameters of the old interface."""
    from flwr.compat.common.recorddict_compat import arrayrecord_to_parameters

    return arrayrecord_to_parameters(arrays, keep_input=True)


def content_of(instructions: FitIns) -> RecordDict:
    """Return instructions of the old interface as the content of a train message."""
    from flwr.compat.common.recorddict_compat import fitins_to_recorddict

    return fitins_to_recorddict(instructions, keep_input=True)


@contextmanager
def servers_run_by(run: Callable[..., Any]) -> Iterator[None]:
    """Have Flower call a function in the place of letting a server of the old interface run."""
    from flwr.server.compat import app

    compat: Any = app
    own, compat.run_fl = compat.run_fl, run
    try:
        yield
    finally:
        compat.run_fl = own


def start_grid(grid: Grid, context: Any) -> Any:
    """Let a server of the old interface run the strategy of a `LegacyContext`; return its history."""
    from flwr.server.compat import app

    return app.start_grid(
        grid=grid, config=context.config, strategy=context.strategy, client_manager=context.client_manager
    )
