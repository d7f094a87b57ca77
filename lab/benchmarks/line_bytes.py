# SPDX-License-Identifier: Apache-2.0
"""Bytes that a round carries over a contributor's line.

    python -m benchmarks.line_bytes [--rounds 4] [--width 8] [--json]

Counts the bytes of the TCP connections between the node and the coordinator, HTTP's headers included, and Flower's
messages as Flower encodes them. The coordinator is a scripted one, the strategy, the mod and the keeper are the real
ones. What goes to the RPC endpoint is not counted: it is the same in both cases, and does not grow with the model.

In place of training, each weight moves by a random number from Student's t distribution with four degrees of freedom:
like the changes of a real training, most are small and some are large. Their scale is the one that the exponents aim
at. One contributor takes part, so that the mean is its update again; that of several has smaller integers at width 8
and 4, and takes fewer bytes. The last column has the plain sizes of an update and a mean.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

from client.keeper.keeper import Keeper
from client.keeper.transfers import Transfers
from folkmoot.flower import FolkmootStrategy, folkmoot_mod, records
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.signing import LocalSigner
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.packing import WIDTHS
from folkmoot.protocol.policy import MEAN_SCALES, MEAN_SQUARE_CAPS, Policy
from folkmoot.runtime.flower_internals import pack
from tests.line import Line
from tests.unit.flower.grid import LocalGrid
from tests.unit.flower.world import World, account

EXPONENT = -9
"""Exponent of all tensors."""

MODELS: dict[str, dict[str, tuple[int, ...]]] = {
    "digits": {"0.weight": (32, 64), "0.bias": (32,), "2.weight": (10, 32), "2.bias": (10,)},
    "1 M parameters": {"weight": (1000, 999), "bias": (1000,)},
}


class CountingGrid(LocalGrid):
    """Nodes in this process; counts the bytes of messages and replies."""

    def __init__(self) -> None:
        super().__init__()
        self.down = self.up = 0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, which are answered at once."""
        numbers = list(super().push_messages(messages))
        for sent in self.sent[-len(numbers) :]:
            self.down += len(pack(sent.content))
            reply = self.replies[sent.metadata.message_id]
            self.up += len(pack(reply.content)) if reply.has_content() else len(reply.error.reason or "")
        return numbers


SPREAD = {8: 8.0, 4: 1.5, 2: 0.27}
"""Scale of the movement in the grid's units by width: ``S / A`` or the density is what the exponents aim at."""


def app(width: int) -> ClientApp:
    """Return an app that moves all weights by a little."""
    random, unit = np.random.default_rng(5), SPREAD[width] * 2.0**EXPONENT
    made = ClientApp(mods=[folkmoot_mod(signer=LocalSigner(account("ada")))])

    @made.train()
    def train(message: Message, context: Context) -> Message:
        arrays = {name: array.numpy() for name, array in message.content.array_records["arrays"].items()}
        moved = ArrayRecord(
            {
                name: Array((array - unit * random.standard_t(4, array.shape)).astype(np.float32))
                for name, array in arrays.items()
            }
        )
        metrics = MetricRecord({records.NUM_EXAMPLES: 5, "loss": 0.1})
        return Message(RecordDict({"arrays": moved, "metrics": metrics}), reply_to=message)

    return made


def policy_of(width: int, elements: int) -> Policy:
    """Return a policy of a width for a model with so many elements."""
    cap, scale = MEAN_SQUARE_CAPS[width] * elements, MEAN_SCALES[width]
    return Policy("mean", (), cap, 1, 8, width, 1024, 0, 600, 600, 600, 0, 0, 0, mean_scale=scale)


def carried(
    shapes: dict[str, tuple[int, ...]], rounds: int, width: int = 8
) -> tuple[int, list[dict[str, int]]]:
    """Run some rounds; return the model's size, and the bytes in each direction for each round."""
    random = np.random.default_rng(6)
    model = {name: random.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
    manifest = Manifest.from_arrays("measured", model, {"local_steps": 1})
    found: list[dict[str, int]] = []
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="folkmoot-bytes-")))
        world = stack.enter_context(World(manifest, dict(model), exponent=EXPONENT, rounds=rounds))
        world.policy = policy_of(width, manifest.elements)
        world.rounds[-1].header = world._header(1, world.states[-1])
        line = Line(int(urlsplit(world.url).port or 0), "the coordinator")
        stack.callback(line.close)
        contributor = Contributor(
            home, world.url, line.url, world.deployment, account("ada").address, "measured", 0, 1
        )
        contributor.save()
        stack.enter_context(Keeper(contributor, manifest, world.genesis, (), Transfers(bar=False)))
        grid = CountingGrid()
        grid.add(app(width), contributor)
        before = {"down": 0, "up": 0}

        class Measured(FolkmootStrategy):
            """Counts the bytes of each round."""

            def aggregate_train(
                self, server_round: int, replies: Iterable[Message]
            ) -> tuple[ArrayRecord | None, MetricRecord | None]:
                """Wait for the round's replies, and count."""
                aggregated = super().aggregate_train(server_round, replies)
                now = {"down": grid.down + line.down, "up": grid.up + line.up}
                found.append({name: now[name] - before[name] for name in now})
                before.update(now)
                return aggregated

        strategy = Measured(world.url)
        strategy.pacing.coordinator = strategy.pacing.replies = strategy.pacing.nodes = 0.01
        strategy.start(grid=grid, initial_arrays=ArrayRecord())
    return manifest.elements, found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.line_bytes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="rounds")
    parser.add_argument("--width", type=int, choices=WIDTHS, default=8, help="bits of a coordinate")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    for name in ("_run_id", "_node_id", "_task_id"):
        setattr(TaskIdentity, name, 1)
    rows: list[dict[str, Any]] = []
    mean_width = policy_of(options.width, 1).mean_width
    for name, shapes in MODELS.items():
        size, found = carried(shapes, options.rounds, options.width)
        plain = (options.width + mean_width) / 8
        rows.append({"model": name, "parameters": size, "rounds": found, "plain": plain})
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print("| model | down, first round | down, later | up | down and up a parameter, later | plain |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        first, *_, last = row["rounds"]
        both = (last["down"] + last["up"]) / row["parameters"]
        print(
            f"| {row['model']} ({row['parameters']:,}) | {first['down']:,} | {last['down']:,} | "
            f"{last['up']:,} | {both:.3f} | "
            f"{row['plain']:.2f} |"
        )


if __name__ == "__main__":
    main()
