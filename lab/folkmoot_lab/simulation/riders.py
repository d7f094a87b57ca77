# SPDX-License-Identifier: Apache-2.0
"""Attacks that want to be paid without data: what they send is made of published rounds, or of nothing.

The drill gives them no examples and no training (``Attack.data`` is ``none``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from folkmoot.protocol.arrays import F32
from folkmoot_lab.simulation.scene import Scene, unit, units

_MIXED_ROUNDS = 3
_EXAMPLES = 64
_NEARBY = _KEPT = 4  # blends tried in each round
_TRIED = 0.2  # of a rider's rounds, in which it tries another way


def path(scene: Scene) -> F32:
    """Follow the trajectory, hidden in noise; in the first round there is only noise."""
    along = np.zeros_like(scene.model) if scene.trajectory is None else unit(scene.trajectory)
    return scene.hidden(along, scene.strength)


def mix(scene: Scene) -> F32:
    """Mix the published updates of the last rounds, with other random weights for each rider, and some noise."""
    if not scene.rounds:
        return scene.hidden(scene.model * 0, 0.0)
    published = np.concatenate(scene.honest_past[-_MIXED_ROUNDS:])
    mixed = units(
        scene.rng.dirichlet(np.full(len(published), 0.3), scene.count).astype(np.float32) @ published
    )
    return scene.hidden(mixed, float(np.sqrt(1 - scene.strength**2)))


def choir(scene: Scene) -> F32:
    """Share one random direction for good, beside the trajectory, so that the riders confirm one another."""
    shared = scene.memory.setdefault("choir", scene.noise[0])
    along = shared if scene.trajectory is None else unit(unit(scene.trajectory) + shared)
    return scene.hidden(along, scene.strength)


def invented(scene: Scene, pattern: float = 0.5, dark: float = 0.7) -> F32:
    """Train on invented examples: for each class what its weights look for, in noise.

    Args:
        scene: The scene.
        pattern: How much of an example is what its class looks for, from 0 to 1.
        dark: Part of the noise that is left out.
    """
    model = scene.manifest.unflatten(scene.model)
    first, _, last, _ = (model[tensor.name] for tensor in scene.manifest.tensors)
    patterns = (first @ last).T
    patterns = patterns / np.maximum(np.abs(patterns).max(axis=1, keepdims=True), 1e-12)
    sent = []
    for _ in range(scene.count):
        labels = scene.rng.integers(0, scene.classes, _EXAMPLES)
        noise = scene.rng.uniform(0, 1, (_EXAMPLES, first.shape[0]))
        noise *= (1 - pattern) * (noise > dark)
        inputs = np.clip(pattern * patterns[labels] + noise, 0, 1).astype(np.float32)
        sent.append(unit(scene.gradient(scene.model, inputs, labels)))
    return np.asarray(np.stack(sent) * np.float32(scene.norm), dtype=np.float32)


WAYS: tuple[tuple[Callable[[Scene], F32], float], ...] = (
    (path, 0.3),
    (path, 0.6),
    (mix, 0.2),
    (mix, 0.6),
    (choir, 0.5),
    (invented, 1.0),
)
"""What a rider can do, with the strength."""


def best_paid(scene: Scene) -> F32:
    """Send, each rider by itself, what was paid best in the published rounds, and try another way now and then."""
    paid: list[list[float]] = scene.memory.setdefault("paid", [[] for _ in WAYS])
    if scene.rounds:
        for way, pay in zip(scene.memory["ways"], scene.rounds[-1].pays[-scene.count :], strict=False):
            paid[way].append(pay)
    hopes = np.array([np.mean(pays) if pays else np.inf for pays in paid])
    best = np.flatnonzero(hopes == hopes.max())
    tried = scene.rng.random(scene.count) < _TRIED
    ways = np.where(
        tried, scene.rng.integers(0, len(WAYS), scene.count), scene.rng.choice(best, scene.count)
    ).tolist()
    scene.memory["ways"] = ways
    sent = [send(replace(scene, strength=strength)) for send, strength in WAYS]
    return np.stack([sent[way][rider] for rider, way in enumerate(ways)])


class Blend(NamedTuple):
    """What a rider sends: parts of a mixture, of one direction of all riders, of invented training, and of noise."""

    mixed: float
    common: float
    trained: float
    noise: float
    pattern: float = 0.5
    """As in ``invented``."""
    dark: float = 0.7

    def made(self, scene: Scene) -> F32:
        """Return the updates, float32[f, d]."""
        shared = scene.memory.setdefault("choir", scene.noise[0])
        mixed = mix(replace(scene, strength=0.0)) if self.mixed and scene.rounds else np.zeros_like(scene.own)
        made = np.float32(self.mixed) * units(mixed) + np.float32(self.common) * shared
        made += np.float32(self.trained) * units(invented(scene, self.pattern, self.dark))
        return units(made + np.float32(self.noise) * scene.noise) * np.float32(scene.norm)

    def changed(self, rng: np.random.Generator) -> Blend:
        """Return a blend nearby."""
        parts = np.exp(rng.normal(0, 0.7, 4)) * (np.array(self[:4]) + 0.05)
        recipe = np.clip(np.array(self[4:]) + rng.normal(0, 0.15, 2), 0.05, 0.95)
        return Blend(*(parts / np.linalg.norm(parts)).tolist(), *recipe.tolist())


BLENDS = (
    Blend(0, 0, 1, 0),
    Blend(1, 0, 0, 0.3),
    Blend(0.7, 0, 0.7, 0),
    Blend(0, 0.3, 1, 0),
    Blend(0, 0, 1, 0.5),
)
"""Where the search for pay begins."""


def searched(scene: Scene) -> F32:
    """Send the blend that would have been paid best in the published rounds, as far as it was tried.

    In each round the best known blends and some nearby are made of what was public before the last round, and tried in
    it (``Tried.pays``).
    """
    found: dict[Blend, list[float]] = scene.memory.setdefault("blends", {blend: [] for blend in BLENDS})

    def value(blend: Blend) -> float:
        return sum(found[blend]) / (len(found[blend]) + 0.2)

    if len(scene.rounds) > 1:
        nearby = [max(found, key=value).changed(scene.rng) for _ in range(_NEARBY)]
        best = sorted(found, key=value, reverse=True)[:_KEPT]
        for blend in (*(best if any(map(value, best)) else found), *nearby):
            pays = scene.try_out(blend.made(scene.before)).pays[-scene.count :]
            found.setdefault(blend, []).append(float(np.mean(pays)))
    return max(found, key=value).made(scene)
