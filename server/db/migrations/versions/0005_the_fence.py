# SPDX-License-Identifier: Apache-2.0
"""The fence: how often the database was taken over, so that whoever lost it unawares can't write any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    op.create_table(
        "fence",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fence")),
    )


def downgrade() -> None:
    """Change it back."""
    op.drop_table("fence")
