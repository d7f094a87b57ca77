# SPDX-License-Identifier: Apache-2.0
"""What the events of a round hold: its entries, which they list by batches, and its anchor."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from folkmoot.ledger.event import Event, record
from folkmoot.ledger.events import RoundAnchored, UpdatesCommitted
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.batch import read_entries
from folkmoot.protocol.commitment import Commitment


@record
class UpdateCommitted(Event):
    """A recorded commitment: one entry of an `UpdatesCommitted`, whose place on the chain it has."""

    round: int
    contributor: str
    index: int
    """Number of the entry in its round, from 0."""
    update_root: bytes
    sum_squares: int
    memory_hash: bytes
    bundle_hash: bytes

    @property
    def name(self) -> str:
        """Name of the event in Solidity that lists it."""
        return UpdatesCommitted.__name__

    def commitment(self, base_state_root: bytes) -> Commitment:
        """Return what was signed, for the state root of the round's base."""
        hashes = self.memory_hash, self.bundle_hash
        return Commitment(
            self.contributor, self.round, base_state_root, self.update_root, self.sum_squares, *hashes
        )


def entries_of(event: UpdatesCommitted) -> Iterator[UpdateCommitted]:
    """Yield the entries that an event lists, in their order."""
    for index, entry in enumerate(read_entries(event.entries), event.first):
        yield UpdateCommitted(
            contract=event.contract,
            block=event.block,
            block_hash=event.block_hash,
            transaction=event.transaction,
            log_index=event.log_index,
            round=event.round,
            contributor=sys.intern(entry.contributor),
            index=index,
            update_root=entry.update_root,
            sum_squares=entry.sum_squares,
            memory_hash=entry.memory_hash,
            bundle_hash=event.bundle_hash,
        )


def anchor_of(event: RoundAnchored) -> Anchor:
    """Return what the coordinator anchored."""
    fields = event.anchor
    return Anchor(
        fields.weights,
        fields.pays,
        fields.delivered,
        fields.mean_root,
        fields.state_root,
        fields.gram_root,
        fields.verdict_hash,
        fields.artifacts_hash,
        fields.entries_root,
    )
