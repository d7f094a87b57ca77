# SPDX-License-Identifier: Apache-2.0
"""Commands for the stake, rewards and balances of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
    connected,
    sending,
    sent,
    unlock,
)
from folkmoot.cli.output import emit, pairs, working

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.types import TxReceipt

    from folkmoot.chain.client import Chain
    from folkmoot.rpc.client import Member

PERMIT_LIFETIME = 3_600
"""Validity in seconds of the permit to transfer the staked tokens."""


def stake(
    amount: Annotated[str, typer.Argument(help="Tokens, e.g. 250 or 0.5.")],
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Stake tokens. Stake gives votes, and lets you contribute once you enrol. A proven fault costs it.

    Example: folkmoot stake 250 --keystore ada.json
    """
    from folkmoot.runtime.units import format_amount, parse_amount

    units = parse_amount(amount)
    with sending(rpc, deployment, confirmations, json_) as chain:
        account = unlock(keystore, password_file)
        with working("Staking ...", json_):
            receipt = stake_with_permit(chain, account, units)
        total = chain.stake_of(account.address)
        emit(
            {
                "account": account.address,
                **sent(chain, receipt),
                "staked": str(units),
                "stake": str(total),
            },
            json_,
            f"Staked {format_amount(units)}; the stake of {account.address} is now {format_amount(total)}.",
        )


def unstake(
    amount: Annotated[str, typer.Argument(help="Tokens, or `all` that is not locked.")],
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Start to withdraw stake. It loses its votes at once. You can withdraw it after the unbonding time.

    Bonds of rounds stay until their rounds are over. Enrolled stake shrinks to the stake that is left beside them. An
    account whose enrolled stake falls below the policy's minimum also leaves, because it can no longer commit.

    Example: folkmoot unstake 100
    """
    from folkmoot.runtime.units import format_amount, format_time, parse_amount

    asked = None if amount == "all" else parse_amount(amount)
    purpose = f"unstake {'all' if asked is None else asked}"
    with sending(rpc, deployment, confirmations, json_) as chain:
        sender = account_address(None, keystore)
        before = _member(chain, sender).enrolled
        receipt = chain.earlier("vault", sender, purpose)
        if receipt is None:
            units = _unlocked(chain, sender) if asked is None else asked
        account = unlock(keystore, password_file)
        with working("Unstaking ...", json_):
            if receipt is None:
                receipt = chain.send(chain.vault.functions.requestUnbond(units), account, purpose=purpose)
            begun = chain.event_of(receipt, "vault", "UnbondingRequested")
            was_enrolled = _leave_without_stake(chain, account)
        after, bonds = _member(chain, sender).enrolled, chain.bond_of(sender)
        text = (
            f"{format_amount(begun['amount'])} can be withdrawn from {format_time(begun['releaseAt'])}; until then it "
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
                "unbonding": str(begun["amount"]),
                "releaseAt": begun["releaseAt"],
                "left": was_enrolled,
                "enrolled": str(after),
                "bonds": str(bonds),
            },
            json_,
            text,
        )


def enrol(
    amount: Annotated[
        str, typer.Argument(help="Tokens of your stake, or `all` that are not locked as bonds.")
    ] = "all",
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Enrol, so that rounds take your updates: the ledger takes commitments of enrolled accounts only.

    Enrolment counts from the next round on, and needs the policy's minimum stake. In a crowd, when more stake is
    enrolled than a round has places for, places are drawn by enrolled stake. The stake stays yours, votes, and can be
    taken out as before.

    Each round waits for the updates of enrolled accounts, unless there is a crowd or all places are taken. Before a
    long absence run `folkmoot leave`, or each round will last for its whole commit window. After you have missed three
    rounds in a row, anybody may remove you from the list.

    Call it again to enrol another amount. With more than before you do not count in the round that is open.

    Example: folkmoot enrol --keystore ada.json
    """
    from folkmoot.ledger.admission import require_admitted
    from folkmoot.ledger.stakes import chance_text, next_quota
    from folkmoot.runtime.units import format_amount, parse_amount

    asked = None if amount == "all" else parse_amount(amount)
    purpose = f"enrol {'all' if asked is None else asked}"
    with sending(rpc, deployment, confirmations, json_) as chain:
        sender = account_address(None, keystore)
        receipt = chain.earlier("ledger", sender, purpose, once=True)
        ledger, before = chain.ledger_reader, _member(chain, sender)
        units = chain.unlocked_of(sender) if asked is None else asked
        same = ledger.enrolled(sender) and units == before.enrolled
        if receipt is None and not same:
            require_admitted(chain.rpc, chain.deployment, sender)
            account = unlock(keystore, password_file)
            with working("Enrolling ...", json_):
                function = chain.ledger.functions.enrol(units)
                receipt = chain.send(function, account, purpose=purpose, once=True)
        member, first = _member(chain, sender), _first_round(chain, sender)
        quota = next_quota(ledger, chain.vault_reader)
        crowd = 0 < member.enrolled < quota
        shown = "is enrolled already" if receipt is None else "is enrolled"
        text = f"{sender} {shown} with {format_amount(member.enrolled)}: it may commit from round {first} on."
        if quota:
            text += (
                f" There is a crowd: {format_amount(chain.vault_reader.total_enrolled())} are enrolled, and an account "
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
            },
            json_,
            text,
        )


def leave(
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[ADDRESS]",
            help="Remove this account instead of your own, if the ledger lets anybody do so.",
            show_default=False,
        ),
    ] = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
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
    with sending(rpc, deployment, confirmations, json_) as chain:
        account = unlock(keystore, password_file)
        function = (
            chain.ledger.functions.leave() if removed is None else chain.ledger.functions.remove(removed)
        )
        with working("Leaving ..." if removed is None else "Removing ...", json_):
            receipt = chain.send(function, account, once=True)
        gone = removed or account.address
        emit(
            {"account": gone, **sent(chain, receipt)},
            json_,
            f"{gone} is no longer enrolled: no round waits for its update or takes it. Its stake is unchanged.",
        )


def _member(chain: Chain, account: str) -> Member:
    return chain.vault_reader.members([account])[account]


def _unlocked(chain: Chain, account: str) -> int:
    """Return the stake of an account without its bonds.

    Raises:
        InputError: `stake-locked`: all of it is locked as bonds.
    """
    from folkmoot.errors import InputError
    from folkmoot.runtime.units import format_amount

    bonds, unlocked = chain.bond_of(account), chain.unlocked_of(account)
    if bonds and not unlocked:
        raise InputError(
            f"All stake of {account}, {format_amount(bonds)}, is locked as bonds of its rounds.",
            remedy="Wait until a round is final. `folkmoot release` unlocks the bond of a void round.",
            code="stake-locked",
            details={"bonds": str(bonds)},
        )
    return unlocked


def _first_round(chain: Chain, account: str) -> int:
    """Return the first round in which an enrolled account may commit: the open one, if it has a place in it."""
    from folkmoot.rpc.client import Phase

    number = chain.next_round()
    newest = number - 1
    if newest and chain.phase(newest) is Phase.OPEN and chain.ledger_reader.has_place(newest, account):
        return newest
    return number


def _leave_without_stake(chain: Chain, account: LocalAccount) -> bool:
    """Remove an account from the list of enrolled accounts if its enrolled stake is too low.

    Return whether it was on the list.
    """
    from folkmoot.errors import ContractRefused

    ledger = chain.ledger_reader
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
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Pay out all released stake.

    Example: folkmoot withdraw
    """
    from folkmoot.runtime.units import format_amount

    with sending(rpc, deployment, confirmations, json_) as chain:
        account = unlock(keystore, password_file)
        with working("Withdrawing ...", json_):
            receipt = chain.send(chain.vault.functions.withdraw(), account, once=True)
        amount = chain.event_of(receipt, "vault", "Withdrawn")["amount"]
        emit(
            {"account": account.address, **sent(chain, receipt), "withdrawn": str(amount)},
            json_,
            f"Withdrew {format_amount(amount)} to {account.address}.",
        )


def claim(
    account: Annotated[
        str | None, typer.Argument(help="Whose rewards to pay out. Default: your own.", show_default=False)
    ] = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Pay out the rewards of settled rounds. Anybody may send it. The tokens go to the account itself.

    Example: folkmoot claim
    """
    from folkmoot.runtime.units import format_amount

    with sending(rpc, deployment, confirmations, json_) as chain:
        beneficiary = account_address(account, keystore)
        sender = unlock(keystore, password_file)
        with working("Claiming ...", json_):
            receipt = chain.send(chain.ledger.functions.claim(beneficiary), sender, once=True)
        amount = chain.event_of(receipt, "ledger", "RewardClaimed")["amount"]
        emit(
            {
                "account": sender.address,
                **sent(chain, receipt),
                "beneficiary": beneficiary,
                "claimed": str(amount),
            },
            json_,
            f"Paid {format_amount(amount)} out to {beneficiary}.",
        )


def delegate(
    delegatee: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Who votes with your stake; `self` for you.")
    ],
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Delegate the votes of your stake for future proposals. The stake stays yours.

    Example: folkmoot delegate self
    """
    from folkmoot.runtime.units import parse_address

    chosen = None if delegatee == "self" else parse_address(delegatee)
    with sending(rpc, deployment, confirmations, json_) as chain:
        account = unlock(keystore, password_file)
        target = chosen or account.address
        with working("Delegating ...", json_):
            receipt = chain.send(chain.vault.functions.delegate(target), account, once=True)
        emit(
            {"account": account.address, **sent(chain, receipt), "delegate": target},
            json_,
            f"{target} votes with the stake of {account.address}.",
        )


def balance(
    account: Annotated[
        str | None,
        typer.Argument(metavar="[ADDRESS]", help="Whose. Default: that of the key file.", show_default=False),
    ] = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    json_: Json = False,
) -> None:
    """Show an account's tokens, stake, bonds, enrolment, votes, pending withdrawals, rewards and privacy budget.

    Example: folkmoot balance 0x...
    """
    from folkmoot.ledger.stakes import chance_text, next_quota
    from folkmoot.runtime.units import format_amount, format_duration, format_time

    with connected(rpc, deployment) as chain:
        who = account_address(account, keystore)
        now = chain.now()
        tokens, staked, votes = chain.balance_of(who), chain.stake_of(who), chain.votes_of(who)
        rewards, coins = chain.claimable(who), chain.gas_balance_of(who)
        delegatee, leaving = chain.delegate_of(who), chain.unbondings(who)
        bonds, member = chain.bond_of(who), _member(chain, who)
        coordinator = chain.coordinator()
        is_enrolled = chain.ledger_reader.enrolled(who)
        policy, spent = chain.policy(chain.current_policy()), chain.ledger_reader.spent(who)
        least, rounds_left = policy.min_stake, policy.rounds_left(spent)
        quota = next_quota(chain.ledger_reader, chain.vault_reader) if is_enrolled else 0
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
        "rewards": format_amount(rewards) + (" (take them with `folkmoot claim`)" if rewards else ""),
        "gas money": f"{coins / 10**18:.6f} native coins",
    }
    if rounds_left is not None:
        lines["privacy budget"] = (
            f"{spent} of {policy.privacy_cap} spent by the ledger, enough for {rounds_left} more rounds; the signer "
            "may have counted more (`folkmoot signer record show`)"
        )
    elif spent:
        lines["privacy budget"] = f"{spent} spent; the current policy asks for no noise"
    for place, part in enumerate(leaving, start=1):
        when = "now" if part.release_at <= now else f"in {format_duration(part.release_at - now)}"
        lines[f"unbonding {place}"] = f"{format_amount(part.amount)}, {format_time(part.release_at)} ({when})"
    emit(document, json_, pairs(lines))


def stake_with_permit(chain: Chain, account: LocalAccount, amount: int, purpose: str = "") -> TxReceipt:
    """Stake an amount (units of 1e-18 tokens) in one transaction, with a signed permit (EIP-2612).

    Args:
        chain: The contracts.
        account: Owner of the tokens.
        amount: Amount in units of 1e-18 tokens.
        purpose: Purpose, as for `Chain.send`; the amount if empty.

    Raises:
        ContractRefused: The account does not have enough tokens.
        RpcError: The endpoint failed.
    """
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
        "spender": chain.deployment.vault,
        "value": amount,
        "nonce": chain.read(chain.token.functions.nonces(account.address)),
        "deadline": deadline,
    }
    signed = account.sign_typed_data(domain, kinds, message)
    r, s = signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")
    function = chain.vault.functions.stakeWithPermit(amount, deadline, signed.v, r, s)
    return chain.send(function, account, purpose=purpose or f"stake {amount}")
