# SPDX-License-Identifier: Apache-2.0
"""Run `pip install` and print a line on its progress every few seconds; at a failure, the end of its output.

`make install` uses it. Needs only the standard library. Lines have no control characters, so that a log keeps them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

EVERY = 4.0
"""Seconds between two lines."""

LAST = 15
"""Lines of pip's output that a failure shows."""

_STEP = re.compile(
    r"\s*(?:(Collecting) ([\w.-]+)|(Downloading) .*\((.+B)\)|(Installing collected packages|Building).*)"
)

_CAUSES = (
    (
        "HASHES",
        "A file differs from its hash in deploy/lock. Don't use that index or proxy; tell the maintainers.",
    ),
    ("No space left", "Free some space on the disk"),
    ("Permission denied", "Make the folder .venv writable, or remove it"),
    (
        "No matching distribution",
        "Check that the package index (PIP_INDEX_URL) has this package for this Python",
    ),
)
"""Remedies by a part of pip's output, the most likely cause first."""

_NETWORK = "Check the network, and the proxy or the package index if you use one (PIP_PROXY, PIP_INDEX_URL)"


def shown(command: Sequence[str], total: int, log: Path, every: float = EVERY) -> int:
    """Run a pip command, print its progress, and return its exit status.

    Args:
        command: The command.
        total: Number of packages, if it is known; otherwise 0.
        log: File for all of its output.
        every: Seconds between two lines.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        lines: Queue[str | None] = Queue()

        def listen() -> None:
            for line in process.stdout or ():
                lines.put(line)
            lines.put(None)

        Thread(target=listen, daemon=True).start()
        began = told = time.monotonic()
        output: list[str] = []
        packages, doing = 0, "starting pip"
        while True:
            try:
                line = lines.get(timeout=max(0.0, told + every - time.monotonic()))
            except Empty:
                line = ""
            if line is None:
                break
            if line:
                output.append(line)
            if found := _STEP.match(line):
                if found[1]:
                    packages += 1
                    doing = f"package {packages}{f' of {total}' if total >= packages else ''}: {found[2]}"
                elif found[3]:
                    doing += f", {found[4]}"
                else:
                    doing = f"all is here, and pip installs it: {packages or 1} package{'s' if packages > 1 else ''}"
            if time.monotonic() >= told + every:
                told = time.monotonic()
                print(f"  {doing} ({told - began:.0f} s)", flush=True)
        status = process.wait()
    log.write_text("".join(output), encoding="utf-8")
    if status:
        _explain("".join(output), status, log)
    return status


def pins(words: Sequence[str]) -> int:
    """Return the number of packages that the requirement files of a command line pin."""
    files = [Path(word) for before, word in pairwise(words) if before == "--requirement"]
    return sum(
        len(re.findall(r"^[\w.-]+==", file.read_text(encoding="utf-8"), re.MULTILINE)) for file in files
    )


def _explain(output: str, status: int, log: Path) -> None:
    end = "".join(f"    {line}\n" for line in output.splitlines()[-LAST:])
    remedy = next((words for part, words in _CAUSES if part in output), _NETWORK)
    print(
        f"pip failed with status {status}. The end of its output:\n{end}All of it is in {log}.\n"
        f"Remedy: {remedy.rstrip('.')}. Then run the same command again. Packages that are here are not fetched twice.",
        file=sys.stderr,
    )


def main(words: Sequence[str]) -> int:
    """Install what the words say; return pip's exit status."""
    options = ("--disable-pip-version-check", "--no-input", "--no-color", "--progress-bar=off")
    command = [sys.executable, "-m", "pip", "install", *options, *words]
    try:
        return shown(command, pins(words), Path(sys.prefix) / "install.log")
    except KeyboardInterrupt:
        print("interrupted. To go on, run the same command again.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
