# SPDX-License-Identifier: Apache-2.0
"""List the files of a federation to which its chain commits (docs/protocol.md sections 11 and 12).

The list needs no source: a round's anchor, whose hash the ledger stores, determines its files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from folkmoot.artifacts.retention import Retention
from folkmoot.errors import RpcError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.event import Event
from folkmoot.ledger.events import ProposalCreated, RoundAnchored, VersionActivated, VersionRecalled
from folkmoot.ledger.follower import EventFollower
from folkmoot.ledger.releases import decisions
from folkmoot.ledger.replay import FederationState, Round
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import LedgerReader, Phase, Rpc, VaultReader
from folkmoot.rpc.wallets import accepts_digest

_NONE = bytes(32)
_CONTRACTS = ("policies", "ledger", "rewards", "registry", "governor")


@dataclass(frozen=True, slots=True)
class Anchored:
    """An anchored round."""

    number: int
    entries: int
    """Number of its entries."""
    verdict_hash: bytes
    """keccak256 of its verdicts file."""
    artifacts_hash: bytes
    """keccak256 of its artifacts file, which names all others."""
    void: bool
    """Whether it was slashed, or cancelled because its base was slashed. No round builds on it."""
    final: bool
    """Whether it is final. A final round can't become void."""
    opened_at: int = 0
    """Unix time of its opening."""
    retain_rounds: int = 0
    """`retainRounds` of its policy."""
    base: int = 0
    """Round whose state it trained from; 0 is the genesis."""
    policy: int = 0
    """Number of its policy."""
    width: int = 8
    """`width` of its policy: the bits of a coordinate in an update file."""
    mean_width: int = 8
    """Bits of a coordinate in its mean file."""


class Retentions:
    """The retention of each round, at the block of these rounds.

    Args:
        unbonding: The vault's unbonding period, seconds.
    """

    def __init__(self, rounds: Mapping[int, Round], unbonding: int) -> None:
        self._rounds, self._unbonding = rounds, unbonding
        self._final = sorted(number for number, round_ in rounds.items() if round_.phase is Phase.FINAL)

    def of(self, number: int) -> Retention:
        """Return what the deletion of a round's files depends on. One that is not known yet keeps its files."""
        round_ = self._rounds.get(number)
        if round_ is None:
            return Retention(number, over=False, free_at=0, above=0, retain_rounds=0)
        return Retention(
            number,
            round_.void or round_.phase is Phase.FINAL,
            round_.opened_at + self._unbonding,
            len(self._final) - bisect_right(self._final, number),
            round_.policy.retain_rounds,
        )


@dataclass
class Commitments:
    """The files to which the chain commits, read incrementally.

    Args:
        rpc: An endpoint. It is trusted, except that an anchor must have the hash that the ledger stores.
        deployment: Addresses of the contracts.
    """

    rpc: Rpc
    deployment: Deployment
    rounds: dict[int, Anchored] = field(default_factory=dict)
    """Anchored rounds by number, ascending."""
    reports: set[str] = field(default_factory=set)
    """sha256 of the evaluation reports of proposals and active versions."""
    block: int = -1
    """Number of the last block that was read."""
    _time: int = 0
    """Unix time of the newest block that is not read again."""
    _settled: Mapping[int, Round] = field(default_factory=dict)
    """Rounds at that block."""
    _checked: set[RoundAnchored] = field(default_factory=set)
    """Anchors with the hash that the ledger stores."""
    _state: FederationState = field(default_factory=FederationState)
    _unbonding: int | None = None

    def __post_init__(self) -> None:
        self._events = EventFollower(self.deployment, contracts=_CONTRACTS)

    @property
    def ledger(self) -> LedgerReader:
        """Reader of the ledger."""
        return LedgerReader(self.rpc, self.deployment.ledger)

    def look(self) -> None:
        """Read the new blocks."""
        snapshot = self._events.read(self.rpc)
        state, settled, depth = snapshot.state, snapshot.settled, snapshot.settled_block
        rounds = {}
        for number, round_ in sorted(state.rounds.items()):
            if round_.anchored is not None:
                self._check(round_, round_.anchored)
                rounds[number] = _anchored(round_, round_.known_anchor)
        time = self._block_time(depth) if depth >= 0 else 0
        self._checked &= {round_.anchored for round_ in state.rounds.values()}
        self._state, self.rounds, self.block, self._time = state, rounds, snapshot.block, time
        self.reports |= reports((*state.proposals, *state.versions), self.deployment)
        self._settled = settled.rounds

    def _retentions(self) -> Retentions:
        """Return the retentions at a block that no reorganisation of up to `REORG_DEPTH` blocks changes."""
        if self._unbonding is None:
            self._unbonding = VaultReader(self.rpc, self.deployment.vault).unbonding_period()
        return Retentions(self._settled, self._unbonding)

    def expired(self) -> set[int]:
        """Return the rounds whose update files may be deleted."""
        retentions = self._retentions()
        return {number for number in self.rounds if retentions.of(number).expired(self._time)}

    def free(self) -> set[int]:
        """Return the rounds whose update files nothing on the chain can need."""
        retentions = self._retentions()
        return {number for number in self.rounds if retentions.of(number).free(self._time)}

    def spare(self) -> set[int]:
        """Return the rounds whose state files may be deleted."""
        retentions = self._retentions()
        return {number for number in self.rounds if retentions.of(number).spare()}

    def contributors(self, number: int) -> list[str]:
        """Return the contributors of a round, in entry order."""
        return list(self._state.rounds[number].contributors)

    def accepts(self, account: str, digest: bytes, signature: bytes) -> bool:
        """Return whether an account is a contract that accepts a signature of a hash, at the newest block."""
        return accepts_digest(self.rpc, account, digest, signature)

    def policy(self, number: int) -> Policy:
        """Return the policy of an anchored round by its number."""
        return self._state.policies[number]

    def _block_time(self, number: int) -> int:
        method = "eth_getBlockByNumber"
        block = self.rpc.call(method, [hex(number), False])
        return self.rpc.quantity(method, self.rpc.member(method, block, "timestamp"))

    def _check(self, round_: Round, event: RoundAnchored) -> None:
        """Compare an anchor with the hash in the ledger."""
        if event in self._checked:
            return
        if round_.known_anchor.hash != self.ledger.round(round_.number).anchor_hash:
            raise RpcError(
                f"The endpoint {self.rpc.name} reports another anchor of round {round_.number} than the ledger stores.",
                remedy="It may be in the middle of a reorganisation: try again. If this repeats, use another endpoint.",
                code="rpc-inconsistent",
            )
        self._checked.add(event)


def _anchored(round_: Round, anchor: Anchor) -> Anchored:
    policy = round_.policy
    return Anchored(
        round_.number,
        len(round_.commits),
        anchor.verdict_hash,
        anchor.artifacts_hash,
        void=round_.void,
        final=round_.phase is Phase.FINAL,
        opened_at=round_.opened_at,
        retain_rounds=policy.retain_rounds,
        base=round_.base,
        policy=round_.policy_id,
        width=policy.width,
        mean_width=policy.mean_width,
    )


def reports(events: Sequence[Event], deployment: Deployment) -> set[str]:
    """Return the sha256 of every evaluation report of a proposal, a release or a recall."""
    hashes = set()
    for event in events:
        if isinstance(event, VersionActivated | VersionRecalled):
            hashes.add(event.report_hash)
        elif isinstance(event, ProposalCreated):
            hashes |= {call.arguments[1] for call in decisions(deployment, event)}
    return {digest.hex() for digest in hashes if digest != _NONE}
