# SPDX-License-Identifier: Apache-2.0
"""The events of all contracts as typed records, in the order in which the chain has them.

Decodes with the packaged ABIs over plain JSON-RPC; knows no web3.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.errors import RpcError
from folkmoot.ledger import packaged
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.ledger.texts import decode
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import Rpc

BLOCK_STEP = 2_000
"""Blocks that the first request asks for: what public endpoints answer. It grows while they go on answering."""

MAX_BLOCK_STEP = 200_000
"""Most blocks that one request asks for."""

MANY_LOGS = 5_000
"""Logs of an answer from which the next request asks for fewer blocks: an answer is held as a whole, several times over
while it is decoded, and a long history would come in few of them."""

_E = TypeVar("_E", bound="type[Event]")

EVENTS: dict[str, type[Event]] = {}
"""Record class of each event, by its name in Solidity."""


class Source(Protocol):
    """What events are read from: an endpoint and the addresses. `client.Chain` is one."""

    @property
    def rpc(self) -> Rpc:
        """Endpoint to ask."""

    @property
    def deployment(self) -> Deployment:
        """Addresses of the contracts."""


def _record(cls: _E) -> _E:
    EVENTS[cls.__name__] = cls
    return cls


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event has: its place on the chain."""

    contract: str
    """Contract that emitted it, one of `deployment.CONTRACTS`."""
    block: int
    """Number of its block."""
    block_hash: bytes
    """Hash of its block, 32 bytes."""
    transaction: bytes
    """Hash of its transaction, 32 bytes."""
    log_index: int
    """Its place among the logs of its block."""

    @property
    def name(self) -> str:
        """Name of the event in Solidity."""
        return type(self).__name__


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """What a coordinator claimed about a round (`IRoundLedger.Anchor`)."""

    weights: tuple[int, ...]
    """One weight an entry, in the order of the entries."""
    delivered: int
    """One bit an entry, the lowest for the first: whether its update arrived."""
    aggregate_root: bytes
    """Root of the aggregate's tree."""
    state_root: bytes
    """State root after the outer step."""
    gram_root: bytes
    """Root of the Gram tree, or zeros."""
    verdict_hash: bytes
    """keccak256 of the verdicts file."""
    artifacts_hash: bytes
    """keccak256 of the artifacts file."""


# RoundLedger


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAdded(Event):
    """Governance added a policy; new rounds pin it from then on."""

    policy_id: int
    policy: Policy


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorAppointed(Event):
    """A coordinator was appointed."""

    previous: str
    coordinator: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOpened(Event):
    """A round opened. Deadlines are Unix times."""

    round: int
    policy_id: int
    coordinator: str
    base: int
    base_state_root: bytes
    header_hash: bytes
    commit_deadline: int
    anchor_deadline: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateCommitted(Event):
    """A commitment was recorded; `index` counts the entries of the round from 0."""

    round: int
    contributor: str
    index: int
    update_root: bytes
    sum_squares: int
    num_examples: int
    bundle_hash: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled(Event):
    """An account enrolled; `from_` is the first round that waits for it."""

    account: str
    from_: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Left(Event):
    """An account is not enrolled any more; `reason` is the value of `IRoundLedger.LeaveReason`."""

    account: str
    reason: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class CommitsClosed(Event):
    """The coordinator ended a commit window early; the two deadlines are the new ones, Unix times."""

    round: int
    commit_deadline: int
    anchor_deadline: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundAnchored(Event):
    """The coordinator anchored a round. The deadline is a Unix time."""

    round: int
    anchor: AnchorRecord
    challenge_deadline: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFinalized(Event):
    """A round became final: its state is a candidate version."""

    round: int
    state_root: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundCancelled(Event):
    """A round was cancelled; `reason` is the value of `IRoundLedger.CancelReason`."""

    round: int
    reason: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSlashed(Event):
    """A verifier proved fraud; `bond` is what was taken, in units of 1e-18 tokens."""

    round: int
    verifier: str
    challenger: str
    bond: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class ContributorSlashed(Event):
    """A fault of a contributor was proven; `taken` is in units of 1e-18 tokens. The round stands."""

    round: int
    contributor: str
    challenger: str
    taken: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPostponed(Event):
    """A round becomes final no earlier than this deadline, a Unix time."""

    round: int
    challenge_deadline: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettled(Event):
    """The rewards of a round were credited."""

    round: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RewardCredited(Event):
    """A contributor was credited a reward, in units of 1e-18 tokens."""

    round: int
    contributor: str
    amount: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RewardClaimed(Event):
    """An account took its rewards, in units of 1e-18 tokens."""

    account: str
    amount: int


# ModelRegistry


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRegistered(Event):
    """A final round became a version."""

    version: int
    parent: int
    state_root: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class VersionActivated(Event):
    """A vote made a version active; `report_hash` is the sha256 of the evaluation report, zero if none."""

    version: int
    report_hash: bytes


# StakeVault. Amounts are in units of 1e-18 tokens.


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Staked(Event):
    """An account gained stake."""

    account: str
    payer: str
    amount: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class UnbondingRequested(Event):
    """An account started to take stake out; `release_at` is a Unix time."""

    account: str
    amount: int
    release_at: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Event):
    """Released stake was paid out."""

    account: str
    amount: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Slashed(Event):
    """Stake was slashed: `reward` went to the beneficiary, `burnt` was burnt."""

    account: str
    beneficiary: str
    reward: int
    burnt: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen(Event):
    """An account can withdraw nothing before `until`, a Unix time."""

    account: str
    until: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class DelegateChanged(Event):
    """An account gave its votes to another delegate (vault: votes that count; token: votes that don't)."""

    delegator: str
    from_delegate: str
    to_delegate: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class DelegateVotesChanged(Event):
    """The votes of a delegate changed."""

    delegate: str
    previous_votes: int
    new_votes: int


# MootToken


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Event):
    """Tokens moved; minted from, or burnt to, the zero address."""

    from_: str
    to: str
    value: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Event):
    """An allowance was set."""

    owner: str
    spender: str
    value: int


# Roles of all contracts that have any


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleGranted(Event):
    """An account got a role."""

    role: bytes
    account: str
    sender: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRevoked(Event):
    """An account lost a role."""

    role: bytes
    account: str
    sender: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAdminChanged(Event):
    """A role got another administrator."""

    role: bytes
    previous_admin_role: bytes
    new_admin_role: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class EIP712DomainChanged(Event):
    """The signing domain of a contract changed."""


# MootGovernor. Times are Unix times, votes and weights are in units of stake.


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalCreated(Event):
    """A proposal was made; votes are taken after `vote_start` until `vote_end`."""

    proposal_id: int
    proposer: str
    targets: tuple[str, ...]
    values: tuple[int, ...]
    signatures: tuple[str, ...]
    calldatas: tuple[bytes, ...]
    vote_start: int
    vote_end: int
    description: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalQueued(Event):
    """A proposal waits in the timelock until `eta_seconds`, a Unix time."""

    proposal_id: int
    eta_seconds: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalExecuted(Event):
    """A proposal was carried out."""

    proposal_id: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalCanceled(Event):
    """A proposal was withdrawn."""

    proposal_id: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalExtended(Event):
    """A late quorum prolonged a vote."""

    proposal_id: int
    extended_deadline: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCast(Event):
    """A vote: `support` is 0 against, 1 for, 2 abstain."""

    voter: str
    proposal_id: int
    support: int
    weight: int
    reason: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCastWithParams(Event):
    """A vote with parameters; this governor takes none, so there are no such events."""

    voter: str
    proposal_id: int
    support: int
    weight: int
    reason: str
    params: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class LateQuorumVoteExtensionSet(Event):
    """The extension of a late quorum changed, in seconds."""

    old_vote_extension: int
    new_vote_extension: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalThresholdSet(Event):
    """The stake that a proposer needs changed."""

    old_proposal_threshold: int
    new_proposal_threshold: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumNumeratorUpdated(Event):
    """The quorum changed, in percent."""

    old_quorum_numerator: int
    new_quorum_numerator: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class TimelockChange(Event):
    """The governor got another timelock."""

    old_timelock: str
    new_timelock: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class VotingDelaySet(Event):
    """The voting delay changed, in seconds."""

    old_voting_delay: int
    new_voting_delay: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class VotingPeriodSet(Event):
    """The voting period changed, in seconds."""

    old_voting_period: int
    new_voting_period: int


# TimelockController


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class CallScheduled(Event):
    """A call waits in the timelock for `delay` seconds."""

    id: bytes
    index: int
    target: str
    value: int
    data: bytes
    predecessor: bytes
    delay: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class CallSalt(Event):
    """The salt of a scheduled operation."""

    id: bytes
    salt: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class CallExecuted(Event):
    """A scheduled call was carried out."""

    id: bytes
    index: int
    target: str
    value: int
    data: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Event):
    """A scheduled operation was cancelled."""

    id: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class MinDelayChange(Event):
    """The timelock's delay changed, in seconds."""

    old_duration: int
    new_duration: int


# The judges: FraudProofs, GramProofs, ContributorFaults, DataAvailability, Disputes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class FraudProven(Event):
    """An anchor was proven wrong; `lie` is the value of `IFraudProofs.Lie`, `place` the leaf, entry or field."""

    round: int
    challenger: str
    lie: int
    place: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class GramFraudProven(Event):
    """A weight or the Gram tree was proven wrong; `lie` is the value of `IGramProofs.Lie`, `place` entry or index."""

    round: int
    challenger: str
    lie: int
    place: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class FaultProven(Event):
    """A contributor was proven at fault; `kind` is the value of `IContributorFaults.Kind`."""

    round: int
    contributor: str
    challenger: str
    kind: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Demanded(Event):
    """Somebody demands data; `what` is the value of `IDataAvailability.What`, `answer_by` a Unix time."""

    demand: int
    round: int
    demander: str
    what: int
    entry: int
    place: int
    answer_by: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Event):
    """What was demanded: a leaf and its siblings, or a file."""

    demand: int
    answerer: str
    values: bytes
    siblings: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld(Event):
    """Nobody answered in time; the round is void."""

    demand: int
    round: int
    demander: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Returned(Event):
    """The deposit of a demand went back because the round is over."""

    demand: int
    demander: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered(Event):
    """A contributor delivered one part of its update on chain; `missing` parts are still to come."""

    round: int
    contributor: str
    update_root: bytes
    part: int
    missing: int
    values: bytes


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Censored(Event):
    """An update that was delivered on chain was anchored as not delivered; the round is void."""

    round: int
    contributor: str
    entry: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeOpened(Event):
    """Somebody disputes a round before the voters, until `decide_by`, a Unix time."""

    round: int
    challenger: str
    decide_by: int
    reason: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeUpheld(Event):
    """A vote upheld a dispute; the round is void."""

    round: int
    challenger: str


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeDismissed(Event):
    """A vote dismissed a dispute; of the deposit, in units of 1e-18 tokens, `burnt` was burnt."""

    round: int
    challenger: str
    burnt: int


@_record
@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeReturned(Event):
    """Nobody decided a dispute; the deposit went back."""

    round: int
    challenger: str


def scan(
    source: Source,
    from_block: int,
    to_block: int,
    *,
    step: int = BLOCK_STEP,
    contracts: Sequence[str] = CONTRACTS,
) -> Iterator[Event]:
    """Yield the events of the contracts in log order, both blocks included.

    Args:
        source: Endpoint and addresses.
        from_block: First block.
        to_block: Last block; nothing is yielded if it is before the first.
        step: Blocks that the first request asks for. It doubles after every answer, up to `MAX_BLOCK_STEP`, as long
            as answers stay below `MANY_LOGS`; it is halved where the endpoint finds an answer too large, and does not
            grow beyond that again.
        contracts: Contracts (`ledger`, ...) whose events are wanted; all if left out.

    Raises:
        RpcError: the endpoint failed, or its logs do not fit the contracts.
    """
    roles = {getattr(source.deployment, role): role for role in contracts}
    first, ceiling = from_block, MAX_BLOCK_STEP
    while first <= to_block:
        last = min(first + step - 1, to_block)
        query = {"address": list(roles), "fromBlock": hex(first), "toBlock": hex(last)}
        try:
            logs = source.rpc.call("eth_getLogs", [query])
            if not isinstance(logs, list):
                raise source.rpc.nonsense("eth_getLogs", logs)
        except RpcError as error:
            if error.code != "rpc-error" or step == 1:
                raise
            step = ceiling = max(1, step // 2)
            continue
        found = [event for log in logs if (event := decode_log(log, roles)) is not None]
        yield from sorted(found, key=lambda event: (event.block, event.log_index))
        first = last + 1
        step = min(2 * step, ceiling, max(1, step * MANY_LOGS // max(1, len(logs))))


def decode_log(log: Mapping[str, Any], roles: Mapping[str, str]) -> Event | None:
    """Decode one log as JSON-RPC has it.

    Args:
        log: The log, values in 0x-hex.
        roles: Contract (`ledger`, ...) by checksummed address.

    Returns:
        The event, or None for a log of another contract or of no known event.

    Raises:
        RpcError: the log does not have the form of its event.
    """
    try:
        role = roles.get(to_checksum_address(log["address"]))
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        entry = _catalogue().get((role or "", topics[0] if topics else b""))
        if role is None or entry is None:
            return None
        values = _values(entry, topics[1:], bytes.fromhex(log["data"][2:]))
        return EVENTS[entry["name"]](
            contract=role,
            block=int(log["blockNumber"], 16),
            block_hash=_hash(log["blockHash"]),
            transaction=_hash(log["transactionHash"]),
            log_index=int(log["logIndex"], 16),
            **values,
        )
    except Exception as error:  # whatever an endpoint sends must not look like a defect of ours
        raise RpcError(
            f"The RPC endpoint sent a log that does not have the form of its event: {error}.",
            remedy="Check that the deployment file belongs to this chain, or use another endpoint.",
            code="bad-log",
        ) from error


@functools.lru_cache(maxsize=64)
def _hash(text: str) -> bytes:
    """Read a hash; the many logs of one transaction share it, in long histories that is much of their memory."""
    return bytes.fromhex(text[2:])


@functools.cache
def _catalogue() -> dict[tuple[str, bytes], dict[str, Any]]:
    """Return the ABI entry of every event, by contract and first topic."""
    return {
        (role, keccak(text=packaged.signature_of(entry))): entry
        for role in packaged.NAMES
        for entry in packaged.contract(role).abi
        if entry["type"] == "event"
    }


def _values(entry: dict[str, Any], topics: list[bytes], data: bytes) -> dict[str, Any]:
    indexed = [parameter for parameter in entry["inputs"] if parameter["indexed"]]
    plain = [parameter for parameter in entry["inputs"] if not parameter["indexed"]]
    found = dict(
        zip((p["name"] for p in plain), decode([packaged.type_of(p) for p in plain], data), strict=True)
    )
    for parameter, topic in zip(indexed, topics, strict=True):
        (found[parameter["name"]],) = decode([packaged.type_of(parameter)], topic)
    return {
        _field(parameter["name"]): _typed(parameter, found[parameter["name"]])
        for parameter in entry["inputs"]
    }


def _typed(parameter: dict[str, Any], value: Any) -> Any:
    kind = parameter["type"]
    if kind == "address":
        return sys.intern(str(to_checksum_address(value)))
    if kind == "address[]":
        return tuple(to_checksum_address(item) for item in value)
    if kind.endswith("[]"):
        return tuple(value)
    if kind == "tuple" and parameter["internalType"].endswith(".Policy"):
        return Policy.from_abi(value)
    if kind == "tuple" and parameter["internalType"].endswith(".Anchor"):
        return AnchorRecord(tuple(value[0]), *value[1:])
    return value


def _field(name: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)
    return "from_" if snake == "from" else snake
