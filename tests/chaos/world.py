# SPDX-License-Identifier: Apache-2.0
"""One world: a chain, a federation, a coordinator in a process of its own, and people who play a story in it."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, select

from folkmoot.protocol.policy import ARBITER
from folkmoot.runtime.processes import free_port
from server.db.engine import Database
from server.db.models import Round
from server.db.steps import ENDED
from tests import s3
from tests.chaos import facts
from tests.chaos.bereft import Bereft, loses
from tests.chaos.commands import REPAIR, RESTORE, Command, planned
from tests.chaos.facts import RoundFacts
from tests.chaos.local_chain import Miner, OtherAnvil
from tests.chaos.losses import Losses, Mirror
from tests.chaos.people import EVALUATOR
from tests.chaos.shelves import BucketShelf, FolderShelf, RoundFiles
from tests.chaos.supervisor import Fault, Plan, Supervisor
from tests.factories import account
from tests.integration.coordinator_world import federation, make_home
from tests.line import BAD_GATEWAY, HANG, REFUSE, Line

CONFIRMATIONS = 4
"""Blocks after which a transaction counts as settled."""
WINDOWS: dict[str, Any] = {"commit_window": 1500, "anchor_window": 900, "challenge_window": 600}
"""Seconds of the chain's clock, which stands almost still: nobody is late on a slow machine."""
COMMIT_MARGIN = 500

Story = tuple[tuple[str, ...], ...]
"""Runs, each with its kinds of rounds; see `People`."""
STORIES: dict[str, Story] = {
    "people": (("mixed",), ("closing",), ("alone", "fallen", "released", "plain")),
    "money": (("penniless",), ("unopened",), ("early", "leaving", "crowded"), ("deep",)),
    "chain": (("silent", "lost", "stolen", "retaken"), ("void",), ("sent",)),
    "rollback": (("sent", "undone"), ("rolled",)),
    "files": (("spoilt", "spoilt", "plain"),),
    "database": (("forsaken", "upcoming", "committing", "delivering", "pending", "unsettled"),),
}
"""All ways in, an early end of a commit window, too few, a canary's two endings, a stranger's final word, demands for
data; stakes that go and come, fees, gaps, and a deep reorg; final words and anchors that are lost, a round that nobody
delivers to, and a void one; rounds that the chain loses as a whole; files of the store that are lost, and repaired;
databases that are lost, and restored. Who is absent from three rounds in a row may be removed: who commits by itself
does so in the first rounds."""
SHORT_STORY: Story = (("alone", "mixed"),)


@dataclass
class Result:
    """What became of a world."""

    rounds: dict[int, RoundFacts] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    left: Plan = field(default_factory=Plan)
    """What was not done before the story ended."""
    wrong: list[str] = field(default_factory=list)
    """Every promise that was broken."""
    seconds: float = 0.0


def play(
    folder: Path,
    story: Story,
    plan: Plan,
    seed: str,
    *,
    database_url: str = "",
    files: s3.Server | None = None,
    reference: dict[int, RoundFacts] | None = None,
    say: Callable[[str], None] = print,
) -> Result:
    """Play a story while harm is done, and look at what came of it.

    Args:
        folder: An empty folder for the coordinator's home.
        story: What is played.
        plan: The harm.
        seed: What decides about the harm.
        database_url: An empty PostgreSQL database for the coordinator; a SQLite file of its own if empty.
        files: An S3 server, in which a bucket is made for the coordinator; a folder of its own if none. Its keys must
            be in the environment.
        reference: The rounds of the same story without harm.
        say: Takes a line for people.
    """
    result, began = Result(), time.monotonic()
    with ExitStack() as stack:
        anvil = stack.enter_context(OtherAnvil())
        lines = [Line(anvil.port or 0, "the RPC endpoint", (REFUSE, HANG, BAD_GATEWAY))]
        parts: dict[str, Any] = {"rpc_url": lines[0].url}
        if database_url:
            lines.append(Line(socket_of(database_url), "the database", (REFUSE, HANG)))
            parts["database_url"] = with_port(database_url, lines[-1].port)
        bucket = f"world-{uuid.uuid4()}"
        if files is not None:
            files.make_bucket(bucket)
            lines.append(Line(files.port, "the bucket", (REFUSE, HANG, BAD_GATEWAY)))
            parts |= {"store_endpoint": lines[-1].url, "store_region": s3.REGION, "store": f"s3://{bucket}/a"}
        for line in lines:
            stack.callback(line.close)
        world = federation(anvil, verifier=ARBITER, **WINDOWS)
        stack.callback(world.chain.close)
        home = folder / "home"
        settings = make_home(
            home,
            world,
            **parts,
            time_travel=False,
            poll_interval=0.1,
            confirmations=CONFIRMATIONS,
            commit_margin=COMMIT_MARGIN,
            canary=True,
            canary_evaluator=account(EVALUATOR).address,
            requests_per_second=1000,
        )
        database = Database.open(database_url or settings.resolved_database_url)
        stack.callback(database.close)
        miner = stack.enter_context(Miner(anvil))
        supervisor = Supervisor(
            home,
            free_port(),
            plan,
            seed,
            CONFIRMATIONS,
            miner,
            tuple(lines),
            world.coordinator.address,
            lambda: where(database),
            say,
        )
        round_files: RoundFiles = FolderShelf(settings.store_folder)
        if files is not None:
            round_files = BucketShelf(files, bucket, "a", settings.store_folder)
        people = Bereft(world, miner, supervisor, database, round_files, CONFIRMATIONS)
        stack.callback(people.close)
        points = {name: _points_of(name, plan) for name in (REPAIR, RESTORE)}
        try:
            with supervisor, ExitStack() as mirrored:
                if plan.losses and loses(story):
                    mirror = Mirror(
                        folder / "mirror", round_files.location, anvil.url, home / "deployment.json"
                    )
                    mirrored.callback(mirror.close)
                    url = database_url or settings.resolved_database_url
                    people.losses = losses_of(people, mirror, url, f"losses/{seed}", points)
                for kinds in story:
                    people.run(kinds)
        except AssertionError as error:
            supervisor.wrong.append(str(error))
        result.faults, result.left, result.wrong = supervisor.faults, supervisor.left, supervisor.wrong
        result.left = replace(
            result.left,
            points=(
                *result.left.points,
                *(planned(name, point) for name, left in points.items() for point in left),
            ),
        )
        if not result.wrong:
            result.rounds = facts.rounds_of(world.chain)
            result.wrong += facts.differences(result.rounds, reference or result.rounds)
            result.wrong += facts.violations_on_chain(world.chain, world.coordinator.address, people.accepted)
            result.wrong += facts.violations_in_database(
                database, round_files, people.accepted, result.rounds, people.told, people.restored
            )
            audited = facts.audit(anvil.url, home / "deployment.json", round_files.location)
            result.wrong += [audited] if audited else []
    result.seconds = time.monotonic() - began
    return result


def losses_of(
    people: Bereft, mirror: Mirror, database_url: str, seed: str, points: dict[str, list[str]]
) -> Losses:
    """What the people's coordinator may lose, with the commands that die at these points."""
    supervisor, chance = people.supervisor, random.Random(seed)
    commands = {
        name: Command(name, supervisor.home, (str(mirror.folder),), left, chance, supervisor.note)
        for name, left in points.items()
    }
    return Losses(
        chance,
        supervisor,
        people.database,
        database_url,
        people.round_files,
        mirror,
        people.miner,
        people.world.chain,
        people.world.coordinator.address,
        repair=commands[REPAIR],
        restore=commands[RESTORE],
    )


def _points_of(command: str, plan: Plan) -> list[str]:
    """Fault points of a command in a plan."""
    return [point.partition(":")[2] for point in plan.points if point.startswith(f"{command}:")]


def socket_of(database_url: str) -> str:
    """Path of the Unix socket of a PostgreSQL server on this machine."""
    return f"{make_url(database_url).query['host']}/.s.PGSQL.{make_url(database_url).port or 5432}"


def with_port(database_url: str, port: int) -> str:
    """The same database, through a port of this machine."""
    found = make_url(database_url).set(host="127.0.0.1", port=port, query={})
    return found.render_as_string(hide_password=False)


def where(database: Database) -> str:
    """Where the rounds are that have not ended."""
    with database.read() as session:
        query = select(Round.number, Round.step).where(Round.step.not_in(ENDED)).order_by(Round.number)
        found = [f"round {number} {step}" for number, step in session.execute(query)]
    return ", ".join(found) or "no round under way"
