# SPDX-License-Identifier: Apache-2.0
"""Rebuilding a coordinator's database and store from the chain and public files alone (docs/recovery.md).

The order matters: files go into the store first, where one more does no harm; then all rounds are written in one
transaction. Whatever stops it before leaves a database without rounds, and the same command goes on where it was.

What is written is what the chain had at one block, and only once that block has its confirmations: a restored
transaction counts as settled, and its signed bytes are lost, so a reorg that took it would take it for good.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from folkmoot.aggregation.lineage import window
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.aggregation.registry import uses
from folkmoot.artifacts.inventory import Retentions, reports
from folkmoot.artifacts.mirror import REPORT_LIMIT
from folkmoot.artifacts.retention import Reason, Wishes
from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.audit.audit import RPC_TIMEOUT
from folkmoot.audit.entries import check_entries, check_entries_hash
from folkmoot.audit.genesis import Origin
from folkmoot.audit.history import Block, History, PinnedRpc, read_history
from folkmoot.audit.ledger_state import Ledger
from folkmoot.audit.policies import check_policies
from folkmoot.audit.rounds import check_rounds, replay
from folkmoot.audit.stakes import fold_stakes
from folkmoot.chain.client import check_deployment
from folkmoot.errors import ArtifactError, AuditFailure, ChainError, DatabaseError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.replay import Round as Past
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.deletion import DeletionWish
from folkmoot.rpc.client import Phase, Rpc
from folkmoot.rpc.quorum import open_rpc
from folkmoot.runtime.fault_points import fault_point
from server.chain.indexer import Indexer
from server.chain.view import confirmations_of
from server.db import schema
from server.db.engine import Database
from server.db.models import Artifact, Round, Run, Transaction, Update
from server.db.wishes import keep
from server.restore.files import Importer, RoundFiles
from server.restore.rows import UNKNOWN, Base, Rows, base_of
from server.settings import Settings

_FULL = (Round, Run, Update, Transaction)
"""Tables that an empty database has nothing in. What is known of blocks and files alone does no harm."""
LOOK_SECONDS = 0.5
"""Seconds between two looks at a block that waits for its confirmations."""


@dataclass
class Restored:
    """What was rebuilt."""

    block: int
    """Block at which the chain was read."""
    rounds: Counter[str] = field(default_factory=Counter)
    """Rounds by the step in which they are now."""
    head: int = 0
    """Round that the next one builds on."""
    fetched: int = 0
    """Files that were fetched."""
    bytes: int = 0
    """Bytes of all files of the rounds."""
    coordinator: str = ""
    """Coordinator that is appointed."""
    notes: list[str] = field(default_factory=list)
    """What could not be rebuilt, and does not stop the lineage."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "block": self.block,
            "rounds": dict(sorted(self.rounds.items())),
            "head": self.head,
            "fetched": self.fetched,
            "bytes": self.bytes,
            "coordinator": self.coordinator,
            "notes": self.notes,
        }


def restore(
    settings: Settings,
    account: str,
    source: ArtifactSource,
    *,
    from_round: int = 1,
    before_rows: Callable[[], None] = lambda: None,
    progress: Callable[[str], None] = lambda what: None,
) -> Restored:
    """Rebuild everything that continuing needs.

    Args:
        settings: The settings of the new coordinator.
        source: The public files.
        from_round: First round whose files must be had. Of earlier ones, those that the next round rests on must be
            had as well; what else is missing is noted.
        before_rows: Called when all is there but the rounds in the database: with them it is a coordinator.
        progress: Called with what is done next.

    Raises:
        DatabaseError: The database has rounds in it already (`database-not-empty`), or another schema.
        AuditFailure: The chain contradicts itself, or a file is not what it commits to.
        ChainError: The endpoint failed, serves another chain, or transactions of the account are under way
            (`transactions-pending`).
    """
    deployment = Deployment.load(settings.resolve(settings.deployment))
    database = Database.open(settings.resolved_database_url)
    try:
        if schema.current(database.engine) is None:
            fault_point("restore.schema-made.before")
            schema.upgrade(database.engine)
            fault_point("restore.schema-made.after")
        schema.check(database.engine)  # one that is there is not changed: it may hold what would be lost
        database.claim()
        require_empty(database, settings)
        with open_rpc(settings.rpc_url, RPC_TIMEOUT) as rpc:
            check_deployment(rpc, deployment)
            while True:
                _require_quiet(rpc, account)
                history = read_history(PinnedRpc(rpc, rpc.block_number()), deployment, progress)
                collected = _collect(settings, account, source, rpc, history, from_round, progress)
                if _settles(rpc, history.head, confirmations_of(settings, deployment), progress):
                    return _rebuild(collected, database, before_rows, progress)
                progress(f"once more: a reorg took block {history.head.number}")
    finally:
        database.close()


def counting(history: History, wishes: Iterable[DeletionWish]) -> Wishes:
    """Return the wishes to delete update files that count at the block that was read."""
    deployment = history.deployment
    return Wishes(wishes, Domain(deployment.chain_id, deployment.ledger), history.accepts)


def leave_out(importer: Importer, ledger: Ledger, wishes: Wishes) -> None:
    """Let an importer leave out the files that are deleted by rule or by wish, at the block that was read."""
    history = importer.history
    retentions, now = Retentions(ledger.rounds, history.storage.unbonding_period), history.head.timestamp

    def why(past: Past, contributor: str) -> Reason | None:
        retention = retentions.of(past.number)
        if retention.expired(now):
            return Reason.RETENTION
        wished = retention.free(now) and wishes.cover(contributor, past.number)
        return Reason.WISH if wished else None

    importer.deleted = why
    importer.rounds = ledger.rounds
    importer.spare = lambda number: number > 0 and retentions.of(number).spare()


def require_empty(database: Database, settings: Settings) -> None:
    """Make sure that nothing is in the database that would be lost."""
    with database.read() as session:
        counts = {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) for table in _FULL
        }
    filled = {name: count for name, count in counts.items() if count}
    if filled:
        held = ", ".join(f"{count} {name}" for name, count in filled.items())
        raise DatabaseError(
            f"The database of the coordinator in {settings.home} is not empty: it has {held}.",
            remedy="Start it with `folkmoot coordinator serve`, or restore into another --home.",
            code="database-not-empty",
            details=filled,
        )


def _require_quiet(rpc: Rpc, account: str) -> None:
    """What a lost database had sent must be over: else it happens after we have looked."""
    pending = rpc.transaction_count(account, "pending") - rpc.transaction_count(account, "latest")
    if pending > 0:
        raise ChainError(
            f"{pending} transactions of {account} are still under way.",
            remedy="Wait until they are mined, then run it again.",
            code="transactions-pending",
        )


def _settles(rpc: Rpc, head: Block, confirmations: int, progress: Callable[[str], None]) -> bool:
    """Wait until a block has its confirmations, or another one has its place; whether it has them."""
    shown = False
    while True:
        newest = rpc.latest().number
        block = rpc.block_at(head.number)
        if block is None or bytes.fromhex(block.hash[2:]) != head.hash:
            return False
        if newest >= head.number + confirmations - 1:
            return True
        if not shown:
            progress(f"{confirmations} confirmations of block {head.number}")
            shown = True
        time.sleep(LOOK_SECONDS)  # nobody tells of a new block


@dataclass(frozen=True)
class _Collected:
    """What the chain says, and the files of it; nothing is in the database."""

    rows: Rows
    ledger: Ledger
    origin: Origin
    files: dict[int, RoundFiles]
    importer: Importer
    rpc: Rpc
    restored: Restored
    wishes: Wishes


def _collect(
    settings: Settings,
    account: str,
    source: ArtifactSource,
    rpc: Rpc,
    history: History,
    from_round: int,
    progress: Callable[[str], None],
) -> _Collected:
    """Check the chain, and bring the files of its rounds into the store."""
    store = settings.open_store()
    store.clear_incoming()
    importer = Importer(history, store, source)
    progress("genesis")
    origin = importer.genesis()
    progress("rounds on the chain")
    ledger = replayed(history, origin)
    wishes = counting(history, source.wishes())
    leave_out(importer, ledger, wishes)
    restored = Restored(history.head.number, head=ledger.head, coordinator=history.storage.coordinator)
    with importer.states:
        files = _files(ledger, origin, importer, restored, from_round, progress)
    for sha256 in sorted(reports(history.events, history.deployment)):
        if not importer.report(sha256, REPORT_LIMIT):
            restored.notes.append(f"The evaluation report {sha256} could not be had.")
    restored.fetched, restored.bytes = importer.fetched, sum(importer.sizes.values())
    rows = Rows(history, origin, rpc, account)
    return _Collected(rows, ledger, origin, files, importer, rpc, restored, wishes)


def _rebuild(
    collected: _Collected,
    database: Database,
    before_rows: Callable[[], None],
    progress: Callable[[str], None],
) -> Restored:
    """Write the database."""
    progress("events")
    fault_point("restore.events-read.before")
    Indexer(database, collected.rpc, collected.rows.history.deployment).poll()
    fault_point("restore.events-read.after")
    before_rows()
    progress("database")
    _write(database, collected)
    fault_point("restore.rows-written.after")
    return collected.restored


def replayed(history: History, origin: Origin) -> Ledger:
    """Replay the chain's events, and check that they are what the contracts store."""
    policies = check_policies(history)
    ledger = replay(history, policies, fold_stakes(history), origin.state_root)
    check_rounds(history, ledger)
    for past in ledger.rounds.values():
        check_entries(history, past)
        check_entries_hash(history, past)
    return ledger


def _files(
    ledger: Ledger,
    origin: Origin,
    importer: Importer,
    restored: Restored,
    from_round: int,
    progress: Callable[[str], None],
) -> dict[int, RoundFiles]:
    """Import the files of all rounds that were anchored."""
    needed = _lineage(ledger, importer.history.storage.policies[ledger.policy].rule)
    states, files = {0: origin.genesis.state}, {}
    for number, past in ledger.rounds.items():
        if past.anchor is None:
            continue
        progress(f"files of round {number}")
        try:
            files[number] = importer.round(past, origin, states.get(past.base))
        except (ArtifactError, AuditFailure) as error:
            if not past.voided and (number >= from_round or number in needed):
                raise
            restored.notes.append(f"Round {number} is restored without its files. {error.message}")
            continue
        states[number] = files[number].artifacts.state
    return files


def _lineage(ledger: Ledger, rule: str) -> set[int]:
    """Rounds whose files the next round, under this rule, rests on."""
    if not ledger.head:
        return set()
    if not uses(rule) & {ReferenceKind.TRAJECTORY, ReferenceKind.EARLIER}:
        return {ledger.head}
    return set(window(ledger.head, lambda number: ledger.rounds[number].base))


def _write(database: Database, collected: _Collected) -> None:
    rows, origin, importer, restored = (
        collected.rows,
        collected.origin,
        collected.importer,
        collected.restored,
    )
    genesis = origin.genesis
    bases = {0: Base(genesis.state, origin.state.momentum_tree().root, genesis.exponents)}
    with database.write() as session:
        for number, past in collected.ledger.rounds.items():
            kept = collected.files.get(number)
            row = rows.add(session, past, base_of(kept, bases.get(past.base, UNKNOWN)), kept)
            restored.rounds[row.step] += 1
            _note_open(past, restored, rows.account)
            if kept is not None:
                listed = kept.artifacts
                bases[number] = Base(listed.state, kept.momentum_root, listed.next_exponents)
        for sha256 in reports(rows.history.events, rows.history.deployment):
            if sha256 in importer.sizes:
                size = importer.sizes[sha256]
                session.merge(Artifact(sha256=sha256, kind="report", size=size, public_from=0))
        accounts = {entry.contributor for past in collected.ledger.rounds.values() for entry in past.commits}
        for wish in collected.wishes.counting(accounts):
            keep(session, wish)
        session.flush()
        fault_point("restore.rows-written.before")


def _note_open(past: Past, restored: Restored, account: str) -> None:
    if past.phase is not Phase.OPEN:
        return
    number, opened = past.number, past.opened
    if opened.coordinator == account:
        restored.notes.append(
            f"Round {number} is open and goes on: {len(past.commits)} entries are on the chain; update files have to "
            "be handed in again (`folkmoot train` asks the nodes)."
        )
    else:
        restored.notes.append(
            f"Round {number} was left open by {opened.coordinator}; it is cancelled after its deadline."
        )
