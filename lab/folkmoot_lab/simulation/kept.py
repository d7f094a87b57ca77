# SPDX-License-Identifier: Apache-2.0
"""Results of a long series, kept in a file of one JSON object a line as they come.

An interrupted series goes on where it was. The last line may have been cut off; its result is computed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from folkmoot.errors import InputError

T = TypeVar("T")


def read(path: Path, take: Callable[[Any], T], code: str = "not-results") -> list[T]:
    """Read what a file has so far; nothing if it is not there. A damaged last line is left out.

    Args:
        path: The file.
        take: Returns a result from the value of a line.
        code: Code of the error.

    Raises:
        InputError: Another line can't be read.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(take(json.loads(line)))
        except (ValueError, KeyError, TypeError, InputError) as error:
            if number == len(lines):
                break
            raise InputError(
                f"Line {number} of {path} is not one of these results: {error}.",
                remedy="Name another file.",
                code=code,
            ) from error
    return found


def prepare(path: Path) -> None:
    """Make the file's folder, and remove the end of a file that was cut off in the middle of a line.

    Raises:
        InputError: The file can't be written.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes() if path.exists() else b""
        if data and not data.endswith(b"\n"):
            path.write_bytes(data[: data.rfind(b"\n") + 1])


def add(path: Path, value: Mapping[str, Any]) -> None:
    """Add a result to a file that was prepared.

    Raises:
        InputError: The file can't be written.
    """
    with _writing(path), path.open("a", encoding="utf-8") as file:
        file.write(_line(value))


def write(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Write a whole file.

    Raises:
        InputError: The file can't be written.
    """
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".new")
        whole.write_text("".join(map(_line, values)), encoding="utf-8")
        whole.replace(path)


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"The file {path} can't be written: {error.strerror}.",
            remedy="Check that its folder can be written and the disk has room, or name another file.",
        ) from error
