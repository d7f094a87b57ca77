# SPDX-License-Identifier: Apache-2.0
"""Demand withheld files of an anchored round: `demand ROUND`, and `demand claim` after the response window."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer
from typer.core import TyperGroup

from folkmoot.cli.options import (
    DEPLOYMENT_DEFAULT,
    RPC_DEFAULT,
    Confirmations,
    DeploymentPath,
    Json,
    KeystorePath,
    PasswordFile,
    PrivateRpc,
    RpcUrl,
    account_address,
    sending,
    unlock,
)
from folkmoot.cli.output import emit, note, pairs, working
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.chain.client import Chain
    from folkmoot.fraud.proofs.case import Case
    from folkmoot.protocol.manifest import Manifest

ASK = "ask"
"""Internal name of the command `folkmoot demand 7`, which has a number instead of a name."""


class Kind(StrEnum):
    """Kinds of data that can be demanded."""

    UPDATE = "update"
    AGGREGATE = "aggregate"
    THETA = "theta"
    MOMENTUM = "momentum"
    VERDICTS = "verdicts"
    ARTIFACTS = "artifacts"
    HEADER = "header"


class DemandGroup(TyperGroup):
    """A group whose first argument may be a round instead of a command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a number as the round of a demand."""
        return super().resolve_command(ctx, [ASK, *args] if args and args[0].isdigit() else args)


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(
        name="demand",
        cls=DemandGroup,
        help="Demand withheld files of an anchored round: folkmoot demand ROUND --what update --entry 2.",
        no_args_is_help=True,
    )
    group.command(ASK)(ask)
    group.command()(claim)
    return group


def ask(
    round_: Annotated[int, typer.Argument(metavar="ROUND", min=1, help="Number of the round.")],
    what: Annotated[Kind, typer.Option(help="Kind of data to demand.")],
    entry: Annotated[
        int | None, typer.Option(min=0, metavar="I", help="Entry of the update.", show_default=False)
    ] = None,
    leaf: Annotated[
        int | None,
        typer.Option(min=0, metavar="J", help="Leaf. Default: an unpredictable random one."),
    ] = None,
    artifacts: Annotated[
        list[str] | None,
        typer.Option(
            "--artifacts",
            envvar="FOLKMOOT_ARTIFACTS",
            metavar="FOLDER_OR_URL",
            help="Where to find the model's manifest, for a leaf: a mirror or a coordinator.",
            show_default=False,
        ),
    ] = None,
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking.")] = False,
    private_rpc: PrivateRpc = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Demand a leaf or a small file of an anchored round on the chain, with a deposit.

    Whoever answers in time gets the deposit. If nobody answers, `folkmoot demand claim` voids the round.

    The word `ask` is optional.

    Example: folkmoot demand ask 7 --what update --entry 2 --artifacts https://mirror.example
    """
    with sending(rpc, deployment, confirmations, json_, private_rpc) as chain:
        from folkmoot.fraud.contracts import demands as demanding
        from folkmoot.fraud.proofs.availability import DataKind, demand_call
        from folkmoot.runtime.units import format_amount, format_time

        kind = DataKind[what.upper()]
        _check_options(kind, entry, leaf, artifacts)
        purpose = demanding.purpose(round_, kind, entry, leaf)
        demand = demanding.earlier(chain, account_address(None, keystore), purpose)
        if demand is None:
            with working("Reading the chain ...", json_):
                case = _case(chain, round_)
            manifest = _manifest(chain, artifacts or []) if kind.is_leaf else None
            place = _place(leaf, manifest)
            call = demand_call(case, manifest, kind, entry or 0, place)
            account = unlock(keystore, password_file)
            deposit = demanding.deposit_of(chain)
            shown = what.value + (f", entry {entry}" if entry is not None else "")
            note(
                pairs(
                    {
                        "demand": f"round {round_}, {shown}" + (f", leaf {place}" if kind.is_leaf else ""),
                        "deposit": f"{format_amount(deposit)}; it goes to whoever answers in time",
                        "unanswered": "the round is void, and you have the deposit back and a quarter of the bond",
                    }
                ),
                json_,
            )
            if not yes:
                _confirm()
            with working("Demanding ...", json_):
                demand = demanding.ask(chain, call, account, purpose)
        document = {
            "demand": demand.demand,
            "round": round_,
            "what": what.value,
            "entry": entry,
            "leaf": demand.place if kind.is_leaf else None,
            "answerBy": demand.answer_by,
            "deposit": str(demand.deposit),
            "transaction": demand.transaction,
            "gas": demand.gas,
        }
        emit(
            document,
            json_,
            f"Demand {demand.demand} can be answered until {format_time(demand.answer_by)}. After that:",
            f"  folkmoot demand claim {demand.demand}",
        )


def claim(
    demand: Annotated[int, typer.Argument(metavar="DEMAND", min=1, help="Number of the demand.")],
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    private_rpc: PrivateRpc = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Void the round of a demand that nobody answered in time, or get the deposit back if the round is closed.

    Anybody may send it. Deposit and reward go to the account that demanded.

    Example: folkmoot demand claim 3
    """
    with sending(rpc, deployment, confirmations, json_, private_rpc) as chain:
        from folkmoot.fraud.contracts import demands as demanding

        account = unlock(keystore, password_file)
        with working("Claiming ...", json_):
            done = demanding.settle(chain, demand, account)
        document = {
            "demand": demand,
            "round": done.round,
            "convicted": done.convicted,
            "transaction": done.transaction,
            "gas": done.gas,
        }
        text = (
            f"Round {done.round} is void: nobody answered demand {demand}."
            if done.convicted
            else f"Round {done.round} was over; the deposit of demand {demand} went back."
        )
        emit(document, json_, text)


def _check_options(kind: Any, entry: int | None, leaf: int | None, artifacts: list[str] | None) -> None:
    """Check that the options fit together.

    Raises:
        InputError: The options contradict each other.
    """
    name = kind.name.lower()
    if (entry is not None) != (name == "update"):
        raise InputError(
            "An update needs --entry, and nothing else has one.", remedy="Entries are numbered from 0."
        )
    if leaf is not None and not kind.is_leaf:
        raise InputError(
            f"The {name} file has no leaves: it is demanded as a whole.", remedy="Leave out --leaf."
        )
    if kind.is_leaf and not artifacts:
        raise InputError(
            "A leaf is demanded with the model's layout, which is in the manifest.",
            remedy="Give a mirror or a coordinator by --artifacts.",
            code="manifest-missing",
        )


def _case(chain: Chain, number: int) -> Case:
    """Return an anchored round from the chain.

    Raises:
        InputError: The round is not anchored (`round-not-anchored`).
    """
    from folkmoot.fraud.contracts.follower import Follower
    from folkmoot.rpc.client import Phase

    record = Follower(chain.deployment).read(chain.rpc)
    events = record.told.get(number)
    if events is None or events.phase is not Phase.ANCHORED:
        phase = "not there yet" if events is None else events.phase.name.lower()
        raise InputError(
            f"Round {number} is {phase}: data can be demanded of an anchored round only.",
            remedy="`folkmoot status` shows the rounds.",
            code="round-not-anchored",
        )
    return record.cases[number]


def _manifest(chain: Chain, locations: list[str]) -> Manifest:
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.fraud.watcher.round_files import open_shelf

    source = open_sources(locations)
    try:
        ledger = chain.ledger_reader
        return open_shelf(source, ledger.genesis_hash(), ledger.manifest_hash()).manifest
    finally:
        source.close()


def _place(leaf: int | None, manifest: Manifest | None) -> int:
    import secrets

    if leaf is not None or manifest is None:
        return leaf or 0
    return secrets.randbelow(manifest.leaves)


def _confirm() -> None:
    """Ask the user whether to send.

    Raises:
        InputError: There is no terminal to ask on.
        Abort: The answer is no.
    """
    if not sys.stdin.isatty():
        raise InputError(
            "A demand costs a deposit, and there is no terminal to ask on.",
            remedy="Give --yes.",
            code="not-confirmed",
        )
    typer.confirm("Demand it?", abort=True)
