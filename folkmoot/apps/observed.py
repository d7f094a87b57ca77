# SPDX-License-Identifier: Apache-2.0
"""Observe what an app's code reaches on this machine during one training, to say what the sandbox of `join` refuses.

It sees what goes through Python: reads of `os.environ` in the app's own code, opened files, connections, and processes
of `multiprocessing`, whose semaphores need a folder that the sandbox has not. A library's own C code may open more:
`folkmoot run --sandbox` shows it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

import folkmoot
from folkmoot.sandbox.rules import DEVICES, SYSTEM, VARIABLES, gpu_devices, python_paths, real

SHOWN = 3
"""Most things of one kind that are named."""

ENVIRONMENT, READ, WRITTEN, HOSTS, PROCESSES = "environment", "read", "written", "hosts", "processes"
"""Kinds of what is reached."""

_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")  # noqa: S104  no address to listen on
_SET_ANYWAY = frozenset({"HOME", "TMPDIR"})
_WRITES = {"os.mkdir": 0, "os.remove": 0, "os.rename": 1, "os.rmdir": 0}
"""Audit events that change a folder, with the place of the changed path among their arguments."""


class Observer:
    """Observes this process until it ends: an audit hook can't be removed.

    Args:
        app: Folder of the app.
        scratch: Folder of Folkmoot's own files of this step.
    """

    def __init__(self, app: Path, scratch: Path) -> None:
        self._app = str(app)
        root = Path(folkmoot.__file__).parent.parent
        self._allowed = tuple(
            str(path)
            for path in real(
                [
                    *(
                        app,
                        scratch,
                        root / "folkmoot",
                        root / "client",
                        root / "server",
                    ),
                    *(*SYSTEM, *DEVICES, *gpu_devices(), *python_paths(), "/proc", "/sys"),
                ]
            )
        )
        self._temporary, self._began = os.path.realpath(tempfile.gettempdir()), time.time()
        self._listing: set[int] = set()
        self.reached: dict[str, set[str]] = {
            kind: set() for kind in (ENVIRONMENT, READ, WRITTEN, HOSTS, PROCESSES)
        }
        self._wrap(type(os.environ), "__getitem__", self._variable)
        self._wrap(type(os.environ), "__iter__", self._variables)
        self._wrap(BaseProcess, "start", lambda *_: self.reached[PROCESSES].add("worker processes"))
        sys.addaudithook(self._event)

    def reached_by_kind(self) -> dict[str, list[str]]:
        """Return what was reached, in JSON types: by kind, without what `join` allows to every app."""
        return {kind: sorted(things) for kind, things in self.reached.items() if things}

    def _wrap(self, owner: Any, name: str, before: Any) -> None:
        original = getattr(owner, name)

        def wrapper(this: Any, *arguments: Any) -> Any:
            before(sys._getframe(1), *arguments)
            return original(this, *arguments)

        setattr(owner, name, wrapper)

    def _variables(self, frame: FrameType) -> None:
        # All variables are copied, for example for a child: that is no need of one of them.
        self._listing.add(id(_caller(frame)))

    def _variable(self, frame: FrameType, name: Any) -> None:
        asking = _caller(frame)
        if (
            asking is None
            or id(asking) in self._listing
            or not asking.f_code.co_filename.startswith(self._app)
        ):
            return
        if str(name) not in VARIABLES | _SET_ANYWAY and os.environ.encodekey(name) in os.environ._data:  # type: ignore[attr-defined]
            self.reached[ENVIRONMENT].add(str(name))

    def _event(self, event: str, arguments: tuple[Any, ...]) -> None:
        # What goes wrong here must not change what the app does.
        with contextlib.suppress(Exception):
            if event == "open":
                path, _, flags = arguments
                self._path(path, writes=bool(int(flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
            elif event in ("os.listdir", "os.scandir"):
                self._path(arguments[0] or ".", writes=False)
            elif event in _WRITES and not (event == "os.mkdir" and Path(arguments[0]).exists()):
                self._path(arguments[_WRITES[event]], writes=True)
            elif event == "socket.getaddrinfo":
                self._host(arguments[0])
            elif event == "socket.connect" and isinstance(arguments[1], tuple):
                self._host(arguments[1][0])

    def _path(self, path: Any, *, writes: bool) -> None:
        if isinstance(path, int):
            return
        whole = os.path.realpath(os.fsdecode(path))
        if any(whole == one or whole.startswith(f"{one}{os.sep}") for one in self._allowed):
            return
        place = Path(whole)
        if place.is_relative_to(self._temporary) and (writes or place.stat().st_mtime >= self._began):
            return  # The sandbox has a temporary folder of its own.
        if writes:
            self.reached[WRITTEN].add(str(place.parent))
        elif place.exists():
            self.reached[READ].add(whole)

    def _host(self, host: Any) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
        if not name.startswith(_LOCAL):
            self.reached[HOSTS].add(name)


def _caller(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame outside of Python's own `os`."""
    while frame is not None and frame.f_code.co_filename.startswith(("<frozen ", os.__file__)):
        frame = frame.f_back
    return frame


def refused(reached: Mapping[str, Sequence[str]]) -> str:
    """Return one line on what `join` refuses, with the options that allow it; empty if there is nothing."""
    parts = list(_parts(reached))
    if not parts:
        return ""
    return (
        f"On other machines `join` runs this code in a sandbox, which refuses {'; '.join(parts)}. "
        "`folkmoot run --sandbox` tries it."
    )


def _parts(reached: Mapping[str, Sequence[str]]) -> Iterator[str]:
    if names := reached.get(ENVIRONMENT):
        yield f"the variable{'s' * (len(names) > 1)} {_options('--pass-env', names)}"
    if read := _folders(reached.get(READ, ())):
        yield f"to read {_options('--data', read)}"
    if written := _folders(reached.get(WRITTEN, ())):
        yield f"to write to {_options('--writable', written)}"
    if hosts := reached.get(HOSTS):
        yield f"connections to {_listed(hosts)} (no option: download the data before, and give them by --data)"
    if reached.get(PROCESSES):
        yield "worker processes of multiprocessing (no option: for a DataLoader, set num_workers to 0)"


def _options(option: str, values: Sequence[str]) -> str:
    return f"{_listed(values)} (allowed by {option})"


def _listed(values: Sequence[str]) -> str:
    more = len(values) - SHOWN
    return ", ".join(values[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _folders(paths: Sequence[str]) -> list[str]:
    """Return paths without those inside of others; many files of one folder become the folder."""
    parents = [str(Path(path).parent) for path in paths]
    left = {
        parent if parents.count(parent) > SHOWN else path for path, parent in zip(paths, parents, strict=True)
    }
    return sorted(path for path in left if not any(path.startswith(f"{one}{os.sep}") for one in left))
