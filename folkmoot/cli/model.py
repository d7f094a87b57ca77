# SPDX-License-Identifier: Apache-2.0
"""`folkmoot model`: who made a version and answers for it, the model itself, or a new federation from it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from folkmoot.cli.context import context
from folkmoot.cli.output import emit, note, pairs, working, write_file
from folkmoot.errors import InputError


def model(
    version: Annotated[str, typer.Argument(help="Number of the version, or `active`.")] = "active",
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Download it: where its safetensors file is written."),
    ] = None,
    fork: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Leave with it: new folder for genesis and policy of a new federation that starts from it.",
        ),
    ] = None,
    content_policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Content policy and licence of the new federation, a text for people. An empty file is for none. "
            "Default: the parent's.",
        ),
    ] = None,
    recalled: Annotated[
        bool, typer.Option("--recalled", help="Take the version even if a vote recalled it, to study it.")
    ] = False,
    warranty: Annotated[
        str | None,
        typer.Option(metavar="TOKENS", help="Answer for it: put these tokens of yours behind it."),
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="With --fork: say what this account has to take out of the parent, and how. Needs no key.",
        ),
    ] = None,
) -> None:
    """Say who made a version, decided about it and answers for it; download it; leave with it; or answer for it.

    Without --to and --fork nothing is downloaded. What is said is made from the events of the contracts; `folkmoot
    audit` checks them. If the coordinator is known, also say what sites measured, as it has it now and as each
    proposal's report has it: signatures, sums and hash are checked again.

    --to checks the model against the state root on the chain: the file is made from the state, whose root the chain
    has. Each coordinator is also asked for its own file: one that hands out another model is named, with exit status 1,
    after the right file was written. A recalled version is refused (`version-recalled`), and one that an open vote
    would recall is warned of.

    --fork checks it in the same way. The new federation's first state is that version's state to the last bit, and its
    manifest names the version for good: `folkmoot audit` checks it. The policy is the present one of the parent. Change
    it, or give --content-policy: the child makes its own rules. Nothing is sent. The command prints how the child is
    deployed, with the parent's terms of votes, and how you take out your own stake. Nobody else's stake moves:
    everybody takes out their own.

    --warranty puts tokens of yours behind the version. If the version does harm, a vote can take them: half goes to the
    account that the proposal names, the rest is burnt. You can take them out when the warranty period is over
    (`folkmoot withdraw --warranty VERSION`). Anybody can add to the minimum that a first activation needs.

    Example: folkmoot model 12 --rpc https://rpc.example

    Example: folkmoot model 12 --to model.safetensors --coordinator https://coordinator.example

    Example: folkmoot model 12 --warranty 100

    Example: folkmoot model active --fork child/ --artifacts mirror/ --content-policy ours.txt --account 0x...
    """
    if sum(given is not None for given in (to, fork, warranty)) > 1:
        raise typer.BadParameter("give --to, --fork or --warranty")
    if fork is None and (content_policy, account) != (None, None):
        raise typer.BadParameter("--content-policy and --account need --fork")
    if fork is not None:
        from folkmoot.cli import fork as forking

        forking.fork(version, fork, content_policy, recalled=recalled, account=account)
    elif to is not None:
        _download(version, to, recalled=recalled)
    elif warranty is not None:
        if not version.isdecimal():
            raise typer.BadParameter("--warranty needs the number of the version")
        from folkmoot.cli import stake

        stake.warrant(int(version), warranty)
    elif recalled:
        raise typer.BadParameter("--recalled needs --to or --fork")
    else:
        from folkmoot.cli import who

        who.show(version)


def _download(version: str, to: Path, *, recalled: bool) -> None:
    """Download a version, and check it against the state root on the chain."""
    from folkmoot.artifacts.model import check_handed_out, model_of, version_number
    from folkmoot.artifacts.sources import CoordinatorSource, open_sources
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.ledger.releases import read_releases
    from folkmoot.ledger.scan import ChainSource
    from folkmoot.rpc.quorum import open_rpc

    coordinator = context().find("coordinator")
    places = list(
        dict.fromkeys([*(context().find("artifacts") or ()), *([coordinator] if coordinator else ())])
    )
    if not places:
        raise InputError(
            "Nobody was named who has the model.",
            remedy="Give --coordinator URL, or --artifacts with a mirror.",
        )
    addresses = Deployment.load(context().deployment)
    with ExitStack() as stack:
        source = open_sources(places)
        stack.callback(source.close)
        endpoint = stack.enter_context(open_rpc(context().rpc))
        stack.enter_context(working("Downloading the state ..."))
        number = version_number(version, endpoint, addresses)
        releases = read_releases(ChainSource(endpoint, addresses))
        if not recalled:
            releases.require_usable(number)
        warnings = releases.warnings(number)
        for warning in warnings:
            note(f"Warning: {warning}")
        checked = model_of(endpoint, addresses, source, number)
        write_file(to, checked.chunks())
        compared = []
        for location in places:
            if location.startswith(("http://", "https://")):
                with CoordinatorSource(location) as handed:
                    if check_handed_out(handed, number, checked.sha256, checked.size):
                        compared.append(location)
    document = {
        "version": number,
        "file": str(to),
        "sha256": checked.sha256,
        "bytes": checked.size,
        "stateRoot": "0x" + checked.state_root.hex(),
        "final": checked.final,
        "compared": compared,
        "recalled": number in releases.recalled,
        "warnings": warnings,
        "parentFederation": addresses.parent and addresses.parent.to_json(),
    }
    shown = {
        "version": f"{number}{'' if checked.final else ' (not final: it may still be challenged)'}",
        "file": str(to),
        "sha256": checked.sha256,
        "state root": f"0x{checked.state_root.hex()} (on the chain)",
        "same file at": ", ".join(compared) or "no coordinator was asked",
        **({"federation from": str(addresses.parent)} if addresses.parent else {}),
    }
    emit(document, pairs(shown))
