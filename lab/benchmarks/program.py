# SPDX-License-Identifier: Apache-2.0
"""Run the main function of a benchmark whose results are kept in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable

from folkmoot.errors import FolkmootError


def run(work: Callable[[], None]) -> None:
    """Run a main function. An expected failure, or Ctrl-C, ends the process with a message and the exit status 1."""
    try:
        work()
    except FolkmootError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Interrupted. What was measured is kept. The same command goes on where it was.")
