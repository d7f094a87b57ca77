# SPDX-License-Identifier: Apache-2.0
"""Receipts of entries: whoever has one can check it, and nobody can make a false one pass."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest

from folkmoot.errors import InputError
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.receipt import Receipt, entries_tree


def entries_of(count: int) -> list[Commitment]:
    base = keccak(b"base")
    return [
        Commitment("0x" + keccak(b"account %d" % i)[:20].hex(), 3, base, keccak(b"root %d" % i), i)
        for i in range(count)
    ]


def anchored(entries: list[Commitment]) -> Anchor:
    weights = tuple((7 * i) % 5 for i in range(len(entries)))
    return Anchor(
        weights,
        tuple(100 * weight for weight in weights),
        delivered=(1 << len(entries)) - 1,
        mean_root=keccak(b"mean"),
        state_root=keccak(b"state"),
        gram_root=keccak(b"gram"),
        verdict_hash=keccak(b"verdicts"),
        artifacts_hash=keccak(b"artifacts"),
        entries_root=entries_tree(entries, weights).root,
    )


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 65, 256])
def test_every_entry_has_a_receipt_of_at_most_eight_hashes(count: int) -> None:
    entries = entries_of(count)
    anchor = anchored(entries)
    for index in {0, count // 2, count - 1}:
        receipt = Receipt.of(entries, anchor, index)
        assert receipt.is_consistent()
        assert receipt.anchor_hash == anchor.hash
        assert len(receipt.siblings) == (count - 1).bit_length() <= 8
        assert Receipt.from_json(receipt.to_json()) == receipt


def replace_word(place: int, made: dict[str, Any]) -> None:
    made["anchor"][place] = "0x" + "11" * 32


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "weight": lambda made: made.update(weight=made["weight"] + 1),
    "index": lambda made: made.update(index=made["index"] - 1),
    "entries": lambda made: made.update(entries=9),
    "fewer entries": lambda made: made.update(entries=4, index=1),
    "contributor": lambda made: made["commitment"].update(contributor="0x" + "11" * 20),
    "round": lambda made: made["commitment"].update(round="4"),
    "base": lambda made: made["commitment"].update(baseStateRoot="0x" + "11" * 32),
    "update": lambda made: made["commitment"].update(updateRoot="0x" + "11" * 32),
    "sum of squares": lambda made: made["commitment"].update(sumSquares="77"),
    "path": lambda made: made["siblings"].reverse(),
    "shorter path": lambda made: made["siblings"].pop(),
    "longer path": lambda made: made["siblings"].append("0x" + "00" * 32),
    **{f"word {i}": functools.partial(replace_word, i) for i in range(8)},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_receipt_is_false(name: str) -> None:
    entries = entries_of(7)
    anchor = anchored(entries)
    made = copy.deepcopy(Receipt.of(entries, anchor, 5).to_json())
    CHANGES[name](made)
    receipt = Receipt.from_json(made)
    assert not (receipt.is_consistent() and receipt.anchor_hash == anchor.hash)


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.clear(),
        lambda made: made.update(format="folkmoot/receipt/0"),
        lambda made: made.update(more=1),
        lambda made: made.update(weight=-1),
        lambda made: made.update(weight=1 << 32),
        lambda made: made.update(weight=True),
        lambda made: made.update(weight="1"),
        lambda made: made.update(index=7),
        lambda made: made.update(entries=257),
        lambda made: made.update(siblings=None),
        lambda made: made.update(siblings=[1]),
        lambda made: made.update(siblings=["0xzz"]),
        lambda made: made.update(siblings=["0x11"]),
        lambda made: made["anchor"].pop(),
        lambda made: made.update(commitment={}),
        lambda made: made.update(commitment=[]),
    ],
)
def test_what_is_no_receipt_is_refused(change: Callable[[Any], Any]) -> None:
    entries = entries_of(7)
    made = copy.deepcopy(Receipt.of(entries, anchored(entries), 5).to_json())
    change(made)
    with pytest.raises(InputError):
        Receipt.from_json(made)


@pytest.mark.parametrize("value", [None, [], "receipt", 1])
def test_other_json_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="no receipt of the format"):
        Receipt.from_json(value)
