# SPDX-License-Identifier: Apache-2.0
"""Put back each fault of `tests/mutants.toml` in a copy of the project, one at a time; its test must fail.

`make mutants ARGS="ID ..."` ends with 1 if a fault stays unnoticed; without ids all are tried. A fault is noticed if
its test fails in the copy with it and passes without it. Code that can't be imported fails no test.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from folkmoot.sandbox.trees import remove

ROOT = Path(__file__).parents[1]
TABLE = "tests/mutants.toml"
INSTALLED = (".venv", "bin", "node_modules")
"""Programs that `make install` brings, which a copy shares."""


@dataclass(frozen=True)
class Mutant:
    """A fault, and the test that notices it."""

    id: str
    mend: str
    """What the code does since the fault was mended, as a sentence."""
    file: str
    old: str
    """The mend, which occurs once in the file."""
    new: str
    """What stands in its place with the fault."""
    test: str


def mutants(root: Path = ROOT) -> list[Mutant]:
    """Return the faults of the table.

    Raises:
        TypeError: One lacks a field, or has another one.
    """
    return [Mutant(**one) for one in tomllib.loads((root / TABLE).read_text())["mutant"]]


def notices(mutant: Mutant, copy: Path) -> str:
    """Return why a fault stays unnoticed in a copy of the project, which is as it was afterwards; empty if it does not.

    Raises:
        ValueError: The file does not have the mend exactly once.
    """
    file = copy / mutant.file
    before = file.read_text()
    if before.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.id}: {mutant.file} has the mend {before.count(mutant.old)} times, not once"
        )
    file.write_text(before.replace(mutant.old, mutant.new))
    try:
        code, last = _test(mutant.test, copy)
    finally:
        file.write_text(before)
    if code != pytest.ExitCode.TESTS_FAILED:
        return f"the test passes: {last}" if code == pytest.ExitCode.OK else f"no test failed: {last}"
    code, last = _test(mutant.test, copy)
    return "" if code == pytest.ExitCode.OK else f"its test does not pass without the fault either: {last}"


def _test(test: str, copy: Path) -> tuple[int, str]:
    """Run a test in a copy; return pytest's exit code, and the last line of what it printed."""
    made = copy.parent / "made"
    options = ("-x", "-q", "-p", "no:cacheprovider", f"--basetemp={made}")
    command = [sys.executable, "-m", "pytest", *options, test]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    remove(made)  # A fault may leave a tree that Python can't remove.
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def main(names: list[str]) -> int:
    """Try some faults, or all; print one line for each."""
    chosen = [one for one in mutants() if not names or one.id in names]
    unknown = set(names) - {one.id for one in chosen}
    if unknown:
        print(f"{TABLE} has no {', '.join(sorted(unknown))}.", file=sys.stderr)
        return 1
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "folkmoot"
        command = ["git", "ls-files", "-z"]
        tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, tracked.stdout.split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        for name in INSTALLED:
            (copy / name).symlink_to(ROOT / name)
        for mutant in chosen:
            why = notices(mutant, copy)
            survivors += bool(why)
            print(f"{mutant.id}: {why or 'noticed'}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} faults are noticed.")
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
