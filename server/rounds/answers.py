# SPDX-License-Identifier: Apache-2.0
"""Answers to demands for data: what was anchored is shown on the chain when somebody pays for it.

Demands come as events of the DataAvailability contract. Each open one is answered from the store through the outbox,
as soon as it is seen and whatever becomes of its round: a demand that nobody answers in time voids the round and takes
the bond. A tree is shown a list of nodes at a time, for each node that somebody demands. What is answered follows from
events and transactions in the database, so a restart forgets and repeats nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from sqlalchemy.orm import Session

from folkmoot.artifacts.federation import Federation
from folkmoot.errors import ArtifactError, FolkmootError
from folkmoot.fraud.proofs.availability import Call, DataKind, Files, Node, answer_call
from folkmoot.protocol.verdict import Artifacts
from folkmoot.rpc.abi import encode_call
from server.chain import outbox
from server.chain.indexer import by_name
from server.chain.recorded import read_anchor
from server.chain.view import ChainView
from server.db import events
from server.db.models import ChainEvent
from server.rounds.phase import StepHandler
from server.storage import Storage
from server.waiting import DONE, Progress, Waiting, Why, wait

RETRY_SECONDS = 5.0
"""Seconds on the wall until an answer that failed is tried again."""
CLOSED_BY = ("Answered", "Withheld", "Returned")
"""Events after which a demand needs no answer."""


def open_demands(session: Session) -> list[ChainEvent]:
    """Demands that are neither answered nor decided, in the chain's order."""
    demanded = by_name(session, "Demanded")
    if not demanded:
        return []
    closed = {str(event.arguments["demand"]) for name in CLOSED_BY for event in by_name(session, name)}
    return [event for event in demanded if str(event.arguments["demand"]) not in closed]


class Answers(StepHandler):
    """Answers demands.

    Args:
        storage: Where events and files are.
    """

    def __init__(self, storage: Storage, chain: ChainView, federation: Federation) -> None:
        super().__init__(storage.database, chain)
        self._store = storage.store
        self._manifest = federation.manifest
        self._contract = federation.deployment.data_availability
        self._tried: dict[int, float] = {}
        self._failed: dict[int, Waiting] = {}

    def forget(self) -> None:
        """Remember nothing of the demands."""
        self._tried.clear()
        self._failed.clear()

    def answer(self) -> Iterator[Progress]:
        """Send what is missing, demand after demand."""
        with self._database.read() as session:
            demands = open_demands(session)
            session.expunge_all()
        yield from map(self._answer, demands)

    def _answer(self, event: ChainEvent) -> Progress:
        demand, number = int(event.arguments["demand"]), int(event.arguments["round"])
        purpose = f"answer:{demand}"
        known = self._transaction(purpose)
        if pending := self._under_way(known):
            return pending
        if known is not None and known.state == "confirmed":
            return wait(Why.EVENTS, number)  # the demand is over once its event is read
        until = int(event.arguments["answerBy"])
        if self._chain.now() >= until:
            return wait(Why.DEMAND_LATE, number, demand=demand)
        if time.monotonic() - self._tried.get(demand, -RETRY_SECONDS) < RETRY_SECONDS:
            return self._failed.get(demand) or wait(Why.DEMAND_RETRIED, number, demand=demand)
        self._tried[demand] = time.monotonic()
        self._failed.pop(demand, None)
        try:
            call = self._call(event, demand, number)
        except FolkmootError as error:
            self._tell(demand, number, error)
            problem = str(error)
            self._failed[demand] = wait(
                Why.DEMAND_UNANSWERABLE, number, until, demand=demand, problem=problem
            )
            return self._failed[demand]
        data = encode_call("data_availability", call.function, *call.arguments)
        with self._database.write("answer-queued") as session:
            outbox.enqueue(session, purpose, number, self._contract, data)
        return DONE

    def _call(self, event: ChainEvent, demand: int, number: int) -> Call:
        arguments = event.arguments
        what = DataKind(arguments["what"])
        with self._database.read() as session:
            anchor = read_anchor(session, number)
        if anchor is None:
            raise ArtifactError(f"Nothing is known of the anchor of round {number}.", code="event-unknown")
        document = self._store.read(self._store.by_keccak(anchor.artifacts_hash.hex()))
        files = Files(Artifacts.from_json(document), self._store.path)
        if what is DataKind.VERDICTS:
            document = self._store.read(self._store.by_keccak(anchor.verdict_hash.hex()))
        about = Node(what, int(arguments["entry"]), int(arguments["level"]), int(arguments["index"]))
        return answer_call(demand, about, files, self._manifest, document)

    def _tell(self, demand: int, number: int, error: FolkmootError) -> None:
        """Say that a demand can't be answered: the operator loses the bond unless the file is put back."""
        with self._database.write("answer-impossible") as session:
            data = {"demand": demand, "round": number, "error": str(error)}
            events.append(session, "demand-unanswerable", data, key=f"demand-unanswerable:{demand}")
