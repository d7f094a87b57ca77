# SPDX-License-Identifier: Apache-2.0
"""Log a federation as one MLflow run: numbers by round as metrics, addresses as parameters. Needs `folkmoot[mlflow]`.

Another export finds the run by a tag and logs only what is new, so a tracking server never has a value twice.
"""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

from folkmoot.errors import FolkmootError, InputError
from folkmoot.export.rounds import FederationRecord
from folkmoot.protocol.hashing import sha256_hex

TAG = "folkmoot.ledger"
"""Tag with which a run is found again: chain and ledger."""

BATCH = 500
"""Metrics of one request; MLflow takes 1000."""

_SETTINGS = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""MLflow's own settings, where the user has none: a folder is meant where it is named, and a server that is away is
given up in seconds, not minutes."""

_UNFIT = re.compile(r"[^\w\-. ]")
"""What MLflow takes in no name of a metric, and what makes it a path: it keeps each in a file."""


def export(found: FederationRecord, tracking_uri: str, experiment: str) -> tuple[str, int]:
    """Log what is not there yet.

    Args:
        found: The rounds.
        tracking_uri: A folder, or the URI of a tracking server, as MLflow takes it.
        experiment: Name of the experiment; made if it is not there.

    Returns:
        Identifier of the run, and how many values were added.

    Raises:
        InputError: ``mlflow-missing``: the package is not installed.
        FolkmootError: ``mlflow-failed``: the tracking server can't be reached, or refuses.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    mlflow = _package()
    try:
        client = mlflow.MlflowClient(tracking_uri=_uri(tracking_uri))
        run = _run(client, experiment, found)
        return run, _log(mlflow, client, run, found)
    except mlflow.exceptions.MlflowException as error:
        text = " ".join(str(error).split())
        raise FolkmootError(
            f"MLflow at {tracking_uri} failed: {text[:400].rstrip('.')}.",
            remedy="Check --to: give a folder, or the URI of a running tracking server.",
            code="mlflow-failed",
        ) from error


def _package() -> Any:
    try:
        mlflow = importlib.import_module("mlflow")
        importlib.import_module("mlflow.entities")
    except ImportError as error:
        raise InputError(
            "MLflow is not installed.",
            remedy="Install it with `pip install 'folkmoot[mlflow]'`.",
            code="mlflow-missing",
        ) from error
    return mlflow


def _uri(text: str) -> str:
    """The tracking URI of what the user wrote."""
    named = "://" in text or text.startswith(("file:", "databricks"))
    return text if named else Path(text).absolute().as_uri()


def _run(client: Any, experiment: str, found: FederationRecord) -> str:
    """The federation's run, a new one if there is none."""
    known = client.get_experiment_by_name(experiment)
    number = known.experiment_id if known is not None else client.create_experiment(experiment)
    name = f"{found.chain_id}:{found.ledger}"
    runs = client.search_runs([number], filter_string=f"tags.`{TAG}` = '{name}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {TAG: name, "mlflow.runName": f"{found.task or 'folkmoot'} {found.ledger[:10]}"}
    began = 1000 * found.rounds[0].time if found.rounds else None
    run = client.create_run(number, start_time=began, tags=tags)
    for key, value in (("task", found.task), ("chain_id", found.chain_id), ("ledger", found.ledger)):
        client.log_param(run.info.run_id, key, value)
    return str(run.info.run_id)


def _log(mlflow: Any, client: Any, run: str, found: FederationRecord) -> int:
    rounds = [one for one in found.rounds if one.judged]
    names = {_fit(name) for one in rounds for name in one.numbers()}
    logged = set(client.get_run(run).data.metrics)
    known = {
        (name, point.step): point.value
        for name in names & logged
        for point in client.get_metric_history(run, name)
    }
    new = [
        mlflow.entities.Metric(_fit(name), value, 1000 * one.time, one.number)
        for one in rounds
        for name, value in one.numbers().items()
        if known.get((_fit(name), one.number)) != value
    ]
    for start in range(0, len(new), BATCH):
        client.log_batch(run, metrics=new[start : start + BATCH])
    return len(new)


def _fit(name: str) -> str:
    """A name that MLflow takes, and takes for no path; what had to be changed ends in a part of its hash."""
    group, slash, rest = name.partition("/")
    fitted = f"{group}{slash}{_UNFIT.sub('_', rest)}" if rest.strip(". ") else f"{group}{slash}_"
    return fitted if fitted == name else f"{fitted}-{sha256_hex(name.encode('utf-8', 'replace'))[:6]}"
