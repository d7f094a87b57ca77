# SPDX-License-Identifier: Apache-2.0
"""Input and result of an examination: the material, and the finding from which proofs are built. Pure data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from folkmoot.aggregation.lineage import Lineage
from folkmoot.fraud.proofs import gram
from folkmoot.fraud.proofs.case import Case, Demand, Dispute, Kind, Suspicion
from folkmoot.fraud.proofs.trees import TreeCache
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import Tree
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import UpdateReader
from folkmoot.protocol.verdict import Artifacts
from folkmoot.round import RoundOutcome

BY_RULE = frozenset({Kind.RULE, Kind.GRAM_ROOT, Kind.GRAM_LEAF, Kind.GRAM_NODE})
"""Kinds that need a judge of rules. Without one, a vote decides."""


@dataclass
class Material:
    """Known data of a round: the record and the available files. The hashes of all bytes were checked."""

    case: Case
    """Record of the round."""
    manifest: Manifest
    artifacts: Artifacts | None
    """The artifacts file that the anchor names."""
    exponents: tuple[int, ...] | None
    """Exponents after the base."""
    base: State | None
    """State of the base, with the recorded root."""
    lineage: Lineage | None
    """Earlier rounds, as far as the rule uses them."""
    updates: list[UpdateReader | None]
    """One file per entry: the file in the artifacts file, if available."""
    mean: Callable[[], UpdateReader]
    """Opens the published mean. Raises ArtifactError."""
    state: Callable[[], State]
    """Maps the published state, which need not be one of the manifest. Raises ArtifactError."""
    missing: list[Demand] = field(default_factory=list)
    """Missing data."""
    document: gram.Document = lambda keccak256: None
    """Loads an optional document by its keccak256; None if nobody publishes it."""
    folder: Path | None = None
    """Folder of the file without a name that holds the computed state; None for memory."""


@dataclass
class Finding:
    """Result of an examination, with all data for proofs."""

    material: Material
    """The examined material."""
    trees: TreeCache
    """Trees of the updates."""
    suspicions: list[Suspicion] = field(default_factory=list)
    """Errors that can be proven. Each is enough to void the round."""
    demands: list[Demand] = field(default_factory=list)
    """Withheld data."""
    disputes: list[Dispute] = field(default_factory=list)
    """Errors that can't be proven."""
    fallback: list[Dispute] = field(default_factory=list)
    """Disputes for a vote if the round has no judge for the suspicions, which are all `BY_RULE`."""
    outcome: RoundOutcome | None = None
    """The computed outcome, if it equals the anchor."""
    header: RoundHeader | None = None
    """Header with which the round was opened, if it is valid."""
    header_bytes: bytes = b""
    """Bytes of the header with which the round was opened; empty if unknown."""
    mean: UpdateReader | None = None
    """Published mean with the anchored root."""
    mean_tree: Tree | None = None
    """Tree with the anchored root."""
    theta_tree: Tree | None = None
    """Tree of the published theta, if the published state has the anchored root."""
    momentum_tree: Tree | None = None
    """Tree of the published momentum, if the published state has the anchored root."""
    gram_root: gram.Opened | None = None
    """The root of the anchored Gram tree, if it is known."""
    gram_lie: gram.Lie | None = None
    """Error in the anchored Gram tree, if the tree is published."""

    @property
    def right(self) -> bool:
        """Whether the anchor equals the computed outcome."""
        return not (self.suspicions or self.demands or self.disputes)

    @property
    def disputed(self) -> str:
        """All disputes as one text: the first with both values, and the places of the others, which mostly follow."""
        if not self.disputes:
            return ""
        first, *others = self.disputes
        entries: dict[str, list[str]] = {}
        for one in others:
            entries.setdefault(one.what, []).extend([] if one.entry is None else [str(one.entry)])
        places = [f"{what} of entry {', '.join(of)}" if of else what for what, of in entries.items()]
        text = f"{first.text} Expected: {first.expected}. Anchored: {first.actual}."
        return f"{text} Also different: {'; '.join(places)}." if places else text

    @property
    def case(self) -> Case:
        """Record of the round."""
        return self.material.case

    @cached_property
    def base_trees(self) -> tuple[Tree, Tree]:
        """Trees of theta and momentum of the base. The base must be available."""
        base = self.material.base
        assert base is not None  # noqa: S101  # an outer step was computed from it
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
