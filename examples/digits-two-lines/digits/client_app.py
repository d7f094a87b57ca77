# SPDX-License-Identifier: Apache-2.0
"""The ClientApp: trains and evaluates on this node's own share."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from digits import task
from folkmoot.flower import anchored_client

app = ClientApp()


def _model(message: Message) -> task.Net:
    net = task.Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return net


def _data(context: Context):
    node, run = context.node_config, context.run_config
    return task.load_data(node["partition-id"], node["num-partitions"], run["batch-size"])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the received model on the local data."""
    net, (data, _) = _model(message), _data(context)
    loss = task.train(net, data, context.run_config["local-epochs"], message.content["config"]["lr"])
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(data.dataset)})
    content = RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure the received model on the local data."""
    _, data = _data(context)
    loss, accuracy = task.test(_model(message), data)
    metrics = MetricRecord({"eval_loss": loss, "eval_acc": accuracy, "num-examples": len(data.dataset)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=message)


app = anchored_client(app)
