# SPDX-License-Identifier: Apache-2.0
"""The pay of each entry."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    with op.batch_alter_table("entries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pay", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Change it back."""
    with op.batch_alter_table("entries", schema=None) as batch_op:
        batch_op.drop_column("pay")
