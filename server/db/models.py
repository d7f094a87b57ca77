# SPDX-License-Identifier: Apache-2.0
"""Tables of the coordinator.

Numbers that may leave 63 bits are stored as decimal text; hashes and addresses as 0x-hex (addresses
checksummed), so that a row can be read with any database tool. Nothing here decides anything: a row is what
was seen or intended.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite numbers rows only through INTEGER PRIMARY KEY.
RowId = BigInteger().with_variant(Integer(), "sqlite")


class Moment(TypeDecorator[datetime]):
    """A moment, in UTC. SQLite keeps no time zone and would give back a time of nowhere."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        """What it is in Python."""
        return datetime

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Name the time zone where the database does not."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """Base of all tables. Constraints have predictable names, so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Run(Base):
    """A number of rounds that the operator asked for."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    """One of running, done, failed."""
    rounds: Mapped[int]
    """Rounds asked for."""
    completed: Mapped[int] = mapped_column(default=0)
    """Rounds anchored."""
    expect: Mapped[int]
    """Contributors after whose answers a round need not wait any longer."""
    cancelled: Mapped[int] = mapped_column(default=0)
    """Rounds in a row that were cancelled."""
    patience: Mapped[int] = mapped_column(default=0, server_default="0")
    """Seconds for which rounds that are cancelled in a row are tried again."""
    cancelled_since: Mapped[datetime | None] = mapped_column(Moment)
    """When the first of the rounds in a row was cancelled; None if the last one was not, or without patience."""
    next_round_at: Mapped[datetime | None] = mapped_column(Moment)
    """The moment before which no round is opened; None if the last one was not cancelled, or without patience."""
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Moment)
    signature: Mapped[str] = mapped_column(Text, unique=True)
    """The coordinator's signature."""
    digest: Mapped[str | None] = mapped_column(String(66), unique=True)
    """What it signed; unique, so that a request can't be played again, whatever its signature looks like. None of runs
    of releases up to 0.2."""


class Round(Base):
    """A round as the engine sees it. The step is written before it acts."""

    __tablename__ = "rounds"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    step: Mapped[str] = mapped_column(String(16), index=True)
    """A value of `server.db.steps.Step`."""
    policy_id: Mapped[int]
    base: Mapped[int] = mapped_column(BigInteger)
    base_state_root: Mapped[str] = mapped_column(String(66))
    base_momentum_root: Mapped[str] = mapped_column(String(66))
    base_state_sha256: Mapped[str] = mapped_column(String(64))
    header: Mapped[bytes] = mapped_column(LargeBinary)
    header_hash: Mapped[str] = mapped_column(String(66))
    exponents: Mapped[list[int]] = mapped_column(JSON)
    expect: Mapped[int] = mapped_column(default=0)
    opened_at: Mapped[int | None] = mapped_column(BigInteger)
    commit_deadline: Mapped[int | None] = mapped_column(BigInteger)
    anchor_deadline: Mapped[int | None] = mapped_column(BigInteger)
    challenge_deadline: Mapped[int | None] = mapped_column(BigInteger)
    entries: Mapped[int] = mapped_column(default=0)
    entries_hash: Mapped[str | None] = mapped_column(String(66))
    anchor: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """The anchor's weights and hashes, once computed."""
    verdicts_sha256: Mapped[str | None] = mapped_column(String(64))
    artifacts_sha256: Mapped[str | None] = mapped_column(String(64))
    mean_sha256: Mapped[str | None] = mapped_column(String(64))
    state_sha256: Mapped[str | None] = mapped_column(String(64))
    canary: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """If there is a canary: the state root, the verdict (waiting, passed, fell, missing), and what was reported."""
    recomputed: Mapped[int] = mapped_column(default=0)
    """How often an anchor was refused and the round computed again."""
    error: Mapped[str | None] = mapped_column(Text)


class Update(Base):
    """An accepted update: its commitment was signed by the contributor and its file is in the store."""

    __tablename__ = "updates"
    __table_args__ = (UniqueConstraint("round", "contributor"), Index("ix_updates_round", "round", "dropped"))

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    round: Mapped[int] = mapped_column(ForeignKey("rounds.number"))
    contributor: Mapped[str] = mapped_column(String(42), index=True)
    commitment: Mapped[dict[str, str]] = mapped_column(JSON)
    """The commitment as it came, without the signature."""
    commitment_hash: Mapped[str] = mapped_column(String(66))
    signature: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    batch: Mapped[str | None] = mapped_column(String(96))
    """Purpose of the transaction that takes the commitment to the chain."""
    dropped: Mapped[str | None] = mapped_column(String(32))
    """Reason code if the chain refused the commitment later on (stake taken out, window over)."""
    received_at: Mapped[datetime] = mapped_column(Moment)


class Refusal(Base):
    """An answer that failed a check. Only the claim is known: anybody can send bytes in another's name."""

    __tablename__ = "refusals"
    __table_args__ = (
        Index("ix_refusals_round_contributor", "round", "contributor"),
        Index("ix_refusals_contributor", "contributor", "authenticated"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    round: Mapped[int] = mapped_column(BigInteger)
    contributor: Mapped[str] = mapped_column(String(42))
    """Whom the sender claimed to be."""
    authenticated: Mapped[bool]
    """Whether the commitment bore the contributor's signature."""
    reason: Mapped[str] = mapped_column(String(32), index=True)
    detail: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(Moment)


class RoundReport(Base):
    """What the operator says of the nodes of a round, signed. It shortens waiting and excludes nobody."""

    __tablename__ = "round_reports"

    round: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("rounds.number"), primary_key=True, autoincrement=False
    )
    complete: Mapped[bool]
    """Whether every node that was asked has answered, been refused or failed."""
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Nodes and metrics, as they were signed (`server.api.schemas.ReportContent`)."""
    deadline: Mapped[int] = mapped_column(BigInteger)
    """Of its signature; it grows from report to report, so that an older one can't be played again."""
    received_at: Mapped[datetime] = mapped_column(Moment)


class Entry(Base):
    """A commitment that is on the chain, and its verdict once the round is computed."""

    __tablename__ = "entries"
    __table_args__ = (Index("ix_entries_contributor", "contributor", "round", "weight"),)

    round: Mapped[int] = mapped_column(ForeignKey("rounds.number"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    contributor: Mapped[str] = mapped_column(String(42))
    commitment: Mapped[dict[str, str]] = mapped_column(JSON)
    commitment_hash: Mapped[str] = mapped_column(String(66))
    transaction_hash: Mapped[str] = mapped_column(String(66))
    sha256: Mapped[str | None] = mapped_column(String(64))
    """The delivered file; none if it never arrived."""
    weight: Mapped[int | None] = mapped_column(BigInteger)
    pay: Mapped[int | None]
    """In 1/FULL_PAY of a full place; none under a rule without pays."""
    reason: Mapped[str | None] = mapped_column(String(32))
    numbers: Mapped[dict[str, str] | None] = mapped_column(JSON)


CARRIED = "carried"
"""Kind of the file of a carried array."""

LASTING = ("mean", CARRIED)
"""Kinds of files that stay of their kind where a round lists them as updates: they are never deleted."""


MEASUREMENT, COMMITTED = "measurement", "committed"
"""Kinds of the files of a site's measurement and of its commitment, whose `round` is the version."""


class Artifact(Base):
    """A file in the store."""

    __tablename__ = "artifacts"
    __table_args__ = (Index("ix_artifacts_round", "round", "kind"),)

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    keccak: Mapped[str | None] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    """One of genesis, manifest, state, update, mean, verdicts, artifacts, model, report, carried, measurement,
    committed."""
    size: Mapped[int] = mapped_column(BigInteger)
    round: Mapped[int | None] = mapped_column(BigInteger)
    public_from: Mapped[int] = mapped_column(BigInteger, default=0)
    """Chain time from which anybody may read it: for an update, the end of the commit window."""
    deleted: Mapped[str | None] = mapped_column(String(16))
    """Why it is deleted (`folkmoot.artifacts.retention.Reason`); None of a file that stays."""
    gone: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether the store has deleted it."""


class Wish(Base):
    """A contributor's signed wish that its update files are deleted (docs/protocol.md section 12.3)."""

    __tablename__ = "wishes"

    contributor: Mapped[str] = mapped_column(String(42), primary_key=True)
    last_round: Mapped[int] = mapped_column(BigInteger)
    """The files of rounds up to this one are meant."""
    signature: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(Moment)


class Transaction(Base):
    """The outbox. A row is written with the state change that wants it; the rest happens to it."""

    __tablename__ = "transactions"
    # With what lists and sums show, so that they need not step over the bytes of every transaction.
    __table_args__ = (
        Index("ix_transactions_round", "round", "gas_used", "purpose", "hash"),
        Index("ix_transactions_state", "state", "gas_used"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    purpose: Mapped[str] = mapped_column(String(96), unique=True)
    """What it is for, e.g. `anchor:7`. One purpose is carried out once."""
    state: Mapped[str] = mapped_column(String(12))
    """One of queued, signed, mined, confirmed, failed."""
    round: Mapped[int] = mapped_column(BigInteger)
    to: Mapped[str] = mapped_column(String(42))
    data: Mapped[bytes] = mapped_column(LargeBinary)
    nonce: Mapped[int | None] = mapped_column(BigInteger)
    """Of the signed form that was mined, else of the newest one; so are `raw` and `hash`."""
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    hash: Mapped[str | None] = mapped_column(String(66))
    attempts: Mapped[int] = mapped_column(default=0)
    block_number: Mapped[int | None] = mapped_column(BigInteger)
    block_hash: Mapped[str | None] = mapped_column(String(66))
    gas_used: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """Why it failed: code, message, remedy, details (the decoded custom error)."""
    created_at: Mapped[datetime] = mapped_column(Moment)


class SentTransaction(Base):
    """A signed form of a transaction of the outbox. Whichever of them is mined settles the row."""

    __tablename__ = "sent_transactions"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("transactions.id"), index=True)
    nonce: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(66), unique=True)
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    block_number: Mapped[int] = mapped_column(BigInteger)
    """The chain's newest block when it was signed."""
    block_time: Mapped[int] = mapped_column(BigInteger)
    """Unix time of that block."""


class ChainEvent(Base):
    """An event of one of the contracts, on the chain that is canonical as far as we know."""

    __tablename__ = "chain_events"
    __table_args__ = (
        UniqueConstraint("block_number", "log_index"),
        Index("ix_chain_events_name_subject", "name", "subject"),
        Index("ix_chain_events_name_account", "name", "account", "subject"),
        Index("ix_chain_events_name_id", "name", "id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    block_number: Mapped[int] = mapped_column(BigInteger)
    block_hash: Mapped[str] = mapped_column(String(66))
    log_index: Mapped[int]
    transaction_hash: Mapped[str] = mapped_column(String(66))
    name: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(80))
    """Number of the round, version, policy or proposal, or the account, that the event is about."""
    account: Mapped[str] = mapped_column(String(42), default="", server_default="")
    """Contributor or account that it names; empty if it names none."""
    arguments: Mapped[dict[str, Any]] = mapped_column(JSON)


class Account(Base):
    """What the events of one account add up to, so that nobody has to add up a whole history to show it."""

    __tablename__ = "accounts"

    address: Mapped[str] = mapped_column(String(42), primary_key=True)
    staked: Mapped[bool] = mapped_column(default=False)
    """Whether it ever staked."""
    rewards: Mapped[str] = mapped_column(Text, default="0")
    """Credited so far, in units of 1e-18 tokens."""


class Fence(Base):
    """How often a process took the database (`server.db.holding`). One row, made by the first; PostgreSQL only."""

    __tablename__ = "fence"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Always 1."""
    epoch: Mapped[int] = mapped_column(BigInteger)
    """Grows by one with each process that takes the database."""


class ChainBlock(Base):
    """A block up to which events were read. Reorgs are found by comparing these with the chain."""

    __tablename__ = "chain_blocks"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[str] = mapped_column(String(66))


class LogEntry(Base):
    """What happened, in order: the stream of `/v1/events`."""

    __tablename__ = "event_log"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    key: Mapped[str | None] = mapped_column(String(160), unique=True)
    """What makes it happen once, so that a step that is run again does not say it twice."""
    type: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(Moment)


NOT_COMPARED = {
    "runs": "what the operator asked for, and what became of it; the chain knows no runs",
    "rounds.run_id": "the chain knows no runs",
    "rounds.expect": "what the operator asked for",
    "rounds.base_momentum_root": "served of an open round only, where each node checks it with `base_state_root`",
    "rounds.canary": "what the evaluator reported; its report is a file by its hash",
    "rounds.recomputed": "a count for people",
    "rounds.error": "a sentence for people",
    "updates.id": "a number of the database",
    "updates.received_at": "this machine's clock",
    "refusals": "answers that never reached the chain",
    "round_reports": "what the operator said; its signature is not kept",
    "wishes": "whoever uses one checks the contributor's signature; the contributor can sign a lost one again",
    "transactions.id": "a number of the database",
    "transactions.purpose": "the coordinator's own name for it; the ledger refuses what is sent twice",
    "transactions.state": "the outbox looks up on the chain what is under way; the rest is a list for people",
    "transactions.round": "the number in the purpose, for lists",
    "transactions.attempts": "a count for people",
    "transactions.error": "what a node said",
    "transactions.created_at": "this machine's clock",
    "sent_transactions": "signed forms of what is under way; of one that was mined, `transactions` is compared",
    "chain_events.id": "a number of the database",
    "chain_blocks": "the indexer compares them with the chain; another hash is a rollback",
    "fence": "PostgreSQL only; each write compares it",
    "event_log": "what was told, and when; the chain knows nothing of it",
}
"""Tables and columns that are not compared with the chain, and why. Every other column is compared
(`server.restore.compare`): a test alters each. A value must have the type of its column in either case."""

ROWS_NOT_COMPARED = {
    "updates": "an added row may be of an update that never reached the chain. A lost one is found if this coordinator "
    "sent it to the chain",
    "artifacts": "nothing reads an added row that no round names; a lost one is found",
    "transactions": "a list for people once its round has ended; the events are compared",
    "accounts": "an added row keeps zeros: a rollback may leave an account without events; a lost one is found",
}
"""Tables of which an added row, or a lost one, may not be found, and why."""


def is_compared(table: str, column: str) -> bool:
    """Whether a column is compared with the chain, and can be put right from it."""
    return NOT_COMPARED.keys().isdisjoint({table, f"{table}.{column}"})
