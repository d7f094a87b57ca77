# SPDX-License-Identifier: Apache-2.0
"""tools/run_tests.py: a test that fails once is named, one that fails twice fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import _part

PROGRAM = Path(__file__).parents[2] / "tools/run_tests.py"
FLAKY = """
from pathlib import Path

def test_flaky():
    if not Path("ran").exists():
        Path("ran").touch()
        assert 1 == 2, "only once"
"""


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = (sys.executable, str(PROGRAM), "it", "-n", "0", "-p", "no:randomly", "test_it.py")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_test_that_fails_once_is_named_and_passes(tmp_path: Path) -> None:
    done = run(tmp_path, FLAKY)
    assert done.returncode == 0
    end = done.stdout.partition("Failed once and passed when they ran alone")[2]
    assert "test_it.py::test_flaky" in end
    assert "only once" in (tmp_path / ".pytest_cache/it/first.xml").read_text()
    assert (
        "no commit it -n 0 -p no:randomly test_it.py: 1 tests"
        in (tmp_path / ".pytest_cache/passed").read_text()
    )


def test_a_test_that_fails_twice_fails_and_is_shown(tmp_path: Path) -> None:
    done = run(tmp_path, FLAKY + "\ndef test_wrong():\n    assert 3 == 4\n")
    assert done.returncode == 1
    shown = done.stdout.rpartition("test_it.test_wrong")[2].splitlines()
    assert len(shown) < 40
    assert any("assert 3 == 4" in line for line in shown)
    assert any("-m pytest 'test_it.py::test_wrong'" in line for line in shown)
    assert not any("test_flaky" in line for line in shown)
    assert not (tmp_path / ".pytest_cache/passed").exists()


@pytest.mark.parametrize("text", ["def test_(:", "import nothing_of_that_name"])
def test_what_cannot_be_read_fails(tmp_path: Path, text: str) -> None:
    assert run(tmp_path, text).returncode != 0


def test_many_failures_are_not_run_twice(tmp_path: Path) -> None:
    text = "import pytest\n@pytest.mark.parametrize('n', range(21))\ndef test_it(n): assert n < 0\n"
    done = run(tmp_path, text)
    assert done.returncode == 1
    assert "run once more" not in done.stdout


def test_the_parts_of_a_long_run_are_the_whole() -> None:
    seconds = {Path(f"{number}.py"): float(number % 7) for number in range(40)}
    parts = [_part(f"{number}/6", seconds) for number in range(1, 7)]
    assert sorted(path for part in parts for path in part) == sorted(seconds)
    loads = [sum(seconds[path] for path in part) for part in parts]
    assert max(loads) - min(loads) <= max(seconds.values())


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "", "1/0", "-1/2"])
def test_a_part_that_there_is_not_is_refused(shard: str) -> None:
    with pytest.raises(pytest.UsageError, match="such as 2/6"):
        _part(shard, {})


def test_ctrl_c_lets_the_tests_clean_up(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(
        "import time\nfrom pathlib import Path\nimport pytest\n"
        "@pytest.fixture\ndef server():\n    yield\n    time.sleep(1)\n    Path('stopped').touch()\n"
        "def test_it(server):\n    Path('began').touch()\n    time.sleep(60)\n"
    )
    command = (sys.executable, str(PROGRAM), "it", "-n", "0", "test_it.py")
    with subprocess.Popen(
        command, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL
    ) as running:
        end = time.monotonic() + 60
        while not (tmp_path / "began").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(30) == 2, "pytest's status for an interrupt"
    assert (tmp_path / "stopped").exists()
