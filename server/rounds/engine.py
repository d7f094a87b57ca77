# SPDX-License-Identifier: Apache-2.0
"""The state machine of rounds.

    opening -> collecting -> delivery -> computing -> anchoring -> anchored -> finalizing -> settling ->
    settled

    collecting, computing or anchoring -> cancelling -> cancelled (too few, or too late)
    anchored -> slashed

`tick` looks at every unfinished round and takes the steps that can be taken now. A step is one database
transaction that writes the new step together with the transaction (outbox) that it causes; so a process that
is killed anywhere finds either the old step or the new one with everything that belongs to it. Nothing is
remembered in the process but what can be computed again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from eth_utils.crypto import keccak
from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.chain.amounts import format_amount
from folkmoot.chain.rpc import Phase, RoundView
from folkmoot.errors import FolkmootError
from folkmoot.policy import Policy
from server.chain import outbox
from server.chain.calls import encode_call
from server.chain.indexer import by_name
from server.coordinator import Coordinator
from server.db import events
from server.db.models import Entry, Round, Run, Transaction, Update
from server.rounds import services
from server.rounds.base import make_header, read_base
from server.rounds.kept import anchor_of, commitment_json, commitment_of
from server.rounds.outcome import Outcome, compute, record
from server.rounds.steps import Step

logger = logging.getLogger(__name__)

BATCH_COMMITMENTS = 100
"""Most commitments in one transaction: well below the gas that one may take (EIP-7825)."""
SPENT_ATTEMPTS = 3
"""Times that a transaction is sent anew after it reverted on the chain."""
HASTENED_DELIVERY_SECONDS = 15.0
"""Seconds on the wall that files may still take to arrive when the operator is in a hurry."""

_DROPPED_BY = {
    "RoundLedgerStakeTooLow": ("account", "stake-too-low"),
    "RoundLedgerInvalidSignature": ("contributor", "invalid-signature"),
    "RoundLedgerNormTooLarge": ("contributor", "norm-too-large"),
}
"""Custom errors that name the one commitment which spoils a batch: the argument, and the reason code."""
_ENDED_BY = {
    "RoundLedgerTooLate": "round-closed",
    "RoundLedgerWrongPhase": "round-closed",
    "RoundLedgerRoundFull": "round-full",
}
"""Custom errors after which no commitment of the batch can be recorded any more."""


class Engine:
    """Leads the rounds of one coordinator.

    Args:
        coordinator: Its parts.
        wake: Called when a computation in another thread is done, so that nobody has to wait for the next
        look.
    """

    def __init__(self, coordinator: Coordinator, wake: Callable[[], None] = lambda: None) -> None:
        self._coordinator = coordinator
        self._database = coordinator.database
        self._ledger = coordinator.ledger
        self._wake = wake
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._computations: dict[int, Future[Outcome]] = {}
        self._one_by_one: set[int] = set()
        self._delivery_since: dict[int, float] = {}
        self._policies: dict[int, Policy] = {}

    def close(self) -> None:
        """Wait for a computation that is under way; its result is not used."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def tick(self) -> bool:
        """Take every step that can be taken now.

        Returns:
            Whether something changed, so that looking again at once makes sense.

        Raises:
            ChainError: The chain gave no answer; call again later.
        """
        with self._database.read() as session:
            numbers = services.unfinished(session)
        changed = False
        for number in numbers:
            changed |= self._advance(number)
        return self._advance_run() or changed

    def policy(self, policy_id: int) -> Policy:
        """A policy; they never change."""
        if policy_id not in self._policies:
            self._policies[policy_id] = self._ledger.policy(policy_id)
        return self._policies[policy_id]

    # One round.

    def _advance(self, number: int) -> bool:
        with self._database.read() as session:
            round_ = session.get_one(Round, number)
            session.expunge(round_)
        step = Step(round_.step)
        if step is Step.OPENING:
            return self._open(round_)
        view = self._ledger.round(number)
        if view.phase is Phase.SLASHED:
            return self._end(round_, Step.SLASHED)
        if view.phase is Phase.CANCELLED:
            return self._end(round_, Step.CANCELLED)
        match step:
            case Step.COLLECTING:
                return self._collect(round_, view)
            case Step.DELIVERY:
                return self._await_delivery(round_)
            case Step.COMPUTING:
                return self._compute(round_)
            case Step.ANCHORING:
                return self._anchor(round_, view)
            case Step.ANCHORED:
                return self._await_challenges(round_, view)
            case Step.FINALIZING:
                return self._finalize(round_, view)
            case Step.SETTLING:
                return self._settle(round_, view)
            case Step.CANCELLING:
                return self._cancel(round_)
            case _:
                return False

    def _open(self, round_: Round) -> bool:
        transaction = self._transaction(f"open:{round_.number}")
        if transaction is None or transaction.state not in ("confirmed", "failed"):
            return False
        view = self._ledger.round(round_.number)
        header_hash = "0x" + view.header_hash.hex()
        if header_hash != round_.header_hash and transaction.state == "failed":
            return self._fail_to_open(round_, transaction)
        with self._database.write() as session:
            stored = session.get_one(Round, round_.number)
            stored.step = Step.COLLECTING
            stored.opened_at, stored.commit_deadline = view.opened_at, view.commit_deadline
            stored.anchor_deadline, stored.policy_id = view.anchor_deadline, view.policy
            if view.policy != round_.policy_id:
                # A vote added a policy between our look and the opening: the header names the wrong one.
                stored.error = (
                    "A new policy came into force while the round was opened; it will be cancelled."
                )
            data = {
                "round": round_.number,
                "policy": view.policy,
                "base": view.base,
                "headerHash": header_hash,
                "commitDeadline": view.commit_deadline,
                "anchorDeadline": view.anchor_deadline,
                "transaction": transaction.hash,
                "gas": transaction.gas_used,
            }
            events.append(session, "round-opened", data, key=f"round-opened:{round_.number}")
        return True

    def _fail_to_open(self, round_: Round, transaction: Transaction) -> bool:
        error = transaction.error or {}
        passing = error.get("details", {}).get("error") in (
            "RoundLedgerTooManyPending",
            "RoundLedgerWrongBase",
        )
        with self._database.write() as session:
            session.delete(session.get_one(Round, round_.number))
            run = services.running_run(session)
            if run is not None and not passing:
                message = (
                    f"Round {round_.number} can't be opened. {error.get('message')} {error.get('remedy')}"
                )
                self._fail_run(session, run, message)
        return not passing

    # The commit window.

    def _collect(self, round_: Round, view: RoundView) -> bool:
        if round_.commit_deadline is None:
            raise AssertionError(f"round {round_.number} collects without a deadline")
        now = self._coordinator.now()
        batches = self._batches(round_.number)
        if any(batch.state == "failed" for batch in batches):
            self._repair(round_, [batch for batch in batches if batch.state == "failed"])
            return True
        changed = self._tell_committed(round_, batches)
        under_way = any(batch.state != "confirmed" for batch in batches)
        with self._database.read() as session:
            pending = [update for update in services.accepted(session, round_.number) if update.batch is None]
            on_chain = {commitment.contributor for commitment, _ in services.recorded(session, round_)}
            everyone = len(services.answered(session, round_, forgeable=False)) >= max(1, round_.expect)
            hastened = len(services.answered(session, round_, forgeable=True)) >= max(1, round_.expect)
            session.expunge_all()
        margin = min(self._coordinator.settings.commit_margin, (round_.commit_deadline - view.opened_at) // 3)
        if now < round_.commit_deadline:
            due = everyone or now >= round_.commit_deadline - margin or (hastened and self._hastening)
            if pending and due and not under_way and not round_.error:
                self._send_batch(round_, pending, on_chain)
                return True
            if self._hastening and hastened and not pending and not under_way:
                self._coordinator.node.move_clock(round_.commit_deadline)
                return True
            return changed
        if under_way or not self._sealed(round_.commit_deadline):
            return changed
        return self._close(round_, view, pending) or changed

    @property
    def _hastening(self) -> bool:
        return self._coordinator.settings.hasten and self._coordinator.local

    def _sealed(self, deadline: int) -> bool:
        """Whether the chain is past a time even without its newest blocks, which a reorg may take."""
        if self._coordinator.local:
            return True
        node = self._coordinator.node
        block = node.block(max(0, node.latest().number - self._coordinator.confirmations + 1))
        return block is not None and block.timestamp >= deadline

    def _batches(self, number: int) -> list[Transaction]:
        with self._database.read() as session:
            query = select(Transaction).where(Transaction.purpose.startswith(f"commit:{number}:"))
            found = list(session.scalars(query.order_by(Transaction.id)))
            session.expunge_all()
        return [batch for batch in found if not (batch.error or {}).get("handled")]

    def _send_batch(self, round_: Round, pending: Sequence[Update], on_chain: set[str]) -> None:
        """Put commitments into a transaction. Those that their contributors recorded themselves need none."""
        size = 1 if round_.number in self._one_by_one else BATCH_COMMITMENTS
        chosen = [update for update in pending if update.contributor not in on_chain][:size]
        with self._database.write() as session:
            for update in pending:
                if update.contributor in on_chain:
                    session.get_one(Update, update.id).batch = "own"
            if not chosen:
                return
            digest = keccak(b"".join(bytes.fromhex(update.commitment_hash[2:]) for update in chosen)).hex()
            purpose = f"commit:{round_.number}:{digest}"
            commitments = [commitment_of(update.commitment).abi_tuple() for update in chosen]
            signatures = [bytes.fromhex(update.signature[2:]) for update in chosen]
            data = encode_call("ledger", "commitUpdates", round_.number, commitments, signatures)
            outbox.enqueue(session, purpose, round_.number, self._coordinator.deployment.ledger, data)
            for update in chosen:
                session.get_one(Update, update.id).batch = purpose

    def _repair(self, round_: Round, failed: Sequence[Transaction]) -> None:
        """Take the commitment that spoilt a batch out of it, and let the others go again."""
        with self._database.write() as session:
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
                elif name in _ENDED_BY:
                    culprits, reason = updates, _ENDED_BY[name]
                elif len(updates) > 1:
                    self._one_by_one.add(round_.number)
                    continue
                else:
                    culprits, reason = updates, "refused-by-chain"
                for update in culprits:
                    _drop(session, update, reason, str(error.get("message", "")))
                logger.warning("batch %s failed: %s", batch.purpose, error.get("message"))

    def _tell_committed(self, round_: Round, batches: Sequence[Transaction]) -> bool:
        untold = [batch for batch in batches if batch.state == "confirmed"]
        if not untold:
            return False
        with self._database.write() as session:
            before = events.newest(session)
            for batch in untold:
                query = select(Update.contributor).where(Update.batch == batch.purpose).order_by(Update.id)
                data = {
                    "round": round_.number,
                    "contributors": list(session.scalars(query)),
                    "transaction": batch.hash,
                    "gas": batch.gas_used,
                }
                events.append(session, "updates-committed", data, key=f"committed:{batch.purpose}")
            return events.newest(session) > before

    def _close(self, round_: Round, view: RoundView, pending: Sequence[Update]) -> bool:
        """The window is over: fix the entries."""
        with self._database.write() as session:
            found = services.recorded(session, round_)
            commitments = [commitment for commitment, _ in found]
            if len(found) != view.entries or services.folded(commitments) != view.entries_hash:
                return False  # the events are not all read yet
            for update in pending:
                stored = session.get_one(Update, update.id)
                _drop(session, stored, "round-closed", "The window closed before it was on the chain.")
            updates = {update.contributor: update for update in services.accepted(session, round_.number)}
            for position, (commitment, event) in enumerate(found):
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
                        commitment=commitment_json(commitment),
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
            policy = self.policy(view.policy)
            if view.entries < policy.min_contributors or round_.error:
                stored_round.step = Step.CANCELLING
                if not round_.error:
                    needed = policy.min_contributors
                    stored_round.error = (
                        f"{view.entries} of at least {needed} contributors committed an update."
                    )
            else:
                stored_round.step = Step.DELIVERY
        return True

    # The anchor window.

    def _await_delivery(self, round_: Round) -> bool:
        if round_.commit_deadline is None or round_.anchor_deadline is None:
            raise AssertionError(f"round {round_.number} has no deadlines")
        with self._database.read() as session:
            query = select(Entry.position).where(Entry.round == round_.number, Entry.sha256.is_(None))
            missing = session.scalars(query).first() is not None
        since = self._delivery_since.setdefault(round_.number, time.monotonic())
        window = round_.anchor_deadline - round_.commit_deadline
        until = round_.commit_deadline + int(window * self._coordinator.settings.delivery_share)
        hurried = self._hastening and time.monotonic() - since >= HASTENED_DELIVERY_SECONDS
        if missing and not hurried and self._coordinator.now() < until:
            return False
        return self._step(round_, Step.COMPUTING)

    def _compute(self, round_: Round) -> bool:
        if round_.anchor_deadline is not None and self._coordinator.now() >= round_.anchor_deadline:
            return self._step(round_, Step.CANCELLING, error="The anchor window is over.")
        running = self._computations.get(round_.number)
        if running is None:
            policy = self.policy(round_.policy_id)
            future = self._pool.submit(compute, self._coordinator, round_.number, policy)
            future.add_done_callback(lambda _: self._wake())
            self._computations[round_.number] = future
            return False
        if not running.done():
            return False
        del self._computations[round_.number]
        try:
            outcome = running.result()
        except FolkmootError as exc:
            # Nothing delivered, or a base state that is gone: it may be put right until the anchor is late.
            return self._note(round_, str(exc))
        with self._database.write() as session:
            stored = session.get_one(Round, round_.number)
            record(session, stored, outcome)
            data = encode_call("ledger", "anchor", round_.number, outcome.anchor.abi_tuple())
            purpose = f"anchor:{round_.number}"
            outbox.enqueue(session, purpose, round_.number, self._coordinator.deployment.ledger, data)
            stored.step = Step.ANCHORING
            told = {"round": round_.number, "verdicts": outcome.verdicts}
            events.append(
                session, "round-computed", told, key=f"round-computed:{round_.number}:{stored.recomputed}"
            )
        return True

    def _anchor(self, round_: Round, view: RoundView) -> bool:
        transaction = self._transaction(f"anchor:{round_.number}")
        if view.phase in (Phase.ANCHORED, Phase.FINAL):
            if transaction is not None and transaction.state not in ("confirmed", "failed"):
                return False
            return self._anchored(round_, view, transaction)
        if transaction is None or transaction.state != "failed":
            return False
        reason = (transaction.error or {}).get("message", "")
        if round_.anchor_deadline is not None and self._coordinator.now() >= round_.anchor_deadline:
            return self._step(round_, Step.CANCELLING, error=f"The anchor came too late. {reason}")
        spent = transaction.gas_used is not None
        if spent and round_.recomputed + 1 >= SPENT_ATTEMPTS:
            return self._note(round_, reason)
        with self._database.write() as session:
            stored = session.get_one(Round, round_.number)
            stored.error = reason
            stored.recomputed += spent
            stored.step = Step.COLLECTING if spent else Step.ANCHORING
            if not spent:
                # Nothing was lost: what forbids the anchor (a bond, say) may be put right before the
                # deadline.
                ledger = self._coordinator.deployment.ledger
                outbox.enqueue(session, transaction.purpose, round_.number, ledger, transaction.data)
        return False

    def _anchored(self, round_: Round, view: RoundView, transaction: Transaction | None) -> bool:
        with self._database.write() as session:
            stored = session.get_one(Round, round_.number)
            stored.step = Step.ANCHORED
            stored.challenge_deadline = view.challenge_deadline
            stored.error = None
            run = services.running_run(session)
            if run is not None and run.id == stored.run_id:
                run.completed += 1
                run.cancelled = 0
            data = {
                "round": round_.number,
                "stateRoot": "0x" + view.state_root.hex(),
                "challengeDeadline": view.challenge_deadline,
                "transaction": transaction.hash if transaction else None,
                "gas": transaction.gas_used if transaction else None,
            }
            events.append(session, "round-anchored", data, key=f"round-anchored:{round_.number}")
        return True

    # The challenge window, and after.

    def _await_challenges(self, round_: Round, view: RoundView) -> bool:
        if view.phase is Phase.FINAL:
            return self._step(round_, Step.FINALIZING)
        deadline = view.challenge_deadline
        if self._coordinator.now() < deadline:
            if self._hastening:
                with self._database.read() as session:
                    free = services.open_round(session) is None
                if free:
                    self._coordinator.node.move_clock(deadline)
                    return True
            return False
        if self._ledger.round(view.base).phase is not Phase.FINAL:
            return False
        with self._database.write() as session:
            session.get_one(Round, round_.number).step = Step.FINALIZING
            self._enqueue(session, round_.number, "finalize", round_.number)
        return True

    def _finalize(self, round_: Round, view: RoundView) -> bool:
        transaction = self._transaction(f"finalize:{round_.number}")
        if transaction is not None and transaction.state not in ("confirmed", "failed"):
            return False
        if view.phase is not Phase.FINAL:
            self._step(round_, Step.ANCHORED)
            return False  # it was refused: again at the next look, not at once
        anchor = round_.anchor
        if anchor is None:
            raise AssertionError(f"round {round_.number} is final but was never computed here")
        with self._database.write() as session:
            data = {
                "round": round_.number,
                "stateRoot": "0x" + view.state_root.hex(),
                "transaction": transaction.hash if transaction else None,
                "gas": transaction.gas_used if transaction else None,
            }
            events.append(session, "round-finalized", data, key=f"round-finalized:{round_.number}")
            query = select(Entry).where(Entry.round == round_.number).order_by(Entry.position)
            entries = [(e.contributor, bytes.fromhex(e.commitment_hash[2:])) for e in session.scalars(query)]
            session.get_one(Round, round_.number).step = Step.SETTLING
            self._enqueue(
                session, round_.number, "settle", round_.number, entries, anchor_of(anchor).abi_tuple()
            )
        return True

    def _settle(self, round_: Round, view: RoundView) -> bool:
        transaction = self._transaction(f"settle:{round_.number}")
        if transaction is not None and transaction.state not in ("confirmed", "failed"):
            return False
        if not view.settled:
            if transaction is not None and transaction.state == "failed":
                if transaction.gas_used is None:  # nothing was lost by trying
                    with self._database.write() as session:
                        outbox.enqueue(
                            session, transaction.purpose, round_.number, transaction.to, transaction.data
                        )
                self._note(round_, (transaction.error or {}).get("message", ""))
            return False
        with self._database.write() as session:
            credited = by_name(session, "RewardCredited", str(round_.number))
            amounts = {event.arguments["contributor"]: str(event.arguments["amount"]) for event in credited}
            session.get_one(Round, round_.number).step = Step.SETTLED
            data = {
                "round": round_.number,
                "amounts": amounts,
                "transaction": transaction.hash if transaction else None,
                "gas": transaction.gas_used if transaction else None,
            }
            events.append(session, "rewards-settled", data, key=f"rewards-settled:{round_.number}")
        return True

    def _cancel(self, round_: Round) -> bool:
        transaction = self._transaction(f"cancel:{round_.number}")
        if transaction is not None and transaction.state not in ("confirmed", "failed"):
            return False
        late = round_.anchor_deadline is not None and self._coordinator.now() >= round_.anchor_deadline
        few = round_.entries < self.policy(round_.policy_id).min_contributors
        if not late and not few:
            return False  # only an anchor that is late may be cancelled, and the window still runs
        with self._database.write() as session:
            self._enqueue(session, round_.number, "cancel", round_.number)
        return transaction is None

    def _end(self, round_: Round, step: Step) -> bool:
        """The chain has ended the round, by our transaction or by somebody else's."""
        transaction = self._transaction(f"cancel:{round_.number}")
        if transaction is not None and transaction.state not in ("confirmed", "failed"):
            return False
        with self._database.write() as session:
            stored = session.get_one(Round, round_.number)
            stored.step = step
            if step is Step.CANCELLED:
                data = {
                    "round": round_.number,
                    "reason": stored.error or "The round was cancelled by somebody else.",
                    "transaction": transaction.hash if transaction else None,
                    "gas": transaction.gas_used if transaction else None,
                }
                events.append(session, "round-cancelled", data, key=f"round-cancelled:{round_.number}")
            run = services.running_run(session)
            if run is None or run.id != stored.run_id:
                return True
            run.cancelled += 1
            if step is Step.SLASHED:
                self._fail_run(
                    session, run, f"Round {round_.number} was slashed: its anchor was proven wrong."
                )
            elif run.cancelled >= self._coordinator.settings.cancelled_limit:
                why = stored.error or ""
                self._fail_run(session, run, f"{run.cancelled} rounds in a row were cancelled. {why}".strip())
        return True

    # Runs.

    def _advance_run(self) -> bool:
        with self._database.read() as session:
            run = services.running_run(session)
            if run is None or services.open_round(session) is not None:
                return False
            waiting = self._hastening and bool(services.unfinished(session))
            session.expunge(run)
        if waiting:
            return False  # moving the clock for the old round would close the new one
        if run.completed >= run.rounds:
            with self._database.write() as session:
                session.get_one(Run, run.id).state = "done"
                data = {"run": run.id, "rounds": run.rounds}
                events.append(session, "run-done", data, key=f"run-done:{run.id}")
            return True
        try:
            return self._plan(run)
        except FolkmootError as exc:
            if exc.code in ("rpc-unreachable", "rpc-error"):
                raise
            with self._database.write() as session:
                self._fail_run(session, session.get_one(Run, run.id), str(exc))
            return True

    def _plan(self, run: Run) -> bool:
        """Write down the next round, with the transaction that opens it."""
        coordinator = self._coordinator
        number, head, policy_id = (
            self._ledger.next_round(),
            self._ledger.head(),
            self._ledger.current_policy(),
        )
        check_entitled(coordinator, self.policy(policy_id))
        base = read_base(coordinator, head.round, head.state_root)
        header = make_header(coordinator, number, base, policy_id)
        with self._database.write() as session:
            session.add(
                Round(
                    number=number,
                    run_id=run.id,
                    step=Step.OPENING,
                    policy_id=policy_id,
                    base=base.round,
                    base_state_root="0x" + base.state_root.hex(),
                    base_momentum_root="0x" + base.momentum_root.hex(),
                    base_state_sha256=base.state_sha256,
                    header=header.encoded,
                    header_hash="0x" + header.hash.hex(),
                    exponents=list(header.exponents),
                    expect=run.expect,
                    entries=0,
                    recomputed=0,
                )
            )
            data = encode_call("ledger", "openRound", number, base.state_root, header.hash)
            outbox.enqueue(session, f"open:{number}", number, coordinator.deployment.ledger, data)
        return True

    def _fail_run(self, session: Session, run: Run, error: str) -> None:
        run.state, run.error = "failed", error
        events.append(session, "run-failed", {"run": run.id, "error": error}, key=f"run-failed:{run.id}")

    # Small things.

    def _transaction(self, purpose: str) -> Transaction | None:
        with self._database.read() as session:
            found = outbox.find(session, purpose)
            session.expunge_all()
            return found

    def _enqueue(self, session: Session, number: int, function: str, *arguments: Any) -> bool:
        data = encode_call("ledger", function, *arguments)
        ledger = self._coordinator.deployment.ledger
        return outbox.enqueue(session, f"{function}:{number}", number, ledger, data)

    def _step(self, round_: Round, step: Step, *, error: str | None = None) -> bool:
        with self._database.write() as session:
            stored = session.get_one(Round, round_.number)
            stored.step = step
            if error:
                stored.error = error
        return True

    def _note(self, round_: Round, error: str) -> bool:
        if round_.error != error:
            with self._database.write() as session:
                session.get_one(Round, round_.number).error = error
            logger.error("round %d: %s", round_.number, error)
        return False


def check_entitled(coordinator: Coordinator, policy: Policy) -> None:
    """Make sure that this account may open and anchor rounds.

    Raises:
        FolkmootError: Another account is the coordinator (`not-coordinator`), or the stake is below the bond
            (`bond-too-low`).
    """
    address, appointed = coordinator.account.address, coordinator.ledger.coordinator()
    if appointed != address:
        raise FolkmootError(
            f"The ledger's coordinator is {appointed}, and this one is {address}.",
            remedy="Use the keystore of the appointed account, or appoint this one by a vote.",
            code="not-coordinator",
        )
    stake = coordinator.vault.stake_of(address)
    if stake < policy.bond:
        raise FolkmootError(
            f"The coordinator's bond is {format_amount(policy.bond)}; {address} has {format_amount(stake)} at stake.",
            remedy=f"Stake {format_amount(policy.bond - stake)} more with `folkmoot stake`.",
            code="bond-too-low",
            details={"stake": str(stake), "bond": str(policy.bond)},
        )


def _drop(session: Session, update: Update, reason: str, detail: str) -> None:
    update.dropped = reason
    services.refuse(session, update.round, update.contributor, reason, detail, authenticated=True)
