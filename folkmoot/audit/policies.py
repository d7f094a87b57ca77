# SPDX-License-Identifier: Apache-2.0
"""Check the policies: those in events equal those in storage, and their numbers have no gap."""

from __future__ import annotations

from collections.abc import Mapping

from folkmoot.audit.failure import Subject, require
from folkmoot.audit.history import History
from folkmoot.ledger.events import PolicyAdded
from folkmoot.protocol.policy import NO_VERIFIER, Policy


def check_policies(history: History) -> Mapping[int, Policy]:
    """Compare the policies in events with the stored ones; return them by number.

    Raises:
        AuditFailure: A policy differs.
    """
    policies: dict[int, Policy] = {}
    for event in history.events:
        if not isinstance(event, PolicyAdded):
            continue
        subject = Subject(check="policies", event=event)
        require(subject, "the number of the policy", len(policies) + 1, event.policy_id)
        stored = history.storage.policies.get(event.policy_id)
        require(subject, f"policy {event.policy_id}", stored, event.policy)
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
