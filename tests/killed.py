# SPDX-License-Identifier: Apache-2.0
"""Commands that are killed at a fault point, in a process of their own, and called again as a user would."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from folkmoot.chain.transactions import confirmations
from folkmoot.chain.transactions.confirmations import await_receipts
from folkmoot.cli.main import run
from folkmoot.devnet.anvil import Anvil
from folkmoot.runtime.commands import folkmoot_command
from folkmoot.runtime.fault_points import VARIABLE


@contextmanager
def blocks(anvil: Anvil) -> Iterator[None]:
    """Let a chain make a block a second, instead of one for each transaction, while the block of code runs."""
    anvil.call("evm_setIntervalMining", 1)
    try:
        yield
    finally:
        anvil.call("evm_setIntervalMining", 0)
        anvil.call("evm_setAutomine", True)


@dataclass
class Mortal:
    """Runs commands with --json in an environment, and kills them there where a test says."""

    home: Path
    """Folder for marks of deaths; this user's data is in it as well."""
    capsys: pytest.CaptureFixture[str]
    """Reads what a command prints that runs in this process."""
    monkeypatch: pytest.MonkeyPatch
    """Sets the environment."""
    told: str = field(default="", init=False)
    """What the last command that ended said on standard error, with --json nothing."""

    def __post_init__(self) -> None:
        self._deaths = itertools.count(1)
        self.set({"XDG_DATA_HOME": str(self.home / "data")})

    def set(self, variables: Mapping[str, str]) -> None:
        """Set variables for all commands."""
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def mine_once_awaited(self, anvil: Anvil) -> None:
        """Make a block soon after the next command has begun to wait for what an interrupted one sent."""

        def awaited(*arguments: Any, **options: Any) -> Any:
            threading.Timer(0.3, anvil.call, ("evm_mine",)).start()
            return await_receipts(*arguments, **options)

        self.monkeypatch.setattr(confirmations, "await_receipts", awaited)

    def kill(self, point: str, *words: str | Path) -> str:
        """Run a command until it kills itself at a point; return what it had printed on standard output."""
        mark = self.home / f"death-{next(self._deaths)}"
        done = subprocess.run(
            folkmoot_command(*words, "--json"),
            env={**os.environ, VARIABLE: f"{point}@{mark}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, f"it did not reach {point}: {done.stdout} {done.stderr}"
        return done.stdout

    def call(self, *words: str | Path, fails: int = 0) -> dict[str, Any]:
        """Run a command to its end, in this process; return what it printed."""
        status = run([*map(str, words), "--json"])
        printed = self.capsys.readouterr()
        self.told = printed.err
        assert status == fails, printed.out + printed.err
        document: dict[str, Any] = json.loads(printed.out)
        return document
