# SPDX-License-Identifier: Apache-2.0
"""The table of faults that were mended fits the code and the tests; `make mutants` tries them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tools.mutants import Mutant, mutants, notices

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", mutants(), ids=lambda one: one.id)
def test_each_mend_is_there_once_and_its_test_exists(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text().count(mutant.old) == 1
    file, _, name = mutant.test.partition("::")
    text = (ROOT / file).read_text()
    assert not name or re.search(rf"^def {name}\(", text, re.MULTILINE), mutant.test


def test_each_fault_has_a_name_of_its_own_and_a_sentence() -> None:
    table = mutants()
    assert max(Counter(one.id for one in table).values()) == 1
    assert all(one.mend.endswith(".") for one in table)


@pytest.mark.parametrize(
    ("new", "test", "why"),
    [
        ("return 2", "def test_it(): assert mended_code.mended() == 1", ""),
        ("return 2", "def test_it(): assert mended_code.mended() > 0", "the test passes: 1 passed"),
        ("return 2", "def test_other(): pass", "no test failed: "),
        (
            "return 2",
            "def test_it(): assert mended_code.mended() == 3",
            "its test does not pass without the fault either: ",
        ),
        ("return (", "def test_it(): pass", "no test failed: "),
    ],
)
def test_a_fault_is_noticed_by_a_test_that_fails(new: str, test: str, why: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "mended_code.py").write_text("def mended():\n    return 1\n")
    (copy / "test_it.py").write_text(f"import mended_code\n{test}\n")
    fault = Mutant("A", "It mends.", "mended_code.py", "return 1", new, "test_it.py::test_it")
    found = notices(fault, copy)
    assert found.startswith(why)
    assert bool(found) == bool(why)
    assert "return 1" in (copy / "mended_code.py").read_text()


def test_a_mend_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("")
    with pytest.raises(ValueError, match=r"code\.py has the mend 0 times, not once"):
        notices(Mutant("A", "It mends.", "code.py", "return 1", "", "test_it.py"), tmp_path)
