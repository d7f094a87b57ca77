# SPDX-License-Identifier: Apache-2.0
"""Discrete Gaussian noise from a secret stream, sampled exactly (Canonne, Kamath, Steinke 2020, algorithms 1 to 3).

Every decision compares whole numbers drawn from ChaCha20. No float takes part, so no float's rounding can give the
noise away (Mironov 2012). The algorithms work on many coordinates at once: those that are undecided are drawn again.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

import numpy as np
from Crypto.Cipher import ChaCha20
from numpy.typing import NDArray

from folkmoot.errors import InputError

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Bools = NDArray[np.bool_]

MOST_DEVIATION = 1 << 26
"""Largest standard deviation, so that all numerators and denominators fit in 64 bits."""

_FARTHEST = 32
"""In standard deviations. Values beyond it, of a probability below 2^-730, are drawn again."""

_MOST_TRIALS = 512
"""A series of trials of falling probability is longer than this with a probability below 2^-3800."""

_NONCE = bytes(8)  # A key makes one stream only.
_BLOCK = 1 << 16


class SecretStream:
    """Uniform random words from ChaCha20, under a key that the operating system gave and that nobody else has.

    A stream belongs to the process that made it: a fork would draw the same noise a second time.
    """

    def __init__(self) -> None:
        self._start(secrets.token_bytes(32))

    @classmethod
    def of_key(cls, key: bytes) -> SecretStream:
        """Return the stream of a known key, for tests. Noise of a known key hides nothing.

        Raises:
            InputError: The key does not have 32 bytes.
        """
        if len(key) != 32:
            raise InputError(f"The key of a stream has {len(key)} bytes.", remedy="Use 32 bytes.")
        stream = cls.__new__(cls)
        stream._start(key)
        return stream

    def _start(self, key: bytes) -> None:
        self._cipher = ChaCha20.new(key=key, nonce=_NONCE)
        self._process = os.getpid()

    def __reduce__(self) -> Any:
        raise TypeError("A secret stream can't be copied to another process.")

    def words(self, count: int) -> U64:
        """Return uniform words of 64 bits: uint64[count].

        Raises:
            InputError: The stream was made in another process.
        """
        if os.getpid() != self._process:
            raise InputError(
                "The secret stream of another process would draw the same noise twice.",
                remedy="Make the stream in the process that trains.",
                code="copied-stream",
            )
        return np.frombuffer(self._cipher.encrypt(bytes(8 * count)), dtype="<u8").astype(np.uint64)

    def below(self, bound: int | U64, count: int) -> U64:
        """Return uniform whole numbers from 0 to ``bound - 1``: uint64[count].

        Args:
            bound: One bound, or one for each number; from 1 to 2^63.
            count: How many.
        """
        bounds = np.broadcast_to(np.asarray(bound, dtype=np.uint64), (count,))
        # Words from the largest multiple of the bound on would make the small numbers more frequent.
        last = ~np.uint64(0) - (~np.uint64(0) % bounds + np.uint64(1)) % bounds
        words = self.words(count)
        while (over := np.flatnonzero(words > last)).size:
            words[over] = self.words(over.size)
        return words % bounds


def discrete_gaussian(stream: SecretStream, deviation: int, count: int) -> I64:
    """Draw independent whole numbers x with a probability proportional to ``exp(-x^2 / (2 deviation^2))``.

    Args:
        stream: The secret stream.
        deviation: From 1 to MOST_DEVIATION.
        count: How many.

    Returns:
        int64[count].

    Raises:
        InputError: The stream is not a SecretStream (``not-secret``), or the deviation is out of its range.
    """
    if not isinstance(stream, SecretStream):
        raise InputError(
            f"Noise from a {type(stream).__name__} can be computed by others, who would subtract it.",
            remedy="Use folkmoot.privacy.noise.SecretStream, whose key comes from the operating system.",
            code="not-secret",
        )
    if not 1 <= deviation <= MOST_DEVIATION:
        raise InputError(
            f"A standard deviation of {deviation} is not from 1 to {MOST_DEVIATION}.",
            remedy="Change noise1024 or grid.",
        )
    drawn = np.empty(count, dtype=np.int64)
    for at in range(0, count, _BLOCK):
        part = drawn[at : at + _BLOCK]
        missing = np.arange(part.size)
        while missing.size:
            tried = _discrete_laplace(stream, deviation, missing.size)
            apart = np.abs(np.abs(tried) - deviation).astype(np.uint64)
            kept = _with_probability_exp(stream, apart * apart, np.uint64(2 * deviation * deviation))
            part[missing[kept]] = tried[kept]
            missing = missing[~kept]
    return drawn


def _discrete_laplace(stream: SecretStream, scale: int, count: int) -> I64:
    """Draw whole numbers x with a probability proportional to ``exp(-|x| / scale)``: int64[count]."""
    drawn = np.empty(count, dtype=np.int64)
    missing = np.arange(count)
    one = np.uint64(1)
    while missing.size:
        rest = stream.below(scale, missing.size)
        kept = _with_probability_exp(stream, rest, np.uint64(scale))
        missing_now, rest = missing[kept], rest[kept]
        whole = np.zeros(rest.size, dtype=np.int64)
        going = np.arange(rest.size)
        while going.size:
            going = going[_with_probability_exp(stream, np.ones(going.size, dtype=np.uint64), one)]
            whole[going] += 1
        values = rest.astype(np.int64) + whole * scale
        negative = stream.below(2, values.size) == one
        # 0 has no sign of its own: half of the zeros are drawn again.
        good = ~(negative & (values == 0)) & (values < _FARTHEST * scale)
        drawn[missing_now[good]] = np.where(negative, -values, values)[good]
        missing = np.concatenate([missing[~kept], missing_now[~good]])
    return drawn


def _with_probability_exp(stream: SecretStream, numerators: U64, denominator: np.uint64) -> Bools:
    """Return True with the probability ``exp(-numerator / denominator)``, for each numerator: bool[n]."""
    result = np.ones(numerators.size, dtype=np.bool_)
    wholes = numerators // denominator
    # exp(-whole): as many successes of probability exp(-1) in a row.
    going = np.flatnonzero(wholes > 0)
    done = np.zeros(numerators.size, dtype=np.uint64)
    while going.size:
        success = _bernoulli_exp(stream, np.full(going.size, denominator), denominator)
        result[going[~success]] = False
        going = going[success]
        done[going] += np.uint64(1)
        going = going[done[going] < wholes[going]]
    left = np.flatnonzero(result)
    result[left] = _bernoulli_exp(stream, numerators[left] % denominator, denominator)
    return result


def _bernoulli_exp(stream: SecretStream, numerators: U64, denominator: np.uint64) -> Bools:
    """Return True with the probability ``exp(-numerator / denominator)``, for fractions from 0 to 1: bool[n].

    The number of successes before the first failure of trials with the probabilities gamma / 1, gamma / 2, ... is even
    with the probability exp(-gamma).
    """
    result = np.zeros(numerators.size, dtype=np.bool_)
    going = np.arange(numerators.size)
    for trial in range(1, _MOST_TRIALS):
        if not going.size:
            return result
        drawn = stream.below(int(denominator) * trial, going.size)
        success = drawn < numerators[going]
        result[going[~success]] = trial % 2 == 1
        going = going[success]
    raise AssertionError("The words of the secret stream are not uniform.")
