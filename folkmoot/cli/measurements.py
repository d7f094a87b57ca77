# SPDX-License-Identifier: Apache-2.0
"""`folkmoot measurements`: what sites measured of a version, checked and added up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli import reports
from folkmoot.cli.context import context
from folkmoot.cli.output import emit, note, pairs, table, working, write_file
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.evaluation.sites import Pooled


def measurements(
    version: Annotated[int, typer.Argument(min=0, help="Number of the version.")],
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Take a site's signed table, or the sums that somebody made, from here. Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the sums, for `folkmoot propose --report`."),
    ] = None,
) -> None:
    """Add up what sites measured of a version, and name those whose numbers lie away from the others'.

    Each signature, its state root and the site's stake are checked on the chain. The sums are exact. Without --file,
    the coordinator is asked.

    Example: folkmoot measurements 12 --coordinator https://moot.example --out measured.json

    Example: folkmoot measurements 12 --file ada-12.json --file ben-12.json
    """
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.evaluation.sites import Commitments, Pooled, SiteMeasurement
    from folkmoot.explain.measured import counting
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.quorum import open_rpc

    addresses = Deployment.load(context().deployment)
    given: list[SiteMeasurement] = []
    commitments = Commitments()
    for file in files or ():
        data = _content(file)
        pooled = reports.pooled_of(data)
        given += [SiteMeasurement.from_bytes(data)] if pooled is None else pooled.measurements
        commitments = pooled.commitments if pooled is not None else commitments
    if files is None:
        with CoordinatorApi(context().coordinator) as api:
            asked = api.measurements(version)
        if asked:
            pooled = Pooled.from_bytes(asked)
            given, commitments = [*pooled.measurements], pooled.commitments
    with open_rpc(context().rpc) as endpoint, working("Checking the signatures ..."):
        pooled, refused = counting(endpoint, addresses, version, given, commitments)
    if files is not None and refused:
        raise refused[0]
    for error in refused:
        note(f"Warning: left out: {error}", always=True)
    if pooled is None:
        raise InputError(
            f"No measurement of version {version} counts.",
            remedy=f"A site measures it with `folkmoot measure {version}`.",
            code="not-measured",
        )
    if out is not None:
        write_file(out, pooled.to_bytes())
    emit(pooled.to_json(), pairs({"version": str(version), **reports.pooled_lines(pooled)}), _by_site(pooled))


def _by_site(pooled: Pooled) -> Any:
    """Return the table of all sites."""
    away = pooled.away()
    rows = [
        (
            one.site,
            reports.cell_words(one.table.total),
            str(one.table.min_cell),
            ", ".join(away.get(one.site, ())) or "-",
            "no" if one.site in pooled.uncommitted else "yes",
        )
        for one in pooled.measurements
    ]
    return table(("site", "all examples", "least cell", "unlike the others in", "committed before"), rows)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The measurement {path} can't be read: {error.strerror or error}.", remedy="Check the path."
        ) from error
