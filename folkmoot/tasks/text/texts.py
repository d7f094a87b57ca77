# SPDX-License-Identifier: Apache-2.0
"""The texts of the task `text`: ten works of Shakespeare and Milton, and their split among contributors.

Of each work, the last part is held out, a short part before it is in the coordinator's root set, and the rest is for
training. The works for training stand one after the other, and a contributor gets one of equal parts of that row: one
has comedies, another one *Paradise Lost*. This module does not use models, Flower or the chain.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from folkmoot.errors import TaskError
from folkmoot.tasks.partition import ROOTS
from folkmoot.tasks.text.bpe import Encoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORKS_FILE, MERGES_FILE = "works.jsonl", "merges.json"

HELD_OUT, ROOT = 0.03, 0.03
"""Parts of each work that are held out, and that are in the root set."""

MINIMUM_TOKENS = 1024
"""Least number of tokens of a contributor."""


@dataclass(frozen=True)
class Work:
    """One work."""

    title: str
    kind: str
    text: str


@dataclass(frozen=True)
class Parts:
    """The tokens of one work, int64 each."""

    kind: str
    training: NDArray[np.int64]
    root: NDArray[np.int64]
    held_out: NDArray[np.int64]


@cache
def read_works() -> tuple[Work, ...]:
    """Read the works, in their order."""
    lines = (files(__package__) / WORKS_FILE).read_text(encoding="utf-8").splitlines()
    return tuple(Work(**json.loads(line)) for line in lines)


@cache
def encoding() -> Encoding:
    """Read the encoding that was learned from the works."""
    merges = json.loads((files(__package__) / MERGES_FILE).read_text(encoding="utf-8"))
    return Encoding(tuple((int(left), int(right)) for left, right in merges))


@cache
def parts() -> tuple[Parts, ...]:
    """Return the three parts of each work."""
    split = []
    for work in read_works():
        tokens = np.array(encoding().encode(work.text), dtype=np.int64)
        held_out, root = (int(len(tokens) * part) for part in (HELD_OUT, ROOT))
        cuts = (len(tokens) - held_out - root, len(tokens) - held_out)
        split.append(Parts(work.kind, *np.split(tokens, cuts)))
    return tuple(split)


def share_of(partition: int, partitions: int) -> NDArray[np.int64]:
    """Return the tokens of one contributor.

    Raises:
        TaskError: There is no such share, or it has too few tokens.
    """
    if not 0 <= partition < partitions:
        raise TaskError(
            f"There is no partition {partition} of {partitions}.",
            remedy=f"Partitions are counted from 0; the last one is {max(partitions - 1, 0)}/{partitions}.",
        )
    row = np.concatenate([one.training for one in parts()])
    if len(row) < partitions * MINIMUM_TOKENS:
        raise TaskError(
            f"{len(row)} tokens are too few for {partitions} shares of at least {MINIMUM_TOKENS}.",
            remedy="Use fewer partitions.",
        )
    return np.array_split(row, partitions)[partition]


def root_set(kind: str) -> NDArray[np.int64]:
    """Return the tokens of a root set: of all works, or, to be biased, of the first half of them.

    Raises:
        TaskError: There is no such root set.
    """
    if kind not in ROOTS:
        raise TaskError(f"There is no root set {kind!r}.", remedy=f"Root sets are {', '.join(ROOTS)}.")
    used = parts() if kind == "good" else parts()[: len(parts()) // 2]
    return np.concatenate([one.root for one in used])
