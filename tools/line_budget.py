# SPDX-License-Identifier: Apache-2.0
"""Fail if a package has more lines of code than its budget in ``tools/line_budget.json``.

Lines of code are those with a token that is neither a comment nor part of a docstring. The JSON has the packages in
their order and their budgets. A change that needs more raises the budget in the same commit, and its message names what
it removes for it. ``--write`` lowers each budget to what the package has now; it raises none. What is below ``lab/`` is
the laboratory; the rest is the product.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHOWN = "tools/line_budget.json"
BUDGET = ROOT / SHOWN
_SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Return the lines of Python that hold code: no blank line, no comment, no docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def count(packages: list[str]) -> dict[str, int]:
    """Return the lines of code of each package, a folder or a module; a file counts to its longest match.

    What programs write stands in folders named `generated` and does not count.
    """
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.py"]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    counts = dict.fromkeys(packages, 0)
    for name in filter(None, found.stdout.split("\0")):
        owners = [package for package in packages if name == package or name.startswith(f"{package}/")]
        if owners and "/generated/" not in name and (ROOT / name).exists():
            counts[max(owners, key=len)] += code_lines((ROOT / name).read_text(encoding="utf-8"))
    return counts


def main() -> int:
    """Check the budgets, or lower them; the exit status is 1 if a package exceeds its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="lower each budget to what the package has now")
    parser.add_argument("--table", action="store_true", help="print all packages")
    options = parser.parse_args()
    budgets: dict[str, int] = json.loads(BUDGET.read_text(encoding="utf-8"))
    counts = count(list(budgets))
    if options.write:
        lowered = {package: min(budget, counts[package]) for package, budget in budgets.items()}
        BUDGET.write_text(json.dumps(lowered, indent=2) + "\n", encoding="utf-8")
    if options.table:
        for package in budgets:
            print(f"{package:28} {counts[package]:7,} of {budgets[package]:7,}")
        for name, laboratory in (("product", False), ("laboratory", True)):
            ours = [package for package in budgets if package.startswith("lab/") is laboratory]
            has, may = (sum(numbers[package] for package in ours) for numbers in (counts, budgets))
            print(f"{name:28} {has:7,} of {may:7,}")
    over = [package for package in budgets if counts[package] > budgets[package]]
    for package in over:
        print(
            f"{package} has {counts[package]:,} lines of code, {counts[package] - budgets[package]:,} more than its "
            f"budget. Remove what it no longer needs, or raise the budget in {SHOWN} and say in the "
            "commit what is removed for it.",
            file=sys.stderr,
        )
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
