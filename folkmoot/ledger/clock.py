# SPDX-License-Identifier: Apache-2.0
"""How far a machine's clock and a chain's may be apart before somebody should look: one limit for health and doctor.

Rounds go by the chain's time, signed requests by the machine's.
"""

from __future__ import annotations

AHEAD_SECONDS = 60
"""How far the newest block may be ahead of this machine's clock: nodes take no block from far in the future."""
BEHIND_SECONDS = 900
"""How old the newest block may be: chains make one every few seconds."""


def apart(block_time: float, now: float) -> float | None:
    """Return the seconds that the newest block is ahead of this machine's clock, if they are too many.

    Args:
        block_time: Unix time of the newest block.
        now: Unix time of this machine.

    Returns:
        Seconds, negative if the block is old; None if the two are close enough.
    """
    seconds = block_time - now
    return None if -BEHIND_SECONDS <= seconds <= AHEAD_SECONDS else seconds
