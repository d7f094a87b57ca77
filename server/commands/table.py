# SPDX-License-Identifier: Apache-2.0
"""Names of the coordinator's commands, for the entry point `folkmoot.commands`."""

from __future__ import annotations

from folkmoot.cli.loading import CommandTable


def register(table: CommandTable) -> None:
    """Add the coordinator's commands."""
    table.add_group("server.commands.main", "coordinator")
    table.add("server.commands.superlink", "superlink")
    table.add("server.commands.train", "train")
