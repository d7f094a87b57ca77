# SPDX-License-Identifier: Apache-2.0
"""Check rewards and the token's supply: credits follow from the pays, and only credits were minted.

Amounts are in units of 1e-18 tokens.
"""

from __future__ import annotations

from collections import defaultdict

from folkmoot.audit.code import Creation
from folkmoot.audit.failure import Subject, mismatch, require, require_that
from folkmoot.audit.history import History
from folkmoot.audit.ledger_state import Ledger
from folkmoot.chain.terms import ZERO_ADDRESS
from folkmoot.ledger.events import RewardClaimed, RewardCredited, Transfer
from folkmoot.ledger.replay import Round

_CHECK = "rewards"
_SUPPLY = "supply"


def check_rewards(history: History, ledger: Ledger) -> int:
    """Check every credit against the pays, every claim against the credits, and the unclaimed rewards.

    Returns:
        The sum of all claims.
    """
    claimable: dict[str, int] = defaultdict(int)
    claimed = 0
    for event in history.events:
        if isinstance(event, RewardCredited):
            claimable[event.contributor] += event.amount
        elif isinstance(event, RewardClaimed):
            subject = Subject(check=_CHECK, contributor=event.account, event=event)
            require(subject, "the claimed rewards", claimable[event.account], event.amount)
            claimable[event.account] = 0
            claimed += event.amount
    for replayed in ledger.rounds.values():
        _check_round(replayed)
        stored = history.storage.settled.get(replayed.number)
        subject = Subject(check=_CHECK, round=replayed.number)
        require(subject, "whether the rewards are settled", replayed.settled is not None, stored)
    for account, amount in claimable.items():
        subject = Subject(check=_CHECK, contributor=account)
        require(subject, "what can be claimed", amount, history.storage.claimable.get(account))
    return claimed


def check_supply(history: History, creation: Creation | None, claimed: int) -> None:
    """Check that the supply is the sum of genesis tokens and claimed rewards, minus burnt tokens."""
    balances: dict[str, int] = defaultdict(int)
    transfers = [event for event in history.events if isinstance(event, Transfer)]
    created = next(event for event in history.events if event.contract == "token").transaction
    genesis: list[tuple[str, int]] = []
    claims = {
        (event.transaction, event.account, event.amount)
        for event in history.events
        if isinstance(event, RewardClaimed)
    }
    minted = 0
    for event in transfers:
        subject = Subject(check=_SUPPLY, event=event)
        if event.from_ != ZERO_ADDRESS:
            balances[event.from_] -= event.value
            balance = balances[event.from_]
            require_that(balance >= 0, subject, f"the balance of {event.from_}", "not below zero", balance)
        elif event.transaction == created:
            genesis.append((event.to, event.value))
        else:
            place = (event.transaction, event.to, event.value)
            require_that(place in claims, subject, "the reason of the minting", "a claimed reward", None)
            minted += event.value
        if event.to != ZERO_ADDRESS:
            balances[event.to] += event.value
    subject = Subject(check=_SUPPLY)
    if creation is not None:
        require(subject, "the genesis allocation", list(creation.allocations), genesis)
    require(subject, "what was minted for rewards", claimed, minted)
    require(subject, "the supply", sum(balances.values()), history.storage.total_supply)
    vault = history.deployment.vault
    require(subject, "the vault's balance", balances[vault], history.storage.vault_balance)


def _check_round(replayed: Round) -> None:
    credited = replayed.credits
    if replayed.settled is None or replayed.anchor is None:
        if credited:
            subject = Subject(check=_CHECK, round=replayed.number, event=credited[0])
            raise mismatch(subject, "the reason of the reward", "a settled round", "one that was not settled")
        return
    expected = replayed.rewards
    for event in credited:
        subject = Subject(check=_CHECK, round=replayed.number, contributor=event.contributor, event=event)
        require(subject, "the settlement of the reward", replayed.settled.transaction, event.transaction)
        require(subject, "the reward", expected.get(event.contributor), event.amount)
    paid = [event.contributor for event in credited]
    require(
        Subject(check=_CHECK, round=replayed.number, event=replayed.settled),
        "the rewarded contributors",
        list(expected),
        paid,
    )
