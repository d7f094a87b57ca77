# SPDX-License-Identifier: Apache-2.0
"""Checks of a coordinator's own folder: settings, keys, database, store, disk (`folkmoot coordinator doctor`).

Changes nothing, makes nothing and needs no password, so it can be run beside the coordinator and on a broken folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, or_, select, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from folkmoot.artifacts.federation import Federation
from folkmoot.artifacts.store import Store
from folkmoot.doctor import Check, Finding, failed, ok, warning
from folkmoot.doctor.files import exposed
from folkmoot.errors import ArtifactError, DatabaseError
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.genesis import Genesis
from folkmoot.rpc.client import Rpc
from folkmoot.runtime import keystore
from folkmoot.runtime.memory import COORDINATOR, shortage
from server.chain.indexer import DeepRollback, Indexer
from server.chain.view import ChainView
from server.db import schema
from server.db.engine import Database
from server.db.models import CARRIED, Artifact, Round
from server.db.steps import Step
from server.restore.compare import Comparison
from server.rounds import queries
from server.settings import Settings
from server.storage import Storage

HASHED_BYTES = 1 << 30
"""Bytes of files that are read in full, unless all are asked for: some seconds."""

FREE_BYTES = 1 << 28
"""Least free bytes of a disk: database and log need some too."""

FEW_ROUNDS, SOME_ROUNDS = 2, 20
"""Rounds for which a disk must have room, and for which it should."""

COMPARED_ROUNDS = 100
"""Newest rounds whose rows are compared with the chain, unless all are asked for."""

LAST_ROUNDS = 20
"""Rounds in which the evaluator's reports are looked for."""


def home_checks(settings: Settings, rpc: Rpc, *, deep: bool = False) -> list[Check]:
    """Return the checks of a coordinator's folder.

    Args:
        settings: The settings that were read from it.
        rpc: The chain, with which rows of the database are compared.
        deep: Whether to read every file that unfinished rounds need, however large they are together.
    """
    home = _Home(settings, rpc, deep)
    return [
        Check("key file", home.key),
        Check("password file", home.password),
        Check("database", home.database),
        Check("database schema", home.schema, ("database",)),
        Check("database writable", home.writable, ("database schema",)),
        Check("database pages", home.pages, ("database",)),
        Check("store", home.store),
        Check("files of rounds", home.files, ("deployment file", "database schema", "store")),
        Check(
            "database rows",
            home.rows,
            ("chain id", "contracts", "genesis", "database schema", "store", "files of rounds"),
        ),
        Check("disk", home.disk),
        Check("model's memory", home.memory, ("deployment file", "store")),
        Check("evaluator", home.evaluator, ("database schema",)),
    ]


@dataclass(frozen=True, slots=True)
class _File:
    """A file that the store must have."""

    sha256: str
    what: str
    size: int
    """Its size in bytes as the database knows it; 0 for a file that it does not know."""


class _Home:
    def __init__(self, settings: Settings, rpc: Rpc, deep: bool) -> None:
        self._settings = settings
        self._rpc = rpc
        self._deep = deep

    def key(self) -> Finding:
        path = self._settings.resolve(self._settings.keystore)
        address = keystore.address_of(path)
        return exposed(path) or ok(f"{path} holds the key of {address}.")

    def password(self) -> Finding:
        given = self._settings.password_file
        if given is None:
            return ok("None is set: the password comes from FOLKMOOT_PASSWORD or a prompt.")
        path = self._settings.resolve(given)
        if not path.read_text().strip():
            return failed(f"{path} is empty.", "Write the keystore's password into its first line.")
        open_, key = exposed(path), self._settings.resolve(self._settings.keystore)
        if open_ is not None and key.is_file() and exposed(key):
            return failed(
                f"Others than their owner can read both {key} and its password in {path}.",
                f"Run: chmod 600 {key} {path}. Whoever had an account here may have the key: move the bond to another.",
            )
        return open_ or ok(f"{path} is there.")

    def database(self) -> Finding:
        with self._open() as database:
            schema.current(database.engine)
            return ok(f"{database.engine.url.render_as_string(hide_password=True)} can be read.")

    def schema(self) -> Finding:
        with self._open() as database:
            schema.check(database.engine)
        return ok(f"It has schema {schema.latest()}, that of this release.")

    def writable(self) -> Finding:
        try:
            with self._open() as database, database.write() as session:
                session.execute(text("UPDATE alembic_version SET version_num = version_num"))
                session.rollback()
        except DatabaseError as error:
            error.remedy = (
                "Look at the disk, at the owner of the file and its folder, or at the server's rights."
            )
            raise
        return ok("It can be written to.")

    def pages(self) -> Finding:
        with self._open() as database, database.engine.connect() as connection:
            if database.engine.dialect.name == "sqlite":
                lines = [str(line) for line in connection.scalars(text("PRAGMA integrity_check(5)"))]
                damage = [] if lines == ["ok"] else lines
                by = "PRAGMA integrity_check"
            elif not connection.scalar(text("SELECT 1 FROM pg_extension WHERE extname = 'amcheck'")):
                return ok("Not checked: the extension amcheck is not in this PostgreSQL database.")
            else:
                damage, by = _broken_indexes(connection), "amcheck"
        if damage:
            return failed(
                f"The database is damaged, says {by}: {'; '.join(damage)[:500]}.",
                "Stop the coordinator, keep the file, check the disk, and rebuild the database from a mirror: "
                "`folkmoot coordinator rebuild`.",
            )
        return ok(f"Its pages and indexes are sound ({by}).")

    def memory(self) -> Finding:
        manifest = self._federation(self._settings.open_store()).manifest
        short = shortage(COORDINATOR * manifest.size, "A coordinator")
        if short:
            return failed(short, "Use a machine with more memory, or end other programs.")
        return ok(
            f"A coordinator needs {COORDINATOR * manifest.size / 1e9:,.3f} GB for rounds of this model."
        )

    def _federation(self, store: Store) -> Federation:
        deployment = Deployment.load(self._settings.resolve(self._settings.deployment))
        return Federation.open(deployment, store)

    def rows(self) -> Finding:
        store = self._settings.open_store()
        federation = self._federation(store)
        chain = ChainView.of(self._rpc, federation.deployment, self._settings)
        with self._open() as database:
            try:
                Indexer(database, chain.rpc, federation.deployment, chain.confirmations).check()
            except DeepRollback as error:
                return failed(error.message, "Start the coordinator: it goes back with the chain by itself.")
            comparison = Comparison(Storage(database, store), chain, federation)
            numbers = comparison.rounds()
            if not self._deep:
                numbers = numbers[-COMPARED_ROUNDS:]
            altered = list(comparison.everything(numbers))
            for number in [0, *numbers] if self._deep else []:
                altered += comparison.model(number)
        if altered:
            more = f" And {len(altered) - 5} more." if len(altered) > 5 else ""
            return failed(
                f"Values of the database differ from the chain: {' '.join(map(str, altered[:5]))}{more}",
                "Find out who writes to the database. Then stop the coordinator and run "
                "`folkmoot coordinator rebuild rows`.",
            )
        return ok(f"Events, accounts and the last {len(numbers)} rounds that ended are as on the chain.")

    def store(self) -> Finding:
        folder = self._settings.store_folder
        if not self._settings.in_bucket and not folder.is_dir():  # opening would make it
            return failed(
                f"There is no folder {folder}, where the artifact store should be.",
                "Put it back, or rebuild it from a mirror: `folkmoot coordinator rebuild`.",
            )
        store = self._settings.open_store()
        problem = store.problem()
        if problem is not None:
            raise problem
        return ok(f"{store.location} can be written to.")

    def files(self) -> Finding:
        store = self._settings.open_store()
        with self._open() as database, database.read() as session:
            wanted = {file.sha256: file for file in _wanted(session)}
        deployment = Deployment.load(self._settings.resolve(self._settings.deployment))
        genesis = Genesis.from_json(store.document(deployment.genesis_hash))
        for name, what in ((genesis.manifest, "manifest"), (genesis.state, "state")):
            wanted.setdefault(name, _File(name, f"{what} of the genesis", 0))
        with suppress(ArtifactError):  # Without the manifest, which is named below.
            for entry in self._federation(store).manifest.files:
                wanted.setdefault(
                    entry.sha256, _File(entry.sha256, f"carried array {entry.name!r}", entry.size)
                )
        broken, hashed, left = [], 0, HASHED_BYTES
        for file in wanted.values():
            if not self._deep and file.size > left:
                if not store.has(file.sha256):
                    broken.append(f"{file.what} ({file.sha256})")
                continue
            try:
                left -= store.check(file.sha256)
                hashed += 1
            except ArtifactError:
                broken.append(f"{file.what} ({file.sha256})")
        if broken:
            more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
            return failed(
                f"Missing or damaged: {', '.join(broken[:5])}{more}.",
                "Put them back at once, the bond hangs on them: `folkmoot coordinator rebuild files --mirror ...`.",
            )
        return ok(
            f"All {len(wanted)} files that rounds still need are there; {hashed} of them were read in full."
        )

    def disk(self) -> Finding:
        try:
            with self._open() as database, database.read() as session:
                of_round = _round_bytes(session)
        except DatabaseError:
            of_round = 0.0  # a full disk may be the reason
        folders = [path for path in (self._settings.home, self._settings.store_folder) if path.is_dir()]
        free, folder = min((shutil.disk_usage(path).free, str(path)) for path in folders)
        size = f"; a round takes about {of_round / 1e6:,.1f} MB" if of_round else ""
        sentence = f"{free / 1e9:,.1f} GB are free under {folder}{size}."
        remedy = "Make room, or move the artifact store to a larger disk (the setting `store`)."
        if free < max(FREE_BYTES, FEW_ROUNDS * of_round):
            return failed(sentence, remedy)
        return warning(sentence, remedy) if free < SOME_ROUNDS * of_round else ok(sentence)

    def evaluator(self) -> Finding:
        if not self._settings.canary:
            return ok("None is waited for: the canary is off.")
        who = self._settings.canary_evaluator or "this coordinator's own account"
        with self._open() as database, database.read() as session:
            newest = session.execute(
                select(Round.number, Round.canary).order_by(Round.number.desc()).limit(LAST_ROUNDS)
            ).all()
        measured = [
            (number, canary["verdict"]) for number, canary in newest if canary and "verdict" in canary
        ]
        if measured and measured[0][1] == "missing":
            return warning(
                f"No report of {who} came in time for round {measured[0][0]}: it was anchored unmeasured.",
                "See that `folkmoot task evaluate --canary` runs with the key of that account, and look at its log.",
            )
        count = sum(verdict != "missing" for _, verdict in measured)
        return ok(f"Reports of {who} are waited for; {count} of the last {len(newest)} rounds had one.")

    @contextmanager
    def _open(self) -> Iterator[Database]:
        database = Database.open(self._settings.resolved_database_url)
        url = database.engine.url
        if (
            url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file()
        ):  # opening would make it
            raise DatabaseError(
                f"There is no database {url.database}.",
                remedy="Put it back, or rebuild it from a mirror: `folkmoot coordinator rebuild`.",
            )
        try:
            yield database
        except (
            SQLAlchemyError
        ) as error:  # what no running coordinator meets: tables that are not there, no database at all
            cause = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise DatabaseError(f"The database can't be used: {cause}.", remedy="Look at its log.") from error
        finally:
            database.close()


def _broken_indexes(connection: Connection) -> list[str]:
    """What amcheck says of the indexes of our tables."""
    indexes = connection.scalars(
        text(
            "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "JOIN pg_am a ON a.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE a.amname = 'btree' AND n.nspname = current_schema()"
        )
    ).all()
    damage = []
    for name in indexes:
        try:
            with connection.begin_nested():
                connection.execute(
                    text("SELECT bt_index_check(CAST(:name AS regclass), true)"), {"name": name}
                )
        except DBAPIError as error:
            damage.append(str(error.orig).splitlines()[0])
    return damage


def _wanted(session: Session) -> list[_File]:
    """Files of the rounds that are not over, of their bases, and of the newest base."""
    numbers = queries.unfinished(session)
    bases = set(session.scalars(select(Round.base).where(Round.number.in_(numbers))))
    newest = session.scalar(select(func.max(Round.number)).where(Round.step == Step.SETTLED)) or 0
    of_base = Artifact.round.in_({*bases, newest}) & Artifact.kind.in_(("state", "artifacts"))
    query = select(Artifact).where(or_(Artifact.round.in_(numbers), of_base), Artifact.deleted.is_(None))
    return [_File(row.sha256, f"{row.kind} of round {row.round}", row.size) for row in session.scalars(query)]


def _round_bytes(session: Session) -> float:
    """Mean size of the files of a round, in bytes; before the first round, that of the genesis."""
    sizes = select(func.sum(Artifact.size), func.count(Artifact.round.distinct()))
    size, rounds = session.execute(sizes.where(Artifact.kind != CARRIED)).one()
    return float(size or 0) / max(1, rounds)
