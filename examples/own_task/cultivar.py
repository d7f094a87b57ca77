# SPDX-License-Identifier: Apache-2.0
"""A classification task: from which of three cultivars is a wine?"""

import torch
import wine
from torch.nn.functional import cross_entropy

from folkmoot.tasks import Data, HeldOutPredictions

TRAINING = {"local_steps": 20, "batch_size": 16, "learning_rate": 0.02, "momentum": 0.9}
"""Goes into the manifest, so that everybody trains alike."""


class Cultivar:
    """The members that Folkmoot asks of a task: `folkmoot.tasks.Task`."""

    name = "wine-cultivar"
    training = TRAINING

    def model(self):
        """Return the initial model."""
        return wine.network(13, 3)

    def load(self, partition, partitions, seed):
        """Return this contributor's wines."""
        return self._data(wine.share(partition, partitions))

    def train(self, model, data, settings):
        """Train in place; return the number of examples."""
        return wine.train(model, data.inputs, data.labels, cross_entropy, settings)

    def evaluate(self, model):
        """Return numbers on the wines that nobody trains on."""
        data, scores = self._held_out(model)
        accuracy = (scores.argmax(dim=1) == data.labels).float().mean().item()
        return {"loss": cross_entropy(scores, data.labels).item(), "accuracy": accuracy}

    def examine(self, model):
        """Return predictions, from which reports count the recall of each cultivar."""
        data, scores = self._held_out(model)
        return HeldOutPredictions(labels=data.labels, predictions=scores.argmax(dim=1))

    def _data(self, places):
        inputs, cultivars = wine.read()
        return Data(torch.from_numpy(inputs[places]), torch.from_numpy(cultivars[places]))

    @torch.no_grad()
    def _held_out(self, model):
        data = self._data(slice(wine.HELD_OUT))
        model.eval()
        return data, model(data.inputs)


task = Cultivar()
