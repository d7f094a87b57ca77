# SPDX-License-Identifier: Apache-2.0
"""`folkmoot doctor`: what is wrong with a deployment, as far as anybody can see from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.options import DEPLOYMENT_DEFAULT, RPC_DEFAULT, DeploymentPath, Json, RpcUrl
from folkmoot.cli.output import emit

if TYPE_CHECKING:
    from folkmoot.doctor import Line

MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "skipped": "-"}
"""What stands before a line, by the check's state."""

Rounds = Annotated[
    int,
    typer.Option(
        "--rounds", min=1, help="Rounds that the coordinator's account should be able to pay; else a warning."
    ),
]


def register(root: typer.Typer) -> None:
    """Add the command."""
    root.command()(doctor)


def doctor(
    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator",
            envvar="FOLKMOOT_COORDINATOR",
            metavar="URL",
            help="Also check this coordinator's API.",
            show_default=False,
        ),
    ] = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    rounds: Rounds = 10,
    json_: Json = False,
) -> None:
    """Check a deployment from outside and say what is wrong. Exit status 1 if a check failed.

    Example: folkmoot doctor --deployment deployment.json --coordinator http://127.0.0.1:8800
    """
    from folkmoot.chain.rpc import Rpc
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.doctor import api_checks, chain_checks, examine

    with Rpc(rpc) as endpoint:
        checks = chain_checks(endpoint, deployment, rounds=rounds)
        if coordinator is None:
            lines = examine(checks)
        else:
            with CoordinatorApi(coordinator) as api:
                lines = examine([*checks, *api_checks(api, deployment)])
    show(lines, json_)


def show(lines: Sequence[Line], as_json: bool) -> None:
    """Print what checks found.

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
    emit({"well": well, "checks": [line.to_json() for line in lines]}, as_json, *text)
    if not well:
        raise typer.Exit(1)
