# SPDX-License-Identifier: Apache-2.0
"""The file of the rounds that a watcher let go of."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from folkmoot.errors import LocalError
from folkmoot.ledger.pruned import Checkpoint, CommitmentRef, FinishedRound, PrunedRounds

A, B, C = (bytes([value]) * 32 for value in (1, 2, 3))
BASE = bytes(32)
PLACE = Checkpoint(90, C, 70)


def test_what_was_let_go_of_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "watch" / "past.sqlite"
    past = PrunedRounds.open(path, "me")
    assert past.place is None
    past.let_go([FinishedRound(4, BASE, 10, 12, (A, B))], PLACE)
    past.close()
    past = PrunedRounds.open(path, "me")
    assert past.place == PLACE
    assert 4 in past
    assert 5 not in past
    assert past.blocks(4) == (10, 12)
    assert past.first(B) == CommitmentRef(4, 1, BASE)
    assert past.first(C) is None
    past.forget()
    assert past.place is None
    assert 4 not in past
    assert past.first(B) is None
    past.close()


def test_the_earliest_round_of_an_update_is_its_first(tmp_path: Path) -> None:
    past = PrunedRounds.open(tmp_path / "past.sqlite", "me")
    past.let_go([FinishedRound(9, A, 50, 50, (B, C))], PLACE)
    past.let_go([FinishedRound(4, BASE, 10, 10, (A, B, B)), FinishedRound(6, A, 20, 20, (B,))], PLACE)
    assert past.first(B) == CommitmentRef(4, 1, BASE)
    assert past.first(C) == CommitmentRef(9, 1, A)
    past.close()


def test_a_write_that_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    past = PrunedRounds.open(tmp_path / "past.sqlite", "me")
    past.let_go([FinishedRound(4, BASE, 10, 10, (A,))], PLACE)
    pages = past._connection.execute("PRAGMA page_count").fetchone()[0]
    past._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = tuple(number.to_bytes(32, "big") for number in range(1_000))
    with pytest.raises(LocalError, match="full"):
        past.let_go([FinishedRound(5, BASE, 11, 11, many)], Checkpoint(99, A, 95))
    assert past.place == PLACE
    assert 5 not in past
    assert past.first(many[0]) is None
    past.close()


def test_a_file_that_is_damaged_or_of_others_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"no database" * 1_000)
    PrunedRounds.open(tmp_path / "other", "other").close()
    PrunedRounds.open(tmp_path / "later", "me").close()
    with sqlite3.connect(tmp_path / "later") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    (tmp_path / "file").write_text("")
    for name, why in {
        "damaged": "not a database",
        "other": "it is of other",
        "later": "another release",
        "file/in": "File exists",
    }.items():
        with pytest.raises(LocalError, match=why) as caught:
            PrunedRounds.open(tmp_path / name, "me")
        assert caught.value.code == "watch-state"
        assert "reads the chain again" in caught.value.remedy
