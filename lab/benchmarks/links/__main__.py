# SPDX-License-Identifier: Apache-2.0
"""Measure torch's DDP, FSDP and DiLoCo in float32, and Folkmoot, on the same slow lines.

    python -m benchmarks.links lines [--models 1M 10M] [--ways ...] [--lines 100 20 5 adsl ...] [--times 1]
    python -m benchmarks.links losses [--seeds 3] [--local-steps 20] [--rounds 3] [--pieces 24] [--ways ...]
    python -m benchmarks.links step [--models 1M 10M]
    python -m benchmarks.links table [--local-steps 20] [--compute SECONDS] [--plot FOLDER]

`lines` makes a network namespace for each party and carries one exchange of each way over shaped lines (root). `losses`
trains a small language model in each way, without lines. `step` measures what computing takes. `table` composes the
three and says what it composed. Each measurement is a line in benchmarks/links/results.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from benchmarks import program
from benchmarks.links import losses, traffic
from benchmarks.links.models import BATCH, LOCAL_STEPS, SIZES
from benchmarks.links.results import (
    FOLDER,
    Results,
    Step,
    clock_table,
    loss_table,
    picture,
    traffic_table,
)
from folkmoot.errors import InputError
from folkmoot.protocol.outer_step import UNIT
from folkmoot.tasks.text.gpt import Gpt, losses_of

_STEPS = 3


def step_of(model: str) -> Step:
    """Measure the processor time of a worker's step, forward and backward: the best of some."""
    torch.set_num_threads(1)
    made = Gpt(SIZES[model])
    pieces = torch.randint(256, (BATCH, SIZES[model].context))
    best = float("inf")
    for _ in range(_STEPS):
        began = time.process_time()
        losses_of(made, pieces, pieces).mean().backward()
        best = min(best, time.process_time() - began)
    return Step(model, pieces.numel(), round(best, 4))


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.links",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    parts = parser.add_subparsers(dest="part", required=True, metavar="lines|losses|step|table")

    def add_models(part: argparse.ArgumentParser) -> None:
        part.add_argument(
            "--models", nargs="+", choices=list(SIZES), default=["1M", "10M"], help="models (default: 1M 10M)"
        )

    one = parts.add_parser("lines", help="bytes and seconds of one exchange on shaped lines")
    add_models(one)
    one.add_argument(
        "--ways", nargs="+", choices=traffic.WAYS, default=traffic.WAYS, help="ways; all if left out"
    )
    one.add_argument(
        "--lines",
        nargs="+",
        choices=list(traffic.SETTINGS),
        default=list(traffic.SETTINGS),
        help="Mbit/s, down/up 5/0.8 for adsl; all if left out",
    )
    one.add_argument("--times", type=int, default=1, help="repetitions of each exchange")

    two = parts.add_parser("losses", help="losses by tokens, without lines")
    two.add_argument(
        "--ways", nargs="+", choices=losses.WAYS, default=losses.WAYS, help="ways; all if left out"
    )
    two.add_argument("--seeds", type=int, default=3, help="seeds, from 0 on")
    two.add_argument("--local-steps", type=int, default=LOCAL_STEPS, help="steps of a round, H")
    two.add_argument("--rounds", type=int, default=4, help="rounds")
    two.add_argument("--pieces", type=int, default=24, help="pieces of 64 tokens of a worker's step")
    two.add_argument("--rate", type=int, default=UNIT, help="rate of the outer step, in 1/1024")
    two.add_argument("--momentum", type=int, default=0, help="its momentum, in 1/1024")
    two.add_argument(
        "--shuffled", action="store_true", help="let each contributor draw from all texts, not from its own"
    )

    three = parts.add_parser("step", help="processor seconds of a step")
    add_models(three)

    four = parts.add_parser("table", help="print the tables")
    four.add_argument(
        "--local-steps", type=int, default=LOCAL_STEPS, help="steps of a round, H, for bytes and seconds"
    )
    four.add_argument(
        "--compute", type=float, help="seconds of a step's computing; by default as measured by `step`"
    )
    four.add_argument("--plot", type=Path, help="draw into this folder: links-MODEL.svg")
    return parser.parse_args(words)


def work(chosen: argparse.Namespace) -> None:
    """Do what the command line says.

    Raises:
        FolkmootError: It can't be done.
    """
    results = Results(chosen.results)
    if chosen.part == "lines":
        for model in chosen.models:
            traffic.measure(
                model, chosen.ways, chosen.lines, chosen.times, lambda one: _take(results, one), _say
            )
    elif chosen.part == "losses":
        if min(chosen.seeds, chosen.local_steps, chosen.rounds, chosen.pieces) < 1:
            raise InputError(
                "Seeds, steps, rounds and pieces must be at least 1.", remedy="Give larger numbers."
            )
        done = {curve.plan for curve in results.curves()}
        for seed in range(chosen.seeds):
            for way in chosen.ways:
                plan = losses.Plan(
                    way,
                    seed,
                    chosen.local_steps,
                    chosen.rounds,
                    chosen.pieces,
                    chosen.rate,
                    chosen.momentum,
                    chosen.shuffled and way != losses.DDP,
                )
                if plan not in done:
                    _take(results, losses.train(plan))
    elif chosen.part == "step":
        for model in chosen.models:
            _take(results, step_of(model))
    else:
        _print(results, chosen)


def _take(results: Results, one: traffic.Exchange | losses.Curve | Step) -> None:
    results.add(one)
    _say(str(one))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(results: Results, chosen: argparse.Namespace) -> None:
    for model, step in results.steps().items():
        compute = chosen.compute or step.seconds
        print(
            f"\n{model}: {chosen.local_steps} steps a round, {compute:g} s of computing a step "
            "(composed: a step, ratios)\n"
        )
        print(traffic_table(results, model, chosen.local_steps, compute))
        if model == "1M":
            print("\nLosses at equal tokens (measured)\n")
            print(loss_table(results))
            print("\nLosses by the clock, when width 4 ends (composed)\n")
            print(clock_table(results, model, compute))
        if chosen.plot is not None:
            path = chosen.plot / f"links-{model.lower()}.svg"
            path.write_bytes(picture(results, model, chosen.local_steps))


def main() -> None:
    """Run the program."""
    program.run(lambda: work(arguments()))


if __name__ == "__main__":
    main()
