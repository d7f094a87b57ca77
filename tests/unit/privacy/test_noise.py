# SPDX-License-Identifier: Apache-2.0
"""The noise is a discrete Gaussian, comes from the secret stream alone, and no stream is used twice."""

from __future__ import annotations

import copy
import os
import pickle
import random

import numpy as np
import pytest
import torch
from scipy import stats

from folkmoot.errors import InputError
from folkmoot.privacy.noise import MOST_DEVIATION, SecretStream, discrete_gaussian

KEY = b"a key that tests alone may know."


def test_the_known_answers_of_a_known_key() -> None:
    stream = SecretStream.of_key(KEY)
    drawn = discrete_gaussian(stream, 6369 << 8, 8).tolist()
    assert drawn == [1738361, -2054039, -1565217, 3465137, 1541091, 1113613, -1454040, 1157377]
    assert discrete_gaussian(stream, 3, 12).tolist() == [1, -4, -1, -1, -1, 0, -3, -2, 1, -5, 3, 5]


def test_the_words_are_those_of_chacha20() -> None:
    """The first block of the key of zeros (RFC 8439, A.1, test vector 1)."""
    expected = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28")
    assert SecretStream.of_key(bytes(32)).words(2).astype("<u8").tobytes() == expected


@pytest.mark.parametrize("deviation", [1, 2, 3, 10])
def test_each_whole_number_has_its_probability(deviation: int) -> None:
    count = 200_000
    drawn = discrete_gaussian(SecretStream.of_key(KEY), deviation, count)
    values = np.arange(-40 * deviation, 40 * deviation + 1)
    mass = np.exp(-(values.astype(np.float64) ** 2) / (2 * deviation**2))
    expected = count * mass / mass.sum()
    found = np.bincount(drawn + 40 * deviation, minlength=len(values))
    common = expected >= 5
    assert found[~common].sum() < 100
    statistic = ((found - expected)[common] ** 2 / expected[common]).sum()
    assert statistic < stats.chi2.ppf(0.9999, common.sum() - 1)


@pytest.mark.parametrize("deviation", [1000, 6369 << 8, MOST_DEVIATION])
def test_large_deviations_are_gaussian(deviation: int) -> None:
    drawn = discrete_gaussian(SecretStream.of_key(KEY), deviation, 100_000) / deviation
    assert stats.kstest(drawn, "norm").pvalue > 1e-4
    assert abs(drawn).max() < 6


def test_streams_of_the_system_differ() -> None:
    one, other = (discrete_gaussian(SecretStream(), 1 << 20, 64) for _ in range(2))
    assert (one != other).any()


def test_numbers_below_a_bound_are_uniform() -> None:
    bound = 3 << 61  # a remainder of 64-bit words alone would be below 2^62 more often than above
    drawn = SecretStream.of_key(KEY).below(bound // 2, 30_000)
    assert int(drawn.max()) < bound // 2
    assert stats.kstest(drawn.astype(np.float64) / (bound // 2), "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    "source",
    [torch.Generator(), np.random.default_rng(0), random.SystemRandom(), 12345, None],
    ids=["torch", "numpy", "system", "number", "none"],
)
def test_no_other_source_of_noise_is_taken(source: object) -> None:
    with pytest.raises(InputError) as refused:
        discrete_gaussian(source, 1024, 1)  # type: ignore[arg-type]
    assert refused.value.code == "not-secret"


@pytest.mark.parametrize("deviation", [0, -1, MOST_DEVIATION + 1])
def test_a_deviation_out_of_range_is_refused(deviation: int) -> None:
    with pytest.raises(InputError, match="is not from 1 to"):
        discrete_gaussian(SecretStream(), deviation, 1)


def test_a_stream_does_not_reach_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = SecretStream()
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="can't be copied"):
            copied(stream)
    other = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: other)
    with pytest.raises(InputError) as refused:
        stream.words(1)
    assert refused.value.code == "copied-stream"


def test_a_short_key_is_refused() -> None:
    with pytest.raises(InputError, match="has 3 bytes"):
        SecretStream.of_key(b"abc")
