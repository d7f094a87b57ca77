# SPDX-License-Identifier: Apache-2.0
"""What `folkmoot run` says at its end."""

from __future__ import annotations

import shlex
from pathlib import Path

from folkmoot.devnet.federation import Plan
from folkmoot.devnet.run import given_again


def test_the_commands_to_type_next_have_the_options_of_this_run(tmp_path: Path) -> None:
    app = tmp_path / "my app"
    node, run = 'data-path="parts/{partition}"', "learning-rate=0.5"
    plan = Plan(home=tmp_path, contributors=5, app=app, run_config=(run,), node_config=(node,))
    words = shlex.split(given_again(plan))
    assert words == [str(app), "--nodes", "5", "--run-config", run, "--node-config", node]
    assert shlex.split(given_again(Plan(home=tmp_path, contributors=2, app=app)))[1:] == ["--nodes", "2"]
    slow = Plan(home=tmp_path, contributors=2, app=app, app_wait=90.0)
    assert shlex.split(given_again(slow))[1:] == ["--nodes", "2", "--app-wait", "90"]
