# SPDX-License-Identifier: Apache-2.0
"""Which files a federation has, as its chain commits to them (docs/protocol.md sections 11 and 12).

No source is asked here: what a round's files are is said by its anchor, whose hash the ledger stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.crypto import keccak

from folkmoot.errors import RpcError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import Event, ProposalCreated, RoundAnchored, VersionActivated
from folkmoot.ledger.scan import scan
from folkmoot.round import Anchor
from folkmoot.rpc.client import LedgerReader, Phase, Rpc

REORG_BLOCKS = 64
"""Blocks that are read again at each look: they may have been replaced."""

_ACTIVATE = keccak(text="activate(uint64,bytes32)")[:4]
_NONE = bytes(32)
_CONTRACTS = ("ledger", "registry", "governor")


@dataclass(frozen=True, slots=True)
class Anchored:
    """A round that was anchored."""

    number: int
    """Its number."""
    entries: int
    """Number of its entries."""
    verdict_hash: bytes
    """keccak256 of its verdicts file."""
    artifacts_hash: bytes
    """keccak256 of its artifacts file, which names all others."""
    void: bool
    """Whether it was slashed, or cancelled because its base was: nothing builds on it."""
    final: bool
    """Whether it is final, so that it can't become void any more."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    rpc: Rpc
    deployment: Deployment


@dataclass
class Commitments:
    """What the chain commits to, read bit by bit.

    Args:
        rpc: An endpoint. It is believed, except that an anchor must have the hash that the ledger stores.
        deployment: The addresses.
    """

    rpc: Rpc
    deployment: Deployment
    rounds: dict[int, Anchored] = field(default_factory=dict)
    """The anchored rounds, by number, ascending."""
    reports: set[str] = field(default_factory=set)
    """sha256 of the evaluation reports that proposals and active versions name."""
    block: int = -1
    """Block up to which the chain was read."""

    @property
    def ledger(self) -> LedgerReader:
        """The ledger."""
        return LedgerReader(self.rpc, self.deployment.ledger)

    def look(self) -> None:
        """Read what is new.

        Raises:
            RpcError: The endpoint failed, or says of an anchor what the ledger does not store; look again later.
        """
        newest = self.rpc.block_number()
        first = max(self.deployment.block, self.block + 1 - REORG_BLOCKS)
        seen = list(scan(_Endpoint(self.rpc, self.deployment), first, newest, contracts=_CONTRACTS))
        found = dict(self.rounds)
        for event in seen:
            if isinstance(event, RoundAnchored):
                found[event.round] = self._anchored(event)
        for number, known in list(found.items()):
            if not known.final and not known.void and known is self.rounds.get(number):
                view = self.ledger.round(number)
                if view.phase is Phase.OPEN:  # the chain was reorganised, and the anchor is gone
                    del found[number]
                else:
                    found[number] = _standing(known, view.phase)
        self.rounds = dict(sorted(found.items()))
        self.reports |= reports(seen, self.deployment)
        self.block = newest

    def _anchored(self, event: RoundAnchored) -> Anchored:
        view = self.ledger.round(event.round)
        said = event.anchor
        anchor = Anchor(
            said.weights,
            said.delivered,
            said.aggregate_root,
            said.state_root,
            said.gram_root,
            said.verdict_hash,
            said.artifacts_hash,
        )
        if anchor.hash != view.anchor_hash:
            raise RpcError(
                f"The endpoint {self.rpc.name} reports another anchor of round {event.round} than the ledger stores.",
                remedy="It may be in the middle of a reorganisation: try again; if it stays so, use another endpoint.",
                code="rpc-inconsistent",
            )
        known = Anchored(
            event.round, view.entries, said.verdict_hash, said.artifacts_hash, void=False, final=False
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
    """Return the sha256 of every evaluation report that a proposal or an active version names."""
    found = set()
    for event in events:
        if isinstance(event, VersionActivated):
            found.add(event.report_hash)
        elif isinstance(event, ProposalCreated):
            for target, data in zip(event.targets, event.calldatas, strict=False):
                if target == deployment.registry and data[:4] == _ACTIVATE:
                    try:
                        found.add(bytes(decode(["uint64", "bytes32"], data[4:])[1]))
                    except DecodingError:
                        continue  # whoever proposed it wrote a call that can't be executed
    return {digest.hex() for digest in found if digest != _NONE}
