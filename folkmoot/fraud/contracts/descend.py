# SPDX-License-Identifier: Apache-2.0
"""Walk down a tree that is shown on the chain, list by list, to a leaf that differs or that was chosen.

What was demanded and shown is on the chain, whoever asked for it, so a walk has no memory: each look begins at the root
and ends at what is not shown yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from folkmoot.errors import RpcError
from folkmoot.fraud.contracts import judges
from folkmoot.fraud.proofs import descent
from folkmoot.fraud.proofs.availability import Call, DataKind, Node, Status, demand_call, root_of
from folkmoot.fraud.proofs.case import Demand, Kind, Suspicion
from folkmoot.fraud.proofs.descent import ShownList
from folkmoot.fraud.proofs.finding import Finding
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.merkle import Tree
from folkmoot.rpc.client import Rpc

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

MOST_LEAVES = 2
"""Leaves of an unknown tree that a watcher asks for; each takes as many deposits as there are lists above it."""

_WHAT = {
    "update": DataKind.UPDATE,
    "mean": DataKind.MEAN,
    "state": DataKind.THETA,
    "header": DataKind.HEADER,
    "verdicts": DataKind.VERDICTS,
    "artifacts": DataKind.ARTIFACTS,
}


@dataclass(frozen=True)
class Walk:
    """How far the lists on the chain lead."""

    call: Call | None = None
    """The next demand; None if there is none to make."""
    about: Node | None = None
    """What the next demand is about."""
    until: int = 0
    """Unix time until which the next demand can be made at least; the regular challenge window may be longer."""
    waits: int | None = None
    """Number of the demand whose answer the walk waits for, whoever made it."""
    document: bytes | None = None
    """The file that was shown; None for a tree."""
    tree: Tree | None = None
    """The tree as it was shown, once the walk is at a leaf."""
    place: int | None = None
    """The leaf at which the walk is."""
    same: bool = False
    """Whether the shown tree is what it must be."""
    other: bytes = b""
    """Root of the other tree of the state; empty for everything else."""


def demandable(finding: Finding) -> Demand | None:
    """Return the first missing data that can be demanded: of this round, not of its base."""
    case = finding.case
    return next(
        (
            demand
            for demand in finding.demands
            if demand.what in _WHAT and (demand.entry is None or case.delivered(demand.entry))
        ),
        None,
    )


def walk(
    rpc: Rpc, judge: str, finding: Finding, missing: Demand, account: LocalAccount, from_block: int
) -> Walk | Finding:
    """Return the next demand for what is missing, or the finding with the error that the shown lists led to.

    Args:
        judge: Contract for demands.
        finding: Result of the examination.
        missing: What is missing, from `demandable`.
        account: Who demands. Leaves of unknown trees are chosen with its key: nobody else can foresee them.
        from_block: Block from which on the contract's events are looked for.
    """
    step = _Steps(rpc, judge, finding, from_block)
    what, entry = _WHAT[missing.what], missing.entry or 0
    if what is DataKind.THETA:
        return _state(step, missing)
    if not missing.truth:
        for turn in range(MOST_LEAVES):
            next_step = step.follow(what, entry, None, _secret_place(account, finding, what, entry, turn))
            if next_step.place is None:
                break
        return next_step
    next_step = step.follow(what, entry, missing.truth[0], None)
    if next_step.tree is None or next_step.place is None:
        return next_step
    text = _sentence(
        next_step.place, f"the mean of round {finding.case.round}", "what the anchored weights make of it"
    )
    return _wrong(replace(finding, mean_tree=next_step.tree), Kind.MEAN, next_step.place, text)


def _state(step: _Steps, missing: Demand) -> Walk | Finding:
    """Walk down theta, and momentum to the same leaf: the proof of an outer step takes both."""
    finding = step.finding
    theta, momentum = missing.truth
    of_theta = step.follow(DataKind.THETA, 0, theta, None)
    if not of_theta.same and of_theta.tree is None:
        return of_theta
    place, of_momentum = of_theta.place, Walk(tree=momentum, place=of_theta.place)
    if of_theta.other != momentum.root:
        of_momentum = step.follow(DataKind.MOMENTUM, 0, momentum, place)
    if of_momentum.tree is None or of_momentum.place is None:
        return of_momentum
    text = _sentence(
        of_momentum.place, f"the state after round {finding.case.round}", "the outer step of its base"
    )
    wrong_state = replace(finding, theta_tree=of_theta.tree or theta, momentum_tree=of_momentum.tree)
    return _wrong(wrong_state, Kind.OUTER_STEP, of_momentum.place, text)


@dataclass(frozen=True)
class _Steps:
    """Reads what was shown."""

    rpc: Rpc
    judge: str
    finding: Finding
    from_block: int

    def follow(self, what: DataKind, entry: int, truth: Tree | None, place: int | None) -> Walk:
        """Walk from a root to the first leaf that differs from the truth, or to a chosen leaf.

        Args:
            entry: Number of the entry, for an update.
            truth: What the tree must be, if it is known.
            place: The leaf to go to; None for the first that differs.
        """
        case, manifest = self.finding.case, self.finding.material.manifest
        about, lists, other = root_of(what, entry, manifest), list[ShownList](), b""
        number = judges.demand_of(self.rpc, self.judge, case.round, about)
        if number == 0:
            return Walk(demand_call(case, manifest, what, entry), about)
        while True:
            stored = judges.stored_demand(self.rpc, self.judge, number)
            if stored.status is not Status.ANSWERED:
                return Walk(waits=number) if stored.status is Status.OPEN else Walk()
            values, beside = judges.answer(self.rpc, self.judge, number, self.from_block)
            if not what.is_tree:
                return Walk(document=values)
            if about.level == 0:
                return Walk(place=about.index)
            if keccak(values) != stored.hash:
                raise RpcError(
                    f"The RPC endpoint {self.rpc.name} sent another answer to demand {number} than the contract has.",
                    remedy="Use another endpoint.",
                    code="bad-log",
                )
            shown = ShownList(
                about.level, about.index, descent.hashes_of(values, update=what is DataKind.UPDATE)
            )
            lists.append(shown)
            other = other or beside
            at = self._next(shown, truth, place)
            if at is None:
                return Walk(same=True, other=other)
            about = about.child(at)
            if truth is not None and about.level == 0:
                return Walk(tree=descent.spliced(truth, lists), place=about.index, other=other)
            child = judges.demand_of(self.rpc, self.judge, case.round, about)
            if child == 0:
                return Walk(Call("descend", (number, values, at)), about, stored.until)
            number = child

    @staticmethod
    def _next(shown: ShownList, truth: Tree | None, place: int | None) -> int | None:
        if place is not None:
            return (place >> (shown.level - shown.height)) - shown.first
        assert truth is not None  # noqa: S101  # `follow` is given a leaf or the true tree
        return descent.first_difference(truth, shown)


def _secret_place(account: LocalAccount, finding: Finding, what: DataKind, entry: int, turn: int) -> int:
    """Return a leaf that only the account can foresee, the same one at each look."""
    case = finding.case
    about = f"{case.round} {int(what)} {entry} {turn}".encode()
    return (
        int.from_bytes(keccak(bytes(account.key), case.anchor.hash, about), "big")
        % finding.material.manifest.leaves
    )


def _sentence(place: int, what: str, must: str) -> str:
    return f"Leaf {place} of {what} is not {must}, as the lists show that were demanded on the chain."


def _wrong(finding: Finding, kind: Kind, place: int, text: str) -> Finding:
    return replace(finding, suspicions=[Suspicion(kind, place, text, (place,))], demands=[])
