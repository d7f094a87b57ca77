# SPDX-License-Identifier: Apache-2.0
"""Gather what a round is computed from. The caller says where files come from, and what becomes of one that is missing.

A coordinator reads its store, an audit a mirror, a watcher several mirrors. What they gather is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from folkmoot.aggregation.lineage import GENESIS, Lineage, PastRound, window
from folkmoot.aggregation.references import ReferenceKind
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.replay import Round
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import UpdateReader
from folkmoot.round import RoundOutcome, Sink, compute_round

OF_LINEAGE = frozenset({ReferenceKind.TRAJECTORY, ReferenceKind.EARLIER})
"""References for which a round needs files of earlier rounds."""


class LineageFiles(Protocol):
    """Gives the files of earlier rounds. Each method raises if a file is missing, or returns None and takes note."""

    def base_of(self, number: int) -> int:
        """Return the base of an anchored round; 0 is the genesis."""

    def past_rounds(self, numbers: Sequence[int], *, updates: bool) -> Sequence[PastRound | None] | None:
        """Return rounds of the lineage. None for all of them ends the search.

        Args:
            numbers: Their numbers, the oldest first.
            updates: Whether their updates are needed.
        """

    def state_before(self, number: int) -> State | None:
        """Return the state that a round trained from."""


def header_of(
    deployment: Deployment, manifest: Manifest, round_: Round, exponents: tuple[int, ...]
) -> RoundHeader:
    """Return the header that a round must have, with the exponents that its base left."""
    return RoundHeader.derive(
        deployment.chain_id,
        deployment.ledger,
        manifest.hash,
        round_.number,
        round_.base_state_root,
        round_.policy_id,
        round_.policy.width,
        exponents,
    )


def gather_lineage(used: frozenset[ReferenceKind], base: int, files: LineageFiles) -> Lineage | None:
    """Return what the rule of a round uses of earlier rounds (docs/protocol section 8.3); None if some is missing.

    Args:
        used: The references that the rule uses (`folkmoot.aggregation.registry.uses`).
        base: The round's base.
        files: Gives the files.
    """
    numbers = window(base, files.base_of) if used & OF_LINEAGE else []
    if not numbers:
        return GENESIS
    rounds = files.past_rounds(numbers, updates=ReferenceKind.EARLIER in used)
    if rounds is None:
        return None
    trajectory = ReferenceKind.TRAJECTORY in used
    before = files.state_before(numbers[0]) if trajectory else None
    complete = tuple(round_ for round_ in rounds if round_ is not None)
    if len(complete) < len(numbers) or (trajectory and before is None):
        return None
    return Lineage(complete, before)


@dataclass(frozen=True)
class RoundInputs:
    """Everything from which the outcome of a round follows. The bytes of updates stay in their files."""

    manifest: Manifest
    header: RoundHeader
    policy: Policy
    base: State
    commitments: Sequence[Commitment]
    """In the order of the entries."""
    updates: Sequence[UpdateReader | None]
    """In the same order; None for what was not delivered."""
    coordinator: str
    """Account that opened the round, whose entry is the root-set update."""
    lineage: Lineage
    """What the rule uses of earlier rounds."""

    def compute(self, *, mean_sink: Sink | None = None, folder: Path | None = None) -> RoundOutcome:
        """Compute the round; see `folkmoot.round.compute_round`."""
        return compute_round(
            self.manifest,
            self.header,
            self.policy,
            self.base,
            self.commitments,
            self.updates,
            coordinator=self.coordinator,
            lineage=self.lineage,
            mean_sink=mean_sink,
            folder=folder,
        )
