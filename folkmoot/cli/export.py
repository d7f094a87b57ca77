# SPDX-License-Identifier: Apache-2.0
"""The commands `folkmoot export ...`: write the history of a federation for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.options import DEPLOYMENT_DEFAULT, DeploymentPath, Json, connected
from folkmoot.cli.output import emit, note, working, write_file
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.export.rounds import FederationRecord

Coordinator = Annotated[
    str | None,
    typer.Option(
        envvar="FOLKMOOT_COORDINATOR",
        metavar="URL",
        help="Coordinator to read from. Only a coordinator has metrics.",
        show_default=False,
    ),
]
Artifacts = Annotated[
    list[str] | None,
    typer.Option(
        "--artifacts",
        metavar="FOLDER_OR_URL",
        help="Mirror to read from instead of a coordinator. Needs --rpc and --deployment. You can give "
        "several; they are tried in order.",
        show_default=False,
    ),
]
Rpc = Annotated[
    list[str] | None,
    typer.Option(
        "--rpc",
        envvar="FOLKMOOT_RPC",
        metavar="URL",
        help="JSON-RPC endpoint of the chain; only with --artifacts.",
        show_default=False,
    ),
]

From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FOLDER",
        help="Folder of a `folkmoot run` to read from. Nothing of it needs to be running any more.",
        show_default=False,
    ),
]


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(
        name="export", help="Write the history of a federation for other tools.", no_args_is_help=True
    )
    group.command("csv")(export_csv)
    group.command("html")(export_html)
    group.command("tensorboard")(export_tensorboard)
    group.command("mlflow")(export_mlflow)
    return group


def export_csv(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="File; it is replaced.")],
    from_: From = None,
    coordinator: Coordinator = None,
    artifacts: Artifacts = None,
    rpc: Rpc = None,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    json_: Json = False,
) -> None:
    """Write a CSV file with one line per round.

    The columns are phase, metrics, gas, hashes, and the weight, verdict and reward of each contributor.

    Example: folkmoot export csv --coordinator http://127.0.0.1:8800 --to rounds.csv
    """
    from folkmoot.export import csv_file

    record = _read(from_, coordinator, artifacts, rpc, deployment, json_)
    _file(to, csv_file.written(record), record, json_)


def export_html(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="File; it is replaced.")],
    from_: From = None,
    coordinator: Coordinator = None,
    artifacts: Artifacts = None,
    rpc: Rpc = None,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    json_: Json = False,
) -> None:
    """Write one HTML file with charts of all metrics and a table of all rounds. It needs no network.

    Example: folkmoot export html --from .folkmoot/runs/my-app-20260131-120000 --to run.html

    Example: folkmoot export html --artifacts mirror/ --rpc URL --deployment deployment.json --to run.html
    """
    from folkmoot.export import history, html_page

    record = _read(from_, coordinator, artifacts, rpc, deployment, json_)
    if from_ is not None:
        record = history.beside(record, from_, to)
    _file(to, html_page.written(record), record, json_)


def export_tensorboard(
    to: Annotated[
        Path, typer.Option("--to", metavar="FOLDER", help="Log folder. New rounds are added to it.")
    ],
    from_: From = None,
    coordinator: Coordinator = None,
    artifacts: Artifacts = None,
    rpc: Rpc = None,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    json_: Json = False,
) -> None:
    """Write scalars by round for TensorBoard. Run it again to add new rounds; a running TensorBoard shows them.

    Example: folkmoot export tensorboard --coordinator http://127.0.0.1:8800 --to runs/mnist
    """
    from folkmoot.export import tensorboard

    record = _read(from_, coordinator, artifacts, rpc, deployment, json_)
    path, added = tensorboard.export(record, to)
    document = {**_result_fields(record), "file": str(path), "added": added}
    emit(
        document,
        json_,
        f"{added} new values of {len(record.rounds)} rounds are in {to}. To look at them: tensorboard --logdir {to}",
    )


def export_mlflow(
    to: Annotated[
        str, typer.Option("--to", metavar="FOLDER_OR_URI", help="Folder, or URI of a tracking server.")
    ],
    experiment: Annotated[
        str, typer.Option(help="Name of the MLflow experiment. Created if it does not exist.")
    ] = "folkmoot",
    from_: From = None,
    coordinator: Coordinator = None,
    artifacts: Artifacts = None,
    rpc: Rpc = None,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    json_: Json = False,
) -> None:
    """Log metrics to MLflow, one MLflow run per federation. Run it again to add new rounds.

    Needs `pip install 'folkmoot[mlflow]'`.

    Example: folkmoot export mlflow --coordinator http://127.0.0.1:8800 --to http://127.0.0.1:5000
    """
    from folkmoot.export import mlflow_run

    record = _read(from_, coordinator, artifacts, rpc, deployment, json_)
    run, added = mlflow_run.export(record, to, experiment)
    document = {**_result_fields(record), "run": run, "experiment": experiment, "added": added}
    emit(document, json_, f"{added} new values of {len(record.rounds)} rounds are in the run {run} at {to}.")


def _read(
    folder: Path | None,
    coordinator: str | None,
    artifacts: list[str] | None,
    rpc: list[str] | None,
    deployment: Path,
    as_json: bool,
) -> FederationRecord:
    """Read the rounds from the source in the options.

    Raises:
        InputError: The options give no source, or two.
    """
    if folder is not None and (coordinator or artifacts):
        raise InputError(
            "--from is a source of its own.",
            remedy="Leave out --coordinator and --artifacts (and FOLKMOOT_COORDINATOR), or --from.",
            code="source-twice",
        )
    if artifacts and not rpc:
        raise InputError(
            "--artifacts needs the chain too.",
            remedy="Add --rpc URL and --deployment FILE.",
            code="source-missing",
        )
    with working("Reading rounds ...", as_json):
        if folder is not None:
            from folkmoot.export import history

            record = history.read(folder)
        elif artifacts and rpc:
            record = _from_ledger(artifacts, rpc, deployment)
        elif coordinator:
            from folkmoot.coordinator_api import CoordinatorApi
            from folkmoot.export import coordinator as from_coordinator

            with CoordinatorApi(coordinator) as api:
                record = from_coordinator.read(api)
        else:
            raise InputError(
                "There is no source for the rounds.",
                remedy="Give --coordinator URL, --from with the folder of a run, or --artifacts with --rpc and "
                "--deployment.",
                code="source-missing",
            )
    for warning in record.warnings:
        note(f"warning: {warning}", as_json)
    return record


def _from_ledger(artifacts: list[str], rpc: list[str], deployment: Path) -> FederationRecord:
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.export import ledger

    with connected(rpc, deployment) as chain:
        source = open_sources(artifacts)
        try:
            return ledger.read(chain, source, ", ".join(artifacts))
        finally:
            source.close()


def _result_fields(record: FederationRecord) -> dict[str, Any]:
    """Return the fields that the results of all formats have."""
    return {"source": record.source, "rounds": len(record.rounds), "warnings": list(record.warnings)}


def _file(to: Path, data: bytes, record: FederationRecord, as_json: bool) -> None:
    write_file(to, data, code="export-unwritable")
    document = {**_result_fields(record), "file": str(to), "bytes": len(data)}
    emit(document, as_json, f"{len(record.rounds)} rounds are in {to} ({len(data):,} bytes).")
