# SPDX-License-Identifier: Apache-2.0
"""Deleting update files by rule or by wish, spare states (docs/protocol.md sections 12.1 to 12.3), unfinished uploads.

First the rows say that the files are deleted: from then on nobody gets them, misses them, or puts them back. Then the
store deletes them, and the rows say so. A process that is killed in between goes on at the second step.

No row deletes a file: both steps ask the chain whether the time of its round is over, and the round's artifacts file,
by the hash that the chain has, whether the file is of that round.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, exists, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.retention import KEPT_EVERY, Reason, Retention, Wishes
from folkmoot.errors import FolkmootError, RpcError
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.update_checks import check_bytes
from folkmoot.protocol.updates import FileUpdate
from folkmoot.rpc.client import Phase
from folkmoot.rpc.wallets import accepts_digest
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.logs import fields
from server.chain.recorded import listed
from server.chain.view import ChainView
from server.db import events
from server.db.models import Artifact, Entry, Round, Update, Wish
from server.db.steps import ENDED, Step
from server.db.wishes import kept
from server.intake.uploads import round_of
from server.storage import Storage

logger = logging.getLogger(__name__)

_FINAL = (Step.SETTLING, Step.SETTLED)
_BY = {Reason.RETENTION: "rule", Reason.WISH: "wish"}
_OVER = (Phase.FINAL, Phase.CANCELLED, Phase.SLASHED)


class Deletion:
    """Deletes what may be deleted now, at each call.

    Args:
        chain: The chain; only what has its confirmations counts.
        check: Raises a FolkmootError while the chain has lost blocks that had their confirmations: nothing is deleted.
    """

    def __init__(
        self,
        storage: Storage,
        chain: ChainView,
        federation: Federation,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._storage, self._chain, self._federation, self._check = storage, chain, federation, check
        self._unbonding: int | None = None
        self._known: dict[int, Retention] = {}

    def __call__(self) -> None:
        """Mark update files that may be deleted by rule or by wish and spare states, and delete what is marked."""
        self._check()
        self._known.clear()
        self._forget_uploads()
        candidates, wished = self._candidates(), self._wished()
        if candidates or wished:
            now = self._now()
            for number in sorted({*candidates, *wished}):
                retention = self._of(number)
                if retention.expired(now):
                    self._mark(number, now, Reason.RETENTION)
                elif number in wished and retention.free(now):
                    self._mark(number, now, Reason.WISH)
        for number in self._old():
            if self._of(number).spare():
                self._mark_state(number)
        self._delete()

    def wrong(self, session: Session, rows: Sequence[Artifact]) -> list[Artifact]:
        """Return those of some rows that say that a file is deleted, though no rule and no wish lets it go."""
        self._known.clear()
        now, wishes = self._now() if rows else 0, self._wishes(session)
        wanted = (
            {name for _, name in self.wanted_again() if not self._storage.store.has(name)} if rows else set()
        )
        # They are rebuilt by themselves.
        return [
            row for row in rows if row.sha256 not in wanted and not self._lets_go(session, row, now, wishes)
        ]

    def _lets_go(self, session: Session, row: Artifact, now: int, wishes: Wishes) -> bool:
        """Whether a file may be deleted for the reason that its row has."""
        if row.kind == "state":
            return row.deleted == Reason.SPARE and not self._keeping_state(session, row.sha256)
        if row.kind != "update" or row.deleted not in _BY or not row.round:
            return False
        listings = listings_of(session, [row.sha256]).get(row.sha256, set())
        if not listings:
            return self._of(row.round).free(now)
        return not any(self._keeps(listing, now, wishes) for listing in listings)

    def retention(self, number: int) -> Retention:
        """Return what the deletion of a round's files depends on."""
        if self._unbonding is None:
            self._unbonding = self._chain.vault.unbonding_period()
        view = self._chain.settled_round(number)
        if view.phase not in _OVER:
            return Retention(number, over=False, free_at=0, above=0, retain_rounds=0)
        free_at, retain = view.opened_at + self._unbonding, self._chain.policy(view.policy).retain_rounds
        return Retention(number, over=True, free_at=free_at, above=self._above(number), retain_rounds=retain)

    def _of(self, number: int) -> Retention:
        """The same, asked for once in each call."""
        if number not in self._known:
            self._known[number] = self.retention(number)
        return self._known[number]

    def _above(self, number: int) -> int:
        """Number of final rounds above one.

        Rows say where to look, and the chain has the place of each among the rounds that stand.
        """
        with self._storage.database.read() as session:
            query = select(Round.number).where(Round.step.in_(_FINAL), Round.number > number)
            above = list(session.scalars(query.order_by(Round.number)))
        first = next(filter(None, map(self._place, above)), 0)
        return next(filter(None, map(self._place, reversed(above))), 0) - first + 1 if first else 0

    def _place(self, number: int) -> int:
        view = self._chain.settled_round(number)
        return view.position if view.phase is Phase.FINAL else 0

    def _forget_uploads(self) -> None:
        """Delete the unfinished uploads of rounds that take no files any more."""
        unfinished = self._storage.store.unfinished()
        if not unfinished:
            return
        with self._storage.database.read() as session:
            query = select(Round.number).where(Round.step.in_((Step.COLLECTING, Step.DELIVERY)))
            taking = set(session.scalars(query))
        for name in unfinished:
            if round_of(name) not in taking:
                self._storage.store.forget(name)

    def _now(self) -> int:
        """Time of the newest block that has its confirmations."""
        number = self._chain.settled_block()
        block = self._chain.rpc.block_at(number)
        if block is None:
            raise RpcError(
                f"The RPC endpoint does not have block {number} now.",
                remedy="Nothing was deleted. It is tried again.",
                code="node-behind",
            )
        return block.timestamp

    def _candidates(self) -> list[int]:
        """Return the rounds that are old enough by their number and have update files, oldest first."""
        with self._storage.database.read() as session:
            policies = list(session.scalars(select(Round.policy_id).distinct()))
        numbers: list[int] = []
        for policy in policies:
            retain = self._chain.policy(policy).retain_rounds
            if not retain:
                continue
            with self._storage.database.read() as session:
                finals = select(Round.number).where(Round.step.in_(_FINAL)).order_by(Round.number.desc())
                oldest = session.scalar(finals.offset(max(retain + 1, WINDOW) - 1).limit(1))
                if oldest is None:
                    continue
                has_files = exists().where(_kept_of(Round.number))
                query = select(Round.number).where(
                    Round.number < oldest, Round.policy_id == policy, Round.step.in_(ENDED), has_files
                )
                numbers += session.scalars(query)
        return sorted(numbers)

    def wanted_again(self) -> list[tuple[int, str]]:
        """Return round and name of each state that was deleted and is not spare: a reorg took rounds above it."""
        with self._storage.database.read() as session:
            oldest = session.scalar(_ninth_newest()) or 0
            query = select(Artifact.round, Artifact.sha256).where(
                Artifact.deleted == Reason.SPARE, Artifact.gone, Artifact.round >= oldest
            )
            return [(number, name) for number, name in session.execute(query) if number is not None]

    def _old(self) -> list[int]:
        """Return the rounds with a state file that may be spare, oldest first."""
        with self._storage.database.read() as session:
            oldest = session.scalar(_ninth_newest())
            if oldest is None:
                return []
            has_state = exists().where(_kept_of(Round.number, "state"))
            chosen = (Round.number < oldest) & (Round.number % KEPT_EVERY != 0) & Round.step.in_(ENDED)
            return sorted(session.scalars(select(Round.number).where(chosen, has_state)))

    def _mark_state(self, number: int) -> None:
        """Let the row say that a round's state file is deleted. A file that another round keeps stays."""
        with self._storage.database.read() as session:
            state = session.scalars(select(Artifact.sha256).where(_kept_of(number, "state"))).first()
            if state is None or not self._true(session, number, "state", {state}):
                return
            keeping = self._keeping_state(session, state)
        with self._storage.database.write() as session:
            row = session.scalars(select(Artifact).where(_kept_of(number, "state"))).first()
            if row is None or row.sha256 != state:
                return  # A newer round has left the same state.
            if keeping:
                row.round = max(keeping)
            else:
                row.deleted = Reason.SPARE
                events.append(session, "state-deleted", {"round": number, "reason": Reason.SPARE})
                logger.info("round %d: its state is deleted by rule", number, extra=fields("state-deleted"))

    def _keeping_state(self, session: Session, name: str) -> set[int]:
        """Rounds that keep a state file, the genesis at 0."""
        same = session.scalars(select(Round.number).where(Round.state_sha256 == name))
        genesis = {0} if name == self._federation.genesis.state else set()
        return genesis | {number for number in same if not self._of(number).spare()}

    def _true(self, session: Session, number: int, kind: str, names: set[str]) -> set[str]:
        """The files, of some, that are updates or the state of a round for sure, and nothing that stays.

        The chain names those of its entries. An update that never got there is known by its contributor's signature.
        """
        view = self._chain.settled_round(number)
        listing = listed(session, self._storage.store, number, view)
        if kind == "state":
            return names & {listing.artifacts.state} if listing is not None else set()
        sure = names.intersection(filter(None, listing.artifacts.updates)) if listing is not None else set()
        others = select(Update).where(Update.round == number, Update.sha256.in_(names - sure))
        width = self._chain.policy(view.policy).width if view.phase in _OVER else 0
        sure |= {row.sha256 for row in session.scalars(others) if width and self._is_signed(row, width)}
        return sure - listing.lasting if listing is not None else sure

    def _is_signed(self, row: Update, width: int) -> bool:
        """Whether a file is the update that a contributor signed for a round."""
        try:
            commitment = Commitment.from_json(row.commitment)
            commitment.check_signature(bytes.fromhex(row.signature[2:]), self._federation.domain)
            file = FileUpdate(self._storage.store.path(row.sha256), width)
            check_bytes(file, commitment, self._federation.manifest)
        except (FolkmootError, ValueError):
            return False
        return commitment.round == row.round

    def _wished(self) -> list[int]:
        """Return the rounds that are old enough by their number and have update files that contributors want gone."""
        with self._storage.database.read() as session:
            if session.scalar(select(Wish.contributor).limit(1)) is None:
                return []
            finals = select(Round.number).where(Round.step.in_(_FINAL)).order_by(Round.number.desc())
            oldest = session.scalar(finals.offset(WINDOW - 1).limit(1))
            if oldest is None:
                return []
            numbers: set[int] = set()
            for table in (Entry, Update):
                query = (
                    select(table.round)
                    .join(Wish, (Wish.contributor == table.contributor) & (table.round <= Wish.last_round))
                    .join(Round, Round.number == table.round)
                    .join(Artifact, (Artifact.sha256 == table.sha256) & _kept_of(table.round))
                    .where(table.round < oldest, Round.step.in_(ENDED))
                )
                numbers.update(session.scalars(query.distinct()))
        return sorted(numbers)

    def _mark(self, number: int, now: int, reason: Reason) -> None:
        """Let the rows say that update files of a round are deleted. A file that somebody else's entry keeps stays.

        Args:
            now: Unix time of the block by which is decided.
            reason: Why: the time of the whole round is over, or contributors of it want their files gone.
        """
        with self._storage.database.read() as session:
            names = set(session.scalars(select(Artifact.sha256).where(_kept_of(number))))
            names = self._true(session, number, "update", names)
            wishes = self._wishes(session)
            judged = {
                listing: self._keeps(listing, now, wishes)
                for listings in listings_of(session, names).values()
                for listing in listings
            }
        count = 0
        with self._storage.database.write() as session:
            rows = session.scalars(select(Artifact).where(_kept_of(number), Artifact.sha256.in_(names)))
            listings = listings_of(session, names)
            for row in rows:
                keeping = {one.round for one in listings.get(row.sha256, ()) if judged.get(one, True)}
                if not keeping:
                    row.deleted = reason
                    count += 1
                elif number not in keeping:
                    row.round = max(keeping)
            if count:
                data = {"round": number, "files": count, "reason": reason}
                events.append(session, "updates-deleted", data)
        fault_point("retention.marked")
        if count:
            text = "round %d: %d update files are deleted by %s"
            logger.info(text, number, count, _BY[reason], extra=fields("updates-deleted"))

    def _wishes(self, session: Session) -> Wishes:
        return Wishes(kept(session), self._federation.domain, partial(accepts_digest, self._chain.rpc))

    def _keeps(self, listing: Listing, now: int, wishes: Wishes) -> bool:
        """Whether a file stays because of an entry or an accepted update."""
        retention = self._of(listing.round)
        if retention.expired(now):
            return False
        return not (retention.free(now) and wishes.cover(listing.contributor, listing.round))

    def _delete(self) -> None:
        """Delete the files whose rows say so from the store, if their rounds let them go."""
        with self._storage.database.read() as session:
            query = select(Artifact).where(Artifact.deleted.is_not(None), ~Artifact.gone)
            rows = list(session.scalars(query.order_by(Artifact.round, Artifact.kind)))
            now, wishes = self._now() if rows else 0, self._wishes(session)
            names: list[str] = []
            for (number, kind), group in groupby(rows, key=lambda row: (row.round or 0, row.kind)):
                deletable = self._true(session, number, kind, {row.sha256 for row in group})
                if kind == "state":
                    names += [name for name in deletable if not self._keeping_state(session, name)]
                    continue
                listings = listings_of(session, deletable)
                keeping = {
                    n for n, ones in listings.items() if any(self._keeps(o, now, wishes) for o in ones)
                }
                names += sorted(deletable - keeping)
        for name in names:
            with self._storage.database.write() as session:
                row = session.get(Artifact, name)
                if row is None or row.deleted is None:
                    continue  # It arrived again, in another round.
                self._storage.store.delete(name)
                fault_point("retention.file-deleted")
                row.gone = True


def _ninth_newest() -> Select[int]:
    """Select the final round with WINDOW final rounds above it. States of rounds from it on are not spare."""
    finals = select(Round.number).where(Round.step.in_(_FINAL)).order_by(Round.number.desc())
    return finals.offset(WINDOW).limit(1)


def _kept_of(number: int | InstrumentedAttribute[int], kind: str = "update") -> ColumnElement[bool]:
    return (Artifact.kind == kind) & (Artifact.round == number) & Artifact.deleted.is_(None)


class Listing(NamedTuple):
    """An entry or an accepted update that has a file."""

    round: int
    contributor: str


def listings_of(session: Session, names: Iterable[str]) -> dict[str, set[Listing]]:
    """Return who has a file in which rounds, by the file."""
    listings: dict[str, set[Listing]] = {}
    for table in (Entry, Update):
        query = select(table.sha256, table.round, table.contributor).where(table.sha256.in_(list(names)))
        for name, number, contributor in session.execute(query):
            if name is not None:
                listings.setdefault(name, set()).add(Listing(number, contributor))
    return listings
