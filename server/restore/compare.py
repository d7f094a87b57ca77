# SPDX-License-Identifier: Apache-2.0
"""Comparing the rows of the database with the chain and with the files that the chain names.

The chain is the truth; a file counts only under the hash that the chain has. Only what no reorganisation changes is
compared: events and transactions with their confirmations, and rounds that are final and settled. So what differs was
altered, or was lost by the disk, and can be put right from the truth; what can't is named all the same. A coordinator
that runs only tells of it: an endpoint that lags or lies must not make it change a row.

A cell that can't be read is one finding, and ends nothing but the step that reads it. What is not compared, and why,
is in `server.db.models.NOT_COMPARED`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from eth_utils.crypto import keccak
from sqlalchemy import ColumnElement, exists, func, or_, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from folkmoot.artifacts.federation import Federation, files_of
from folkmoot.audit.history import read_transaction
from folkmoot.errors import ArtifactError, DatabaseError, InputError, RpcError
from folkmoot.protocol.commitment import Commitment, entries_hash
from folkmoot.protocol.hashing import sha256_hex, sha256_of
from folkmoot.protocol.header import RoundHeader
from folkmoot.rpc.client import RoundView
from server.chain.indexer import BATCH_BLOCKS, by_name, read_log
from server.chain.recorded import Listed, listed
from server.chain.view import ChainView
from server.db.cells import Cell, unreadable
from server.db.models import (
    LASTING,
    Account,
    Artifact,
    Base,
    ChainBlock,
    ChainEvent,
    Entry,
    Round,
    Transaction,
    Update,
    is_compared,
)
from server.db.steps import ENDED, Step
from server.model_files import ModelFiles
from server.restore.deletion import Deletion, listings_of
from server.restore.rows import entry_values, file_values, listed_files, signatures_of, stored_values
from server.rounds.queries import recorded_on
from server.storage import Storage

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
    actual: Any
    """What the database has."""
    expected: Any
    """What is true."""
    mend: Callable[[Session], bool | None]
    """Puts it right; returns False if nothing here says what is right."""
    sentence: str = ""
    """What differs, if that is not just two values."""

    def __str__(self) -> str:
        """Return it as a sentence."""
        where = f"{self.table} {self.key}" + (f", column {self.column}" if self.column else "")
        text = f"the database has {_short(self.actual)}, and the truth is {_short(self.expected)}."
        return f"{where}: {self.sentence or text}"

    @property
    def where(self) -> tuple[str, str, str]:
        """Table, row and column."""
        return self.table, self.key, self.column

    def to_json(self) -> dict[str, Any]:
        """Return what an event tells of it."""
        return {"table": self.table, "row": self.key, "column": self.column}


class Comparison:
    """Compares the rows of one coordinator.

    Args:
        session: Reads the rows; None for a new session each time. With a session that writes, what is mended while
            `everything` goes on counts for what comes after it.
    """

    def __init__(
        self, storage: Storage, chain: ChainView, federation: Federation, session: Session | None = None
    ) -> None:
        self._storage, self._chain, self._federation, self._session = storage, chain, federation, session
        self._deletion = Deletion(storage, chain, federation)
        deployment = federation.deployment
        self._roles = {getattr(deployment, role): role for role in deployment.roles}

    def rounds(self) -> list[int]:
        """Return the numbers of the rounds that ended, oldest first."""
        with self._read() as session:
            query = select(Round.number).where(_ended()).order_by(Round.number)
            numbers: list[Any] = list(session.scalars(query))
            return [number for number in numbers if isinstance(number, int)]

    def everything(self, rounds: list[int]) -> Iterator[Altered]:
        """Compare all events, the accounts, and some rounds."""
        reported: set[tuple[str, str, str]] = set()
        for step in self.steps(rounds):
            for altered in step():
                if altered.where not in reported:
                    yield altered
                reported.add(altered.where)

    def steps(self, rounds: list[int]) -> list[Callable[[], list[Altered]]]:
        """Return the parts of that, none of which takes long. One that fails says nothing of the others."""
        first = self._federation.deployment.block
        steps: list[Callable[[], list[Altered]]] = [
            self.strays,
            *(partial(self.events, start) for start in range(first, self._settled() + 1, BATCH_BLOCKS)),
            self.accounts,
            self.numbers,
            self.files,
            *(partial(step, number) for number in rounds for step in (self.transactions, self.round)),
        ]
        return [self.cells, *(partial(self._readable, step) for step in steps)]

    def _readable(self, step: Callable[[], list[Altered]]) -> list[Altered]:
        """Do a step; one that meets a cell that can't be read finds that cell."""
        try:
            return step()
        except (
            DatabaseError,
            DBAPIError,
            ArithmeticError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
        ):
            cells = self.cells()
            if not cells:
                raise
            return cells

    def cells(self) -> list[Altered]:
        """Return the cells of all tables that can't be read, whether their columns are compared or not."""
        ended = set(self.rounds())
        with self._read() as session:
            cells = unreadable(session.connection())
        return [
            Altered(
                cell.table.name,
                cell.key,
                cell.column.name,
                cell.actual,
                "",
                partial(_convert, cell, _is_restored(cell, ended)),
                cell.sentence,
            )
            for cell in cells
        ]

    def strays(self) -> list[Altered]:
        """Return the events of blocks that were never read: before the contracts, or after the newest block."""
        # The greatest number of an empty table is NULL, which no number exceeds.
        newest = select(func.max(ChainBlock.number)).scalar_subquery()
        outside = or_(
            ChainEvent.block_number < self._federation.deployment.block, ChainEvent.block_number > newest
        )
        with self._read() as session:
            return [_extra(row, _place(row)) for row in session.scalars(select(ChainEvent).where(outside))]

    def events(self, first: int) -> list[Altered]:
        """Compare the events from a block on with the logs of the chain, as many blocks as one query may have."""
        last = min(self._settled(), first + BATCH_BLOCKS - 1)
        if first > last:
            return []
        with self._read() as session:
            query = select(ChainEvent).where(ChainEvent.block_number.between(first, last))
            rows = list(session.scalars(query.order_by(ChainEvent.block_number, ChainEvent.log_index)))
            for row in rows:
                session.expunge(row)
        true = self._true(
            self._chain.rpc.logs({"address": self._addresses, "fromBlock": hex(first), "toBlock": hex(last)})
        )
        unsure = {row.block_number for row in rows if (row.block_number, row.log_index) not in true}
        for number in sorted(unsure):
            true |= self._block_events(number)
        altered: list[Altered] = []
        for row in rows:
            event = true.pop((row.block_number, row.log_index), None)
            if event is None:
                altered.append(_extra(row, _place(row)))
                continue
            names = ("name", "subject", "account", "arguments", "transaction_hash", "block_hash")
            altered += _differences(row, row.id, _place(row), {name: getattr(event, name) for name in names})
        return altered + [_missing(event, _place(event)) for event in true.values()]

    @contextmanager
    def _read(self) -> Iterator[Session]:
        if self._session is not None:
            yield self._session
            return
        with self._storage.database.read() as session:
            yield session

    @property
    def _addresses(self) -> list[str]:
        deployment = self._federation.deployment
        return [getattr(deployment, role) for role in deployment.roles]

    def _settled(self) -> int:
        """Newest block that has its confirmations and whose events were read; -1 if there is none."""
        with self._read() as session:
            known = session.scalar(select(func.max(ChainBlock.number)))
        return min(known, self._chain.settled_block()) if isinstance(known, int) else -1

    def _true(self, logs: list[dict[str, Any]]) -> dict[tuple[int, int], ChainEvent]:
        """The events that logs are, by block and place in it."""
        events = (read_log(self._roles, log) for log in logs)
        return {(event.block_number, event.log_index): event for event in events if event is not None}

    def _block_events(self, number: int) -> dict[tuple[int, int], ChainEvent]:
        """The events of one block, asked for by its hash: one of several nodes that lags can't leave them out."""
        block = self._chain.rpc.block_at(number)
        if block is None:
            raise RpcError(
                f"The RPC endpoint does not have block {number} now, whose events are compared.",
                remedy="Nothing was changed. Look again once the node has caught up.",
                code="node-behind",
            )
        return self._true(self._chain.rpc.logs({"address": self._addresses, "blockHash": block.hash}))

    def accounts(self) -> list[Altered]:
        """Compare what is kept of accounts with their events.

        What differs is looked at again: the indexer may have written between two queries.
        """
        return self._accounts() and self._accounts()

    def numbers(self) -> list[Altered]:
        """Return the settled rounds that have no row, and the rows of rounds that never were."""
        with self._read() as session:
            known = set(session.scalars(select(Round.number)))
            next_round, altered = self._chain.ledger.next_round(), list[Altered]()
            for entry in session.scalars(select(Entry).where(~Entry.round.between(1, next_round))):
                place = entry.round, entry.position
                altered.append(_added(entry, place, f"round {entry.round}, entry {entry.position}"))
            for number in session.scalars(select(Round.number).where(_ended())):
                if not 0 < number <= next_round:
                    altered.append(_unknown("rounds", str(number), "", "a row", "no such round"))
        lost = set(range(1, next_round)) - known
        altered += [
            _unknown("rounds", str(number), "", "no such row", "a row")
            for number in sorted(lost)
            if self._chain.settled_rewards(number)
        ]
        return altered

    def files(self) -> list[Altered]:
        """Compare when files are public and whether they are deleted, as far as no round that ended decides it."""
        of_round = exists().where(Round.number == Artifact.round, _ended())
        public = select(Artifact).where(Artifact.public_from != 0, Artifact.kind != "update")
        with self._read() as session:
            altered = self._deleted(
                session, session.scalars(select(Artifact).where(_is_deleted(), ~of_round)).all()
            )
            for row in session.scalars(public):
                altered += _differences(row, row.sha256, f"{row.kind} {row.sha256}", {"public_from": 0})
        return altered

    def transactions(self, number: int) -> list[Altered]:
        """Compare the transactions of a round that succeeded with those of the chain."""
        settled, altered = self._settled(), list[Altered]()
        with self._read() as session:
            query = select(Transaction).where(Transaction.round == number, Transaction.hash.is_not(None))
            for row in session.scalars(query).all():
                names = ["0x" + keccak(row.raw).hex()] if row.raw is not None else []
                for name in [*names, str(row.hash)]:
                    receipt = self._chain.rpc.receipt(name) if _HASH.fullmatch(name) else None
                    if receipt is not None:
                        break
                if receipt is None:  # the node may have forgotten it; the events have not
                    known = select(ChainEvent.id).where(ChainEvent.transaction_hash == row.hash).limit(1)
                    if row.state == "confirmed" and session.scalar(known) is None:
                        expected = "a transaction of the chain"
                        altered.append(_unknown("transactions", row.purpose, "hash", row.hash, expected))
                elif receipt.succeeded and receipt.block_number <= settled:
                    sent = read_transaction(self._chain.rpc, bytes.fromhex(name[2:]))
                    true: dict[str, Any] = {"to": sent.to, "data": sent.input, "nonce": sent.nonce}
                    true |= {"block_number": receipt.block_number, "block_hash": receipt.block_hash}
                    true |= {"gas_used": receipt.gas_used, "hash": name}
                    if [name] != names:
                        true["raw"] = None  # needed only until it was mined
                    altered += _differences(row, row.id, row.purpose, true)
        return altered

    def _deleted(self, session: Session, rows: Sequence[Artifact]) -> list[Altered]:
        """Compare what rows say of deleted files with the rules by which files are deleted."""
        wrong, altered = self._deletion.wrong(session, rows), list[Altered]()
        for row in rows:
            true = {"deleted": None, "gone": False} if row in wrong else {}
            if row.gone and self._storage.store.has(row.sha256):
                true["gone"] = False  # it is deleted then
            altered += _differences(row, row.sha256, f"{row.kind} {row.sha256}", true)
        return altered

    def round(self, number: int) -> list[Altered]:
        """Compare a round that ended, its entries, updates and files with the chain and the files that it names.

        What differs is looked at again: a file may have arrived between two queries.
        """
        return self._round(number) and self._round(number)

    def _round(self, number: int) -> list[Altered]:
        view = self._chain.settled_round(number)
        with self._read() as session:
            row = session.get(Round, number)
            deleted = select(Artifact).where(Artifact.round == number, _is_deleted())
            altered = self._deleted(session, session.scalars(deleted).all())
            if row is None or row.step in _UNDER_WAY or not self._chain.settled_rewards(number):
                return altered
            altered += _differences(row, number, str(number), {"step": Step.SETTLED, **stored_values(view)})
            named = listed(session, self._storage.store, number, view)
            if named is None:
                return altered
            files = named.artifacts
            header = RoundHeader.decode(files.header)
            names: dict[str, Any] = {
                **file_values(named.anchor, files, sha256_hex(named.document)),
                "base_state_sha256": files.base_state,
            }
            if header.hash == view.header_hash:
                names |= {
                    "header": files.header,
                    "base_state_root": "0x" + header.base_state_root.hex(),
                    "exponents": list(header.exponents),
                }
                altered += self._entries(session, view, header, named)
            altered += _differences(row, number, str(number), names)
            altered += self._files(session, number, view, named)
        return altered

    def model(self, number: int) -> list[Altered]:
        """Compare the model file of a round with its state. Reads the state in full."""
        with self._read() as session:
            row = session.scalar(
                select(Artifact).where(Artifact.kind == "model", Artifact.round == number).limit(1)
            )
            round_ = session.get(Round, number)
            state = self._federation.genesis.state if number == 0 else round_ and round_.state_sha256
            session.expunge_all()
        if row is None or not state:
            return []
        try:
            loaded = ModelFiles(self._storage, self._federation, self._chain.policy).read_state(number, state)
            files = files_of(self._storage.store)
            chunks = loaded.safetensors_chunks(self._federation.manifest, number, files=files)
            expected, _ = sha256_of(chunks)
        except ArtifactError:
            return []  # the store tells of it
        if expected == row.sha256:
            return []

        def forget(session: Session) -> None:
            # It is made again of its state when it is asked for.
            session.delete(session.get_one(Artifact, row.sha256))

        return [Altered("artifacts", f"model of round {number}", "sha256", row.sha256, expected, forget)]

    def _accounts(self) -> list[Altered]:
        altered: list[Altered] = []
        with self._read() as session:
            credited: dict[str, int] = {}
            for event in by_name(session, "RewardCredited"):
                credited[event.account] = credited.get(event.account, 0) + int(event.arguments["amount"])
            staked = {event.account for event in by_name(session, "Staked")}
            for row in session.scalars(select(Account)):
                true = {"rewards": str(credited.get(row.address, 0)), "staked": row.address in staked}
                altered += _differences(row, row.address, row.address, true)
                credited.pop(row.address, None)
                staked.discard(row.address)
            for address in sorted({*credited, *staked}):
                made = Account(
                    address=address, staked=address in staked, rewards=str(credited.get(address, 0))
                )
                altered.append(_missing(made, address))
        return altered

    def _entries(
        self, session: Session, view: RoundView, header: RoundHeader, named: Listed
    ) -> list[Altered]:
        number = header.round
        recorded = _recorded(session, header)
        if entries_hash(commitment for commitment, _ in recorded) != view.entries_hash:
            return []  # an event was altered: it is compared with its log
        altered, signed = list[Altered](), _signed(session, recorded)
        entries = session.scalars(select(Entry).where(Entry.round == number, Entry.position >= len(recorded)))
        for added in entries:
            key = f"round {number}, entry {added.position}"
            altered.append(_added(added, (number, added.position), key))
        for verdict, (commitment, event), sha256 in zip(
            named.verdicts.verdicts, recorded, named.artifacts.updates, strict=False
        ):
            place = (number, verdict.index)
            key = f"round {number}, entry {verdict.index}"
            true = entry_values(commitment, event.transaction_hash, verdict)
            if sha256 is not None:
                true["sha256"] = sha256
                sent = signed.get((event.transaction_hash, commitment.contributor))
                altered += self._update(session, commitment, sha256, sent)
            entry = session.get(Entry, place)
            if entry is None:
                altered.append(_missing(Entry(round=number, position=verdict.index, **true), key))
            else:
                altered += _differences(entry, place, key, true)
        return altered

    def _update(
        self, session: Session, commitment: Commitment, sha256: str, sent: tuple[str, bytes] | None
    ) -> list[Altered]:
        """Compare an accepted update with its entry.

        Args:
            session: Reads the row.
            commitment: What the chain has.
            sha256: The file that arrived for it.
            sent: Purpose and signature of this coordinator's transaction that recorded it; None if another did. Then
                there may be no row, or one that was refused.
        """
        number, contributor = commitment.round, commitment.contributor
        key = f"round {number}, update of {contributor}"
        row = session.scalar(select(Update).where(Update.round == number, Update.contributor == contributor))
        if sent is None and (row is None or row.dropped is not None):
            return []
        true: dict[str, Any] = {
            "commitment": commitment.to_json(),
            "commitment_hash": "0x" + commitment.struct_hash.hex(),
            "sha256": sha256,
        }
        with suppress(ArtifactError, FileNotFoundError):
            true["size"] = self._storage.store.path(sha256).stat().st_size
        if sent is not None:
            true |= {"batch": sent[0], "signature": "0x" + sent[1].hex(), "dropped": None}
        if row is not None:
            return _differences(row, row.id, key, true)
        if "size" not in true:
            return []  # the store tells of it
        moment = datetime.now(UTC)
        return [_missing(Update(round=number, contributor=contributor, received_at=moment, **true), key)]

    def _files(self, session: Session, number: int, view: RoundView, named: Listed) -> list[Altered]:
        altered: list[Altered] = []
        listing = listed_files(named.anchor, named.artifacts, sha256_hex(named.document))
        for kind, sha256, digest in listing:
            key = f"{kind} {sha256}"
            row = session.get(Artifact, sha256)
            if row is not None and kind == "update" and row.kind in LASTING:
                continue  # The bytes of one update alone can be those of a mean.
            true: dict[str, Any] = {"kind": kind, "keccak": digest}
            with suppress(ArtifactError, FileNotFoundError):  # the store tells of it
                true["size"] = self._storage.store.path(sha256).stat().st_size
            public = view.commit_deadline if kind == "update" else 0
            if row is None:
                if "size" in true:
                    made = Artifact(sha256=sha256, round=number, public_from=public, **true)
                    altered.append(_missing(made, key))
                continue
            others = self._rounds_with(session, sha256) - {number}
            if row.round != number and row.round not in others:
                true["round"] = number
            deadlines = session.scalars(select(Round.commit_deadline).where(Round.number.in_(others)))
            if row.public_from not in {public, *deadlines}:
                true["public_from"] = public
            altered += _differences(row, sha256, key, true)
        return altered

    def _rounds_with(self, session: Session, sha256: str) -> set[int]:
        """Numbers of the rounds whose rows name a file."""
        columns = Round.mean_sha256, Round.state_sha256, Round.verdicts_sha256, Round.artifacts_sha256
        named = session.scalars(select(Round.number).where(or_(*(column == sha256 for column in columns))))
        listed_in = {one.round for one in listings_of(session, [sha256]).get(sha256, ())}
        return {*named, *listed_in, *({0} if sha256 == self._federation.genesis.state else ())}


_HASH = re.compile("0x[0-9a-f]{64}")
_UNDER_WAY = set(Step) - set(ENDED)


def _ended() -> ColumnElement[bool]:
    """The condition that a round ended, or is at a step that there is not."""
    return Round.step.not_in(_UNDER_WAY)


def _is_deleted() -> ColumnElement[bool]:
    return or_(Artifact.deleted.is_not(None), Artifact.gone)


def _unknown(table: str, key: str, column: str, actual: Any, expected: str) -> Altered:
    """What is wrong and can't be put right from here."""
    return Altered(table, key, column, actual, expected, lambda session: False)


def _signed(
    session: Session, recorded: list[tuple[Commitment, ChainEvent]]
) -> dict[tuple[str, str], tuple[str, bytes]]:
    """Purpose and signature of the entries that this coordinator sent, by transaction and contributor.

    The data of the transactions are compared with the chain.
    """
    signed: dict[tuple[str, str], tuple[str, bytes]] = {}
    senders = {event.transaction_hash: commitment.contributor for commitment, event in recorded}
    for row in session.scalars(select(Transaction).where(Transaction.hash.in_(senders))):
        with suppress(InputError):
            signatures = signatures_of(row.data, senders[str(row.hash)])
            signed |= {
                (str(row.hash), who): (row.purpose, signature) for who, signature in signatures.items()
            }
    return signed


def _is_restored(cell: Cell, ended: set[int]) -> bool:
    """Whether the steps after it find what a cell should have."""
    table, number = cell.table.name, cell.key.partition(",")[0]
    if table not in ("rounds", "entries"):
        return table in ("chain_events", "accounts")
    return number.isdecimal() and int(number) in ended and is_compared(table, cell.column.name)


def _convert(cell: Cell, restored: bool, session: Session) -> bool:
    """Make a cell readable. What its value should be, the next steps find."""
    connection = session.connection()
    session.expire_all()
    with suppress(IntegrityError), connection.begin_nested():
        if (restored or cell.lossless) and cell.convert(connection):
            return True
    if restored and cell.column.primary_key:
        cell.delete(connection)
        return True
    return restored and cell.convert(connection, empty=True)


def _recorded(session: Session, header: RoundHeader) -> list[tuple[Commitment, ChainEvent]]:
    """The commitments that events have of a round, in their order; none if an event was altered.

    The base is that of the header: a row of the round may have an altered one.
    """
    try:
        return recorded_on(session, header.round, header.base_state_root)
    except (InputError, KeyError, TypeError, ValueError):
        return []


def _place(event: ChainEvent) -> str:
    return f"{event.name} in block {event.block_number}, log {event.log_index}"


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
    return _added(row, row.id, shown, "no such event")


def _added(row: Base, key: Any, shown: str, expected: str = "no such row") -> Altered:
    def forget(session: Session) -> None:
        session.delete(session.get_one(type(row), key))

    return Altered(row.__tablename__, shown, "", "a row", expected, forget)


def _short(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


class Scrub:
    """Compares a little at a time, over and over. Changes nothing.

    Args:
        comparison: What compares.
        told: Called with each value that is not the true one, in every pass.
        ended: Called after a pass in which each step gave an answer.
        pause: Seconds between two steps.
    """

    def __init__(
        self,
        comparison: Comparison,
        report: Callable[[Altered], None],
        ended: Callable[[], None],
        pause: float,
    ) -> None:
        self._comparison, self._report, self._ended, self._pause = comparison, report, ended, pause
        self._steps: deque[Callable[[], list[Altered]]] = deque()
        self._whole = False

    def __call__(self) -> float:
        """Do the next step; return the seconds until the one after it."""
        if not self._steps:  # no model files: each takes the memory of a state
            self._steps = deque(self._comparison.steps(self._comparison.rounds()))
            self._whole = True
        step = self._steps.popleft()
        whole, self._whole = self._whole, False
        for altered in step():
            self._report(altered)
        self._whole = whole
        if not self._steps and whole:
            self._ended()
        return self._pause
