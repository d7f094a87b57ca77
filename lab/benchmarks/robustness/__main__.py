# SPDX-License-Identifier: Apache-2.0
"""Run the comparison, or print its table: ``python -m benchmarks.robustness [--task mnist|digits] [--seeds N] ...``."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from pathlib import Path

import numpy as np
from folkmoot_lab.drills.data import NAMES, workload
from folkmoot_lab.simulation import kept
from folkmoot_lab.simulation.attacks import ATTACKS, attack
from folkmoot_lab.simulation.federation import LAST_ROUNDS, Plan, Run, Workload

from benchmarks import program
from benchmarks.robustness import contenders
from benchmarks.robustness.results import Found, Key, Setting, load, markdown, picture, rows, to_json
from folkmoot.errors import InputError

_RESULTS = Path(__file__).parent / "results"
_SIZES = {"mnist": (20, 6), "digits": (12, 3)}


def drill(run: Run, by: str) -> Found:
    """Run all rounds of a drill."""
    for number in range(run.plan.rounds):
        run.round(number)
    backdoors = run.backdoors[-LAST_ROUNDS:]
    return Found(
        by,
        round(float(np.mean(run.curve[-LAST_ROUNDS:])), 4),
        round(float(np.mean(backdoors)), 4) if backdoors else None,
    )


def compare(
    data: Workload,
    keys: list[Key],
    known: dict[str, contenders.Contender],
    path: Path,
    done: dict[Key, Found],
) -> None:
    """Run the drills that are not done yet, and add each to the file as it comes."""
    missing = [key for key in keys if key not in done]
    start = time.monotonic()
    for number, key in enumerate(missing, 1):
        setting, who = key.setting, known[key.contender]
        plan = Plan(
            attack=key.attack,
            contributors=setting.contributors,
            malicious=setting.malicious,
            rounds=setting.rounds,
            seed=key.seed,
        )
        # Flower's Bulyan calls gc.collect for every reply, which takes a quarter of a second with torch loaded.
        gc.freeze()
        before = time.monotonic()
        found = drill(who.start(data, plan), who.by)
        done[key] = found
        kept.add(path, to_json(key, found))
        now = time.monotonic()
        left = (now - start) / number * (len(missing) - number)
        print(
            f"{number}/{len(missing)} {key.contender} {key.attack} seed {key.seed}: "
            f"{100 * found.accuracy:.1f} % ({now - before:.1f} s; about {left / 60:.0f} min left)",
            file=sys.stderr,
            flush=True,
        )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness",
        description="Our rules beside the peers' own code, under attack.",
    )
    parser.add_argument("--task", choices=NAMES, default="mnist", help="what is trained")
    parser.add_argument("--contributors", type=int, help="all contributors (mnist 20, digits 12)")
    parser.add_argument("--malicious", type=int, help="attackers among them (mnist 6, digits 3)")
    parser.add_argument("--rounds", type=int, default=25, help="rounds of a drill")
    parser.add_argument("--seeds", type=int, default=3, help="seeds, from 0 on")
    parser.add_argument("--attacks", default="", help="attacks, separated by spaces; all if not given")
    parser.add_argument("--rules", default="", help="contenders, separated by spaces; all if not given")
    parser.add_argument("--list", action="store_true", help="list the contenders")
    parser.add_argument("--out", type=Path, help="file of results; what it has is not run again")
    parser.add_argument(
        "--again", action="store_true", help="forget what the file has of these contenders, run anew"
    )
    parser.add_argument("--table", action="store_true", help="run nothing, print the table of the file")
    parser.add_argument("--plot", type=Path, help="draw the accuracies into this SVG file")
    return parser.parse_args()


def work(chosen: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        FolkmootError: It says something that can't be done.
    """
    if not chosen.table and not chosen.rules and (missing := contenders.byzfl_missing()):
        print(missing, file=sys.stderr)
    if chosen.list:
        print("\n".join(f"{one.name:40} {one.by}" for one in contenders.chosen([])))
        return
    count, bad = _SIZES[chosen.task]
    setting = Setting(
        chosen.task,
        count if chosen.contributors is None else chosen.contributors,
        bad if chosen.malicious is None else chosen.malicious,
        chosen.rounds,
    )
    path = chosen.out or _RESULTS / f"{setting.task}-{setting.contributors}-{setting.malicious}.jsonl"
    done = load(path)
    if not chosen.table:
        if chosen.seeds < 1 or 2 * setting.malicious >= setting.contributors:
            raise InputError("There must be a seed, and an honest majority, which every peer asks for.")
        who = contenders.chosen(chosen.rules.split())
        names = [attack(name).name for name in chosen.attacks.split()] or list(ATTACKS)
        if chosen.again:
            old = {one.name for one in who}
            done = {k: v for k, v in done.items() if k.setting != setting or k.contender not in old}
        kept.write(path, [to_json(*one) for one in done.items()])
        keys = [
            Key(setting, one.name, name, seed)
            for seed in range(chosen.seeds)
            for searching in (False, True)  # attacks that try out candidates take ten times as long
            for one in who
            for name in names
            if name.startswith("adaptive") == searching
        ]
        data = workload(chosen.task)
        compare(data, keys, {one.name: one for one in who}, path, done)
    print(
        f"{setting.task}, {setting.contributors} contributors, {setting.malicious} malicious, {setting.rounds} rounds"
    )
    print(markdown(rows(done, setting)))
    if chosen.plot is not None:
        chosen.plot.write_text(picture(done, setting), encoding="utf-8")


def main() -> None:
    """Run the program."""
    program.run(lambda: work(arguments()))


if __name__ == "__main__":
    main()
