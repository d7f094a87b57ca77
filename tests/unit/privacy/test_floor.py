# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.errors import InputError
from folkmoot.privacy.noise import SecretStream, discrete_gaussian
from folkmoot.privacy.settings import (
    Floor,
    PrivacySettings,
    check_bounds,
    check_weights,
    floor_of,
    floor_warning,
    least_squares,
)
from folkmoot.protocol.codec import encode_update, fitting_bound
from folkmoot.protocol.genesis import noise_exponent
from folkmoot.protocol.manifest import Carried, Manifest, Tensor
from tests.unit import worlds

RATE = 40
SETTINGS = PrivacySettings(noise1024=6369, steps=1, divisor=64, clip=0.3, grid=8, delta=1e-5)
TRAINING: dict[str, Any] = {"learning_rate": RATE, "privacy": SETTINGS.to_json()}
ADDRESS = "0x" + "11" * 20
MANIFEST = Manifest(
    "floor",
    (
        Tensor("a", (30, 13)),
        Tensor("b", (5,)),
        Carried("still", "float32", (700,), bytes(2800)),
        Tensor("c", (600,)),
    ),
    TRAINING,
)
"""995 trained weights in three tensors with padding, and a carried array."""
EXPONENT = noise_exponent(SETTINGS.deviation_of_training * RATE)
EXPONENTS = (EXPONENT,) * 3


@given(
    weights=st.integers(1, 1 << 32),
    variance=st.fractions(min_value=Fraction(1, 1 << 40), max_value=2000, max_denominator=1 << 60),
)
def test_the_floor_is_the_formula_rounded_down(weights: int, variance: Fraction) -> None:
    with localcontext() as context:
        context.prec = 120
        exact = (1 - 6 * (Decimal(2) / weights).sqrt()) * weights * variance.numerator / variance.denominator
        assert least_squares(weights, variance) == max(0, int(exact))


def test_the_floor_counts_trained_weights_only() -> None:
    variance = Fraction(6369, 1024) ** 2 * (Fraction(0.3) * RATE / 64) ** 2 / Fraction(4) ** EXPONENT
    assert floor_of(MANIFEST, EXPONENTS) == Floor(least_squares(995, variance))
    assert 9**2 < variance < 18.1**2
    steps = {**SETTINGS.to_json(), "steps": 4}
    several = replace(MANIFEST, training={**TRAINING, "privacy": steps})
    assert floor_of(several, EXPONENTS) == floor_of(
        MANIFEST, EXPONENTS
    )  # later steps can undo the noise of earlier ones


@pytest.mark.parametrize(("share", "passes"), [(1.0, True), (0.8, False), (0.0, False)])
def test_the_codec_keeps_the_energy_of_noise_above_the_floor(share: float, passes: bool) -> None:
    floor, stream = floor_of(MANIFEST, EXPONENTS).least, SecretStream()
    place = np.concatenate([np.arange(leaves * 256) < size for leaves, size in ((2, 390), (1, 5), (3, 600))])
    base = np.zeros(MANIFEST.size, np.float32)
    for _ in range(20):
        end = base.copy()
        drawn = discrete_gaussian(stream, SETTINGS.deviation, 995)
        end[place] = drawn * (share * RATE * SETTINGS.step_size)
        update = encode_update(base, end, EXPONENTS, MANIFEST, bytes(32), "0x" + "11" * 20)
        values = np.frombuffer(update.data, np.uint8).astype(np.int64) - 128
        assert (int((values**2).sum()) >= floor) == passes


@pytest.mark.parametrize(
    ("change", "exponents", "width", "why"),
    [
        ({"privacy": None}, EXPONENTS, 8, "declares no privacy"),
        ({}, EXPONENTS, 4, "updates of 4 bits"),
        ({}, (EXPONENT, EXPONENT, EXPONENT + 1), 8, "different exponents"),
        ({"learning_rate": "fast"}, EXPONENTS, 8, "no positive learning_rate"),
        ({}, (EXPONENT - 2,) * 3, 8, "which would be clamped"),
    ],
)
def test_without_a_floor_the_reason_is_said(
    change: dict[str, Any], exponents: tuple[int, ...], width: int, why: str
) -> None:
    training = {key: value for key, value in {**TRAINING, **change}.items() if value is not None}
    found = floor_of(replace(MANIFEST, training=training), exponents, width)
    assert found.least == 0
    assert why in found.why


def test_few_weights_have_no_floor() -> None:
    few = replace(MANIFEST, arrays=MANIFEST.arrays[1:3])
    assert "5 trained weights are too few, of at least 288" in floor_of(few, (EXPONENT,)).why


CAP = 4096 * MANIFEST.elements


def bounds(least: int, most: int = CAP, width: int = 8) -> Floor:
    return check_bounds(MANIFEST, EXPONENTS, min_sum_squares=least, max_sum_squares=most, width=width)


def test_a_policy_is_compared_with_the_manifest() -> None:
    floor = floor_of(MANIFEST, EXPONENTS)
    assert bounds(floor.least) == bounds(0) == floor
    assert floor_warning(floor, floor.least) == ""
    assert f"With {floor.least} the ledger" in floor_warning(floor, 0)
    for least, most, width, code in (
        (floor.least + 1, CAP, 8, "floor-too-high"),
        (1, CAP, 4, "floor-too-high"),
        (0, 994, 8, "cap-too-small"),
        (249, 995, 8, "cap-too-small"),
    ):
        with pytest.raises(InputError, match="Honest updates would be refused") as refused:
            bounds(least, most, width)
        assert refused.value.code == code
    public = check_bounds(worlds.MANIFEST, (0, 0, 0), min_sum_squares=5, max_sum_squares=5, width=8)
    assert public.least == 0


@given(counts=st.lists(st.integers(0, 40), min_size=128, max_size=128), least=st.integers(1, 10**7))
def test_fitting_to_an_allowed_cap_leaves_the_floor(counts: list[int], least: int) -> None:
    cap = max(sum(counts), 4 * least)
    if sum(count * size**2 for size, count in enumerate(counts)) >= least:
        bound = fitting_bound(counts, cap)
        assert least <= sum(count * min(size, bound) ** 2 for size, count in enumerate(counts)) <= cap


def refused_by_size(size: float) -> str:
    try:
        check_weights(MANIFEST, size, floor_of(MANIFEST, EXPONENTS).least)
    except InputError as error:
        return error.code
    return ""


def test_floats_near_the_weights_must_hold_the_noise() -> None:
    """The honest update of a base with weights of 2^25 is below the floor: floats of 32 bits round its noise away."""
    deviation = float(SETTINGS.variance_of_step(RATE)) ** 0.5
    noise = np.random.default_rng(1).normal(0, deviation, MANIFEST.size).astype(np.float32)
    floor, passed = floor_of(MANIFEST, EXPONENTS).least, []
    for size in (0, 2**20, 2**21, 2**22, 2**24, 2**25, 2**27):
        start = np.full(MANIFEST.size, size, np.float32)
        update = encode_update(start, start - noise, EXPONENTS, MANIFEST, bytes(32), ADDRESS)
        passed.append(update.sum_squares >= floor)
        if not refused_by_size(size):
            assert passed[-1]
    assert passed[0]
    assert not all(passed), "the check guards against nothing"
    assert refused_by_size(2**20) == ""
    assert refused_by_size(2**22) == "weights-too-large"
    check_weights(MANIFEST, 2**22, 0)


def test_there_is_no_floor_for_weights_of_half_precision() -> None:
    tensors = (Tensor("a", (30, 13)), Tensor("c", (600,), "float16"))
    floor = floor_of(replace(MANIFEST, arrays=tensors), EXPONENTS[:2])
    assert floor == Floor(0, "weights of float16 can round the noise away")
