# SPDX-License-Identifier: Apache-2.0
"""The sentences of docs/joining.md that `folkmoot doctor --join` checks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from folkmoot.doctor import examine, training
from folkmoot.doctor.training import PROMISES, training_checks
from folkmoot.errors import InputError
from folkmoot.sandbox import kernel, probe

PAGE = Path(__file__).resolve().parents[3] / "docs" / "joining.md"


def test_the_page_has_the_sentences_of_the_checks() -> None:
    text = PAGE.read_text().partition("prints the sentence")[2].partition("| option")[0]
    bullets = [" ".join(bullet.split()) for bullet in text.partition("\n\n|")[0].split("\n- ")[1:]]
    assert bullets == list(PROMISES.values())


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc here")
def test_a_variable_is_not_found_in_the_name_of_another() -> None:
    """A shell sets `_`, which stands in LC_CTYPE: the sandbox then seemed to give the variables away."""
    known = {"pid": 0, "port": 0, "hidden": [], "folders": [], "abstract": "", "unix": ""}
    for variable in ("PATH", "PAT"):
        read = probe.attempts({**known, "variable": variable})["environment"][
            "read your variables from /proc"
        ]
        if variable in os.environ:
            read()
        else:
            with pytest.raises(FileNotFoundError):
                read()


@pytest.mark.skipif(bool(kernel.support().missing), reason="there is no sandbox here")
def test_each_sentence_holds_here_and_a_readable_key_is_found(tmp_path: Path) -> None:
    key, home = tmp_path / "key.json", tmp_path / "node"
    key.write_text("{}")
    home.mkdir()
    found = {line.name: line.finding for line in examine(training_checks(lambda: key, lambda: home))}
    assert {name: finding.text for name, finding in found.items()} == PROMISES
    assert {finding.state for finding in found.values()} == {"ok"}

    readable = Path(os.__file__)
    found = {line.name: line.finding for line in examine(training_checks(lambda: readable, lambda: home))}
    assert found["files"].state == "failed"
    assert f"It could: read {readable}" in found["files"].text
    assert {finding.state for name, finding in found.items() if name != "files"} == {"ok"}


@pytest.mark.skipif(bool(kernel.support().missing), reason="there is no sandbox here")
def test_without_a_key_the_sandbox_is_checked() -> None:
    def missing() -> Path:
        raise InputError("There is no key file.")

    assert {line.finding.state for line in examine(training_checks(missing, missing))} == {"ok"}


@pytest.mark.parametrize(
    ("abi", "worked", "state"),
    [
        (5, [probe.SIGNAL], "warning"),
        (6, [probe.SIGNAL], "failed"),
        (5, [probe.SIGNAL, "read memory"], "failed"),
    ],
)
def test_signals_on_an_old_kernel_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, abi: int, worked: list[str], state: str
) -> None:
    monkeypatch.setattr(training, "support", lambda: kernel.Support(abi, ""))
    monkeypatch.setattr(training._Training, "_probed", {"programs": worked})
    (check,) = [check for check in training_checks(Path.cwd, Path.cwd) if check.name == "programs"]
    finding = check.run()
    assert (finding.state, bool(finding.remedy)) == (state, True)


def test_without_a_sandbox_the_rest_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LEAST_ABI", 1000)
    lines = examine(training_checks(lambda: tmp_path, lambda: tmp_path))
    assert [line.finding.state for line in lines] == ["failed", *["skipped"] * (len(PROMISES) - 1)]
    assert "--without-sandbox" in lines[0].finding.remedy
