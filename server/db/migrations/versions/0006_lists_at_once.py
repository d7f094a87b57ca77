# SPDX-License-Identifier: Apache-2.0
"""Indices with which a page of a list is read at once, whatever the length of the history."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_INDICES = (
    ("updates", "ix_updates_round", None, ["round", "dropped"]),
    (
        "transactions",
        "ix_transactions_round",
        ["round", "gas_used"],
        ["round", "gas_used", "purpose", "hash"],
    ),
    ("chain_events", "ix_chain_events_name_account", ["name", "account"], ["name", "account", "subject"]),
)
"""Table, index, its columns before (None: it is new) and after."""


def upgrade() -> None:
    """Change the schema."""
    for table, index, before, after in _INDICES:
        with op.batch_alter_table(table, schema=None) as batch_op:
            if before is not None:
                batch_op.drop_index(index)
            batch_op.create_index(index, after, unique=False)


def downgrade() -> None:
    """Change it back."""
    for table, index, before, _ in reversed(_INDICES):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_index(index)
            if before is not None:
                batch_op.create_index(index, before, unique=False)
