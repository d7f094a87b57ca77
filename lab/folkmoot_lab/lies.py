# SPDX-License-Identifier: Apache-2.0
"""A coordinator that lies on demand. For demonstrations only.

The coordinator's setting `conduct` (`folkmoot_lab.lies:KIND@ROUND`) makes it lie in one round, and is refused on
every chain but a local Anvil. A lie about the outcome changes it before it is stored and anchored, and publishes
matching files, so that only recomputation detects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from folkmoot.errors import InputError, UpdateRefused
from folkmoot.protocol.anchor import NO_GRAM_ROOT
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import keccak, sha256_hex
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import MEAN, leaf_hashes, tree
from folkmoot.protocol.packing import ZERO, pack
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.receipt import entries_tree
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import UpdateReader
from folkmoot.protocol.verdict import Reason, Verdicts
from folkmoot.round import RoundOutcome, compute_leaves, step_leaves

PLACE = 5
"""Coordinate that a lie about a mean or a step changes, in the first leaf of the first tensor."""
SHIFT = 1 << 20
"""Change of theta by a lie about the outer step: 1/64."""


class Kind(StrEnum):
    """Kinds of lies."""

    MEAN = "mean"
    """One coordinate of the mean is off by one. The state is computed from it."""
    WEIGHTS = "weights"
    """One update is left out, or counts twice if no Gram matrix is anchored. The outcome is computed from that."""
    OUTER_STEP = "outer-step"
    """One coordinate of theta is shifted."""
    NORM = "norm"
    """An update with a false sum of squares is accepted."""
    CENSOR = "censor"
    """The update of the round's first contributor is refused, and anchored as not delivered."""
    WITHHOLD = "withhold"
    """The updates of the round are not published, and demands are not answered."""


@dataclass(frozen=True)
class Lie:
    """Conduct of a coordinator (`server.conduct.Conduct`) that lies in one round."""

    kind: Kind
    """Kind of the lie."""
    round: int
    """Round of the lie."""

    def overlooks(self, number: int, refusal: UpdateRefused) -> bool:
        """Return whether to accept an update with a false norm, from a colluding contributor."""
        return refusal.code == str(Reason.WRONG_NORM) and self._tells(number, Kind.NORM)

    def censors(self, number: int) -> bool:
        """Return whether to refuse the round's first contributor."""
        return self._tells(number, Kind.CENSOR)

    def withholds(self, number: int) -> bool:
        """Return whether to withhold the round's updates."""
        return self._tells(number, Kind.WITHHOLD)

    def delays(self, number: int) -> bool:
        """Return whether to delay the round of the lie, so that watchers have time."""
        return number == self.round

    def publish(
        self,
        manifest: Manifest,
        header: RoundHeader,
        policy: Policy,
        base: State,
        entries: Sequence[Commitment],
        updates: Sequence[UpdateReader | None],
        outcome: RoundOutcome,
    ) -> tuple[RoundOutcome, bytes] | None:
        """Return a false outcome of a round with matching files; None to publish the true one."""
        if header.round != self.round or self.kind in (Kind.WITHHOLD, Kind.CENSOR):
            return None  # The outcome is true for the counted updates.
        weights = list(outcome.weights)
        delivered = outcome.anchor.delivered
        names = list(outcome.artifacts.updates)
        if self.kind is Kind.WEIGHTS:
            favoured = next(index for index, weight in enumerate(weights) if weight)
            weights[favoured] = 0 if outcome.anchor.gram_root != NO_GRAM_ROOT else 2 * weights[favoured]
        elif self.kind is Kind.NORM:
            for index, update in enumerate(updates):
                if update is not None and not delivered >> index & 1:
                    weights[index] = max(outcome.weights)
                    delivered |= 1 << index
                    names[index] = sha256_hex(update.packed(0, manifest.leaves).tobytes())
        part = compute_leaves(manifest, header, policy, base, updates, weights, 0, manifest.leaves)
        mean, state = part.mean, State(part.theta, part.momentum)
        if self.kind is Kind.MEAN:
            mean = off_by_one(mean)
            part = step_leaves(manifest, header, policy, base, mean, 0)
            state = State(part.theta, part.momentum)
        elif self.kind is Kind.OUTER_STEP:
            theta = state.theta.copy()
            theta[PLACE] += SHIFT
            state = State(theta, state.momentum)
        return _sealed(manifest, policy, entries, outcome, weights, delivered, tuple(names), mean, state)

    def _tells(self, number: int, kind: Kind) -> bool:
        return number == self.round and kind is self.kind


def conduct(text: str) -> Lie:
    """Parse ``KIND@ROUND``. The coordinator's setting `conduct` has the name of this module and this text.

    Raises:
        InputError: The text is not ``KIND@ROUND`` (`unknown-cheat`).
    """
    kind, _, number = text.partition("@")
    if kind not in set(Kind) or not number.isdigit() or int(number) < 1:
        raise InputError(
            f"There is no cheat {text!r}.",
            remedy=f"Write KIND@ROUND, with one of {', '.join(Kind)}, e.g. mean@3.",
            code="unknown-cheat",
        )
    return Lie(Kind(kind), int(number))


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


def _sealed(
    manifest: Manifest,
    policy: Policy,
    entries: Sequence[Commitment],
    outcome: RoundOutcome,
    weights: list[int],
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
            verdict
            if verdict.weight == weight
            else replace(verdict, weight=weight, reason=Reason.ACCEPTED if weight else Reason.OUTLIER)
            for verdict, weight in zip(outcome.verdicts.verdicts, weights, strict=True)
        ),
    )
    verdicts_file = verdicts.to_json()
    packed = pack(mean, policy.mean_width).tobytes()
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
        delivered=delivered,
        mean_root=tree(MEAN, leaf_hashes(MEAN, mean)).root,
        state_root=state.root(manifest.hash),
        verdict_hash=keccak(verdicts_file),
        artifacts_hash=keccak(artifacts_file),
        entries_root=entries_tree(entries, weights).root,
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
