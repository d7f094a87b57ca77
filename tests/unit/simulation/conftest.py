# SPDX-License-Identifier: Apache-2.0
"""A workload that trains in milliseconds: four blobs of 4 x 4 pixels."""

from __future__ import annotations

import numpy as np
import pytest
from folkmoot_lab.simulation.federation import Examples, Workload
from folkmoot_lab.simulation.network import Network


def blobs(seed: int, count: int) -> Examples:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).uniform(0, 1, (4, 16))
    labels = rng.integers(0, 4, count)
    inputs = np.clip(centres[labels] + rng.normal(0, 0.25, (count, 16)), 0, 1)
    return Examples(inputs.astype(np.float32), labels.astype(np.int64))


@pytest.fixture
def workload() -> Workload:
    train = blobs(1, 400)

    def split(contributors: int, seed: int) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
        order = np.random.default_rng(seed).permutation(len(train.labels))
        return [np.sort(part) for part in np.array_split(order, contributors)]

    return Workload(
        "blobs",
        Network(16, 8, 4),
        train,
        blobs(2, 40),
        blobs(3, 200),
        split,
        (4, 4),
        rate=0.3,
        steps=3,
        batch=16,
    )
