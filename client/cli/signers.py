# SPDX-License-Identifier: Apache-2.0
"""The signer agents and the keeper of several contributors of this machine, in one process, without SuperNodes.

Replaces `folkmoot join` in a simulated federation: Flower's simulation engine trains, and requests bases and signatures
from this process. The keys stay in it. A federation of several people does not use it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import RunConfig, unlock
from folkmoot.cli.output import is_json, note

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


def signers(
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
) -> None:
    """Check what `join` checks, then sign for several contributors until Ctrl-C. Their accounts must have staked.

    Example: python -m client.cli.signers --nodes 3 --homes nodes --keys keys --app APP --layout FILE --log FILE
    """
    from client.keeper.keeper import Keeper
    from client.node import apps, node
    from client.signer.agent import RECORD_FOLDER, SignerAgent
    from client.signer.checks import SigningRules
    from client.signer.keys import LocalKey
    from folkmoot.apps.folder import AppFolder
    from folkmoot.artifacts.federation import Federation
    from folkmoot.chain.client import check_deployment
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.flower.contributor import Contributor, simulated_home
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.manifest import PRIVACY
    from folkmoot.rpc.client import LedgerReader
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime.processes import Supervisor

    addresses = Deployment.load(context().deployment)
    subject = AppFolder.read(app, run_config or ())
    with open_rpc(context().rpc) as endpoint, CoordinatorApi(context().coordinator) as api:
        check_deployment(endpoint, addresses)
        node.check_coordinator(api, addresses)
        federation = Federation.open(addresses, api.files, LedgerReader(endpoint, addresses.ledger))
        apps.check(subject, federation.manifest, nodes, layout)
    rules = SigningRules(addresses, federation.manifest)
    joined: list[tuple[Contributor, LocalAccount]] = []
    for partition in range(nodes):
        folder = simulated_home(homes.resolve(), partition)
        account = unlock(keys / f"{folder.name}.json")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        contributor = Contributor(
            home=folder,
            rpc=",".join(context().rpc),
            coordinator=context().coordinator,
            deployment=addresses.to_json(),
            account=account.address,
            task=subject.name,
            partition=partition,
            partitions=nodes,
            private=PRIVACY in federation.manifest.training,
        )
        _link(contributor.log, log.absolute())
        contributor.save()
        joined.append((contributor, account))
    (first, _), *others = joined
    keeper = Keeper(
        first,
        federation.manifest,
        federation.genesis,
        others=[contributor for contributor, _ in others],
    )
    keeper.fetch_carried()
    keeper.head()
    with contextlib.ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(homes))  # Supervises no process; it handles SIGTERM.
        stack.enter_context(keeper)
        for contributor, account in joined:
            record = contributor.home / RECORD_FOLDER
            agent = SignerAgent(LocalKey(account), rules, contributor.rpc, contributor.socket, record)
            stack.enter_context(agent)
            if is_json():
                signs = {"event": "signs", "account": account.address, "home": str(contributor.home)}
                typer.echo(json.dumps(signs))
            else:
                note(f"Signs for {account.address} in {contributor.home}.")
        supervisor.watch(lambda: False)


def _link(path: Path, target: Path) -> None:
    """Make a node's log a link to the common log, because messages name the node's log."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


if __name__ == "__main__":
    from folkmoot.cli.main import run_program

    run_program(signers)
