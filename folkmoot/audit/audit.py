# SPDX-License-Identifier: Apache-2.0
"""Run the audit: read the chain, replay and recompute it, and compare the results (docs/protocol.md section 13).

`audit` has the steps of that section. Each step is a function of its own module that takes records and raises
AuditFailure at the first mismatch. Endpoint, mirror and coordinator are not trusted, and the deployment file only for
the addresses.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from folkmoot.artifacts.model import WRONG, check_handed_out
from folkmoot.artifacts.sources import ArtifactSource, CoordinatorSource
from folkmoot.audit.code import check_code
from folkmoot.audit.entries import EntryCounts, check_entries, check_entries_hash
from folkmoot.audit.failure import Subject, mismatch
from folkmoot.audit.files import Files
from folkmoot.audit.genesis import check_genesis
from folkmoot.audit.governance import check_governance, check_registry, check_roles, replay_governance
from folkmoot.audit.history import Block, History, PinnedRpc, compare_histories, read_history
from folkmoot.audit.journal import Checked, Journal, facts_of, opened
from folkmoot.audit.ledger_state import Expired
from folkmoot.audit.outcome import Recomputation
from folkmoot.audit.parent import check_parent
from folkmoot.audit.policies import check_policies, verifier_notes
from folkmoot.audit.rewards import check_rewards, check_supply
from folkmoot.audit.rounds import check_rounds, replay
from folkmoot.audit.stakes import check_stakes, fold_stakes
from folkmoot.errors import ArtifactError, AuditFailure
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import Censored, DisputeUpheld, Event, Withheld
from folkmoot.ledger.replay import Round
from folkmoot.protocol.commitment import NO_MEMORY
from folkmoot.protocol.hashing import sha256_of
from folkmoot.protocol.parent import Parent
from folkmoot.rpc.client import Phase, Rpc
from folkmoot.rpc.quorum import open_rpc, split_urls
from folkmoot.runtime.units import format_amount

RPC_TIMEOUT = 60.0
"""Timeout in seconds of a request. Some logs are long."""


_JUDGMENTS: Mapping[type[Event] | type[None], str] = {
    Withheld: "what it had anchored was demanded, and nobody showed it in time",
    Censored: "an update that was delivered on chain was anchored as not delivered",
}
"""Reasons of slashings that can't be recomputed from artifacts, by the judge's event."""


@dataclass
class Progress:
    """Callbacks for the progress of an audit. By default they do nothing."""

    step: Callable[[str], None] = lambda what: None
    """Called with a description of the next check."""
    round: Callable[[int, int], None] = lambda done, total: None
    """Called with the number of recomputed rounds, and the total number."""
    say: Callable[[str], None] = lambda text: None
    """Called with messages that people should see at once."""


@dataclass
class Summary:
    """Result of an audit without a failure."""

    head: Block
    """The audited block."""
    rounds: Counter[str] = field(default_factory=Counter)
    """Rounds by phase."""
    recomputed: int = 0
    """Number of rounds whose outcome was recomputed."""
    anchors: dict[int, bytes] = field(default_factory=dict)
    """Hash of the anchor of each round that was recomputed or is in `expired`, by number."""
    expired: dict[int, Expired] = field(default_factory=dict)
    """Why other rounds were not recomputed: update files were deleted by rule."""
    attested: dict[int, list[str]] = field(default_factory=dict)
    """Auditors whose attestations say that they recomputed an expired round, by its number."""
    models: int = 0
    """Number of versions whose safetensors file was downloaded from the coordinator and compared."""
    updates: int = 0
    """Number of update files that were checked and used in an outcome."""
    entries: EntryCounts = field(default_factory=EntryCounts)
    """Number of entries, by how they were verified."""
    memories: int = 0
    """Number of entries that name a memory: their contributors' own word, which nobody else can check."""
    hashed: int = 0
    """Number of bytes of artifacts that were hashed and recomputed."""
    events: int = 0
    """Number of events that were replayed."""
    policies: int = 0
    """Number of policies."""
    proposals: int = 0
    """Number of proposals."""
    votes: int = 0
    """Number of votes whose weights were recomputed."""
    rewards: int = 0
    """Tokens claimed as rewards, in units of 1e-18."""
    model_head: int = 0
    """Round whose state the next round trains from."""
    state_root: bytes = b""
    """State root of that round."""
    active: tuple[int, bytes] | None = None
    """Active version and hash of its report."""
    recalled: tuple[int, ...] = ()
    """Versions that votes recalled."""
    parent: Parent | None = None
    """The version of another federation with whose state this one starts."""
    parent_standing: str = ""
    """What votes of the parent made of that version; empty if the parent's chain was not asked."""
    journal: Journal | None = None
    """Journal with results of earlier audits and of this one, if any."""
    seconds: float = 0.0
    """Duration of the audit in seconds."""
    notes: list[str] = field(default_factory=list)
    """Remarks that are not failures."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "ok": True,
            "block": self.head.number,
            "blockHash": "0x" + self.head.hash.hex(),
            "rounds": dict(sorted(self.rounds.items())),
            "recomputed": self.recomputed,
            "expired": [
                {"round": number, "why": why, "attestedBy": self.attested.get(number, [])}
                for number, why in self.expired.items()
            ],
            "models": self.models,
            "updates": self.updates,
            "entries": {
                "signed": self.entries.signed,
                "own": self.entries.own,
                "relied": self.entries.relied,
            },
            "memories": self.memories,
            "bytes": self.hashed,
            "events": self.events,
            "policies": self.policies,
            "proposals": self.proposals,
            "votes": self.votes,
            "rewardsClaimed": str(self.rewards),
            "head": self.model_head,
            "stateRoot": "0x" + self.state_root.hex(),
            "activeVersion": self.active[0] if self.active else None,
            "recalled": list(self.recalled),
            "parent": self.parent and {**self.parent.to_json(), "standing": self.parent_standing or None},
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
    coordinator: CoordinatorSource | None = None,
    reads_states: bool = True,
    parent_rpc: str = "",
) -> Summary:
    """Check the whole history of a federation.

    Args:
        rpc_urls: Endpoints. The first is audited, and the others must give the same answers.
        deployment: Addresses of the contracts.
        from_round: First round to recompute. The data on the chain are checked for all rounds.
        journal: File with the rounds that were verified. They are not recomputed as long as their data on the chain are
            the same. The data on the chain are checked every time.
        progress: Callbacks for the progress.
        coordinator: Coordinator whose model files are compared with the states; by default the source, if it is one.
        reads_states: Whether to read the files of states and models too. They follow from the first state and the
            updates, and are most of what passes the line.
        parent_rpc: An endpoint of the chain of the federation that this one came from. It is trusted for what it says
            of that one. Without it, only the first state is compared.

    Raises:
        ChainError: An endpoint failed, or serves another chain.
        InputError: The journal is of another audit, damaged, in use, or can't be written (`audit-journal`).
    """
    started = time.monotonic()
    with ExitStack() as stack:
        endpoints = _open(rpc_urls, stack)
        asked = coordinator or (source if isinstance(source, CoordinatorSource) else None)
        files = Files(source)
        stack.callback(files.states.clear)
        compared = asked if reads_states else None
        run = _Run(files, from_round, journal, progress or Progress(), compared, reads_states)
        summary = _check(endpoints, deployment, run)
        if parent_rpc:
            run.progress.step("parent")
            _check_parent(stack.enter_context(open_rpc(parent_rpc, RPC_TIMEOUT)), summary)
    summary.seconds = time.monotonic() - started
    return summary


@dataclass(frozen=True)
class _Run:
    """Options of an audit."""

    files: Files
    from_round: int
    journal: Path | None
    progress: Progress
    coordinator: CoordinatorSource | None
    reads_states: bool


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
    summary.parent = origin.manifest.parent

    progress.step("policies, stakes, rounds")
    policies = check_policies(history)
    stakes = fold_stakes(history)
    ledger = replay(history, policies, stakes, origin.state_root)
    check_rounds(history, ledger)
    summary.policies, summary.model_head = len(policies), ledger.head
    summary.state_root = ledger.state_root(ledger.head)
    entries = (entry for replayed in ledger.rounds.values() for entry in replayed.commits)
    summary.memories = sum(entry.memory_hash != NO_MEMORY for entry in entries)

    progress.step("updates, verdicts, means")
    recomputation = Recomputation(history, ledger, files, origin, run.reads_states)
    if run.journal is None:
        _check_all(summary, recomputation, run, None)
    else:
        subject = (run.from_round, run.reads_states)
        with opened(run.journal, history, origin, *subject, run.progress.say) as journal:
            _check_all(summary, recomputation, run, journal)

    progress.step("rewards and stakes")
    summary.rewards = check_rewards(history, ledger)
    check_supply(history, creation, summary.rewards)
    check_stakes(history, stakes)

    progress.step("registry and votes")
    releases = check_registry(history, ledger)
    summary.active, summary.recalled = releases.active, tuple(sorted(releases.recalled))
    assembly = replay_governance(history, stakes)
    check_governance(history, assembly, stakes)
    check_roles(history)
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


def _check_parent(rpc: Rpc, summary: Summary) -> None:
    if summary.parent is None:
        summary.notes.append(
            "This federation names no parent: the endpoint of a parent's chain was not asked."
        )
        return
    summary.parent_standing = check_parent(rpc, summary.parent)
    if summary.parent_standing == "recalled":
        summary.notes.append(
            f"Warning: this federation starts from {summary.parent}, which its votes recalled."
        )


def _open(rpc_urls: Sequence[str], stack: ExitStack) -> list[PinnedRpc]:
    """Open the endpoints at the newest block that all of them have."""
    endpoints = [stack.enter_context(Rpc(url, RPC_TIMEOUT)) for url in split_urls(rpc_urls)]
    head = min(rpc.block_number() for rpc in endpoints)
    return [PinnedRpc(rpc, head) for rpc in endpoints]


def _read(endpoints: Sequence[PinnedRpc], deployment: Deployment, progress: Progress) -> History:
    """Read the histories of the endpoints and compare them. Return the first one."""
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
    """Check the rounds in order, except those in the journal. Add verified rounds to the journal."""
    history, ledger = recomputation.history, recomputation.ledger
    compared: set[int] = set()
    facts = facts_of(history, ledger, recomputation.origin) if journal else {}
    for number, replayed in ledger.rounds.items():
        summary.rounds[replayed.phase.name.lower()] += 1
        lasting = number >= run.from_round and not replayed.voided and replayed.phase != Phase.OPEN
        known = journal.take(number, facts[number]) if journal and lasting else None
        checked = known
        if number >= run.from_round:
            checked = known or _check_round(summary, recomputation, replayed)
            judged = checked.recomputed or checked.expired
            if not known and judged and run.coordinator is not None:
                summary.models += check_model(run.coordinator, recomputation, number)
                compared.add(number)
            summary.recomputed += checked.recomputed
            if checked.recomputed or checked.expired:
                summary.anchors[number] = history.storage.rounds[number].anchor_hash
            if checked.expired is not None:
                summary.expired[number] = checked.expired
            summary.updates += checked.updates
            summary.entries += checked.entries
        check_entries_hash(history, replayed)
        if journal and lasting and checked and not known:
            journal.note(number, facts[number], checked)
        run.progress.round(number, len(ledger.rounds))
    if journal:
        journal.drop_rest()
    summary.journal = journal
    _check_models(summary, recomputation, run, compared)
    if not run.reads_states:
        summary.notes.append(
            "States were computed and not read: whether state and model files are handed out was not checked."
        )
    if run.from_round > 1:
        summary.notes.append(f"The rounds before round {run.from_round} were not recomputed.")


def _check_models(
    summary: Summary, recomputation: Recomputation, run: _Run, compared: Collection[int]
) -> None:
    """Compare the model files of the first state, the head and the active version, unless their rounds were recomputed.

    Those of rounds that were recomputed are compared with them, while their states are in memory.
    """
    if run.coordinator is None:
        return
    run.progress.step("model files")
    active = recomputation.history.storage.active
    for number in sorted({0, summary.model_head, *([active[0]] if active else [])}.difference(compared)):
        summary.models += check_model(run.coordinator, recomputation, number)


def _check_round(summary: Summary, recomputation: Recomputation, replayed: Round) -> Checked:
    """Check header, entries and outcome of a round, as far as its phase allows."""
    if replayed.voided:
        summary.notes.append(_voided_note(recomputation, replayed))
    else:
        header = recomputation.check_header(replayed)
    entries = check_entries(recomputation.history, replayed)
    if replayed.phase not in (Phase.ANCHORED, Phase.FINAL):
        return Checked(False, 0, entries)
    outcome = recomputation.check_outcome(replayed, header)
    for account in recomputation.wished.get(replayed.number, ()):
        summary.notes.append(
            f"The update file of {account} in round {replayed.number} was deleted because its contributor wanted it."
        )
    return Checked(outcome.expired is None, outcome.updates, entries, outcome.expired)


def _voided_note(recomputation: Recomputation, replayed: Round) -> str:
    """Return a note on the recomputation of a void round, which has no effect on the model."""
    judgment = recomputation.ledger.judgments.get(replayed.number)
    if replayed.phase != Phase.SLASHED:
        return f"Round {replayed.number} is void: it was built on a round that was slashed."
    reason = _JUDGMENTS.get(type(judgment))
    if reason:
        return f"Round {replayed.number} was slashed: {reason}."
    try:
        outcome = recomputation.check_outcome(replayed, recomputation.check_header(replayed))
    except AuditFailure as failure:
        return f"Round {replayed.number} was slashed; recomputing it fails as well. {failure.message}"
    except ArtifactError as error:
        return f"Round {replayed.number} was slashed; it could not be recomputed. {error.message}"
    if outcome.expired is not None:
        return f"Round {replayed.number} was slashed; it was not recomputed: its update files were deleted by rule."
    who = "voters" if isinstance(judgment, DisputeUpheld) else f"the verifier of policy {replayed.policy_id}"
    return (
        f"Warning: round {replayed.number} was slashed, but its anchor is right: {who} took an honest bond."
    )


_CHECK = "models"


def check_model(coordinator: CoordinatorSource, recomputation: Recomputation, number: int) -> bool:
    """Compare the file of one version.

    Returns:
        Whether there was one to compare: a web server with files hands out none.
    """
    root = recomputation.ledger.state_root(number)
    state = recomputation.state_after(number)
    origin = recomputation.origin
    sha256, size = sha256_of(state.safetensors_chunks(origin.manifest, number, root, origin.files))
    try:
        return check_handed_out(coordinator, number, sha256, size)
    except ArtifactError as error:
        if error.code == "artifact-unreachable":
            raise
        actual = error.details.get("found", "nothing")
        subject = Subject(check=_CHECK, round=number, artifact=str(actual) if error.code == WRONG else None)
        what = f"the safetensors file that {coordinator.url} hands out"
        expected = f"the file of the state 0x{root.hex()}"
        raise mismatch(subject, what, expected, error.message, remedy=error.remedy) from error
