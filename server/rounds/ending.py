# SPDX-License-Identifier: Apache-2.0
"""The end of a round without an outcome: cancelled, or slashed."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from folkmoot.rpc.client import Phase, RoundView
from folkmoot.runtime.logs import fields
from server.chain import outbox
from server.chain.view import ChainView
from server.db import events
from server.db.engine import Database
from server.db.models import Round
from server.db.steps import Step
from server.rounds import queries, reported
from server.rounds.patience import note_cancelled
from server.rounds.phase import StepHandler, refused
from server.waiting import DONE, Progress, Why, wait

logger = logging.getLogger(__name__)

_ANCHORED = (Step.ANCHORED, Step.FINALIZING)
"""Steps of a round that is anchored and not final: its bond is held until it is released."""


class Ending(StepHandler):
    """Cancels rounds, and takes note of those that the chain has ended.

    Args:
        database: Where rounds and runs are.
        address: This coordinator's account.
    """

    def __init__(self, database: Database, chain: ChainView, address: str) -> None:
        super().__init__(database, chain)
        self._address = address

    def cancel(self, round_: Round, view: RoundView) -> Progress:
        """Take the step `cancelling`."""
        if view.phase in (Phase.ANCHORED, Phase.FINAL):
            return self._note(
                round_,
                f"{view.coordinator} anchored it after all, and its files are not here: restore into another --home, "
                "with this one's artifacts and a mirror that has them.",
            )
        transaction = self._transaction(f"cancel:{round_.number}")
        if pending := self._under_way(transaction):
            return pending
        now = self._chain.now()
        late = now >= view.anchor_deadline
        few = (
            now >= view.commit_deadline
            and view.entries < self._chain.policy(round_.policy_id).min_contributors
        )
        ours = view.coordinator == self._address
        if not late and not few and not (ours and view.phase is Phase.OPEN and view.entries == 0):
            # Only one's own empty round, or a late anchor, may go while the window runs.
            until = view.commit_deadline if now < view.commit_deadline else view.anchor_deadline
            return wait(Why.WINDOW_OPEN, round_.number, until)
        function = "cancel" if late or few else "cancelEmpty"
        with self._database.write("cancel-queued") as session:
            self._send(session, f"cancel:{round_.number}", round_.number, function, round_.number)
        if transaction is None:
            return DONE
        if transaction.state == "confirmed":
            return self._confirmations(round_)  # the endpoint answers from an older block
        return refused(Why.CANCEL_REFUSED, transaction)

    def end(self, round_: Round, step: Step) -> Progress:
        """The chain has ended the round, by our transaction or by somebody else's."""
        transaction = self._transaction(f"cancel:{round_.number}")
        if pending := self._under_way(transaction):
            return pending
        with self._database.write("round-ended") as session:
            stored = session.get_one(Round, round_.number)
            stored.step = step
            if step is Step.CANCELLED:
                if round_.step in _ANCHORED:
                    stored.error = "A round that it builds on was proven wrong."
                    self._enqueue(session, round_.number, "releaseVoid", round_.number)
                if stored.error is None and transaction is not None and transaction.state == "confirmed":
                    # Ours, and early: nobody had sent an update, and nobody else was expected.
                    needed = self._chain.policy(round_.policy_id).min_contributors
                    stored.error = reported.too_few(session, round_.number, 0, needed)
                data = {
                    "round": round_.number,
                    "reason": stored.error or "The round was cancelled by somebody else.",
                    **outbox.described(transaction),
                }
                events.append(session, "round-cancelled", data, key=f"round-cancelled:{round_.number}")
            run = queries.running_run(session)
            if run is None or run.id != stored.run_id:
                return DONE
            if step is Step.SLASHED:
                run.cancelled += 1
                queries.fail_run(
                    session, run, f"Round {round_.number} was slashed: its anchor was proven wrong."
                )
            elif reported.lost_by_rollback(session, round_.number):
                logger.warning(
                    "round %d does not count towards the end of its run: the chain lost a round of this number, which "
                    "nodes had signed for",
                    round_.number,
                    extra=fields("cancel-not-counted", round=round_.number),
                )
            else:
                now = datetime.now(UTC)
                note_cancelled(session, run, round_.number, stored.error or "", now)
        return DONE
