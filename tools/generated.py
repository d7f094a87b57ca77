# SPDX-License-Identifier: Apache-2.0
"""The command line of the programs that write one file: write it, or check that it is up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(path: Path, make: Callable[[], str], program: str, arguments: Sequence[str] | None = None) -> int:
    """Write the file, or compare it with ``--check``.

    Args:
        path: The file.
        make: Returns the text that the file should have.
        program: ``__file__`` of the program that writes it.
        arguments: The command line; None takes that of the process.

    Returns:
        The exit status: 1 if the file differs.
    """
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    parser = argparse.ArgumentParser(description=f"Write {name}, or check it.")
    parser.add_argument("--check", action="store_true", help="fail if the file differs, and write nothing")
    options = parser.parse_args(arguments)
    wanted = make()
    if not options.check:
        path.write_text(wanted, encoding="utf-8")
        print(f"Wrote {name}.")
    elif not path.is_file() or path.read_text(encoding="utf-8") != wanted:
        command = f"python {Path(program).resolve().relative_to(ROOT)}"
        print(f"{name} is out of date. Run `{command}` and commit the file.", file=sys.stderr)
        return 1
    return 0
