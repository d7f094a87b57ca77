# SPDX-License-Identifier: Apache-2.0
"""An ordinary Flower app becomes anchored by a mod and a strategy: real SuperLink, real SuperNodes, real bundle.

Chain and coordinator are scripted here, so that the test is quick and can make them lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmarks.processes import tree_usage

from client.node.access import Access
from folkmoot.flower.contributor import Contributor
from folkmoot.protocol.manifest import Manifest
from folkmoot.rpc.client import Phase
from folkmoot.runtime.flower_internals import build_bundle
from tests.e2e.flower import Flower, agent_of, anchored, keeper_of
from tests.unit.flower.world import CHAIN_ID, LEDGER, World, account

PLAIN = Path(__file__).parent / "plain_app"
NAMES = ("ada", "ben")

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    import sys

    sys.path.insert(0, str(PLAIN))
    try:
        from plain.task import make_model
    finally:
        sys.path.remove(str(PLAIN))
    return {name: value.numpy() for name, value in make_model().state_dict().items()}


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    """A SuperLink, one of our nodes and one of Flower's own; whom they contribute to is set by each test."""
    root = tmp_path_factory.mktemp("flower")
    with Flower(root) as running:
        for name in NAMES:
            (root / name).mkdir()
            nowhere = {"chainId": CHAIN_ID, "ledger": LEDGER}
            contributor = Contributor(
                root / name, "http://127.0.0.1:9", "", nowhere, account(name).address, "plain", 0, 1
            )
            # Without a sandbox: its rules name the RPC endpoint, which each test changes while the node runs.
            running.join(contributor, stock=name == "ben", access=Access(sandbox=False))
        yield running


@contextmanager
def nodes_in(flower: Flower, world: World, records: Path) -> Iterator[None]:
    """Point the nodes to a world, and run their signer agents and keepers while the block runs."""
    with ExitStack() as stack:
        for name in NAMES:
            contributor = Contributor(
                flower.root / name,
                world.url,
                world.url,
                world.deployment,
                account(name).address,
                "plain",
                0,
                1,
            )
            contributor.save()
            stack.enter_context(agent_of(contributor, account(name), records / name))
            stack.enter_context(keeper_of(contributor))
        yield


def test_two_lines_anchor_an_ordinary_app(flower: Flower, model: dict[str, Any], tmp_path: Path) -> None:
    manifest = Manifest.from_arrays("plain", model, {})
    app = anchored(PLAIN, tmp_path)
    used: list[dict[str, float]] = []

    def watch(line: str) -> None:
        if "updates accepted" in line:
            pids = {child.name: child.pid for child in flower.supervisor.children}
            used.append({name: tree_usage(pids[f"node-{name}"]).by_kind["tasks"] for name in NAMES})

    with (
        World(manifest, model, expect=2, rounds=2, exponent=-8) as world,
        nodes_in(flower, world, tmp_path),
    ):
        result, lines = flower.run({"coordinator": world.url}, app, watch)
    assert result.completed, "\n".join(lines)
    ours, stock = (used[1][name] - used[0][name] for name in NAMES)
    assert stock > 5 * ours, "Flower's node starts a Python for the message of the second round; ours forks"
    assert world.run_state == "done"
    assert not world.refusals
    # Both nodes, the one with forks and the stock one, ran the very bundle that was sent.
    bundle = hashlib.sha256(build_bundle(app)).digest()
    for one in world.rounds[1:]:
        assert {account(name).address for name in NAMES} == set(one.updates)
        assert {commitment.bundle_hash for commitment, _ in one.updates.values()} == {bundle}
    metrics = next(line for line in lines if line.startswith("metrics"))
    assert "{1: " in metrics
    assert "2: " in metrics
    assert _loss(world.states[-1].model(manifest)) < 0.6 * _loss(model)


def _loss(weights: dict[str, Any]) -> float:
    import torch
    from plain.task import load_data, make_model

    network = make_model()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    points, sides = load_data(12345)
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(network(points), sides))


def test_nodes_refuse_a_base_that_is_not_the_chains(
    flower: Flower, model: dict[str, Any], tmp_path: Path
) -> None:
    manifest = Manifest.from_arrays("plain", model, {"of": "another federation"})
    with World(manifest, model, expect=2, rounds=1) as world, nodes_in(flower, world, tmp_path):
        world.rounds[0].state_root = b"\x07" * 32
        refusals: list[str] = []

        def watch(line: str) -> None:
            if "wrong-base: The state " in line:
                refusals.append(line)
                if len(refusals) == 2:
                    world.rounds[-1].phase = Phase.CANCELLED  # else the relay would wait for others
                    world.run_state = "failed"

        result, lines = flower.run({"coordinator": world.url}, anchored(PLAIN, tmp_path), watch)
        assert not world.rounds[-1].updates
    assert len(refusals) == 2, "\n".join(lines)
    assert not result.completed
    assert any("The run failed: scripted" in line for line in lines)
