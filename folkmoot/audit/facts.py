# SPDX-License-Identifier: Apache-2.0
"""What the verdict on a round depends on, as one digest: while it is the same, the verdict is.

A round's outcome follows from its own events, from its policy, and from the rounds that its base rests on: their
states, their exponents, their updates. So its digest has the digest of its base in it, and with that the whole lineage.
Events stand there with the hashes of their blocks and transactions: if a reorg mines the same words again in another
block, that is another history, and what was said of the old one is not believed.

The files are not here: the hashes that the events carry name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import History
from folkmoot.audit.rounds import Ledger, Round
from folkmoot.protocol.hashing import canonical_json, sha256_hex


def facts_of(history: History, ledger: Ledger, origin: Origin) -> Mapping[int, str]:
    """Return the digest (sha256, 64 hex digits) of what each round depends on, by its number; 0 is the genesis."""
    found = {0: _digest({"genesis": history.storage.genesis_hash, "stateRoot": origin.state_root})}
    for number, one in ledger.rounds.items():
        found[number] = _digest(_facts(history, one, found[one.base]))
    return found


def _facts(history: History, found: Round, base: str) -> dict[str, Any]:
    stored = history.storage.rounds[found.number]
    return {
        "round": found.number,
        "base": base,
        "policy": found.policy,
        "opened": found.opened,
        "entries": found.commits,
        "anchored": found.anchored,
        "cancelled": found.cancelled,
        "void": found.voided,
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
