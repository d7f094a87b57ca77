# SPDX-License-Identifier: Apache-2.0
"""What `folkmoot run` says of a round, and at its end."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

from rich.console import Console

from folkmoot.devnet.federation import Plan
from folkmoot.devnet.run import AppRun, RoundSummary, given_again


def test_the_commands_to_type_next_have_the_options_of_this_run(tmp_path: Path) -> None:
    app = tmp_path / "my app"
    node, run = 'data-path="parts/{partition}"', "learning-rate=0.5"
    plan = Plan(home=tmp_path, contributors=5, app=app, run_config=(run,), node_config=(node,))
    words = shlex.split(given_again(plan))
    assert words == [str(app), "--nodes", "5", "--run-config", run, "--node-config", node]
    assert shlex.split(given_again(Plan(home=tmp_path, contributors=2, app=app)))[1:] == ["--nodes", "2"]
    slow = Plan(home=tmp_path, contributors=2, app=app, app_wait=90.0)
    assert shlex.split(given_again(slow))[1:] == ["--nodes", "2", "--app-wait", "90"]


def test_an_update_that_counts_for_nothing_is_named_with_the_reason(tmp_path: Path) -> None:
    said = io.StringIO()
    run = AppRun(Plan(home=tmp_path, contributors=2), 3, Console(file=said, width=200))
    run.names = {"0xa": "node 1", "0xb": "node 2"}
    told = RoundSummary(2, 0.0)
    told.weigh(
        [
            {"contributor": "0xb", "weight": 65536, "reason": "accepted"},
            {"contributor": "0xa", "weight": 0, "reason": "copy"},
        ]
    )
    run._show(told)
    assert "weights 100% 0%" in said.getvalue()
    assert "round 2: node 1 counts for nothing (copy). Excluded: it is a copy" in said.getvalue()
    assert "node 2 counts" not in said.getvalue()
    assert told.reasons == {"0xa": "copy"}
