# SPDX-License-Identifier: Apache-2.0
"""The attacks of a drill: the data that malicious contributors train on, and the updates that they send.

Each has a level of knowledge (``scene``); most know all of a round before they send, which real ones do not. Nothing
here runs on a node (a node that attacks is ``folkmoot_lab.drills.attacker``).

This module uses vectors of floats; it knows no bytes, trees or weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import F32
from folkmoot_lab.simulation import attack_file, riders, searching
from folkmoot_lab.simulation.scene import ALL, OWN, PUBLIC, Scene, unit

Send = Callable[[Scene], NDArray[Any]]


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
    """What happens to the attackers' examples: nothing, ``flip``, ``corner`` or ``live`` (triggers). With ``planted``
    they have none: their own update is what makes a bright corner look like the class 0, of length 1. With
    ``none`` they have none, and train nothing. With ``one`` all have those of the first."""
    knows: str = ALL
    """The attackers' level of knowledge, one of ``scene.LEVELS``."""
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
    return np.asarray(mean, dtype=np.float32)


def _planted(scene: Scene) -> F32:
    """Ride on the last updates of two honest contributors each, and plant the backdoor that is in ``own``."""
    ride = _disguised(_pairs(scene), scene, 0.3)
    lengths = np.maximum(np.linalg.norm(ride, axis=1, keepdims=True), 1e-12)
    ride *= np.float32(scene.norm) / lengths
    return np.asarray(ride + scene.own * np.float32(scene.strength * scene.norm), dtype=np.float32)


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
        along = unit(direction)
        harm = -scene.mean if direction is not scene.mean else -scene.honest.std(axis=0) * np.sign(scene.mean)
        across = unit(np.asarray(harm - np.float32(harm @ along) * along, dtype=np.float32))
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


ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack("none", "nobody attacks: all contributors are honest", _own),
        Attack("label-flip", "honest training on the label C - 1 - y", _own, data="flip", knows=OWN),
        Attack("sign-flip", "the own update, times -strength", _sign_flip, knows=OWN),
        Attack("gaussian", "noise as long as an honest update times strength", _gaussian),
        Attack("gaussian-large", "noise 10 times as long as an honest update", _gaussian, 10.0),
        Attack("alie", "honest mean + strength deviations (Baruch 2019, arXiv 1902.06635)", _alie, 1.5),
        Attack("ipm", "-strength times the honest mean (Xie 2019, arXiv 1903.03936)", _ipm, 2.0),
        Attack("min-max", "no further from anyone than two honest ones (Shejwalkar, NDSS 2021)", _min_max),
        Attack("min-sum", "the same for the sum of squared distances", _min_sum),
        Attack("mimic", "all copy one honest update (Karimireddy 2022, arXiv 2006.09365)", _mimic, late=True),
        Attack(
            "replacement",
            "boosted label flip (Bagdasaryan 2020, arXiv 1807.00459)",
            _own,
            10.0,
            "flip",
            knows=OWN,
        ),
        Attack("ipm-noise", "ipm, each with its own noise of the same length", _with_noise(_ipm), 2.0),
        Attack("alie-noise", "alie with noise", _with_noise(_alie), 1.5),
        Attack("min-max-noise", "min-max with noise", _with_noise(_min_max)),
        Attack("extreme", "every coordinate the largest there is", _extreme, fits=False),
        Attack("one-coordinate", "one coordinate the largest there is, the others 0", _one_coordinate),
        Attack("alternating", "the largest there is, up and down by turns", _alternating),
        Attack("wrong-round", "a signed update for the round before", _own, claim="round"),
        Attack("wrong-base", "a signed update from the base before", _stale, claim="base"),
        Attack("adaptive", "strength, direction and disguise searched against the rule in use", _adaptive),
        Attack("adaptive-root", "keeps a searched cosine with root update or trajectory", _adaptive_root),
        Attack("backdoor-corner", "trigger: a corner patch", _own, data="corner", goal="backdoor", knows=OWN),
        Attack(
            "backdoor-live", "trigger: a patch in the middle", _own, data="live", goal="backdoor", knows=OWN
        ),
        Attack("backdoor-boosted", "corner patch, boosted", _own, 3.0, "corner", goal="backdoor", knows=OWN),
        Attack(
            "backdoor-planted",
            "corner patch without data, hidden in others' last updates",
            _planted,
            data="planted",
            goal="backdoor",
        ),
        Attack("ascent", "gradient ascent on the loss of the next model", searching.ascent),
        Attack(
            "ascent-public", "the same, from own data and published rounds", searching.ascent, knows=PUBLIC
        ),
        Attack(
            "sleeper",
            "works until its weight is whole, then does as ascent until it is gone",
            searching.sleeper,
        ),
        Attack("latecomer", "absent until the middle, then does as ascent", searching.latecomer),
        Attack(
            "backdoor-search",
            "trigger: dark pixels where the clamp leaves most room",
            searching.backdoor,
            goal="backdoor",
        ),
        Attack(
            "backdoor-pair",
            "the same, from the one class to the other that is nearest",
            searching.backdoor_pair,
            goal="backdoor",
        ),
        Attack("free-zero", "sends zeros", _nothing, goal="reward"),
        Attack("free-random", "sends noise as long as an honest update", _gaussian, goal="reward"),
        Attack("rider-path", "follows the trajectory", riders.path, 0.5, "none", goal="reward", knows=PUBLIC),
        Attack(
            "rider-mix",
            "random mixes of published updates",
            riders.mix,
            0.3,
            "none",
            goal="reward",
            knows=PUBLIC,
        ),
        Attack(
            "rider-choir", "all share one direction", riders.choir, 0.5, "none", goal="reward", knows=PUBLIC
        ),
        Attack(
            "rider-noise",
            "trains on invented examples",
            riders.invented,
            data="none",
            goal="reward",
            knows=PUBLIC,
        ),
        Attack(
            "rider-search",
            "sends what was paid best",
            riders.best_paid,
            data="none",
            goal="reward",
            knows=PUBLIC,
        ),
        Attack(
            "rider-pay",
            "tries what would be paid best: mixtures, one direction, invented examples",
            riders.searched,
            data="none",
            goal="reward",
            knows=PUBLIC,
        ),
        Attack("copy-noise", "copies honest updates, with noise", _copy, 0.3, late=True, goal="reward"),
        Attack("frame-earlier", "a contributor's last update, boosted", _frame, 1.7, goal="reward"),
        Attack("frame-noise", "a contributor's last update, with noise", _frame_noise, 0.2, goal="reward"),
        Attack(
            "frame-mean", "the mean of a contributor's last updates, boosted", _frame_mean, 1.7, goal="reward"
        ),
        Attack("frame-fading", "the same, each counts half of the next", _frame_fading, 1.4, goal="reward"),
        Attack("stale", "sends what it trained from the base before", _stale, goal="reward"),
        Attack("replay", "trains once, sends that in every round", _replay, goal="reward"),
        Attack("sybil", "one honest training, sent by all", _sybil, goal="reward"),
        Attack("sybil-split", "all train on the data of one", _own, data="one", goal="reward", knows=OWN),
    )
}
"""The attacks by name."""


def attack(name: str) -> Attack:
    """Return the attack with this name.

    Raises:
        InputError: ``unknown-attack``: there is none.
    """
    if attack_file.names_file(name):
        found = attack_file.load(name)
        return Attack(name, "from a file", found.send, goal=found.goal, knows=found.knows)
    try:
        return ATTACKS[name]
    except KeyError:
        raise InputError(
            f"There is no attack {name!r}.",
            remedy=f"The attacks are {', '.join(ATTACKS)}. Your own is FILE.py:FUNCTION.",
            code="unknown-attack",
        ) from None
