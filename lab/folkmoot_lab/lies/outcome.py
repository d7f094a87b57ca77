# SPDX-License-Identifier: Apache-2.0
"""Lies about the outcome of a round: they change it before it is stored and anchored, in all files alike.

So only recomputation detects them.
"""

from __future__ import annotations

from dataclasses import replace

from folkmoot.artifacts.gather import RoundInputs
from folkmoot.protocol.anchor import NO_GRAM_ROOT
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.merkle import MEAN, leaf_hashes, tree
from folkmoot.protocol.packing import ZERO, pack
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Reason, Verdict, Verdicts
from folkmoot.round import RoundOutcome, compute_leaves, step_leaves
from folkmoot_lab.lies import Kind

PLACE = 5
"""Coordinate that a lie about a mean or a step changes, in the first leaf of the first tensor."""
SHIFT = 1 << 20
"""Change of theta by a lie about the outer step: 1/64."""


def falsify(kind: Kind, inputs: RoundInputs, outcome: RoundOutcome) -> tuple[RoundOutcome, bytes]:
    """Return a false outcome of a round and its packed mean; what is published with it fits to it."""
    manifest, header, policy, base = inputs.manifest, inputs.header, inputs.policy, inputs.base
    weights, pays = list(outcome.weights), list(outcome.anchor.pays)
    delivered = outcome.anchor.delivered
    names = list(outcome.artifacts.updates)
    if kind is Kind.WEIGHTS:
        favoured = next(index for index, weight in enumerate(weights) if weight)
        weights[favoured] = 0 if outcome.anchor.gram_root != NO_GRAM_ROOT else 2 * weights[favoured]
    elif kind is Kind.PAY:
        robbed = next(index for index, pay in enumerate(pays) if pay)
        pays[robbed] //= 2
    elif kind is Kind.NORM:
        for index, update in enumerate(inputs.updates):
            if update is not None and not delivered >> index & 1:
                weights[index] = max(outcome.weights)
                delivered |= 1 << index
                names[index] = sha256_hex(update.packed(0, manifest.leaves).tobytes())
    part = compute_leaves(manifest, header, policy, base, inputs.updates, weights, 0, manifest.leaves)
    mean, state = part.mean, State(part.theta, part.momentum)
    if kind is Kind.MEAN:
        mean = off_by_one(mean)
        part = step_leaves(manifest, header, policy, base, mean, 0)
        state = State(part.theta, part.momentum)
    elif kind is Kind.OUTER_STEP:
        theta = state.theta.copy()
        theta[PLACE] += SHIFT
        state = State(theta, state.momentum)
    if pays:  # The ledger takes no pay of an entry without weight.
        pays = [pay if weight else 0 for weight, pay in zip(weights, pays, strict=True)]
    return _sealed(inputs, outcome, weights, pays, delivered, tuple(names), mean, state)


def off_by_one(mean: U8) -> U8:
    """Return a mean, uint8[leaves, LEAF], with the coordinate `PLACE` one nearer to 0 (or 1, if it is 0).

    Towards 0, so that it stays in the range of its width. NumPy refuses to add -1 to a uint8 (NEP 50).
    """
    changed, at = mean.copy(), divmod(PLACE, LEAF)
    if changed[at] > ZERO:
        changed[at] -= 1
    else:
        changed[at] += 1
    return changed


def _reweighed(verdict: Verdict, weight: int) -> Verdict:
    return replace(verdict, weight=weight, reason=Reason.ACCEPTED if weight else Reason.OUTLIER)


def _sealed(
    inputs: RoundInputs,
    outcome: RoundOutcome,
    weights: list[int],
    pays: list[int],
    delivered: int,
    updates: tuple[str | None, ...],
    mean: U8,
    state: State,
) -> tuple[RoundOutcome, bytes]:
    """Write the lie into every file, and the files' hashes into the anchor."""
    verdicts = Verdicts(
        outcome.verdicts.round,
        outcome.verdicts.rule,
        outcome.verdicts.parameters,
        tuple(
            replace(
                verdict if verdict.weight == weight else _reweighed(verdict, weight),
                pay=pays[verdict.index] if pays else None,
            )
            for verdict, weight in zip(outcome.verdicts.verdicts, weights, strict=True)
        ),
    )
    verdicts_file = verdicts.to_json()
    packed = pack(mean, inputs.policy.mean_width).tobytes()
    artifacts = replace(
        outcome.artifacts,
        updates=updates,
        mean=sha256_hex(packed),
        state=state.sha256(),
        verdicts=sha256_hex(verdicts_file),
    )
    artifacts_file = artifacts.to_json()
    anchor = replace(
        outcome.anchor,
        weights=tuple(weights),
        pays=tuple(pays),
        delivered=delivered,
        mean_root=tree(MEAN, leaf_hashes(MEAN, mean)).root,
        state_root=state.root(inputs.manifest.hash),
        verdict_hash=keccak(verdicts_file),
        artifacts_hash=keccak(artifacts_file),
        entries_root=entries_tree(inputs.commitments, weights).root,
    )
    lie = replace(
        outcome,
        anchor=anchor,
        verdicts=verdicts,
        artifacts=artifacts,
        verdicts_file=verdicts_file,
        artifacts_file=artifacts_file,
        state=state,
    )
    return lie, packed
