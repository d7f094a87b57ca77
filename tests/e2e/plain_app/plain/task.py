# SPDX-License-Identifier: Apache-2.0
"""Points on two sides of a line, and a network that tells them apart."""

import torch
from torch import nn


def make_model() -> nn.Module:
    """Return the model, seeded."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def load_data(node_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the points of a node."""
    generator = torch.Generator().manual_seed(node_id % 2**31)
    points = torch.randn(256, 2, generator=generator)
    return points, (points[:, 0] + points[:, 1] > 0).long()


def train(model: nn.Module, points: torch.Tensor, sides: torch.Tensor, rate: float) -> float:
    """Train in place and return the last loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    model.train()
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(points), sides)
        loss.backward()
        optimizer.step()
    return loss.item()
