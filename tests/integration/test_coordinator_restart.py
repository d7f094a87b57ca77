# SPDX-License-Identifier: Apache-2.0
"""A coordinator that is killed at every step of a round, and comes back to the same outcome."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from folkmoot.aggregation.lineage import GENESIS
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import CoordinatorError
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.updates import MemoryUpdate
from folkmoot.round import compute_round
from folkmoot.runtime.processes import free_port
from tests.integration.coordinator_world import (
    MANIFEST,
    Process,
    federation,
    make_home,
    open_round,
    train,
    until,
)

BY_HASH = "eth_getTransactionByHash"


def row(home: Path, purpose: str) -> tuple[str, bytes, str] | None:
    """State, raw bytes and hash of a transaction whose purpose begins so."""
    connection = sqlite3.connect(home / "coordinator.sqlite3", timeout=10)
    try:
        query = "SELECT state, raw, hash FROM transactions WHERE purpose LIKE ? || '%'"
        found: tuple[str, bytes, str] | None = connection.execute(query, (purpose,)).fetchone()
    finally:
        connection.close()
    return found


@pytest.mark.long
@pytest.mark.timeout(300)
def test_killed_at_every_step_the_outcome_is_the_same(anvil: Anvil, tmp_path: Path) -> None:
    world = federation(anvil)
    home = tmp_path / "home"
    make_home(home, world)
    process = Process(home, free_port())
    api = CoordinatorApi(process.url)

    def sent() -> int:
        return int(anvil.call("eth_getTransactionCount", world.coordinator.address, "latest"), 16)

    before_all = sent()

    def healthy() -> bool:
        try:
            return api.health()["status"] == "ok"
        except CoordinatorError:
            return False

    def killed_while_under_way(purpose: str, *, forget: bool = False) -> None:
        """Kill it when a transaction is signed and not mined; start it; let the chain go on."""

        def signed() -> bool:
            found = row(home, purpose)
            return found is not None and found[0] == "signed"

        until(signed, what=f"{purpose} is signed")
        before = row(home, purpose)
        process.kill()
        assert before is not None
        if forget:  # the node's memory pool was lost as well: the same bytes must be sent again
            anvil.call("anvil_dropTransaction", before[2])
        process.start()
        until(healthy, what="the restart")
        until(lambda: anvil.call(BY_HASH, before[2]), what=f"{purpose} is sent")
        anvil.call("evm_mine")
        until(lambda: (row(home, purpose) or ("",))[0] == "confirmed", what=f"{purpose} is confirmed")
        assert row(home, purpose) == ("confirmed", before[1], before[2]), "sent unchanged, once"

    def goes_on(purpose: str) -> None:
        def pooled() -> bool:
            noted = row(home, purpose)  # it is signed before it is sent
            return noted is not None and noted[0] == "signed" and bool(anvil.call(BY_HASH, noted[2]))

        until(pooled, what=f"{purpose} is sent")
        anvil.call("evm_mine")

    process.start()
    try:
        until(healthy, what="the start")
        anvil.call("evm_setAutomine", False)
        domain = Domain(world.deployment.chain_id, world.deployment.ledger)
        api.start_run(1, 3, world.coordinator, domain)
        goes_on("open:1")
        _, header, state = open_round(api, 1)
        signed = [train(world, name, header, state) for name in ("ada", "ben", "cleo")]
        for update in signed[:2]:
            api.submit_update(1, update.wire, update.data)
        process.kill()
        process.start()
        until(healthy, what="the restart")
        current = api.current_round()
        assert current is not None
        assert current.received == 2, "no accepted update is lost"
        api.submit_update(1, signed[2].wire, signed[2].data)
        killed_while_under_way("commit:1")
        killed_while_under_way("anchor:1", forget=True)
        goes_on("finalize:1")
        killed_while_under_way("settle:1")
        until(lambda: (run := api.run()) and run.state == "done", what="the run's end")

        expected = compute_round(
            MANIFEST,
            header,
            world.chain.ledger.policy(1),
            state,
            [update.commitment for update in signed],
            [MemoryUpdate(update.data) for update in signed],
            coordinator=world.coordinator.address,
            lineage=GENESIS,
        )
        view = world.chain.ledger.round(1)
        assert view.state_root == expected.state_root
        assert view.anchor_hash == expected.anchor.hash
        assert world.chain.rewards.is_settled(1)
        assert sent() - before_all == 5, "one transaction a step"
    finally:
        anvil.call("evm_setAutomine", True)
        process.kill()
        api.close()
        world.chain.close()
