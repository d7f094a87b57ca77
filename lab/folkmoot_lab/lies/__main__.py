# SPDX-License-Identifier: Apache-2.0
"""`python -m folkmoot_lab.lies KIND@ROUND ...` is `folkmoot coordinator ...` with a coordinator that lies.

Somebody who lies changes their own copy of the program. Here the function that puts a coordinator together is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eth_account.signers.local import LocalAccount

from folkmoot.cli import main, output
from folkmoot.errors import FolkmootError
from folkmoot_lab.lies import Lie
from folkmoot_lab.lies.coordinator import LyingCoordinator
from server import coordinator
from server.settings import Settings


def run(words: Sequence[str]) -> int:
    """Run a command line and return its exit status."""
    try:
        lie = Lie.parse(words[0] if words else "")
    except FolkmootError as error:
        output.fail(error, "--json" in words)
        return 1
    honest = coordinator.connect

    def connect(settings: Settings, account: LocalAccount) -> coordinator.Coordinator:
        return LyingCoordinator.of(honest(settings, account), lie)

    coordinator.connect = connect
    return main.run(["coordinator", *words[1:]])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
