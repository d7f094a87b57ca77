# SPDX-License-Identifier: Apache-2.0
"""The challenge window, and what follows it: the final word and the rewards."""

from __future__ import annotations

import time

from sqlalchemy import select

from folkmoot.protocol.anchor import Anchor
from folkmoot.rpc.client import Phase, RoundView
from server.chain import outbox
from server.chain.indexer import by_name
from server.chain.view import ChainView
from server.db import events
from server.db.engine import Database
from server.db.models import Entry, Round, Transaction
from server.db.steps import Step
from server.rounds import queries
from server.rounds.answers import open_demands
from server.rounds.phase import StepHandler, refused
from server.waiting import DONE, Progress, Waiting, Why, wait


class ChallengeWindow(StepHandler):
    """Waits for challenges, makes the round final and has its rewards credited.

    Args:
        database: Where rounds and entries are.
        travel_after: Seconds on the wall that watchers have before the clock is moved to the window's end.
    """

    def __init__(self, database: Database, chain: ChainView, travel_after: float) -> None:
        super().__init__(database, chain)
        self._travel_after = travel_after
        self._anchored_since: dict[int, float] = {}
        self._refused: dict[int, Waiting] = {}

    def forget(self) -> None:
        """Remember nothing of the rounds."""
        self._anchored_since.clear()
        self._refused.clear()

    def await_challenges(self, round_: Round, view: RoundView) -> Progress:
        """Take the step `anchored`."""
        if view.phase is Phase.FINAL:
            return self._step("final-seen", round_, Step.FINALIZING)
        deadline = view.challenge_deadline
        if deadline != round_.challenge_deadline:  # a judge postponed it
            with self._database.write("deadline-moved") as session:
                session.get_one(Round, round_.number).challenge_deadline = deadline
            return DONE
        if self._chain.now() < deadline:
            if self._chain.time_travel and self._may_travel(round_.number):
                with self._database.read() as session:
                    free = queries.open_round(session) is None and not open_demands(session)
                if free:
                    self._chain.move_clock(deadline)
                    return DONE
            return wait(Why.CHALLENGES, round_.number, deadline)
        if self._ledger.round(view.base).phase is not Phase.FINAL:
            return wait(Why.BASE_NOT_FINAL, round_.number, base=view.base)
        with self._database.write("finalize-queued") as session:
            session.get_one(Round, round_.number).step = Step.FINALIZING
            self._enqueue(session, round_.number, "finalize", round_.number)
        return DONE

    def _may_travel(self, number: int) -> bool:
        """Whether watchers have had their time."""
        since = self._anchored_since.setdefault(number, time.monotonic())
        return time.monotonic() - since >= self._travel_after

    def finalize(self, round_: Round, view: RoundView) -> Progress:
        """Take the step `finalizing`."""
        transaction = self._transaction(f"finalize:{round_.number}")
        if pending := self._under_way(transaction):
            return self._refused.get(round_.number) or pending
        if view.phase is not Phase.FINAL:
            self._step("finalize-refused", round_, Step.ANCHORED)  # again at the next look, not at once
            if transaction is None or transaction.state != "failed":
                return self._confirmations(round_)
            self._refused[round_.number] = refused(Why.FINAL_REFUSED, transaction)
            return self._refused[round_.number]
        self._refused.pop(round_.number, None)
        anchor = round_.anchor
        if anchor is None:
            raise AssertionError(f"round {round_.number} is final but was never computed here")
        with self._database.write("settle-queued") as session:
            data = {
                "round": round_.number,
                "stateRoot": "0x" + view.state_root.hex(),
                **outbox.described(transaction),
            }
            events.append(session, "round-finalized", data, key=f"round-finalized:{round_.number}")
            query = select(Entry).where(Entry.round == round_.number).order_by(Entry.position)
            entries = [(e.contributor, bytes.fromhex(e.commitment_hash[2:])) for e in session.scalars(query)]
            session.get_one(Round, round_.number).step = Step.SETTLING
            self._enqueue(
                session, round_.number, "settle", round_.number, entries, Anchor.from_json(anchor).abi_tuple()
            )
        return DONE

    def settle(self, round_: Round, view: RoundView) -> Progress:
        """Take the step `settling`."""
        transaction = self._transaction(f"settle:{round_.number}")
        if pending := self._under_way(transaction):
            return wait(Why.STUCK, round_.number, problem=round_.error) if round_.error else pending
        if not self._chain.rewards.is_settled(round_.number):
            return self._settle_again(round_, view, transaction)
        ours = transaction is not None and transaction.state == "confirmed"
        if not ours and not self._chain.settled_rewards(round_.number):
            return self._confirmations(round_)  # a stranger's transaction, which a reorg may take yet
        with self._database.write("round-settled") as session:
            credited = by_name(session, "RewardCredited", str(round_.number))
            amounts = {event.arguments["contributor"]: str(event.arguments["amount"]) for event in credited}
            session.get_one(Round, round_.number).step = Step.SETTLED
            data = {
                "round": round_.number,
                "amounts": amounts,
                **outbox.described(transaction),
            }
            events.append(session, "rewards-settled", data, key=f"rewards-settled:{round_.number}")
        return DONE

    def _settle_again(self, round_: Round, view: RoundView, transaction: Transaction | None) -> Waiting:
        """What was refused is tried again; if a reorg took a stranger's final word, that comes first."""
        if transaction is not None and transaction.state == "confirmed":
            return self._confirmations(round_)  # the endpoint answers from an older block
        if view.phase is not Phase.FINAL:
            self._step("final-lost", round_, Step.ANCHORED)
            return wait(Why.CHALLENGES, round_.number, view.challenge_deadline)
        if transaction is None:
            return wait(Why.NO_TRANSACTION, round_.number, step=round_.step)
        if transaction.gas_used is None:  # nothing was lost by trying
            with self._database.write("settle-again") as session:
                outbox.enqueue(session, transaction.purpose, round_.number, transaction.to, transaction.data)
        self._note(round_, (transaction.error or {}).get("message", ""))
        return refused(Why.REWARDS_REFUSED, transaction)
