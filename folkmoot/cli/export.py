# SPDX-License-Identifier: Apache-2.0
"""`folkmoot export`: write the history of a federation for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import connected
from folkmoot.cli.output import emit, note, working, write_file
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.export.rounds import FederationRecord


class Format(StrEnum):
    """Formats of an export."""

    CSV = "csv"
    HTML = "html"
    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    EVIDENCE = "evidence"


def export(
    form: Annotated[
        Format, typer.Argument(metavar="FORMAT", help="csv, html, tensorboard, mlflow or evidence.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="PATH",
            help="File, which is replaced; for tensorboard a folder, and for mlflow a folder or the URI of a server.",
        ),
    ],
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="Folder of a `folkmoot run` to read from. Nothing of it needs to be running any more.",
        ),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option("--round", metavar="ROUND", min=1, help="The round of the evidence."),
    ] = None,
    experiment: Annotated[
        str, typer.Option(help="Name of the MLflow experiment. Created if it does not exist.")
    ] = "folkmoot",
) -> None:
    """Write the history of a federation for other tools, read from a coordinator, a mirror or the folder of a run.

    The format csv has one line per round, with phase, metrics, gas, hashes, and the weight, verdict and reward of each
    contributor. html is one file with charts of all metrics and a table of all rounds; it needs no network. tensorboard
    and mlflow (`pip install 'folkmoot[mlflow]'`) get all metrics by round; run it again to add new rounds.

    evidence is everything with which one round can be checked without a network, in one file. It takes --rpc and
    --deployment, and files from --artifacts or a coordinator. The page /check of a coordinator checks it.

    Example: folkmoot export csv --to rounds.csv

    Example: folkmoot export html --from .folkmoot/runs/my-app-20260131-120000 --to run.html

    Example: folkmoot export mlflow --to http://127.0.0.1:5000

    Example: folkmoot export evidence --round 3 --to round-3.evidence
    """
    if (form is Format.EVIDENCE) != (number is not None) or (number is not None and from_ is not None):
        raise typer.BadParameter("--round goes with evidence, which takes no --from", param_hint="--round")
    if number is not None:
        _evidence(number, Path(to))
        return
    record = _read(from_)
    rounds = len(record.rounds)
    document = {"source": record.source, "rounds": rounds, "warnings": list(record.warnings)}
    if form is Format.TENSORBOARD:
        from folkmoot.export import tensorboard

        path, added = tensorboard.export(record, Path(to))
        document |= {"file": str(path), "added": added}
        text = (
            f"{added} new values of {rounds} rounds are in {to}. To look at them: tensorboard --logdir {to}"
        )
    elif form is Format.MLFLOW:
        from folkmoot.export import mlflow_run

        run, added = mlflow_run.export(record, to, experiment)
        document |= {"run": run, "experiment": experiment, "added": added}
        text = f"{added} new values of {rounds} rounds are in the run {run} at {to}."
    else:
        data = _file(form, record, from_, Path(to))
        write_file(Path(to), data, code="export-unwritable")
        document |= {"file": to, "bytes": len(data)}
        text = f"{rounds} rounds are in {to} ({len(data):,} bytes)."
    emit(document, text)


def _evidence(number: int, to: Path) -> None:
    """Write the evidence of a round."""
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.export import evidence

    settings = context()
    with connected() as chain, working("Gathering the evidence ..."):
        source = open_sources(settings.artifacts if settings.find("artifacts") else [settings.coordinator])
        try:
            made = evidence.gather(chain, source, number)
        finally:
            source.close()
    write_file(to, made.chunks(), code="export-unwritable")
    size = to.stat().st_size
    for one in made.missing:
        note(f"warning: {one} is left out: no source has it. A check can't go beyond it.")
    emit(
        {"file": str(to), "round": number, "bytes": size, "missing": list(made.missing)},
        f"The evidence of round {number} is in {to} ({size:,} bytes). "
        "Check it in the page /check of a coordinator, or with node: see docs/checking.md.",
    )


def _file(form: Format, record: FederationRecord, folder: Path | None, to: Path) -> bytes:
    from folkmoot.export import csv_file, history, html_page

    if form is Format.CSV:
        return csv_file.written(record)
    return html_page.written(record if folder is None else history.beside(record, folder, to))


def _read(folder: Path | None) -> FederationRecord:
    """Read the rounds from the source in the options."""
    settings = context()
    if folder is not None and (settings.flag("coordinator") or settings.flag("artifacts")):
        raise InputError(
            "--from is a source of its own.",
            remedy="Leave out --coordinator and --artifacts, or --from.",
            code="source-twice",
        )
    with working("Reading rounds ..."):
        if folder is not None:
            from folkmoot.export import history

            record = history.read(folder)
        elif settings.find("coordinator") and not settings.flag("artifacts"):
            from folkmoot.coordinator_api import CoordinatorApi
            from folkmoot.export import coordinator as from_coordinator

            with CoordinatorApi(settings.coordinator) as api:  # Only a coordinator has metrics.
                record = from_coordinator.read(api)
        elif settings.find("artifacts"):
            record = _from_ledger(settings.artifacts)
        else:
            raise InputError(
                "There is no source for the rounds.",
                remedy="Give --coordinator URL, --from with the folder of a run, or --artifacts with --rpc and "
                "--deployment.",
                code="source-missing",
            )
    for warning in record.warnings:
        note(f"warning: {warning}")
    return record


def _from_ledger(artifacts: list[str]) -> FederationRecord:
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.export import ledger

    with connected() as chain:
        source = open_sources(artifacts)
        try:
            return ledger.read(chain, source, ", ".join(artifacts))
        finally:
            source.close()
