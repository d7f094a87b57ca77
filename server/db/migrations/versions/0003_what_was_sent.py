# SPDX-License-Identifier: Apache-2.0
"""Every signed form of a transaction: one with higher fees replaces another, and either may be mined."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema. What was signed before keeps its one form."""
    op.create_table(
        "sent_transactions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=66), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["transaction_id"],
            ["transactions.id"],
            name=op.f("fk_sent_transactions_transaction_id_transactions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sent_transactions")),
        sa.UniqueConstraint("hash", name=op.f("uq_sent_transactions_hash")),
    )
    with op.batch_alter_table("sent_transactions", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_sent_transactions_transaction_id"), ["transaction_id"], unique=False
        )
    op.execute(
        "INSERT INTO sent_transactions (transaction_id, nonce, hash, raw, block_number, block_time) "
        "SELECT id, nonce, hash, raw, 0, 0 FROM transactions WHERE raw IS NOT NULL ORDER BY id"
    )


def downgrade() -> None:
    """Change it back. A row keeps the form that it had last."""
    op.drop_table("sent_transactions")
