# SPDX-License-Identifier: Apache-2.0
"""Updates that their contributors delivered on the chain: every byte is in the events, and counts like an upload.

Whoever anchors such an update as not delivered loses its bond, so a coordinator reads the events before it computes.
"""

from __future__ import annotations

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.packing import pack
from server.chain.indexer import by_name
from server.db.models import Artifact, Entry, Round
from server.storage import Storage, file_row


class Deliveries:
    """Takes in updates from the chain.

    Args:
        storage: Where entries and files go.
        manifest: The model's layout.
    """

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self._storage = storage
        self._manifest = manifest

    def take(self, round_: Round) -> bool:
        """Take in the updates of a round that are on the chain and did not arrive otherwise; whether there were some.

        The contract has checked integers, padding and root; what is wrong beyond that, the computation of the round
        finds.
        """
        width, size = RoundHeader.decode(round_.header).width, self._manifest.size
        with self._storage.database.read() as session:
            missing = select(Entry).where(Entry.round == round_.number, Entry.sha256.is_(None))
            found = [
                (
                    entry.position,
                    pack(np.frombuffer(leaves, dtype=np.uint8).reshape(-1, LEAF), width).tobytes(),
                )
                for entry in session.scalars(missing)
                if (leaves := _assembled(session, entry)) is not None and len(leaves) == size
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
    """The leaves of an entry's update, if all parts are on the chain."""
    mine = [
        event.arguments
        for event in by_name(session, "Delivered", str(entry.round), entry.contributor)
        if event.arguments["updateRoot"] == entry.commitment["updateRoot"]
    ]
    if not any(int(part["missing"]) == 0 for part in mine):
        return None
    parts = {int(part["part"]): bytes.fromhex(str(part["values"])[2:]) for part in mine}
    return b"".join(parts[number] for number in sorted(parts))
