# SPDX-License-Identifier: Apache-2.0
"""Run what is missing, and print the tables: ``python -m benchmarks.convergence [--seeds N] [--only TEXT] ...``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from folkmoot_lab.simulation import kept

from benchmarks import program
from benchmarks.convergence.federation import compare
from benchmarks.convergence.results import Key, is_steady, load, markdown, rows, summary, to_json
from benchmarks.convergence.trials import Trial, scenarios, steady

_RESULTS = Path(__file__).parent / "results" / "convergence.jsonl"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.convergence",
        description="Training through the integers beside federated averaging in floats.",
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the steady trainings (default 3)")
    parser.add_argument("--scenario-seeds", type=int, default=1, help="seeds of the scenarios (default 1)")
    parser.add_argument(
        "--only", default="", help="only trainings whose model or scenario has this in its name"
    )
    parser.add_argument("--results", type=Path, default=_RESULTS, help="file that keeps what was measured")
    parser.add_argument("--table", action="store_true", help="print the tables of what is there, run nothing")
    return parser.parse_args()


def run(trials: list[Trial], path: Path) -> None:
    """Run the trials that are not in the file yet, and add each as it comes."""
    done = load(path)
    kept.prepare(path)
    missing = [trial for trial in trials if Key.of(trial) not in done]
    start = time.monotonic()
    for number, trial in enumerate(missing, 1):
        key, result = Key.of(trial), compare(trial.subject, trial.course)
        kept.add(path, to_json(key, result))
        left = (time.monotonic() - start) / number * (len(missing) - number)
        print(
            f"{number}/{len(missing)} {key.subject}, {key.scenario}, rate {key.rate:g}, seed {key.seed}: "
            f"float {result.floats:.4f}, integers {result.integers:.4f}, refused {result.refused} "
            f"(about {left / 60:.0f} min left)",
            file=sys.stderr,
            flush=True,
        )


def work(options: argparse.Namespace) -> None:
    """Run and print.

    Raises:
        FolkmootError: The file of results can't be read or written.
    """
    torch.set_num_threads(1)
    trials = [*steady(options.seeds), *scenarios(options.scenario_seeds)]
    trials.sort(key=lambda trial: trial.course.seed)  # an interrupted run has seen everything once
    trials = [trial for trial in trials if options.only in trial.subject.name + " " + trial.scenario]
    if not options.table:
        run(trials, options.results)
    results = load(options.results)
    plain, other = rows(results, is_steady), rows(results, lambda key: not is_steady(key))
    for table, scenario in ((plain, False), (other, True)):
        print(f"\n{markdown(table, scenario)}\n\n{summary(table)}")


def main() -> None:
    """Run the program."""
    program.run(lambda: work(arguments()))


if __name__ == "__main__":
    main()
