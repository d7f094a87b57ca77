# SPDX-License-Identifier: Apache-2.0
"""Follow the rounds on the chain for whoever examines them.

Events are checked against the ledger's storage, so that an endpoint can't change an entry or an anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from folkmoot.chain.client import check_deployment
from folkmoot.errors import RpcError
from folkmoot.fraud.contracts.record import Record
from folkmoot.fraud.proofs.case import Case
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.entries import UpdateCommitted, anchor_of, entries_of
from folkmoot.ledger.events import RoundAnchored, UpdatesCommitted
from folkmoot.ledger.follower import EventFollower
from folkmoot.ledger.pruned import PrunedRounds
from folkmoot.ledger.replay import Round
from folkmoot.ledger.scan import ChainSource, scan
from folkmoot.protocol.commitment import entries_hash
from folkmoot.rpc.client import LedgerReader, Phase, RoundView, Rpc


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
        self._events = EventFollower(deployment, past, wanted)
        self._checked: set[str] = set()  # Endpoints that serve the deployment's chain.
        self._cases: dict[RoundAnchored, tuple[Case, bytes]] = {}  # With the hash of the entries.

    @property
    def held(self) -> int:
        """Number of rounds and entries in memory from blocks that are not read again."""
        return self._events.held

    def read(self, rpc: Rpc) -> Record:
        """Read new blocks, and return the current record.

        Args:
            rpc: Any endpoint of the chain.
        """
        if rpc.url not in self._checked:
            check_deployment(rpc, self.deployment)
            self._checked.add(rpc.url)
        snapshot = self._events.read(rpc)
        rounds, time = snapshot.state.rounds, rpc.latest_timestamp()
        ledger = LedgerReader(rpc, self.deployment.ledger)
        cases: dict[int, Case] = {}
        void: dict[int, Case] = {}
        for number, round_ in rounds.items():
            if round_.anchored is None:
                continue
            if round_.anchored not in self._cases:
                case = _case(self.deployment, round_, round_.anchored)
                self._cases[round_.anchored] = case, entries_hash(case.entries)
            case, entries = self._cases[round_.anchored]
            if round_.phase == Phase.ANCHORED:
                case, round_.phase = _checked_case(ledger.round(number), case, entries)
            (cases if round_.stands else void)[number] = case
        current = {round_.anchored for round_ in rounds.values()}
        for dropped in self._cases.keys() - current:
            del self._cases[dropped]
        return Record(snapshot.block, time, cases, void, rounds, self._past)


def commits_of(rpc: Rpc, deployment: Deployment, record: Record, number: int) -> list[UpdateCommitted]:
    """Return the entries of a round. Those of a dropped round are read again."""
    if number in record.rounds or record.past is None:
        return record.rounds[number].commits
    first, last = record.past.blocks(number)
    events = scan(ChainSource(rpc, deployment), first, last, contracts=("ledger",))
    mine = (event for event in events if isinstance(event, UpdatesCommitted) and event.round == number)
    return [entry for event in mine for entry in entries_of(event)]


def _case(deployment: Deployment, round_: Round, anchored: RoundAnchored) -> Case:
    opened = round_.opened
    return Case(
        deployment.chain_id,
        deployment.ledger,
        round_.number,
        round_.policy_id,
        round_.policy,
        opened.coordinator,
        round_.base,
        round_.base_state_root,
        opened.header_hash,
        tuple(round_.commitments()),
        anchor_of(anchored),
        anchored.challenge_deadline,
    )


def _checked_case(stored: RoundView, case: Case, entries: bytes) -> tuple[Case, Phase]:
    """Check a case against the ledger's storage. Return it with the current deadline, and the current phase."""
    claimed = (case.header_hash, case.anchor.hash, entries, case.base, case.policy_id)
    held = (stored.header_hash, stored.anchor_hash, stored.entries_hash, stored.base, stored.policy)
    count = len(case.entries)
    pays = count if case.policy.has_pays else 0
    if claimed != held or (len(case.anchor.weights), len(case.anchor.pays)) != (count, pays):
        raise RpcError(
            f"The RPC endpoint contradicts itself: its events of round {case.round} are not what the ledger stores.",
            remedy="It is out of order, lies, or its chain was just reorganised: ask again, or another one.",
            code="bad-log",
        )
    return replace(case, challenge_deadline=stored.challenge_deadline), stored.phase
