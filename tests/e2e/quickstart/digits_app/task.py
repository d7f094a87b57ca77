# SPDX-License-Identifier: Apache-2.0
"""Model, data and training."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """Convolution, batch norm, two layers."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.hidden = nn.Linear(8 * 16, 32)
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        """Return logits, [n, 10]."""
        x = torch.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)
        return self.out(torch.relu(self.hidden(x.flatten(1))))


def dataset():
    """Return all examples in a fixed order."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[order].unsqueeze(1)
    return TensorDataset(images, torch.tensor(digits.target)[order])


def load_data(partition_id, num_partitions, batch_size):
    """Return the loaders of one partition: training and validation."""
    images, labels = dataset()[:1400]
    images, labels = images[partition_id::num_partitions], labels[partition_id::num_partitions]
    cut = int(0.8 * len(labels))
    return (
        DataLoader(TensorDataset(images[:cut], labels[:cut]), batch_size=batch_size, shuffle=True),
        DataLoader(TensorDataset(images[cut:], labels[cut:]), batch_size=batch_size),
    )


def load_test_set():
    """Return the loader of the common test set."""
    return DataLoader(TensorDataset(*dataset()[1400:]), batch_size=128)


def train(net, loader, epochs, lr):
    """Train in place; return the mean loss."""
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    net.train()
    total = 0.0
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
    return total / (epochs * len(loader))


def test(net, loader):
    """Return mean loss and accuracy."""
    criterion = nn.CrossEntropyLoss()
    net.eval()
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for images, labels in loader:
            logits = net(images)
            loss += criterion(logits, labels).item()
            right += (logits.argmax(1) == labels).sum().item()
            count += len(labels)
    return loss / len(loader), right / count
