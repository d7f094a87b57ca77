# SPDX-License-Identifier: Apache-2.0
"""The ServerApp: federated averaging, measured on images that nobody trains on."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits import task
from folkmoot.flower import anchored_server

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for the configured number of rounds and save the model."""
    config = context.run_config
    torch.manual_seed(0)
    result = FedAvg(fraction_evaluate=config["fraction-evaluate"]).start(
        grid=grid,
        initial_arrays=ArrayRecord(task.Net().state_dict()),
        train_config=ConfigRecord({"lr": config["learning-rate"]}),
        num_rounds=config["num-server-rounds"],
        evaluate_fn=evaluate,
    )
    torch.save(result.arrays.to_torch_state_dict(), "final_model.pt")


def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
    """Measure the global model."""
    net = task.Net()
    net.load_state_dict(arrays.to_torch_state_dict())
    loss, accuracy = task.test(net, task.load_held_out())
    return MetricRecord({"loss": loss, "accuracy": accuracy})


app = anchored_server(app)
