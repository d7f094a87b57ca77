# SPDX-License-Identifier: Apache-2.0
"""Runs are known by what was signed, not by the text of a signature."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("digest", sa.String(length=66), nullable=True))
        batch_op.create_unique_constraint("uq_runs_digest", ["digest"])


def downgrade() -> None:
    """Change it back."""
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_constraint("uq_runs_digest", type_="unique")
        batch_op.drop_column("digest")
