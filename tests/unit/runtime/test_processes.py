# SPDX-License-Identifier: Apache-2.0
"""Processes that are started together end together, however their parent ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from folkmoot.devnet.anvil import Anvil, find_anvil
from folkmoot.errors import LocalError
from folkmoot.rpc.local_chain import advance
from folkmoot.runtime import processes
from folkmoot.runtime.processes import Supervisor, free_port, require_free_port, tail

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def _gone(pid: int, within: float = 5.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_all_processes_end_youngest_first(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        pids = [
            supervisor.start(name, SLEEP, ready=lambda name=name: "up" in tail(tmp_path / f"{name}.log")).pid
            for name in ("first", "second")
        ]
        supervisor.check()
    assert all(_gone(pid, 0.1) for pid in pids)
    assert supervisor.children == []


def test_a_stubborn_process_is_killed(tmp_path: Path) -> None:
    with Supervisor(tmp_path, grace=0.2) as supervisor:
        child = supervisor.start("stubborn", STUBBORN, ready=lambda: "up" in tail(tmp_path / "stubborn.log"))
    assert _gone(child.pid, 0.1)


def test_grandchildren_end_as_well(tmp_path: Path) -> None:
    code = (
        f"import subprocess, time; p = subprocess.Popen({SLEEP!r}); print(p.pid, flush=True); time.sleep(60)"
    )

    def pids() -> list[int]:
        """What the parent said; the grandchild writes into the same log, perhaps before it."""
        return [int(word) for word in tail(tmp_path / "parent.log").split() if word.isdecimal()]

    with Supervisor(tmp_path) as supervisor:
        supervisor.start("parent", [sys.executable, "-c", code], ready=lambda: bool(pids()))
        (grandchild,) = pids()
    assert _gone(grandchild)


def test_a_dead_child_is_reported_with_its_log(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
    with Supervisor(tmp_path) as supervisor:
        with pytest.raises(LocalError, match="weak ended with status 3") as caught:
            supervisor.start("weak", words, ready=lambda: False)
        assert "the reason" in caught.value.message
        assert str(tmp_path / "weak.log") in caught.value.remedy
        with pytest.raises(LocalError, match="weak ended"):
            supervisor.watch(lambda: False, timeout=5)


def test_a_process_that_may_end_is_no_failure(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        child = supervisor.start("run", [sys.executable, "-c", ""], expected_to_end=True)
        assert supervisor.watch(lambda: not child.alive, timeout=10)
        supervisor.check()


def test_a_process_that_never_gets_ready(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor, pytest.raises(LocalError, match=r"not ready after 0\.2 seconds"):
        supervisor.start("slow", SLEEP, ready=lambda: False, timeout=0.2)


def test_a_missing_program(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor, pytest.raises(LocalError, match="can't be started") as caught:
        supervisor.start("nothing", [tmp_path / "no-such-program"])
    assert caught.value.code == "local-program-missing"


PARENT = """
import shutil, sys, time
from pathlib import Path
from folkmoot.runtime.processes import Supervisor, tail
logs, hidden, which = Path(sys.argv[1]), sys.argv[2], shutil.which
shutil.which = lambda name, **more: None if name == hidden else which(name, **more)
with Supervisor(logs) as supervisor:
    child = supervisor.start("child", {sleep!r}, ready=lambda: "up" in tail(logs / "child.log"))
    print(child.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("hidden", ["", "setpriv"], ids=["setpriv", "without"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a killed parent")
def test_no_process_outlives_its_parent(tmp_path: Path, number: signal.Signals, hidden: str) -> None:
    words = [sys.executable, "-c", PARENT.format(sleep=SLEEP), str(tmp_path), hidden]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(parent.pid, number)
        parent.wait(10)
    assert _gone(child)


ORPHAN = """
import signal, subprocess, sys, threading
from folkmoot.runtime.processes import end_with_parent
if len(sys.argv) > 1:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    print("up", flush=True)
    threading.Event().wait()
else:
    child = subprocess.Popen([sys.executable, "-c", ORPHAN, "child"], stdout=subprocess.PIPE)
    child.stdout.readline()
    print(child.pid, flush=True)
    child.wait()
"""


def test_a_process_that_waits_for_ever_ends_with_its_parent() -> None:
    words = [sys.executable, "-c", f"ORPHAN = {ORPHAN!r}{ORPHAN}"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert _gone(child, 30)


SLOW_SETPRIV = """#!{shell}
echo "$$" > {folder}/started
while kill -0 "$PPID" 2>/dev/null; do sleep 0.01; done
exec {setpriv} "$@"
"""
"""A setpriv that asks for nothing before its parent has ended."""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux's setpriv is not installed")
def test_a_process_whose_parent_ends_before_it_asked_for_a_signal_never_starts(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    slow = folder / "setpriv"
    slow.write_text(
        SLOW_SETPRIV.format(shell=shutil.which("sh"), folder=tmp_path, setpriv=shutil.which("setpriv"))
    )
    slow.chmod(0o755)
    words = [sys.executable, "-c", PARENT.format(sleep=SLEEP), str(tmp_path), ""]
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, env=environment) as parent:
        end = time.monotonic() + 30
        while not tail(tmp_path / "started") and time.monotonic() < end:
            time.sleep(0.02)
        parent.kill()
    assert _gone(int(tail(tmp_path / "started")), 30)
    assert tail(tmp_path / "child.log") == ""


def test_a_taken_port_is_told_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"Port {port} can't be used for the coordinator") as caught:
            require_free_port(port, "the coordinator")
        assert caught.value.code == "port-taken"
        assert "another port" in caught.value.remedy
        with pytest.raises(LocalError, match="the local chain"):
            Anvil(port).start()
    require_free_port(free_port(), "anything")
    with pytest.raises(LocalError):
        require_free_port(70_000, "anything")


def test_a_local_chain_starts_moves_its_clock_and_ends() -> None:
    with Anvil() as anvil:
        pid = anvil.pid
        assert pid is not None
        before = anvil.rpc.latest_timestamp()
        assert 1_000 <= anvil.advance(1_000) - before <= 1_010
        with pytest.raises(LocalError, match="can't be moved by 0 seconds"):
            anvil.advance(0)
        snapshot = anvil.snapshot()
        anvil.fund("0x" + "11" * 20, 5)
        anvil.revert(snapshot)
        assert anvil.call("eth_getBalance", "0x" + "11" * 20, "latest") == "0x0"
    assert _gone(pid, 0.1)
    assert anvil.pid is None


def test_the_clock_of_another_chain_is_not_moved() -> None:
    with Anvil(chain_id=1) as other:
        before = other.rpc.block_number()
        with pytest.raises(LocalError, match="Chain 1 is not a local chain"):
            advance(other.rpc, 10)
        assert other.rpc.block_number() == before


def test_a_chain_with_block_time_mines_by_the_clock() -> None:
    with Anvil(block_time=0.2) as anvil:
        end = time.monotonic() + 10
        while anvil.rpc.block_number() < 2:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_named_anvil_that_is_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOLKMOOT_ANVIL", str(tmp_path))
    with pytest.raises(LocalError, match="which is not a program"):
        find_anvil()


def test_tail_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_bytes(b"\xff\n" + b"".join(b"line %d\n" % n for n in range(20_000)))
    assert tail(path, 2) == "line 19998\nline 19999"
    assert tail(tmp_path / "none") == ""


def test_an_interrupt_while_a_process_is_started_leaves_it_to_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def spawn_and_interrupt(*words: object, **options: object) -> processes.Child:
        child = processes_spawn(*words, **options)
        started.append(child.pid)
        os.kill(os.getpid(), signal.SIGINT)
        return child

    processes_spawn = processes.spawn
    monkeypatch.setattr(processes, "spawn", spawn_and_interrupt)
    with pytest.raises(KeyboardInterrupt), Supervisor(tmp_path) as supervisor:
        supervisor.start("sleeper", SLEEP)
    assert started
    assert _gone(started[0])


@pytest.mark.parametrize(("lives", "remedy"), [(True, "too busy"), (False, "ended before it wrote a word")])
def test_an_empty_log_is_named_with_what_to_look_at(tmp_path: Path, lives: bool, remedy: str) -> None:
    silent = [sys.executable, "-c", "import time; time.sleep(60)" if lives else ""]
    with Supervisor(tmp_path) as supervisor, pytest.raises(LocalError) as caught:
        supervisor.start("mute", silent, ready=lambda: False, timeout=0.2 if lives else 30)
    assert f"Its log {tmp_path / 'mute.log'} is empty." in caught.value.message
    assert remedy in caught.value.remedy
