# SPDX-License-Identifier: Apache-2.0
"""What a bond must be worth, and what people should know of a policy before they deploy or propose it.

The contracts can't compare a bond with the gas of a proof: they know no price of gas in tokens. So people say what they
assume, and are warned.
"""

from __future__ import annotations

from folkmoot.economics.lies import tokens
from folkmoot.economics.setting import Setting, proof_gas
from folkmoot.economics.table import play_all
from folkmoot.protocol.policy import Policy
from folkmoot.runtime.units import format_amount


def least_bond(setting: Setting) -> int:
    """Return the least bond that a policy should have, in units of 1e-18 tokens: the larger of two.

    - What the ledger asks for: a multiple of the reward.
    - That of which the challenger's part is worth the reward, what steering is worth, and the gas of the dearest proof.
      With less a coordinator can bribe one watcher with what a lie brings. With the present rules (a quarter for the
      challenger) a lie also has a loss on average then, if it is proven with more than 25 %.
    """
    rules, policy = setting.rules, setting.policy
    wanted = setting.prize + setting.proof_cost
    for_watchers = -(-wanted * rules.share_denominator // rules.challenger_share)
    return max(rules.bond_factor * policy.reward, for_watchers)


LEAST_WINDOW = 60
"""Seconds of a window below which `policy_warning` warns."""


def policy_warning(setting: Setting) -> str | None:
    """Return what people should know of a policy's bond, verifier, rule and windows, in words; None if nothing."""
    texts = (_money_warning(setting), _window_warning(setting.policy))
    return " ".join(text for text in texts if text) or None


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


def _money_warning(setting: Setting) -> str | None:
    rules, policy = setting.rules, setting.policy
    if not setting.has_verifier:
        return (
            "The policy has no verifier: nobody can prove fraud in its rounds, so the bond protects nobody."
        )
    least = least_bond(setting)
    if policy.bond < least:
        refused = policy.bond < rules.bond_factor * policy.reward
        return (
            f"The bond of {format_amount(policy.bond)} is low. "
            + (f"The ledger refuses less than {rules.bond_factor} rewards. " if refused else "")
            + f"Whoever proves fraud gets {100 * rules.challenger_part} % of it and pays the gas: up to about "
            f"{proof_gas(policy):,} for {policy.max_contributors} contributors. At {format_amount(setting.gas_price)} "
            f"for a million gas, the bond should be at least {format_amount(least)}: then the proof of a lie brings as "
            "much as the lie, and no watcher can be bribed with less."
        )
    paying = [row for row in play_all(setting) if row.pays]
    if not paying:
        return None
    listed = "; ".join(
        f"{row.strategy} ({row.best.choice}: {tokens(row.best.profit)} a round)" for row in paying
    )
    return f"These strategies pay against the policy: {listed}. See `folkmoot economics --policy FILE`."
