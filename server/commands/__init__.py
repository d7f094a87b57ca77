# SPDX-License-Identifier: Apache-2.0
"""The commands of the coordinator and of the one who trains, by name, for the entry point `folkmoot.commands`.

Imports no command: each is loaded when it is called.
"""

from __future__ import annotations

from folkmoot.cli.loading import CommandTable, Panel


def register(table: CommandTable) -> None:
    """Add the coordinator's commands."""
    table.add_group(Panel.OPERATE, "server.commands.main", "coordinator")
    table.add_group(Panel.OPERATE, "server.commands.superlink", "superlink")
    table.add(Panel.OPERATE, "server.commands.train", "train")
