# SPDX-License-Identifier: Apache-2.0
"""The chain as a coordinator sees it: its time, its contracts, and what no reorg changes any more."""

from __future__ import annotations

from dataclasses import dataclass, field

from folkmoot.artifacts.federation import Federation
from folkmoot.chain.client import check_deployment
from folkmoot.errors import ArtifactError, ChainError, InputError, UpdateRefused
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.verdict import Reason
from folkmoot.rpc.client import LedgerReader, RewardsReader, RoundView, Rpc, VaultReader
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.runtime.units import format_amount
from server.settings import Settings

DEFAULT_CONFIRMATIONS = 6
AWAY = ("rpc-unreachable", "rpc-error", "rpc-no-quorum")
"""Codes of errors of an endpoint that is not there, or is in trouble: it may be the right one."""


@dataclass(frozen=True)
class ChainView:
    """One endpoint, and the contracts of one federation behind it."""

    chain_id: int
    ledger: LedgerReader
    rewards: RewardsReader
    vault: VaultReader
    confirmations: int
    """Blocks, its own included, after which a transaction counts as settled."""
    time_travel: bool = False
    """Whether this coordinator moves the clock on when nobody is waited for; of a local Anvil only."""
    _policies: dict[int, Policy] = field(default_factory=dict)

    @classmethod
    def of(cls, rpc: Rpc, deployment: Deployment, settings: Settings) -> ChainView:
        """Make the view of a deployment; the endpoint is asked nothing.

        Raises:
            InputError: The settings ask for time travel on a chain whose clock can't be moved.
        """
        local = deployment.chain_id == LOCAL_CHAIN_ID
        if settings.time_travel and not local:
            raise InputError(
                f"The clock of chain {deployment.chain_id} can't be moved: it is not a local Anvil.",
                remedy="Leave out --time-travel.",
            )
        return cls(
            deployment.chain_id,
            LedgerReader(rpc, deployment.ledger),
            RewardsReader(rpc, deployment.rewards),
            VaultReader(rpc, deployment.vault),
            confirmations_of(settings, deployment),
            settings.time_travel,
        )

    @property
    def rpc(self) -> Rpc:
        """The endpoint."""
        return self.ledger.rpc

    @property
    def local(self) -> bool:
        """Whether the chain is a local Anvil, whose clock can be moved."""
        return self.chain_id == LOCAL_CHAIN_ID

    def now(self) -> int:
        """The chain's time. A local Anvil makes blocks only on demand: there the block under way counts."""
        return self.rpc.fresh_block()[1] if self.local else self.rpc.latest_timestamp()

    def move_clock(self, timestamp: int) -> None:
        """Let the next block have this time, and make it. Only Anvil can do this."""
        self.rpc.call("evm_setNextBlockTimestamp", [timestamp])
        self.rpc.call("evm_mine", [])

    def policy(self, policy_id: int) -> Policy:
        """A policy.

        One that has its confirmations never changes, and is asked for once. A younger one may make room for another of
        the same number, if a reorg takes the vote that added it.
        """
        if policy_id not in self._policies:
            try:
                settled = self.ledger.policy(policy_id, None if self.local else self.settled_block())
            except ChainError:  # it, the ledger or the endpoint's memory is younger
                return self.ledger.policy(policy_id)
            self._policies[policy_id] = settled
        return self._policies[policy_id]

    def forget(self) -> None:
        """Ask for every policy again: the chain has lost blocks that had their confirmations."""
        self._policies.clear()

    def check_place(self, number: int, contributor: str, policy: Policy) -> None:
        """Make sure that an account may commit in a round, as long as the round is not full.

        Raises:
            UpdateRefused: It may not; the code says why.
        """
        needed = policy.min_stake
        if self.ledger.has_place(number, contributor):
            return
        member = self.vault.members([contributor])[contributor]
        if member.stake < needed:
            raise UpdateRefused(
                f"{contributor} has {format_amount(member.stake)} at stake; the policy asks for "
                f"{format_amount(needed)}.",
                remedy=f"Stake {format_amount(needed - member.stake)} more with `folkmoot enrol --stake`.",
                code=Reason.STAKE_TOO_LOW,
                details={"stake": str(member.stake), "required": str(needed)},
            )
        draw = self.ledger.draw(number)
        if draw.quota and needed <= member.enrolled < draw.quota and member.since < draw.at:
            raise UpdateRefused(
                f"{contributor} has no place in round {number}: more stake is enrolled than there are places, "
                f"and its lot did not win. {format_amount(draw.quota)} enrolled have a place for certain.",
                remedy="Take part in the next round, or enrol more stake with `folkmoot enrol`.",
                code=Reason.NO_PLACE,
                details={"enrolled": str(member.enrolled), "quota": str(draw.quota)},
            )
        raise UpdateRefused(
            f"{contributor} was not enrolled with {format_amount(needed)} when the places of round {number} "
            f"were given; it has {format_amount(member.enrolled)} enrolled.",
            remedy="Enrol with `folkmoot enrol`, and take part in the next round.",
            code=Reason.NOT_ENROLLED,
            details={"enrolled": str(member.enrolled), "required": str(needed)},
        )

    def settled_round(self, number: int) -> RoundView:
        """A round as no reorg changes it any more: at the newest block that has its confirmations.

        On a local Anvil the newest block counts. An endpoint must know states that many blocks back; full nodes know
        128.
        """
        return self.ledger.round(number, None if self.local else self.settled_block())

    def settled_rewards(self, number: int) -> bool:
        """Whether the rewards of a round were credited, as no reorg changes it any more; see `settled_round`."""
        return self.rewards.is_settled(number, None if self.local else self.settled_block())

    def settled_block(self) -> int:
        """Number of the newest block that has its confirmations, its own included."""
        return max(0, self.rpc.latest().number - self.confirmations + 1)


def confirmations_of(settings: Settings, deployment: Deployment) -> int:
    """Blocks, its own included, after which a transaction counts as settled."""
    local = deployment.chain_id == LOCAL_CHAIN_ID
    return settings.confirmations or (1 if local else DEFAULT_CONFIRMATIONS)


def check_chain(chain: ChainView, federation: Federation) -> None:
    """Make sure that the endpoint serves the chain that the deployment is on, and that it fits to what is here.

    Raises:
        RpcError: The chain gave no answer, which says nothing against it if the code is in `AWAY`: ask again later.
        FolkmootError: It is the wrong chain, or none that these settings are for.
    """
    check_deployment(chain.rpc, federation.deployment)
    if chain.ledger.manifest_hash() != federation.manifest.hash:
        raise ArtifactError(
            "The manifest in the store is not the one that the ledger names.",
            remedy="Run `folkmoot coordinator init` again with the right genesis.",
        )
