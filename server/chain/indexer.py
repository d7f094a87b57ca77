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
from folkmoot.ledger.deployment import Deployment
from folkmoot.rpc.client import PLACE_BITS
from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
from folkmoot.runtime.logs import fields
from server.chain.calls import decode_log
from server.chain.node import Block, Node
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

_HASH_LENGTH = 66
"""Characters of a hash: 0x and 64 hex digits."""

_SUBJECTS = ("round", "version", "proposalId", "policyId", "account", "demand")
SUPPORT = ("against", "for", "abstain")


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
        node: The chain.
        deployment: The contracts.
        confirmations: Blocks, its own included, after which others rely on a block. None if nobody does yet: then a
            rollback of any depth is read again.

    Attributes:
        warning: Why nothing is read now, a sentence for the operator; none if all is well.
    """

    def __init__(
        self, database: Database, node: Node, deployment: Deployment, confirmations: int | None = None
    ) -> None:
        self._database = database
        self._node = node
        self._deployment = deployment
        self._confirmations = confirmations
        self.warning: str | None = None
        self._behind_since: float | None = None
        self._roles = {getattr(deployment, role).lower(): role for role in deployment.roles}

    def poll(self) -> int:
        """Read up to the newest block.

        Returns:
            Number of the block up to which events are known.

        Raises:
            RpcError: The chain gave no answer; what was read stays.
        """
        latest = self._node.latest()
        first = self._rewind() + 1
        while first <= latest.number:
            last = min(first + BATCH_BLOCKS - 1, latest.number)
            if not self._read(first, last):
                break
            first = last + 1
        return first - 1

    def check(self) -> None:
        """Make sure that the chain still has the blocks that others rely on.

        Raises:
            DeepRollback: It has lost some.
            RpcError: The chain gave no answer, or the endpoint is behind by so many blocks (`node-behind`).
        """
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
        fork = Fork(newest_number, common, self._node.block(first) is not None, first)
        if self._confirmations is not None and fork.lost >= self._confirmations:
            if not fork.proven and self._may_lag(fork):
                raise RpcError(
                    self.warning or "", remedy="Nothing is done until it has them again.", code="node-behind"
                )
            raise DeepRollback(fork)
        return fork

    def _has(self, number: int, block_hash: str) -> bool:
        found = self._node.block(number)
        return found is not None and found.hash == block_hash

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
        end = self._node.block(last)
        if end is None:
            return False
        logs = self._node.logs(
            [getattr(self._deployment, role) for role in self._deployment.roles], first, last
        )
        after = self._node.block(last)
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
    """Return the event that a log is; None for a log of no known event.

    Args:
        roles: Contract (`ledger`, ...) by address in lower case.
        log: The log, as JSON-RPC has it.

    Raises:
        RpcError: It does not have the form of its event, or is of a contract that was not asked for.
    """
    try:
        decoded = decode_log(roles[log["address"].lower()], log)
        if decoded is None:
            return None
        name, arguments = decoded
        number, index = int(log["blockNumber"], 16), int(log["logIndex"], 16)
        hashes = log["blockHash"], log["transactionHash"]
        whole = all(isinstance(hash_, str) and len(hash_) <= _HASH_LENGTH for hash_ in hashes)
        if not whole or max(number, index) >= 1 << PLACE_BITS or min(number, index) < 0:
            raise ValueError("its place on the chain can't be one")
        return ChainEvent(
            block_number=number,
            block_hash=log["blockHash"],
            log_index=index,
            transaction_hash=log["transactionHash"],
            name=name,
            subject=_subject(arguments),
            account=_account(arguments),
            arguments=arguments,
        )
    except Exception as error:  # whatever an endpoint sends must not look like a defect of ours
        raise RpcError(
            f"The RPC endpoint sent a log that does not have the form of its event: {error!r:.200}.",
            remedy="Check that the deployment file belongs to this chain, or use another endpoint.",
            code="bad-log",
        ) from error


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


def _announce(session: Session, event: ChainEvent) -> None:
    """Put what people wait for into the event log, once, however often the chain is reorganised."""
    arguments = event.arguments
    data: dict[str, Any]
    match event.name:
        case "ProposalCreated":
            kind, data = (
                "proposal-created",
                {
                    "proposal": str(arguments["proposalId"]),
                    "proposer": arguments["proposer"],
                    "description": arguments["description"],
                },
            )
        case "VoteCast" | "VoteCastWithParams":
            kind, data = (
                "vote-cast",
                {
                    "proposal": str(arguments["proposalId"]),
                    "voter": arguments["voter"],
                    "support": SUPPORT[arguments["support"]],
                    "votes": str(arguments["weight"]),
                    "reason": arguments["reason"],
                },
            )
        case "ProposalExecuted":
            kind, data = "proposal-executed", {"proposal": str(arguments["proposalId"])}
        case "VersionActivated":
            kind, data = (
                "version-activated",
                {
                    "version": arguments["version"],
                    "reportHash": arguments["reportHash"],
                },
            )
        case "RoundSlashed":
            kind, data = (
                "round-slashed",
                {
                    "round": arguments["round"],
                    "challenger": arguments["challenger"],
                    "bond": str(arguments["bond"]),
                },
            )
        case "Demanded":
            kind, data = (
                "data-demanded",
                {
                    "demand": arguments["demand"],
                    "round": arguments["round"],
                    "demander": arguments["demander"],
                    "what": DataKind(arguments["what"]).name.lower(),
                    "entry": arguments["entry"],
                    "level": arguments["level"],
                    "index": arguments["index"],
                    "answerBy": arguments["answerBy"],
                },
            )
        case "Answered":
            kind, data = (
                "demand-answered",
                {"demand": arguments["demand"], "answerer": arguments["answerer"]},
            )
        case "Withheld":
            kind, data = (
                "data-withheld",
                {
                    "demand": arguments["demand"],
                    "round": arguments["round"],
                    "demander": arguments["demander"],
                },
            )
        case "ContributorSlashed":
            kind, data = (
                "contributor-slashed",
                {
                    "round": arguments["round"],
                    "contributor": arguments["contributor"],
                    "challenger": arguments["challenger"],
                    "taken": str(arguments["taken"]),
                },
            )
        case "RoundPostponed":
            kind, data = (
                "round-postponed",
                {"round": arguments["round"], "challengeDeadline": arguments["challengeDeadline"]},
            )
        case "DisputeOpened":
            kind, data = (
                "dispute-opened",
                {
                    "round": arguments["round"],
                    "challenger": arguments["challenger"],
                    "decideBy": arguments["decideBy"],
                    "reason": arguments["reason"],
                },
            )
        case "DisputeUpheld" | "DisputeDismissed":
            kind, data = (
                "dispute-decided",
                {"round": arguments["round"], "upheld": event.name == "DisputeUpheld"},
            )
        case _:
            return
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
