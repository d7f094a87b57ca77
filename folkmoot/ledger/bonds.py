# SPDX-License-Identifier: Apache-2.0
"""What a bond must be worth, so that whoever proves fraud does not pay for it.

A challenger gets half of the bond and pays the gas of the proof. The contracts can't compare the two: they know no
price of gas in tokens. So people say what they assume, and are warned.
"""

from __future__ import annotations

from folkmoot.protocol.policy import NO_VERIFIER, Policy
from folkmoot.runtime.units import format_amount

MILLION = 1_000_000

PROOFS_IN_BOND = 4
"""How many times the gas of the dearest proof a bond must hold beyond the reward; the challenger gets half."""

# Measured for a model of 1 M parameters: contracts/snapshots/FraudProofs.json.
_OUTER_STEP = 1_930_000
_AGGREGATE = 180_000
_ENTRY = 36_000
_TRIMMED_ENTRY = 46_000
_TRIMMED = ("trimmed_mean", "guarded_trimmed_mean")


def proof_gas(policy: Policy) -> int:
    """Return about what the dearest proof costs in gas, for a full round and a model of 1 M parameters.

    That of a wrong aggregate brings a leaf of every update; that of a wrong outer step always costs the same.
    """
    entry = _TRIMMED_ENTRY if policy.rule in _TRIMMED else _ENTRY
    return max(_OUTER_STEP, _AGGREGATE + entry * policy.max_contributors)


def least_bond(policy: Policy, gas_price: int) -> int:
    """Return the least bond that makes proofs pay, in units of 1e-18 tokens.

    Args:
        policy: The rules of the rounds.
        gas_price: What 1,000,000 gas cost, in units of 1e-18 tokens.
    """
    return policy.reward + PROOFS_IN_BOND * proof_gas(policy) * gas_price // MILLION


def bond_warning(policy: Policy, gas_price: int) -> str | None:
    """Return what people should know of a policy's bond and verifier, in a sentence; None if all is well.

    Args:
        policy: The rules of the rounds.
        gas_price: What 1,000,000 gas cost, in units of 1e-18 tokens.
    """
    if policy.verifier == NO_VERIFIER:
        return (
            "The policy has no verifier: nobody can prove fraud in its rounds, so the bond protects nobody."
        )
    least = least_bond(policy, gas_price)
    if policy.bond >= least:
        return None
    return (
        f"The bond of {format_amount(policy.bond)} is low. Whoever proves fraud gets half of it and pays the gas: up "
        f"to about {proof_gas(policy):,} for {policy.max_contributors} contributors. At {format_amount(gas_price)} "
        f"for a million gas, the bond should be at least {format_amount(least)}: the reward, and four such proofs."
    )
