# SPDX-License-Identifier: Apache-2.0
"""`folkmoot receipt`: prove that an account's update is in a round, without the round's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.options import account_address, connected
from folkmoot.cli.output import emit, working, write_file
from folkmoot.errors import ChainError, InputError, LocalError

if TYPE_CHECKING:
    from folkmoot.protocol.acknowledgement import Acknowledgement
    from folkmoot.protocol.receipt import Receipt

MAX_BYTES = 65_536
"""Size of the largest receipt that is read."""


def receipt(
    number: Annotated[
        int | None, typer.Argument(metavar="[ROUND]", min=1, help="Number of the round.")
    ] = None,
    contributor: Annotated[
        str | None, typer.Argument(metavar="[ADDRESS]", help="Account that committed. Default: yours.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write the receipt.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="FILE", help="Check this receipt, or acknowledgement of a coordinator."
        ),
    ] = None,
) -> None:
    """Write the receipt of an account's update in an anchored round, from the chain's events; or check one.

    It proves that the update is in the round, and with which weight. A check reads what the ledger stores, and no event
    and no file of the round. Its exit status is 1 if the receipt is false, or its round is void or not anchored.

    A node keeps in its folder keeper/acknowledgements what the coordinator has signed for each update that arrived in
    time. A check of such a file compares it with the chain, and says whether the coordinator has left the update out or
    denied it.

    Example: folkmoot receipt 3 0xACCOUNT --out receipt.json

    Example: folkmoot receipt --check receipt.json

    Example: folkmoot receipt --check node/keeper/acknowledgements/3.json
    """
    if check is not None and (number, contributor, out) == (None, None, None):
        _check(check)
    elif check is None and number is not None and out is not None:
        _write(number, account_address(contributor), out)
    else:
        raise typer.BadParameter("give ROUND, ADDRESS and --out, or --check alone")


def _write(number: int, address: str, out: Path) -> None:
    """Write a receipt."""
    from folkmoot.explain.due import Due
    from folkmoot.ledger.replay import anchored_round
    from folkmoot.protocol.receipt import Receipt

    with connected() as chain, working("Reading the round ..."):
        round_, now = anchored_round(chain, number), chain.now()
    commitments = round_.commitments()
    index = next((i for i, one in enumerate(commitments) if one.contributor == address), None)
    if index is None:
        raise InputError(
            f"{address} has no update in round {number}.",
            remedy="Check the address and the number of the round.",
            code="not-in-round",
        )
    written, due = Receipt.of(commitments, round_.known_anchor, index), Due(round_, address, now)
    write_file(out, json.dumps(written.to_json(), indent=2).encode() + b"\n")
    emit(
        {"file": str(out), "receipt": written.to_json(), "due": due.to_json()},
        f"{out}: entry {index} of {written.entries} of round {number}, weight {written.weight}. "
        f"Check it with: folkmoot receipt --check {out}",
        f"{due.text} The receipt proves the weight, not the pay.",
    )


def _check(file: Path) -> None:
    """Check a file that may come from a stranger."""
    from folkmoot.protocol.acknowledgement import FORMAT, Acknowledgement
    from folkmoot.protocol.hashing import parse_json
    from folkmoot.protocol.receipt import Receipt

    try:
        value = parse_json(_read(file))
        if isinstance(value, dict) and value.get("format") == FORMAT:
            given: Acknowledgement | Receipt = Acknowledgement.from_json(value)
        else:
            given = Receipt.from_json(value)
    except InputError as error:
        raise InputError(
            f"{file} is no receipt and no acknowledgement. {error.message}",
            remedy="Give a file that `folkmoot receipt` wrote, or one of a node's folder keeper/acknowledgements.",
            code="invalid-receipt",
        ) from error
    if isinstance(given, Acknowledgement):
        _compare(given)
    else:
        _check_receipt(given)


def _compare(given: Acknowledgement) -> None:
    """Compare what a coordinator has signed with what it has done."""
    from folkmoot.ledger.replay import anchored_round
    from folkmoot.protocol.commitment import Domain
    from folkmoot.rpc.client import Phase

    number, who = given.commitment.round, given.commitment.contributor
    with connected() as chain:
        view, phase = chain.ledger.round(number), chain.ledger.phase(number)
        there = chain.ledger.has_committed(number, who)
        signer = given.signer(Domain(chain.deployment.chain_id, chain.deployment.ledger))
        anchored = there and phase in (Phase.ANCHORED, Phase.FINAL)
        round_ = anchored_round(chain, number) if anchored else None
    if signer != view.coordinator:
        raise ChainError(
            f"The acknowledgement is false: the account {signer} signed it, and the coordinator of round {number} is "
            f"{view.coordinator}.",
            remedy="It was altered, or is of another federation. A node keeps what is signed by the right account.",
            code="false-acknowledgement",
        )
    anchor, commitments = (None, []) if round_ is None else (round_.anchor, round_.commitments())
    index = next((i for i, one in enumerate(commitments) if one == given.commitment), None)
    if phase in (Phase.CANCELLED, Phase.SLASHED):
        state, then = "void", "The round is void: nothing of it counts."
    elif phase is Phase.OPEN and not there:
        state, then = "waits", "The commitment is not recorded yet."
    elif not there:
        state, then = (
            "left-out",
            "The round has no commitment of that account: the coordinator has left it out.",
        )
    elif anchor is None:
        state, then = "waits", "The commitment is recorded. The round has no anchor yet."
    elif index is None:
        state, then = "other", "The round has another commitment of that account: two were signed."
    elif anchor.delivered >> index & 1:
        state, then = "kept", f"The update counts as delivered, with weight {anchor.weights[index]}."
    else:
        state, then = "denied", "Its anchor says that the update was not delivered: one of the two is a lie."
    has = f"has signed that it had the update of {who} in the commit window of round {number}."
    document = {"contributor": who, "round": number, "coordinator": signer, "state": state}
    emit(
        {**document, "updateRoot": "0x" + given.commitment.update_root.hex()},
        f"The coordinator {signer} {has}",
        then,
    )


def _check_receipt(given: Receipt) -> None:
    """Check a receipt against the ledger."""
    from folkmoot.explain.due import challengeable
    from folkmoot.rpc.client import Phase

    number, who = given.commitment.round, given.commitment.contributor
    with connected() as chain:
        view, now = chain.ledger.round(number), chain.now()
    if view.phase not in (Phase.ANCHORED, Phase.FINAL):
        raise ChainError(
            f"Round {number} is not anchored: its phase is {view.phase.name.lower()}.",
            remedy="A receipt is for a round that is anchored or final.",
            code="round-not-anchored",
        )
    if not given.is_consistent() or given.entries != view.entries or given.anchor_hash != view.anchor_hash:
        raise ChainError(
            f"The receipt is false: it does not lead to the anchor that the ledger has of round {number}.",
            remedy="It was altered, is of another federation, or is older than a reorganisation of the chain. Write it "
            "anew: `folkmoot receipt`.",
            code="false-receipt",
        )
    final = view.phase is Phase.FINAL
    until = "final" if final else f"anchored, and {challengeable(number, view.challenge_deadline, now)}"
    counts = f"counts with weight {given.weight}" if given.weight else "does not count"
    emit(
        {
            "contributor": who,
            "round": number,
            "updateRoot": "0x" + given.commitment.update_root.hex(),
            "weight": given.weight,
            "final": final,
        },
        f"The update of {who} is in round {number} and {counts}. Its pay: `folkmoot why {who} --round {number}`.",
        f"The round is {until}.",
    )


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES)
    except OSError as error:
        raise LocalError(
            f"The file {file} can't be read: {error.strerror}.",
            remedy="Give a file that `folkmoot receipt` wrote.",
            code="receipt-missing",
        ) from error
