# SPDX-License-Identifier: Apache-2.0
"""The cases of one function of the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.cases.library import outcome
from tools.cases.values import Values, text

Case = dict[str, Any]


class Group:
    """The cases of one function."""

    def __init__(self, name: str, section: str, about: str) -> None:
        self.name, self.section, self.about = name, section, about
        self.common: Values = {}
        self.tests: list[Case] = []

    def add(self, comment: str, given: Values, flags: Sequence[str] = (), **more: Any) -> None:
        """Add a case; the library says whether it is valid. ``more`` are intermediate values."""
        given = text(given)
        result, values = outcome(self.name, {**self.common, **given})
        for name in set(more) & set(values):
            if text(more[name]) != values[name]:
                raise SystemExit(
                    f"{self.name}, {comment}: the formula gives {name} = {more[name]}, not {values[name]}."
                )
        expected = {**text(more), **values}
        self.tests.append(
            {"comment": comment, "flags": list(flags), "input": given, "expected": expected, "result": result}
        )

    def invalid(self, comment: str, given: Values, flags: Sequence[str] = ()) -> None:
        """Add a case that must be refused."""
        self.add(comment, given, flags)
        if self.tests[-1]["result"] != "invalid":
            raise SystemExit(f"{self.name}, {comment}: the library does not refuse it.")

    def valid(self, comment: str, given: Values, flags: Sequence[str] = (), **more: Any) -> None:
        """Add a case that must be accepted."""
        self.add(comment, given, flags, **more)
        if self.tests[-1]["result"] != "valid":
            raise SystemExit(f"{self.name}, {comment}: the library refuses it: {self.tests[-1]['expected']}.")
