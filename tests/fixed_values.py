# SPDX-License-Identifier: Apache-2.0
"""Other values of constants, for tests that can't wait for the fixed ones: in this process, or in one of its own."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def other_values(values: dict[str, Any]) -> Iterator[None]:
    """Give constants other values for a while.

    Args:
        values: By module and name, such as `server.api.limits.PATIENCE`.
    """
    before = {place: _exchange(place, value) for place, value in values.items()}
    try:
        yield
    finally:
        for place, value in before.items():
            _exchange(place, value)


def command(values: dict[str, Any]) -> list[str]:
    """Return the start of a command line that is `folkmoot` with other values."""
    return [sys.executable, __file__, json.dumps(values)]


def _exchange(place: str, value: Any) -> Any:
    name, _, constant = place.rpartition(".")
    module = importlib.import_module(name)
    before = getattr(module, constant)
    setattr(module, constant, value)
    return before


if __name__ == "__main__":
    from folkmoot.cli.main import main

    with other_values(json.loads(sys.argv.pop(1))):
        main()
