# SPDX-License-Identifier: Apache-2.0
"""Keeps the events of the federation's contracts, on the chain that is canonical now.

After every batch it remembers the last block's hash; of older blocks, the events that were read have the hashes. When
the chain has another block there, events above the newest block that both agree on are dropped and read again. That a
node does not have a block proves no reorg: it may lag, or be one of several behind one address. Then what is known
stays for a while.

Rounds and transactions rest on blocks that have their confirmations. If the chain has lost one of those, nothing is
dropped here: that is for `server.restore.rewind`, which mends the rows in the same database transaction.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from folkmoot.errors import RpcError
from folkmoot.fraud.proofs.availability import DataKind
from folkmoot.ledger import scan
from folkmoot.ledger.deployment import Deployment
from folkmoot.rpc.abi import readable
from folkmoot.rpc.client import Block, Rpc
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.rpc.reverts import SUPPORTS
from folkmoot.runtime.logs import fields
from server.db import events
from server.db.engine import Database
from server.db.models import Account, ChainBlock, ChainEvent

logger = logging.getLogger(__name__)

BATCH_BLOCKS = 2_000
"""Most blocks in one query: many endpoints refuse more."""
REMEMBERED_BLOCKS = 256
"""Ends of batches that are kept to find where a reorg began."""

BEHIND_SECONDS = 300.0
"""For how long a node may lack blocks that were read, with no sign of a reorg, before their events are dropped. By
this machine's stopwatch: a chain that stands still has no time. Nothing is lost for good: they are read again."""
LOCAL_BEHIND_SECONDS = 5.0
"""The same on a local Anvil, which is one node."""
ROLLED_BACK = "chain-rolled-back"
"""Code of the error that says that the chain has lost blocks that had their confirmations."""

_SUBJECTS = ("round", "version", "proposalId", "policyId", "account", "demand")


@dataclass(frozen=True)
class Fork:
    """Where the chain leaves the blocks that were read."""

    known: int
    """Newest block up to which events are known."""
    common: int
    """Newest of them that the chain has, too."""
    proven: bool = True
    """Whether the chain has another block in the place of one that it lost."""
    first: int = field(default=0, compare=False)
    """Oldest block that it is known to have lost. Those between it and `common`, if there are any, were read at once
    with it, and had no events: whether they were lost makes no difference."""

    @property
    def lost(self) -> int:
        """Number of blocks that the chain has lost, as far as it makes a difference."""
        return self.known - max(self.common, self.first - 1)


class DeepRollback(RpcError):
    """The chain has lost blocks that had their confirmations; the database still has what they said."""

    def __init__(self, fork: Fork) -> None:
        super().__init__(
            f"The chain has lost its blocks from {fork.common + 1} to {fork.known}, which had their confirmations.",
            remedy="The coordinator goes back to what the chain has by itself. Set `confirmations` higher on a chain "
            "that does this, and compare RPC endpoints.",
            code=ROLLED_BACK,
            details={"common": fork.common, "known": fork.known},
        )
        self.fork = fork


class Indexer:
    """Reads events into the database.

    Args:
        database: Where they go.
        deployment: The contracts.
        confirmations: Blocks, its own included, after which others rely on a block. None if nobody does yet: then a
            rollback of any depth is read again.

    Attributes:
        warning: Why nothing is read now, a sentence for the operator; none if all is well.
    """

    def __init__(
        self, database: Database, rpc: Rpc, deployment: Deployment, confirmations: int | None = None
    ) -> None:
        self._database = database
        self._rpc = rpc
        self._deployment = deployment
        self._confirmations = confirmations
        self.warning: str | None = None
        self._behind_since: float | None = None
        self._roles = {getattr(deployment, role): role for role in deployment.roles}

    def poll(self) -> int:
        """Read up to the newest block.

        Returns:
            Number of the block up to which events are known.
        """
        latest = self._rpc.latest()
        first = self._rewind() + 1
        while first <= latest.number:
            last = min(first + BATCH_BLOCKS - 1, latest.number)
            if not self._read(first, last):
                break
            first = last + 1
        return first - 1

    def check(self) -> None:
        """Make sure that the chain still has the blocks that others rely on."""
        self._fork()

    def _rewind(self) -> int:
        """Drop what a reorg took away; return the last block whose events are known."""
        fork = self._fork()
        if fork.lost and not fork.proven and self._may_lag(fork):
            return fork.known
        if fork.lost:
            logger.warning(
                "the chain was reorganised: reading again from block %d",
                fork.common + 1,
                extra=fields("reorganised", block=fork.common + 1),
            )
            with self._database.write("reorg-dropped") as session:
                forget(session, fork.common)
        return fork.common

    def _fork(self) -> Fork:
        """Find where the chain leaves what was read; one question if it does not."""
        start = self._deployment.block - 1
        with self._database.read() as session:
            ends = select(ChainBlock.number, ChainBlock.hash).order_by(ChainBlock.number.desc())
            of_events = select(ChainEvent.block_number, ChainEvent.block_hash)
            newest = (
                session.execute(ends.limit(1)).first()
                # A rollback took all ends of batches that were remembered.
                or session.execute(of_events.order_by(ChainEvent.block_number.desc()).limit(1)).first()
            )
        newest_number, newest_hash = newest or (start, "")
        if newest is None or self._has(newest_number, newest_hash):
            self._behind_since = self.warning = None
            return Fork(newest_number, newest_number)
        known = self._known()
        above, below = 0, len(known)  # the chain lacks the first, and has the second, if there is one
        step = 1
        while above + step < below:  # most reorgs are short: look close first
            if self._has(*known[above + step]):
                below = above + step
            else:
                above, step = above + step, 2 * step
        while below - above > 1:
            middle = (above + below) // 2
            if self._has(*known[middle]):
                below = middle
            else:
                above = middle
        common = known[below][0] if below < len(known) else start
        first = known[above][0]
        fork = Fork(newest_number, common, self._rpc.block_at(first) is not None, first)
        if self._confirmations is not None and fork.lost >= self._confirmations:
            if not fork.proven and self._may_lag(fork):
                raise RpcError(
                    self.warning or "", remedy="Nothing is done until it has them again.", code="node-behind"
                )
            raise DeepRollback(fork)
        return fork

    def _has(self, number: int, block_hash: str) -> bool:
        block = self._rpc.block_at(number)
        return block is not None and block.hash == block_hash

    def _known(self) -> list[tuple[int, str]]:
        """Numbers and hashes of blocks as they were read, the newest first."""
        with self._database.read() as session:
            blocks = {block.number: block.hash for block in session.scalars(select(ChainBlock))}
            query = select(ChainEvent.block_number, ChainEvent.block_hash).distinct()
            for number, block_hash in session.execute(query):
                blocks.setdefault(number, block_hash)
        return sorted(blocks.items(), reverse=True)

    def _may_lag(self, fork: Fork) -> bool:
        """Whether a node that lacks blocks still gets time to show them."""
        now = time.monotonic()
        if self._behind_since is None:
            self._behind_since = now
        local = self._deployment.chain_id == LOCAL_CHAIN_ID
        if now - self._behind_since >= (LOCAL_BEHIND_SECONDS if local else BEHIND_SECONDS):
            self.warning = None
            return False
        warning = (
            f"The RPC endpoint had block {fork.known} and has it no longer, and shows no other one in its place: it "
            f"lags, or a reorg is under way. Events above block {fork.common} are kept for now."
        )
        if self.warning is None:
            logger.warning("%s", warning, extra=fields("node-behind", block=fork.known))
        self.warning = warning
        return True

    def _read(self, first: int, last: int) -> bool:
        end = self._rpc.block_at(last)
        if end is None:
            return False
        logs = self._rpc.logs({"address": list(self._roles), "fromBlock": hex(first), "toBlock": hex(last)})
        after = self._rpc.block_at(last)
        if after is None or after.hash != end.hash:
            return False  # reorganised while we read: the next poll starts from what is sure
        self._store(end, logs)
        return True

    def _store(self, end: Block, logs: Sequence[dict[str, Any]]) -> None:
        events_read = [event for log in logs if (event := read_log(self._roles, log)) is not None]
        with self._database.write("events-read") as session:
            for event in events_read:
                session.add(event)
                _count(session, event)
                _announce(session, event)
            session.merge(ChainBlock(number=end.number, hash=end.hash))
            session.execute(delete(ChainBlock).where(ChainBlock.number < end.number - REMEMBERED_BLOCKS))


def forget(session: Session, common: int) -> None:
    """Drop the events of all blocks above one, and work out anew what is kept of their accounts."""
    gone = ChainEvent.block_number > common
    accounts = set(session.scalars(select(ChainEvent.account).where(gone, ChainEvent.account != "")))
    session.execute(delete(ChainEvent).where(gone))
    session.execute(delete(ChainBlock).where(ChainBlock.number > common))
    for address in sorted(accounts):
        _sum_up(session, address)


def read_log(roles: Mapping[str, str], log: dict[str, Any]) -> ChainEvent | None:
    """Return the event that a log is, its arguments as JSON values; None for a log of no known event.

    Args:
        roles: Contract (`ledger`, ...) by checksummed address.
        log: The log, as JSON-RPC has it.
    """
    decoded = scan.read_log(log, roles)
    if decoded is None:
        return None
    parameters = decoded.entry["inputs"]
    arguments = {part["name"]: _json(part, decoded.values[part["name"]]) for part in parameters}
    return ChainEvent(
        block_number=decoded.block,
        block_hash="0x" + decoded.block_hash.hex(),
        log_index=decoded.index,
        transaction_hash="0x" + decoded.transaction.hex(),
        name=decoded.entry["name"],
        subject=_subject(arguments),
        account=_account(arguments),
        arguments=arguments,
    )


def _json(parameter: dict[str, Any], value: Any) -> Any:
    """A decoded value as JSON: integers beyond 53 bits as text, bytes as 0x-hex, tuples as objects."""
    kind = str(parameter["type"])
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return [_json(inner, item) for item in value]
    if kind == "tuple":
        return {p["name"]: _json(p, item) for p, item in zip(parameter["components"], value, strict=True)}
    if kind == "string":
        return readable(value)
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
        return str(value)
    return value


def _subject(arguments: dict[str, Any]) -> str:
    for name in _SUBJECTS:
        if name in arguments:
            return str(arguments[name])
    return ""


def _account(arguments: dict[str, Any]) -> str:
    return str(arguments.get("contributor") or arguments.get("account") or "")


def _count(session: Session, event: ChainEvent) -> None:
    """Add an event to what is kept of its account."""
    if event.name not in ("Staked", "RewardCredited"):
        return
    row = session.get(Account, event.account)
    if row is None:
        row = Account(address=event.account, staked=False, rewards="0")
        session.add(row)
    if event.name == "Staked":
        row.staked = True
    else:
        row.rewards = str(int(row.rewards) + int(event.arguments["amount"]))


def _sum_up(session: Session, address: str) -> None:
    """Work out anew what is kept of an account, from the events that are left."""
    row = session.get(Account, address)
    if row is None:
        return
    theirs = select(ChainEvent.arguments).where(ChainEvent.account == address)
    row.staked = session.scalars(theirs.where(ChainEvent.name == "Staked").limit(1)).first() is not None
    credited = session.scalars(theirs.where(ChainEvent.name == "RewardCredited"))
    row.rewards = str(sum(int(arguments["amount"]) for arguments in credited))


_ANNOUNCED = {
    "ProposalCreated": ("proposal-created", "proposal=proposalId proposer description"),
    "VoteCast": ("vote-cast", "proposal=proposalId voter support votes=weight reason"),
    "VoteCastWithParams": ("vote-cast", "proposal=proposalId voter support votes=weight reason"),
    "ProposalExecuted": ("proposal-executed", "proposal=proposalId"),
    "VersionActivated": ("version-activated", "version reportHash"),
    "VersionRecalled": ("version-recalled", "version reportHash"),
    "RoundSlashed": ("round-slashed", "round challenger bond"),
    "Demanded": ("data-demanded", "demand round demander what entry level index answerBy"),
    "Answered": ("demand-answered", "demand answerer"),
    "Withheld": ("data-withheld", "demand round demander"),
    "ContributorSlashed": ("contributor-slashed", "round contributor challenger taken"),
    "RoundPostponed": ("round-postponed", "round challengeDeadline"),
    "DisputeOpened": ("dispute-opened", "round challenger decideBy reason"),
    "DisputeUpheld": ("dispute-decided", "round"),
    "DisputeDismissed": ("dispute-decided", "round"),
}
"""Events that people wait for: the type in the event log, and the arguments that it has (with the contract's name for
one after `=`)."""

_AMOUNTS = ("proposal", "votes", "bond", "taken")
"""Arguments that the event log has as text: they may be larger than an integer in JSON."""


def _announce(session: Session, event: ChainEvent) -> None:
    """Put what people wait for into the event log, once, however often the chain is reorganised."""
    if event.name not in _ANNOUNCED:
        return
    kind, names = _ANNOUNCED[event.name]
    data: dict[str, Any] = {}
    for name, _, argument in (part.partition("=") for part in names.split()):
        value = event.arguments[argument or name]
        data[name] = str(value) if name in _AMOUNTS else value
    if kind == "vote-cast":
        data["support"] = SUPPORTS[data["support"]]
    elif kind == "data-demanded":
        data["what"] = DataKind(data["what"]).name.lower()
    elif kind == "dispute-decided":
        data["upheld"] = event.name == "DisputeUpheld"
    data["transaction"] = event.transaction_hash
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
    events.append(session, kind, data, key=f"{kind}:{digest}")


def by_name(
    session: Session, name: str, subject: str | None = None, account: str | None = None
) -> list[ChainEvent]:
    """Events of a name (about one subject, of one account), in the chain's order."""
    query = select(ChainEvent).where(ChainEvent.name == name)
    if subject is not None:
        query = query.where(ChainEvent.subject == subject)
    if account is not None:
        query = query.where(ChainEvent.account == account)
    return list(session.scalars(query.order_by(ChainEvent.block_number, ChainEvent.log_index)))
