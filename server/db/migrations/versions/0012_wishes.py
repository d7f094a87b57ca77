# SPDX-License-Identifier: Apache-2.0
"""Wishes of contributors to delete their update files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    op.create_table(
        "wishes",
        sa.Column("contributor", sa.String(length=42), nullable=False),
        sa.Column("last_round", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("contributor", name=op.f("pk_wishes")),
    )


def downgrade() -> None:
    """Change it back."""
    op.drop_table("wishes")
