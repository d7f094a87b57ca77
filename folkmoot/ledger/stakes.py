# SPDX-License-Identifier: Apache-2.0
"""What stake is used for: places of contributors in the next round, and bonds of a coordinator's rounds.

Uses plain JSON-RPC. Amounts are in units of 1e-18 tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from folkmoot.ledger.admission import NOBODY
from folkmoot.protocol.places import quota_of
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import LedgerReader, Phase, RoundView, VaultReader

MAX_PENDING_ROUNDS = 256
"""Maximum number of anchored rounds that are not final."""


@dataclass(frozen=True, slots=True)
class Bonded:
    """A round whose bond is locked."""

    round: int
    """Its number."""
    phase: Phase
    """Open, anchored, or cancelled: the round is void, and anybody may release its bond."""
    bond: int

    @property
    def void(self) -> bool:
        """Whether the round is void, so that its bond can be released."""
        return self.phase is Phase.CANCELLED


def next_quota(ledger: LedgerReader, vault: VaultReader) -> int:
    """Return the enrolled stake that has a place in the next round for certain; 0 if all enrolled accounts have one.

    A draw rests on what is enrolled at the anchor before it: this is the quota if that anchor came now. A closed
    federation, which has an admission contract, does not draw.
    """
    if ledger.admission() != NOBODY:
        return 0
    policy = ledger.policy(ledger.current_policy())
    return quota_of(vault.total_enrolled(), policy.max_contributors, policy.min_stake)


def bonded_rounds(ledger: LedgerReader, vault: VaultReader, account: str) -> list[Bonded]:
    """Return the rounds whose bonds are locked in the stake of an account, the newest first.

    Reads rounds from the newest back until it has found all bonds.
    """
    missing = vault.bond_of(account)
    bonds: dict[int, int] = {}  # by policy
    bonded: list[Bonded] = []
    number = ledger.next_round() - 1
    while missing > 0 and number > 0:
        view = ledger.round(number)
        if view.coordinator == account and _is_locked(ledger, number, view):
            bond = bonds.get(view.policy)
            if bond is None:
                bond = bonds[view.policy] = ledger.policy(view.policy).bond
            bonded.append(Bonded(number, view.phase, bond))
            missing -= bond
        number -= 1
    return bonded


def rounds_within(unlocked: int, bond: int) -> int:
    """Return for how many rounds unlocked stake is enough; 0 if the bond is 0, which no ledger's policy has."""
    return unlocked // bond if bond > 0 else 0


def standstill(stake: int, locked: int, policy: Policy, rounds: int) -> int:
    """Return about how many seconds a run stands still because all stake is locked as bonds.

    A bond is locked until the challenge window of its round is over.

    Args:
        stake: Stake of the coordinator, at least a bond.
        locked: Part of it that is locked.
        rounds: Rounds of the run.
    """
    missing = rounds - rounds_within(stake - locked, policy.bond)
    return max(0, -(-missing // max(1, rounds_within(stake, policy.bond)))) * policy.challenge_window


def chance_text(enrolled: int, quota: int) -> str:
    """Return the chance of a place with so much enrolled stake in a crowd, as a percentage rounded down."""
    return f"{min(1_000, 1_000 * enrolled // quota) / 10:g} %"


def _is_locked(ledger: LedgerReader, number: int, view: RoundView) -> bool:
    """Return whether the bond of a round is locked. Only a round that was anchored can be void."""
    if view.phase in (Phase.OPEN, Phase.ANCHORED):
        return True
    return view.phase is Phase.CANCELLED and view.anchor_hash != bytes(32) and ledger.can_release(number)
