# SPDX-License-Identifier: Apache-2.0
"""The `start` of strategies is replaced while an app runs, of those too that it defines meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar, get_args

from flwr.serverapp.strategy import FedAvg, Strategy

from folkmoot.flower.relay.starts import starts_replaced

T = TypeVar("T")


def marked(own: Callable[..., Any]) -> Callable[..., Any]:
    def start(*_: Any) -> Any:
        return "replaced", own

    return start


def test_each_start_is_replaced_once_and_comes_back() -> None:
    class Own(FedAvg):
        def start(self, *_: Any, **__: Any) -> Any:
            return "own"

    class Same(Own):
        start = Own.start

    before = Strategy.start, vars(Own)["start"]
    with suppress(RuntimeError), starts_replaced(marked):

        class Later(Own, Generic[T]):
            def start(self, *_: Any, **__: Any) -> Any:
                return "later"

        assert FedAvg.start is Strategy.start
        assert vars(Same)["start"] is not before[1]
        for kind in (Own, Later):
            made, own = kind().start()
            assert (made, own(None)) == ("replaced", "own" if kind is Own else "later")
        assert get_args(Later[int]) == (int,), "other classes hear of a subclass as well"
        raise RuntimeError
    assert (Strategy.start, vars(Own)["start"]) == before
    assert vars(Same)["start"] is before[1]
    assert (Own().start(), Later().start()) == ("own", "later")
    assert "__init_subclass__" not in vars(Strategy)
