# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot audit`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import require_web3, unlock
from folkmoot.cli.output import emit, is_json, pairs
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.client import Rpc


def audit(
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
        ),
    ] = None,
    attestations: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            exists=True,
            metavar="FOLDER",
            help="Attestations of auditors that you trust, for rounds whose update files were deleted.",
        ),
    ] = None,
    parent_rpc: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Endpoint of the chain of the federation that this one came from (`folkmoot model --fork`), to check "
            "that its version is there, and whether it was recalled.",
        ),
    ] = "",
    child: Annotated[
        list[Path] | None,
        typer.Option(
            file_okay=False,
            exists=True,
            metavar="FOLDER",
            help="Genesis folder of a federation that came from this one, to check that its version is here.",
        ),
    ] = None,
) -> None:
    """Recompute the whole history of a federation, without trust in any party.

    Exit status 1 at the first mismatch, with the round, the contributor and the file or transaction. The model files
    that the coordinator hands out are compared with the states too.

    With --journal, rounds in that file are not recomputed as long as their data on the chain are the same. Their
    artifacts are not read again. The data on the chain are checked every time. Whoever can write to the file can forge
    it, so protect it.

    Update files that were deleted by rule are no mismatch: their rounds count as expired, and are checked as far as the
    other files go. A file that is missing before its time is a mismatch.

    If the federation came from another one, the first state must be that of the version that its manifest names. With
    --parent-rpc the parent's chain is asked for it too. With --child it is checked from the parent's side.

    Example: folkmoot audit --rpc https://rpc.example --artifacts https://coordinator.example
    """
    require_web3()
    from rich.text import Text

    from folkmoot.artifacts.sources import CoordinatorSource, open_sources
    from folkmoot.audit import attestations as attestations_module
    from folkmoot.audit.audit import audit as audit_federation
    from folkmoot.audit.report import rows, shown_progress
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.quorum import open_rpc

    addresses = Deployment.load(context().deployment)
    known = attestations_module.read(attestations, addresses) if attestations else []
    if attest and not attest.absolute().parent.is_dir():  # Before an audit that may take hours.
        raise InputError(
            f"There is no folder {attest.absolute().parent} for the attestation.",
            remedy="Create it, or give another --attest.",
            code="attestation-unwritable",
        )
    account = unlock() if attest else None
    coordinator = context().find("coordinator")
    with ExitStack() as stack:
        source = open_sources(context().artifacts)
        stack.callback(source.close)
        asked = stack.enter_context(CoordinatorSource(coordinator)) if coordinator else None
        progress = stack.enter_context(shown_progress(is_json()))
        summary = audit_federation(
            context().rpc,
            addresses,
            source,
            from_round=from_round,
            journal=journal,
            progress=progress,
            coordinator=asked,
            reads_states=not without_states,
            parent_rpc=parent_rpc,
        )
        endpoint = stack.enter_context(open_rpc(context().rpc))
        children = [_child(endpoint, addresses, folder) for folder in child or ()]
    attestations_module.compare(known, summary)
    if attest and account:
        attestations_module.write(attestations_module.attest(summary, addresses, account), attest)
    notes = [
        Text(f"note: {note}", style="red" if note.startswith("Warning") else "") for note in summary.notes
    ]
    shown = rows(summary) | {f"child {one['folder']}": one["shown"] for one in children}
    emit(
        {**summary.to_json(), "children": children}, "The audit found nothing wrong.\n", pairs(shown), *notes
    )


def _child(rpc: Rpc, addresses: Deployment, folder: Path) -> dict[str, Any]:
    """Check that the genesis in a folder is of a child of this federation; return what it starts from."""
    from folkmoot.artifacts.sources import FolderSource
    from folkmoot.audit.parent import check_child
    from folkmoot.cli.deploy import STATE_LIMIT, first_of
    from folkmoot.protocol.state import State

    genesis, manifest = first_of(folder / "genesis.json", folder)
    state = State.open(FolderSource(folder).fetch(genesis.state, STATE_LIMIT), manifest)
    parent, standing = check_child(rpc, addresses, manifest, state)
    return {
        "folder": str(folder),
        "genesisHash": "0x" + genesis.hash.hex(),
        "version": parent.version,
        "standing": standing,
        "shown": f"starts from version {parent.version}, {standing} here; genesis hash 0x{genesis.hash.hex()}",
    }
