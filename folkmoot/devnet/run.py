# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run`: train an unchanged Flower app as a federation on this machine, and audit it.

Reads and tries the app before it starts anything. The output comes from the coordinator's public events, and from the
commands that a person would type. A run that was interrupted anywhere goes on with the same folder: `NOTE` says what it
is, the chain and the coordinator's database what is done. Imports neither `server` nor `client`.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from folkmoot.apps.capture import capture
from folkmoot.apps.folder import AppFolder, read_pairs
from folkmoot.apps.limit import LIMIT, LIMIT_OPTION, StepLimit
from folkmoot.apps.observed import refused
from folkmoot.apps.staging import OUTPUT_LINE, bundle_of
from folkmoot.apps.trial import start_of_app, try_training, unshared
from folkmoot.artifacts.federation import write
from folkmoot.cli.live import View
from folkmoot.cli.measuring import asking
from folkmoot.cli.output import waiting
from folkmoot.cli.policy import DEFAULT_RULE
from folkmoot.cli.progress import RunProgress
from folkmoot.coordinator_api import CoordinatorApi, Event
from folkmoot.devnet.federation import LocalFederation, Plan, prepare, repeated
from folkmoot.devnet.report import FILE as REPORT_FILE
from folkmoot.devnet.report import write_report
from folkmoot.errors import CoordinatorError, FolkmootError, InputError, LocalError, RpcError, sentence
from folkmoot.explain.reasons import why_low, why_paid_less, words_of
from folkmoot.flower.contributor import LOG_FILE
from folkmoot.flower.relay.reports import NODE_LOG, explained
from folkmoot.protocol import feedback
from folkmoot.protocol.packing import WIDTHS
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.runtime.commands import command_name, run_folkmoot
from folkmoot.runtime.files import write_whole
from folkmoot.runtime.keystore import address_of
from folkmoot.runtime.locks import try_acquire
from folkmoot.runtime.processes import Supervisor

LOCK = "run.lock"
"""Name of the file that only one `run` at a time locks."""

NOTE = "run.json"
"""Name of the file with a run's options and what is known of its app. It is there once the app was tried."""

MODEL_FILE = "model.safetensors"
"""Name of the model file in the run's folder."""

CAPTURE = "app"
"""Name of the folder with the captured arrays and settings, and their logs."""

TRAININGS = 4
"""Length of the commit window, as a multiple of the time in which all nodes train one after the other."""

LAST_WORDS = 120.0
"""Timeout in seconds for the ServerApp's evaluation and saving after the last round."""

LOW = 0.25
"""Part of the round's largest weight below which a weight gets a sentence."""

RISE = 1.05
"""Factor from round to round above which a rising loss gets a sentence."""

FULL = 1 << 20
"""Free bytes below which a disk is full."""

LOOK = 0.5
"""Seconds between two polls for events after `folkmoot train` has ended."""


@dataclass
class RunNote:
    """Content of the note."""

    options: dict[str, Any]
    """Options that can't change between two starts."""
    name: str
    """Name of the app."""
    bundle: str
    """SHA-256 of the app's bundle when it was started last."""
    strategy: str
    rounds: int
    """Number of rounds that were asked for."""
    asked: int
    """As in `Plan`."""
    commit_window: int
    """As in `Plan`."""
    train_seconds: float
    """Duration of the trial."""
    done: int = 0
    """Number of rounds that are anchored."""
    model: int = 0
    """Round of the model file; 0 if there is none."""
    prepared: bool = False
    """Whether contracts, stakes and the coordinator's folder are there, and a copy of the chain."""

    @classmethod
    def read(cls, path: Path) -> RunNote | None:
        """Return the note in a file; None if there is no whole one."""
        try:
            return cls(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the note."""
        write_whole(path, json.dumps(asdict(self)).encode())


@dataclass
class RoundSummary:
    """Data of one round."""

    number: int
    began: float
    anchored: bool = False
    settled: bool = False
    weights: dict[str, int] = field(default_factory=dict)
    """Weight by account."""
    pays: dict[str, int] = field(default_factory=dict)
    """Pay by account, in 1/FULL_PAY of a full place; empty under a rule without pays."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Reasons by account, of the updates with weight 0."""
    seconds: float = 0.0
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """The app's metrics by source: train, evaluate, server."""

    low: dict[str, str] = field(default_factory=dict)
    """By account, for updates with a weight above 0 and below `LOW` of the largest: the number behind it, if known."""
    paid_less: dict[str, str] = field(default_factory=dict)
    """By account, for updates that count and are paid less than `LOW` of a full place: what limits it."""

    def weigh(self, verdicts: Sequence[Mapping[str, Any]]) -> None:
        """Store the weights and pays of all updates, and the reasons of low ones."""
        largest = max(1, *(int(verdict["weight"]) for verdict in verdicts)) if verdicts else 1
        self.low = {
            str(verdict["contributor"]): why_low(verdict, share)
            for verdict in verdicts
            if 0 < (share := int(verdict["weight"]) / largest) < LOW
        }
        self.weights = {str(verdict["contributor"]): int(verdict["weight"]) for verdict in verdicts}
        self.pays = {
            str(verdict["contributor"]): int(verdict["pay"])
            for verdict in verdicts
            if verdict.get("pay") is not None
        }
        self.paid_less = {
            str(verdict["contributor"]): why
            for verdict in verdicts
            if (why := why_paid_less(verdict)) and int(verdict["pay"]) < LOW * FULL_PAY
        }
        self.reasons = {
            str(verdict["contributor"]): str(verdict["reason"])
            for verdict in verdicts
            if not int(verdict["weight"])
        }


def given_again(plan: Plan, rounds: int = 0, *, run: bool = True) -> str:
    """Return the app's folder and options of this run, quoted for a shell.

    Args:
        plan: The run's.
        rounds: Number of rounds; 0 for the app's.
        run: Whether for `folkmoot run`; otherwise for `folkmoot task init`, which makes no policy and no nodes.
    """
    words = [str(plan.app), "--nodes", str(plan.contributors)]
    for option, values in (("--run-config", plan.run_config), ("--node-config", plan.node_config)):
        words += repeated(option, values)
    if plan.app_wait != LIMIT:
        words += [LIMIT_OPTION, f"{plan.app_wait:g}"]
    words += ["--width", str(plan.width)] if plan.width != WIDTHS[0] else []
    words += ["--feedback"] if plan.feedback else []
    if run:
        words += ["--rounds", str(rounds)] if rounds else []
        words += ["--rule", rule_text(plan)] if rule_text(plan) != DEFAULT_RULE else []
        words += ["--simulation"] if plan.simulation else []
        words += ["--sandbox", *map(str, plan.sandbox)] if plan.sandbox is not None else []
    return shlex.join(words)


def rule_text(plan: Plan) -> str:
    """Return the rule as `--rule` takes it."""
    return f"{plan.rule}:{','.join(map(str, plan.parameters))}" if plan.parameters else plan.rule


def _options(plan: Plan) -> dict[str, Any]:
    """Return the options that can't change between two starts of a run, by their names."""
    return {
        "--nodes": plan.contributors,
        "--run-config": list(plan.run_config),
        "--node-config": list(plan.node_config),
        "--rule": rule_text(plan),
        "--width": plan.width,
        "--feedback": plan.feedback,
        "--simulation": plan.simulation,
    }


class AppRun:
    """Runs an app as a local federation, or goes on with an interrupted run.

    Args:
        plan: The federation; `plan.app` is the app.
        rounds: Number of rounds; None for the app's own number, or that of the interrupted run.
        keep: Whether everything stays up at the end, until Ctrl-C.
    """

    def __init__(self, plan: Plan, rounds: int | None, console: Console, *, keep: bool = False) -> None:
        self.plan = plan
        self.rounds = rounds or 0
        self.given_rounds = rounds or 0
        self.console = console
        self.keep = keep
        self.names: dict[str, str] = {}
        self.summaries: list[RoundSummary] = []
        self.refused: set[tuple[int, str]] = set()
        self.started = time.monotonic()
        self.note_file = plan.home / NOTE
        self.note: RunNote | None = None
        self.heard = 0
        """Size in bytes of the part of `folkmoot train`'s log that was read."""

    def run(self) -> dict[str, Any]:
        """Run the app to the end; return a summary.

        Raises:
            InputError: The app can't be anchored, or fails.
            FolkmootError: A part failed. All processes have ended. The remedy says how to go on.
            KeyboardInterrupt: It was interrupted, which was said with what is kept. All processes have ended.
        """
        try:
            with self._locked(), Supervisor(self.plan.logs) as supervisor:
                return self._run(supervisor)
        except KeyboardInterrupt:
            with suppress(OSError):  # The terminal is gone.
                self.console.print(f"\nInterrupted. {self._kept()}", markup=False, soft_wrap=True)
            raise
        except OSError as error:
            raise LocalError(
                f"{error.filename or self.plan.home} can't be written: {error.strerror or error}.",
                remedy=f"Free some space, or check the folder. {self._kept()}",
                code="home-unwritable",
            ) from error
        except FolkmootError as error:
            if _is_full(self.plan.home):
                error.message = f"The disk of {self.plan.home} is full. {error.message}"
                error.remedy = f"Free some space. {error.remedy}"
            if self.note is None:
                self._remove_empty()
            else:
                error.remedy = f"{sentence(error.remedy)} {self._kept()}"
            raise

    def _locked(self) -> AbstractContextManager[object]:
        self.plan.home.mkdir(parents=True, exist_ok=True)
        lock = try_acquire(self.plan.home / LOCK)
        if lock is None:
            raise LocalError(
                f"Another `folkmoot run` uses {self.plan.home}.",
                remedy="Wait until it ends, or choose another --home.",
                code="home-in-use",
            )
        return lock

    def _remove_empty(self) -> None:
        """Remove the folder of a run that has not begun, if it has nothing but the lock."""
        with suppress(OSError):
            if [path.name for path in self.plan.home.iterdir()] == [LOCK]:
                (self.plan.home / LOCK).unlink()
                self.plan.home.rmdir()

    def _kept(self) -> str:
        """Return sentences on what an interrupted run leaves, and how to go on."""
        note = self.note
        if note is None:
            return "Nothing was trained in rounds yet. The same command begins again."
        kept = f"Kept: {note.done} of {self.rounds} rounds"
        if note.model:
            kept += f", and the model after round {note.model}, {self.plan.home / MODEL_FILE}"
        if (self.plan.home / REPORT_FILE).exists():
            kept += f". The report is {self.plan.home / REPORT_FILE}"
        again = f"{command_name()} run {given_again(self.plan, self.given_rounds)}"
        return f"{kept}. To go on: `{again} --home {shlex.quote(str(self.plan.home))}`"

    def _run(self, supervisor: Supervisor) -> dict[str, Any]:
        note = self.note = self._begin()
        federation = LocalFederation(self.plan, supervisor)
        self._set_up(federation, note)
        model = None
        try:
            self._train(federation, note)
            model = self._model(federation)
            audit = self._audit(federation)
            self._note(note, self.summaries[-1].number)  # A round's own note may have been cut short.
        except (FolkmootError, KeyboardInterrupt) as error:
            # The coordinator may be gone; what ended the run is told in any case.
            with suppress(FolkmootError):
                self._report_early(federation, note, error, audited=model is not None)
            raise
        report = write_report(self.plan.home, federation.api_url, app=note.name, model=model, audit=audit)
        summary = {**self._summary(note, model, audit), "report": str(report)}
        self._next(federation, model, report)
        if self.keep:
            supervisor.watch(lambda: False)
        return summary

    # Before any process is started

    def _begin(self) -> RunNote:
        """Read the note of an interrupted run, or read and try the app. Complete the plan."""
        plan = self.plan
        if plan.app is None:
            raise InputError("There is no app to run.", remedy="Give the folder of a Flower app.")
        note = RunNote.read(self.note_file)
        if note is None and any(
            path.exists()
            for path in (plan.deployment_file, plan.chain_file, plan.keys, plan.coordinator_home)
        ):
            raise InputError(
                f"{plan.home} already holds a federation.",
                remedy="Choose another --home, or remove that folder.",
                code="home-not-empty",
            )
        app = AppFolder.read(plan.app, plan.run_config)
        # `flwr run` would refuse it only after the chain and the nodes have been started.
        bundle = hashlib.sha256(bundle_of(app)).hexdigest()
        if note is None:
            note = self._read(app, bundle)
        else:
            self._check_same(note, app)
            self.rounds = note.rounds = self.rounds or note.rounds
            self._done(f"going on with {app.name}, rounds done: {note.done} of {self.rounds}")
            if note.bundle != bundle:
                note.bundle = bundle
                self._hint("The app has changed since it was started last. It goes on with the new code.")
        note.write(self.note_file)
        self.plan = replace(plan, asked=note.asked, commit_window=note.commit_window)
        return note

    def _check_same(self, note: RunNote, app: AppFolder) -> None:
        """Check that app and options are those of the run."""
        now = {"the app": app.name, **_options(self.plan)}
        before = {"the app": note.name, **note.options}
        others = [
            f"{name} {_shown(value)} (now {_shown(now.get(name))})"
            for name, value in before.items()
            if value != now.get(name)
        ]
        if others:
            raise InputError(
                f"The run in {self.plan.home} was started with {', '.join(others)}.",
                remedy="Give the same options, or choose another --home.",
                code="home-other-run",
            )

    def _read(self, app: AppFolder, bundle: str) -> RunNote:
        """Capture the app, train once, and write the genesis."""
        plan = self.plan
        node = read_pairs(plan.node_config, "node config")
        scratch = plan.home / CAPTURE
        limit = StepLimit(plan.app_wait, lambda doing, log: waiting(doing, log, self.console))
        captured = capture(app, scratch, plan.contributors, limit, node)
        self.rounds = self.rounds or captured.num_rounds
        self._done(
            f"{app.name}: {captured.strategy}, {captured.num_rounds} rounds, {len(captured.arrays)} arrays, "
            f"{captured.asked} of {plan.contributors} nodes a round"
        )
        trial = try_training(captured, scratch, node, limit)
        settings = feedback.settings(self.plan.feedback, self.plan.width)
        start = start_of_app(captured, trial, self.plan.width, settings)
        write(start, plan.genesis)
        numbers = f": {_numbers(trial.metrics)}" if trial.metrics else ""
        self._done(f"one training on partition 0 took {trial.seconds:.1f} s{numbers}")
        limits = refused(trial.reached) if plan.sandbox is None else ""
        for text in filter(None, (*captured.notes, *unshared(captured, trial, start.manifest), limits)):
            self._hint(text)
        return RunNote(
            options=_options(plan),
            name=app.name,
            bundle=bundle,
            strategy=captured.strategy,
            rounds=self.rounds,
            asked=captured.asked,
            commit_window=round(TRAININGS * trial.seconds * plan.contributors),
            train_seconds=round(trial.seconds, 1),
        )

    # The federation

    def _set_up(self, federation: LocalFederation, note: RunNote) -> None:
        made = ""
        with self.console.status("starting the chain") as status:
            if not note.prepared:
                self._clear()
            federation.start_chain()
            federation.start_superlink()
            if not note.prepared:
                prepared = prepare(
                    self.plan, federation.rpc_url, lambda text: status.update(f"making {text}")
                )
                federation.keep_chain()
                note.prepared = True
                note.write(self.note_file)
                made = f"{len(prepared.report.gas)} contracts, "
            for number, name in enumerate(self.plan.names(), 1):
                self.names[address_of(self.plan.keystore(name))] = f"node {number}"
            status.update("starting the coordinator")
            federation.start_coordinator()
            if note.done < self.rounds:
                federation.start_nodes()
        engine = " with Flower's simulation engine" if self.plan.simulation else ""
        self._done(
            f"chain {federation.rpc_url}, {made}coordinator {federation.api_url}, "
            f"SuperLink {federation.superlink}{engine}"
        )
        if note.done < self.rounds:
            coming = "simulated nodes have signers" if self.plan.simulation else "nodes are joining"
            self._done(f"{self.plan.contributors} {coming}; logs in {self.plan.logs}")

    def _clear(self) -> None:
        """Remove what an interrupted `prepare` of this run has made: half of a federation is of no use."""
        plan = self.plan
        for path in (plan.deployment_file, plan.password_file, *plan.home.glob(f"{plan.chain_file.name}*")):
            path.unlink(missing_ok=True)
        for folder in (plan.keys, plan.coordinator_home):
            shutil.rmtree(folder, ignore_errors=True)

    def _train(self, federation: LocalFederation, note: RunNote) -> None:
        """Show one line per round, until all rounds are final and the ServerApp has ended."""
        with CoordinatorApi(federation.api_url) as api:
            newest, run = api.newest_event(), api.run()
            if newest:
                self._read_earlier(api, newest)
        running = run is not None and run.state == "running"
        earlier = self.plan.logs / "train.log"
        self.heard = earlier.stat().st_size if earlier.exists() else 0
        if run is not None and running:
            whole = sum(summary.anchored for summary in self.summaries) - run.completed + run.rounds
            if whole > self.rounds:
                self._hint(
                    f"The interrupted run has {whole} rounds. It can't be shortened, and goes on to its end."
                )
                self.rounds = note.rounds = whole
            federation.start_training(run.rounds)
        progress = RunProgress(self.rounds, note.done, names=self.names)
        progress.activity = "nodes join the first round"
        events = self._events(federation, newest)
        with View(progress, self.console, rounds=False) as view, asking(view, federation.api_url):
            while True:
                left = self.rounds - sum(summary.anchored for summary in self.summaries)
                if not running and left > 0:
                    self._await_train(federation)
                    federation.supervisor.stop_one("train")
                    federation.start_training(left)
                    running = True
                elif not running and all(summary.settled for summary in self.summaries):
                    break
                event = next(events)
                view.event(event.type, self._with_account(event.data))
                self._take(event)
                match event.type:
                    case "round-opened":
                        progress.activity = ""
                    case "round-anchored":
                        self._save(federation, note, int(event.data["round"]))
                    case "run-failed" if running:
                        self._await_train(federation)  # `folkmoot train` has the reason if it ended the run.
                        raise LocalError(
                            f"The run failed. {_local(event.data.get('error', ''))}".strip(),
                            remedy=f"Read the logs in {self.plan.logs}.",
                            code="run-failed",
                        )
                    case "run-done":
                        running = False
                        progress.activity = "waiting for the last challenge window and the ServerApp's end"
                    case _:
                        pass
            self._await_train(federation)
        # The ServerApp measures the last model after the run has ended.
        with CoordinatorApi(federation.api_url) as api:
            for summary in self.summaries:
                with suppress(CoordinatorError):  # There is no report.
                    self._measured(
                        summary, api.get(f"/v1/rounds/{summary.number}/report").get("metrics") or {}
                    )

    def _read_earlier(self, api: CoordinatorApi, newest: int) -> None:
        """Take the events of earlier starts, without a line of output."""
        quiet, self.console.quiet = self.console.quiet, True
        try:
            for event in api.events(0, timeout=LAST_WORDS):
                self._take(event)
                if event.id >= newest:
                    return
        finally:
            self.console.quiet = quiet

    def _take(self, event: Event) -> None:
        """Take note of an event, and show it."""
        data: Mapping[str, Any] = event.data
        summary = self._round(data.get("round"))
        match event.type:
            case "round-opened":
                self._forget(data["round"])  # Of a chain that has lost its newest blocks.
                self.summaries.append(RoundSummary(int(data["round"]), time.monotonic()))
            case "update-refused":
                self.refused.add((data["round"], data["contributor"]))
                self._say(data, f"{self._name(data)} refused, {data['reason']}: {data['detail']}")
            case "node-failed":
                data = self._with_account(data)
                if (data["round"], data.get("account")) not in self.refused:
                    self._say(data, self._failure(data))
            case "round-computed" if summary:
                summary.weigh(data["verdicts"])
            case "round-anchored" if summary:
                summary.seconds, summary.anchored = time.monotonic() - summary.began, True
                self._show(summary)
            case "round-reported" if summary:
                self._measured(summary, data.get("metrics") or {})
            case "round-cancelled":
                self._say(data, f"cancelled. {_local(data.get('reason', ''))}")
                self._forget(data["round"])
            case "rewards-settled" if summary:
                summary.settled = True
            case _:
                pass

    def _forget(self, number: Any) -> None:
        self.summaries = [summary for summary in self.summaries if summary.number != number]

    def _save(self, federation: LocalFederation, note: RunNote, number: int) -> None:
        """Write what an interruption is to leave: a copy of the chain, the model, and the number of rounds."""
        with suppress(RpcError):  # The supervisor says which process has ended.
            federation.keep_chain()
        model = note.model
        with suppress(httpx.HTTPError):  # There is one at the end, or the reason why not.
            self._fetch(federation, number)
            model = number
        self._note(note, model)

    def _note(self, note: RunNote, model: int) -> None:
        note.done, note.model = sum(summary.anchored for summary in self.summaries), model
        note.write(self.note_file)

    def _events(self, federation: LocalFederation, after: int) -> Iterator[Event]:
        """Yield the coordinator's events. Meanwhile check the processes, because events may be rare."""
        heard: Queue[Event | FolkmootError] = Queue()

        def listen() -> None:
            try:
                with CoordinatorApi(federation.api_url) as api:
                    for event in api.events(after, timeout=LAST_WORDS):
                        heard.put(event)
            except FolkmootError as error:
                heard.put(error)

        Thread(target=listen, name="run-events", daemon=True).start()
        while True:
            federation.supervisor.watch(lambda: not heard.empty() or self._check_train(federation))
            try:
                event = heard.get(timeout=LOOK)
            except Empty:
                continue
            if isinstance(event, FolkmootError):
                raise event
            yield event

    def _check_train(self, federation: LocalFederation) -> bool:
        """Return whether `folkmoot train` has ended successfully, or was not started."""
        train = next((child for child in federation.supervisor.children if child.name == "train"), None)
        if train is None:
            return True
        self._hear(train.log)
        status = train.process.poll()
        if not status:
            return status is not None
        text = _text(train.log)
        try:
            error = json.loads(text[text.rindex('{\n  "error"') :])["error"]
        except (ValueError, KeyError):
            raise LocalError(
                f"folkmoot train ended with status {status}.", remedy=f"Read {train.log}.", code="run-failed"
            ) from None
        # Its own remedy is for a run on several machines.
        raise LocalError(
            _local(error["message"]),
            remedy=f"Correct it. The ServerApp's log is {self.plan.app_log}. The other logs are in {self.plan.logs}.",
            code=str(error["code"]),
        )

    def _hear(self, log: Path) -> None:
        """Show the new remarks of `folkmoot train` on the ServerApp, for example why it ended."""
        with log.open("rb") as file:
            file.seek(self.heard)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self.heard += len(whole)
        for line in whole.splitlines():
            if line.startswith(b'{"event": "relay-remark"'):
                text = json.loads(line)["message"]
                if not text.startswith(OUTPUT_LINE):
                    self._hint(f"{text} Its log is {self.plan.app_log}.")

    def _await_train(self, federation: LocalFederation) -> None:
        if not federation.supervisor.watch(lambda: self._check_train(federation), timeout=LAST_WORDS):
            self.console.print(
                f"  [yellow]The ServerApp still runs {LAST_WORDS:.0f} s after the last round. "
                f"Read its log {self.plan.app_log}.[/]"
            )

    # The end

    def _model(self, federation: LocalFederation) -> Path:
        """Fetch the last round's model file."""
        try:
            return self._fetch(federation, self.summaries[-1].number)
        except httpx.HTTPError as error:
            raise LocalError(
                f"The model can't be fetched: {error}.",
                remedy=f"Read {self.plan.logs / 'coordinator.log'}.",
                code="no-model",
            ) from error

    def _fetch(self, federation: LocalFederation, number: int) -> Path:
        """Fetch the model file of a round."""
        path = self.plan.home / MODEL_FILE
        url = f"{federation.api_url}/v1/models/{number}/download"
        write_whole(path, httpx.get(url, timeout=60).raise_for_status().content)
        return path

    def _audit(self, federation: LocalFederation) -> dict[str, Any]:
        words = (
            *("audit", "--rpc", federation.rpc_url, "--deployment", self.plan.deployment_file),
            *("--artifacts", federation.api_url),
        )
        with self.console.status("the audit recomputes all rounds"):
            audit = run_folkmoot(words)
        self._done(
            f"audit: everything matches, {audit['entries']['signed']} signatures, {audit['updates']} updates in "
            f"{audit['recomputed']} round{'s' * (audit['recomputed'] != 1)} recomputed to the bit"
        )
        return audit

    def _report_early(
        self, federation: LocalFederation, note: RunNote, error: BaseException, *, audited: bool
    ) -> None:
        """Leave a report on the rounds that are anchored, if there are any."""
        if not note.done:
            return
        why = "It was interrupted." if isinstance(error, KeyboardInterrupt) else str(error)
        write_report(
            self.plan.home,
            federation.api_url,
            app=note.name,
            model=self.plan.home / MODEL_FILE if note.model else None,
            failure=why if audited and not isinstance(error, KeyboardInterrupt) else "",
            interrupted="" if audited else f"The run ended after {note.done} of {self.rounds} rounds. {why}",
        )

    def _summary(self, note: RunNote, model: Path, audit: Mapping[str, Any]) -> dict[str, Any]:
        output = sorted(str(path) for path in self.plan.output.rglob("*") if path.is_file())
        return {
            "app": note.name,
            "strategy": note.strategy,
            "rounds": len(self.summaries),
            "nodes": self.plan.contributors,
            "trainSeconds": note.train_seconds,
            "metrics": {summary.number: summary.metrics for summary in self.summaries},
            "weights": {
                summary.number: {
                    self.names.get(account, account): w for account, w in summary.weights.items()
                }
                for summary in self.summaries
            },
            "reasons": {
                summary.number: {
                    self.names.get(account, account): reason for account, reason in summary.reasons.items()
                }
                for summary in self.summaries
                if summary.reasons
            },
            "roundSeconds": [round(summary.seconds, 1) for summary in self.summaries],
            "seconds": round(time.monotonic() - self.started, 1),
            "model": str(model),
            "output": output,
            "audit": dict(audit),
            "home": str(self.plan.home),
        }

    def _next(self, federation: LocalFederation, model: Path, report: Path) -> None:
        """Print where the files are, and the next commands."""
        self.console.print(f"\nmodel           {model}", soft_wrap=True, highlight=False)
        self.console.print(f"report          {report}", soft_wrap=True, highlight=False)
        written = [path for path in self.plan.output.rglob("*") if path.is_file()]
        if written:
            folder = written[0].parent
            names = ", ".join(path.name for path in written[:4])
            self.console.print(f"the app's files {folder} ({names})", soft_wrap=True, highlight=False)
        command, home = command_name(), self.plan.home
        lines = []
        if self.keep:
            lines = [
                f"export FOLKMOOT_RPC={federation.rpc_url} FOLKMOOT_DEPLOYMENT={self.plan.deployment_file}",
                f"{command} status",
                f"{command} why ACCOUNT --round {self.summaries[-1].number} --coordinator {federation.api_url}",
            ]
            self.console.print(
                f"\nStill running: page {federation.api_url}, API {federation.api_url}/v1/docs. Ctrl-C ends it."
            )
        else:
            again = f"{given_again(self.plan, self.given_rounds)} --home {shlex.quote(str(home))}"
            lines = [
                f"{command} run {again} --keep    # the page of this run, without training again",
                f"{command} task init --app {given_again(self.plan, run=False)} --out genesis/",
            ]
            if rule_text(self.plan) != DEFAULT_RULE:
                lines.append(
                    f"{command} policy --genesis genesis/ --rule {rule_text(self.plan)} --out policy.json"
                )
        self.console.print("\nNext:")
        for line in lines:
            self.console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        if not self.keep:
            self.console.print(
                "  To run the same app on several machines, read docs/contributing-data.md.",
                markup=False,
                highlight=False,
            )
        self.console.print(f"  logs: {home / 'logs'}", markup=False, highlight=False, soft_wrap=True)

    # Output

    def _show(self, summary: RoundSummary) -> None:
        largest = max(1, *summary.weights.values()) if summary.weights else 1
        shares = " ".join(f"{weight / largest:.0%}" for weight in summary.weights.values())
        paid = " ".join(f"{pay / FULL_PAY:.0%}" for pay in summary.pays.values())
        count = len(summary.weights)
        self.console.print(
            f"round {summary.number} ({len(self.summaries)} of {self.rounds})  {count} update{'s' * (count != 1)}, "
            f"weights {shares}{f', pays {paid}' if paid else ''}  {summary.seconds:.1f} s",
            highlight=False,
        )
        for account, reason in summary.reasons.items():
            name = self.names.get(account, account)
            words = words_of(reason)
            self._say(
                {"round": summary.number},
                f"{name} counts for nothing ({reason}). {words.summary} {words.advice}",
            )

        for account, why in summary.low.items():
            self._say(
                {"round": summary.number},
                f"{self.names.get(account, account)} has a low weight, because its update points elsewhere than the "
                f"others{why}. Data that differ from the others' are enough for that. `--rule mean` weighs all alike.",
            )
        for account, why in summary.paid_less.items():
            self._say(
                {"round": summary.number},
                f"{self.names.get(account, account)} is paid {summary.pays[account] / FULL_PAY:.0%} of a full place"
                f"{why}.",
            )

    def _measured(self, summary: RoundSummary, metrics: Mapping[str, Mapping[str, float] | None]) -> None:
        """Show the app's new metrics."""
        for kind, values in metrics.items():
            if values and summary.metrics.get(kind) != values:
                summary.metrics[kind] = dict(values)
                self.console.print(f"  round {summary.number}, {kind}: {_numbers(values)}", highlight=False)
                self._compare(summary, kind, values)

    def _compare(self, summary: RoundSummary, kind: str, values: Mapping[str, float]) -> None:
        """Say that a loss has risen since the round before."""
        earlier = self._round(summary.number - 1)
        for name, value in values.items():
            before = earlier.metrics.get(kind, {}).get(name) if earlier else None
            if "loss" in name and before is not None and value > RISE * before > 0:
                self._say(
                    {"round": summary.number},
                    f"{name} ({kind}) rose from {before:.4g} to {value:.4g}. If it goes on rising, lower the learning "
                    "rate or train fewer local steps.",
                )

    def _say(self, data: Mapping[str, Any], text: str) -> None:
        self.console.print(
            f"  round {data['round']}: {escape(text)}", style="yellow", highlight=False, soft_wrap=True
        )

    def _name(self, data: Mapping[str, Any]) -> str:
        account = data.get("contributor") or data.get("account")
        return self.names.get(str(account), f"node {data.get('node', '?')}")

    def _with_account(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Complete an event of a node that has sent no update yet: its own log has Flower's number of it."""
        if data.get("account") or "node" not in data:
            return data
        for account, name in self.names.items():
            if f"SuperNode ID: {data['node']}\n" in _text(self._log_of(name)):
                return {**data, "account": account}
        return data

    def _log_of(self, name: str) -> Path:
        """Return the log of a node's program, by the name in the table."""
        return self.plan.node_home(name.replace("node ", "contributor-")) / LOG_FILE

    def _failure(self, data: Mapping[str, Any]) -> str:
        """Return sentences on a node's failure. All is on this machine, so the text of the exception is shown too."""
        name, detail = self._name(data), str(data["detail"])
        log = self._log_of(name) if data.get("account") in self.names else self.plan.logs / "superlink.log"
        lines = [line for line in _text(log).splitlines() if f"Refused: {detail}" in line]
        if lines:
            text = lines[-1].partition(detail)[2].partition(" The traceback is in ")[0]
            detail = f"{detail} {text.strip()}".strip()
        text = f"{name} {explained(data['state'], data['code'], detail, str(log))}"
        if self.plan.sandbox is not None and data["code"] == "training-failed":
            text += " In the sandbox it reads only what --data, --writable and --pass-env name."
        return text

    def _round(self, number: Any) -> RoundSummary | None:
        return next((summary for summary in self.summaries if summary.number == number), None)

    def _hint(self, text: str) -> None:
        self.console.print(f"    [yellow]{escape(text)}[/]", soft_wrap=True)

    def _done(self, text: str) -> None:
        self.console.print(f"  [green]✓[/] {escape(text)}", highlight=False, soft_wrap=True)


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _local(text: Any) -> str:
    """Return a text of the coordinator, which knows no paths of nodes, for a reader who has seen them."""
    return str(text).replace(NODE_LOG, "the node's log, see above")


def _shown(value: Any) -> str:
    """Return an option's value for people."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "left out"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(log: Path) -> str:
    """Return what is in a log; nothing if there is none."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < FULL
    except OSError:
        return False
