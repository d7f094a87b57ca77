# SPDX-License-Identifier: Apache-2.0
"""Numbers of a report: round, write and read them (docs/protocol.md section 11.1).

This module does not depend on the meaning of the numbers.
"""

from __future__ import annotations

import math
import re
import sys
from fractions import Fraction
from typing import Any

DIGITS = 6
"""Number of decimals of the non-integer numbers of a report."""

MAX_TEXT = 200
"""Maximum length in characters of a name in a report."""

_DECIMAL = re.compile(r"-?[1-9][0-9]{0,99}|0")


def rounded(value: Fraction | float) -> float | None:
    """Return a number as in a report: rounded to DIGITS decimals, as the nearest binary64; None if not finite."""
    number = float(value)
    if not math.isfinite(number):
        return None
    return round(number, DIGITS) + 0.0  # No negative zero.


def read_text(value: Any) -> str:
    """Read a name.

    Raises:
        ValueError: The value is not a text, or is too long.
    """
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"{value!r} is not a text of at most {MAX_TEXT} characters")
    return value


def read_count(value: Any, least: int = 0) -> int:
    """Read a count.

    Raises:
        ValueError: The value is not an integer from ``least`` to 2^53 - 1.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**53:
        raise ValueError(f"{value!r} is not a count")
    return value


def read_sum(value: Any) -> int:
    """Read an exact sum, a decimal text of at most 100 digits.

    Raises:
        ValueError: The value is not such a text.
    """
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise ValueError(f"{value!r} is not an integer as a decimal text")
    return int(value)


def read_metric(value: Any) -> float | None:
    """Read one of a task's own metrics.

    Raises:
        ValueError: The value is not a finite number with at most DIGITS decimals.
    """
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number")
    if abs(value) > sys.float_info.max or math.isnan(value):  # `math.isfinite` fails on larger integers.
        raise ValueError("a metric is not a finite number")
    if rounded(value) != value:
        raise ValueError(f"{value!r} has more than {DIGITS} decimals")
    return float(value)
