# SPDX-License-Identifier: Apache-2.0
"""`folkmoot run`: train an unchanged Flower app as a federation on this machine, and audit it.

Reads and tries the app before it starts anything. The output comes from the coordinator's public events, and from the
commands that a person would type. Imports neither `server` nor `client`.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from folkmoot.apps.capture import Captured, capture
from folkmoot.apps.folder import AppFolder, read_pairs
from folkmoot.apps.limit import LIMIT, LIMIT_OPTION, StepLimit
from folkmoot.apps.staging import bundle_of
from folkmoot.apps.trial import Trial, start_of_app, try_training, unshared
from folkmoot.artifacts.start import write
from folkmoot.cli.live import View
from folkmoot.cli.measuring import asking
from folkmoot.cli.output import waiting
from folkmoot.cli.progress import RunProgress
from folkmoot.coordinator_api import CoordinatorApi, Event
from folkmoot.devnet.demo import command_name
from folkmoot.devnet.federation import LocalFederation, Plan, prepare
from folkmoot.errors import CoordinatorError, FolkmootError, InputError, LocalError
from folkmoot.explain.reasons import words_of
from folkmoot.flower.reports import explained
from folkmoot.protocol import feedback
from folkmoot.runtime.commands import run_folkmoot
from folkmoot.runtime.processes import Supervisor

MODEL_FILE = "model.safetensors"
"""Name of the model file in the run's folder."""

CAPTURE = "app"
"""Name of the folder with the captured arrays and settings, and their logs."""

TRAININGS = 4
"""Length of the commit window, as a multiple of the time in which all nodes train one after the other."""

LAST_WORDS = 120.0
"""Timeout in seconds for the ServerApp's evaluation and saving after the last round."""

LOOK = 0.5
"""Seconds between two polls for events after `folkmoot train` has ended."""


@dataclass
class RoundSummary:
    """Data of one round."""

    number: int
    began: float
    weights: dict[str, int] = field(default_factory=dict)
    """Weight by account."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Reasons by account, of the updates with weight 0."""
    seconds: float = 0.0
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    """The app's metrics by source: train, evaluate, server."""

    def weigh(self, verdicts: Sequence[Mapping[str, Any]]) -> None:
        """Store the weights of all updates, and the reasons of those with weight 0."""
        self.weights = {str(one["contributor"]): int(one["weight"]) for one in verdicts}
        self.reasons = {
            str(one["contributor"]): str(one["reason"]) for one in verdicts if not int(one["weight"])
        }


def given_again(plan: Plan) -> str:
    """Return the app's folder and options of this run, quoted for a shell."""
    words = [str(plan.app), "--nodes", str(plan.contributors)]
    for option, values in (("--run-config", plan.run_config), ("--node-config", plan.node_config)):
        for value in values:
            words += [option, value]
    if plan.app_wait != LIMIT:
        words += [LIMIT_OPTION, f"{plan.app_wait:g}"]
    return shlex.join(words)


class AppRun:
    """Runs an app as a local federation.

    Args:
        plan: The federation; `plan.app` is the app.
        rounds: Number of rounds; None for the app's own number.
        console: Where to print.
        keep: Whether everything stays up at the end, until Ctrl-C.
    """

    def __init__(self, plan: Plan, rounds: int | None, console: Console, *, keep: bool = False) -> None:
        self.plan = plan
        self.rounds = rounds or 0
        self.console = console
        self.keep = keep
        self.names: dict[str, str] = {}
        self.summaries: list[RoundSummary] = []
        self.started = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Run the app to the end; return a summary.

        Raises:
            InputError: The app can't be anchored, or fails.
            FolkmootError: A part failed. All processes have ended.
        """
        captured, trial = self._read()
        with Supervisor(self.plan.logs) as supervisor:
            federation = LocalFederation(self.plan, supervisor)
            self._set_up(federation)
            self._train(federation)
            model = self._model(federation)
            audit = self._audit(federation)
            summary = self._summary(captured, trial, model, audit)
            self._next(federation, model)
            if self.keep:
                supervisor.watch(lambda: False)
        return summary

    # Before any process is started

    def _read(self) -> tuple[Captured, Trial]:
        """Capture the app, train once, and write the genesis."""
        plan = self.plan
        if plan.app is None:
            raise InputError("There is no app to run.", remedy="Give the folder of a Flower app.")
        if plan.deployment_file.exists():
            raise InputError(
                f"{plan.home} already holds a federation.",
                remedy="Choose another --home, or remove that folder.",
                code="home-not-empty",
            )
        app = AppFolder.read(plan.app, plan.run_config)
        bundle_of(app)  # `flwr run` would refuse it only after the chain and the nodes have been started.
        node = read_pairs(plan.node_config, "node config")
        scratch = plan.home / CAPTURE
        limit = StepLimit(plan.app_wait, lambda doing, log: waiting(doing, log, self.console))
        captured = capture(app, scratch, plan.contributors, limit)
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
        for note in (*captured.notes, *unshared(captured, trial, start.manifest)):
            self.console.print(f"    [yellow]{escape(note)}[/]", soft_wrap=True)
        window = round(TRAININGS * trial.seconds * plan.contributors)
        self.plan = replace(plan, asked=captured.asked, commit_window=window)
        return captured, trial

    # The federation

    def _set_up(self, federation: LocalFederation) -> None:
        federation.plan = self.plan
        with self.console.status("starting the chain") as status:
            federation.start_chain()
            federation.start_superlink()
            prepared = prepare(self.plan, federation.rpc_url, lambda text: status.update(f"making {text}"))
            for number, name in enumerate(self.plan.names(), 1):
                self.names[prepared.addresses[name]] = f"node {number}"
            status.update("starting the coordinator")
            federation.start_coordinator()
            federation.start_nodes()
        engine = " with Flower's simulation engine" if self.plan.simulation else ""
        self._done(
            f"chain {federation.rpc_url}, {len(prepared.report.gas)} contracts, coordinator {federation.api_url}, "
            f"SuperLink {federation.superlink}{engine}"
        )
        coming = "simulated nodes have signers" if self.plan.simulation else "nodes are joining"
        self._done(f"{self.plan.contributors} {coming}; logs in {self.plan.logs}")

    def _train(self, federation: LocalFederation) -> None:
        """Show one line per round, until all rounds are final and the ServerApp has ended."""
        federation.start_training(self.rounds)
        settled, done = 0, False
        refused: set[tuple[int, str]] = set()
        progress = RunProgress(self.rounds, names=self.names)
        progress.activity = "nodes join the first round"
        with View(progress, self.console, rounds=False) as view, asking(view, federation.api_url):
            for event in self._events(federation):
                data = event.data
                view.event(event.type, data)
                summary = self._round(data.get("round"))
                match event.type:
                    case "round-opened":
                        self.summaries.append(RoundSummary(int(data["round"]), time.monotonic()))
                        progress.activity = ""
                    case "update-refused":
                        refused.add((data["round"], data["contributor"]))
                        self._say(data, f"{self._name(data)} refused, {data['reason']}: {data['detail']}")
                    case "node-failed" if (data["round"], data.get("account")) not in refused:
                        reason = explained(data["state"], data["code"], data["detail"])
                        self._say(data, f"{self._name(data)} {reason}")
                    case "round-computed" if summary:
                        summary.weigh(data["verdicts"])
                    case "round-anchored" if summary:
                        summary.seconds = time.monotonic() - summary.began
                        self._show(summary)
                    case "round-reported" if summary:
                        self._measured(summary, data.get("metrics") or {})
                    case "round-cancelled":
                        self._say(data, f"cancelled. {data.get('reason', '')}")
                        self.summaries = [one for one in self.summaries if one.number != data["round"]]
                    case "rewards-settled":
                        settled += 1
                    case "run-failed":
                        self._await_train(federation)  # `folkmoot train` has the reason if it ended the run.
                        raise LocalError(
                            f"The run failed. {data.get('error', '')}".strip(),
                            remedy=f"Read the logs in {self.plan.logs}.",
                            code="run-failed",
                        )
                    case "run-done":
                        done = True
                        progress.activity = "waiting for the last challenge window and the ServerApp's end"
                    case _:
                        pass
                if done and settled >= self.rounds:
                    break
            self._await_train(federation)
        # The ServerApp measures the last model after the run has ended.
        with CoordinatorApi(federation.api_url) as api:
            for summary in self.summaries:
                with suppress(CoordinatorError):  # There is no report.
                    self._measured(
                        summary, api.get(f"/v1/rounds/{summary.number}/report").get("metrics") or {}
                    )

    def _events(self, federation: LocalFederation) -> Iterator[Event]:
        """Yield the coordinator's events. Meanwhile check the processes, because events may be rare."""
        heard: Queue[Event | FolkmootError] = Queue()

        def listen() -> None:
            try:
                with CoordinatorApi(federation.api_url) as api:
                    for event in api.events(0, timeout=LAST_WORDS):
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
        """Return whether `folkmoot train` has ended successfully.

        Raises:
            LocalError: It has failed; the message and the remedy come from it.
        """
        train = next(child for child in federation.supervisor.children if child.name == "train")
        status = train.process.poll()
        if not status:
            return status is not None
        text = train.log.read_text(encoding="utf-8", errors="replace")
        try:
            error = json.loads(text[text.rindex('{\n  "error"') :])["error"]
        except (ValueError, KeyError):
            raise LocalError(
                f"folkmoot train ended with status {status}.", remedy=f"Read {train.log}.", code="run-failed"
            ) from None
        # Its own remedy is to continue the run, which is not possible any more.
        raise LocalError(
            str(error["message"]),
            remedy=f"Correct it, and start `folkmoot run` again. The ServerApp's log is {self.plan.app_log}. The other "
            f"logs are in {self.plan.logs}.",
            code=str(error["code"]),
        )

    def _await_train(self, federation: LocalFederation) -> None:
        if not federation.supervisor.watch(lambda: self._check_train(federation), timeout=LAST_WORDS):
            self.console.print(
                f"  [yellow]The ServerApp still runs {LAST_WORDS:.0f} s after the last round. "
                f"Read its log {self.plan.app_log}.[/]"
            )

    # The end

    def _model(self, federation: LocalFederation) -> Path:
        """Fetch the last round's model file."""
        path = self.plan.home / MODEL_FILE
        url = f"{federation.api_url}/v1/models/{self.summaries[-1].number}/download"
        try:
            answer = httpx.get(url, timeout=60).raise_for_status()
        except httpx.HTTPError as error:
            raise LocalError(
                f"The model can't be fetched from {url}: {error}.",
                remedy=f"Read {self.plan.logs / 'coordinator.log'}.",
                code="no-model",
            ) from error
        path.write_bytes(answer.content)
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
            f"{audit['recomputed']} rounds recomputed to the bit"
        )
        return audit

    def _summary(
        self, captured: Captured, trial: Trial, model: Path, audit: Mapping[str, Any]
    ) -> dict[str, Any]:
        output = sorted(str(path) for path in self.plan.output.rglob("*") if path.is_file())
        return {
            "app": captured.app.name,
            "strategy": captured.strategy,
            "rounds": len(self.summaries),
            "nodes": self.plan.contributors,
            "trainSeconds": round(trial.seconds, 1),
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

    def _next(self, federation: LocalFederation, model: Path) -> None:
        """Print where the files are, and the next commands."""
        self.console.print(f"\nmodel           {model}", soft_wrap=True, highlight=False)
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
            given = given_again(self.plan)
            lines = [f"{command} run {given} --keep", f"{command} task init --app {given} --out genesis/"]
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
        self.console.print(
            f"round {summary.number} ({len(self.summaries)} of {self.rounds})  {len(summary.weights)} updates, "
            f"weights {shares}  {summary.seconds:.1f} s",
            highlight=False,
        )
        for account, reason in summary.reasons.items():
            name = self.names.get(account, account)
            self._say(
                {"round": summary.number}, f"{name} counts for nothing ({reason}). {words_of(reason).summary}"
            )

    def _measured(self, summary: RoundSummary, metrics: Mapping[str, Mapping[str, float] | None]) -> None:
        """Show the app's new metrics."""
        for kind, values in metrics.items():
            if values and summary.metrics.get(kind) != values:
                summary.metrics[kind] = dict(values)
                self.console.print(f"  round {summary.number}, {kind}: {_numbers(values)}", highlight=False)

    def _say(self, data: Mapping[str, Any], text: str) -> None:
        self.console.print(f"  round {data['round']}: {escape(text)}", style="yellow", highlight=False)

    def _name(self, data: Mapping[str, Any]) -> str:
        account = data.get("contributor") or data.get("account")
        return self.names.get(str(account), f"node {data.get('node', '?')}")

    def _round(self, number: Any) -> RoundSummary | None:
        return next((summary for summary in self.summaries if summary.number == number), None)

    def _done(self, text: str) -> None:
        self.console.print(f"  [green]✓[/] {escape(text)}", highlight=False, soft_wrap=True)


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
