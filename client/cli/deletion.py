# SPDX-License-Identifier: Apache-2.0
"""`folkmoot forget`: a contributor's signed wish that its update files are deleted."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from client.signer.options import Owners, Wallet, local_keys, signed
from folkmoot.cli.context import context
from folkmoot.cli.output import emit
from folkmoot.errors import InputError


def forget(
    last_round: Annotated[
        int | None,
        typer.Option(
            "--last-round",
            min=1,
            metavar="ROUND",
            help="Delete the files of rounds up to this one. Default: the newest round of the ledger.",
        ),
    ] = None,
    wallet: Wallet = None,
    owner: Owners = None,
) -> None:
    """Ask for the deletion of your own update files, as soon as nothing on the chain can need them. It is for good.

    The coordinator publishes the signed wish, and mirrors that follow the rule obey it, too. Copies of others and what
    the model learned stay, and in part your updates can be computed from what stays: see docs/retention.md.

    Example: folkmoot forget --coordinator https://moot.example --keystore ada.json
    """
    from client.signer.keys import wish_message
    from client.signer.wallet import check_options
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.commitment import Domain
    from folkmoot.protocol.deletion import DeletionWish
    from folkmoot.rpc.client import LedgerReader
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime.units import parse_address

    check_options(wallet, owner)
    addresses = Deployment.load(context().deployment)
    domain = Domain(addresses.chain_id, addresses.ledger)
    with open_rpc(context().rpc) as endpoint:
        newest = LedgerReader(endpoint, addresses.ledger).next_round() - 1
    if not newest:
        raise InputError(
            "The ledger has no round yet, so there is nothing to delete.",
            remedy="Run it again after you have contributed.",
            code="nothing-to-delete",
        )
    keys = local_keys(owner)
    account = keys[0].address if wallet is None else parse_address(wallet)
    wish = DeletionWish(account, last_round or newest)
    signature = signed(account, wish_message(wish, domain), domain, keys, wallet=wallet is not None)
    with CoordinatorApi(context().coordinator) as api:
        kept = api.delete_updates(replace(wish, signature=signature))
    emit(
        {"contributor": account, "lastRound": kept},
        f"The coordinator deletes the update files of {account} up to round {kept}, each as soon as its round is over, "
        "no fault can be proven any more and 8 final rounds stand on top of it.",
    )
