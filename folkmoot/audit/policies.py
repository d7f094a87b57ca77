# SPDX-License-Identifier: Apache-2.0
"""Check the policies: those in events equal those in storage, their numbers have no gap, and they keep to the limits.

The limits are those of contracts/src/Policies.sol, with what the deployment has fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from folkmoot.aggregation.registry import most_contributors
from folkmoot.audit.failure import Subject, require, require_that
from folkmoot.audit.history import History, Limits
from folkmoot.ledger.events import PolicyAdded
from folkmoot.protocol.budget import MAX_STEPS
from folkmoot.protocol.mean import largest_scale
from folkmoot.protocol.packing import WIDTHS, largest
from folkmoot.protocol.policy import BOND_FACTOR, NO_VERIFIER, Policy

MAX_PARAMETERS = 32
"""Most parameters of a rule."""

MAX_MOMENTUM = 1024
"""Largest outer momentum, in 1/1024."""

MAX_RATE = 4096
"""Largest outer learning rate, in 1/1024."""


def check_policies(history: History) -> Mapping[int, Policy]:
    """Compare the policies in events with the stored ones; return them by number."""
    policies: dict[int, Policy] = {}
    for event in history.events:
        if not isinstance(event, PolicyAdded):
            continue
        subject = Subject(check="policies", event=event)
        require(subject, "the number of the policy", len(policies) + 1, event.policy_id)
        stored = history.storage.policies.get(event.policy_id)
        require(subject, f"policy {event.policy_id}", stored, event.policy)
        for what, holds, expected, actual in _ranges(event.policy, history.storage.limits):
            require_that(holds, subject, f"the policy's {what}", expected, actual)
        policies[event.policy_id] = event.policy
    require(Subject(check="policies"), "the newest policy", len(policies), history.storage.current_policy)
    return policies


def verifier_notes(history: History, policies: Mapping[int, Policy]) -> list[str]:
    """Return one remark for each policy whose verifier is not the deployment's arbiter. This is not a failure."""
    notes = []
    for number, policy in policies.items():
        if policy.verifier == NO_VERIFIER:
            notes.append(f"Policy {number} has no verifier: no fraud can be proven in its rounds.")
        elif policy.verifier != history.deployment.arbiter:
            notes.append(
                f"Policy {number} names the verifier {policy.verifier}, not the deployment's arbiter: this audit "
                "can't say by which rules it judges."
            )
    return notes


def _ranges(policy: Policy, limits: Limits) -> Iterator[tuple[str, bool, str, Any]]:
    """Yield each limit: of what, whether the policy keeps to it, which one, and the policy's value."""
    bounds = limits.bounds

    def within(name: str, least: int, most: int | None = None) -> tuple[str, bool, str, Any]:
        value = getattr(policy, name)
        holds = least <= value and (most is None or value <= most)
        text = f"at least {least}" if most is None else f"{least} to {most}"
        return name.replace("_", " "), holds, text, value

    count = len(policy.parameters)
    yield "number of parameters", count <= MAX_PARAMETERS, f"at most {MAX_PARAMETERS}", count
    yield within("max_sum_squares", 1)
    yield within("min_contributors", 1, policy.max_contributors)
    yield within("max_contributors", 1, most_contributors(policy.rule))
    widths = WIDTHS if not policy.noise1024 else WIDTHS[:1]
    yield "width", policy.width in widths, " or ".join(map(str, widths)), policy.width
    yield within("mean_scale", 1, largest_scale(largest(policy.width)))
    yield within("rate", 1, MAX_RATE)
    yield within("momentum", 0, MAX_MOMENTUM)
    yield within("reward", 0, bounds.max_reward)
    yield within("bond", max(BOND_FACTOR * policy.reward, bounds.min_bond))
    yield within("min_stake", 1, bounds.max_min_stake)
    yield within("commit_window", max(1, bounds.min_commit_window))
    yield within("anchor_window", 1)
    yield within("challenge_window", max(1, bounds.min_challenge_window))
    yield within("min_sum_squares", 0, policy.max_sum_squares)
    if policy.noise1024:
        yield within("steps", 1, MAX_STEPS)
        if 1 <= policy.steps <= MAX_STEPS:
            yield within("privacy_cap", policy.cost)
    else:
        yield within("steps", 0, 0)
        yield within("privacy_cap", 0, 0)
    windows = policy.commit_window + policy.anchor_window + policy.challenge_window
    yield "windows together", windows <= limits.max_windows, f"at most {limits.max_windows}", windows
    yield within("interval", bounds.min_interval, limits.max_windows)
    yield "verifier", policy.verifier == limits.verifier, limits.verifier, policy.verifier
