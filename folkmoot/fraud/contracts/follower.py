# SPDX-License-Identifier: Apache-2.0
"""Follow the rounds on the chain, block by block, and drop rounds that are no longer needed.

Events are checked against the ledger's storage, so that an endpoint can't change an entry or an anchor. The newest
blocks are read again each time, because of reorganisations. Older blocks are read once. A closed round in older blocks
is moved to `folkmoot.fraud.contracts.pruned`, if enabled, unless an open round depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import groupby

from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.chain.client import check_deployment
from folkmoot.errors import RpcError
from folkmoot.fraud.contracts.pruned import Checkpoint, FinishedRound, PrunedRounds
from folkmoot.fraud.contracts.record import Record, RoundEvents
from folkmoot.fraud.proofs.case import Case
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.entries import UpdateCommitted, anchor_of, entries_of
from folkmoot.ledger.events import (
    CommitsClosed,
    Event,
    PolicyAdded,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSlashed,
    UpdatesCommitted,
)
from folkmoot.ledger.scan import ChainSource, scan
from folkmoot.protocol.batch import LISTED_BYTES
from folkmoot.protocol.commitment import Commitment, entries_hash
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import LedgerReader, Phase, RoundView, Rpc

REORG_DEPTH = 64
"""Number of newest blocks that are read again each time."""

MOST_EVENTS = 5_000
"""Number of events and entries after which a long read drops closed rounds: a history need not fit into memory."""


class Follower:
    """Follows one federation on one chain, through any endpoint.

    Args:
        deployment: The addresses.
        past: Store for closed rounds; None to keep all rounds in memory.
        wanted: Function that returns closed rounds which must be kept.
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
        self._rounds: dict[int, RoundEvents] = {}
        self._policies: dict[int, Policy] = {}
        self._next = deployment.block  # First block that is read again.
        self._upto: tuple[int, bytes] | None = None  # An older block, and its hash.
        self._checked: set[str] = set()  # Endpoints that serve the deployment's chain.
        self._cases: dict[RoundAnchored, tuple[Case, bytes]] = {}  # With the hash of the entries.

    @property
    def held(self) -> int:
        """Number of rounds and entries in memory from blocks that are not read again."""
        return sum(1 + len(one.commits) for one in self._rounds.values())

    def read(self, rpc: Rpc) -> Record:
        """Read new blocks, and return the current record.

        Args:
            rpc: Any endpoint of the chain.

        Raises:
            RpcError: The endpoint failed, or contradicts itself.
            WrongChainError: The endpoint serves another chain.
            LocalError: Closed rounds could not be stored.
        """
        if rpc.url not in self._checked:
            check_deployment(rpc, self.deployment)
            self._checked.add(rpc.url)
        head = rpc.block_number()
        if self._upto is None or not _has(rpc, head, *self._upto):
            # The first read, or another chain: a long reorganisation, or a reset local chain.
            self._begin(rpc, head)
        fresh = self._read_on(rpc, head - REORG_DEPTH, head)
        ledger = LedgerReader(rpc, self.deployment.ledger)
        self._drop_closed(ledger)
        rounds = {number: one.copy() for number, one in self._rounds.items()}
        policies = dict(self._policies)
        self._fold(fresh, rounds, policies)
        time = rpc.latest_timestamp()
        cases: dict[int, Case] = {}
        for number, one in rounds.items():
            policy = self._policy(ledger, one.opened.policy_id, policies)
            if one.anchored is None:
                continue
            if one.anchored not in self._cases:
                case = _case(self.deployment, number, one, policy)
                self._cases[one.anchored] = case, entries_hash(case.entries)
            one.case, entries = self._cases[one.anchored]
            if one.phase == Phase.ANCHORED:
                one.case, one.phase = _checked_case(ledger.round(number), one.case, entries)
            if one.phase in (Phase.ANCHORED, Phase.FINAL):
                cases[number] = one.case
        current = {one.anchored for one in rounds.values()}
        for dropped in self._cases.keys() - current:
            del self._cases[dropped]
        return Record(head, time, cases, rounds, policies, self._past)

    def _begin(self, rpc: Rpc, head: int) -> None:
        """Set the first block: that of the oldest round not dropped, or the deployment's if the chain has changed."""
        self._rounds, self._policies, self._next, self._upto = {}, {}, self.deployment.block, None
        place = self._past.place if self._past is not None else None
        if self._past is None or place is None:
            return
        if _has(rpc, head, place.block, place.hash):
            self._next = place.since
        else:
            self._past.forget()

    def _read_on(self, rpc: Rpc, settled: int, head: int) -> list[Event]:
        """Read blocks up to the head. Store those up to a settled block; return the events above it.

        Each block is stored completely, so that a failed long read continues after it.
        """
        fresh: list[Event] = []
        events = scan(ChainSource(rpc, self.deployment), self._next, head, contracts=("ledger",))
        count = 0
        for block, group in groupby(events, key=lambda event: event.block):
            found = list(group)
            if block > settled:
                fresh += found
                continue
            try:
                self._fold(found, self._rounds, self._policies)
            except Exception:
                self._upto = None  # Only a part of a block was processed: the next read starts again.
                raise
            self._next, self._upto = block + 1, (block, found[0].block_hash)
            count += len(found) + sum(
                len(event.entries) // LISTED_BYTES for event in found if isinstance(event, UpdatesCommitted)
            )
            if count >= MOST_EVENTS:
                self._drop_closed(LedgerReader(rpc, self.deployment.ledger))
                count = 0
        if settled >= self._next:
            self._next, self._upto = settled + 1, (settled, _hash(rpc, settled))
        return fresh

    def _drop_closed(self, ledger: LedgerReader) -> None:
        """Move closed rounds to the file, then remove them from memory."""
        if self._past is None or self._upto is None:
            return
        block, hash_ = self._upto
        kept = self._kept()
        over = [
            _over(number, one, self._policy(ledger, one.opened.policy_id, self._policies))
            for number, one in self._rounds.items()
            if number not in kept
        ]
        if not over:
            return
        since = min((self._rounds[number].opened.block for number in kept), default=block + 1)
        self._past.let_go(over, Checkpoint(block, hash_, since))
        for one in over:
            del self._rounds[one.number]

    def _kept(self) -> set[int]:
        """Return the rounds to keep: open ones, requested ones, the newest, and their lineages.

        The examination of a round needs its base, as many earlier rounds as a rule uses, and the base of the oldest
        of them.
        """
        rounds = self._rounds
        kept = {number for number, one in rounds.items() if one.phase in (Phase.OPEN, Phase.ANCHORED)}
        kept |= rounds.keys() & set(self._wanted())
        kept |= set(sorted(rounds)[-1:])
        # The head, which is the base of the next round.
        kept |= set(sorted(n for n, one in rounds.items() if one.phase in (Phase.ANCHORED, Phase.FINAL))[-1:])
        for number in list(kept):
            base = rounds[number].opened.base
            for _ in range(WINDOW + 1):
                if base not in rounds:
                    break
                kept.add(base)
                base = rounds[base].opened.base
        return kept

    def _fold(
        self, events: Iterable[Event], rounds: dict[int, RoundEvents], policies: dict[int, Policy]
    ) -> None:
        """Apply events to rounds and policies."""
        for event in events:
            number = getattr(event, "round", None)
            if number is not None and number not in rounds and not isinstance(event, RoundOpened):
                if self._past is not None and number in self._past:
                    continue
                raise _contradiction(f"its events of round {number} do not begin with the opening")
            match event:
                case PolicyAdded():
                    policies[event.policy_id] = event.policy
                case RoundOpened():
                    if self._past is None or event.round not in self._past:
                        rounds[event.round] = RoundEvents(event)
                case UpdatesCommitted():
                    rounds[event.round].commits += entries_of(event)
                case CommitsClosed():
                    rounds[event.round].closed = event
                case RoundAnchored():
                    rounds[event.round].anchored = event
                    rounds[event.round].phase = Phase.ANCHORED
                case RoundFinalized():
                    rounds[event.round].phase = Phase.FINAL
                case RoundCancelled():
                    rounds[event.round].phase = Phase.CANCELLED
                case RoundSlashed():
                    rounds[event.round].phase = Phase.SLASHED
                    rounds[event.round].slashed = event
                    for fallen in _on_top(rounds, event.round):
                        rounds[fallen].phase = Phase.CANCELLED
                case _:
                    pass

    def _policy(self, ledger: LedgerReader, number: int, known: dict[int, Policy]) -> Policy:
        """Return a policy. One that was added before the first read block is asked for."""
        if number not in known:
            if self._past is None or self._past.place is None:
                raise _contradiction(f"it has no event of policy {number}, which a round pins")
            known[number] = self._policies[number] = ledger.policy(number)
        return known[number]


def _on_top(rounds: Mapping[int, RoundEvents], slashed: int) -> list[int]:
    """Return the anchored rounds that build on a slashed one: they are void without an event of their own."""
    fallen = {slashed}
    for number in sorted(rounds):
        events = rounds[number]
        if number > slashed and events.phase == Phase.ANCHORED and events.opened.base in fallen:
            fallen.add(number)
    return sorted(fallen - {slashed})


def commits_of(rpc: Rpc, deployment: Deployment, record: Record, number: int) -> list[UpdateCommitted]:
    """Return the entries of a round. Those of a dropped round are read again.

    Raises:
        RpcError: the endpoint failed.
    """
    if number in record.rounds or record.past is None:
        return record.rounds[number].commits
    first, last = record.past.blocks(number)
    events = scan(ChainSource(rpc, deployment), first, last, contracts=("ledger",))
    mine = (event for event in events if isinstance(event, UpdatesCommitted) and event.round == number)
    return [entry for event in mine for entry in entries_of(event)]


def _over(number: int, events: RoundEvents, policy: Policy) -> FinishedRound:
    opened, commits = events.opened, events.commits
    last = commits[-1].block if commits else opened.block
    roots = tuple(event.update_root for event in commits)
    accounts = tuple(event.contributor for event in commits)
    return FinishedRound(number, opened.base_state_root, opened.block, last, roots, policy.cost, accounts)


def _case(deployment: Deployment, number: int, events: RoundEvents, policy: Policy) -> Case:
    """Return the case of an anchored round."""
    assert events.anchored is not None  # noqa: S101  # the caller has checked
    anchor = anchor_of(events.anchored)
    opened = events.opened
    entries = tuple(
        Commitment(
            event.contributor,
            number,
            opened.base_state_root,
            event.update_root,
            event.sum_squares,
            event.memory_hash,
            event.bundle_hash,
        )
        for event in events.commits
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
        events.anchored.challenge_deadline,
    )


def _checked_case(stored: RoundView, case: Case, entries: bytes) -> tuple[Case, Phase]:
    """Check a case against the ledger's storage. Return it with the current deadline, and the current phase."""
    claimed = (case.header_hash, case.anchor.hash, entries, case.base, case.policy_id)
    held = (stored.header_hash, stored.anchor_hash, stored.entries_hash, stored.base, stored.policy)
    if claimed != held or len(case.anchor.weights) != len(case.entries):
        raise _contradiction(f"its events of round {case.round} are not what the ledger stores")
    return replace(case, challenge_deadline=stored.challenge_deadline), stored.phase


def _has(rpc: Rpc, head: int, block: int, hash_: bytes) -> bool:
    """Return whether a chain has a block."""
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
