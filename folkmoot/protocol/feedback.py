# SPDX-License-Identifier: Apache-2.0
"""Error feedback: add to an update what earlier updates left out (docs/protocol.md section 5.1).

At width 2 an update is coarse. A contributor that adds what was left out, its **residual**, to its next change makes
the sum of its updates right, up to the last residual. So nothing is gained by rounding without bias, and it rounds to
the nearest integer: that leaves out about half as much as stochastic rounding does.

Source: error feedback (Seide et al., Interspeech 2014; Karimireddy et al., ICML 2019, arXiv 1901.09847). The bound on
what a tensor takes up is ours: a contributor whose change was cut for many rounds, or lost as a whole, would send
nothing else for as long.

This module knows nothing of files, memories or the chain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from folkmoot.errors import InputError
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.codec import EncodedUpdate, encode_update, rounding_key, rounding_offsets
from folkmoot.protocol.manifest import PRIVACY, Manifest
from folkmoot.protocol.packing import ZERO, unpack

SETTING = "feedback"
"""Name of the training setting that asks for it."""

WIDTH = 2
"""Width of updates with error feedback: at others the rounding costs too little to measure."""

DECAY = 0.95
"""Share of a residual that the next update takes up."""

LARGEST = 2.0
"""Largest norm of what a tensor takes up, as a multiple of the norm of its change in the round."""

_CHUNK = 1 << 16  # coordinates per numpy step, so that the temporaries stay in the cache


def check(training: Mapping[str, Any]) -> None:
    """Check the setting.

    Raises:
        InputError: ``invalid-feedback``: it is neither true nor false, or true with privacy.
    """
    value = training.get(SETTING, False)
    if not isinstance(value, bool):
        raise InputError(
            f"The training settings have {SETTING} {value!r}.",
            remedy=f"{SETTING} is true or false.",
            code="invalid-feedback",
        )
    if value and PRIVACY in training:
        raise InputError(
            "A task with privacy has no error feedback: nothing of an earlier round may be in an update.",
            remedy=f"Leave out {SETTING}, or privacy.",
            code="invalid-feedback",
        )


def settings(on: bool, width: int) -> dict[str, Any]:
    """Return the training settings that ask for it, or none.

    Args:
        on: Whether somebody wants it.
        width: Bits of a coordinate of the updates.

    Raises:
        InputError: ``invalid-feedback``: updates of that width have none.
    """
    if on and width != WIDTH:
        raise InputError(
            f"Updates of width {width} have no error feedback: their rounding costs too little.",
            remedy=f"Add --width {WIDTH}, or leave out --feedback.",
            code="invalid-feedback",
        )
    return {SETTING: True} if on else {}


def is_on(training: Mapping[str, Any], width: int) -> bool:
    """Return whether updates of a width have error feedback. Never with privacy."""
    return width == WIDTH and training.get(SETTING) is True and PRIVACY not in training


def encode(
    start: F32,
    end: F32,
    exponents: Sequence[int],
    manifest: Manifest,
    seed: bytes,
    contributor: str,
    *,
    residual: F32 | None = None,
    max_sum_squares: int | None = None,
) -> tuple[EncodedUpdate, F32]:
    """Encode what training changed, with what earlier updates left out, at the width `WIDTH`.

    A tensor takes up DECAY of its residual, or less: at most LARGEST times the norm of its change. So a tensor that did
    not change takes up nothing, and neither does one whose residual is not finite.

    Args:
        start: float32[256 n], the weights before training.
        end: float32[256 n], the weights after training.
        exponents: One a tensor, from the round's header.
        manifest: The model's layout.
        seed: The round's seed, 32 bytes.
        contributor: The contributor's address.
        residual: float32[256 n], what earlier updates left out.
        max_sum_squares: The cap of the round's policy.

    Returns:
        The update, and the change that it is of, float32[256 n]: start minus end, and what was taken up.

    Raises:
        EncodingError: As ``encode_update``.
    """
    key, change, aimed = rounding_key(seed, contributor), start - end, start.copy()
    for place, exponent in zip(manifest.places, exponents, strict=False):
        if residual is not None:
            norm, most = _norm(residual[place]), LARGEST * _norm(change[place])
            if math.isfinite(norm) and norm > 0:
                change[place] += np.float32(min(DECAY, most / norm)) * residual[place]
        for at in range(place.start, place.stop, _CHUNK):
            part = slice(at, min(at + _CHUNK, place.stop))
            # The encoder adds the offset and rounds down. With this in the change, it rounds to the nearest.
            nearest = (0.5 - rounding_offsets(key, part.start, part.stop)) * 2.0**exponent
            aimed[part] = start[part] - (change[part] + nearest)
    update = encode_update(
        start, aimed, exponents, manifest, seed, contributor, width=WIDTH, max_sum_squares=max_sum_squares
    )
    return update, change


def left_out(change: F32, data: bytes, exponents: Sequence[int], manifest: Manifest) -> F32:
    """Return the residual of an update.

    Args:
        change: float32[256 n], the change that it is of.
        data: The update file.
        exponents: One a tensor, from the header of its round.
        manifest: The model's layout.

    Returns:
        float32[256 n].
    """
    sent, residual = unpack(np.frombuffer(data, dtype=np.uint8), WIDTH).reshape(-1), change.copy()
    for place, exponent in zip(manifest.places, exponents, strict=True):
        residual[place] -= (sent[place].astype(np.float32) - np.float32(ZERO)) * np.float32(2.0**exponent)
    return residual


def _norm(values: F32) -> float:
    return float(np.linalg.norm(values))
