# SPDX-License-Identifier: Apache-2.0
"""Updates that their contributors delivered on the chain: every byte is in the events, and counts like an upload.

Whoever anchors such an update as not delivered loses its bond, so a coordinator reads the events before it computes.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.chain.indexer import by_name
from server.conduct import Conduct
from server.db.models import Artifact, Entry, Round
from server.storage import Storage, file_row


class Deliveries:
    """Takes in updates from the chain.

    Args:
        storage: Where entries and files go.
        size: Bytes of an update of this federation.
        conduct: Asked whether somebody is censored.
    """

    def __init__(self, storage: Storage, size: int, conduct: Conduct) -> None:
        self._storage = storage
        self._size = size
        self._conduct = conduct

    def take(self, round_: Round) -> bool:
        """Take in the updates of a round that are on the chain and did not arrive otherwise; whether there were some.

        The contract has checked bytes, padding and root; what is wrong beyond that, the computation of the round finds.
        """
        if self._conduct.censors(round_.number):
            return False
        with self._storage.database.read() as session:
            missing = select(Entry).where(Entry.round == round_.number, Entry.sha256.is_(None))
            found = [
                (entry.position, data)
                for entry in session.scalars(missing)
                if (data := _assembled(session, entry)) is not None and len(data) == self._size
            ]
        for position, data in found:
            stored = self._storage.store.put(data)
            with self._storage.database.write("delivery-taken") as session:
                session.get_one(Entry, (round_.number, position)).sha256 = stored.sha256
                row = session.get(Artifact, stored.sha256)
                if row is not None and row.deleted is not None:
                    self._storage.store.put(data)  # Its deletion may have come between.
                if row is None or row.deleted is not None:
                    public = round_.commit_deadline or 0
                    made = file_row(stored, "update", of=round_.number, public_from=public)
                    session.merge(made)
        return bool(found)


def _assembled(session: Session, entry: Entry) -> bytes | None:
    """The bytes of an entry's update, if all parts are on the chain."""
    mine = [
        event.arguments
        for event in by_name(session, "Delivered", str(entry.round), entry.contributor)
        if event.arguments["updateRoot"] == entry.commitment["updateRoot"]
    ]
    if not any(int(part["missing"]) == 0 for part in mine):
        return None
    parts = {int(part["part"]): bytes.fromhex(str(part["values"])[2:]) for part in mine}
    return b"".join(parts[number] for number in sorted(parts))
