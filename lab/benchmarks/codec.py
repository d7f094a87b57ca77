# SPDX-License-Identifier: Apache-2.0
"""Encoding: what a contributor pays for its update, and the coordinator for its check on arrival."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.measure import Case
from benchmarks.worlds import CONTRIBUTOR, SEED, manifest_of, random_update
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.update_checks import summarize
from folkmoot.protocol.updates import MemoryUpdate


def cases(size: int) -> Iterator[Case]:
    """Cases over an update of about ``size`` bytes."""
    manifest = manifest_of(size)
    rng = np.random.default_rng(1)
    start = rng.standard_normal(manifest.size, dtype=np.float32)
    end = start + rng.standard_normal(manifest.size, dtype=np.float32) * np.float32(0.01)
    update = MemoryUpdate(random_update(manifest, 1))
    exponents = (-11,) * len(manifest.tensors)
    yield Case(
        "codec",
        "encode an update (with its tree), per byte of update",
        manifest.size,
        lambda: encode_update(start, end, exponents, manifest, SEED, CONTRIBUTOR),
    )
    yield Case(
        "codec",
        "check an update on arrival (tree, sums, padding, sha256)",
        manifest.size,
        lambda: summarize(update, manifest),
    )
