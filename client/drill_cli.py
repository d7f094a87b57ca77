# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot drill`: attack a sandboxed federation and see what it costs whom.

The library is imported by the command, so that `folkmoot --help` stays quick. What a drill does is in
`folkmoot.drill`; here are options, progress and tables.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.options import Json
from folkmoot.cli.output import emit, note, pairs, table, working
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.drill.federation import Outcome, Plan

GRID_RULES = (
    "mean",
    "clipped_mean",
    "multi_krum:{f},0",
    "nnm:{f},0",
    "geometric_median",
    "centered_clipping",
    "majority",
    "guarded_nnm:{f}",
    "guarded_mean",
    "guided_mean",
    "fltrust@good",
    "root_cosine@good",
    "root_veto:{f}@good",
    "root_guard@good",
    "root_veto:{f}@biased",
    "root_guard@biased",
)
"""Rows of a grid; {f} is the number of attackers."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(drill)


def drill(
    attack: Annotated[str, typer.Option(help="The attack; --list shows them.")] = "sign-flip",
    rule: Annotated[
        str, typer.Option(help="Rule with its parameters; @good or @biased adds a root set.")
    ] = "guided_mean",
    contributors: Annotated[int, typer.Option(min=2, max=256, help="All contributors.")] = 20,
    malicious: Annotated[int, typer.Option(min=0, help="Attackers among them.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds.")] = 25,
    strength: Annotated[float | None, typer.Option(help="Of the attack. Default: its own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything random.")] = 0,
    task: Annotated[str, typer.Option(help="mnist or digits.")] = "mnist",
    list_: Annotated[bool, typer.Option("--list", help="List attacks and rules.")] = False,
    grid: Annotated[bool, typer.Option("--grid", help="Rules by attacks instead of one drill.")] = False,
    rules: Annotated[str, typer.Option(help="Rules of the grid, separated by spaces. Default: all.")] = "",
    attacks: Annotated[
        str, typer.Option(help="Attacks of the grid, separated by spaces. Default: all.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the grid, from --seed on.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="File that keeps the grid's drills; what it has is not run again.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the grid's accuracies into this SVG file.")] = None,
    json_: Json = False,
) -> None:
    """Attack a sandboxed federation: what it cost the model, the honest contributors and the attackers.

    Example: folkmoot drill --attack ipm-noise --rule guided_mean
    """
    from folkmoot.drill.federation import Plan

    if list_:
        _list(json_)
        return
    plan = Plan(
        attack=attack,
        contributors=contributors,
        malicious=malicious,
        rounds=rounds,
        strength=strength,
        seed=seed,
        **_rule(rule),
    )
    if grid:
        chosen = rules.split() or [text.replace("{f}", str(malicious)) for text in GRID_RULES]
        _grid(plan, task, chosen, attacks.split(), seeds, out, plot, json_)
    else:
        _one(plan, task, json_)


def _rule(text: str) -> dict[str, Any]:
    """Fields of a plan from ``name:1,2@root``."""
    rule, _, root = text.partition("@")
    name, colon, numbers = rule.partition(":")
    try:
        parameters = tuple(int(number) for number in numbers.split(",")) if colon else ()
    except ValueError:
        raise InputError(
            f"{text!r} is no rule.",
            remedy="Write a name and numbers, e.g. multi_krum:6,0 or root_cosine@good.",
        ) from None
    return {"rule": name, "parameters": parameters, "root": root or "none"}


def _list(json_: bool) -> None:
    from folkmoot.aggregation.rules import PARAMETERS
    from folkmoot.drill.attacks import ATTACKS

    emit(
        {
            "attacks": {name: one.about for name, one in ATTACKS.items()},
            "rules": {name: list(parameters) for name, parameters in PARAMETERS.items()},
        },
        json_,
        table(["attack", "goal", "what it sends"], [[a.name, a.goal, a.about] for a in ATTACKS.values()]),
        table(["rule", "parameters"], [[name, ", ".join(p)] for name, p in PARAMETERS.items()]),
    )


def _one(plan: Plan, task: str, json_: bool) -> None:
    from client.drill_data import workload
    from folkmoot.drill.federation import run

    with working("Reading the data", json_):
        data = workload(task)
    with working(f"{plan.rounds} rounds without and {plan.rounds} with {plan.attack}", json_):
        calm = run(data, replace(plan, attack="none", strength=None))
        outcome = calm if plan.attack == "none" else run(data, plan)
    document = {
        "task": task,
        "plan": asdict(plan),
        "withoutAttack": calm.to_json(),
        "withAttack": outcome.to_json(),
    }
    emit(document, json_, pairs(_lines(plan, calm, outcome)))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _lines(plan: Plan, calm: Outcome, outcome: Outcome) -> dict[str, str]:
    from folkmoot.drill.grid import rule_text

    lines = {
        "rule": rule_text(plan),
        "attack": f"{plan.attack}, {plan.malicious} of {plan.contributors} contributors",
        "accuracy without attack": _percent(calm.accuracy),
        "accuracy with attack": _percent(outcome.accuracy),
    }
    if outcome.backdoor is not None:
        lines["backdoor works on"] = _percent(outcome.backdoor)
    lines |= {
        "attackers' updates left out": _percent(outcome.detected),
        "honest updates left out": f"{_percent(outcome.honest_dropped)}, "
        f"{_percent(outcome.worst_honest_dropped)} of the one hit most",
        "the same without attack": f"{_percent(calm.honest_dropped)}, {_percent(calm.worst_honest_dropped)}",
        "honest weight lost": _percent(outcome.honest_weight_lost),
        "attacker's reward": f"{_percent(outcome.attacker_pay)} of an equal share, "
        f"{_percent(outcome.attacker_reward)} of an honest one's",
        "honest stake lost": "0 (statistics never slash)",
    }
    return lines


def _grid(
    plan: Plan,
    task: str,
    rules: list[str],
    attacks: list[str],
    seeds: int,
    out: Path | None,
    plot: Path | None,
    json_: bool,
) -> None:
    from client.drill_data import workload
    from folkmoot.drill.attacks import ATTACKS
    from folkmoot.drill.grid import Table, rule_text
    from folkmoot.drill.grid import grid as run_grid

    plans = [
        replace(plan, attack=attack, seed=plan.seed + seed, **_rule(rule))
        for rule in rules
        for attack in (attacks or list(ATTACKS))
        for seed in range(seeds)
    ]

    def progress(done: int, count: int, current: Plan, outcome: Outcome | None) -> None:
        if outcome is not None:
            found = _percent(outcome.accuracy)
            note(f"{done}/{count} {rule_text(current)} {current.attack} seed {current.seed}: {found}", json_)

    cells = run_grid(workload(task), plans, out, progress)
    made = Table.of(cells)
    if plot is not None:
        try:
            plot.write_text(made.to_svg(), encoding="utf-8")
        except OSError as error:
            raise InputError(f"The picture {plot} can't be written: {error.strerror}.") from error
    names = {
        "accuracy": "Accuracy, %",
        "backdoor": "Backdoor works on, %",
        "detected": "Attackers' updates left out, %",
        "honest_dropped": "Honest updates left out, %",
        "attacker_pay": "Attacker's reward, % of an equal share",
        "attacker_reward": "Attacker's reward, % of an honest one's",
    }
    shown: list[Any] = []
    for name, title in names.items():
        shown += [title, table(["rule", *made.attacks], made.rows(name))]
    document = {
        "task": task,
        "cells": [{"plan": asdict(cell.plan), "outcome": cell.values} for cell in cells],
        "worst": {rule: round(made.worst(rule), 4) for rule in made.rules},
    }
    emit(document, json_, *shown)
