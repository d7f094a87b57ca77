# SPDX-License-Identifier: Apache-2.0
"""Messages are sentences: they end, they say what to do next, and none runs into another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import folkmoot
from folkmoot import errors
from folkmoot.errors import FolkmootError, InputError, sentence
from server.api.codes import CODES

ROOT = Path(folkmoot.__file__).parent.parent
ENDS = (".", "!", "?", ":", "\n", "\N{HORIZONTAL ELLIPSIS}")
KINDS = {
    *(
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, FolkmootError)
    ),
    *("Problem", "RefusedError", "SignerError"),
}
SPOKEN = ("client/*.py", "folkmoot/tasks/*.py", "server/*.py", "folkmoot/cli/*.py", "folkmoot/flower/*.py")
"""What raises straight to somebody who started a command or a node; the exact library's errors are wrapped."""


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("It broke", "It broke."),
        ("It broke.", "It broke."),
        ("It broke..", "It broke."),
        ("It broke ...", "It broke ..."),
        ("It says: ", "It says:"),
        ("Run `it`", "Run `it`."),
        ("Run `it.`", "Run `it.`"),
        ("Did it?", "Did it?"),
        ("It broke (badly)", "It broke (badly)."),
        ("", ""),
        ("Its log ends with:\nno stop\n", "Its log ends with:\nno stop\n"),
    ],
)
def test_a_text_becomes_a_sentence(text: str, ended: str) -> None:
    assert sentence(text) == ended


def test_message_and_remedy_do_not_run_together() -> None:
    error = InputError("round 3 takes no commitments any more", remedy="The next round comes by itself")
    assert str(error) == "round 3 takes no commitments any more. The next round comes by itself."
    assert (error.message, error.remedy) == tuple(str(error).replace("more. The", "more.|The").split("|"))
    assert str(FolkmootError("Its log ends with:\nlast words\n", remedy="Read it.")) == (
        "Its log ends with:\nlast words\nRead it."
    )


def raised() -> Iterator[tuple[str, ast.Call]]:
    """Every call that makes an expected failure, and where it is."""
    for folder in ("folkmoot", "server", "client"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _name(node.func) in KINDS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _end(node: ast.expr | None) -> str | None:
    """The last characters of a text in the source; None if they are known only when it is raised."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[-1]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _parts(call: ast.Call) -> tuple[ast.expr | None, ast.expr | None]:
    """Message and remedy of a failure."""
    skipped = 2 if _name(call.func) == "Problem" else 0
    places = [*call.args[skipped:], None, None]
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    return named.get("message", places[0]), named.get("remedy", places[1] if skipped else None)


def test_every_message_ends_with_a_full_stop() -> None:
    found = list(raised())
    assert len(found) > 500
    bad = [
        f"{where} {end!r}"
        for where, call in found
        for part in _parts(call)
        if (end := _end(part)) is not None and not end.rstrip("\"'`)]").endswith(ENDS)
    ]
    assert bad == []


def test_every_message_to_people_has_a_remedy() -> None:
    spoken = {str(path.relative_to(ROOT)) for pattern in SPOKEN for path in ROOT.glob(pattern)}
    bad = [
        where
        for where, call in raised()
        if where.rpartition(":")[0] in spoken and _parts(call)[1] is None and _name(call.func) != "Problem"
    ]
    assert bad == []


def test_every_code_is_told_in_a_sentence() -> None:
    assert [code for code, (_, meaning) in CODES.items() if not meaning.endswith(".")] == []
