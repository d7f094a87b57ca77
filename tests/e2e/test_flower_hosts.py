# SPDX-License-Identifier: Apache-2.0
"""Contributors on other hosts, TLS and node keys between them: a cable is narrow, another one is pulled in a round."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.federation import Plan
from folkmoot.ledger.deployment import Deployment
from folkmoot.runtime.processes import Supervisor
from folkmoot.runtime.superlink import SuperLink
from server.relay.flower_run import online_nodes
from tests.e2e.guarded import Guarded, until
from tests.hosts import Host, hosts, why_no_hosts

EVERYONE = {1, 2, 3}
PULLED, NARROW = 2, 3
"""Contributors with such a cable."""
NARROW_KBIT = 512
OUT = 10
"""Seconds for which the cable is pulled."""
BACK = 400
"""Seconds in which a node must be back after that and answer; a round's window is 10 minutes."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


class Apart(Guarded):
    """A federation whose contributors are on hosts of their own."""

    host = "0.0.0.0"  # noqa: S104  other namespaces reach it

    @property
    def meeting_place(self) -> SuperLink:
        """The SuperLink, as this machine reaches it."""
        return SuperLink(self.superlink, self.tls / "ca.pem")

    def number(self, address: str) -> int:
        """Return the number of a contributor with an account."""
        for number, name in enumerate(self.plan.names(), 1):
            if json.loads(self.plan.keystore(name).read_text())["address"].lower() in address.lower():
                return number
        raise AssertionError(address)


@pytest.fixture
def machines() -> Iterator[list[Host]]:
    if why := why_no_hosts():
        pytest.skip(why)
    with hosts(3) as made:
        yield made


@pytest.fixture
def apart(machines: list[Host], tmp_path: Path) -> Iterator[Apart]:
    plan = Plan(tmp_path, "digits", len(machines))
    with Supervisor(plan.logs) as supervisor:
        federation = Apart(plan, supervisor)
        federation.names = tuple(machine.here for machine in machines)
        federation.start_all()
        yield federation


def answered(apart: Apart, api: CoordinatorApi) -> list[set[int]]:
    """Return the contributors of each round, counted from 1, the oldest round first."""
    rounds = sorted(found["round"] for found in api.items("/v1/rounds"))
    return [
        {apart.number(update["contributor"]) for update in api.items(f"/v1/rounds/{number}/updates")}
        for number in rounds
    ]


def test_a_cable_is_pulled_and_plugged_in_again(apart: Apart, machines: list[Host]) -> None:
    machines[NARROW - 1].narrow(NARROW_KBIT)
    strangers = [apart.join(number, machine) for number, machine in enumerate(machines, 1)]  # make their keys
    until(lambda: not any(child.alive for child in strangers))
    for stranger in strangers:
        assert "node-unknown" in stranger.tail()
        apart.supervisor.stop_one(stranger.name)
    assert apart.admit(apart.key(1).parent).returncode == 0
    nodes = [apart.join(number, machine) for number, machine in enumerate(machines, 1)]
    until(lambda: all('"joined"' in node.tail(50) for node in nodes))

    there = machines[PULLED - 1]
    with CoordinatorApi(apart.api_url) as api:
        with apart.round(expect=3):
            pass
        assert answered(apart, api) == [EVERYONE]

        with apart.round(expect=3, seconds=BACK):
            until(lambda: api.current_round() is not None)
            there.pull()
            time.sleep(OUT)  # the outage itself
            there.plug()
        assert answered(apart, api)[1:] == [EVERYONE]

        there.pull()
        with apart.round(expect=2):
            pass
        assert answered(apart, api)[2:] == [EVERYONE - {PULLED}]

        # Until the SuperLink knows that the node is away: a round that asked it before would end without its answer.
        until(lambda: online_nodes(apart.meeting_place) == len(EVERYONE) - 1)
        with apart.round(expect=3, seconds=BACK) as training:
            until(lambda: "Waiting for nodes: 2 of 3" in training.tail())
            there.plug()
        assert answered(apart, api)[3:] == [EVERYONE]
    assert all(node.alive for node in nodes), "nobody was started again"
    deployment = Deployment.load(apart.plan.deployment_file)
    found = audit([apart.rpc_url], deployment, FolderSource(apart.plan.artifacts))
    assert found.rounds == {"final": 4}
