# SPDX-License-Identifier: Apache-2.0
"""The events of all contracts as typed records; written by `tools/generate_contracts.py`, do not edit.

A uint40 is a Unix time. Amounts, bonds and rewards are in units of 1e-18 tokens.
"""
# ruff: noqa: D205  # a summary is as long as the contract's comment

from __future__ import annotations

from folkmoot.ledger.event import Event as Event
from folkmoot.ledger.event import record
from folkmoot.protocol.policy import Policy


@record
class AnchorRecord:
    """`IRoundLedger.Anchor`."""

    weights: tuple[int, ...]
    """One weight per entry, in the order of the entries."""
    pays: tuple[int, ...]
    """Under the rule `clamped_mean` one pay per entry: the part of a full place that it gets, in 1/65536. It is 0 where
    the weight is 0. Empty under other rules, which pay by weight."""
    delivered: int
    """One bit per entry, the lowest for the first: whether the committed update was delivered."""
    mean_root: bytes
    """Root of the mean's Merkle tree."""
    state_root: bytes
    """State root after the outer step."""
    gram_root: bytes
    """Root of the tree over the leaves' partial Gram matrices, where the policy's rule can be proven by it
    (docs/protocol.md, section 3); zero elsewhere."""
    verdict_hash: bytes
    """keccak256 of the verdicts file."""
    artifacts_hash: bytes
    """keccak256 of the artifacts file, which lists the sha256 of every public file of the round."""
    entries_root: bytes
    """Root of the tree over the entries and their weights (docs/protocol.md, section 3)."""


# MootToken


@record
class Approval(Event):
    """OpenZeppelin's `Approval(address,address,uint256)`."""

    owner: str
    spender: str
    value: int


@record
class EIP712DomainChanged(Event):
    """OpenZeppelin's `EIP712DomainChanged()`."""


@record
class Transfer(Event):
    """OpenZeppelin's `Transfer(address,address,uint256)`."""

    from_: str
    to: str
    value: int


# StakeVault


@record
class BondLocked(Event):
    """Emitted when a part of the stake of `account` is locked as the bond of a round."""

    account: str
    amount: int


@record
class BondUnlocked(Event):
    """Emitted when the bond of a round is unlocked: the round is over, or its bond is slashed in the same call."""

    account: str
    amount: int


@record
class DelegateChanged(Event):
    """OpenZeppelin's `DelegateChanged(address,address,address)`."""

    delegator: str
    from_delegate: str
    to_delegate: str


@record
class DelegateVotesChanged(Event):
    """OpenZeppelin's `DelegateVotesChanged(address,uint256,uint256)`."""

    delegate: str
    previous_votes: int
    new_votes: int


@record
class Redrawn(Event):
    """Emitted when a new basis for draws is noted although no round was anchored."""

    total: int


@record
class Slashed(Event):
    """Emitted when stake was slashed: `reward` went to `beneficiary`, `burnt` was burnt."""

    account: str
    beneficiary: str
    reward: int
    burnt: int


@record
class Staked(Event):
    """Emitted when `account` gains stake."""

    account: str
    payer: str
    amount: int


@record
class UnbondingRequested(Event):
    """Emitted when `account` starts to take stake out."""

    account: str
    amount: int
    release_at: int  # uint40


@record
class Withdrawn(Event):
    """Emitted when released stake was paid out."""

    account: str
    amount: int


# ModelRegistry


@record
class MinWarrantySet(Event):
    """Emitted at the deployment, and when a vote changes what must be behind a version that is made active."""

    amount: int


@record
class VersionActivated(Event):
    """Emitted when a vote made a version active."""

    version: int
    report_hash: bytes


@record
class VersionRecalled(Event):
    """Emitted when a vote recalled a version."""

    version: int
    report_hash: bytes
    has_active: bool
    """Whether any version is active now."""
    active: int
    """The version that is active now; 0 if there is none."""


@record
class VersionRegistered(Event):
    """Emitted when a round became final, and for the genesis at deployment."""

    version: int
    parent: int
    state_root: bytes


@record
class WarrantiesForfeited(Event):
    """Emitted when a vote took all warranties behind a version: `reward` went to `beneficiary`, `burnt` was burnt."""

    version: int
    beneficiary: str
    reward: int
    burnt: int


@record
class WarrantyPosted(Event):
    """Emitted when `account` puts tokens behind a version."""

    version: int
    account: str
    amount: int


@record
class WarrantyWithdrawn(Event):
    """Emitted when `account` has taken its tokens out from behind a version."""

    version: int
    account: str
    amount: int


# Policies


@record
class PolicyAdded(Event):
    """Emitted when governance adds a policy; new rounds pin it from then on."""

    policy_id: int
    policy: Policy


# RoundLedger


@record
class CommitsClosed(Event):
    """Emitted when the coordinator ends a commit window early; the two deadlines are the new ones."""

    round: int
    commit_deadline: int  # uint40
    anchor_deadline: int  # uint40


@record
class ContributorSlashed(Event):
    """Emitted when a fault of a contributor was proven; `taken` is what could be taken.

    The round stands.
    """

    round: int
    contributor: str
    challenger: str
    taken: int


@record
class CoordinatorAppointed(Event):
    """Emitted when the coordinator is appointed (also at deployment, with `previous` zero)."""

    previous: str
    coordinator: str


@record
class Enrolled(Event):
    """Emitted when an account enrols with so much of its stake, or changes how much."""

    account: str
    amount: int


@record
class Left(Event):
    """Emitted when an account is not enrolled any more.

    No round waits for it from then on, and it can't commit.
    """

    account: str
    reason: int  # enum IRoundLedger.LeaveReason


@record
class PlacesDrawn(Event):
    """Emitted when more stake is enrolled than a round has places: an account has a place if it has `quota` enrolled
    since before `at`, or a part of it and its lot, drawn from `seed`, says so (`Places`).

    The seed is the lowest 120 bits of the hash of the block of the last anchor, or of the last `IStakeVault.Redrawn` if
    that came later.
    """

    round: int
    quota: int
    at: int  # uint40
    seed: int


@record
class RoundAnchored(Event):
    """Emitted when the coordinator anchors a round."""

    round: int
    anchor: AnchorRecord
    challenge_deadline: int  # uint40


@record
class RoundCancelled(Event):
    """Emitted when a round is cancelled; the head stays where it was."""

    round: int
    reason: int  # enum IRoundLedger.CancelReason


@record
class RoundFinalized(Event):
    """Emitted when a round becomes final: its state is a candidate version."""

    round: int
    state_root: bytes


@record
class RoundOpened(Event):
    """Emitted when a round opens."""

    round: int
    policy_id: int
    coordinator: str
    base: int
    base_state_root: bytes
    header_hash: bytes
    commit_deadline: int  # uint40
    anchor_deadline: int  # uint40


@record
class RoundPostponed(Event):
    """Emitted when a round can become final only later than it could before, or earlier again."""

    round: int
    challenge_deadline: int  # uint40


@record
class RoundSlashed(Event):
    """Emitted when a verifier proved fraud.

    All anchored rounds that build on it are void from now on: their phase is `Cancelled`, and `Round_cancelled` follows
    for the open round alone. The head is the round's base again.
    """

    round: int
    verifier: str
    challenger: str
    bond: int


@record
class UpdatesCommitted(Event):
    """Emitted when commitments are recorded, once a call.

    The entries of a round are numbered from 0, and `first` is the number of the first of these. Each has 92 bytes in
    `entries`: 20 of its `contributor`, 32 of `update_root`, 8 of `sum_squares` and 32 of `memory_hash`, numbers big-
    endian.
    """

    round: int
    first: int
    bundle_hash: bytes
    entries: bytes


# Rewards


@record
class RewardClaimed(Event):
    """Emitted when an account takes its rewards."""

    account: str
    amount: int


@record
class RewardCredited(Event):
    """Emitted for each contributor with a reward above zero when a round is settled."""

    round: int
    contributor: str
    amount: int


@record
class RoundSettled(Event):
    """Emitted when the rewards of a final round were credited."""

    round: int


# MootTimelock


@record
class CallExecuted(Event):
    """OpenZeppelin's `CallExecuted(bytes32,uint256,address,uint256,bytes)`."""

    id: bytes
    index: int
    target: str
    value: int
    data: bytes


@record
class CallSalt(Event):
    """OpenZeppelin's `CallSalt(bytes32,bytes32)`."""

    id: bytes
    salt: bytes


@record
class CallScheduled(Event):
    """OpenZeppelin's `CallScheduled(bytes32,uint256,address,uint256,bytes,bytes32,uint256)`."""

    id: bytes
    index: int
    target: str
    value: int
    data: bytes
    predecessor: bytes
    delay: int


@record
class Cancelled(Event):
    """OpenZeppelin's `Cancelled(bytes32)`."""

    id: bytes


@record
class MinDelayChange(Event):
    """OpenZeppelin's `MinDelayChange(uint256,uint256)`."""

    old_duration: int
    new_duration: int


@record
class RoleAdminChanged(Event):
    """OpenZeppelin's `RoleAdminChanged(bytes32,bytes32,bytes32)`."""

    role: bytes
    previous_admin_role: bytes
    new_admin_role: bytes


@record
class RoleGranted(Event):
    """OpenZeppelin's `RoleGranted(bytes32,address,address)`."""

    role: bytes
    account: str
    sender: str


@record
class RoleRevoked(Event):
    """OpenZeppelin's `RoleRevoked(bytes32,address,address)`."""

    role: bytes
    account: str
    sender: str


# MootGovernor


@record
class LateQuorumVoteExtensionSet(Event):
    """OpenZeppelin's `LateQuorumVoteExtensionSet(uint64,uint64)`."""

    old_vote_extension: int
    new_vote_extension: int


@record
class ProposalCanceled(Event):
    """OpenZeppelin's `ProposalCanceled(uint256)`."""

    proposal_id: int


@record
class ProposalCreated(Event):
    """OpenZeppelin's `ProposalCreated(uint256,address,address[],uint256[],string[],bytes[],uint256,uint256,string)`."""

    proposal_id: int
    proposer: str
    targets: tuple[str, ...]
    values: tuple[int, ...]
    signatures: tuple[str, ...]
    calldatas: tuple[bytes, ...]
    vote_start: int
    vote_end: int
    description: str


@record
class ProposalExecuted(Event):
    """OpenZeppelin's `ProposalExecuted(uint256)`."""

    proposal_id: int


@record
class ProposalExtended(Event):
    """OpenZeppelin's `ProposalExtended(uint256,uint64)`."""

    proposal_id: int
    extended_deadline: int


@record
class ProposalGuardianSet(Event):
    """OpenZeppelin's `ProposalGuardianSet(address,address)`."""

    old_proposal_guardian: str
    new_proposal_guardian: str


@record
class ProposalQueued(Event):
    """OpenZeppelin's `ProposalQueued(uint256,uint256)`."""

    proposal_id: int
    eta_seconds: int


@record
class ProposalThresholdSet(Event):
    """OpenZeppelin's `ProposalThresholdSet(uint256,uint256)`."""

    old_proposal_threshold: int
    new_proposal_threshold: int


@record
class QuorumNumeratorUpdated(Event):
    """OpenZeppelin's `QuorumNumeratorUpdated(uint256,uint256)`."""

    old_quorum_numerator: int
    new_quorum_numerator: int


@record
class TimelockChange(Event):
    """OpenZeppelin's `TimelockChange(address,address)`."""

    old_timelock: str
    new_timelock: str


@record
class VoteCast(Event):
    """OpenZeppelin's `VoteCast(address,uint256,uint8,uint256,string)`."""

    voter: str
    proposal_id: int
    support: int
    weight: int
    reason: str


@record
class VoteCastWithParams(Event):
    """OpenZeppelin's `VoteCastWithParams(address,uint256,uint8,uint256,string,bytes)`."""

    voter: str
    proposal_id: int
    support: int
    weight: int
    reason: str
    params: bytes


@record
class VotingDelaySet(Event):
    """OpenZeppelin's `VotingDelaySet(uint256,uint256)`."""

    old_voting_delay: int
    new_voting_delay: int


@record
class VotingPeriodSet(Event):
    """OpenZeppelin's `VotingPeriodSet(uint256,uint256)`."""

    old_voting_period: int
    new_voting_period: int


# FraudProofs


@record
class FraudProven(Event):
    """Emitted when a proof holds, beside what the ledger and the vault emit."""

    round: int
    challenger: str
    lie: int  # enum IFraudProofs.Lie
    place: int
    """Leaf, entry or field that is wrong, as the lie's function says."""


# GramProofs


@record
class GramFraudProven(Event):
    """Emitted when a proof holds, beside what arbiter, ledger and vault emit."""

    round: int
    challenger: str
    lie: int  # enum IGramProofs.Lie
    place: int
    """Entry (Weight) or index within its level (Leaf, Node)."""


# ContributorFaults


@record
class FaultProven(Event):
    """Emitted when a proof holds, beside what the ledger and the vault emit."""

    round: int
    contributor: str
    challenger: str
    kind: int  # enum IContributorFaults.Kind


# DataAvailability


@record
class Answered(Event):
    """Emitted with what was demanded: the list, leaf or file."""

    demand: int
    answerer: str
    values: bytes
    other: bytes
    """Root of the momentum tree beside the root of theta, and the other way round; of no meaning otherwise."""


@record
class Censored(Event):
    """Emitted when a delivered update was anchored as not delivered, beside what the ledger and the vault emit."""

    round: int
    contributor: str
    entry: int


@record
class Delivered(Event):
    """Emitted with the bytes of one part of an update.

    `missing` parts are still to come.
    """

    round: int
    contributor: str
    update_root: bytes
    part: int
    missing: int
    values: bytes


@record
class Demanded(Event):
    """Emitted for each demand."""

    demand: int
    round: int
    demander: str
    what: int  # enum IDataAvailability.What
    entry: int
    """Number of the entry whose update is demanded; zero for everything else."""
    level: int
    """Level of the node; zero for a leaf or file."""
    index: int
    """Index of the node within its level."""
    answer_by: int  # uint40


@record
class Returned(Event):
    """Emitted when a deposit went back because the round is over."""

    demand: int
    demander: str


@record
class Withheld(Event):
    """Emitted when nobody answered in time, beside what the ledger and the vault emit."""

    demand: int
    round: int
    demander: str


# Disputes


@record
class DisputeDismissed(Event):
    """Emitted when a vote dismissed it: half of all deposits went to the coordinator, half was burnt."""

    round: int
    challenger: str
    burnt: int


@record
class DisputeOpened(Event):
    """Emitted when a dispute opens, or somebody joins it, with the challenger's reason."""

    round: int
    challenger: str
    decide_by: int  # uint40
    reason: str


@record
class DisputeReturned(Event):
    """Emitted when a deposit went back, or was burnt because nobody decided: `burnt` is then all of it, else zero."""

    round: int
    challenger: str
    burnt: int


@record
class DisputeUpheld(Event):
    """Emitted when a vote upheld it, beside what the ledger and the vault emit."""

    round: int
    challenger: str


# MemberList


@record
class MemberSet(Event):
    """Emitted when an account becomes a member, or stops being one."""

    account: str
    member: bool
