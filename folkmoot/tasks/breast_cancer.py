# SPDX-License-Identifier: Apache-2.0
"""Breast cancer (Wisconsin diagnostic): 569 patients, 30 measurements, benign or malignant.

The groups of a report are the quarters of the tumours' mean radius.
"""

from __future__ import annotations

from folkmoot.tasks.private import training
from folkmoot.tasks.tabular import TabularTask

task = TabularTask(
    name="breast-cancer",
    loader="load_breast_cancer",
    hidden=16,
    scale=0.0,
    quarters=(0, "mean radius"),
    training={
        "local_steps": 20,
        "batch_size": 16,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "split_seed": 7,
    },
)

private = TabularTask(
    name="breast-cancer-private",
    loader="load_breast_cancer",
    hidden=0,
    scale=0.0,
    quarters=(0, "mean radius"),
    training=training(divisor=24, clip=0.3, rate=1.0),
)
"""With differential privacy: a linear model, 60 weights."""
