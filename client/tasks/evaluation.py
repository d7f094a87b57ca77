# SPDX-License-Identifier: Apache-2.0
"""Measure models on a task's held-out examples, for the reports of proposals and of the canary.

Uses tasks and model files. The coordinator is only a source of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from folkmoot.artifacts.federation import Federation, files_of
from folkmoot.artifacts.sources import SPARE, CoordinatorSource
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import ArtifactError, FolkmootError, InputError, TaskError
from folkmoot.evaluation import Measurement, Report, measure
from folkmoot.evaluation.measuring import crossed
from folkmoot.evaluation.sites import CountTable, entangled
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.manifest import Files, Manifest, no_files
from folkmoot.protocol.state import State
from folkmoot.tasks import HeldOutPredictions, Task, optional, pretrained

if TYPE_CHECKING:
    import torch

SAMPLE_TOKENS, SAMPLE_TEMPERATURE = 60, 0.8
"""Defaults of a text that a model writes."""

MOST_TOKENS = 10_000
"""Most tokens of a text."""

NO_NOISE = (
    "The figures of the report are computed from the held-out records, without noise, and no budget counts them. "
    "Publish the report only if these records are no secret."
)
"""What somebody must be told whose task trains with privacy."""


def read_model(path: Path) -> bytes:
    """Read a model file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"The model {path} can't be read: {error.strerror or error}.", remedy="Check the path.")


def evaluate(task: Task, data: bytes) -> Report:
    """Measure a model file and return the report.

    Raises:
        TaskError: The file is not a model of this task.
    """
    weights = weights_of(data)
    metadata = _metadata(data)
    return Report(
        task=task.name,
        model=sha256_hex(data),
        version=metadata.get("folkmoot.version", ""),
        state_root=metadata.get("folkmoot.stateRoot", ""),
        measured=measured(task, weights),
    )


def mapped_weights(path: Path) -> dict[str, Any]:
    """Return the tensors of a model file by name, mapped from the file where the platform can."""
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"The model file is damaged: {error}.", remedy="Fetch it again.") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def weights_of(data: bytes) -> dict[str, Any]:
    """Return the tensors of a model file by name."""
    import safetensors.torch

    try:
        return safetensors.torch.load(data)
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        raise ArtifactError(f"The model file is damaged: {error}.", remedy="Fetch it again.") from error


def model_of(task: Task, weights: dict[str, Any]) -> torch.nn.Module:
    """Return a task's model with given weights.

    Raises:
        TaskError: The weights are not a model of this task.
    """
    model = task.model()
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise TaskError(
            f"This is not a model of the task {task.name!r}.", remedy="Give --task the federation's task."
        ) from error
    return model


def measured(task: Task, weights: dict[str, Any]) -> Measurement:
    """Measure weights (tensors by name) on a task's held-out examples.

    Raises:
        TaskError: The weights are not a model of this task, or the task returned an invalid measurement.
    """
    return _measured(task, model_of(task, weights))


def _measured(task: Task, model: torch.nn.Module) -> Measurement:
    metrics = {name: float(value) for name, value in task.evaluate(model).items()}
    examine = optional(task, "examine")
    return measure(metrics) if examine is None else count(task.name, metrics, examine(model))


def site_table(
    task: Task,
    weights: dict[str, Any],
    min_cell: int,
    *,
    groups: bool,
    partition: int = 0,
    partitions: int = 1,
) -> tuple[CountTable, bool]:
    """Return what may leave of a model's results on the site's own examples, and whether groups had to be left out.

    Args:
        task: The federation's task, with a method ``examine_site``.
        weights: Tensors of the model by name.
        min_cell: Least number of examples of a cell.
        groups: Whether groups are to be shown.
        partition: Number of the share, from 0, for a task whose data are public.
        partitions: Number of shares.

    Raises:
        TaskError: The task can't do it, or the weights are not a model of it.
        InputError: ``too-few-examples``.
    """
    if (examine := optional(task, "examine_site")) is None:
        raise TaskError(
            f"The task {task.name!r} does not say which examples a site measures with: it has no method examine_site.",
            remedy="Write it in three lines (docs/measuring.md).",
            code="no-examine-site",
        )
    held = examine(model_of(task, weights), partition, partitions)
    measurement = count(task.name, {}, held, "examine_site")
    table = CountTable.of(measurement, min_cell, groups=groups and held.groups is not None)
    if held.labels is None or not table.groups or entangled(table, crossed(held.labels, held.groups)):
        return table, False
    return replace(table, groups=()), True


def count(name: str, metrics: Mapping[str, float], held: object, method: str = "examine") -> Measurement:
    """Compute the measurement from the results of a task's ``evaluate`` and ``examine``.

    Args:
        name: Name of the task.
        metrics: Return value of the task's ``evaluate``.
        held: Return value of the task's ``examine``, or of another method.
        method: Name of that method.
    """
    if not isinstance(held, HeldOutPredictions):
        raise TaskError(
            f"The method {method} of the task {name!r} returned {type(held).__name__}.",
            remedy="It must return a folkmoot.tasks.HeldOutPredictions.",
        )
    columns: dict[str, Any] = dict(vars(held))
    try:
        return measure(metrics, **columns)
    except InputError as error:
        raise TaskError(
            f"What {method} of the task {name!r} returned can't be counted: {error.message}",
            remedy=error.remedy,
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise TaskError(
            f"What {method} of the task {name!r} returned can't be counted: {error}.",
            remedy="Each column is a list, an array or a tensor with one value an example.",
        ) from error


def _metadata(data: bytes) -> dict[str, str]:
    import json

    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return {str(name): str(value) for name, value in metadata.items()}


def write_report(report: Report, path: Path) -> None:
    """Write a report file. Equal reports give equal bytes."""
    try:
        path.write_bytes(report.to_bytes())
    except OSError as error:
        raise InputError(
            f"The report {path} can't be written: {error.strerror}.",
            remedy="Check that its folder exists and is writable, and that the disk has free space.",
        ) from error


def fetch_model(coordinator: str, version: str) -> bytes:
    """Fetch the model file of a version. Everybody gets the same bytes.

    Args:
        coordinator: URL of the coordinator.
        version: Number of a version or of an anchored round, or ``active``.

    Raises:
        CoordinatorError: The coordinator does not have this version, or can't be reached.
    """
    with CoordinatorApi(coordinator) as api:
        return api.model(version)


def watch(task: Task, coordinator: str) -> Iterator[dict[str, Any]]:
    """Measure each newly anchored state, endlessly.

    Yields:
        ``version``, ``stateRoot`` and the measurement as in a report, with a ``sample`` if the task writes text; or
        ``round`` and ``error``.
    """
    manifest: Manifest | None = None
    with CoordinatorApi(coordinator) as api, CoordinatorSource(coordinator) as source:
        for event in api.events():
            if event.type != "round-anchored":
                continue
            number = int(event.data["round"])
            try:
                manifest = manifest or fetch_manifest(api)
                model = model_of(task, fetch_weights(api, number, manifest, files_of(source)))
                line = {"version": number, "stateRoot": event.data.get("stateRoot", "")}
                if optional(task, "generate") is not None:
                    line["sample"] = generate(task, model, seed=number)
                yield {**line, **_measured(task, model).to_json()}
            except FolkmootError as error:
                yield {"round": number, "error": str(error)}


def measured_state(task: Task, state: State, manifest: Manifest, files: Files = no_files) -> Measurement:
    """Measure a state; see ``measured``. ``files`` gives the values of carried files."""
    return measured(task, _tensors(state, manifest, files))


def _tensors(state: State, manifest: Manifest, files: Files) -> dict[str, torch.Tensor]:
    import torch

    torch.set_num_threads(1)
    return {name: pretrained.tensor_of(array) for name, array in state.model(manifest, files).items()}


def generate(
    task: Task,
    model: torch.nn.Module,
    prompt: str = "",
    *,
    tokens: int = SAMPLE_TOKENS,
    temperature: float = SAMPLE_TEMPERATURE,
    seed: int = 0,
) -> str:
    """Return the text that a model writes after a prompt.

    Raises:
        InputError: The task's models write no text, or an argument is out of range.
    """
    if (write := optional(task, "generate")) is None:
        raise InputError(
            f"The models of the task {task.name!r} write no text: it has no method generate.",
            remedy="Give a task for text, such as --task text.",
        )
    if not 1 <= tokens <= MOST_TOKENS:
        raise InputError(
            f"{tokens} tokens can't be written.", remedy=f"Give a number from 1 to {MOST_TOKENS}."
        )
    if not 0 <= temperature < float("inf"):
        raise InputError(
            f"The temperature is {temperature:g}.",
            remedy="Give 0 for the most likely text, or up to about 1.",
        )
    return str(write(model, prompt, tokens=tokens, temperature=temperature, seed=seed))


def fetch_manifest(api: CoordinatorApi) -> Manifest:
    """Fetch the federation's manifest.

    Raises:
        ArtifactError: A file is missing or damaged.
    """
    return Federation.open(api.deployment(), api.files).manifest


def fetch_weights(
    api: CoordinatorApi, number: int, manifest: Manifest, files: Files = no_files
) -> dict[str, torch.Tensor]:
    """Fetch the tensors of a version by name. If its state was deleted, the coordinator makes the model file.

    Args:
        manifest: The federation's manifest.
        files: Gives the values of carried files.

    Raises:
        ArtifactError: The file is missing or damaged.
        CoordinatorError: The coordinator does not have this version, or can't be reached.
    """
    sha256 = _sha256(api.get(f"/v1/rounds/{number}"), number)
    try:
        return _tensors(fetch_state(api, sha256, manifest), manifest, files)
    except ArtifactError as error:
        if error.code != SPARE:
            raise
    return weights_of(api.model(str(number)))


def fetch_state(api: CoordinatorApi, sha256: str, manifest: Manifest) -> State:
    """Fetch a state file.

    Raises:
        ArtifactError: The file is missing or damaged.
    """
    state = State.open(api.files.fetch(sha256, manifest.state_file_size), manifest)
    api.files.discard(sha256)
    return state


def _sha256(view: dict[str, Any], number: int) -> str:
    """Return the SHA-256 of a round's state file."""
    if not isinstance(view.get("state"), str):
        raise ArtifactError(
            f"The coordinator has no state of round {number} yet.", remedy="Wait until it is anchored."
        )
    return str(view["state"])
