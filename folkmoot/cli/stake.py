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
    """Stake tokens. Stake gives votes and lets you contribute. A proven fault costs it.

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
    amount: Annotated[str, typer.Argument(help="Tokens, or `all`.")],
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Start to withdraw stake. It loses its votes at once. You can withdraw it after the unbonding time.

    An enrolled account whose stake falls below the policy's minimum also leaves, because it can no longer commit.

    Example: folkmoot unstake 100
    """
    from folkmoot.runtime.units import format_amount, format_time, parse_amount

    asked = None if amount == "all" else parse_amount(amount)
    with sending(rpc, deployment, confirmations, json_) as chain:
        account = unlock(keystore, password_file)
        units = chain.stake_of(account.address) if asked is None else asked
        with working("Unstaking ...", json_):
            function = chain.vault.functions.requestUnbond(units)
            receipt = chain.send(function, account, purpose=f"unstake {'all' if asked is None else asked}")
            begun = chain.event_of(receipt, "vault", "UnbondingRequested")
            was_enrolled = _leave_without_stake(chain, account)
        emit(
            {
                "account": account.address,
                **sent(chain, receipt),
                "unbonding": str(begun["amount"]),
                "releaseAt": begun["releaseAt"],
                "left": was_enrolled,
            },
            json_,
            f"{format_amount(begun['amount'])} can be withdrawn from {format_time(begun['releaseAt'])}; until then it "
            "can still be slashed."
            + (
                f" {account.address} is no longer enrolled: its stake is too low to commit."
                if was_enrolled
                else ""
            ),
        )


def enrol(
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Enrol: each round then waits for your update until its commit window ends.

    Enrolment counts from the next round on, and needs the policy's minimum stake. A round does not wait if all its
    places are taken. Before a long absence run `folkmoot leave`, or each round will last for its whole commit window.
    After you have missed three rounds in a row, anybody may remove you from the list.

    Example: folkmoot enrol --keystore ada.json
    """
    with sending(rpc, deployment, confirmations, json_) as chain:
        account = unlock(keystore, password_file)
        with working("Enrolling ...", json_):
            receipt = chain.send(chain.ledger.functions.enrol(), account, once=True)
        first = chain.event_of(receipt, "ledger", "Enrolled")["from"]
        emit(
            {"account": account.address, **sent(chain, receipt), "from": first},
            json_,
            f"{account.address} is enrolled: from round {first} on, a commit window ends early only after its "
            "commitment, or when all places are taken.",
        )


def leave(
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Leave the list of enrolled accounts: rounds no longer wait for your update.

    You keep your stake and may still commit.

    Example: folkmoot leave --keystore ada.json
    """
    with sending(rpc, deployment, confirmations, json_) as chain:
        account = unlock(keystore, password_file)
        with working("Leaving ...", json_):
            receipt = chain.send(chain.ledger.functions.leave(), account, once=True)
        emit(
            {"account": account.address, **sent(chain, receipt)},
            json_,
            f"{account.address} is no longer enrolled: a commit window may end before its update is committed.",
        )


def _leave_without_stake(chain: Chain, account: LocalAccount) -> bool:
    """Remove an account from the list of enrolled accounts if its stake is too low.

    Return whether it was on the list.
    """
    from folkmoot.errors import ContractRefused

    ledger = chain.ledger_reader
    least = ledger.policy(ledger.current_policy()).min_stake
    purpose = "leave because the stake is too low"
    if not ledger.enrolled(account.address):
        return chain.earlier("ledger", account.address, purpose, once=True) is not None
    if chain.stake_of(account.address) >= least:
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
    """Show an account's tokens, stake, enrolment, votes, pending withdrawals and rewards.

    Example: folkmoot balance 0x...
    """
    from folkmoot.runtime.units import format_amount, format_duration, format_time

    with connected(rpc, deployment) as chain:
        who = account_address(account, keystore)
        now = chain.now()
        tokens, staked, votes = chain.balance_of(who), chain.stake_of(who), chain.votes_of(who)
        rewards, coins = chain.claimable(who), chain.gas_balance_of(who)
        delegatee, leaving = chain.delegate_of(who), chain.unbondings(who)
        first = chain.ledger_reader.enrolled_from(who)
    document = {
        "account": who,
        "tokens": str(tokens),
        "stake": str(staked),
        "enrolledFrom": first or None,
        "votes": str(votes),
        "delegate": delegatee if int(delegatee, 16) else None,
        "claimable": str(rewards),
        "unbonding": [{"amount": str(part.amount), "releaseAt": part.release_at} for part in leaving],
        "wei": str(coins),
    }
    lines = {
        "account": who,
        "tokens": format_amount(tokens),
        "stake": format_amount(staked),
        "enrolled": f"from round {first} on" if first else "no",
        "votes": format_amount(votes)
        + (f" (delegated to {delegatee})" if int(delegatee, 16) and delegatee != who else ""),
        "rewards": format_amount(rewards) + (" (take them with `folkmoot claim`)" if rewards else ""),
        "gas money": f"{coins / 10**18:.6f} native coins",
    }
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
