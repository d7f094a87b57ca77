# SPDX-License-Identifier: Apache-2.0
"""Actions of anybody on a round that its coordinator abandoned: cancel, make final and settle, release the bond."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.options import (
    DEPLOYMENT_DEFAULT,
    RPC_DEFAULT,
    Confirmations,
    DeploymentPath,
    Json,
    KeystorePath,
    PasswordFile,
    RpcUrl,
    account_address,
    sending,
    sent,
    unlock,
)
from folkmoot.cli.output import emit, working
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.chain.client import Chain
    from folkmoot.rpc.client import RoundView

RoundNumber = Annotated[int, typer.Argument(metavar="ROUND", min=1, help="Number of the round.")]


def cancel(
    number: RoundNumber,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Cancel a round that was not anchored in time, so that the next one can open. Anybody may send it.

    A round with too few entries can be cancelled after its commit window, any other round after its anchor deadline.
    Its contributors lose nothing.

    Example: folkmoot cancel 12
    """
    with sending(rpc, deployment, confirmations, json_) as chain:
        sender, purpose = account_address(None, keystore), f"cancel {number}"
        receipt = chain.earlier("ledger", sender, purpose, once=True)
        if receipt is None:
            _require_cancellable(chain, number)
            account = unlock(keystore, password_file)
            with working("Cancelling ...", json_):
                receipt = chain.send(
                    chain.ledger.functions.cancel(number), account, purpose=purpose, once=True
                )
        document = {"round": number, "account": sender, **sent(chain, receipt)}
        emit(document, json_, f"Round {number} is cancelled; the next one can open.")


def _require_cancellable(chain: Chain, number: int) -> None:
    """Check that a round can be cancelled now.

    Raises:
        InputError: `round-unknown`, `round-not-open` or `too-early`.
    """
    from folkmoot.rpc.client import Phase
    from folkmoot.runtime.units import format_time

    view = _known(chain, number)
    if view.phase is not Phase.OPEN:
        raise InputError(
            f"Round {number} is not open: its phase is {view.phase.name.lower()}.",
            remedy="Only an open round can be cancelled.",
            code="round-not-open",
        )
    few = view.entries < chain.policy(view.policy).min_contributors
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


def release(
    number: RoundNumber,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Unlock the bond of a void round, so that its coordinator can use the stake again. Anybody may send it.

    A round is void if it was anchored on a round that was proven wrong. `folkmoot doctor` lists the void rounds of the
    coordinator. (A round that the canary withholds is released with `folkmoot coordinator release-round`.)

    Example: folkmoot release 12
    """
    from folkmoot.runtime.units import format_amount

    with sending(rpc, deployment, confirmations, json_) as chain:
        sender, purpose = account_address(None, keystore), f"release the bond of {number}"
        receipt = chain.earlier("ledger", sender, purpose, once=True)
        if receipt is None:
            _require_releasable(chain, number)
            account = unlock(keystore, password_file)
            with working("Releasing ...", json_):
                function = chain.ledger.functions.releaseVoid(number)
                receipt = chain.send(function, account, purpose=purpose, once=True)
        unlocked = chain.event_of(receipt, "vault", "BondUnlocked")
        document = {
            "round": number,
            "account": sender,
            **sent(chain, receipt),
            "coordinator": unlocked["account"],
            "bond": str(unlocked["amount"]),
        }
        emit(
            document,
            json_,
            f"The bond of the void round {number} is unlocked: {unlocked['account']} has "
            f"{format_amount(unlocked['amount'])} more for other rounds.",
        )


def _require_releasable(chain: Chain, number: int) -> None:
    """Check that a round is void and its bond locked.

    Raises:
        InputError: `round-unknown`, `round-not-void` or `bond-released`.
    """
    from folkmoot.rpc.client import Phase

    view = _known(chain, number)
    if view.phase is not Phase.CANCELLED:
        raise InputError(
            f"Round {number} is not void: its phase is {chain.phase(number).name.lower()}.",
            remedy="When a round becomes final or is cancelled, its bond is unlocked by itself.",
            code="round-not-void",
        )
    if not chain.ledger_reader.can_release(number):
        raise InputError(
            f"The bond of round {number} is not locked.",
            remedy="Nothing is left to do.",
            code="bond-released",
        )


def finalize(
    number: RoundNumber,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Finalize a round after its challenge window, and credit its rewards. Anybody may send it.

    Example: folkmoot finalize 11
    """
    with sending(rpc, deployment, confirmations, json_) as chain:
        sender, functions = account_address(None, keystore), chain.ledger.functions
        first, second = f"finalize {number}", f"settle {number}"
        finalized = chain.earlier("ledger", sender, first, wait=False, once=True)
        settled = chain.earlier("ledger", sender, second, wait=False, once=True)
        if settled is None:
            anchored = _require_finalizable(chain, number)
            account = unlock(keystore, password_file)
            if anchored:
                with working("Making it final ...", json_):
                    finalized = chain.send(
                        functions.finalize(number), account, purpose=first, wait=False, once=True
                    )
            with working("Settling ...", json_):
                function = functions.settle(number, *_settlement(chain, number))
                settled = chain.send(function, account, purpose=second, wait=False, once=True)
        *before, settled = chain.settle(*([] if finalized is None else [finalized]), settled)
        document: dict[str, Any] = {"round": number}
        if before:
            document["finalized"] = sent(chain, before[0])
        document["settled"] = sent(chain, settled)
        emit(document, json_, f"Round {number} is final and its rewards are credited.")


def _require_finalizable(chain: Chain, number: int) -> bool:
    """Check that a round can be finalized or settled now. Return whether it must be finalized first.

    Raises:
        InputError: `round-unknown`, `round-settled`, `round-not-anchored`, `too-early` or `base-not-final`.
    """
    from folkmoot.rpc.client import Phase
    from folkmoot.runtime.units import format_time

    view = _known(chain, number)
    if view.phase not in (Phase.ANCHORED, Phase.FINAL) or view.settled:
        what = "settled already" if view.settled else f"not anchored: its phase is {view.phase.name.lower()}"
        raise InputError(
            f"Round {number} is {what}.",
            remedy="Only a round that is anchored, or final and not settled, has something left to do.",
            code="round-settled" if view.settled else "round-not-anchored",
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
            remedy=f"Make that one final first: `folkmoot finalize {view.base}`.",
            code="base-not-final",
            details={"round": number, "base": view.base},
        )
    return True


def _known(chain: Chain, number: int) -> RoundView:
    if number >= chain.next_round():
        raise InputError(
            f"There is no round {number} yet.", remedy="See `folkmoot status`.", code="round-unknown"
        )
    return chain.round(number)


def _settlement(chain: Chain, number: int) -> tuple[list[tuple[str, bytes]], tuple[Any, ...]]:
    """Return a round's entries and anchor from the events, as settling needs them."""
    from folkmoot.ledger.recorded import recorded

    commitments, anchor = recorded(chain, number, chain.block_number())
    return [(one.contributor, one.struct_hash) for one in commitments], anchor.abi_tuple()
