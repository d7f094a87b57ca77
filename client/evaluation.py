# SPDX-License-Identifier: Apache-2.0
"""Measuring models on a task's common test set, and the report that a proposal carries.

It knows tasks and model files; the coordinator only as a place to fetch them from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client.tasks import Task
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import ArtifactError, FolkmootError, InputError, TaskError
from folkmoot.hashing import canonical_json, sha256_hex

FORMAT = "folkmoot/evaluation/1"


def read_model(path: Path) -> bytes:
    """Read a model file.

    Raises:
        InputError: It can't be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"The model {path} can't be read: {error.strerror}.") from error


def evaluate(task: Task, data: bytes) -> dict[str, Any]:
    """Measure a model file and return the report.

    Returns:
        ``format``, ``task``, ``model`` (sha256 of the file), ``metrics``, and the file's ``version`` and ``stateRoot``.

    Raises:
        ArtifactError: The file is damaged.
        TaskError: It is not a model of this task.
    """
    import safetensors.torch

    try:
        weights = safetensors.torch.load(data)
        metadata = _metadata(data)
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"The model file is damaged: {error}.", remedy="Fetch it again.") from error
    return {
        "format": FORMAT,
        "task": task.name,
        "model": sha256_hex(data),
        "version": metadata.get("folkmoot.version", ""),
        "stateRoot": metadata.get("folkmoot.stateRoot", ""),
        "metrics": _measure(task, weights),
    }


def _measure(task: Task, weights: dict[str, Any]) -> dict[str, float]:
    model = task.model()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise TaskError(
            f"This is not a model of the task {task.name!r}.", remedy="Give --task the federation's task."
        ) from error
    return {name: float(value) for name, value in task.evaluate(model).items()}


def _metadata(data: bytes) -> dict[str, str]:
    import json

    length = int.from_bytes(data[:8], "little")
    found = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return {str(name): str(value) for name, value in found.items()}


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write a report as canonical JSON, so that its hash is a function of what it says.

    Raises:
        InputError: The file can't be written.
    """
    try:
        path.write_bytes(canonical_json(report))
    except OSError as error:
        raise InputError(f"The report {path} can't be written: {error.strerror}.") from error


def fetch_model(coordinator: str, version: str) -> bytes:
    """Fetch a version's model file.

    Raises:
        CoordinatorError: The coordinator has no such version or can't be reached.
    """
    with CoordinatorApi(coordinator) as api:
        return api.model(version)


def watch(task: Task, coordinator: str) -> Iterator[dict[str, Any]]:
    """Measure each newly anchored state, without end.

    Yields:
        ``round``, ``stateRoot`` and ``metrics``; or ``round`` and ``error``.
    """
    import torch

    from folkmoot.manifest import Manifest
    from folkmoot.mirror import open_source
    from folkmoot.state import State

    torch.set_num_threads(1)
    manifest: Manifest | None = None
    with CoordinatorApi(coordinator) as api:
        for event in api.events():
            if event.type != "round-anchored":
                continue
            number = int(event.data["round"])
            try:
                artifacts = _artifacts(api, number)
                if manifest is None:
                    manifest = Manifest.from_json(api.artifact(artifacts["manifest"]))
                source = open_source(coordinator)
                try:
                    path = source.fetch(artifacts["state"], 4 + 16 * manifest.size)
                    state = State.from_bytes(path.read_bytes(), manifest)
                finally:
                    source.close()
                weights = {name: torch.from_numpy(array) for name, array in state.model(manifest).items()}
                metrics = _measure(task, weights)
                yield {"round": number, "stateRoot": event.data.get("stateRoot", ""), "metrics": metrics}
            except FolkmootError as error:
                yield {"round": number, "error": str(error)}


def _artifacts(api: CoordinatorApi, number: int) -> dict[str, Any]:
    """Find the sha256 of a round's public files."""
    found = api.get(f"/v1/rounds/{number}").get("artifacts")
    if not isinstance(found, dict):
        raise ArtifactError(f"The coordinator does not name the files of round {number}.")
    return found
