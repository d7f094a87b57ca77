# SPDX-License-Identifier: Apache-2.0
"""Build the call data of proofs from a finding (contracts/src/interfaces/IFraudProofs.sol, IGramProofs.sol).

`BUILDERS` has one builder per kind: it takes a finding and a place, and returns the arguments of the contract's
function. A new kind of proof needs a builder in this module, a kind in `case.Kind`, and a check in `examine`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from folkmoot.aggregation.clamped_sum import rank_of, ranked_magnitudes
from folkmoot.aggregation.form import mean_of_updates
from folkmoot.aggregation.gram_tree import block_count, update_block
from folkmoot.aggregation.rules import clamped_mean, mean
from folkmoot.errors import InputError
from folkmoot.fraud.proofs.case import Kind, Suspicion, unopened
from folkmoot.fraud.proofs.examine import faulty_leaf
from folkmoot.fraud.proofs.finding import BY_RULE, Finding
from folkmoot.fraud.proofs.gram import Lie, members_of
from folkmoot.fraud.proofs.trees import sum_siblings
from folkmoot.protocol import merkle
from folkmoot.protocol.arrays import I64
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.merkle import SumTree, Tree
from folkmoot.rpc.abi import encode_call

CONTRACT, OF_RULES = "FraudProofs", "GramProofs"
"""Contracts that check proofs; see `contract_of`."""
_FIRST = "Leave out --place to prove the first wrong place."
_MIRROR = "Give a mirror that has it with --artifacts."
_NOTHING = (bytes(32), 0, 0)


@dataclass(frozen=True)
class Proof:
    """A call that voids a round."""

    kind: Kind
    round: int
    """Number of the round."""
    place: int
    """Number of the leaf or the entry."""
    function: str
    """Name of the contract's function."""
    arguments: tuple[Any, ...]
    """Its arguments, as eth_abi encodes them."""

    @property
    def contract(self) -> str:
        """Name in Solidity of the contract that checks it."""
        return contract_of(self.kind)

    @functools.cached_property
    def data(self) -> bytes:
        """Call data: selector and arguments."""
        return encode_call(self.contract, self.function, *self.arguments)


def prove(finding: Finding, suspicion: Suspicion, place: int | None = None) -> Proof:
    """Build the proof of a suspicion.

    Args:
        finding: Result of the examination.
        suspicion: A suspicion of the finding.
        place: Leaf or entry to prove; None for the first wrong one.

    Raises:
        InputError: The leaf or entry does not exist (``no-such-place``).
        ArtifactError: A file was changed or removed.
    """
    chosen = suspicion.place if place is None else place
    manifest, case = finding.material.manifest, finding.case
    entries = len(case.entries)
    places = {
        Kind.HEADER: 1,
        Kind.GRAM_ROOT: 1,
        Kind.ENTRIES: 1,
        Kind.WEIGHT: entries,
        Kind.RULE: entries,
        Kind.UPDATE: entries,
    }
    most = places.get(suspicion.kind, 1 << manifest.depth)
    if not 0 <= chosen < most:
        raise InputError(
            f"There is no place {chosen}: a proof of the kind {suspicion.kind} has {most} in this round.",
            remedy=_FIRST,
            code="no-such-place",
        )
    function, arguments = BUILDERS[suspicion.kind](finding, chosen)
    return Proof(suspicion.kind, case.round, chosen, function, (case.brought(manifest), *arguments))


Call = tuple[str, tuple[Any, ...]]
"""Name of a function, and its arguments after the case."""


def _header(finding: Finding, place: int) -> Call:
    return "proveHeader", (finding.header_bytes,)


def _weight(finding: Finding, place: int) -> Call:
    return "proveWeight", (unopened(finding.case.entries), place)


def _entries(finding: Finding, place: int) -> Call:
    return "proveEntries", (unopened(finding.case.entries),)


def _update(finding: Finding, place: int) -> Call:
    return "proveUpdate", (unopened(finding.case.entries), fault_of(finding, place))


def fault_of(finding: Finding, place: int) -> tuple[Any, ...]:
    """Return the opening of a wrong place of an entry's update, as `IJudge.Fault`."""
    tree = finding.trees.tree(place)
    if tree is None:
        raise InputError(f"There is no update of entry {place}.", remedy=_FIRST, code="no-such-place")
    leaf = faulty_leaf(finding, place)
    if leaf is None and tree.leaves == 1:
        leaf = 0
    if leaf is not None:
        update = finding.material.updates[place]
        assert update is not None  # noqa: S101  # the update has a tree
        values = update.read(leaf, leaf + 1).tobytes()
        node = tree.levels[0].node(leaf)
        return (place, 0, leaf, node, sum_siblings(tree, leaf), values, _NOTHING, _NOTHING)
    # The root differs from the commitment.
    return (place, len(tree.levels) - 1, 0, tree.levels[-1].node(0), b"", b"", *_children(tree))


def _mean(finding: Finding, place: int) -> Call:
    claimed = _opening(_have(finding.mean_tree), place)
    hints = _hints(finding, place) if place < finding.material.manifest.leaves else b""
    return "proveMean", (opened_at(finding, place), place, claimed, hints)


def _outer_step(finding: Finding, place: int) -> Call:
    nothing: tuple[bytes, tuple[bytes, ...]] = (b"", ())
    theta, momentum, mean_leaf = nothing, nothing, nothing
    base = finding.material.base
    if place < finding.material.manifest.leaves:
        assert base is not None  # noqa: S101  # an outer step was computed from it
        theta_tree, momentum_tree = finding.base_trees
        theta = _state_leaf(base.theta, theta_tree, place)
        momentum = _state_leaf(base.momentum, momentum_tree, place)
        mean_leaf = (_mean_leaf(finding, place), _have(finding.mean_tree).proof(place))
    step = (
        finding.header_bytes,
        theta,
        momentum,
        mean_leaf,
        _opening(_have(finding.theta_tree), place),
        _opening(_have(finding.momentum_tree), place),
    )
    return "proveOuterStep", (place, step)


def _rule(finding: Finding, place: int) -> Call:
    if finding.case.policy.rule == mean.NAME:
        return "proveMeanWeight", (unopened(finding.case.entries), place)
    assert finding.gram_root is not None  # noqa: S101  # a suspicion of this kind comes with it
    return "proveKrum", (unopened(finding.case.entries), place, finding.gram_root.abi_tuple())


def _gram_root(finding: Finding, place: int) -> Call:
    return "proveGramRoot", (unopened(finding.case.entries),)


def _gram_leaf(finding: Finding, place: int) -> Call:
    lie = _lie(finding, place)
    leaves = finding.material.manifest.leaves
    nothing = (b"", b"", b"")  # Behind the last block it is not read.
    updates: tuple[tuple[Any, ...], ...] = (nothing, nothing)
    if place < block_count(leaves):
        members = members_of(finding.case)
        updates = tuple(_update_block(finding, members[number], place) for number in lie.pair)
    pair = (*lie.pair, finding.header_bytes, updates)
    return "proveGramLeaf", (unopened(finding.case.entries), place, lie.node.abi_tuple(), pair)


def _gram_node(finding: Finding, place: int) -> Call:
    lie = _lie(finding, place)
    children = tuple(replace(child, node=replace(child.node, path=b"")).abi_tuple() for child in lie.children)
    node = lie.node
    total = (node.level, place, *lie.pair, node.abi_tuple(), children)
    return "proveGramNode", (unopened(finding.case.entries), total)


def _lie(finding: Finding, place: int) -> Lie:
    """Return the error in the Gram tree. The search finds one."""
    lie = finding.gram_lie
    assert lie is not None  # noqa: S101  # a suspicion of this kind comes with it
    if lie.node.index != place:
        raise InputError(
            f"The Gram tree is known to be false at place {lie.node.index}, not at {place}.",
            remedy=_FIRST,
            code="no-such-place",
        )
    return lie


def _update_block(finding: Finding, entry: int, place: int) -> tuple[Any, ...]:
    """Return a block of an entry's update, as `IGramProofs.Update`."""
    update, tree = finding.material.updates[entry], finding.trees.tree(entry)
    if update is None or tree is None:
        raise InputError(f"The update of entry {entry} is missing.", remedy=_MIRROR, code="update-missing")
    block = update_block(update, tree, place)
    return block.leaves, block.sums, block.siblings


BUILDERS: dict[Kind, Callable[[Finding, int], Call]] = {
    Kind.HEADER: _header,
    Kind.WEIGHT: _weight,
    Kind.ENTRIES: _entries,
    Kind.UPDATE: _update,
    Kind.MEAN: _mean,
    Kind.OUTER_STEP: _outer_step,
    Kind.RULE: _rule,
    Kind.GRAM_ROOT: _gram_root,
    Kind.GRAM_LEAF: _gram_leaf,
    Kind.GRAM_NODE: _gram_node,
}
"""Builder of the arguments for each kind of proof."""


def contract_of(kind: Kind) -> str:
    """Return the name of the contract that checks a kind of proof."""
    return OF_RULES if kind in BY_RULE else CONTRACT


# Parts of call data


def opened_at(finding: Finding, place: int) -> list[tuple[Any, ...]]:
    """Return all entries as `IJudge.Entry`. Entries with a weight have their leaf at a place, if it exists."""
    case, manifest = finding.case, finding.material.manifest
    opened = unopened(case.entries)
    for index, weight in enumerate(case.anchor.weights):
        if not weight or place >= manifest.leaves:
            continue
        tree, update = finding.trees.tree(index), finding.material.updates[index]
        if tree is None or update is None:
            raise InputError(
                f"The update of entry {index} is missing.", remedy=_MIRROR, code="update-missing"
            )
        _, absolute, squares = tree.levels[0].node(place)
        leaf = update.read(place, place + 1).tobytes()
        opened[index] = (*opened[index][:5], leaf, absolute, squares, sum_siblings(tree, place))
    return opened


def _hints(finding: Finding, place: int) -> bytes:
    """Return what the contract counts after: for a clamped sum the magnitude that decides, for others nothing."""
    case = finding.case
    if case.policy.rule != clamped_mean.NAME:
        return b""
    counted = [
        update.read(place, place + 1).reshape(-1)
        for update, weight in zip(finding.material.updates, case.anchor.weights, strict=True)
        if weight and update is not None
    ]
    magnitudes: bytes = ranked_magnitudes(np.stack(counted), rank_of(len(counted))).tobytes()
    return magnitudes


def _mean_leaf(finding: Finding, place: int) -> bytes:
    """Return a leaf of the anchored mean, published or computed from the updates."""
    if finding.mean is not None:
        published: bytes = finding.mean.read(place, place + 1).tobytes()
        return published
    case, policy = finding.case, finding.case.policy
    leaves = mean_of_updates(
        policy.rule, finding.material.updates, case.anchor.weights, policy.mean_scale, place, place + 1
    )
    computed: bytes = leaves.tobytes()
    return computed


def _state_leaf(values: I64, tree: Tree, place: int) -> tuple[bytes, tuple[bytes, ...]]:
    leaf: bytes = merkle.state_leaves(values[LEAF * place : LEAF * (place + 1)]).tobytes()
    return leaf, tree.proof(place)


def _opening(tree: Tree, place: int) -> tuple[bytes, tuple[bytes, ...]]:
    if place >= tree.leaves:
        raise InputError(
            f"There is nothing at place {place}: it is empty, as it must be.",
            remedy=_FIRST,
            code="no-such-place",
        )
    return bytes(tree.levels[0][place]), tree.proof(place)


def _children(tree: SumTree) -> tuple[merkle.SumNode, merkle.SumNode]:
    """Return the children of the root of a tree with more than one leaf. None of them is empty."""
    below = tree.levels[-2]
    return below.node(0), below.node(1)


def _have(tree: Tree | None) -> Tree:
    assert tree is not None  # noqa: S101  # a suspicion of this kind comes with its trees
    return tree
