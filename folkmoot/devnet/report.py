# SPDX-License-Identifier: Apache-2.0
"""Leave a page about a run in its folder, which needs no process and no network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import LocalError
from folkmoot.export import coordinator, history, html_page
from folkmoot.export.rounds import Outcome
from folkmoot.runtime.files import write_whole

FILE = "report.html"
"""Name of the page in a run's folder."""


def write_report(
    home: Path,
    api_url: str,
    *,
    app: str,
    model: Path | None,
    audit: Mapping[str, Any] | None = None,
    failure: str = "",
    interrupted: str = "",
) -> Path:
    """Write the page about a run, and the records from which `folkmoot export --from` makes it again.

    Args:
        home: Folder of the run.
        api_url: Its coordinator, which must answer.
        app: Name of the app.
        model: File of the last model, in `home`; None if there is none.
        audit: Result of `folkmoot audit --json` if everything matches; None if it was not run, or failed.
        failure: Why the audit failed.
        interrupted: Why the run ended early.

    Raises:
        LocalError: The files can't be written (`report-unwritable`).
    """
    audit_text = ""
    if audit is not None:
        audit_text = (
            f"{audit['entries']['signed']} signatures, {audit['updates']} updates in {audit['recomputed']} rounds "
            "recomputed to the bit"
        )
    with CoordinatorApi(api_url) as api:
        record = coordinator.read(api)
    page = home / FILE
    try:
        outcome = Outcome(
            audit=audit_text,
            failure=failure,
            interrupted=interrupted,
            model="" if model is None else model.relative_to(home).as_posix(),
            sha256="" if model is None else hashlib.sha256(model.read_bytes()).hexdigest(),
        )
        record = replace(record, task=app, source=f"the run in {home.name}", outcome=outcome)
        history.write(record, home)
        write_whole(page, html_page.written(record))
    except OSError as error:
        raise LocalError(
            f"The report {page} can't be written: {error.strerror}.",
            remedy="Make room on the disk. The models and the rounds are kept; `folkmoot run` with the same --home "
            "writes the report again.",
            code="report-unwritable",
        ) from error
    return page
