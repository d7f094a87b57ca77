# SPDX-License-Identifier: Apache-2.0
"""The commands `run`, `up`, `prepare`, `chain` and `fund`: run a whole federation on one machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from folkmoot.cli.options import (
    APP_WAIT_DEFAULT,
    RPC_DEFAULT,
    AppWait,
    Clock,
    DataPaths,
    Feedback,
    Json,
    NodeConfig,
    PassEnv,
    RpcUrl,
    RunConfig,
    Start,
    Width,
    WritableFolders,
)
from folkmoot.cli.output import emit
from folkmoot.cli.policy import parse_rule
from folkmoot.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


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
    str, typer.Option(help="Aggregation rule with its parameters, e.g. guided_mean or multi_krum:1,0.")
]
Window = Annotated[
    int | None,
    typer.Option(
        metavar="SECONDS",
        min=1,
        help=f"Commit window, with --clock ({CLOCK_WINDOW}).",
        show_default=False,
    ),
]
Root = Annotated[
    str,
    typer.Option(
        metavar="good|biased",
        help="Also start the coordinator's node with a root set, which root_guard and other rules use.",
    ),
]


def run(
    app: Annotated[Path, typer.Argument(metavar="APP", help="Folder of a Flower app, as for `flwr run`.")],
    nodes: Annotated[int, typer.Option(help="Number of nodes, one contributor each.", min=1, max=64)] = 3,
    rounds: Annotated[
        int | None,
        typer.Option(help="Number of rounds. Default: the app's.", min=1, show_default=False),
    ] = None,
    run_config: RunConfig = None,
    node_config: NodeConfig = None,
    app_wait: AppWait = APP_WAIT_DEFAULT,
    rule: Rule = "guided_mean",
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
            "that of an interrupted run, the run goes on.",
            show_default=False,
        ),
    ] = None,
    json_: Json = False,
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
    summary = AppRun(plan, rounds, console_for(json_), keep=keep).run()
    if json_:
        emit(summary, json_)


def _new_home(app: Path) -> Path:
    """Return a new folder for a run."""
    from datetime import datetime

    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return RUNS / f"{app.expanduser().resolve().name}-{stamp}"


def up(
    contributors: Contributors = 3,
    task: Task = "digits",
    rule: Rule = "guided_mean",
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
    json_: Json = False,
) -> None:
    """Start a local federation that runs until Ctrl-C. A later start continues where it stopped.

    Example: folkmoot up --contributors 5 --task mnist
    """
    from folkmoot.devnet.federation import LocalFederation, Plan
    from folkmoot.devnet.federation import prepare as make
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
    )
    console = console_for(json_)
    with Supervisor(plan.logs) as supervisor:
        federation = LocalFederation(
            plan, supervisor, api_port=api_port, chain_port=chain_port, superlink_port=superlink_port
        )
        with console.status("starting") as status:
            federation.start_chain()
            federation.start_superlink()
            if not plan.deployment_file.exists():
                make(plan, federation.rpc_url, lambda text: status.update(f"making {text}"))
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
        emit(
            where,
            json_,
            f"page, API   {federation.api_url}\nchain       {federation.rpc_url}\n"
            f"SuperLink   {federation.superlink}\nkeys, logs  {plan.home}\n\nTry, in another terminal:\n"
            f"  export FOLKMOOT_RPC={federation.rpc_url} FOLKMOOT_DEPLOYMENT={plan.deployment_file}\n"
            f"  folkmoot status\n"
            f"  folkmoot train --rounds 3 --expect {plan.entries} --coordinator {federation.api_url} "
            f"--superlink {federation.superlink} \\\n"
            f"      --keystore {plan.keystore('coordinator')} --password-file {plan.password_file}\n\n"
            "Ctrl-C ends it; the next start continues from there.",
        )
        sys.stdout.flush()
        supervisor.watch(lambda: False)


def prepare(
    rpc: Annotated[str, typer.Option("--rpc", metavar="URL", help="JSON-RPC endpoint of a local Anvil.")],
    contributors: Contributors = 3,
    task: Task = "digits",
    rule: Rule = "guided_mean",
    root: Root = "",
    home: Annotated[Path, typer.Option(help="Folder to create.")] = DEFAULT_HOME,
    hand_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Put each contributor's key, a password of its own and the deployment file into "
            "FOLDER/contributor-N, and not into --home. FOLDER/public gets the deployment file.",
            show_default=False,
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Create a federation on a running local chain: keys, genesis, contracts, stakes, the coordinator's folder.

    Starts no process. `up` and the compose file do this first.

    Example: folkmoot prepare --rpc http://127.0.0.1:8545 --home ./federation
    """
    from folkmoot.devnet.federation import Plan
    from folkmoot.devnet.federation import hand_out as copy_deployment
    from folkmoot.devnet.federation import prepare as make

    name, parameters = parse_rule(rule)
    plan = Plan(home.absolute(), task, contributors, name, parameters, root, hand_out=hand_out)
    if plan.deployment_file.exists():
        if hand_out is not None:  # The process that made the federation may have been killed before this.
            copy_deployment(plan, hand_out)
        emit({"home": str(plan.home), "made": False}, json_, f"{plan.home} holds a federation already.")
        return
    federation = make(plan, rpc)
    if hand_out is not None:
        copy_deployment(plan, hand_out)
    document = {"home": str(plan.home), "made": True, "accounts": federation.addresses}
    emit(document, json_, f"Made a federation with {contributors} contributors in {plan.home}.")


def chain(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8545,
    state: Annotated[
        Path | None,
        typer.Option(help="File that keeps the chain's state between starts.", show_default=False),
    ] = None,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks without transactions.")] = 1.0,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log each block and each request.")] = False,
    json_: Json = False,
) -> None:
    """Run a local chain (Anvil) in the foreground. Its coins have no value.

    Example: folkmoot chain --state chain.json
    """
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
        json_,
        f"Local chain {LOCAL_CHAIN_ID} at {url}. Ctrl-C ends it.",
    )
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606  Folkmoot's own program, no shell


def fund(
    address: Annotated[str, typer.Argument(help="Account.")],
    rpc: RpcUrl = RPC_DEFAULT,
    json_: Json = False,
) -> None:
    """Give an account of a local chain 10,000 coins for gas. Only a local Anvil is accepted.

    Example: folkmoot fund 0x70997970C51812dc3A010C7d01b50e0d17dc79C8
    """
    from folkmoot.rpc import local_chain
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime.units import parse_address

    account = parse_address(address)
    with open_rpc(rpc) as endpoint:
        local_chain.fund(endpoint, account)
    emit({"account": account, "balance": str(local_chain.FUNDS)}, json_, f"{account} can pay its gas now.")


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


def console_for(as_json: bool) -> Console:
    """Return the console for the output. In a log file, lines may be as long as the tables need."""
    from rich.console import Console

    console = Console(stderr=as_json)
    if not console.is_terminal:
        console.width = 120
    return console
