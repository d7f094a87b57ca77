# SPDX-License-Identifier: Apache-2.0
"""The `ClientApp` that every contributor's node runs: trains and evaluates the node's own task.

The node, not the coordinator, chooses task and data (`contributor.json`). The coordinator only chooses the model to
start from. The mod does all checks and the signing. Torch is imported when a message needs it.
"""

from __future__ import annotations

from logging import WARNING
from typing import Any

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore import log

from folkmoot.errors import TaskError
from folkmoot.flower import frozen, records
from folkmoot.flower.clock import time_left
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.memory import StateMemory
from folkmoot.flower.mod import folkmoot_mod
from folkmoot.protocol.manifest import Manifest
from folkmoot.tasks import Task, load_task, pretrained, private, root
from folkmoot.tasks.training import train_once

app = ClientApp(mods=[folkmoot_mod(show_round=True, whole=False)])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train from the given weights on the node's own data."""
    contributor = Contributor.of_node(context.node_config)
    task = load_task(contributor.task)
    round_message = records.RoundMessage.from_record(message.content.config_records[records.ROUND])
    manifest = Manifest.from_json(round_message.manifest)
    if manifest.task != task.name:
        raise TaskError(
            f"The round is for the task {manifest.task!r}, this node works on {task.name!r}.",
            remedy="Start the node with the federation's task.",
            code="wrong-task",
        )
    model = _model(task, message)
    seed = int(manifest.training.get("split_seed", 0))
    if contributor.root:
        data = root.load(task, contributor.root, seed)
    else:
        data = task.load(contributor.partition, contributor.partitions, seed)
    for warning in private.warnings_of(data, manifest.training):
        log(WARNING, warning)
    memory = StateMemory(context.state)
    report: dict[str, float] = {}
    examples = train_once(
        task, model, data, manifest.training, memory, round_message.round, time_left, report
    )
    apart = frozen.arrays()
    pretrained.require_frozen(model, apart)
    content = RecordDict(
        {
            records.ARRAYS: ArrayRecord(
                {name: Array(value) for name, value in model.state_dict().items() if name not in apart}
            ),
            records.METRICS: MetricRecord({**report, records.NUM_EXAMPLES: examples}),
        }
    )
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Measure the given weights on the task's common test set."""
    task = load_task(Contributor.of_node(context.node_config).task)
    metrics = task.evaluate(_model(task, message))
    return Message(RecordDict({records.METRICS: MetricRecord(dict(metrics))}), reply_to=message)


def _model(task: Task, message: Message) -> Any:
    """Return the task's model with the weights of a message, and the arrays that are not in the message."""
    model, apart = task.model(), frozen.arrays()
    try:
        arrays = message.content.array_records[records.ARRAYS]
        # The message's arrays are not needed any more, and would take as much memory as the model.
        given = arrays.to_torch_state_dict(keep_input=False)
        own = model.state_dict()
        model.load_state_dict({**given, **{name: own[name] for name in apart if name in own}})
        pretrained.put_frozen(model, apart)
    except RuntimeError as error:
        raise TaskError(
            f"The model of the task {task.name!r} does not fit the federation's.",
            remedy="Use the task that the federation's manifest was made from, in the same version.",
            code="wrong-model",
        ) from error
    return model
