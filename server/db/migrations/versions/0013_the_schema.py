# SPDX-License-Identifier: Apache-2.0
"""The schema. It has the number of the last of the thirteen revisions that led to it before anybody used one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the schema."""
    op.create_table(
        "accounts",
        sa.Column("address", sa.String(length=42), nullable=False),
        sa.Column("staked", sa.Boolean(), nullable=False),
        sa.Column("rewards", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_accounts")),
    )
    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("keccak", sa.String(length=64), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=True),
        sa.Column("public_from", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.String(length=16), nullable=True),
        sa.Column("gone", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_artifacts")),
    )
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_artifacts_keccak"), ["keccak"], unique=False)
        batch_op.create_index("ix_artifacts_round", ["round", "kind"], unique=False)

    op.create_table(
        "chain_blocks",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.String(length=66), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_chain_blocks")),
    )
    op.create_table(
        "chain_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.String(length=66), nullable=False),
        sa.Column("log_index", sa.Integer(), nullable=False),
        sa.Column("transaction_hash", sa.String(length=66), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("account", sa.String(length=42), server_default="", nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chain_events")),
        sa.UniqueConstraint("block_number", "log_index", name=op.f("uq_chain_events_block_number_log_index")),
    )
    with op.batch_alter_table("chain_events", schema=None) as batch_op:
        batch_op.create_index("ix_chain_events_name_account", ["name", "account", "subject"], unique=False)
        batch_op.create_index("ix_chain_events_name_id", ["name", "id"], unique=False)
        batch_op.create_index("ix_chain_events_name_subject", ["name", "subject"], unique=False)

    op.create_table(
        "event_log",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=160), nullable=True),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_log")),
        sa.UniqueConstraint("key", name=op.f("uq_event_log_key")),
    )
    op.create_table(
        "fence",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fence")),
    )
    op.create_table(
        "refusals",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("contributor", sa.String(length=42), nullable=False),
        sa.Column("authenticated", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusals")),
    )
    with op.batch_alter_table("refusals", schema=None) as batch_op:
        batch_op.create_index("ix_refusals_contributor", ["contributor", "authenticated"], unique=False)
        batch_op.create_index(batch_op.f("ix_refusals_reason"), ["reason"], unique=False)
        batch_op.create_index("ix_refusals_round_contributor", ["round", "contributor"], unique=False)

    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rounds", sa.Integer(), nullable=False),
        sa.Column("completed", sa.Integer(), nullable=False),
        sa.Column("expect", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.Column("patience", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cancelled_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_round_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=66), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("digest", name=op.f("uq_runs_digest")),
        sa.UniqueConstraint("signature", name=op.f("uq_runs_signature")),
    )
    op.create_table(
        "transactions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("purpose", sa.String(length=96), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("to", sa.String(length=42), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("hash", sa.String(length=66), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("block_number", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.String(length=66), nullable=True),
        sa.Column("gas_used", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transactions")),
        sa.UniqueConstraint("purpose", name=op.f("uq_transactions_purpose")),
    )
    with op.batch_alter_table("transactions", schema=None) as batch_op:
        batch_op.create_index("ix_transactions_round", ["round", "gas_used", "purpose", "hash"], unique=False)
        batch_op.create_index("ix_transactions_state", ["state", "gas_used"], unique=False)

    op.create_table(
        "wishes",
        sa.Column("contributor", sa.String(length=42), nullable=False),
        sa.Column("last_round", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("contributor", name=op.f("pk_wishes")),
    )
    op.create_table(
        "rounds",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(length=32), nullable=True),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("policy_id", sa.Integer(), nullable=False),
        sa.Column("base", sa.BigInteger(), nullable=False),
        sa.Column("base_state_root", sa.String(length=66), nullable=False),
        sa.Column("base_momentum_root", sa.String(length=66), nullable=False),
        sa.Column("base_state_sha256", sa.String(length=64), nullable=False),
        sa.Column("header", sa.LargeBinary(), nullable=False),
        sa.Column("header_hash", sa.String(length=66), nullable=False),
        sa.Column("exponents", sa.JSON(), nullable=False),
        sa.Column("expect", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=True),
        sa.Column("commit_deadline", sa.BigInteger(), nullable=True),
        sa.Column("anchor_deadline", sa.BigInteger(), nullable=True),
        sa.Column("challenge_deadline", sa.BigInteger(), nullable=True),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("entries_hash", sa.String(length=66), nullable=True),
        sa.Column("anchor", sa.JSON(), nullable=True),
        sa.Column("verdicts_sha256", sa.String(length=64), nullable=True),
        sa.Column("artifacts_sha256", sa.String(length=64), nullable=True),
        sa.Column("mean_sha256", sa.String(length=64), nullable=True),
        sa.Column("state_sha256", sa.String(length=64), nullable=True),
        sa.Column("canary", sa.JSON(), nullable=True),
        sa.Column("recomputed", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_rounds_run_id_runs")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_rounds")),
    )
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rounds_step"), ["step"], unique=False)

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

    op.create_table(
        "entries",
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("contributor", sa.String(length=42), nullable=False),
        sa.Column("commitment", sa.JSON(), nullable=False),
        sa.Column("commitment_hash", sa.String(length=66), nullable=False),
        sa.Column("transaction_hash", sa.String(length=66), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("weight", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("numbers", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["round"], ["rounds.number"], name=op.f("fk_entries_round_rounds")),
        sa.PrimaryKeyConstraint("round", "position", name=op.f("pk_entries")),
    )
    with op.batch_alter_table("entries", schema=None) as batch_op:
        batch_op.create_index("ix_entries_contributor", ["contributor", "round", "weight"], unique=False)

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
    op.create_table(
        "updates",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("contributor", sa.String(length=42), nullable=False),
        sa.Column("commitment", sa.JSON(), nullable=False),
        sa.Column("commitment_hash", sa.String(length=66), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("batch", sa.String(length=96), nullable=True),
        sa.Column("dropped", sa.String(length=32), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["round"], ["rounds.number"], name=op.f("fk_updates_round_rounds")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_updates")),
        sa.UniqueConstraint("round", "contributor", name=op.f("uq_updates_round_contributor")),
    )
    with op.batch_alter_table("updates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_updates_contributor"), ["contributor"], unique=False)
        batch_op.create_index("ix_updates_round", ["round", "dropped"], unique=False)


def downgrade() -> None:
    """Change it back."""
    with op.batch_alter_table("updates", schema=None) as batch_op:
        batch_op.drop_index("ix_updates_round")
        batch_op.drop_index(batch_op.f("ix_updates_contributor"))

    op.drop_table("updates")
    op.drop_table("round_reports")
    with op.batch_alter_table("entries", schema=None) as batch_op:
        batch_op.drop_index("ix_entries_contributor")

    op.drop_table("entries")
    with op.batch_alter_table("sent_transactions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sent_transactions_transaction_id"))

    op.drop_table("sent_transactions")
    with op.batch_alter_table("rounds", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rounds_step"))

    op.drop_table("rounds")
    op.drop_table("wishes")
    with op.batch_alter_table("transactions", schema=None) as batch_op:
        batch_op.drop_index("ix_transactions_state")
        batch_op.drop_index("ix_transactions_round")

    op.drop_table("transactions")
    op.drop_table("runs")
    with op.batch_alter_table("refusals", schema=None) as batch_op:
        batch_op.drop_index("ix_refusals_round_contributor")
        batch_op.drop_index(batch_op.f("ix_refusals_reason"))
        batch_op.drop_index("ix_refusals_contributor")

    op.drop_table("refusals")
    op.drop_table("fence")
    op.drop_table("event_log")
    with op.batch_alter_table("chain_events", schema=None) as batch_op:
        batch_op.drop_index("ix_chain_events_name_subject")
        batch_op.drop_index("ix_chain_events_name_id")
        batch_op.drop_index("ix_chain_events_name_account")

    op.drop_table("chain_events")
    op.drop_table("chain_blocks")
    with op.batch_alter_table("artifacts", schema=None) as batch_op:
        batch_op.drop_index("ix_artifacts_round")
        batch_op.drop_index(batch_op.f("ix_artifacts_keccak"))

    op.drop_table("artifacts")
    op.drop_table("accounts")
