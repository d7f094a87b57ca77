# SPDX-License-Identifier: Apache-2.0
"""Measuring models on a task's common test set, and the report that a proposal carries.

It knows tasks and model files; the coordinator only as a place to fetch them from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from client.tasks import Task
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import ArtifactError, FolkmootError, InputError, TaskError
from folkmoot.genesis import Genesis
from folkmoot.hashing import canonical_json, sha256_hex
from folkmoot.manifest import Manifest
from folkmoot.state import State

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
    """Fetch a version's state and make its model file, the same bytes as everybody's.

    Args:
        coordinator: URL of the coordinator.
        version: Number of a version or of an anchored round, or ``active``.

    Raises:
        CoordinatorError: The coordinator has no such version or can't be reached.
        ArtifactError: A file is missing or damaged.
    """
    with CoordinatorApi(coordinator) as api:
        manifest = _manifest(api)
        if version == "0":
            return _state(api, _genesis(api).state, manifest).to_safetensors(manifest, 0)
        active = version == "active"
        found = api.get("/v1/models/active" if active else f"/v1/rounds/{version}")
        number = int(found["version"] if active else found["round"])
        if number == 0:
            return _state(api, _genesis(api).state, manifest).to_safetensors(manifest, 0)
        return _state(api, _sha256(found, number), manifest).to_safetensors(manifest, number)


def watch(task: Task, coordinator: str) -> Iterator[dict[str, Any]]:
    """Measure each newly anchored state, without end.

    Yields:
        ``version``, ``stateRoot`` and ``metrics``; or ``round`` and ``error``.
    """
    import torch

    torch.set_num_threads(1)
    manifest: Manifest | None = None
    with CoordinatorApi(coordinator) as api:
        for event in api.events():
            if event.type != "round-anchored":
                continue
            number = int(event.data["round"])
            try:
                manifest = manifest or _manifest(api)
                state = _state(api, _sha256(api.get(f"/v1/rounds/{number}"), number), manifest)
                weights = {name: torch.from_numpy(array) for name, array in state.model(manifest).items()}
                metrics = _measure(task, weights)
                yield {"version": number, "stateRoot": event.data.get("stateRoot", ""), "metrics": metrics}
            except FolkmootError as error:
                yield {"round": number, "error": str(error)}


def _genesis(api: CoordinatorApi) -> Genesis:
    return Genesis.from_json(api.document(api.deployment().genesis_hash.removeprefix("0x")))


def _manifest(api: CoordinatorApi) -> Manifest:
    return Manifest.from_json(api.artifact(_genesis(api).manifest))


def _state(api: CoordinatorApi, sha256: str, manifest: Manifest) -> State:
    with TemporaryDirectory(prefix="folkmoot-evaluate-") as folder:
        path = api.download(sha256, Path(folder, "state"))
        return State.from_bytes(path.read_bytes(), manifest)


def _sha256(found: dict[str, Any], number: int) -> str:
    """Find the name of a round's state file."""
    if not isinstance(found.get("state"), str):
        raise ArtifactError(
            f"The coordinator has no state of round {number} yet.", remedy="Wait until it is anchored."
        )
    return str(found["state"])
