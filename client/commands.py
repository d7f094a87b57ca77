# SPDX-License-Identifier: Apache-2.0
"""Names of the contributor's commands, for the entry point `folkmoot.commands`."""

from __future__ import annotations

from folkmoot.cli.loading import CommandTable


def register(table: CommandTable) -> None:
    """Add the contributor's commands."""
    table.add("client.cli", "join", "submit")
    table.add("client.deletion_cli", "forget")
    table.add_group("client.signer_cli", "signer")
    table.add_group("client.task_cli", "task")
    table.add("client.cli", "canary")
    # Started by `folkmoot run --simulation`.
    table.add_hidden("client.signers_cli", "signers")
