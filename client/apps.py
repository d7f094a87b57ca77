# SPDX-License-Identifier: Apache-2.0
"""Use a Flower app instead of a task: make a federation's genesis files from it, and check that it fits one.

It imports nothing of an app: `folkmoot.apps` does, in processes of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from folkmoot.apps.apart import StepLimit, scratch
from folkmoot.apps.capture import Captured, capture
from folkmoot.apps.folder import AppFolder, of_partition, read_pairs
from folkmoot.apps.staging import bundle_of
from folkmoot.apps.trial import Trial, start_of_app, try_training, unshared
from folkmoot.artifacts.start import Start, write
from folkmoot.errors import InputError, TaskError
from folkmoot.flower.records import HOME
from folkmoot.protocol.manifest import Manifest

PARTITION, PARTITIONS = "partition-id", "num-partitions"
"""Keys of a node's configuration, as Flower's simulations name them."""


@dataclass(frozen=True)
class Made:
    """A federation's start, and the app that it was made from."""

    captured: Captured
    trial: Trial
    start: Start

    @property
    def notes(self) -> list[str]:
        """What is different when the app is anchored, a sentence each."""
        return [*self.captured.notes, *unshared(self.captured, self.trial, self.start.manifest)]


def init(
    app: AppFolder, nodes: int, out: Path, node_config: Mapping[str, Any], limit: StepLimit | None = None
) -> Made:
    """Capture an app, train once on its first partition, and write what a federation on it starts from.

    Raises:
        InputError: The app can't be anchored, its own code failed, or it took too long.
        ManifestError: Its arrays can't be used.
    """
    bundle_of(app)  # `flwr run` would refuse it only when chain and nodes are there
    with scratch() as folder:
        captured = capture(app, folder, nodes, limit)
        trial = try_training(captured, folder, node_config, limit)
    start = start_of_app(captured, trial)
    write(start, out)
    return Made(captured, trial, start)


def check(
    app: AppFolder,
    manifest: Manifest,
    nodes: int,
    layout: Path | None = None,
    limit: StepLimit | None = None,
) -> None:
    """Check that an app has a federation's model: the same name, the same arrays in the same order.

    Args:
        app: The app.
        manifest: The federation's.
        nodes: How many nodes the app is shown.
        layout: Manifest that was made from this app before; the app is captured if left out.
        limit: How long that may take.

    Raises:
        TaskError: It has another.
        InputError: It can't be captured.
    """
    if app.name != manifest.task:
        raise TaskError(
            f"The federation works on {manifest.task!r}, not on the app {app.name!r}.",
            remedy="Give --app the folder of the federation's app.",
            code="wrong-task",
        )
    if layout is not None:
        ours = Manifest.from_json(layout.read_bytes())
    else:
        with scratch() as folder:
            ours = Manifest.from_arrays(app.name, capture(app, folder, nodes, limit).arrays)
    difference = _difference(ours, manifest)
    if difference:
        raise TaskError(
            f"The arrays of the app {app.name!r} are not the federation's: {difference}.",
            remedy="Use the version of the app and the --run-config from which the federation was made.",
            code="wrong-model",
        )


def _difference(ours: Manifest, theirs: Manifest) -> str:
    """Say in which array two layouts differ first; empty if in none. Values of carried buffers may differ."""
    first, second = (_layout(one) for one in (ours, theirs))
    for mine, other in zip(first, second, strict=False):
        if mine != other:
            return f"{mine[0]!r} {mine[1]} here, {other[0]!r} {other[1]} there"
    return "" if len(first) == len(second) else f"{len(first)} arrays here, {len(second)} there"


def _layout(manifest: Manifest) -> list[tuple[str, str]]:
    return [(one.name, f"({one.dtype}) of shape {list(one.shape)}") for one in manifest.arrays]


def node_config(partition: int, partitions: int, given: list[str] | None) -> dict[str, Any]:
    """Return a node's configuration: its partition, and what was given by ``--node-config``.

    ``{partition}`` in a text becomes the partition's number.

    Raises:
        InputError: It can't be read, or names the contributor's folder.
    """
    values = read_pairs(given or [], "node config")
    if HOME in values:
        raise InputError(
            f"--node-config can't set {HOME}: that is the node's folder.", remedy="Use --home FOLDER."
        )
    return {PARTITION: partition, PARTITIONS: partitions, **of_partition(values, partition)}
