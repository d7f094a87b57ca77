# SPDX-License-Identifier: Apache-2.0
"""The attacks on updates of which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from folkmoot_lab.leaks import distinguish, inversion, membership
from folkmoot_lab.leaks.learner import Learner, canaries, joined, pick, records_of
from folkmoot_lab.leaks.measures import Limit, auc, separation_of_sums
from folkmoot_lab.leaks.rounds import PublishedRound, decoded, encoded, first_exponents, simulate

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import F32
from folkmoot.tasks import Data, Task
from tests.unit.leaks.tasks import Blobs, Noisy, Pictures, points


def published(learner: Learner, data: Data) -> tuple[F32, tuple[int, ...]]:
    """The update of one training from the initial weights, through the codec, and its exponents."""
    base = learner.start()
    end = learner.train(base, data, 3)
    exponents = first_exponents(learner, base - end)
    file = encoded(learner, base, end, exponents, bytes(32), 0)
    return decoded(file, learner.manifest, exponents), exponents


class Linear(Blobs):
    """The same with a model that is one layer, so that its weights have no layer's name before theirs."""

    def model(self) -> torch.nn.Module:
        return torch.nn.Linear(10, 2)


@pytest.mark.parametrize("task", [Blobs(), Linear()], ids=["layers", "one layer"])
def test_one_record_is_read_from_an_update(task: Task) -> None:
    learner, data = Learner(task), points(40, 0)
    one = pick(data, np.array([7]))
    update, exponents = published(learner, one)
    layer = inversion.dense_layer(learner, data)
    assert layer is not None
    everything = layer[1].numpy()
    rebuilt = inversion.closed_form(learner, layer[0], update, exponents)
    (match,) = inversion.matches(one.inputs.numpy(), rebuilt, everything)
    assert match.found
    assert match.explained > 0.98
    assert match.psnr > 30
    others = inversion.matches(everything[np.arange(40) != 7], rebuilt, everything)
    assert sum(other.found for other in others) <= 2


def test_noise_inverts_to_nothing() -> None:
    learner, data = Learner(Blobs()), points(40, 0)
    noise = np.random.default_rng(4).normal(0, 0.1, learner.manifest.size).astype(np.float32)
    rebuilt = inversion.closed_form(learner, "0", noise, (-12,) * 4)
    assert len(rebuilt) > 10
    everything = data.inputs.numpy()
    assert not any(match.found for match in inversion.matches(everything, rebuilt, everything))


def test_a_picture_is_found_by_matching_gradients() -> None:
    learner = Learner(Pictures(local_steps=1, batch_size=1))
    data = learner.task.load(0, 1, 0)
    assert inversion.dense_layer(learner, data) is None
    one = pick(data, np.array([2]))
    update, _ = published(learner, one)
    rebuilt = inversion.matched(learner, learner.start(), update, one.labels, (1, 8, 8), seed=1)
    everything = data.inputs.flatten(1).numpy()
    (match,) = inversion.matches(everything[2:3], rebuilt, everything)
    assert match.found
    noise = np.random.default_rng(5).normal(0, 0.1, learner.manifest.size).astype(np.float32)
    rebuilt = inversion.matched(learner, learner.start(), noise, one.labels, (1, 8, 8), seed=1)
    assert not inversion.matches(everything[2:3], rebuilt, everything)[0].found


def test_canaries_are_told_apart_unless_the_updates_are_noise() -> None:
    learner, rng = Learner(Blobs()), np.random.default_rng(6)
    data = points(80, 1)
    wrong = canaries(pick(data, np.arange(16)), learner, rng)
    assert bool((wrong.labels != data.labels[:16]).all())
    there, gone = pick(wrong, np.arange(8)), pick(wrong, np.arange(8, 16))
    rounds = simulate(learner, [joined(there, pick(data, np.arange(16, 80))), points(60, 2)], 8, rng)
    seen = [(one.base, one.updates[0]) for one in rounds]
    scores = membership.scores(learner, seen, joined(there, gone))
    assert auc(scores[:8], scores[8:]) > 0.9
    drawn = [(one.base, rng.normal(0, 0.1, one.base.shape).astype(np.float32)) for one in rounds]
    guessed = []
    for _ in range(6):
        many = pick(data, rng.permutation(80))
        guessed.append(membership.scores(learner, drawn, many))
    chance = np.mean([auc(one[:40], one[40:]) for one in guessed])
    assert 0.42 < chance < 0.58


def test_an_update_of_zeros_tells_nothing() -> None:
    learner, data = Learner(Blobs()), points(10, 0)
    zeros = np.zeros(learner.manifest.size, dtype=np.float32)
    assert not membership.scores(learner, [(learner.start(), zeros)], data).any()


@pytest.mark.long
def test_the_strong_adversary_reaches_the_limit_and_does_not_pass_it() -> None:
    """Eight rounds of a Gaussian mechanism. One record changes less than the codec rounds."""
    noise = 3.0
    learner, rng = Learner(Noisy(noise=noise), {"noise": noise}), np.random.default_rng(7)
    data = points(30, 3)
    base = learner.start()
    exponents = first_exponents(learner, base - learner.train(base, data, 0))
    rounds = [PublishedRound(base, exponents, ())] * 8
    adversary = distinguish.Adversary(1, {"noise": 1e-3})
    known = pick(data, np.arange(1, 30))
    present, absent = distinguish.ratios(learner, rounds, known, data, 60, adversary, rng)
    assert present.shape == (60, 8)
    found = separation_of_sums([present], [absent], rng)
    limit = Limit(np.sqrt(8) / noise)
    assert found.auc.value == pytest.approx(limit.auc, abs=0.08)


def test_without_noise_the_strong_adversary_is_right() -> None:
    learner, rng = Learner(Blobs()), np.random.default_rng(8)
    data = points(40, 4)
    rounds = simulate(learner, [data], 4, rng)[-1:]
    known = pick(data, np.arange(1, 40))
    together = joined(known, canaries(pick(data, np.array([0])), learner, rng))
    present, absent = distinguish.ratios(learner, rounds, known, together, 10, distinguish.Adversary(), rng)
    assert auc(present[:, 0], absent[:, 0]) > 0.95


def test_gradients_are_those_of_each_record() -> None:
    learner, data = Learner(Blobs()), points(5, 0)
    base = learner.start()
    together = learner.gradients(base, data)
    for place in range(5):
        model = learner.task.model()
        one = pick(data, np.array([place]))
        torch.nn.functional.cross_entropy(model(one.inputs), one.labels).backward()
        own = learner.manifest.flatten(
            {name: value.grad.numpy() for name, value in model.named_parameters() if value.grad is not None}
        )
        assert np.allclose(together[place], own, atol=1e-6)


def test_numbers_get_mirrored_as_canaries() -> None:
    data = Data(torch.zeros(3, 10), torch.tensor([1.0, 2.0, 5.0]))
    wrong = canaries(data, Learner(Blobs()), np.random.default_rng(0))
    assert wrong.labels.tolist() == [5.0, 4.0, 1.0]


def test_data_without_records_are_refused() -> None:
    with pytest.raises(InputError) as failure:
        records_of(Blobs(), [1, 2, 3])
    assert failure.value.code == "no-records"
