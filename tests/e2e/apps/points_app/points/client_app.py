# SPDX-License-Identifier: Apache-2.0
"""The client side of the app."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from points.task import load_data, loss_of
from points.task import train as train_model

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train on the node's points."""
    points, sides = load_data(context.node_id)
    (config,) = message.content.config_records.values()
    model = train_model(message.content["arrays"].to_numpy_ndarrays(), points, sides, config["lr"])
    metrics = MetricRecord(
        {"loss": loss_of(model, points, sides), "lr": config["lr"], "num-examples": len(sides)}
    )
    return Message(RecordDict({"arrays": ArrayRecord(model), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure on the node's points."""
    points, sides = load_data(context.node_id)
    loss = loss_of(message.content["arrays"].to_numpy_ndarrays(), points, sides)
    metrics = MetricRecord({"loss": loss, "num-examples": len(sides)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
