# SPDX-License-Identifier: Apache-2.0
"""One anchored round, from its events."""

from __future__ import annotations

from folkmoot.errors import ChainError
from folkmoot.ledger.entries import UpdateCommitted, anchor_of, entries_of
from folkmoot.ledger.events import RoundAnchored, RoundOpened, UpdatesCommitted
from folkmoot.ledger.scan import Source, scan
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment


def recorded(source: Source, number: int, to_block: int) -> tuple[list[Commitment], Anchor]:
    """Return the commitments of a round in entry order, and its anchor.

    Args:
        source: Endpoint and addresses.
        number: Number of the round.
        to_block: Last block to read.

    Raises:
        ChainError: `event-unknown`: the endpoint has no event of the round's anchor.
        RpcError: The endpoint failed.
    """
    base, anchor = b"", None
    commits: list[UpdateCommitted] = []
    for event in scan(source, source.deployment.block, to_block, contracts=("ledger",)):
        if getattr(event, "round", None) != number:
            continue
        if isinstance(event, RoundOpened):
            base = event.base_state_root
        elif isinstance(event, UpdatesCommitted):
            commits += entries_of(event)
        elif isinstance(event, RoundAnchored):
            anchor = anchor_of(event)
    if anchor is None:
        raise ChainError(
            f"The endpoint has no event of the anchor of round {number}.",
            remedy="See `folkmoot status`. If the round is anchored, use an endpoint that keeps all logs.",
            code="event-unknown",
        )
    return [commit.commitment(base) for commit in commits], anchor
