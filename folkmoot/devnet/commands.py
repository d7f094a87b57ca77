# SPDX-License-Identifier: Apache-2.0
"""Names of the commands of a local federation, for the entry point `folkmoot.commands`."""

from __future__ import annotations

from folkmoot.cli.loading import CommandTable


def register(table: CommandTable) -> None:
    """Add the commands of a local federation."""
    table.add("folkmoot.devnet.cli", "up", "run", "chain")
