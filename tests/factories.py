# SPDX-License-Identifier: Apache-2.0
"""Makers of test data: named accounts, policies, genesis hashes, and federations on a local chain.

Everything is a pure function of its arguments, so that a failing test fails again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eth_account import Account
from eth_utils.crypto import keccak

from folkmoot.chain.deploy import deploy_and_report
from folkmoot.chain.terms import OPEN, PROFILES, ZERO_ADDRESS, Admission, GenesisRoots, Governance
from folkmoot.protocol.policy import Policy
from folkmoot.runtime.units import UNIT

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.chain.client import Chain
    from folkmoot.devnet.anvil import Anvil
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.client import Call

CONTRIBUTORS = ("ada", "ben", "cleo", "dora", "emil")
"""Names of the contributors of a test federation; all have stake."""

STAKE = 100 * UNIT
"""Stake of each contributor of a test federation."""

BOND = 500 * UNIT
"""Stake of the coordinator of a test federation."""

ALLOCATION = 1_000 * UNIT
"""Genesis tokens of each account of a test federation."""

PASSWORD = "correct horse battery"
"""Password of every test key file."""

GOVERNANCE = Governance(
    voting_delay=10,
    voting_period=600,
    threshold=10 * UNIT,
    quorum_percent=20,
    vote_extension=60,
    timelock_delay=600,
    unbonding=3_600,
)
"""How the assembly of a test federation works."""


def account(name: str) -> LocalAccount:
    """Return the account of a name: `ada`, `coordinator`, `deployer`, or whatever a test calls somebody."""
    made: LocalAccount = Account.from_key(keccak(text=f"folkmoot test account {name}"))
    return made


def policy(**changes: Any) -> Policy:
    """Return a policy with the windows of the demo profile; `changes` replaces fields."""
    windows = PROFILES["demo"].windows
    plain = Policy(
        rule="mean",
        parameters=(),
        max_sum_squares=10**9,
        min_contributors=2,
        max_contributors=32,
        width=8,
        rate=1024,
        momentum=0,
        commit_window=windows.commit,
        anchor_window=windows.anchor,
        challenge_window=windows.challenge,
        min_stake=50 * UNIT,
        bond=50 * UNIT,
        reward=10 * UNIT,
        verifier=ZERO_ADDRESS,
    )
    return replace(plain, **changes)


def genesis_roots() -> GenesisRoots:
    """Return three hashes that stand for a genesis where no model is needed."""
    return GenesisRoots(
        manifest_hash=keccak(text="manifest"),
        state_root=keccak(text="state"),
        genesis_hash=keccak(text="genesis"),
    )


@dataclass(frozen=True)
class Federation:
    """A deployment on a local chain, with the people in it."""

    anvil: Anvil
    """The chain's process."""
    chain: Chain
    """Client of its contracts."""
    deployment: Deployment
    """Addresses."""
    deployer: LocalAccount
    """Who deployed; holds nothing."""
    coordinator: LocalAccount
    """Bonded with `BOND`."""
    contributors: dict[str, LocalAccount]
    """By name, each with `STAKE`, all of it enrolled."""

    def __getitem__(self, name: str) -> LocalAccount:
        """Return the account of a name."""
        return account(name)


def stake(chain: Chain, who: LocalAccount, amount: int) -> None:
    """Approve and stake an amount, in units of 1e-18 tokens."""
    chain.send(chain.token.functions.approve(chain.deployment.vault, amount), who)
    chain.send(chain.vault.functions.stake(who.address, amount), who)


def enrol(chain: Chain, who: LocalAccount, amount: int) -> None:
    """Enrol an account with an amount of its stake, in units of 1e-18 tokens."""
    chain.send(chain.ledger.functions.enrol(amount), who)


def federation(
    anvil: Anvil,
    *,
    genesis: GenesisRoots | None = None,
    first_policy: Policy | None = None,
    governance: Governance = GOVERNANCE,
    admission: Admission = OPEN,
) -> Federation:
    """Deploy the contracts on a local chain, fund and stake everybody, enrol the contributors, and return it all.

    The accounts `outsider` and `deployer` have native coins but neither tokens nor stake; `newcomer` has tokens only.
    """
    from folkmoot.chain.client import Chain
    from folkmoot.chain.transactions.connection import connect_web3

    people = {name: account(name) for name in CONTRIBUTORS}
    coordinator = account("coordinator")
    holders = [coordinator, account("newcomer"), *people.values()]
    for who in [account("deployer"), account("outsider"), *holders]:
        anvil.fund(who.address)
    deployment = deploy_and_report(
        connect_web3(anvil.url),
        account("deployer"),
        genesis or genesis_roots(),
        first_policy or policy(),
        coordinator.address,
        {who.address: ALLOCATION for who in holders},
        governance,
        admission=admission,
    ).deployment
    chain = Chain.connect(anvil.url, deployment)
    stake(chain, coordinator, BOND)
    for who in people.values():
        stake(chain, who, STAKE)
        enrol(chain, who, STAKE)
    anvil.advance(1)  # stake votes, and enrolment counts, from the second after
    return Federation(anvil, chain, deployment, account("deployer"), coordinator, people)


def fields_of(chain: Chain, call: Call, account: LocalAccount, **fields: Any) -> dict[str, Any]:
    """Return what an account signs for a call; `fields` are other values than the usual ones."""
    usual = {
        "chainId": chain.deployment.chain_id,
        "nonce": chain.rpc.transaction_count(account.address),
        "value": 0,
        "gas": 300_000,
        "maxPriorityFeePerGas": 10**9,
        "maxFeePerGas": 4 * chain.rpc.latest().base_fee + 10**9,
    }
    return {**usual, "to": call.to, "data": call.data, **fields}
