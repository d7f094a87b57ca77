# SPDX-License-Identifier: Apache-2.0
"""Names of the contributor's commands, for the entry point `folkmoot.commands`."""

from __future__ import annotations

from folkmoot.cli.loading import CommandTable, Panel


def register(table: CommandTable) -> None:
    """Add the contributor's commands."""
    table.add(Panel.CONTRIBUTE, "client.cli", "join", "submit")
    table.add(Panel.CONTRIBUTE, "client.deletion_cli", "forget")
    table.add_group(Panel.CONTRIBUTE, "client.signer_cli", "signer")
    table.add_group(Panel.CONTRIBUTE, "client.task_cli", "task")
    table.add(Panel.CHECK, "client.cli", "canary")
    table.add_group(Panel.CHECK, "client.privacy_cli", "privacy")
    table.add(Panel.LOCAL, "client.drill_cli", "drill")
    # Started by `folkmoot run --simulation`.
    table.add_hidden(Panel.LOCAL, "client.signers_cli", "signers")
