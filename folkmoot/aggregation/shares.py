# SPDX-License-Identifier: Apache-2.0
"""Entries with equal update roots share one share: only the first of them is weighed (docs/protocol.md section 8).

An exact copy brings nothing into the sum, so k accounts with one update earn what one account earns. This module knows
no rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.protocol.commitment import Commitment, checksum_address


def copies_of(roots: Sequence[bytes | None]) -> dict[int, int]:
    """Return the number of each copy, with the number of the entry that counts in its place.

    Args:
        roots: One an entry, in entry order: the update root of an entry that was delivered and is not the coordinator's
            own, and None for the others.
    """
    first: dict[bytes, int] = {}
    originals = {index: first.setdefault(root, index) for index, root in enumerate(roots) if root is not None}
    return {index: original for index, original in originals.items() if index != original}


def copies_among(
    entries: Sequence[Commitment], delivered: Sequence[bool], coordinator: str
) -> dict[int, int]:
    """Return what `copies_of` does, from the entries of a round.

    Args:
        entries: Its commitments in entry order.
        delivered: Whether the update of each arrived.
        coordinator: Account that opened the round.
    """
    own = checksum_address(coordinator)
    return copies_of(
        [
            entry.update_root if arrived and entry.contributor != own else None
            for entry, arrived in zip(entries, delivered, strict=True)
        ]
    )
