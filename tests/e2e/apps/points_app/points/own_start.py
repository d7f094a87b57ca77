# SPDX-License-Identifier: Apache-2.0
"""A strategy with a loop and a learning rate schedule of its own."""

from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg, Result

from points.task import digest, make_model

app = ServerApp()


class Saving(FedAvg):
    """Saves each model, and halves the learning rate once."""

    def configure_train(self, server_round, arrays, config, grid):
        """Halve the rate in the second round."""
        if server_round == 2:
            config["lr"] = config["lr"] / 2
        return super().configure_train(server_round, arrays, config, grid)

    def start(self, grid, initial_arrays, num_rounds=3, timeout=3600, train_config=None, **_):
        """Train, and say what came of each round."""
        result, arrays = Result(), initial_arrays
        print("MODEL", 0, digest(arrays.to_numpy_ndarrays()))
        for number in range(1, num_rounds + 1):
            replies = grid.send_and_receive(
                messages=self.configure_train(number, arrays, train_config, grid), timeout=timeout
            )
            arrays, metrics = self.aggregate_train(number, replies)
            print("MODEL", number, digest(arrays.to_numpy_ndarrays()))
            print("RATE", number, metrics["lr"])
            result.arrays = arrays
        return result


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for some rounds."""
    result = Saving(fraction_evaluate=0.0).start(
        grid,
        ArrayRecord(make_model()),
        context.run_config["num-server-rounds"],
        train_config=ConfigRecord({"lr": 0.5}),
    )
    print("FINAL", digest(result.arrays.to_numpy_ndarrays()))
