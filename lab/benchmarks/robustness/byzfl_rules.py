# SPDX-License-Identifier: Apache-2.0
"""byzfl's own aggregators and pre-aggregators, on NumPy arrays of updates, as its documentation calls them.

It is an optional dependency (``folkmoot[bench]``); importing this module fails without it, and ``contenders`` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import byzfl
import numpy as np

from benchmarks.robustness.peer import real
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.manifest import Manifest

VERSION = f"byzfl {version('byzfl')}"
"""What is installed."""

RULES: dict[str, Callable[[int], Sequence[Any]]] = {
    "NNM+TrMean": lambda f: [byzfl.NNM(f=f), byzfl.TrMean(f=f)],
    "ARC+NNM+TrMean": lambda f: [byzfl.ARC(f=f), byzfl.NNM(f=f), byzfl.TrMean(f=f)],
    "GeometricMedian": lambda f: [byzfl.GeometricMedian()],
    "CenteredClipping": lambda f: [byzfl.CenteredClipping()],
    "CenteredClipping(tau=1)": lambda f: [byzfl.CenteredClipping(tau=1.0)],
    "CenteredClipping(tau=0.3)": lambda f: [byzfl.CenteredClipping(tau=0.3)],
    "MultiKrum": lambda f: [byzfl.MultiKrum(f=f)],
}
"""From the true number of attackers to what is called one after the other. Other parameters are byzfl's defaults."""


@dataclass(eq=False)
class ByzflPeer:
    """A chain of byzfl's objects as a ``Peer``."""

    stages: Sequence[Any]
    """Called one after the other on an array of vectors; the last gives one vector."""

    def __call__(self, manifest: Manifest, model: F32, updates: F32) -> F32:
        """Aggregate; arguments as in ``Peer``."""
        places = real(manifest)
        vectors: Any = updates[:, places]  # a copy: ARC clips in place
        for stage in self.stages:
            vectors = stage(vectors)
        moved = np.zeros_like(model)
        moved[places] = vectors
        return model - moved


def make(name: str, malicious: int) -> ByzflPeer:
    """The rule with this name as a peer."""
    return ByzflPeer(RULES[name](malicious))
