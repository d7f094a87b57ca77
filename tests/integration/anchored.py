# SPDX-License-Identifier: Apache-2.0
"""Rounds that are anchored without a coordinator or a model, and proven wrong without a judge: for tests of bonds."""

from __future__ import annotations

from eth_utils.crypto import keccak

from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment
from tests.contract_accounts import Unlocked
from tests.factories import Federation

CONTRIBUTORS = ("ada", "ben")
"""Who commits to the rounds."""


def open_round(federation: Federation) -> int:
    """Open the next round; return its number."""
    chain = federation.chain
    number = chain.ledger.next_round()
    function = chain.ledger.functions.openRound(number, chain.ledger.head().state_root, b"\1" * 32)
    chain.send(function, federation.coordinator)
    return number


def anchored_round(federation: Federation) -> int:
    """Open a round on the head, commit to it and anchor it; return its number."""
    chain, number = federation.chain, open_round(federation)
    base = chain.ledger.round(chain.ledger.round(number).base).state_root
    for name in CONTRIBUTORS:
        who = federation[name]
        made = Commitment(who.address, number, base, keccak(text=name), 1)
        chain.send(chain.ledger.functions.commitUpdate(made.abi_tuple()), who)
    federation.anvil.advance(chain.ledger.round(number).commit_deadline - chain.now() + 1)
    root = keccak(text=f"round {number}")
    anchor = Anchor((1, 1), (), 3, root, root, bytes(32), root, root, root)
    entries = chain.ledger.round(number).entries_hash
    chain.send(chain.ledger.functions.anchor(number, entries, anchor.abi_tuple()), federation.coordinator)
    return number


def prove_wrong(federation: Federation, number: int, challenger: str) -> None:
    """Report fraud in a round, as the arbiter does when a judge has found some."""
    data = bytes(federation.chain.ledger.functions.reportFraud(number, challenger).data)
    place = federation.deployment
    Unlocked(federation.anvil).send(place.arbiter, place.ledger, data)
