# SPDX-License-Identifier: Apache-2.0
"""A long history: one real round, repeated in the database under other numbers.

The round went through the real coordinator, so its rows are what the product writes; a copy differs from it in its
number, its hashes and the places of its events in their blocks. Only the database has the copies: no file in the store,
no round on the chain. Reads of rounds, updates, accounts and versions ask for neither.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, text, update

from server.db.models import (
    Account,
    Artifact,
    Base,
    ChainBlock,
    ChainEvent,
    Entry,
    LogEntry,
    Refusal,
    Round,
    SentTransaction,
    Transaction,
    Update,
)

FIRST = 1_000_001
"""Number of the first copy: far above what the chain gives to rounds that are played beside."""
LOGS = 10_000
"""Places in a block between two copies; a round has fewer events there."""
_ROUNDS_AT_ONCE = 5
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBERED = re.compile(r":1(?=:|$)")
_ABOUT = {"round", "version", "number"}

Row = dict[str, Any]


def repeat(engine: Engine, count: int, block: int, block_hash: str) -> None:
    """Write copies of round 1, which is settled and the only one.

    Args:
        engine: Of the coordinator's database; no coordinator runs on it.
        count: How many copies.
        block: The chain's newest block, above all events.
        block_hash: Its hash.
    """
    with engine.begin() as connection:
        template = _template(connection)
        events = template[ChainEvent]
        assert max(row["block_number"] for row in events) < block
        next_ids = {
            model: (connection.scalar(select(func.max(model.__table__.columns["id"]))) or 0) + 1
            for model in template
            if "id" in model.__table__.columns
        }
        waiting: dict[type[Base], list[Row]] = {model: [] for model in template}
        for place in range(count):
            _copy(template, waiting, next_ids, FIRST + place, LOGS * (place + 1))
            if place % _ROUNDS_AT_ONCE == _ROUNDS_AT_ONCE - 1 or place == count - 1:
                for model, rows in waiting.items():
                    if rows:
                        connection.execute(insert(model), rows)
                        rows.clear()
        _count_rewards(connection, events, count)
        connection.execute(delete(ChainBlock))
        connection.execute(insert(ChainBlock), [{"number": block, "hash": block_hash}])
        if engine.dialect.name == "postgresql":
            for model in next_ids:
                name = model.__tablename__
                connection.execute(
                    text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name}")  # noqa: S608 - our own names
                )
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))  # the server does so by itself, a minute later


def _template(connection: Connection) -> dict[type[Base], list[Row]]:
    """The rows of round 1, parents before children."""

    def rows(model: type[Base], mine: Callable[[Row], bool]) -> list[Row]:
        found = [dict(row) for row in connection.execute(select(model.__table__)).mappings()]
        return [row for row in found if mine(row)]

    def about(values: Row) -> bool:
        return any(values.get(name) == 1 for name in _ABOUT)

    found: dict[type[Base], list[Row]] = {Round: rows(Round, lambda row: row["number"] == 1)}
    of_a_round: tuple[type[Base], ...] = (Update, Refusal, Entry, Artifact, Transaction)
    for model in of_a_round:
        found[model] = rows(model, lambda row: row["round"] == 1)
    sent = {row["id"] for row in found[Transaction]}
    found[SentTransaction] = rows(SentTransaction, lambda row: row["transaction_id"] in sent)
    found[ChainEvent] = rows(ChainEvent, lambda row: about(row["arguments"]))
    found[LogEntry] = rows(LogEntry, lambda row: about(row["data"]))
    assert all(found[model] for model in found if model is not Refusal), (
        "round 1 left something of everything"
    )
    return found


def _copy(
    template: dict[type[Base], list[Row]],
    waiting: dict[type[Base], list[Row]],
    next_ids: dict[type[Base], int],
    number: int,
    logs: int,
) -> None:
    """Add the rows of one copy to those that wait to be written."""
    renamed = _Renamed(number)
    transactions: dict[int, int] = {}
    for model, rows in template.items():
        for row in rows:
            copy = {name: renamed.value(value, name) for name, value in row.items()}
            if model in next_ids:
                copy["id"] = next_ids[model]
                next_ids[model] += 1
            if model is Transaction:
                transactions[row["id"]] = copy["id"]
            elif model is SentTransaction:
                copy["transaction_id"] = transactions[row["transaction_id"]]
            elif model is ChainEvent:
                copy["log_index"] += logs
                copy["subject"] = str(number)
            waiting[model].append(copy)


class _Renamed:
    """The values of a copy: the same value becomes the same everywhere.

    Args:
        number: Of the copy's round.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._known: dict[str, str] = {"0" * 64: "0" * 64}

    def value(self, value: Any, name: str = "") -> Any:
        """A value in the copy."""
        if isinstance(value, str):
            numbered = name in ("purpose", "batch", "key")
            return _DIGEST.sub(self._digest, _NUMBERED.sub(f":{self._number}", value) if numbered else value)
        if isinstance(value, dict):
            return {key: self.value(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return self._number if name in _ABOUT and value == 1 else value

    def _digest(self, found: re.Match[str]) -> str:
        old = found[0]
        if old not in self._known:
            self._known[old] = hashlib.blake2s(f"{self._number} {old}".encode()).hexdigest()
        return self._known[old]


def _count_rewards(connection: Connection, events: list[Row], count: int) -> None:
    for address, amount in _credited(events):
        total = str((count + 1) * amount)
        connection.execute(update(Account).where(Account.address == address).values(rewards=total))


def _credited(events: list[Row]) -> Iterator[tuple[str, int]]:
    for row in events:
        if row["name"] == "RewardCredited":
            yield row["account"], int(row["arguments"]["amount"])
