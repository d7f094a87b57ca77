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


LEGACY_SERVER = '''\
"""Averages a small linear model, by the interface that Flower had before."""

import numpy as np
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import Server, ServerApp, ServerAppComponents, ServerConfig, SimpleClientManager
from flwr.server.strategy import FedProx


class Saves(Server):
    def fit(self, num_rounds, timeout):
        history, seconds = super().fit(num_rounds, timeout)
        with open("history.txt", "w") as file:
            file.write(str(history))
        return history, seconds


def server_fn(context: Context) -> ServerAppComponents:
    parameters = ndarrays_to_parameters([np.arange(6, dtype=np.float32).reshape(2, 3), np.array(3), np.zeros(3)])
    strategy = FedProx(
        proximal_mu=0.25,
        initial_parameters=parameters,
        fit_metrics_aggregation_fn=lambda metrics: {"rate": max(one["rate"] for _, one in metrics)},
    )
    server = Saves(client_manager=SimpleClientManager(), strategy=strategy)
    return ServerAppComponents(server=server, config=ServerConfig(num_rounds=context.run_config["num-server-rounds"]))


app = ServerApp(server_fn=server_fn)
'''

LEGACY_CLIENT = '''\
"""Moves the model towards ones. A counter is in the middle, as in the lists of nets with BatchNorm."""

import numpy as np
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context


class Moves(NumPyClient):
    def __init__(self, context):
        self.partition = context.node_config["partition-id"]

    def get_parameters(self, config):
        return [np.full((2, 3), 5 + self.partition, np.float32), np.array(3), np.ones(3)]

    def get_properties(self, config):
        return {"partition": self.partition}

    def fit(self, parameters, config):
        rate = config["proximal_mu"]
        moved = [a + a.dtype.type(rate) * (1 - a) if a.dtype.kind == "f" else a + 1 for a in parameters]
        return moved, 10, {"rate": rate, "where": "here"}

    def evaluate(self, parameters, config):
        return float(parameters[0].sum()), 10, {}


def client_fn(context: Context):
    return Moves(context).to_client()


app = ClientApp(client_fn)
'''
