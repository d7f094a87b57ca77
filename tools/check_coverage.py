# SPDX-License-Identifier: Apache-2.0
"""Fail unless the contracts' tests run every line and take every branch of ``contracts/src``.

Runs ``forge coverage`` (or reads an lcov file given as argument), prints a table, and names each line and branch that
no test reached.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
REPORT = CONTRACTS / "lcov.info"


@dataclass
class FileCoverage:
    """What the tests reached of one source file."""

    lines: dict[int, int] = field(default_factory=dict)
    """Hits by line number."""
    branches: dict[tuple[int, str], int] = field(default_factory=dict)
    """Hits by line number and the branch's own name."""

    def missed(self) -> list[str]:
        """Return a description of each line and branch without a hit."""
        lines = [f"line {number}" for number, hits in sorted(self.lines.items()) if hits == 0]
        branches = [f"branch at line {key[0]}" for key, hits in sorted(self.branches.items()) if hits == 0]
        return lines + branches


def parse(report: str) -> dict[str, FileCoverage]:
    """Read an lcov report; return what it says of each file under ``src/``."""
    files: dict[str, FileCoverage] = {}
    current = FileCoverage()
    for row in report.splitlines():
        key, _, value = row.partition(":")
        if key == "SF":
            current = FileCoverage()
            if value.startswith("src/"):
                files[value] = current
        elif key == "DA":
            line, hits = value.split(",")[:2]
            current.lines[int(line)] = int(hits)
        elif key == "BRDA":
            line, block, branch, hits = value.split(",")
            current.branches[int(line), f"{block}.{branch}"] = 0 if hits == "-" else int(hits)
    return files


def measure() -> None:
    """Run the unit and fuzz tests with ``forge coverage``, which writes the report.

    Gas tests and the size limit have no meaning without the optimizer, which coverage turns off.
    """
    forge = next((ROOT / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge"))
    subprocess.run(
        [
            str(forge),
            "coverage",
            "--report=lcov",
            f"--report-file={REPORT}",
            "--no-match-coverage=(test|node_modules)",
            "--no-match-path=test/{gas,invariant}/*",
            "--no-match-test=fitsTheSizeLimit|fitTheSizeLimit",
        ],
        cwd=CONTRACTS,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def main(arguments: list[str] | None = None) -> int:
    """Check the coverage; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", nargs="?", type=Path, help="an lcov file; without it, one is made")
    options = parser.parse_args(arguments)
    if options.report is None:
        measure()
    files = parse((options.report or REPORT).read_text(encoding="utf-8"))
    if not files:
        print("The report covers no file under src/: nothing was measured.", file=sys.stderr)
        return 1
    complete = True
    for name, coverage in sorted(files.items()):
        missed = coverage.missed()
        complete = complete and not missed
        print(f"{name}: {len(coverage.lines)} lines, {len(coverage.branches)} branches, {len(missed)} missed")
        for what in missed:
            print(f"  no test reaches {what}", file=sys.stderr)
    if not complete:
        print("Write a test for each, or remove the code that no test can reach.", file=sys.stderr)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
