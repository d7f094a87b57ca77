# SPDX-License-Identifier: Apache-2.0
"""Small digits: scikit-learn's 1,797 images of 8x8 pixels. The fastest task, for tests and first tries."""

from __future__ import annotations

from folkmoot.tasks.private import training
from folkmoot.tasks.tabular import TabularTask

task = TabularTask(
    name="digits",
    loader="load_digits",
    hidden=32,
    scale=16.0,
    image=(8, 8),
    training={
        "local_steps": 30,
        "batch_size": 32,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "split_seed": 7,
    },
)

private = TabularTask(
    name="digits-private",
    loader="load_digits",
    hidden=0,
    cell=2,
    scale=16.0,
    image=(8, 8),
    training=training(divisor=64, clip=0.3, rate=40.0),
)
"""With differential privacy: a linear head on gradient histograms, 1,280 weights."""
