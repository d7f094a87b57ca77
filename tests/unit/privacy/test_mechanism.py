# SPDX-License-Identifier: Apache-2.0
"""What one record changes is bounded in integers, and training is clipped gradient descent plus the stream's noise."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from folkmoot.errors import InputError, TaskError
from folkmoot.privacy import mechanism
from folkmoot.privacy.layers import check_layers
from folkmoot.privacy.mechanism import checked, clipped, train, within
from folkmoot.privacy.noise import SecretStream, discrete_gaussian
from folkmoot.privacy.settings import PrivacySettings

KEY = b"a key that tests alone may know."
SETTINGS = PrivacySettings(noise1024=2000, steps=3, divisor=10, clip=0.5, grid=8, delta=1e-5)
FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def records(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(count, 6, generator=generator)
    return inputs, torch.randint(0, 3, (count,), generator=generator)


def weights(model: nn.Module) -> np.ndarray:
    return torch.cat([value.detach().flatten() for value in model.parameters()]).numpy()


def by_hand(
    model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, noise: np.ndarray, rate: float
) -> None:
    """Train as the module's docstring says it, one record at a time, with torch's own gradients."""
    for step in range(SETTINGS.steps):
        total = np.zeros(noise.shape[1], dtype=np.int64)
        for record, label in zip(inputs, labels, strict=True):
            loss = nn.functional.cross_entropy(model(record[None]), label[None])
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
            values = gradient.double() * min(1.0, SETTINGS.clip / float(gradient.double().norm()))
            total += torch.trunc(values / SETTINGS.clip * SETTINGS.bound).long().numpy()
        change = (total + noise[step]) * SETTINGS.clip / SETTINGS.bound / SETTINGS.divisor * rate
        at = 0
        with torch.no_grad():
            for value in model.parameters():
                value.sub_(torch.from_numpy(change[at : at + value.numel()]).reshape(value.shape))
                at += value.numel()


@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_training_is_clipped_descent_plus_the_noise_of_the_stream(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mechanism, "_MOST_CHUNK", chunk)
    inputs, labels = records(20)
    ours, theirs = network(), network()
    train(ours, inputs, labels, SETTINGS, rate=0.3, stream=SecretStream.of_key(KEY))
    stream, size = SecretStream.of_key(KEY), len(weights(ours))
    noise = np.stack([discrete_gaussian(stream, SETTINGS.deviation, size) for _ in range(SETTINGS.steps)])
    by_hand(theirs, inputs, labels, noise, 0.3)
    assert np.abs(weights(ours) - weights(theirs)).max() < 1e-4
    assert np.abs(weights(ours) - weights(network())).max() > 0.05


def test_the_noise_has_the_declared_size_even_without_records() -> None:
    """Without records only noise moves the weights, by the deviation that the budget counts."""
    model = nn.Sequential(nn.Tanh(), nn.Linear(100, 40, bias=False))
    before = weights(model)
    inputs, labels = torch.zeros(0, 100), torch.zeros(0, dtype=torch.int64)
    train(model, inputs, labels, SETTINGS, rate=2.0, stream=SecretStream.of_key(KEY))
    expected = 2.0 * SETTINGS.clip * SETTINGS.noise1024 / 1024 / SETTINGS.divisor * 3**0.5
    assert (weights(model) - before).std() == pytest.approx(expected, rel=0.05)
    assert expected == pytest.approx(2.0 * SETTINGS.deviation_of_training)


def test_the_noise_is_another_one_each_time_whatever_seed_torch_has() -> None:
    inputs, labels = records(20)
    models = [network(), network()]
    for model in models:
        torch.manual_seed(1)
        state = torch.random.get_rng_state()
        train(model, inputs, labels, SETTINGS, rate=0.3)
        assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state was used up"
    assert np.abs(weights(models[0]) - weights(models[1])).max() > 0.01


def test_a_public_generator_is_refused_as_the_stream() -> None:
    stream: Any = torch.Generator()
    with pytest.raises(InputError) as refused:
        train(network(), *records(3), SETTINGS, rate=1.0, stream=stream)
    assert refused.value.code == "not-secret"


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=FLOATS))
def test_no_record_moves_the_sum_by_more_than_the_bound(gradients: np.ndarray) -> None:
    bound = 1024 << 8
    rows = clipped(gradients, 0.5, bound)
    for row, gradient in zip(rows, gradients, strict=True):
        assert sum(int(value) ** 2 for value in row) <= bound**2
        if not np.isfinite(gradient).all():
            assert not row.any()
    without = clipped(gradients[1:], 0.5, bound)
    moved = rows.sum(axis=0) - without.sum(axis=0)
    assert sum(int(value) ** 2 for value in moved) <= bound**2


def test_small_gradients_keep_their_size_and_large_ones_their_direction() -> None:
    bound = 1024 << 8
    small, large = clipped(np.array([[0.03, -0.04], [3e30, -4e30]]), 0.5, bound)
    assert small.tolist() == [int(0.06 * bound), -int(0.08 * bound)]
    assert large.tolist() == [int(0.6 * bound), -int(0.8 * bound)]
    assert clipped(np.full((1, 3), 1e200), 0.5, bound).any(axis=1).tolist() == [False]


@pytest.mark.parametrize(
    "row", [[1025, 0], [1024, 1], [-1024, -1], [2**62, 2**62], [-(2**63), 0], [3037000500, 3037000500]]
)
def test_integers_beyond_the_bound_count_as_zero(row: list[int]) -> None:
    """Also those whose squares overflow 64 bits."""
    rows = np.array([row, [1024, 0], [600, -800]], dtype=np.int64)
    assert within(rows, 1024).tolist() == [[0, 0], [1024, 0], [600, -800]]


def test_a_grid_whose_sums_would_overflow_is_refused() -> None:
    with pytest.raises(TaskError) as refused:
        within(np.zeros((1, 1 << 14), dtype=np.int64), 1 << 25)
    assert refused.value.code == "grid-too-fine"


class Mixed(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 6), layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.first(x))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(6),
        nn.SyncBatchNorm(6),
        nn.LazyBatchNorm2d(),
        nn.InstanceNorm1d(6, track_running_stats=True),
        nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, affine=False)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_that_mix_records_are_refused_by_name(layer: nn.Module) -> None:
    with pytest.raises(TaskError, match=r"The layer 'norm(\.1)?' \(\w+\) mixes records") as refused:
        train(Mixed(layer), *records(3), SETTINGS, rate=1.0)
    assert refused.value.code == "layer-mixes-records"


def test_layers_that_do_not_mix_records_are_taken() -> None:
    for layer in (nn.LayerNorm(6), nn.GroupNorm(2, 6), nn.InstanceNorm1d(6), nn.Dropout(0.5)):
        check_layers(Mixed(layer))
    train(Mixed(nn.Dropout(0.5)), *records(3), SETTINGS, rate=1.0)


class Centred(nn.Module):
    """A layer of somebody's own, which no list of layers names."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0, keepdim=True) / 2


@pytest.mark.parametrize("wrapped", [False, True])
def test_no_layer_of_ones_own_lets_a_record_change_the_gradient_of_another(wrapped: bool) -> None:
    """Adding one record moves the integers by at most its own bound, whatever the others are."""
    inputs, labels = records(40)
    inputs[0] = 1e4
    ends = []
    for first in (0, 1):
        head = nn.Linear(6, 3)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        layers = nn.Sequential(Centred(), head)
        model = nn.Sequential(layers) if wrapped else layers
        once = replace(SETTINGS, steps=1)
        train(model, inputs[first:], labels[first:], once, rate=1.0, stream=SecretStream.of_key(KEY))
        ends.append(weights(model))
    assert np.linalg.norm(ends[0] - ends[1]) <= SETTINGS.clip / SETTINGS.divisor * (1 + 1e-5)


def integers(
    model: nn.Sequential, inputs: torch.Tensor, labels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> np.ndarray:
    """Return the sum of one step before the noise. The key of the records' places is a fixed one."""
    sums: list[np.ndarray] = []

    def clip(rows: np.ndarray, norm: float, bound: int) -> np.ndarray:
        sums.append(clipped(rows, norm, bound))
        return sums[-1]

    monkeypatch.setattr(mechanism, "clipped", clip)
    monkeypatch.setattr(secrets, "token_bytes", bytes)
    once = replace(SETTINGS, steps=1)
    train(model, inputs, labels, once, rate=1.0, stream=SecretStream.of_key(KEY))
    monkeypatch.undo()
    return np.concatenate(sums).sum(axis=0)


@pytest.mark.parametrize(("inputs", "outputs"), [(30, 2), (41, 3), (257, 10)])
@pytest.mark.parametrize("frozen", [False, True])
def test_no_weights_let_a_record_change_the_gradient_of_another(
    inputs: int, outputs: int, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights near 2^22 that cancel out, the last bit of a sum decides who is of which class."""
    generator = torch.Generator().manual_seed(5)
    rows = torch.randn(200, inputs, generator=generator)
    labels = torch.randint(0, outputs, (200,), generator=generator)
    large = (torch.rand(inputs, generator=generator) - 0.5) * 2**23
    layer = nn.Linear(inputs, outputs, bias=False)
    with torch.no_grad():
        layer.weight.copy_(large + torch.randn(outputs, inputs, generator=generator).round() / 2)
    model = nn.Sequential(layer)
    if frozen:
        layer.requires_grad_(False)
        model.append(nn.Linear(outputs, outputs, bias=False))
        nn.init.eye_(model[1].get_parameter("weight"))
    sums = [integers(copy.deepcopy(model), rows[first:], labels[first:], monkeypatch) for first in (0, 1)]
    moved = [int(one) - int(other) for one, other in zip(*sums, strict=True)]
    assert sum(value**2 for value in moved) <= SETTINGS.bound**2


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_no_noise_makes_a_weight_infinite(dtype: torch.dtype) -> None:
    """Whether an update is refused as infinite would depend on the noisy sum."""
    model = nn.Sequential(nn.Linear(6, 3)).to(dtype)
    inputs, labels = records(20)
    with checked(model, SETTINGS):
        train(model, inputs.to(dtype), labels, SETTINGS, rate=1e300)
    assert np.isfinite(weights(model).astype(np.float32)).all()


def test_a_learning_rate_without_a_step_size_is_refused() -> None:
    with pytest.raises(TaskError, match="learning rate of 1e\\+308 is too large"):
        train(network(), *records(0), replace(SETTINGS, clip=1e6, divisor=1, grid=0), rate=1e308)


def test_a_model_that_does_not_fit_the_grid_is_refused_whatever_the_records_are() -> None:
    model = nn.Sequential(nn.Linear(2000, 20))
    fine = replace(SETTINGS, noise1024=1, grid=16)
    for count in (0, 1):
        with pytest.raises(TaskError) as refused:
            train(model, torch.zeros(count, 2000), torch.zeros(count, dtype=torch.int64), fine, rate=1.0)
        assert refused.value.code == "grid-too-fine"


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(TaskError, match="no parameter to train"):
        check_layers(nn.Sequential(nn.Linear(2, 2).requires_grad_(False)))


class Counting(nn.Module):
    """Counts its calls in a buffer, as a layer with running statistics does."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.get_buffer("calls").add_(1)
        return x


def test_what_is_not_trained_stays_and_buffers_learn_nothing_of_the_records() -> None:
    frozen = nn.Linear(6, 6).requires_grad_(False)
    model = nn.Sequential(frozen, Mixed(Counting()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, *records(4), SETTINGS, rate=1.0)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"1.first.weight", "1.first.bias"}


def test_frozen_layers_in_front_give_the_same_training_as_inside() -> None:
    """Computing them once is no other training."""
    inputs, labels = records(9)
    head = nn.Linear(5, 3)
    front = nn.Sequential(nn.Linear(6, 5), nn.Tanh()).requires_grad_(False)
    plain = nn.Sequential(front[0], front[1], nn.Linear(5, 3))
    nested = nn.ModuleList([front, nn.Linear(5, 3)])
    plain[2].load_state_dict(head.state_dict())
    nested[1].load_state_dict(head.state_dict())

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nested

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.parts[1](self.parts[0](x))

    whole = Whole()
    for model in (plain, whole):
        train(model, inputs, labels, SETTINGS, rate=0.3, stream=SecretStream.of_key(KEY))
    ours, theirs = plain[2].get_parameter("weight"), nested[1].get_parameter("weight")
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_what_leaves_a_training_is_what_the_mechanism_released() -> None:
    model = network()
    with checked(model, SETTINGS):
        train(model, *records(3), SETTINGS, rate=0.1)


def never(model: nn.Sequential) -> None:
    """A task's training that forgot the mechanism."""


def twice(model: nn.Sequential) -> None:
    train(model, *records(3), SETTINGS, rate=0.1)
    train(model, *records(3), SETTINGS, rate=0.1)


def quieter(model: nn.Sequential) -> None:
    """It has settings of its own in the place of the manifest's."""
    train(model, *records(3), replace(SETTINGS, noise1024=1999), rate=0.1)


def further(model: nn.Sequential) -> None:
    train(model, *records(3), SETTINGS, rate=0.1)
    with torch.no_grad():
        model.get_parameter("2.bias").add_(0.01)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (never, "noise 0 times"),
        (twice, "noise 2 times"),
        (quieter, r"used .*noise1024=1999.* declares .*noise1024=2000"),
        (further, "went on .* 2.bias"),
    ],
)
def test_a_training_that_releases_anything_else_is_refused(
    wrong: Callable[[nn.Sequential], None], said: str
) -> None:
    model = network()
    with pytest.raises(TaskError, match=said) as refused, checked(model, SETTINGS):
        wrong(model)
    assert refused.value.code == "not-private"
    assert "Nothing was sent" in refused.value.remedy
