# SPDX-License-Identifier: Apache-2.0
"""`folkmoot signers`: the signer agents of several contributors of this machine, in one process, without SuperNodes.

Replaces `folkmoot join` in a simulated federation: Flower's simulation engine trains, and requests signatures from
these agents. The keys stay in this process. A federation of several people does not use it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer

from folkmoot.cli.options import (
    DEPLOYMENT_DEFAULT,
    RPC_DEFAULT,
    DeploymentPath,
    Json,
    PasswordFile,
    RpcUrl,
    RunConfig,
    unlock,
)
from folkmoot.cli.output import note


def signers(
    coordinator: Annotated[str, typer.Option(metavar="URL", help="URL of the coordinator.")],
    app: Annotated[Path, typer.Option(metavar="FOLDER", help="Flower app that is trained.")],
    homes: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Parent of the nodes' folders contributor-1, contributor-2, ..."),
    ],
    keys: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Folder of the key files contributor-1.json, contributor-2.json, ..."
        ),
    ],
    nodes: Annotated[int, typer.Option(min=1, max=64, help="Number of contributors.")],
    log: Annotated[Path, typer.Option(metavar="FILE", help="Log file of the simulated nodes.")],
    layout: Annotated[Path, typer.Option(metavar="FILE", help="Manifest that was made from the app.")],
    run_config: RunConfig = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    password_file: PasswordFile = None,
    json_: Json = False,
) -> None:
    """Check what `join` checks, then sign for several contributors until Ctrl-C. Their accounts must have staked.

    Example: folkmoot signers --nodes 3 --homes nodes --keys keys --app APP --layout FILE --log FILE --coordinator URL
    """
    from client.node import apps, node
    from client.signer.agent import RECORD_FOLDER, SignerAgent
    from client.signer.checks import SigningRules
    from client.signer.keys import LocalKey
    from folkmoot.apps.folder import AppFolder
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.flower.contributor import Contributor, simulated_home
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.manifest import PRIVACY
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime.processes import Supervisor

    addresses = Deployment.load(deployment)
    subject = AppFolder.read(app, run_config or ())
    with open_rpc(rpc) as endpoint, CoordinatorApi(coordinator) as api:
        node.check_chain(endpoint, addresses)
        node.check_coordinator(api, addresses)
        manifest = node.check_base(endpoint, api, addresses)
        apps.check(subject, manifest, nodes, layout)
    rules = SigningRules(addresses, manifest)
    with contextlib.ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(homes))  # Supervises no process; it handles SIGTERM.
        for partition in range(nodes):
            folder = simulated_home(homes.resolve(), partition)
            account = unlock(keys / f"{folder.name}.json", password_file)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            contributor = Contributor(
                home=folder,
                rpc=",".join(rpc),
                coordinator=coordinator,
                deployment=addresses.to_json(),
                account=account.address,
                task=subject.name,
                partition=partition,
                partitions=nodes,
                private=PRIVACY in manifest.training,
            )
            _link(contributor.log, log.absolute())
            contributor.save()
            record = folder / RECORD_FOLDER
            agent = SignerAgent(LocalKey(account), rules, contributor.rpc, contributor.socket, record)
            stack.enter_context(agent)
            if json_:
                typer.echo(json.dumps({"event": "signs", "account": account.address, "home": str(folder)}))
            else:
                note(f"Signs for {account.address} in {folder}.", json_)
        supervisor.watch(lambda: False)


def _link(path: Path, target: Path) -> None:
    """Make a node's log a link to the common log, because messages name the node's log."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
