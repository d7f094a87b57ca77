# SPDX-License-Identifier: Apache-2.0
"""A whole round behind an endpoint that is in one trouble after the other: it comes to the outcome of a quiet one."""

from __future__ import annotations

import threading
from pathlib import Path

from folkmoot.aggregation.lineage import GENESIS
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import FolkmootError
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
from tests.rpc_proxy import RpcProxy, Trouble, one_after_the_other


def test_a_round_behind_a_bad_endpoint_ends_as_without(anvil: Anvil, tmp_path: Path) -> None:
    world = federation(anvil)
    settings = make_home(tmp_path / "home", world)
    own, over = world.coordinator.address, threading.Event()

    def sent() -> int:
        return int(anvil.call("eth_getTransactionCount", own, "latest"), 16)

    before = sent()
    with RpcProxy(anvil.url) as proxy:
        troubles = threading.Thread(target=one_after_the_other, args=(proxy, over, 0.25))
        try:
            with serving(settings.model_copy(update={"rpc_url": proxy.url}), world) as here:
                here.api.start_run(1, 3, world.coordinator, here.domain)
                _, header, state = open_round(here.api, 1)
                updates = [train(world, name, header, state) for name in ("ada", "ben", "cleo")]
                for update in updates[:2]:
                    here.api.submit_update(1, update.wire, update.data)
                troubles.start()

                def taken() -> bool:
                    try:
                        here.api.submit_update(1, updates[2].wire, updates[2].data)
                    except FolkmootError:
                        return False
                    return True

                until(taken, what="the last update")
                until(lambda: world.chain.rewards.is_settled(1), 60, what="the settlement on the chain")
                met = set(Trouble) - {Trouble.FORGETFUL}
                until(lambda: met <= set(proxy.hits), what="each trouble")
                over.set()
                troubles.join()
                until(lambda: (run := here.api.run()) and run.state == "done", what="the run's end")
                until(lambda: here.api.health()["error"] is None, what="that all is well")
        finally:
            over.set()
            if troubles.ident is not None:
                troubles.join()
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
