# SPDX-License-Identifier: Apache-2.0
"""The verdicts on one account, from the ledger's events and the files that they name.

Each verdicts file is checked against the hash in the anchor, and each anchor against the hash that the ledger stores.
So the coordinator is bound to what is shown. Whether it is *right*, `folkmoot audit` checks. This module knows no
rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.chain.client import Chain
from folkmoot.errors import ArtifactError, RpcError
from folkmoot.explain.reputation import Part, parts_of_round
from folkmoot.explain.why import Judgement, judge, weighed_in
from folkmoot.ledger.entries import anchor_of, entries_of
from folkmoot.ledger.events import (
    CommitsClosed,
    Event,
    RewardCredited,
    RoundAnchored,
    RoundCancelled,
    RoundFinalized,
    RoundOpened,
    RoundSettled,
    RoundSlashed,
    UpdatesCommitted,
)
from folkmoot.ledger.scan import fold_ledger
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.verdict import Verdicts


@dataclass
class LedgerRound:
    """A round according to the ledger's events."""

    number: int
    """Its number."""
    policy: int
    """Policy that it pins."""
    coordinator: str
    """Who opened it."""
    base: int
    """Round that it builds on."""
    commit_deadline: int
    """Unix time from which commitments are refused."""
    anchor_deadline: int
    """Unix time from which the anchor is late."""
    contributors: list[str] = field(default_factory=list)
    """Contributors of its entries, in entry order."""
    anchor: Anchor | None = None
    """Its anchor, if there is one."""
    final: bool = False
    """Whether the challenge window is over."""
    settled: bool = False
    """Whether the rewards were credited."""
    credited: dict[str, int] = field(default_factory=dict)
    """Credited rewards by account, in units of 1e-18 tokens."""
    void: str = ""
    """``cancelled`` or ``slashed`` for a void round, else empty."""

    @property
    def judged(self) -> bool:
        """Whether it has valid verdicts."""
        return self.anchor is not None and not self.void


def ledger_rounds(chain: Chain) -> dict[int, LedgerRound]:
    """Return all rounds by number, from the ledger's events up to the newest block.

    Raises:
        RpcError: the endpoint failed, or its events do not fit together.
    """
    return fold_ledger(chain, _fold)


def judgements(
    chain: Chain, source: ArtifactSource, rounds: dict[int, LedgerRound], account: str
) -> list[Judgement]:
    """Return the verdicts on an account, in ascending order of rounds.

    Args:
        chain: Endpoint and addresses.
        source: Where the verdicts files are.
        rounds: As ``ledger_rounds`` returns them.
        account: Checksummed address.

    Raises:
        RpcError: the endpoint failed, or an anchor is not the one that the ledger stores.
        ArtifactError: a verdicts file is missing or is not what the chain says.
    """
    policies: dict[int, Policy] = {}
    explained = []
    for number in sorted(rounds):
        round_ = rounds[number]
        if round_.anchor is None or round_.void or account not in round_.contributors:
            continue
        if round_.policy not in policies:
            policies[round_.policy] = chain.policy(round_.policy)
        explained.append(_judgement(chain, source, round_, round_.anchor, policies[round_.policy], account))
    return explained


def parts_of(judgements: Iterable[Judgement]) -> list[Part]:
    """Return the inputs of ``reputation``."""
    return [judgement.part for judgement in judgements]


def _judgement(
    chain: Chain, source: ArtifactSource, round_: LedgerRound, anchor: Anchor, policy: Policy, account: str
) -> Judgement:
    if chain.round(round_.number).anchor_hash != anchor.hash:
        raise RpcError(
            f"The RPC endpoint's event of the anchor of round {round_.number} is not what the ledger stores.",
            remedy="Use another endpoint.",
            code="bad-log",
        )
    name = anchor.verdict_hash.hex()
    verdicts = Verdicts.from_json(source.document(name))
    if (
        verdicts.round != round_.number
        or (verdicts.rule, verdicts.parameters) != (policy.rule, policy.parameters)
        or [verdict.contributor for verdict in verdicts.verdicts] != round_.contributors
        or tuple(verdict.weight for verdict in verdicts.verdicts) != anchor.weights
    ):
        raise ArtifactError(
            f"The verdicts file of round {round_.number} contradicts the chain: another round, rule, list of entries "
            "or other weights.",
            remedy="The coordinator anchored it so: run `folkmoot audit`, and tell the others.",
            code="artifact-contradicts",
            details={"round": round_.number, "file": name},
        )
    parts = parts_of_round(
        round_.number, verdicts.verdicts, round_.coordinator, policy.reward, final=round_.final
    )
    return judge(
        parts[account],
        verdicts.verdicts[round_.contributors.index(account)],
        policy,
        entries=len(verdicts.verdicts),
        credited=round_.credited.get(account, 0) if round_.settled else None,
        weighed=weighed_in(verdicts.verdicts, round_.coordinator),
    )


def _fold(events: Iterable[Event]) -> dict[int, LedgerRound]:
    rounds: dict[int, LedgerRound] = {}
    for event in events:
        match event:
            case RoundOpened():
                rounds[event.round] = LedgerRound(
                    event.round,
                    event.policy_id,
                    event.coordinator,
                    event.base,
                    event.commit_deadline,
                    event.anchor_deadline,
                )
            case UpdatesCommitted():
                rounds[event.round].contributors += [entry.contributor for entry in entries_of(event)]
            case CommitsClosed():
                closed = rounds[event.round]
                closed.commit_deadline, closed.anchor_deadline = event.commit_deadline, event.anchor_deadline
            case RoundAnchored():
                rounds[event.round].anchor = anchor_of(event)
            case RoundFinalized():
                rounds[event.round].final = True
            case RoundSettled():
                rounds[event.round].settled = True
            case RewardCredited():
                rounds[event.round].credited[event.contributor] = event.amount
            case RoundCancelled():
                rounds[event.round].void = "cancelled"
            case RoundSlashed():
                rounds[event.round].void = "slashed"
                for number in range(event.round + 1, max(rounds) + 1):
                    # Void without an event: anchored on a round that fell.
                    if rounds[rounds[number].base].void and rounds[number].anchor is not None:
                        rounds[number].void = rounds[number].void or "cancelled"
    return rounds
