# SPDX-License-Identifier: Apache-2.0
"""The checks of an update that need only bytes, commitment, header and policy (docs/protocol.md section 7).

What depends on the chain or the clock (is the round open, is there enough stake, is there another commitment)
is for the caller. Each check raises ``UpdateRefused`` with the reason code.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from folkmoot.errors import EncodingError, UpdateRefused
from folkmoot.protocol.arrays import I64, U8, U64
from folkmoot.protocol.codec import check_padding
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.exponents import TensorSums
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import SumLevel, leaf_largest, sum_tree, update_leaves
from folkmoot.protocol.packing import ZERO, largest, unpack
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.updates import SequentialReader
from folkmoot.protocol.verdict import Reason

_CHUNK = 4096  # leaves hashed at a time: 1 MiB
_BLOCK = 8  # coordinates of a block, whose bytes are one word
_ZEROS = np.uint64(ZERO * 0x0101010101010101)


@dataclass(frozen=True)
class UpdateSummary:
    """Root, sums and digest of an update, from one pass over its bytes."""

    root: bytes
    """Root of the update tree, 32 bytes."""
    sum_squares: int
    """Sum of ``q^2``."""
    tensors: tuple[TensorSums, ...]
    """What the next exponents need of each tensor."""
    sha256: str
    """SHA-256 of the file, in hex."""

    @property
    def sum_absolute(self) -> tuple[int, ...]:
        """Sum of ``|q|`` of each tensor."""
        return tuple(tensor.absolute for tensor in self.tensors)


def summarize(update: SequentialReader, manifest: Manifest) -> UpdateSummary:
    """Read an update once and compute what the checks and the next exponents need.

    Args:
        update: The update's bytes; about 1 MiB is in memory at a time.
        manifest: The model's layout.

    Raises:
        UpdateRefused: ``wrong-size`` or ``invalid-encoding``.
        ArtifactError: The bytes can't be read.
    """
    needed = manifest.update_file_size(update.width)
    if update.size != needed:
        raise _refused(
            Reason.WRONG_SIZE,
            f"The update has {update.size} bytes, and the manifest needs {needed} at width {update.width}.",
        )
    bound = largest(update.width)
    levels: list[SumLevel] = []
    magnitudes: list[I64] = []
    used: list[I64] = []
    digest = hashlib.sha256()
    for first in range(0, manifest.leaves, _CHUNK):
        last = min(first + _CHUNK, manifest.leaves)
        packed = np.ascontiguousarray(update.packed(first, last))
        digest.update(packed.data)
        leaves = unpack(packed, update.width)
        magnitude = leaf_largest(leaves)
        if magnitude.max() > bound:
            leaf = first + int(np.argmax(magnitude))
            raise _refused(
                Reason.INVALID_ENCODING,
                f"Leaf {leaf} has an integer that is not between {-bound} and {bound}, the range of "
                f"{update.width} bits.",
            )
        try:
            check_padding(leaves, manifest, first)
        except EncodingError as error:
            raise _refused(Reason.INVALID_ENCODING, error.message) from error
        levels.append(update_leaves(leaves)[0])
        magnitudes.append(magnitude)
        used.append(used_elements(leaves, manifest.values_in_leaf[first:last]))
    tree = sum_tree(
        SumLevel(
            np.concatenate([level.hashes for level in levels]),
            np.concatenate([level.absolute for level in levels]),
            np.concatenate([level.square for level in levels]),
        )
    )
    lowest = tree.levels[0]
    per_leaf = (lowest.absolute, lowest.square, np.concatenate(magnitudes), np.concatenate(used))
    sums = tensor_sums(*per_leaf, manifest)
    return UpdateSummary(tree.root, tree.sum_squares, sums, digest.hexdigest())


def used_elements(leaves: U8, values: I64) -> I64:
    """Count the elements of each leaf that lie in a block of 8 with an integer other than 0.

    Args:
        leaves: uint8[k, 256], ``q + 128``, C-contiguous.
        values: int64[k], how many coordinates of each leaf are no padding.

    Returns:
        int64[k].
    """
    used = leaves.view(np.uint64) != _ZEROS
    sizes = np.clip(values[:, None] - _BLOCK * np.arange(used.shape[1]), 0, _BLOCK)
    counts: I64 = np.where(used, sizes, 0).sum(axis=1)
    return counts


def tensor_sums(
    absolute: U64, squares: U64, magnitudes: I64, used: I64, manifest: Manifest
) -> tuple[TensorSums, ...]:
    """Sum what is known of each leaf by tensor.

    Args:
        absolute: uint64[n], ``sum |q|`` of each leaf.
        squares: uint64[n], ``sum q^2``.
        magnitudes: int64[n], the largest ``|q|``.
        used: int64[n], ``used_elements``.
        manifest: The model's layout, of n leaves.
    """
    borders = manifest.leaf_offsets[:-1]
    columns = (
        *(np.add.reduceat(column, borders) for column in (absolute, squares)),
        np.maximum.reduceat(magnitudes, borders),
        np.add.reduceat(used, borders),
    )
    return tuple(TensorSums(*row) for row in zip(*(column.tolist() for column in columns), strict=True))


def check_bytes(update: SequentialReader, commitment: Commitment, manifest: Manifest) -> UpdateSummary:
    """Check that bytes are the update that was committed to: size, encoding, root, sum of squares.

    Raises:
        UpdateRefused: ``wrong-size``, ``invalid-encoding``, ``wrong-root`` or ``wrong-norm``, the first that
        fails. ArtifactError: The bytes can't be read.
    """
    summary = summarize(update, manifest)
    if summary.root != commitment.update_root:
        raise _refused(
            Reason.WRONG_ROOT,
            f"The update's root is 0x{summary.root.hex()}, "
            f"the commitment's 0x{commitment.update_root.hex()}.",
        )
    if summary.sum_squares != commitment.sum_squares:
        raise _refused(
            Reason.WRONG_NORM,
            f"The update's sum of squares is {summary.sum_squares}, "
            f"the commitment's {commitment.sum_squares}.",
        )
    return summary


def check_base(commitment: Commitment, header: RoundHeader) -> None:
    """Check that a commitment is for this round and this base.

    Raises:
        UpdateRefused: ``round-unknown`` (it is for another round) or ``wrong-base``.
    """
    if commitment.round != header.round:
        raise _refused(
            Reason.ROUND_UNKNOWN, f"The commitment is for round {commitment.round}, not {header.round}."
        )
    if commitment.base_state_root != header.base_state_root:
        raise _refused(
            Reason.WRONG_BASE,
            f"The update was trained from 0x{commitment.base_state_root.hex()}, "
            f"round {header.round} is on 0x{header.base_state_root.hex()}.",
        )


def check_norm(commitment: Commitment, policy: Policy) -> None:
    """Check the committed sum of squares against the policy's cap and its floor.

    Raises:
        UpdateRefused: ``norm-too-large`` or ``norm-too-small``.
    """
    if commitment.sum_squares > policy.max_sum_squares:
        raise _refused(
            Reason.NORM_TOO_LARGE,
            f"The sum of squares is {commitment.sum_squares}, the policy's cap {policy.max_sum_squares}.",
        )
    if commitment.sum_squares < policy.min_sum_squares:
        raise _refused(
            Reason.NORM_TOO_SMALL,
            f"The sum of squares is {commitment.sum_squares}, the policy's floor {policy.min_sum_squares}.",
        )


def check_claim(
    commitment: Commitment, signature: bytes | None, *, header: RoundHeader, policy: Policy, domain: Domain
) -> None:
    """Run the pure checks that need no byte of the update, in the protocol's order: base, norm, signature.

    Args:
        commitment: What the contributor says.
        signature: Its signature; None where the contributor committed by a transaction of its own.
        header: The round's header.
        policy: The round's policy.
        domain: The ledger that signatures are for.

    Raises:
        UpdateRefused: With the code of the first check that fails.
    """
    check_base(commitment, header)
    check_norm(commitment, policy)
    if signature is not None:
        commitment.check_signature(signature, domain)


def _refused(reason: Reason, message: str) -> UpdateRefused:
    return UpdateRefused(message, remedy=reason.advice, code=str(reason))
