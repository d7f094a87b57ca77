# SPDX-License-Identifier: Apache-2.0
"""``tools/line_budget.py`` counts code, and refuses a package that has more of it than its budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import line_budget

SOURCE = '''# a comment
"""A docstring
of two lines."""

import os  # with a comment


def join(
    first: str,
) -> str:
    """Return the path."""
    text = """two
lines"""
    return os.path.join(first, text)
'''


def test_blank_lines_comments_and_docstrings_are_not_code() -> None:
    assert line_budget.code_lines(SOURCE) == 7


def test_a_file_counts_to_its_longest_package() -> None:
    counts = line_budget.count(["tools", "tools/cases"])
    assert counts["tools/cases"] == sum(
        line_budget.code_lines(path.read_text(encoding="utf-8"))
        for path in (line_budget.ROOT / "tools" / "cases").glob("*.py")
    )
    assert counts["tools"] > 0


def test_a_package_beyond_its_budget_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = tmp_path / "line_budget.json"
    counts = line_budget.count(["tools", "tools/cases"])
    budget.write_text(json.dumps({"tools": counts["tools"] + 10, "tools/cases": counts["tools/cases"] - 1}))
    monkeypatch.setattr(line_budget, "BUDGET", budget)
    monkeypatch.setattr(line_budget, "SHOWN", "line_budget.json")
    monkeypatch.setattr("sys.argv", ["line_budget.py"])
    assert line_budget.main() == 1
    error = capsys.readouterr().err
    assert error.startswith("tools/cases has ")
    assert "1 more than its budget" in error
    monkeypatch.setattr("sys.argv", ["line_budget.py", "--write"])
    assert line_budget.main() == 1
    assert json.loads(budget.read_text())["tools"] == counts["tools"]
