# SPDX-License-Identifier: Apache-2.0
"""Votes weighed anew, and nothing done without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from folkmoot.audit.governance import Assembly, Proposal, check_governance, replay_governance
from folkmoot.audit.history import ProposalView
from folkmoot.audit.stakes import fold_stakes
from folkmoot.errors import AuditFailure
from folkmoot.ledger.events import (
    CallExecuted,
    CallScheduled,
    Cancelled,
    CoordinatorAppointed,
    LateQuorumVoteExtensionSet,
    MinDelayChange,
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
    TimelockChange,
    VersionActivated,
    VersionRecalled,
    VoteCast,
    VotingDelaySet,
    VotingPeriodSet,
)
from tests.unit.audit.records import ADA, BEN, CLEO, DEPLOYMENT, NOBODY, Script
from tests.unit.audit.test_audit_stakes import stake

DELAY, PERIOD, THRESHOLD, QUORUM, EXTENSION, TIMELOCK = 10, 100, 50, 20, 30, 60
STAKES: dict[str, int] = {ADA: 100, BEN: 30, CLEO: 20}
REPORT = b"\5" * 32
AGAINST, FOR, ABSTAIN = 0, 1, 2


def activation(version: int = 1) -> bytes:
    return keccak(text="activate(uint64,bytes32)")[:4] + encode(["uint64", "bytes32"], [version, REPORT])


class Moot(Script):
    """An assembly with three stakers; each step can be given wrong fields."""

    def __init__(self) -> None:
        super().__init__()
        self._constructed("governor", VotingDelaySet, old_voting_delay=0, new_voting_delay=DELAY)
        self._constructed("governor", VotingPeriodSet, old_voting_period=0, new_voting_period=PERIOD)
        self._constructed(
            "governor", ProposalThresholdSet, old_proposal_threshold=0, new_proposal_threshold=THRESHOLD
        )
        self._constructed(
            "governor", QuorumNumeratorUpdated, old_quorum_numerator=0, new_quorum_numerator=QUORUM
        )
        self._constructed(
            "governor", LateQuorumVoteExtensionSet, old_vote_extension=0, new_vote_extension=EXTENSION
        )
        self._constructed("timelock", MinDelayChange, old_duration=0, new_duration=TIMELOCK)
        for who, amount in STAKES.items():
            stake(self, who, amount)
        self.proposal: Proposal | None = None
        self.past: dict[tuple[int, str], int] = {}

    def _constructed(self, contract: str, kind: type, **fields: Any) -> None:
        """Add an event to the creation of a contract."""
        first = next(event for event in self.events if event.contract == contract)
        now, logs = self.number, self.logs
        self.number, self.logs = first.block, sum(event.block == first.block for event in self.events)
        self.add(kind, contract, **fields)
        self.number, self.logs = now, logs
        self.events.sort(key=lambda event: (event.block, event.log_index))

    @property
    def id(self) -> int:
        assert self.proposal is not None
        return self.proposal.created.proposal_id

    @property
    def operation(self) -> bytes:
        assert self.proposal is not None
        return self.proposal.operation(DEPLOYMENT.governor)

    def propose(self, data: bytes | None = None, target: str = DEPLOYMENT.registry, **wrong: Any) -> None:
        self.block()
        data = activation() if data is None else data
        text = "Release version 1"
        number = keccak(
            encode(
                ["address[]", "uint256[]", "bytes[]", "bytes32"], [[target], [0], [data], keccak(text=text)]
            )
        )
        fields = {
            "proposal_id": int.from_bytes(number, "big"),
            "proposer": ADA,
            "targets": (target,),
            "values": (0,),
            "signatures": ("",),
            "calldatas": (data,),
            "vote_start": self.now + DELAY,
            "vote_end": self.now + DELAY + PERIOD,
            "description": text,
        }
        event = self.add(ProposalCreated, "governor", **{**fields, **wrong})
        assert isinstance(event, ProposalCreated)
        self.proposal = Proposal(event, event.vote_end)

    def vote(self, who: str, support: int, later: int = DELAY + 1, **wrong: Any) -> None:
        self.block(later)
        fields = {
            "voter": who,
            "proposal_id": self.id,
            "support": support,
            "weight": STAKES.get(who, 0),
            "reason": "",
        }
        self.past[self.id, who] = STAKES.get(who, 0)
        self.add(VoteCast, "governor", **{**fields, **wrong})

    def queue(self, later: int = PERIOD, **wrong: Any) -> None:
        self.block(later)
        assert self.proposal is not None
        targets, values, calldatas = self.proposal.calls()
        fields = {
            "id": self.operation,
            "index": 0,
            "target": targets[0],
            "value": values[0],
            "data": calldatas[0],
            "predecessor": bytes(32),
            "delay": TIMELOCK,
        }
        eta = wrong.pop("eta", self.now + TIMELOCK)
        self.add(CallScheduled, "timelock", **{**fields, **wrong})
        self.add(ProposalQueued, "governor", proposal_id=self.id, eta_seconds=eta)

    def execute(self, later: int = TIMELOCK, *, act: bool = True, **wrong: Any) -> None:
        self.block(later)
        assert self.proposal is not None
        targets, values, calldatas = self.proposal.calls()
        if act:
            self.add(VersionActivated, "registry", version=1, report_hash=REPORT)
        fields = {
            "id": self.operation,
            "index": 0,
            "target": targets[0],
            "value": values[0],
            "data": calldatas[0],
        }
        self.add(CallExecuted, "timelock", **{**fields, **wrong})
        self.add(ProposalExecuted, "governor", proposal_id=self.id)

    def pass_(self) -> None:
        """Propose, vote and queue."""
        self.propose()
        self.vote(ADA, FOR)
        self.queue()

    def replayed(self, **storage: Any) -> Assembly:
        history = self.history(past_votes=self.past, **storage)
        return replay_governance(history, fold_stakes(history))

    def checked(self, assembly: Assembly, **storage: Any) -> None:
        history = self.history(past_votes=self.past, **storage)
        check_governance(history, assembly, fold_stakes(history))


def test_a_proposal_that_passes_is_carried_out() -> None:
    moot = Moot()
    moot.propose()
    moot.vote(ADA, FOR)
    moot.vote(BEN, AGAINST, later=1)
    moot.vote(CLEO, ABSTAIN, later=1)
    moot.queue()
    moot.execute()
    assembly = moot.replayed()
    found = assembly.proposals[moot.id]
    assert found.tallies == [30, 100, 20]
    assert found.executed == {0}
    assert assembly.votes == 3
    right = ProposalView(found.snapshot, found.deadline, found.eta, 30, 100, 20, 30)
    moot.checked(assembly, min_delay=TIMELOCK, proposals={moot.id: right})
    for name in ProposalView.__dataclass_fields__:
        wrong = replace(right, **{name: 7})
        with pytest.raises(AuditFailure, match=f"Proposal {str(moot.id)[:8]}"):
            moot.checked(assembly, min_delay=TIMELOCK, proposals={moot.id: wrong})
    with pytest.raises(AuditFailure, match="the stored proposal"):
        moot.checked(assembly, min_delay=TIMELOCK)
    with pytest.raises(AuditFailure, match="timelock's delay"):
        moot.checked(assembly, proposals={moot.id: right})


def test_a_proposal_whose_snapshot_lies_ahead_has_no_quorum_yet() -> None:
    moot = Moot()
    moot.propose()
    assembly = moot.replayed()
    found = assembly.proposals[moot.id]
    view = ProposalView(found.snapshot, found.deadline, 0, 0, 0, 0, None)
    moot.checked(assembly, min_delay=TIMELOCK, proposals={moot.id: view})


def test_a_late_quorum_prolongs_the_vote() -> None:
    moot = Moot()
    moot.propose()
    moot.vote(CLEO, FOR, later=DELAY + PERIOD - 5)
    moot.vote(ADA, FOR, later=1)
    late = moot.now + EXTENSION
    moot.add(ProposalExtended, "governor", proposal_id=moot.id, extended_deadline=late)
    moot.vote(BEN, AGAINST, later=EXTENSION)
    assert moot.replayed().proposals[moot.id].deadline == late


def test_a_withdrawn_proposal_is_over() -> None:
    moot = Moot()
    moot.propose()
    moot.block(1)
    moot.add(ProposalCanceled, "governor", proposal_id=moot.id)
    assert moot.replayed().proposals[moot.id].canceled
    moot.vote(ADA, FOR)
    with pytest.raises(AuditFailure, match="withdrawn"):
        moot.replayed()


def test_a_guardian_cancels_in_its_term() -> None:
    for until, coordinator, allowed in ((10**9, BEN, True), (0, BEN, False), (10**9, CLEO, False)):
        moot = Moot()
        moot.add(CoordinatorAppointed, "ledger", previous=ADA, coordinator=coordinator)
        moot.add(ProposalGuardianSet, "governor", old_proposal_guardian=NOBODY, new_proposal_guardian=CLEO)
        VOTED(moot)
        withdraw(moot)
        if allowed:
            assert moot.replayed(guardian_until=until).proposals[moot.id].canceled
            continue
        with pytest.raises(AuditFailure, match="because there was no guardian"):
            moot.replayed(guardian_until=until)


def steps(*chosen: Callable[[Moot], Any]) -> Callable[[Moot], None]:
    def run(moot: Moot) -> None:
        for step in chosen:
            step(moot)

    return run


def withdraw(moot: Moot) -> None:
    moot.add(ProposalCanceled, "governor", proposal_id=moot.id)


def cancel_operation(moot: Moot) -> None:
    moot.add(Cancelled, "timelock", id=moot.operation)


PROPOSED: Callable[[Moot], Any] = Moot.propose
VOTED = steps(PROPOSED, lambda m: m.vote(ADA, FOR))
PASSED: Callable[[Moot], Any] = Moot.pass_


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lambda m: m.propose(proposal_id=5), "the id of the proposal"),
        (lambda m: m.propose(vote_start=5), "the start of the vote"),
        (lambda m: m.propose(vote_end=5), "the end of the vote"),
        (lambda m: m.propose(proposer=BEN), f"the votes of the proposer {BEN}"),
        (steps(PROPOSED, PROPOSED), "an earlier proposal with this id"),
        (steps(PROPOSED, lambda m: m.vote(ADA, FOR, later=DELAY)), "the time of the vote"),
        (steps(PROPOSED, lambda m: m.vote(ADA, FOR, later=DELAY + PERIOD + 1)), "the time of the vote"),
        (steps(VOTED, lambda m: m.vote(ADA, FOR, later=1)), "the vote"),
        (steps(PROPOSED, lambda m: m.vote(ADA, 3)), "the choice"),
        (steps(PROPOSED, lambda m: m.vote(ADA, FOR, weight=101)), "the weight of the vote"),
        (steps(VOTED, lambda m: m.past.update({(m.id, ADA): 99})), "the voter's stake at the snapshot"),
        (steps(PROPOSED, lambda m: m.vote(ADA, FOR, proposal_id=5)), "the proposal"),
        (
            steps(PROPOSED, lambda m: m.vote(ADA, FOR, later=DELAY + PERIOD)),
            "the extension of the vote",
        ),
        (
            steps(
                VOTED,
                lambda m: m.add(ProposalExtended, "governor", proposal_id=m.id, extended_deadline=5),
            ),
            "the extended deadline",
        ),
        (steps(VOTED, lambda m: m.queue(later=PERIOD - 1)), "the time of the queueing"),
        (steps(PROPOSED, lambda m: m.vote(ADA, AGAINST), lambda m: m.queue()), "the votes for"),
        (
            steps(PROPOSED, lambda m: m.vote(CLEO, FOR), lambda m: m.queue()),
            "the votes that count for the quorum",
        ),
        (steps(VOTED, lambda m: m.queue(eta=5)), "the earliest execution"),
        (steps(VOTED, lambda m: m.queue(delay=5)), "the delay"),
        (steps(VOTED, lambda m: m.queue(predecessor=b"\1" * 32)), "the predecessor"),
        (steps(VOTED, lambda m: m.queue(target=ADA)), "the target of the call"),
        (steps(VOTED, lambda m: m.queue(value=1)), "the value of the call"),
        (steps(VOTED, lambda m: m.queue(data=b"")), "the data of the call"),
        (steps(VOTED, lambda m: m.queue(index=1)), "the index of the call"),
        (steps(VOTED, lambda m: m.queue(id=b"\1" * 32)), "the scheduled operation"),
        (
            steps(
                VOTED,
                lambda m: m.block(PERIOD),
                lambda m: m.add(ProposalQueued, "governor", proposal_id=m.id, eta_seconds=m.now + TIMELOCK),
            ),
            "whether the timelock has the operation",
        ),
        (steps(PROPOSED, withdraw, lambda m: m.queue(later=500)), "whether the proposal was withdrawn"),
        (steps(VOTED, withdraw), "the time of the withdrawal"),
        (steps(PASSED, lambda m: m.execute(later=TIMELOCK - 1)), "the time of the execution"),
        (steps(PASSED, lambda m: m.execute(id=b"\1" * 32)), "the executed operation"),
        (steps(PASSED, lambda m: m.execute(data=b"")), "the data of the call"),
        (steps(PASSED, lambda m: m.execute(), lambda m: m.execute()), "the execution"),
        (steps(PASSED, cancel_operation, lambda m: m.execute()), "whether the proposal was withdrawn"),
        (steps(PROPOSED, cancel_operation), "the operation"),
        (
            steps(PASSED, lambda m: m.add(ProposalExecuted, "governor", proposal_id=m.id)),
            "the calls that the timelock carried out",
        ),
    ],
)
def test_a_breach_of_the_rules_is_named(run: Callable[[Moot], None], what: str) -> None:
    moot = Moot()
    run(moot)
    with pytest.raises(AuditFailure) as caught:
        moot.replayed()
    assert caught.value.details["what"] == what


def view_of(moot: Moot, assembly: Assembly) -> dict[int, ProposalView]:
    return {
        number: ProposalView(
            p.snapshot, p.deadline, p.eta, p.tallies[0], p.tallies[1], p.tallies[2], sum(STAKES.values()) // 5
        )
        for number, p in assembly.proposals.items()
    }


@pytest.mark.parametrize(
    ("act", "function"),
    [
        (lambda m: m.add(VersionActivated, "registry", version=1, report_hash=REPORT), "activate"),
        (lambda m: m.add(VersionActivated, "registry", version=2, report_hash=REPORT), "activate"),
        (
            lambda m: m.add(
                VersionRecalled, "registry", version=1, report_hash=REPORT, has_active=False, active=0
            ),
            "recall",
        ),
        (
            lambda m: m.add(CoordinatorAppointed, "ledger", previous=ADA, coordinator=BEN),
            "appointCoordinator",
        ),
    ],
)
def test_an_act_without_a_vote_is_named(act: Callable[[Moot], Any], function: str) -> None:
    moot = Moot()
    moot.pass_()
    moot.execute()
    moot.block()
    act(moot)
    assembly = moot.replayed()
    with pytest.raises(AuditFailure) as caught:
        moot.checked(assembly, min_delay=TIMELOCK, proposals=view_of(moot, assembly))
    assert caught.value.details["what"].startswith(f"the vote behind {function} of the ")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m: m.add(RoleGranted, "timelock", role=bytes(32), account=ADA, sender=ADA), "a role"),
        (
            lambda m: m.add(
                RoleAdminChanged,
                "timelock",
                role=bytes(32),
                previous_admin_role=bytes(32),
                new_admin_role=b"\1" * 32,
            ),
            "the administrator of a role",
        ),
        (
            lambda m: m.add(VotingDelaySet, "governor", old_voting_delay=DELAY, new_voting_delay=DELAY),
            "the voting delay",
        ),
        (
            lambda m: m.add(TimelockChange, "governor", old_timelock=ADA, new_timelock=BEN),
            "the governor's timelock",
        ),
    ],
)
def test_what_is_fixed_never_changes(change: Callable[[Moot], Any], what: str) -> None:
    """No contract of this release emits these after its constructor, so only a false endpoint shows them."""
    moot = Moot()
    moot.block()
    change(moot)
    assembly = moot.replayed()
    with pytest.raises(AuditFailure) as caught:
        moot.checked(assembly, min_delay=TIMELOCK, proposals=view_of(moot, assembly))
    assert caught.value.details["what"] == what


def test_one_execution_allows_one_act() -> None:
    moot = Moot()
    moot.pass_()
    moot.execute()
    moot.add(VersionActivated, "registry", version=1, report_hash=REPORT)
    assembly = moot.replayed()
    with pytest.raises(AuditFailure, match="the vote behind activate"):
        moot.checked(assembly, min_delay=TIMELOCK, proposals=view_of(moot, assembly))


def test_a_proposal_may_call_what_it_likes_elsewhere() -> None:
    moot = Moot()
    moot.propose(b"\1\2\3\4", target=CLEO)
    moot.vote(ADA, FOR)
    moot.queue()
    moot.execute(act=False)
    assembly = moot.replayed()
    moot.checked(assembly, min_delay=TIMELOCK, proposals=view_of(moot, assembly))


def test_a_governor_that_counts_other_stakes_is_named() -> None:
    moot = Moot()
    assembly = moot.replayed()
    with pytest.raises(AuditFailure, match="hose stakes vote"):
        moot.checked(assembly, min_delay=TIMELOCK, governor_votes=ADA)
    with pytest.raises(AuditFailure, match="governor's timelock"):
        moot.checked(assembly, min_delay=TIMELOCK, governor_timelock=ADA)
