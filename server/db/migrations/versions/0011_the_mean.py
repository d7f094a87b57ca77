# SPDX-License-Identifier: Apache-2.0
"""A round has a mean file in the place of the aggregate file."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.alter_column("aggregate_sha256", new_column_name="mean_sha256")


def downgrade() -> None:
    """Change it back."""
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.alter_column("mean_sha256", new_column_name="aggregate_sha256")
