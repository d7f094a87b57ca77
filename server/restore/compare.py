# SPDX-License-Identifier: Apache-2.0
"""Comparing the rows of the database with the chain and with the files that the chain names.

The chain is the truth; a file counts only under the hash that the chain has. Only what no reorganisation changes is
compared: events with their confirmations, and rounds that are final and settled. So what differs was altered, or was
lost by the disk, and can be put right from the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from folkmoot.errors import ArtifactError
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Artifacts, Verdicts
from folkmoot.rpc.client import Phase, RoundView
from server.chain.indexer import by_name, read_log
from server.chain.view import ChainView
from server.db.models import Account, Artifact, Base, ChainBlock, ChainEvent, Entry, Round
from server.db.steps import ENDED, Step
from server.federation import Federation
from server.rounds import queries as services
from server.rounds.outcome import numbers_json
from server.storage import Storage
from server.store import StoreSource

EVENTS = 500
"""Events that are compared in one step."""
_T = TypeVar("_T", bound=Base)


@dataclass(frozen=True)
class Altered:
    """A value in the database that is not the true one."""

    table: str
    """Name of the table."""
    key: str
    """Which row, for people."""
    column: str
    """Name of the column; empty if the row is missing or should not be there."""
    found: Any
    """What the database has."""
    expected: Any
    """What is true."""
    mend: Callable[[Session], None]
    """Puts it right."""

    def __str__(self) -> str:
        """Return it as a sentence."""
        where = f"{self.table} {self.key}" + (f", column {self.column}" if self.column else "")
        return f"{where}: the database has {_short(self.found)}, and the truth is {_short(self.expected)}."

    def to_json(self) -> dict[str, Any]:
        """Return what an event tells of it."""
        return {"table": self.table, "row": self.key, "column": self.column}


class Comparison:
    """Compares the rows of one coordinator.

    Args:
        storage: Database and store.
        chain: The chain.
        federation: The federation.
    """

    def __init__(self, storage: Storage, chain: ChainView, federation: Federation) -> None:
        self._storage, self._chain, self._federation = storage, chain, federation
        self._documents = StoreSource(storage.store)
        deployment = federation.deployment
        self._roles = {getattr(deployment, role).lower(): role for role in deployment.roles}

    def rounds(self) -> list[int]:
        """Return the numbers of the rounds that ended, oldest first."""
        with self._storage.database.read() as session:
            query = select(Round.number).where(Round.step.in_(ENDED)).order_by(Round.number)
            return list(session.scalars(query))

    def everything(self, rounds: list[int]) -> Iterator[Altered]:
        """Compare all events, the accounts, and some rounds.

        Raises:
            ChainError: The chain gave no answer.
            DatabaseError: The database can't be used.
            StoreError: The store can't be used.
        """
        last = -1
        while True:
            found, last = self.events(last)
            yield from found
            if last < 0:
                break
        yield from self.accounts()
        for number in rounds:
            yield from self.round(number)

    def events(self, after: int) -> tuple[list[Altered], int]:
        """Compare the next events with the logs of the chain.

        Args:
            after: Block up to which events were compared; -1 to begin.

        Returns:
            What differs, and the block up to which events were compared now; -1 at the end.
        """
        settled = self._chain.settled_block()
        with self._storage.database.read() as session:
            settled = min(settled, session.scalar(select(func.max(ChainBlock.number))) or -1)
            query = select(ChainEvent.block_number).where(
                ChainEvent.block_number > after, ChainEvent.block_number <= settled
            )
            blocks = list(session.scalars(query.order_by(ChainEvent.block_number).limit(EVENTS)))
            first = max(after + 1, self._federation.deployment.block)
            last = blocks[-1] if len(blocks) == EVENTS else settled
            rows = list(
                session.scalars(select(ChainEvent).where(ChainEvent.block_number.between(first, last)))
            )
            session.expunge_all()
        if first > last:
            return [], -1
        addresses = [getattr(self._federation.deployment, role) for role in self._federation.deployment.roles]
        logs = (read_log(self._roles, log) for log in self._chain.node.logs(addresses, first, last))
        true = {(event.block_number, event.log_index): event for event in logs if event is not None}
        hashes = {event.block_number: event.block_hash for event in true.values()}
        if any(hashes.get(row.block_number, row.block_hash) != row.block_hash for row in rows):
            return [], (last if last < settled else -1)  # a reorganisation, which is the indexer's matter
        found: list[Altered] = []
        for row in rows:
            event = true.pop((row.block_number, row.log_index), None)
            key = f"{row.name} in block {row.block_number}, log {row.log_index}"
            if event is None:
                found.append(_extra(row, key))
                continue
            values = {
                name: getattr(event, name)
                for name in ("name", "subject", "account", "arguments", "transaction_hash")
            }
            found += _differences(row, row.id, key, values)
        found += [
            _missing(event, f"{event.name} in block {event.block_number}, log {event.log_index}")
            for event in true.values()
        ]
        return found, (last if last < settled else -1)

    def accounts(self) -> list[Altered]:
        """Compare what is kept of accounts with their events."""
        found: list[Altered] = []
        with self._storage.database.read() as session:
            credited: dict[str, int] = {}
            for event in by_name(session, "RewardCredited"):
                credited[event.account] = credited.get(event.account, 0) + int(event.arguments["amount"])
            staked = {event.account for event in by_name(session, "Staked")}
            for row in session.scalars(select(Account)):
                true = {"rewards": str(credited.get(row.address, 0)), "staked": row.address in staked}
                found += _differences(row, row.address, row.address, true)
        return found

    def round(self, number: int) -> list[Altered]:
        """Compare a round that ended, its entries and its files with the chain and the files that the chain names."""
        view = self._chain.settled_round(number)
        with self._storage.database.read() as session:
            row = session.get(Round, number)
            if row is None or view.phase is not Phase.FINAL or not view.settled:
                return []
            found = _differences(row, number, str(number), _stored(view))
            anchored = by_name(session, "RoundAnchored", str(number))
            anchor = _anchor(anchored[-1].arguments["anchor"]) if anchored else None
            if anchor is None or anchor.hash != view.anchor_hash:
                return found  # the event was altered: it is compared with its log
            try:
                document = self._documents.document(anchor.artifacts_hash.hex())
                verdicts_file = self._documents.document(anchor.verdict_hash.hex())
            except ArtifactError:
                return found  # the store tells of it
            listed, verdicts = Artifacts.from_json(document), Verdicts.from_json(verdicts_file)
            names = {
                "anchor": anchor.to_json(),
                "aggregate_sha256": listed.aggregate,
                "state_sha256": listed.state,
                "verdicts_sha256": listed.verdicts,
                "artifacts_sha256": sha256_hex(document),
                "base_state_sha256": listed.base_state,
                "header": listed.header,
            }
            found += _differences(row, number, str(number), names)
            found += self._entries(session, row, listed, verdicts)
            found += self._files(session, number, listed, sha256_hex(document), anchor)
        return found

    def model(self, number: int) -> list[Altered]:
        """Compare the model file of a round with its state. Reads the state in full."""
        with self._storage.database.read() as session:
            row = session.scalar(
                select(Artifact).where(Artifact.kind == "model", Artifact.round == number).limit(1)
            )
            round_ = session.get(Round, number)
            state = self._federation.genesis.state if number == 0 else round_ and round_.state_sha256
            session.expunge_all()
        if row is None or not state:
            return []
        try:
            loaded = State.from_bytes(self._storage.store.read(state), self._federation.manifest)
        except ArtifactError:
            return []  # the store tells of it
        expected = sha256_hex(loaded.to_safetensors(self._federation.manifest, number))
        if expected == row.sha256:
            return []

        def forget(session: Session) -> None:
            session.delete(
                session.get_one(Artifact, row.sha256)
            )  # made again of its state when it is asked for

        return [Altered("artifacts", f"model of round {number}", "sha256", row.sha256, expected, forget)]

    def _entries(self, session: Session, row: Round, listed: Artifacts, verdicts: Verdicts) -> list[Altered]:
        found: list[Altered] = []
        commitments = [commitment for commitment, _ in services.recorded(session, row)]
        for verdict, commitment, sha256 in zip(verdicts.verdicts, commitments, listed.updates, strict=False):
            place = (row.number, verdict.index)
            key = f"round {row.number}, entry {verdict.index}"
            true = {
                "contributor": verdict.contributor,
                "weight": verdict.weight,
                "reason": str(verdict.reason),
                "numbers": numbers_json(verdict),
                "commitment": commitment.to_json(),
                "commitment_hash": "0x" + commitment.struct_hash.hex(),
            }
            entry = session.get(Entry, place)
            if entry is None:
                continue
            if sha256 is not None:
                true["sha256"] = sha256
            found += _differences(entry, place, key, true)
        return found

    def _files(
        self, session: Session, number: int, listed: Artifacts, document: str, anchor: Anchor
    ) -> list[Altered]:
        found: list[Altered] = []
        files = [
            ("aggregate", listed.aggregate, None),
            ("state", listed.state, None),
            ("verdicts", listed.verdicts, anchor.verdict_hash.hex()),
            ("artifacts", document, anchor.artifacts_hash.hex()),
            *(("update", sha256, None) for sha256 in listed.updates if sha256 is not None),
        ]
        for kind, sha256, keccak in files:
            key = f"{kind} {sha256} of round {number}"
            row = session.get(Artifact, sha256)
            try:
                size = self._storage.store.path(sha256).stat().st_size
            except (ArtifactError, FileNotFoundError):
                continue  # the store tells of it
            true: dict[str, Any] = {"kind": kind, "size": size, "keccak": keccak}
            if row is None:
                made = Artifact(sha256=sha256, round=number, public_from=0, **true)
                found.append(_missing(made, key))
            else:
                found += _differences(row, sha256, key, true)
        return found


def _stored(view: RoundView) -> dict[str, Any]:
    """What a row has of a round that is final and settled, as the ledger stores it."""
    return {
        "step": Step.SETTLED,
        "policy_id": view.policy,
        "base": view.base,
        "entries": view.entries,
        "opened_at": view.opened_at,
        "commit_deadline": view.commit_deadline,
        "anchor_deadline": view.anchor_deadline,
        "header_hash": "0x" + view.header_hash.hex(),
        "entries_hash": "0x" + view.entries_hash.hex(),
    }


def _anchor(arguments: dict[str, Any]) -> Anchor:
    """Read an anchor from the arguments of its event."""
    delivered = arguments["delivered"]
    bits = int(delivered, 0) if isinstance(delivered, str) else int(delivered)
    return Anchor.from_json({**arguments, "delivered": hex(bits)})


def _differences(row: Base, key: Any, shown: str, true: dict[str, Any]) -> list[Altered]:
    """What a row has otherwise."""

    def mend(name: str) -> Callable[[Session], None]:
        return lambda session: setattr(session.get_one(type(row), key), name, true[name])

    return [
        Altered(row.__tablename__, shown, name, getattr(row, name), expected, mend(name))
        for name, expected in true.items()
        if getattr(row, name) != expected
    ]


def _missing(row: _T, shown: str) -> Altered:
    return Altered(row.__tablename__, shown, "", "no such row", "a row", lambda session: session.add(row))


def _extra(row: ChainEvent, shown: str) -> Altered:
    def forget(session: Session) -> None:
        session.delete(session.get_one(ChainEvent, row.id))

    return Altered(row.__tablename__, shown, "", "a row", "no such event", forget)


def _short(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


class Scrub:
    """Compares a little at a time, over and over.

    Args:
        comparison: What compares.
        told: Called with each value that is not the true one, before it is mended.
        pause: Seconds between two steps.
    """

    def __init__(self, comparison: Comparison, told: Callable[[Altered], None], pause: float) -> None:
        self._comparison, self._told, self._pause = comparison, told, pause
        self._steps: Iterator[list[Altered]] = iter(())

    def __call__(self) -> float:
        """Do the next step; return the seconds until the one after it."""
        found = next(self._steps, None)
        if found is None:
            self._steps = self._pass()
            return self._pause
        for altered in found:
            self._told(altered)
        return self._pause

    def _pass(self) -> Iterator[list[Altered]]:
        last = -1
        while True:
            found, last = self._comparison.events(last)
            yield found
            if last < 0:
                break
        yield self._comparison.accounts()
        for number in self._comparison.rounds():  # no model files: each takes the memory of a state
            yield self._comparison.round(number)
