# SPDX-License-Identifier: Apache-2.0
"""Lists by page: `?limit=50&cursor=...` -> `{"items": [...], "nextCursor": ...}`.

A cursor is the key after which the next page begins. It means something only to the list that gave it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from server.api.problems import Problem

MAX_LIMIT = 200
MAX_KEY = 2**63 - 1
"""Largest key that is a number of a row."""
T = TypeVar("T")
_KEY = re.compile("[0-9a-f]{1,64}")


class Window:
    """Which part of a list is asked for.

    Args:
        limit: Most items of it.
        cursor: Where it begins; at the first item if there is none.
    """

    def __init__(self, limit: int, cursor: str | None = None) -> None:
        self.limit = limit
        self._cursor = cursor

    def key(self, most: int = MAX_KEY) -> int | None:
        """The key after which it begins.

        Raises:
            Problem: The cursor is none of this list.
        """
        return None if self._cursor is None else decode(self._cursor, most)

    @property
    def start(self) -> int:
        """The place at which it begins, in a list whose keys are places."""
        key = self.key(MAX_KEY - 1)  # a database takes no larger place
        return 0 if key is None else key + 1

    def of(self, items: Sequence[T]) -> tuple[list[T], str | None]:
        """The part of a list that is in memory, whose keys are the places in it."""
        start = self.start
        part = list(items[start : start + self.limit])
        more = start + len(part) < len(items)
        return part, encode(start + len(part) - 1) if more and part else None


def encode(key: int) -> str:
    """A cursor."""
    return base64.urlsafe_b64encode(f"{key:x}".encode()).decode().rstrip("=")


def decode(cursor: str, most: int = MAX_KEY) -> int:
    """The key of a cursor.

    Args:
        most: Largest key of the list.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        if not _KEY.fullmatch(text) or int(text, 16) > most:
            raise ValueError(text)
    except ValueError as exc:
        raise Problem("invalid-cursor", f"The cursor {cursor!r} is not one that this list gave.") from exc
    return int(text, 16)


def _window(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items of a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=64, description="nextCursor of the page before.")] = None,
) -> Window:
    return Window(limit, cursor)


PageWindow = Annotated[Window, Depends(_window)]
