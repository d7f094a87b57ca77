# SPDX-License-Identifier: Apache-2.0
"""A regression task: how much alcohol has a wine, in standard deviations from the mean?"""

import torch
import wine
from torch.nn.functional import mse_loss

from folkmoot.tasks import Data, HeldOutPredictions

ALCOHOL = 0
"""Column of the table."""

TRAINING = {"local_steps": 20, "batch_size": 16, "learning_rate": 0.005, "momentum": 0.9}
"""Goes into the manifest, so that everybody trains alike."""


class Alcohol:
    """Differs from the classification in the model's one output, the loss, and what `examine` returns."""

    name = "wine-alcohol"
    training = TRAINING

    def model(self):
        """Return the initial model."""
        return wine.network(12, 1)

    def load(self, partition, partitions, seed):
        """Return this contributor's wines."""
        return self._data(wine.share(partition, partitions))

    def train(self, model, data, settings):
        """Train in place; return the number of examples."""
        return wine.train(model, data.inputs, data.labels[:, None], mse_loss, settings)

    def evaluate(self, model):
        """Return numbers on the wines that nobody trains on."""
        data, predictions = self._held_out(model)
        errors = predictions - data.labels
        return {"loss": (errors**2).mean().item(), "mae": errors.abs().mean().item()}

    def examine(self, model):
        """Return predictions, from which reports count errors, here also for each cultivar."""
        data, predictions = self._held_out(model)
        cultivars = [f"cultivar {1 + cultivar}" for cultivar in wine.read()[1][: wine.HELD_OUT]]
        return HeldOutPredictions(targets=data.labels, predictions=predictions, groups=cultivars)

    def _data(self, places):
        values, _ = wine.read()
        rows = torch.from_numpy(values[places])
        return Data(rows[:, ALCOHOL + 1 :], rows[:, ALCOHOL])

    @torch.no_grad()
    def _held_out(self, model):
        data = self._data(slice(wine.HELD_OUT))
        model.eval()
        return data, model(data.inputs)[:, 0]


task = Alcohol()
