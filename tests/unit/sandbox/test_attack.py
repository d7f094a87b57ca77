# SPDX-License-Identifier: Apache-2.0
"""What hostile training code gets in a sandbox: nothing. Without one it gets all of it, so these tests can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.sandbox import monitor
from folkmoot.sandbox.kernel import support
from folkmoot.sandbox.process import Sandboxed
from folkmoot.sandbox.rules import Rules
from tests import hostile
from tests.victims import HARMLESS, SECRET, Targets, refused_to_all, results, victims

pytestmark = pytest.mark.skipif(bool(support().missing), reason=support().missing or "there is a sandbox")

SCRIPT = Path(hostile.__file__)


@pytest.fixture
def targets(tmp_path: Path) -> Iterator[Targets]:
    with victims(tmp_path / "home") as fresh:
        yield fresh


def in_sandbox(*words: str, rules: Rules | None = None) -> tuple[int | None, str, str]:
    rules = rules or Rules()
    rules = Rules(**{**rules.__dict__, "readable": (str(SCRIPT),)})
    with Sandboxed([sys.executable, SCRIPT, *words], rules, {"PATH": os.defpath}) as program:
        return program.wait(90), program.output, program.monitor.reason


@pytest.mark.timeout(180)
def test_hostile_code_gets_nothing_in_a_sandbox_and_everything_without(
    targets: Targets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    sandboxed = tmp_path / "home" / "left-in-sandbox"
    found = {**targets(), "left": str(sandboxed)}
    allowed = ("127.0.0.1", found["allowed"])
    status, output, reason = in_sandbox("all", json.dumps(found), rules=Rules(hosts=(allowed,)))
    assert (status, reason) == (0, ""), output
    assert {name for name, worked in results(output).items() if worked} <= HARMLESS
    assert Path(found["key"]).read_text() == "secret"
    assert Path(found["key"]).stat().st_mode & 0o777 == 0o600

    found = targets()
    done = subprocess.run(
        [sys.executable, SCRIPT, "all", json.dumps(found)],
        env={"TOKEN": SECRET, "PATH": os.defpath, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {name for name, worked in results(done.stdout).items() if not worked} <= refused_to_all()
    end = time.monotonic() + 60
    while not Path(found["left"]).exists():
        assert time.monotonic() < end, "the program that was left behind did nothing"
        time.sleep(0.1)
    assert not sandboxed.exists()  # It began before the other one, so it would be there by now.


@pytest.mark.parametrize(
    ("what", "rules", "reason"),
    [
        ("memory", Rules(memory=200 << 20), "it used more than 0.2 GB of memory"),
        ("disk", Rules(disk=100 << 20), "it wrote more than 0.1 GB"),
    ],
)
def test_a_limit_ends_the_sandbox(what: str, rules: Rules, reason: str, tmp_path: Path) -> None:
    size = str(400 << 20)
    status, output, said = in_sandbox(what, size, rules=rules)
    assert (status, said) == (137, reason)
    assert "done" not in output
    done = subprocess.run(
        [sys.executable, SCRIPT, what, size],
        env={"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "done" in done.stdout


@pytest.mark.parametrize("call", [438, 100_000])
def test_an_allowed_address_and_socket_are_reached(
    call: int, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where pidfd_getfd is missing or refused, as in Docker's containers: then the socket is replaced."""
    monkeypatch.setattr(monitor, "_PIDFD_GETFD", call)
    found = targets()
    code = (
        "import socket\n"
        f"one = socket.create_connection(('127.0.0.1', {found['allowed']}), 5)\n"
        "assert one.gettimeout() == 5\n"
        f"other = socket.socket(socket.AF_UNIX); other.connect({found['unix']!r})\n"
        "print('reached')\n"
    )
    for rules, expected in (
        (Rules(hosts=(("localhost", found["allowed"]),), sockets=(found["unix"],)), 0),
        (Rules(hosts=(("localhost", found["allowed"]),)), 1),
    ):
        with Sandboxed([sys.executable, "-c", code], rules, {}) as program:
            assert program.wait(60) == expected, program.output
            assert ("reached" in program.output) is (expected == 0)


def test_its_folder_is_gone_and_its_output_and_status_are_kept() -> None:
    code = "import os, sys; open(os.path.join(os.environ['TMPDIR'], 'x'), 'w'); print('out'); sys.exit(7)"
    with Sandboxed([sys.executable, "-c", code], Rules(), {}) as program:
        assert program.wait(60) == 7
        assert (program.scratch / "x").exists()
    assert program.output == "out\n"
    assert not program.scratch.exists()
