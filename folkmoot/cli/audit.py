# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot audit`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from folkmoot.cli.options import (
    DEPLOYMENT_DEFAULT,
    RPC_DEFAULT,
    DeploymentPath,
    Json,
    KeystorePath,
    PasswordFile,
    require_web3,
    unlock,
)
from folkmoot.cli.output import emit, pairs
from folkmoot.errors import InputError


def audit(
    artifacts: Annotated[
        str,
        typer.Option(
            envvar="FOLKMOOT_ARTIFACTS",
            metavar="FOLDER_OR_URL",
            help="Folder of a mirror, or URL of a coordinator.",
        ),
    ],
    rpc: Annotated[
        list[str],
        typer.Option(
            envvar="FOLKMOOT_RPC",
            metavar="URL",
            help="JSON-RPC endpoint. Give several to compare them: all must give the same answers.",
        ),
    ] = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    coordinator: Annotated[
        str | None,
        typer.Option(
            envvar="FOLKMOOT_COORDINATOR",
            metavar="URL",
            help="Coordinator whose model files are compared with the states. Default: --artifacts, if it is one.",
            show_default=False,
        ),
    ] = None,
    from_round: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="First round to recompute. Earlier rounds are read from the chain only."
        ),
    ] = 1,
    without_states: Annotated[
        bool,
        typer.Option(
            "--without-states",
            help="Compute each state from the one before, and read the files of no other states and of no models. Much "
            "less passes the line. Whether the coordinator hands them out is then not checked.",
        ),
    ] = False,
    journal: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            metavar="FILE",
            help="Store verified rounds in this file, so that an interrupted audit can continue.",
        ),
    ] = None,
    attest: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            metavar="FILE",
            help="Sign by --keystore which rounds were recomputed, and write that to this file.",
            show_default=False,
        ),
    ] = None,
    attestations: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            exists=True,
            metavar="FOLDER",
            help="Attestations of auditors that you trust, for rounds whose update files were deleted.",
            show_default=False,
        ),
    ] = None,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    json_: Json = False,
) -> None:
    """Recompute the whole history of a federation, without trust in any party.

    Exit status 1 at the first mismatch, with the round, the contributor and the file or transaction. The model files
    that the coordinator hands out are compared with the states too.

    With --journal, rounds in that file are not recomputed as long as their data on the chain are the same. Their
    artifacts are not read again. The data on the chain are checked every time. Whoever can write to the file can forge
    it, so protect it.

    Update files that were deleted by rule are no mismatch: their rounds count as expired, and are checked as far as the
    other files go. A file that is missing before its time is a mismatch.

    Example: folkmoot audit --rpc https://rpc.example --artifacts https://coordinator.example
    """
    require_web3()
    from folkmoot.artifacts.sources import CoordinatorSource, open_source
    from folkmoot.audit import attestations as attested
    from folkmoot.audit.audit import audit as run
    from folkmoot.audit.report import rows, shown_progress
    from folkmoot.ledger.deployment import Deployment

    addresses = Deployment.load(deployment)
    known = attested.read(attestations, addresses) if attestations else []
    if attest and not attest.absolute().parent.is_dir():  # Before an audit that may take hours.
        raise InputError(
            f"There is no folder {attest.absolute().parent} for the attestation.",
            remedy="Create it, or give another --attest.",
            code="attestation-unwritable",
        )
    account = unlock(keystore, password_file) if attest else None
    with ExitStack() as stack:
        source = open_source(artifacts)
        stack.callback(source.close)
        asked = stack.enter_context(CoordinatorSource(coordinator)) if coordinator else None
        progress = stack.enter_context(shown_progress(json_))
        summary = run(
            rpc,
            addresses,
            source,
            from_round=from_round,
            journal=journal,
            progress=progress,
            coordinator=asked,
            reads_states=not without_states,
        )
    attested.compare(known, summary)
    if attest and account:
        attested.write(attested.attest(summary, addresses, account), attest)
    notes = [f"note: {note}" for note in summary.notes]
    emit(summary.to_json(), json_, "The audit found nothing wrong.\n", pairs(rows(summary)), *notes)
