# SPDX-License-Identifier: Apache-2.0
"""Follows what the chain says about rounds, block by block, and lets go of what is over.

Events are held against what the ledger stores, so that an endpoint can't change an entry or an anchor on the way. The
newest blocks are read anew each time: what was reorganised away is forgotten. What lies deeper is read once. A round
that is over there, and that none rests on which is not, goes to `folkmoot.fraud.contracts.pruned`, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.chain.client import check_deployment
from folkmoot.errors import RpcError
from folkmoot.fraud.contracts.pruned import Checkpoint, FinishedRound, PrunedRounds
from folkmoot.fraud.contracts.record import Record, RoundEvents
from folkmoot.fraud.proofs.case import Case
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import (
    CommitsClosed,
    Event,
    PolicyAdded,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSlashed,
    UpdateCommitted,
)
from folkmoot.ledger.scan import scan
from folkmoot.protocol.commitment import Commitment, entries_hash
from folkmoot.protocol.policy import Policy
from folkmoot.round import Anchor
from folkmoot.rpc.client import LedgerReader, Phase, RoundView, Rpc

REORG_DEPTH = 64
"""Newest blocks that are read anew each time."""

MOST_EVENTS = 5_000
"""Events after which a long reading lets go of what is over: a whole history need not fit into memory."""


@dataclass(frozen=True)
class _Source:
    rpc: Rpc
    deployment: Deployment


class Follower:
    """Follows one federation on one chain, whichever endpoint it is asked through.

    Args:
        deployment: The addresses.
        past: Takes the rounds that are over; None keeps all.
        wanted: Tells which rounds must be kept although they are over.
    """

    def __init__(
        self,
        deployment: Deployment,
        past: PrunedRounds | None = None,
        wanted: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        self.deployment = deployment
        self._past = past
        self._wanted = wanted
        self._told: dict[int, RoundEvents] = {}
        self._policies: dict[int, Policy] = {}
        self._next = deployment.block  # first block that is read anew
        self._upto: tuple[int, bytes] | None = None  # a block below that, and its hash
        self._checked: set[str] = set()  # endpoints whose chain is the deployment's
        self._cases: dict[RoundAnchored, tuple[Case, bytes]] = {}  # with the hash of the entries

    @property
    def held(self) -> int:
        """Rounds and entries that are held in memory, of blocks that are not read anew."""
        return sum(1 + len(one.commits) for one in self._told.values())

    def read(self, rpc: Rpc) -> Record:
        """Read what is new, and return what the chain says now.

        Args:
            rpc: Any endpoint of the chain.

        Raises:
            RpcError: the endpoint failed, or contradicts itself.
            WrongChainError: it serves another chain.
            LocalError: what is over could not be put away.
        """
        if rpc.url not in self._checked:
            check_deployment(rpc, self.deployment)
            self._checked.add(rpc.url)
        head = rpc.block_number()
        if self._upto is None or not _has(rpc, head, *self._upto):
            # The first look, or another chain than we saw: a long reorg, or a reset local chain.
            self._begin(rpc, head)
        fresh = self._read_on(rpc, head - REORG_DEPTH, head)
        self._let_go()
        told = {number: one.copy() for number, one in self._told.items()}
        policies = dict(self._policies)
        self._fold(fresh, told, policies)
        ledger = LedgerReader(rpc, self.deployment.ledger)
        time = rpc.latest_timestamp()
        cases: dict[int, Case] = {}
        for number, one in told.items():
            if one.anchored is None:
                continue
            if one.anchored not in self._cases:
                policy = policies.get(one.opened.policy_id) or self._old_policy(ledger, one.opened.policy_id)
                case = _case(self.deployment, number, one, policy)
                self._cases[one.anchored] = case, entries_hash(case.entries)
            one.case, entries = self._cases[one.anchored]
            if one.phase == Phase.ANCHORED:
                one.case, one.phase = _held_against(ledger.round(number), one.case, entries)
            if one.phase in (Phase.ANCHORED, Phase.FINAL):
                cases[number] = one.case
        current = {one.anchored for one in told.values()}
        for gone in self._cases.keys() - current:
            del self._cases[gone]
        return Record(head, time, cases, told, self._past)

    def _begin(self, rpc: Rpc, head: int) -> None:
        """Begin where the rounds begin that were not let go of; at the deployment, if that was another chain."""
        self._told, self._policies, self._next, self._upto = {}, {}, self.deployment.block, None
        place = self._past.place if self._past is not None else None
        if self._past is None or place is None:
            return
        if _has(rpc, head, place.block, place.hash):
            self._next = place.since
        else:
            self._past.forget()

    def _read_on(self, rpc: Rpc, settled: int, head: int) -> list[Event]:
        """Read on to the head, up to a block for good; return the events above it.

        Each block counts as a whole, as soon as it was read: what fails in a long reading goes on there.
        """
        fresh: list[Event] = []
        events = scan(_Source(rpc, self.deployment), self._next, head, contracts=("ledger",))
        count = 0
        for block, group in groupby(events, key=lambda event: event.block):
            found = list(group)
            if block > settled:
                fresh += found
                continue
            try:
                self._fold(found, self._told, self._policies)
            except Exception:
                self._upto = None  # half of a block was taken in: the next look begins anew
                raise
            self._next, self._upto = block + 1, (block, found[0].block_hash)
            count += len(found)
            if count >= MOST_EVENTS:
                self._let_go()
                count = 0
        if settled >= self._next:
            self._next, self._upto = settled + 1, (settled, _hash(rpc, settled))
        return fresh

    def _let_go(self) -> None:
        """Put away what is over, first in the file and then here."""
        if self._past is None or self._upto is None:
            return
        block, hash_ = self._upto
        kept = self._kept()
        over = [_over(number, one) for number, one in self._told.items() if number not in kept]
        if not over:
            return
        since = min((self._told[number].opened.block for number in kept), default=block + 1)
        self._past.let_go(over, Checkpoint(block, hash_, since))
        for one in over:
            del self._told[one.number]

    def _kept(self) -> set[int]:
        """Return the rounds that can still matter: what is not over, what is wanted, the newest, and their lineages.

        A round is examined with its base, and with as much of what came before as a rule looks back, and one more,
        whose state the oldest of them trained from.
        """
        told = self._told
        kept = {number for number, one in told.items() if one.phase in (Phase.OPEN, Phase.ANCHORED)}
        kept |= told.keys() & set(self._wanted())
        kept |= set(sorted(told)[-1:])
        # The head, on which the next round builds.
        kept |= set(sorted(n for n, one in told.items() if one.phase in (Phase.ANCHORED, Phase.FINAL))[-1:])
        for number in list(kept):
            base = told[number].opened.base
            for _ in range(WINDOW + 1):
                if base not in told:
                    break
                kept.add(base)
                base = told[base].opened.base
        return kept

    def _fold(
        self, events: Iterable[Event], told: dict[int, RoundEvents], policies: dict[int, Policy]
    ) -> None:
        """Take in events."""
        for event in events:
            number = getattr(event, "round", None)
            if number is not None and number not in told and not isinstance(event, RoundOpened):
                if self._past is not None and number in self._past:
                    continue
                raise _contradiction(f"its events of round {number} do not begin with the opening")
            match event:
                case PolicyAdded():
                    policies[event.policy_id] = event.policy
                case RoundOpened():
                    if self._past is None or event.round not in self._past:
                        told[event.round] = RoundEvents(event)
                case UpdateCommitted():
                    told[event.round].commits.append(event)
                case CommitsClosed():
                    told[event.round].closed = event
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

    def _old_policy(self, ledger: LedgerReader, number: int) -> Policy:
        """Return a policy that was added before the first block that was read."""
        if self._past is None or self._past.place is None:
            raise _contradiction(f"it has no event of policy {number}, which a round pins")
        self._policies[number] = ledger.policy(number)
        return self._policies[number]


def commits_of(rpc: Rpc, deployment: Deployment, record: Record, number: int) -> list[UpdateCommitted]:
    """Return the entries of a round, which are read again if it was let go of.

    Raises:
        RpcError: the endpoint failed.
    """
    if number in record.told or record.past is None:
        return record.told[number].commits
    first, last = record.past.blocks(number)
    events = scan(_Source(rpc, deployment), first, last, contracts=("ledger",))
    return [event for event in events if isinstance(event, UpdateCommitted) and event.round == number]


def _over(number: int, told: RoundEvents) -> FinishedRound:
    opened, commits = told.opened, told.commits
    last = commits[-1].block if commits else opened.block
    roots = tuple(event.update_root for event in commits)
    return FinishedRound(number, opened.base_state_root, opened.block, last, roots)


def _case(deployment: Deployment, number: int, told: RoundEvents, policy: Policy) -> Case:
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


def _has(rpc: Rpc, head: int, block: int, hash_: bytes) -> bool:
    """Whether a chain has a block."""
    return head >= block and _hash(rpc, block) == hash_


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
