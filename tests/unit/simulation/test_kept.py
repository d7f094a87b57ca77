# SPDX-License-Identifier: Apache-2.0
"""Results of a long series survive an interrupted run, and a file of something else is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from folkmoot_lab.simulation import kept

from folkmoot.errors import InputError

ONE, TWO = {"n": 1}, {"n": 2}


def number(value: Any) -> int:
    return int(value["n"])


def test_a_line_that_was_cut_off_is_left_out_and_removed_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    assert kept.read(path, number) == []
    kept.prepare(path)
    kept.add(path, ONE)
    kept.add(path, TWO)
    whole = path.read_text()
    for end in range(len(whole) // 2 + 1, len(whole) - 1):
        path.write_text(whole[:end])
        assert kept.read(path, number) == [1]
        kept.prepare(path)
        kept.add(path, TWO)
        assert path.read_text() == whole
    assert kept.read(path, number) == [1, 2]


@pytest.mark.parametrize("bad", ["nonsense", "{}", "[]", '{"n":"x"}'])
def test_a_damaged_line_before_the_last_is_refused(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f'{bad}\n{{"n":2}}\n')
    with pytest.raises(InputError, match="Line 1 of") as caught:
        kept.read(path, number)
    assert caught.value.code == "not-results"
    path.write_text(f'{{"n":2}}\n{bad}\n')
    assert kept.read(path, number) == [2]


def test_a_file_can_be_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    for values in ([ONE, TWO], [TWO], []):
        kept.write(path, values)
        assert kept.read(path, number) == [value["n"] for value in values]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "attempt", [kept.prepare, partial(kept.add, value=ONE), partial(kept.write, values=[])]
)
def test_a_file_that_can_not_be_written_is_named(tmp_path: Path, attempt: Callable[[Path], None]) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "r.jsonl"
    with pytest.raises(InputError, match="can't be written") as caught:
        attempt(path)
    assert str(path) in caught.value.message
