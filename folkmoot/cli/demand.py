# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demand`: demand withheld data of an anchored round on the chain."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import account_address, sending, unlock
from folkmoot.cli.output import emit, note, pairs, working
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.chain.client import Chain
    from folkmoot.fraud.contracts.judges import Asked
    from folkmoot.fraud.proofs.availability import Call, DataKind
    from folkmoot.fraud.proofs.case import Case
    from folkmoot.protocol.manifest import Manifest


class Kind(StrEnum):
    """Kinds of data that can be demanded."""

    UPDATE = "update"
    MEAN = "mean"
    THETA = "theta"
    MOMENTUM = "momentum"
    VERDICTS = "verdicts"
    ARTIFACTS = "artifacts"
    HEADER = "header"


def demand(
    number: Annotated[
        int, typer.Argument(metavar="NUMBER", min=1, help="Round, or demand with --leaf, --claim.")
    ],
    what: Annotated[Kind | None, typer.Option(help="Kind of data to demand.")] = None,
    entry: Annotated[int | None, typer.Option(min=0, metavar="I", help="Entry of the update.")] = None,
    leaf: Annotated[
        int | None, typer.Option(min=0, help="Demand the next node on the way to this leaf.")
    ] = None,
    claim: Annotated[
        bool, typer.Option("--claim", help="Nobody answered the demand in time: void its round.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking.")] = False,
) -> None:
    """Demand a small file of an anchored round on the chain, or the root of a tree, with a deposit.

    A root is answered with a list of the nodes below it. With --leaf and the number of that demand, the next node on
    the way to a leaf is demanded, whoever made the demand. One step leads down five levels, the last one to the leaf.

    Whoever answers in time gets the deposit. If nobody answers, --claim voids the round, or gives the deposit back if
    the round is closed. Anybody may send it. Deposit and reward go to the account that demanded.

    Example: folkmoot demand 7 --what update --entry 2

    Example: folkmoot demand 3 --leaf 1704

    Example: folkmoot demand 3 --claim
    """
    if (what is not None) + (leaf is not None) + claim != 1:
        raise typer.BadParameter("give exactly one of --what, --leaf and --claim")
    with sending() as chain:
        if claim:
            _claim(chain, number)
        elif leaf is not None:
            _descend(chain, number, leaf, yes)
        elif what is not None:
            _ask(chain, number, what, entry, yes)


def _ask(chain: Chain, number: int, what: Kind, entry: int | None, yes: bool) -> None:
    from folkmoot.fraud.contracts import demands
    from folkmoot.fraud.proofs.availability import DataKind, demand_call, root_of

    kind = DataKind[what.upper()]
    _check_options(kind, entry)
    purpose = demands.purpose(number, kind, entry)
    made = demands.earlier(chain, account_address(None), purpose)
    if made is None:
        with working("Reading the chain ..."):
            case = _case(chain, number)
        manifest = _manifest(chain, context().artifacts) if kind.is_tree else None
        call = demand_call(case, manifest, kind, entry or 0)
        shown = f"{root_of(kind, entry or 0, manifest)} of round {number}"
        made = _send(chain, call, shown, purpose, yes)
    _tell(made, {"round": number})


def _descend(chain: Chain, parent: int, leaf: int, yes: bool) -> None:
    from folkmoot.fraud.contracts import demands

    purpose = demands.step_purpose(parent, leaf)
    made = demands.earlier(chain, account_address(None), purpose)
    if made is None:
        call, about = demands.step_down(chain, parent, leaf)
        made = _send(chain, call, str(about), purpose, yes)
    _tell(made, {"parent": parent})


def _claim(chain: Chain, number: int) -> None:
    from folkmoot.fraud.contracts import demands

    account = unlock()
    with working("Claiming ..."):
        done = demands.settle(chain, number, account)
    document = {
        "demand": number,
        "round": done.round,
        "convicted": done.convicted,
        "transaction": done.transaction,
        "gas": done.gas,
    }
    text = (
        f"Round {done.round} is void: nobody answered demand {number}."
        if done.convicted
        else f"Round {done.round} was over; the deposit of demand {number} went back."
    )
    emit(document, text)


def _send(
    chain: Chain,
    call: Call,
    shown: str,
    purpose: str,
    yes: bool,
) -> Asked:
    """Say what a demand costs, ask, and send it."""
    from folkmoot.fraud.contracts import demands
    from folkmoot.runtime.units import format_amount

    account = unlock()
    note(
        pairs(
            {
                "demand": shown,
                "deposit": f"{format_amount(demands.deposit_of(chain))}; it goes to whoever answers in time",
                "unanswered": "the round is void, and you have the deposit back and a quarter of the bond",
            }
        ),
    )
    if not yes:
        _confirm()
    with working("Demanding ..."):
        return demands.ask(chain, call, account, purpose)


def _tell(demand: Asked, known: dict[str, int]) -> None:
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
        f"  folkmoot demand {demand.demand} --claim",
    ]
    if about.level > 0:
        lines += ["Once it is answered:", f"  folkmoot demand {demand.demand} --leaf LEAF"]
    emit(document, *lines)


def _check_options(kind: DataKind, entry: int | None) -> None:
    """Check that the options fit together."""
    if (entry is not None) != (kind.name == "UPDATE"):
        raise InputError(
            "An update needs --entry, and nothing else has one.", remedy="Entries are numbered from 0."
        )


def _case(chain: Chain, number: int) -> Case:
    """Return an anchored round from the chain."""
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
    from folkmoot.artifacts.federation import Federation
    from folkmoot.artifacts.sources import open_sources

    source = open_sources(locations)
    try:
        return Federation.open(chain.deployment, source, chain.ledger).manifest
    finally:
        source.close()


def _confirm() -> None:
    """Ask the user whether to send."""
    if not sys.stdin.isatty():
        raise InputError(
            "A demand costs a deposit, and there is no terminal to ask on.",
            remedy="Give --yes.",
            code="not-confirmed",
        )
    typer.confirm("Demand it?", abort=True)
