# SPDX-License-Identifier: Apache-2.0
"""What `make install` prints: pip's progress while it is silent, and the end of its output when it fails."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import pip_install

TOOL = Path(pip_install.__file__)


def wheel(folder: Path) -> Path:
    """A wheel with nothing in it."""
    path = folder / "nothing_much-1.0-py3-none-any.whl"
    info = "nothing_much-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: nothing-much\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def install(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), "--no-index", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_pip_installs(tmp_path: Path) -> None:
    done = install("--target", tmp_path / "there", wheel(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "there" / "nothing_much-1.0.dist-info").is_dir()


def test_a_failure_shows_the_end_of_the_output_and_the_remedy(tmp_path: Path) -> None:
    done = install("--target", tmp_path, "folkmoot-has-no-such-package")
    assert done.returncode == 1
    assert "No matching distribution found for folkmoot-has-no-such-package" in done.stderr
    assert "Remedy: Check that the package index (PIP_INDEX_URL) has this package" in done.stderr
    wanted = tmp_path / "wanted.txt"
    wanted.write_text(f"{wheel(tmp_path).as_uri()} --hash=sha256:{'0' * 64}\n")
    done = install("--target", tmp_path, "--require-hashes", "--requirement", wanted)
    assert done.returncode == 1
    assert "Remedy: A file differs from its hash in deploy/lock." in done.stderr


PIP = """
import sys, time
print("Collecting scipy==1.16.0 (from -r everything.txt (line 3))")
print("  Downloading scipy-1.16.0-cp311-manylinux.whl (35.4 MB)", flush=True)
{wait}
print("Collecting torch")
print("Installing collected packages: scipy, torch", flush=True)
{wait}
sys.exit(0)
"""


def test_silence_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pip prints nothing while it fetches and while it installs: the lines of this tool don't wait for it."""
    code = PIP.format(wait="time.sleep(0.6)")
    assert pip_install.shown([sys.executable, "-c", code], 2, tmp_path / "log", every=0.1) == 0
    printed = capsys.readouterr().out
    assert "  package 1 of 2: scipy, 35.4 MB (" in printed
    assert "  all is here, and pip installs it: 2 packages (" in printed
    assert all(char.isprintable() or char == "\n" for char in printed)
    assert "Collecting torch" in (tmp_path / "log").read_text()


def test_the_pins_of_a_lock_are_counted() -> None:
    assert pip_install.pins(["--requirement", "deploy/lock/everything.txt"]) > 100
    assert pip_install.pins(["--editable", "."]) == 0
