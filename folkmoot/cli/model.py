# SPDX-License-Identifier: Apache-2.0
"""Download the model: `folkmoot model download`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from folkmoot.cli.options import DEPLOYMENT_DEFAULT, RPC_DEFAULT, DeploymentPath, Json, RpcUrl
from folkmoot.cli.output import emit, pairs, working, write_file
from folkmoot.errors import InputError


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(name="model", help="Download a version of the model.", no_args_is_help=True)
    group.command()(download)

    @group.callback()
    def _group() -> None:
        """Keep the name of the only command."""

    return group


def download(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where the safetensors file is written.")],
    artifacts: Annotated[
        list[str] | None,
        typer.Option(
            envvar="FOLKMOOT_ARTIFACTS",
            metavar="FOLDER_OR_URL",
            help="Mirror or coordinator with the state. Give several: they are tried in order.",
            show_default=False,
        ),
    ] = None,
    coordinator: Annotated[
        str | None,
        typer.Option(
            envvar="FOLKMOOT_COORDINATOR",
            metavar="URL",
            help="Coordinator with the state; tried after --artifacts.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[str, typer.Argument(help="Number of the version, or `active`.")] = "active",
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    json_: Json = False,
) -> None:
    """Download a version of the model, and check it against the state root on the chain.

    The file is made from the state, whose root the chain has. Each coordinator is also asked for its
    own file: one that hands out another model is named, with exit status 1, after the right file was written.

    Example: folkmoot model download 12 --to model.safetensors --coordinator https://coordinator.example
    """
    from folkmoot.artifacts.model import active_version, check_handed_out, model_of
    from folkmoot.artifacts.sources import CoordinatorSource, open_sources
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.quorum import open_rpc

    places = [*(artifacts or ()), *([coordinator] if coordinator else [])]
    if not places:
        raise InputError(
            "Nobody was named who has the model.",
            remedy="Give --coordinator URL, or --artifacts with a mirror.",
        )
    if version != "active" and not version.isdecimal():
        raise InputError(f"{version!r} is no version.", remedy="Give a number, or `active`.")
    addresses = Deployment.load(deployment)
    with ExitStack() as stack:
        source = open_sources(places)
        stack.callback(source.close)
        endpoint = stack.enter_context(open_rpc(rpc))
        stack.enter_context(working("Downloading the state ...", json_))
        number = active_version(endpoint, addresses) if version == "active" else int(version)
        model = model_of(endpoint, addresses, source, number)
        write_file(to, model.chunks())
        compared = []
        for location in places:
            if location.startswith(("http://", "https://")):
                with CoordinatorSource(location) as handed:
                    if check_handed_out(handed, number, model.sha256, model.size):
                        compared.append(location)
    document = {
        "version": number,
        "file": str(to),
        "sha256": model.sha256,
        "bytes": model.size,
        "stateRoot": "0x" + model.state_root.hex(),
        "final": model.final,
        "compared": compared,
    }
    shown = {
        "version": f"{number}{'' if model.final else ' (not final: it may still be challenged)'}",
        "file": str(to),
        "sha256": model.sha256,
        "state root": f"0x{model.state_root.hex()} (on the chain)",
        "same file at": ", ".join(compared) or "no coordinator was asked",
    }
    emit(document, json_, pairs(shown))
