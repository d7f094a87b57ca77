# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot mirror`: copy a federation's public files."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import require_web3
from folkmoot.cli.output import emit, is_json, note, pairs
from folkmoot.errors import ArtifactError, InputError, RpcError, StoreError
from folkmoot.runtime.backoff import Backoff

if TYPE_CHECKING:
    from folkmoot.artifacts.mirror import Copied, Mirroring

LONGEST_PAUSE = 300.0
"""Longest pause in seconds between two tries, while neither chain nor sources answer."""


def mirror(
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FOLDER", help="Folder of the mirror; created if it does not exist."),
    ],
    from_: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="URL_OR_FOLDER",
            help="Coordinator, web server with a mirror, or folder. Give several: they are tried in order. Default: "
            "--artifacts, else --coordinator.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Continue, and copy new rounds when they are anchored.")
    ] = False,
    rounds: Annotated[
        str | None, typer.Option(metavar="A..B", help="Only these rounds, both included.")
    ] = None,
    pause: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Seconds between two polls with --follow.")
    ] = 10.0,
) -> None:
    """Copy all public files of a federation, and check each against its hash on the chain.

    Update files whose retention time is over are deleted, and not copied; likewise old states, which can be rebuilt.
    Other existing files are kept, so an interrupted copy can continue. `audit`, `watch` and `why` accept the folder,
    and any web server can serve it. Exit status 1 if a file that an audit needs is missing.

    Example: folkmoot mirror --from https://coordinator.example --to mirror/ --follow
    """
    selected = parse_rounds(rounds)
    require_web3()
    from folkmoot.artifacts.inventory import Commitments
    from folkmoot.artifacts.mirror import MirrorFolder, Mirroring
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.chain.client import check_deployment
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.quorum import open_rpc

    addresses = Deployment.load(context().deployment)
    with open_rpc(context().rpc) as endpoint:
        check_deployment(endpoint, addresses)
        folder = MirrorFolder(to)
        with folder.held(), closing(open_sources(from_ or context().artifacts, folder)) as source:
            mirroring = Mirroring(Commitments(endpoint, addresses), folder, source, selected)
            if follow:
                _follow(mirroring, pause)
            else:
                _once(mirroring)


def parse_rounds(text: str | None) -> range | None:
    """Return the rounds of `A..B` or `A`; None for all."""
    if text is None:
        return None
    first, dots, last = text.partition("..")
    if not dots:
        last = first
    if first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last):
        return range(int(first), int(last) + 1)
    raise InputError(
        f"{text!r} are no rounds.", remedy="Write A..B with 1 <= A <= B, e.g. 3..7.", code="invalid-rounds"
    )


def _once(mirroring: Mirroring) -> None:
    from folkmoot.artifacts.mirror import Copied

    total = Copied()
    for number, done in mirroring.step():
        _print_copied(number, done)
        _add(total, done)
    document = {
        "folder": str(mirroring.folder.root),
        "block": mirroring.commitments.block,
        "rounds": total.rounds,
        "fetched": total.fetched,
        "kept": total.kept,
        "bytes": total.bytes,
        "made": total.made,
        "deleted": total.deleted,
        "missing": [file.to_json() for file in total.missing],
    }
    needed = [file for file in total.missing if file.needed]
    if needed:
        raise ArtifactError(
            f"{len(needed)} files are missing, the first: {needed[0]}",
            remedy="Run it again with one more --from. Existing files are kept.",
            code="mirror-incomplete",
            details=document,
        )
    emit(
        document,
        f"The mirror {mirroring.folder.root} is complete.\n",
        pairs(
            {
                "rounds": str(total.rounds),
                "fetched": f"{total.fetched} files, {total.bytes} bytes",
                "made": f"{total.made} states, of the rounds' means",
                "there already": f"{total.kept} files, all whole",
                "deleted": f"{total.deleted} files, by rule",
                "block": str(mirroring.commitments.block),
            }
        ),
    )


def _follow(mirroring: Mirroring, pause: float) -> None:
    """Copy endlessly, even while the chain, the sources or the disk are unavailable."""
    reported: set[str] = set()
    backoff = Backoff(pause, max(pause, LONGEST_PAUSE))
    while True:
        try:
            for number, done in mirroring.step():
                _print_copied(number, done, reported)
            backoff.reset()
            wait = pause
        except (RpcError, ArtifactError, StoreError) as error:
            if str(error) not in reported:
                note(f"{error} Trying again.", always=True)
                reported.add(str(error))
            wait = backoff.next()
        time.sleep(wait)


def _print_copied(number: int, done: Copied, reported: set[str] | None = None) -> None:
    """Print the result for a round. While following, print each missing file once."""
    for file in done.missing:
        line = str(file)
        if reported is None or line not in reported:
            note(f"missing: {line}" if file.needed else f"missing, and not needed: {line}")
        if reported is not None:
            reported.add(line)
    if not done.fetched and not done.made and not done.deleted:
        return
    what = f"round {number}" if number else "genesis and reports"
    document: dict[str, Any] = {
        "round": number,
        "fetched": done.fetched,
        "bytes": done.bytes,
        "made": done.made,
        "deleted": done.deleted,
    }
    if reported is not None and is_json():
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()
    else:
        made = ", its state made of the mean" if done.made else ""
        deleted = f", {done.deleted} files deleted by rule" if done.deleted else ""
        note(f"{what}: {done.fetched} files, {done.bytes} bytes{made}{deleted}")


def _add(total: Copied, done: Copied) -> None:
    total.fetched += done.fetched
    total.kept += done.kept
    total.bytes += done.bytes
    total.made += done.made
    total.deleted += done.deleted
    total.rounds += done.rounds
    total.missing += done.missing
