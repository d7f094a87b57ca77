# SPDX-License-Identifier: Apache-2.0
"""What the chain says about rounds, followed block by block: cases to examine, and what became of the others.

Events are held against what the ledger stores, so that an endpoint can't change an entry or an anchor on the way. The
newest blocks are read anew each time: what was reorganised away is forgotten. Knows no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from folkmoot.chain.client import check_deployment
from folkmoot.chain.deployment import Deployment
from folkmoot.chain.events import (
    Event,
    PolicyAdded,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSlashed,
    UpdateCommitted,
    scan,
)
from folkmoot.chain.rpc import LedgerReader, Phase, RoundView, Rpc
from folkmoot.commitment import Commitment, entries_hash
from folkmoot.errors import RpcError
from folkmoot.fraud.case import Case
from folkmoot.policy import Policy
from folkmoot.round import Anchor

REORG_DEPTH = 64
"""Newest blocks that are read anew each time."""


@dataclass
class Told:
    """A round as the ledger's events tell it."""

    opened: RoundOpened
    """Its opening."""
    commits: list[UpdateCommitted] = field(default_factory=list)
    """Its entries."""
    anchored: RoundAnchored | None = None
    """Its anchor."""
    slashed: RoundSlashed | None = None
    """The proof that it was wrong."""
    phase: Phase = Phase.OPEN
    """Where it stands, as the ledger stores it."""
    case: Case | None = None
    """Its case, once it is anchored, whatever became of it."""


@dataclass(frozen=True)
class Record:
    """What the chain says at one block."""

    block: int
    """Number of the block."""
    time: int
    """Its Unix time: the clock of the deadlines."""
    cases: Mapping[int, Case]
    """Anchored rounds, by number, the void ones left out."""
    told: Mapping[int, Told]
    """All rounds."""

    def anchored_at(self, number: int) -> int:
        """Return the Unix time of an anchor: its first deadline less the policy's window."""
        told = self.told[number]
        if told.anchored is None or told.case is None:
            return self.time
        return told.anchored.challenge_deadline - told.case.policy.challenge_window

    def waiting(self) -> list[Case]:
        """Return the rounds that can still be challenged, in their order.

        That is until somebody finalizes them, which nobody can before the deadline.
        """
        return [
            case for number, case in sorted(self.cases.items()) if self.told[number].phase == Phase.ANCHORED
        ]


@dataclass(frozen=True)
class _Source:
    rpc: Rpc
    deployment: Deployment


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


def replays(told: Mapping[int, Told]) -> list[Replay]:
    """Find the updates that were committed to before, in another round on another base; the first is no replay."""
    first: dict[bytes, tuple[int, int]] = {}
    found = []
    for number, one in sorted(told.items()):
        for index, commit in enumerate(one.commits):
            earlier, entry = first.setdefault(commit.update_root, (number, index))
            if earlier != number and told[earlier].opened.base_state_root != one.opened.base_state_root:
                found.append(Replay(number, index, earlier, entry))
    return found


class Follower:
    """Follows one federation on one chain, whichever endpoint it is asked through.

    Args:
        deployment: The addresses.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._settled: list[Event] = []
        self._upto: tuple[int, bytes] | None = None  # newest block that is not read anew, and its hash
        self._checked: set[str] = set()  # endpoints whose chain is the deployment's
        self._cases: dict[RoundAnchored, tuple[Case, bytes]] = {}  # with the hash of the entries

    def read(self, rpc: Rpc) -> Record:
        """Read what is new, and return what the chain says now.

        Args:
            rpc: Any endpoint of the chain.

        Raises:
            RpcError: the endpoint failed, or contradicts itself.
            WrongChainError: it serves another chain.
        """
        if rpc.url not in self._checked:
            check_deployment(rpc, self.deployment)
            self._checked.add(rpc.url)
        head = rpc.block_number()
        if self._upto is not None and (head < self._upto[0] or _hash(rpc, self._upto[0]) != self._upto[1]):
            self._settled, self._upto = (
                [],
                None,
            )  # another chain than we saw: a long reorg, or a reset local chain
        first = self.deployment.block if self._upto is None else self._upto[0] + 1
        source = _Source(rpc, self.deployment)
        fresh = list(scan(source, first, head, contracts=("ledger",)))
        told, policies = _fold([*self._settled, *fresh])
        ledger = LedgerReader(rpc, self.deployment.ledger)
        time = rpc.latest_timestamp()
        cases: dict[int, Case] = {}
        for number, one in told.items():
            if one.anchored is None:
                continue
            if one.anchored not in self._cases:
                case = _case(self.deployment, number, one, policies)
                self._cases[one.anchored] = case, entries_hash(case.entries)
            one.case, entries = self._cases[one.anchored]
            if one.phase == Phase.ANCHORED:
                one.case, one.phase = _held_against(ledger.round(number), one.case, entries)
            if one.phase in (Phase.ANCHORED, Phase.FINAL):
                cases[number] = one.case
        current = {one.anchored for one in told.values()}
        for gone in self._cases.keys() - current:
            del self._cases[gone]
        settled = head - REORG_DEPTH
        if settled >= first:
            self._upto = (settled, _hash(rpc, settled))
            self._settled += [event for event in fresh if event.block <= settled]
        return Record(head, time, cases, told)

    def stored(self, rpc: Rpc, number: int) -> RoundView:
        """Return what the ledger stores of a round."""
        return LedgerReader(rpc, self.deployment.ledger).round(number)


def _fold(events: Iterable[Event]) -> tuple[dict[int, Told], dict[int, Policy]]:
    told: dict[int, Told] = {}
    policies: dict[int, Policy] = {}
    try:
        for event in events:
            match event:
                case PolicyAdded():
                    policies[event.policy_id] = event.policy
                case RoundOpened():
                    told[event.round] = Told(event)
                case UpdateCommitted():
                    told[event.round].commits.append(event)
                case RoundAnchored():
                    told[event.round].anchored = event
                    told[event.round].phase = Phase.ANCHORED
                case RoundFinalized():
                    told[event.round].phase = Phase.FINAL
                case RoundCancelled():
                    told[event.round].phase = Phase.CANCELLED
                case RoundSlashed():
                    told[event.round].phase = Phase.SLASHED
                    told[event.round].slashed = event
                case _:
                    pass
    except KeyError as error:
        raise _contradiction(f"its events of round {error} do not begin with the opening") from error
    return told, policies


def _case(deployment: Deployment, number: int, told: Told, policies: Mapping[int, Policy]) -> Case:
    """Make the case of an anchored round."""
    assert told.anchored is not None  # noqa: S101  # the caller looked
    made = told.anchored.anchor
    anchor = Anchor(
        made.weights,
        made.delivered,
        made.aggregate_root,
        made.state_root,
        made.gram_root,
        made.verdict_hash,
        made.artifacts_hash,
    )
    opened = told.opened
    policy = policies.get(opened.policy_id)
    if policy is None:
        raise _contradiction(f"it has no event of policy {opened.policy_id}, which round {number} pins")
    entries = tuple(
        Commitment(
            event.contributor,
            number,
            opened.base_state_root,
            event.update_root,
            event.sum_squares,
            event.num_examples,
            event.bundle_hash,
        )
        for event in told.commits
    )
    return Case(
        deployment.chain_id,
        deployment.ledger,
        number,
        opened.policy_id,
        policy,
        opened.coordinator,
        opened.base,
        opened.base_state_root,
        opened.header_hash,
        entries,
        anchor,
        told.anchored.challenge_deadline,
    )


def _held_against(stored: RoundView, case: Case, entries: bytes) -> tuple[Case, Phase]:
    """Hold a case against what the ledger stores; return it with the present deadline, and the present phase."""
    told = (case.header_hash, case.anchor.hash, entries, case.base, case.policy_id)
    held = (stored.header_hash, stored.anchor_hash, stored.entries_hash, stored.base, stored.policy)
    if told != held or len(case.anchor.weights) != len(case.entries):
        raise _contradiction(f"its events of round {case.round} are not what the ledger stores")
    return replace(case, challenge_deadline=stored.challenge_deadline), stored.phase


def _hash(rpc: Rpc, number: int) -> bytes:
    block = rpc.call("eth_getBlockByNumber", [hex(number), False])
    try:
        return bytes.fromhex(block["hash"][2:])
    except (TypeError, KeyError, ValueError) as error:
        raise _contradiction(f"it has no block {number}") from error


def _contradiction(what: str) -> RpcError:
    return RpcError(
        f"The RPC endpoint contradicts itself: {what}.",
        remedy="It is out of order, lies, or its chain was just reorganised: ask again, or another one.",
        code="bad-log",
    )
