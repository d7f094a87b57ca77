# SPDX-License-Identifier: Apache-2.0
"""One world: a chain, a federation, a coordinator in a process of its own, and people who play a story in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from folkmoot.local.processes import free_port
from folkmoot.policy import ARBITER
from server.db.engine import Database
from server.db.models import Round
from server.rounds.steps import ENDED
from tests.chaos import facts
from tests.chaos.facts import RoundFacts
from tests.chaos.local_chain import Line, Miner, OtherAnvil
from tests.chaos.people import EVALUATOR, People
from tests.chaos.supervisor import Fault, Plan, Supervisor
from tests.factories import account
from tests.integration.coordinator_world import federation, make_home

CONFIRMATIONS = 4
"""Blocks after which a transaction counts as settled."""
WINDOWS = {"commit_window": 1500, "anchor_window": 900, "challenge_window": 600}
"""Seconds of the chain's clock, which stands almost still: nobody is late on a slow machine."""
COMMIT_MARGIN = 500

Story = tuple[tuple[str, ...], ...]
"""Runs, each with its kinds of rounds; see `People`."""
STORIES: dict[str, Story] = {
    "people": (("mixed",), ("alone", "fallen", "released", "plain")),
    "money": (("penniless",), ("unopened",), ("early", "leaving", "poor", "crowded"), ("deep",)),
    "chain": (("silent", "lost", "stolen", "retaken"), ("void",), ("plain",)),
}
"""All ways in, too few, a canary's two endings, a stranger's final word, demands for data; stakes that go and come,
fees, gaps, and a deep reorg; final words and anchors that are lost, a round that nobody delivers to, and a void one."""
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
    reference: dict[int, RoundFacts] | None = None,
    say: Callable[[str], None] = print,
) -> Result:
    """Play a story while harm is done, and look at what came of it.

    Args:
        folder: An empty folder for the coordinator's home.
        story: What is played.
        plan: The harm.
        seed: What decides about the harm.
        database_url: An empty database for the coordinator; a SQLite file of its own if empty.
        reference: The rounds of the same story without harm.
        say: Takes a line for people.
    """
    result, began = Result(), time.monotonic()
    with ExitStack() as stack:
        anvil = stack.enter_context(OtherAnvil())
        line = Line(anvil.port or 0)
        stack.callback(line.close)
        world = federation(anvil, verifier=ARBITER, **WINDOWS)
        stack.callback(world.chain.close)
        home = folder / "home"
        settings = make_home(
            home,
            world,
            rpc_url=line.url,
            database_url=database_url,
            hasten=False,
            poll_interval=0.1,
            confirmations=CONFIRMATIONS,
            commit_margin=COMMIT_MARGIN,
            canary=True,
            canary_evaluator=account(EVALUATOR).address,
            requests_per_second=1000,
        )
        database = Database.open(settings.resolved_database_url)
        stack.callback(database.close)
        miner = stack.enter_context(Miner(anvil))
        supervisor = Supervisor(
            home,
            free_port(),
            plan,
            seed,
            CONFIRMATIONS,
            miner,
            line,
            world.coordinator.address,
            lambda: where(database),
            say,
        )
        people = People(world, miner, supervisor, database, settings.store_folder, CONFIRMATIONS)
        stack.callback(people.close)
        try:
            with supervisor:
                for kinds in story:
                    people.run(kinds)
        except AssertionError as error:
            supervisor.wrong.append(str(error))
        result.faults, result.left, result.wrong = supervisor.faults, supervisor.left, supervisor.wrong
        if not result.wrong:
            result.rounds = facts.rounds_of(world.chain)
            result.wrong += facts.differences(result.rounds, reference or result.rounds)
            result.wrong += facts.violations_on_chain(world.chain, world.coordinator.address, people.accepted)
            result.wrong += facts.violations_in_database(
                database, settings.store_folder, people.accepted, result.rounds
            )
            audited = facts.audit(anvil.url, home / "deployment.json", settings.store_folder)
            result.wrong += [audited] if audited else []
    result.seconds = time.monotonic() - began
    return result


def where(database: Database) -> str:
    """Where the rounds are that have not ended."""
    with database.read() as session:
        query = select(Round.number, Round.step).where(Round.step.not_in(ENDED)).order_by(Round.number)
        found = [f"round {number} {step}" for number, step in session.execute(query)]
    return ", ".join(found) or "no round under way"
