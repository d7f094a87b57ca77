# SPDX-License-Identifier: Apache-2.0
"""The commands `run`, `up`, `prepare`, `chain` and `fund`: run a whole federation on one machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.context import context, leave_environment
from folkmoot.cli.federation import local
from folkmoot.cli.options import (
    APP_WAIT_DEFAULT,
    AppWait,
    Clock,
    DataPaths,
    Feedback,
    NodeConfig,
    PassEnv,
    RunConfig,
    Start,
    Width,
    WritableFolders,
)
from folkmoot.cli.output import emit, is_json
from folkmoot.cli.policy import DEFAULT_RULE, parse_rule
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from folkmoot.devnet.federation import Plan


CLOCK_WINDOW = 120
"""Seconds of the commit window of a local federation that trains by the clock."""

DEFAULT_HOME = Path(".folkmoot") / "local"
"""Folder of `folkmoot up`."""

RUNS = Path(".folkmoot") / "runs"
"""Folder for the results of `folkmoot run`, one folder per run."""

Task = Annotated[
    str, typer.Option(help="Task: mnist, digits, breast-cancer, diabetes, text, or package.module:object.")
]
Contributors = Annotated[int, typer.Option(help="Number of contributors.", min=1, max=64)]
Rule = Annotated[
    str, typer.Option(help="Aggregation rule with its parameters, e.g. clamped_mean or multi_krum:1,0.")
]
Window = Annotated[
    int | None,
    typer.Option(
        metavar="SECONDS", min=1, help=f"Commit window, with --clock ({CLOCK_WINDOW}).", show_default=False
    ),
]
Root = Annotated[
    str,
    typer.Option(
        metavar="good|biased",
        help="Also start the coordinator's node with a root set, which clamped_mean uses.",
    ),
]


def run(
    app: Annotated[Path, typer.Argument(metavar="APP", help="Folder of a Flower app, as for `flwr run`.")],
    nodes: Annotated[int, typer.Option(help="Number of nodes, one contributor each.", min=1, max=64)] = 3,
    rounds: Annotated[int | None, typer.Option(help="Number of rounds. Default: the app's.", min=1)] = None,
    run_config: RunConfig = None,
    node_config: NodeConfig = None,
    app_wait: AppWait = APP_WAIT_DEFAULT,
    rule: Rule = DEFAULT_RULE,
    width: Width = 8,
    feedback: Feedback = False,
    simulation: Annotated[
        bool,
        typer.Option(
            "--simulation",
            help="Train with Flower's simulation engine (Ray), without a process for each node.",
        ),
    ] = False,
    sandbox: Annotated[
        bool,
        typer.Option("--sandbox", help="Train in the sandbox of `folkmoot join`, with the options below."),
    ] = False,
    data: DataPaths = None,
    writable: WritableFolders = None,
    pass_env: PassEnv = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder for keys, logs, the model and the app's files. Default: a new one in .folkmoot/runs. With "
            "that of an interrupted run, the run goes on."
        ),
    ] = None,
) -> None:
    """Train an unchanged Flower app as an audited federation on this machine.

    Reads the arrays, the rounds and the settings from the app's ServerApp, and runs the app's train function once, on
    partition 0. Then starts a local chain, the contracts, a coordinator, a SuperLink and the nodes, and trains the app
    on them. Refuses an app that can't be anchored before anything starts, and says why.

    Ctrl-C keeps what is done: the same command with --home and the folder of the run goes on. With a run that is
    complete, --keep starts its page again.

    To run the same app on several machines: `task init --app`, `deploy`, `join --app`, `train --app`.

    Example: folkmoot run ./quickstart-pytorch --nodes 3

    Example: folkmoot run ./my-app --rounds 10 --run-config "learning-rate=0.05"
    """
    from folkmoot.devnet.federation import Plan
    from folkmoot.devnet.flower_simulation import check_simulation
    from folkmoot.devnet.run import AppRun
    from folkmoot.protocol.packing import check_width
    from folkmoot.sandbox.kernel import require_support

    leave_environment()
    if simulation:
        check_simulation(node_config)
    given = {"--data": data, "--writable": writable, "--pass-env": pass_env}
    words = [word for option, values in given.items() for value in values or () for word in (option, value)]
    if sandbox:
        require_support()
    if words and not sandbox:
        raise InputError("--data, --writable and --pass-env need --sandbox.", remedy="Add --sandbox.")
    if sandbox and simulation:
        raise InputError(
            "Flower's simulation engine has no sandbox.", remedy="Leave out --simulation or --sandbox."
        )
    name, parameters = parse_rule(rule)
    plan = Plan(
        home=(home or _new_home(app)).absolute(),
        contributors=nodes,
        rule=name,
        parameters=parameters,
        app=app.expanduser().absolute(),
        run_config=tuple(run_config or ()),
        node_config=tuple(node_config or ()),
        app_wait=app_wait,
        simulation=simulation,
        sandbox=tuple(words) if sandbox else None,
        width=check_width(width),
        feedback=feedback,
    )
    summary = AppRun(plan, rounds, console_for(), keep=keep).run()
    if is_json():
        emit(summary)


def _new_home(app: Path) -> Path:
    """Return a new folder for a run."""
    from datetime import datetime

    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return RUNS / f"{app.expanduser().resolve().name}-{stamp}"


def up(
    contributors: Contributors = 3,
    task: Task = "digits",
    rule: Rule = DEFAULT_RULE,
    root: Root = "",
    width: Width = 8,
    feedback: Feedback = False,
    start: Start = "base",
    clock: Clock = False,
    window: Window = None,
    home: Annotated[Path, typer.Option(help="Folder of the federation, kept between starts.")] = DEFAULT_HOME,
    api_port: Annotated[int, typer.Option(help="Port of the coordinator's API.")] = 8800,
    chain_port: Annotated[int, typer.Option(help="Port of the local chain.")] = 8545,
    superlink_port: Annotated[int, typer.Option(help="Port of the SuperLink.")] = 8000,
    only_prepare: Annotated[
        bool,
        typer.Option(
            "--only-prepare",
            help="Start nothing: create keys, genesis, contracts, stakes and the coordinator's folder on the running "
            "local chain at --rpc. The compose file does this first.",
        ),
    ] = False,
    hand_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="With --only-prepare: put each contributor's key, a password of its own and the deployment file into "
            "FOLDER/contributor-N, and not into --home. FOLDER/public gets the deployment file.",
        ),
    ] = None,
) -> None:
    """Start a local federation that runs until Ctrl-C. A later start continues where it stopped.

    Meanwhile all commands of yours use it (`folkmoot federation`), so that they need no options.

    Example: folkmoot up --contributors 5 --task mnist

    Example: folkmoot up --only-prepare --rpc http://127.0.0.1:8545 --home ./federation
    """
    from folkmoot.devnet.federation import LocalFederation, Plan
    from folkmoot.devnet.federation import prepare as prepare_federation
    from folkmoot.protocol.packing import check_width
    from folkmoot.runtime.processes import Supervisor

    name, parameters = parse_rule(rule)
    plan = Plan(
        home.absolute(),
        task,
        contributors,
        name,
        parameters,
        root,
        width=check_width(width),
        feedback=feedback,
        start=start,
        clock=clock,
        commit_window=window_of(window, clock),
        hand_out=hand_out,
    )
    if only_prepare:
        _prepare(plan)
        return
    if hand_out is not None:
        raise InputError(
            "--hand-out belongs to --only-prepare.", remedy="Leave it out, or add --only-prepare."
        )
    leave_environment()
    console = console_for()
    with Supervisor(plan.logs) as supervisor:
        federation = LocalFederation(
            plan, supervisor, api_port=api_port, chain_port=chain_port, superlink_port=superlink_port
        )
        with console.status("starting") as status:
            federation.start_chain()
            federation.start_superlink()
            if not plan.deployment_file.exists():
                prepare_federation(plan, federation.rpc_url, lambda text: status.update(f"making {text}"))
            status.update("starting the coordinator")
            federation.start_coordinator()
            federation.start_nodes()
        where = {
            "api": federation.api_url,
            "rpc": federation.rpc_url,
            "superlink": federation.superlink,
            "deployment": str(plan.deployment_file),
            "keys": str(plan.home / "keys"),
            "passwordFile": str(plan.password_file),
        }
        settings = {
            "rpc": [federation.rpc_url],
            "deployment": plan.deployment_file,
            "coordinator": federation.api_url,
            "superlink": federation.superlink,
            "keystore": plan.keystore("coordinator"),
            "password-file": plan.password_file,
        }
        with local(settings):
            emit(
                where,
                f"page, API   {federation.api_url}\nchain       {federation.rpc_url}\n"
                f"SuperLink   {federation.superlink}\nkeys, logs  {plan.home}\n\n"
                "Commands use this federation and its coordinator's key until it ends. Try, in another terminal:\n"
                f"  folkmoot status\n"
                f"  folkmoot train --rounds 3 --expect {plan.entries}\n"
                f"  folkmoot balance --keystore {plan.keystore('contributor-1')}\n\n"
                "Ctrl-C ends it; the next start continues from there.",
            )
            sys.stdout.flush()
            supervisor.watch(lambda: False)


def _prepare(plan: Plan) -> None:
    """Create a federation on a running local chain. Starts no process."""
    from folkmoot.devnet.federation import hand_out as hand_out_deployment
    from folkmoot.devnet.federation import prepare as prepare_federation

    if plan.deployment_file.exists():
        if (
            plan.hand_out is not None
        ):  # The process that made the federation may have been killed before this.
            hand_out_deployment(plan, plan.hand_out)
        emit({"home": str(plan.home), "made": False}, f"{plan.home} holds a federation already.")
        return
    federation = prepare_federation(plan, ",".join(context().rpc))
    if plan.hand_out is not None:
        hand_out_deployment(plan, plan.hand_out)
    document = {"home": str(plan.home), "made": True, "accounts": federation.addresses}
    emit(document, f"Made a federation with {plan.contributors} contributors in {plan.home}.")


def chain(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8545,
    state: Annotated[
        Path | None, typer.Option(help="File that keeps the chain's state between starts.")
    ] = None,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks without transactions.")] = 1.0,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log each block and each request.")] = False,
    fund: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Start nothing: give this account of the running chain 10,000 coins for gas.",
        ),
    ] = None,
    advance: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="SECONDS", help="Start nothing: move the clock of the running chain forward."
        ),
    ] = None,
) -> None:
    """Run a local chain (Anvil) in the foreground. Its coins have no value.

    With --fund or --advance, act on one that runs, at --rpc or --port. Only a local Anvil is accepted.

    Example: folkmoot chain --state chain.json

    Example: folkmoot chain --fund 0x70997970C51812dc3A010C7d01b50e0d17dc79C8

    Example: folkmoot chain --advance 600
    """
    if fund is not None or advance is not None:
        _act_on_chain(context().find("rpc") or [f"http://{host}:{port}"], fund, advance)
        return
    from folkmoot.devnet.anvil import anvil_command
    from folkmoot.rpc.local_chain import LOCAL_CHAIN_ID
    from folkmoot.runtime.processes import require_free_port

    require_free_port(port, "the local chain", host)
    command = anvil_command(port, host=host, block_time=block_time, mixed=True, state=state)
    if not verbose:
        command.append("--quiet")
    url = f"http://{host}:{port}"
    emit(
        {"rpc": url, "chainId": LOCAL_CHAIN_ID},
        f"Local chain {LOCAL_CHAIN_ID} at {url}. Ctrl-C ends it.",
    )
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606  Folkmoot's own program, no shell


def _act_on_chain(rpc: list[str], fund: str | None, advance: int | None) -> None:
    """Give an account of a local chain coins, and move its clock forward."""
    from folkmoot.rpc import local_chain
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime.units import format_time, parse_address

    document: dict[str, object] = {}
    texts = []
    with open_rpc(rpc) as endpoint:
        if fund is not None:
            account = parse_address(fund)
            local_chain.fund(endpoint, account)
            document |= {"account": account, "balance": str(local_chain.FUNDS)}
            texts.append(f"{account} can pay its gas now.")
        if advance is not None:
            now = local_chain.advance(endpoint, advance)
            document["chainTime"] = now
            texts.append(f"The chain's time is now {format_time(now)}.")
    emit(document, *texts)


def window_of(seconds: int | None, clock: bool) -> int:
    """Return the commit window of a plan in seconds.

    Raises:
        InputError: A window is given without a training by the clock.
    """
    if clock:
        return CLOCK_WINDOW if seconds is None else seconds
    if seconds is not None:
        raise InputError("--window belongs to --clock.", remedy="Leave it out, or add --clock.")
    return 0


def console_for() -> Console:
    """Return the console for the output. In a log file, lines may be as long as the tables need."""
    from rich.console import Console

    console = Console(stderr=is_json())
    if not console.is_terminal:
        console.width = 120
    return console
