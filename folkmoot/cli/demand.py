# SPDX-License-Identifier: Apache-2.0
"""Demand withheld data of an anchored round: `demand ROUND`, `demand descend`, and `demand claim` at the end."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from folkmoot.fraud.contracts.judges import Asked
    from folkmoot.fraud.proofs.availability import Call, DataKind
    from folkmoot.fraud.proofs.case import Case
    from folkmoot.protocol.manifest import Manifest

ASK = "ask"
"""Internal name of the command `folkmoot demand 7`, which has a number instead of a name."""


class Kind(StrEnum):
    """Kinds of data that can be demanded."""

    UPDATE = "update"
    MEAN = "mean"
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
        help="Demand withheld data of an anchored round: folkmoot demand ROUND --what update --entry 2.",
        no_args_is_help=True,
    )
    group.command(ASK)(ask)
    group.command()(descend)
    group.command()(claim)
    return group


def ask(
    round_: Annotated[int, typer.Argument(metavar="ROUND", min=1, help="Number of the round.")],
    what: Annotated[Kind, typer.Option(help="Kind of data to demand.")],
    entry: Annotated[
        int | None, typer.Option(min=0, metavar="I", help="Entry of the update.", show_default=False)
    ] = None,
    artifacts: Annotated[
        list[str] | None,
        typer.Option(
            "--artifacts",
            envvar="FOLKMOOT_ARTIFACTS",
            metavar="FOLDER_OR_URL",
            help="Where to find the model's manifest, for a tree: a mirror or a coordinator.",
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
    """Demand a small file of an anchored round on the chain, or the root of a tree, with a deposit.

    A root is answered with a list of the nodes below it: `folkmoot demand descend` leads down to a leaf. Whoever
    answers in time gets the deposit. If nobody answers, `folkmoot demand claim` voids the round.

    The word `ask` is optional.

    Example: folkmoot demand ask 7 --what update --entry 2 --artifacts https://mirror.example
    """
    with sending(rpc, deployment, confirmations, json_, private_rpc) as chain:
        from folkmoot.fraud.contracts import demands
        from folkmoot.fraud.proofs.availability import DataKind, demand_call, root_of

        kind = DataKind[what.upper()]
        _check_options(kind, entry, artifacts)
        purpose = demands.purpose(round_, kind, entry)
        demand = demands.earlier(chain, account_address(None, keystore), purpose)
        if demand is None:
            with working("Reading the chain ...", json_):
                case = _case(chain, round_)
            manifest = _manifest(chain, artifacts or []) if kind.is_tree else None
            call = demand_call(case, manifest, kind, entry or 0)
            shown = f"{root_of(kind, entry or 0, manifest)} of round {round_}"
            demand = _send(chain, call, shown, purpose, keystore, password_file, yes, json_)
        _tell(demand, {"round": round_}, json_)


def descend(
    demand: Annotated[int, typer.Argument(metavar="DEMAND", min=1, help="Number of an answered demand.")],
    leaf: Annotated[int, typer.Argument(metavar="LEAF", min=0, help="Leaf to which the way leads.")],
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking.")] = False,
    private_rpc: PrivateRpc = None,
    confirmations: Confirmations = 1,
    json_: Json = False,
) -> None:
    """Demand the next node on the way to a leaf, from a list that was shown, with a deposit.

    The list answers a demand for a root or for a node, whoever made it. One step leads down five levels, the last one
    to the leaf.

    Example: folkmoot demand descend 3 1704
    """
    with sending(rpc, deployment, confirmations, json_, private_rpc) as chain:
        from folkmoot.fraud.contracts import demands

        purpose = demands.step_purpose(demand, leaf)
        made = demands.earlier(chain, account_address(None, keystore), purpose)
        if made is None:
            call, about = demands.step_down(chain, demand, leaf)
            made = _send(chain, call, str(about), purpose, keystore, password_file, yes, json_)
        _tell(made, {"parent": demand}, json_)


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
        from folkmoot.fraud.contracts import demands

        account = unlock(keystore, password_file)
        with working("Claiming ...", json_):
            done = demands.settle(chain, demand, account)
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


def _send(
    chain: Chain,
    call: Call,
    shown: str,
    purpose: str,
    keystore: Path | None,
    password_file: Path | None,
    yes: bool,
    json_: bool,
) -> Asked:
    """Say what a demand costs, ask, and send it."""
    from folkmoot.fraud.contracts import demands
    from folkmoot.runtime.units import format_amount

    account = unlock(keystore, password_file)
    note(
        pairs(
            {
                "demand": shown,
                "deposit": f"{format_amount(demands.deposit_of(chain))}; it goes to whoever answers in time",
                "unanswered": "the round is void, and you have the deposit back and a quarter of the bond",
            }
        ),
        json_,
    )
    if not yes:
        _confirm()
    with working("Demanding ...", json_):
        return demands.ask(chain, call, account, purpose)


def _tell(demand: Asked, known: dict[str, int], json_: bool) -> None:
    """Print a demand that was made."""
    from folkmoot.runtime.units import format_time

    about, is_update = demand.about, demand.about.what.name == "UPDATE"
    document = {
        "demand": demand.demand,
        **known,
        "what": about.what.name.lower(),
        "entry": about.entry if is_update else None,
        "level": about.level if about.what.is_tree else None,
        "index": about.index if about.what.is_tree else None,
        "answerBy": demand.answer_by,
        "deposit": str(demand.deposit),
        "transaction": demand.transaction,
        "gas": demand.gas,
    }
    lines = [
        f"Demand {demand.demand}, for {about}, can be answered until {format_time(demand.answer_by)}. After that:",
        f"  folkmoot demand claim {demand.demand}",
    ]
    if about.level > 0:
        lines += ["Once it is answered:", f"  folkmoot demand descend {demand.demand} LEAF"]
    emit(document, json_, *lines)


def _check_options(kind: DataKind, entry: int | None, artifacts: list[str] | None) -> None:
    """Check that the options fit together.

    Raises:
        InputError: The options contradict each other.
    """
    if (entry is not None) != (kind.name == "UPDATE"):
        raise InputError(
            "An update needs --entry, and nothing else has one.", remedy="Entries are numbered from 0."
        )
    if kind.is_tree and not artifacts:
        raise InputError(
            "A tree is demanded with the model's layout, which is in the manifest.",
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
    events = record.rounds.get(number)
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
