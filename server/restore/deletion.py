# SPDX-License-Identifier: Apache-2.0
"""Deleting update files whose retention time is over, and spare states (docs/protocol.md sections 12.1 and 12.2).

First the rows say that the files are deleted: from then on nobody gets them, misses them, or puts them back. Then the
store deletes them, and the rows say so. A process that is killed in between goes on at the second step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.artifacts.retention import KEPT_EVERY, Reason, Retention
from folkmoot.errors import RpcError
from folkmoot.rpc.client import Phase
from folkmoot.runtime.fault_points import fault_point
from folkmoot.runtime.logs import fields
from server.chain.view import ChainView
from server.db import events
from server.db.models import Artifact, Entry, Round, Update
from server.db.steps import ENDED, Step
from server.storage import Storage

logger = logging.getLogger(__name__)

_FINAL = (Step.SETTLING, Step.SETTLED)
_OVER = (Phase.FINAL, Phase.CANCELLED, Phase.SLASHED)


class Deletion:
    """Deletes what may be deleted now, at each call.

    Args:
        storage: Database and store.
        chain: The chain; only what has its confirmations counts.
        check: Raises a FolkmootError while the chain has lost blocks that had their confirmations: nothing is deleted.
    """

    def __init__(self, storage: Storage, chain: ChainView, check: Callable[[], None] = lambda: None) -> None:
        self._storage, self._chain, self._check = storage, chain, check
        self._unbonding: int | None = None

    def __call__(self) -> None:
        """Mark the updates of rounds whose retention time is over and spare states, and delete what is marked.

        Raises:
            ChainError: The chain gave no answer, or has lost blocks.
            DatabaseError: The database can't be used.
            StoreError: The store can't be used.
        """
        self._check()
        candidates = self._candidates()
        if candidates:
            now = self._now()
            for number in candidates:
                if self.retention(number).expired(now):
                    self._mark(number, now)
        for number in self._old():
            if self.retention(number).spare():
                self._mark_state(number)
        self._delete()

    def retention(self, number: int) -> Retention:
        """Return what the deletion of a round's files depends on.

        Raises:
            ChainError: The chain gave no answer.
            DatabaseError: The database can't be used.
        """
        if self._unbonding is None:
            self._unbonding = self._chain.vault.unbonding_period()
        view = self._chain.settled_round(number)
        with self._storage.database.read() as session:
            query = select(func.count()).where(Round.step.in_(_FINAL), Round.number > number)
            above = session.scalars(query).one()
        free_at = view.opened_at + self._unbonding
        return Retention(
            number, view.phase in _OVER, free_at, above, self._chain.policy(view.policy).retain_rounds
        )

    def _now(self) -> int:
        """Time of the newest block that has its confirmations."""
        number = self._chain.settled_block()
        block = self._chain.node.block(number)
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
        found: list[int] = []
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
                found += session.scalars(query)
        return sorted(found)

    def wanted_again(self) -> list[tuple[int, str]]:
        """Return round and name of each state that was deleted and is not spare: a reorg took rounds above it.

        Raises:
            DatabaseError: The database can't be used.
        """
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
            row = session.scalars(select(Artifact).where(_kept_of(number, "state"))).first()
            if row is None:
                return
            name = row.sha256
            same = list(
                session.scalars(
                    select(Round.number).where(Round.state_sha256 == name, Round.number != number)
                )
            )
            first = select(Round.number).where(Round.base == 0, Round.base_state_sha256 == name)
            is_genesis = session.scalars(first.limit(1)).first() is not None
        keeping = [other for other in same if not self.retention(other).spare()]
        with self._storage.database.write() as session:
            row = session.scalars(select(Artifact).where(_kept_of(number, "state"))).first()
            if row is None or row.sha256 != name:
                return  # A newer round has left the same state.
            if is_genesis:
                row.round = None
            elif keeping:
                row.round = max(keeping)
            else:
                row.deleted = Reason.SPARE
                events.append(session, "state-deleted", {"round": number, "reason": Reason.SPARE})
                logger.info("round %d: its state is deleted by rule", number, extra=fields("state-deleted"))
        fault_point("retention.state-marked")

    def _mark(self, number: int, now: int) -> None:
        """Let the rows say that a round's update files are deleted. A file that another round keeps stays.

        Args:
            number: The round, whose retention time is over.
            now: Unix time of the block by which is decided.
        """
        with self._storage.database.read() as session:
            names = list(session.scalars(select(Artifact.sha256).where(_kept_of(number))))
            listed = set().union(*_others(session, number, names).values())
            ended = list(
                session.scalars(select(Round.number).where(Round.step.in_(ENDED), Round.number.in_(listed)))
            )
        expired = {other for other in ended if self.retention(other).expired(now)}
        with self._storage.database.write() as session:
            rows = list(session.scalars(select(Artifact).where(_kept_of(number))))
            others = _others(session, number, [row.sha256 for row in rows])
            for row in rows:
                if keeping := others.get(row.sha256, set()) - expired:
                    row.round = max(keeping)
                else:
                    row.deleted = Reason.RETENTION
            count = sum(row.deleted is not None for row in rows)
            if count:
                data = {"round": number, "files": count, "reason": Reason.RETENTION}
                events.append(session, "updates-deleted", data)
        fault_point("retention.marked")
        if count:
            text = "round %d: %d update files are deleted by rule"
            logger.info(text, number, count, extra=fields("updates-deleted"))

    def _delete(self) -> None:
        """Delete the files whose rows say so from the store."""
        with self._storage.database.read() as session:
            names = list(
                session.scalars(select(Artifact.sha256).where(Artifact.deleted.is_not(None), ~Artifact.gone))
            )
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


def _others(session: Session, number: int, names: Iterable[str]) -> dict[str, set[int]]:
    """Return the other rounds that have a file, by the file."""
    found: dict[str, set[int]] = {}
    for table in (Entry, Update):
        query = select(table.sha256, table.round).where(table.round != number, table.sha256.in_(list(names)))
        for name, other in session.execute(query):
            if name is not None:
                found.setdefault(name, set()).add(other)
    return found
