# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot drill`: attack a sandboxed federation and show who loses what.

The command imports the library itself, so that `folkmoot --help` stays fast. `folkmoot_lab.simulation` runs the drill;
this module has the options, the progress display and the tables.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.options import Feedback, Start, Width
from folkmoot.cli.output import emit, note, pairs, table, working
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot_lab.simulation.chain import ChainReport
    from folkmoot_lab.simulation.federation import Outcome, Plan

GRID_RULES = (
    "mean",
    "clamped_mean",
    "clamped_mean@good",
    "clamped_mean@biased",
    "clipped_mean",
    "multi_krum:{f},0",
    "nnm:{f},0",
    "geometric_median",
    "centered_clipping",
    "majority",
    "trimmed_mean:{f}",
    "guarded_trimmed_mean:{f}",
    "guarded_nnm:{f}",
    "guarded_mean",
    "guided_mean",
    "windowed_mean",
    "fltrust@good",
    "root_cosine@good",
    "root_veto:{f}@good",
    "root_guard@good",
    "rooted_mean@good",
    "root_veto:{f}@biased",
    "root_guard@biased",
    "rooted_mean@biased",
)
"""Rows of a grid; {f} is the number of attackers."""


def drill(
    attack: Annotated[
        str, typer.Option(help="The attack; --list shows them. Your own: FILE.py:FUNCTION.")
    ] = "sign-flip",
    rule: Annotated[
        str, typer.Option(help="Rule with its parameters; @good or @biased adds a root set.")
    ] = "clamped_mean",
    contributors: Annotated[int, typer.Option(min=2, max=256, help="Number of contributors.")] = 20,
    malicious: Annotated[int, typer.Option(min=0, help="Number of attackers among them.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 25,
    strength: Annotated[float | None, typer.Option(help="Strength of the attack. Default: its own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.")] = 0,
    width: Width = 8,
    feedback: Feedback = False,
    start: Start = "base",
    outer_rate: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The policy's rate, in 1/1024.", show_default="1024, with eager start 512"
        ),
    ] = None,
    outer_momentum: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The policy's momentum, in 1/1024.", show_default="0, with eager start 307"
        ),
    ] = None,
    task: Annotated[str, typer.Option(help="mnist or digits.")] = "mnist",
    rare: Annotated[
        str,
        typer.Option(metavar="CLASS:HOLDERS", help="Only this number of honest contributors has the class."),
    ] = "",
    chain: Annotated[
        bool, typer.Option("--chain", help="With the real contracts on a local chain: stakes, rewards, gas.")
    ] = False,
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
) -> None:
    """Attack a sandboxed federation, and show the cost for the model, the honest contributors and the attackers.

    Example: folkmoot drill --attack ipm-noise --rule clamped_mean
    """
    from folkmoot.protocol.outer_step import EAGER_MOMENTUM, EAGER_RATE, UNIT

    if list_:
        _list()
        return
    rate, momentum = (EAGER_RATE, EAGER_MOMENTUM) if start == "eager" else (UNIT, 0)
    fields = dict[str, Any](
        attack=attack,
        contributors=contributors,
        malicious=malicious,
        rounds=rounds,
        strength=strength,
        seed=seed,
        rare=_rare(rare),
        width=width,
        feedback=feedback,
        start=start,
        outer_rate=rate if outer_rate is None else outer_rate,
        outer_momentum=momentum if outer_momentum is None else outer_momentum,
        **_rule(rule),
    )
    if grid and chain:
        raise InputError(
            "A grid can't use a chain: it would deploy the contracts hundreds of times.",
            remedy="Leave out --chain, or run the drill that you want to see without --grid.",
        )

    def work() -> None:
        from folkmoot_lab.simulation.federation import Plan

        plan = Plan(**fields)
        if grid:
            chosen = rules.split() or [text.replace("{f}", str(malicious)) for text in GRID_RULES]
            _grid(plan, task, chosen, attacks.split(), seeds, out, plot)
        else:
            _one(plan, task, chain)

    if ".py" in f"{attack} {attacks}":
        from folkmoot_lab.simulation.apart import apart

        apart(work)
    else:
        work()


def _rule(text: str) -> dict[str, Any]:
    """Parse a rule ``name:1,2@root``; return the fields of a plan."""
    rule, _, root = text.partition("@")
    name, colon, numbers = rule.partition(":")
    try:
        parameters = tuple(int(number) for number in numbers.split(",")) if colon else ()
    except ValueError:
        raise InputError(
            f"{text!r} is not a rule.",
            remedy="Write a name and numbers, e.g. multi_krum:6,0 or root_cosine@good.",
        ) from None
    return {"rule": name, "parameters": parameters, "root": root or "none"}


def _rare(text: str) -> tuple[int, int] | None:
    """Parse ``9:2``; return the class and the number of its holders."""
    label, _, holders = text.partition(":")
    if not text:
        return None
    if not (label.isdecimal() and holders.isdecimal()):
        raise InputError(
            f"{text!r} is not a rare class.",
            remedy="Write CLASS:HOLDERS; 9:2 gives the class 9 to two of them.",
        )
    return int(label), int(holders)


def _list() -> None:
    from folkmoot.aggregation.registry import PARAMETERS
    from folkmoot_lab import rules
    from folkmoot_lab.simulation.attacks import ATTACKS

    rules.register()

    emit(
        {
            "attacks": {name: one.about for name, one in ATTACKS.items()},
            "rules": {name: list(parameters) for name, parameters in PARAMETERS.items()},
        },
        table(
            ["attack", "goal", "knows", "what it sends"],
            [[a.name, a.goal, a.knows, a.about] for a in ATTACKS.values()],
        ),
        table(["rule", "parameters"], [[name, ", ".join(p)] for name, p in PARAMETERS.items()]),
    )


def _one(plan: Plan, task: str, chain: bool) -> None:
    from folkmoot_lab.drills.data import workload
    from folkmoot_lab.simulation.federation import run

    with working("Reading the data"):
        data = workload(task, plan.rare)
    report = None
    with working(f"{plan.rounds} rounds without and {plan.rounds} with {plan.attack}"):
        calm = run(data, replace(plan, attack="none", strength=None))
        if chain:
            from folkmoot_lab.simulation.chain import run_on_chain

            outcome, report = run_on_chain(data, plan, say=note)
        else:
            outcome = calm if plan.attack == "none" else run(data, plan)
    document = {
        "task": task,
        "plan": asdict(plan),
        "withoutAttack": calm.to_json(),
        "withAttack": outcome.to_json(),
    }
    if report is None:
        emit(document, pairs(_lines(plan, calm, outcome)))
    else:
        shown = pairs(_lines(plan, calm, outcome) | _chain_lines(report))
        emit(document | {"chain": report.to_json()}, shown, _holdings(report))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _lines(plan: Plan, calm: Outcome, outcome: Outcome) -> dict[str, str]:
    from folkmoot_lab.simulation.grid import rule_text

    lines = {
        "rule": rule_text(plan),
        "attack": f"{plan.attack}, {plan.malicious} of {plan.contributors} contributors",
        "accuracy without attack": _percent(calm.accuracy),
        "accuracy with attack": _percent(outcome.accuracy),
    }
    if outcome.backdoor is not None:
        lines["backdoor works on"] = _percent(outcome.backdoor)
    if plan.rare is not None:
        lines |= {
            f"class {plan.rare[0]} found": f"{_percent(outcome.rare_recall)}, without attack "
            f"{_percent(calm.rare_recall)}; {plan.rare[1]} contributors hold it",
            "recall of each class": " ".join(f"{100 * one:.0f}" for one in outcome.recall) + " %",
            "their reward": f"{_percent(outcome.holders_pay)} of an equal share, without attack "
            f"{_percent(calm.holders_pay)}",
            "their updates left out": f"{_percent(outcome.holders_dropped)}, without attack "
            f"{_percent(calm.holders_dropped)}",
        }
    lines |= {
        "attackers' updates left out": _percent(outcome.detected),
        "honest updates left out": f"{_percent(outcome.honest_dropped)}, "
        f"{_percent(outcome.worst_honest_dropped)} of the one hit most",
        "the same without attack": f"{_percent(calm.honest_dropped)}, {_percent(calm.worst_honest_dropped)}",
        "honest weight lost": _percent(outcome.honest_weight_lost),
        "attacker's reward": f"{_percent(outcome.attacker_pay)} of an equal share, "
        f"{_percent(outcome.attacker_reward)} of an honest one's",
        "honest reward": f"{_percent(outcome.honest_pay)} of an equal share, "
        f"{_percent(outcome.least_honest_pay)} of the one paid least; without attack "
        f"{_percent(calm.honest_pay)} and {_percent(calm.least_honest_pay)}",
        "honest stake lost": "none: no rule takes stake (--chain has real stakes)",
    }
    return lines


def _chain_lines(report: ChainReport) -> dict[str, str]:
    """Return the values read from the chain, by name. The honest stake is then the one on the chain."""
    from folkmoot.runtime.units import format_amount

    steps = ", ".join(f"{step} {sum(gas) // report.rounds:,}" for step, gas in report.gas.items())
    lines = {
        "honest stake lost": f"{format_amount(report.honest_stake_lost)}, as the chain has it",
        "coordinator's bond": f"{format_amount(report.bond_before)} before, "
        f"{format_amount(report.bond_after)} after",
        "rounds on the chain": f"{report.rounds}, final and settled; stakes, rewards and supply add up",
        "gas": f"{report.deployment_gas:,} for the contracts, {report.round_gas:,} a round: {steps}",
    }
    refused = Counter((one.reason, one.error) for one in report.refusals)
    if refused:
        lines["refused"] = "; ".join(
            f"{count} as {reason}, by the ledger as {error}" for (reason, error), count in refused.items()
        )
    return lines


def _holdings(report: ChainReport) -> Any:
    from folkmoot.runtime.units import UNIT, format_amount

    place = UNIT // 10**4  # The table rounds; the JSON has all 18 decimal places.

    return table(
        ["contributor", "", "account", "stake before", "stake after", "can claim"],
        [
            [
                str(one.number),
                "attacks" if one.attacker else "honest",
                one.account[:10] + "\N{HORIZONTAL ELLIPSIS}",
                *(
                    format_amount(amount // place * place)
                    for amount in (one.stake_before, one.stake_after, one.claimable)
                ),
            ]
            for one in report.holdings
        ],
    )


def _grid(
    plan: Plan,
    task: str,
    rules: list[str],
    attacks: list[str],
    seeds: int,
    out: Path | None,
    plot: Path | None,
) -> None:
    from folkmoot_lab.drills.data import workload
    from folkmoot_lab.simulation.attack_file import names_file
    from folkmoot_lab.simulation.attacks import ATTACKS
    from folkmoot_lab.simulation.grid import Table, rule_text
    from folkmoot_lab.simulation.grid import grid as run_grid

    files = [name for name in attacks if names_file(name)]
    if out is not None and files:
        raise InputError(
            f"A grid's file would not see that {files[0]} changed: it keeps drills by the name of the attack.",
            remedy="Leave out --out, or the attacks from files.",
        )
    plans = [
        replace(plan, attack=attack, seed=plan.seed + seed, **_rule(rule))
        for rule in rules
        for attack in (attacks or list(ATTACKS))
        for seed in range(seeds)
    ]

    def progress(done: int, count: int, current: Plan, outcome: Outcome | None) -> None:
        if outcome is not None:
            accuracy = _percent(outcome.accuracy)
            note(f"{done}/{count} {rule_text(current)} {current.attack} seed {current.seed}: {accuracy}")

    cells = run_grid(workload(task, plan.rare), plans, out, progress)
    grid = Table.of(cells)
    if plot is not None:
        try:
            plot.write_text(grid.to_svg(), encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"The image {plot} can't be written: {error.strerror}.",
                remedy="Check that its folder exists and is writable, and that the disk has free space.",
            ) from error
    names = {
        "accuracy": "Accuracy, %",
        "backdoor": "Backdoor works on, %",
        "detected": "Attackers' updates left out, %",
        "honest_dropped": "Honest updates left out, %",
        "attacker_pay": "Attacker's reward, % of an equal share",
        "attacker_reward": "Attacker's reward, % of an honest one's",
        "honest_pay": "Honest reward, % of an equal share",
    }
    if plan.rare is not None:
        names |= {
            "rare_recall": f"Recall of class {plan.rare[0]}, which {plan.rare[1]} hold, %",
            "holders_pay": "Their reward, % of an equal share",
        }
    shown: list[Any] = []
    for name, title in names.items():
        shown += [title, table(["rule", *grid.attacks], grid.rows(name))]
    document = {
        "task": task,
        "cells": [{"plan": asdict(cell.plan), "outcome": cell.values} for cell in cells],
        "worst": {rule: round(grid.worst(rule), 4) for rule in grid.rules},
    }
    emit(document, *shown)
