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
"""Tag that identifies the run: chain and ledger."""

BATCH = 500
"""Number of metrics per request; MLflow accepts 1000."""

_SETTINGS = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
"""Defaults for MLflow's settings: allow a folder, and give up on an unavailable server in seconds, not minutes."""

_UNFIT = re.compile(r"[^\w\-. ]")
"""Characters that MLflow does not allow in names of metrics, and those of paths: it keeps each metric in a file."""


def export(record: FederationRecord, tracking_uri: str, experiment: str) -> tuple[str, int]:
    """Log the values that the run does not have yet.

    Args:
        record: The federation and its rounds.
        tracking_uri: A folder, or the URI of a tracking server, in MLflow's form.
        experiment: Name of the experiment; it is created if it does not exist.

    Returns:
        Identifier of the run, and the number of added values.

    Raises:
        InputError: The package is not installed (``mlflow-missing``).
        FolkmootError: The tracking server can't be reached, or refuses (``mlflow-failed``).
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    mlflow = _package()
    try:
        client = mlflow.MlflowClient(tracking_uri=_uri(tracking_uri))
        run = _run(client, experiment, record)
        return run, _log(mlflow, client, run, record)
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
    """Return the tracking URI for the user's text."""
    named = "://" in text or text.startswith(("file:", "databricks"))
    return text if named else Path(text).absolute().as_uri()


def _run(client: Any, experiment: str, record: FederationRecord) -> str:
    """Return the federation's run; create it if there is none."""
    known = client.get_experiment_by_name(experiment)
    number = known.experiment_id if known is not None else client.create_experiment(experiment)
    name = f"{record.chain_id}:{record.ledger}"
    runs = client.search_runs([number], filter_string=f"tags.`{TAG}` = '{name}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = {TAG: name, "mlflow.runName": f"{record.task or 'folkmoot'} {record.ledger[:10]}"}
    began = 1000 * record.rounds[0].time if record.rounds else None
    run = client.create_run(number, start_time=began, tags=tags)
    for key, value in (("task", record.task), ("chain_id", record.chain_id), ("ledger", record.ledger)):
        client.log_param(run.info.run_id, key, value)
    return str(run.info.run_id)


def _log(mlflow: Any, client: Any, run: str, record: FederationRecord) -> int:
    rounds = [round_ for round_ in record.rounds if round_.judged]
    names = {_fit(name) for round_ in rounds for name in round_.numbers()}
    logged = set(client.get_run(run).data.metrics)
    known = {
        (name, point.step): point.value
        for name in names & logged
        for point in client.get_metric_history(run, name)
    }
    new = [
        mlflow.entities.Metric(_fit(name), value, 1000 * round_.time, round_.number)
        for round_ in rounds
        for name, value in round_.numbers().items()
        if known.get((_fit(name), round_.number)) != value
    ]
    for start in range(0, len(new), BATCH):
        client.log_batch(run, metrics=new[start : start + BATCH])
    return len(new)


def _fit(name: str) -> str:
    """Return a name that MLflow accepts and that is not a path. A changed name ends with a part of its hash."""
    group, slash, rest = name.partition("/")
    fitted = f"{group}{slash}{_UNFIT.sub('_', rest)}" if rest.strip(". ") else f"{group}{slash}_"
    return fitted if fitted == name else f"{fitted}-{sha256_hex(name.encode('utf-8', 'replace'))[:6]}"
