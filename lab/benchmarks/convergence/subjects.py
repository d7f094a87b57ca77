# SPDX-License-Identifier: Apache-2.0
"""What is trained: fourteen small models with their optimizers, on data that packages bring or that is made here.

Each is trained with plain PyTorch, as a Flower app would. Nothing here knows of integers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from torch import Tensor, nn
from torch.nn import functional as f
from torch.optim import SGD, Adam, AdamW, Optimizer

from benchmarks.convergence.federation import CLIENTS, Arrays
from folkmoot.tasks import mnist
from folkmoot.tasks.partition import dirichlet

_DATA_SEED = 7

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
Made = tuple[Tensor, Tensor, list[Any]]


@dataclass(frozen=True)
class TorchSubject:
    """A model, its data and its optimizer."""

    name: str
    """Name in the table."""
    build: Callable[[], nn.Module]
    """Builds the model; its weights follow from torch's random state."""
    data: Callable[[], Made]
    """Inputs, targets, and the places of each client's examples."""
    loss_of: Loss
    """Mean loss of a batch."""
    optimizer: Callable[[Any, float], Optimizer]
    """From parameters and rate to the optimizer, which is new in each round."""
    rates: tuple[float, ...]
    """The learning rates to try, ascending."""
    steps: int = 10
    """Local steps of a round."""
    batch: int = 32
    """Examples of a step."""

    def initial(self, seed: int) -> Arrays:
        """The first weights and buffers, by name."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _arrays(self.build())

    def train(
        self, arrays: Arrays, client: int, number: int, seed: int, rate: float, frozen: Sequence[str]
    ) -> Arrays:
        """What a client makes of the arrays in a round; the same arguments give the same result."""
        inputs, targets, shares = self.data()
        model = self._loaded(arrays)
        model.train()
        trained = []
        for name, parameter in model.named_parameters():
            if name.startswith(tuple(frozen)):
                parameter.requires_grad_(False)
            else:
                trained.append(parameter)
        optimizer = self.optimizer(trained, rate)
        rng = np.random.default_rng([seed, number, client])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(1 << 31)))
            for _ in range(self.steps):
                places = torch.from_numpy(rng.choice(shares[client], self.batch))
                optimizer.zero_grad()
                self.loss_of(model, inputs[places], targets[places]).backward()
                optimizer.step()
        return _arrays(model)

    def loss(self, arrays: Arrays) -> float:
        """Loss over all clients' examples."""
        inputs, targets, _ = self.data()
        model = self._loaded(arrays)
        model.eval()
        with torch.no_grad():
            return float(self.loss_of(model, inputs, targets))

    def _loaded(self, arrays: Arrays) -> nn.Module:
        model = self.build()
        model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
        return model


def _arrays(model: nn.Module) -> Arrays:
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}


# Data


def _shared(inputs: Any, targets: Any, labels: Any = None) -> Made:
    """Split by label (Dirichlet 0.5), or at random where there is none."""
    if labels is None:
        shares = np.array_split(np.random.default_rng(_DATA_SEED).permutation(len(targets)), CLIENTS)
    else:
        shares = dirichlet(np.asarray(labels), CLIENTS, _DATA_SEED)
    return torch.as_tensor(inputs), torch.as_tensor(targets), list(shares)


@cache
def _digits() -> Made:
    values, labels = load_digits(return_X_y=True)
    return _shared((values / 16).astype(np.float32), labels.astype(np.int64), labels)


@cache
def _digit_rows() -> Made:
    inputs, targets, shares = _digits()
    return inputs.reshape(-1, 8, 8), targets, shares


@cache
def _digit_images() -> Made:
    inputs, targets, shares = _digits()
    return inputs.reshape(-1, 1, 8, 8), targets, shares


@cache
def _mnist() -> Made:
    images, labels = mnist.read()
    chosen = np.random.default_rng(_DATA_SEED).permutation(len(labels))[:1500]
    images, labels = np.asarray(images)[chosen].reshape(-1, 1, 28, 28), np.asarray(labels)[chosen]
    return _shared(images[:, :, ::2, ::2].astype(np.float32), labels.astype(np.int64), labels)


@cache
def _colour_mnist() -> Made:
    """As large as CIFAR-10, which Flower's quickstart loads: padded to 32 by 32, in three equal channels."""
    images, labels = mnist.read()
    chosen = np.random.default_rng(_DATA_SEED).permutation(len(labels))[:1500]
    images = np.asarray(images)[chosen].reshape(-1, 1, 28, 28).astype(np.float32)
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="edge").repeat(3, axis=1)
    labels = np.asarray(labels)[chosen].astype(np.int64)
    return _shared(padded, labels, labels)


@cache
def _tumours() -> Made:
    values, labels = load_breast_cancer(return_X_y=True)
    scaled = (values - values.mean(0)) / values.std(0)
    return _shared(scaled.astype(np.float32), labels.astype(np.int64), labels)


@cache
def _diabetes() -> Made:
    values, targets = load_diabetes(return_X_y=True)
    scaled = (values - values.mean(0)) / values.std(0)
    return _shared(
        scaled.astype(np.float32), ((targets - targets.mean()) / targets.std()).astype(np.float32)[:, None]
    )


_WORDS = 2000


@cache
def _texts() -> Made:
    """Bags of 20 words of a Zipf law; a word's hidden leaning decides the class, with noise."""
    rng = np.random.default_rng(_DATA_SEED)
    odds = 1 / np.arange(1, _WORDS + 1)
    words = rng.choice(_WORDS, (3000, 20), p=odds / odds.sum())
    leaning = rng.standard_normal((_WORDS, 4)) * 0.7
    scores = leaning[words].sum(1) + rng.gumbel(size=(3000, 4))
    labels = scores.argmax(1)
    return _shared(words, labels, labels)


_LETTERS = 30


@cache
def _sequences() -> Made:
    """Sequences of 24 letters of a random second-order Markov chain; the target is the next letter."""
    rng = np.random.default_rng(_DATA_SEED)
    table = rng.dirichlet(np.full(_LETTERS, 0.05), (_LETTERS, _LETTERS))
    steps = table.cumsum(-1)
    letters = np.zeros((600, 25), dtype=np.int64)
    letters[:, :2] = rng.integers(0, _LETTERS, (600, 2))
    for place in range(2, 25):
        draws = rng.random((600, 1))
        chosen = (steps[letters[:, place - 2], letters[:, place - 1]] < draws).sum(1)
        letters[:, place] = np.minimum(chosen, _LETTERS - 1)
    return _shared(letters[:, :-1], letters[:, 1:])


@cache
def _ratings() -> Made:
    """Ratings of 300 films by 200 people, of rank 4 with noise; each client has people of its own."""
    rng = np.random.default_rng(_DATA_SEED)
    people, films = rng.standard_normal((200, 4)), rng.standard_normal((300, 4))
    pairs = np.stack([rng.integers(0, 200, 6000), (300 * rng.random(6000) ** 2).astype(np.int64)], axis=1)
    values = (people[pairs[:, 0]] * films[pairs[:, 1]]).sum(1) / 2 + rng.standard_normal(6000) * 0.3
    shares = [np.flatnonzero(pairs[:, 0] % CLIENTS == client) for client in range(CLIENTS)]
    return torch.as_tensor(pairs), torch.as_tensor(values.astype(np.float32)), shares


# Models


class _Rows(nn.Module):
    """An LSTM that reads an image row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(8, 32, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, rows: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.cell(rows)[0][:, -1]))


class _Bag(nn.Module):
    """The mean of word vectors, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(_WORDS, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, words: Tensor) -> Tensor:
        return torch.as_tensor(self.head(self.words(words).mean(1)))


class _Transformer(nn.Module):
    """Two layers of causal attention."""

    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(_LETTERS, 32)
        self.places = nn.Parameter(torch.randn(24, 32) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, _LETTERS)

    def forward(self, letters: Tensor) -> Tensor:
        values = self.letters(letters) + self.places
        mask = nn.Transformer.generate_square_subsequent_mask(letters.shape[1])
        for layer in self.layers:
            values = layer(values, src_mask=mask, is_causal=True)
        return torch.as_tensor(self.head(self.norm(values)))


class _Factors(nn.Module):
    """Matrix factorisation with biases."""

    def __init__(self) -> None:
        super().__init__()
        self.people, self.films = nn.Embedding(200, 8), nn.Embedding(300, 8)
        self.bias = nn.Embedding(300, 1)
        nn.init.normal_(self.people.weight, std=0.3)
        nn.init.normal_(self.films.weight, std=0.3)

    def forward(self, pairs: Tensor) -> Tensor:
        person, film = pairs[:, 0], pairs[:, 1]
        return torch.as_tensor((self.people(person) * self.films(film)).sum(1) + self.bias(film)[:, 0])


def _dense(*sizes: int, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), *([nn.LayerNorm(after)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers[: -2 if norm else -1])


def _quickstart() -> nn.Sequential:
    """The network of Flower's PyTorch quickstart."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def _kaiming(model: nn.Sequential) -> nn.Sequential:
    """Start so that the signal neither dies nor explodes on its way (He et al. 2015, arXiv 1502.01852)."""
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model


def _cnn(channels: int, size: int, norm: bool) -> nn.Sequential:
    """Two strided convolutions and a dense layer, on square images of a side."""
    layers: list[nn.Module] = []
    for before, after in ((1, channels), (channels, 2 * channels)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1)]
        layers += [nn.BatchNorm2d(after)] if norm else []
        layers += [nn.ReLU()]
    rest = -(-size // 4)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2 * channels * rest**2, 10))


# Losses and optimizers


def _classes(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return f.cross_entropy(model(inputs), targets)


def _squares(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return f.mse_loss(model(inputs), targets)


def _letters(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return f.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def _itself(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return f.mse_loss(model(inputs), inputs)


def _sgd(parameters: Any, rate: float) -> Optimizer:
    return SGD(parameters, rate)


def _momentum(parameters: Any, rate: float) -> Optimizer:
    return SGD(parameters, rate, momentum=0.9)


def _adam(parameters: Any, rate: float) -> Optimizer:
    return Adam(parameters, rate)


def _adamw(parameters: Any, rate: float) -> Optimizer:
    return AdamW(parameters, rate, weight_decay=0.01)


SUBJECTS: dict[str, TorchSubject] = {
    subject.name: subject
    for subject in (
        TorchSubject(
            "linear regression", lambda: nn.Linear(10, 1), _diabetes, _squares, _sgd, (0.003, 0.01, 0.03)
        ),
        TorchSubject(
            "logistic regression", lambda: nn.Linear(30, 2), _tumours, _classes, _sgd, (0.01, 0.03, 0.1)
        ),
        TorchSubject(
            "matrix factorisation", _Factors, _ratings, _squares, _sgd, (1.0, 3.0, 6.0), steps=20, batch=64
        ),
        TorchSubject("MLP, SGD", lambda: _dense(64, 64, 10), _digits, _classes, _sgd, (0.03, 0.1, 0.3)),
        TorchSubject("MLP, AdamW", lambda: _dense(64, 64, 10), _digits, _classes, _adamw, (3e-4, 1e-3, 3e-3)),
        TorchSubject(
            "deep MLP without norm", lambda: _kaiming(_dense(64, *[48] * 7, 10)), _digits, _classes, _momentum,
            (0.01, 0.02, 0.04),
        ),
        TorchSubject(
            "MLP with LayerNorm", lambda: _dense(64, 64, 64, 10, norm=True), _digits, _classes, _sgd,
            (0.03, 0.1, 0.3),
        ),
        TorchSubject(
            "autoencoder", lambda: _dense(64, 32, 8, 32, 64), _digits, _itself, _adam, (3e-4, 1e-3, 3e-3)
        ),
        TorchSubject("CNN", lambda: _cnn(8, 14, False), _mnist, _classes, _momentum, (0.01, 0.02, 0.05)),
        TorchSubject(
            "CNN with BatchNorm", lambda: _cnn(8, 8, True), _digit_images, _classes, _momentum,
            (0.01, 0.03, 0.1),
        ),
        TorchSubject("LSTM", _Rows, _digit_rows, _classes, _momentum, (0.03, 0.1, 0.2)),
        TorchSubject("embedding, SGD", _Bag, _texts, _classes, _sgd, (0.3, 1.0, 3.0)),
        TorchSubject("embedding, Adam", _Bag, _texts, _classes, _adam, (0.001, 0.003, 0.01)),
        TorchSubject("transformer", _Transformer, _sequences, _letters, _adam, (0.001, 0.003, 0.01), batch=16),
    )
}  # fmt: skip
"""The fourteen by name."""

QUICKSTART = TorchSubject(
    "Flower's quickstart", _quickstart, _colour_mnist, _classes, _momentum, (0.05, 0.1), steps=10
)
"""The net of Flower's quickstart, at its published rate of 0.1 and at half of it."""
