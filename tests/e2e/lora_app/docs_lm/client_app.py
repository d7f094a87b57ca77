# SPDX-License-Identifier: Apache-2.0
"""The ClientApp: only adapters are received and returned."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from docs_lm.task import cosine_annealing, get_adapters, get_model, load_data, set_adapters
from docs_lm.task import test as test_fn
from docs_lm.task import train as train_fn

app = ClientApp()


def load(msg: Message, context: Context):
    """Return the base model with the received adapters, and this node's data."""
    config, node = context.run_config, context.node_config
    model = get_model(config["model.rank"], config["model.alpha"])
    set_adapters(model, msg.content["arrays"].to_torch_state_dict())
    return model, *load_data(node["partition-id"], node["num-partitions"])


@app.train()
def train(msg: Message, context: Context):
    """Train the adapters on this node's documents, at the round's learning rate."""
    config = context.run_config
    server_round = msg.content["config"]["server-round"]
    model, data, _ = load(msg, context)
    lr = cosine_annealing(
        server_round,
        config["num-server-rounds"],
        config["train.learning-rate-max"],
        config["train.learning-rate-min"],
    )
    factors = "AB" if not config["train.alternate"] else "B" if server_round % 2 else "A"
    loss = train_fn(model, data, config["train.steps"], config["train.batch-size"], lr, factors)
    metrics = MetricRecord({"train_loss": loss, "learning_rate": lr, "num-examples": len(data)})
    content = RecordDict({"arrays": ArrayRecord(get_adapters(model)), "metrics": metrics})
    return Message(content=content, reply_to=msg)


@app.evaluate()
def evaluate(msg: Message, context: Context):
    """Measure on this node's validation part."""
    model, _, data = load(msg, context)
    metrics = MetricRecord({"eval_loss": test_fn(model, data), "num-examples": len(data)})
    return Message(content=RecordDict({"metrics": metrics}), reply_to=msg)
