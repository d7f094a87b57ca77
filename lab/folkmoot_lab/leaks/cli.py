# SPDX-License-Identifier: Apache-2.0
"""The command `folkmoot privacy report`: attack one's own training and published updates, and write what is found.

The command imports the library itself, so that `folkmoot --help` stays fast.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.context import context
from folkmoot.cli.output import emit, note, table, working, write_file
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from folkmoot_lab.leaks.published import Own


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(
        name="privacy", help="What published updates give away about records.", no_args_is_help=True
    )
    group.command("report")(report)

    @group.callback()
    def _group() -> None:
        """Keep the name of the only command."""

    return group


def report(
    task: Annotated[str, typer.Option("--task", help="A shipped task, or package.module:object.")],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="Where the page is written; the JSON goes beside it."),
    ] = Path("privacy-report.html"),
    contributors: Annotated[
        int, typer.Option(min=1, max=256, help="Contributors of the simulated federation.")
    ] = 5,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds that each takes part in.")] = 20,
    runs: Annotated[
        int, typer.Option(min=1, help="Federations that are trained, each with other canaries.")
    ] = 8,
    trials: Annotated[
        int,
        typer.Option(
            min=5, help="Trainings with each record of the strong adversary, and as many without it."
        ),
    ] = 30,
    alone: Annotated[
        bool, typer.Option("--alone", help="Compare with no other epsilon: a quarter of the time.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Chooses records, canaries and batches.")] = 0,
    account: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Also attack the published updates of this account, your own, with your data as the truth.",
        ),
    ] = None,
    partition: Annotated[
        str, typer.Option(metavar="I/N", help="With --account: your share of a shipped task's data.")
    ] = "0/1",
) -> None:
    """Attack a federation's training on your data, and write what its published updates would give away.

    Everything runs on this machine and nothing is sent. The page is one file that a data protection officer can read.
    With --account, the command also reads what the federation has published of your account, and attacks it.

    The federation's settings are compared with differential privacy at epsilon 8, 3 and 1, unless you give --alone.

    Example: folkmoot privacy report --task breast-cancer

    Example: folkmoot privacy report --task my_package.my_module:task --account 0x... --artifacts URL --rpc URL
    """
    from client.node.node import parse_partition
    from folkmoot.tasks import load_task
    from folkmoot_lab.leaks import page
    from folkmoot_lab.leaks.learner import records_of
    from folkmoot_lab.leaks.published import attack_own
    from folkmoot_lab.leaks.settings import EPSILONS, settings_of
    from folkmoot_lab.leaks.study import Plan, records_a_contributor, study

    place, partitions = parse_partition(partition)
    beside = out.with_suffix(".json")
    if beside == out:
        raise InputError(
            f"--out names the page, and the numbers go into {beside}.",
            remedy="Give the page a name that ends in .html.",
        )
    if not out.absolute().parent.is_dir():
        raise InputError(
            f"There is no folder {out.absolute().parent}.", remedy="Create it, or choose another --out."
        )
    if account is not None and context().find("artifacts") is None:
        raise InputError(
            "There is no place to read the published updates from.",
            remedy="Add --artifacts with a mirror's folder or a coordinator's URL, or leave out --account.",
        )
    loaded = load_task(task)
    found = None
    training = dict(loaded.training)
    if account is not None and context().find("artifacts") is not None:
        own = _read(context().rpc, context().deployment, context().artifacts, account)
        training = dict(own.manifest.training)
        data = records_of(loaded, loaded.load(place, partitions, int(training.get("split_seed", 0))))
        found = attack_own(loaded, own, data, seed)
    plan = Plan(contributors=contributors, rounds=rounds, runs=runs, trials=trials, seed=seed)
    settings = settings_of(training, rounds, records_a_contributor(loaded, plan), () if alone else EPSILONS)
    studied = study(loaded, settings, plan, lambda what: note(f"{what} ..."))
    command = f"folkmoot privacy report --task {task}" + "".join(
        f" --{name} {vars(plan)[name]}" for name in ("contributors", "rounds", "runs", "trials", "seed")
    )
    command += " --alone" if alone else ""
    if account is not None:
        command += f" --account {account} --partition {partition}"
    made = page.Report(studied, found, page.Made.now(command))
    write_file(out, page.written(made))
    write_file(beside, page.written_json(made))
    emit(
        {"page": str(out), "file": str(beside), **made.to_json()},
        *page.warnings(studied),
        *page.summary(made),
        table(page.inversion_columns(), page.inversion_rows(studied)),
        f"The page is {out}, the numbers are {beside}.",
    )


def _read(rpc: list[str], deployment: Path, artifacts: list[str], account: str) -> Own:
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime.units import parse_address
    from folkmoot_lab.leaks.published import read_own

    address, addresses = parse_address(account), Deployment.load(deployment)
    with ExitStack() as stack:
        source = open_sources(artifacts)
        stack.callback(source.close)
        endpoint = stack.enter_context(open_rpc(rpc))
        stack.enter_context(working("Reading your published updates ..."))
        return read_own(endpoint, addresses, source, address)
