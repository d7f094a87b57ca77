# SPDX-License-Identifier: Apache-2.0
"""Train with record-level differential privacy: clipped per-record gradients, integer sums, discrete Gaussian noise.

A step sums the gradients of **all** records, so that nothing depends on a secret choice of a batch. Each record's
gradient is clipped to the norm ``clip`` and rounded towards zero to a grid: rounding then never lengthens it, needs no
random numbers, and moves a coordinate by less than one step of the grid. The integers have a norm of at most ``bound``,
which is checked in integers, so adding or removing a record moves the sum by at most that. The noise has a standard
deviation of ``noise1024 / 1024`` bounds in each coordinate. Floats come before the clip and after the noise only.

How a library rounds the gradient of a record can depend on the record's place in its batch, and weights that others
choose can make such a last bit decide over the whole gradient. So the place of a record follows from the record alone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.errors import TaskError
from folkmoot.privacy.layers import check_layers
from folkmoot.privacy.noise import I64, SecretStream, discrete_gaussian
from folkmoot.privacy.settings import PrivacySettings, check_grid

if TYPE_CHECKING:
    import torch

    LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_CHUNK_VALUES = 1 << 21
"""Most gradient values of a chunk of records: what is in memory at a time does not grow with the records."""

_MOST_CHUNK = 256

_SLACK = 1 - 2.0**-40
"""Shortens a clipped gradient by more than the rounding errors of floats can lengthen it."""

Released = tuple[PrivacySettings, dict[str, NDArray[Any]]]
"""The settings with which the mechanism trained, and the weights that it released, by name."""

_released: ContextVar[list[Released] | None] = ContextVar("released", default=None)


def clipped(gradients: NDArray[np.floating[Any]], clip: float, bound: int) -> I64:
    """Clip gradients, and round them towards zero to a grid on which ``clip`` has a norm of ``bound``.

    Args:
        gradients: float[n, d], a row for each record. A row with a value that is NaN or infinite, or whose norm is
            beyond float64, counts as zero.
        clip: Largest norm of a row, above 0.
        bound: The same in steps of the grid; ``d * bound^2`` must be below 2^63.

    Returns:
        int64[n, d], each row of a norm of at most ``bound``.
    """
    rows = gradients.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        counts = np.isfinite(norms)
        rows *= (bound * _SLACK / np.maximum(norms, clip))[:, None]
    rows[~counts] = 0
    return within(np.trunc(rows).astype(np.int64), bound)


def within(rows: I64, bound: int) -> I64:
    """Return integer rows, with zeros in the place of each row whose norm is above ``bound``: int64[n, d]."""
    check_grid(rows.shape[1], bound)
    # Values beyond the bound are looked at before they are squared: the sum of the squares of others can't overflow.
    kept = rows.copy()
    kept[(rows < -bound).any(axis=1) | (rows > bound).any(axis=1)] = 0
    kept[np.einsum("ij,ij->i", kept, kept) > bound * bound] = 0
    return kept


def train(
    model: torch.nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    settings: PrivacySettings,
    *,
    rate: float,
    loss_of: LossFunction | None = None,
    stream: SecretStream | None = None,
) -> None:
    """Run the private steps of one round in place. Only parameters with ``requires_grad`` are trained.

    Buffers, such as running statistics, stay as they are. The number of records has no effect but through the sum. A
    weight that would become infinite becomes the largest number of its type: a refusal would say something about the
    records, after the noise was drawn.

    Args:
        model: The model at the start of the round.
        inputs: One row for each record.
        labels: One label for each record.
        settings: The federation's privacy settings.
        rate: Learning rate: a step subtracts ``rate / B0`` times the noisy sum.
        loss_of: Function from outputs [1, ...] and labels [1] of one record to its loss; by default the cross-entropy.
        stream: Secret stream of the noise. Default: a new one, with a key from the operating system. Tests give one.

    Raises:
        TaskError: A layer mixes records, the model has nothing to train, it does not fit the grid, or the learning rate
            is too large.
    """
    import torch
    from torch.func import functional_call, grad, vmap

    check_layers(model)
    stream = SecretStream() if stream is None else stream
    loss_of = loss_of or torch.nn.functional.cross_entropy
    head, inputs = _after_frozen(model, inputs)
    trained = {name: value for name, value in head.named_parameters() if value.requires_grad}
    fixed = {
        name: value.detach()
        for name, value in (*head.named_parameters(), *head.named_buffers())
        if name not in trained
    }

    def loss(weights: dict[str, torch.Tensor], record: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        # Copies of the buffers: a layer that writes into one leaves the model's own alone.
        rest = {name: value.clone() for name, value in fixed.items()}
        outputs = functional_call(head, {**weights, **rest}, (record[None],))
        return loss_of(outputs, label[None])

    gradients_of = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different")
    sizes = {name: value.numel() for name, value in trained.items()}
    elements = sum(sizes.values())
    settings.check_model(elements, rate)  # Refuse the model whatever the records are.
    scale = rate * settings.step_size
    chunks = _chunks(inputs, labels, elements)
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(secrets.randbits(63))  # For dropout. The noise never comes from here.
        for _ in range(settings.steps):
            weights = {name: value.detach() for name, value in trained.items()}
            total = np.zeros(elements, dtype=np.int64)
            for chosen, counts in chunks:
                gradients = gradients_of(weights, inputs[chosen], labels[chosen])
                rows = np.concatenate(
                    [gradients[name].reshape(len(chosen), -1).numpy()[counts] for name in trained], axis=1
                )
                total += clipped(rows, settings.clip, settings.bound).sum(axis=0)
            total += discrete_gaussian(stream, settings.deviation, elements)
            at = 0
            with torch.no_grad():
                for name, value in trained.items():
                    step = torch.from_numpy(total[at : at + sizes[name]] * scale)
                    largest = min(torch.finfo(value.dtype).max, torch.finfo(torch.float32).max)
                    value.sub_(step.reshape(value.shape).to(value.dtype)).clamp_(-largest, largest)
                    at += sizes[name]
    releases = _released.get()
    if releases is not None:
        releases.append((settings, _trained(model)))


@contextmanager
def checked(model: torch.nn.Module, settings: PrivacySettings) -> Iterator[None]:
    """Check that a task's training of a model releases what the mechanism released once, and nothing else.

    Args:
        model: The model.
        settings: The federation's privacy settings.

    Raises:
        TaskError: ``not-private``: the training used the mechanism never or several times, with other settings, or went
            on after it.
    """
    releases: list[Released] = []
    token = _released.set(releases)
    try:
        yield
    finally:
        _released.reset(token)
    if len(releases) != 1:
        raise TaskError(
            f"The manifest declares privacy, and the training added its noise {len(releases)} times.",
            remedy="Nothing was sent. Let the task's train call folkmoot.privacy.mechanism.train once.",
            code="not-private",
        )
    used, released = releases[0]
    if used != settings:
        raise TaskError(
            f"The training used {used}, and the manifest declares {settings}.",
            remedy="Nothing was sent. Let the task's train use PrivacySettings.of(settings).",
            code="not-private",
        )
    after = _trained(model)
    changed = [
        name
        for name, value in released.items()
        if name not in after or not np.array_equal(value, after[name])
    ]
    if changed or len(after) != len(released):
        raise TaskError(
            f"The training went on after its noise was added, in {', '.join(changed or sorted(after))}.",
            remedy="Nothing was sent. Return from the task's train after folkmoot.privacy.mechanism.train.",
            code="not-private",
        )


def _trained(model: torch.nn.Module) -> dict[str, NDArray[Any]]:
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}


def _chunks(
    inputs: torch.Tensor, labels: torch.Tensor, elements: int
) -> list[tuple[torch.Tensor, NDArray[np.bool_]]]:
    """Put the records into chunks; return the records of each chunk, and which of its places count.

    All chunks have one shape, which depends on the model alone. The place of a record in its chunk is a keyed hash of
    the record: neither its gradient's last bit nor its chunk's shape depends on the other records. Records with the
    same place are in different chunks. The first record fills the places that nobody has, and does not count there.
    """
    import torch

    size = min(max(_CHUNK_VALUES // elements, 1), _MOST_CHUNK)
    if not len(labels):
        return []
    key = secrets.token_bytes(16)  # Others must not know which record begins another chunk, which takes time.
    parts = [values.reshape(len(labels), -1).contiguous().view(torch.uint8) for values in (inputs, labels)]
    chosen: list[torch.Tensor] = []
    counts: list[NDArray[np.bool_]] = []
    chunks_with = [0] * size
    for number, record in enumerate(torch.cat(parts, dim=1).numpy()):
        place = int.from_bytes(hashlib.blake2b(record.tobytes(), key=key, digest_size=8).digest()) % size
        if chunks_with[place] == len(chosen):
            chosen.append(torch.zeros(size, dtype=torch.int64))
            counts.append(np.zeros(size, dtype=np.bool_))
        chosen[chunks_with[place]][place] = number
        counts[chunks_with[place]][place] = True
        chunks_with[place] += 1
    return list(zip(chosen, counts, strict=True))


def _after_frozen(model: torch.nn.Module, inputs: torch.Tensor) -> tuple[torch.nn.Module, torch.Tensor]:
    """Return the part of a Sequential from its first trained layer on, and what the layers before make of the inputs.

    These layers are computed once instead of in each step. They see each record alone, so no code of theirs can mix
    records. Other models return unchanged.
    """
    import torch
    from torch.func import vmap

    if type(model) is not torch.nn.Sequential:
        return model, inputs
    layers = list(model.named_children())
    first = next(
        at for at, (_, layer) in enumerate(layers) if any(one.requires_grad for one in layer.parameters())
    )
    head = torch.nn.Sequential()
    for name, layer in layers[first:]:
        head.add_module(name, layer)
    model.eval()
    with torch.no_grad():
        for _, layer in layers[:first]:
            alone = vmap(partial(_of_one, layer), randomness="different")
            parts = []
            for chosen, counts in _chunks(inputs, inputs, 1):
                kept = torch.from_numpy(counts)
                parts.append((chosen[kept], alone(inputs[chosen])[kept]))
            if parts:
                order, outputs = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
                inputs = outputs[torch.argsort(order)]
    return head, inputs


def _of_one(layer: torch.nn.Module, record: torch.Tensor) -> torch.Tensor:
    outputs: torch.Tensor = layer(record[None])
    return outputs[0]
