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
from folkmoot.sandbox.calls import CALLS
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


def _sees_all() -> bool:
    status = Path("/proc/self/status")
    return not status.exists() or f"CapEff:\t{0:016x}" not in status.read_text()


MEMORY, DISK = "it used more than 0.2 GB of memory", "it wrote more than 0.1 GB"
REASONS = {
    "disk in files in memory": "it kept a removed file in its memory only, so nobody could measure that file",
    "folders": "it made more than 128 folders inside each other",
}


@pytest.mark.parametrize("what", hostile.LIMITS)
def test_a_limit_ends_the_sandbox(what: str, tmp_path: Path) -> None:
    size = str(400 << 20)
    status, output, said = in_sandbox(what, size, rules=Rules(memory=200 << 20, disk=100 << 20))
    assert said == REASONS.get(what, MEMORY if what.startswith("memory") else DISK)
    assert status == 137
    assert "done" not in output
    if what in ("memory", "disk"):
        done = subprocess.run(
            [sys.executable, SCRIPT, what, size],
            env={"TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "done" in done.stdout


SLOW_FORKS = """
import ctypes, os, sys, threading, time
libc, memory = ctypes.CDLL(None), bytearray(300 << 20)
memory[::4096] = bytes(len(memory) // 4096).replace(b"\\0", b"x")
barrier = threading.Barrier(24)
def fork():
    barrier.wait()
    for _ in range(3):
        if libc.syscall(FORK, 17, 0, 0, 0, 0) == 0:  # without Python's lock: all at once
            while True: libc.pause()
for _ in range(24): threading.Thread(target=fork).start()
while len(threading.enumerate()) > 1: time.sleep(0.01)
print("done", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("limit", [4, 16])
def test_processes_that_start_slowly_stay_within_the_limit(limit: int) -> None:
    """They have much memory, so it takes long until /proc has them; 24 threads ask for 72 at once."""
    code = SLOW_FORKS.replace("FORK", str(CALLS["clone"]))
    command = [sys.executable, "-c", code]
    with Sandboxed(command, Rules(processes=limit, memory=64 << 30), {"PATH": os.defpath}) as program:
        most, end = 0, time.monotonic() + 90
        while "done" not in program.output:
            most = max(most, len(program.monitor._processes()))
            assert time.monotonic() < end, program.output
        assert 1 < max(most, len(program.monitor._processes())) <= limit


def test_files_and_folders_get_other_names_and_no_other_place() -> None:
    """Else code could always be where nobody measures now: it kept three times its limit (G3)."""
    code = (
        "import errno, os\n"
        "os.chdir(os.environ['TMPDIR'])\n"
        "for name in 'ab': os.mkdir(name)\n"
        "os.mkdir('a/folder'); open('a/file', 'w').close()\n"
        "def to(do, old, new):\n"
        "    try: do(old, new)\n"
        "    except OSError as error: return errno.errorcode[error.errno]\n"
        "print(to(os.rename, 'a/folder', 'b/folder'))\n"
        "print(to(os.rename, 'a/file', 'b/file'), to(os.link, 'a/file', 'b/file'))\n"
        "print(to(os.rename, 'a/folder', 'a/other'), to(os.replace, 'a/file', 'a/other file'))\n"
        "import shutil; print(os.path.basename(shutil.move('a/other file', 'b')))\n"
    )
    with Sandboxed([sys.executable, "-c", code], Rules(), {"PATH": os.defpath}) as program:
        assert program.wait(60) == 0, program.output
    assert program.output == "EXDEV\nEXDEV EXDEV\nNone None\nother file\n", "programs copy it instead"


def test_locks_of_parts_of_files_are_limited() -> None:
    """1.5 million of them were 288 MB of the kernel's memory, which no process has."""
    code = (
        "import errno, fcntl, os, sys\n"
        "file = open(os.path.join(os.environ['TMPDIR'], 'own'), 'w')\n"
        "made = 0\n"
        "try:\n"
        "    for made in range(100_000): fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 2 * made)\n"
        "except OSError as error: print(errno.errorcode[error.errno])\n"
        "print(made)\n"
        "file.close()\n"
        "again = open(os.path.join(os.environ['TMPDIR'], 'own'), 'w')\n"
        "for made in range(5_000): fcntl.lockf(again, fcntl.LOCK_EX, 1, 1); fcntl.lockf(again, fcntl.LOCK_UN)\n"
        "print('free')\n"
    )
    with Sandboxed([sys.executable, "-c", code], Rules(), {"PATH": os.defpath}) as program:
        assert program.wait(90) == 0, program.output
    error, made, free = program.output.split()
    assert (error, free) == ("ENOLCK", "free")
    assert monitor.LOCKS <= int(made) <= monitor.LOCKS + monitor.LOCK_CALLS


@pytest.mark.skipif(_sees_all(), reason="root sees the open files of every process")
def test_a_program_that_hides_its_open_files_is_ended() -> None:
    """A program that its user may not read, only execute, is hidden by the kernel."""
    code = (
        "import os, shutil, sys, time\n"
        "path = os.path.join(os.environ['TMPDIR'], 'sleep')\n"
        "file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o111)\n"
        "os.write(file, open(shutil.which('sleep'), 'rb').read()); os.close(file)\n"
        "os.execv(path, ['sleep', '60'])\n"
    )
    with Sandboxed([sys.executable, "-c", code], Rules(), {"PATH": os.defpath}) as program:
        assert program.wait(50) == 137
        assert program.monitor.reason == "it hid its open files, so nobody could measure them"


def test_an_exclusive_lock_is_for_files_that_it_may_write(tmp_path: Path) -> None:
    code = (
        "import errno, fcntl, os, sys\n"
        "both = fcntl.LOCK_EX | fcntl.LOCK_NB\n"
        "own = [open(os.path.join(os.environ['TMPDIR'], 'own'), 'w') for _ in range(2)]\n"
        "fcntl.flock(own[0], fcntl.LOCK_EX)\n"
        "def lock(file, how):\n"
        "    try: fcntl.flock(file, how)\n"
        "    except OSError as error: return errno.errorcode[error.errno]\n"
        "print(lock(own[1], both), lock(own[1], fcntl.LOCK_EX), lock(own[1], fcntl.LOCK_SH | fcntl.LOCK_NB))\n"
        "data = open(sys.argv[1])\n"
        "print(lock(data, both), lock(data, fcntl.LOCK_SH), lock(data, fcntl.LOCK_UN))\n"
    )
    data = tmp_path / "data"
    data.touch()
    with Sandboxed([sys.executable, "-c", code, data], Rules(readable=(str(data),)), {}) as program:
        assert program.wait(60) == 0, program.output
    assert program.output == "EAGAIN ENOLCK EAGAIN\nEBADF None None\n"


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


def test_a_reaper_that_is_ended_after_its_first_process_ends_the_others() -> None:
    """The signal found no process to end: the exception left the reaper, and with it the loop that ends the others."""
    code = (
        "import os, signal\n"
        "from folkmoot.sandbox import process\n"
        "def tree(root, seen=[]):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    seen.append(root)\n"
        "    return [root] * (1 if len(seen) > 2 else 2)\n"
        "process.tree_of, end = tree, os.kill\n"
        "os.kill = lambda pid, number: None if number == signal.SIGKILL and pid == os.getpid() else end(pid, number)\n"
        "process.keep(lambda: None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_its_folder_is_gone_and_its_output_and_status_are_kept() -> None:
    code = "import os, sys; open(os.path.join(os.environ['TMPDIR'], 'x'), 'w'); print('out'); sys.exit(7)"
    with Sandboxed([sys.executable, "-c", code], Rules(), {}) as program:
        assert program.wait(60) == 7
        assert (program.scratch / "x").exists()
    assert program.output == "out\n"
    assert not program.scratch.exists()
