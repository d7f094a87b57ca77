# SPDX-License-Identifier: Apache-2.0
"""How much a coordinator must have at stake, and how much a majority of the votes can have minted."""

from __future__ import annotations

from dataclasses import dataclass

from folkmoot.protocol.policy import Policy
from folkmoot_lab.economics.rules import PRESENT, Rules

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Capital:
    """What a coordinator has locked that never waits.

    Attributes:
        rounds: Rounds that are open or pending at once.
        bonds: What is locked for them, in units of 1e-18 tokens.
    """

    rounds: int
    bonds: int


def capital(policy: Policy, length: int | None = None, held: int = 0, rules: Rules = PRESENT) -> Capital:
    """Return what a coordinator has locked that opens a round as soon as the last one is anchored.

    Args:
        policy: The rules of the rounds.
        length: Seconds from an opening to the anchor, if the policy's interval is not longer; None for the whole commit
            window.
        held: Seconds for which a dispute or a demand holds a round beyond its challenge window; all later rounds wait.
        rules: The rules of the contracts.
    """
    length = max(1, policy.interval, policy.commit_window if length is None else length)
    pending = -(-(policy.challenge_window + held) // length)
    rounds = 1 + min(pending, rules.max_pending)
    return Capital(rounds, policy.bond * (rounds if rules.bond_for_each_round else 1))


@dataclass(frozen=True, slots=True)
class Minting:
    """What the holders of the votes can have minted at most.

    Attributes:
        rounds: Rounds a day.
        minted: Tokens a day, in units of 1e-18.
        bonds: Bonds that are locked for it all the time, in units of 1e-18 tokens.
    """

    rounds: int
    minted: int
    bonds: int


def most_minted(policy: Policy, rules: Rules = PRESENT) -> Minting:
    """Return what the holders of the votes can have minted at most.

    They set the largest reward and the shortest interval and challenge window that the deployment allows, appoint a
    coordinator of their own, and end each round at once. What limits them then is the interval, or the number of
    pending rounds, and their bonds.

    Args:
        policy: The first policy of the deployment.
        rules: The rules of the contracts.
    """
    reward = rules.reward_factor * policy.reward
    bond = max(rules.bond_factor * reward, policy.bond // rules.bond_divisor)
    window = max(1, policy.challenge_window // rules.window_divisor)
    rounds, pending = rules.max_pending * DAY // window, rules.max_pending
    if interval := policy.interval // rules.window_divisor:
        rounds, pending = min(rounds, -(-DAY // interval)), min(pending, 1 + -(-window // interval))
    return Minting(rounds, rounds * reward, pending * bond)
