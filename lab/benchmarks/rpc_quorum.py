# SPDX-License-Identifier: Apache-2.0
"""What reading a chain through several endpoints costs: `python -m benchmarks.rpc_quorum`.

All endpoints are one local Anvil, so a network's distance is not in the numbers: it is waited for once for the newest
block, twice for state at it and for logs. What asking, comparing and agreeing takes of this machine is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from folkmoot.devnet.anvil import Anvil
from folkmoot.rpc.client import Rpc
from folkmoot.rpc.quorum import open_rpc
from tests.factories import federation

REPEATS = 200


def milliseconds(ask: Callable[[], object]) -> float:
    """Median time of a question."""
    taken = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1_000


def main() -> None:
    """Print a table."""
    with Anvil() as anvil, ExitStack() as stack:
        world = federation(anvil)
        stack.callback(world.chain.close)
        ledger, block = world.deployment.ledger, world.chain.rpc.block_number()
        logs = {"address": [ledger], "fromBlock": "0x0", "toBlock": hex(block)}
        questions: dict[str, Callable[[Rpc], object]] = {
            "the newest block": lambda rpc: rpc.block_number(),
            "state at the newest block": lambda rpc: rpc.read(ledger, "head()", ["uint64", "bytes32"]),
            "logs": lambda rpc: rpc.call("eth_getLogs", [logs]),
        }
        print("ms, median of", REPEATS, "|", " | ".join(questions))
        for count in (1, 2, 3, 5):
            with open_rpc([f"{anvil.url}/?{place}" for place in range(count)]) as rpc:
                took = [milliseconds(partial(ask, rpc)) for ask in questions.values()]
            print(count, "URLs |", " | ".join(f"{one:.1f}" for one in took))


if __name__ == "__main__":
    main()
