# SPDX-License-Identifier: Apache-2.0
"""What the canary said of a round."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.add_column(sa.Column("canary", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Change it back."""
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_column("canary")
