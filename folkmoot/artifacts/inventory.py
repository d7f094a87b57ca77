# SPDX-License-Identifier: Apache-2.0
"""List the files of a federation to which its chain commits (docs/protocol.md sections 11 and 12).

The list needs no source: a round's anchor, whose hash the ledger stores, determines its files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from folkmoot.artifacts.retention import Retention
from folkmoot.errors import RpcError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.entries import anchor_of, entries_of
from folkmoot.ledger.events import (
    Event,
    ProposalCreated,
    RoundAnchored,
    RoundFinalized,
    UpdatesCommitted,
    VersionActivated,
)
from folkmoot.ledger.scan import ChainSource, scan
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import LedgerReader, Phase, Rpc, VaultReader
from folkmoot.rpc.wallets import accepts_digest

REORG_BLOCKS = 64
"""Number of newest blocks that each update reads again, because a reorganisation may have replaced them."""

_ACTIVATE = keccak(text="activate(uint64,bytes32)")[:4]
_NONE = bytes(32)
_CONTRACTS = ("ledger", "registry", "governor")


@dataclass(frozen=True, slots=True)
class Anchored:
    """An anchored round."""

    number: int
    """Its number."""
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
    _place: tuple[int, str] | None = None
    """A block that is not read again, and its hash."""
    _time: int = 0
    """Unix time of that block."""
    _entries: dict[int, dict[int, str]] = field(default_factory=dict)
    """Contributors by the number of their entry, by round."""
    _finals: dict[int, int] = field(default_factory=dict)
    """Block in which a round became final, by round."""
    _settled: list[int] = field(default_factory=list)
    """Rounds that became final up to the block that is not read again, ascending."""
    _policies: dict[int, Policy] = field(default_factory=dict)
    _unbonding: int | None = None

    @property
    def ledger(self) -> LedgerReader:
        """Reader of the ledger."""
        return LedgerReader(self.rpc, self.deployment.ledger)

    def look(self) -> None:
        """Read the new blocks.

        Raises:
            RpcError: The endpoint failed, or an anchor differs from the hash in the ledger. Try again later.
        """
        newest = self.rpc.block_number()
        if self._place is not None and not self._has(newest, *self._place):
            # A long reorganisation, or a local chain that lost its newest state.
            self.rounds, self.block, self._place, self._finals, self._entries = {}, -1, None, {}, {}
            self._policies.clear()
        first = max(self.deployment.block, self.block + 1 - REORG_BLOCKS)
        events = list(scan(ChainSource(self.rpc, self.deployment), first, newest, contracts=_CONTRACTS))
        rounds = dict(self.rounds)
        self._finals = {number: block for number, block in self._finals.items() if block < first}
        for event in events:
            if isinstance(event, RoundFinalized):
                self._finals[event.round] = event.block
            elif isinstance(event, RoundAnchored):
                rounds[event.round] = self._anchored(event)
            elif isinstance(event, UpdatesCommitted):
                entries = {entry.index: entry.contributor for entry in entries_of(event)}
                self._entries.setdefault(event.round, {}).update(entries)
        for number, known in list(rounds.items()):
            if not known.final and not known.void and known is self.rounds.get(number):
                view = self.ledger.round(number)
                if view.phase is Phase.OPEN:  # The chain was reorganised, and the anchor was removed.
                    del rounds[number]
                else:
                    rounds[number] = _standing(known, view.phase)
        self.rounds = dict(sorted(rounds.items()))
        self.reports |= reports(events, self.deployment)
        self.block = newest
        settled = newest - REORG_BLOCKS
        self._place = (settled, self._hash(settled)) if settled >= 0 else None
        self._time = self._block_time(settled) if settled >= 0 else 0
        self._settled = sorted(number for number, block in self._finals.items() if block <= settled)

    def retention(self, number: int) -> Retention:
        """Return what the deletion of a round's files depends on, at the newest block that is not read again.

        No reorganisation of up to `REORG_BLOCKS` blocks changes it.

        Raises:
            RpcError: The endpoint failed.
        """
        if self._unbonding is None:
            self._unbonding = VaultReader(self.rpc, self.deployment.vault).unbonding_period()
        known = self.rounds[number]
        above = bisect_right(self._settled, number)
        final = above > 0 and self._settled[above - 1] == number
        return Retention(
            number,
            final or known.void,
            known.opened_at + self._unbonding,
            len(self._settled) - above,
            known.retain_rounds,
        )

    def expired(self) -> set[int]:
        """Return the rounds whose update files may be deleted.

        Raises:
            RpcError: The endpoint failed.
        """
        return {number for number in self.rounds if self.retention(number).expired(self._time)}

    def free(self) -> set[int]:
        """Return the rounds whose update files nothing on the chain can need.

        Raises:
            RpcError: The endpoint failed.
        """
        return {number for number in self.rounds if self.retention(number).free(self._time)}

    def spare(self) -> set[int]:
        """Return the rounds whose state files may be deleted.

        Raises:
            RpcError: The endpoint failed.
        """
        return {number for number in self.rounds if self.retention(number).spare()}

    def contributors(self, number: int) -> list[str]:
        """Return the contributors of a round, in entry order."""
        return [account for _, account in sorted(self._entries.get(number, {}).items())]

    def accepts(self, account: str, digest: bytes, signature: bytes) -> bool:
        """Return whether an account is a contract that accepts a signature of a hash, at the newest block.

        Raises:
            RpcError: The endpoint failed.
        """
        return accepts_digest(self.rpc, account, digest, signature)

    def policy(self, number: int) -> Policy:
        """Return a policy.

        Raises:
            RpcError: The endpoint failed.
        """
        if number not in self._policies:
            self._policies[number] = self.ledger.policy(number)
        return self._policies[number]

    def _has(self, newest: int, number: int, hash_: str) -> bool:
        return newest >= number and self._hash(number) == hash_

    def _hash(self, number: int) -> str:
        method = "eth_getBlockByNumber"
        block = self.rpc.call(method, [hex(number), False])
        return self.rpc.digest(method, self.rpc.member(method, block, "hash"))

    def _block_time(self, number: int) -> int:
        method = "eth_getBlockByNumber"
        block = self.rpc.call(method, [hex(number), False])
        return self.rpc.quantity(method, self.rpc.member(method, block, "timestamp"))

    def _anchored(self, event: RoundAnchored) -> Anchored:
        view = self.ledger.round(event.round)
        anchor = anchor_of(event)
        if anchor.hash != view.anchor_hash:
            raise RpcError(
                f"The endpoint {self.rpc.name} reports another anchor of round {event.round} than the ledger stores.",
                remedy="It may be in the middle of a reorganisation: try again. If this repeats, use another endpoint.",
                code="rpc-inconsistent",
            )
        policy = self.policy(view.policy)
        known = Anchored(
            event.round,
            view.entries,
            anchor.verdict_hash,
            anchor.artifacts_hash,
            void=False,
            final=False,
            opened_at=view.opened_at,
            retain_rounds=policy.retain_rounds,
            base=view.base,
            policy=view.policy,
            width=policy.width,
            mean_width=policy.mean_width,
        )
        return _standing(known, view.phase)


def _standing(known: Anchored, phase: Phase) -> Anchored:
    return replace(known, void=phase in (Phase.SLASHED, Phase.CANCELLED), final=phase is Phase.FINAL)


def reports(events: Sequence[Event], deployment: Deployment) -> set[str]:
    """Return the sha256 of every evaluation report of a proposal or an active version."""
    hashes = set()
    for event in events:
        if isinstance(event, VersionActivated):
            hashes.add(event.report_hash)
        elif isinstance(event, ProposalCreated):
            for target, data in zip(event.targets, event.calldatas, strict=False):
                if target == deployment.registry and data[:4] == _ACTIVATE:
                    try:
                        hashes.add(bytes(decode(["uint64", "bytes32"], data[4:])[1]))
                    except DecodingError:
                        continue  # The proposal has a call that can't be executed.
    return {digest.hex() for digest in hashes if digest != _NONE}
