# SPDX-License-Identifier: Apache-2.0
"""Files that are deleted by rule: why, and whether the store has done it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("deleted", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("gone", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Change it back."""
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.drop_column("gone")
        batch_op.drop_column("deleted")
