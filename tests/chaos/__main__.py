# SPDX-License-Identifier: Apache-2.0
"""`make chaos`: kill the coordinator, and see that nothing comes of it.

For each story a run without harm says how it ends. Then the coordinator dies at every one of its fault points, over as
many worlds as that takes; then at random times, while the chain reorganises and its endpoint fails. So do its repair
and its restore, in the stories in which files or the database are lost. Each story must end the same each time, and the
audit be clean. All of it on SQLite and a folder, and all of it on PostgreSQL and a bucket, which fail too. Prints a
line a fault. Ends with 1, and says the seed, at the first promise that is broken, and if a fault point is in no story.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from folkmoot_lab.faults import POINTS

from tests import s3
from tests.chaos.commands import COMMAND_POINTS, REPAIR, RESTORE, planned
from tests.chaos.supervisor import Fault, Plan
from tests.chaos.world import STORIES, Result, play
from tests.postgres import databases

OF_ROLLBACKS = [point for point in POINTS if point.startswith("coordinator.chain-rewound.")]
EVERY_POINT = [point for point in POINTS if point.startswith("coordinator.") and point not in OF_ROLLBACKS]
"""Those of other processes are met elsewhere: `KILLED_BY` in tests/unit/runtime/test_fault_points.py."""
IN_STORIES = {
    ("people", "money", "chain"): EVERY_POINT,
    ("rollback",): OF_ROLLBACKS,
    ("files",): [planned(REPAIR, point) for point in COMMAND_POINTS[REPAIR]],
    ("database",): [planned(RESTORE, point) for point in COMMAND_POINTS[RESTORE]],
}
"""What must be met when all of these stories are played."""
OF_BUCKETS = ("coordinator.file-sent.before", "coordinator.file-sent.after")
"""Those that a process whose store is a folder never comes to."""
RANDOM_KILLS, RANDOM_REORGS, RANDOM_OUTAGES, RANDOM_CUTS = 25, 5, 3, 3
"""At most so many in one world."""
POINT_PASSES = 2
"""Times that all stories are played to come to a fault point."""


def say(line: str) -> None:
    """Print a line now."""
    print(line, flush=True)


@dataclass
class Campaign:
    """All worlds on one kind of database.

    Args:
        folder: An empty folder.
        seed: What decides about the harm.
        urls: A database for each world.
        stories: Which ones are played.
        files: The S3 server for their buckets; folders if none.
    """

    folder: Path
    seed: int
    urls: Iterator[str]
    stories: list[str] = field(default_factory=lambda: [*STORIES])
    files: s3.Server | None = None
    faults: list[Fault] = field(default_factory=list)
    _number: int = 0
    _without: dict[str, Result] = field(default_factory=dict)

    def points(self, points: list[str]) -> None:
        """Kill at each of these fault points.

        Raises:
            SystemExit: A promise was broken, or a point was not met.
        """
        left = tuple(points)
        for story in self.stories * POINT_PASSES:
            if left:
                left = self._world(story, Plan(points=left, losses=True)).left.points
        if left:
            say(f"BROKEN: {len(left)} fault points are in no story: {', '.join(left)}; seed {self.seed}")
            raise SystemExit(1)

    def random(self, left: Plan) -> None:
        """Do so much harm, over as many worlds as that takes.

        Raises:
            SystemExit: A promise was broken.
        """
        first = self.seed % len(self.stories)  # not all of them have their turn
        for story in cycle(self.stories[first:] + self.stories[:first]):
            if not (left.kills or left.reorgs or left.outages or left.cuts):
                break
            plan = Plan(
                kills=min(left.kills, RANDOM_KILLS),
                reorgs=min(left.reorgs, RANDOM_REORGS),
                outages=min(left.outages, RANDOM_OUTAGES),
                cuts=min(left.cuts, RANDOM_CUTS),
                long_outages=min(left.long_outages, 1),
                losses=True,
            )
            over = self._world(story, plan).left
            left = Plan(
                kills=left.kills - plan.kills + over.kills,
                reorgs=left.reorgs - plan.reorgs + over.reorgs,
                outages=left.outages - plan.outages + over.outages,
                cuts=left.cuts - plan.cuts + over.cuts,
                long_outages=left.long_outages - plan.long_outages + over.long_outages,
            )

    def _world(self, story: str, plan: Plan) -> Result:
        if story not in self._without:
            self._without[story] = self._play(story, Plan(), None)
            for number, facts in self._without[story].rounds.items():
                say(f"  round {number} {facts.phase.lower()}, state root {facts.state_root[:16] or '-'}")
        return self._play(story, plan, self._without[story])

    def _play(self, story: str, plan: Plan, without: Result | None) -> Result:
        self._number += 1
        harm = ", ".join(_harm(plan)) or "nothing"
        say(f"\nworld {self._number}, story {story!r}; to come: {harm}")
        home = self.folder / str(self._number)
        home.mkdir()
        found = play(
            home,
            STORIES[story],
            plan,
            f"{self.seed}/{self._number}",
            database_url=next(self.urls),
            files=self.files,
            reference=without.rounds if without else None,
            say=say,
        )
        say(f"world {self._number} took {found.seconds:.0f} s")
        self.faults.extend(found.faults)
        if found.wrong:
            say((home / "home" / "log").read_text(errors="replace")[-200_000:])
            for line in found.wrong:
                say(f"BROKEN: {line}")
            say(f"seed {self.seed}, world {self._number}")
            raise SystemExit(1)
        return found


def main() -> int:
    """Run it; return the exit status."""
    arguments = _parse()
    os.environ.update(s3.ENVIRONMENT)
    for name in ("sqlite", "postgresql") if arguments.database == "both" else (arguments.database,):
        began = time.monotonic()
        say(f"On {name}, seed {arguments.seed}.")
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="folkmoot-chaos-")))
            campaign = Campaign(
                folder, arguments.seed, cycle([""]), arguments.stories
            )  # SQLite: a file in each coordinator's folder
            if name == "postgresql":
                campaign.urls = stack.enter_context(databases())
                campaign.files = stack.enter_context(s3.moto(folder / "s3.log"))
            points = [
                point
                for stories, points in IN_STORIES.items()
                if set(stories) <= set(arguments.stories)
                for point in points
                if campaign.files or not point.endswith(OF_BUCKETS)
            ]
            if arguments.points is not None:
                points = random.Random(arguments.seed).sample(points, min(arguments.points, len(points)))
            campaign.points(points)
            campaign.random(
                Plan(
                    kills=arguments.kills,
                    reorgs=arguments.reorgs,
                    outages=arguments.outages,
                    cuts=arguments.cuts if name == "postgresql" else 0,
                    long_outages=arguments.long_outages,
                )
            )
        _summary(name, campaign.faults, arguments.seed, time.monotonic() - began)
    return 0


def _harm(plan: Plan) -> Iterator[str]:
    for count, name in (
        (len(plan.points), "fault points"),
        (plan.kills, "kills"),
        (plan.reorgs, "reorgs"),
        (plan.outages, "outages"),
        (plan.cuts, "outages of database and bucket"),
        (int(plan.losses), "loss of files and databases, if it is in the story"),
    ):
        if count:
            yield f"{count} {name}"


def _summary(database: str, faults: list[Fault], seed: int, seconds: float) -> None:
    counts = {
        kind: sum(fault.kind == kind for fault in faults)
        for kind in ("point", "kill", "reorg", "outage", "cut", REPAIR, RESTORE)
    }
    say(
        f"\n{database}: {counts['point']} kills at fault points, {counts['kill']} at random times, "
        f"{counts['reorg']} reorgs, {counts['outage']} outages of the endpoint"
        + (f", {counts['cut']} of database and bucket" if counts["cut"] else "")
        + f", {counts[REPAIR]} kills of repair, {counts[RESTORE]} of restore"
        + f" in {seconds:.0f} s, seed {seed}; every promise was kept."
    )
    for name, kinds in (("a kill", ("point", "kill")), ("the beginning of an outage", ("outage", "cut"))):
        times = sorted(f.on_after for f in faults if f.kind in kinds and f.on_after is not None)
        if times:
            say(f"On again after {name}: median {statistics.median(times):.1f} s, at most {times[-1]:.1f} s.")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="what decides about the harm (1)")
    parser.add_argument("--database", choices=("both", "sqlite", "postgresql"), default="both", help="(both)")
    parser.add_argument(
        "--stories",
        nargs="+",
        choices=tuple(STORIES),
        default=[*STORIES],
        help="which are played; fault points that are only in others are left out (all)",
    )
    parser.add_argument(
        "--points", type=int, help="kill at so many fault points, chosen by the seed (all of them)"
    )
    parser.add_argument("--kills", type=int, default=100, help="kills at random times (100)")
    parser.add_argument("--reorgs", type=int, default=20, help="reorgs (20)")
    parser.add_argument("--outages", type=int, default=10, help="outages of the RPC endpoint (10)")
    parser.add_argument(
        "--cuts",
        type=int,
        default=10,
        help="outages of the database's server and of the bucket, on PostgreSQL (10)",
    )
    parser.add_argument(
        "--long-outages", type=int, default=2, help="how many of the outages last a whole minute (2)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
