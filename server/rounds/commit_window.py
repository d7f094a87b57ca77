# SPDX-License-Identifier: Apache-2.0
"""The commit window: commitments go to the chain in batches, its end may come early, and it fixes the entries."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from eth_utils.crypto import keccak
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from folkmoot.errors import UpdateRefused
from folkmoot.protocol.batch import pack_batch
from folkmoot.protocol.commitment import Commitment, Domain, entries_hash
from folkmoot.protocol.verdict import Reason
from folkmoot.rpc.client import RoundView
from folkmoot.runtime.logs import fields
from server.chain import outbox
from server.chain.view import ChainView
from server.db import events
from server.db.engine import Database
from server.db.models import Artifact, ChainBlock, Entry, Round, Transaction, Update
from server.db.steps import Step
from server.rounds import queries, reported
from server.rounds.phase import StepHandler
from server.waiting import DONE, Progress, Why, wait

logger = logging.getLogger(__name__)

BATCHES_LATE = 20
"""In the last quarter of the window, at most one batch is sent in each of so many parts of the window: nodes record
their commitments by themselves if the coordinator leaves them waiting for longer (docs/protocol.md section 7.1)."""
BATCH_COMMITMENTS = 100
"""Most commitments in one transaction: well below the gas that one may take (EIP-7825)."""

_DROPPED_BY = {
    "RoundLedgerStakeTooLow": ("account", "stake-too-low"),
    "RoundLedgerEnrolledTooLate": ("account", "not-enrolled"),
    "RoundLedgerNoPlace": ("account", "no-place"),
    "RoundLedgerInvalidSignature": ("contributor", "invalid-signature"),
    "RoundLedgerNormTooLarge": ("contributor", "norm-too-large"),
    "RoundLedgerNormTooSmall": ("contributor", "norm-too-small"),
}
"""Custom errors that name the one commitment which spoils a batch: the argument, and the reason code."""
_ENDED_BY = {
    "RoundLedgerTooLate": "round-closed",
    "RoundLedgerWrongPhase": "round-closed",
}
"""Custom errors after which no commitment of the batch can be recorded any more."""


_UNSIGNED = "0x"
"""Signature of updates that were restored from the contributor's own transaction."""
_OUTDONE = "round-full"
"""Reason of updates that stood, and found all places taken on the chain."""


@dataclass(frozen=True)
class Seen:
    """Who is in a round by now, as far as the database knows."""

    on_chain: set[str]
    """Contributors with a commitment on the chain."""
    pending: list[Update]
    """Updates whose commitments are to be sent, in the order of their arrival."""
    outdone: list[Update]
    """Updates whose places others took on the chain."""
    read_to: int
    """Newest block whose events are known."""
    claims: set[str]
    """Contributors whose updates stand and are not on the chain yet."""
    complete: bool
    """Whether the operator expects nobody else."""
    answered: int
    """How many of those who are expected have answered, by signed answers."""
    everyone: bool
    """Whether everybody who is expected has answered, by signed answers."""
    may_skip: bool
    """The same, refusals counted that anybody may have caused: enough to move a local clock."""


@dataclass(frozen=True)
class _Signed:
    """An update with its commitment and signature."""

    update: Update
    commitment: Commitment
    signature: bytes

    def by_key(self, domain: Domain) -> bool:
        """Whether the contributor's key signed. If not, a contract accepted the signature when it came."""
        try:
            self.commitment.check_signature(self.signature, domain)
        except UpdateRefused:
            return False
        return True


class CommitWindow(StepHandler):
    """Takes commitments to the chain.

    Args:
        database: Where rounds and updates are.
        margin: Seconds before the end of the window in which commitments are sent, whoever is still expected.
    """

    def __init__(self, database: Database, chain: ChainView, margin: int) -> None:
        super().__init__(database, chain)
        self._margin = margin
        self._domain = Domain(chain.chain_id, chain.ledger.address)
        self._one_by_one: set[int] = set()

    def forget(self) -> None:
        """Remember nothing of the rounds."""
        self._one_by_one.clear()

    def collect(self, round_: Round, view: RoundView) -> Progress:
        """Take the step `collecting`."""
        if round_.commit_deadline is None:
            raise AssertionError(f"round {round_.number} collects without a deadline")
        if round_.commit_deadline != view.commit_deadline and self._follow_deadline(round_, view):
            return DONE
        now = self._chain.now()
        batches = self._batches(round_.number)
        if any(batch.state == "failed" for batch in batches):
            self._repair(round_, [batch for batch in batches if batch.state == "failed"])
            return DONE
        closing = self._transaction(f"close:{round_.number}")
        under_way = self._under_way(
            next((one for one in (closing, *batches) if outbox.is_pending(one)), None)
        )
        seen = self._look(round_)
        pending, on_chain = seen.pending, seen.on_chain
        most = places_of(self._chain, round_.number, view.policy)
        places = most - view.entries
        confirmed = [batch for batch in batches if batch.state == "confirmed"]
        read = [batch for batch in confirmed if (batch.block_number or 0) <= seen.read_to]
        if self._drop_passed_over(round_, read, on_chain, places):
            return DONE
        shown = self._tell_committed(round_, read)
        if len(on_chain) == view.entries:  # else it is not known who has a place
            pending = [*pending, *seen.outdone[: max(0, places - len(seen.claims))]]
        wanted = {update.contributor for update in pending} - on_chain
        margin = min(self._margin, (round_.commit_deadline - view.opened_at) // 3)
        if now < round_.commit_deadline:
            full = len(wanted) >= places  # nobody else can come in, and a place is sure only on the chain
            ending = now >= round_.commit_deadline - margin
            late = self._is_late(view, now, batches)
            due = seen.everyone or full or ending or late or (seen.may_skip and self._chain.time_travel)
            # Who has a place can be said only if all commitments of the chain are known here.
            known = len(wanted) <= places or len(on_chain) == view.entries
            if pending and due and known and not under_way and not round_.error:
                self._send_batch(round_, pending, on_chain, places)
                return DONE
            if seen.may_skip and not pending and not under_way and self._skip_window(round_):
                return DONE
            ended = False
            full = view.entries >= most
            done = seen.everyone and round_.expect > 0 and not pending
            if seen.complete and not view.entries and not seen.claims and not under_way:
                ended = self._end_empty(round_)
            elif (done or full) and not under_way and not round_.error:
                ended = self._end_window(round_.number)
            if ended or shown:
                return DONE
            if round_.error:
                return wait(Why.TO_BE_CANCELLED, round_.number, round_.commit_deadline, problem=round_.error)
            if pending and due and not known:
                return wait(Why.NOT_COMMITTED, round_.number)
            return under_way or wait(
                Why.ENROLLED if done else Why.UPDATES,
                round_.number,
                round_.commit_deadline,
                answered=seen.answered,
                expect=round_.expect,
                entries=view.entries,
            )
        if shown:
            return DONE
        if under_way:
            return under_way
        if not self._sealed(round_.commit_deadline):
            return self._confirmations(round_)
        closed = read == confirmed and self._close(round_, view, pending)
        return DONE if closed else wait(Why.EVENTS, round_.number)

    def _is_late(self, view: RoundView, now: int, batches: Sequence[Transaction]) -> bool:
        """Whether nodes would soon record their commitments by themselves, and no batch was sent just now."""
        if now < view.record_by:
            return False
        newest = max((batch.created_at for batch in batches), default=None)
        window = view.commit_deadline - view.opened_at
        return newest is None or (datetime.now(UTC) - newest).total_seconds() >= window / BATCHES_LATE

    def _look(self, round_: Round) -> Seen:
        """Read who is in a round by now."""
        with self._database.read() as session:
            on_chain = {commitment.contributor for commitment, _ in queries.recorded(session, round_)}
            accepted = queries.accepted(session, round_.number)
            pending = [
                update
                for update in accepted
                # A reorg may take the contributor's own transaction; then ours takes its place.
                if update.batch is None or (update.batch == "own" and update.contributor not in on_chain)
            ]
            # The operator's word shortens waiting; it excludes nobody who answers before the window ends.
            complete = reported.is_complete(session, round_.number)
            enough = max(1, round_.expect)
            answered = len(queries.answered(session, round_, forgeable=False))
            seen = Seen(
                on_chain,
                pending,
                outdone=_outdone(session, round_.number, on_chain),
                read_to=session.scalar(select(func.max(ChainBlock.number))) or 0,
                claims={update.contributor for update in accepted} - on_chain,
                complete=complete,
                answered=answered,
                everyone=complete or answered >= enough,
                may_skip=complete or len(queries.answered(session, round_, forgeable=True)) >= enough,
            )
            session.expunge_all()
        return seen

    def _end_empty(self, round_: Round) -> bool:
        """Give up a round in which nobody is expected any more, and nothing was accepted or committed.

        The chain refuses `cancelEmpty` if somebody commits meanwhile, and the round goes on.
        """
        with self._database.write("empty-queued") as session:
            if queries.contributors(session, round_):
                return False  # one has come since
            return self._send(session, f"cancel:{round_.number}", round_.number, "cancelEmpty", round_.number)

    def _skip_window(self, round_: Round) -> bool:
        """Move the clock to the end of the commit window, if this chain's clock is moved."""
        if not self._chain.time_travel or round_.commit_deadline is None:
            return False
        self._chain.move_clock(round_.commit_deadline)
        return True

    def _end_window(self, number: int) -> bool:
        """End the commit window, if the ledger lets us: everybody who is enrolled and counts has committed."""
        if not self._ledger.can_close(number):
            return False
        with self._database.write("close-queued") as session:
            return self._send(session, f"close:{number}", number, "closeCommits", number)

    def _follow_deadline(self, round_: Round, view: RoundView) -> bool:
        """Take over the deadlines that the chain has now, once no reorg changes them any more."""
        settled = self._chain.settled_round(round_.number)
        if settled.commit_deadline != view.commit_deadline:
            return False
        with self._database.write("window-moved") as session:
            row = session.get_one(Round, round_.number)
            row.commit_deadline, row.anchor_deadline = settled.commit_deadline, settled.anchor_deadline
            files = select(Artifact).where(Artifact.round == round_.number, Artifact.kind == "update")
            for file in session.scalars(files):
                file.public_from = settled.commit_deadline
            closing = outbox.find(session, f"close:{round_.number}")
            data = {
                "round": round_.number,
                "commitDeadline": settled.commit_deadline,
                "anchorDeadline": settled.anchor_deadline,
                **outbox.described(closing),
            }
            key = f"window-closed:{round_.number}:{settled.commit_deadline}"
            events.append(session, "window-closed", data, key=key)
        return True

    def _sealed(self, deadline: int) -> bool:
        """Whether the chain is past a time even without its newest blocks, which a reorg may take."""
        if self._chain.local:
            return True
        block = self._chain.rpc.block_at(self._chain.settled_block())
        return block is not None and block.timestamp >= deadline

    def _batches(self, number: int) -> list[Transaction]:
        with self._database.read() as session:
            query = select(Transaction).where(
                Transaction.round == number, Transaction.purpose.startswith(f"commit:{number}:")
            )
            batches = list(session.scalars(query.order_by(Transaction.id)))
            session.expunge_all()
        return [batch for batch in batches if not (batch.error or {}).get("handled")]

    def _send_batch(self, round_: Round, pending: Sequence[Update], on_chain: set[str], places: int) -> None:
        """Put commitments into transactions, one a bundle, and one for each commitment of a contract.

        Those that their contributors recorded themselves need none.

        Others may have recorded theirs without the coordinator. Then there are more updates than places: who came
        first has them, and the others hear so. If a reorg then takes one of those others, the place is theirs again.
        """
        size = 1 if round_.number in self._one_by_one else BATCH_COMMITMENTS
        missing = [update for update in pending if update.contributor not in on_chain]
        waiting = [update for update in missing if update.signature != _UNSIGNED]
        chosen = waiting[:places][:size]
        with self._database.write("batch-queued") as session:
            for update in missing:
                if update.signature == _UNSIGNED:
                    detail = "Its own transaction recorded it, a reorganisation took it, and no signature is known."
                    _drop(session, session.get_one(Update, update.id), "invalid-signature", detail)
            for update in waiting[places:]:
                detail = "Others had taken all places of the round on the chain by then."
                _drop(session, session.get_one(Update, update.id), _OUTDONE, detail)
            for update in pending:
                if update.contributor in on_chain:
                    session.get_one(Update, update.id).batch = "own"
            if not chosen:
                return
            bundles: dict[bytes, list[_Signed]] = {}
            contracts: list[_Signed] = []
            for update in chosen:
                commitment = Commitment.from_json(update.commitment)
                signed = _Signed(update, commitment, bytes.fromhex(update.signature[2:]))
                if signed.by_key(self._domain):
                    bundles.setdefault(commitment.bundle_hash, []).append(signed)
                else:
                    contracts.append(signed)
            for bundle_hash, group in bundles.items():  # the entries of a batch share it
                batch = pack_batch([one.commitment for one in group], [one.signature for one in group])
                self._send_one(
                    session, round_.number, group, "commitUpdates", round_.number, bundle_hash, batch
                )
            for one in contracts:  # its code runs in the transaction and may do anything to it
                call = one.commitment.abi_tuple(), one.signature
                self._send_one(session, round_.number, [one], "commitUpdateFor", *call)

    def _send_one(
        self, session: Session, number: int, group: Sequence[_Signed], function: str, *arguments: Any
    ) -> None:
        """Put commitments into one transaction."""
        digest = keccak(b"".join(one.commitment.struct_hash for one in group)).hex()
        purpose = f"commit:{number}:{digest}"
        self._send(session, purpose, number, function, *arguments)
        for update in (one.update for one in group):
            stored = session.get_one(Update, update.id)
            stored.batch, stored.dropped = purpose, None

    def _repair(self, round_: Round, failed: Sequence[Transaction]) -> None:
        """Take the commitment that spoilt a batch out of it, and let the others go again."""
        with self._database.write("batch-repaired") as session:
            for batch in failed:
                stored = session.get_one(Transaction, batch.id)
                error = dict(stored.error or {})
                stored.error = error | {"handled": True}
                details = error.get("details", {})
                name, arguments = details.get("error"), details.get("arguments", {})
                query = select(Update).where(Update.batch == batch.purpose).order_by(Update.id)
                updates = list(session.scalars(query))
                for update in updates:
                    update.batch = None
                if name in _DROPPED_BY:
                    argument, reason = _DROPPED_BY[name]
                    culprits = [update for update in updates if update.contributor == arguments.get(argument)]
                elif name == "RoundLedgerAlreadyCommitted":
                    for update in updates:
                        if update.contributor == arguments.get("contributor"):
                            update.batch = (
                                "own"  # whether it is the same one is seen when the entries are fixed
                            )
                    continue
                elif name == "RoundLedgerRoundFull":
                    continue  # the next batch has as many as there are places left
                elif name in _ENDED_BY:
                    culprits, reason = updates, _ENDED_BY[name]
                elif len(updates) > 1:
                    self._one_by_one.add(round_.number)
                    continue
                else:
                    culprits, reason = updates, "refused-by-chain"
                for update in culprits:
                    _drop(session, update, reason, str(error.get("message", "")))
                logger.warning(
                    "batch %s failed: %s",
                    batch.purpose,
                    error.get("message"),
                    extra=fields(
                        "batch-failed", round=round_.number, purpose=batch.purpose, code=error.get("code")
                    ),
                )

    def _drop_passed_over(
        self, round_: Round, confirmed: Sequence[Transaction], on_chain: set[str], places: int
    ) -> bool:
        """Refuse the updates whose commitments the ledger passed over in a batch, for want of a place.

        Who left or took stake out after the update was accepted has none, and a full round has none left.
        """
        purposes = [batch.purpose for batch in confirmed]
        with self._database.read() as session:
            query = (
                select(Update).where(Update.batch.in_(purposes), Update.dropped.is_(None)).order_by(Update.id)
            )
            passed = [update for update in session.scalars(query) if update.contributor not in on_chain]
            session.expunge_all()
        if not passed:
            return False
        policy = self._chain.policy(round_.policy_id)
        why: dict[int, tuple[str, str]] = {}
        for update in passed:
            try:
                self._chain.check_place(round_.number, update.contributor, policy)
            except UpdateRefused as refusal:
                why[update.id] = refusal.code, refusal.message
            else:
                full = "Others had taken all places of the round on the chain by then."
                lost = "It had no place in the round when the chain recorded its batch."
                why[update.id] = (_OUTDONE, full) if places <= 0 else (Reason.NO_PLACE, lost)
        with self._database.write("passed-over") as session:
            for update in passed:
                _drop(session, session.get_one(Update, update.id), *why[update.id])
        return True

    def _tell_committed(self, round_: Round, confirmed: Sequence[Transaction]) -> bool:
        """Tell who was recorded by which transaction; those whom the ledger passed over are dropped before."""
        if not confirmed:
            return False
        with self._database.write("batch-told") as session:
            before = events.newest(session)
            for batch in confirmed:
                query = select(Update.contributor).where(
                    Update.batch == batch.purpose, Update.dropped.is_(None)
                )
                data = {
                    "round": round_.number,
                    "contributors": list(session.scalars(query.order_by(Update.id))),
                    "transaction": batch.hash,
                    "gas": batch.gas_used,
                }
                events.append(session, "updates-committed", data, key=f"committed:{batch.purpose}")
            return events.newest(session) > before

    def _close(self, round_: Round, view: RoundView, pending: Sequence[Update]) -> bool:
        """The window is over: fix the entries."""
        with self._database.write("entries-fixed") as session:
            entries = queries.recorded(session, round_)
            commitments = [commitment for commitment, _ in entries]
            if len(entries) != view.entries or entries_hash(commitments) != view.entries_hash:
                return False  # the events are not all read yet
            on_chain = {commitment.contributor for commitment in commitments}
            for update in pending:
                stored = session.get_one(Update, update.id)
                if update.contributor in on_chain:
                    stored.batch = "own"  # whether it is the same one is seen below
                else:
                    _drop(session, stored, "round-closed", "The window closed before it was on the chain.")
            updates = {update.contributor: update for update in queries.accepted(session, round_.number)}
            for position, (commitment, event) in enumerate(entries):
                delivered = updates.get(commitment.contributor)
                commitment_hash = "0x" + commitment.struct_hash.hex()
                if delivered is not None and delivered.commitment_hash != commitment_hash:
                    _drop(
                        session, delivered, "duplicate", "Another commitment of this account is on the chain."
                    )
                    delivered = None
                session.merge(
                    Entry(
                        round=round_.number,
                        position=position,
                        contributor=commitment.contributor,
                        commitment=commitment.to_json(),
                        commitment_hash=commitment_hash,
                        transaction_hash=event.transaction_hash,
                        sha256=delivered.sha256 if delivered else None,
                    )
                )
                if delivered is None or delivered.batch == "own":
                    data = {
                        "round": round_.number,
                        "contributors": [commitment.contributor],
                        "transaction": event.transaction_hash,
                        "gas": None,
                    }
                    key = f"committed:{round_.number}:{commitment.contributor}"
                    events.append(session, "updates-committed", data, key=key)
            stored_round = session.get_one(Round, round_.number)
            stored_round.entries = view.entries
            stored_round.entries_hash = "0x" + view.entries_hash.hex()
            policy = self._chain.policy(view.policy)
            if view.entries < policy.min_contributors or round_.error:
                stored_round.step = Step.CANCELLING
                if not round_.error:
                    needed = policy.min_contributors
                    stored_round.error = reported.too_few(session, round_.number, view.entries, needed)
            else:
                stored_round.step = Step.DELIVERY
        return True


def places_of(chain: ChainView, number: int, policy_id: int) -> int:
    """Return how many commitments a round takes; in a crowd, the last place is left for the coordinator's own."""
    most = chain.policy(policy_id).max_contributors
    return max(1, most - 1) if chain.ledger.draw(number).quota else most


def _outdone(session: Session, number: int, on_chain: set[str]) -> list[Update]:
    """Updates whose place others took before they were sent, by arrival: a reorg may give it back."""
    outdone = Update.round == number, Update.dropped == _OUTDONE, Update.batch.is_(None)
    query = select(Update).where(*outdone).order_by(Update.id)
    return [update for update in session.scalars(query) if update.contributor not in on_chain]


def _drop(session: Session, update: Update, reason: str, detail: str) -> None:
    update.dropped = reason
    queries.refuse(session, update.round, update.contributor, reason, detail, authenticated=True)
