# SPDX-License-Identifier: Apache-2.0
"""`folkmoot measure`: a version is measured where the data are, and only signed counts leave."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.task import TaskName
from client.signer.options import Owners, Wallet, local_keys, signed
from folkmoot.cli.context import context
from folkmoot.cli.options import node_folder
from folkmoot.cli.output import emit, note, working, write_file
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot.evaluation.sites import Commitments, CountTable, SiteMeasurement
    from folkmoot.ledger.deployment import Deployment


def measure(
    version: Annotated[int, typer.Argument(min=0, help="Number of the version.")],
    task: TaskName,
    partition: Annotated[
        str, typer.Option(help="i/n: share i, counted from 0, of n shares of a shipped task's test data.")
    ] = "0/1",
    min_cell: Annotated[
        int,
        typer.Option("--min-cell", min=1, max=10**6, help="Least number of examples of a count that leaves."),
    ] = 10,
    groups: Annotated[bool, typer.Option(help="Also count by group, where the task knows groups.")] = True,
    new_examples: Annotated[
        bool,
        typer.Option(
            "--new-examples", help="None of these examples was in an earlier table of this account."
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the signed table; do not send it.")
    ] = None,
    hours: Annotated[
        int,
        typer.Option(min=1, max=720, help="How long others may still commit, if this site is the first."),
    ] = 24,
    yes: Annotated[bool, typer.Option("--yes", help="Sign and send without asking.")] = False,
    wallet: Wallet = None,
    owner: Owners = None,
) -> None:
    """Measure a version on this site's own held-out examples, and send signed counts; nothing else leaves.

    Nothing is trained. The model is checked against its root on the chain. The counts are shown before they are signed.
    Counts of few examples stay here, and so do others from which they could be computed. First only a hash leaves;
    run it again when no more hashes are taken, and it sends the counts.

    Example: folkmoot measure 12 --task ward:task --coordinator https://moot.example --keystore ada.json

    Example: folkmoot measure 12 --task ward:task --artifacts mirror/ --out ada-12.json
    """
    from client.node.node import check_task, parse_partition
    from client.signer.keys import measurement_message
    from client.signer.wallet import check_options
    from client.tasks import evaluation
    from folkmoot.artifacts.federation import Federation
    from folkmoot.artifacts.model import model_of
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.evaluation.sites import NONE, PAUSE, Commitments, SiteMeasurement, TableCommitment
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.protocol.commitment import Domain
    from folkmoot.rpc.client import LedgerReader
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.rpc.wallets import accepts_digest
    from folkmoot.runtime.units import parse_address
    from folkmoot.tasks import load_task

    check_options(wallet, owner)
    which, shares = parse_partition(partition)
    target = "" if out is not None else context().coordinator
    loaded = load_task(task)
    addresses = Deployment.load(context().deployment)
    domain = Domain(addresses.chain_id, addresses.ledger)
    keys = local_keys(owner)
    account = keys[0].address if wallet is None else parse_address(wallet)
    kept = _kept(account, addresses)
    earlier = [SiteMeasurement.from_bytes(file.read_bytes()) for file in sorted(kept.glob("*.json"))]

    def sign(one: Any) -> Any:
        message = measurement_message(one, domain)
        return replace(one, signature=signed(account, message, domain, keys, wallet=wallet is not None))

    def keep(one: SiteMeasurement) -> None:
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(kept / f"{version}-{one.number}.json", one.to_bytes())  # Before it leaves.

    with ExitStack() as stack:
        endpoint = stack.enter_context(open_rpc(context().rpc))
        api = None if out is not None else stack.enter_context(CoordinatorApi(target))
        listed = Commitments() if api is None else Commitments.from_json(api.measurement_commitments(version))
        mine = listed.of(account)
        if api is not None and (
            mine is not None or (listed.entries and endpoint.latest_timestamp() >= listed.closes)
        ):
            own = next((one for one in earlier if mine and one.commitment == mine.hash), None)
            if mine is None or own is None:
                raise _not_here(account, version, kept, committed=mine is not None)
            if not mine.is_signed(domain, partial(accepts_digest, endpoint)):
                raise _other_closing(account, listed, target)
            if endpoint.latest_timestamp() < listed.closes + PAUSE:
                emit({"committed": True, "closes": listed.closes, "sent": False}, _waits(version, listed))
                return
            if own.commitments == NONE:
                own = sign(replace(own, commitments=listed.hash))
                keep(own)  # From now on, this list and no other.
            if own.commitments != listed.hash:
                raise _other_list(kept / f"{version}-{own.number}.json", target)
            api.send_measurement(own)
            done = f"{target} has the signed counts: `folkmoot measurements {version}`."
            emit({"measurement": own.to_json(), "sent": True}, done)
            return
        with closing(open_sources(context().artifacts)) as source, working("Downloading the version ..."):
            model = model_of(endpoint, addresses, source, version)
            if not model.final:
                raise InputError(
                    f"Version {version} is not final: its round may still be challenged.",
                    remedy="Measure it when `folkmoot status` shows it as final.",
                    code="version-not-final",
                )
            data = b"".join(model.chunks())
            opened = Federation.open(addresses, source, LedgerReader(endpoint, addresses.ledger))
        check_task(loaded, opened.manifest)
        with working("Measuring ..."):
            table, left_out = evaluation.site_table(
                loaded,
                evaluation.weights_of(data),
                min_cell,
                groups=groups,
                partition=which,
                partitions=shares,
            )
        same = next((one for one in earlier if (one.version, one.table) == (version, table)), None)
        if same is None:
            if earlier and not new_examples and not any(table.same_examples(one.table) for one in earlier):
                raise _other_examples(kept)
            number = 1 + max((one.number for one in earlier if one.version == version), default=0)
            same = SiteMeasurement(
                account, version, model.state_root, number, table, salt=secrets.token_bytes(32)
            )
        note("\n".join(_words(same, target or str(out), left_out)), always=True)
        _confirm(yes)
        if not same.signature:
            same = sign(same)
            keep(same)
        if out is not None:
            write_file(out, same.to_bytes())
            done = f"{out} has the signed counts. Nothing was sent."
        if api is not None:
            closes = listed.closes or endpoint.latest_timestamp() + 3600 * hours
            api.commit_measurement(sign(TableCommitment(account, version, same.commitment, closes)))
            done = _waits(version, Commitments.from_json(api.measurement_commitments(version)))
        emit(
            {
                "measurement": same.to_json(),
                "committed": api is not None,
                "sent": False,
                "groupsLeftOut": left_out,
            },
            done,
        )


def _waits(version: int, listed: Commitments) -> str:
    """Return in words what comes next."""
    from folkmoot.evaluation.sites import PAUSE

    when = datetime.fromtimestamp(listed.closes + PAUSE, UTC).isoformat(sep=" ", timespec="minutes")
    return (
        f"The hash of the counts is committed, as those of {len(listed.entries)} sites, and no count has left. "
        f"Run `folkmoot measure {version}` again after {when}: it sends them. Who never does is named."
    )


def _not_here(account: str, version: int, kept: Path, *, committed: bool) -> InputError:
    if committed:
        return InputError(
            f"{account} has committed a table of version {version}, and it is not in {kept}.",
            remedy="Run this where it was committed, or restore the folder: no other table is taken.",
            code="not-committed",
        )
    return InputError(
        f"Commitments to tables of version {version} are not taken any more, and {account} has none.",
        remedy="Give the others a file: `folkmoot measure --out FILE`. They see that it came later.",
        code="commitments-closed",
    )


def _other_closing(account: str, listed: Commitments, target: str) -> InputError:
    return InputError(
        f"{target} says that commitments are taken until chain time {listed.closes}, which {account} did not sign.",
        remedy="Do not trust it: it wants the table while others can still commit theirs. Nothing was sent.",
        code="other-closing",
    )


def _other_list(file: Path, target: str) -> InputError:
    return InputError(
        f"{target} shows another list of commitments than the closed one that you signed with your table.",
        remedy=f"Do not trust it: it changed the list. {file} is the proof; show it to the others.",
        code="other-commitments",
    )


def _kept(account: str, addresses: Deployment) -> Path:
    return node_folder(account, addresses.ledger) / "measurements"


def _words(one: SiteMeasurement, target: str, left_out: bool) -> list[str]:
    """Return in words what leaves."""
    table = one.table
    lines = [
        f"This is all that goes to {target}, signed by {one.site}, first as a hash:",
        f"- version {one.version}, state root 0x{one.state_root.hex()}, table {one.number} of this account",
        f"- all held-out examples: {_counts(table, table.total)}",
    ]
    for word, cells in (("class", table.classes), ("group", table.groups)):
        lines += [f"- {word} {cell.name}: {_counts(table, cell)}" for cell in cells]
    lines.append(
        f"Not one class or group of fewer than {table.min_cell} examples is named, nor others that would tell its size."
        if table.classes or table.groups
        else f"No class or group is named: too few have {table.min_cell} examples."
    )
    if left_out:
        lines.append("Groups stay here: with the classes they would tell the size of what is not named.")
    lines.append("There is no noise in these numbers (docs/measuring.md says what they can tell).")
    return lines


def _counts(table: CountTable, cell: Any) -> str:
    if cell.correct is not None:
        return f"{cell.support} examples, {cell.correct} right"
    sums = ", ".join(f"{name} {value}" for name, value in cell.losses.to_json()["sums"].items())
    return f"{cell.support} examples, {cell.losses.unmeasured} without a finite loss, sums in units of 2^-20: {sums}"


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError(
            "Counts of private examples leave only if somebody agrees, and there is no terminal to ask on.",
            remedy="Read what is above, and give --yes.",
            code="not-confirmed",
        )
    typer.confirm("Sign it and let it leave?", abort=True)


def _other_examples(kept: Path) -> InputError:
    return InputError(
        "These are not the examples of this account's earlier tables, or --min-cell is another one. The difference of "
        "two tables would be a table of the few examples that came or went.",
        remedy="Measure with the same examples and --min-cell. If none of these examples was in a table before, add "
        f"--new-examples. The earlier tables are in {kept}.",
        code="other-examples",
    )
