# SPDX-License-Identifier: Apache-2.0
"""Going back with a chain that lost blocks which had their confirmations: what a local chain does that is killed.

The chain is read and replayed at one block, as a restore does, and what the database has beyond it is put right in one
transaction, in which the events of the lost blocks go, too: until it is committed, they are the sign that it has to be
done. What the chain has beyond that block is read afterwards, as always.

A round that the chain has not got as far as the database says takes the step that the chain has. One that takes updates
again keeps those that were accepted. Of the rounds that the chain does not have at all, the first is opened again with
its updates, if it would be the same round; the others go, and their run plans them anew. Files stay.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from folkmoot.artifacts.federation import Federation
from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import History, PinnedRpc, read_history
from folkmoot.audit.ledger_state import Ledger
from folkmoot.errors import ArtifactError, RpcError, WrongChainError
from folkmoot.ledger.replay import Round as Past
from folkmoot.protocol.anchor import Anchor
from folkmoot.runtime.logs import fields
from server.chain import outbox
from server.chain.indexer import ROLLED_BACK, DeepRollback, Fork, forget
from server.chain.view import ChainView
from server.db import events
from server.db.models import Artifact, Entry, LogEntry, Round, RoundReport, Run, Transaction, Update
from server.db.steps import OPEN, Step
from server.db.wishes import kept
from server.restore.files import Importer, RoundFiles
from server.restore.restore import counting, leave_out, replayed
from server.restore.rows import Rows, base_of
from server.rounds import queries
from server.storage import Storage

logger = logging.getLogger(__name__)

LOOKS = 3
"""Looks in a row at which a chain must lack the same blocks: endpoints that many machines answer for contradict
themselves for a moment."""
SURE_SECONDS = 10.0
"""Seconds for which a chain that is not local must lack them, and show others in their place."""
_HIDDEN = 2**62
"""Chain time that never comes: the window of a round that is not open yet has no end."""
GONE = "deployment-lost"
"""Code of the error that says that the contracts are not on the chain any more."""

_VOID = (Step.CANCELLED, Step.SLASHED)
_REACHED = {
    **dict.fromkeys(OPEN, 0),
    Step.ANCHORED: 1,
    Step.FINALIZING: 1,
    Step.SETTLING: 2,
    Step.SETTLED: 3,
}
"""How far the chain must be in a round for each step of it; the steps `cancelled` and `slashed` are no part of that."""


class Rewinder:
    """Brings the database of one coordinator back to what its chain has.

    Args:
        restart: Called when rounds have changed, so that nothing is remembered of them in this process.
        withdraw: Lets the pending transactions end; says what is waited for, nothing if none is pending.
    """

    def __init__(
        self,
        federation: Federation,
        chain: ChainView,
        storage: Storage,
        restart: Callable[[], None],
        withdraw: Callable[[], str],
    ) -> None:
        self._withdraw = withdraw
        self._federation = federation
        self._chain = chain
        self._storage = storage
        self._restart = restart
        self._looks: Counter[Fork] = Counter()
        self._since = 0.0

    def __call__(self, rollback: DeepRollback) -> None:
        """Go back, if the chain has lost the same blocks for some looks and what it has is settled; else call again."""
        fork = rollback.fork
        self._looks = Counter({fork: self._looks[fork] + 1})
        if self._looks[fork] == 1:
            self._since = time.monotonic()
            logger.error("%s", rollback.message, extra=fields(ROLLED_BACK, block=fork.common))
        settled = self._chain.settled_block()
        if self._looks[fork] < LOOKS or settled < fork.common:
            raise rollback
        if not self._chain.local and not (fork.proven and time.monotonic() - self._since >= SURE_SECONDS):
            raise rollback  # a node may lag: it lacks blocks, and shows no others in their place
        self._require_no_pending(fork)
        history = self._read(settled, fork)
        if self._chain.ledger.next_round() != history.storage.next_round:  # it goes on while we read
            raise rollback
        store = self._storage.store
        importer = Importer(history, store, store)
        origin = importer.genesis()
        ledger = replayed(history, origin)
        with self._storage.database.read() as session:
            wishes = counting(history, kept(session))
            known = {row.number: row for row in session.scalars(select(Round))}
            session.expunge_all()
        leave_out(importer, ledger, wishes)
        with importer.states:
            files = {
                number: _import(importer, past, origin, fork.common)
                for number, past in ledger.rounds.items()
                if past.anchored is not None and not _is_kept(history, known.get(number), past, fork.common)
            }
        rows = Rows(history, origin, self._chain.rpc, self._federation.coordinator)
        with self._storage.database.write("chain-rewound") as session:
            done = _Rewriting(session, fork.common, rows, ledger, files).run()
            forget(session, fork.common)
            data = {"block": fork.common, "back": done.back, "gone": done.gone, "dropped": done.dropped}
            events.append(session, "chain-rewound", data)
        self._looks.clear()
        self._chain.forget()
        self._restart()

    def _require_no_pending(self, fork: Fork) -> None:
        """Check that nothing of what was lost comes back by itself: the pool of a node keeps what a reorg took."""
        if waits := self._withdraw():
            raise RpcError(
                f"The chain has lost its blocks from {fork.common + 1} to {fork.known}. The coordinator goes back with "
                f"it when none of its transactions is pending. {waits}",
                remedy="Check that the chain makes blocks, and that the account can pay gas.",
                code=ROLLED_BACK,
            )

    def _read(self, block: int, fork: Fork) -> History:
        try:
            return read_history(PinnedRpc(self._chain.rpc, block), self._federation.deployment)
        except WrongChainError as error:
            if error.code != "contract-missing":
                raise
            raise WrongChainError(
                f"The chain has lost its blocks from {fork.common + 1} to {fork.known}, and the federation's contracts "
                "with them.",
                remedy="Start the chain again with the state that it had. If that is lost, deploy the federation anew "
                "and make a coordinator for it in another folder; if the contracts are on another chain or endpoint, "
                "correct `rpc_url`.",
                code=GONE,
                details=error.details,
            ) from error


def _is_kept(history: History, row: Round | None, past: Past, common: int) -> bool:
    """Whether the database has the round that the chain has, with the same anchor if there is one.

    What was anchored in a block that the chain never lost is the same. If its row differs, somebody has altered it: the
    scrub says so, and going back needs none of its files.
    """
    if row is not None and past.anchored is not None and past.anchored.block <= common:
        return True
    if row is None or row.header_hash != "0x" + past.opened.header_hash.hex():
        return False
    entries = "0x" + history.storage.rounds[past.number].entries_hash.hex()
    try:
        anchor = row.anchor and Anchor.from_json(row.anchor)
    except (KeyError, TypeError, ValueError):  # The row was altered.
        return False
    return past.anchor is None or (anchor, row.entries_hash) == (past.anchor, entries)


def _import(importer: Importer, past: Past, origin: Origin, common: int) -> RoundFiles | None:
    """Read the files of a round that the database has otherwise than the chain; None for a void one without files."""
    try:
        return importer.round(past, origin, None)
    except ArtifactError as error:
        if past.voided:
            return None
        lost = past.anchored is None or past.anchored.block <= common
        why = "The database lacks this round." if lost else "Another process with this key anchored it."
        raise ArtifactError(
            error.message,
            remedy=f"{why} Put the file back into the store: `folkmoot coordinator rebuild files --mirror ...`. Or "
            f"stop this "
            "coordinator, and rebuild it in another folder: `folkmoot coordinator rebuild --home ... --mirror ...`.",
            code=error.code,
            details=error.details,
        ) from error


@dataclass
class _Rewriting:
    """One database transaction that puts rounds, transactions and runs right."""

    session: Session
    common: int
    """Newest block that the chain has not lost."""
    rows: Rows
    ledger: Ledger
    """What the chain has."""
    files: Mapping[int, RoundFiles | None]
    """Files of the anchored rounds that are written anew."""
    back: list[int] = field(default_factory=list)
    """Rounds that go on from an earlier step, or as another one."""
    gone: list[int] = field(default_factory=list)
    """Rounds that were removed."""
    dropped: list[str] = field(default_factory=list)
    """Purposes of transactions that make no sense any more."""
    _wanted: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Of rounds that begin again: beginnings of the purposes of their transactions that are still wanted."""

    def run(self) -> Self:
        """Put everything right."""
        session = self.session
        above = or_(Transaction.block_number.is_(None), Transaction.block_number > self.common)
        lost = list(session.scalars(select(Transaction.id).where(above).order_by(Transaction.id)))
        for past in self.ledger.rounds.values():
            row = session.get(Round, past.number)
            if row is not None and _is_kept(self.rows.history, row, past, self.common):
                self._follow(row, past)
            else:
                self._write_anew(row, past)
        last = max(self.ledger.rounds, default=0)
        query = select(Round).where(Round.number > last).order_by(Round.number)
        for row in list(session.scalars(query)):
            if self._may_reopen(row):
                self._open_again(row)
            else:
                self._uncount(row, gone=True)
                self.gone.append(row.number)
                self._remove(row)
        for identity in lost:
            transaction = session.get(Transaction, identity)
            if transaction is not None:
                self._send_again(transaction)
        for number in (*self.back, *self.gone):  # what happens again is told again
            about = or_(LogEntry.key.like(f"%:{number}"), LogEntry.key.like(f"%:{number}:%"))
            session.execute(update(LogEntry).where(about).values(key=None))
        return self

    # Rounds

    def _follow(self, row: Round, past: Past) -> None:
        """Let a round go back to the step that the chain has. Where the chain is further, the engine follows it."""
        step, (target, error) = Step(row.step), self.rows.standing(past, row.header)
        if step is Step.OPENING:
            return
        if target in (Step.COLLECTING, Step.CANCELLING):
            if step is not target or row.commit_deadline != past.commit_deadline:
                self.back.append(row.number)
            if step is not Step.CANCELLING or target is Step.COLLECTING:
                self._uncount(row)
                self._clear(row, target)
                if row.opened_at != past.opened_at:
                    self._ask_again(row.number)
                self._hide(row.number, past.commit_deadline)
                row.opened_at, row.error = past.opened_at, error
                row.commit_deadline, row.anchor_deadline = past.commit_deadline, past.anchor_deadline
                self._wanted[row.number] = ("open:", "commit:")
            return
        # What is the same was sent again, later.
        deadline = self.rows.history.storage.rounds[row.number].challenge_deadline
        row.opened_at, row.challenge_deadline = past.opened_at, deadline or None
        row.commit_deadline, row.anchor_deadline = past.commit_deadline, past.anchor_deadline
        if target in _VOID:
            ahead = step is Step.SETTLED or (step in _VOID and step is not target)
        else:
            ahead = step in _VOID or _REACHED[step] > _REACHED[target]
        if ahead:
            self.back.append(row.number)
            row.step, row.error = target, error

    def _write_anew(self, row: Round | None, past: Past) -> None:
        """Write a round as a restore does: the chain has another one than the database, or none is known."""
        run = None
        if row is not None:
            run = row.run_id
            self._uncount(row)
            self._remove(row)
        kept = self.files.get(past.number)
        self.rows.add(self.session, past, base_of(kept), kept).run_id = run
        self.back.append(past.number)

    def _may_reopen(self, row: Round) -> bool:
        """Whether a round that the chain does not have would be the same if it were opened now, and is of use."""
        ledger, run = self.ledger, self.session.get(Run, row.run_id or "")
        position = (row.number, row.base, row.base_state_root, row.policy_id)
        following = (
            max(ledger.rounds, default=0) + 1,
            ledger.head,
            "0x" + ledger.state_root(ledger.head).hex(),
            ledger.policy,
        )
        updates = queries.accepted(self.session, row.number)
        useful = bool(updates) or (run is not None and run.state == "running")
        return position == following and row.step not in _VOID and useful

    def _open_again(self, row: Round) -> None:
        """Let a round be opened once more, with the updates that were accepted."""
        if row.step != Step.OPENING:
            self._uncount(row)
            self.back.append(row.number)
            self._clear(row, Step.OPENING)
            row.error = row.opened_at = row.commit_deadline = row.anchor_deadline = None
            self.session.execute(update(Update).where(Update.round == row.number).values(batch=None))
            self._ask_again(row.number)
            self._hide(row.number, _HIDDEN)
        self._wanted[row.number] = ("open:",)

    def _ask_again(self, number: int) -> None:
        """Forget what was reported of a round that opens again: the relay asks its nodes once more."""
        self.session.execute(delete(RoundReport).where(RoundReport.round == number))

    def _hide(self, number: int, until: int) -> None:
        """Keep the updates of a round from everybody until a time: its window is open once more."""
        files = (Artifact.kind == "update") & (Artifact.round == number)
        self.session.execute(update(Artifact).where(files).values(public_from=until))

    def _clear(self, row: Round, step: Step) -> None:
        """Take out of a round what follows from its entries, which are fixed anew."""
        row.step, row.entries, row.recomputed = step, 0, 0
        row.entries_hash = row.anchor = row.challenge_deadline = None
        row.verdicts_sha256 = row.artifacts_sha256 = row.mean_sha256 = row.state_sha256 = None
        self.session.execute(delete(Entry).where(Entry.round == row.number))
        self._forget_model(row.number)

    def _remove(self, row: Round) -> None:
        """Delete a round and what belongs to it."""
        for transaction in self.session.scalars(select(Transaction).where(Transaction.round == row.number)):
            self._drop(transaction)
        queries.remove_round(self.session, row)

    def _forget_model(self, number: int) -> None:
        made = (Artifact.kind == "model") & (Artifact.round == number)
        self.session.execute(delete(Artifact).where(made))

    # Transactions and runs

    def _send_again(self, transaction: Transaction) -> None:
        """Have a lost transaction sent again, if it makes sense; the outbox asks the chain before it does."""
        wanted = self._wanted.get(transaction.round)
        useless = wanted is not None and not transaction.purpose.startswith(wanted)
        if useless or transaction.purpose.startswith(outbox.FILLER):
            self._drop(transaction)
        elif transaction.state == "failed":
            transaction.block_number = transaction.block_hash = None
        elif transaction.state != "queued":
            outbox.requeue(self.session, transaction)

    def _drop(self, transaction: Transaction) -> None:
        self.dropped.append(transaction.purpose)
        logger.warning(
            "transaction %s is dropped: the chain lost what it was for",
            transaction.purpose,
            extra=fields("transaction-dropped", round=transaction.round, purpose=transaction.purpose),
        )
        outbox.remove(self.session, transaction)

    def _uncount(self, row: Round, *, gone: bool = False) -> None:
        """Take a round that was anchored out of the count of its run. A run that is over does not begin again."""
        run, session = self.session.get(Run, row.run_id or ""), self.session
        key = f"round-anchored:{row.number}"
        if run is None or session.scalar(select(LogEntry.id).where(LogEntry.key == key)) is None:
            return
        if gone or run.state == "running":
            run.completed = max(0, run.completed - 1)
        if gone and run.state == "done":
            why = "The chain lost rounds of this run. Start another one for them."
            queries.fail_run(session, run, why)
