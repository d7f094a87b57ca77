# SPDX-License-Identifier: Apache-2.0
"""Who has a place in a round, as ``contracts/src/libraries/Places.sol`` decides it (docs/protocol.md section 6.2).

A round has room for a limited number of updates. If more stake is enrolled than that many minimum stakes, places are
given by stake: three quarters of the places divide the enrolled stake into quotas, an account with a quota has a place,
and one with a part of a quota has one with that probability. What a draw rests on, its basis, is noted at the last
anchor, before anybody knows the lots. All values are integers; stakes and quotas are in units of 1e-18 tokens.
"""

from __future__ import annotations

from folkmoot.protocol.hashing import keccak

LOT_BITS = 96
"""Bits of a lot, and of a quota."""

SEED_BITS = 120
"""Bits of a draw's seed."""

EVERYBODY = 1
"""Quota of a draw whose basis was no crowd: whoever was enrolled by then has a place."""

REDRAW_BLOCKS = 257
"""Number of blocks after a basis from which anybody may note another one."""


def available(max_contributors: int) -> int:
    """Return the places for contributors: all but one, which the coordinator's entry may need, and at least one."""
    return max(1, max_contributors - 1)


def is_crowd(total: int, max_contributors: int, min_stake: int) -> bool:
    """Return whether more stake is enrolled than there are places for accounts with the minimum stake."""
    return total > available(max_contributors) * min_stake


def quota_of(total: int, max_contributors: int, min_stake: int, now: int = 0) -> int:
    """Return the quota of a round; 0 if no places are drawn, so that everybody who is enrolled has one.

    Args:
        total: Sum of all enrolled stake when the basis was noted.
        max_contributors: Of the round's policy.
        min_stake: Of the round's policy.
        now: Sum of all enrolled stake just before the opening.
    """
    if is_crowd(total, max_contributors, min_stake):
        return total * 4 // (available(max_contributors) * 3)
    return EVERYBODY if is_crowd(now, max_contributors, min_stake) else 0


def seed_of(block_hash: bytes) -> int:
    """Return the seed of a draw: the low 120 bits of the hash (32 bytes) of the block of the basis."""
    return int.from_bytes(block_hash, "big") & ((1 << SEED_BITS) - 1)


def lot_of(seed: int, account: str) -> int:
    """Return the lot of an account: the high 96 bits of ``keccak256(uint256(seed) || uint256(account))``.

    Args:
        seed: Of the draw, below 2^120.
        account: 0x and 40 hex digits.
    """
    digest = keccak(seed.to_bytes(32, "big") + bytes.fromhex(account[2:]).rjust(32, b"\0"))
    return int.from_bytes(digest, "big") >> (256 - LOT_BITS)


def has_place(quota: int, seed: int, account: str, enrolled: int) -> bool:
    """Return whether an account has a place, if it was enrolled in time and with the minimum stake.

    In time is before the `at` of the draw; without a draw, before the opening.

    Args:
        quota: Of the draw; 0 if nobody is drawn.
        seed: Of the draw.
        account: 0x and 40 hex digits.
        enrolled: Its enrolled stake, below 2^96.
    """
    return enrolled >= quota or lot_of(seed, account) * quota < enrolled << LOT_BITS
