# SPDX-License-Identifier: Apache-2.0
"""The audit: read what a chain says, replay it, recompute it, compare everything (docs/protocol.md section 13).

`audit` reads like the list in that section. Each step is a function of its own module, takes records and raises
AuditFailure at the first thing that does not match. Nobody is trusted: not the endpoint, not the mirror, not the
coordinator, and the deployment file only for the addresses.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.audit.code import check_code
from folkmoot.audit.endpoints import compare_histories
from folkmoot.audit.entries import EntryCounts, check_entries, check_entries_hash
from folkmoot.audit.facts import facts_of
from folkmoot.audit.files import Files
from folkmoot.audit.genesis import check_genesis
from folkmoot.audit.governance import check_governance, replay_governance
from folkmoot.audit.history import Block, History, PinnedRpc, read_history
from folkmoot.audit.journal import Checked, Journal, opened
from folkmoot.audit.outcome import Recomputation
from folkmoot.audit.policies import check_policies, verifier_notes
from folkmoot.audit.registry import check_registry
from folkmoot.audit.rewards import check_rewards, check_supply
from folkmoot.audit.roles import check_roles
from folkmoot.audit.rounds import Round, check_rounds, replay
from folkmoot.audit.stakes import check_stakes, fold_stakes
from folkmoot.errors import ArtifactError, AuditFailure
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import Censored, DisputeUpheld, Event, Withheld
from folkmoot.rpc.client import Phase, Rpc
from folkmoot.rpc.quorum import split_urls
from folkmoot.runtime.units import format_amount

RPC_TIMEOUT = 60.0
"""Seconds that one request may take: some logs are long."""


_TOLD: Mapping[type[Event] | type[None], str] = {
    Withheld: "what it had anchored was demanded, and nobody showed it in time",
    Censored: "an update that was delivered on chain was anchored as not delivered",
}
"""Why a round was slashed, where that can't be recomputed from its artifacts."""


@dataclass
class Progress:
    """What the audit tells while it runs; by default nobody listens."""

    step: Callable[[str], None] = lambda what: None
    """Called with what is checked next."""
    round: Callable[[int, int], None] = lambda done, total: None
    """Called with the number of rounds that were recomputed, and of all that will be."""
    say: Callable[[str], None] = lambda text: None
    """Called with what people should know now, and not when hours have passed."""


@dataclass
class Summary:
    """What an audit that found nothing wrong has checked."""

    head: Block
    """The audited block."""
    rounds: Counter[str] = field(default_factory=Counter)
    """Rounds by phase."""
    recomputed: int = 0
    """Rounds whose outcome was recomputed."""
    updates: int = 0
    """Update files that were checked and went into an outcome."""
    entries: EntryCounts = field(default_factory=EntryCounts)
    """How entries were believed."""
    hashed: int = 0
    """Bytes of artifacts that were hashed and recomputed."""
    events: int = 0
    """Events that were replayed."""
    policies: int = 0
    """Policies."""
    proposals: int = 0
    """Proposals."""
    votes: int = 0
    """Votes that were weighed anew."""
    rewards: int = 0
    """Tokens claimed as rewards, in units of 1e-18."""
    model_head: int = 0
    """Round whose state the next round trains from."""
    state_root: bytes = b""
    """Its state root."""
    active: tuple[int, bytes] | None = None
    """Active version and hash of its report."""
    journal: Journal | None = None
    """What was taken from an earlier audit, and written for a later one."""
    seconds: float = 0.0
    """Time that the audit took."""
    notes: list[str] = field(default_factory=list)
    """What is right and yet worth knowing."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "ok": True,
            "block": self.head.number,
            "blockHash": "0x" + self.head.hash.hex(),
            "rounds": dict(sorted(self.rounds.items())),
            "recomputed": self.recomputed,
            "updates": self.updates,
            "entries": {
                "signed": self.entries.signed,
                "own": self.entries.own,
                "relied": self.entries.relied,
            },
            "bytes": self.hashed,
            "events": self.events,
            "policies": self.policies,
            "proposals": self.proposals,
            "votes": self.votes,
            "rewardsClaimed": str(self.rewards),
            "head": self.model_head,
            "stateRoot": "0x" + self.state_root.hex(),
            "activeVersion": self.active[0] if self.active else None,
            "activeReport": "0x" + self.active[1].hex() if self.active else None,
            "journal": self._journal_to_json(),
            "seconds": round(self.seconds, 3),
            "notes": self.notes,
        }

    def _journal_to_json(self) -> dict[str, Any] | None:
        if self.journal is None:
            return None
        return {
            "kept": [{"round": line.round, "at": line.at} for line in self.journal.kept],
            "verifiedNow": self.journal.noted,
            "dropped": self.journal.dropped,
        }


def audit(
    rpc_urls: Sequence[str],
    deployment: Deployment,
    source: ArtifactSource,
    *,
    from_round: int = 1,
    journal: Path | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Check the whole history of a federation.

    Args:
        rpc_urls: Endpoints; the first is read, the others must say the same.
        deployment: The addresses.
        source: The artifacts.
        from_round: First round that is recomputed. What the chain says is checked for all rounds.
        journal: File that remembers which rounds were found right: they are not recomputed again as long as the
            chain says the same of them. All that the chain says is checked anew every time.
        progress: Told what is going on.

    Raises:
        AuditFailure: the first thing that does not match.
        ChainError: an endpoint failed, or serves another chain.
        ArtifactError: the source gave no answer.
        InputError: the journal is of another audit, damaged, in use, or can't be written (`audit-journal`).
    """
    started = time.monotonic()
    with ExitStack() as stack:
        endpoints = _open(rpc_urls, stack)
        run = _Run(Files(source), from_round, journal, progress or Progress())
        summary = _check(endpoints, deployment, run)
    summary.seconds = time.monotonic() - started
    return summary


@dataclass(frozen=True)
class _Run:
    """How an audit was asked for."""

    files: Files
    from_round: int
    journal: Path | None
    progress: Progress


def _check(endpoints: Sequence[PinnedRpc], deployment: Deployment, run: _Run) -> Summary:
    files, progress = run.files, run.progress
    history = _read(endpoints, deployment, progress)
    summary = Summary(history.head, events=len(history.events))

    progress.step("contracts")
    creation = check_code(history)
    if creation is None:
        summary.notes.append(
            "A contract created some of the contracts: their constructor arguments could not be read, so it is not "
            "shown that the arbiter has no further judges."
        )

    progress.step("genesis")
    origin = check_genesis(history, files)

    progress.step("policies, stakes, rounds")
    policies = check_policies(history)
    stakes = fold_stakes(history)
    ledger = replay(history, policies, stakes, origin.state_root)
    check_rounds(history, ledger)
    summary.policies, summary.model_head = len(policies), ledger.head
    summary.state_root = ledger.state_root(ledger.head)

    progress.step("updates, verdicts, aggregates")
    recomputation = Recomputation(history, ledger, files, origin)
    if run.journal is None:
        _check_all(summary, recomputation, run, None)
    else:
        with opened(run.journal, history, origin, run.from_round, run.progress.say) as journal:
            _check_all(summary, recomputation, run, journal)

    progress.step("rewards and stakes")
    summary.rewards = check_rewards(history, ledger)
    check_supply(history, creation, summary.rewards)
    check_stakes(history, stakes)

    progress.step("registry and votes")
    summary.active = check_registry(history, ledger)
    assembly = replay_governance(history, stakes)
    check_governance(history, assembly, stakes)
    summary.notes += check_roles(history)
    summary.proposals, summary.votes = len(assembly.proposals), assembly.votes

    summary.hashed = files.hashed
    if stakes.donated:
        summary.notes.append(
            f"{format_amount(stakes.donated)} lie in the vault without being staked: a gift."
        )
    if summary.entries.relied:
        summary.notes.append(
            f"{summary.entries.relied} entries were recorded through other contracts, or signed by contracts: for "
            "their signatures the audit relies on the ledger."
        )
    summary.notes += verifier_notes(history, policies)
    return summary


def _open(rpc_urls: Sequence[str], stack: ExitStack) -> list[PinnedRpc]:
    """Open the endpoints, all at the newest block that every one of them has."""
    endpoints = [stack.enter_context(Rpc(url, RPC_TIMEOUT)) for url in split_urls(rpc_urls)]
    head = min(rpc.block_number() for rpc in endpoints)
    return [PinnedRpc(rpc, head) for rpc in endpoints]


def _read(endpoints: Sequence[PinnedRpc], deployment: Deployment, progress: Progress) -> History:
    """Read what the endpoints say, and compare it; the first one's history is the one that is audited."""
    histories = []
    for rpc in endpoints:
        step = partial(_step_from, progress, rpc.name)
        histories.append(read_history(rpc, deployment, step))
    progress.step("what the endpoints say")
    compare_histories([rpc.name for rpc in endpoints], histories)
    return histories[0]


def _step_from(progress: Progress, url: str, what: str) -> None:
    progress.step(f"{what} from {url}")


def _check_all(summary: Summary, recomputation: Recomputation, run: _Run, journal: Journal | None) -> None:
    """Check the rounds one after the other, save those that the journal has; it is told of those that are right."""
    history, ledger = recomputation.history, recomputation.ledger
    facts = facts_of(history, ledger, recomputation.origin) if journal else {}
    for number, found in ledger.rounds.items():
        summary.rounds[found.phase.name.lower()] += 1
        lasting = number >= run.from_round and not found.voided and found.phase != Phase.OPEN
        known = journal.take(number, facts[number]) if journal and lasting else None
        checked = known
        if number >= run.from_round:
            checked = known or _check_round(summary, recomputation, found)
            summary.recomputed += checked.recomputed
            summary.updates += checked.updates
            summary.entries += checked.entries
        check_entries_hash(history, found)
        if journal and lasting and checked and not known:
            journal.note(number, facts[number], checked)
        run.progress.round(number, len(ledger.rounds))
    if journal:
        journal.drop_rest()
    summary.journal = journal
    if run.from_round > 1:
        summary.notes.append(f"The rounds before round {run.from_round} were not recomputed.")


def _check_round(summary: Summary, recomputation: Recomputation, found: Round) -> Checked:
    """Check header, entries and outcome of a round, as far as its fate lets one."""
    if found.voided:
        summary.notes.append(_voided_note(recomputation, found))
    else:
        header = recomputation.check_header(found)
    entries = check_entries(recomputation.history, found)
    if found.phase not in (Phase.ANCHORED, Phase.FINAL):
        return Checked(False, 0, entries)
    outcome = recomputation.check_outcome(found, header)
    return Checked(True, sum(sha256 is not None for sha256 in outcome.artifacts.updates), entries)


def _voided_note(recomputation: Recomputation, found: Round) -> str:
    """Say what recomputing a void round shows; whatever it shows, the round changed nothing."""
    if found.phase != Phase.SLASHED:
        return f"Round {found.number} is void: it was built on a round that was slashed."
    told = _TOLD.get(type(found.judgment))
    if told:
        return f"Round {found.number} was slashed: {told}."
    try:
        recomputation.check_outcome(found, recomputation.check_header(found))
    except AuditFailure as failure:
        return f"Round {found.number} was slashed; recomputing it fails as well. {failure.message}"
    except ArtifactError as error:
        return f"Round {found.number} was slashed; it could not be recomputed. {error.message}"
    who = (
        "voters" if isinstance(found.judgment, DisputeUpheld) else f"the verifier of policy {found.policy_id}"
    )
    return f"Warning: round {found.number} was slashed, but its anchor is right: {who} took an honest bond."
