# SPDX-License-Identifier: Apache-2.0
"""Byte-pair encoding: a text becomes whole numbers, and comes back byte by byte (Sennrich, Haddow, Birch 2016).

The first 256 tokens are the bytes, so that any text has an encoding. Each further token joins two earlier ones.
Merges stay inside of a word with the space before it. This module does not use models, files or Flower.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from folkmoot.errors import TaskError

BYTES = 256
"""Number of tokens that are single bytes."""

LONGEST = 4096
"""Most bytes of a token: a list of merges that doubles them would fill any memory."""

_WORD = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\w\s]+| ?_+|\s+")

Pair = tuple[int, int]


@dataclass(frozen=True)
class Encoding:
    """A byte-pair encoding.

    Attributes:
        merges: The pair of tokens that each token from 256 on joins, in the order in which they were learned.
    """

    merges: tuple[Pair, ...]

    def __post_init__(self) -> None:
        """Check that each token is made of earlier ones.

        Raises:
            TaskError: One is not, or is longer than LONGEST, or a pair has two tokens.
        """
        lengths = [1] * BYTES
        for token, pair in enumerate(self.merges, BYTES):
            if not all(type(part) is int and 0 <= part < token for part in pair):
                raise TaskError(
                    f"Token {token} joins {pair[0]} and {pair[1]}, which are not both below it.",
                    remedy="Use the list of merges as it was learned.",
                )
            lengths.append(sum(lengths[part] for part in pair))
            if lengths[token] > LONGEST:
                raise TaskError(
                    f"Token {token} stands for {lengths[token]} bytes, more than {LONGEST}.",
                    remedy="Use the list of merges as it was learned.",
                )
        if len(set(self.merges)) != len(self.merges):
            raise TaskError(
                "A pair of tokens is joined twice.", remedy="Use the list of merges as it was learned."
            )

    @property
    def size(self) -> int:
        """Number of tokens."""
        return BYTES + len(self.merges)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text.

        Raises:
            TaskError: The text has characters that no UTF-8 has.
        """
        known: dict[str, list[int]] = {}
        tokens: list[int] = []
        for word in _WORD.findall(text):
            if word not in known:
                try:
                    known[word] = self._encode_word(word)
                except UnicodeEncodeError as error:
                    raise TaskError(
                        f"The text has {word[error.start]!a}, which is no character.",
                        remedy="Write it in UTF-8.",
                    ) from error
            tokens += known[word]
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of tokens. Bytes that are no UTF-8 become U+FFFD.

        Raises:
            TaskError: There is no such token.
        """
        try:
            return b"".join(self._pieces[token] for token in tokens).decode("utf-8", errors="replace")
        except IndexError as error:
            raise TaskError(
                f"A token is not below {self.size}.",
                remedy="Use the encoding that the model was trained with.",
            ) from error

    @cached_property
    def _pieces(self) -> list[bytes]:
        """The bytes of each token."""
        pieces = [bytes([value]) for value in range(BYTES)]
        for left, right in self.merges:
            pieces.append(pieces[left] + pieces[right])
        return pieces

    @cached_property
    def _ranks(self) -> dict[Pair, int]:
        """The token that joins each pair."""
        return {pair: token for token, pair in enumerate(self.merges, BYTES)}

    def _encode_word(self, word: str) -> list[int]:
        tokens = list(word.encode())
        while len(tokens) > 1:
            pairs = set(itertools.pairwise(tokens))
            first = min(pairs, key=lambda pair: self._ranks.get(pair, self.size))
            if first not in self._ranks:
                break
            tokens = _joined(tokens, first, self._ranks[first])
        return tokens


def learn(texts: Iterable[str], size: int) -> Encoding:
    """Learn an encoding: join the most frequent pair of neighbours, again and again.

    Of pairs that are equally frequent the smallest one is joined, so that equal texts give equal encodings.

    Args:
        texts: The texts.
        size: Number of tokens, at least 256. There are fewer if no pair occurs twice any more.
    """
    counted = Counter(word for text in texts for word in _WORD.findall(text))
    words = [list(word.encode()) for word in counted]
    times = list(counted.values())
    pairs: Counter[Pair] = Counter()
    where: dict[Pair, set[int]] = defaultdict(set)
    for place, word in enumerate(words):
        _count(pairs, where, word, place, times[place])
    merges: list[Pair] = []
    while len(merges) < size - BYTES and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], -pair[0], -pair[1]))
        if pairs[best] < 2:
            break
        token = BYTES + len(merges)
        merges.append(best)
        for place in sorted(where.pop(best)):
            for pair in zip(words[place], words[place][1:], strict=False):
                pairs[pair] -= times[place]
            words[place] = _joined(words[place], best, token)
            _count(pairs, where, words[place], place, times[place])
        pairs = +pairs
    return Encoding(tuple(merges))


def _count(
    pairs: Counter[Pair], where: dict[Pair, set[int]], word: Sequence[int], place: int, times: int
) -> None:
    for pair in itertools.pairwise(word):
        pairs[pair] += times
        where[pair].add(place)


def _joined(tokens: Sequence[int], pair: Pair, token: int) -> list[int]:
    """Return tokens with each occurrence of a pair, from the left, replaced by one token."""
    joined: list[int] = []
    at = 0
    while at < len(tokens):
        if at + 1 < len(tokens) and (tokens[at], tokens[at + 1]) == pair:
            joined.append(token)
            at += 2
        else:
            joined.append(tokens[at])
            at += 1
    return joined
