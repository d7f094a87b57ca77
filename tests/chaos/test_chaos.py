# SPDX-License-Identifier: Apache-2.0
"""A short `make chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.supervisor import Plan
from tests.chaos.world import SHORT_STORY, play

POINTS = (
    "coordinator.run-started.after",
    "coordinator.transaction-sent",
    "coordinator.update-accepted.before",
    "coordinator.batch-queued.after",
    "coordinator.outcome-computed",
    "coordinator.settle-queued.after",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_coordinator_that_is_killed_and_loses_its_chain_ends_as_one_that_was_left_alone(
    tmp_path: Path,
) -> None:
    for name in ("alone", "harmed"):
        (tmp_path / name).mkdir()
    alone = play(tmp_path / "alone", SHORT_STORY, Plan(), "1")
    assert alone.wrong == []
    assert [facts.phase for facts in alone.rounds.values()] == ["CANCELLED", "FINAL"]

    plan = Plan(points=POINTS, kills=2, reorgs=1, outages=1)
    harmed = play(tmp_path / "harmed", SHORT_STORY, plan, "1", reference=alone.rounds)

    assert harmed.wrong == []
    assert harmed.left == Plan(), "all of the harm was done"
