# SPDX-License-Identifier: Apache-2.0
"""The checker of words and lines: what it finds, what it leaves alone, and that wrapping changes no meaning."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import check_words

LONG = "word " * 30


def found(text: str, markdown: bool = True) -> list[int]:
    return [line for line, _ in check_words.check(text, markdown)]


def test_a_replaced_word_is_found_in_prose_with_its_line() -> None:
    assert found("# Title\n\nOne line.\nThe Courier of it.\n") == [4]
    assert found("An update\nthat is none, and an update that\nis none.\n") == [1, 2]
    message = check_words.check("A courier.\n", True)[0][1]
    assert message == "'courier' was replaced: write 'relay'"


@pytest.mark.parametrize(
    "text",
    [
        "`courier` and [a link](docs/courier.md)\n",
        "```\ncourier\n```\n",
        "    courier\n",
        "couriers-office\n",
    ],
)
def test_code_links_and_other_words_are_left_alone(text: str) -> None:
    assert found(text) == []


def test_docstrings_and_comments_are_read_and_strings_are_not() -> None:
    source = '"""Of a module.\n\nThe courier."""\n\ncourier = "courier"  # a courier\n# `courier`\n'
    assert found(source, markdown=False) == [3, 5]


@pytest.mark.parametrize(
    "source",
    [
        "told = 1\n",
        "class A:\n    found: int\n",
        "def f(here: int) -> None: ...\n",
        "def _said() -> None: ...\n",
        "self._told = 1\n",
        "try:\n    pass\nexcept OSError as found:\n    pass\n",
        "sizes = [1 for each in range(2)]\n",
        "from a import repair as run\n",
        "import a.b as c\n",
    ],
)
def test_names_that_say_nothing_and_aliases_are_refused(source: str) -> None:
    assert len(found(source, markdown=False)) == 1
    assert check_words.check(source, markdown=False, names=False) == []


def test_plain_names_and_aliases_of_the_name_are_taken() -> None:
    source = "import numpy as np\nfrom a import audit as audit_federation\nx = record.told()\nf(found=1)\n"
    assert found(source, markdown=False) == []


@pytest.mark.parametrize(
    "text",
    [
        f"# {LONG}\n",
        f"| a |\n|---|\n| {LONG} |\n",
        f"```\n{LONG}\n```\n",
        f"[a](https://example.org/{'x' * 130})\n",
        f"`{LONG}`\n",
    ],
    ids=["heading", "table", "code", "link", "code span"],
)
def test_what_can_not_be_wrapped_may_be_long(text: str) -> None:
    assert found(text) == []
    assert check_words.wrap(text) == text


def test_long_lines_of_paragraphs_are_found_and_wrapped() -> None:
    text = f"Short.\n\n- {LONG}\n  and more\n- short\n\n> {LONG}\n"
    assert found(text) == [3, 7]
    wrapped = check_words.wrap(text)
    assert found(wrapped) == []
    assert max(map(len, wrapped.splitlines())) <= check_words.WIDTH
    assert wrapped.replace("\n> ", "\n").split() == text.replace("\n> ", "\n").split()
    assert wrapped.startswith("Short.\n\n- word word")


def test_no_wrapped_line_begins_like_a_list_or_a_command() -> None:
    for filler in range(100, 125):
        text = f"{'x' * filler} 12. and - so {'y' * 50} folkmoot up, then {'z' * 60} # no heading\n"
        wrapped = check_words.wrap(text)
        assert not any(line.startswith(("12.", "-", "#", "folkmoot")) for line in wrapped.splitlines()[1:])
        assert wrapped.split() == text.split()


def test_hard_line_breaks_stay() -> None:
    text = f"{LONG.strip()}  \nnext\n"
    assert check_words.wrap(text) == text


def test_the_program_names_file_line_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"A courier.\n\n{LONG}\n")
    monkeypatch.setattr(sys, "argv", ["check_words.py", str(page)])
    assert check_words.main() == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed[0] == f"{page}:1: 'courier' was replaced: write 'relay'"
    assert printed[1].startswith(f"{page}:3: over 120 characters. Remedy: ")
    monkeypatch.setattr(sys, "argv", ["check_words.py", "--wrap", str(page)])
    assert check_words.main() == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    page.write_text(page.read_text().replace("courier", "relay"))
    assert check_words.main() == 0
    assert capsys.readouterr().err == ""
