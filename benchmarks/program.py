# SPDX-License-Identifier: Apache-2.0
"""How a benchmark ends that keeps what it measured."""

from __future__ import annotations

import sys
from collections.abc import Callable

from folkmoot.errors import FolkmootError


def run(work: Callable[[], None]) -> None:
    """Do the work. After an expected failure or Ctrl-C the process ends with a text and the exit status 1."""
    try:
        work()
    except FolkmootError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Interrupted. What was measured is kept. The same command goes on where it was.")
