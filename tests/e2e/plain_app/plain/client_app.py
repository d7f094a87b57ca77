# SPDX-License-Identifier: Apache-2.0
"""The client side of the app."""

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from plain.task import load_data, make_model
from plain.task import train as train_model

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the model on the node's points."""
    torch.set_num_threads(1)
    model = make_model()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    points, sides = load_data(context.node_id)
    trainings = context.state["own"]["trainings"] if "own" in context.state else 0
    loss = train_model(model, points, sides, message.content["config"]["lr"])
    context.state["own"] = ConfigRecord({"trainings": trainings + 1})
    metrics = MetricRecord({"loss": loss, "trainings": trainings, "num-examples": len(sides)})
    content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
    return Message(content=content, reply_to=message)
