# SPDX-License-Identifier: Apache-2.0
"""A schema that follows this release's: what a migration to it must survive is tested with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table and a column, and make a table anew that others refer to, as SQLite must."""
    op.create_table("next", sa.Column("id", sa.Integer(), nullable=False), sa.PrimaryKeyConstraint("id"))
    with op.batch_alter_table("rounds", schema=None, recreate="auto") as batch_op:
        batch_op.add_column(sa.Column("next", sa.Integer(), nullable=False, server_default="3"))
        batch_op.alter_column("recomputed", new_column_name="computed")
    op.execute("UPDATE rounds SET next = 4")


def downgrade() -> None:
    """Change it back."""
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.alter_column("computed", new_column_name="recomputed")
        batch_op.drop_column("next")
    op.drop_table("next")
