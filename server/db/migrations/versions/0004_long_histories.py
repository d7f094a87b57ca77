# SPDX-License-Identifier: Apache-2.0
"""What long histories need: sums that are kept, the account of an event, and indices for what is asked often."""

from __future__ import annotations

from collections import defaultdict

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_INDICES = (
    ("refusals", "ix_refusals_contributor", ["contributor"], ["contributor", "authenticated"]),
    ("refusals", "ix_refusals_reason", None, ["reason"]),
    ("entries", "ix_entries_contributor", ["contributor"], ["contributor", "round", "weight"]),
    ("artifacts", "ix_artifacts_round", None, ["round", "kind"]),
    ("transactions", "ix_transactions_round", ["round"], ["round", "gas_used"]),
    ("transactions", "ix_transactions_state", ["state"], ["state", "gas_used"]),
    ("chain_events", "ix_chain_events_name_account", None, ["name", "account"]),
    ("chain_events", "ix_chain_events_name_id", None, ["name", "id"]),
)
"""Table, index, its columns before (None: it is new) and after."""

_EVENTS = sa.table(
    "chain_events",
    sa.column("name", sa.String),
    sa.column("subject", sa.String),
    sa.column("account", sa.String),
    sa.column("arguments", sa.JSON),
)


def upgrade() -> None:
    """Change the schema."""
    accounts = op.create_table(
        "accounts",
        sa.Column("address", sa.String(length=42), nullable=False),
        sa.Column("staked", sa.Boolean(), nullable=False),
        sa.Column("rewards", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_accounts")),
    )
    with op.batch_alter_table("chain_events", schema=None) as batch_op:
        batch_op.add_column(sa.Column("account", sa.String(length=42), nullable=False, server_default=""))
    _fill(accounts)
    for table, index, before, after in _INDICES:
        with op.batch_alter_table(table, schema=None) as batch_op:
            if before is not None:
                batch_op.drop_index(index)
            batch_op.create_index(index, after, unique=False)


def _fill(accounts: sa.Table) -> None:
    """Work out for what is there already what is kept from now on."""
    connection = op.get_bind()
    named = [_EVENTS.c.arguments[name].as_string() for name in ("contributor", "account")]
    connection.execute(sa.update(_EVENTS).values(account=sa.func.coalesce(*named, "")))
    rewards: defaultdict[str, int] = defaultdict(int)
    credited = sa.select(_EVENTS.c.account, _EVENTS.c.arguments["amount"].as_string())
    for address, amount in connection.execute(credited.where(_EVENTS.c.name == "RewardCredited")):
        rewards[address] += int(amount)
    staked = set(
        connection.scalars(sa.select(_EVENTS.c.account).where(_EVENTS.c.name == "Staked").distinct())
    )
    rows = [
        {"address": address, "staked": address in staked, "rewards": str(rewards.get(address, 0))}
        for address in sorted({*rewards, *staked})
    ]
    if rows:
        connection.execute(accounts.insert(), rows)


def downgrade() -> None:
    """Change it back."""
    for table, index, before, _ in reversed(_INDICES):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_index(index)
            if before is not None:
                batch_op.create_index(index, before, unique=False)
    with op.batch_alter_table("chain_events", schema=None) as batch_op:
        batch_op.drop_column("account")
    op.drop_table("accounts")
