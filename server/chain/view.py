# SPDX-License-Identifier: Apache-2.0
"""The chain as a coordinator sees it: its time, its contracts, and what no reorg changes any more."""

from __future__ import annotations

from dataclasses import dataclass, field

from folkmoot.chain.client import check_deployment
from folkmoot.errors import ArtifactError, ChainError, InputError
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import LedgerReader, RoundView, Rpc, VaultReader
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from server.chain.node import RpcNode
from server.federation import Federation
from server.settings import Settings

DEFAULT_CONFIRMATIONS = 6
AWAY = ("rpc-unreachable", "rpc-error", "rpc-no-quorum")
"""Codes of errors of an endpoint that is not there, or is in trouble: it may be the right one."""


@dataclass(frozen=True)
class ChainView:
    """One endpoint, and the contracts of one federation behind it."""

    chain_id: int
    node: RpcNode
    ledger: LedgerReader
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
            RpcNode(rpc),
            LedgerReader(rpc, deployment.ledger),
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
        """The chain's time."""
        return self.node.now(self.chain_id)

    def policy(self, policy_id: int) -> Policy:
        """A policy.

        One that has its confirmations never changes, and is asked for once. A younger one may make room for another of
        the same number, if a reorg takes the vote that added it.

        Raises:
            RpcError: The chain gave no answer.
            ContractRefused: There is no such policy.
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

    def settled_round(self, number: int) -> RoundView:
        """A round as no reorg changes it any more: at the newest block that has its confirmations.

        On a local Anvil the newest block counts. An endpoint must know states that many blocks back; full nodes know
        128.

        Raises:
            RpcError: The chain gave no answer.
        """
        return self.ledger.round(number, None if self.local else self.settled_block())

    def settled_block(self) -> int:
        """Number of the newest block that has its confirmations, its own included.

        Raises:
            RpcError: The chain gave no answer.
        """
        return max(0, self.node.latest().number - self.confirmations + 1)


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
