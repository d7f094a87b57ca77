# SPDX-License-Identifier: Apache-2.0
"""`folkmoot close`: what anybody may do to a round that its coordinator abandoned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import account_address, sending, sent, unlock
from folkmoot.cli.output import emit, note, working
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from web3.types import TxReceipt

    from folkmoot.chain.client import Chain
    from folkmoot.rpc.client import RoundView

RoundNumber = Annotated[int, typer.Argument(metavar="ROUND", min=1, help="Number of the round.")]


def close(
    number: RoundNumber,
    anchor: Annotated[
        bool,
        typer.Option(
            "--anchor",
            help="Anchor the round although the canary withheld it. Needs the coordinator's key; says first why it was "
            "withheld.",
        ),
    ] = False,
) -> None:
    """Do what is due to a round whose coordinator does not: cancel it, make it final, or release its bond.

    Anybody may send it. A round that was not anchored in time is cancelled, so that the next one can open: one with too
    few entries after its commit window, any other after its anchor deadline. Its contributors lose nothing. An anchored
    round becomes final after its challenge window, and its rewards are credited. The bond of a void round (one that was
    anchored on a round that was proven wrong) is unlocked for its coordinator.

    Example: folkmoot close 12

    Example: folkmoot close 7 --anchor --keystore coordinator.json
    """
    from folkmoot.rpc.client import Phase

    if anchor:
        _anchor_withheld(number)
        return
    with sending() as chain:
        sender = account_address(None)
        cancelled = chain.earlier("ledger", sender, f"cancel {number}", once=True)
        phase = None if cancelled else _known(chain, number).phase
        if phase in (Phase.ANCHORED, Phase.FINAL):
            _finalize(chain, sender, number)
        elif phase is Phase.CANCELLED:
            _release(chain, sender, number)
        else:
            _cancel(chain, sender, number, cancelled)


def _cancel(chain: Chain, sender: str, number: int, receipt: TxReceipt | None) -> None:
    """Cancel a round that was not anchored in time, or report the transaction of an interrupted call."""
    if receipt is None:
        _require_cancellable(chain, number)
        account = unlock()
        with working("Cancelling ..."):
            function = chain.ledger.functions.cancel(number)
            receipt = chain.send(function, account, purpose=f"cancel {number}", once=True)
    document = {"round": number, "account": sender, **sent(chain, receipt)}
    emit(document, f"Round {number} is cancelled; the next one can open.")


def _require_cancellable(chain: Chain, number: int) -> None:
    """Check that a round can be cancelled now."""
    from folkmoot.rpc.client import Phase
    from folkmoot.runtime.units import format_time

    view = _known(chain, number)
    if view.phase is not Phase.OPEN:
        raise InputError(
            f"Round {number} is not open: its phase is {view.phase.name.lower()}.",
            remedy="Nothing is left to do.",
            code="round-not-open",
        )
    few = view.entries < chain.ledger.policy(view.policy).min_contributors
    possible = view.commit_deadline if few else view.anchor_deadline
    now = chain.now()
    if now < possible:
        why = (
            f"it has {view.entries} entries, too few, and its commit window still runs"
            if few
            else f"{view.coordinator} may still anchor it"
        )
        raise InputError(
            f"Round {number} can be cancelled from {format_time(possible)} on: {why}.",
            remedy=f"Try again in {possible - now} seconds.",
            code="too-early",
            details={"round": number, "possibleFrom": possible, "chainTime": now},
        )


def _release(chain: Chain, sender: str, number: int) -> None:
    """Unlock the bond of a void round, so that its coordinator can use the stake again."""
    from folkmoot.runtime.units import format_amount

    purpose = f"release the bond of {number}"
    receipt = chain.earlier("ledger", sender, purpose, once=True)
    if receipt is None:
        _require_releasable(chain, number)
        account = unlock()
        with working("Releasing ..."):
            function = chain.ledger.functions.releaseVoid(number)
            receipt = chain.send(function, account, purpose=purpose, once=True)
    from folkmoot.ledger.events import BondUnlocked

    unlocked = chain.event_of(receipt, BondUnlocked)
    document = {
        "round": number,
        "account": sender,
        **sent(chain, receipt),
        "coordinator": unlocked.account,
        "bond": str(unlocked.amount),
    }
    emit(
        document,
        f"The bond of the void round {number} is unlocked: {unlocked.account} has "
        f"{format_amount(unlocked.amount)} more for other rounds.",
    )


def _require_releasable(chain: Chain, number: int) -> None:
    """Check that the bond of a void round is locked."""
    if not chain.ledger.can_release(number):
        raise InputError(
            f"Round {number} is cancelled, and its bond is not locked.",
            remedy="Nothing is left to do.",
            code="bond-released",
        )


def _finalize(chain: Chain, sender: str, number: int) -> None:
    """Finalize a round after its challenge window, and credit its rewards."""
    first, second = f"finalize {number}", f"settle {number}"
    finalized = chain.earlier("ledger", sender, first, wait=False, once=True)
    settled = chain.earlier("rewards", sender, second, wait=False, once=True)
    if settled is None:
        anchored = _require_finalizable(chain, number)
        account = unlock()
        if anchored:
            with working("Making it final ..."):
                function = chain.ledger.functions.finalize(number)
                finalized = chain.send(function, account, purpose=first, wait=False, once=True)
        with working("Settling ..."):
            function = chain.rewards.functions.settle(number, *_settlement(chain, number))
            settled = chain.send(function, account, purpose=second, wait=False, once=True)
    *before, settled = chain.settle(*([] if finalized is None else [finalized]), settled)
    document: dict[str, Any] = {"round": number}
    if before:
        document["finalized"] = sent(chain, before[0])
    document["settled"] = sent(chain, settled)
    emit(document, f"Round {number} is final and its rewards are credited.")


def _require_finalizable(chain: Chain, number: int) -> bool:
    """Check that a round can be finalized or settled now. Return whether it must be finalized first."""
    from folkmoot.rpc.client import Phase
    from folkmoot.runtime.units import format_time

    view = _known(chain, number)
    if chain.rewards.is_settled(number):
        raise InputError(
            f"Round {number} is settled already.", remedy="Nothing is left to do.", code="round-settled"
        )
    if view.phase is Phase.FINAL:
        return False
    now = chain.now()
    if now < view.challenge_deadline:
        raise InputError(
            f"Round {number} can be challenged until {format_time(view.challenge_deadline)}.",
            remedy=f"Try again in {view.challenge_deadline - now} seconds.",
            code="too-early",
            details={"round": number, "possibleFrom": view.challenge_deadline, "chainTime": now},
        )
    if chain.phase(view.base) is not Phase.FINAL:
        raise InputError(
            f"Round {number} builds on round {view.base}, which is not final yet.",
            remedy=f"Make that one final first: `folkmoot close {view.base}`.",
            code="base-not-final",
            details={"round": number, "base": view.base},
        )
    return True


def _known(chain: Chain, number: int) -> RoundView:
    if number >= chain.ledger.next_round():
        raise InputError(
            f"There is no round {number} yet.", remedy="See `folkmoot status`.", code="round-unknown"
        )
    return chain.ledger.round(number)


def _settlement(chain: Chain, number: int) -> tuple[list[tuple[str, bytes]], tuple[Any, ...]]:
    """Return a round's entries and anchor from the events, as settling needs them."""
    from folkmoot.ledger.replay import anchored_round

    round_ = anchored_round(chain, number)
    entries = [(commitment.contributor, commitment.struct_hash) for commitment in round_.commitments()]
    return entries, round_.known_anchor.abi_tuple()


def _anchor_withheld(number: int) -> None:
    """Let the coordinator anchor a round that the canary withheld."""
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.evaluation.canary import sign_release
    from folkmoot.protocol.commitment import Domain

    with CoordinatorApi(context().coordinator) as api:
        contracts = api.deployment()
        view = api.get(f"/v1/rounds/{number}")
        canary = view.get("canary") or {}
        if view["step"] != "withheld":
            raise InputError(
                f"Round {number} is not withheld: its step is {view['step']}.",
                remedy="Only a round that the canary withheld can be released, before its anchor deadline.",
                code="round-not-withheld",
            )
        for finding in canary.get("findings", []):
            note(finding)
        account = unlock()
        state_root = bytes.fromhex(str(view["stateRoot"])[2:])
        domain = Domain(contracts.chain_id, contracts.ledger)
        api.release_round(number, sign_release(number, state_root, account, domain))
    emit({"round": number, "released": True}, f"Round {number} goes to the chain.")
