# SPDX-License-Identifier: Apache-2.0
"""Replace the `start` of Flower's strategies while the ServerApp of an app runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flwr.serverapp.strategy import Strategy

Start = Callable[..., Any]


@contextmanager
def starts_replaced(replacement: Callable[[Start], Start]) -> Iterator[None]:
    """Replace the `start` of `Strategy` and of each subclass that has its own, also of those defined later.

    Args:
        replacement: Returns what stands in the place of a `start`.
    """
    strategy: Any = Strategy  # Flower gives no way to replace a method of its classes.
    caught: list[tuple[Any, Start]] = []
    made: list[Start] = []

    def catch(kind: Any) -> None:
        own = vars(kind).get("start")
        if own is not None and own not in made:
            caught.append((kind, own))
            kind.start = replacement(own)
            made.append(kind.start)

    def catch_later(kind: Any, /, **options: Any) -> None:
        super(strategy, kind).__init_subclass__(**options)
        catch(kind)

    for kind in _with_subclasses(strategy):
        catch(kind)
    strategy.__init_subclass__ = classmethod(catch_later)
    try:
        yield
    finally:
        del strategy.__init_subclass__
        for kind, own in caught:
            kind.start = own


def _with_subclasses(kind: Any) -> Iterator[Any]:
    yield kind
    for below in kind.__subclasses__():
        yield from _with_subclasses(below)
