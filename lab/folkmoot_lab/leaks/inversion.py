# SPDX-License-Identifier: Apache-2.0
"""Inversion: reconstruct records from an update.

If the first layer with weights is dense, in closed form: the gradient of a row of its weights is ``delta x^T`` and that
of its bias ``delta``, so one divided by the other is the record x, whatever the steps were, if no other record moved
that row (Phong et al. 2018). For other models by matching gradients (Geiping et al. 2020): a search for records whose
gradient has the direction of the update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.func import functional_call

from folkmoot.protocol.arrays import F32, F64
from folkmoot.tasks import Data
from folkmoot_lab.leaks.learner import Learner, loss_of

FOUND = 0.8
"""A record counts as found if a reconstruction explains this share of its squared distance from the mean record."""

_NO_PEAK = 1.0
_STEPS = 400
_RATE = 0.1
_SMOOTH = 1e-3
_LEAST_STEPS = 3.0
"""A bias that moved by less than so many steps of the update's grid gives no reconstruction."""


@dataclass(frozen=True)
class Match:
    """How near a reconstruction came to a record."""

    psnr: float
    """Peak signal-to-noise ratio in dB; the peak is the range of all values."""
    explained: float
    """Share of the record's squared distance from the mean record that is explained; 1 is exact, 0 is the mean."""

    @property
    def found(self) -> bool:
        """Whether the record counts as found."""
        return self.explained >= FOUND


def dense_layer(learner: Learner, data: Data) -> tuple[str, torch.Tensor] | None:
    """Return the name of the first layer with weights and what the records are at its input, float32[n, width].

    None if it is not dense with a bias, or something else than records of one dimension reaches it.
    """
    first = next(
        (
            (name, layer)
            for name, layer in learner.model.named_modules()
            if next(layer.parameters(recurse=False), None) is not None
        ),
        None,
    )
    if first is None or not isinstance(first[1], torch.nn.Linear) or first[1].bias is None:
        return None
    seen: list[torch.Tensor] = []

    def note(_layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0].detach().clone())

    handle = first[1].register_forward_pre_hook(note)
    try:
        learner.model.eval()
        with torch.no_grad():
            learner.model(data.inputs)
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0].shape != (len(data), first[1].in_features):
        return None
    return first[0], seen[0]


def closed_form(learner: Learner, layer: str, update: F32, exponents: tuple[int, ...]) -> F32:
    """Return a reconstruction for each row of a dense layer whose bias moved, float32[k, width].

    Args:
        learner: The task.
        layer: Name of the layer; empty if the model is this layer.
        update: float32[size], as published.
        exponents: Of the round.
    """
    prefix = f"{layer}." if layer else ""
    changes = learner.manifest.unflatten(update, carried=False)
    names = [tensor.name for tensor in learner.manifest.tensors]
    weight, bias = changes[f"{prefix}weight"], changes[f"{prefix}bias"]
    least = _LEAST_STEPS * 2.0 ** exponents[names.index(f"{prefix}bias")]
    moved = np.abs(bias) >= least
    return np.asarray(weight[moved] / bias[moved, None], dtype=np.float32)


def matched(learner: Learner, base: F32, update: F32, labels: torch.Tensor, shape: Any, seed: int) -> F32:
    """Search records whose gradient has the direction of an update, float32[n, values of a record].

    Args:
        learner: The task.
        base: float32[size], the weights at the start.
        update: float32[size], as published.
        labels: Labels of the records, which this attacker knows.
        shape: Shape of one record.
        seed: Decides where the search starts.
    """
    arrays = learner.manifest.unflatten(base, dtypes=True)
    weights = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
    names = [tensor.name for tensor in learner.manifest.tensors]
    leaves = [weights[name].requires_grad_() for name in names]
    changes = learner.manifest.unflatten(update, carried=False)
    target = torch.cat([torch.from_numpy(changes[name]).flatten() for name in names])
    generator = torch.Generator().manual_seed(seed)
    guess = torch.randn((len(labels), *shape), generator=generator).requires_grad_()
    momentum, square = torch.zeros_like(guess), torch.zeros_like(guess)
    learner.model.eval()
    for step in range(1, _STEPS + 1):
        loss = loss_of(functional_call(learner.model, weights, (guess,)), labels)
        found = torch.cat([one.flatten() for one in torch.autograd.grad(loss, leaves, create_graph=True)])
        apart = 1 - torch.nn.functional.cosine_similarity(found, target, dim=0)
        if guess.dim() == 4:  # Neighbouring pixels resemble each other.
            across, down = guess.diff(dim=-1).abs().mean(), guess.diff(dim=-2).abs().mean()
            apart = apart + _SMOOTH * (across + down)
        (slope,) = torch.autograd.grad(apart, [guess])
        # Adam by hand: the first use of torch.optim imports the whole compiler.
        momentum = 0.9 * momentum + 0.1 * slope
        square = 0.999 * square + 0.001 * slope**2
        rate = _RATE * (1 + math.cos(math.pi * step / _STEPS)) / 2
        stride = (momentum / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-12)
        with torch.no_grad():
            guess -= rate * stride
    return np.asarray(guess.detach().numpy().reshape(len(labels), -1), dtype=np.float32)


def matches(records: F32, reconstructions: F32, everything: F32) -> list[Match]:
    """Compare each record with the nearest reconstruction.

    Args:
        records: float32[n, width], the records that are looked for.
        reconstructions: float32[k, width].
        everything: float32[m, width], all records: their mean and range are what an attacker may know anyway.
    """
    wide: F64 = records.astype(np.float64)
    mean = everything.mean(axis=0, dtype=np.float64)
    peak = float(everything.max() - everything.min()) or _NO_PEAK
    # The mean record is always a candidate: an attacker who finds nothing can still send it.
    tried = np.concatenate([reconstructions.astype(np.float64), mean[None]])
    found = []
    for record in wide:
        error = float(np.square(tried - record).sum(axis=1).min())
        whole = float(np.square(record - mean).sum()) or _NO_PEAK
        psnr = 10 * math.log10(peak**2 * record.size / max(error, 1e-12))
        found.append(Match(psnr, 1 - error / whole))
    return found
