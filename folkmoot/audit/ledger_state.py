# SPDX-License-Identifier: Apache-2.0
"""The ledger's state as its events make it, and the storage that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from folkmoot.audit.bonds import BondBook
from folkmoot.audit.enrolled import Roll
from folkmoot.ledger.entries import UpdateCommitted, anchor_of
from folkmoot.ledger.events import (
    CommitsClosed,
    ContributorSlashed,
    Event,
    PlacesDrawn,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSettled,
    RoundSlashed,
)
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.places import available
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import Basis, Draw, Phase, RoundView

CHECK = "rounds"
"""Name of the check in a failure."""

_NO_ROOT = bytes(32)


class CancelReason(IntEnum):
    """Why a round was cancelled, as `IRoundLedger.CancelReason`."""

    TOO_FEW_UPDATES = 0
    ANCHOR_LATE = 1
    BASE_VOIDED = 2
    EMPTY = 3


@dataclass
class Round:
    """A round, from the events."""

    number: int
    """Its number."""
    policy_id: int
    """Number of its policy."""
    policy: Policy
    """Its policy."""
    base: int
    """Round of its base state."""
    base_state_root: bytes
    """State root of that round."""
    opened: RoundOpened
    """Event of its opening."""
    opened_at: int
    """Unix time of its opening."""
    quota: int = 0
    """Enrolled stake that has a place for certain, recomputed at the opening; 0 if no places are drawn."""
    drawn: PlacesDrawn | None = None
    """Event of the draw of its places, if any."""
    position: int = 0
    """Place among the rounds that stand, the genesis at 0; 0 until anchored."""
    phase: Phase = Phase.OPEN
    """Phase as the ledger reports it: cancelled as soon as a round below is slashed."""
    commits: list[UpdateCommitted] = field(default_factory=list)
    """Its entries, in order."""
    contributors: set[str] = field(default_factory=set)
    """Accounts of its entries."""
    closed: CommitsClosed | None = None
    """Event of the early end of its commit window, if any."""
    anchored: RoundAnchored | None = None
    """Event of its anchor, if any."""
    cancelled: CancelReason | None = None
    """Why it was cancelled."""
    released: RoundCancelled | None = None
    """Event of the release of its bond, if it is void."""
    postponed: int = 0
    """Unix time of the deadline after a judge's postponement; 0 without one."""
    faults: list[ContributorSlashed] = field(default_factory=list)
    """Events of contributors' slashings for faults."""
    slashed: RoundSlashed | None = None
    """Event of its slashing, if any."""
    judgment: Event | None = None
    """Event of the judge at its slashing, if any."""
    settled: RoundSettled | None = None
    """Event of the settlement of its rewards, if any."""
    finalized: RoundFinalized | None = None
    """Event of its finality, if any."""

    @property
    def anchor(self) -> Anchor | None:
        """The coordinator's claims."""
        return None if self.anchored is None else anchor_of(self.anchored)

    @property
    def known_anchor(self) -> Anchor:
        """The coordinator's claims about a round that is anchored, as each base is: ``replay`` has checked that.

        Raises:
            AssertionError: It is not anchored. The caller has a mistake: no history can bring it about.
        """
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
    def voided(self) -> bool:
        """Whether it was anchored and then slashed, or cancelled because of an earlier slashed round."""
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
        return available(most) if self.quota else most

    def commitments(self) -> list[Commitment]:
        """Return the entries as commitments."""
        return [entry.commitment(self.base_state_root) for entry in self.commits]


@dataclass
class Ledger:
    """State of the ledger after its events."""

    genesis_root: bytes
    """State root of round 0."""
    created_at: int
    """Unix time of the deployment."""
    rounds: dict[int, Round] = field(default_factory=dict)
    """Rounds from 1 on."""
    head: int = 0
    """Base of the next round."""
    policy: int = 0
    """Policy of the next round."""
    coordinator: str = ""
    """Coordinator of the next round."""
    roll: Roll = field(default_factory=Roll)
    """List of enrolled accounts."""
    admitted: dict[str, bool] = field(default_factory=dict)
    """Whether the list of members has an account, for each that it ever had."""
    finals: int = 1
    """Number of final rounds, the genesis included."""
    bonds: BondBook = field(default_factory=BondBook)
    """Bonds that the rounds have locked."""
    basis: Basis | None = None
    """What the next draw of places rests on; None if the block of the vault's creation is not known."""
    basis_hash: bytes = bytes(32)
    """Hash of the block of the basis."""
    spent: dict[str, int] = field(default_factory=dict)
    """What each contributor has spent of its privacy budget, in units of 2^-32 of rho."""
    falling: RoundSlashed | None = None
    """Slashing whose open round has not been cancelled yet."""

    @property
    def pending(self) -> int:
        """Number of anchored rounds that stand and are not final."""
        return self.length - self.finals

    @property
    def length(self) -> int:
        """Number of rounds that stand, the genesis included: the position of the next anchored round."""
        return self.rounds[self.head].position + 1 if self.head else 1

    def state_root(self, number: int) -> bytes:
        """Return the state root of an anchored round, or of the genesis."""
        if number == 0:
            return self.genesis_root
        anchor = self.rounds[number].anchor
        return anchor.state_root if anchor else _NO_ROOT


def view_of(replayed: Round) -> RoundView:
    """Return what the ledger must have stored of a round; it does not know the hash of the entries."""
    anchor = replayed.anchor
    return RoundView(
        policy=replayed.policy_id,
        phase=replayed.phase,
        entries=len(replayed.commits),
        opened_at=replayed.opened_at,
        commit_deadline=replayed.commit_deadline,
        anchor_deadline=replayed.anchor_deadline,
        challenge_deadline=replayed.challenge_deadline,
        coordinator=replayed.opened.coordinator,
        base=replayed.base,
        settled=replayed.settled is not None,
        position=replayed.position,
        header_hash=replayed.opened.header_hash,
        entries_hash=_NO_ROOT,
        state_root=anchor.state_root if anchor else _NO_ROOT,
        anchor_hash=anchor.hash if anchor else _NO_ROOT,
    )


def genesis_view(ledger: Ledger) -> RoundView:
    """Return what the ledger must have stored of the genesis."""
    return RoundView(
        policy=0,
        phase=Phase.FINAL,
        entries=0,
        opened_at=ledger.created_at,
        commit_deadline=0,
        anchor_deadline=0,
        challenge_deadline=0,
        coordinator="0x" + "0" * 40,
        base=0,
        settled=False,
        position=0,
        header_hash=_NO_ROOT,
        entries_hash=_NO_ROOT,
        state_root=ledger.genesis_root,
        anchor_hash=_NO_ROOT,
    )
