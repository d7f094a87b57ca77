# SPDX-License-Identifier: Apache-2.0
"""Histories without a chain: events that a test writes down, in blocks of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from folkmoot.audit.history import Block, History, Limits, Storage
from folkmoot.audit.transactions import Transaction
from folkmoot.chain.terms import ZERO_ADDRESS, Bounds
from folkmoot.ledger.deployment import CONTRACTS, JUDGES, Deployment
from folkmoot.ledger.events import Event, MinDelayChange, RoleGranted, Transfer
from folkmoot.rpc.client import Basis, Head
from tests import factories

GENESIS_TIME = 1_000_000
UNBONDING = 3_600
ADA, BEN, CLEO, COORDINATOR, VERIFIER = (
    factories.account(name).address for name in ("ada", "ben", "cleo", "coordinator", "verifier")
)
NOBODY = "0x" + "0" * 40

DEPLOYMENT = Deployment(
    chain_id=31337,
    block=1,
    genesis_hash="0x" + "01" * 32,
    parent=None,
    **{role: factories.account(f"contract {role}").address for role in CONTRACTS},
)

LIMITS = Limits(
    bounds=Bounds(
        max_reward=10**24,
        min_bond=0,
        max_min_stake=10**24,
        min_commit_window=0,
        min_challenge_window=0,
        min_interval=0,
    ),
    verifier=ZERO_ADDRESS,
    max_windows=UNBONDING,
    governance=DEPLOYMENT.timelock,
    appoints=DEPLOYMENT.timelock,
    listens_to=ZERO_ADDRESS,
    admission=ZERO_ADDRESS,
)

VAULT_CREATED = Block(1, (1).to_bytes(32, "big"), GENESIS_TIME)

STORAGE = Storage(
    manifest_hash=bytes(32),
    genesis_hash=bytes(32),
    vault=DEPLOYMENT.vault,
    registry=DEPLOYMENT.registry,
    policies_address=DEPLOYMENT.policies,
    token=DEPLOYMENT.token,
    rewards_ledger=DEPLOYMENT.ledger,
    warranty_token=DEPLOYMENT.token,
    minter=DEPLOYMENT.rewards,
    ledger_head=Head(0, bytes(32)),
    next_round=1,
    current_policy=1,
    coordinator=COORDINATOR,
    pending_rounds=0,
    rounds={},
    policies={},
    claimable={},
    settled={},
    versions={},
    active=None,
    vault_token=DEPLOYMENT.token,
    unbonding_period=UNBONDING,
    total_staked=0,
    stakes={},
    members={},
    bonds={},
    admitted={},
    total_enrolled=0,
    basis=Basis(0, GENESIS_TIME, 1),
    draws={},
    limits=LIMITS,
    unbondings={},
    votes={},
    vault_balance=0,
    total_supply=0,
    governor_votes=DEPLOYMENT.vault,
    governor_timelock=DEPLOYMENT.timelock,
    min_delay=0,
    proposals={},
    seasoning=0,
    launched_at=GENESIS_TIME,
    guardian=ZERO_ADDRESS,
    guardian_until=0,
    past_votes={},
    roles={},
    code={},
)


class Script:
    """Writes events down. Each call of `block` starts a new block with one transaction."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.times: dict[int, int] = {}
        self.number = 0
        self.logs = 0
        self.transactions: dict[bytes, Transaction] = {}
        for contract in CONTRACTS:
            if contract in ("vault", "rewards", *JUDGES, "arbiter"):  # their constructors emit nothing
                continue
            self.block(0)
            self.add(MinDelayChange if contract == "timelock" else RoleGranted, contract, **_first(contract))

    @property
    def now(self) -> int:
        """Unix time of the block that is written."""
        return self.times[self.number]

    def block(self, later: int = 1) -> Script:
        """Start a block, some seconds later."""
        time = self.times.get(self.number, GENESIS_TIME) + later
        self.number += 1
        self.times[self.number], self.logs = time, 0
        return self

    def add(self, kind: type[Event], contract: str, /, **fields: Any) -> Event:
        """Add an event to the block."""
        made = kind(
            contract=contract,
            block=self.number,
            block_hash=self.number.to_bytes(32, "big"),
            transaction=self.number.to_bytes(32, "little"),
            log_index=self.logs,
            **fields,
        )
        self.logs += 1
        self.events.append(made)
        return made

    def called(self, sender: str, to: str, data: bytes = b"") -> None:
        """Say what the block's transaction is."""
        hash_ = self.number.to_bytes(32, "little")
        self.transactions[hash_] = Transaction(hash_, sender, to, 0, data)

    def history(self, **storage: Any) -> History:
        """Return the history; `storage` replaces what the contracts store."""
        head = Block(self.number, self.number.to_bytes(32, "big"), self.times[self.number])
        return History(
            DEPLOYMENT,
            head,
            tuple(self.events),
            self.times,
            replace(STORAGE, **storage),
            self.transactions.__getitem__,
            vault_created=VAULT_CREATED,
        )


def transfer(script: Script, sender: str, to: str, value: int) -> Event:
    """Move tokens."""
    return script.add(Transfer, "token", from_=sender, to=to, value=value)


def _first(contract: str) -> dict[str, Any]:
    if contract == "timelock":
        return {"old_duration": 0, "new_duration": 0}
    return {"role": bytes(32), "account": DEPLOYMENT.timelock, "sender": DEPLOYMENT.timelock}
