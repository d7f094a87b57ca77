# SPDX-License-Identifier: Apache-2.0
"""Flower's own strategies, fed with replies as their ServerApp gets them: one ArrayRecord and one MetricRecord each.

Only ``aggregate_train`` is called, so no network is needed. Every contributor reports the same number of examples,
which is the truth here: a false one would let a single attacker take all of the weight in FedAvg, Krum's selection
or MultiKrum, and is no attack of a drill.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import Bulyan, FedAvg, FedMedian, FedTrimmedAvg, Krum, MultiKrum
from flwr.supercore.task_identity import TaskIdentity

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.manifest import Manifest

VERSION = f"flwr {version('flwr')}"
"""What is installed."""

_EXAMPLES = 160  # of each contributor in a round; equal


def bulyan_f(contributors: int, malicious: int) -> int:
    """The largest f that Bulyan takes, ``n >= 4 f + 3``, and not more than there are attackers."""
    return max(0, min(malicious, (contributors - 3) // 4))


STRATEGIES: dict[str, Callable[[int, int], FedAvg]] = {
    "FedAvg": lambda n, f: FedAvg(),
    "FedMedian": lambda n, f: FedMedian(),
    # floor(beta n) values are cut off at each end; the quarter keeps that at f whatever f / n rounds to.
    "FedTrimmedAvg": lambda n, f: FedTrimmedAvg(beta=(f + 0.25) / n),
    "Krum": lambda n, f: Krum(num_malicious_nodes=f),
    "MultiKrum": lambda n, f: MultiKrum(num_malicious_nodes=f, num_nodes_to_select=n - f),
    "Bulyan": lambda n, f: Bulyan(num_malicious_nodes=bulyan_f(n, f)),
}
"""From contributors n and attackers f to the strategy, told the true f."""


def replies(manifest: Manifest, models: F32) -> list[Message]:
    """The contributors' models as replies to a train message.

    Args:
        manifest: Names and shapes of the tensors.
        models: float32[n, d] with padding.
    """
    made = []
    for node, model in enumerate(models, 1):
        asked = Message(content=RecordDict(), dst_node_id=node, message_type=MessageType.TRAIN)
        arrays = ArrayRecord({name: Array(value) for name, value in manifest.unflatten(model).items()})
        metrics = MetricRecord({"num-examples": _EXAMPLES})
        made.append(Message(content=RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=asked))
    return made


@dataclass(eq=False)
class FlowerPeer:
    """A strategy as a ``Peer``."""

    strategy: FedAvg
    """The strategy; all of them are built on FedAvg."""
    number: int = 0
    """Rounds so far."""

    def __post_init__(self) -> None:
        logging.getLogger("flwr").setLevel(logging.ERROR)  # else some lines for each aggregation
        # A message can be made inside a Flower task only.
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1

    def __call__(self, manifest: Manifest, model: F32, updates: F32) -> F32:
        """Aggregate; arguments as in ``Peer``.

        Raises:
            InputError: The strategy refuses to aggregate.
        """
        self.number += 1
        arrays, _ = self.strategy.aggregate_train(self.number, replies(manifest, model - updates))
        if arrays is None:
            raise InputError(
                f"Flower's {type(self.strategy).__name__} did not aggregate {len(updates)} updates.",
                remedy="Take fewer attackers or more contributors.",
            )
        values = {name: np.asarray(array.numpy(), dtype=np.float32) for name, array in arrays.items()}
        return manifest.flatten(values, check_finite=False)


def make(name: str, contributors: int, malicious: int) -> FlowerPeer:
    """The strategy with this name as a peer."""
    return FlowerPeer(STRATEGIES[name](contributors, malicious))
