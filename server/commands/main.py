# SPDX-License-Identifier: Apache-2.0
"""Commands of the coordinator, `folkmoot coordinator ...`; `folkmoot train` is in `server.commands.train`.

Heavy modules are imported when a command runs, so that `folkmoot --help` stays quick.
"""

from __future__ import annotations

import gc
import getpass
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.context import context
from folkmoot.cli.doctor import Insecure, Rounds
from folkmoot.cli.options import superlink
from folkmoot.cli.output import emit, is_json, note
from folkmoot.errors import FolkmootError, InputError, LocalError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from server.settings import Settings

DEFAULT_HOME = Path(".folkmoot/coordinator")

Home = Annotated[Path, typer.Option("--home", metavar="DIR", help="Folder of the coordinator.")]


def commands() -> typer.Typer:
    """Return the group of commands."""
    group = typer.Typer(name="coordinator", help="Run a coordinator.", no_args_is_help=True)
    for command in (init, serve, rebuild, doctor):
        group.command()(command)
    return group


def init(
    genesis: Annotated[
        Path, typer.Option("--genesis", metavar="DIR", help="Folder with genesis, manifest and first state.")
    ],
    home: Home = DEFAULT_HOME,
) -> None:
    """Make the folder of a coordinator: settings, database, artifact store with the genesis.

    Example: folkmoot coordinator init --deployment deployment.json --genesis genesis/ --keystore coordinator.json
    """
    from folkmoot.chain.client import check_deployment
    from folkmoot.ledger.deployment import DEPLOYMENT_FILE, Deployment
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime import keystore as keys
    from server.db import schema
    from server.db.engine import make_engine
    from server.genesis import import_genesis
    from server.settings import FILE_NAME, Settings

    if (home / FILE_NAME).exists():
        raise InputError(
            f"There is a coordinator in {home} already.",
            remedy="Use it with `folkmoot coordinator serve`, or give another folder with --home.",
            code="coordinator-exists",
        )
    contracts, keystore = Deployment.load(context().deployment), Path(context().need("keystore"))
    address, password_file = keys.address_of(keystore), context().password_file
    with open_rpc(context().rpc) as endpoint:
        check_deployment(endpoint, contracts)
    try:
        home.mkdir(parents=True, exist_ok=True)
        settings = Settings(
            home=home,
            rpc_url=",".join(context().rpc),
            keystore=keystore.resolve(),
            password_file=password_file.resolve() if password_file else None,
        )
        contracts.save(home / DEPLOYMENT_FILE)
        import_genesis(settings.open_store(), genesis, contracts.genesis_hash)
        engine = make_engine(settings.resolved_database_url)
        schema.upgrade(engine)
        engine.dispose()
        settings.save()  # last: a folder without it is not a coordinator yet
    except OSError as exc:
        raise LocalError(
            f"The folder {home} can't be written: {exc.strerror}.", remedy="Give another one with --home."
        ) from exc
    emit(
        {"home": str(home), "account": address, "ledger": contracts.ledger},
        f"Made a coordinator for {address} in {home}.",
        f"Start it with: folkmoot coordinator serve --home {home}",
    )


class Part(StrEnum):
    """What `rebuild` rebuilds."""

    ALL = "all"
    FILES = "files"
    ROWS = "rows"
    SCHEMA = "schema"


def rebuild(
    part: Annotated[
        Part,
        typer.Argument(
            metavar="[PART]",
            help="all: database and files, from the chain and --mirror. files: read every file again, and replace what "
            "is missing or damaged from --mirror. rows: put rows right that differ from the chain. schema: bring the "
            "database to the schema of this release.",
            show_default=False,
        ),
    ] = Part.ALL,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror",
            metavar="FOLDER_OR_URL",
            help="Folder of a mirror, or URL of one or of a coordinator. Give several: they are tried in order.",
        ),
    ] = None,
    home: Home = DEFAULT_HOME,
    from_round: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="With all: first round whose files must be had; earlier ones only if the next round rests on them.",
        ),
    ] = 1,
) -> None:
    """Rebuild a coordinator from the chain and public files: another one's, or one's own whose database is lost.

    Needs no password. Where the folder has settings, they stay; else give --deployment, --keystore and --rpc. Every
    file is held against the chain; `folkmoot audit --artifacts HOME/artifacts` recomputes them afterwards.

    The part `files` may run while the coordinator does, and ends with 1 if files are still missing or damaged; without
    --mirror it changes none. Stop the coordinator before the others.

    Example: folkmoot coordinator rebuild --deployment deployment.json --keystore new.json --mirror mirror/ --rpc URL

    Example: folkmoot coordinator rebuild files --mirror https://mirror.example

    Example: folkmoot coordinator rebuild schema
    """
    if part in (Part.ROWS, Part.SCHEMA) and mirror:
        raise InputError(
            f"The part {part} is rebuilt without files, and needs no --mirror.",
            remedy="Rebuild the files first, and then the rows.",
        )
    match part:
        case Part.ALL:
            if not mirror:
                raise typer.BadParameter("give --mirror, for the files")
            _restore(home, mirror, from_round)
        case Part.FILES:
            _repair(home, mirror)
        case Part.ROWS:
            _repair_rows(home)
        case Part.SCHEMA:
            _migrate(home)


def _restore(home: Path, mirror: list[str], from_round: int) -> None:
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.runtime import keystore as keys
    from server.home import only_process
    from server.restore.restore import restore as restore_database
    from server.settings import FILE_NAME, load

    known = (home / FILE_NAME).exists()
    source = open_sources(mirror)
    try:
        settings = load(home, rpc_url=context().flag("rpc")) if known else _new_settings(home)
        if known:
            _require_same(settings)
        address = keys.address_of(settings.resolve(settings.keystore))
        with only_process(home):
            done = restore_database(
                settings,
                address,
                source,
                from_round=from_round,
                # Not before: a folder with settings is a coordinator. Not after: one with rounds must be one.
                before_rows=(lambda: None) if known else settings.save,
                progress=lambda what: note(f"{what} ..."),
            )
    finally:
        source.close()
    appointed = done.coordinator == address
    document = {"home": str(home), "account": address, "appointed": appointed, **done.to_json()}
    standing = ", ".join(f"{count} {step}" for step, count in sorted(done.rounds.items())) or "none"
    emit(
        document,
        f"Restored the coordinator in {home} at block {done.block}: rounds: {standing}; head: round {done.head}.",
        *[f"note: {text}" for text in done.notes],
        *([] if appointed else [f"note: the ledger's coordinator is {done.coordinator}, not {address}."]),
        f"Start it with: folkmoot coordinator serve --home {home}",
    )


def _require_same(settings: Settings) -> None:
    """Make sure that the options name what the settings of a folder name: a stopped rebuild is called again."""
    from folkmoot.ledger.deployment import Deployment

    deployment, keystore = context().flag("deployment"), context().flag("keystore")
    kept = settings.resolve(settings.deployment), settings.resolve(settings.keystore).resolve()
    if (deployment is None or Deployment.load(deployment) == Deployment.load(kept[0])) and (
        keystore is None or keystore.resolve() == kept[1]
    ):
        return
    raise InputError(
        f"There is a coordinator in {settings.home} already: its settings name another deployment or key file.",
        remedy="Leave out --deployment and --keystore, or give another folder with --home.",
        code="coordinator-exists",
    )


def _new_settings(home: Path) -> Settings:
    """Settings for a folder that has none; the deployment file is copied into it."""
    from folkmoot.ledger.deployment import DEPLOYMENT_FILE, Deployment
    from server.settings import Settings

    rpc, deployment, keystore = (context().find(name) for name in ("rpc", "deployment", "keystore"))
    password_file = context().password_file
    if deployment is None or keystore is None or not rpc:
        raise InputError(
            f"There are no settings in {home} yet.",
            remedy="Give --rpc, --deployment and --keystore, or the --home of the coordinator whose database is lost.",
            code="settings-missing",
        )
    contracts = Deployment.load(deployment)
    try:
        home.mkdir(parents=True, exist_ok=True)
        contracts.save(home / DEPLOYMENT_FILE)
    except OSError as exc:
        raise LocalError(
            f"The folder {home} can't be written: {exc.strerror}.", remedy="Give another one with --home."
        ) from exc
    return Settings(
        home=home,
        rpc_url=",".join(rpc),
        keystore=keystore.resolve(),
        password_file=password_file.resolve() if password_file else None,
    )


def _migrate(home: Path) -> None:
    from server.db import schema
    from server.db.engine import Database
    from server.home import only_process
    from server.settings import load

    settings = load(home)
    with only_process(home):
        database = Database.open(settings.resolved_database_url)
        try:
            before = schema.current(database.engine)
            database.claim()
            schema.upgrade(database.engine)
        finally:
            database.close()
    now = schema.latest()
    emit(
        {"schema": now, "before": before},
        f"The database has schema {now}{' already' if before == now else f' (before: {before})'}.",
    )


def _repair(home: Path, mirror: list[str] | None) -> None:
    from folkmoot.artifacts.sources import open_sources
    from folkmoot.errors import ArtifactError
    from server.db import schema
    from server.db.engine import Database
    from server.restore.repair import repair as repair_database
    from server.settings import load

    settings = load(home)
    store = settings.open_store()
    database = Database.open(settings.resolved_database_url)
    source = open_sources(mirror) if mirror else None
    try:
        schema.check(database.engine)
        done = repair_database(database, store, source, progress=note)
    finally:
        database.close()
        if source is not None:
            source.close()
    if done.lacking:
        raise ArtifactError(
            f"{len(done.lacking)} of {done.files} files of {store.location} are missing or damaged: "
            + "; ".join(str(lack) for lack in done.lacking[:5])
            + (" ..." if len(done.lacking) > 5 else "."),
            remedy="Give a --mirror that has them; a contributor's node keeps its updates of the last three rounds.",
            code="store-incomplete",
            details=done.to_json(),
        )
    emit(
        done.to_json(),
        f"All {done.files} files of {store.location} are as they should be ({done.bytes:,} bytes read)"
        + (f"; {len(done.repaired)} were replaced." if done.repaired else "."),
    )


def _repair_rows(home: Path) -> None:
    from contextlib import ExitStack

    from folkmoot.artifacts.federation import Federation
    from folkmoot.ledger.deployment import Deployment
    from folkmoot.rpc.quorum import open_rpc
    from server.chain.view import ChainView, check_chain
    from server.db import schema
    from server.home import only_process
    from server.restore.upkeep import repair_rows
    from server.settings import load
    from server.storage import Storage

    settings = load(home)
    with only_process(settings.home), ExitStack() as undo:
        deployment = Deployment.load(settings.resolve(settings.deployment))
        rpc = undo.enter_context(open_rpc(settings.rpc_url))
        storage = Storage.open(settings)
        undo.callback(storage.database.close)
        schema.check(storage.database.engine)
        storage.database.claim()
        federation = Federation.open(deployment, storage.store)
        chain = ChainView.of(rpc, deployment, settings)
        check_chain(chain, federation)
        done = repair_rows(storage, chain, federation, note)
    emit(
        {"altered": [altered.to_json() for altered in done]},
        f"{len(done)} values were put right." if done else "No row differs from the chain.",
    )


def doctor(
    home: Home = DEFAULT_HOME,
    insecure: Insecure = False,
    rounds: Rounds = 10,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every file that rounds still need, however large.")
    ] = False,
) -> None:
    """Check a coordinator's folder, its chain and its API, and say what is wrong. Exit status 1 if a check failed.

    Changes nothing and needs no password: run it beside the coordinator, or before a start.

    Example: folkmoot coordinator doctor --home .folkmoot/coordinator
    """
    from folkmoot.cli.doctor import show
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.doctor import (
        Check,
        Finding,
        Line,
        State,
        api_checks,
        chain_checks,
        examine,
        ok,
        privacy_checks,
        superlink_checks,
    )
    from folkmoot.rpc.quorum import open_rpc
    from folkmoot.runtime import keystore
    from server.doctor import home_checks
    from server.settings import FILE_NAME, load

    meeting_place = superlink(insecure)
    try:
        settings = load(home)
    except InputError as exc:
        show([Line("settings", Finding(State.FAILED, exc.message, exc.remedy))])
        return
    try:
        account = keystore.address_of(settings.resolve(settings.keystore))
    except FolkmootError:
        account = None  # the check of the key file says why
    deployment = settings.resolve(settings.deployment)
    url = context().flag("coordinator") or f"http://{_reachable(settings.host)}:{settings.port}"
    with open_rpc(settings.rpc_url) as rpc, CoordinatorApi(url) as api:
        checks = [
            Check("settings", lambda: ok(f"{home / FILE_NAME} is well-formed.")),
            *chain_checks(rpc, deployment, account=account, rounds=rounds),
            *home_checks(settings, rpc, deep=deep),
            *api_checks(api, deployment),
            *privacy_checks(rpc, deployment, api),
            *(superlink_checks(meeting_place) if meeting_place else ()),
        ]
        show(examine(checks))


def _reachable(host: str) -> str:
    """An address at which a server that listens on `host` can be reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not listened on
    return f"[{host}]" if ":" in host else host


def serve(
    home: Home = DEFAULT_HOME,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.")] = None,
    time_travel: Annotated[
        bool, typer.Option("--time-travel", help="Move a local chain's clock on when everyone has answered.")
    ] = False,
    access_log: Annotated[bool, typer.Option("--access-log", help="Also log every request.")] = False,
) -> None:
    """Run the coordinator until it is interrupted. With --json, says on standard output where it listens.

    An RPC endpoint, a database server or a bucket that is away is waited for; the wrong chain is refused.

    Example: folkmoot coordinator serve --home .folkmoot/coordinator --port 8800
    """
    import signal

    from folkmoot.runtime import logs
    from folkmoot.runtime.urls import secrets_of
    from server.chain.view import AWAY
    from server.coordinator import connect_with_retry
    from server.home import only_process, open_account
    from server.rounds.runs import check_entitled
    from server.settings import load

    log_format, password_file = context().flag("log-format"), context().flag("password-file")
    settings = load(
        home,
        host=host,
        port=port,
        time_travel=time_travel or None,
        log_format=log_format and logs.chosen(log_format),
        access_log=access_log or None,
        password_file=password_file.resolve() if password_file else None,
    )
    secrets = secrets_of(settings.rpc_url, settings.database_url)
    logs.setup(logs.chosen(settings.log_format), hidden=secrets)
    with only_process(home):
        prompt = getpass.getpass if sys.stdin.isatty() else None
        account = open_account(settings, prompt)
        signal.signal(signal.SIGTERM, _leave)  # the web server passes it on after it has closed
        shown = ""

        def wait(away: FolkmootError, seconds: float) -> None:
            nonlocal shown
            if away.message != shown:
                note(f"warning: it is waited for. {away}", always=True)
            shown = away.message
            time.sleep(seconds)  # nothing is served yet; a signal ends it

        coordinator = connect_with_retry(settings, account, wait)
        try:
            listener = listen(settings.host, settings.port)
            ready = True
            try:
                coordinator.check_chain()
                ledger = coordinator.chain.ledger
                check_entitled(coordinator.chain, account.address, ledger.policy(ledger.current_policy()))
            except FolkmootError as exc:
                if exc.code in AWAY:
                    ready = False
                    note(f"warning: the chain is waited for. {exc}", always=True)
                elif exc.code in ("bond-too-low", "not-coordinator"):
                    note(f"warning: no round can be opened for now. {exc}", always=True)
                else:
                    raise
            worker = coordinator.make_worker(ready=ready)
            server = http_server(coordinator.make_app(worker), settings)
            worker.on_refusal = lambda: setattr(server, "should_exit", True)
            # What is here stays until the end: to look through all of it for garbage would hold up answers for 0.1 s.
            gc.collect()
            gc.freeze()
            worker.start()
            try:
                address, taken = listener.getsockname()[:2]
                url = f"http://{address}:{taken}"
                if is_json():
                    emit({"coordinator": account.address, "url": url})
                    sys.stdout.flush()
                note(f"Coordinator {account.address}. Its page: {url}, its HTTP API: {url}/v1/docs")
                server.run(sockets=[listener])
            finally:
                worker.stop()
            if worker.refusal is not None:
                raise worker.refusal
        finally:
            coordinator.close()


def _leave(_number: int, _frame: object) -> None:
    raise typer.Exit


def listen(host: str, port: int) -> Any:
    """A socket that listens; taken before anything else, so that two coordinators never share a port."""
    import socket

    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except OSError as exc:
        listener.close()
        raise LocalError(
            f"The coordinator can't listen on {host}:{port}: {exc.strerror}.",
            remedy="Stop the program that uses the port, or give another one with --port.",
            code="port-taken",
        ) from exc
    return listener


def http_server(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """The web server of an application; its `run` returns after an interrupt."""
    from functools import partial

    import uvicorn

    from server.api.connections import Connection, Gate

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[Any] | None = None) -> None:
            app.state.hub.close()  # event streams end, else the server would wait for their clients
            await super().shutdown(sockets)

    # uvicorn wants a class, and only calls it.
    protocol: Any = partial(Connection, Gate(settings.trust_proxy))
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        proxy_headers=False,  # the setting trust_proxy says whether, and which, header is believed
        log_level="error",  # a warning for each bad request would let strangers fill the log
        access_log=False,  # `server.api.observed` logs requests, with their routes
        log_config=None,  # what it says goes the way of everything else
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    return Server(config)
