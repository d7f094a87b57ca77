# SPDX-License-Identifier: Apache-2.0
"""Run a set of tests with pytest. Those that fail run once more, alone, after the others; only a second failure counts.

    python tools/run_tests.py NAME [pytest's arguments ...]

The last lines list the tests that needed the second run, and each test that failed with its assertion and the command
that runs it alone. The report of the first run stays in `.pytest_cache/NAME/first.xml`, with the output of each
failure. More than 20 failures are no accident: then there is no second run. A set that passes is noted in
`.pytest_cache/passed`, with its commit.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

MOST = 20
"""Failures of a first run after which there is a second one."""

LINES = 24
"""Lines of a failure that are shown."""

SOME_FAILED = 1
"""pytest's exit status if tests ran and some failed."""


def pytest(cache: Path, report: Path, arguments: Iterable[str]) -> int:
    """Run pytest and return its exit status."""
    options = ("-o", f"cache_dir={cache}", f"--junitxml={report}")
    return subprocess.run([sys.executable, "-m", "pytest", *arguments, *options], check=False).returncode


def failed(cache: Path) -> list[str]:
    """Return the tests that failed when they last ran, as pytest names them."""
    try:
        return sorted(json.loads((cache / "v/cache/lastfailed").read_text()))
    except FileNotFoundError:
        return []


def assertions(report: Path) -> list[str]:
    """Return the end of each failure in a report, without what is about our own lines above it."""
    ends = []
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest's own file
        for fault in (*case.iter("failure"), *case.iter("error")):
            text = (fault.text or fault.get("message") or "").splitlines()
            ends.append("\n".join((f"{case.get('classname')}.{case.get('name')}", *text[-LINES:])))
    return ends


def note(cache: Path, report: Path, arguments: Sequence[str], seconds: float) -> None:
    """Write down which set passed at which commit, with its options, its tests and its seconds."""
    git = ("git", "describe", "--always", "--abbrev=40", "--dirty")
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "no commit"
    tests = sum(int(suite.get("tests", 0)) for suite in ElementTree.parse(report).iter("testsuite"))  # noqa: S314 - as above
    line = f"{time.strftime('%FT%T%z')} {commit} {cache.name} {' '.join(arguments)}: {tests} tests, {seconds:.0f} s\n"
    with (cache.parent / "passed").open("a") as file:
        file.write(line)


def main(arguments: Sequence[str]) -> int:
    """Run the tests, and those that failed once more."""
    name, *rest = arguments
    signal.signal(signal.SIGINT, lambda *_: None)  # pytest gets it too, and ends what the tests have started
    cache, began = Path(".pytest_cache", name).absolute(), time.monotonic()
    first, second = cache / "first.xml", cache / "second.xml"
    status, report = pytest(cache, first, rest), first
    again = failed(cache)
    if status == SOME_FAILED and 0 < len(again) <= MOST:
        print(f"\n{len(again)} tests failed. They run once more, one after the other.", flush=True)
        append = ("--cov-append",) if "--cov" in rest else ()
        status, report = pytest(cache, second, (*rest, "-n", "0", "--lf", "--lfnf=none", *append)), second
        if passed := sorted(set(again) - set(failed(cache))):
            print(f"\nFailed once and passed when they ran alone (the first failures are in {first}):")
            print("\n".join(f"  {test}" for test in passed))
    if status == SOME_FAILED:
        for text in assertions(report):
            print(f"\n{text}")
        print("\nFailed:")
        print("\n".join(f"  {sys.executable} -m pytest '{test}'" for test in failed(cache)))
    seconds = time.monotonic() - began
    if status == 0:
        note(cache, first, rest, seconds)
    print(f"The set `{name}` took {seconds:.0f} seconds.", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
