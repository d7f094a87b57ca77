# SPDX-License-Identifier: Apache-2.0
"""Use a Flower app instead of a task: write genesis files from it, and check that it fits a federation.

This module imports no code of an app. `folkmoot.apps` imports it in separate processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from folkmoot.apps.apart import scratch
from folkmoot.apps.capture import Captured, capture
from folkmoot.apps.folder import AppFolder, of_partition, read_pairs
from folkmoot.apps.limit import StepLimit
from folkmoot.apps.staging import bundle_of
from folkmoot.apps.trial import Trial, start_of_app, try_training, unshared
from folkmoot.artifacts.federation import Start, write
from folkmoot.errors import InputError, TaskError
from folkmoot.flower.contributor import HOME
from folkmoot.protocol.manifest import Manifest

PARTITION, PARTITIONS = "partition-id", "num-partitions"
"""Keys of a node's configuration, as Flower's simulations name them."""


@dataclass(frozen=True)
class Made:
    """Genesis files of a federation, and the app that they were made from."""

    captured: Captured
    trial: Trial
    start: Start

    @property
    def notes(self) -> list[str]:
        """Return one sentence for each change in behaviour when the app is anchored."""
        return [*self.captured.notes, *unshared(self.captured, self.trial, self.start.manifest)]


def init(
    app: AppFolder,
    nodes: int,
    out: Path,
    node_config: Mapping[str, Any],
    limit: StepLimit | None = None,
    width: int = 8,
    settings: Mapping[str, Any] | None = None,
) -> Made:
    """Capture an app, train once on its first partition, and write the genesis files of a federation.

    Raises:
        InputError: The app can't be anchored, its own code failed, or it took too long.
        ManifestError: The app's arrays can't be used.
    """
    bundle_of(app)  # `flwr run` would refuse it only after the chain and the nodes have been started.
    with scratch() as folder:
        captured = capture(app, folder, nodes, limit, node_config)
        trial = try_training(captured, folder, node_config, limit)
    start = start_of_app(captured, trial, width, settings)
    write(start, out)
    return Made(captured, trial, start)


def check(
    app: AppFolder,
    manifest: Manifest,
    nodes: int,
    layout: Path | None = None,
    limit: StepLimit | None = None,
) -> None:
    """Check that an app has a federation's model: the same name, and the same arrays in the same order.

    Args:
        manifest: Manifest of the federation.
        nodes: Number of nodes that the app sees.
        layout: Manifest made from this app earlier. The app is captured if this is None.
        limit: Time limit of the capture.

    Raises:
        TaskError: The app has another model, or the manifest declares privacy (``not-private``).
    """
    if manifest.private:
        raise TaskError(
            f"The manifest declares privacy, and nothing makes the app {app.name!r} add its noise.",
            remedy="Nothing was started. Join such a federation with a task that trains by "
            "folkmoot.privacy.mechanism (docs/privacy.md).",
            code="not-private",
        )
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
    """Return a description of the first array that differs; empty if none does. Carried buffers may differ in value."""
    first, second = (_layout(one) for one in (ours, theirs))
    for mine, other in zip(first, second, strict=False):
        if mine != other:
            return f"{mine[0]!r} {mine[1]} here, {other[0]!r} {other[1]} there"
    return "" if len(first) == len(second) else f"{len(first)} arrays here, {len(second)} there"


def _layout(manifest: Manifest) -> list[tuple[str, str]]:
    return [(array.name, f"({array.dtype}) of shape {list(array.shape)}") for array in manifest.arrays]


def node_config(partition: int, partitions: int, given: list[str] | None) -> dict[str, Any]:
    """Return a node's configuration: its partition and the values of ``--node-config``.

    ``{partition}`` in a text becomes the partition's number.

    Raises:
        InputError: An entry can't be read, or sets the contributor's folder.
    """
    values = read_pairs(given or [], "node config")
    if HOME in values:
        raise InputError(
            f"--node-config can't set {HOME}: that is the node's folder.", remedy="Use --home FOLDER."
        )
    return {PARTITION: partition, PARTITIONS: partitions, **of_partition(values, partition)}
