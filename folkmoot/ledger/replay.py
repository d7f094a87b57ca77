# SPDX-License-Identifier: Apache-2.0
"""From the events of the contracts to the state of a federation. Everybody who needs that state asks here.

Events are applied as they are. Who does not trust an endpoint compares the state with the ledger's storage, or checks
each event against the ledger's rules before it is applied, as `folkmoot.audit` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import TypeVar

from folkmoot.errors import ChainError, RpcError
from folkmoot.ledger.entries import UpdateCommitted, anchor_of, entries_of
from folkmoot.ledger.event import Event
from folkmoot.ledger.events import (
    CommitsClosed,
    ContributorSlashed,
    CoordinatorAppointed,
    MemberSet,
    PlacesDrawn,
    PolicyAdded,
    ProposalCreated,
    RewardClaimed,
    RewardCredited,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundPostponed,
    RoundSettled,
    RoundSlashed,
    UpdatesCommitted,
    VersionActivated,
    VersionRecalled,
)
from folkmoot.ledger.scan import Source, scan
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.places import available
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import payments
from folkmoot.rpc.client import Draw, Phase

_State = TypeVar("_State", bound="FederationState")


class CancelReason(IntEnum):
    """Why a round was cancelled, as `IRoundLedger.CancelReason`."""

    TOO_FEW_UPDATES = 0
    ANCHOR_LATE = 1
    BASE_VOIDED = 2
    EMPTY = 3


@dataclass
class Round:
    """A round: the events of it, and what follows from them."""

    opened: RoundOpened
    policy: Policy
    drawn: PlacesDrawn | None = None
    """Draw of its places; None if everybody has one."""
    phase: Phase = Phase.OPEN
    """Phase as the ledger reports it: cancelled as soon as a round below is slashed."""
    commits: list[UpdateCommitted] = field(default_factory=list)
    """Its entries, in order."""
    closed: CommitsClosed | None = None
    """Early end of its commit window."""
    anchored: RoundAnchored | None = None
    cancelled: CancelReason | None = None
    """Why it was cancelled, or became void without an event of its own."""
    cancellation: RoundCancelled | None = None
    """Event of its cancellation; of a round that was anchored, of the release of its bond."""
    postponed: int = 0
    """Unix time of the challenge deadline after a judge's postponement; 0 without one."""
    faults: list[ContributorSlashed] = field(default_factory=list)
    slashed: RoundSlashed | None = None
    settled: RoundSettled | None = None
    finalized: RoundFinalized | None = None
    credits: list[RewardCredited] = field(default_factory=list)

    def copy(self) -> Round:
        """Return a copy for further events."""
        return replace(
            self,
            commits=list(self.commits),
            faults=list(self.faults),
            credits=list(self.credits),
        )

    @property
    def number(self) -> int:
        """Its number."""
        return self.opened.round

    @property
    def policy_id(self) -> int:
        """Number of its policy."""
        return self.opened.policy_id

    @property
    def base(self) -> int:
        """Round of its base state; 0 is the genesis."""
        return self.opened.base

    @property
    def base_state_root(self) -> bytes:
        """State root of its base."""
        return self.opened.base_state_root

    @property
    def opened_at(self) -> int:
        """Unix time of its opening."""
        return self.opened.commit_deadline - self.policy.commit_window

    @property
    def anchored_at(self) -> int:
        """Unix time of its anchor; 0 until anchored."""
        return self.anchored.challenge_deadline - self.policy.challenge_window if self.anchored else 0

    @property
    def anchor(self) -> Anchor | None:
        """The coordinator's claims."""
        return None if self.anchored is None else anchor_of(self.anchored)

    @property
    def known_anchor(self) -> Anchor:
        """The coordinator's claims about a round that is anchored, as each base is."""
        if self.anchor is None:
            raise AssertionError(f"round {self.number} has no anchor: ask whether it is anchored first")
        return self.anchor

    @property
    def commit_deadline(self) -> int:
        """Unix time from which commitments are refused."""
        return (self.closed or self.opened).commit_deadline

    @property
    def anchor_deadline(self) -> int:
        """Unix time from which the anchor is late."""
        return (self.closed or self.opened).anchor_deadline

    @property
    def challenge_deadline(self) -> int:
        """Unix time from which it may become final; 0 until anchored."""
        return self.postponed or (self.anchored.challenge_deadline if self.anchored else 0)

    @property
    def stands(self) -> bool:
        """Whether it is anchored and not void."""
        return self.phase in (Phase.ANCHORED, Phase.FINAL)

    @property
    def void(self) -> bool:
        """Whether it was cancelled or slashed."""
        return self.phase in (Phase.CANCELLED, Phase.SLASHED)

    @property
    def voided(self) -> bool:
        """Whether it was slashed, or cancelled because of an earlier slashed round."""
        return self.phase == Phase.SLASHED or self.cancelled == CancelReason.BASE_VOIDED

    @property
    def draw(self) -> Draw:
        """The draw of its places; all zero if there was none."""
        return Draw(self.drawn.quota, self.drawn.at, self.drawn.seed) if self.drawn else Draw(0, 0, 0)

    @property
    def enrolled_by(self) -> int:
        """Unix time: who has been enrolled since before may have a place."""
        return self.drawn.at if self.drawn else self.opened_at

    @property
    def places(self) -> int:
        """Number of entries that make it full for contributors."""
        most = self.policy.max_contributors
        return available(most) if self.draw.quota else most

    @property
    def contributors(self) -> dict[str, int]:
        """Number of each contributor's first entry, in the order of the entries."""
        numbers: dict[str, int] = {}
        for entry in self.commits:
            numbers.setdefault(entry.contributor, entry.index)
        return numbers

    @property
    def credited(self) -> dict[str, int]:
        """Rewards by account, in units of 1e-18 tokens."""
        return {event.contributor: event.amount for event in self.credits}

    @property
    def rewards(self) -> dict[str, int]:
        """What its anchor gives each account that gets anything, in units of 1e-18 tokens."""
        contributors = [entry.contributor for entry in self.commits]
        anchor, paid = self.known_anchor, [who != self.opened.coordinator for who in contributors]
        places = self.policy.max_contributors
        amounts = payments(self.policy.reward, places, anchor.weights, anchor.pays, paid)
        return {who: amount for who, amount in zip(contributors, amounts, strict=True) if amount}

    def commitments(self) -> list[Commitment]:
        """Return the entries as commitments."""
        return [entry.commitment(self.base_state_root) for entry in self.commits]


@dataclass
class FederationState:
    """State of a federation after its events."""

    rounds: dict[int, Round] = field(default_factory=dict)
    """Rounds from 1 on, ascending."""
    policies: dict[int, Policy] = field(default_factory=dict)
    head: int = 0
    """Base of the next round."""
    policy: int = 0
    """Policy of the next round."""
    coordinator: str = ""
    """Coordinator of the next round."""
    admitted: dict[str, bool] = field(default_factory=dict)
    """Whether the list of members has an account, for each that it ever had."""
    claims: dict[str, RewardClaimed] = field(default_factory=dict)
    """The last time that each account's credits were paid out."""
    proposals: list[ProposalCreated] = field(default_factory=list)
    versions: list[VersionActivated | VersionRecalled] = field(default_factory=list)

    def copy(self: _State) -> _State:
        """Return a copy for further events."""
        return replace(
            self,
            rounds={number: round_.copy() for number, round_ in self.rounds.items()},
            policies=dict(self.policies),
            admitted=dict(self.admitted),
            claims=dict(self.claims),
            proposals=list(self.proposals),
            versions=list(self.versions),
        )

    def apply(self, event: Event) -> None:
        """Apply an event. Events that change nothing here are passed over."""
        match event:
            case PolicyAdded():
                self.policies[event.policy_id] = event.policy
                self.policy = event.policy_id
            case CoordinatorAppointed():
                self.coordinator = event.coordinator
            case MemberSet():
                self.admitted[event.account] = event.member
            case ProposalCreated():
                self.proposals.append(event)
            case VersionActivated() | VersionRecalled():
                self.versions.append(event)
            case RoundOpened():
                if event.policy_id not in self.policies:
                    raise _contradiction(
                        f"has no event of policy {event.policy_id}, which round {event.round} pins"
                    )
                self.rounds[event.round] = Round(event, self.policies[event.policy_id])
            case PlacesDrawn():
                self._opened(event.round).drawn = event
            case CommitsClosed():
                self._opened(event.round).closed = event
            case UpdatesCommitted():
                self._opened(event.round).commits.extend(entries_of(event))
            case RoundAnchored():
                round_ = self._opened(event.round)
                round_.anchored, round_.phase, self.head = event, Phase.ANCHORED, event.round
            case RoundFinalized():
                round_ = self._opened(event.round)
                round_.finalized, round_.phase = event, Phase.FINAL
            case RoundCancelled():
                if event.reason not in list(CancelReason):
                    raise _contradiction(f"cancels round {event.round} for an unknown reason, {event.reason}")
                round_ = self._opened(event.round)
                round_.cancellation, round_.phase = event, Phase.CANCELLED
                round_.cancelled = CancelReason(event.reason)
            case RoundSlashed():
                self._slash(event)
            case ContributorSlashed():
                self._opened(event.round).faults.append(event)
            case RoundPostponed():
                self._opened(event.round).postponed = event.challenge_deadline
            case RoundSettled():
                self._opened(event.round).settled = event
            case RewardCredited():
                self._opened(event.round).credits.append(event)
            case RewardClaimed():
                self.claims[event.account] = event
            case _:
                pass

    def unclaimed(self, account: str) -> list[Round]:
        """Return the rounds that stand, have an entry of an account, and whose tokens were not paid out to it."""
        claim = self.claims.get(account)
        return [
            round_
            for round_ in self.rounds.values()
            if round_.stands
            and account in round_.contributors
            and not (
                claim is not None
                and round_.settled is not None
                and (round_.settled.block, round_.settled.log_index) < (claim.block, claim.log_index)
            )
        ]

    def _opened(self, number: int) -> Round:
        if number not in self.rounds:
            raise RpcError(
                f"The RPC endpoint's events of round {number} do not begin with its opening.",
                remedy="Check the block in the deployment file, or use another endpoint.",
                code="bad-log",
            )
        return self.rounds[number]

    def _slash(self, event: RoundSlashed) -> None:
        """Make a round void, and the anchored rounds that build on it, which have no event of their own."""
        slashed = self._opened(event.round)
        slashed.phase, slashed.slashed, self.head = Phase.SLASHED, event, slashed.base
        fallen = {event.round}
        for number in sorted(number for number in self.rounds if number > event.round):
            round_ = self.rounds[number]
            if round_.phase == Phase.ANCHORED and round_.base in fallen:
                fallen.add(number)
                round_.phase, round_.cancelled = Phase.CANCELLED, CancelReason.BASE_VOIDED


def read_state(source: Source) -> FederationState:
    """Return the state at the newest block, from the events of policies, rounds and rewards."""
    state = FederationState()
    newest = source.rpc.block_number()
    for event in scan(source, source.deployment.block, newest, contracts=("policies", "ledger", "rewards")):
        state.apply(event)
    return state


def anchored_round(source: Source, number: int) -> Round:
    """Return a round with an anchor, from the events.

    Raises:
        ChainError: `event-unknown`: the endpoint has no event of the round's anchor.
    """
    round_ = read_state(source).rounds.get(number)
    if round_ is None or round_.anchor is None:
        raise ChainError(
            f"The endpoint has no event of the anchor of round {number}.",
            remedy="See `folkmoot status`. If the round is anchored, use an endpoint that keeps all logs.",
            code="event-unknown",
        )
    return round_


def _contradiction(what: str) -> RpcError:
    return RpcError(
        f"The RPC endpoint contradicts itself: it {what}.",
        remedy="It is out of order, lies, or its chain was just reorganised: ask again, or another one.",
        code="bad-log",
    )
