# SPDX-License-Identifier: Apache-2.0
"""Running `folkmoot` commands in processes of their own. Knows no command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from folkmoot.errors import LocalError


def folkmoot_command(*words: str | Path) -> list[str]:
    """Return the command line of a `folkmoot` command for this interpreter. It uses no federation of this user."""
    return [sys.executable, "-m", "folkmoot", "--federation", "none", *map(str, words)]


def command_name() -> str:
    """Return the command as a person in this folder types it."""
    name = "folkmoot.exe" if os.name == "nt" else "folkmoot"
    if any(Path(folder, name).exists() for folder in os.environ.get("PATH", "").split(os.pathsep)):
        return "folkmoot"
    beside = Path(sys.executable).with_name(name)
    if not beside.exists():
        return "python -m folkmoot"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def run_folkmoot(words: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a `folkmoot` command with ``--json`` and return what it printed.

    Args:
        words: The command's words, without `folkmoot`.
        environment: Variables to add to those of this process.

    Raises:
        LocalError: it failed; message, remedy and code are its own.
    """
    done = subprocess.run(
        folkmoot_command(*words, "--json"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode != 0:
        raise _complaint(words, done)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _complaint(words: Sequence[str | Path], done: subprocess.CompletedProcess[str]) -> LocalError:
    details = {"command": [str(word) for word in words]}
    try:
        error = json.loads(done.stdout)["error"]
        message, remedy, code = str(error["message"]), str(error["remedy"]), str(error["code"])
    except (ValueError, KeyError, TypeError):
        text = (done.stderr or done.stdout).strip() or f"It ended with status {done.returncode}."
        return LocalError(
            f"folkmoot {words[0]} failed: {text}",
            remedy="Run that command by itself to see more.",
            code="command-failed",
            details=details,
        )
    return LocalError(message, remedy=remedy, code=code, details=details)
