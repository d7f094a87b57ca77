# SPDX-License-Identifier: Apache-2.0
"""What Alembic runs around the migrations. The engine comes from `server.db.schema`.

All of an upgrade is one transaction, on both databases: interrupted at any point, it has not happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection

from folkmoot.errors import DatabaseError
from server.db.engine import WRITE_OPTION
from server.db.models import Base


@contextmanager
def tables_may_be_replaced(connection: Connection) -> Iterator[None]:
    """Let SQLite drop a table that others refer to: it changes a column by a new table with the old one's name.

    https://www.sqlite.org/lang_altertable.html#otheralter
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.cursor()  # the setting has no effect inside a transaction
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")
        driver.close()


def check_references(connection: Connection) -> None:
    """Make up for what was not checked while tables were replaced.

    Raises:
        DatabaseError: A row refers to nothing (`database-migration`).
    """
    if connection.dialect.name != "sqlite":
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise DatabaseError(
            f"After the migration {len(broken)} rows would refer to nothing, the first in table {broken[0][0]}.",
            remedy="The database was not changed. Please report it.",
            code="database-migration",
        )


engine = context.config.attributes["engine"].execution_options(**{WRITE_OPTION: True})
with engine.connect() as connection, tables_may_be_replaced(connection):
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
        transactional_ddl=True,  # SQLite has it too, where the driver does not end transactions by itself
    )
    with context.begin_transaction():
        context.run_migrations()
        check_references(connection)
