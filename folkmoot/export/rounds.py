# SPDX-License-Identifier: Apache-2.0
"""A round and a federation as plain records. Knows neither where they come from nor where they go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from folkmoot.runtime.units import UNIT


@dataclass(frozen=True)
class RoundRecord:
    """What is known of one round. None, or nothing in a mapping, where the source does not say."""

    number: int
    """Its number."""
    phase: str
    """opening, open, committed, anchored, final, cancelled or slashed."""
    base: int
    """Round whose state it trained from."""
    policy: int
    """Policy that it pins."""
    opened_at: int | None = None
    """Unix time of its opening, by the chain."""
    seconds: int | None = None
    """Seconds from its opening to its anchor, by the chain's clock, which a local chain moves on."""
    entries: int = 0
    """Commitments on the chain."""
    refused: int | None = None
    """Answers that the coordinator refused."""
    answered: int | None = None
    """Nodes whose update was accepted, as the operator reports."""
    failed: int | None = None
    """Nodes that failed or were refused, as the operator reports."""
    gas: int | None = None
    """Gas of its transactions: the coordinator's, or from a chain those of everybody."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Weight in the aggregate, by contributor."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Code of the verdict, by contributor."""
    rewards: Mapping[str, int] = field(default_factory=dict)
    """What was credited, by contributor, in units of 1e-18 tokens."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """As `measures.flat` gives them."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Names of the round's files and roots: state_root (0x), state, aggregate, verdicts (sha256), header_hash (0x)."""

    @property
    def judged(self) -> bool:
        """Whether its entries are fixed: it was anchored, or came to nothing."""
        return self.phase not in ("opening", "open", "committed")

    @property
    def accepted(self) -> int | None:
        """Entries with a weight above 0; None before the round is computed."""
        return sum(weight > 0 for weight in self.weights.values()) if self.weights else None

    @property
    def shares(self) -> dict[str, float]:
        """Weights as parts of the largest, by contributor."""
        largest = max(self.weights.values(), default=0)
        return {account: weight / largest if largest else 0.0 for account, weight in self.weights.items()}

    @property
    def reward(self) -> int:
        """All that was credited, in units of 1e-18 tokens."""
        return sum(self.rewards.values())

    @property
    def time(self) -> int:
        """Unix time of its anchor, else of its opening; 0 if nobody knows."""
        return (self.opened_at or 0) + (self.seconds or 0)

    def numbers(self) -> dict[str, float]:
        """All its numbers by `group/name`, for tools that draw them."""
        found: dict[str, float] = dict(self.metrics)
        for name in ("entries", "accepted", "refused", "answered", "failed", "gas", "seconds"):
            value = getattr(self, name)
            if value is not None:
                found[f"round/{name}"] = float(value)
        if self.rewards:
            found["round/reward"] = self.reward / UNIT
        found |= {f"weight/{account}": share for account, share in self.shares.items()}
        found |= {f"reward/{account}": amount / UNIT for account, amount in self.rewards.items()}
        return found


@dataclass(frozen=True)
class FederationRecord:
    """A federation and its rounds."""

    task: str
    """Task that the model is for; empty if the source does not say."""
    chain_id: int
    """EIP-155 id of the chain."""
    ledger: str
    """RoundLedger."""
    source: str
    """Where the records come from, for people."""
    rounds: tuple[RoundRecord, ...]
    """By ascending number."""
    warnings: tuple[str, ...] = ()
    """What is missing, and why."""

    @property
    def contributors(self) -> list[str]:
        """Accounts with a weight or a reward in any round, sorted."""
        return sorted({account for one in self.rounds for account in (*one.weights, *one.rewards)})

    @property
    def metric_names(self) -> list[str]:
        """Names of all metrics, sorted as people look for them."""
        from folkmoot.evaluation.app_metrics import rank

        return sorted({name for one in self.rounds for name in one.metrics}, key=rank)
