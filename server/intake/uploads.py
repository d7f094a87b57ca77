# SPDX-License-Identifier: Apache-2.0
"""What has arrived of updates whose upload broke, so that the next try sends the rest only.

An unfinished upload belongs to one account and one commitment, whose signature was checked before. Another commitment
of the same account in the round takes its place, so an account has one at most. A round has no more of them than
places; beyond that an update is received as a whole. They are deleted when their round takes no files any more
(`server.restore.deletion`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from anyio import CancelScope

from folkmoot.artifacts.store import Store
from server.intake.intake import Arrival


def round_of(name: str) -> int:
    """Return the round of an unfinished upload."""
    return int(name.partition("-")[0])


def _holder(arrival: Arrival) -> str:
    return f"{arrival.round}-{arrival.commitment.contributor.lower()}-"


def _name(arrival: Arrival) -> str:
    return _holder(arrival) + arrival.commitment.struct_hash.hex()


@dataclass
class Turn:
    """An account's turn to send an update."""

    receiving: CancelScope = field(default_factory=CancelScope)
    """Covers the time in which its bytes arrive; cancelled when a later upload takes over."""
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Uploads:
    """The unfinished uploads in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns: dict[str, Turn] = {}

    def there(self, arrival: Arrival) -> int:
        """Return how many bytes of an update have arrived."""
        return self._store.unfinished().get(_name(arrival), 0)

    def place(self, arrival: Arrival) -> str | None:
        """Return the name under which an update's bytes stay if its upload breaks; None if there is no place."""
        holder, name = _holder(arrival), _name(arrival)
        if not arrival.authenticated:
            return None
        others = 0
        for known in self._store.unfinished():
            if known.startswith(holder):
                if known != name:
                    self._store.forget(known)
            elif round_of(known) == arrival.round:
                others += 1
        return name if others < arrival.policy.max_contributors else None

    @asynccontextmanager
    async def turn(self, arrival: Arrival) -> AsyncIterator[Turn]:
        """Wait until no other upload of the account in the round is under way; the newest one takes over.

        Of a connection that has broken, this side may learn much later. An upload that is being checked is waited for.
        """
        holder, own = _holder(arrival), Turn()
        while (other := self._turns.get(holder)) is not None:
            other.receiving.cancel()
            await other.over.wait()
        self._turns[holder] = own
        try:
            yield own
        finally:
            del self._turns[holder]
            own.over.set()
