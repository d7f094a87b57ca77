# SPDX-License-Identifier: Apache-2.0
"""`folkmoot train`: a run from its wish to its end, told line by line. What can be interrupted is in `server.training`.

Knows the coordinator by its HTTP interface only. Heavy modules are imported when the command runs.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.options import Json, KeystorePath, PasswordFile, unlock
from folkmoot.cli.output import emit, note
from folkmoot.errors import FolkmootError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.commitment import Domain
    from folkmoot.coordinator_api import CoordinatorApi, Event, RunView
    from folkmoot.superlink import SuperLink
    from server import training

PATIENCE = 300.0
"""Seconds for which a coordinator that is away is asked again how a run ended."""

AGAIN = (
    "The run is still under way: start `folkmoot train` again to go on with it, or end it with "
    "`folkmoot coordinator end-run`."
)

DEFAULT_URL = "http://127.0.0.1:8800"

Url = Annotated[
    str,
    typer.Option(
        "--coordinator", envvar="FOLKMOOT_COORDINATOR", metavar="URL", help="The coordinator's API."
    ),
]


def train(
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds to run.")],
    expect: Annotated[
        int,
        typer.Option(
            "--expect",
            min=1,
            help="Answers after which a round need not wait: one a contributor, one more for a root set.",
        ),
    ],
    coordinator: Url = DEFAULT_URL,
    superlink: Annotated[
        str | None,
        typer.Option(
            "--superlink",
            metavar="HOST:PORT",
            help="Flower SuperLink that carries the run; without it, somebody else's courier does.",
            show_default=False,
        ),
    ] = None,
    root_certificates: Annotated[
        Path | None, typer.Option(help="Certificates for the SuperLink's TLS. Default: the system's.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="No TLS, also to a SuperLink on another machine.")
    ] = False,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    json_: Json = False,
) -> None:
    """Start a run of several rounds and follow it to its end. Needs the coordinator's key.

    Can be killed and started again: it goes on with the run that it began. A courier that ends early is replaced.
    With --superlink it shows a line a node, with the reason of a failure, and reports them to the coordinator.

    Example: folkmoot train --rounds 3 --expect 5 --superlink 127.0.0.1:8000 --keystore coordinator.json
    """
    from folkmoot.commitment import Domain
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.superlink import SuperLink
    from server import training

    meeting_place = SuperLink(superlink, root_certificates, insecure) if superlink else None
    if meeting_place is not None:
        meeting_place.check()
    with CoordinatorApi(coordinator) as api:
        found = api.deployment()
        account = unlock(keystore, password_file)
        last = api.newest_event()
        memory = training.Memory.of(found)
        domain = Domain(found.chain_id, found.ledger)
        run = training.begin(api, memory, rounds, expect, account, domain, lambda text: note(text, json_))
        if run.state == "running":
            follower = _Follower(coordinator, run.id, last, json_)
            follower.start()
            if meeting_place is not None:
                _carry(meeting_place, api, run, memory, follower, (account, domain), json_)
            follower.join()
            if follower.broken is not None:
                follower.broken.remedy = f"{follower.broken.remedy} {AGAIN}".strip()
                raise follower.broken
        final = _ended(api, run.id)
        memory.forget()
    if final is None or final.state == "failed":
        raise FolkmootError(
            f"The run failed. {final.error if final and final.error else ''}".strip(),
            remedy="The rounds that were anchored stay. Start another run with `folkmoot train`.",
            code="run-failed",
        )
    document = {"event": "run-done", "run": run.id, "rounds": final.rounds, "completed": final.completed}
    if json_:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        emit(document, json_, f"{final.completed} of {final.rounds} rounds are done.")


def end_run(
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever reads of it.")
    ] = "nobody goes on with it.",
    coordinator: Url = DEFAULT_URL,
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    json_: Json = False,
) -> None:
    """End the run that is under way, if nobody will go on with it. Needs the coordinator's key.

    What was anchored stays. A round that is open ends by itself.

    Example: folkmoot coordinator end-run --reason "The app fails." --keystore coordinator.json
    """
    from folkmoot.commitment import Domain
    from folkmoot.coordinator_api import CoordinatorApi

    with CoordinatorApi(coordinator) as api:
        found = api.deployment()
        run = api.run()
        if run is None or run.state != "running":
            raise FolkmootError(
                "No run is under way.", remedy="Start one with `folkmoot train`.", code="no-run"
            )
        account = unlock(keystore, password_file)
        ended = api.end_run(run.id, reason, account, Domain(found.chain_id, found.ledger))
    emit(
        {"run": ended.id, "state": ended.state, "completed": ended.completed},
        json_,
        f"The run has ended after {ended.completed} of {ended.rounds} rounds.",
    )


def _carry(
    superlink: SuperLink,
    api: CoordinatorApi,
    run: RunView,
    memory: training.Memory,
    follower: _Follower,
    signer: tuple[LocalAccount, Domain],
    as_json: bool,
) -> None:
    """Keep a courier going on a SuperLink until a run is over.

    Raises:
        FolkmootError: Flower can't be reached. The coordinator's run is still under way.
    """
    from server import training
    from server.reporting import Reporter

    def over(seconds: float) -> bool:
        follower.join(seconds)
        return not follower.is_alive()

    def say(text: str) -> None:
        note(text, as_json)

    settings: dict[str, Any] = {"coordinator": api.url, "run": run.id, "min-nodes": run.expect}
    rounds = api.get("/v1/rounds", limit=1)["items"]
    first = int(rounds[0]["round"]) if rounds else 0
    try:
        with Reporter(api.url, *signer, first=first, say=say) as reporter:
            training.Carrier(superlink, memory, settings, over, say, reporter.take).carry()
    except FolkmootError as exc:
        exc.remedy = f"{exc.remedy} {AGAIN}".strip()
        raise


def _ended(api: CoordinatorApi, run_id: str) -> RunView | None:
    """Ask how a run ended, also while the coordinator is restarted.

    Raises:
        CoordinatorError: It was away for longer than `PATIENCE` seconds, or refuses.
    """
    from folkmoot.errors import CoordinatorError

    end, pause = time.monotonic() + PATIENCE, 0.25
    while True:
        try:
            return api.run(run_id)
        except CoordinatorError as error:
            passes = error.code == "coordinator-unreachable" or error.details.get("status") in (502, 503, 504)
            if not passes or time.monotonic() + pause > end:
                error.remedy = f"{error.remedy} {AGAIN}".strip()
                raise
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


class _Follower(threading.Thread):
    """Prints the events of a run until it is over."""

    def __init__(self, coordinator: str, run: str, last: int | None, as_json: bool) -> None:
        super().__init__(name="follow-run", daemon=True)
        self._coordinator, self._run, self._last, self._as_json = coordinator, run, last, as_json
        self.broken: FolkmootError | None = None

    def run(self) -> None:
        """Follow."""
        from folkmoot.coordinator_api import CoordinatorApi

        try:
            with CoordinatorApi(self._coordinator) as api:
                for event in api.events(self._last, patience=300):
                    _show(event, self._as_json)
                    if event.data.get("run") == self._run and event.type in ("run-done", "run-failed"):
                        return
        except FolkmootError as exc:
            self.broken = exc


def _show(event: Event, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps({"event": event.type, **event.data}) + "\n")
        sys.stdout.flush()
        return
    line = describe(event)
    if line:
        emit({}, False, line)


def describe(event: Event) -> str:
    """One line about an event, empty if people need not see it."""
    data = event.data
    where = f"round {data['round']}: " if "round" in data else ""
    match event.type:
        case "round-opened":
            what = f"open on version {data['base']}"
        case "update-received":
            what = f"{data['contributor']} sent {data['bytes']} bytes"
        case "update-refused":
            what = f"{data['contributor']} refused, {data['reason']}: {data['detail']}"
        case "updates-committed":
            gas = f", {data['gas']} gas" if data.get("gas") else ""
            what = f"{len(data['contributors'])} commitments on the chain{gas}"
        case "node-answered":
            what = f"{_node(data)} answered after {data['seconds']:g} s"
        case "node-failed":
            from folkmoot.flower.reports import explained

            what = f"{_node(data)} {explained(data['state'], data['code'], data['detail'])}"
        case "round-reported":
            what = _measured(data["metrics"])
            if not what:
                return ""
        case "round-computed":
            weights = ", ".join(
                f"{v['contributor'][:8]}… {v['weight']} ({v['reason']})" for v in data["verdicts"]
            )
            what = f"weights: {weights}"
        case "canary-reported":
            what = "the canary is alive" if not data["fell"] else "the canary fell"
        case "canary-missing":
            what = f"warning: {data['warning']}"
        case "round-withheld":
            what = (
                f"withheld. {' '.join(data['findings'])} It is cancelled after its anchor deadline, or anchored by: "
                f"folkmoot coordinator release-round {data['round']}"
            )
        case "round-released":
            what = "released by the operator although the canary fell"
        case "round-anchored":
            what = f"anchored, state root {data['stateRoot'][:12]}…"
        case "round-finalized":
            what = "final"
        case "rewards-settled":
            what = f"rewards credited to {len(data['amounts'])} contributors"
        case "round-cancelled":
            what = f"cancelled. {data['reason']}"
        case "round-slashed":
            what = "slashed: its anchor was proven wrong"
        case _:
            return ""
    return where + what


def _node(data: Mapping[str, Any]) -> str:
    """Flower's number of a node, and its account if it is known."""
    account = data.get("account")
    return f"node {data['node']} ({account[:8]}…)" if account else f"node {data['node']}"


def _measured(metrics: Mapping[str, Mapping[str, float] | None]) -> str:
    """Numbers that nodes or the ServerApp measured, as one line; empty if there are none."""
    kinds = {"train": "training", "evaluate": "nodes' evaluation", "server": "server's evaluation"}
    told = [
        f"{kinds[kind]}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        for kind in kinds
        if (found := metrics.get(kind))
    ]
    return "; ".join(told)
