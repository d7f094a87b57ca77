# SPDX-License-Identifier: Apache-2.0
"""Key files in the current folder, where `account new --out me.json` puts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from folkmoot.cli.main import run
from folkmoot.cli.options import keystore_file
from folkmoot.errors import KeystoreError
from folkmoot.runtime import keystore


def test_a_key_of_the_current_folder_is_listed_and_named_by_who_finds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("FOLKMOOT_KEYSTORE", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeystoreError, match=r"There is no key file in .*Give a key file by --keystore"):
        keystore_file(None)
    account = keystore.create(tmp_path / "me.json", "a good password", work=2)
    assert run(["account", "list", "--json"]) == 0
    assert account.address in capsys.readouterr().out
    with pytest.raises(KeystoreError, match=r"Give --keystore me\.json, or another key file"):
        keystore_file(None)


def test_a_model_needs_somebody_who_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "--to", str(tmp_path / "m")]) == 1
    assert "Give --coordinator URL, or --artifacts with a mirror." in capsys.readouterr().err
