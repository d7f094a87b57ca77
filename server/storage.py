# SPDX-License-Identifier: Apache-2.0
"""What a coordinator keeps: rows in its database, and files in its store."""

from __future__ import annotations

from dataclasses import dataclass

from folkmoot.artifacts.store import Store, Stored
from server.db import schema
from server.db.engine import Database
from server.db.models import Artifact
from server.settings import Settings


@dataclass(frozen=True)
class Storage:
    """Database and store of one coordinator. Rows name files by their sha256."""

    database: Database
    store: Store

    @classmethod
    def open(cls, settings: Settings) -> Storage:
        """Open both, and claim the database for this process.

        Raises:
            DatabaseError: The database is away, of another release, or another coordinator's.
        """
        database = Database.open(settings.resolved_database_url)
        try:
            schema.check(database.engine)
            database.claim()
            store = settings.open_store()
            store.clear_incoming()
        except BaseException:
            database.close()
            raise
        return cls(database, store)


def file_row(
    stored: Stored, kind: str, *, of: int | None = None, keccak: str | None = None, public_from: int = 0
) -> Artifact:
    """Make the row of a file in the store.

    Args:
        stored: The file.
        kind: What it is, e.g. update.
        of: Number of its round, if it belongs to one.
        keccak: Its other name, if the chain knows it by that.
        public_from: Chain time from which everybody may have it.
    """
    return Artifact(
        sha256=stored.sha256,
        keccak=keccak,
        kind=kind,
        size=stored.size,
        round=of,
        public_from=public_from,
        deleted=None,
        gone=False,
    )
