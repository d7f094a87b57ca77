# SPDX-License-Identifier: Apache-2.0
"""List the files of a federation to which its chain commits (docs/protocol.md sections 11 and 12).

The list needs no source: a round's anchor, whose hash the ledger stores, determines its files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from folkmoot.errors import RpcError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.entries import anchor_of
from folkmoot.ledger.events import Event, ProposalCreated, RoundAnchored, VersionActivated
from folkmoot.ledger.scan import scan
from folkmoot.rpc.client import LedgerReader, Phase, Rpc

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


@dataclass(frozen=True, slots=True)
class _Endpoint:
    rpc: Rpc
    deployment: Deployment


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
            self.rounds, self.block, self._place = {}, -1, None
        first = max(self.deployment.block, self.block + 1 - REORG_BLOCKS)
        events = list(scan(_Endpoint(self.rpc, self.deployment), first, newest, contracts=_CONTRACTS))
        rounds = dict(self.rounds)
        for event in events:
            if isinstance(event, RoundAnchored):
                rounds[event.round] = self._anchored(event)
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

    def _has(self, newest: int, number: int, hash_: str) -> bool:
        return newest >= number and self._hash(number) == hash_

    def _hash(self, number: int) -> str:
        method = "eth_getBlockByNumber"
        block = self.rpc.call(method, [hex(number), False])
        return self.rpc.digest(method, self.rpc.member(method, block, "hash"))

    def _anchored(self, event: RoundAnchored) -> Anchored:
        view = self.ledger.round(event.round)
        anchor = anchor_of(event)
        if anchor.hash != view.anchor_hash:
            raise RpcError(
                f"The endpoint {self.rpc.name} reports another anchor of round {event.round} than the ledger stores.",
                remedy="It may be in the middle of a reorganisation: try again. If this repeats, use another endpoint.",
                code="rpc-inconsistent",
            )
        known = Anchored(
            event.round, view.entries, anchor.verdict_hash, anchor.artifacts_hash, void=False, final=False
        )
        return _standing(known, view.phase)


def _standing(known: Anchored, phase: Phase) -> Anchored:
    return Anchored(
        known.number,
        known.entries,
        known.verdict_hash,
        known.artifacts_hash,
        void=phase in (Phase.SLASHED, Phase.CANCELLED),
        final=phase is Phase.FINAL,
    )


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
