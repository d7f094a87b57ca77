# SPDX-License-Identifier: Apache-2.0
"""Runs: one round after the other, until there are as many as the operator asked for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from folkmoot.artifacts.federation import Federation
from folkmoot.errors import ArtifactError, DatabaseError, FolkmootError, RpcError, StoreError
from folkmoot.ledger.stakes import MAX_PENDING_ROUNDS
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.policy import Policy
from folkmoot.runtime.units import format_amount, format_duration, format_time
from server.chain.view import ChainView
from server.db import events
from server.db.models import Round, Run
from server.db.steps import UNSETTLED, Step
from server.rounds import queries
from server.rounds.inputs import read_base
from server.rounds.patience import pause_wait, waits_until
from server.rounds.phase import StepHandler
from server.storage import Storage
from server.waiting import DONE, STOPS_ALL, Progress, Waiting, Why, wait


class Runs(StepHandler):
    """Plans the next round of the run that is under way.

    Args:
        storage: Where runs, rounds and states are.
    """

    def __init__(self, storage: Storage, chain: ChainView, federation: Federation) -> None:
        super().__init__(storage.database, chain)
        self._storage = storage
        self._federation = federation

    def advance(self) -> Progress:
        """Open the next round or end the run, if it is time."""
        with self._database.read() as session:
            run = queries.running_run(session)
            if run is None:
                return wait(Why.NO_RUN)
            if (open_ := queries.open_round(session)) is not None:
                return wait(Why.NOT_ANCHORED, open_.number)
            if self._chain.time_travel and (unfinished := queries.unfinished(session)):
                # Moving the clock for the old round would close the new one.
                return wait(Why.CLOCK_TO_MOVE, before=unfinished[-1])
            session.expunge(run)
        if run.completed >= run.rounds:
            with self._database.write("run-done") as session:
                session.get_one(Run, run.id).state = "done"
                data = {"run": run.id, "rounds": run.rounds}
                events.append(session, "run-done", data, key=f"run-done:{run.id}")
            return DONE
        if (until := waits_until(run, datetime.now(UTC))) is not None:
            return pause_wait(run, until)
        try:
            return self._plan(run)
        except (RpcError, StoreError, DatabaseError, ArtifactError):
            raise  # what can't be asked now, or a file that is to be repaired, says nothing about the run
        except FolkmootError as exc:
            with self._database.write("run-failed") as session:
                queries.fail_run(session, session.get_one(Run, run.id), str(exc))
            return DONE

    def _plan(self, run: Run) -> Progress:
        """Write down the next round, with the transaction that opens it."""
        number, head, policy_id = (
            self._ledger.next_round(),
            self._ledger.head(),
            self._ledger.current_policy(),
        )
        policy = self._chain.policy(policy_id)
        if (short := self._short_of_stake(policy)) is not None:
            return short
        pending = self._ledger.pending_rounds()
        if pending >= MAX_PENDING_ROUNDS:
            return wait(Why.TOO_MANY_PENDING, pending=pending, most=MAX_PENDING_ROUNDS)
        if (early := self._too_early(policy, head.round)) is not None:
            return early
        base = read_base(self._storage, self._federation, head.round, head.state_root)
        deployment, manifest = self._federation.deployment, self._federation.manifest
        header = RoundHeader.derive(
            deployment.chain_id,
            deployment.ledger,
            manifest.hash,
            number,
            base.state_root,
            policy_id,
            policy.width,
            base.exponents,
        )
        with self._database.write("round-planned") as session:
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
            opening = ("openRound", number, base.state_root, header.hash)
            self._send(session, f"open:{number}", number, *opening)
        return DONE

    def _too_early(self, policy: Policy, base: int) -> Progress | None:
        """Return the wait for the policy's interval since the opening of the next round's base; None if it is over."""
        if policy.interval == 0 or base == 0:
            return None
        opened = self._ledger.round(base).opened_at
        earliest = opened + policy.interval
        if self._chain.now() >= earliest:
            return None
        if self._chain.time_travel:
            self._chain.move_clock(earliest)
            return DONE
        interval = format_duration(policy.interval)
        return wait(Why.INTERVAL, until=earliest, base=base, opened=format_time(opened), interval=interval)

    def _short_of_stake(self, policy: Policy) -> Waiting | None:
        """Return why there is no stake for another bond, and when there will be; None if there is."""
        account = self._federation.coordinator
        check_appointed(self._chain, account)
        stake, locked = self._chain.vault.stake_of(account), self._chain.vault.bond_of(account)
        missing = policy.bond - (stake - locked)
        if missing <= 0:
            return None
        values = {"bond": policy.bond, "stake": stake, "locked": locked, "missing": missing}
        data: dict[str, Any] = {name: format_amount(value) for name, value in values.items()}
        data["amount"] = data["missing"].split()[0]
        if stake < policy.bond:
            return wait(Why.BOND_TOO_LOW, account=account, **data)
        with self._database.read() as session:
            holds = (Round.step.in_(UNSETTLED)) & (Round.step != Step.SETTLING)
            query = select(Round.number, Round.policy_id, Round.challenge_deadline).where(holds)
            held = session.execute(query.order_by(Round.number)).all()
        for number, policy_id, deadline in held:
            missing -= self._chain.policy(policy_id).bond
            if missing <= 0:
                return wait(Why.BOND_LOCKED, until=deadline or 0, held_by=number, **data)
        return wait(Why.BOND_OF_VOID, **data)


def stopping(session: Session, waiting: Sequence[Waiting]) -> list[Waiting]:
    """Return what of all that is waited for keeps the run from going on, the reason to name first."""
    open_ = queries.open_round(session)
    rounds = (None, open_.number if open_ else None)
    waits = [one for one in waiting if one.round in rounds or one.why in STOPS_ALL]
    return [wait_ for wait_ in waits if wait_.why is not Why.NO_RUN]


def check_appointed(chain: ChainView, address: str) -> None:
    """Make sure that an account is the ledger's coordinator."""
    appointed = chain.ledger.coordinator()
    if appointed != address:
        raise FolkmootError(
            f"The ledger's coordinator is {appointed}, and this one is {address}.",
            remedy="Use the keystore of the appointed account, or appoint this one by a vote.",
            code="not-coordinator",
        )


def check_entitled(chain: ChainView, address: str, policy: Policy) -> None:
    """Make sure that an account may open and anchor rounds, once those that hold its stake are over."""
    check_appointed(chain, address)
    stake = chain.vault.stake_of(address)
    if stake < policy.bond:
        raise FolkmootError(
            f"The coordinator's bond is {format_amount(policy.bond)}; {address} has {format_amount(stake)} at stake.",
            remedy=f"Stake {format_amount(policy.bond - stake)} more with `folkmoot enrol --only-stake`.",
            code="bond-too-low",
            details={"stake": str(stake), "bond": str(policy.bond)},
        )
