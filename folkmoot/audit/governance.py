# SPDX-License-Identifier: Apache-2.0
"""Check the governance: proposals, votes with their stakes, and that every governed act was voted for.

There are three checks. The governor's proposals are replayed under its rules (OpenZeppelin's Governor with a timelock,
a quorum fraction and a late-quorum extension), with the votes from the replayed stakes. The timelock executes only
calls that such a proposal queued, after its delay. Every act that only governance may do was executed by the timelock
in the same transaction. Versions in the registry and roles of the contracts follow from these acts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from folkmoot.audit.failure import Subject, mismatch, require, require_that
from folkmoot.audit.history import History, VersionView
from folkmoot.audit.ledger_state import Ledger
from folkmoot.audit.stakes import Stakes, Timeline
from folkmoot.chain.terms import ZERO_ADDRESS
from folkmoot.ledger.deployment import JUDGES, Deployment
from folkmoot.ledger.events import (
    CallExecuted,
    CallScheduled,
    Cancelled,
    CoordinatorAppointed,
    DisputeDismissed,
    DisputeUpheld,
    Event,
    LateQuorumVoteExtensionSet,
    MemberSet,
    MinDelayChange,
    MinWarrantySet,
    PolicyAdded,
    ProposalCanceled,
    ProposalCreated,
    ProposalExecuted,
    ProposalExtended,
    ProposalGuardianSet,
    ProposalQueued,
    ProposalThresholdSet,
    QuorumNumeratorUpdated,
    RoleAdminChanged,
    RoleGranted,
    RoleRevoked,
    TimelockChange,
    VersionActivated,
    VersionRecalled,
    VersionRegistered,
    VoteCast,
    VoteCastWithParams,
    VotingDelaySet,
    VotingPeriodSet,
    WarrantiesForfeited,
    WarrantyPosted,
    WarrantyWithdrawn,
)
from folkmoot.ledger.releases import Releases
from folkmoot.rpc.abi import DecodedCall, decode_call, text_bytes

_CHECK = "governance"
_WHOLE = 100
"""Denominator of the quorum, which is in percent."""
_AGAINST, _FOR, _ABSTAIN = 0, 1, 2
_NO_PREDECESSOR = bytes(32)


@dataclass
class Settings:
    """Settings of the governance at a moment. Times in seconds, the threshold in units of stake."""

    delay: int = 0
    """Seconds from a proposal to its vote."""
    period: int = 0
    """Length of the vote in seconds."""
    threshold: int = 0
    """Minimum votes of a proposer."""
    extension: int = 0
    """Minimum seconds for which a vote stays open after the quorum is reached."""
    timelock_delay: int = 0
    """Seconds from queueing to the earliest execution."""
    quorum: Timeline = field(default_factory=Timeline)
    """Percent of the staked total, by time."""


@dataclass
class Proposal:
    """A proposal, replayed."""

    created: ProposalCreated
    """Event of its creation."""
    deadline: int
    """End of the vote, a Unix time."""
    tallies: list[int] = field(default_factory=lambda: [0, 0, 0])
    """Votes against, for, and abstaining, in units of stake."""
    voters: set[str] = field(default_factory=set)
    """Accounts that have voted."""
    extended: bool = False
    """Whether the quorum was reached, so that the deadline is fixed."""
    eta: int = 0
    """Earliest execution, a Unix time; 0 until queued."""
    executed: set[int] = field(default_factory=set)
    """Indices of its calls that the timelock executed."""
    canceled: bool = False
    """Whether its proposer cancelled it."""

    @property
    def snapshot(self) -> int:
        """Unix time at which stakes count for the vote."""
        return self.created.vote_start

    @property
    def description_hash(self) -> bytes:
        """keccak256 of its description, 32 bytes."""
        return keccak(text_bytes(self.created.description))

    def operation(self, governor: str) -> bytes:
        """Return its id in the timelock, 32 bytes."""
        governor_word = bytes.fromhex(governor[2:]).ljust(32, b"\0")
        salt = bytes(a ^ b for a, b in zip(governor_word, self.description_hash, strict=True))
        return keccak(
            encode(
                ("address[]", "uint256[]", "bytes[]", "bytes32", "bytes32"),
                (*self.calls(), _NO_PREDECESSOR, salt),
            )
        )

    def calls(self) -> tuple[list[str], list[int], list[bytes]]:
        """Return targets, values and call data."""
        return list(self.created.targets), list(self.created.values), list(self.created.calldatas)


@dataclass
class Assembly:
    """State after the governor's and the timelock's events."""

    settings: Settings = field(default_factory=Settings)
    """Current settings."""
    proposals: dict[int, Proposal] = field(default_factory=dict)
    """Proposals by id."""
    operations: dict[bytes, Proposal] = field(default_factory=dict)
    """Queued proposals by their id in the timelock."""
    votes: int = 0
    """Number of votes."""
    coordinator: str = ""
    """Coordinator of the next round: it is never the guardian."""
    guardian: str = ZERO_ADDRESS
    """Guardian that was set last; zero if none was."""
    executed: dict[bytes, list[CallExecuted]] = field(default_factory=lambda: defaultdict(list))
    """Calls that the timelock executed, by transaction."""


def replay_governance(history: History, stakes: Stakes) -> Assembly:
    """Replay proposals, votes and executions."""
    assembly = Assembly()
    extensions: dict[int, int] = {}  # Expected from the votes, until the event is read.
    for event in history.events:
        if event.contract == "governor":
            _apply_governor(history, assembly, stakes, extensions, event)
        elif isinstance(event, CoordinatorAppointed):
            assembly.coordinator = event.coordinator
        elif event.contract == "timelock":
            _apply_timelock(history, assembly, event)
    for number in extensions:
        subject = Subject(check=_CHECK, proposal=number)
        raise mismatch(subject, "the extension of the vote", "one, for the late quorum", None)
    return assembly


def check_governance(history: History, assembly: Assembly, stakes: Stakes) -> None:
    """Compare the replayed proposals with the governor's tallies, and every governed act with an execution."""
    storage = history.storage
    subject = Subject(check=_CHECK)
    require(subject, "whose stakes vote", history.deployment.vault, storage.governor_votes)
    require(subject, "the governor's timelock", history.deployment.timelock, storage.governor_timelock)
    guardian = _guardian_at(history, assembly, history.head.timestamp)
    require(subject, "the guardian", guardian, storage.guardian)
    require(subject, "the timelock's delay", assembly.settings.timelock_delay, storage.min_delay)
    for number, proposal in assembly.proposals.items():
        of_proposal = Subject(check=_CHECK, proposal=number)
        stored = storage.proposals.get(number)
        if stored is None:
            raise mismatch(of_proposal, "the stored proposal", "one", None)
        quorum = None if stored.quorum is None else _quorum(history, assembly, stakes, proposal.snapshot)
        for name, expected, actual in (
            ("the snapshot", proposal.snapshot, stored.snapshot),
            ("the deadline", proposal.deadline, stored.deadline),
            ("the earliest execution", proposal.eta, stored.eta),
            ("the votes against", proposal.tallies[_AGAINST], stored.against),
            ("the votes for", proposal.tallies[_FOR], stored.for_),
            ("the votes that abstain", proposal.tallies[_ABSTAIN], stored.abstain),
            ("the quorum", quorum, stored.quorum),
        ):
            require(of_proposal, name, expected, actual)
    _check_governed(history, assembly)


# The governor


def _apply_governor(
    history: History, assembly: Assembly, stakes: Stakes, extensions: dict[int, int], event: Event
) -> None:
    settings, time = assembly.settings, history.time(event)
    match event:
        case VotingDelaySet():
            settings.delay = event.new_voting_delay
        case VotingPeriodSet():
            settings.period = event.new_voting_period
        case ProposalThresholdSet():
            settings.threshold = event.new_proposal_threshold
        case LateQuorumVoteExtensionSet():
            settings.extension = event.new_vote_extension
        case QuorumNumeratorUpdated():
            settings.quorum.record(time, event.new_quorum_numerator)
        case ProposalGuardianSet():
            subject = Subject(check=_CHECK, event=event)
            require(subject, "the guardian before", assembly.guardian, event.old_proposal_guardian)
            assembly.guardian = event.new_proposal_guardian
        case ProposalCreated():
            _create(history, assembly, stakes, event, time)
        case VoteCast() | VoteCastWithParams():
            _vote(history, assembly, stakes, extensions, event, time)
        case ProposalExtended():
            subject = Subject(check=_CHECK, proposal=event.proposal_id, event=event)
            expected = extensions.pop(event.proposal_id, None)
            require(subject, "the extended deadline", expected, event.extended_deadline)
        case ProposalQueued():
            _queue(history, assembly, stakes, event, time)
        case ProposalExecuted():
            proposal, subject = _known(assembly, event, event.proposal_id)
            calls = set(range(len(proposal.created.targets)))
            require(subject, "the calls that the timelock carried out", calls, proposal.executed)
        case ProposalCanceled():
            proposal, subject = _known(assembly, event, event.proposal_id)
            require_that(
                time <= proposal.snapshot or _guardian_at(history, assembly, time) != ZERO_ADDRESS,
                subject,
                "the time of the withdrawal",
                f"at most {proposal.snapshot}, before the vote, because there was no guardian",
                time,
            )
            proposal.canceled = True
        case _:
            pass


def _create(history: History, assembly: Assembly, stakes: Stakes, event: ProposalCreated, time: int) -> None:
    subject = Subject(check=_CHECK, proposal=event.proposal_id, event=event)
    settings = assembly.settings
    require(subject, "an earlier proposal with this id", None, assembly.proposals.get(event.proposal_id))
    proposal = Proposal(event, event.vote_end)
    number = keccak(
        encode(
            ("address[]", "uint256[]", "bytes[]", "bytes32"), (*proposal.calls(), proposal.description_hash)
        )
    )
    require(subject, "the id of the proposal", int.from_bytes(number, "big"), event.proposal_id)
    require(subject, "the start of the vote", time + settings.delay, event.vote_start)
    require(subject, "the end of the vote", event.vote_start + settings.period, event.vote_end)
    votes = _votes(history, stakes, event.proposer, time - 1, event)
    require_that(
        votes >= settings.threshold,
        subject,
        f"the votes of the proposer {event.proposer}",
        f"at least {settings.threshold}",
        votes,
    )
    assembly.proposals[event.proposal_id] = proposal


def _vote(
    history: History,
    assembly: Assembly,
    stakes: Stakes,
    extensions: dict[int, int],
    event: VoteCast | VoteCastWithParams,
    time: int,
) -> None:
    proposal, _ = _known(assembly, event, event.proposal_id)
    subject = Subject(check=_CHECK, voter=event.voter, proposal=event.proposal_id, event=event)
    require(subject, "whether the proposal was withdrawn", False, proposal.canceled)
    require_that(
        proposal.snapshot < time <= proposal.deadline,
        subject,
        "the time of the vote",
        f"after {proposal.snapshot}, at most {proposal.deadline}",
        time,
    )
    require_that(
        event.voter not in proposal.voters, subject, "the vote", "the voter's only one", "a second one"
    )
    require_that(event.support in (_AGAINST, _FOR, _ABSTAIN), subject, "the choice", "0 to 2", event.support)
    weight = _votes(history, stakes, event.voter, proposal.snapshot, event)
    require(subject, "the weight of the vote", weight, event.weight)
    stored = history.storage.past_votes.get((event.proposal_id, event.voter))
    at_snapshot = stakes.votes_at(event.voter, proposal.snapshot)
    require(subject, "the voter's stake at the snapshot", at_snapshot, stored)
    proposal.voters.add(event.voter)
    proposal.tallies[event.support] += event.weight
    assembly.votes += 1
    if not proposal.extended and _reached(history, assembly, stakes, proposal):
        proposal.extended = True
        late = time + assembly.settings.extension
        if late > proposal.deadline:
            proposal.deadline = late
            extensions[event.proposal_id] = late


def _votes(history: History, stakes: Stakes, voter: str, time: int, event: Event) -> int:
    """Return the votes that an account has in a transaction: the least at a time, seasoned before it, and now."""
    seasoned = _seasoned(history, time)
    return min(
        stakes.votes_at(voter, time), stakes.votes_at(voter, seasoned), stakes.votes_before(voter, event)
    )


def _seasoned(history: History, time: int) -> int:
    """Return when stake must have been there to count at a time."""
    age = max(0, time - history.storage.launched_at)
    return time - min(history.storage.seasoning, age // 2)


def _queue(history: History, assembly: Assembly, stakes: Stakes, event: ProposalQueued, time: int) -> None:
    proposal, subject = _known(assembly, event, event.proposal_id)
    require(subject, "whether the proposal was withdrawn", False, proposal.canceled)
    require_that(
        time > proposal.deadline, subject, "the time of the queueing", f"after {proposal.deadline}", time
    )
    against, for_, _ = proposal.tallies
    require_that(for_ > against, subject, "the votes for", f"more than the {against} against", for_)
    quorum = _quorum(history, assembly, stakes, proposal.snapshot)
    reached = proposal.tallies[_FOR] + proposal.tallies[_ABSTAIN]
    require_that(
        reached >= quorum, subject, "the votes that count for the quorum", f"at least {quorum}", reached
    )
    require(subject, "the earliest execution", time + assembly.settings.timelock_delay, event.eta_seconds)
    proposal.eta = event.eta_seconds
    operation = proposal.operation(history.deployment.governor)
    require(subject, "whether the timelock has the operation", True, operation in assembly.operations)


def _quorum(history: History, assembly: Assembly, stakes: Stakes, time: int) -> int:
    total = min(stakes.total.at(time), stakes.total.at(_seasoned(history, time)))
    return total * assembly.settings.quorum.at(time) // _WHOLE


def _reached(history: History, assembly: Assembly, stakes: Stakes, proposal: Proposal) -> bool:
    counted = proposal.tallies[_FOR] + proposal.tallies[_ABSTAIN]
    return counted >= _quorum(history, assembly, stakes, proposal.snapshot)


def _guardian_at(history: History, assembly: Assembly, time: int) -> str:
    """Return who may cancel proposals at a time; zero if nobody: the term is over, or it is the coordinator."""
    over = time >= history.storage.guardian_until or assembly.guardian == assembly.coordinator
    return ZERO_ADDRESS if over else assembly.guardian


# The timelock


def _apply_timelock(history: History, assembly: Assembly, event: Event) -> None:
    match event:
        case MinDelayChange():
            assembly.settings.timelock_delay = event.new_duration
        case CallScheduled():
            _schedule(history, assembly, event)
        case CallExecuted():
            _execute(history, assembly, event)
        case Cancelled():
            proposal = assembly.operations.get(event.id)
            if proposal is None:
                raise mismatch(
                    Subject(check=_CHECK, event=event), "the operation", "one that was queued", None
                )
            proposal.canceled = True
        case _:
            pass


def _schedule(history: History, assembly: Assembly, event: CallScheduled) -> None:
    """Check that a scheduled call belongs to a proposal. Its queueing shows that the proposal was accepted."""
    subject = Subject(check=_CHECK, event=event)
    governor = history.deployment.governor
    proposal = assembly.operations.get(event.id)
    if proposal is None:
        proposal = next((p for p in assembly.proposals.values() if p.operation(governor) == event.id), None)
        if proposal is None:
            raise mismatch(subject, "the scheduled operation", "one of a proposal", event.id)
        assembly.operations[event.id] = proposal
    require(subject, "the delay", assembly.settings.timelock_delay, event.delay)
    require(subject, "the predecessor", _NO_PREDECESSOR, event.predecessor)
    _require_call(subject, proposal, event)


def _execute(history: History, assembly: Assembly, event: CallExecuted) -> None:
    subject = Subject(check=_CHECK, event=event)
    proposal = assembly.operations.get(event.id)
    if proposal is None:
        raise mismatch(subject, "the executed operation", "one that was queued by a proposal", event.id)
    time = history.time(event)
    of_proposal = Subject(check=_CHECK, proposal=proposal.created.proposal_id, event=event)
    require_that(proposal.eta > 0, of_proposal, "whether the proposal was queued", True, False)
    require(of_proposal, "whether the proposal was withdrawn", False, proposal.canceled)
    require_that(time >= proposal.eta, of_proposal, "the time of the execution", f"from {proposal.eta}", time)
    require_that(
        event.index not in proposal.executed, of_proposal, "the execution", "the only one", "a second one"
    )
    _require_call(of_proposal, proposal, event)
    proposal.executed.add(event.index)
    assembly.executed[event.transaction].append(event)


def _require_call(subject: Subject, proposal: Proposal, event: CallScheduled | CallExecuted) -> None:
    targets, values, calldatas = proposal.calls()
    require_that(
        event.index < len(targets), subject, "the index of the call", f"below {len(targets)}", event.index
    )
    require(subject, "the target of the call", targets[event.index], event.target)
    require(subject, "the value of the call", values[event.index], event.value)
    require(subject, "the data of the call", calldatas[event.index], event.data)


# Acts that only governance may do


_GOVERNED: Mapping[type[Event], tuple[str, Callable[[Any], tuple[Any, ...]]]] = {
    PolicyAdded: ("addPolicy", lambda e: (e.policy.abi_tuple(),)),
    CoordinatorAppointed: ("appointCoordinator", lambda e: (e.coordinator,)),
    VersionActivated: ("activate", lambda e: (e.version, e.report_hash)),
    VersionRecalled: ("recall", lambda e: (e.version, e.report_hash)),
    WarrantiesForfeited: ("forfeitWarranties", lambda e: (e.version, e.beneficiary)),
    MinWarrantySet: ("setMinWarranty", lambda e: (e.amount,)),
    DisputeUpheld: ("uphold", lambda e: (e.round,)),
    ProposalGuardianSet: ("setProposalGuardian", lambda e: (e.new_proposal_guardian,)),
    DisputeDismissed: ("dismiss", lambda e: (e.round,)),
    MemberSet: ("setMembers", lambda e: ((e.account,), e.member)),
}
"""Function that emits each type of event, and its arguments from the event."""

_FIXED: Mapping[type[Event], str] = {
    VotingDelaySet: "the voting delay",
    VotingPeriodSet: "the voting period",
    ProposalThresholdSet: "the proposal threshold",
    LateQuorumVoteExtensionSet: "the extension of a late quorum",
    QuorumNumeratorUpdated: "the quorum",
    TimelockChange: "the governor's timelock",
    MinDelayChange: "the timelock's delay",
    RoleGranted: "a role",
    RoleRevoked: "a role",
    RoleAdminChanged: "the administrator of a role",
}
"""What constructors set and nobody can change, by the event that a change would emit."""


def _check_governed(history: History, assembly: Assembly) -> None:
    """Check that each act has an executed call, and that nothing fixed changed. Constructors may emit all."""
    created = _creations(history.events)
    open_calls = {
        transaction: [call for event in events for call in _read_calls(history, event)]
        for transaction, events in assembly.executed.items()
    }
    for event in history.events:
        if created.get(event.contract) == event.transaction:
            continue
        if type(event) in _FIXED:
            subject = Subject(check=_CHECK, event=event)
            raise mismatch(subject, _FIXED[type(event)], "fixed at the deployment", "changed")
        rule = _GOVERNED.get(type(event))
        if rule is None:
            continue
        function, arguments = rule
        required = (event.contract, DecodedCall(function, _comparable(arguments(event))))
        calls = open_calls.get(event.transaction, [])
        if required not in calls:
            raise mismatch(
                Subject(check=_CHECK, event=event),
                f"the vote behind {function} of the {event.contract}",
                "an executed proposal",
                None,
            )
        calls.remove(required)


def _read_calls(history: History, event: CallExecuted) -> list[tuple[str, DecodedCall]]:
    """Decode an executed call as a call for each event that it must emit; none if the target is no contract of ours."""
    deployment = history.deployment
    role = next((role for role in deployment.roles if getattr(deployment, role) == event.target), None)
    call = decode_call(role, event.data) if role else None
    if role is None or call is None:
        return []
    if call.function == "setMembers":
        accounts, member = call.arguments
        return [(role, DecodedCall(call.function, _comparable(((account,), member)))) for account in accounts]
    return [(role, DecodedCall(call.function, _comparable(call.arguments)))]


def _comparable(value: Any) -> Any:
    """Return a value with lists as tuples and with one case of addresses inside of structs."""
    if isinstance(value, list | tuple):
        return tuple(map(_comparable, value))
    if isinstance(value, str) and value.startswith("0x") and len(value) == 42:
        return value.lower()
    return value


def _creations(events: Iterable[Event]) -> dict[str, bytes]:
    """Return the transaction that created each contract, from its first event. Constructors of judges emit no event."""
    created: dict[str, bytes] = {}
    for event in events:
        if event.contract not in JUDGES:
            created.setdefault(event.contract, event.transaction)
    return created


def _known(assembly: Assembly, event: Event, number: int) -> tuple[Proposal, Subject]:
    subject = Subject(check=_CHECK, proposal=number, event=event)
    proposal = assembly.proposals.get(number)
    if proposal is None:
        raise mismatch(subject, "the proposal", "one that was made", None)
    return proposal, subject


_REGISTRY = "registry"


def check_registry(history: History, ledger: Ledger) -> Releases:
    """Check the lineage of versions, the active version, and what stands behind each.

    `governance` checks that an activation or recall was voted for.

    Returns:
        The released and recalled versions, and the warranties.
    """
    expected: dict[int, VersionView] = {}
    releases = Releases()
    for event in history.events:
        subject = Subject(check=_REGISTRY, round=getattr(event, "version", None), event=event)
        if isinstance(event, VersionRegistered):
            _check_version(ledger, subject, event)
            require(subject, "an earlier registration", None, expected.get(event.version))
            expected[event.version] = VersionView(event.parent, history.time(event), event.state_root)
        elif isinstance(event, VersionActivated | VersionRecalled):
            _check_release(subject, releases, event, event.version in expected)
        elif isinstance(event, WarrantyPosted | WarrantyWithdrawn | WarrantiesForfeited | MinWarrantySet):
            _check_warranty(subject, releases, event, set(expected))
    final = {0, *(number for number, replayed in ledger.rounds.items() if replayed.finalized)}
    subject = Subject(check=_REGISTRY)
    require(subject, "the registered versions", final, set(expected))
    require(subject, "the active version", releases.active, history.storage.active)
    for number, version in expected.items():
        of_version = Subject(check=_REGISTRY, round=number)
        behind = (releases.warranty(number), number in releases.forfeited)
        version = replace(version, standing=releases.standing(number), warranty=behind)
        require(of_version, "the stored version", version, history.storage.versions.get(number))
    require(subject, "the stored versions", set(expected), set(history.storage.versions))
    return releases


def _check_release(
    subject: Subject, releases: Releases, event: VersionActivated | VersionRecalled, known: bool
) -> None:
    """Check that the registry could do what an event says, and apply it."""
    require(subject, "a version that exists", True, known)
    require(subject, "a version that is not recalled", False, event.version in releases.recalled)
    if isinstance(event, VersionRecalled):
        require(subject, "a version that was active", True, event.version in releases.listed)
    elif event.version not in releases.listed:
        require(subject, "warranties that no vote took", False, event.version in releases.forfeited)
        behind, least = releases.warranty(event.version), releases.min_warranty
        require_that(behind >= least, subject, "the warranty behind the version", f"{least} or more", behind)
    releases.apply(event)
    if isinstance(event, VersionRecalled):
        number, _ = releases.active or (0, b"")
        require(
            subject,
            "whether a version is active after the recall",
            releases.active is not None,
            event.has_active,
        )
        require(subject, "the version that is active after the recall", number, event.active)


def _check_warranty(
    subject: Subject,
    releases: Releases,
    event: WarrantyPosted | WarrantyWithdrawn | WarrantiesForfeited | MinWarrantySet,
    known: set[int],
) -> None:
    """Check that the registry could do what an event says of tokens behind a version, and apply it."""
    if not isinstance(event, MinWarrantySet):
        require(subject, "a version that exists", True, event.version in known)
    if isinstance(event, WarrantyPosted):
        refused = event.version in releases.forfeited or event.version in releases.recalled
        require(subject, "a version that takes warranties", False, refused)
    elif isinstance(event, WarrantyWithdrawn):
        own = releases.warranties.get(event.version, {}).get(event.account, 0)
        require(subject, "what the account had behind the version", own, event.amount)
    elif isinstance(event, WarrantiesForfeited):
        total = releases.warranty(event.version)
        reward = total // 2 if int(event.beneficiary, 16) else 0
        require(subject, "what went to the beneficiary", reward, event.reward)
        require(subject, "what was burnt", total - reward, event.burnt)
    releases.apply(event)


def _check_version(ledger: Ledger, subject: Subject, event: VersionRegistered) -> None:
    if event.version == 0:
        parent, root, transaction = 0, ledger.genesis_root, event.transaction
    else:
        replayed = ledger.rounds.get(event.version)
        finalized = replayed.finalized if replayed else None
        require(subject, "a final round", True, finalized is not None)
        assert replayed is not None  # noqa: S101  # checked by the previous call
        assert finalized is not None  # noqa: S101  # checked by the previous call
        parent, root, transaction = replayed.base, finalized.state_root, finalized.transaction
    require(subject, "the parent of the version", parent, event.parent)
    require(subject, "the state root of the version", root, event.state_root)
    require(subject, "the transaction of the registration", transaction, event.transaction)


_ROLES = "roles"
_ADMIN = bytes(32)

Role = tuple[str, bytes, str]
"""Contract, role and account."""


def designed_roles(deployment: Deployment) -> dict[Role, str]:
    """Return the roles of a deployment with their names (contracts/README.md)."""
    return {
        ("timelock", bytes(keccak(text=name)), account): name
        for name, account in (
            ("PROPOSER_ROLE", deployment.governor),
            ("CANCELLER_ROLE", deployment.governor),
            ("EXECUTOR_ROLE", ZERO_ADDRESS),
        )
    }


def check_roles(history: History) -> None:
    """Replay the roles, and compare them with the stored ones and with the design.

    `governance` checks that no role changed after the deployment.
    """
    held: set[Role] = set()
    for event in history.events:
        match event:
            case RoleGranted():
                held.add((event.contract, event.role, event.account))
            case RoleRevoked():
                held.discard((event.contract, event.role, event.account))
            case _:
                pass
    design = designed_roles(history.deployment)
    subject = Subject(check=_ROLES)
    require(
        subject,
        "the list of roles",
        {_name(role, design) for role in design},
        {_name(role, design) for role in held},
    )
    for role, has in history.storage.roles.items():
        require(subject, f"whether {_name(role, design)}", role in held, has)


def _name(role: Role, design: dict[Role, str]) -> str:
    names = {known[1]: name for known, name in design.items()} | {_ADMIN: "DEFAULT_ADMIN_ROLE"}
    contract, number, account = role
    return f"{account} has {names.get(number, '0x' + number.hex())} of the {contract}"
