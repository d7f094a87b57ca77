# SPDX-License-Identifier: Apache-2.0
"""Names of the contributor's commands, for the entry point `folkmoot.commands`."""

from __future__ import annotations

from folkmoot.cli.loading import CommandTable


def register(table: CommandTable) -> None:
    """Add the contributor's commands."""
    table.add("client.cli.join", "join", "submit")
    table.add("client.cli.deletion", "forget")
    table.add("client.cli.measure", "measure")
    table.add_group("client.cli.signer", "signer")
    table.add_group("client.cli.task", "task")
