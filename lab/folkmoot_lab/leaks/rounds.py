# SPDX-License-Identifier: Apache-2.0
"""Published rounds, and a simulated federation that publishes them: real training, codec, sum and outer step.

The rule is ``mean``. Left out is what changes no published byte: signatures, trees and the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from folkmoot.aggregation.form import mean_of_updates
from folkmoot.privacy.settings import PrivacySettings
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.codec import decode_update, encode_update
from folkmoot.protocol.exponents import REST, next_exponents
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.genesis import calibrated_exponent, noise_exponent
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.mean import mean_values
from folkmoot.protocol.outer_step import UNIT, outer_step
from folkmoot.protocol.policy import MEAN_SQUARE_CAPS
from folkmoot.protocol.state import State
from folkmoot.protocol.update_checks import summarize
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.tasks import Data
from folkmoot.tasks.supervised import rate_of
from folkmoot_lab.leaks.learner import Learner

_RULE = "mean"
_SEED_BYTES = 32
_WIDTH = 8  # The most that an update can show.


@dataclass(frozen=True, eq=False)
class PublishedRound:
    """What everybody sees of a round."""

    base: F32
    """float32[size], the weights that it trained from."""
    exponents: tuple[int, ...]
    """One a tensor."""
    updates: tuple[F32, ...]
    """float32[size] each, the contributors' updates as numbers: start minus end."""


def encoded(
    learner: Learner, base: F32, end: F32, exponents: tuple[int, ...], seed: bytes, contributor: int
) -> bytes:
    """Return the update file that a contributor publishes."""
    manifest = learner.manifest
    account = "0x" + (contributor + 1).to_bytes(20, "big").hex()
    cap = MEAN_SQUARE_CAPS[_WIDTH] * manifest.elements
    return encode_update(
        base, end, exponents, manifest, seed, account, width=_WIDTH, max_sum_squares=cap
    ).data


def decoded(data: bytes, manifest: Manifest, exponents: Sequence[int], width: int = _WIDTH) -> F32:
    """Return an update file as numbers, float32[size]."""
    sizes = np.exp2(np.array(exponents, dtype=np.float64)[manifest.tensor_of_leaf]).repeat(LEAF)
    return (decode_update(data, manifest, width) * sizes).astype(np.float32)


def simulate(
    learner: Learner, shares: Sequence[Data], rounds: int, rng: np.random.Generator
) -> list[PublishedRound]:
    """Train a federation, and return what it publishes.

    Args:
        learner: The task and its settings.
        shares: The records of each contributor.
        rounds: Number of rounds.
        rng: Gives seeds for training and rounding.
    """
    manifest = learner.manifest
    state = State.genesis(manifest, learner.values)
    exponents: tuple[int, ...] = ()
    published = []
    for _ in range(rounds):
        base = state.to_float32()
        ends = [learner.train(base, data, int(rng.integers(1 << 31))) for data in shares]
        exponents = exponents or first_exponents(learner, base - ends[0])
        seed = rng.bytes(_SEED_BYTES)
        files = [encoded(learner, base, end, exponents, seed, place) for place, end in enumerate(ends)]
        updates = tuple(decoded(data, manifest, exponents) for data in files)
        published.append(PublishedRound(base, exponents, updates))
        readers = [MemoryUpdate(data, _WIDTH) for data in files]
        leaves = mean_of_updates(_RULE, readers, [1] * len(readers), 1, 0, manifest.leaves)
        of_leaf = np.array(exponents, dtype=np.int64)[manifest.tensor_of_leaf]
        state = State(*outer_step(state.theta, state.momentum, mean_values(leaves), 1, of_leaf, UNIT, 0))
        if not manifest.private:
            sums = [summarize(reader, manifest).tensors for reader in readers]
            exponents = next_exponents(exponents, sums, _WIDTH)
    return published


def first_exponents(learner: Learner, change: F32) -> tuple[int, ...]:
    """Return the exponents for a first training: from its noise, or from what it changed without privacy.

    As in a genesis, whose exponents are public: no data show in those of a private federation.
    """
    manifest, private = learner.manifest, PrivacySettings.of(learner.training)
    if private is not None:
        noise = noise_exponent(rate_of(learner.training) * private.deviation_of_training)
        return (noise,) * len(manifest.tensors)
    changes = manifest.unflatten(change, carried=False)
    return tuple(calibrated_exponent(changes[tensor.name], REST, _WIDTH) for tensor in manifest.tensors)
