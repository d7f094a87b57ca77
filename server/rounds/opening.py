# SPDX-License-Identifier: Apache-2.0
"""The opening of a round: on its way to the chain until the chain has it, or refuses it."""

from __future__ import annotations

from sqlalchemy import update

from folkmoot.rpc.abi import encode_call
from folkmoot.rpc.client import Phase
from server.chain import outbox
from server.db import events
from server.db.models import Artifact, Round, Transaction
from server.db.steps import Step
from server.rounds import queries
from server.rounds.phase import StepHandler, refused
from server.waiting import DONE, Progress, Waiting, Why, wait


class Opening(StepHandler):
    """Follows the transaction that opens a round."""

    _refused: Waiting | None = None
    """Why the chain refused the last opening, until one succeeds."""

    def open(self, round_: Round) -> Progress:
        """Take the step `opening`."""
        transaction = self._transaction(f"open:{round_.number}")
        if transaction is None:
            return wait(Why.NO_TRANSACTION, round_.number, step=round_.step)
        if pending := self._under_way(transaction):
            return self._refused or pending
        view = self._ledger.round(round_.number)
        header_hash = "0x" + view.header_hash.hex()
        if header_hash != round_.header_hash:
            if transaction.state == "failed":
                return self._follow_refusal(round_, transaction)
            return self._confirmations(round_)  # the endpoint answers from before the block that opened it
        self._refused = None
        with self._database.write("round-opened") as session:
            stored = session.get_one(Round, round_.number)
            stored.step = Step.COLLECTING
            stored.opened_at, stored.commit_deadline = view.opened_at, view.commit_deadline
            stored.anchor_deadline, stored.policy_id = view.anchor_deadline, view.policy
            # There are some if the chain has lost an earlier opening.
            files = (Artifact.kind == "update") & (Artifact.round == round_.number)
            session.execute(update(Artifact).where(files).values(public_from=view.commit_deadline))
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
                **outbox.described(transaction),
            }
            events.append(session, "round-opened", data, key=f"round-opened:{round_.number}")
        return DONE

    def _follow_refusal(self, round_: Round, transaction: Transaction) -> Progress:
        """Try again when the round before has ended, if that is why; else give the round up."""
        refusal = (transaction.error or {}).get("details", {}).get("error")
        if refusal != "RoundLedgerRoundStillOpen":
            return self._fail(round_, transaction, refusal)
        before = round_.number - 1
        if self._ledger.round(before).phase is Phase.OPEN:  # this one may have updates: nobody can sign twice
            return wait(Why.NOT_ANCHORED, before)
        roots = bytes.fromhex(round_.base_state_root[2:]), bytes.fromhex(round_.header_hash[2:])
        with self._database.write("round-planned") as session:
            self._send(session, f"open:{round_.number}", round_.number, "openRound", round_.number, *roots)
        return DONE

    def _fail(self, round_: Round, transaction: Transaction, refusal: str | None) -> Progress:
        error = transaction.error or {}
        passing = refusal in (
            "RoundLedgerTooEarly",
            "RoundLedgerTooManyPending",
            "RoundLedgerWrongBase",
            "StakeVaultInsufficientStake",
            "StakeVaultDrawTooEarly",
            "StakeVaultDrawTooOld",
        )
        if refusal == "StakeVaultDrawTooEarly" and self._chain.local:
            self._chain.move_clock(self._chain.now() + 1)  # Anvil makes no block by itself
        with self._database.write("opening-failed") as session:
            queries.remove_round(session, session.get_one(Round, round_.number))
            if refusal == "StakeVaultDrawTooOld":
                # The purpose has the opening's hash: another one is sent if this one is too old again, weeks later.
                purpose = f"redraw:{transaction.hash or transaction.id}"
                data = encode_call("vault", "redraw")
                outbox.enqueue(session, purpose, round_.number, self._chain.vault.address, data)
            run = queries.running_run(session)
            if run is not None and not passing:
                message = (
                    f"Round {round_.number} can't be opened. {error.get('message')} {error.get('remedy')}"
                )
                queries.fail_run(session, run, message)
        if not passing:
            return DONE
        self._refused = refused(Why.OPENING_REFUSED, transaction)
        return self._refused
