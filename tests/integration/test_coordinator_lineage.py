# SPDX-License-Identifier: Apache-2.0
"""Rounds of a real coordinator under a rule that looks back, with a root set of its own, and the audit of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.errors import AuditFailure
from folkmoot.protocol.hashing import sha256_hex
from tests.integration.coordinator_world import (
    Running,
    Signed,
    go_towards_a_goal,
    open_round,
    until,
)

NAMES = ("ada", "ben", "cleo", "coordinator")


FEDERATION = {"rule": "clamped_mean", "min_contributors": 3}


def play(here: Running, number: int) -> list[Signed]:
    _, header, state = open_round(here.api, number)
    signed = [go_towards_a_goal(here.world, name, header, state) for name in NAMES]
    for one in signed:
        here.api.submit_update(number, one.wire, one.data)
    return signed


def verdicts(here: Running, number: int) -> list[dict[str, object]]:
    """The verdicts file of a round."""
    view = here.api.get(f"/v1/rounds/{number}")
    document: list[dict[str, object]] = json.loads(here.api.files.read(view["verdicts"]))["verdicts"]
    return document


def test_rounds_look_back_and_an_audit_agrees(here: Running) -> None:
    api, world = here.api, here.world
    api.start_run(3, len(NAMES), world.coordinator, here.domain)
    for number in (1, 2, 3):
        play(here, number)
    until(lambda: (run := api.run()) and run.state == "done", what="the run's end")
    for number in (1, 2, 3):
        found = {verdict["contributor"]: verdict for verdict in verdicts(here, number)}
        own = found.pop(world.coordinator.address)
        assert (own["weight"], own["reason"]) == (0, "root")
        assert all(verdict["weight"] for verdict in found.values())
        looked_back = ["trajectoryCosine" in verdict["numbers"] for verdict in found.values()]  # type: ignore[operator]
        assert looked_back == [number > 1] * 3
    assert world.chain.rewards.claimable(world.coordinator.address) == 0
    assert world.chain.rewards.claimable(world["ada"].address) > 0
    source = FolderSource(Path(here.coordinator.storage.store.location))
    assert audit([world.anvil.url], world.deployment, source).recomputed == 3


def test_a_round_waits_for_a_file_of_an_earlier_one(here: Running) -> None:
    """Without it the outcome would be another one than everybody else computes, and the bond would be at stake."""
    api = here.api
    api.start_run(2, len(NAMES), here.world.coordinator, here.domain)
    first = play(here, 1)
    until(lambda: api.get("/v1/rounds/1")["step"] == "settled", what="the first round's end")
    name = sha256_hex(first[1].data)
    place = here.coordinator.storage.store.path(name)
    kept = place.read_bytes()
    place.unlink()
    play(here, 2)
    error = until(lambda: api.get("/v1/rounds/2")["error"], what="the error")
    assert name in error
    assert "of round 1" in error
    assert "from a mirror" in error
    assert api.get("/v1/rounds/2")["step"] == "computing"
    source = FolderSource(Path(here.coordinator.storage.store.location))
    with pytest.raises(AuditFailure, match=name):
        audit([here.world.anvil.url], here.world.deployment, source)
    place.write_bytes(bytes(len(kept)))
    until(
        lambda: "its name promises" in (api.get("/v1/rounds/2")["error"] or ""), what="the error about damage"
    )
    place.write_bytes(kept)
    until(lambda: (run := api.run()) and run.state == "done", what="the run's end")
    assert audit([here.world.anvil.url], here.world.deployment, source).recomputed == 2
