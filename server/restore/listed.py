# SPDX-License-Identifier: Apache-2.0
"""What the chain names of a round that was anchored: its anchor, and through its hashes the files of the round.

A row only says where to look. What is returned here has the hashes that the ledger has, so no row can alter it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.verdict import Artifacts, Verdicts
from folkmoot.rpc.client import RoundView
from server.chain.indexer import by_name
from server.db.models import ChainEvent
from server.store import Store, StoreSource


@dataclass(frozen=True)
class Listed:
    """The files of a round, by the chain."""

    anchor: Anchor
    """Its anchor."""
    document: bytes
    """The artifacts file."""
    artifacts: Artifacts
    """What that file says."""
    verdicts: Verdicts
    """What was decided about its entries."""

    @property
    def lasting(self) -> set[str]:
        """Files that stay, whatever else they are: an update alone in its round is the mean as well."""
        listed = self.artifacts
        return {listed.mean, listed.verdicts, listed.manifest, listed.base_state}


def listed(session: Session, store: Store, number: int, view: RoundView) -> Listed | None:
    """Return what the chain names of a round.

    Args:
        session: Reads where to look.
        store: Has the files.
        number: Number of the round.
        view: What the ledger stores of it.

    Returns:
        None if it was not anchored; if its event was altered, which is compared with its log; or if a file is missing
        or damaged, of which the store tells.

    Raises:
        StoreError: The store can't be used now.
    """
    anchored = by_name(session, "RoundAnchored", str(number))
    anchor = _anchor(anchored[-1]) if anchored else None
    if anchor is None or anchor.hash != view.anchor_hash:
        return None
    documents = StoreSource(store)
    try:
        document = documents.document(anchor.artifacts_hash.hex())
        verdicts = Verdicts.from_json(documents.document(anchor.verdict_hash.hex()))
        return Listed(anchor, document, Artifacts.from_json(document), verdicts)
    except (ArtifactError, InputError):
        return None


def _anchor(event: ChainEvent) -> Anchor | None:
    """Read an anchor from its event; None if the event does not have its form any more."""
    try:
        arguments = event.arguments["anchor"]
        delivered = arguments["delivered"]
        bits = int(delivered, 0) if isinstance(delivered, str) else int(delivered)
        return Anchor.from_json({**arguments, "delivered": hex(bits)})
    except (AttributeError, InputError, KeyError, TypeError, ValueError):
        return None
