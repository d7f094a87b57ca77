# SPDX-License-Identifier: Apache-2.0
"""The genesis file: manifest, first state and first exponents of a federation (docs/protocol.md section 11).

This module does not know where files are stored.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.exponents import DENSITY, MAX_RISE, TARGETS
from folkmoot.protocol.hashing import canonical_json, keccak, parse_canonical_json, sha256_hex
from folkmoot.protocol.header import MAX_EXPONENT, MIN_EXPONENT, check_exponents
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State

FORMAT = "folkmoot/genesis/1"
WIDTH_SETTING = "updateWidth"
"""Key of the width for which the first exponents were made, in the manifest's training settings; without it, 8."""
TRAVEL = 0.2
"""Expected root mean square change of a weight, as a share of the sum of all local steps."""


@dataclass(frozen=True)
class Genesis:
    """What a federation starts from."""

    manifest: str
    """SHA-256 of the manifest file, in hex."""
    state: str
    """SHA-256 of the state file, in hex."""
    exponents: tuple[int, ...]
    """Exponents of round 1, one a tensor."""

    @classmethod
    def of(cls, manifest: Manifest, state: State, exponents: tuple[int, ...]) -> Genesis:
        """Make the genesis of a manifest and a state.

        Raises:
            InputError: There is not one exponent a tensor, or one is out of range.
            ArtifactError: The state does not fit the manifest.
        """
        if len(exponents) != len(manifest.tensors):
            raise InputError(f"There are {len(exponents)} exponents for {len(manifest.tensors)} tensors.")
        check_exponents(exponents)
        state.check(manifest)
        return cls(sha256_hex(manifest.to_json()), state.sha256(), tuple(exponents))

    def to_json(self) -> bytes:
        """The genesis file: canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "manifest": self.manifest,
                "state": self.state,
                "exponents": list(self.exponents),
            }
        )

    @property
    def hash(self) -> bytes:
        """``genesisHash``: the keccak of the genesis file, 32 bytes."""
        return keccak(self.to_json())

    @classmethod
    def from_json(cls, data: bytes) -> Genesis:
        """Read a genesis file.

        Raises:
            ArtifactError: The bytes are no genesis file.
        """
        try:
            value = parse_canonical_json(data)
            if not isinstance(value, dict) or set(value) != {"format", "manifest", "state", "exponents"}:
                raise InputError("It has not exactly the fields format, manifest, state and exponents.")
            if value["format"] != FORMAT:
                raise InputError(f"Its format is {value['format']!r}, not {FORMAT!r}.")
            exponents = value["exponents"]
            if not isinstance(exponents, list) or any(type(e) is not int for e in exponents):
                raise InputError("Its exponents are not a list of integers.")
            check_exponents(exponents)
            for name in ("manifest", "state"):
                if not isinstance(value[name], str) or not re.fullmatch("[0-9a-f]{64}", value[name]):
                    raise InputError(f"Its {name} is no SHA-256.")
        except InputError as error:
            raise ArtifactError(f"The genesis file can't be read. {error.message}") from error
        return cls(value["manifest"], value["state"], tuple(exponents))


def width_settings(width: int) -> dict[str, int]:
    """Return the training settings that name the width of the first exponents."""
    return {} if width == 8 else {WIDTH_SETTING: width}


def width_warning(manifest: Manifest, width: int) -> str:
    """Return what happens if the first policy has another width than the first exponents; empty if it has not."""
    made_for = manifest.training.get(WIDTH_SETTING, 8)
    return "" if made_for == width else changed_width(made_for, width)


def changed_width(before: Any, after: int) -> str:
    """Return what happens if updates have another width than the one that the exponents are for."""
    effect = "cut to their largest integers" if after < before else "rounded more than they need to be"
    return (
        f"The exponents are for updates of {before} bits a coordinate, and the policy has {after}: until the votes "
        f"have moved them, updates are {effect}."
    )


def calibrated_exponent(changes: F32, guess: int, width: int = 8) -> int:
    """Take a tensor's exponent for round 1 from what one real training changed.

    ``S / A`` of the integers, or their density at width 2, becomes what the votes of later rounds aim at, up to a
    factor of the square root of 2.

    Args:
        changes: float32, of any shape: start minus end.
        guess: What it is if nothing changed, or not to a finite number.
        width: Bits of an encoded coordinate.
    """
    sizes = np.abs(changes.astype(np.float64))
    absolute, squares = float(sizes.sum()), float(np.square(sizes).sum())
    if not (absolute > 0 and squares > 0 and math.isfinite(squares)):
        return guess
    if width == 2:
        amplitude, target = absolute / sizes.size, DENSITY[0] / DENSITY[1]
    else:
        amplitude, target = squares / absolute, TARGETS[width]
    exponent = round(math.log2(amplitude / target))
    return min(max(exponent, MIN_EXPONENT), MAX_EXPONENT)


def noise_exponent(deviation: float) -> int:
    """Take the exponents of round 1 from what is public of a private training, whose changes are mostly noise.

    ``S / A`` of a Gaussian's integers becomes the target of width 8, which private federations have, up to a factor of
    the square root of 2. It is the standard deviation times ``sqrt(pi / 2)``.

    Args:
        deviation: Standard deviation of the noise in a weight after one training, above 0.

    Raises:
        InputError: The deviation is not positive and finite.
    """
    if not (deviation > 0 and math.isfinite(deviation)):
        raise InputError(f"The noise's standard deviation is {deviation}.", remedy="Use a positive number.")
    exponent = round(math.log2(deviation * math.sqrt(math.pi / 2) / TARGETS[8]))
    return min(max(exponent, MIN_EXPONENT), MAX_EXPONENT)


def first_exponent(learning_rate: float, steps: int, width: int = 8) -> int:
    """Guess an exponent for round 1, when no training could be tried (``calibrated_exponent``).

    An adaptive optimizer moves a weight by about its learning rate a step, and not always the same way, so
    after ``steps`` local steps the root mean square of a change is about ``TRAVEL * learning_rate * steps``. The
    gradients of other optimizers are often smaller. An exponent that is too high adds noise to the model, one that is
    too low only shortens a round's updates; so the guess is MAX_RISE octaves below what brings that to the
    target of the votes, which put it right after one round.

    Args:
        learning_rate: The local learning rate, above 0.
        steps: Local steps a round, at least 1.
        width: Bits of an encoded coordinate.

    Raises:
        InputError: An argument is not positive and finite.
    """
    travel = TRAVEL * learning_rate * steps
    if not (travel > 0 and math.isfinite(travel)):
        raise InputError("The learning rate and the number of steps must be positive.")
    target = TARGETS.get(width, DENSITY[0] / DENSITY[1])
    return min(max(round(math.log2(travel / target)) - MAX_RISE, MIN_EXPONENT), MAX_EXPONENT)
