# SPDX-License-Identifier: Apache-2.0
"""What Alembic runs around the migrations. The engine comes from `server.db.schema`."""

from __future__ import annotations

from alembic import context

from server.db.engine import WRITE_OPTION
from server.db.models import Base

engine = context.config.attributes["engine"].execution_options(**{WRITE_OPTION: True})
with engine.connect() as connection:
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
