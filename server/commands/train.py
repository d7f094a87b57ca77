# SPDX-License-Identifier: Apache-2.0
"""`folkmoot train`: start a run, show its progress until it ends. `server.relay.training` resumes interrupted runs.

Knows the coordinator by its HTTP interface only. Heavy modules are imported when the command runs.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from folkmoot.cli.context import context
from folkmoot.cli.options import APP_WAIT_DEFAULT, AppPath, AppWait, RunConfig, step_limit, superlink, unlock
from folkmoot.cli.output import emit, is_json, note, pairs, write_file
from folkmoot.errors import FolkmootError, InputError, LocalError, sentence
from folkmoot.runtime.backoff import Backoff, retry
from server.limits import MOST_PATIENCE, MOST_WAIT

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.apps.folder import AppFolder
    from folkmoot.apps.limit import StepLimit
    from folkmoot.cli.live import View
    from folkmoot.coordinator_api import CoordinatorApi, Event, RunView
    from folkmoot.protocol.commitment import Domain
    from folkmoot.protocol.manifest import Manifest
    from folkmoot.runtime.superlink import SuperLink
    from server.relay import training
    from server.relay.reporting import Reporter

END_TIMEOUT = 300.0
"""Seconds for which `train` asks an unreachable coordinator again how the run ended."""

EVENTS_TIMEOUT = 300.0
"""Seconds for which `train` tries to reach an unavailable coordinator, in a run without a longer patience."""

AGAIN = (
    "The run has not ended: start `folkmoot train` again to continue it, or end it with "
    "`folkmoot train --end REASON`."
)

RELAY_EVENT = "relay-remark"
"""Event in the JSON output for what a person is told about the relay, for example why it ended."""

LOOK = 60
"""Seconds more than `--wait` for which the coordinator opens no round: `train` looks at the nodes once at least."""

DEFAULT_URL = "http://127.0.0.1:8800"


def coordinator_url() -> str:
    """Return the coordinator's URL, by default that of one on this machine."""
    return str(context().find("coordinator") or DEFAULT_URL)


def train(
    expect: Annotated[
        int | None,
        typer.Option(
            "--expect",
            min=1,
            help="Number of updates that a round waits for: one per contributor, and one for a root set.",
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="Number of rounds. Default with --app: the app's.")
    ] = None,
    app: AppPath = None,
    run_config: RunConfig = None,
    app_wait: AppWait = APP_WAIT_DEFAULT,
    app_log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File for the log of the app's ServerApp. Default: one in your data folder."
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Use no TLS, even if the SuperLink is on another machine.")
    ] = False,
    wait: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=MOST_WAIT - LOOK,
            help="Longest wait before the run begins, until --expect nodes are connected; with none it does not begin.",
        ),
    ] = 120,
    patience: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=MOST_PATIENCE,
            help="How long rounds that are cancelled in a row are tried again, after growing pauses. With 0, the run "
            "fails after three.",
        ),
    ] = 0,
    evaluate: Annotated[
        str,
        typer.Option(
            metavar="TASK|none",
            help="Measure each new model on this machine, on the held-out examples of a task; the coordinator's page "
            "shows it. Default: the federation's task, if it is a shipped one without privacy.",
            show_default=False,
        ),
    ] = "",
    anyway: Annotated[
        bool,
        typer.Option(
            "--anyway",
            help="Start the run although something that it needs is missing, e.g. stake for its bonds, or any node: it "
            "then waits.",
        ),
    ] = False,
    bundle: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="Start nothing: write the bundle of training code that nodes get, a zip file, and print its SHA-256. "
            "With - only print it.",
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Start nothing: end the current run, for example one that nobody will continue. The API shows why.",
        ),
    ] = None,
    simulated: Annotated[
        int,
        typer.Option(
            "--simulated-nodes",
            hidden=True,
            help="Nodes to make, on a SuperLink with Flower's simulation engine.",
        ),
    ] = 0,
) -> None:
    """Start a run of several rounds and show its progress until it ends. Needs the coordinator's key.

    Ctrl-C ends it with its relay, and the coordinator keeps the run. Start it again to continue the run, also after a
    kill. With --superlink it starts the relay, and starts another relay if one ends early. It prints a line per node,
    with the reason of a failure, and reports the nodes to the coordinator.

    Before it starts a run, it checks what the run needs: stake for the bonds, coins for gas, contributors. It refuses
    a run that would stand still for an hour or more, unless you give --anyway.

    With --patience, a run survives an outage: while rounds are cancelled in a row, the coordinator waits before it
    opens the next one. The pause doubles each time, up to ten minutes.

    With --app it runs the app's own ServerApp: it gives an anchored copy of the folder to `flwr run`.

    A policy that names the SHA-256 of --bundle as `bundleHash` lets nodes run this code only.

    Example: folkmoot train --rounds 3 --expect 5 --superlink 127.0.0.1:8000 --keystore coordinator.json

    Example: folkmoot train --rounds 500 --expect 4 --patience 28800 --superlink 127.0.0.1:8000 --keystore c.json

    Example: folkmoot train --bundle bundle.fab

    Example: folkmoot train --end "The app fails."

    Example: folkmoot train --app ./quickstart-pytorch --expect 3 --superlink 127.0.0.1:8000 --keystore coordinator.json
    """
    from folkmoot.apps.folder import AppFolder
    from folkmoot.artifacts.federation import Federation
    from folkmoot.cli.live import View
    from folkmoot.cli.measuring import measuring
    from folkmoot.cli.progress import RunProgress
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.protocol.commitment import Domain
    from folkmoot.runtime.processes import interruptible
    from server.relay import training
    from server.relay.reporting import Reporter

    if end is not None:
        _end_run(end)
        return
    subject = AppFolder.read(app, run_config or ()) if app is not None else None
    if bundle is not None:
        _bundle(subject, bundle)
        return
    if expect is None:
        raise typer.BadParameter("give --expect, the number of updates that a round waits for")
    meeting_place = superlink(insecure, simulated)
    if subject is not None and meeting_place is None:
        raise InputError("An app needs a SuperLink to run on.", remedy="Add --superlink HOST:PORT.")
    if subject is None and (rounds is None or run_config):
        raise InputError(
            "Without --app, train needs --rounds and takes no --run-config.",
            remedy="Give --rounds N, or --app FOLDER for a Flower app.",
        )
    if meeting_place is not None:
        meeting_place.check()
    with interruptible(), CoordinatorApi(coordinator_url()) as api:
        contracts = api.deployment()
        account = unlock()
        if rounds is None:
            rounds = _rounds_of(subject, expect, step_limit(app_wait))
        memory = training.Memory.of(contracts)
        domain = Domain(contracts.chain_id, contracts.ledger)
        under_way = api.run()
        is_new = not memory.begun and (under_way is None or under_way.state != "running")
        if is_new:
            _check_needs(api, rounds, expect, anyway)
        last = api.newest_event()
        run = training.begin(
            api,
            memory,
            rounds,
            expect,
            account,
            domain,
            note,
            patience=patience,
            wait=wait + LOOK if meeting_place else 0,
        )
        if meeting_place and run.state == "running":
            _await_nodes(api, run, memory, meeting_place, wait, anyway, (account, domain))
        raised = ""
        newest = api.get("/v1/rounds", limit=1)["items"]
        first = int(newest[0]["round"]) if newest else 0
        manifest = Federation.open(contracts, api.files).manifest
        task, is_public = _measured_task(
            manifest, evaluate, is_relay=meeting_place is not None and app is None
        )
        if run.state == "running":
            with (
                _explain_interrupt(),
                Reporter(coordinator_url(), account, domain, first=first, say=note) as reporter,
                View(RunProgress(run.rounds, run.completed), quiet=is_json()) as view,
                measuring(task, coordinator_url()) as meter,
            ):
                follower = _Follower(coordinator_url(), run, last, view)

                def measured(outcome: dict[str, Any]) -> None:
                    follower.measured(outcome)
                    if is_public and "metrics" in outcome:
                        reporter.measure(outcome["round"], outcome["metrics"]["server"])

                meter.tell, meter.say = measured, follower.say
                follower.start()
                if meeting_place is not None:
                    raised = _carry(
                        meeting_place,
                        api,
                        run,
                        memory,
                        follower,
                        (account, domain),
                        reporter,
                        subject,
                        app_log,
                    )
                follower.join()
                meter.wait_for(follower.anchored)
            if isinstance(follower.broken, FolkmootError):
                follower.broken.remedy = f"{follower.broken.remedy} {AGAIN}".strip()
            if follower.broken is not None:
                raise follower.broken
        final = _ended(api, run.id)
        memory.forget()
        result, shown = _result(api, task)
    if final is None or final.state == "failed":
        raise FolkmootError(
            f"The run failed. {sentence(final.error if final and final.error else '')} {raised}".strip(),
            remedy="Anchored rounds stay. Start another run with `folkmoot train`.",
            code="run-failed",
        )
    document = {
        "event": "run-done",
        "run": run.id,
        "rounds": final.rounds,
        "completed": final.completed,
        **result,
    }
    if is_json():
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        emit(document, f"{final.completed} of {final.rounds} rounds are done.", *filter(None, [pairs(shown)]))


def _measured_task(manifest: Manifest, wanted: str, *, is_relay: bool) -> tuple[str, bool]:
    """Return the task with whose held-out examples new models are measured, and whether others may see the result.

    Held-out records of a federation with privacy may be as secret as those that it trains on.

    Args:
        wanted: Value of --evaluate.
        is_relay: Whether this command starts the shipped relay: only then it measures without being asked.
    """
    from importlib.util import find_spec

    from folkmoot.protocol.manifest import PRIVACY
    from folkmoot.tasks import SHIPPED

    is_public = PRIVACY not in manifest.training
    if wanted:
        return ("" if wanted == "none" else wanted), is_public
    is_ready = is_relay and is_public and manifest.task in SHIPPED and find_spec("torch") is not None
    return (manifest.task if is_ready else ""), is_public


def _result(api: CoordinatorApi, task: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the newest model and what can be done with it, for machines and for people; empty without a model.

    Args:
        task: Task that measures models; empty for none.
    """
    from folkmoot.errors import CoordinatorError
    from folkmoot.evaluation import app_metrics

    try:
        rounds = api.get("/v1/rounds", limit=20)["items"]
        version = next((one["round"] for one in rounds if one["phase"] in ("anchored", "final")), None)
        if version is None:
            return {}, {}
        report = api.round_report(version) or {}
    except CoordinatorError:  # The run is over all the same.
        return {}, {}
    file, measured = f"{api.url}/v1/models/{version}/download", app_metrics.flat(report.get("metrics"))
    shown = {
        "model": f"round {version}: {app_metrics.summary(measured) or 'not measured'}",
        "file": f"{file}, or checked against the chain: folkmoot model {version} --to model.safetensors",
        "page": api.url,
    }
    if task:
        shown["report"] = f"folkmoot task evaluate --task {task} --version {version} --report report.json"
    shown["vote"] = f"folkmoot propose --version {version}" + (" --report report.json" if task else "")
    return {"version": version, "model": file, "metrics": measured}, shown


def _await_nodes(
    api: CoordinatorApi,
    run: RunView,
    memory: training.Memory,
    superlink: SuperLink,
    wait: int,
    anyway: bool,
    signer: tuple[LocalAccount, Domain],
) -> None:
    """Wait for the nodes of a run that has opened no round yet, then let it begin. Without any node it ends."""
    from server.relay import training

    now = api.run(run.id)
    if now is None or now.next_round_at is None or now.cancelled:
        return
    try:
        training.await_nodes(superlink, run.expect, wait, note, anyway=anyway)
    except LocalError as error:
        api.end_run(run.id, error.message[:300], *signer)
        memory.forget()
        raise
    api.begin_run(run.id, *signer)


def _end_run(reason: str) -> None:
    """End the current run. Anchored rounds stay. The coordinator finishes or cancels an open round."""
    from folkmoot.coordinator_api import CoordinatorApi
    from folkmoot.protocol.commitment import Domain

    with CoordinatorApi(coordinator_url()) as api:
        contracts = api.deployment()
        run = api.run()
        if run is None or run.state != "running":
            raise FolkmootError(
                "There is no run to end.", remedy="Start one with `folkmoot train`.", code="no-run"
            )
        account = unlock()
        ended = api.end_run(run.id, reason, account, Domain(contracts.chain_id, contracts.ledger))
    emit(
        {"run": ended.id, "state": ended.state, "completed": ended.completed},
        f"The run has ended after {ended.completed} of {ended.rounds} rounds.",
    )


def _bundle(subject: AppFolder | None, out: str) -> None:
    """Print the SHA-256 of the app bundle that this release sends to the nodes. Builds what Flower would build."""
    import hashlib
    import tempfile

    from folkmoot.apps.staging import stage_app
    from folkmoot.runtime.flower_internals import build_bundle
    from server.relay.flower_run import stage

    with tempfile.TemporaryDirectory(prefix="folkmoot-bundle-") as scratch:
        content = build_bundle(stage(Path(scratch)) if subject is None else stage_app(subject, Path(scratch)))
    digest = hashlib.sha256(content).hexdigest()
    if out != "-":
        write_file(Path(out), content)
    document = {"bundleHash": f"0x{digest}", "bytes": len(content), "file": None if out == "-" else out}
    written = "" if out == "-" else f" Written to {out}."
    emit(document, f"0x{digest}  ({len(content):,} bytes).{written}")


def _carry(
    superlink: SuperLink,
    api: CoordinatorApi,
    run: RunView,
    memory: training.Memory,
    follower: _Follower,
    signer: tuple[LocalAccount, Domain],
    reporter: Reporter,
    app: AppFolder | None = None,
    app_log: Path | None = None,
) -> str:
    """Keep a relay running on a SuperLink until the run is over. Return what an app's last ServerApp raised."""
    from server.relay import training

    def over(seconds: float) -> bool:
        follower.join(seconds)
        return not follower.is_alive()

    def heard(line: str) -> None:
        reporter.take(line)
        follower.heard(line)

    settings: dict[str, Any] = {"coordinator": api.url, "run": run.id, "min-nodes": run.expect}
    carrier = training.Carrier(superlink, memory, settings, over, follower.remark, heard)
    carrier.rounds = lambda: follower.anchored
    try:
        if app is not None:
            return _carry_app(app, carrier, api, run, signer, app_log)
        carrier.carry()
        return ""
    except FolkmootError as exc:
        if exc.code != "relay-ended":  # then the run is over
            exc.remedy = f"{exc.remedy} {AGAIN}".strip()
        raise


def _carry_app(
    app: AppFolder,
    carrier: training.Carrier,
    api: CoordinatorApi,
    run: RunView,
    signer: tuple[LocalAccount, Domain],
    log: Path | None,
) -> str:
    """Run an app's ServerApp; if it ends early each time, end the coordinator's run as well.

    The reason given to the coordinator is public, so it has nothing of the exception.
    """
    from server.relay import app_run

    try:
        return app_run.carry(app, carrier, api.url, run.id, log)
    except FolkmootError as error:
        if error.code == "relay-ended":
            api.end_run(run.id, "The app's ServerApp ended early each time.", *signer)
            carrier.memory.forget()
        raise


def _check_needs(api: CoordinatorApi, rounds: int, expect: int, anyway: bool) -> None:
    """Tell what a run needs and does not have."""
    lines = [line for line in api.needs(rounds, expect) if line["state"] != "ok"]
    for line in lines:
        if line["state"] == "failed" and not anyway:
            raise FolkmootError(
                line["text"],
                remedy=f"{line['remedy']} Or start it all the same with --anyway: it then waits, and says for what.",
                code="run-would-wait",
                details={"check": line["check"]},
            )
        note(f"Warning: {line['text']} {line['remedy']}")


def _ended(api: CoordinatorApi, run_id: str) -> RunView | None:
    """Ask how a run ended, also while the coordinator is restarted."""
    from folkmoot.errors import CoordinatorError

    def passing(error: FolkmootError) -> bool:
        return error.code == "coordinator-unreachable" or error.details.get("status") in (502, 503, 504)

    try:
        return retry(lambda: api.run(run_id), Backoff(0.25, 5.0), END_TIMEOUT, passing)
    except CoordinatorError as error:
        error.remedy = f"{error.remedy} {AGAIN}".strip()
        raise


def _rounds_of(app: AppFolder | None, nodes: int, limit: StepLimit) -> int:
    """Return how many rounds an app asks for."""
    from folkmoot.apps.apart import scratch
    from folkmoot.apps.capture import capture

    assert app is not None  # noqa: S101  without an app rounds are given
    with scratch() as folder:
        return capture(app, folder, nodes, limit).num_rounds


@contextmanager
def _explain_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note(f"Interrupted. Anchored rounds stay. {AGAIN}")
        raise


class _Follower(threading.Thread):
    """Shows the events of a run until it is over."""

    def __init__(self, coordinator: str, run: RunView, last: int | None, view: View) -> None:
        super().__init__(name="follow-run", daemon=True)
        self._coordinator, self._begun, self._last = coordinator, run, last
        self._view = view
        self._shown_unavailable = False
        self._shown: dict[tuple[int, str], object] = {}
        self.broken: Exception | None = None
        """What ended it before the run was over; raised in the thread of the command."""
        self.anchored = 0
        """The newest round that was seen to be anchored."""

    def run(self) -> None:
        """Follow."""
        from folkmoot.cli.measuring import completed
        from folkmoot.coordinator_api import CoordinatorApi
        from folkmoot.runtime.units import format_duration

        try:
            run = self._begun
            if run.waiting is not None:  # its event came before this call
                self._show_waiting(run)
            with CoordinatorApi(self._coordinator) as api:
                timeout = max(EVENTS_TIMEOUT, run.patience)

                def unavailable(error: FolkmootError) -> None:
                    if not self._shown_unavailable:
                        self._shown_unavailable = True
                        spent = format_duration(int(timeout))
                        self.say(f"{error.message} Trying again for {spent}, or until it answers.")

                for event in api.events(self._last, timeout=timeout, unavailable=unavailable):
                    self._shown_unavailable = False
                    self.show(event.type, event.data if is_json() else completed(api, event), event)
                    if event.type == "round-anchored":
                        self.anchored = int(event.data["round"])
                    if event.data.get("run") == run.id and event.type in ("run-done", "run-failed"):
                        return
        except Exception as exc:
            self.broken = exc

    def remark(self, text: str) -> None:
        """Print a line on the relay; with --json, as an event."""
        if is_json():
            self.show(RELAY_EVENT, {"message": text})
        else:
            note(text)

    def say(self, text: str) -> None:
        """Print a line, above the display if there is one; with --json, on standard error."""
        if is_json():
            note(text)
        else:
            self._view.say(text)

    def _show_waiting(self, run: RunView) -> None:
        """Show why a run waits, in the words of the event of which this call was not told."""
        from folkmoot.coordinator_api import Event

        data = {
            "run": run.id,
            "cancelled": run.cancelled,
            "until": run.next_round_at,
            "message": run.waiting,
        }
        self.show("run-waiting", data, Event(0, "run-waiting", data))

    def heard(self, line: str) -> None:
        """Take a line of the relay's log. Only the relay knows which nodes it has asked."""
        from folkmoot.flower.relay import reports

        report = reports.parse(line)
        if report is not None and report.kind == reports.ASKED:
            self._view.event("node-asked", {"round": report.round, **report.values})

    def measured(self, outcome: dict[str, Any]) -> None:
        """Show what this machine measured of a model, or why it did not. The report with it shows it no second time."""
        from folkmoot.coordinator_api import Event
        from folkmoot.flower.relay import reports

        if "error" in outcome:
            self.show("round-not-measured", outcome, Event(0, "round-not-measured", outcome))
            return
        self._shown[outcome["round"], "server"] = reports.numbers(outcome["metrics"]["server"])
        self.show("round-measured", outcome)

    def show(self, kind: str, data: Mapping[str, Any], event: Event | None = None) -> None:
        """Show an event of the coordinator, or a measurement of this machine."""
        if is_json():
            with self._view.progress.lock:  # what is measured comes from another thread
                sys.stdout.write(json.dumps({"event": kind, **data}) + "\n")
                sys.stdout.flush()
        self._view.event(kind, data, describe(self._fresh(event)) if event is not None else "")

    def _fresh(self, event: Event) -> Event:
        """Return an event without metrics that were shown: each report on a round has all that is known."""
        if event.type != "round-reported":
            return event
        metrics = {}
        for kind, values in event.data["metrics"].items():
            key = (event.data["round"], kind)
            if self._shown.get(key) != values:
                self._shown[key] = metrics[kind] = values
        return replace(event, data={**event.data, "metrics": metrics})


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def describe(event: Event) -> str:
    """Describe an event in one line; return an empty text for an event that people need not see."""
    data = event.data
    where = f"round {data['round']}: " if "round" in data else ""
    match event.type:
        case "round-opened":
            what = f"open, nodes train from version {data['base']}"
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
            from folkmoot.flower.relay.reports import explained

            what = f"{_node(data)} {explained(data['state'], data['code'], data['detail'])}"
        case "round-reported":
            what = _measured(data["metrics"])
            if not what:
                return ""
        case "round-not-measured":
            what = f"its model was not measured. {data['error']}"
        case "round-computed":
            weights = ", ".join(
                f"{v['contributor'][:8]}… {v['weight']} ({v['reason']})" for v in data["verdicts"]
            )
            what = f"weights: {weights}"
        case "canary-reported":
            what = "the canary passed" if not data["fell"] else "the canary failed: the model got worse"
        case "canary-missing":
            what = f"warning: {data['warning']}"
        case "round-withheld":
            what = (
                f"withheld. {' '.join(data['findings'])} The coordinator cancels it after its anchor deadline. To "
                f"anchor it: `folkmoot close {data['round']} --anchor`."
            )
        case "round-released":
            what = "released by the operator although the canary failed"
        case "round-anchored":
            what = f"anchored, state root {data['stateRoot'][:12]}…"
        case "round-finalized":
            what = "final"
        case "rewards-settled":
            what = f"rewards credited to {len(data['amounts'])} contributors"
        case "round-cancelled":
            what = f"cancelled. {data['reason']}"
        case "run-waiting":
            return str(data["message"])
        case "round-slashed":
            what = "slashed: somebody proved its anchor wrong"
        case "chain-rewound":
            what = (
                f"The chain lost its blocks above {data['block']}. Rounds that go on from an earlier step: "
                f"{_listed(data['back'])}; rounds that are gone: {_listed(data['gone'])}."
            )
        case _:
            return ""
    return where + what


def _node(data: Mapping[str, Any]) -> str:
    """Return Flower's number of a node, and its account if it is known."""
    account = data.get("account")
    return f"node {data['node']} ({account[:8]}…)" if account else f"node {data['node']}"


def _measured(metrics: Mapping[str, Mapping[str, float] | None]) -> str:
    """Return the metrics of nodes and ServerApp in one line; empty if there are none."""
    kinds = {"train": "training", "evaluate": "nodes' evaluation", "server": "server's evaluation"}
    texts = [
        f"{kinds[kind]}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        for kind in kinds
        if (values := metrics.get(kind))
    ]
    return "; ".join(texts)
