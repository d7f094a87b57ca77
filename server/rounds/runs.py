# SPDX-License-Identifier: Apache-2.0
"""Runs: one round after the other, until there are as many as the operator asked for."""

from __future__ import annotations

from datetime import UTC, datetime

from folkmoot.errors import ArtifactError, DatabaseError, FolkmootError, RpcError, StoreError
from folkmoot.protocol.policy import Policy
from folkmoot.runtime.units import format_amount
from server.chain.view import ChainView
from server.db import events
from server.db.models import Round, Run
from server.db.steps import Step
from server.federation import Federation
from server.rounds import queries as services
from server.rounds.base import make_header, read_base
from server.rounds.patience import Patience
from server.rounds.phase import StepHandler
from server.storage import Storage


class Runs(StepHandler):
    """Plans the next round of the run that is under way.

    Args:
        storage: Where runs, rounds and states are.
        chain: The chain.
        federation: The federation.
        patience: When a run waits before its next round.
    """

    def __init__(
        self, storage: Storage, chain: ChainView, federation: Federation, patience: Patience
    ) -> None:
        super().__init__(storage.database, chain)
        self._storage = storage
        self._federation = federation
        self._patience = patience

    def advance(self) -> bool:
        """Open the next round or end the run, if it is time; whether something changed."""
        with self._database.read() as session:
            run = services.running_run(session)
            if run is None or services.open_round(session) is not None:
                return False
            waiting = self._chain.time_travel and bool(services.unfinished(session))
            session.expunge(run)
        if waiting:
            return False  # moving the clock for the old round would close the new one
        if run.completed >= run.rounds:
            with self._database.write("run-done") as session:
                session.get_one(Run, run.id).state = "done"
                data = {"run": run.id, "rounds": run.rounds}
                events.append(session, "run-done", data, key=f"run-done:{run.id}")
            return True
        if self._patience.waits_until(run, datetime.now(UTC)) is not None:
            return False
        try:
            return self._plan(run)
        except (RpcError, StoreError, DatabaseError, ArtifactError):
            raise  # what can't be asked now, or a file that is to be repaired, says nothing about the run
        except FolkmootError as exc:
            with self._database.write("run-failed") as session:
                services.fail_run(session, session.get_one(Run, run.id), str(exc))
            return True

    def _plan(self, run: Run) -> bool:
        """Write down the next round, with the transaction that opens it."""
        number, head, policy_id = (
            self._ledger.next_round(),
            self._ledger.head(),
            self._ledger.current_policy(),
        )
        policy = self._chain.policy(policy_id)
        if check_entitled(self._chain, self._federation.coordinator, policy) < policy.bond:
            return False  # until a round that holds a bond is final
        base = read_base(self._storage, self._federation, head.round, head.state_root)
        header = make_header(self._federation, number, base, policy_id, policy.width)
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
        return True


def check_entitled(chain: ChainView, address: str, policy: Policy) -> int:
    """Make sure that an account may open and anchor rounds, once those that hold its stake are over.

    Returns:
        The stake of the account that no round holds, in units of 1e-18 tokens.

    Raises:
        FolkmootError: Another account is the coordinator (`not-coordinator`), or the stake is below the bond
            (`bond-too-low`).
    """
    appointed = chain.ledger.coordinator()
    if appointed != address:
        raise FolkmootError(
            f"The ledger's coordinator is {appointed}, and this one is {address}.",
            remedy="Use the keystore of the appointed account, or appoint this one by a vote.",
            code="not-coordinator",
        )
    stake = chain.vault.stake_of(address)
    if stake < policy.bond:
        raise FolkmootError(
            f"The coordinator's bond is {format_amount(policy.bond)}; {address} has {format_amount(stake)} at stake.",
            remedy=f"Stake {format_amount(policy.bond - stake)} more with `folkmoot stake`.",
            code="bond-too-low",
            details={"stake": str(stake), "bond": str(policy.bond)},
        )
    return stake - chain.vault.bond_of(address)
