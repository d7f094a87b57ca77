# SPDX-License-Identifier: Apache-2.0
"""The data of both tasks: 178 wines with 13 measurements and one of three cultivars, which scikit-learn ships."""

import numpy as np
import torch
from sklearn.datasets import load_wine

HELD_OUT = 45
"""Wines that nobody trains on."""


def read():
    """Return measurements, float32[178, 13], standardised by column, and cultivars, int64[178], in a fixed order.

    The statistics are those of the whole table, which is public. Owners of private tables would have to agree on some.
    """
    table = load_wine()
    order = np.random.default_rng(0).permutation(len(table.target))
    values = (table.data - table.data.mean(axis=0)) / table.data.std(axis=0)
    return values[order].astype(np.float32), table.target[order]


def share(partition, partitions):
    """Return the places of one contributor's wines. With real data this is not needed: everybody has their own."""
    return slice(HELD_OUT + partition, None, partitions)


def network(inputs, outputs):
    """Return a small network, the same for everybody, so it is seeded."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(inputs, 16), torch.nn.ReLU(), torch.nn.Linear(16, outputs))


def train(model, inputs, targets, loss, settings):
    """Train in place with SGD; return the number of examples."""
    optimizer = torch.optim.SGD(model.parameters(), settings["learning_rate"], settings["momentum"])
    random = torch.Generator().manual_seed(settings["seed"])
    model.train()
    for _ in range(settings["local_steps"]):
        batch = torch.randint(len(targets), (settings["batch_size"],), generator=random)
        optimizer.zero_grad()
        loss(model(inputs[batch]), targets[batch]).backward()
        optimizer.step()
    return len(targets)
