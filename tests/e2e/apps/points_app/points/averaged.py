# SPDX-License-Identifier: Apache-2.0
"""FedProx, measured by the server and by the nodes."""

from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedProx

from points.task import digest, load_data, loss_of, make_model

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds."""

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        model = arrays.to_numpy_ndarrays()
        print("MODEL", number, digest(model))
        return MetricRecord({"loss": loss_of(model, *load_data(12345))})

    result = FedProx(fraction_evaluate=1.0, proximal_mu=0.1).start(
        grid=grid,
        initial_arrays=ArrayRecord(make_model()),
        num_rounds=context.run_config["num-server-rounds"],
        train_config=ConfigRecord({"lr": 0.5}),
        evaluate_fn=evaluate,
    )
    losses = [result.evaluate_metrics_clientapp[n]["loss"] for n in sorted(result.evaluate_metrics_clientapp)]
    print("LOSSES", *losses)
    print("FINAL", digest(result.arrays.to_numpy_ndarrays()))
