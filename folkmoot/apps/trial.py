# SPDX-License-Identifier: Apache-2.0
"""Call an app's train function once, on the first partition, as Flower would.

This checks that the app trains on this machine, and measures how much one training changes each array. The first
exponents come from these changes. The app runs in a separate process; only the arrays and the numbers are kept.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from folkmoot.apps import apart
from folkmoot.apps.capture import FIRST_NODE, MESSAGE, Captured, mixed
from folkmoot.apps.folder import AppFolder, of_partition
from folkmoot.apps.limit import StepLimit
from folkmoot.apps.observed import Observer
from folkmoot.artifacts.federation import Start
from folkmoot.errors import InputError, ManifestError
from folkmoot.protocol.genesis import Genesis, calibrated_exponent, first_exponent, width_settings
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.runtime.flower_internals import take_identity, unpack

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRAINED = "trained.npz"
"""File with the trained arrays; ``arr_0`` is the first array of the reply."""

COUNTER = "num_batches_tracked"
"""Suffix of the names of BatchNorm's counters, which change in every training."""

TRAIN_FUNCTION = "The train function"
"""Name of the component in messages."""

LOW_GUESS = first_exponent(1e-4, 1)
"""Exponent of a tensor without a measured change. It is low, because the next rounds raise it fast."""


@dataclass(frozen=True)
class Trial:
    """Result of one training."""

    arrays: Mapping[str, NDArray[Any]]
    """Trained arrays by name."""
    metrics: Mapping[str, float]
    """Metrics that the app returned with the arrays."""
    seconds: float
    """Duration in seconds, including imports and data."""
    reached: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What its code reached on this machine, as `folkmoot.apps.observed` says."""


def try_training(
    captured: Captured,
    scratch: Path,
    node_config: Mapping[str, Any] | None = None,
    limit: StepLimit | None = None,
) -> Trial:
    """Call the app's train function once, on partition 0, in a separate process.

    Args:
        captured: The captured app. It must have used the same scratch folder.
        scratch: Folder for logs and results.
        node_config: Further entries of the node config.
        limit: How long it may take.

    Raises:
        InputError: The training failed: ``app-raised``, ``app-dependency``, or ``app-reply`` for a reply without the
            arrays.
        TaskError: The app ended the process, or took too long.
    """
    (scratch / MESSAGE).write_bytes(captured.message)
    node = {**of_partition(node_config or {}, 0), "partition-id": 0, "num-partitions": captured.nodes}
    words = [json.dumps(node), json.dumps(dict(captured.app.overrides)), captured.message_type]
    began = time.monotonic()
    outcome = apart.run_apart("folkmoot.apps.trial", captured.app, scratch, words, "training", limit)
    with np.load(scratch / TRAINED, allow_pickle=False) as file:
        arrays = {name: file[f"arr_{number}"] for number, name in enumerate(outcome["names"])}
    return Trial(arrays, outcome["metrics"], time.monotonic() - began, outcome["reached"])


def start_of_app(
    captured: Captured, trial: Trial | None, width: int = 8, settings: Mapping[str, Any] | None = None
) -> Start:
    """Return the genesis of a federation with an app.

    Args:
        captured: The captured app.
        trial: One training, from which the first exponents come. Without it they are low estimates.
        width: Bits of an encoded coordinate under the first policy.
        settings: Training settings of the manifest. An app sees none of them.

    Raises:
        InputError: The training returned other arrays, or numbers that are not finite.
    """
    training = {**(settings or {}), **width_settings(width)}
    manifest = Manifest.from_arrays(
        captured.app.name, captured.arrays, training, carry=_kept_back(captured, trial)
    )
    state = State.genesis(manifest, captured.arrays)
    exponents = (LOW_GUESS,) * len(manifest.tensors)
    if trial is not None:
        exponents = _calibrated(captured, trial, manifest, width)
    genesis = Genesis.of(manifest, state, exponents)
    guessed = "" if trial is not None else "the training was left out"
    root = state.root(manifest.hash)
    return Start(manifest, state, genesis, root, guessed, lambda entry: captured.arrays[entry.name])


def _kept_back(captured: Captured, trial: Trial | None) -> list[str]:
    """Return the arrays that a client of the old interface does not return, because each node has its own."""
    if trial is None or not captured.legacy:
        return []
    return list(captured.arrays)[len(trial.arrays) :]


def _calibrated(captured: Captured, trial: Trial, manifest: Manifest, width: int) -> tuple[int, ...]:
    """Return each tensor's exponent from its change in training; for an unchanged tensor, the lowest of the others."""
    try:
        before = manifest.unflatten(manifest.flatten(captured.arrays), carried=False)
        flat = manifest.flatten({name: _float(array) for name, array in trial.arrays.items()})
        after = manifest.unflatten(flat, carried=False)
    except ManifestError as error:
        if error.code == "not-finite":
            raise InputError(
                f"{TRAIN_FUNCTION} of {captured.app.name} returned NaN or infinite numbers on partition 0. "
                f"{error.message}",
                remedy="Lower the learning rate, or find the step that diverges.",
                code="app-diverged",
            ) from error
        raise InputError(
            f"{TRAIN_FUNCTION} of {captured.app.name} returned other arrays than it was given. {error.message}",
            remedy="Return the whole model under the same names and shapes, as the ArrayRecord 'arrays'.",
            code="app-reply",
        ) from error
    changes = [np.asarray(before[name] - after[name], dtype=np.float32) for name in before]
    unknown = 10**6
    exponents = [calibrated_exponent(change, unknown, width) for change in changes]
    known = [exponent for exponent in exponents if exponent != unknown]
    lowest = min(known, default=LOW_GUESS)
    return tuple(exponent if exponent != unknown else lowest for exponent in exponents)


def unshared(captured: Captured, trial: Trial, manifest: Manifest) -> list[str]:
    """Return a note on carried arrays that the training changed. All versions keep their initial values."""
    names = [
        one.name
        for one in manifest.carried
        if one.name in trial.arrays
        and not (
            one.name.endswith(COUNTER) or trial.arrays[one.name].size == 1
        )  # Lists of arrays have no names.
        and not np.array_equal(trial.arrays[one.name], captured.arrays[one.name])
    ]
    notes = []
    if kept := _kept_back(captured, trial):
        notes.append(
            f"The clients do not return the arrays {_some(kept)}: each node keeps its own. The shared model has their "
            "first values, which each train message repeats."
        )
    if names:
        notes.append(
            "Training changes integer arrays that are not shared. The model keeps their first values: "
            f"{_some(names)}."
        )
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _float(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.dtype.kind == "f" else array.astype(np.float64)


# The child


def _main(arguments: Sequence[str]) -> NoReturn:
    folder, place, node, overrides, kind = arguments
    scratch, given = Path(place), json.loads(overrides)
    app = AppFolder.read(Path(folder)).with_overrides(given)
    observer = Observer(app.path, scratch)
    try:
        outcome = {**_train(app, scratch, json.loads(node), kind), "reached": observer.reached_by_kind()}
    except InputError as error:
        apart.fail(scratch, error)
    except BaseException as error:
        apart.fail(scratch, apart.raised(app, error, TRAIN_FUNCTION))
    apart.finish(scratch, outcome)


def _train(app: AppFolder, scratch: Path, node: Mapping[str, Any], kind: str) -> dict[str, Any]:
    from flwr.app import Context, Message, RecordDict

    from folkmoot.flower.encoding import failure
    from folkmoot.flower.relay.legacy import PARAMETERS, metrics_of

    take_identity()
    client = apart.load_component(app, app.clientapp, "The ClientApp")
    content = unpack((scratch / MESSAGE).read_bytes())
    message = Message(content, dst_node_id=FIRST_NODE, message_type=kind)
    context = Context(
        run_id=1,
        node_id=FIRST_NODE,
        node_config=dict(node),
        state=RecordDict(),
        run_config=dict(app.run_config),
    )
    try:
        reply = client(message, context)
    except KeyError as error:
        if (client._call is not None) == (PARAMETERS in content):
            raise
        raise mixed(
            app, f"no record {error} in the train message", legacy=client._call is not None
        ) from error
    if not isinstance(reply, Message) or not reply.has_content():
        reason = reply.error.reason if isinstance(reply, Message) and reply.has_error() else "no message"
        raise _no_arrays(app, f"returned an error: {reason}" if reason else "returned an error")
    if reason := failure(reply.content):
        raise _no_arrays(app, f"returned an error: {reason}")
    records = reply.content.array_records
    if "arrays" not in records and len(records) != 1:
        raise _no_arrays(app, f"returned {len(records)} ArrayRecords, none of them named 'arrays'")
    record = records["arrays"] if "arrays" in records else next(iter(records.values()))
    with (scratch / TRAINED).open("wb") as file:
        np.savez(file, *[array.numpy() for array in record.values()])
    metrics = metrics_of(reply.content) or {
        name: value
        for metric_record in reply.content.metric_records.values()
        for name, value in metric_record.items()
        if isinstance(value, int | float)
    }
    return {"names": list(record), "metrics": metrics}


def _no_arrays(app: AppFolder, what: str) -> InputError:
    return InputError(
        f"{TRAIN_FUNCTION} of {app.name} {what}.",
        remedy="Return Message(RecordDict({'arrays': ArrayRecord(...), 'metrics': ...}), reply_to=message).",
        code="app-reply",
    )


if __name__ == "__main__":
    _main(sys.argv[1:])
