# SPDX-License-Identifier: Apache-2.0
"""Lists by page: `?limit=50&cursor=...` -> `{"items": [...], "nextCursor": ...}`.

A cursor is the key after which the next page begins. It means something only to the list that gave it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from server.api.problems import Problem

MAX_LIMIT = 200
MAX_KEY = 2**63 - 1
T = TypeVar("T")


class Window:
    """Which part of a list is asked for."""

    def __init__(self, limit: int, after: int | None) -> None:
        self.limit = limit
        self.after = after

    def of(self, items: Sequence[T]) -> tuple[list[T], str | None]:
        """The part of a list that is in memory, whose keys are the places in it."""
        start = 0 if self.after is None else self.after + 1
        part = list(items[start : start + self.limit])
        more = start + len(part) < len(items)
        return part, encode(start + len(part) - 1) if more and part else None


def encode(key: int) -> str:
    """A cursor."""
    return base64.urlsafe_b64encode(str(key).encode()).decode().rstrip("=")


def decode(cursor: str) -> int:
    """The key of a cursor.

    Raises:
        Problem: It is none of ours.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        if not text.isdecimal() or int(text) > MAX_KEY:
            raise ValueError(text)
    except ValueError as exc:
        raise Problem(
            422, "invalid-cursor", f"The cursor {cursor!r} is not one that this list gave."
        ) from exc
    return int(text)


def _window(
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Most items of a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=64, description="nextCursor of the page before.")] = None,
) -> Window:
    return Window(limit, None if cursor is None else decode(cursor))


PageWindow = Annotated[Window, Depends(_window)]
