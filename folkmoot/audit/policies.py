# SPDX-License-Identifier: Apache-2.0
"""Policies: each one in an event is the one that the contract returns, and their numbers have no gap."""

from __future__ import annotations

from collections.abc import Mapping

from folkmoot.audit.failure import Subject, require
from folkmoot.audit.history import History
from folkmoot.ledger.events import PolicyAdded
from folkmoot.protocol.policy import NO_VERIFIER, Policy


def check_policies(history: History) -> Mapping[int, Policy]:
    """Compare the policies in events with the stored ones, and return them by number.

    Raises:
        AuditFailure: they differ.
    """
    found: dict[int, Policy] = {}
    for event in history.events:
        if not isinstance(event, PolicyAdded):
            continue
        subject = Subject(check="policies", event=event)
        require(subject, "the number of the policy", len(found) + 1, event.policy_id)
        stored = history.storage.policies.get(event.policy_id)
        require(subject, f"policy {event.policy_id}", stored, event.policy)
        found[event.policy_id] = event.policy
    require(Subject(check="policies"), "the newest policy", len(found), history.storage.current_policy)
    return found


def verifier_notes(history: History, policies: Mapping[int, Policy]) -> list[str]:
    """Return one sentence for each policy whose verifier is not the deployment's arbiter: no failure, no comfort."""
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
