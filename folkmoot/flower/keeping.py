# SPDX-License-Identifier: Apache-2.0
"""Requests of the training code to the keeper of `folkmoot join`: for a round's base, a carried file, and a delivery.

The keeper has the node's connection to the coordinator and to mirrors (`client/keeper/keeper.py`, which is not part of
the app bundle; this module is). A request is one line of JSON on a Unix socket, the answer is one line: a refusal, or
what was asked for. The bytes of a base's theta or momentum follow the answer. With the answer for a carried file comes
a descriptor of the file, opened to be read: so the training code maps it, and needs no access to the keeper's folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.errors import FolkmootError
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.manifest import CarriedFile

BASE_TYPE = "Base"
"""Type of a request for the base of a round."""

MOMENTUM_TYPE = "Momentum"
"""Type of a request for the outer momentum of a round's base, which may be closed."""

CARRIED_TYPE = "Carried"
"""Type of a request for a carried file of the manifest. It has the file's sha256 instead of a round."""

DELIVER_TYPE = "Deliver"
"""Type of a request to deliver the signed update of a round, which is in the contributor's folder."""

NO_KEEPER = "no-keeper"
"""Code of the error that no keeper runs, so that the node has neither base nor delivery."""

MAX_LINE = 16_384
"""Maximum size in bytes of a request or an answer."""

_TIMEOUT = 6 * 3600.0
"""Timeout in seconds for an answer: a base takes long on a slow line. A keeper that ends closes its sockets."""


class KeeperError(FolkmootError):
    """The keeper can't be reached, or did not do what it was asked for."""

    default_code = "keeper"


def base_theta(path: Path, number: int, size: int) -> I64:
    """Request the weights of a round's base, int64[256 n]. They must be checked against the chain.

    Args:
        path: The keeper's socket, or a link to it.
        number: The round.
        size: Number of coordinates in the manifest.

    Raises:
        KeeperError: ``no-keeper`` if no keeper runs; or the keeper's own code.
    """
    return _vector(path, BASE_TYPE, number, size)


def base_momentum(path: Path, number: int, size: int) -> I64:
    """Request the outer momentum of a round's base, int64[256 n]. Arguments and errors are as for `base_theta`."""
    return _vector(path, MOMENTUM_TYPE, number, size)


def _vector(path: Path, kind: str, number: int, size: int) -> I64:
    values: I64 = np.empty(size, dtype="<i8")
    view = values.data.cast("B")
    with _asked(path, {"type": kind, "round": number}) as (answer, stream):
        if answer.get("size") != len(view):
            raise KeeperError(
                f"The keeper has a base of {answer.get('size')} bytes; the manifest needs {len(view)}.",
                remedy="Give `folkmoot join` the coordinator and the mirrors of this federation.",
            )
        while view:
            count = stream.readinto(view)
            if not count:
                raise _gone("the connection was closed early")
            view = view[count:]
    return values.astype(np.int64, copy=False)


def deliver(path: Path, number: int) -> None:
    """Let the keeper send the signed update of a round to the coordinator; return when the coordinator has accepted it.

    Raises:
        KeeperError: ``no-keeper`` if no keeper runs; the coordinator's code if it refused the update; or the keeper's.
    """
    with _asked(path, {"type": DELIVER_TYPE, "round": number}):
        pass


def carried_file(path: Path, entry: CarriedFile) -> NDArray[Any]:
    """Request the file of a carried array, and map it. The keeper has checked its hash.

    Args:
        path: The keeper's socket, or a link to it.
        entry: The array.

    Raises:
        KeeperError: ``no-keeper`` if no keeper runs; or the keeper's own code.
        ArtifactError: The file has another size than the array.
    """
    with _connected(path, {"type": CARRIED_TYPE, "file": entry.sha256}) as connection:
        line, descriptors, _, _ = socket.recv_fds(connection, MAX_LINE, 1)
        try:
            while line and not line.endswith(b"\n"):
                line += connection.recv(MAX_LINE) or b"\n"
            _parsed(line)
            if not descriptors:
                raise ValueError("it gave no file")
            return entry.mapped(descriptors[0])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


@contextlib.contextmanager
def _asked(path: Path, request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], BufferedReader]]:
    """Send a request; give the answer, and the stream behind it."""
    with _connected(path, request) as connection, connection.makefile("rb") as stream:
        yield _parsed(stream.readline(MAX_LINE)), stream


def _parsed(line: bytes) -> dict[str, Any]:
    """Return an answer.

    Raises:
        KeeperError: It is a refusal.
        ValueError: It can't be read.
    """
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("its answer is no object")
    if "error" in answer:
        raise KeeperError(
            str(answer["error"]),
            remedy=str(answer.get("remedy", "")),
            code=str(answer.get("code", "keeper")),
        )
    return answer


@contextlib.contextmanager
def _connected(path: Path, request: dict[str, Any]) -> Iterator[socket.socket]:
    """Send a request; give the connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT)
        try:
            # A long path does not fit into a socket address. The keeper then writes a link to a short path.
            connection.connect(str(path.resolve()))
        except OSError as error:
            raise KeeperError(
                f"No keeper answers at {path}: {error}.",
                remedy="Start the node with `folkmoot join`: its keeper gets the base, and delivers updates.",
                code=NO_KEEPER,
            ) from error
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            yield connection
        except (OSError, ValueError) as error:
            raise _gone(str(error)) from error


def _gone(why: str) -> KeeperError:
    return KeeperError(f"The keeper did not answer in full: {why}.", remedy="Start `folkmoot join` again.")
