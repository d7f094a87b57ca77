# SPDX-License-Identifier: Apache-2.0
"""A federation in which somebody else's code aggregates, in floats, as it does where it is at home.

Everything else is the drill's: data, training, attackers, seeds, tests. What the drill leaves to our rule is the
peer's: no encoding, no checks, no outer step. This module knows no peer by name.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from folkmoot_lab.simulation.federation import Run
from folkmoot_lab.simulation.scene import Tried

from folkmoot.protocol.arrays import F32
from folkmoot.protocol.manifest import Manifest


class Peer(Protocol):
    """A peer's aggregation. It may remember something from round to round, and must survive ``copy.deepcopy``."""

    def __call__(self, manifest: Manifest, model: F32, updates: F32, /) -> F32:
        """Aggregate a round.

        Args:
            manifest: Names and shapes of the tensors.
            model: float32[d] with padding, the round's base.
            updates: float32[n, d] with padding, start minus end. The peer may do with them what it likes.

        Returns:
            float32[d] with padding, the next model.
        """


def real(manifest: Manifest) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of the d coordinates are the model's, and not padding: bool[d]."""
    ones = {tensor.name: np.ones(tensor.shape, dtype=np.float32) for tensor in manifest.tensors}
    return manifest.flatten(ones) > 0


@dataclass(eq=False)
class PeerRun(Run):
    """A drill with a peer's aggregation. The plan's rule is not used."""

    peer: Peer
    """Aggregates."""

    def round(self, number: int) -> None:
        """As in any drill. Without an encoding that cuts, a model may go to infinity; that is the peer's result."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            super().round(number)

    def aggregate(self, number: int, updates: F32, root: F32 | None) -> F32:
        """Let the peer aggregate."""
        return self.peer(self.manifest, self.model, updates)

    def prepare(self, honest: F32, root: F32 | None, published: bool) -> Callable[[F32], Tried]:
        """The attackers try out the peer's own code: with everything that it remembers, on a copy of it."""
        late = self.attack.late

        def try_out(sent: F32) -> Tried:
            tried = np.concatenate([honest, sent] if late else [sent, honest])
            return Tried(self.model - copy.deepcopy(self.peer)(self.manifest, self.model, tried), ())

        return try_out
