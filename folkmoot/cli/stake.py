# SPDX-License-Identifier: Apache-2.0
"""Commands for the stake, rewards and balances of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.options import account_address, connected, sending, sent, unlock
from folkmoot.cli.output import emit, note, pairs, table, working
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.types import TxReceipt

    from folkmoot.chain.client import Chain
    from folkmoot.rpc.client import Member

PERMIT_LIFETIME = 3_600
"""Validity in seconds of the permit to transfer the staked tokens."""


def enrol(
    amount: Annotated[
        str, typer.Argument(help="Tokens of your stake, or `all` that are not locked as bonds.")
    ] = "all",
    stake: Annotated[
        str | None, typer.Option(metavar="TOKENS", help="Stake these tokens first, e.g. 250 or 0.5.")
    ] = None,
    only_stake: Annotated[
        str | None,
        typer.Option(
            metavar="TOKENS",
            help="Stake these tokens and do not enrol: for votes, or for a coordinator's bonds.",
        ),
    ] = None,
) -> None:
    """Enrol, so that rounds take your updates: the ledger takes commitments of enrolled accounts only.

    Enrolment counts from the next round on, and needs the policy's minimum stake. In a crowd, when more stake is
    enrolled than a round has places for, places are drawn by enrolled stake. The stake stays yours, votes, and can be
    taken out as before.

    Each round waits for the updates of enrolled accounts, unless there is a crowd or all places are taken. Before a
    long absence run `folkmoot leave`, or each round will last for its whole commit window. After you have missed three
    rounds in a row, anybody may remove you from the list.

    Call it again to enrol another amount. With more than before you do not count in the round that is open.

    With --stake it stakes tokens first. Stake gives votes, and a proven fault costs it.

    Example: folkmoot enrol --stake 250

    Example: folkmoot enrol --only-stake 1000
    """
    from folkmoot.ledger.admission import require_admitted
    from folkmoot.ledger.stakes import chance_text, next_quota
    from folkmoot.runtime.units import format_amount, parse_amount

    asked = None if amount == "all" else parse_amount(amount)
    purpose = f"enrol {'all' if asked is None else asked}"
    if stake is not None and only_stake is not None:
        raise typer.BadParameter("give --stake or --only-stake")
    tokens = stake or only_stake
    units_to_stake = None if tokens is None else parse_amount(tokens)
    with sending() as chain:
        sender = account_address(None)
        account, staked = None, None
        if units_to_stake is not None:
            account = unlock()
            staked, text = _stake(chain, account, units_to_stake)
            if only_stake is not None:
                emit(staked, text)
                return
            note(text)
        receipt = chain.earlier("ledger", sender, purpose, once=True)
        ledger, before = chain.ledger, _member(chain, sender)
        units = chain.vault.unlocked_of(sender) if asked is None else asked
        same = ledger.enrolled(sender) and units == before.enrolled
        if receipt is None and not same:
            require_admitted(chain.rpc, chain.deployment, sender)
            account = account or unlock()
            with working("Enrolling ..."):
                function = chain.ledger.functions.enrol(units)
                receipt = chain.send(function, account, purpose=purpose, once=True)
        member, first = _member(chain, sender), _first_round(chain, sender)
        quota = next_quota(ledger, chain.vault)
        crowd = 0 < member.enrolled < quota
        shown = "is enrolled already" if receipt is None else "is enrolled"
        text = f"{sender} {shown} with {format_amount(member.enrolled)}: it may commit from round {first} on."
        if quota:
            text += (
                f" There is a crowd: {format_amount(chain.vault.total_enrolled())} are enrolled, and an account "
                f"needs {format_amount(quota)} to have a place in the next round for certain."
            )
            if crowd:
                text += f" The chance of this account is {chance_text(member.enrolled, quota)}."
        else:
            text += " A commit window ends early only after its commitment, or when all places are taken."
        emit(
            {
                "account": sender,
                **({"transaction": None} if receipt is None else sent(chain, receipt)),
                "enrolled": str(member.enrolled),
                "since": member.since,
                "from": first,
                "quota": str(quota) if quota else None,
                **({} if staked is None else {"staked": staked}),
            },
            text,
        )


def _stake(chain: Chain, account: LocalAccount, units: int) -> tuple[dict[str, Any], str]:
    """Stake an amount; return the result as JSON and as text."""
    from folkmoot.runtime.units import format_amount

    with working("Staking ..."):
        receipt = stake_with_permit(chain, account, units)
    total = chain.vault.stake_of(account.address)
    document = {
        "account": account.address,
        **sent(chain, receipt),
        "staked": str(units),
        "stake": str(total),
    }
    text = f"Staked {format_amount(units)}; the stake of {account.address} is now {format_amount(total)}."
    return document, text


def leave(
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[ADDRESS]",
            help="Remove this account instead of your own, if the ledger lets anybody do so.",
        ),
    ] = None,
) -> None:
    """Leave the list of enrolled accounts: rounds no longer wait for your update, and no longer take it.

    That is true for the open round too, also if you enrol again. Commitments that are on the chain stay. You keep your
    stake.

    Anybody may remove another account that has too little stake enrolled, and between commit windows one that has
    missed three rounds in a row or is no longer admitted to a closed federation. The coordinator does so by itself.

    Example: folkmoot leave --keystore ada.json
    """
    from folkmoot.runtime.units import parse_address

    removed = None if other is None else parse_address(other)
    with sending() as chain:
        account = unlock()
        function = (
            chain.ledger.functions.leave() if removed is None else chain.ledger.functions.remove(removed)
        )
        with working("Leaving ..." if removed is None else "Removing ..."):
            receipt = chain.send(function, account, once=True)
        gone = removed or account.address
        emit(
            {"account": gone, **sent(chain, receipt)},
            f"{gone} is no longer enrolled: no round waits for its update or takes it. Its stake is unchanged.",
        )


def _member(chain: Chain, account: str) -> Member:
    return chain.vault.members([account])[account]


def _unlocked(chain: Chain, account: str) -> int:
    """Return the stake of an account without its bonds."""
    from folkmoot.runtime.units import format_amount

    bonds, unlocked = chain.vault.bond_of(account), chain.vault.unlocked_of(account)
    if bonds and not unlocked:
        raise InputError(
            f"All stake of {account}, {format_amount(bonds)}, is locked as bonds of its rounds.",
            remedy="Wait until a round is final. `folkmoot close` unlocks the bond of a void round.",
            code="stake-locked",
            details={"bonds": str(bonds)},
        )
    return unlocked


def _first_round(chain: Chain, account: str) -> int:
    """Return the first round in which an enrolled account may commit: the open one, if it has a place in it."""
    from folkmoot.rpc.client import Phase

    number = chain.ledger.next_round()
    newest = number - 1
    if newest and chain.phase(newest) is Phase.OPEN and chain.ledger.has_place(newest, account):
        return newest
    return number


def _leave_without_stake(chain: Chain, account: LocalAccount) -> bool:
    """Remove an account from the list of enrolled accounts if its enrolled stake is too low.

    Return whether it was on the list.
    """
    from folkmoot.errors import ContractRefused

    ledger = chain.ledger
    least = ledger.policy(ledger.current_policy()).min_stake
    purpose = "leave because the stake is too low"
    if not ledger.enrolled(account.address):
        return chain.earlier("ledger", account.address, purpose, once=True) is not None
    if _member(chain, account.address).enrolled >= least:
        return False
    try:
        chain.send(chain.ledger.functions.leave(), account, purpose=purpose, once=True)
    except ContractRefused as error:
        if error.details.get("error") != "RoundLedgerNotEnrolled":  # Somebody else removed it.
            raise
    return True


def withdraw(
    amount: Annotated[
        str | None,
        typer.Argument(
            metavar="[AMOUNT]",
            help="Tokens to take out of the stake, or `all` that is not locked. Default: pay out what is released.",
        ),
    ] = None,
    rewards: Annotated[
        bool, typer.Option("--rewards", help="Pay out the rewards of settled rounds instead.")
    ] = False,
    warranty: Annotated[
        int | None,
        typer.Option(metavar="VERSION", min=0, help="Take your tokens out from behind this version instead."),
    ] = None,
    account_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="ADDRESS",
            help="With --rewards: of this account, to which they go. Default: yours.",
        ),
    ] = None,
) -> None:
    """Take stake out: first with an amount, and after the unbonding time without one, which pays it out.

    The amount loses its votes at once. Bonds of rounds stay until their rounds are over. Enrolled stake shrinks to the
    stake that is left beside them. An account whose enrolled stake falls below the policy's minimum also leaves,
    because it can no longer commit.

    Example: folkmoot withdraw 100

    Example: folkmoot withdraw

    Example: folkmoot withdraw --rewards

    Example: folkmoot withdraw --warranty 12
    """
    from folkmoot.runtime.units import format_amount, parse_amount

    if (account_ is not None and not rewards) or (rewards and amount is not None):
        raise typer.BadParameter("--rewards takes no AMOUNT, and --for goes with it")
    if warranty is not None:
        if rewards or amount is not None:
            raise typer.BadParameter("--warranty takes no AMOUNT and no --rewards: all of it is taken out")
        _withdraw_warranty(warranty)
        return
    if rewards:
        _claim(account_)
        return
    if amount is not None:
        _unstake(None if amount == "all" else parse_amount(amount))
        return
    with sending() as chain:
        account = unlock()
        with working("Withdrawing ..."):
            receipt = chain.send(chain.vault.functions.withdraw(), account, once=True)
        from folkmoot.ledger.events import Withdrawn

        paid = chain.event_of(receipt, Withdrawn).amount
        emit(
            {"account": account.address, **sent(chain, receipt), "withdrawn": str(paid)},
            f"Withdrew {format_amount(paid)} to {account.address}.",
        )


def _unstake(asked: int | None) -> None:
    """Start to withdraw stake: an amount, or all that is not locked."""
    from folkmoot.runtime.units import format_amount, format_time

    purpose = f"unstake {'all' if asked is None else asked}"
    with sending() as chain:
        sender = account_address(None)
        before = _member(chain, sender).enrolled
        receipt = chain.earlier("vault", sender, purpose)
        if receipt is None:
            units = _unlocked(chain, sender) if asked is None else asked
        account = unlock()
        with working("Unstaking ..."):
            if receipt is None:
                receipt = chain.send(chain.vault.functions.requestUnbond(units), account, purpose=purpose)
            from folkmoot.ledger.events import UnbondingRequested

            begun = chain.event_of(receipt, UnbondingRequested)
            was_enrolled = _leave_without_stake(chain, account)
        after, bonds = _member(chain, sender).enrolled, chain.vault.bond_of(sender)
        text = (
            f"{format_amount(begun.amount)} can be withdrawn from {format_time(begun.release_at)}; until then it "
            "can still be slashed."
        )
        if was_enrolled:
            text += f" {sender} is no longer enrolled: its enrolled stake is too low to commit."
        elif after < before:
            text += f" {format_amount(after)} stay enrolled, instead of {format_amount(before)}."
        if bonds:
            text += f" {format_amount(bonds)} are locked as bonds until the rounds of {sender} are over."
        emit(
            {
                "account": sender,
                **sent(chain, receipt),
                "unbonding": str(begun.amount),
                "releaseAt": begun.release_at,
                "left": was_enrolled,
                "enrolled": str(after),
                "bonds": str(bonds),
            },
            text,
        )


def warrant(version: int, amount: str) -> None:
    """Put tokens behind a version, so that they answer for it."""
    from folkmoot.ledger.releases import RECALLED, read_releases
    from folkmoot.runtime.units import format_amount, format_time, parse_amount

    units = parse_amount(amount)
    with sending() as chain:
        if chain.registry.standing(version) == RECALLED:
            read_releases(chain).require_usable(version)
        account = unlock()
        with working("Putting tokens behind the version ..."):
            permit = _permit(chain, account, chain.deployment.registry, units)
            function = chain.registry.functions.postWarrantyWithPermit(version, units, *permit)
            receipt = chain.send(function, account, purpose=f"warrant {version} {units}")
        own, release_at = chain.registry.warranty(version, account.address)
        total, _ = chain.registry.warranties(version)
        emit(
            {
                "account": account.address,
                "version": version,
                **sent(chain, receipt),
                "posted": str(units),
                "warranty": str(own),
                "total": str(total),
                "releaseAt": release_at,
            },
            f"{format_amount(own)} of {account.address} answer for version {version}, {format_amount(total)} of all "
            "accounts. If it does harm, a vote can take all of it.",
            f"You can take yours out from {format_time(release_at)}, and later if a vote makes the version active: "
            f"folkmoot withdraw --warranty {version}",
        )


def _withdraw_warranty(version: int) -> None:
    """Take the account's tokens out from behind a version."""
    from folkmoot.runtime.units import format_amount, format_time

    with sending() as chain:
        account = unlock()
        own, release_at = chain.registry.warranty(version, account.address)
        if own and chain.now() < release_at:
            raise InputError(
                f"{format_amount(own)} of {account.address} answer for version {version} until "
                f"{format_time(release_at)}.",
                remedy="Take them out then. Each activation of the version begins a new period.",
                code="warranty-held",
                details={"version": version, "releaseAt": release_at},
            )
        with working("Withdrawing ..."):
            receipt = chain.send(chain.registry.functions.withdrawWarranty(version), account, once=True)
        from folkmoot.ledger.events import WarrantyWithdrawn

        paid = chain.event_of(receipt, WarrantyWithdrawn).amount
        emit(
            {"account": account.address, "version": version, **sent(chain, receipt), "withdrawn": str(paid)},
            f"Took {format_amount(paid)} out from behind version {version}, to {account.address}.",
        )


def _claim(account: str | None) -> None:
    """Pay out the rewards of an account to itself."""
    from folkmoot.runtime.units import format_amount

    with sending() as chain:
        beneficiary = account_address(account)
        sender = unlock()
        with working("Claiming ..."):
            receipt = chain.send(chain.rewards.functions.claim(beneficiary), sender, once=True)
        from folkmoot.ledger.events import RewardClaimed

        amount = chain.event_of(receipt, RewardClaimed).amount
        emit(
            {
                "account": sender.address,
                **sent(chain, receipt),
                "beneficiary": beneficiary,
                "claimed": str(amount),
            },
            f"Paid {format_amount(amount)} out to {beneficiary}.",
        )


def delegate(
    delegatee: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Who votes with your stake; `self` for you.")
    ],
) -> None:
    """Delegate the votes of your stake for future proposals. The stake stays yours.

    Example: folkmoot delegate self
    """
    from folkmoot.runtime.units import parse_address

    chosen = None if delegatee == "self" else parse_address(delegatee)
    with sending() as chain:
        account = unlock()
        target = chosen or account.address
        with working("Delegating ..."):
            receipt = chain.send(chain.vault.functions.delegate(target), account, once=True)
        emit(
            {"account": account.address, **sent(chain, receipt), "delegate": target},
            f"{target} votes with the stake of {account.address}.",
        )


def balance(
    account: Annotated[
        str | None, typer.Argument(metavar="[ADDRESS]", help="Whose. Default: that of the key file.")
    ] = None,
) -> None:
    """Show an account's tokens, stake, bonds, enrolment, votes, pending withdrawals, rewards and privacy budget.

    Of each round whose tokens were not paid out it shows weight, pay and tokens; `folkmoot why` explains them.

    Example: folkmoot balance 0x...
    """
    from folkmoot.errors import RpcError
    from folkmoot.explain.due import Due
    from folkmoot.ledger.replay import read_state
    from folkmoot.ledger.stakes import chance_text, next_quota
    from folkmoot.runtime.units import format_amount, format_duration, format_time

    with connected() as chain:
        who = account_address(account)
        now = chain.now()
        tokens, staked, votes = (
            chain.token.balance_of(who),
            chain.vault.stake_of(who),
            chain.vault.votes_of(who),
        )
        rewards, coins = chain.rewards.claimable(who), chain.rpc.balance(who)
        delegatee, leaving = chain.vault.delegate_of(who), chain.vault.unbondings(who)
        bonds, member = chain.vault.bond_of(who), _member(chain, who)
        coordinator = chain.ledger.coordinator()
        is_enrolled = chain.ledger.enrolled(who)
        policy, spent = chain.ledger.policy(chain.ledger.current_policy()), chain.ledger.spent(who)
        least, rounds_left = policy.min_stake, policy.rounds_left(spent)
        quota = next_quota(chain.ledger, chain.vault) if is_enrolled else 0
        try:
            due: list[Due] | None = [Due(round_, who, now) for round_ in read_state(chain).unclaimed(who)]
        except RpcError as error:  # an endpoint without old logs still knows all the rest
            due, lost = None, error.message
    enrolled = "no: no round takes an update of it"
    if who == coordinator:
        enrolled = "no: the coordinator's root update needs none"
    if is_enrolled:
        enrolled = f"{format_amount(member.enrolled)} since {format_time(member.since)}"
        if member.enrolled < least:
            enrolled += f", too little to commit: the policy asks for {format_amount(least)}"
        elif member.enrolled < quota:
            chance = chance_text(member.enrolled, quota)
            enrolled += f"; there is a crowd, and the chance of a place in the next round is {chance}"
    document = {
        "account": who,
        "tokens": str(tokens),
        "stake": str(staked),
        "bonds": str(bonds),
        "enrolled": str(member.enrolled) if is_enrolled else None,
        "enrolledSince": member.since if is_enrolled else None,
        "votes": str(votes),
        "delegate": delegatee if int(delegatee, 16) else None,
        "claimable": str(rewards),
        "unclaimed": None if due is None else [one.to_json() for one in due],
        "privacySpent": str(spent),
        "privacyRoundsLeft": rounds_left,
        "unbonding": [{"amount": str(part.amount), "releaseAt": part.release_at} for part in leaving],
        "wei": str(coins),
    }
    lines = {
        "account": who,
        "tokens": format_amount(tokens),
        "stake": format_amount(staked)
        + (f", {format_amount(bonds)} of it locked as bonds of rounds that are not over" if bonds else ""),
        "enrolled": enrolled,
        "votes": format_amount(votes)
        + (f" (delegated to {delegatee})" if int(delegatee, 16) and delegatee != who else ""),
        "rewards": format_amount(rewards)
        + (" (take them with `folkmoot withdraw --rewards`)" if rewards else ""),
        "gas money": f"{coins / 10**18:.6f} native coins",
    }
    if rounds_left is not None:
        lines["privacy budget"] = (
            f"{spent} of {policy.privacy_cap} spent by the ledger, enough for {rounds_left} more rounds; the signer "
            "may have counted more (`folkmoot signer record`)"
        )
    elif spent:
        lines["privacy budget"] = f"{spent} spent; the current policy asks for no noise"
    for place, part in enumerate(leaving, start=1):
        when = "now" if part.release_at <= now else f"in {format_duration(part.release_at - now)}"
        lines[f"unbonding {place}"] = f"{format_amount(part.amount)}, {format_time(part.release_at)} ({when})"
    shown = [table(("round", "weight", "pay", "tokens", "state"), (one.row for one in due))] if due else []
    if due is None:
        lines["not paid out"] = f"unknown. {lost}"
    elif due:
        lines["not paid out"] = f"{format_amount(sum(one.amount for one in due))}; `folkmoot why` says why"
    emit(document, pairs(lines), *shown)


def stake_with_permit(chain: Chain, account: LocalAccount, amount: int, purpose: str = "") -> TxReceipt:
    """Stake an amount (units of 1e-18 tokens) in one transaction, with a signed permit (EIP-2612).

    Args:
        chain: The contracts.
        account: Owner of the tokens.
        amount: Amount in units of 1e-18 tokens.
        purpose: Purpose, as for `Chain.send`; the amount if empty.

    Raises:
        ContractRefused: The account does not have enough tokens.
    """
    function = chain.vault.functions.stakeWithPermit(
        amount, *_permit(chain, account, chain.deployment.vault, amount)
    )
    return chain.send(function, account, purpose=purpose or f"stake {amount}")


def _permit(chain: Chain, account: LocalAccount, spender: str, amount: int) -> tuple[int, int, bytes, bytes]:
    """Sign that a contract may take an amount of the account's tokens: deadline, v, r and s (EIP-2612)."""
    deadline = chain.now() + PERMIT_LIFETIME
    domain = {
        "name": "Moot",
        "version": "1",
        "chainId": chain.deployment.chain_id,
        "verifyingContract": chain.deployment.token,
    }
    kinds = {
        "Permit": [
            {"name": "owner", "type": "address"},
            {"name": "spender", "type": "address"},
            {"name": "value", "type": "uint256"},
            {"name": "nonce", "type": "uint256"},
            {"name": "deadline", "type": "uint256"},
        ]
    }
    message = {
        "owner": account.address,
        "spender": spender,
        "value": amount,
        "nonce": chain.read(chain.token.functions.nonces(account.address)),
        "deadline": deadline,
    }
    signed = account.sign_typed_data(domain, kinds, message)
    return deadline, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")
