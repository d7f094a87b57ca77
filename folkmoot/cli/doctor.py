# SPDX-License-Identifier: Apache-2.0
"""`folkmoot doctor`: check a deployment from outside."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import keystore_file, node_folder, superlink
from folkmoot.cli.output import emit

if TYPE_CHECKING:
    from folkmoot.doctor import Line

MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "-"}
"""Mark before a line, by the state of the check."""

Rounds = Annotated[
    int,
    typer.Option(
        "--rounds", min=1, help="Rounds that the coordinator's account should be able to pay; else a warning."
    ),
]


Insecure = Annotated[
    bool, typer.Option("--insecure", help="Connect to the SuperLink without TLS, also on another machine.")
]


def doctor(
    insecure: Insecure = False,
    joining: Annotated[
        bool,
        typer.Option(
            "--join",
            help="Also check what `folkmoot join` needs: key, stake, coins, folder, sandbox. It checks the kernel with "
            "the strictest rules, not your options of `join`.",
        ),
    ] = False,
    home: Annotated[
        Path | None,
        typer.Option(help="With --join: the node's folder. Default: one for each account and ledger."),
    ] = None,
    rounds: Rounds = 10,
) -> None:
    """Check a deployment from outside, and report problems. Exit status 1 if a check failed.

    Changes nothing and needs no password.

    Example: folkmoot doctor --join --coordinator https://moot.example --superlink moot.example:8000
    """
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.doctor import (
        api_checks,
        chain_checks,
        contributor_checks,
        examine,
        privacy_checks,
        superlink_checks,
    )
    from folkmoot.rpc.quorum import open_rpc

    coordinator, deployment = context().find("coordinator"), context().find("deployment")
    deployment = deployment or Path("deployment.json")  # A missing file is a finding.
    meeting_place = superlink(insecure)
    with ExitStack() as stack:
        endpoint = stack.enter_context(open_rpc(context().rpc))
        api = stack.enter_context(CoordinatorApi(coordinator)) if coordinator else None
        checks = chain_checks(endpoint, deployment, rounds=rounds)
        if api is not None:
            checks += [*api_checks(api, deployment), *privacy_checks(endpoint, deployment, api)]
        if meeting_place is not None:
            checks += superlink_checks(meeting_place)
        if joining:

            def folder(account: str, ledger: str) -> Path:
                return home or node_folder(account, ledger)

            checks += contributor_checks(
                endpoint, deployment, lambda: keystore_file(context().keystore), folder, api
            )
        show(examine(checks))


def show(lines: Sequence[Line]) -> None:
    """Print the findings of checks.

    Raises:
        typer.Exit: With status 1, if a check failed.
    """
    states = [str(line.finding.state) for line in lines]
    well = "failed" not in states
    width = max(len(line.name) for line in lines)
    text = []
    for line, state in zip(lines, states, strict=True):
        text.append(f"{MARKS[state]} {line.name.ljust(width)}  {line.finding.text}")
        if line.finding.remedy:
            text.append(f"  {' ' * width}  {line.finding.remedy}")
    text.append(
        f"{states.count('failed')} failed, {states.count('warning')} warnings, {states.count('ok')} well."
    )
    emit({"well": well, "checks": [line.to_json() for line in lines]}, *text)
    if not well:
        raise typer.Exit(1)
