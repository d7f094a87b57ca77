# SPDX-License-Identifier: Apache-2.0
"""Putting back files that were found missing or damaged, in a thread of its own, while the coordinator works.

Whoever reads a file of the store and finds it bad lets the store tell of it. Here the file is looked at again, told as
an event, and put back: a model file is made of its state, a state from an earlier one and the means since then, a link
follows from the file. Everything else, and a state that can't be made, comes from the mirrors of the settings. What
nobody has is tried again later, and stays among the warnings of `/v1/health`.

Update files whose retention time is over, and spare states, are deleted (`deletion`).

Rows of the database are compared with the chain, and what differs is told. They are put right by
`folkmoot coordinator rebuild rows` only, while nobody works with them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain as concatenated

from sqlalchemy import select

from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.sources import ArtifactSource, SeveralSources, open_source
from folkmoot.errors import ArtifactError, DatabaseError, RpcError, StoreError
from folkmoot.protocol.policy import Policy
from folkmoot.runtime.backoff import Backoff
from folkmoot.runtime.logs import fields
from server.chain.indexer import Indexer
from server.chain.view import ChainView
from server.db import events
from server.db.models import Artifact
from server.model_files import ModelFiles, states
from server.restore.compare import Altered, Comparison, Scrub
from server.restore.deletion import Deletion
from server.restore.repair import Lack, is_whole, look, put_back, relink
from server.storage import Storage
from server.telemetry.failing import Failing

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
"""Seconds until a file that nobody had is looked for again: at first, and at most."""


def repair_rows(
    storage: Storage, chain: ChainView, federation: Federation, progress: Callable[[str], None]
) -> list[Altered]:
    """Put every row right that differs from the chain, in one transaction. No coordinator may run meanwhile.

    Events come first: what follows from them is compared once they are right.

    Args:
        chain: The chain; it is believed.
        progress: Called with each value that differs, before it is changed.

    Raises:
        DeepRollback: The chain has lost blocks that had their confirmations. Nothing was changed.
        DatabaseError: Nothing on the chain says what is right in some cells (`rows-not-restored`); the rest is right.
        FolkmootError: Chain, database or store gave no answer. Nothing was changed.
    """
    indexer = Indexer(storage.database, chain.rpc, federation.deployment, chain.confirmations)
    indexer.check()
    done: dict[tuple[str, str, str], Altered] = {}
    left: dict[tuple[str, str, str], Altered] = {}
    with storage.database.write("rows-repaired") as session:
        comparison = Comparison(storage, chain, federation, session)

        def rest() -> Iterator[Altered]:
            rounds = comparison.rounds()
            yield from comparison.everything(rounds)
            for number in (0, *rounds):
                yield from comparison.model(number)

        for altered in concatenated(comparison.cells(), rest()):  # a cell that can't be read hides others
            if altered.where not in {*done, *left}:
                progress(str(altered))
            (left if altered.mend(session) is False else done)[altered.where] = altered
            session.flush()
        indexer.check()  # else the answers may be of a chain that is gone
    if left:
        raise DatabaseError(
            f"{len(done)} values were put right. Of others nothing on the chain says what is right: "
            f"{' '.join(map(str, list(left.values())[:5]))}",
            remedy="Correct these by hand, put back a backup, or rebuild the database from the chain and a mirror: "
            "`folkmoot coordinator rebuild --home ANOTHER`.",
            code="rows-not-restored",
            details={
                "altered": [one.to_json() for one in done.values()],
                "left": [one.to_json() for one in left.values()],
            },
        )
    return list(done.values())


@dataclass
class _Case:
    """A file or link that is being put back."""

    backoff: Backoff
    due: float = 0.0
    lack: Lack | None = None


class Upkeep:
    """Puts files back.

    Args:
        storage: Where they belong.
        policy: Returns a policy by its number.
        mirrors: Folders and URLs of mirrors; they are tried in order.
        comparison: Compares rows with the chain; None for not.
        pause: Seconds between two steps of that.
        check: Raises a FolkmootError while the chain has lost blocks that the rows are about. Then the rows wait for
            the worker to go back with the chain, and none is told.
        deletion: Deletes files; None for not.
        failing: Told what becomes of each step.
    """

    def __init__(
        self,
        storage: Storage,
        federation: Federation,
        policy: Callable[[int], Policy],
        mirrors: Sequence[str],
        comparison: Comparison | None = None,
        pause: float = 10.0,
        check: Callable[[], None] = lambda: None,
        deletion: Deletion | None = None,
        failing: Failing | None = None,
    ) -> None:
        self._failing = failing or Failing()
        self._storage, self._federation, self._mirrors = storage, federation, mirrors
        self._models, self._deletion = ModelFiles(storage, federation, policy), deletion
        self._pause, self._check = pause, check
        self._scrub = None if comparison is None else Scrub(comparison, self.altered, self.compared, pause)
        self._lock = threading.Lock()
        self._reported: set[tuple[str, str, str]] = set()
        self._seen: set[tuple[str, str, str]] = set()
        self._cases: dict[str, _Case] = {}
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Let the store tell what it lacks, and start the thread."""
        self._storage.store.lacking = self.note_lack
        self._thread.start()

    def stop(self) -> None:
        """End it after what it does now."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def note_lack(self, error: ArtifactError) -> None:
        """Take note of a file or a link that was found missing or damaged. Writes and waits for nothing."""
        digest = str(error.details.get("link") or "")
        name = f"by-keccak/{digest}" if digest else str(error.details.get("file") or "")
        if not name:
            return
        with self._lock:
            if name in self._cases:
                return
            self._cases[name] = _Case(Backoff(FIRST_PAUSE, LONGEST_PAUSE))
        self._wake.set()

    @property
    def warnings(self) -> list[str]:
        """What is missing or damaged now; a sentence, without paths."""
        with self._lock:
            lacks = [case.lack for case in reversed(self._cases.values()) if case.lack is not None]
            rows = sorted(self._reported)
        warnings = []
        if rows:
            cells = [f"{table} {key}" + (f", column {name}" if name else "") for table, key, name in rows[:3]]
            others = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
            warnings.append(
                f"Values in rows of the database differ from what they should be: {'; '.join(cells)}{others}. Find out "
                "who writes to the database, stop the coordinator and run `folkmoot coordinator rebuild rows`."
            )
        if not lacks:
            return warnings
        more = f" and {len(lacks) - 3} more" if len(lacks) > 3 else ""
        names = ", ".join(f"{lack.kind} {lack.sha256}" for lack in lacks[:3])
        return [
            *warnings,
            f"Missing or damaged in the store, and no mirror of the settings has it: {names}{more}. "
            "Run `folkmoot coordinator rebuild files --mirror ...`.",
        ]

    def _run(self) -> None:
        scrub_at = delete_at = 0.0
        while not self._stop.is_set():
            self._wake.clear()
            for name in self._due():
                if self._stop.is_set():
                    return
                self._try("files", partial(self._tend, name))
            if self._scrub is not None and time.monotonic() >= scrub_at:
                pause = self._try("rows", self._scrub)
                scrub_at = time.monotonic() + (LONGEST_PAUSE if pause is None else pause)
            if self._deletion is not None and time.monotonic() >= delete_at:
                self._try("states", partial(self._bring_back, self._deletion))
                self._try("deletion", self._deletion)
                delete_at = time.monotonic() + self._pause
            self._wake.wait(min(1.0, self._pause))

    def _try(self, step: str, deed: Callable[[], float | None]) -> float | None:
        """Do something that may fail. The next time comes by itself."""
        try:
            done = deed()
        except (
            RpcError,
            DatabaseError,
            StoreError,
        ) as exc:  # what is away, the worker and health say themselves
            logger.debug("%s", exc, extra=fields("upkeep-failed", code=exc.code))
        except Exception as exc:
            if not (
                step == "files" and isinstance(exc, ArtifactError)
            ):  # what nobody has is among the warnings
                self._failing.failed(step, exc)
        else:
            self._failing.passed(step)
            return done
        return None

    def _due(self) -> list[str]:
        with self._lock:
            return [name for name, case in self._cases.items() if case.due <= time.monotonic()]

    def _tend(self, name: str) -> None:
        """Put one file or link back, if it is bad and somebody has it."""
        with self._lock:
            case = self._cases[name]
            case.due = time.monotonic() + case.backoff.next()
        digest = name.removeprefix("by-keccak/") if name.startswith("by-keccak/") else None
        with self._storage.database.read() as session:
            known = Artifact.sha256 == name if digest is None else Artifact.keccak == digest
            row = session.scalar(select(Artifact).where(known))
            session.expunge_all()
        store = self._storage.store
        lack = None if row is None or row.deleted is not None else look(store, row)
        if row is None or lack is None:
            if case.lack is not None:  # somebody put it back
                self._tell("artifact-repaired", case.lack)
            self._done(name)
            return
        if case.lack is None:
            self._tell("artifact-damaged", lack)
            case.lack = lack
        self._replace(row)
        self._tell("artifact-repaired", lack)
        self._done(name)

    def _bring_back(self, deletion: Deletion) -> None:
        """Rebuild the states that were deleted before a reorg took rounds above them: rounds train from them again."""
        self._check()
        for number, name in deletion.wanted_again():
            self._models.rebuild(number, name)
            with self._storage.database.write("state-rebuilt") as session:
                row = session.get_one(Artifact, name)
                row.deleted, row.gone = None, False
            logger.info("round %d: its state is rebuilt", number, extra=fields("state-rebuilt"))

    def _replace(self, row: Artifact) -> None:
        store = self._storage.store
        if is_whole(store, row):
            relink(store, row)
            return
        if row.kind == "model" and row.round is not None:
            initial = self._federation.genesis.state
            with self._storage.database.read() as session:
                state = states(session, initial, [row.round]).get(row.round)
            if state is not None:
                self._models.make(row.round, state)
        elif not self._rebuilt(row) and self._mirrors:
            with self._opened() as source:
                put_back(store, row, source)
        relink(store, row)
        if (still := look(store, row)) is not None:
            raise ArtifactError(str(still), remedy="Name a mirror that has it in the setting `mirrors`.")

    def _rebuilt(self, row: Artifact) -> bool:
        """Rebuild a state file from the means; whether it could be."""
        if row.kind != "state" or not row.round:
            return False
        try:
            self._models.rebuild(row.round, row.sha256)
        except ArtifactError:
            return False
        return True

    @contextmanager
    def _opened(self) -> Iterator[ArtifactSource]:
        """The mirrors that can be opened, as one source."""
        sources: list[ArtifactSource] = []
        for location in self._mirrors:
            try:
                sources.append(open_source(location))
            except ArtifactError as exc:
                logger.warning("%s", exc, extra=fields("mirror-unusable", code=exc.code))
        source = SeveralSources(sources)
        try:
            yield source
        finally:
            source.close()

    def altered(self, altered: Altered) -> None:
        """Tell once of a row that is not what the chain says, for as long as it is so. No row is changed."""
        self._check()
        key = (altered.table, altered.key, altered.column)
        self._seen.add(key)
        if key in self._reported:
            return
        with self._storage.database.write("row-told") as session:
            events.append(session, "row-altered", altered.to_json())
        with self._lock:
            self._reported.add(key)
        logger.error("%s", altered, extra=fields("row-altered", **altered.to_json()))

    def compared(self) -> None:
        """Take note that all rows were compared: what was not found again is right now."""
        with self._lock:
            self._reported &= self._seen
        self._seen = set()

    def _done(self, name: str) -> None:
        with self._lock:
            self._cases.pop(name, None)

    def _tell(self, kind: str, lack: Lack) -> None:
        data = {"file": lack.sha256, "kind": lack.kind, "round": lack.round}
        with self._storage.database.write("damage-told") as session:
            events.append(session, kind, data)
