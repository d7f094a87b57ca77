# SPDX-License-Identifier: Apache-2.0
"""The whole demo on a second EVM: Hardhat's, in the place of Anvil (`make test-hardhat`)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from folkmoot_lab.stories.demo import Demo
from folkmoot_lab.stories.federation import Story
from rich.console import Console

from folkmoot.devnet import anvil
from tests import hardhat

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.skipif(hardhat.CHOSEN != "hardhat", reason="for `make test-hardhat`"),
]


def test_strangers_train_and_vote_on_hardhats_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def command(port: int, **_: Any) -> list[str]:
        """Return the command of a chain that makes a block a second, and one for each transaction."""
        return hardhat.command(port, network="mixed")

    monkeypatch.setattr(anvil, "anvil_command", command)
    plan = Story(tmp_path / "demo", task="digits", contributors=3, attackers={3: "sign-flip:3"})
    shown = io.StringIO()
    summary = Demo(plan, 2, Console(file=shown, width=120)).run()
    assert summary["rounds"] == 2
    assert summary["attackerUpdates"] == 2
    assert summary["activeVersion"] == 2
    assert "everything matches" in shown.getvalue()
    assert "hardhat" in (tmp_path / "demo" / "logs" / "chain.log").read_text().lower()
