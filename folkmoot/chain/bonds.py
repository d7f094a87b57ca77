# SPDX-License-Identifier: Apache-2.0
"""What a bond must be worth, and what people should know of a policy before they deploy or propose it.

The contracts can't compare a bond with the gas of a proof: they know no price of gas in tokens. So people say what they
assume, and are warned. Other distributions can add checks through entry points; folkmoot-lab plays every known attack.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from folkmoot.protocol.policy import (
    BOND_FACTOR,
    CHALLENGER_DIVISOR,
    CLAMPED_MEAN,
    NO_VERIFIER,
    ROOT_SHARE_UNIT,
    Policy,
)
from folkmoot.runtime.units import UNIT, format_amount

CHECKS = "folkmoot.policy_checks"
"""Group of entry points. Each is a function with the arguments of `policy_warning`, which returns a warning or None."""

LEAST_WINDOW = 60
"""Seconds of a window below which `policy_warning` warns."""
MILLION = 1_000_000

# Measured for a model of 1 M parameters: contracts/snapshots/FraudProofs.json.
_OUTER_STEP = 1_518_000
_MEAN = 180_000
_ENTRY = 36_000
_CLAMPED_ENTRY = 38_500


def proof_gas(policy: Policy) -> int:
    """Return about what the dearest proof costs in gas, for a full round and a model of 1 M parameters.

    That of a wrong mean brings a leaf of every update; that of a wrong outer step always costs the same.
    """
    entry = _CLAMPED_ENTRY if policy.rule == CLAMPED_MEAN else _ENTRY
    return max(_OUTER_STEP, _MEAN + entry * policy.max_contributors)


def least_bond(policy: Policy, gas_price: int = UNIT) -> int:
    """Return the least bond that a policy should have, in units of 1e-18 tokens: the larger of two.

    - What the ledger asks for: a multiple of the reward.
    - That of which the challenger's part is worth the reward and the gas of the dearest proof. With less a coordinator
      can bribe one watcher with what a lie brings. A lie also has a loss on average then, if it is proven with more
      than 25 %.

    Args:
        policy: The rules of the rounds.
        gas_price: What 1,000,000 gas cost, in units of 1e-18 tokens.
    """
    wanted = policy.reward + proof_gas(policy) * gas_price // MILLION
    return max(BOND_FACTOR * policy.reward, CHALLENGER_DIVISOR * wanted)


def minting(policy: Policy) -> str:
    """Return the most that the rounds of a day mint, in words."""
    most = policy.minted_per_day
    return "no bound, as its interval is 0" if most is None else f"at most {format_amount(most)}"


def policy_warning(policy: Policy, *, gas_price: int = UNIT, demand_deposit: int = UNIT) -> str | None:
    """Return what people should know of a policy's bond, verifier, rule, windows and width; None if nothing.

    Args:
        policy: The rules of the rounds.
        gas_price: What 1,000,000 gas cost, in units of 1e-18 tokens.
        demand_deposit: Deposit of a demand, in the same units.
    """
    texts = [_bond_warning(policy, gas_price)]
    if not texts[0]:
        for point in sorted(entry_points(group=CHECKS), key=lambda point: point.name):
            try:
                check = point.load()
            except ImportError as error:
                texts.append(f"The policy check `{point.name}` can't be loaded: {error}.")
                continue
            texts.append(check(policy, gas_price=gas_price, demand_deposit=demand_deposit))
    texts += [_window_warning(policy), _width_warning(policy), _root_warning(policy)]
    return " ".join(filter(None, texts)) or None


def _window_warning(policy: Policy) -> str | None:
    windows = {
        "commitWindow": policy.commit_window,
        "anchorWindow": policy.anchor_window,
        "challengeWindow": policy.challenge_window,
    }
    short = ", ".join(f"{key} {seconds} s" for key, seconds in windows.items() if seconds < LEAST_WINDOW)
    if not short:
        return None
    return f"These windows are shorter than {LEAST_WINDOW} s: {short}. On a real chain nobody can act within them."


def _width_warning(policy: Policy) -> str | None:
    if policy.rule != CLAMPED_MEAN or policy.width > 2:
        return None
    return (
        "At width 2 the sum clamps nothing and stops no backdoor: one that 6 of 20 contributors planted worked on "
        "34.5 % of the images."
    )


def _root_warning(policy: Policy) -> str | None:
    if policy.rule != CLAMPED_MEAN or not policy.parameters:
        return None
    return (
        f"The root set gives out {policy.parameters[0] / ROOT_SHARE_UNIT:.0%} of the weight: whoever holds the "
        "coordinator's account chooses it, and so decides about that part of the weight."
    )


def _bond_warning(policy: Policy, gas_price: int) -> str | None:
    if policy.verifier == NO_VERIFIER:
        return (
            "The policy has no verifier: nobody can prove fraud in its rounds, so the bond protects nobody."
        )
    least = least_bond(policy, gas_price)
    if policy.bond >= least:
        return None
    refused = policy.bond < BOND_FACTOR * policy.reward
    return (
        f"The bond of {format_amount(policy.bond)} is low. "
        + (f"The ledger refuses less than {BOND_FACTOR} rewards. " if refused else "")
        + f"Whoever proves fraud gets {100 // CHALLENGER_DIVISOR} % of it and pays the gas: up to "
        f"about {proof_gas(policy):,} for {policy.max_contributors} contributors. At {format_amount(gas_price)} "
        f"for a million gas, the bond should be at least {format_amount(least)}: then the proof of a lie brings as "
        "much as the lie, and no watcher can be bribed with less."
    )
