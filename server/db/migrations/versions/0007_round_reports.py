# SPDX-License-Identifier: Apache-2.0
"""What the operator reports of the nodes of a round."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    op.create_table(
        "round_reports",
        sa.Column("round", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["round"], ["rounds.number"], name=op.f("fk_round_reports_round_rounds")),
        sa.PrimaryKeyConstraint("round", name=op.f("pk_round_reports")),
    )


def downgrade() -> None:
    """Change it back."""
    op.drop_table("round_reports")
