# SPDX-License-Identifier: Apache-2.0
"""`folkmoot train`: a run from its wish to its end, told line by line. What can be interrupted is in `server.training`.

Knows the coordinator by its HTTP interface only. Heavy modules are imported when the command runs.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.options import Json, KeystorePath, PasswordFile, unlock
from folkmoot.cli.output import emit, note
from folkmoot.errors import FolkmootError

if TYPE_CHECKING:
    from folkmoot.cli.live import View
    from folkmoot.coordinator_api import Event, RunView
    from folkmoot.superlink import SuperLink
    from server import training

AGAIN = "The run is still under way: start `folkmoot train` again to go on with it."

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
    evaluate: Annotated[
        str,
        typer.Option(
            metavar="TASK",
            help="Also measure each new model here, on the held-out examples of a task. "
            "Without it, what the app reports is shown.",
            show_default=False,
        ),
    ] = "",
    keystore: KeystorePath = None,
    password_file: PasswordFile = None,
    json_: Json = False,
) -> None:
    """Start a run of several rounds and follow it to its end. Needs the coordinator's key.

    Can be killed and started again: it goes on with the run that it began. A courier that ends early is replaced.

    Example: folkmoot train --rounds 3 --expect 5 --superlink 127.0.0.1:8000 --keystore coordinator.json
    """
    from folkmoot.cli.live import View
    from folkmoot.cli.measuring import measuring
    from folkmoot.cli.progress import RunProgress
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
            with (
                View(RunProgress(run.rounds, run.completed), quiet=json_) as view,
                measuring(evaluate, coordinator) as meter,
            ):
                follower = _Follower(coordinator, run.id, last, view, json_)
                meter.tell = lambda measured: follower.show("round-measured", measured)
                meter.say = view.say
                follower.start()
                if meeting_place is not None:
                    _carry(meeting_place, coordinator, run, memory, follower, json_)
                follower.join()
                meter.wait_for(follower.anchored)
            if follower.broken is not None:
                follower.broken.remedy = f"{follower.broken.remedy} {AGAIN}".strip()
                raise follower.broken
        final = api.run(run.id)
        memory.forget()
    if final is None or final.state == "failed":
        raise FolkmootError(
            f"The run failed. {final.error if final and final.error else ''}".strip(), code="run-failed"
        )
    document = {"event": "run-done", "run": run.id, "rounds": final.rounds, "completed": final.completed}
    if json_:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        emit(document, json_, f"{final.completed} of {final.rounds} rounds are done.")


def _carry(
    superlink: SuperLink,
    coordinator: str,
    run: RunView,
    memory: training.Memory,
    follower: _Follower,
    as_json: bool,
) -> None:
    """Keep a courier going on a SuperLink until a run is over.

    Raises:
        FolkmootError: Flower can't be reached. The coordinator's run is still under way.
    """
    from server import training

    def over(seconds: float) -> bool:
        follower.join(seconds)
        return not follower.is_alive()

    settings: dict[str, Any] = {"coordinator": coordinator, "run": run.id, "min-nodes": run.expect}
    try:
        training.Carrier(superlink, memory, settings, over, lambda text: note(text, as_json)).carry()
    except FolkmootError as exc:
        exc.remedy = f"{exc.remedy} {AGAIN}".strip()
        raise


class _Follower(threading.Thread):
    """Shows the events of a run until it is over."""

    def __init__(self, coordinator: str, run: str, last: int | None, view: View, as_json: bool) -> None:
        super().__init__(name="follow-run", daemon=True)
        self._coordinator, self._run, self._last = coordinator, run, last
        self._view, self._as_json = view, as_json
        self.broken: FolkmootError | None = None
        self.anchored = 0
        """The newest round that was seen to be anchored."""

    def run(self) -> None:
        """Follow."""
        from folkmoot.cli.measuring import completed
        from folkmoot.coordinator_api import CoordinatorApi

        try:
            with CoordinatorApi(self._coordinator) as api:
                for event in api.events(self._last, patience=300):
                    self.show(event.type, event.data if self._as_json else completed(api, event), event)
                    if event.type == "round-anchored":
                        self.anchored = int(event.data["round"])
                    if event.data.get("run") == self._run and event.type in ("run-done", "run-failed"):
                        return
        except FolkmootError as exc:
            self.broken = exc

    def show(self, kind: str, data: Mapping[str, Any], event: Event | None = None) -> None:
        """Show an event of the coordinator, or something that was measured here."""
        if self._as_json:
            with self._view.progress.lock:  # what is measured comes from another thread
                sys.stdout.write(json.dumps({"event": kind, **data}) + "\n")
                sys.stdout.flush()
        self._view.event(kind, data, describe(event) if event is not None else "")


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
