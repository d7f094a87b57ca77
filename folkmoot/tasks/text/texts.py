# SPDX-License-Identifier: Apache-2.0
"""The texts of the task `text`: ten works of Shakespeare and Milton, and their split among contributors.

Of each work, the last part is held out, a short part before it is in the coordinator's root set, and the rest is for
training. The works for training stand one after the other, and a contributor gets one of equal parts of that row: one
has comedies, another one *Paradise Lost*. The bundle of an app has the encoding, which all must share, and no works: a
contributor's data are those of its own installation. This module does not use models, Flower or the chain.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from folkmoot.errors import TaskError
from folkmoot.tasks.partition import ROOTS, check_partition
from folkmoot.tasks.text.bpe import Encoding

WORKS_FILE, MERGES_FILE = "works.jsonl", "merges.json"

WORKS_VARIABLE = "FOLKMOOT_WORKS"
"""Environment variable with the path of the file of works, for code that runs from a bundle."""

HELD_OUT, ROOT = 0.03, 0.03
"""Parts of each work that are held out, and that are in the root set."""

MINIMUM_CHARACTERS = 2500
"""Least number of characters of a contributor's texts, about a thousand tokens."""


@dataclass(frozen=True)
class Work:
    """One work."""

    title: str
    kind: str
    text: str


@dataclass(frozen=True)
class Parts:
    """The three parts of one work."""

    kind: str
    training: str
    root: str
    held_out: str


@cache
def read_works() -> tuple[Work, ...]:
    """Read the works, in their order.

    Raises:
        TaskError: Their file can't be read.
    """
    given = os.environ.get(WORKS_VARIABLE)
    file = Path(given) if given else files(__package__) / WORKS_FILE
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TaskError(
            f"The texts of the task can't be read: {error.strerror}.",
            remedy=f"Use `folkmoot join`, or set {WORKS_VARIABLE} to the file {WORKS_FILE} of an installation.",
        ) from error
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
        held_out, root = (int(len(work.text) * part) for part in (HELD_OUT, ROOT))
        first, second = len(work.text) - held_out - root, len(work.text) - held_out
        split.append(Parts(work.kind, work.text[:first], work.text[first:second], work.text[second:]))
    return tuple(split)


def share_of(partition: int, partitions: int) -> str:
    """Return the texts of one contributor.

    Raises:
        TaskError: There is no such share, or it is too short.
    """
    check_partition(partition, partitions)
    row = "".join(one.training for one in parts())
    if len(row) < partitions * MINIMUM_CHARACTERS:
        raise TaskError(
            f"{len(row)} characters are too few for {partitions} shares of at least {MINIMUM_CHARACTERS}.",
            remedy="Use fewer partitions.",
        )
    return row[len(row) * partition // partitions : len(row) * (partition + 1) // partitions]


def root_set(kind: str) -> str:
    """Return the texts of a root set: of all works, or, to be biased, of the first half of them.

    Raises:
        TaskError: There is no such root set.
    """
    if kind not in ROOTS:
        raise TaskError(f"There is no root set {kind!r}.", remedy=f"Root sets are {', '.join(ROOTS)}.")
    used = parts() if kind == "good" else parts()[: len(parts()) // 2]
    return "".join(one.root for one in used)
