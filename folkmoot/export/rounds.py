# SPDX-License-Identifier: Apache-2.0
"""Plain records of a round and a federation, independent of sources and formats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.runtime.units import UNIT


@dataclass(frozen=True)
class RoundRecord:
    """Known data of one round. Unknown values are None, or missing in a mapping."""

    number: int
    phase: str
    """opening, open, committed, anchored, final, cancelled or slashed."""
    base: int
    """Round whose state it trained from."""
    policy: int
    """Number of its policy."""
    opened_at: int | None = None
    """Unix time of its opening, in chain time."""
    seconds: int | None = None
    """Seconds from its opening to its anchor, in chain time, which a local chain can advance."""
    entries: int = 0
    """Number of commitments on the chain."""
    refused: int | None = None
    """Number of updates that the coordinator refused."""
    answered: int | None = None
    """Number of nodes with an accepted update, according to the operator."""
    failed: int | None = None
    """Number of nodes that failed or were refused, according to the operator."""
    gas: int | None = None
    """Gas of its transactions: from a coordinator, its own transactions; from a chain, all of them."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Weight in the aggregate, by contributor."""
    pays: Mapping[str, int] = field(default_factory=dict)
    """Pay in 1/FULL_PAY of a full place, by contributor; empty under a rule without pays."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Code of the verdict, by contributor."""
    rewards: Mapping[str, int] = field(default_factory=dict)
    """Credited rewards, by contributor, in units of 1e-18 tokens."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Metrics in the form of `measures.flat`."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Names of the round's files and roots: state_root (0x), state, mean, verdicts (sha256), header_hash (0x)."""

    @property
    def judged(self) -> bool:
        """Return whether its entries are fixed, because it was anchored or voided."""
        return self.phase not in ("opening", "open", "committed")

    @property
    def accepted(self) -> int | None:
        """Return the number of entries with a weight above 0; None before the round is computed."""
        return sum(weight > 0 for weight in self.weights.values()) if self.weights else None

    @property
    def shares(self) -> dict[str, float]:
        """Return the weights as parts of the largest weight, by contributor."""
        largest = max(self.weights.values(), default=0)
        return {account: weight / largest if largest else 0.0 for account, weight in self.weights.items()}

    @property
    def reward(self) -> int:
        """Return the sum of credited rewards, in units of 1e-18 tokens."""
        return sum(self.rewards.values())

    @property
    def time(self) -> int:
        """Return the Unix time of its anchor, or else of its opening; 0 if unknown."""
        return (self.opened_at or 0) + (self.seconds or 0)

    def numbers(self) -> dict[str, float]:
        """Return all its numbers by `group/name`, for tools that plot them."""
        values: dict[str, float] = dict(self.metrics)
        for name in ("entries", "accepted", "refused", "answered", "failed", "gas", "seconds"):
            value = getattr(self, name)
            if value is not None:
                values[f"round/{name}"] = float(value)
        if self.rewards:
            values["round/reward"] = self.reward / UNIT
        values |= {f"weight/{account}": share for account, share in self.shares.items()}
        values |= {f"pay/{account}": pay / FULL_PAY for account, pay in self.pays.items()}
        values |= {f"reward/{account}": amount / UNIT for account, amount in self.rewards.items()}
        return values


@dataclass(frozen=True)
class Outcome:
    """What is known of a run beside its rounds."""

    audit: str = ""
    """What an audit found if everything matches; empty if none was run, or did not pass."""
    failure: str = ""
    """What an audit found that does not match."""
    interrupted: str = ""
    """Why the run ended early; empty if it did not."""
    model: str = ""
    """Path of the model's file, relative to the folder of the run."""
    sha256: str = ""
    """SHA-256 of that file."""


@dataclass(frozen=True)
class FederationRecord:
    """A federation and its rounds."""

    task: str
    """Task of the model; empty if unknown."""
    chain_id: int
    """EIP-155 id of the chain."""
    ledger: str
    """Address of the RoundLedger."""
    source: str
    """Description of the source, for people."""
    rounds: tuple[RoundRecord, ...]
    """Rounds by ascending number."""
    warnings: tuple[str, ...] = ()
    """Warnings about missing data, with reasons."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of contributors by account, in the operator's words."""
    outcome: Outcome = Outcome()
    """What a run left."""

    @property
    def contributors(self) -> list[str]:
        """Return the accounts with a weight or a reward in any round, sorted."""
        return sorted({account for round_ in self.rounds for account in (*round_.weights, *round_.rewards)})

    @property
    def metric_names(self) -> list[str]:
        """Return the names of all metrics, the most significant source first."""
        from folkmoot.evaluation.app_metrics import rank

        return sorted({name for round_ in self.rounds for name in round_.metrics}, key=rank)
