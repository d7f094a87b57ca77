# SPDX-License-Identifier: Apache-2.0
"""The ServerApp."""

import json
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from docs_lm.task import get_adapters, get_model, load_test_set, set_adapters, test

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Average the adapters, evaluate after each round, save adapters and losses."""
    config = context.run_config
    model = get_model(config["model.rank"], config["model.alpha"])
    strategy = FedAvg(
        fraction_train=config["strategy.fraction-train"],
        fraction_evaluate=config["strategy.fraction-evaluate"],
    )
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(get_adapters(model)),
        num_rounds=config["num-server-rounds"],
        evaluate_fn=get_evaluate_fn(model),
    )
    torch.save(result.arrays.to_torch_state_dict(), "adapters.pt")
    losses = {number: record["loss"] for number, record in result.evaluate_metrics_serverapp.items()}
    Path("losses.json").write_text(json.dumps(losses))


def get_evaluate_fn(model):
    """Return what measures adapters on the common test set."""
    data = load_test_set()

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        set_adapters(model, arrays.to_torch_state_dict())
        return MetricRecord({"loss": test(model, data)})

    return evaluate
