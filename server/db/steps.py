# SPDX-License-Identifier: Apache-2.0
"""The steps of a round, as the database has them."""

from __future__ import annotations

from enum import StrEnum


class Step(StrEnum):
    """What the engine does with a round now. Written before it acts, so that it can take up where it was."""

    OPENING = "opening"
    """The opening is on its way to the chain."""
    COLLECTING = "collecting"
    """Updates are taken; commitments go to the chain in batches."""
    DELIVERY = "delivery"
    """The commit window is over; files of commitments that are on the chain may still arrive."""
    COMPUTING = "computing"
    """The entries are fixed; the outcome is being computed."""
    PROBING = "probing"
    """The outcome is there; the canary's report on it is awaited."""
    WITHHELD = "withheld"
    """The model fell: it is not anchored, unless the operator releases it before the deadline."""
    ANCHORING = "anchoring"
    """The outcome is on its way to the chain."""
    ANCHORED = "anchored"
    """The challenge window runs."""
    FINALIZING = "finalizing"
    """The final word is on its way to the chain."""
    SETTLING = "settling"
    """The rewards are on their way to the chain."""
    SETTLED = "settled"
    """All is done."""
    CANCELLING = "cancelling"
    """Too few updates, or too late: the cancellation is on its way to the chain."""
    CANCELLED = "cancelled"
    """The round ended without an outcome."""
    SLASHED = "slashed"
    """The anchor was proven wrong, or one that it builds on."""


OPEN = (
    Step.OPENING,
    Step.COLLECTING,
    Step.DELIVERY,
    Step.COMPUTING,
    Step.PROBING,
    Step.WITHHELD,
    Step.ANCHORING,
    Step.CANCELLING,
)
"""While a round is here, no other can open."""
UNSETTLED = (Step.ANCHORED, Step.FINALIZING, Step.SETTLING)
"""The next round may open, but something is left to do."""
ENDED = (Step.SETTLED, Step.CANCELLED, Step.SLASHED)
"""Nothing is left to do."""

PHASES = {
    Step.OPENING: "opening",
    Step.COLLECTING: "open",
    Step.DELIVERY: "committed",
    Step.COMPUTING: "committed",
    Step.PROBING: "committed",
    Step.WITHHELD: "committed",
    Step.ANCHORING: "committed",
    Step.CANCELLING: "committed",
    Step.ANCHORED: "anchored",
    Step.FINALIZING: "anchored",
    Step.SETTLING: "final",
    Step.SETTLED: "final",
    Step.CANCELLED: "cancelled",
    Step.SLASHED: "slashed",
}
"""Phase of the round on the chain (docs/protocol.md) by step."""
