# SPDX-License-Identifier: Apache-2.0
"""Evaluation reports: measurements of a model on held-out examples, by class, by group, by loss and with triggers.

The format is section 11.1 of docs/protocol.md. A task gives labels, numbers or losses; every number of a report
follows from these by counting and by exact sums. Ratios are rounded once, so that equal predictions give equal bytes.
"""

from folkmoot.evaluation.losses import Losses, Regression
from folkmoot.evaluation.measuring import Predict, measure, triggered
from folkmoot.evaluation.numbers import DIGITS, rounded
from folkmoot.evaluation.report import (
    BY_LOSS,
    CLASSIFICATION,
    FORMAT,
    KINDS,
    LANGUAGE_MODEL,
    LOSS,
    METRICS,
    REGRESSION,
    TRIGGERS,
    ClassCount,
    GroupCount,
    Measurement,
    Probe,
    Report,
)

__all__ = [
    "BY_LOSS",
    "CLASSIFICATION",
    "DIGITS",
    "FORMAT",
    "KINDS",
    "LANGUAGE_MODEL",
    "LOSS",
    "METRICS",
    "REGRESSION",
    "TRIGGERS",
    "ClassCount",
    "GroupCount",
    "Losses",
    "Measurement",
    "Predict",
    "Probe",
    "Regression",
    "Report",
    "measure",
    "rounded",
    "triggered",
]
