# SPDX-License-Identifier: Apache-2.0
"""Follow a federation on its chain, block by block, and drop rounds that are no longer needed.

The newest blocks are read again each time, because of reorganisations. Older blocks are read once. A closed round in
older blocks is moved to `folkmoot.ledger.pruned`, if enabled, unless an open round depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.event import Event
from folkmoot.ledger.events import RoundOpened, UpdatesCommitted
from folkmoot.ledger.pruned import Checkpoint, FinishedRound, PrunedRounds
from folkmoot.ledger.replay import FederationState, Round
from folkmoot.ledger.scan import ChainSource, scan
from folkmoot.protocol.batch import LISTED_BYTES
from folkmoot.rpc.client import LedgerReader, Phase, Rpc

REORG_DEPTH = 64
"""Number of newest blocks that are read again each time."""

MOST_EVENTS = 5_000
"""Number of events and entries after which a long read drops closed rounds: a history need not fit into memory."""


@dataclass(frozen=True)
class Snapshot:
    """A federation at one block."""

    block: int
    """Number of the block."""
    state: FederationState
    """State at that block. Dropped rounds are not in it, the newest always is."""
    settled: FederationState
    """State at the newest block that is not read again. The next read changes it."""
    settled_block: int
    """Number of that block; negative on a chain that is too short."""


class EventFollower:
    """Follows one federation on one chain, through any endpoint.

    Args:
        deployment: The addresses.
        past: Store for closed rounds; None to keep all rounds in memory.
        wanted: Function that returns closed rounds which must be kept.
        contracts: Contracts whose events are read.
    """

    def __init__(
        self,
        deployment: Deployment,
        past: PrunedRounds | None = None,
        wanted: Callable[[], Iterable[int]] = tuple,
        contracts: Sequence[str] = ("policies", "ledger"),
    ) -> None:
        self._deployment, self._contracts = deployment, contracts
        self._past = past
        self._wanted = wanted
        self._state = FederationState()
        self._next = deployment.block  # First block that is read again.
        self._upto: tuple[int, bytes] | None = None  # An older block, and its hash.

    @property
    def held(self) -> int:
        """Number of rounds and entries in memory from blocks that are not read again."""
        return sum(1 + len(round_.commits) for round_ in self._state.rounds.values())

    def read(self, rpc: Rpc) -> Snapshot:
        """Read new blocks, and return the current state.

        Args:
            rpc: Any endpoint of the chain.
        """
        head = rpc.block_number()
        if self._upto is None or not _has(rpc, head, *self._upto):
            # The first read, or another chain: a long reorganisation, or a reset local chain.
            self._begin(rpc, head)
        ledger, settled = LedgerReader(rpc, self._deployment.ledger), head - REORG_DEPTH
        fresh = self._read_on(rpc, ledger, settled, head)
        self._drop_closed()
        state = self._state.copy()
        for event in fresh:
            self._apply(event, state, ledger)
        return Snapshot(head, state, self._state, settled)

    def _begin(self, rpc: Rpc, head: int) -> None:
        """Set the first block: that of the oldest round not dropped, or the deployment's if the chain has changed."""
        self._state, self._next, self._upto = FederationState(), self._deployment.block, None
        place = self._past.place if self._past is not None else None
        if self._past is None or place is None:
            return
        if _has(rpc, head, place.block, place.hash):
            self._next = place.since
        else:
            self._past.forget()

    def _read_on(self, rpc: Rpc, ledger: LedgerReader, settled: int, head: int) -> list[Event]:
        """Read blocks up to the head. Store those up to a settled block; return the events above it.

        Each block is stored completely, so that a failed long read continues after it.
        """
        fresh: list[Event] = []
        source = ChainSource(rpc, self._deployment)
        events = scan(source, self._next, head, contracts=self._contracts)
        count = 0
        for block, group in groupby(events, key=lambda event: event.block):
            of_block = list(group)
            if block > settled:
                fresh += of_block
                continue
            try:
                for event in of_block:
                    self._apply(event, self._state, ledger)
            except Exception:
                self._upto = None  # Only a part of a block was processed: the next read starts again.
                raise
            self._next, self._upto = block + 1, (block, of_block[0].block_hash)
            count += len(of_block) + sum(
                len(event.entries) // LISTED_BYTES
                for event in of_block
                if isinstance(event, UpdatesCommitted)
            )
            if count >= MOST_EVENTS:
                self._drop_closed()
                count = 0
        if settled >= self._next:
            self._next, self._upto = settled + 1, (settled, _hash(rpc, settled))
        return fresh

    def _apply(self, event: Event, state: FederationState, ledger: LedgerReader) -> None:
        number = getattr(event, "round", None)
        if (
            self._past is not None
            and number is not None
            and number not in state.rounds
            and number in self._past
        ):
            return
        if (
            isinstance(event, RoundOpened)
            and event.policy_id not in state.policies
            and self._past is not None
            and self._past.place is not None
        ):  # It was added before the first block that was read.
            policy = ledger.policy(event.policy_id)
            state.policies[event.policy_id] = self._state.policies[event.policy_id] = policy
        state.apply(event)

    def _drop_closed(self) -> None:
        """Move closed rounds to the file, then remove them from memory."""
        if self._past is None or self._upto is None:
            return
        block, hash_ = self._upto
        rounds, kept = self._state.rounds, self._kept()
        over = [_finished(round_) for number, round_ in rounds.items() if number not in kept]
        if not over:
            return
        since = min((rounds[number].opened.block for number in kept), default=block + 1)
        self._past.let_go(over, Checkpoint(block, hash_, since))
        for finished in over:
            del rounds[finished.number]

    def _kept(self) -> set[int]:
        """Return the rounds to keep: open ones, requested ones, the newest, and their lineages.

        The examination of a round needs its base, as many earlier rounds as a rule uses, and the base of the oldest
        of them.
        """
        rounds = self._state.rounds
        kept = {number for number, round_ in rounds.items() if round_.phase in (Phase.OPEN, Phase.ANCHORED)}
        kept |= rounds.keys() & set(self._wanted())
        kept |= set(sorted(rounds)[-1:])
        # The head, which is the base of the next round.
        kept |= set(sorted(number for number, round_ in rounds.items() if round_.stands)[-1:])
        for number in list(kept):
            base = rounds[number].base
            for _ in range(WINDOW + 1):
                if base not in rounds:
                    break
                kept.add(base)
                base = rounds[base].base
        return kept


def _finished(round_: Round) -> FinishedRound:
    opened, commits = round_.opened, round_.commits
    return FinishedRound(
        round_.number,
        round_.base_state_root,
        opened.block,
        commits[-1].block if commits else opened.block,
        tuple(entry.update_root for entry in commits),
        round_.policy.cost,
        tuple(entry.contributor for entry in commits),
    )


def _has(rpc: Rpc, head: int, block: int, hash_: bytes) -> bool:
    """Return whether a chain has a block."""
    return head >= block and _hash(rpc, block) == hash_


def _hash(rpc: Rpc, number: int) -> bytes:
    method = "eth_getBlockByNumber"
    block = rpc.call(method, [hex(number), False])
    return bytes.fromhex(rpc.digest(method, rpc.member(method, block, "hash"))[2:])
