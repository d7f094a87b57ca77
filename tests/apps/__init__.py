# SPDX-License-Identifier: Apache-2.0
"""Small Flower apps, written into a folder by the test that needs one: `make(folder, server=..., client=...)`."""

from __future__ import annotations

from pathlib import Path

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "1.0.0"
license = "Apache-2.0"
dependencies = [{dependencies}]

[tool.hatch.build.targets.wheel]
packages = ["."]

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "small.server_app:app"
clientapp = "small.client_app:app"

[tool.flwr.app.config]
num-server-rounds = 2
learning-rate = 0.5
"""

SERVER = '''\
"""Averages a small linear model."""

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = FedAvg(fraction_evaluate=0.0)
    strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord([np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(3, dtype=np.float32)]),
        num_rounds=context.run_config["num-server-rounds"],
        train_config=ConfigRecord({"lr": context.run_config["learning-rate"]}),
    )
    raise AssertionError("start returned")
'''

CLIENT = '''\
"""Moves the model towards ones; by half of the way at a rate of 0.5."""

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    rate = message.content["config"]["lr"]
    arrays = message.content["arrays"].to_numpy_ndarrays()
    moved = [array + np.float32(rate) * (1 - array) for array in arrays]
    numbers = {
        "num-examples": 10,
        "partition": context.node_config["partition-id"],
        "partitions": context.node_config["num-partitions"],
        "round": message.content["config"]["server-round"],
    }
    content = RecordDict({"arrays": ArrayRecord(moved), "metrics": MetricRecord(numbers)})
    return Message(content, reply_to=message)
'''


def make(
    folder: Path,
    *,
    name: str = "small-app",
    server: str = SERVER,
    client: str = CLIENT,
    dependencies: str = '"flwr"',
) -> Path:
    """Write an app and return its folder."""
    package = folder / name / "small"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(PROJECT.format(name=name, dependencies=dependencies))
    (package / "__init__.py").write_text("")
    (package / "server_app.py").write_text(server)
    (package / "client_app.py").write_text(client)
    return package.parent
