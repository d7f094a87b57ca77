# SPDX-License-Identifier: Apache-2.0
"""Digest of all facts on which the verdict on a round depends. Equal digests mean equal verdicts.

A round's outcome depends on its own events, its policy, and the states, exponents and updates of the rounds in its
lineage. So its digest includes the digest of its base, and through that the whole lineage. Events are included with the
hashes of their blocks and transactions: if a reorganisation puts the same event into another block, that is another
history, and verdicts on the old one are not reused.

The files themselves are not included, because the events have their hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import History
from folkmoot.audit.ledger_state import Ledger, Round
from folkmoot.protocol.hashing import canonical_json, sha256_hex


def facts_of(history: History, ledger: Ledger, origin: Origin) -> Mapping[int, str]:
    """Return the digest (sha256, 64 hex digits) for each round by its number; 0 is the genesis."""
    digests = {0: _digest({"genesis": history.storage.genesis_hash, "stateRoot": origin.state_root})}
    for number, one in ledger.rounds.items():
        digests[number] = _digest(_facts(history, one, digests[one.base]))
    return digests


def _facts(history: History, replayed: Round, base: str) -> dict[str, Any]:
    stored = history.storage.rounds[replayed.number]
    return {
        "round": replayed.number,
        "base": base,
        "policy": replayed.policy,
        "opened": replayed.opened,
        "entries": replayed.commits,
        "anchored": replayed.anchored,
        "cancelled": replayed.cancelled,
        "void": replayed.voided,
        "stored": [stored.header_hash, stored.entries_hash, stored.anchor_hash, stored.state_root],
    }


def _digest(facts: Mapping[str, Any]) -> str:
    return sha256_hex(canonical_json(_plain(facts)))


def _plain(value: Any) -> Any:
    """Return a record as JSON values."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if is_dataclass(value):
        return {
            "is": type(value).__name__,
            **{one.name: _plain(getattr(value, one.name)) for one in fields(value)},
        }
    return value
