# SPDX-License-Identifier: Apache-2.0
"""Which version is active or recalled, which an open vote would recall, and what stands behind each.

Everybody who warns asks here.

Uses plain JSON-RPC.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from folkmoot.errors import InputError, plain
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.event import Event
from folkmoot.ledger.events import (
    MinWarrantySet,
    ProposalCreated,
    VersionActivated,
    VersionRecalled,
    WarrantiesForfeited,
    WarrantyPosted,
    WarrantyWithdrawn,
)
from folkmoot.ledger.scan import Source, scan
from folkmoot.rpc.abi import DecodedCall, decode_call, readable
from folkmoot.rpc.client import Contract, Rpc
from folkmoot.rpc.reverts import OPEN_STATES, PROPOSAL_STATES

CANDIDATE, RELEASED, RECALLED = range(3)
"""Values of `IModelRegistry.Standing`."""

PROPOSER_MARK = "#proposer="
"""Before the address of the only account that can make a proposal with a text (OpenZeppelin's Governor)."""


@dataclass(frozen=True, slots=True)
class RecallVote:
    """A proposal to recall a version, which is open or was executed."""

    proposal: int
    """Its number."""
    version: int
    """Version that it recalls."""
    report_hash: bytes
    """sha256 of the evidence, zero if there is none."""
    proposer: str
    """Who made it."""
    text: str
    """What its proposer wrote, on one line, shortened."""
    state: str
    """One of `reverts.PROPOSAL_STATES`."""

    @property
    def open(self) -> bool:
        """Whether it can still come to something."""
        return self.state in OPEN_STATES

    @property
    def warning(self) -> str:
        """The warning to whoever uses the version while the vote is open."""
        evidence = f"sha256 {self.report_hash.hex()}" if any(self.report_hash) else "none is named"
        return (
            f"A vote to recall version {self.version} is open (proposal {str(self.proposal)[:8]}, {self.state}, by "
            f"{self.proposer}): {self.text} Evidence: {evidence}. Judge it before you use this version."
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "proposal": str(self.proposal),
            "version": self.version,
            "reportHash": "0x" + self.report_hash.hex(),
            "proposer": self.proposer,
            "text": self.text,
            "state": self.state,
        }


@dataclass(slots=True)
class Releases:
    """The released versions after what votes did, in their order, as the registry keeps them."""

    listed: dict[int, bytes] = field(default_factory=dict)
    """Report hashes by version of those that can be active, in the order of their last activation."""
    recalled: dict[int, bytes] = field(default_factory=dict)
    """Hash of the evidence by recalled version."""
    votes: list[RecallVote] = field(default_factory=list)
    """Proposals to recall a released version, oldest first: those that are open or were executed."""
    warranties: dict[int, dict[str, int]] = field(default_factory=dict)
    """Units of 1e-18 tokens that accounts have behind versions, without those that votes took."""
    forfeited: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    """Versions whose warranties a vote took: who got a reward, the reward, and what was burnt."""
    min_warranty: int = 0
    """Units of 1e-18 tokens that must be behind a version at its first activation."""

    def activate(self, version: int, report_hash: bytes) -> None:
        """Note that a vote made a version active."""
        self.listed.pop(version, None)
        self.listed[version] = report_hash

    def recall(self, version: int, report_hash: bytes) -> None:
        """Note that a vote recalled a version."""
        self.listed.pop(version, None)
        self.recalled[version] = report_hash

    def post(self, version: int, account: str, amount: int) -> None:
        """Note that an account put tokens behind a version."""
        behind = self.warranties.setdefault(version, {})
        behind[account] = behind.get(account, 0) + amount

    def withdraw(self, version: int, account: str) -> None:
        """Note that an account took its tokens out from behind a version."""
        self.warranties.get(version, {}).pop(account, None)

    def forfeit(self, version: int, beneficiary: str, reward: int, burnt: int) -> None:
        """Note that a vote took what was behind a version. What it took first stays noted."""
        self.warranties.pop(version, None)
        self.forfeited.setdefault(version, (beneficiary, reward, burnt))

    def apply(self, event: Event) -> None:
        """Apply an event. Events that change nothing here are passed over."""
        if isinstance(event, VersionActivated):
            self.activate(event.version, event.report_hash)
        elif isinstance(event, VersionRecalled):
            self.recall(event.version, event.report_hash)
        elif isinstance(event, WarrantyPosted):
            self.post(event.version, event.account, event.amount)
        elif isinstance(event, WarrantyWithdrawn):
            self.withdraw(event.version, event.account)
        elif isinstance(event, WarrantiesForfeited):
            self.forfeit(event.version, event.beneficiary, event.reward, event.burnt)
        elif isinstance(event, MinWarrantySet):
            self.min_warranty = event.amount

    def warranty(self, version: int) -> int:
        """Return what is behind a version, in units of 1e-18 tokens."""
        return sum(self.warranties.get(version, {}).values())

    @property
    def active(self) -> tuple[int, bytes] | None:
        """The active version and the hash of its report; None if there is none."""
        return next(reversed(self.listed.items()), None)

    def standing(self, version: int) -> int:
        """Return `CANDIDATE`, `RELEASED` or `RECALLED`."""
        return RECALLED if version in self.recalled else RELEASED if version in self.listed else CANDIDATE

    @property
    def open_votes(self) -> list[RecallVote]:
        """Open votes about versions that can still be recalled."""
        return [vote for vote in self.votes if vote.open and vote.version in self.listed]

    def warnings(self, version: int) -> list[str]:
        """Return the warnings to whoever uses a version: it was recalled and why, or a vote to recall it is open."""
        if version in self.recalled:
            return [self.why(version)]
        return [vote.warning for vote in self.open_votes if vote.version == version]

    def why(self, version: int) -> str:
        """Return that a recalled version was recalled, and what the proposer of its recall wrote."""
        texts = [v.text for v in self.votes if v.version == version and v.state == "executed"]
        evidence = self.recalled[version]
        return (
            f"Version {version} was recalled by a vote"
            + (f": {texts[-1]}" if texts else ".")
            + (f" Evidence: sha256 {evidence.hex()}." if any(evidence) else "")
        )

    def require_usable(self, version: int) -> None:
        """Check that a version was not recalled.

        Raises:
            InputError: `version-recalled`.
        """
        if version not in self.recalled:
            return
        active = self.active
        instead = (
            "No version is active now; do not use its copies."
            if active is None
            else f"Delete its copies, and take version {active[0]}, which is active: `folkmoot model active --to FILE`."
        )
        raise InputError(
            self.why(version),
            remedy=f"{instead} `folkmoot model {version}` says who decided; for study there is `--recalled`.",
            code="version-recalled",
            details={"version": version, "active": None if active is None else active[0]},
        )


def decisions(deployment: Deployment, proposal: ProposalCreated) -> list[DecodedCall]:
    """Return a proposal's calls that release or recall a version: `(version, report hash)`.

    A call whose data are malformed is left out, as nobody can execute it.
    """
    calls = (
        decode_call("registry", data)
        for target, data in zip(proposal.targets, proposal.calldatas, strict=False)
        if target == deployment.registry
    )
    return [call for call in calls if call is not None and call.function in ("activate", "recall")]


def recall_votes(rpc: Rpc, deployment: Deployment, proposals: Iterable[ProposalCreated]) -> list[RecallVote]:
    """Return the proposals that recall a version, and are open or were executed.

    Args:
        rpc: An endpoint. It is asked for the states.
        deployment: Addresses of the contracts.
        proposals: All proposals.
    """
    governor, votes = Contract(rpc, deployment.governor, "governor"), []
    for event in proposals:
        for call in decisions(deployment, event):
            if call.function != "recall":
                continue
            state = PROPOSAL_STATES[governor.read("state", event.proposal_id)]
            if state in OPEN_STATES or state == "executed":
                version, report_hash = call.arguments
                text = _text_of(event.description)
                votes.append(RecallVote(event.proposal_id, version, report_hash, event.proposer, text, state))
    return votes


def read_releases(source: Source) -> Releases:
    """Return the releases at the newest block, with the votes to recall them, from the events of anybody's endpoint."""
    newest = source.rpc.block_number()
    events = scan(source, source.deployment.block, newest, contracts=("registry", "governor"))
    return releases_of(source.rpc, source.deployment, events)


def releases_of(rpc: Rpc, deployment: Deployment, events: Iterable[Event]) -> Releases:
    """Return the releases after events in their order; the endpoint is asked for the states of proposals."""
    releases, proposals = Releases(), []
    for event in events:
        releases.apply(event)
        if isinstance(event, ProposalCreated):
            proposals.append(event)
    releases.votes = recall_votes(rpc, deployment, proposals)
    return releases


def _text_of(description: str) -> str:
    return plain(readable(description).partition(PROPOSER_MARK)[0])
