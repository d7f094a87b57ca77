# SPDX-License-Identifier: Apache-2.0
"""The tree over a round's entries and weights, and the receipt of one entry (docs/protocol.md sections 3 and 11.3).

A receipt proves with at most eight hashes that a contributor's update is in a round and with which weight it counts,
against the ``anchorHash`` that the ledger stores. It needs no file and no event. This module reads no chain: whoever
checks a receipt compares what it returns with the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol import merkle
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment, canonical_address
from folkmoot.protocol.hashing import HASH_BYTES, keccak
from folkmoot.protocol.merkle import ENTRIES, Tree

FORMAT = "folkmoot/receipt/2"

_ENTRIES_ROOT = 8
"""Place of ``entriesRoot`` among the words of an anchor."""
_WORDS = 9


def entry_leaf(contributor: str, commitment_hash: bytes, weight: int) -> bytes:
    """Return the bytes of an entry's leaf: 20 of the address, 32 of the commitment's hash, 4 of the weight."""
    return canonical_address(contributor) + commitment_hash + weight.to_bytes(4, "big")


def entries_tree(entries: Sequence[Commitment], weights: Sequence[int]) -> Tree:
    """Build the tree over a round's entries and their weights.

    Args:
        entries: At least one commitment, in entry order.
        weights: One an entry, uint32 each.
    """
    leaves = [
        entry_leaf(entry.contributor, entry.struct_hash, weight)
        for entry, weight in zip(entries, weights, strict=True)
    ]
    rows = np.frombuffer(b"".join(leaves), dtype=np.uint8).reshape(-1, ENTRIES.leaf_bytes)
    return merkle.tree(ENTRIES, merkle.leaf_hashes(ENTRIES, rows))


@dataclass(frozen=True)
class Receipt:
    """Proof that an entry is in an anchored round.

    Raises:
        InputError: On construction, when a hash has not 32 bytes, or a number is out of its range.
    """

    commitment: Commitment
    """What the contributor signed, with the number of the round."""
    index: int
    """Number of the entry in its round."""
    entries: int
    """Number of entries of the round."""
    weight: int
    """Weight with which it counts, a uint32; 0 if it does not."""
    siblings: tuple[bytes, ...]
    """Path from the entry's leaf to the root, lowest level first, 32 bytes each."""
    anchor: tuple[bytes, ...]
    """The nine words that ``anchorHash`` is the hash of (`Anchor.words`)."""

    def __post_init__(self) -> None:
        if len(self.anchor) != _WORDS or any(
            len(word) != HASH_BYTES for word in (*self.anchor, *self.siblings)
        ):
            raise InputError(
                "A receipt has nine words of an anchor and a path, of 32 bytes each.", code="invalid-receipt"
            )
        if not (0 <= self.index < self.entries <= 256 and 0 <= self.weight < 1 << 32):
            raise InputError(
                "A receipt's index, number of entries or weight is out of range.", code="invalid-receipt"
            )

    @classmethod
    def of(cls, entries: Sequence[Commitment], anchor: Anchor, index: int) -> Receipt:
        """Return the receipt of an entry.

        Args:
            entries: All commitments of the round, in entry order.
            anchor: The round's anchor.
            index: Number of the entry.
        """
        siblings = entries_tree(entries, anchor.weights).proof(index)
        return cls(entries[index], index, len(entries), anchor.weights[index], siblings, anchor.words)

    @property
    def anchor_hash(self) -> bytes:
        """The ``anchorHash`` that the ledger must store for the round, 32 bytes."""
        return keccak(*self.anchor)

    def is_consistent(self) -> bool:
        """Return whether the path leads from the entry to the anchor's ``entriesRoot``."""
        leaf = entry_leaf(self.commitment.contributor, self.commitment.struct_hash, self.weight)
        return merkle.verify(
            ENTRIES, self.anchor[_ENTRIES_ROOT], leaf, self.index, self.siblings, self.entries
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "format": FORMAT,
            "commitment": self.commitment.to_json(),
            "index": self.index,
            "entries": self.entries,
            "weight": self.weight,
            "siblings": ["0x" + node.hex() for node in self.siblings],
            "anchor": ["0x" + word.hex() for word in self.anchor],
        }

    @classmethod
    def from_json(cls, value: Any) -> Receipt:
        """Read what `to_json` made; it may come from a stranger.

        Raises:
            InputError: `invalid-receipt`: it is no receipt of this format.
        """
        names = {"format", "commitment", "index", "entries", "weight", "siblings", "anchor"}
        if not isinstance(value, dict) or set(value) != names or value["format"] != FORMAT:
            raise InputError(
                f"This is no receipt of the format {FORMAT}.",
                remedy="Give a file that `folkmoot receipt` wrote.",
                code="invalid-receipt",
            )
        index, count, weight = (value[name] for name in ("index", "entries", "weight"))
        lists = [value["siblings"], value["anchor"]]
        if any(type(one) is not int for one in (index, count, weight)) or any(
            type(list_) is not list for list_ in lists
        ):
            raise InputError("The receipt has fields of a wrong type.", code="invalid-receipt")
        try:
            siblings, anchor = (
                tuple(bytes.fromhex(word.removeprefix("0x")) for word in list_) for list_ in lists
            )
        except (ValueError, AttributeError) as error:
            raise InputError(f"The receipt can't be read: {error}", code="invalid-receipt") from error
        receipt = cls(Commitment.from_json(value["commitment"]), index, count, weight, siblings, anchor)
        if receipt.to_json() != value:
            raise InputError("The receipt writes a value in another form.", code="invalid-receipt")
        return receipt
