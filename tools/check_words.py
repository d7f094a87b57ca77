# SPDX-License-Identifier: Apache-2.0
"""Fail if a text uses a word that the project replaced, or a line of Markdown is too long.

Reads every Markdown file, the docstrings and comments of every Python file except tests, and the names of the product.
Code in Markdown is not read. A name is a parameter, a variable, a field, a function or a class, or what an import
renames. A line of Markdown may have 120 characters; tables, code, headings and lines that one link or one code span
fills may be longer. With ``--wrap``, wraps the paragraphs that have longer lines.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 120

REPLACED = {
    "away, behind or lying": "unavailable, lagging or Byzantine",
    "ballot": "weighting state (of a rule); vote (in governance)",
    "being awake": "liveness",
    "bereft": "data loss",
    "company": "core similarity",
    "courier": "relay",
    "essence": "normalized response",
    "full vote": "multiplier of 1",
    "go along with": "have a positive cosine with",
    "goes along with": "has a positive cosine with",
    "hasten": "time travel",
    "hastens": "time travel",
    "honest cloud": "honest updates",
    "least vote": "multiplier floor",
    "lies as deep as": "has N confirmations",
    "model's path": "trajectory",
    "mutes": "gives little weight to",
    "point away from": "have a negative cosine with",
    "point back": "have a negative cosine with the trajectory",
    "points away from": "has a negative cosine with",
    "points back": "has a negative cosine with the trajectory",
    "recourse": "escalation",
    "shares of a vote": "shares of the multipliers",
    "shelf": "files of a round",
    "shelves": "files of a round",
    "starves": "excludes",
    "update that is none": "invalid update",
    "updates that are none": "invalid updates",
}
"""Private words, and what to write in their place (the glossary is in CONTRIBUTING.md)."""

NAMES = {
    "each": "what there is one of: per_account",
    "found": "what it is: the round, the path, `actual` beside `expected`",
    "here": "where: the folder, the module",
    "said": "what it is: text, answer, reply",
    "shelf": "files of a round",
    "told": "what it is: text, shown, reported",
}
"""Names that do not say what a thing is, with or without a leading underscore, and what to write in their place."""

PRODUCT = ("client", "folkmoot", "server")
"""Folders whose names are checked."""

ALIASES = {
    "Bar",  # rich's Progress, beside our own
    "NoConnectionFree",  # SQLAlchemy's TimeoutError, beside Python's
    "Past",  # a round of the chain, beside a row of the database
    "concatenated",  # itertools.chain, beside the chain
    "np",
    "sa",
}
"""What an import may be renamed to. Any other alias has the imported name in it, or is a part of the name."""

_MARKDOWN = MarkdownIt("commonmark").enable("table")
_LEAD = re.compile(r"\s*(?:>\s?|(?:[-*+]|\d+[.)])\s+)*")
_ATOM = re.compile(r"(?:`+[^`]*`+|!?\[[^\]]*\]\([^)]*\)|[^\s`\[]|[`\[])+")
_SPECIAL = re.compile(r"(?:[-+*#>=|]|\d+[.)]|folkmoot\b|make\b)")
"""What must not begin a line that was wrapped: it would become a list, a heading, or look like a command."""


def main() -> int:
    """Check, or wrap; the exit status is 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--wrap", action="store_true", help="wrap the paragraphs of Markdown with lines too long"
    )
    parser.add_argument("files", nargs="*", type=Path, help="files to look at (default: all that git knows)")
    options = parser.parse_args()
    files = [path.resolve() for path in options.files] or _tracked("*.md", "*.py")
    wrong = []
    for path in files:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md" and options.wrap:
            wrapped = wrap(text)
            if wrapped != text:
                path.write_text(wrapped, encoding="utf-8")
                text = wrapped
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        found = check(text, path.suffix == ".md", name.parts[0] in PRODUCT)
        wrong += [f"{name}:{line}: {what}" for line, what in found]
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


def check(text: str, markdown: bool, names: bool = True) -> list[tuple[int, str]]:
    """Return what is wrong with a text: line numbers from 1, and descriptions.

    Args:
        text: Markdown, or a Python file.
        markdown: Which of the two.
        names: Whether to check the names that a Python file gives.
    """
    found = []
    for first, prose in _prose_of_markdown(text) if markdown else _prose_of_python(text):
        for word, better in REPLACED.items():
            pattern = r"(?<![\w-])" + r"\s+".join(map(re.escape, word.split())) + r"(?![\w-])"
            for match in re.finditer(pattern, prose, re.IGNORECASE):
                line = first + prose.count("\n", 0, match.start())
                found.append((line, f"{word!r} was replaced: write {better!r}"))
    if not markdown and names:
        found += _names(ast.parse(text))
    if markdown:
        remedy = "Remedy: python tools/check_words.py --wrap"
        found += [(line, f"over {WIDTH} characters. {remedy}") for line in _long_lines(text)]
    return sorted(found)


def wrap(text: str) -> str:
    """Return Markdown whose paragraphs have no long lines. What is rendered stays the same.

    Paragraphs without a long line, with a hard line break, and all that is no paragraph, stay as they are.
    """
    lines = text.split("\n")
    long = set(_long_lines(text))
    for start, end in reversed(_paragraphs(text)):
        if not any(number in long for number in range(start + 1, end + 1)):
            continue
        block = lines[start:end]
        if any(line.endswith(("  ", "\\")) for line in block[:-1]):
            continue
        lead = _lead(block[0])
        rest = re.sub(r"[^>]", " ", lead)
        content = " ".join([block[0][len(lead) :], *(line.lstrip(" >") for line in block[1:])])
        lines[start:end] = _filled(_joined(_ATOM.findall(content)), lead, rest)
    wrapped = "\n".join(lines)
    if _rendered(wrapped) != _rendered(text):
        raise AssertionError("wrapping would change what is rendered: wrap this file by hand")
    return wrapped


def _tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    # This file has the words in it, and the tests of it as well.
    skipped = ("tests/", "tools/check_words.py")
    return [ROOT / name for name in listed if not name.startswith(skipped) and (ROOT / name).is_file()]


def _prose_of_markdown(text: str) -> Iterator[tuple[int, str]]:
    """Return the number of the first line of each part, and its text without code."""
    for token in _MARKDOWN.parse(text):
        if token.type == "inline" and token.map is not None:
            # Blanked, not removed, so that the lines keep their numbers.
            blank = re.sub(r"`+[^`]*`+", lambda match: re.sub(r"[^\n]", "`", match[0]), token.content)
            yield token.map[0] + 1, re.sub(r"\]\([^)]*\)", "]", blank)


def _prose_of_python(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node.lineno, re.sub(r"`+[^`]*`+", "`", node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], re.sub(r"`+[^`]*`+", "`", token.string)


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return what is wrong with the names that a Python file gives, by line."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(attr=name, ctx=ast.Store())
                | ast.arg(arg=name)
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
            ):
                if better := NAMES.get(name.strip("_").lower()):
                    yield node.lineno, f"the name {name!r} does not say what it is: name {better}"
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                for alias in aliases:
                    if alias.asname and not _is_plain(alias.name, alias.asname):
                        yield node.lineno, f"{alias.name!r} was renamed to {alias.asname!r}: keep the name"


def _is_plain(name: str, alias: str) -> bool:
    own, short = name.rpartition(".")[2].strip("_").lower(), alias.strip("_").lower()
    return alias in ALIASES or own in short or short in own


def _paragraphs(text: str) -> list[tuple[int, int]]:
    """Return the lines of each paragraph: the first, from 0, and the one after the last."""
    tokens = _MARKDOWN.parse(text)
    return [(token.map[0], token.map[1]) for token in tokens if token.type == "paragraph_open" and token.map]


def _long_lines(text: str) -> list[int]:
    """Return the numbers, from 1, of the lines of paragraphs that are too long and can be wrapped."""
    lines = text.split("\n")
    found = []
    for start, end in _paragraphs(text):
        for number in range(start, end):
            line = lines[number]
            atoms = _ATOM.findall(line[len(_lead(line)) :])
            if len(line) > WIDTH and len(atoms) > 1:
                found.append(number + 1)
    return found


def _lead(line: str) -> str:
    match = _LEAD.match(line)
    return match[0] if match else ""


def _joined(atoms: list[str]) -> list[str]:
    """Return the atoms, each that must not begin a line joined to the one before it."""
    joined = atoms[:1]
    for atom in atoms[1:]:
        if _SPECIAL.match(atom):
            joined[-1] += f" {atom}"
        else:
            joined.append(atom)
    return joined


def _filled(atoms: list[str], lead: str, rest: str) -> list[str]:
    lines = [lead + atoms[0]]
    for atom in atoms[1:]:
        if len(lines[-1]) + 1 + len(atom) <= WIDTH:
            lines[-1] += f" {atom}"
        else:
            lines.append(rest + atom)
    return lines


def _rendered(text: str) -> str:
    return re.sub(r"\s+", " ", _MARKDOWN.render(text))


if __name__ == "__main__":
    sys.exit(main())
