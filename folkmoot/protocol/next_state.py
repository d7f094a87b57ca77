# SPDX-License-Identifier: Apache-2.0
"""Apply a round's mean to a state file (docs/protocol.md section 9). The memory does not grow with the model.

This module checks no hash: whoever calls it compares the new file with what the chain or a name promises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import U8
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import mean_values
from folkmoot.protocol.outer_step import outer_step
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import MAGIC

LEAVES = 2048
"""Number of leaves that are in memory at a time."""


def write_next_state(
    base: Path,
    mean: Callable[[int, int], U8],
    exponents: Sequence[int],
    policy: Policy,
    manifest: Manifest,
    target: Path,
) -> None:
    """Write the state file after a round.

    Args:
        base: State file that the round started from, of the manifest's size.
        mean: Returns the leaves of the mean from the first to before the last, uint8[k, 256].
        exponents: The exponents of the round's header, one a tensor.
        policy: The round's policy.
        manifest: The model's layout.
        target: Path to write.

    Raises:
        InputError: There is not one exponent a tensor, or a value of the policy or an exponent is out of range.
        OSError: The disk failed, or is full.
    """
    if len(exponents) != len(manifest.tensors):
        raise InputError(f"The header has {len(exponents)} exponents for {len(manifest.tensors)} tensors.")
    of_leaves = np.array(exponents, dtype=np.int64)[manifest.tensor_of_leaf]
    with base.open("rb") as old, target.open("wb") as new:
        new.write(MAGIC)
        for first in range(0, manifest.leaves, LEAVES):
            leaves = of_leaves[first : first + LEAVES]
            places = [len(MAGIC) + 8 * (start + LEAF * first) for start in (0, manifest.size)]
            before = []
            for place in places:
                old.seek(place)
                before.append(np.fromfile(old, "<i8", LEAF * len(leaves)).astype(np.int64, copy=False))
            after = outer_step(
                before[0],
                before[1],
                mean_values(mean(first, first + len(leaves))),
                policy.mean_scale,
                leaves,
                policy.rate,
                policy.momentum,
            )
            for place, values in zip(places, after, strict=True):
                new.seek(place)
                new.write(values.astype("<i8", copy=False).data)
