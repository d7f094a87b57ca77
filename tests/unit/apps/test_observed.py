# SPDX-License-Identifier: Apache-2.0
"""What the sandbox of `join` would refuse to an app, as its trial shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from folkmoot.apps.observed import refused
from tests import apps
from tests.unit.apps.test_trial import tried


def test_a_plain_app_reaches_nothing(tmp_path: Path) -> None:
    _, trial = tried(tmp_path)
    assert trial.reached == {}
    assert refused(trial.reached) == ""


def test_what_join_refuses_is_said_with_the_option_that_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC", "north")
    monkeypatch.delenv("UNSET_HERE", raising=False)
    data, results = tmp_path / "data", Path.home() / f".folkmoot-test-{os.getpid()}"
    data.mkdir()
    for number in range(5):
        (data / f"{number}.csv").write_text("1,2\n")
    reaching = f"""
    import multiprocessing, os, socket, subprocess, tempfile
    os.environ["CLINIC"], os.getenv("UNSET_HERE"), os.environ.get("PATH"), {{**os.environ}}
    for number in range(5):
        open(f"{data}/{{number}}.csv").close()
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    os.makedirs({str(results)!r}, exist_ok=True)
    os.rmdir({str(results)!r})
    try:
        socket.create_connection(("192.0.2.1", 443), timeout=0.01)
    except OSError:
        pass
    process = multiprocessing.get_context("fork").Process(target=print)
    process.start()
    process.join()
    subprocess.run(["true"], check=True)
    rate ="""
    _, trial = tried(tmp_path, apps.CLIENT.replace("\n    rate =", reaching))
    assert refused(trial.reached) == (
        "On other machines `join` runs this code in a sandbox, which refuses the variable CLINIC (allowed by "
        f"--pass-env); to read {data} (allowed by --data); to write to {results.parent} (allowed by --writable); "
        "connections to 192.0.2.1 (no option: download the data before, and give them by --data); worker processes of "
        "multiprocessing (no option: for a DataLoader, set num_workers to 0). `folkmoot run --sandbox` tries it."
    )
