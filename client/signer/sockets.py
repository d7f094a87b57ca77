# SPDX-License-Identifier: Apache-2.0
"""A Unix socket that a process of the node listens on, in the node's folder. Knows nothing of what is said there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from folkmoot.errors import LocalError

LONGEST_PATH = 100
"""Length in bytes of the longest socket path that all systems support."""

REQUEST_SECONDS = 10.0
"""Seconds for one line of a request or an answer."""


def listening(
    path: Path, stack: contextlib.ExitStack, *, code: str, mode: int = 0o600, group: str | None = None
) -> socket.socket:
    """Listen on a Unix socket. A long path becomes a link to a socket in a temporary folder.

    Args:
        path: Path of the socket.
        stack: Removes the temporary folder.
        code: Code of the error if the path is taken.
        mode: Permissions of the socket.
        group: Group that the socket belongs to; None for the user's own.

    Raises:
        LocalError: The path exists and is not a socket.
    """
    if path.exists() and not (path.is_socket() or path.is_symlink()):
        raise LocalError(
            f"{path} exists and is not a socket.",
            remedy="Nothing was changed. Give a path that does not exist yet with --socket.",
            code=code,
        )
    path.unlink(missing_ok=True)
    if len(os.fsencode(path)) > LONGEST_PATH:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="folkmoot-"))
        path.symlink_to(Path(folder, "socket"))
        path = Path(folder, "socket")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        server.bind(str(path))
        if group is not None:
            shutil.chown(path, group=group)
        path.chmod(mode)
    except (OSError, LookupError):
        server.close()
        raise
    finally:
        os.umask(before)
    server.listen(64)
    return server


def send(connection: socket.socket, answer: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send an answer as one line of JSON, and open files with it.

    Raises:
        OSError: The other side has gone, or does not read.
    """
    connection.settimeout(REQUEST_SECONDS)
    line = json.dumps(answer).encode() + b"\n"
    if descriptors:
        line = line[socket.send_fds(connection, [line], list(descriptors)) :]
    connection.sendall(line)
