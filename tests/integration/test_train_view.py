# SPDX-License-Identifier: Apache-2.0
"""`folkmoot train` on a terminal, into a file and as JSON, with a real coordinator; the test is its contributors."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from folkmoot.devnet.anvil import Anvil
from tests import factories
from tests.integration.coordinator_world import Running, federation, open_round, report, running, train, until

ROUNDS = 2
NAMES = ("ada", "ben")


@dataclass
class Screen:
    """A terminal of 30 lines of 110 columns; what is written to it is kept."""

    written: str = ""
    primary: int = -1
    secondary: int = -1
    _reader: threading.Thread | None = field(default=None)

    def __enter__(self) -> Screen:
        self.primary, self.secondary = pty.openpty()
        fcntl.ioctl(self.secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 110, 0, 0))
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.secondary)
        assert self._reader is not None
        self._reader.join()
        os.close(self.primary)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # Linux says EIO at the end
            while data := os.read(self.primary, 1 << 16):
                self.written += data.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def here(anvil_process: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    snapshot = anvil_process.snapshot()
    world = federation(anvil_process)
    with running(tmp_path_factory.mktemp("home"), world) as found:
        yield found
    world.chain.close()
    anvil_process.revert(snapshot)


def command(here: Running, *words: str) -> list[str]:
    home: Path = here.coordinator.settings.home
    return [
        *(sys.executable, "-m", "folkmoot", "train", "--rounds", str(ROUNDS), "--expect", str(len(NAMES))),
        *("--coordinator", here.api.url, "--keystore", str(home / "key.json")),
        *("--password-file", str(home / "password"), *words),
    ]


def contribute(here: Running, first: int, between: Callable[[], object] = lambda: None) -> None:
    """Train in each round of the run, and report metrics of each as the relay would.

    Args:
        here: The coordinator.
        first: The run's first round.
        between: Called once one of a round's updates is there, and the others are not.
    """
    for number in range(first, first + ROUNDS):
        _, header, state = open_round(here.api, number)
        for name in NAMES:
            signed = train(here.world, name, header, state)
            here.api.submit_update(number, signed.wire, signed.data)
            if name == NAMES[0]:
                between()
        until(lambda number=number: here.api.get(f"/v1/rounds/{number}")["phase"] in ("anchored", "final"))
        training = {"train": {"loss": 2.5 / number}}
        report(here, number, training)
        report(here, number, {**training, "server": {"loss": 1.5 / number, "accuracy": 0.25}})


def next_round(here: Running) -> int:
    newest = here.api.get("/v1/rounds", limit=1)["items"]
    return 1 + (newest[0]["round"] if newest else 0)


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return {**kept, "XDG_DATA_HOME": str(tmp_path), **more}


def test_a_terminal_shows_rounds_and_a_line_a_node(here: Running, tmp_path: Path) -> None:
    first = next_round(here)
    with Screen() as screen:
        process = subprocess.Popen(
            command(here),
            stdin=screen.secondary,
            stdout=screen.secondary,
            stderr=screen.secondary,
            env=environment(tmp_path, TERM="xterm-256color"),
        )
        try:
            # The picture is drawn some times a second: what is looked for has to last until it is there.
            contribute(here, first, lambda: until(lambda: answered(screen), what="the answer in the picture"))
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
            process.wait()
    written = screen.written
    assert "\x1b[?25l" in written, "it was drawn"
    assert written.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in written.rsplit("\x1b[?25l", 1)[-1], (
        "the cursor is there again"
    )
    for name in NAMES:
        address = factories.account(name).address
        assert re.search(rf"{address[:10]}… +weighed +100% +accepted", plain(written)), "a line a node"
    last = plain(written.rsplit("\x1b[2K", 1)[-1]) if "\x1b[2K" in written else plain(written)
    assert f"{ROUNDS} of {ROUNDS} rounds" in last
    assert re.search(rf"{first} +{1.5 / first:.3f} +25.0% +2 of 2", plain(written)), (
        "the rounds with their metrics"
    )
    assert f"{ROUNDS} of {ROUNDS} rounds are done." in plain(written)


def answered(screen: Screen) -> bool:
    """Whether an answer was drawn, and how long the round takes more of them."""
    drawn = plain(screen.written)
    return "answered" in drawn and "takes updates for" in drawn


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


@pytest.mark.long
def test_a_file_gets_plain_lines(here: Running, tmp_path: Path) -> None:
    first = next_round(here)
    process = subprocess.Popen(
        command(here), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(tmp_path)
    )
    try:
        contribute(here, first)
        said = process.communicate(timeout=60)[0].decode()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, said
    assert not [char for char in said if not char.isprintable() and char != "\n"], "no control codes"
    assert f"round {first}: open, nodes train from version" in said
    for number in range(first, first + ROUNDS):
        assert said.count(f"round {number}: training: loss {2.5 / number:.4g}\n") == 1, said
        assert len(re.findall(rf"^round {number}: .*loss", said, re.MULTILINE)) == 2, said
        assert f"round {number}: server's evaluation: loss {1.5 / number:.4g}, accuracy 0.25\n" in said
    last = first + ROUNDS - 1
    assert said.endswith(
        f"{ROUNDS} of {ROUNDS} rounds are done.\n"
        f"model  round {last}: loss {1.5 / last:.3f}, accuracy 25.0%\n"
        f"file   {here.api.url}/v1/models/{last}/download, or checked against the chain: folkmoot model {last} --to "
        f"model.safetensors\n"
        f"page   {here.api.url}\n"
        f"vote   folkmoot propose --version {last}\n"
    )


@pytest.mark.long
def test_programs_get_what_they_got(here: Running, tmp_path: Path) -> None:
    first = next_round(here)
    process = subprocess.Popen(command(here, "--json"), stdout=subprocess.PIPE, env=environment(tmp_path))
    try:
        contribute(here, first)
        said = process.communicate(timeout=60)[0].decode()
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in said.splitlines()]
    assert {"round-opened", "round-anchored", "round-reported", "run-done"} <= {
        line["event"] for line in lines
    }
    assert all("secondsLeft" not in line for line in lines), "an event is what the coordinator said"
    last = first + ROUNDS - 1
    assert (lines[-1]["completed"], lines[-1]["version"]) == (ROUNDS, last)
    assert lines[-1]["metrics"] == {
        "train/loss": 2.5 / last,
        "server/loss": 1.5 / last,
        "server/accuracy": 0.25,
    }
