# SPDX-License-Identifier: Apache-2.0
"""The relay: the `ServerApp` that carries messages between the coordinator and the nodes.

It holds no key, writes no file and may die at any time; it knows the coordinator only by its HTTP interface.
Run settings are in `[tool.flwr.app.config]` of pyproject.toml. The bundle names this module and does not have it: nodes
get their own half only, and the SuperLink's machine has the release installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

MANY = 1_000_000_000
"""More rounds than any run has: the coordinator says when a run is over."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry the rounds of one run."""
    # Flower puts the bundle first on the path, and its `folkmoot` is not whole.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from folkmoot.flower.relay.strategy import FolkmootStrategy
    from folkmoot.runtime.processes import end_with_parent

    end_with_parent()
    settings = context.run_config
    strategy = FolkmootStrategy(
        str(settings["coordinator"]),
        run_id=str(settings["run"]),
        fraction_train=float(settings["fraction-train"]),
        fraction_evaluate=float(settings["fraction-evaluate"]),
        min_available_nodes=int(settings["min-nodes"]),
    )
    timeout = float(settings["timeout"])
    strategy.start(grid=grid, initial_arrays=ArrayRecord(), num_rounds=MANY, timeout=timeout)
