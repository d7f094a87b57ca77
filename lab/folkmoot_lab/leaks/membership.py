# SPDX-License-Identifier: Apache-2.0
"""Membership: a passive attacker with a list of candidates finds which of them a contributor trained on.

The attacker has the published states and the contributor's published updates, nothing else. An update is about the sum
of the gradients of the records that were trained on, so the attacker explains all updates together by the gradients of
the candidates: a ridge regression, in which each candidate's gradients have norm 1. A candidate's coefficient is its
score. Alone, the product of gradient and update (as in Nasr, Shokri, Houmansadr 2019) finds fewer: the gradients of
records that resemble each other do too, and the regression takes that apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from folkmoot.protocol.arrays import F32, F64
from folkmoot.tasks import Data
from folkmoot_lab.leaks.learner import Learner

RIDGE = 0.1
"""Penalty of the regression, relative to a candidate's own norm of 1."""


def scores(learner: Learner, published: Iterable[tuple[F32, F32]], candidates: Data) -> F64:
    """Return a score for each candidate, float64[n]; a higher one means "was trained on".

    Args:
        learner: The task.
        published: Base and update of each round of one contributor, float32[size] each.
        candidates: The records on the attacker's list.
    """
    count = len(candidates)
    products, along = np.zeros((count, count)), np.zeros(count)
    for base, update in published:
        length = float(np.square(update, dtype=np.float64).sum())
        if length == 0.0:
            continue
        rows: F64 = learner.gradients(base, candidates).astype(np.float64)
        # Each round counts alike, although updates become smaller.
        products += rows @ rows.T / length
        along += rows @ update / length
    norms = np.sqrt(np.diag(products))
    norms[norms == 0.0] = 1.0
    scaled = products / norms[:, None] / norms + RIDGE * np.eye(count)
    return np.asarray(np.linalg.solve(scaled, along / norms), dtype=np.float64)
