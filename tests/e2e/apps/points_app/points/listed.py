# SPDX-License-Identifier: Apache-2.0
"""FedAvg, measured by the server."""

from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from points.task import digest, load_data, loss_of, make_model

app = ServerApp()


def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
    """Measure on the server's points."""
    model = arrays.to_numpy_ndarrays()
    print("MODEL", number, digest(model))
    return MetricRecord({"loss": loss_of(model, *load_data(12345))})


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds."""
    result = FedAvg(fraction_evaluate=0.0).start(
        grid=grid,
        initial_arrays=ArrayRecord(make_model()),
        num_rounds=context.run_config["num-server-rounds"],
        train_config=ConfigRecord({"lr": 0.5}),
        evaluate_fn=evaluate,
    )
    losses = [result.evaluate_metrics_serverapp[n]["loss"] for n in sorted(result.evaluate_metrics_serverapp)]
    print("LOSSES", *losses)
    print("FINAL", digest(result.arrays.to_numpy_ndarrays()))
