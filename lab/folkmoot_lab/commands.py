# SPDX-License-Identifier: Apache-2.0
"""Names of the laboratory's commands, for the entry point `folkmoot.commands`."""

from __future__ import annotations

from folkmoot.cli.loading import CommandTable


def register(table: CommandTable) -> None:
    """Add the laboratory's commands."""
    table.add("folkmoot_lab.stories.cli", "demo")
    table.add("folkmoot_lab.drills.cli", "drill")
    table.add("folkmoot_lab.economics.cli", "economics")
    table.add_group("folkmoot_lab.leaks.cli", "privacy")
