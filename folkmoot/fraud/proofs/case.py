# SPDX-License-Identifier: Apache-2.0
"""Records of a coordinator's claims about a round, and of errors in them. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import Tree
from folkmoot.protocol.policy import Policy


class Kind(StrEnum):
    """Kinds of proofs. A new kind needs a function in `examine` that finds it, and a builder in `proof.BUILDERS`."""

    HEADER = "header"
    """The round was opened with another round's header, or with an invalid header."""
    WEIGHT = "weight"
    """An entry has a weight that no rule can give."""
    RULE = "rule"
    """An entry's weight differs from the policy's rule: `mean`, or `multi_krum` of up to 32 updates."""
    GRAM_ROOT = "gram-root"
    """A required Gram root is missing, or there is a Gram root that must not exist."""
    GRAM_LEAF = "gram-leaf"
    """A product of two updates in a leaf of the Gram tree is false."""
    GRAM_NODE = "gram-node"
    """A node of the Gram tree is not the sum of its children."""
    UPDATE = "update"
    """An invalid update has a weight: a wrong norm, an invalid byte, or padding that is not zero."""
    ENTRIES = "entries"
    """The root over the entries and their weights is false."""
    MEAN = "mean"
    """A leaf of the mean is not what the weights make of the updates' leaves."""
    OUTER_STEP = "outer-step"
    """A leaf of the new state is not the outer step of the base's."""


class Committed(Protocol):
    """Fields of a commitment, from an event or a file."""

    @property
    def contributor(self) -> str:
        """Account of the contributor."""

    @property
    def update_root(self) -> bytes:
        """Root of the update's tree, 32 bytes."""

    @property
    def sum_squares(self) -> int:
        """Claimed sum of ``q^2``."""

    @property
    def memory_hash(self) -> bytes:
        """Hash of the contributor's memory, 32 bytes."""

    @property
    def bundle_hash(self) -> bytes:
        """Hash of the bundle, 32 bytes."""


@dataclass(frozen=True)
class Case:
    """An anchored round, as recorded on the chain."""

    chain_id: int
    """EIP-155 id of the chain."""
    ledger: str
    """Address of the RoundLedger."""
    round: int
    """Number of the round."""
    policy_id: int
    """Number of its policy."""
    policy: Policy
    coordinator: str
    """Account of the coordinator that opened it."""
    base: int
    """Round whose state it trained from; 0 is the genesis."""
    base_state_root: bytes
    """State root of that round, 32 bytes."""
    header_hash: bytes
    """Hash of the header with which it was opened, 32 bytes."""
    entries: tuple[Commitment, ...]
    """Commitments of the round, in order."""
    anchor: Anchor
    """The coordinator's claims."""
    challenge_deadline: int
    """Unix time from which anybody may finalize the round. After that, nothing can be proven."""

    def header(self, manifest_hash: bytes, exponents: tuple[int, ...]) -> RoundHeader:
        """Return the header that the round must have, with the exponents of its base."""
        return RoundHeader.derive(
            self.chain_id,
            self.ledger,
            manifest_hash,
            self.round,
            self.base_state_root,
            self.policy_id,
            self.policy.width,
            exponents,
        )

    def brought(self, manifest: Manifest) -> tuple[Any, ...]:
        """Return the round as `IJudge.Case`, an argument of most calls of judges."""
        return self.round, self.anchor.abi_tuple(), manifest.layout, keccak(manifest.to_json())

    def delivered(self, entry: int) -> bool:
        """Return whether an entry's update was delivered, according to the anchor."""
        return bool(self.anchor.delivered >> entry & 1)


def unopened(commits: Iterable[Committed]) -> list[tuple[Any, ...]]:
    """Return entries as `IJudge.Entry`, without leaves of their updates."""
    return [
        (
            commitment.contributor,
            commitment.update_root,
            commitment.sum_squares,
            commitment.memory_hash,
            commitment.bundle_hash,
            b"",
            0,
            0,
            b"",
        )
        for commitment in commits
    ]


@dataclass(frozen=True)
class Suspicion:
    """An error that can be proven."""

    kind: Kind
    """Kind of its proof."""
    place: int
    """First wrong leaf, or wrong entry; 0 for a header."""
    text: str
    """Description in one sentence."""
    places: tuple[int, ...] = ()
    """All wrong leaves or entries, at most `examine.MOST_PLACES`."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"kind": str(self.kind), "place": self.place, "text": self.text, "places": list(self.places)}


@dataclass(frozen=True)
class Demand:
    """Missing data to which the chain commits. Without the data no error can be proven."""

    what: str
    """`artifacts`, `header`, `base-state`, `update`, `mean`, `state` or `earlier`."""
    text: str
    """Description of the missing data, in one sentence."""
    entry: int | None = None
    """Number of the entry, for an update."""
    root: bytes = b""
    """Root of the tree whose leaves can be demanded; empty for a document."""
    unsure: bool = False
    """Whether a mirror gave no answer, so that another try may succeed."""
    truth: tuple[Tree, ...] = field(default=(), compare=False, repr=False)
    """What the missing tree must be, if it was computed: the mean's, or theta's and momentum's."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"what": self.what, "text": self.text, "entry": self.entry, "root": "0x" + self.root.hex()}


@dataclass(frozen=True)
class Dispute:
    """An error that no contract can check, so that a vote must decide."""

    what: str
    """`weight`, `exponents`, `delivered`, `mean`, `state`, `verdicts`, `artifacts`, `outcome` or
    `gram-root`."""
    text: str
    """Description of the difference, in one sentence."""
    expected: str
    """Expected value."""
    actual: str
    """Anchored value."""
    entry: int | None = None
    """Number of the entry."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "what": self.what,
            "text": self.text,
            "entry": self.entry,
            "expected": self.expected,
            "found": self.actual,
        }
