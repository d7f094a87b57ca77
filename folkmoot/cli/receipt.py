# SPDX-License-Identifier: Apache-2.0
"""The commands `folkmoot receipt ...`: prove that an account's update is in a round, without the round's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.options import DEPLOYMENT_DEFAULT, RPC_DEFAULT, DeploymentPath, Json, RpcUrl, connected
from folkmoot.cli.output import emit, working, write_file
from folkmoot.errors import ChainError, InputError, LocalError

if TYPE_CHECKING:
    from folkmoot.protocol.receipt import Receipt

MAX_BYTES = 65_536
"""Size of the largest receipt that is read."""


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(
        name="receipt",
        help="Prove that an account's update is in a round, and with which weight.",
        no_args_is_help=True,
    )
    group.command("write")(write)
    group.command("check")(check)
    return group


def write(
    number: Annotated[int, typer.Argument(metavar="ROUND", min=1, help="Number of the round.")],
    contributor: Annotated[str, typer.Argument(metavar="ADDRESS", help="Account that committed.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write the receipt.")],
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    json_: Json = False,
) -> None:
    """Write the receipt of an account's update in an anchored round, from the chain's events.

    Example: folkmoot receipt write 3 0xACCOUNT --out receipt.json
    """
    from folkmoot.ledger.recorded import recorded
    from folkmoot.protocol.receipt import Receipt
    from folkmoot.runtime.units import parse_address

    address = parse_address(contributor)
    with connected(rpc, deployment) as chain, working("Reading the round ...", json_):
        commitments, anchor = recorded(chain, number, chain.block_number())
    index = next((i for i, one in enumerate(commitments) if one.contributor == address), None)
    if index is None:
        raise InputError(
            f"{address} has no update in round {number}.",
            remedy="Check the address and the number of the round.",
            code="not-in-round",
        )
    receipt = Receipt.of(commitments, anchor, index)
    write_file(out, json.dumps(receipt.to_json(), indent=2).encode() + b"\n")
    emit(
        {"file": str(out), "receipt": receipt.to_json()},
        json_,
        f"{out}: entry {index} of {receipt.entries} of round {number}, weight {receipt.weight}. "
        f"Check it with: folkmoot receipt check {out}",
    )


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The receipt.")],
    rpc: RpcUrl = RPC_DEFAULT,
    deployment: DeploymentPath = DEPLOYMENT_DEFAULT,
    json_: Json = False,
) -> None:
    """Check a receipt against what the ledger stores: no event and no file of the round is read.

    Exit status 1 if the receipt is false, or its round is void or not anchored.

    Example: folkmoot receipt check receipt.json --rpc https://rpc.example
    """
    from folkmoot.rpc.client import Phase
    from folkmoot.runtime.units import format_time

    receipt = _read(file)
    number, who = receipt.commitment.round, receipt.commitment.contributor
    with connected(rpc, deployment) as chain:
        view = chain.round(number)
    if view.phase not in (Phase.ANCHORED, Phase.FINAL):
        raise ChainError(
            f"Round {number} is not anchored: its phase is {view.phase.name.lower()}.",
            remedy="A receipt is for a round that is anchored or final.",
            code="round-not-anchored",
        )
    if (
        not receipt.is_consistent()
        or receipt.entries != view.entries
        or receipt.anchor_hash != view.anchor_hash
    ):
        raise ChainError(
            f"The receipt is false: it does not lead to the anchor that the ledger has of round {number}.",
            remedy="It was altered, is of another federation, or is older than a reorganisation of the chain. Write it "
            "anew: `folkmoot receipt write`.",
            code="false-receipt",
        )
    final = view.phase is Phase.FINAL
    until = "" if final else f" It can be challenged until {format_time(view.challenge_deadline)}."
    counts = f"counts with weight {receipt.weight}" if receipt.weight else "does not count"
    emit(
        {
            "contributor": who,
            "round": number,
            "updateRoot": "0x" + receipt.commitment.update_root.hex(),
            "weight": receipt.weight,
            "final": final,
        },
        json_,
        f"The update of {who} is in round {number} and {counts}.",
        "The round is final." if final else f"The round is anchored.{until}",
    )


def _read(file: Path) -> Receipt:
    """Read a receipt, which may come from a stranger.

    Raises:
        LocalError: `receipt-missing`: the file can't be read.
        InputError: `invalid-receipt`: it is no receipt.
    """
    from folkmoot.protocol.hashing import parse_json
    from folkmoot.protocol.receipt import Receipt

    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES)
    except OSError as error:
        raise LocalError(
            f"The file {file} can't be read: {error.strerror}.",
            remedy="Give a file that `folkmoot receipt write` wrote.",
            code="receipt-missing",
        ) from error
    try:
        return Receipt.from_json(parse_json(data))
    except InputError as error:
        raise InputError(
            f"{file} is no receipt. {error.message}",
            remedy="Give a file that `folkmoot receipt write` wrote.",
            code="invalid-receipt",
        ) from error
