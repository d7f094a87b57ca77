# SPDX-License-Identifier: Apache-2.0
"""The contracts of one federation: typed reads, and transactions that are sent once.

Every failure of the chain becomes a `ChainError`: an unreachable node, another chain, a contract that is not there, and
a revert with its custom error in words. Knows nothing of rounds beyond what the contracts say. Imports web3 when it
sends first.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from folkmoot.chain.fees import NO_CEILING
from folkmoot.chain.transactions import CONFIRM_TIMEOUT
from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.errors import RpcError, WrongChainError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.event import Event
from folkmoot.ledger.scan import decode_log
from folkmoot.rpc.client import (
    DEFAULT_TIMEOUT,
    Call,
    Contract,
    LedgerReader,
    Phase,
    RegistryReader,
    RewardsReader,
    Rpc,
    TokenReader,
    VaultReader,
)
from folkmoot.rpc.quorum import open_rpc

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3
    from web3.types import TxReceipt

E = TypeVar("E", bound=Event)


class Chain:
    """The contracts of one federation.

    Use `connect`. Every method raises RpcError when the endpoint fails, and ContractRefused when a contract does.

    Attributes:
        rpc: The endpoint.
        deployment: The addresses.
        notes: Where transactions are noted before they are sent, so that an interrupted command is not repeated.
        max_fee: Highest fee for a unit of gas (wei) that transactions offer.
        token, vault, registry, policies, ledger, timelock, governor, arbiter, and the judges: The contracts.
        members: The list of members, only in a federation that has one.
    """

    policies: Contract
    timelock: Contract
    governor: Contract
    fraud_proofs: Contract
    gram_proofs: Contract
    contributor_faults: Contract
    data_availability: Contract
    disputes: Contract
    arbiter: Contract
    members: Contract

    def __init__(self, rpc: Rpc, deployment: Deployment) -> None:
        self.rpc = rpc
        self.deployment = deployment
        self.notes = TransactionJournal()
        self.max_fee = NO_CEILING
        for role in deployment.roles:
            setattr(self, role, Contract(rpc, getattr(deployment, role), role))
        self.ledger = LedgerReader(rpc, deployment.ledger)
        self.rewards = RewardsReader(rpc, deployment.rewards)
        self.vault = VaultReader(rpc, deployment.vault)
        self.token = TokenReader(rpc, deployment.token)
        self.registry = RegistryReader(rpc, deployment.registry)

    @functools.cached_property
    def w3(self) -> Web3:
        """The same endpoint for web3."""
        from folkmoot.chain.transactions.connection import web3_over

        return web3_over(self.rpc)

    @classmethod
    def connect(
        cls, rpc_url: str | Sequence[str], deployment: Deployment, *, timeout: float = DEFAULT_TIMEOUT
    ) -> Chain:
        """Connect, and check the chain id, the code at every address and the genesis.

        Args:
            rpc_url: HTTP address of an endpoint, or of several (`quorum.split_urls`).
            deployment: The addresses.
            timeout: Seconds that one request may take.

        Raises:
            WrongChainError: the chain is another one, or a contract is missing or belongs to another federation.
        """
        rpc = open_rpc(rpc_url, timeout)
        try:
            check_deployment(rpc, deployment)
            return cls(rpc, deployment)
        except BaseException:
            rpc.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self.rpc.close()

    # Transactions

    def send(
        self,
        call: Call,
        account: LocalAccount,
        *,
        timeout: float = CONFIRM_TIMEOUT,
        purpose: str = "",
        wait: bool = True,
        once: bool = False,
    ) -> TxReceipt:
        """Send a call as a transaction, wait until it is mined, and return its receipt.

        With `notes`, what an interrupted call for the same purpose sent is taken up instead: see there. They also say
        the confirmations that it must have until it is returned.

        Args:
            call: The call with its arguments, e.g. `chain.vault.functions.requestUnbond(amount)`.
            account: Account that signs and pays.
            timeout: Seconds that it may take to be mined.
            purpose: What for, in words that stay the same in another call; the function and its arguments if empty.
            wait: Whether to wait for that depth; else `settle` must do it before anybody is told.
            once: Whether the contract lets it happen only once, or twice is as good as once: then it is tried again
                where nobody can say what became of what an interrupted call sent.

        Raises:
            RpcError: the endpoint failed, or the account can't pay the gas; code `fee-limit`: gas costs more than
                `max_fee`.
            ContractRefused: the contract refuses; nothing was sent, or it was mined as failed.
            ChainError: code `not-mined`: it was sent, but not mined in time; `outcome-unknown`: an interrupted call may
                have done it, and the endpoint can't say; what `settle` raises.
            LocalError: it can't be noted; nothing was sent.
        """
        from folkmoot.chain.transactions.connection import send

        return send(
            self.w3,
            call,
            account,
            timeout=timeout,
            notes=self.notes,
            purpose=purpose,
            wait=wait,
            once=once,
            max_fee=self.max_fee,
        )

    def settle(self, *receipts: TxReceipt) -> list[TxReceipt]:
        """Wait until all that was sent has the confirmations that `notes` ask for; return the receipts of then.

        Args:
            receipts: Of what `send` and `earlier` returned.

        Raises:
            ContractRefused: a reorg took one of them, and it failed when it was mined again.
            ChainError: code `not-confirmed`: no block came in time; `not-mined`: what a reorg took was not mined again
                in time; `nonce-taken`: another transaction has its nonce.
        """
        from folkmoot.chain.transactions.connection import settle

        return settle(self.w3, self.notes, *receipts)

    def earlier(
        self, role: str, sender: str, purpose: str, *, wait: bool = True, once: bool = False
    ) -> TxReceipt | None:
        """Return the receipt of what an interrupted call for the same purpose sent; None if there is none.

        For commands that look at the chain before they send: what they see may be their own doing.

        Args:
            role: Contract (`ledger`, ...) that is called.
            sender: Account that signs, checksummed.
            purpose: As for `send`.
            wait: As for `send`.
            once: As for `send`.

        Raises:
            ChainError: code `not-mined`: it is on its way, and was not mined in time; `outcome-unknown`: as for `send`;
                what `settle` raises.
            LocalError: the note of it can't be read.
        """
        from folkmoot.chain.transactions.connection import earlier

        contract = getattr(self.deployment, role)
        return earlier(self.w3, self.notes, contract, sender, purpose, wait=wait, once=once)

    def event_of(self, receipt: TxReceipt, event: type[E]) -> E:
        """Return the first event of a kind that our contracts emitted in a transaction.

        Raises:
            RpcError: there is none: the endpoint's receipt is not of that call.
        """
        roles = {getattr(self.deployment, role): role for role in self.deployment.roles}
        return event_of(self.rpc, receipt, roles, event)

    def read(self, call: Call, *, pending: bool = False, sender: str | None = None) -> Any:
        """Call a function without a transaction and return its result, a tuple if there are several.

        Args:
            call: The call with its arguments.
            sender: The account that seems to call; None for views, which do not ask.
            pending: Whether to call it on the block that would come next instead of on the newest: what depends on the
                time is then right on a chain that has been idle.
        """
        block = self.rpc.fresh_block()[0] if pending else None
        results = self.rpc.invoke(call.to, call.function, call.arguments, block=block, sender=sender)
        return results[0] if len(results) == 1 else results

    def now(self) -> int:
        """Return the Unix time that a transaction sent now would see, as far as the node can say."""
        return self.rpc.fresh_block()[1]

    def phase(self, round_id: int) -> Phase:
        """Return the phase of a round as a transaction sent now would see it."""
        return Phase(self.read(self.ledger.functions.phase(round_id), pending=True))


def event_of(rpc: Rpc, receipt: TxReceipt, roles: Mapping[str, str], event: type[E]) -> E:
    """Return the first event of a kind that contracts emitted in a transaction.

    Args:
        rpc: Endpoint that the receipt is of.
        roles: Contract (`ledger`, ...) by checksummed address.
        event: Record of the event.
    """
    from folkmoot.chain.transactions.connection import logs_of

    for log in logs_of(receipt):
        emitted = decode_log(log, roles)
        if isinstance(emitted, event):
            return emitted
    raise RpcError(
        f"The RPC endpoint {rpc.name} sent a receipt without the event {event.__name__} that it must have.",
        remedy="Use another endpoint.",
        code="bad-log",
    )


def check_deployment(rpc: Rpc, deployment: Deployment) -> None:
    """Check that a deployment is on this chain.

    Raises:
        WrongChainError: another chain id, no code at an address, or a ledger with another genesis.
    """
    chain_id = rpc.chain_id()
    if chain_id != deployment.chain_id:
        raise WrongChainError(
            f"The RPC endpoint {rpc.name} serves chain {chain_id}, the deployment is on chain {deployment.chain_id}.",
            remedy="Give the endpoint of the deployment's chain, or the deployment file of this chain.",
            details={"chainId": chain_id, "expected": deployment.chain_id},
        )
    for role in deployment.roles:
        address = getattr(deployment, role)
        if not rpc.code(address):
            raise WrongChainError(
                f"There is no contract at {address}, where the deployment has its {role}.",
                remedy="Check the deployment file; a local chain that was started anew has no contracts: deploy again.",
                code="contract-missing",
                details={"role": role, "address": address},
            )
    genesis_hash = LedgerReader(rpc, deployment.ledger).genesis_hash()
    if "0x" + genesis_hash.hex() != deployment.genesis_hash:
        raise WrongChainError(
            f"The ledger at {deployment.ledger} has the genesis 0x{genesis_hash.hex()}, the deployment file says "
            f"{deployment.genesis_hash}.",
            remedy="The file belongs to another federation; get the right one.",
            code="other-genesis",
        )
