# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from folkmoot.errors import ArtifactError, InputError
from folkmoot.protocol.genesis import (
    Genesis,
    calibrated_exponent,
    first_exponent,
    noise_exponent,
    width_settings,
    width_warning,
)
from folkmoot.protocol.hashing import canonical_json, keccak, parse_canonical_json
from folkmoot.protocol.manifest import Manifest, Tensor
from tests.unit import worlds

GENESIS = Genesis.of(worlds.MANIFEST, worlds.state(worlds.MANIFEST, 1), (-9, -10, 4))


def test_file_reads_back() -> None:
    assert Genesis.from_json(GENESIS.to_json()) == GENESIS
    assert GENESIS.hash == keccak(GENESIS.to_json())


def test_genesis_refuses() -> None:
    with pytest.raises(InputError):
        Genesis.of(worlds.MANIFEST, worlds.state(worlds.MANIFEST, 1), (-9,))
    with pytest.raises(InputError):
        Genesis.of(worlds.MANIFEST, worlds.state(worlds.MANIFEST, 1), (-9, 5, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "x"},
        {"extra": 1},
        {"exponents": [5]},
        {"exponents": [1.0]},
        {"exponents": None},
        {"state": "ab"},
    ],
)
def test_file_refuses(change: dict[str, object]) -> None:
    value = parse_canonical_json(GENESIS.to_json()) | change
    with pytest.raises(ArtifactError):
        Genesis.from_json(canonical_json(value))


def test_file_refuses_other_bytes() -> None:
    for data in (b"", b"[]", GENESIS.to_json() + b"\n"):
        with pytest.raises(ArtifactError):
            Genesis.from_json(data)


def test_a_calibrated_exponent() -> None:
    even = np.full(100, 0.02, dtype=np.float32)
    assert calibrated_exponent(even, -3) == -10  # 0.02 / 16 = 2^-9.6
    assert calibrated_exponent(-even.reshape(4, 25), -3) == -10
    sparse = np.zeros(10_000, dtype=np.float32)
    sparse[0] = 1  # its size counts, and not how many zeros there are
    assert calibrated_exponent(sparse, -3) == -4
    assert calibrated_exponent(np.zeros(3, np.float32), -3) == -3
    assert calibrated_exponent(np.array([np.inf, 1], np.float32), -3) == -3
    assert calibrated_exponent(np.full(2, 1e-30, np.float32), -3) == -40
    assert calibrated_exponent(np.full(2, 1e30, np.float32), -3) == 4


def test_first_exponent() -> None:
    assert first_exponent(0.001, 100) == -14  # 0.02 / 16 = 2^-9.6, and four octaves below
    assert first_exponent(1e-30, 1) == -40
    assert first_exponent(1e9, 1000) == 4
    for rate, steps in ((0.0, 5), (1.0, 0), (-1.0, 5), (float("nan"), 1), (float("inf"), 1)):
        with pytest.raises(InputError):
            first_exponent(rate, steps)


def test_a_genesis_names_another_width_than_eight() -> None:
    assert width_settings(8) == {}
    eight = Manifest("m", (Tensor("w", (3,)),))
    four = replace(eight, training=width_settings(4))
    assert width_warning(eight, 8) == width_warning(four, 4) == ""
    assert "of 8 bits a coordinate, and the policy has 4" in width_warning(eight, 4)
    assert width_warning(eight, 4).endswith("updates are cut to their largest integers.")
    assert width_warning(four, 8).endswith("updates are rounded more than they need to be.")


def test_exponents_of_noise() -> None:
    assert noise_exponent(16 * 2.0**-10) == -10
    assert (noise_exponent(1e-30), noise_exponent(1e30)) == (-40, 4)
    for deviation in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="standard deviation"):
            noise_exponent(deviation)
