# SPDX-License-Identifier: Apache-2.0
"""What an attack from a file can do to the drill's process: a clear error, and nothing is left running."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from folkmoot_lab.simulation import attack_file
from folkmoot_lab.simulation.apart import apart
from folkmoot_lab.simulation.federation import Plan, Workload, run

from folkmoot.errors import FolkmootError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a drill has no process of its own"),
    pytest.mark.timeout(120),
]

PLAN = Plan(contributors=7, malicious=2, rounds=2, rule="clamped_mean")

Drill = Callable[[str], tuple[str, str, str]]


@pytest.fixture
def drill(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Drill:
    """Run a drill with an attack of this text; return its error, its output, and what went to standard error."""
    monkeypatch.chdir(tmp_path)

    def drilled(text: str) -> tuple[str, str, str]:
        (tmp_path / "mine.py").write_text("import os, signal, sys, time\n" + textwrap.dedent(text))

        def work() -> None:
            outcome = run(workload, replace(PLAN, attack="mine.py:attack"))
            sys.stdout.write(json.dumps(outcome.to_json()))

        error = ""
        try:
            apart(work)
        except FolkmootError as refusal:
            error = f"{refusal.code}: {refusal.message} {refusal.remedy}"
        return error, *capfd.readouterr()

    return drilled


def body(text: str) -> str:
    return f"def attack(scene):\n    if scene.number:\n        {text}\n    return scene.own\n"


# A sleep in these texts is the attack's own: it holds the process until that is ended.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            body("os._exit(0)"),
            "The attack mine.py:attack ended the drill's process in round 2, with status 0.",
        ),
        (body("os._exit(7)"), "ended the drill's process in round 2, with status 7."),
        (
            body("os.kill(os.getpid(), signal.SIGSEGV)"),
            "ended the drill's process in round 2, by SIGSEGV.",
        ),
        (body("os.kill(os.getppid(), signal.SIGKILL); time.sleep(99)"), ", by SIGKILL."),
        ("os._exit(3)", "The attack mine.py ended the drill's process while it was loaded, with status 3."),
        (body("return scene.own * float('nan')"), "returned nan in round 2"),
        (body("return scene.own[:0]"), "returned an array of shape (0, "),
        (body("os.closerange(3, 9999)"), "ended the drill's process"),
    ],
)
def test_the_end_of_the_process_is_an_error_that_names_file_and_round(
    drill: Drill, text: str, said: str
) -> None:
    error, out, _ = drill(text)
    assert said in error
    assert error.startswith("attack-file: ")
    assert out == ""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            body(
                "while True:\n            try:\n                time.sleep(9)\n            except BaseException: pass"
            ),
            "time.sleep(9)",
        ),
        (
            body("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); time.sleep(99)"),
            "time.sleep(99)",
        ),
    ],
)
def test_a_file_that_holds_its_process_is_ended_and_its_line_is_shown(
    drill: Drill, monkeypatch: pytest.MonkeyPatch, text: str, line: str
) -> None:
    monkeypatch.setattr(attack_file, "LIMIT", 0.4)
    monkeypatch.setattr(attack_file, "GRACE", 0.4)
    error, _, _ = drill(text)
    assert "The attack mine.py:attack gave no answer within 0.4 seconds in round 2 (line " in error
    assert line in error


def test_what_a_file_prints_is_no_part_of_the_result(drill: Drill) -> None:
    text = "def attack(scene):\n    print('tried', scene.number)\n    os.system('echo too')\n    return scene.own"
    error, out, errors = drill(text)
    assert error == ""
    assert json.loads(out)["accuracy"] >= 0
    assert [errors.count(words) for words in ("tried 0", "tried 1", "too")] == [1, 1, 2]


@pytest.mark.parametrize(
    "flood", ["while True: print('x' * 999)", "while True: os.write(2, b'x' * 999)", "os.system('yes')"]
)
def test_a_file_that_prints_without_end_is_ended(drill: Drill, flood: str) -> None:
    error, _, errors = drill(body(flood))
    assert "The attack mine.py:attack printed more than 1 MiB in round 2." in error
    assert len(errors) < 2 << 20


@pytest.mark.parametrize("end", ["pass", "os._exit(1)"])
def test_what_a_file_starts_ends_with_the_drill(drill: Drill, tmp_path: Path, end: str) -> None:
    text = f"""
        import subprocess
        def attack(scene):
            other = subprocess.Popen(['sleep', '987'], start_new_session=True)
            with open('pids', 'w') as file:
                print(other.pid, os.getpid(), file=file)
            {end}
            return scene.own
    """
    error, _, _ = drill(text)
    assert bool(error) == (end != "pass")
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_file_that_splits_the_process_ends_the_second_one(drill: Drill) -> None:
    error, out, _ = drill(body("os.fork()"))
    assert error == ""
    assert json.loads(out), "there is one result"


def test_memory_and_globals_last_for_all_rounds(drill: Drill) -> None:
    text = """
        seen = []
        def attack(scene):
            seen.append(os.getpid())
            assert len(seen) == scene.number + 1 and len(set(seen)) == 1
            return scene.own
    """
    assert drill(text)[0] == ""


def test_a_defect_of_the_drill_is_no_fault_of_the_file() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        apart(lambda: exec("1 // 0"))  # noqa: S102  # an expression can't raise, and a constant is folded
