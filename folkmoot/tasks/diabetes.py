# SPDX-License-Identifier: Apache-2.0
"""Diabetes: 442 patients, 10 measurements, progression of the disease in a year (Efron et al., 2004). A regression.

The groups of a report are the two sexes, which the data set codes as 1 and 2 without naming them.
"""

from __future__ import annotations

from folkmoot.tasks.tabular import TabularRegression

task = TabularRegression(
    name="diabetes",
    loader="load_diabetes",
    hidden=16,
    coded=(1, "sex"),
    training={
        "local_steps": 20,
        "batch_size": 16,
        "learning_rate": 0.02,
        "momentum": 0.9,
        "split_seed": 7,
    },
)
