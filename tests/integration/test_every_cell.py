# SPDX-License-Identifier: Apache-2.0
"""Every column of every table is damaged: it is put right or named, or it is on the list of what is not compared."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column

from folkmoot.errors import DatabaseError
from server.db.engine import Database
from server.db.models import NOT_COMPARED, ROWS_NOT_COMPARED, Base, is_compared
from server.restore.compare import Altered, Comparison
from server.restore.upkeep import repair_rows
from server.storage import Storage
from tests import factories
from tests.integration.coordinator_world import Running, running
from tests.integration.test_served import settled

TABLES = {table.name: table for table in Base.metadata.sorted_tables}
COMPARED = {
    name: columns
    for name, table in TABLES.items()
    if (columns := [column for column in table.columns if is_compared(name, column.name)])
}
DAMAGES: dict[type, str] = {
    int: "coalesce({c}, 0) + 1000000",
    bool: "NOT {c}",
    str: "substr(coalesce({c}, 'abcdef'), 1, 5) || '00'",
    bytes: "x'ff00'",
    object: "'{{}}'",
}
ONLY_NAMED = {"rounds.", "rounds.number"}
"""What can't be put right from the chain."""
FORGOTTEN = {"transactions.raw"}
"""What is emptied: it was needed until the transaction was mined."""


@dataclass
class Copy:
    """The database of a coordinator with one settled round, which can be damaged and put back."""

    path: Path
    good: Path
    here: Running

    def reset(self) -> None:
        for one in self.path.parent.glob(self.path.name + "*"):
            one.unlink()
        self.path.write_bytes(self.good.read_bytes())

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as database, database:
            return database.execute(sql).fetchall()

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """What is compared."""
        return {
            name: sorted(self.execute(f"SELECT {_names(columns)} FROM {name}"), key=repr)  # noqa: S608  our own names
            for name, columns in COMPARED.items()
        }

    def found(self) -> list[Altered]:
        storage = self.storage()
        try:
            here = self.here.coordinator
            comparison = Comparison(storage, here.chain, here.federation)
            return list(comparison.everything(comparison.rounds()))
        finally:
            storage.database.close()

    def repair(self) -> bool:
        """Repair; return whether everything could be put right."""
        storage, here = self.storage(), self.here.coordinator
        try:
            repair_rows(storage, here.chain, here.federation, lambda what: None)
        except DatabaseError as error:
            if error.code != "rows-not-restored" or "coordinator rebuild" not in error.remedy:
                raise
            return False
        finally:
            storage.database.close()
        return True

    def storage(self) -> Storage:
        return Storage(Database.open(str(self.path)), self.here.coordinator.storage.store)


def _names(columns: list[Column[Any]]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)


def remember(here: Running) -> None:
    """Let the chain, which stands still now, answer each question once."""
    rpc, answers = here.coordinator.chain.rpc, dict[str, Any]()
    ask = rpc.call

    def call(method: str, params: Any = ()) -> Any:
        key = repr((method, params))
        if key not in answers:
            answers[key] = ask(method, params)
        return answers[key]

    rpc.call = call  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def copy(module_world: factories.Federation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    folder = tmp_path_factory.mktemp("every")
    never = {"server.coordinator.SCRUB_PAUSE": 3600}
    with running(folder / "home", module_world, values=never) as here:
        settled(here)
        with (
            closing(sqlite3.connect(folder / "home" / "coordinator.sqlite3")) as source,
            closing(sqlite3.connect(folder / "good")) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        remember(here)
        made = Copy(folder / "copy.sqlite3", folder / "good", here)
        made.reset()
        assert made.found() == [], "nothing honest is told"
        yield made


def test_the_lists_name_what_there_is() -> None:
    columns = {f"{name}.{column.name}" for name, table in TABLES.items() for column in table.columns}
    assert NOT_COMPARED.keys() <= columns | TABLES.keys()
    assert ROWS_NOT_COMPARED.keys() <= COMPARED.keys()


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", COMPARED)
def test_a_damage_of_each_compared_column_is_put_right_or_named(name: str, copy: Copy) -> None:
    copy.reset()
    good, wrong = copy.rows(), list[str]()
    kind = "WHERE kind = 'update'" if name == "artifacts" else ""
    ((row,),) = copy.execute(f"SELECT max(rowid) FROM {name} {kind}")  # noqa: S608  our own names
    damages = {"": f"DELETE FROM {name} WHERE rowid = {row}"} if name != "transactions" else {}  # noqa: S608  as above
    for column in COMPARED[name]:
        value = DAMAGES[column.type.python_type].format(c=f'"{column.name}"')
        damages[column.name] = f'UPDATE {name} SET "{column.name}" = {value} WHERE rowid = {row}'  # noqa: S608  as above
    for column_name, sql in damages.items():
        copy.execute(sql)
        where, found = f"{name}.{column_name}", copy.found()
        if not any(one.table == name and one.column in (column_name, "") for one in found):
            wrong.append(f"{where} is not found: {[str(one) for one in found]}")
        elif not copy.repair():
            wrong += [] if where in ONLY_NAMED else [f"{where} is not put right"]
        elif again := copy.found():
            wrong.append(f"{where} is still told: {[str(one) for one in again]}")
        elif where not in FORGOTTEN and not as_before(name, copy.rows(), good):
            wrong.append(f"{where} is not as before")
        copy.reset()
    assert not wrong, "\n".join(wrong)


@pytest.mark.long
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("rounds", "header", "'abc'"),
        ("rounds", "opened_at", "'abc'"),
        ("entries", "commitment", "'{'"),
        ("updates", "received_at", "'2026-02-30 10:00:00.000000'"),
        ("chain_events", "arguments", "'{'"),
        ("transactions", "created_at", "'never'"),
    ],
)
def test_a_cell_that_can_not_be_read_hides_no_other_finding(
    table: str, column: str, value: str, copy: Copy
) -> None:
    copy.reset()
    copy.execute(f"UPDATE {table} SET {column} = {value}")  # noqa: S608  our own names
    copy.execute("UPDATE artifacts SET public_from = 9000000000 WHERE kind = 'manifest'")
    found = {(one.table, one.column) for one in copy.found()}
    assert {(table, column), ("artifacts", "public_from")} <= found
    copy.reset()


def as_before(
    name: str, rows: dict[str, list[tuple[Any, ...]]], good: dict[str, list[tuple[Any, ...]]]
) -> bool:
    """Whether the damage of a table is undone; a row that nothing names may be left."""
    if name in ROWS_NOT_COMPARED:
        return all(set(good[one]) <= set(rows[one]) for one in good)
    return rows == good
