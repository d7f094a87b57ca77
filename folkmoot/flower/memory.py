# SPDX-License-Identifier: Apache-2.0
"""What training keeps from round to round, as Flower's ``context.state``.

This module is part of the app bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from folkmoot.errors import TaskError

_ARRAYS, _VALUES = "memory.arrays", "memory.values"
"""Names of the records with a task's memory in the state."""


class StateMemory(MutableMapping[str, Any]):
    """A task's memory (`folkmoot.tasks.memory`), whose values are in two records of a Flower state.

    An array is decoded when it is read. Values that can't be kept are refused when they are assigned.

    Args:
        state: The ``context.state`` of the train message. The memory's records appear with the first value.
    """

    def __init__(self, state: RecordDict) -> None:
        self._state = state

    @property
    def _arrays(self) -> ArrayRecord:
        return self._state.array_records.get(_ARRAYS) or ArrayRecord()

    @property
    def _values(self) -> ConfigRecord:
        return self._state.config_records.get(_VALUES) or ConfigRecord()

    def __getitem__(self, name: str) -> Any:
        arrays = self._arrays
        return arrays[name].numpy() if name in arrays else self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, np.generic):
            value = value.item()
        arrays, values = self._arrays, self._values
        try:
            if hasattr(value, "__array__"):
                arrays[name] = Array(_plain(value))
                values.pop(name, None)
            else:
                values[name] = value
                arrays.pop(name, None)
        except (TypeError, ValueError) as error:
            raise TaskError(
                f"The task's memory can't keep {name!r}, an object of the type {type(value).__name__}: {error}",
                remedy="Keep arrays of numbers, tensors, int, float, bool, str or bytes, or lists of one of them.",
                code="wrong-memory",
            ) from error
        self._state[_ARRAYS], self._state[_VALUES] = arrays, values

    def __delitem__(self, name: str) -> None:
        record: Any = self._arrays if name in self._arrays else self._values
        del record[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._arrays
        yield from self._values

    def __len__(self) -> int:
        return len(self._arrays) + len(self._values)


def _plain(value: Any) -> Any:
    """Return an array, or the values of a tensor as one."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
