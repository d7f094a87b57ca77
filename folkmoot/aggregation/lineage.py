# SPDX-License-Identifier: Apache-2.0
"""The lineage of a round: the rounds that its base was computed from, as far back as rules use (docs/protocol.md 8.3).

The lineage of a round is its base, the base's base and so on to the genesis; other rounds were voided. This module
knows no chain and no folder: its callers find the files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from folkmoot.aggregation.shares import copies_among
from folkmoot.aggregation.trajectory import WINDOW
from folkmoot.protocol.codec import rounding_key
from folkmoot.protocol.commitment import Commitment, checksum_address
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import UpdateReader


@dataclass(frozen=True, eq=False)
class Published:
    """An update that was weighed in its round, with what its commitment says."""

    update: UpdateReader
    """Its bytes."""
    sum_squares: int
    """Sum of ``q^2``."""


@dataclass(frozen=True, eq=False)
class PastRound:
    """A round of the lineage."""

    exponents: tuple[int, ...]
    """The exponents of its header, one a tensor."""
    updates: tuple[UpdateReader, ...] = ()
    """The updates that were delivered in it, in entry order; may be left out where the rule does not use them."""
    keys: tuple[int, ...] = ()
    """The rounding key of each of them (``codec.rounding_key``)."""
    contributors: tuple[str, ...] = ()
    """The account of each of them."""
    published: Mapping[str, Published] | None = None
    """Those that were weighed, by contributor; None where the rule does not use them."""

    @classmethod
    def of(
        cls,
        header: RoundHeader,
        entries: Sequence[Commitment],
        updates: Sequence[UpdateReader | None],
        coordinator: str,
    ) -> PastRound:
        """Return a round with all that rules use of it.

        Args:
            header: Its header.
            entries: Its commitments in entry order.
            updates: The delivered update of each entry, None where none was delivered.
            coordinator: Account that opened it.
        """
        delivered = tuple(update for update in updates if update is not None)
        contributors = tuple(
            entry.contributor for entry, update in zip(entries, updates, strict=False) if update is not None
        )
        keys = tuple(rounding_key(header.seed, who) for who in contributors)
        published = published_of(entries, updates, coordinator)
        return cls(header.exponents, delivered, keys, contributors, published)


@dataclass(frozen=True, eq=False)
class Lineage:
    """The inputs of a round's references. An empty one is that of a round on the genesis."""

    rounds: tuple[PastRound, ...] = ()
    """The last WINDOW rounds of the lineage, the oldest first."""
    before: State | None = None
    """The state that the oldest of them trained from; may be left out where the rule does not use the trajectory."""


GENESIS = Lineage()
"""The lineage of a round on the genesis."""


def window(base: int, base_of: Callable[[int], int]) -> list[int]:
    """Find the rounds that the lineage of a round has.

    Args:
        base: Number of the round's base; 0 is the genesis.
        base_of: From the number of a round to that of its base.

    Returns:
        Numbers of at most WINDOW rounds, the oldest first.
    """
    rounds: list[int] = []
    while base and len(rounds) < WINDOW:
        rounds.insert(0, base)
        base = base_of(base)
    return rounds


def published_of(
    entries: Sequence[Commitment], updates: Sequence[UpdateReader | None], coordinator: str
) -> dict[str, Published]:
    """Return the updates that are weighed in a round, by contributor, in entry order.

    Those are the delivered ones without the coordinator's own and without copies (docs/protocol.md section 8).

    Args:
        entries: The round's commitments in entry order.
        updates: The delivered update of each entry, None where none was delivered.
        coordinator: Account that opened the round.
    """
    own = checksum_address(coordinator)
    copies = copies_among(entries, [update is not None for update in updates], own)
    return {
        entry.contributor: Published(update, entry.sum_squares)
        for index, (entry, update) in enumerate(zip(entries, updates, strict=True))
        if update is not None and entry.contributor != own and index not in copies
    }
