# SPDX-License-Identifier: Apache-2.0
"""Migrations: bring a database to this release's schema, or say clearly why it can't be used."""

from __future__ import annotations

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from folkmoot.errors import DatabaseError
from server.db.failures import is_away, name, named
from server.db.models import Base


def _config(engine: Engine | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "server.db:migrations")
    config.attributes["engine"] = engine
    return config


def _revisions() -> list[str]:
    """The schemas that this release can migrate, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]


def latest() -> str:
    """The schema of this release."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise AssertionError("no migrations are packaged")
    return head


def current(engine: Engine) -> str | None:
    """The schema that the database has; none if it is empty.

    Raises:
        DatabaseError: The database can't be opened; `database-unreachable` if its server is away.
    """
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except SQLAlchemyError as exc:
        trouble = name(exc, engine.url) if isinstance(exc, DBAPIError) else None
        if trouble is not None and is_away(trouble, exc):
            raise trouble from exc
        where = engine.url.render_as_string(hide_password=True)
        cause = str(getattr(exc, "orig", None) or exc).splitlines()[0]
        raise DatabaseError(
            f"The database {where} can't be opened: {cause}.",
            remedy="Check that it exists and is a database, that its folder can be written, and that its server runs.",
        ) from exc


def check(engine: Engine) -> None:
    """Make sure that the database has the schema of this release.

    Raises:
        DatabaseError: It has an older or a newer one.
    """
    have, want = current(engine), latest()
    if have == want:
        return
    where = engine.url.render_as_string(hide_password=True)
    revisions = _revisions()
    if have is not None and have < revisions[-1]:
        raise DatabaseError(
            f"The database {where} has schema {have}, which is too old: this release migrates from {revisions[-1]}.",
            remedy="Rebuild it from the chain in a new folder: `folkmoot coordinator rebuild`.",
            code="database-older",
            details={"have": have, "want": want},
        )
    if have is not None and have not in revisions:
        raise DatabaseError(
            f"The database {where} has schema {have}, which is newer than this release ({want}).",
            remedy="Install the release of Folkmoot that wrote it.",
            code="database-newer",
            details={"have": have, "want": want},
        )
    raise DatabaseError(
        f"The database {where} has {'schema ' + have if have else 'no schema yet'}; this release needs {want}.",
        remedy="Make a copy of it, then run `folkmoot coordinator rebuild schema`.",
        code="database-older",
        details={"have": have, "want": want},
    )


def upgrade(engine: Engine) -> None:
    """Bring the database to the schema of this release. Does nothing if it is there.

    Raises:
        DatabaseError: It has another schema, or is in trouble, such as `database-full`.
    """
    have = current(engine)
    if have is not None and have not in _revisions():
        check(engine)
    with named(engine.url):
        command.upgrade(_config(engine), "head")


def differences(engine: Engine) -> list[object]:
    """What the models have and the database has not, or the other way round."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))
