# SPDX-License-Identifier: Apache-2.0
"""The thread that does the coordinator's work: outbox, indexer, engine, over and over.

One thread, so that no two steps of one round race. It never gives up: without a chain or a database it waits
and says so in `/v1/health`. If the chain has lost blocks that had their confirmations, the database goes back with it
before anything else is done. Two things end it: the wrong chain, behind an endpoint that was away at the start, and
another coordinator that took the database while this one had lost it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import func, select

from folkmoot.errors import DatabaseError, FolkmootError, RpcError, WrongChainError
from folkmoot.runtime.backoff import Backoff
from folkmoot.runtime.logs import fields
from server.chain.indexer import ROLLED_BACK, DeepRollback, Indexer
from server.chain.outbox import Outbox, under_way
from server.chain.view import AWAY, ChainView
from server.db import events
from server.db.engine import Database
from server.db.holding import FENCED
from server.db.models import Round
from server.restore.upkeep import Upkeep
from server.rounds import queries
from server.rounds.engine import Engine
from server.rounds.runs import stopping
from server.telemetry.failing import Failing
from server.waiting import Waiting, Why, wait

logger = logging.getLogger(__name__)
_T = TypeVar("_T")

LONGEST_PAUSE = 30.0
"""Seconds between two tries of a step that fails."""

IDLE_FACTOR = 3
"""How many times longer the pause between two looks is while no round and no transaction is under way."""


@dataclass
class Status:
    """How the work goes; read by other threads."""

    indexed_block: int = -1
    """Block up to which events are known."""
    succeeded_time: float = 0.0
    """Unix time of the last look that went well."""
    error: str | None = None
    """What went wrong in the last look."""
    failing: Failing = field(default_factory=Failing)
    """What becomes of each background step."""
    code: str | None = None
    """Why the database does not say what the chain has now: `chain-rolled-back`, `deployment-lost`; None if it does."""
    ready: bool = True
    """Whether the chain was seen to be the right one: before that, nothing is done."""


class Refusal(Exception):
    """This coordinator must not go on; `why` is the error that says so."""

    def __init__(self, why: FolkmootError) -> None:
        super().__init__(str(why))
        self.why = why


class Worker:
    """Runs the work of one coordinator in a thread.

    Args:
        database: Held by this process while it works.
        indexer: Reads the contracts' events.
        outbox: Sends transactions.
        engine: Leads the rounds.
        upkeep: Puts damaged files back; begins and ends with this thread.
        rewind: Called while the chain has lost blocks that had their confirmations, until the database is put right.
            Raises a FolkmootError until then.
        poll_interval: Seconds between two looks while something is under way.
        wake: Set by whoever has something new, so that nobody has to wait for the next look.
        check: Makes sure that the chain is the right one; done first, at every look until it passes. None if it has.
        failing: Told what becomes of each step.

    Attributes:
        refusal: Why this coordinator must not go on; the thread has ended then.
        on_refusal: Called when that happens.
    """

    def __init__(
        self,
        database: Database,
        chain: ChainView,
        indexer: Indexer,
        outbox: Outbox,
        engine: Engine,
        upkeep: Upkeep,
        rewind: Callable[[DeepRollback], None],
        poll_interval: float,
        *,
        wake: threading.Event,
        check: Callable[[], None] | None = None,
        failing: Failing | None = None,
    ) -> None:
        self.status = Status(ready=check is None, failing=failing or Failing())
        self.refusal: FolkmootError | None = None
        self.on_refusal: Callable[[], None] = lambda: None
        self._wake = wake
        self._stop = threading.Event()
        self._database = database
        self._chain = chain
        self._indexer = indexer
        self._outbox = outbox
        self._engine = engine
        self._upkeep = upkeep
        self._rewind = rewind
        self._poll_interval = poll_interval
        self._check = check
        self._shown: Waiting | None = None
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._upkeep.start()
        self._thread.start()

    def stop(self) -> None:
        """End it after the step that is under way."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._upkeep.stop()
        self._engine.close()

    def wake(self) -> None:
        """Look again at once: something came in."""
        self._wake.set()

    def step(self) -> bool:
        """Look once at everything; whether looking again at once makes sense.

        Each part has its turn, whatever becomes of the others: they meet only in the database, and a demand must be
        answered in time even where the chain takes no transaction of another kind.

        Raises:
            DatabaseError: The database is away, or the hold on it: no part has its turn.
            Refusal: The chain, which was away at the start, is the wrong one; or another coordinator has taken the
                database meanwhile.
            FolkmootError: A part could not do its work, e.g. because the chain gave no answer: the first that it was.
        """
        self._do("database", self._database.claim)
        if self._check is not None:
            self._do("chain", partial(self._look_at_chain, self._check))
        self._do("chain", self._look_back)
        changed = False
        failures: list[Exception] = []
        parts: dict[str, Callable[[], bool]] = {
            "transactions": self._outbox.tick,
            "events": self._index,
            "rounds": self._engine.tick,
        }
        for name, part in parts.items():
            if self._stop.is_set():
                break
            try:
                changed |= self._do(name, part)
            except Refusal:
                raise
            except Exception as exc:
                failures.append(exc)
        if failures:
            raise failures[0]
        return changed

    def _do(self, name: str, deed: Callable[[], _T]) -> _T:
        """Do one step, and take note of what becomes of it."""
        try:
            done = deed()
        except Exception as exc:
            if isinstance(exc, DatabaseError) and exc.code == FENCED:
                raise Refusal(exc) from exc
            if not isinstance(exc, Refusal):
                self.status.failing.failed(name, self._named(exc))
            raise
        self.status.failing.passed(name)
        return done

    @property
    def pause(self) -> float:
        """Seconds until the next look: longer while no run, open round or transaction is under way.

        A round that is anchored and waits for the end of its challenge window can wait, unless the clock is moved.
        """
        with self._database.read() as session:
            rounds = queries.unfinished(session) if self._chain.time_travel else queries.open_round(session)
            busy = bool(rounds) or queries.running_run(session) is not None or under_way(session)
        return self._poll_interval * (1 if busy else IDLE_FACTOR)

    def _look_at_chain(self, check: Callable[[], None]) -> None:
        try:
            check()
        except FolkmootError as exc:
            if exc.code in AWAY:
                raise
            raise Refusal(exc) from exc
        self._check, self.status.ready = None, True
        logger.info("the chain is there, and is the right one", extra=fields("chain-checked"))

    def _look_back(self) -> None:
        """Go back with the chain, if it has lost blocks that had their confirmations; else nothing has its turn."""
        try:
            self._indexer.check()
        except DeepRollback as rollback:
            self.status.code = ROLLED_BACK
            try:
                self._rewind(rollback)
            except WrongChainError as error:
                self.status.code = error.code
                raise
        except RpcError as error:
            if error.code != "node-behind":
                raise
            # The endpoint lags. What needs no new event has its turn: a demand must be answered in time.
        self.status.code = None

    def _index(self) -> bool:
        self.status.indexed_block = self._indexer.poll()
        return False

    @property
    def warnings(self) -> list[str]:
        """What the operator should know, though the work goes on; each a sentence."""
        waiting = [one.sentence for one in self.waiting if not one.normal and one.why is not Why.LOOK_FAILED]
        warnings = (*self._chain.rpc.warnings, *waiting, self._indexer.warning, *self._upkeep.warnings)
        return [warning for warning in warnings if warning]

    @property
    def waiting(self) -> list[Waiting]:
        """All that is waited for, what is no matter of time first."""
        failed = (wait(Why.LOOK_FAILED, problem=error),) if (error := self.status.error) else ()
        waits = dict.fromkeys((*failed, *self._outbox.waiting, *self._engine.waiting))
        return sorted(waits, key=lambda one: one.normal)

    def _run(self) -> None:
        backoff = Backoff(self._poll_interval, LONGEST_PAUSE)
        while not self._stop.is_set():
            self._wake.clear()
            try:
                pause = 0.0 if self.step() else self._do("pause", lambda: self.pause)
            except Refusal as exc:
                self.refusal = exc.why
                self.status.error = str(exc.why)
                self.on_refusal()
                return
            except FolkmootError as exc:
                self.status.error = str(exc)
                self._tell()
                self._wake.wait(backoff.next())
                continue
            except Exception as exc:
                self.status.error = self._unexpected(exc)
                self._tell()
                self._stop.wait(backoff.next())
                continue
            backoff.reset()
            self.status.error = None
            self.status.succeeded_time = time.time()
            self._tell()
            self._wake.wait(pause)

    def _tell(self) -> None:
        """Append an event if something keeps the run from going on that is no matter of time: once a round each."""
        try:
            with self._database.read() as session:
                run, newest = queries.running_run(session), session.scalar(select(func.max(Round.number)))
                waits = [] if run is None else stopping(session, self.waiting)
                identifier = "" if run is None else run.id
            first = next((wait_ for wait_ in waits if not wait_.normal), None)
            known, self._shown = self._shown, first
            if first is None or first == known or first.why in (Why.CANCELLED_ROUNDS, Why.NODES):
                return
            data: dict[str, Any] = {"run": identifier, "code": str(first.why), "message": first.sentence}
            if first.until is not None:
                left = first.until - self._chain.now()
                data |= {"secondsLeft": left, "until": int(time.time()) + left}
            digest = hashlib.sha256(first.message.encode()).hexdigest()[:16]
            with self._database.write("wait-told") as session:
                events.append(session, "run-waiting", data, key=f"run-waiting:{identifier}:{newest}:{digest}")
        except FolkmootError as error:
            self._shown = None  # the next look tells
            logger.debug("%s", error)
        except Exception as error:  # a cell that can't be read must not end the thread
            self._shown = None
            self.status.error = self._unexpected(error)
            logger.warning("%s", error, exc_info=error, extra=fields("defect"))

    def _named(self, error: Exception) -> Exception:
        """Return a defect as what it comes from, if that is a cell of the database that can't be read."""
        with suppress(DatabaseError):
            return error if isinstance(error, FolkmootError) else self._database.unreadable() or error
        return error

    def _unexpected(self, error: Exception) -> str:
        named = self._named(error)
        return str(named) if isinstance(named, FolkmootError) else f"Unexpected {type(error).__name__}."
