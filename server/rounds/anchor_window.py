# SPDX-License-Identifier: Apache-2.0
"""The anchor window: the last files arrive, the outcome is computed and taken to the chain."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from folkmoot.errors import FolkmootError
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import Phase, RoundView
from server.chain import outbox
from server.chain.view import ChainView
from server.db import events
from server.db.engine import Database
from server.db.models import Round, Transaction
from server.db.steps import Step
from server.rounds import patience, queries
from server.rounds.outcome import Outcome, numbers_json, record
from server.rounds.phase import StepHandler, refused
from server.rounds.queries import removable
from server.waiting import DONE, Progress, Why, wait

SPENT_ATTEMPTS = 3
"""Times that a transaction is sent anew after it reverted on the chain."""
DELIVERY_PART = 4
"""Files may arrive in a fourth of the anchor window: the rest is for the computation, the canary and the anchor."""
TIME_TRAVEL_DELIVERY_SECONDS = 15.0
"""Seconds on the wall that files may still take to arrive when the operator is in a hurry."""


class AnchorWindow(StepHandler):
    """Computes the outcome of a round and anchors it.

    Args:
        database: Where rounds and entries are.
        compute: Computes a round by a policy, and puts its files into the store.
        canary: Whether an outcome waits for the canary before it is anchored.
        wake: Called when a computation in another thread is done.
    """

    def __init__(
        self,
        database: Database,
        chain: ChainView,
        compute: Callable[[int, Policy], Outcome],
        *,
        canary: bool,
        wake: Callable[[], None],
    ) -> None:
        super().__init__(database, chain)
        self._compute = compute
        self._canary = canary
        self._wake = wake
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compute")
        self._computations: dict[int, Future[Outcome]] = {}
        self._delivery_since: dict[int, float] = {}

    def close(self) -> None:
        """Wait for a computation that is under way; its result is not used."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def forget(self) -> None:
        """Remember nothing of the rounds; the result of a computation that is under way is not used."""
        self._computations.clear()
        self._delivery_since.clear()

    def await_delivery(self, round_: Round) -> Progress:
        """Take the step `delivery`."""
        if round_.commit_deadline is None or round_.anchor_deadline is None:
            raise AssertionError(f"round {round_.number} has no deadlines")
        with self._database.read() as session:
            missing = len(queries.awaited(session, round_.number))
        since = self._delivery_since.setdefault(round_.number, time.monotonic())
        window = round_.anchor_deadline - round_.commit_deadline
        until = round_.commit_deadline + window // DELIVERY_PART
        hurried = self._chain.time_travel and time.monotonic() - since >= TIME_TRAVEL_DELIVERY_SECONDS
        if missing and not hurried and self._chain.now() < until:
            return wait(Why.DELIVERY, round_.number, until, missing=missing)
        return self._step("delivery-over", round_, Step.COMPUTING)

    def compute(self, round_: Round) -> Progress:
        """Take the step `computing`."""
        if round_.anchor_deadline is not None and self._chain.now() >= round_.anchor_deadline:
            return self._step("round-late", round_, Step.CANCELLING, error="The anchor window is over.")
        running = self._computations.get(round_.number)
        if running is None:
            policy = self._chain.policy(round_.policy_id)
            future = self._pool.submit(self._compute, round_.number, policy)
            future.add_done_callback(lambda _: self._wake())
            self._computations[round_.number] = running = future
        if not running.done():
            if round_.error:  # of the computation before, which may fail again
                return wait(Why.STUCK, round_.number, problem=round_.error)
            return wait(Why.COMPUTING, round_.number)
        del self._computations[round_.number]
        try:
            outcome = running.result()
        except FolkmootError as exc:
            # Nothing delivered, or a base state that is gone: it may be put right until the anchor is late.
            return self._note(round_, str(exc))
        with self._database.write("outcome-recorded") as session:
            stored = session.get_one(Round, round_.number)
            record(session, stored, outcome)
            if self._canary:
                kept = stored.canary or {}
                if kept.get("stateRoot") != "0x" + outcome.anchor.state_root.hex():
                    kept = {"stateRoot": "0x" + outcome.anchor.state_root.hex(), "verdict": "waiting"}
                stored.canary = kept  # computed again with the same outcome, what was said of it stands
                stored.step = Step.PROBING
            else:
                self._send_anchor(session, stored)
            verdicts = [
                {
                    "contributor": verdict.contributor,
                    "weight": verdict.weight,
                    "pay": verdict.pay,
                    "reason": str(verdict.reason),
                    "numbers": numbers_json(verdict),
                }
                for verdict in outcome.verdicts
            ]
            values = {"round": round_.number, "verdicts": verdicts}
            events.append(
                session, "round-computed", values, key=f"round-computed:{round_.number}:{stored.recomputed}"
            )
        return DONE

    def anchor(self, round_: Round, view: RoundView) -> Progress:
        """Take the step `anchoring`."""
        transaction = self._transaction(f"anchor:{round_.number}")
        if pending := self._under_way(transaction):
            if round_.error:  # the chain refused the anchor before, and may again
                return wait(Why.ANCHOR_REFUSED, round_.number, problem=round_.error, remedy="")
            return pending
        if view.phase in (Phase.ANCHORED, Phase.FINAL):
            return self._anchored(round_, view, transaction)
        if transaction is None:
            return wait(Why.NO_TRANSACTION, round_.number, step=round_.step)
        if transaction.state == "confirmed":
            return self._confirmations(round_)  # the endpoint answers from an older block
        reason = (transaction.error or {}).get("message", "")
        if round_.anchor_deadline is not None and self._chain.now() >= round_.anchor_deadline:
            return self._step(
                "round-late", round_, Step.CANCELLING, error=f"The anchor came too late. {reason}"
            )
        spent = transaction.gas_used is not None
        if spent and round_.recomputed + 1 >= SPENT_ATTEMPTS:
            return self._note(round_, reason)
        with self._database.write("anchor-again") as session:
            stored = session.get_one(Round, round_.number)
            stored.error = reason
            stored.recomputed += spent
            stored.step = Step.COLLECTING if spent else Step.ANCHORING
            if not spent:
                # Nothing was lost: what forbids the anchor (a bond, say) may be put right before the
                # deadline.
                outbox.enqueue(session, transaction.purpose, round_.number, transaction.to, transaction.data)
        return refused(Why.ANCHOR_REFUSED, transaction)

    def _anchored(self, round_: Round, view: RoundView, transaction: Transaction | None) -> Progress:
        with self._database.read() as session:
            absent = removable(session, self._ledger, round_.number)
        with self._database.write("round-anchored") as session:
            for account in absent:  # before the next opening, which follows in the order of the nonces
                purpose = f"remove:{round_.number}:{account}"
                self._send(session, purpose, round_.number, "remove", account)
            stored = session.get_one(Round, round_.number)
            stored.step = Step.ANCHORED
            stored.challenge_deadline = view.challenge_deadline
            stored.error = None
            run = queries.running_run(session)
            if run is not None and run.id == stored.run_id:
                run.completed += 1
                patience.reset(run)
            data = {
                "round": round_.number,
                "stateRoot": "0x" + view.state_root.hex(),
                "challengeDeadline": view.challenge_deadline,
                **outbox.described(transaction),
            }
            events.append(session, "round-anchored", data, key=f"round-anchored:{round_.number}")
        return DONE
