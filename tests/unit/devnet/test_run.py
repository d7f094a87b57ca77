# SPDX-License-Identifier: Apache-2.0
"""What `folkmoot run` says of a round, and at its end."""

from __future__ import annotations

import io
import shlex
from dataclasses import replace
from pathlib import Path

import click
import pytest
from rich.console import Console

from folkmoot.cli.main import build
from folkmoot.coordinator_api import Event
from folkmoot.devnet.federation import Plan
from folkmoot.devnet.run import LOCK, NOTE, AppRun, RoundSummary, RunNote, _options, given_again
from folkmoot.errors import InputError, LocalError
from folkmoot.runtime.locks import acquire
from tests import apps


def test_the_commands_to_type_next_have_the_options_of_this_run(tmp_path: Path) -> None:
    app = tmp_path / "my app"
    node, run = 'data-path="parts/{partition}"', "learning-rate=0.5"
    plan = Plan(home=tmp_path, contributors=5, app=app, run_config=(run,), node_config=(node,))
    words = shlex.split(given_again(plan))
    assert words == [str(app), "--nodes", "5", "--run-config", run, "--node-config", node]
    assert shlex.split(given_again(Plan(home=tmp_path, contributors=2, app=app)))[1:] == ["--nodes", "2"]
    slow = Plan(home=tmp_path, contributors=2, app=app, app_wait=90.0)
    assert shlex.split(given_again(slow))[1:] == ["--nodes", "2", "--app-wait", "90"]


def options_of(command: str, *arguments: object) -> dict[str, object]:
    """Return what the command line makes of some arguments."""
    import typer

    table = typer.main.get_command(build())
    assert isinstance(table, click.Group)
    found = table.get_command(click.Context(table), command)
    assert found is not None
    words = list(map(str, arguments))
    if isinstance(found, click.Group):
        found, words = found.commands[words[0]], words[1:]
    return dict(found.make_context(command, words).params)


def test_every_option_that_changes_a_run_is_in_the_commands_to_type_next(tmp_path: Path) -> None:
    """For each option of `run` that there is, also of later ones: given a value, it comes again."""
    app = tmp_path / "app"
    known = {
        "node_config": ("a=1",),
        "run_config": ("b=2",),
        "app_wait": 90.0,
        "rule": "multi_krum:1,2",
        "width": 2,
        "feedback": True,
        "simulation": True,
        "sandbox": True,
        "data": ("/d",),
        "writable": ("/w",),
        "pass_env": ("N",),
        "nodes": 5,
        "rounds": 7,
    }
    usual = options_of("run", app)
    assert set(usual) - {"app", "home", "keep", "json_"} == set(known)
    plan = Plan(
        home=tmp_path,
        contributors=5,
        app=app,
        node_config=("a=1",),
        run_config=("b=2",),
        app_wait=90.0,
        rule="multi_krum",
        parameters=(1, 2),
        width=2,
        feedback=True,
        simulation=True,
        sandbox=("--data", Path("/d"), "--writable", Path("/w"), "--pass-env", "N"),
    )
    again = options_of("run", *shlex.split(given_again(plan, 7)))
    assert {name: again[name] for name in known} == known
    words = ["init", "--app", *shlex.split(given_again(plan, 7, run=False)), "--out", tmp_path]
    init = options_of("task", *words)
    assert [init[name] for name in ("nodes", "width", "feedback", "app_wait")] == [5, 2, True, 90.0]


def test_a_rule_that_there_is_not_is_refused_before_the_app_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no aggregation rule 'krum'. Did you mean multi_krum\?"):
        Plan(home=tmp_path, rule="krum")
    with pytest.raises(InputError, match="multi_krum has 2 parameters, not 1"):
        Plan(home=tmp_path, rule="multi_krum", parameters=(1,))


def shown(tmp_path: Path) -> tuple[AppRun, io.StringIO]:
    said = io.StringIO()
    run = AppRun(Plan(home=tmp_path, contributors=3), 3, Console(file=said, width=200))
    run.names = {"0xa": "node 1", "0xb": "node 2", "0xc": "node 3"}
    return run, said


def weighed(number: int, *weights: int) -> RoundSummary:
    told = RoundSummary(number, 0.0)
    told.weigh(
        [
            {
                "contributor": f"0x{name}",
                "weight": weight,
                "reason": "accepted",
                "numbers": {"medianCosine": "655", "medianCosineMedian": "6550"},
            }
            for name, weight in zip("abc", weights, strict=False)
        ]
    )
    return told


def test_a_low_weight_gets_a_sentence(tmp_path: Path) -> None:
    run, said = shown(tmp_path)
    run._show(weighed(2, 65536, 60000, 6000))
    assert "weights 100% 92% 9%" in said.getvalue()
    assert (
        "round 2: node 3 has a low weight, because its update points elsewhere than the others (median cosine with "
        "the others 0.01). Data that differ from the others' are enough for that. `--rule mean` weighs all alike."
    ) in said.getvalue()
    assert said.getvalue().count("low weight") == 1
    run._show(weighed(3, 65536))
    assert "1 update, weights 100%" in said.getvalue()


def test_a_loss_that_rises_gets_a_sentence_and_one_that_falls_none(tmp_path: Path) -> None:
    run, said = shown(tmp_path)
    for number, loss in enumerate((1.675, 2.309, 2.3, 2.2), 1):
        run.summaries.append(RoundSummary(number, 0.0))
        for _ in range(2):  # A report has all that was told before.
            run._measured(run.summaries[-1], {"server": {"loss": loss, "accuracy": 1 / loss}, "train": None})
    assert said.getvalue().count("rose") == 1
    assert (
        "round 2: loss (server) rose from 1.675 to 2.309. If it goes on rising, lower the learning rate or train fewer "
        "local steps."
    ) in said.getvalue()
    assert said.getvalue().count("round 2, server: ") == 1


def test_a_failed_node_is_named_with_all_that_its_own_log_says(tmp_path: Path) -> None:
    run, said = shown(tmp_path)
    log = tmp_path / "nodes" / "contributor-2" / "logs" / "supernode.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        "INFO :      SuperNode ID: 77\n"
        "ERROR :     Refused: training raised ValueError at task.py, line 4. ValueError: patient 17 has no age. "
        f"The traceback is in {log}.\n"
    )
    data = {
        "round": 1,
        "node": "77",
        "account": None,
        "state": "failed",
        "code": "training-failed",
        "detail": "training raised ValueError at task.py, line 4.",
    }
    run._take(Event(1, "node-failed", data))
    assert said.getvalue() == (
        "  round 1: node 2 failed (training-failed). Training raised ValueError at task.py, line 4. ValueError: "
        f"patient 17 has no age. The traceback is in {log}.\n"
    )


def test_a_folder_goes_on_only_with_the_same_app_and_options(tmp_path: Path) -> None:
    app = apps.make(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    plan = Plan(home=home, contributors=2, app=app)
    note = RunNote(
        options=_options(plan),
        name="small-app",
        bundle="",
        strategy="FedAvg",
        rounds=2,
        asked=2,
        commit_window=9,
        train_seconds=1.0,
        done=1,
    )
    note.write(home / NOTE)
    said = io.StringIO()
    console = Console(file=said, width=200)
    assert AppRun(plan, None, console)._begin().done == 1
    assert "going on with small-app, rounds done: 1 of 2" in said.getvalue()
    with pytest.raises(
        InputError,
        match=r"started with --nodes 2 \(now 3\), --width 8 \(now 2\), --feedback false \(now true\)\.",
    ) as raised:
        AppRun(replace(plan, contributors=3, width=2, feedback=True), None, console)._begin()
    assert raised.value.code == "home-other-run"
    other = replace(plan, app=apps.make(tmp_path, name="other-app"))
    with pytest.raises(InputError, match=r"started with the app small-app \(now other-app\)"):
        AppRun(other, None, console)._begin()
    with acquire(home / LOCK), pytest.raises(LocalError, match="Another `folkmoot run` uses"):
        AppRun(plan, None, console).run()


def test_a_run_of_a_folder_that_is_not_there_leaves_none(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(InputError, match="There is no folder"):
        AppRun(Plan(home=home, app=tmp_path / "nowhere"), None, Console(file=io.StringIO())).run()
    assert not home.exists()


def test_a_folder_with_another_federation_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    with pytest.raises(InputError, match="already holds a federation"):
        AppRun(Plan(home=tmp_path, app=apps.make(tmp_path)), None, Console(file=io.StringIO())).run()
    assert (tmp_path / "keys").exists()


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
    assert "weights 100% 0%  " in said.getvalue(), "this rule has no pays"
    assert "round 2: node 1 counts for nothing (copy). Excluded: it is a copy" in said.getvalue()
    assert "node 2 counts" not in said.getvalue()
    assert told.reasons == {"0xa": "copy"}


def test_pays_are_shown_beside_weights_with_what_limits_low_ones(tmp_path: Path) -> None:
    said = io.StringIO()
    run = AppRun(Plan(home=tmp_path, contributors=4), 3, Console(file=said, width=200))
    run.names = {f"0x{name}": f"node {number}" for number, name in enumerate("abcd", 1)}
    told = RoundSummary(2, 0.0)
    numbers = [("a", 900, 65536, 65536), ("b", 1000, 8192, 4096), ("c", 100, 14000, 65536), ("d", 0, 0, 0)]
    told.weigh(
        [
            {
                "contributor": f"0x{name}",
                "weight": weight,
                "pay": pay,
                "reason": "accepted" if weight else "copy",
                "numbers": {"novelty": str(novelty)},
            }
            for name, weight, pay, novelty in numbers
        ]
    )
    run._show(told)
    text = said.getvalue()
    assert "weights 90% 100% 10% 0%, pays 100% 12% 21% 0%" in text
    assert "round 2: node 2 is paid 12% of a full place (what is new in it is 6.2 % of the median)." in text
    assert "round 2: node 3 is paid 21% of a full place (its weight limits it)." in text
    assert "node 1 is paid" not in text
    assert "node 4 is paid" not in text, "it counts for nothing, which is said"
