# SPDX-License-Identifier: Apache-2.0
"""Rounds from the ledger's events in the database, by the replay that everybody uses, and the files that they name.

A row only says where to look. What `listed` returns has the hashes that the ledger has, so no row can alter it.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.artifacts.store import Store
from folkmoot.errors import ArtifactError, InputError
from folkmoot.ledger import events, packaged
from folkmoot.ledger.entries import anchor_of
from folkmoot.ledger.event import Event, field_name
from folkmoot.ledger.events import RoundAnchored
from folkmoot.ledger.replay import FederationState, Round
from folkmoot.ledger.scan import typed
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.verdict import Artifacts, Verdicts
from folkmoot.rpc.client import RoundView
from server.chain.indexer import by_name
from server.db.models import ChainEvent


def event_of(row: ChainEvent) -> Event:
    """Return the record of an event of a round, or of its rewards."""
    contract, parameters = _parameters()[row.name]
    record: type[Event] = getattr(events, row.name)
    return record(
        contract=contract,
        block=row.block_number,
        block_hash=bytes.fromhex(row.block_hash[2:]),
        transaction=bytes.fromhex(row.transaction_hash[2:]),
        log_index=row.log_index,
        **{
            field_name(parameter["name"]): typed(
                parameter, _decoded(parameter, row.arguments[parameter["name"]])
            )
            for parameter in parameters
        },
    )


def read_round(session: Session, number: int) -> Round | None:
    """Return a round, as far as its own events say what it is; None if its opening is not known."""
    rows = select(ChainEvent).where(ChainEvent.name.in_(_OF_ROUND), ChainEvent.subject == str(number))
    state = FederationState()
    for row in session.scalars(rows.order_by(ChainEvent.block_number, ChainEvent.log_index)):
        event = event_of(row)
        if isinstance(event, events.RoundOpened):
            for policy in by_name(session, "PolicyAdded", str(event.policy_id)):
                state.apply(event_of(policy))
        elif number not in state.rounds:
            return None
        state.apply(event)
    return state.rounds.get(number)


def read_anchor(session: Session, number: int) -> Anchor | None:
    """Return the anchor of a round; None if it is not known."""
    rows = by_name(session, "RoundAnchored", str(number))
    event = event_of(rows[-1]) if rows else None
    return anchor_of(event) if isinstance(event, RoundAnchored) else None


_OF_ROUND = ("RoundOpened", "CommitsClosed", "UpdatesCommitted", "RoundAnchored", "RewardCredited")


@functools.cache
def _parameters() -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Return the contract of each event, and its parameters."""
    return {
        entry["name"]: (role, entry["inputs"])
        for role in ("policies", "ledger", "rewards")
        for entry in packaged.contract(role).abi
        if entry["type"] == "event"
    }


def _decoded(parameter: dict[str, Any], value: Any) -> Any:
    """Return a JSON value as the ABI decodes it."""
    kind = str(parameter["type"])
    if kind.endswith("[]"):
        return tuple(_decoded({**parameter, "type": kind[:-2]}, item) for item in value)
    if kind == "tuple":
        return tuple(_decoded(part, value[part["name"]]) for part in parameter["components"])
    if kind.startswith("bytes"):
        return bytes.fromhex(value[2:])
    return int(value) if "int" in kind else value


@dataclass(frozen=True)
class Listed:
    """The files of a round, by the chain."""

    anchor: Anchor
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
        view: What the ledger stores of it.

    Returns:
        None if it was not anchored; if its event was altered, which is compared with its log; or if a file is missing
        or damaged, of which the store tells.
    """
    anchor = None
    with suppress(AttributeError, InputError, KeyError, TypeError, ValueError):
        anchor = read_anchor(session, number)
    if anchor is None or anchor.hash != view.anchor_hash:
        return None
    try:
        document = store.document(anchor.artifacts_hash.hex())
        verdicts = Verdicts.from_json(store.document(anchor.verdict_hash.hex()))
        return Listed(anchor, document, Artifacts.from_json(document), verdicts)
    except (ArtifactError, InputError):
        return None
