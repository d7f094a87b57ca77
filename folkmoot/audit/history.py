# SPDX-License-Identifier: Apache-2.0
"""Read the data of a federation from a chain, once and at one block: events, block times, transactions, storage.

All data are read before the recomputation, so that an endpoint that prunes old states can serve an audit of hours. The
data are not trusted: the other modules replay the events, and compare the results with the storage, the transactions
and the artifacts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, zip_longest
from typing import Any

from eth_utils.address import to_checksum_address

from folkmoot.audit.failure import Subject, mismatch, shown
from folkmoot.audit.transactions import Transaction, read_answer
from folkmoot.chain.deploy import predicted_address
from folkmoot.chain.terms import Bounds
from folkmoot.errors import ContractRefused, RpcError, WrongChainError
from folkmoot.ledger.deployment import CONTRACTS, JUDGES, Deployment
from folkmoot.ledger.entries import entries_of
from folkmoot.ledger.events import (
    BondLocked,
    DelegateVotesChanged,
    Enrolled,
    Event,
    MemberSet,
    ProposalCreated,
    RewardClaimed,
    RewardCredited,
    RoleGranted,
    Staked,
    UpdatesCommitted,
    VoteCast,
    VoteCastWithParams,
)
from folkmoot.ledger.releases import CANDIDATE
from folkmoot.ledger.scan import ChainSource, scan
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import (
    PLACE_BITS,
    Basis,
    Contract,
    Draw,
    Head,
    LedgerReader,
    Member,
    RegistryReader,
    RewardsReader,
    RoundView,
    Rpc,
    VaultReader,
)
from folkmoot.rpc.wallets import accepts_digest

Progress = Callable[[str], None]
"""Called with a description of the data that are read next."""


_SILENT = ("vault", "rewards", *JUDGES, "arbiter")
"""Contracts whose constructors emit no event."""

_NONCES = 64
"""Number of the deployer's transactions that are searched for contracts without events."""

_MEMBERS = 500
"""Number of accounts in one question to the vault."""

_CREATION_BLOCKS = 5_000
"""Number of blocks from the deployment's first one that are searched for contracts without events."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block."""

    number: int
    hash: bytes
    """Hash of the block, 32 bytes."""
    timestamp: int
    """Unix time of the block, which is the clock of the contracts."""


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version in the registry's storage."""

    parent: int
    """Version from which it was trained."""
    registered_at: int
    """Unix time of its registration."""
    state_root: bytes
    """Root of its state, 32 bytes."""
    standing: int = CANDIDATE
    """What votes made of it: 0 candidate, 1 released, 2 recalled."""
    warranty: tuple[int, bool] = (0, False)
    """Units of 1e-18 tokens behind it, and whether a vote took what was there."""


@dataclass(frozen=True, slots=True)
class ProposalView:
    """A proposal in the governor's storage. Times are Unix times, votes in units of stake."""

    snapshot: int
    """Time at which stakes count for the vote."""
    deadline: int
    """End of the vote, extended by a late quorum."""
    eta: int
    """Earliest execution; 0 until queued."""
    against: int
    """Votes against."""
    for_: int
    """Votes for."""
    abstain: int
    """Votes that abstain."""
    quorum: int | None
    """Votes that a quorum needs at the snapshot; None while the snapshot is in the future."""


@dataclass(frozen=True, slots=True)
class Part:
    """A contract that the ledger created."""

    address: str
    code: bytes
    """Code at that address."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What no vote changes of policies, coordinators and members."""

    bounds: Bounds
    """Amounts and windows."""
    verifier: str
    """Verifier of every policy."""
    max_windows: int
    """Seconds that the windows of a policy may have together."""
    governance: str
    """Who adds policies."""
    appoints: str
    """Who appoints coordinators, by the ledger. What follows is the ledger's, too."""
    listens_to: str
    """Whose word the ledger takes for a fraud or a fault."""
    admission: str
    """Contract that says who may enrol; zero if everybody may."""
    members_governance: str | None = None
    """Who changes the list of members; None without such a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Storage of the contracts at the audited block. Amounts in units of 1e-18 tokens."""

    manifest_hash: bytes
    genesis_hash: bytes
    vault: str
    """Address of the vault in the ledger. The next two are also of the ledger."""
    registry: str
    policies_address: str
    token: str
    """Address of the token that rewards are minted in. The next one is also of the contract of rewards."""
    rewards_ledger: str
    minter: str
    """Who mints after the genesis."""
    ledger_head: Head
    next_round: int
    current_policy: int
    coordinator: str
    pending_rounds: int
    rounds: Mapping[int, RoundView]
    policies: Mapping[int, Policy]
    claimable: Mapping[str, int]
    settled: Mapping[int, bool]
    """Whether the rewards of each round were credited."""
    versions: Mapping[int, VersionView]
    """Versions in the registry by round. Rounds without a version are left out."""
    warranty_token: str
    """Address of the token that answers for versions, in the registry."""
    active: tuple[int, bytes] | None
    """Active version and report hash; None if there is none."""
    vault_token: str
    unbonding_period: int
    total_staked: int
    stakes: Mapping[str, int]
    members: Mapping[str, Member]
    """What the vault knows of each account that ever staked, enrolled or locked a bond."""
    bonds: Mapping[str, int]
    """Locked stake of the same accounts."""
    admitted: Mapping[str, bool]
    """Whether the list of members has each account that it ever had; empty without such a list."""
    total_enrolled: int
    basis: Basis
    """What the next draw of places rests on."""
    draws: Mapping[int, Draw]
    """Draw of each round's places."""
    limits: Limits
    unbondings: Mapping[str, tuple[tuple[int, int], ...]]
    """(amount, Unix time of the release), oldest first."""
    votes: Mapping[str, int]
    """Current votes by delegate."""
    vault_balance: int
    total_supply: int
    governor_votes: str
    """Contract whose stakes the governor counts."""
    governor_timelock: str
    min_delay: int
    """Minimum delay of the timelock in seconds."""
    proposals: Mapping[int, ProposalView]
    seasoning: int
    """Seconds for which stake must have been there at a snapshot to vote."""
    launched_at: int
    guardian: str
    """Who may cancel proposals at the block; zero for nobody. The end of its term, a Unix time, is the next."""
    guardian_until: int
    """Unix time of the governor's deployment."""
    past_votes: Mapping[tuple[int, str], int]
    """Votes at the proposal's snapshot, by proposal and voter."""
    roles: Mapping[tuple[str, bytes, str], bool]
    """Whether an account has a role, by contract, role and account, for every past grant."""
    code: Mapping[str, bytes]
    """Code at each contract's address."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """Contracts that the ledger created, by name, in the order of their creation."""
    spent: Mapping[str, int] = field(default_factory=dict)
    """What each contributor has spent of its privacy budget, where a policy asks for noise."""


@dataclass(frozen=True)
class History:
    """All data of a federation on the chain up to one block."""

    deployment: Deployment
    """Addresses of the contracts."""
    head: Block
    """The audited block. Later blocks are ignored."""
    events: Sequence[Event]
    """Events of the contracts in log order."""
    times: Mapping[int, int]
    """Unix time of each block that has an event."""
    storage: Storage
    """Storage of the contracts at the head."""
    transaction: Callable[[bytes], Transaction] = field(repr=False)
    """Returns a transaction by its hash."""
    creations: Mapping[str, bytes] = field(default_factory=dict)
    """Hash of the transaction that created a contract, for contracts that were not created by other contracts."""
    vault_created: Block | None = None
    """Block in which the vault was created: the basis of draws before the first anchor. None if it was not found."""
    accepts: Callable[[str, bytes, bytes], bool] = field(default=lambda *_: False, repr=False)
    """Whether the contract at an address accepts a signature of a hash, at the head."""

    def time(self, event: Event) -> int:
        """Return the Unix time of an event's block."""
        return self.times[event.block]


class PinnedRpc(Rpc):
    """An endpoint with all requests pinned to one block.

    Args:
        rpc: The endpoint, or a quorum of several.
        block: Number of the block.
    """

    def __init__(self, rpc: Rpc, block: int) -> None:
        super().__init__(rpc.url, rpc.timeout)
        self.block = block
        self._rpc = rpc

    def call(self, method: str, params: list[Any] | None = None) -> Any:
        """Call a method of the endpoint."""
        return self._rpc.call(method, params)

    def code(self, address: str) -> bytes:
        """Return the code at an address at the block; empty if there is no contract."""
        return self._data("eth_getCode", [address, hex(self.block)])

    def eth_call(
        self, to: str, data: bytes, block: int | str | None = None, sender: str | None = None
    ) -> bytes:
        """Call a contract at the block and return the result as bytes."""
        return super().eth_call(to, data, self.block if block is None else block, sender)


def read_history(rpc: PinnedRpc, deployment: Deployment, progress: Progress = lambda what: None) -> History:
    """Read all data of a federation on the chain up to the endpoint's block.

    Args:
        rpc: Endpoint pinned to the block.
        deployment: Addresses of the contracts.
        progress: Called with a description of the data that are read next.
    """
    chain_id = rpc.chain_id()
    if chain_id != deployment.chain_id:
        raise WrongChainError(
            f"The RPC endpoint {rpc.name} serves chain {chain_id}, the deployment is on chain {deployment.chain_id}.",
            remedy="Give the endpoint of the deployment's chain, or the deployment file of this chain.",
            details={"chainId": chain_id, "expected": deployment.chain_id},
        )
    head = read_block(rpc, rpc.block)
    code = {role: rpc.code(getattr(deployment, role)) for role in deployment.roles}
    for role, deployed in code.items():
        if not deployed:
            raise WrongChainError(
                f"There is no contract at {getattr(deployment, role)}, where the deployment has its {role}.",
                remedy="Check the deployment file. A local chain that was restarted has lost its contracts.",
                code="contract-missing",
                details={"role": role, "address": getattr(deployment, role)},
            )
    progress("events")
    events = tuple(scan(ChainSource(rpc, deployment), deployment.block, head.number))
    # A full node (go-ethereum) prunes states after about 128 blocks, but no blocks, so the state is read first.
    progress("storage")
    storage = _read_storage(rpc, deployment, head, events, code)
    progress("block times")
    times = _read_times(rpc, events)
    if read_block(rpc, head.number) != head:
        raise RpcError(
            f"The chain was reorganised at block {head.number} while it was read.",
            remedy="Run the audit again.",
            code="reorganised",
        )
    creations = _find_creations(rpc, deployment, head, events)
    transaction = partial(read_transaction, rpc)
    vault_created = _find_block(rpc, creations.get("vault"))
    accepts = partial(accepts_digest, rpc)
    return History(deployment, head, events, times, storage, transaction, creations, vault_created, accepts)


def read_block(rpc: Rpc, number: int) -> Block:
    """Read a block."""
    method = "eth_getBlockByNumber"
    answer = rpc.call(method, [hex(number), False])
    try:
        block = Block(
            rpc.quantity(method, answer["number"], PLACE_BITS),
            bytes.fromhex(answer["hash"][2:]),
            rpc.quantity(method, answer["timestamp"], PLACE_BITS),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise RpcError(
            f"The RPC endpoint {rpc.name} has no block {number}.",
            remedy="Wait until the node is in sync, or use another one.",
            code="block-missing",
        ) from error
    if block.number != number:
        raise _nonsense(rpc, f"block {block.number} when asked for block {number}")
    return block


def read_transaction(rpc: Rpc, hash_: bytes) -> Transaction:
    """Read a transaction."""
    answer = rpc.call("eth_getTransactionByHash", ["0x" + hash_.hex()])
    try:
        return read_answer(hash_, answer)
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise RpcError(
            f"The RPC endpoint {rpc.name} has no transaction 0x{hash_.hex()}, whose events it reports.",
            remedy="Use a node that keeps all transactions.",
            code="transaction-missing",
        ) from error


def _find_creations(
    rpc: Rpc, deployment: Deployment, head: Block, events: Sequence[Event]
) -> dict[str, bytes]:
    """Find the transactions that created the contracts.

    The first event of most contracts comes from the constructor. The constructors of vault, arbiter and judges emit
    none. Their transactions are those of the account that created the governor, from the deployment's first block on.
    `code` checks the result.
    """
    first: dict[str, Event] = {}
    for event in events:
        first.setdefault(event.contract, event)
    speaking = [role for role in deployment.roles if role not in _SILENT and role in first]
    creations = {role: first[role].transaction for role in speaking}
    if "governor" not in creations:
        return creations
    before = read_transaction(rpc, first["governor"].transaction)
    if before.to is not None:
        return creations
    nonces = range(max(0, before.nonce - CONTRACTS.index("governor")), before.nonce + _NONCES)
    predicted = {predicted_address(before.sender, nonce): nonce for nonce in nonces}
    missing = {
        predicted[address]: role for role in _SILENT if (address := getattr(deployment, role)) in predicted
    }
    number, end = deployment.block, min(head.number, deployment.block + _CREATION_BLOCKS)
    while missing and number <= end:
        answer = rpc.call("eth_getBlockByNumber", [hex(number), True])
        try:
            for transaction in answer["transactions"]:
                if str(to_checksum_address(transaction["from"])) == before.sender:
                    role = missing.pop(int(transaction["nonce"], 16), None)
                    if role is not None:
                        creations[role] = bytes.fromhex(transaction["hash"][2:])
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise _nonsense(rpc, f"a block {number} without its transactions") from error
        number += 1
    return creations


def _read_times(rpc: Rpc, events: Sequence[Event]) -> dict[int, int]:
    """Read the time of each block with events. Blocks, logs and times must be in ascending order."""
    times: dict[int, int] = {}
    block = Block(-1, b"", 0)
    for before, event in pairwise([None, *events]):
        assert event is not None  # noqa: S101  # only the first pair begins with None
        if before is not None and (before.block, before.log_index) >= (event.block, event.log_index):
            raise _nonsense(rpc, f"two events with the place {event.log_index} in block {event.block}")
        if event.block != block.number:
            previous, block = block, read_block(rpc, event.block)
            if block.timestamp < previous.timestamp:
                raise _nonsense(rpc, f"a block {block.number} that is older than block {previous.number}")
            times[block.number] = block.timestamp
        if event.block_hash != block.hash:
            raise _nonsense(rpc, f"an event of a block {event.block} that is not on its chain")
    return times


def _find_block(rpc: Rpc, transaction: bytes | None) -> Block | None:
    """Return the block of a transaction; None without one."""
    if transaction is None:
        return None
    answer = rpc.call("eth_getTransactionByHash", ["0x" + transaction.hex()])
    try:
        number = int(answer["blockNumber"], 16)
    except (TypeError, KeyError, ValueError) as error:
        raise _nonsense(rpc, f"no block of transaction 0x{transaction.hex()}") from error
    return read_block(rpc, number)


def _read_part(rpc: PinnedRpc, address: str) -> Part:
    return Part(address, rpc.code(address))


def _read_limits(rpc: PinnedRpc, deployment: Deployment) -> Limits:
    ledger = LedgerReader(rpc, deployment.ledger)
    policies, members = Contract(rpc, deployment.policies, "policies"), deployment.members
    return Limits(
        Bounds(*policies.read("bounds")),
        policies.read("verifier"),
        policies.read("maxWindows"),
        policies.read("governance"),
        ledger.read("governance"),
        ledger.read("verifier"),
        ledger.admission(),
        None if members is None else Contract(rpc, members, "members").read("governance"),
    )


def _read_storage(
    rpc: PinnedRpc, deployment: Deployment, head: Block, events: Sequence[Event], code: Mapping[str, bytes]
) -> Storage:
    ledger = LedgerReader(rpc, deployment.ledger)
    rewards, vault = RewardsReader(rpc, deployment.rewards), VaultReader(rpc, deployment.vault)
    next_round, current_policy = ledger.next_round(), ledger.current_policy()
    members = sorted({event.account for event in events if isinstance(event, Staked)})
    known = sorted({event.account for event in events if isinstance(event, Staked | Enrolled | BondLocked)})
    earners = sorted({event.contributor for event in events if isinstance(event, RewardCredited)})
    claimers = sorted({event.account for event in events if isinstance(event, RewardClaimed)})
    policies = {number: ledger.policy(number) for number in range(1, current_policy + 1)}
    private = any(policy.noise1024 for policy in policies.values())
    committed = sorted(
        {
            entry.contributor
            for event in events
            if private and isinstance(event, UpdatesCommitted)
            for entry in entries_of(event)
        }
    )
    delegates = sorted(
        {e.delegate for e in events if isinstance(e, DelegateVotesChanged) and e.contract == "vault"}
    )
    listed = sorted({event.account for event in events if isinstance(event, MemberSet)})
    grants = {(e.contract, e.role, e.account) for e in events if isinstance(e, RoleGranted)}

    def read(role: str, name: str, *arguments: Any) -> Any:
        return Contract(rpc, getattr(deployment, role), role).read(name, *arguments)

    proposals = {
        event.proposal_id: _read_proposal(rpc, deployment, head, event.proposal_id)
        for event in events
        if isinstance(event, ProposalCreated)
    }
    return Storage(
        manifest_hash=ledger.manifest_hash(),
        genesis_hash=ledger.genesis_hash(),
        vault=read("ledger", "vault"),
        registry=read("ledger", "registry"),
        policies_address=read("ledger", "policies"),
        token=read("rewards", "token"),
        rewards_ledger=read("rewards", "ledger"),
        minter=read("token", "minter"),
        ledger_head=ledger.head(),
        next_round=next_round,
        current_policy=current_policy,
        coordinator=ledger.coordinator(),
        pending_rounds=ledger.pending_rounds(),
        rounds={number: ledger.round(number) for number in range(next_round)},
        policies=policies,
        claimable={account: rewards.claimable(account) for account in sorted({*earners, *claimers})},
        settled={number: rewards.is_settled(number) for number in range(1, next_round)},
        versions=_read_versions(rpc, deployment, next_round),
        warranty_token=read("registry", "token"),
        active=RegistryReader(rpc, deployment.registry).active(),
        vault_token=read("vault", "token"),
        unbonding_period=read("vault", "unbondingPeriod"),
        total_staked=vault.total_staked(),
        stakes={account: vault.stake_of(account) for account in members},
        members={
            account: member
            for start in range(0, len(known), _MEMBERS)
            for account, member in vault.members(known[start : start + _MEMBERS]).items()
        },
        bonds={account: vault.bond_of(account) for account in known},
        admitted={account: read("members", "admits", account) for account in listed},
        total_enrolled=vault.total_enrolled(),
        basis=vault.basis(),
        draws={number: ledger.draw(number) for number in range(next_round)},
        limits=_read_limits(rpc, deployment),
        parts={
            "Odometer": _read_part(rpc, read("ledger", "odometer")),
            "Attendance": _read_part(rpc, read("ledger", "attendance")),
        },
        spent={account: ledger.spent(account) for account in committed},
        unbondings={account: tuple(read("vault", "unbondings", account)) for account in members},
        votes={account: vault.votes_of(account) for account in delegates},
        vault_balance=read("token", "balanceOf", deployment.vault),
        total_supply=read("token", "totalSupply"),
        governor_votes=read("governor", "token"),
        governor_timelock=read("governor", "timelock"),
        min_delay=read("timelock", "getMinDelay"),
        proposals=proposals,
        seasoning=read("governor", "seasoning"),
        launched_at=read("governor", "launchedAt"),
        guardian=read("governor", "proposalGuardian"),
        guardian_until=read("governor", "guardianUntil"),
        past_votes={
            (event.proposal_id, event.voter): read(
                "vault", "getPastVotes", event.voter, proposals[event.proposal_id].snapshot
            )
            for event in events
            if isinstance(event, VoteCast | VoteCastWithParams) and event.proposal_id in proposals
        },
        roles={
            (role, name, account): read(role, "hasRole", name, account)
            for role, name, account in sorted(grants)
        },
        code=code,
    )


def _read_versions(rpc: Rpc, deployment: Deployment, next_round: int) -> dict[int, VersionView]:
    registry, versions = RegistryReader(rpc, deployment.registry), {}
    for number in range(next_round):
        try:
            version = registry.version(number)
        except ContractRefused:  # The version does not exist.
            continue
        standing = registry.standing(number)
        versions[number] = VersionView(
            version.parent,
            version.registered_at,
            version.state_root,
            standing,
            registry.warranties(number),
        )
    return versions


def _read_proposal(rpc: Rpc, deployment: Deployment, head: Block, proposal: int) -> ProposalView:
    governor = Contract(rpc, deployment.governor, "governor")
    snapshot = governor.read("proposalSnapshot", proposal)
    against, for_, abstain = governor.read("proposalVotes", proposal)
    return ProposalView(
        snapshot,
        governor.read("proposalDeadline", proposal),
        governor.read("proposalEta", proposal),
        against,
        for_,
        abstain,
        governor.read("quorum", snapshot) if snapshot < head.timestamp else None,
    )


def _nonsense(rpc: Rpc, what: str) -> RpcError:
    return RpcError(
        f"The RPC endpoint {rpc.name} sent {what}.",
        remedy="Run the audit again. If this repeats, use another endpoint.",
        code="rpc-inconsistent",
    )


_CHECK = "endpoints"
_REMEDY = "One of the endpoints is lying or faulty: add a third one, preferably your own node."


def compare_histories(urls: Sequence[str], histories: Sequence[History]) -> None:
    """Compare the histories of endpoints at the same block.

    With three or more, those that differ from the majority are named. With two, it is unknown which one is right.

    Args:
        urls: URLs of the endpoints.
        histories: History of each endpoint.
    """
    agreeing = [sum(not any(differences(mine, other)) for other in histories) for mine in histories]
    reference = agreeing.index(max(agreeing))
    for url, history in zip(urls, histories, strict=True):
        for what, expected, actual in differences(histories[reference], history):
            raise mismatch(
                Subject(check=_CHECK),
                f"{what} at {url}",
                f"{shown(expected)}, as {urls[reference]} says",
                actual,
                remedy=_REMEDY,
            )


def differences(one: History, other: History) -> Iterator[tuple[str, object, object]]:
    """Yield the differences of two histories, the most significant first: name and both values."""
    if one.head != other.head:
        yield f"block {one.head.number}", one.head.hash, other.head.hash
    for mine, theirs in zip_longest(one.events, other.events):
        if mine != theirs:
            yield from _event_difference(mine, theirs)
            return  # The following events are only shifted.
    if one.times != other.times:
        yield "the block times", one.times, other.times
    for name in Storage.__dataclass_fields__:
        mine, theirs = getattr(one.storage, name), getattr(other.storage, name)
        if mine != theirs:
            yield f"the stored {name.replace('_', ' ')}", mine, theirs


def _event_difference(one: Event | None, other: Event | None) -> Iterator[tuple[str, object, object]]:
    event = one or other
    assert event is not None  # noqa: S101  # they differ, so one of them exists
    where = f"event {event.log_index} of block {event.block}"
    if one is None or other is None or one.name != other.name:
        yield where, one.name if one else None, other.name if other else None
        return
    for name in type(one).__dataclass_fields__:
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            transaction = f"({one.name} in transaction 0x{one.transaction.hex()})"
            yield f"the {name.replace('_', ' ')} of {where} {transaction}", mine, theirs
