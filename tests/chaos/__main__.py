# SPDX-License-Identifier: Apache-2.0
"""`make chaos`: kill the coordinator, and see that nothing comes of it.

First a run without faults says how the story ends. Then the coordinator dies at fault points (with `--points`), then at
random times while the chain reorganises and its endpoint fails; the story must end the same each time, and the audit be
clean. Prints a line a fault. Ends with 1, and says the seed, at the first promise that is broken.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from folkmoot.fault_points import POINTS
from tests.chaos.supervisor import Fault, Plan
from tests.chaos.world import WHOLE_STORY, Result, play

RANDOM_KILLS, RANDOM_REORGS, RANDOM_OUTAGES = 25, 5, 3
"""At most so many in one world."""


def say(line: str) -> None:
    """Print a line now."""
    print(line, flush=True)


def main() -> int:
    """Run it; return the exit status."""
    arguments = _parse()
    began = time.monotonic()
    faults: list[Fault] = []
    every = [point for point in POINTS if point.startswith("coordinator.")]
    points = random.Random(arguments.seed).sample(every, min(arguments.points, len(every)))
    kills, reorgs, outages = arguments.kills, arguments.reorgs, arguments.outages
    with tempfile.TemporaryDirectory(prefix="folkmoot-chaos-") as folder:
        number = 0

        def world(name: str, plan: Plan, reference: Result | None = None) -> Result:
            nonlocal number
            number += 1
            print(f"\nworld {number}: {name}", flush=True)
            home = Path(folder, str(number))
            home.mkdir()
            rounds = reference.rounds if reference else None
            found = play(home, WHOLE_STORY, plan, f"{arguments.seed}/{number}", reference=rounds, say=say)
            print(f"world {number} took {found.seconds:.0f} s", flush=True)
            faults.extend(found.faults)
            if found.wrong:
                print((home / "home" / "log").read_text(errors="replace")[-4000:])
                for line in found.wrong:
                    print(f"BROKEN: {line}")
                print(f"seed {arguments.seed}, world {number}", flush=True)
                raise SystemExit(1)
            return found

        reference = world("without faults", Plan())
        for number_, facts in reference.rounds.items():
            print(f"  round {number_} {facts.phase.lower()}, state root {facts.state_root[:16] or '-'}")
        if points:
            left = world("fault points", Plan(points=tuple(points)), reference).left
            print(
                f"{len(left.points)} of {len(points)} fault points are not in this story: {', '.join(left.points)}"
            )
        while kills or reorgs or outages:
            plan = Plan(
                kills=min(kills, RANDOM_KILLS), reorgs=min(reorgs, RANDOM_REORGS), outages=min(outages, RANDOM_OUTAGES)
            )  # fmt: skip
            left = world("random kills, reorgs, outages", plan, reference).left
            kills -= plan.kills - left.kills
            reorgs -= plan.reorgs - left.reorgs
            outages -= plan.outages - left.outages
    _summary(faults, arguments.seed, time.monotonic() - began)
    return 0


def _summary(faults: list[Fault], seed: int, seconds: float) -> None:
    counts = {
        kind: sum(fault.kind == kind for fault in faults) for kind in ("point", "kill", "reorg", "outage")
    }
    print(
        f"\n{counts['point']} kills at fault points, {counts['kill']} at random times, {counts['reorg']} reorgs, "
        f"{counts['outage']} outages in {seconds:.0f} s, seed {seed}; every promise was kept."
    )
    for name, kinds in (("a kill", ("point", "kill")), ("the beginning of an outage", ("outage",))):
        times = sorted(f.on_after for f in faults if f.kind in kinds and f.on_after is not None)
        if times:
            print(
                f"On again after {name}: median {statistics.median(times):.1f} s, at most {times[-1]:.1f} s."
            )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="what decides about the harm (1)")
    parser.add_argument("--kills", type=int, default=100, help="kills at random times (100)")
    parser.add_argument("--reorgs", type=int, default=20, help="reorgs (20)")
    parser.add_argument("--outages", type=int, default=10, help="outages of the RPC endpoint (10)")
    parser.add_argument(
        "--points", type=int, default=0, help="kills at so many fault points, chosen by the seed (0)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
