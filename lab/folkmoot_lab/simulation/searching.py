# SPDX-License-Identifier: Apache-2.0
"""Attacks that optimise: each tries the rule in use on its candidates, and sends the one that serves it best.

``ascent`` raises the loss of the next model (projected gradient ascent: Shejwalkar, Houmansadr, NDSS 2021, with the
loss in the place of a distance). ``sleeper`` waits for weight first. The backdoors choose their own trigger, on
coordinates where the clamped sum leaves them room. This module knows no rule, apart from the clamp's bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from folkmoot.aggregation.clamped_sum import FACTOR, rank_of
from folkmoot.protocol.arrays import F32, I64
from folkmoot_lab.simulation.scene import Scene, Trigger, unit

LAST = 3
"""Rounds at the end in which a sleeper attacks anyway."""

_STEPS = 3  # of the ascent, after the search
_SEARCHED = 5  # rounds in which a backdoor chooses its trigger; then it keeps it
_DARK = 0.1  # mean brightness of a pixel below which a trigger may use it


def most(candidates: Iterable[F32], value: Callable[[F32], float]) -> tuple[F32, float]:
    """Return the candidate with the largest value, and the value."""
    valued = [(value(one), one) for one in candidates]
    largest, best = max(valued, key=lambda pair: pair[0])
    return best, largest


def harm(scene: Scene) -> Callable[[F32], float]:
    """Return the loss of the next model as a function of the attackers' updates."""
    inputs, labels = scene.examples
    return lambda sent: scene.loss(scene.model - scene.try_out(sent).moved, inputs, labels)


def directions(scene: Scene) -> list[F32]:
    """Return the ways up that the search begins with: up the loss, to wrong labels, against mean and trajectory."""
    inputs, labels = scene.examples
    found = [
        -scene.gradient(scene.model, inputs, labels),
        scene.gradient(scene.model, inputs, (labels + 1) % scene.classes),
        -scene.mean,
    ]
    return [unit(one) for one in (found if scene.trajectory is None else [*found, -scene.trajectory])]


def searched(scene: Scene, victims: float = 0.8) -> F32:
    """Search direction, how much of it, and whether to hide in noise or beside a victim."""
    candidates = [
        scene.hidden(direction, share, part)
        for direction in directions(scene)
        for share in (0.1, 0.2, 0.4, 0.7, 1.0)
        for part in (0.0, victims)
    ]
    return most(candidates, harm(scene))[0]


def ascent(scene: Scene) -> F32:
    """Begin with ``searched``, then go up the gradient of the loss at the next model while that raises the loss."""
    value, sent = harm(scene), searched(scene)
    reached = value(sent)
    inputs, labels = scene.examples
    for _ in range(_STEPS):
        up = unit(scene.gradient(scene.model - scene.try_out(sent).moved, inputs, labels))
        lengths = np.linalg.norm(sent, axis=1, keepdims=True)
        tried = [
            sent * np.float32(length) - np.float32(share) * lengths * up
            for length in (1.0, 1.5)
            for share in (0.2, 0.5)
        ]
        best, raised = most(tried, value)
        if raised <= reached:
            break
        sent, reached = best, raised
    return sent * np.float32(scene.strength)


def sleeper(scene: Scene) -> F32:
    """Work until the attackers' weight is that of the honest median, attack until it is half of that, and so on."""
    weights = scene.rounds[-1].weights if scene.rounds else ()
    if len(weights):
        whole = float(np.median(weights[: -scene.count]))
        mine = float(np.mean(weights[-scene.count :]))
        if mine >= whole:
            scene.memory["awake"] = True
        elif mine < whole / 2:
            scene.memory["awake"] = False
    return ascent(scene) if scene.memory.get("awake") or scene.left < LAST else scene.own


def latecomer(scene: Scene) -> F32:
    """Send zeros, which are in no window sum, until the middle; then do as ``ascent``."""
    return ascent(scene) if scene.number > scene.left else np.zeros_like(scene.own)


# Backdoors


def room(scene: Scene) -> F32:
    """float32[d]: the largest change of each coordinate that the clamp leaves, with the attackers' heads above it."""
    sizes = np.sort(np.abs(np.rint(scene.believed / scene.step)), axis=0)
    ranked = sizes[min(rank_of(len(sizes) + scene.count), len(sizes) - 1)]
    return np.asarray(np.clip(ranked * FACTOR, 1, scene.largest) * scene.step, dtype=np.float32)


def dark_pixels(scene: Scene, count: int) -> tuple[int, ...]:
    """Return the dark pixels whose weights the attackers can change most."""
    first = scene.manifest.tensors[0].name
    changes = scene.manifest.unflatten(room(scene))[first].sum(axis=1)
    changes = np.where(scene.examples[0].mean(axis=0) < _DARK, changes, 0)
    return tuple(int(place) for place in np.argsort(-changes)[:count])


def nearest_pair(scene: Scene, pixels: tuple[int, ...]) -> Trigger:
    """Return the trigger from one class to another for which it works best already."""
    inputs, labels = scene.examples
    pairs = [
        Trigger(pixels, target, source)
        for source in range(scene.classes)
        for target in range(scene.classes)
        if source != target and (labels == source).any()
    ]
    return min(pairs, key=lambda one: scene.loss(scene.model, *_triggered(one, inputs, labels)))


def _triggered(trigger: Trigger, inputs: F32, labels: I64) -> tuple[F32, I64]:
    shown = trigger.on(inputs[trigger.of(labels)])
    return shown, np.full(len(shown), trigger.target, dtype=np.int64)


def backdoor(scene: Scene, *, pair: bool = False) -> F32:
    """Add to honest work what moves triggered examples to the target: as much as serves the backdoor in the next model.

    All of it stays within the clamp's bounds, so that the sum keeps it whole.
    """
    if scene.number <= _SEARCHED:
        pixels = dark_pixels(scene, len(scene.memory["trigger"].pixels))
        scene.memory["trigger"] = nearest_pair(scene, pixels) if pair else Trigger(pixels)
    shown, wanted = _triggered(scene.memory["trigger"], *scene.examples)
    bound, down = room(scene), scene.gradient(scene.model, shown, wanted)
    candidates = [scene.own]
    for _ in range(_STEPS):
        steepest = unit(down) * np.float32(scene.norm)
        candidates += [
            scene.own + np.clip(steepest * np.float32(scene.strength * amount), -bound, bound)
            for amount in (0.3, 1.0, 3.0, 10.0, 100.0)
        ]
        best, _ = most(
            candidates, lambda sent: -scene.loss(scene.model - scene.try_out(sent).moved, shown, wanted)
        )
        candidates = [best]
        down = down + scene.gradient(scene.model - scene.try_out(best).moved, shown, wanted)
    return best


def backdoor_pair(scene: Scene) -> F32:
    """As ``backdoor``, from one class to another."""
    return backdoor(scene, pair=True)
