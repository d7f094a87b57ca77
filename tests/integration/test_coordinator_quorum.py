# SPDX-License-Identifier: Apache-2.0
"""A coordinator with several endpoints: one liar of three changes nothing, one of two stops it while it lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from folkmoot.aggregation.lineage import GENESIS
from folkmoot.devnet.anvil import Anvil
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.round import compute_round
from tests.integration.coordinator_world import (
    MANIFEST,
    federation,
    make_home,
    open_round,
    serving,
    train,
    until,
)
from tests.rpc_proxy import Lie, RpcProxy


@pytest.fixture
def proxies(anvil: Anvil) -> Iterator[list[RpcProxy]]:
    with ExitStack() as stack:
        yield [stack.enter_context(RpcProxy(anvil.url)) for _ in range(3)]


@pytest.mark.long
@pytest.mark.parametrize(
    "lies",
    [
        (Lie.HEAD, Lie.STORAGE, Lie.LOGS_CHANGED, Lie.RECEIPTS_FORGED, Lie.GAS),
        (Lie.CHAIN, Lie.STALE, Lie.FORK, Lie.REFUSED, Lie.LOGS_DROPPED, Lie.RECEIPTS_HIDDEN, Lie.SWALLOWED),
    ],
    ids=["changing", "hiding"],
)
def test_a_round_with_one_liar_of_three_ends_as_without(
    anvil: Anvil, tmp_path: Path, proxies: list[RpcProxy], lies: tuple[Lie, ...]
) -> None:
    world = federation(anvil)
    settings = make_home(tmp_path / "home", world)
    own = world.coordinator.address

    def sent() -> int:
        return int(anvil.call("eth_getTransactionCount", own, "latest"), 16)

    before = sent()
    proxies[1].tell(*lies)
    urls = ",".join(proxy.url for proxy in proxies)
    with serving(settings.model_copy(update={"rpc_url": urls}), world) as here:
        here.api.start_run(1, 3, world.coordinator, here.domain)
        _, header, state = open_round(here.api, 1)
        updates = [train(world, name, header, state) for name in ("ada", "ben", "cleo")]
        for update in updates:
            here.api.submit_update(1, update.wire, update.data)
        until(lambda: (run := here.api.run()) and run.state == "done", 60, what="the run's end")
        assert set(proxies[1].lies) == set(lies), "each was told"
        health = here.api.health()
        assert health["error"] is None
        assert [proxies[1].url in text for text in health["warnings"] if "rpc-disagrees" in text] == [True]
        numbers = {
            sample.labels["endpoint"]: sample.value
            for family in text_string_to_metric_families(here.api._client().get("/metrics").text)
            for sample in family.samples
            if sample.name == "folkmoot_rpc_disagreements"
        }
        assert numbers[proxies[1].url] > 3
        assert numbers[proxies[0].url] == numbers[proxies[2].url] == 0
    expected = compute_round(
        MANIFEST,
        header,
        world.chain.ledger.policy(1),
        state,
        [update.commitment for update in updates],
        [MemoryUpdate(update.data) for update in updates],
        coordinator=own,
        lineage=GENESIS,
    )
    assert world.chain.ledger.round(1).state_root == expected.state_root
    assert sent() - before == 5, "one transaction a step"
    world.chain.close()


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(Lie.FORK, marks=pytest.mark.long),
        pytest.param(Lie.STORAGE, marks=pytest.mark.long),
        Lie.LOGS_DROPPED,
        Lie.RECEIPTS_FORGED,
    ],
)
def test_a_liar_of_two_stops_a_round_until_it_stops(
    anvil: Anvil, tmp_path: Path, proxies: list[RpcProxy], lie: Lie
) -> None:
    world = federation(anvil)
    settings = make_home(tmp_path / "home", world)
    honest, liar = proxies[:2]
    with serving(settings.model_copy(update={"rpc_url": f"{honest.url},{liar.url}"}), world) as here:
        here.api.start_run(1, 3, world.coordinator, here.domain)
        liar.tell(lie)

        def told() -> bool:
            return any("rpc-no-quorum" in text for text in here.api.health()["warnings"])

        until(told, what="the warning")
        assert liar.lies[lie]
        liar.tell()
        _, header, state = open_round(here.api, 1)
        for name in ("ada", "ben", "cleo"):
            update = train(world, name, header, state)
            here.api.submit_update(1, update.wire, update.data)
        until(lambda: (run := here.api.run()) and run.state == "done", 60, what="the run's end")
        assert here.api.health()["error"] is None
    assert world.chain.rewards.is_settled(1)
    world.chain.close()
