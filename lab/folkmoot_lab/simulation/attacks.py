# SPDX-License-Identifier: Apache-2.0
"""The attacks of a drill: the data that malicious contributors train on, and the updates that they send.

The attackers are omniscient: they know the round's honest updates, the rule and the root-set update. Real ones know
less. Nothing here runs on a node (a node that attacks is ``folkmoot_lab.drills.attacker``).

This module uses vectors of floats; it knows no bytes, trees or weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import F32

GOOD_ROUNDS = 10
"""Rounds in which ``late-good`` sends honest updates."""


class Objective(Protocol):
    """The attackers' objective: the effect of candidate updates on the aggregate."""

    def __call__(self, sent: F32, /) -> float:
        """Return the projection of the aggregate on the honest mean, 1 for the honest mean itself.

        Args:
            sent: float32[f, d], the attackers' updates.
        """


@dataclass(frozen=True, eq=False)
class Scene:
    """What the attackers know in one round. An update is start minus end, as everywhere."""

    honest: F32
    """float32[h, d], the honest updates of this round."""
    own: F32
    """float32[f, d], the updates of the attackers' own training (on poisoned data, if the attack poisons it)."""
    earlier: F32 | None
    """float32[f, d], the updates of the attackers' training in the round before; None in the first."""
    sent: F32 | None
    """float32[f, d], what the attackers sent in the round before; None in the first."""
    last_mean: F32 | None
    """float32[d], what the model moved by in the last round, which is public; None in the first."""
    root: F32 | None
    """float32[d], the root-set update, where the federation has one."""
    trajectory: F32 | None
    """float32[d], what the model moved by in the last rounds, which is public; None in the first."""
    rng: np.random.Generator
    """The attackers' source of randomness."""
    strength: float
    """The attack's strength; its meaning depends on the attack."""
    objective: Objective
    """Effect of candidate updates under the rule in use."""
    number: int = 0
    """The round, from 0 on."""
    honest_past: Sequence[F32] = ()
    """float32[h, d] each, the honest updates of the last rounds, which are public, the oldest first."""

    @property
    def count(self) -> int:
        """Number of attackers, f."""
        return int(self.own.shape[0])

    @cached_property
    def mean(self) -> F32:
        """float32[d], mean of the honest updates."""
        return np.asarray(self.honest.mean(axis=0), dtype=np.float32)

    @property
    def norm(self) -> float:
        """Median norm of the honest updates."""
        return float(np.median(np.linalg.norm(self.honest, axis=1)))

    @cached_property
    def noise(self) -> F32:
        """float32[f, d], independent directions of length 1."""
        raw = self.rng.standard_normal(self.own.shape).astype(np.float32)
        # No noise where all honest updates are 0, as in the padding: it would be easy to detect there.
        raw *= np.any(self.own != 0, axis=0) | np.any(self.honest != 0, axis=0)
        return np.asarray(raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12), np.float32)

    def alike(self, vector: F32) -> F32:
        """The same vector from each attacker, float32[f, d]."""
        return np.repeat(vector[None].astype(np.float32), self.count, axis=0)


Send = Callable[[Scene], F32]


@dataclass(frozen=True)
class Attack:
    """One attack by name."""

    name: str
    """Name on the command line."""
    about: str
    """One line of description."""
    send: Send
    """Maps the scene to float32[f, d], the attackers' updates."""
    strength: float = 1.0
    """Default strength."""
    data: str = ""
    """What happens to the attackers' examples: nothing, ``flip``, ``corner`` or ``live`` (triggers)."""
    late: bool = False
    """The attackers commit after everybody else: a copier has to. Others commit first, which favours them."""
    goal: str = "harm"
    """``harm`` the model, plant a ``backdoor``, or earn a ``reward`` without work."""
    claim: str = ""
    """What the attackers' commitments name wrongly: nothing, the ``base`` (the one of the round before), or the
    ``round`` as well."""
    fits: bool = True
    """Whether the attackers fit their updates to the cap, as honest nodes do. A ledger refuses what does not fit."""


def _own(scene: Scene) -> F32:
    return scene.own * np.float32(scene.strength)


def _sign_flip(scene: Scene) -> F32:
    return scene.own * np.float32(-scene.strength)


def _gaussian(scene: Scene) -> F32:
    return scene.noise * np.float32(scene.strength * scene.norm)


def _alie(scene: Scene) -> F32:
    return scene.alike(scene.mean + np.float32(scene.strength) * scene.honest.std(axis=0))


def _ipm(scene: Scene) -> F32:
    return scene.alike(np.float32(-scene.strength) * scene.mean)


def _furthest(scene: Scene, inside: Callable[[F32], bool]) -> F32:
    """Return ``mean - g * std`` with the largest g for which the test holds, by bisection."""
    deviation = scene.honest.std(axis=0)
    low, high = 0.0, 50.0
    for _ in range(20):
        middle = (low + high) / 2
        if inside(scene.mean - np.float32(middle) * deviation):
            low = middle
        else:
            high = middle
    return scene.alike(scene.mean - np.float32(low * scene.strength) * deviation)


def _min_max(scene: Scene) -> F32:
    limit = max(float(np.linalg.norm(scene.honest - one, axis=1).max()) for one in scene.honest)
    return _furthest(scene, lambda v: float(np.linalg.norm(scene.honest - v, axis=1).max()) <= limit)


def _min_sum(scene: Scene) -> F32:
    limit = max(float(np.square(scene.honest - one).sum()) for one in scene.honest)
    return _furthest(scene, lambda v: float(np.square(scene.honest - v).sum()) <= limit)


def _mimic(scene: Scene) -> F32:
    return scene.alike(scene.honest[0])


def _nothing(scene: Scene) -> F32:
    return np.zeros_like(scene.own)


def _last_mean(scene: Scene) -> F32:
    if scene.last_mean is None:
        return _gaussian(scene)
    return _disguised(scene.alike(scene.last_mean), scene, scene.strength)


def _copy(scene: Scene) -> F32:
    victims = scene.honest[np.arange(scene.count) % len(scene.honest)]
    return _disguised(victims, scene, scene.strength)


def _victims(scene: Scene, memory: float = 1.0) -> F32:
    """Return the mean of the last updates of an honest contributor each; in the first round what was trained.

    Args:
        scene: The scene.
        memory: The weight of an update relative to the one after it.
    """
    if not scene.honest_past:
        return scene.own
    weights = memory ** np.arange(len(scene.honest_past))[::-1]
    means = np.average(scene.honest_past, axis=0, weights=weights)
    return np.asarray(means[np.arange(scene.count) % len(means)], dtype=np.float32)


def _frame(scene: Scene) -> F32:
    return _victims(scene, 0.0) * np.float32(scene.strength)


def _frame_noise(scene: Scene) -> F32:
    return _disguised(_victims(scene, 0.0), scene, scene.strength)


def _frame_mean(scene: Scene) -> F32:
    return _victims(scene) * np.float32(scene.strength)


def _frame_fading(scene: Scene) -> F32:
    return _victims(scene, 0.5) * np.float32(scene.strength)


def _pairs(scene: Scene) -> F32:
    """Return the mean of the last updates of two honest contributors each."""
    if not scene.honest_past:
        return scene.own
    last, first = scene.honest_past[-1], 2 * np.arange(scene.count)
    mean = (last[first % len(last)] + last[(first + 1) % len(last)]) / 2
    return np.asarray(mean * scene.strength, dtype=np.float32)


def _stale(scene: Scene) -> F32:
    return scene.own if scene.earlier is None else scene.earlier * np.float32(scene.strength)


def _replay(scene: Scene) -> F32:
    return scene.own if scene.sent is None else scene.sent * np.float32(scene.strength)


def _sybil(scene: Scene) -> F32:
    return scene.alike(scene.own[0]) * np.float32(scene.strength)


def _disguised(sent: F32, scene: Scene, share: float) -> F32:
    """Add independent noise to each attacker's update, with a share of the update's norm."""
    lengths = np.linalg.norm(sent, axis=1, keepdims=True)
    return np.asarray(sent + scene.noise * np.float32(share) * lengths, dtype=np.float32)


def _with_noise(send: Send) -> Send:
    return lambda scene: _disguised(send(scene), scene, 1.0)


def _extreme(scene: Scene) -> F32:
    return np.full_like(scene.own, 1e3)


def _one_coordinate(scene: Scene) -> F32:
    sent = np.zeros_like(scene.own)
    sent[:, 0] = 1e3
    return sent


def _alternating(scene: Scene) -> F32:
    return scene.alike(np.resize(np.array([1e3, -1e3], dtype=np.float32), scene.own.shape[1]))


def _late(scene: Scene) -> F32:
    return scene.own if scene.number < GOOD_ROUNDS else _ipm(scene)


def _flip_flop(scene: Scene) -> F32:
    return _ipm(scene) if scene.number % 2 else scene.own


def _worst(scene: Scene, candidates: Sequence[F32]) -> F32:
    """Return the candidate with the smallest objective under the rule in use."""
    progress = [scene.objective(candidate) for candidate in candidates]
    return candidates[int(np.argmin(progress))]


_NOISE_SHARES = (0.0, 0.7, 1.5)
"""Norms of the noise with which the adaptive attacks avoid detection as copies, as shares of an update's norm."""


def _adaptive(scene: Scene) -> F32:
    """Search over direction, strength and noise for the smallest objective under the rule in use."""
    mean, deviation = scene.mean, scene.honest.std(axis=0)
    bases = [scene.alike(np.float32(-s) * mean) for s in (0.3, 1.0, 3.0)]
    bases += [scene.alike(mean + np.float32(z) * deviation * np.sign(-mean)) for z in (0.5, 1.5)]
    bases += [-scene.own]
    return _worst(scene, [_disguised(base, scene, share) for base in bases for share in _NOISE_SHARES])


def _adaptive_root(scene: Scene) -> F32:
    """Keep a chosen cosine with a reference of the rule, and move against the honest mean orthogonally to it."""
    directions = [scene.mean if scene.root is None else scene.root]
    directions += [] if scene.trajectory is None else [scene.trajectory]
    candidates = []
    for direction in directions:
        along = _unit(direction)
        harm = -scene.mean if direction is not scene.mean else -scene.honest.std(axis=0) * np.sign(scene.mean)
        across = _unit(np.asarray(harm - np.float32(harm @ along) * along, dtype=np.float32))
        candidates += [
            _disguised(
                scene.alike(
                    np.float32(scene.norm * length)
                    * (np.float32(cosine) * along + np.float32(np.sqrt(1 - cosine**2)) * across)
                ),
                scene,
                share,
            )
            for cosine in (0.02, 0.1, 0.3, 0.6)
            for share in _NOISE_SHARES[:2]
            for length in (1.0, 3.0)
        ]
    return _worst(scene, candidates)


def _unit(vector: F32) -> F32:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), dtype=np.float32)


ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack("none", "nobody attacks: all contributors are honest", _own),
        Attack("label-flip", "honest training on the label C - 1 - y", _own, data="flip"),
        Attack("sign-flip", "the own update, times -strength", _sign_flip),
        Attack("gaussian", "noise as long as an honest update times strength", _gaussian),
        Attack("gaussian-large", "noise 10 times as long as an honest update", _gaussian, 10.0),
        Attack("alie", "honest mean + strength deviations (Baruch 2019, arXiv 1902.06635)", _alie, 1.5),
        Attack("ipm", "-strength times the honest mean (Xie 2019, arXiv 1903.03936)", _ipm, 2.0),
        Attack("min-max", "no further from anyone than two honest ones (Shejwalkar, NDSS 2021)", _min_max),
        Attack("min-sum", "the same for the sum of squared distances", _min_sum),
        Attack("mimic", "all copy one honest update (Karimireddy 2022, arXiv 2006.09365)", _mimic, late=True),
        Attack("replacement", "label flip, boosted (Bagdasaryan 2020, arXiv 1807.00459)", _own, 10.0, "flip"),
        Attack("ipm-noise", "ipm, each with its own noise of the same length", _with_noise(_ipm), 2.0),
        Attack("alie-noise", "alie with noise", _with_noise(_alie), 1.5),
        Attack("min-max-noise", "min-max with noise", _with_noise(_min_max)),
        Attack("extreme", "every coordinate the largest there is", _extreme, fits=False),
        Attack("one-coordinate", "one coordinate the largest there is, the others 0", _one_coordinate),
        Attack("alternating", "the largest there is, up and down by turns", _alternating),
        Attack("late-good", f"behaves for {GOOD_ROUNDS} rounds, then does as ipm", _late, 2.0),
        Attack("flip-flop", "does as ipm in every other round", _flip_flop, 2.0),
        Attack("wrong-round", "a signed update for the round before", _own, claim="round"),
        Attack("wrong-base", "a signed update from the base before", _stale, claim="base"),
        Attack("adaptive", "strength, direction and disguise searched against the rule in use", _adaptive),
        Attack("adaptive-root", "keeps a searched cosine with root update or trajectory", _adaptive_root),
        Attack("backdoor-corner", "trigger: a corner patch", _own, data="corner", goal="backdoor"),
        Attack("backdoor-live", "trigger: a patch in the middle", _own, data="live", goal="backdoor"),
        Attack("backdoor-boosted", "corner patch, boosted", _own, 3.0, "corner", goal="backdoor"),
        Attack("free-zero", "sends zeros", _nothing, goal="reward"),
        Attack("free-random", "sends noise as long as an honest update", _gaussian, goal="reward"),
        Attack("free-stale", "sends the last mean, with noise", _last_mean, 0.3, goal="reward"),
        Attack("copy-noise", "copies honest updates, with noise", _copy, 0.3, late=True, goal="reward"),
        Attack("frame-earlier", "a contributor's last update, boosted", _frame, 1.7, goal="reward"),
        Attack("frame-noise", "a contributor's last update, with noise", _frame_noise, 0.2, goal="reward"),
        Attack(
            "frame-mean", "the mean of a contributor's last updates, boosted", _frame_mean, 1.7, goal="reward"
        ),
        Attack("frame-fading", "the same, each counts half of the next", _frame_fading, 1.4, goal="reward"),
        Attack("free-pairs", "the mean of two contributors' last updates", _pairs, goal="reward"),
        Attack("stale", "sends what it trained from the base before", _stale, goal="reward"),
        Attack("replay", "trains once, sends that in every round", _replay, goal="reward"),
        Attack("sybil", "one honest training, sent by all", _sybil, goal="reward"),
    )
}
"""The attacks by name."""


def attack(name: str) -> Attack:
    """Return the attack with this name.

    Raises:
        InputError: ``unknown-attack``: there is none.
    """
    try:
        return ATTACKS[name]
    except KeyError:
        raise InputError(
            f"There is no attack {name!r}.",
            remedy=f"The attacks are {', '.join(ATTACKS)}.",
            code="unknown-attack",
        ) from None
