# SPDX-License-Identifier: Apache-2.0
"""What a coordinator claimed about a round, and the words for what can be wrong with it. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.round import Anchor


class Kind(StrEnum):
    """What a proof proves. A new kind needs a finder in `examine` and a builder in `proof.BUILDERS`."""

    HEADER = "header"
    """The round was opened with another round's header, or with one that is none."""
    WEIGHT = "weight"
    """An entry has a weight that no rule gives."""
    RULE = "rule"
    """An entry has another weight than the policy's rule gives it: `mean`, or `multi_krum` of up to 32 updates."""
    GRAM_ROOT = "gram-root"
    """There is no Gram root where there must be one, or one where there must be none."""
    GRAM_LEAF = "gram-leaf"
    """A product of two updates in a leaf of the Gram tree is false."""
    GRAM_NODE = "gram-node"
    """A node of the Gram tree is not the sum of its children."""
    UPDATE = "update"
    """An update counts that is none: a wrong norm, a byte that no coordinate has, padding that is not zero."""
    AGGREGATE = "aggregate"
    """A leaf of the aggregate is not the sum of the updates' leaves."""
    OUTER_STEP = "outer-step"
    """A leaf of the new state is not the outer step of the base's."""


class Committed(Protocol):
    """What is known of a commitment wherever it comes from: an event, or a file."""

    @property
    def contributor(self) -> str:
        """Its account."""

    @property
    def update_root(self) -> bytes:
        """Root of the update's tree, 32 bytes."""

    @property
    def sum_squares(self) -> int:
        """Sum of ``q^2``, as it was said."""

    @property
    def num_examples(self) -> int:
        """Number of examples, as it was said."""

    @property
    def bundle_hash(self) -> bytes:
        """Hash of the bundle, 32 bytes."""


@dataclass(frozen=True)
class Case:
    """An anchored round, as the chain has it."""

    chain_id: int
    """EIP-155 id of the chain."""
    ledger: str
    """Address of the RoundLedger."""
    round: int
    """Number of the round."""
    policy_id: int
    """Number of its policy."""
    policy: Policy
    """That policy."""
    coordinator: str
    """Who opened it."""
    base: int
    """Round whose state it trained from; 0 is the genesis."""
    base_state_root: bytes
    """State root of that round, 32 bytes."""
    header_hash: bytes
    """What it was opened with, 32 bytes."""
    entries: tuple[Commitment, ...]
    """Its commitments, in order."""
    anchor: Anchor
    """What is claimed."""
    challenge_deadline: int
    """Unix time from which anybody may finalize the round; then nothing can be proven any more."""

    def header(self, manifest_hash: bytes, exponents: tuple[int, ...]) -> RoundHeader:
        """Return the header that the round must have, with the exponents that its base left."""
        return RoundHeader(
            self.round,
            manifest_hash,
            self.base_state_root,
            self.policy_id,
            self.policy.bits,
            derive_seed(self.chain_id, self.ledger, self.round, self.base_state_root),
            exponents,
        )

    def brought(self, manifest: Manifest) -> tuple[Any, ...]:
        """Return what a judge asks for about a round in most calls, as `IJudge.Case`."""
        return self.round, self.anchor.abi_tuple(), manifest.layout, keccak(manifest.to_json())

    def delivered(self, entry: int) -> bool:
        """Whether the anchor says that an entry's update arrived."""
        return bool(self.anchor.delivered >> entry & 1)


def unopened(commits: Iterable[Committed]) -> list[tuple[Any, ...]]:
    """Return entries as `IJudge.Entry`, without a leaf of their updates."""
    return [
        (
            made.contributor,
            made.update_root,
            made.sum_squares,
            made.num_examples,
            made.bundle_hash,
            b"",
            0,
            0,
            b"",
        )
        for made in commits
    ]


@dataclass(frozen=True)
class Suspicion:
    """Something that is wrong and that a proof shows."""

    kind: Kind
    """What a proof of it proves."""
    place: int
    """The first leaf or the entry that is wrong; 0 for a header."""
    text: str
    """The same in words: one sentence."""
    places: tuple[int, ...] = ()
    """All wrong leaves or entries, at most `examine.MOST_PLACES`."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"kind": str(self.kind), "place": self.place, "text": self.text, "places": list(self.places)}


@dataclass(frozen=True)
class Demand:
    """Bytes that the chain commits to and nobody publishes: no leaf refutes what can't be seen."""

    what: str
    """`artifacts`, `header`, `base-state`, `update`, `aggregate`, `state` or `earlier`."""
    text: str
    """What is missing, in one sentence."""
    entry: int | None = None
    """Number of the entry, for an update."""
    root: bytes = b""
    """Root of the tree whose leaves should be demanded; empty for a document."""
    unsure: bool = False
    """Whether a mirror gave no answer, so that another try may find it."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"what": self.what, "text": self.text, "entry": self.entry, "root": "0x" + self.root.hex()}


@dataclass(frozen=True)
class Dispute:
    """Something that is wrong and that no contract can see so far: a matter for a vote."""

    what: str
    """`weight`, `exponents`, `delivered`, `aggregate`, `state`, `verdicts`, `artifacts`, `outcome` or
    `gram-root`."""
    text: str
    """What differs, in one sentence."""
    expected: str
    """What it must be."""
    found: str
    """What was anchored."""
    entry: int | None = None
    """Number of the entry."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "what": self.what,
            "text": self.text,
            "entry": self.entry,
            "expected": self.expected,
            "found": self.found,
        }
