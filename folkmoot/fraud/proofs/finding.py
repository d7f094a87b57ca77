# SPDX-License-Identifier: Apache-2.0
"""What an examination starts from and what it leaves: material, and the finding that proofs are made of. Pure data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from folkmoot.aggregation.lineage import Lineage
from folkmoot.fraud.proofs import gram
from folkmoot.fraud.proofs.case import Case, Demand, Dispute, Kind, Suspicion
from folkmoot.fraud.proofs.trees import TreeCache
from folkmoot.protocol.arrays import I64, U8
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import Tree
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import UpdateReader
from folkmoot.protocol.verdict import Artifacts
from folkmoot.round import RoundOutcome

BY_RULE = frozenset({Kind.RULE, Kind.GRAM_ROOT, Kind.GRAM_LEAF, Kind.GRAM_NODE})
"""What is proven from the rule; without a judge for that, people vote on it."""


@dataclass(frozen=True, eq=False)
class StateRows:
    """A state file as it is: its values need not be a state of the manifest."""

    theta: I64
    """int64[256 k]."""
    momentum: I64
    """int64[256 k]."""

    @property
    def leaves(self) -> int:
        """Number of whole leaves, k."""
        return int(self.theta.size) // LEAF


@dataclass
class Material:
    """What is known about a round: the record, and the files that were found. All bytes have been hashed."""

    case: Case
    """The record."""
    manifest: Manifest
    """The model's layout."""
    artifacts: Artifacts | None
    """The artifacts file that the anchor names."""
    exponents: tuple[int, ...] | None
    """The exponents that the base left."""
    base: State | None
    """The state that the round trained from; its root is the recorded one."""
    lineage: Lineage | None
    """What came before, as far as the rule uses it."""
    updates: list[UpdateReader | None]
    """One an entry: the file that the artifacts file lists, if it was found."""
    aggregate: Callable[[], U8]
    """Fetch the published aggregate: uint8[k, 1024]. Raises ArtifactError."""
    state: Callable[[], StateRows]
    """Fetch the published state. Raises ArtifactError."""
    missing: list[Demand] = field(default_factory=list)
    """What was not found."""
    document: gram.Document = lambda keccak256: None
    """Fetch a document that no round must have, by its keccak256: None if nobody shows it."""


@dataclass
class Finding:
    """What an examination found, with all that proofs of it are made of."""

    material: Material
    """What was examined."""
    trees: TreeCache
    """Trees of the updates."""
    suspicions: list[Suspicion] = field(default_factory=list)
    """What a proof shows; any of them is enough to void the round."""
    demands: list[Demand] = field(default_factory=list)
    """What is withheld."""
    disputes: list[Dispute] = field(default_factory=list)
    """What is wrong and can't be proven."""
    fallback: list[Dispute] = field(default_factory=list)
    """What to vote on if the round has no judge for the suspicions, which are all `BY_RULE`."""
    outcome: RoundOutcome | None = None
    """What comes out of the round, if that is what was anchored."""
    header: RoundHeader | None = None
    """The header that the round was opened with, if it is one."""
    header_bytes: bytes = b""
    """The bytes whose hash the round was opened with; empty if unknown."""
    aggregate_rows: U8 | None = None
    """Published aggregate with the anchored root, uint8[k, 1024]."""
    aggregate_tree: Tree | None = None
    """Tree with the anchored root."""
    theta_tree: Tree | None = None
    """Tree of the published theta, if the published state has the anchored root."""
    momentum_tree: Tree | None = None
    """The same of the momentum."""
    gram_root: gram.Opened | None = None
    """The root of the anchored Gram tree, if it is known."""
    gram_lie: gram.Lie | None = None
    """Where the anchored Gram tree is false, if it is shown."""

    @property
    def right(self) -> bool:
        """Whether the anchor is what everybody computes."""
        return not (self.suspicions or self.demands or self.disputes)

    @property
    def case(self) -> Case:
        """The record."""
        return self.material.case

    @cached_property
    def base_trees(self) -> tuple[Tree, Tree]:
        """Trees of theta and momentum of the base; only where there is one."""
        base = self.material.base
        assert base is not None  # noqa: S101  # a step was computed from it
        return base.theta_tree(), base.momentum_tree()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "round": self.case.round,
            "right": self.right,
            "suspicions": [suspicion.to_json() for suspicion in self.suspicions],
            "demands": [demand.to_json() for demand in self.demands],
            "disputes": [dispute.to_json() for dispute in self.disputes],
        }
