# SPDX-License-Identifier: Apache-2.0
"""Short forms of `make chaos`, for `make test-all`."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests import s3
from tests.chaos.supervisor import Plan
from tests.chaos.world import SHORT_STORY, play
from tests.postgres import databases

SEED = "9"
"""One with early harm: the round is short."""
POINTS = (
    "coordinator.run-started.after",
    "coordinator.run-begun.after",
    "coordinator.transaction-sent",
    "coordinator.update-accepted.before",
    "coordinator.batch-queued.after",
    "coordinator.outcome-computed",
    "coordinator.settle-queued.after",
)


@pytest.mark.story
@pytest.mark.timeout(300)
def test_a_round_goes_through_kills_a_reorg_and_an_outage(tmp_path: Path) -> None:
    points = (
        "coordinator.run-begun.before",
        "coordinator.update-accepted.before",
        "coordinator.transaction-sent",
    )
    plan = Plan(points=points, kills=1, reorgs=1, outages=1)

    found = play(tmp_path, (("plain",),), plan, SEED)

    assert found.wrong == [], "and the audit, which recomputes the round, found nothing"
    assert [facts.phase for facts in found.rounds.values()] == ["FINAL"]
    assert found.left == Plan(), "all of the harm was done"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_round_goes_through_harm_that_nobody_has_chosen(tmp_path: Path) -> None:
    """Another one each time. `CHAOS_SEED` plays one again; kills may follow each other while it starts."""
    seed = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"CHAOS_SEED={seed}")  # also if the test does not come to its end
    found = play(tmp_path, (("plain",),), Plan(kills=4, reorgs=2, outages=1), seed)

    assert found.wrong == [], f"CHAOS_SEED={seed}"
    assert [facts.phase for facts in found.rounds.values()] == ["FINAL"], f"CHAOS_SEED={seed}"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_coordinator_that_is_killed_and_loses_its_servers_ends_as_one_that_was_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first on SQLite and a folder, the second on PostgreSQL and a bucket, which fail as its chain does."""
    for name in ("alone", "harmed"):
        (tmp_path / name).mkdir()
    alone = play(tmp_path / "alone", SHORT_STORY, Plan(), "1")
    assert alone.wrong == []
    assert [facts.phase for facts in alone.rounds.values()] == ["CANCELLED", "FINAL"]

    s3.use_keys(monkeypatch)
    plan = Plan(points=POINTS, kills=2, reorgs=1, outages=1, cuts=2)
    with databases() as urls, s3.moto(tmp_path / "log") as files:
        harmed = play(
            tmp_path / "harmed",
            SHORT_STORY,
            plan,
            "1",
            database_url=next(urls),
            files=files,
            reference=alone.rounds,
        )

    assert harmed.wrong == []
    # Cuts are made at random times, and a fast story can end before the second.
    assert replace(harmed.left, cuts=0) == Plan(), "all other harm was done"
    assert harmed.left.cuts < plan.cuts, "database or bucket was away at least once"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_window_ends_early_though_the_coordinator_is_killed_and_a_reorg_takes_it(tmp_path: Path) -> None:
    names = ("close-queued", "window-moved")
    points = tuple(f"coordinator.{name}.{when}" for name in names for when in ("before", "after"))

    found = play(tmp_path, (("closing",),), Plan(points=points, reorgs=1), SEED)

    assert found.wrong == [], "and the audit found nothing"
    assert [facts.phase for facts in found.rounds.values()] == ["FINAL"]
    assert found.left == Plan(), "all of the harm was done"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_lost_files_and_a_lost_database_come_back_though_repair_and_restore_are_killed(
    tmp_path: Path,
) -> None:
    points = ("repair:repair.file-replaced.after", "restore:restore.rows-written.before")

    found = play(tmp_path, (("spoilt", "committing"),), Plan(points=points, losses=True), "1")

    assert found.wrong == []
    assert [facts.phase for facts in found.rounds.values()] == ["FINAL", "FINAL"]
    assert found.left == Plan(), "both died there"
