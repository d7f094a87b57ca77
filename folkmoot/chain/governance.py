# SPDX-License-Identifier: Apache-2.0
"""The assembly as people see it: proposals with what they would do, their tallies and times, and the acts of a voter.

Knows what Folkmoot's own proposals call; everything else is shown as a raw call.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from eth_utils.crypto import keccak

from folkmoot.aggregation import policy_file
from folkmoot.chain.bonds import minting
from folkmoot.chain.client import Chain
from folkmoot.chain.terms import ZERO_ADDRESS, require_affordable
from folkmoot.errors import ContractRefused, InputError
from folkmoot.ledger.admission import MOST_MEMBERS, admits
from folkmoot.ledger.events import ProposalCreated, VoteCast
from folkmoot.ledger.releases import CANDIDATE, PROPOSER_MARK, RECALLED, read_releases
from folkmoot.ledger.scan import scan
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.abi import decode_call, encode_call, readable, text_bytes
from folkmoot.rpc.client import Phase
from folkmoot.rpc.reverts import ENUMS, PROPOSAL_STATES, SUPPORTS
from folkmoot.rpc.reverts import OPEN_STATES as OPEN_STATES
from folkmoot.runtime.units import format_amount, format_time

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.types import TxReceipt


DISPUTE_STATUSES = ENUMS["IDisputes.Status"]
"""Words of a dispute's status, by its value."""

SHORT = 8
"""Digits of a proposal's short form."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call that a proposal makes when it is executed."""

    target: str
    """Contract that is called, checksummed."""
    value: int
    """Wei that go with it."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal as it stands. Times are Unix times, votes are in units of stake (1e-18 tokens)."""

    id: int
    """Its number: a hash of what it does and says."""
    proposer: str
    """Who made it."""
    description: str
    """What its proposer wrote."""
    calls: tuple[Call, ...]
    """What it does when executed."""
    state: str
    """One of `refusals.PROPOSAL_STATES`."""
    snapshot: int
    """Time whose stakes are the votes; votes are taken after it."""
    deadline: int
    """Last time at which votes are taken."""
    votes_for: int
    votes_against: int
    votes_abstain: int
    """Votes that only count for the quorum."""
    quorum: int
    """Votes for and abstained that it needs; before the snapshot, what it would be now."""
    eta: int
    """Time from which it can be executed; zero unless queued."""
    block: int
    """Block in which it was made."""

    @property
    def short(self) -> str:
        """Short form of its number; `find` takes it."""
        return str(self.id)[:SHORT]

    @property
    def title(self) -> str:
        """First line of what its proposer wrote."""
        return (readable(self.description).splitlines() or [""])[0]

    @property
    def quorum_reached(self) -> bool:
        """Whether enough votes are for it or abstained."""
        return self.votes_for + self.votes_abstain >= self.quorum

    def to_json(self, chain: Chain) -> dict[str, Any]:
        """Return it as JSON: large numbers as decimal strings."""
        return {
            "id": str(self.id),
            "short": self.short,
            "title": self.title,
            "description": readable(self.description),
            "proposer": self.proposer,
            "state": self.state,
            "actions": [describe(chain, call) for call in self.calls],
            "snapshot": self.snapshot,
            "deadline": self.deadline,
            "eta": self.eta or None,
            "votes": {
                "for": str(self.votes_for),
                "against": str(self.votes_against),
                "abstain": str(self.votes_abstain),
            },
            "quorum": str(self.quorum),
            "quorumReached": self.quorum_reached,
        }


def activation(chain: Chain, version: int, report_hash: bytes = bytes(32)) -> Call:
    """Return the call that makes a version active.

    Args:
        chain: The contracts.
        version: Its number.
        report_hash: sha256 of the evaluation report, zero if there is none.

    Raises:
        ContractRefused: There is no such version.
        InputError: `version-recalled`: a recalled version is never active again.
    """
    if chain.registry.standing(version) == RECALLED:
        read_releases(chain).require_usable(version)
    return _call(chain, "registry", "activate", version, report_hash)


def recall(
    chain: Chain, version: int, report_hash: bytes = bytes(32), beneficiary: str = ZERO_ADDRESS
) -> list[Call]:
    """Return the calls that recall a version and take the tokens behind it, as far as that is left to do.

    Args:
        chain: The contracts.
        version: Its number.
        report_hash: sha256 of the evidence, zero if there is none.
        beneficiary: Who gets half of these tokens, while the rest is burnt; the zero address to burn all.

    Raises:
        ContractRefused: There is no such version, or it never was active.
        InputError: `version-recalled`: it was recalled before, and nothing is behind it.
    """
    total, _ = chain.registry.warranties(version)
    taking = [_call(chain, "registry", "forfeitWarranties", version, beneficiary)] if total else []
    if chain.registry.standing(version) != RECALLED:
        chain.read(chain.registry.functions.recall(version, report_hash), sender=chain.deployment.timelock)
        return [_call(chain, "registry", "recall", version, report_hash), *taking]
    if not taking:
        why = read_releases(chain).why(version)
        raise InputError(why, remedy="Nothing is left to do: a recall is for good.", code="version-recalled")
    return taking


def minimum_warranty(chain: Chain, amount: int) -> Call:
    """Return the call that changes what must be behind a version at its first activation, in units of 1e-18 tokens."""
    return _call(chain, "registry", "setMinWarranty", amount)


def uncovered(chain: Chain, version: int) -> str | None:
    """Return a warning if too little is behind a version for its activation; None if it is enough."""
    minimum = int(chain.read(chain.registry.functions.minWarranty()))
    total, _ = chain.registry.warranties(version)
    if chain.registry.standing(version) != CANDIDATE or total >= minimum:
        return None
    return (
        f"{format_amount(total)} are behind version {version}, and it needs {format_amount(minimum)} to become active. "
        f"Anybody can add the rest before the proposal is executed: `folkmoot model {version} --warranty TOKENS`."
    )


def policy_change(chain: Chain, policy: Policy) -> Call:
    """Return the call that adds a policy; new rounds pin it from then on.

    Where its verifier is the word `arbiter`, the deployment's arbiter is put in.

    Raises:
        ContractRefused: The contract would refuse the policy after the vote; the message names the field.
        InputError: `impossible-policy`: it asks for more tokens than there are.
    """
    values = policy.resolved(chain.deployment.arbiter).abi_tuple()
    chain.read(chain.policies.functions.addPolicy(values), sender=chain.deployment.timelock)
    require_affordable(policy, int(chain.read(chain.token.functions.totalSupply())))
    return _call(chain, "policies", "addPolicy", values)


def appointment(chain: Chain, coordinator: str) -> Call:
    """Return the call that appoints the coordinator of future rounds."""
    return _call(chain, "ledger", "appointCoordinator", coordinator)


def guardian_removal(chain: Chain) -> Call:
    """Return the call that removes the guardian. A vote can't put another one in its place.

    Raises:
        InputError: `no-guardian`: there is none, or its term is over.
    """
    if guardian_of(chain) is None:
        raise InputError(
            "There is no guardian to remove.",
            remedy="A guardian and its term are set at the deployment: `folkmoot deploy --guardian`.",
            code="no-guardian",
        )
    return _call(chain, "governor", "setProposalGuardian", ZERO_ADDRESS)


def guardian_of(chain: Chain) -> tuple[str, int] | None:
    """Return the guardian and the end of its term, a Unix time; None if nobody is guardian now."""
    function = chain.governor.functions
    guardian = str(chain.read(function.proposalGuardian(), pending=True))
    return None if guardian == ZERO_ADDRESS else (guardian, int(chain.read(function.guardianUntil())))


def membership(chain: Chain, accounts: list[str], member: bool) -> Call:
    """Return the call that puts accounts on the list of members, or takes them off.

    Raises:
        InputError: `no-member-list`: the federation has no list; `invalid-members`: an account is given twice, there
            are too many, or the list would not change for one.
    """
    list_ = chain.deployment.members
    if list_ is None:
        other = chain.deployment.admission
        raise InputError(
            "This federation has no list of members: "
            + (f"{other} says who may enrol." if other else "everybody may enrol who has the stake."),
            remedy="Ask those who run that contract."
            if other
            else "A list must be there from the deployment on: `folkmoot deploy --members`.",
            code="no-member-list",
        )
    if len(accounts) > MOST_MEMBERS:
        raise _invalid_members(
            f"There are {len(accounts)} accounts, and one vote can change {MOST_MEMBERS}.",
            "Make several proposals.",
        )
    for account, times in Counter(accounts).items():
        if times > 1:
            raise _invalid_members(f"{account} is given {times} times.", "Give each account once.")
        if admits(chain.rpc, list_, account) == member:
            standing = "is a member already" if member else "is not a member"
            raise _invalid_members(
                f"{account} {standing}.", "Leave it out; `folkmoot status` lists the members."
            )
    call = _call(chain, "members", "setMembers", accounts, member)
    # What the list would refuse after the vote, the zero address for one, is refused now.
    chain.read(chain.members.functions.setMembers(accounts, member), sender=chain.deployment.timelock)
    return call


def _invalid_members(message: str, remedy: str) -> InputError:
    return InputError(message, remedy=remedy, code="invalid-members")


def decision(chain: Chain, round_: int, *, upheld: bool) -> Call:
    """Return the call that decides the dispute about a round: upholds it, or dismisses it.

    Raises:
        InputError: `no-dispute`: there is none; `dispute-over`: it is decided, or the round can't be voided any more.
    """
    functions = chain.disputes.functions
    phase = chain.ledger.round(round_).phase if 0 < round_ < chain.ledger.next_round() else None
    if phase is None:
        raise InputError(
            f"There is no round {round_}.",
            remedy="Give the number of a round that is disputed; `folkmoot status` lists them.",
            code="no-dispute",
        )
    status = DISPUTE_STATUSES[chain.read(functions.disputes(round_))[2]]
    if status == "none":
        raise InputError(
            f"Nobody disputes round {round_}, so there is nothing to decide.",
            remedy=f"`folkmoot status` lists the open disputes. `folkmoot watch --round {round_}` examines the round, "
            "and opens one if it is wrong.",
            code="no-dispute",
        )
    over = ""
    if status != "open":
        over = f"The dispute about round {round_} is {status}."
    elif phase in (Phase.SLASHED, Phase.CANCELLED):
        over = f"Round {round_} is void already."
    elif upheld and phase is Phase.FINAL:
        over = f"Round {round_} is final, and can't be voided any more."
    if over:
        raise InputError(
            over,
            remedy="No vote is needed. A challenger whose deposit is still in the dispute gets it back from the "
            "contract.",
            code="dispute-over",
            details={"round": round_, "dispute": status, "phase": phase.name.lower()},
        )
    name = "uphold" if upheld else "dismiss"
    chain.read(getattr(functions, name)(round_), sender=chain.deployment.timelock)
    return _call(chain, "disputes", name, round_)


def late(chain: Chain, round_: int) -> str | None:
    """Return a warning if a vote that begins now can't be executed while a disputed round waits; None if it can."""
    governor, timelock = chain.governor.functions, chain.timelock.functions
    until = int(chain.read(chain.disputes.functions.disputes(round_))[1])
    steps = (governor.votingDelay(), governor.votingPeriod(), timelock.getMinDelay())
    earliest = chain.now() + sum(int(chain.read(step)) for step in steps)
    if earliest < until:
        return None
    return (
        f"round {round_} waits until {format_time(until)}, and a vote that begins now is executed at "
        f"{format_time(earliest)} or later. Each challenger who joins gives the vote its whole time again."
    )


def describe(chain: Chain, call: Call) -> dict[str, Any]:
    """Return what a call does: `kind`, its values, and `text` for people.

    `kind` is `activate`, `recall`, `forfeit-warranties`, `min-warranty`, `add-policy`, `appoint-coordinator`,
    `admit`, `remove`, `remove-guardian`, `uphold-dispute`, `dismiss-dispute`, or `call` for anything else. A policy has
    a `warning` if its rule can't work: the chain takes any.
    """
    role = next((r for r in chain.deployment.roles if getattr(chain.deployment, r) == call.target), None)
    decoded = decode_call(role, call.data) if role else None
    name, values = (decoded.function, decoded.arguments) if decoded else (None, ())
    if role == "registry" and name in ("activate", "recall"):
        version, report_hash = values
        shown = f", report sha256 {report_hash.hex()}" if any(report_hash) else ", no report"
        does = f"make version {version} active" if name == "activate" else f"recall version {version}"
        return {
            "kind": name,
            "version": version,
            "reportHash": "0x" + report_hash.hex(),
            "text": does + shown,
        }
    if (role, name) == ("registry", "forfeitWarranties"):
        version, beneficiary = values
        paid = "all is burnt" if beneficiary == ZERO_ADDRESS else f"half goes to {beneficiary}, half is burnt"
        if chain.registry.warranty(version, beneficiary)[0]:
            paid += "; this account answers for the version itself"
        return {
            "kind": "forfeit-warranties",
            "version": version,
            "beneficiary": beneficiary,
            "text": f"take the tokens that answer for version {version}: {paid}",
        }
    if (role, name) == ("registry", "setMinWarranty"):
        return {
            "kind": "min-warranty",
            "amount": str(values[0]),
            "text": f"ask for {format_amount(values[0])} behind each version that becomes active",
        }
    if (role, name) == ("policies", "addPolicy"):
        try:
            policy = Policy.from_abi(values[0])
        except InputError as error:  # its bytes are no policy that anybody could compute a round with
            return _plain(role, name, call) | {"warning": error.message}
        return {
            "kind": "add-policy",
            "policy": policy_file.to_json(policy),
            "text": f"add a policy with the rule {policy.rule} (minted for the rounds of a day: {minting(policy)})",
            "warning": _problem_of(policy),
        }
    if (role, name) == ("ledger", "appointCoordinator"):
        address = values[0]
        return {
            "kind": "appoint-coordinator",
            "coordinator": address,
            "text": f"appoint {address} as coordinator",
        }
    if (role, name) == ("governor", "setProposalGuardian") and values[0] == ZERO_ADDRESS:
        return {"kind": "remove-guardian", "text": "remove the guardian"}
    if (role, name) == ("members", "setMembers"):
        accounts, member = list(values[0]), values[1]
        shown = ", ".join(accounts)
        return {
            "kind": "admit" if member else "remove",
            "accounts": accounts,
            "text": f"make {shown} a member" if member else f"take {shown} off the list of members",
        }
    if role == "disputes" and name in ("uphold", "dismiss"):
        does = "void the round and take its coordinator's bond" if name == "uphold" else "the round goes on"
        return {
            "kind": f"{name}-dispute",
            "round": values[0],
            "text": f"{name} the dispute about round {values[0]}: {does}",
        }
    return _plain(role, name, call)


def warnings(chain: Chain, proposal: Proposal) -> list[str]:
    """Return what voters should know of a proposal's policies: why a rule in them can't work."""
    texts = [describe(chain, call).get("warning") for call in proposal.calls]
    return [text for text in texts if text]


def _plain(role: str | None, name: str | None, call: Call) -> dict[str, Any]:
    """Describe a call that has no words of its own."""
    what = f"{role}.{name}" if name else f"{role or call.target} with 0x{call.data[:4].hex()}"
    return {
        "kind": "call",
        "target": call.target,
        "value": str(call.value),
        "data": "0x" + call.data.hex(),
        "text": f"call {what}" + (f" with {call.value} wei" if call.value else ""),
    }


def _problem_of(policy: Policy) -> str | None:
    from folkmoot.aggregation.registry import check_policy_rule

    try:
        check_policy_rule(policy)
    except InputError as error:
        return error.message
    return None


def proposals(chain: Chain) -> list[Proposal]:
    """Return all proposals as they stand, the newest first."""
    return [_standing(chain, event) for event in reversed(_created(chain))]


def find(chain: Chain, text: str) -> Proposal:
    """Return the proposal whose number is, or starts with, a text.

    Args:
        chain: The contracts.
        text: Decimal number or its first digits; or hexadecimal ones after `0x`.

    Raises:
        InputError: no proposal or more than one matches, or the text is no number.
    """
    wanted = text.strip().rstrip("…").lower()
    hexadecimal = wanted.startswith("0x")
    digits = wanted[2:] if hexadecimal else wanted
    if not digits or not set(digits) <= set("0123456789abcdef" if hexadecimal else "0123456789"):
        raise InputError(
            f"{text!r} is no number of a proposal.",
            remedy="Give the number, or its first digits, as `folkmoot proposals` shows it.",
            code="invalid-proposal",
        )

    def matches(number: int) -> bool:
        return (f"{number:064x}" if hexadecimal else str(number)).startswith(digits)

    events = [event for event in _created(chain) if matches(event.proposal_id)]
    if not events:
        raise InputError(
            f"There is no proposal {text}.",
            remedy="List what there is with `folkmoot proposals`.",
            code="unknown-proposal",
        )
    if len(events) > 1:
        choices = ", ".join(str(event.proposal_id)[: len(digits) + SHORT] for event in events)
        raise InputError(
            f"{len(events)} proposals start with {text}: {choices}.",
            remedy="Give more digits.",
            code="ambiguous-proposal",
        )
    return _standing(chain, events[0])


def votes_on(chain: Chain, proposal: Proposal) -> list[VoteCast]:
    """Return the votes on a proposal, in the order in which they were cast."""
    events = scan(chain, proposal.block, chain.rpc.block_number(), contracts=("governor",))
    return [event for event in events if isinstance(event, VoteCast) and event.proposal_id == proposal.id]


def propose(
    chain: Chain, account: LocalAccount, calls: list[Call], description: str
) -> tuple[int, TxReceipt]:
    """Make a proposal; return its number and the receipt.

    Its text ends with the proposer's address, for which the governor refuses it from all others: so nobody can make it
    first and cancel it. If the account made the same proposal before and that one is over, the text gets a number.

    Raises:
        ContractRefused: too little stake, or the account has such a proposal already.
        InputError: `reserved-text`: the description has a mark of a proposer.
    """
    if PROPOSER_MARK in description:
        raise InputError(
            f"The text has `{PROPOSER_MARK}`, which names the only account that can make a proposal with this text.",
            remedy="Leave that line out, and what follows it: it is written for you, with your account.",
            code="reserved-text",
        )
    function, lists = chain.governor.functions, _lists(calls)
    made = {event.proposal_id for event in _created(chain) if event.proposer == account.address}
    for attempt in count(1):
        again = f"\n\nProposed again: {attempt}" if attempt > 1 else ""
        marked = f"{description}{again}\n\n{PROPOSER_MARK}{account.address}"
        number = int(chain.read(function.hashProposal(*lists, keccak(text=marked))))
        if number not in made or _state(chain, number) in OPEN_STATES:
            break
    try:
        return number, chain.send(function.propose(*lists, marked), account, once=True)
    except ContractRefused as refusal:
        if number not in made:
            raise
        raise ContractRefused(
            f"You have made this proposal already: {str(number)[:SHORT]} is {_state(chain, number)}.",
            remedy=f"Vote on it: `folkmoot vote {str(number)[:SHORT]} for`. For another one choose another --title.",
            code=refusal.code,
            details=refusal.details,
        ) from refusal


def vote(chain: Chain, account: LocalAccount, proposal: Proposal, choice: str, reason: str = "") -> TxReceipt:
    """Vote on a proposal with all the stake that the account spoke for at its snapshot.

    Args:
        chain: The contracts.
        account: Who votes.
        proposal: On what.
        choice: `for`, `against` or `abstain`.
        reason: Text that goes on the chain with the vote.

    Raises:
        InputError: the account had no votes at the snapshot.
        ContractRefused: the vote is over or has not begun, or the account voted before.
    """
    function = chain.governor.functions
    if chain.now() > proposal.snapshot and not votes_at_snapshot(chain, account.address, proposal):
        raise InputError(
            f"{account.address} has no votes on this proposal.",
            remedy="Stake votes, your own or delegated to you, if it was there for the seasoning time before the "
            "proposal's snapshot and is there now. Stake now to vote on later proposals.",
            code="no-votes",
        )
    call = function.castVote(proposal.id, SUPPORTS.index(choice))
    if reason:
        call = function.castVoteWithReason(proposal.id, SUPPORTS.index(choice), reason)
    try:
        return chain.send(call, account, once=True)
    except ContractRefused as refusal:
        if refusal.details.get("error") != "GovernorUnexpectedProposalState":
            raise
        raise _not_open(find(chain, str(proposal.id)), refusal) from refusal


def _not_open(proposal: Proposal, refusal: ContractRefused) -> ContractRefused:
    """Say in words that a proposal takes no votes, when that was or will be, and what is left to do."""
    state = str(refusal.details.get("arguments", {}).get("current", proposal.state))
    if state == "pending":
        message = f"The vote on {proposal.short} has not begun: it opens at {format_time(proposal.snapshot)}."
        remedy = f"Vote between then and {format_time(proposal.deadline)}."
    elif state == "canceled":
        message = f"The proposal {proposal.short} was cancelled: it takes no votes."
        remedy = "Make a new one; its text can be the same."
    else:
        message = (
            f"The vote on {proposal.short} is over since {format_time(proposal.deadline)}: it is {state}."
        )
        remedy = _LEFT.get(state, "Make a new one; its text can be the same.").format(proposal.short)
    return ContractRefused(message, remedy=remedy, code=refusal.code, details=refusal.details)


_LEFT = {
    "succeeded": "Anybody may queue it now: `folkmoot execute {}`.",
    "queued": "Anybody may execute it once its delay is over: `folkmoot execute {}`.",
    "executed": "Nothing is left to do.",
}
"""What to do about a proposal whose vote is over, by state."""


def votes_at_snapshot(chain: Chain, account: str, proposal: Proposal) -> int:
    """Return the votes that an account has on a proposal whose snapshot has passed."""
    return int(chain.read(chain.governor.functions.getVotes(account, proposal.snapshot), pending=True))


def queue(chain: Chain, account: LocalAccount, proposal: Proposal) -> TxReceipt:
    """Put a proposal that succeeded into the timelock. Anybody may."""
    function = chain.governor.functions.queue(*_lists(proposal.calls), _hash(proposal))
    return chain.send(function, account, purpose=purpose("queue", proposal), once=True)


def execute(chain: Chain, account: LocalAccount, proposal: Proposal) -> TxReceipt:
    """Carry out a proposal whose time in the timelock is over. Anybody may.

    Raises:
        ContractRefused: it is too early, or it was not queued, or what it calls fails.
    """
    function = chain.governor.functions.execute(*_lists(proposal.calls), _hash(proposal))
    return chain.send(function, account, purpose=purpose("execute", proposal), once=True)


def cancel(chain: Chain, account: LocalAccount, proposal: Proposal) -> TxReceipt:
    """Cancel a proposal: its proposer may before the vote, the guardian until it is executed.

    Raises:
        ContractRefused: the account may not, or the proposal is over.
    """
    function = chain.governor.functions.cancel(*_lists(proposal.calls), _hash(proposal))
    return chain.send(function, account, purpose=purpose("cancel", proposal), once=True)


def purpose(what: str, proposal: Proposal) -> str:
    """Return what `Chain.send` and `Chain.earlier` are told: that a proposal is queued, executed or cancelled."""
    return f"{what} {proposal.id}"


def _created(chain: Chain) -> list[ProposalCreated]:
    events = scan(chain, chain.deployment.block, chain.rpc.block_number(), contracts=("governor",))
    return [event for event in events if isinstance(event, ProposalCreated)]


def _standing(chain: Chain, event: ProposalCreated) -> Proposal:
    number = event.proposal_id
    function = chain.governor.functions
    votes_against, votes_for, votes_abstain = chain.read(function.proposalVotes(number))
    quorum = chain.read(function.quorum(min(event.vote_start, chain.now() - 1)), pending=True)
    return Proposal(
        id=number,
        proposer=event.proposer,
        description=event.description,
        calls=tuple(Call(*call) for call in zip(event.targets, event.values, event.calldatas, strict=True)),
        state=_state(chain, number),
        snapshot=event.vote_start,
        deadline=chain.read(function.proposalDeadline(number)),
        votes_for=votes_for,
        votes_against=votes_against,
        votes_abstain=votes_abstain,
        quorum=quorum,
        eta=chain.read(function.proposalEta(number)),
        block=event.block,
    )


def _state(chain: Chain, number: int) -> str:
    return str(PROPOSAL_STATES[chain.read(chain.governor.functions.state(number), pending=True)])


def _call(chain: Chain, role: str, name: str, *arguments: Any) -> Call:
    return Call(getattr(chain.deployment, role), 0, encode_call(role, name, *arguments))


def _lists(calls: list[Call] | tuple[Call, ...]) -> tuple[list[str], list[int], list[bytes]]:
    return [call.target for call in calls], [call.value for call in calls], [call.data for call in calls]


def _hash(proposal: Proposal) -> bytes:
    return bytes(keccak(text_bytes(proposal.description)))
