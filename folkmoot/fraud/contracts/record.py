# SPDX-License-Identifier: Apache-2.0
"""What the chain says about rounds at one block: cases to examine, and what became of the others. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from folkmoot.fraud.contracts.pruned import CommitmentRef, PrunedRounds
from folkmoot.fraud.proofs.case import Case
from folkmoot.ledger.events import CommitsClosed, RoundAnchored, RoundOpened, RoundSlashed, UpdateCommitted
from folkmoot.rpc.client import Phase


@dataclass
class RoundEvents:
    """A round as the ledger's events tell it."""

    opened: RoundOpened
    """Its opening."""
    commits: list[UpdateCommitted] = field(default_factory=list)
    """Its entries."""
    closed: CommitsClosed | None = None
    """The early end of its commit window."""
    anchored: RoundAnchored | None = None
    """Its anchor."""
    slashed: RoundSlashed | None = None
    """The proof that it was wrong."""
    phase: Phase = Phase.OPEN
    """Where it stands, as the ledger stores it."""
    case: Case | None = None
    """Its case, once it is anchored, whatever became of it."""

    def copy(self) -> RoundEvents:
        """Return one that takes further events without changing this one."""
        return replace(self, commits=list(self.commits))


@dataclass(frozen=True)
class Record:
    """What the chain says at one block."""

    block: int
    """Number of the block."""
    time: int
    """Its Unix time: the clock of the deadlines."""
    cases: Mapping[int, Case]
    """Anchored rounds, by number, the void ones left out."""
    told: Mapping[int, RoundEvents]
    """All rounds that were not let go of, the newest always."""
    past: PrunedRounds | None = None
    """The others, where some are let go of."""

    def anchored_at(self, number: int) -> int:
        """Return the Unix time of an anchor: its first deadline less the policy's window."""
        told = self.told[number]
        if told.anchored is None or told.case is None:
            return self.time
        return told.anchored.challenge_deadline - told.case.policy.challenge_window

    def asking_until(self, case: Case) -> int:
        """Return the Unix time until which data of an anchored round can be demanded, and the round disputed.

        As `DataAvailability` and `Disputes` have it: what postpones a round's end gives little more time for this.
        """
        told = self.told[case.round]
        latest = (told.closed or told.opened).anchor_deadline + case.policy.challenge_window
        return min(case.challenge_deadline, latest)

    def opened_at(self, case: Case) -> int:
        """Return the Unix time of a round's opening, of a round that was not let go of."""
        return self.told[case.round].opened.commit_deadline - case.policy.commit_window

    def waiting(self) -> list[Case]:
        """Return the rounds that can still be challenged, in their order.

        That is until somebody finalizes them, which nobody can before the deadline.
        """
        return [
            case for number, case in sorted(self.cases.items()) if self.told[number].phase == Phase.ANCHORED
        ]


@dataclass(frozen=True)
class Replay:
    """An update that is, to the bit, one of an earlier round on another base."""

    round: int
    """Round of the copy."""
    entry: int
    """Number of the copy's entry."""
    earlier: int
    """The earlier round."""
    earlier_entry: int
    """Number of the entry that was copied."""


def replays(record: Record) -> list[Replay]:
    """Find the updates of rounds that can still be challenged that were committed to before on another base.

    Of rounds of any age; what was committed to first is no replay.
    """
    first: dict[bytes, CommitmentRef] = {}
    for number, one in sorted(record.told.items()):
        for entry, commit in enumerate(one.commits):
            first.setdefault(commit.update_root, CommitmentRef(number, entry, one.opened.base_state_root))
    found = []
    for case in record.waiting():
        for entry, commit in enumerate(record.told[case.round].commits):
            earlier = first[commit.update_root]
            older = record.past.first(commit.update_root) if record.past is not None else None
            if older is not None and older.round < earlier.round:
                earlier = older
            if earlier.round < case.round and earlier.base_state_root != case.base_state_root:
                found.append(Replay(case.round, entry, earlier.round, earlier.entry))
    return found
