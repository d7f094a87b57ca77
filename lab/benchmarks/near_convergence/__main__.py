# SPDX-License-Identifier: Apache-2.0
"""Run what the file does not have yet, and print the table: ``python -m benchmarks.near_convergence``."""

from __future__ import annotations

import argparse
import sys
from functools import cache
from itertools import product
from pathlib import Path

from folkmoot_lab.simulation import kept
from folkmoot_lab.simulation.federation import Plan

from benchmarks import program
from benchmarks.near_convergence import sets
from benchmarks.near_convergence.federation import measure
from benchmarks.near_convergence.results import Key, load, markdown, to_json
from benchmarks.near_convergence.sets import MODELS, SPLITS, TABLES, Setting
from folkmoot.errors import InputError

_RESULTS = Path(__file__).parent / "results"
_BATCHES = (16, 0)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.near_convergence",
        description="How often is an honest update left out, on ten small data sets?",
    )
    parser.add_argument("--rule", default="clamped_mean", help="aggregation rule")
    parser.add_argument("--attack", default="none", help="what the malicious contributors do")
    parser.add_argument("--contributors", type=int, default=5, help="all contributors")
    parser.add_argument("--malicious", type=int, default=0, help="attackers among them")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of a federation")
    parser.add_argument("--seeds", type=int, default=3, help="seeds, from 0 on")
    parser.add_argument("--sets", default=",".join(TABLES), help="data sets, separated by commas")
    parser.add_argument(
        "--out", type=Path, default=_RESULTS / "after.jsonl", help="what it has is not run again"
    )
    parser.add_argument("--table", action="store_true", help="run nothing, print the table of the file")
    return parser.parse_args()


def work(chosen: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        FolkmootError: It says something that can't be done.
    """
    names = chosen.sets.split(",")
    if unknown := sorted(set(names) - set(TABLES)):
        raise InputError(
            f"There is no data set {unknown[0]!r}.", remedy=f"The data sets are {', '.join(TABLES)}."
        )
    keys = [
        Key(
            Setting(name, model, split, batch),
            chosen.rule,
            chosen.attack,
            chosen.contributors,
            chosen.malicious,
            chosen.rounds,
            seed,
        )
        for name, model, split, batch, seed in product(names, MODELS, SPLITS, _BATCHES, range(chosen.seeds))
    ]
    done = load(chosen.out)
    missing = [] if chosen.table else [key for key in keys if key not in done]
    kept.prepare(chosen.out)
    sets.TABLES.update({name: cache(read) for name, read in TABLES.items()})
    for number, key in enumerate(missing, 1):
        plan = Plan(
            key.rule,
            attack=key.attack,
            contributors=key.contributors,
            malicious=key.malicious,
            rounds=key.rounds,
            seed=key.seed,
        )
        done[key] = measure(key.setting, plan)
        kept.add(chosen.out, to_json(key, done[key]))
        print(
            f"\r{number}/{len(missing)} {key.setting.table}",
            end="\n" * (number == len(missing)),
            file=sys.stderr,
        )
    print(markdown(done, keys))


def main() -> None:
    """Run the program."""
    program.run(lambda: work(arguments()))


if __name__ == "__main__":
    main()
