# SPDX-License-Identifier: Apache-2.0
"""How long a run tries again while its rounds are cancelled, and when it opens the next one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("patience", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("cancelled_since", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("next_round_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Change it back."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_column("next_round_at")
        batch_op.drop_column("cancelled_since")
        batch_op.drop_column("patience")
