# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo`: show a whole federation on one machine.

The demo starts a local federation, follows the coordinator's public events while contributors train and one of them
poisons, puts the result to a vote, and ends with an audit. Its output comes from the public API and from the commands
that a person types. This module imports neither `server` nor `client`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from folkmoot.cli.live import View
from folkmoot.cli.measuring import asking, completed
from folkmoot.cli.output import printable
from folkmoot.cli.progress import RunProgress
from folkmoot.coordinator_api import CoordinatorApi, Event
from folkmoot.devnet.federation import WATCHER, Prepared, prepare
from folkmoot.devnet.lines import Passed
from folkmoot.errors import LocalError
from folkmoot.explain.reasons import why_low, why_paid_less
from folkmoot.flower.clock import TrainingTime
from folkmoot.flower.relay.reports import NODE_LOG
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.runtime.commands import command_name, run_folkmoot
from folkmoot.runtime.processes import Supervisor
from folkmoot.runtime.units import format_amount
from folkmoot.tasks.pace import EAGER
from folkmoot_lab.stories.federation import Story, StoryFederation

NAMES = ("Ada", "Ben", "Cleo", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jana")
"""Display names of the contributors, in order."""

WARRANTY = "10"
"""Tokens with which the proposer answers for the version that it proposes."""

ROOT_TITLE = "root set"
"""Display name of the coordinator's own node."""

AGAIN = "Run the demo again; if it fails again, read the logs with --keep."
"""Remedy for a demo that failed."""

REPORT = "This is a defect of Folkmoot: report it to its maintainers."
"""Remedy for a result that can't happen."""

STALL_SECONDS = 120.0
"""Timeout in seconds for the next event, beside the commit window of rounds by the clock."""


@dataclass
class RoundProgress:
    """Data of one round."""

    number: int
    received: dict[str, int] = field(default_factory=dict)
    """Size in bytes of the update, by account."""
    refused: dict[str, str] = field(default_factory=dict)
    """Reason code of the refusal, by account."""
    committed: set[str] = field(default_factory=set)
    """Accounts with a commitment on the chain."""
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    rewards: dict[str, int] = field(default_factory=dict)
    gas: dict[str, int] = field(default_factory=dict)
    """Gas used, by step."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics of the new model on the common test set."""
    sample: str = ""
    """What the new model writes, if it writes text."""
    seconds: float = 0.0
    passed: dict[str, tuple[Passed, Passed]] = field(default_factory=dict)
    """What came and went since the round before, by account, if the contributors' lines are limited."""
    trained: dict[str, TrainingTime] = field(default_factory=dict)
    """How long they trained for their updates, by account, if these are shown."""

    def note(self, event: Event) -> None:
        """Store what an event of the coordinator says of the round."""
        data, gas = event.data, int(event.data.get("gas") or 0)
        match event.type:
            case "round-opened":
                self.gas["open"] = gas
            case "update-received":
                self.received[data["contributor"]] = int(data.get("bytes") or 0)
            case "update-refused":
                self.refused[data["contributor"]] = str(data["reason"])
            case "updates-committed":
                self.committed |= set(data["contributors"])
                self.gas["commit"] = self.gas.get("commit", 0) + gas
            case "round-computed":
                self.verdicts = list(data["verdicts"])
            case "round-anchored":
                self.gas["anchor"] = gas
            case _:
                pass


class Demo:
    """Runs and shows the demo.

    Args:
        plan: The federation.
        rounds: Number of rounds to train.
        console: Where to print.
        keep: Whether everything stays up at the end, until Ctrl-C.
    """

    def __init__(self, plan: Story, rounds: int, console: Console, *, keep: bool = False) -> None:
        self.plan = plan
        self.rounds = rounds
        self.console = console
        self.keep = keep
        self.names: dict[str, str] = {}
        self.nodes: dict[str, str] = {}  # Names by Flower's number of the node.
        self.addresses: dict[str, str] = {}
        self.progresses: list[RoundProgress] = []
        self.started = time.monotonic()
        self._passed: dict[str, tuple[Passed, Passed]] = {}
        self._heard = 0  # Number of lines of the watcher's log that were shown.
        self._said: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Tell the whole story; return a summary.

        Raises:
            FolkmootError: A part failed. All processes have ended.
        """
        with Supervisor(self.plan.logs) as supervisor:
            federation = StoryFederation(self.plan, supervisor)
            prepared = self._set_up(federation)
            self._train(federation)
            release = self._release(federation)
            audit = self._audit(federation)
            summary = self._summary(federation, prepared, release, audit)
            if self.keep:
                self._stay(supervisor, federation)
        return summary

    # The story

    def _intro(self) -> str:
        attackers = ", ".join(
            f"{self._title(n)} {_attack_text(what)}" for n, what in self.plan.attackers.items()
        )
        return (
            f"{self.plan.contributors} strangers train [bold]{self.plan.task}[/] for {self.rounds} rounds. "
            + (f"But {attackers}. " if attackers else "")
            + ("The coordinator compares with a root set. " if self.plan.root else "")
            + (
                f"The line of each is limited to {self.plan.link:g} Mbit/s each way, by a proxy before its node. "
                if self.plan.link
                else ""
            )
            + (
                f"They train by the clock, until shortly before a commit window of {self.plan.commit_window} s ends. "
                if self.plan.clock
                else ""
            )
            + "Nobody trusts anybody.\n"
        )

    def _set_up(self, federation: StoryFederation) -> Prepared:
        self.console.rule("[bold]Folkmoot")
        self.console.print(self._intro())
        with self.console.status("starting the chain") as status:
            federation.start_chain()
            federation.start_superlink()
            self._done(f"local chain (Anvil) at {federation.rpc_url}")
            prepared = prepare(self.plan, federation.rpc_url, lambda text: status.update(f"making {text}"))
            self.addresses = prepared.addresses
            for number, name in enumerate(self.plan.names(), 1):
                self.names[prepared.addresses[name]] = self._title(number)
            if self.plan.root:
                self.names[prepared.addresses["coordinator"]] = ROOT_TITLE
            gas = sum(prepared.report.gas.values())
            self._done(
                f"{len(prepared.report.gas)} contracts deployed for {gas:,} gas; the deployer holds no role"
            )
            self._done(f"{self.plan.contributors} contributors staked, the coordinator bonded")
            status.update("starting the coordinator")
            federation.start_coordinator()
            self._done(
                f"coordinator at {federation.api_url} (a page for browsers), Flower SuperLink at {federation.superlink}"
            )
            status.update("contributors join")
            federation.start_nodes()
        return prepared

    def _train(self, federation: StoryFederation) -> None:
        federation.start_training(self.rounds, evaluate=True)
        api = CoordinatorApi(federation.api_url)
        current: RoundProgress | None = None
        began = 0.0
        progress = RunProgress(self.rounds, names=self.names)
        progress.activity = "contributors load their data and join the first round"
        with View(progress, self.console, rounds=False) as view, asking(view, federation.api_url):
            for event in self._events(federation, api):
                data = event.data
                view.event(event.type, completed(api, event))
                if event.type == "round-opened":
                    current = RoundProgress(int(data["round"]))
                if current is not None:
                    current.note(event)
                match event.type:
                    case "round-opened":
                        if not began:
                            began = time.monotonic()
                            self._show_joining(federation)
                        progress.activity = ""
                    case "node-answered":
                        account = str(data["account"])
                        self.nodes[str(data["node"])] = self.names.get(account, account)
                    case "round-anchored" if current:
                        anchored = time.monotonic()
                        # The next round opens while this one's model is evaluated.
                        current.seconds, began = anchored - began, anchored
                        current.passed = self._look_at_lines(federation)
                        current.trained = self._look_at_trainings(current.number)
                        progress.activity = f"round {current.number}: evaluating the new model"
                        self._evaluate(current)
                        self.progresses.append(current)
                        self._show(current)
                        progress.activity = ""
                    case "round-finalized":
                        self._round(int(data["round"])).gas["finalize"] = int(data.get("gas") or 0)
                    case "rewards-settled":
                        shown = self._round(int(data["round"]))
                        shown.gas["settle"] = int(data.get("gas") or 0)
                        shown.rewards = {account: int(amount) for account, amount in data["amounts"].items()}
                    case "round-cancelled":
                        self.console.print(
                            f"  round {data['round']} was cancelled: {escape(str(data.get('reason')))}"
                        )
                    case "run-failed":
                        raise LocalError(
                            f"The run failed. {data.get('error', '')}", remedy=AGAIN, code="run-failed"
                        )
                    case _:
                        pass
                if event.type == "rewards-settled" and int(data["round"]) == self.rounds:
                    break
        api.close()

    def _release(self, federation: StoryFederation) -> dict[str, Any]:
        """Propose, vote, queue and execute with the commands that people type."""
        self.console.rule("[bold]The vote")
        version = self.progresses[-1].number
        report = self.plan.home / "report.json"
        evaluated = self._command(
            federation,
            *("task", "evaluate", "--task", self.plan.task, "--coordinator", federation.api_url),
            *("--version", str(version), "--report", report),
        )
        proposer = self._key("contributor-1")
        self._command(federation, "model", str(version), "--warranty", WARRANTY, *proposer)
        title = f"Release version {version}"
        proposed = self._command(
            federation,
            *("propose", "--version", str(version), "--report", report, "--coordinator", federation.api_url),
            *("--title", title, *proposer),
        )
        identifier = self._vote_through(federation, proposed["proposal"], proposer)
        return {"proposal": identifier, "version": version, "evaluated": evaluated}

    def _vote_through(
        self, federation: StoryFederation, proposal: dict[str, Any], proposer: Sequence[str | Path]
    ) -> str:
        """Let contributors vote for a proposal, attackers against it, and carry it out; return its number."""
        identifier = str(proposal["id"])
        self._advance(federation, int(proposal["snapshot"]))
        for number, name in enumerate(self.plan.names(), 1):
            choice = "against" if number in self.plan.attackers else "for"
            self._command(federation, "vote", identifier, choice, *self._key(name), who=self._title(number))
        self._advance(federation, int(proposal["deadline"]))
        queued = self._command(federation, "execute", identifier, *proposer)
        self._advance(federation, int(queued["proposal"]["eta"]))
        self._command(federation, "execute", identifier, *proposer)
        return identifier

    def _audit(self, federation: StoryFederation) -> dict[str, Any]:
        self.console.rule("[bold]The audit")
        self.console.print("Anybody can recompute all of it from the chain and the public files:\n")
        return self._command(federation, *self._audit_words(federation))

    def _audit_words(self, federation: StoryFederation) -> tuple[str | Path, ...]:
        return (
            *("audit", "--rpc", federation.rpc_url, "--deployment", self.plan.deployment_file),
            *("--artifacts", federation.api_url),
        )

    def _summary(
        self, federation: StoryFederation, prepared: Prepared, release: dict[str, Any], audit: dict[str, Any]
    ) -> dict[str, Any]:
        last = self.progresses[-1]
        seconds = time.monotonic() - self.started
        per_update = [t.gas.get("commit", 0) / max(1, len(t.committed)) for t in self.progresses]
        attackers = [self._title(number) for number in self.plan.attackers]
        # Weight by contributor and round. An update that was refused on arrival has no weight.
        weights = [
            (self._name(verdict), int(verdict["weight"]))
            for t in self.progresses
            for verdict in t.verdicts
            if verdict["reason"] != "root"
        ]
        for progress in self.progresses:
            refused = progress.refused.keys() & self.names.keys() - progress.received.keys()
            weights += [(self.names[one], 0) for one in refused if self.names[one] != ROOT_TITLE]
        of_attackers = [weight for name, weight in weights if name in attackers]
        paid = sum(
            float(pay_part(verdict, progress))
            for progress in self.progresses
            for verdict in self._of(progress, attackers)
        )
        given, kept = len(of_attackers), sum(1 for weight in of_attackers if weight)
        honest = sum(1 for name, weight in weights if not weight and name not in attackers)
        summary = {
            "seconds": round(seconds, 1),
            "rounds": len(self.progresses),
            "metrics": last.metrics,
            "samples": [one.sample for one in self.progresses if one.sample],
            "attackerUpdates": given,
            "attackerUpdatesAccepted": kept,
            "attackersPay": round(paid / given, 3) if given else None,
            "honestUpdatesLeftOut": honest,
            "rootUpdates": sum(
                verdict["reason"] == "root" for t in self.progresses for verdict in t.verdicts
            ),
            "gasPerUpdateCommitted": round(sum(per_update) / len(per_update)),
            "activeVersion": release.get("active", release["version"]),
            "lines": [
                {self.names[account]: [vars(one) for one in both] for account, both in t.passed.items()}
                for t in self.progresses
            ]
            if self.plan.link
            else None,
            "training": [
                {self.names[account]: asdict(spent) for account, spent in t.trained.items()}
                for t in self.progresses
            ],
            "audit": audit,
            "home": str(self.plan.home),
            "ledger": prepared.deployment.ledger,
            "harm": release.get("harm"),
            "record": release.get("record"),
        }
        self.console.rule("[bold]What happened")
        table = Table.grid(padding=(0, 2))
        rows = [
            ("model", f"version {release['version']}, " + _metric_text(last.metrics)),
            (
                "the cheat",
                f"earned {paid / given:.0%} of a full place; {given - kept} of {given} updates counted for nothing"
                if given
                else "nobody cheated",
            ),
            (
                "honest updates left out",
                f"{honest}"
                + (" (Multi-Krum always leaves out f)" if honest and self.plan.rule == "multi_krum" else ""),
            ),
            (
                "gas",
                f"{summary['gasPerUpdateCommitted']:,} an update committed, {_round_gas(last):,} a whole round",
            ),
            *([("a round on the line", self._line_text())] if self.plan.link else []),
            *([("training", text)] if (text := self._training_text()) else []),
            ("released by", f"a vote by stake, after a timelock; {WARRANTY} MOOT answer for the version"),
            *release.get("rows", ()),
            ("checked by", "an audit that trusted neither coordinator nor files"),
            ("time", f"{seconds:.0f} s in all"),
        ]
        for left, right in rows:
            table.add_row(Text(left, style="dim"), right)
        self.console.print(table)
        self.console.print("\nLook next at:")
        command = command_name()
        again = (
            f"{command} demo --keep          # the same, and it stays up: API, chain, nodes",
            f"{command} up                   # a local federation to play with",
        )
        for hint in (
            *(() if self.keep else again),
            "docs/protocol.md, docs/threat-model.md",
            f"{self.plan.home}    # logs, artifacts, deployment.json",
        ):
            self.console.print(Text(f"  {hint}"))
        return summary

    def _line_text(self) -> str:
        """Return the mean of what passed a contributor's line in a round. The first round also has the bundle."""
        rounds = self.progresses[1:] or self.progresses
        down, up = zip(*(both for one in rounds for both in one.passed.values()), strict=True)
        means = [
            Passed(sum(one.bytes for one in way) // len(way), sum(one.seconds for one in way) / len(way))
            for way in (down, up)
        ]
        return f"down {_passed_text(means[0])}; up {_passed_text(means[1])}, at {self.plan.link:g} Mbit/s"

    def _training_text(self) -> str:
        """Return the share of the time that contributors trained, from the second round on; empty if it is unknown."""
        spent = [
            (one.seconds, one.processor, one.since)
            for progress in self.progresses
            for one in progress.trained.values()
            if one.since is not None
        ]
        if not spent:
            return ""
        seconds, processor, since = map(sum, zip(*spent, strict=True))
        return (
            f"each contributor trained {seconds / since:.0%} of the time, and a processor worked for it "
            f"{processor / since:.0%} of the time"
        )

    def _of(self, progress: RoundProgress, attackers: Sequence[str]) -> list[dict[str, Any]]:
        """Return the verdicts of a round on some contributors."""
        return [verdict for verdict in progress.verdicts if self._name(verdict) in attackers]

    def _stay(self, supervisor: Supervisor, federation: StoryFederation) -> None:
        self.console.print(
            f"\nStill up: page and API {federation.api_url}, chain {federation.rpc_url}, "
            f"SuperLink {federation.superlink}. Ctrl-C ends it.\n"
            f"  export FOLKMOOT_RPC={federation.rpc_url} FOLKMOOT_DEPLOYMENT={self.plan.deployment_file}"
        )
        supervisor.watch(lambda: False)

    # Output

    def _show(self, progress: RoundProgress) -> None:
        metrics = _metric_text(progress.metrics)
        self.console.print(
            f"\n[bold]round {progress.number}[/]  {metrics}  "
            f"[dim]{progress.seconds:.1f} s · gas: commit {progress.gas.get('commit', 0):,}, "
            f"anchor {progress.gas['anchor']:,}[/]"
        )
        if progress.sample:
            self.console.print(
                f"  it writes: [italic]{escape(printable(progress.sample))}[/]", highlight=False
            )
        table = Table(box=None, padding=(0, 2), header_style="dim")
        more = (("down", "up") if progress.passed else ()) + (("training",) if progress.trained else ())
        for column in ("contributor", "update", *more, "committed", "weight", "pay", "verdict"):
            right = column in ("update", *more, "weight", "pay")
            table.add_column(column, justify="right" if right else "left", no_wrap=column in more)
        by_account = {str(verdict["contributor"]): verdict for verdict in progress.verdicts}
        for account, name in self.names.items():
            verdict = by_account.get(account)
            told = [_passed_text(one) for one in progress.passed.get(account, ())]
            told = told or (["", ""] if progress.passed else [])
            if progress.trained:
                spent = progress.trained.get(account)
                told.append("" if spent is None else _trained_text(spent))
            size = _size(progress.received[account]) if account in progress.received else "-"
            if account in progress.refused and account not in progress.received:
                table.add_row(
                    name, "-", *told, "no", "", "", f"[red]refused on arrival: {progress.refused[account]}[/]"
                )
            elif verdict is None:
                table.add_row(name, size, *told, "no", "", "", "[yellow]did not take part[/]")
            elif verdict["reason"] == "root":
                table.add_row(name, size, *told, "yes", "", "", "[cyan]root, compared and never summed[/]")
            else:
                share = float(_share(verdict, progress))
                style = "green" if share >= 0.5 else "yellow" if share else "red"
                pay = float(pay_part(verdict, progress))
                why = why_low(verdict, share) or (why_paid_less(verdict) if pay < 0.5 else "")
                reason = f"[{style}]{verdict['reason']}[/][dim]{why}[/]"
                table.add_row(name, size, *told, "yes", f"[{style}]{share:.0%}[/]", f"{pay:.0%}", reason)
        self.console.print(table)

    def _done(self, text: str) -> None:
        self.console.print(f"  [green]✓[/] {text}")

    def _title(self, number: int) -> str:
        return NAMES[number - 1] if number <= len(NAMES) else f"contributor {number}"

    def _name(self, verdict: dict[str, Any]) -> str:
        return self.names.get(str(verdict["contributor"]), "")

    def _round(self, number: int) -> RoundProgress:
        for progress in self.progresses:
            if progress.number == number:
                return progress
        raise LocalError(f"Round {number} was settled before it was anchored.", remedy=REPORT, code="demo")

    def _read_watcher(self) -> str:
        """Show the watcher's new lines; yield its events in order."""
        log = self.plan.logs / f"{WATCHER}.log"
        lines = log.read_text(errors="replace").splitlines(keepends=True) if log.exists() else []
        heard = []
        for line in lines[self._heard :]:
            if not line.endswith("\n"):
                break
            self._heard += 1
            try:
                event = json.loads(line)
            except ValueError:
                continue
            heard.append(str(event.get("event")))
            # The sources and hashes of missing files are only in the log.
            text = str(event.get("text")).partition(" The file ")[0]
            if event.get("event") in ("started", "stopped") or text in self._said:
                continue
            self._said.add(text)
            style = "green" if event["event"] in ("right", "proven") else "yellow"
            self.console.print(f"  [dim]watcher:[/] [{style}]{escape(text)}[/]")
        return " ".join(heard)

    # Actions

    def _events(self, federation: StoryFederation, api: CoordinatorApi) -> Iterator[Event]:
        longest = self._longest()
        last = time.monotonic()
        for event in api.events(timeout=longest):
            federation.supervisor.check()
            if event.type not in ("heartbeat", ""):
                last = time.monotonic()
            elif time.monotonic() - last > longest:
                break
            yield event
        raise LocalError(
            f"Nothing happened for {longest:.0f} seconds.",
            remedy=f"Read the logs in {self.plan.logs}.",
            code="demo-stalled",
        )

    def _longest(self) -> float:
        """Return the seconds after which something that was waited for is given up."""
        return STALL_SECONDS + (self.plan.commit_window if self.plan.clock else 0)

    def _look_at_lines(self, federation: StoryFederation) -> dict[str, tuple[Passed, Passed]]:
        """Return what passed each contributor's line since the last look, by account."""
        passed = {}
        for name, line in federation.lines.items():
            account, (down, up) = self.addresses[name], line.passed
            before = self._passed.get(account, (Passed(), Passed()))
            passed[account] = (down.since(before[0]), up.since(before[1]))
            self._passed[account] = (down, up)
        return passed

    def _look_at_trainings(self, number: int) -> dict[str, TrainingTime]:
        """Return how long contributors trained for a round, as their nodes' logs say, by account.

        Nothing is shown where training has a fixed number of steps and no line is limited.
        """
        found = {}
        if self.plan.clock or self.plan.start == EAGER or self.plan.link:
            for name in self.plan.names():
                log = Path(NODE_LOG.replace("FOLDER", str(self.plan.node_home(name))))
                for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
                    if (spent := TrainingTime.in_line(line)) is not None and spent.round == number:
                        found[self.addresses[name]] = spent
        return found

    def _show_joining(self, federation: StoryFederation) -> None:
        if passed := self._look_at_lines(federation):
            size, seconds = (
                max(getattr(down, name) for down, _ in passed.values()) for name in ("bytes", "seconds")
            )
            self._done(f"each has the first model: up to {size / 1e6:.1f} MB in {seconds:.1f} s")

    def _evaluate(self, progress: RoundProgress) -> None:
        """Wait for what `folkmoot train` measured of a round's model, and keep it.

        Raises:
            LocalError: It said nothing about that model.
        """
        log = self.plan.logs / "train.log"

        def not_measured(why: str) -> LocalError:
            text = f"The model of round {progress.number} was not measured. {why}"
            return LocalError(text, remedy=f"Read {log}.", code="demo-not-measured")

        end = time.monotonic() + self._longest()
        while time.monotonic() < end:
            for line in log.read_text(errors="replace").splitlines():
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                if not isinstance(said, dict) or said.get("round") != progress.number:
                    continue
                if said["event"] == "round-measured":
                    metrics = said["metrics"]["server"].items()
                    progress.metrics = {str(key): float(value) for key, value in metrics if value is not None}
                    progress.sample = " ".join(str(said.get("sample", "")).split())
                    return
                if said["event"] == "round-not-measured":
                    raise not_measured(said["error"])
            time.sleep(0.05)
        raise not_measured("Nothing was said about it.")

    def _key(self, name: str) -> tuple[str | Path, ...]:
        return ("--keystore", self.plan.keystore(name), "--password-file", self.plan.password_file)

    def _command(self, federation: StoryFederation, *words: str | Path, who: str = "") -> dict[str, Any]:
        """Show and run a command as a person would type it; return its JSON."""
        with self.console.status(f"folkmoot {words[0]}"):
            result = _run(federation, words)
        self._show_command(words, who)
        if line := _result_line(words[0], result):
            self.console.print(f"    {line}")
        return result

    def _show_command(self, words: Sequence[str | Path], who: str = "") -> None:
        hidden = {str(self.plan.password_file), "--password-file"}
        shown = " ".join(_short(str(word), self.plan.home) for word in words if str(word) not in hidden)
        prefix = f"[dim]{who}:[/] " if who else ""
        self.console.print(f"  {prefix}[cyan]$ folkmoot {escape(shown)}[/]")

    def _advance(self, federation: StoryFederation, time_: int) -> None:
        """Advance the local chain's clock past a time for which real voters would wait."""
        from folkmoot.rpc.client import Rpc

        rpc = Rpc(federation.rpc_url)
        missing = time_ - rpc.latest_timestamp() + 1
        rpc.close()
        if missing > 0:
            _run(federation, ("chain", "--advance", str(missing)))
            self.console.print(f"    [dim]the chain's clock moves by {missing} s instead of waiting[/]")


def _run(federation: StoryFederation, words: Sequence[str | Path]) -> dict[str, Any]:
    deployment = str(federation.plan.deployment_file)
    result = run_folkmoot(words, {"FOLKMOOT_RPC": federation.rpc_url, "FOLKMOOT_DEPLOYMENT": deployment})
    federation.supervisor.check()
    return result


def _short(word: str, home: Path) -> str:
    if word.isdigit() and len(word) > 20:
        return word[:8] + "…"
    if word.startswith(str(home)):
        return Path(word).name
    return f'"{word}"' if " " in word else word


def _size(length: int) -> str:
    return f"{length / 1024:.0f} KiB" if length >= 1024 else f"{length} B"


def _passed_text(passed: Passed) -> str:
    return f"{passed.bytes / 1e6:.2f} MB, {passed.seconds:.1f} s"


def _trained_text(spent: TrainingTime) -> str:
    return f"{spent.seconds:.0f} s" + ("" if spent.since is None else f", {spent.seconds / spent.since:.0%}")


def _metric_text(metrics: dict[str, float]) -> str:
    return ", ".join(
        f"{name} {value:.1%}"
        if name.startswith("accuracy") or name.endswith("recall")
        else f"{name} {value:.3f}"
        for name, value in metrics.items()
    )


def _share(verdict: dict[str, Any], progress: RoundProgress) -> Fraction:
    """Return an update's weight as a part of the round's largest weight."""
    return Fraction(int(verdict["weight"]), max(1, *(int(one["weight"]) for one in progress.verdicts)))


def pay_part(verdict: dict[str, Any], progress: RoundProgress) -> Fraction:
    """Return an update's pay as a part of a full place; under a rule without pays its weight says it."""
    return _share(verdict, progress) if verdict["pay"] is None else Fraction(int(verdict["pay"]), FULL_PAY)


def _round_gas(progress: RoundProgress) -> int:
    return sum(progress.gas.values())


def _result_line(command: str | Path, result: dict[str, Any]) -> str:
    match str(command):
        case "task":
            return escape(
                _metric_text({k: float(v) for k, v in result.get("metrics", {}).items() if v is not None})
            )
        case "vote":
            return (
                f"[dim]{format_amount(int(result['weight']))} votes {result['vote']}[/]"
                if "weight" in result
                else ""
            )
        case "execute":
            if result["proposal"]["state"] == "queued":
                return "[dim]queued: it can be executed after the timelock's delay[/]"
            return f"[green]executed: {_EXECUTED[result['proposal']['actions'][0]['kind']]}[/]"
        case "model" if "posted" in result:
            return f"[dim]{format_amount(int(result['total']))} answer for version {result['version']}[/]"
        case "model":
            return f"[red]version {result['version']} is {result['standing']}[/]"
        case "audit":
            active = result["activeVersion"]
            return (
                f"[green]everything matches[/]: {result['events']} events, {result['entries']['signed']} signatures, "
                f"{result['updates']} updates in {result['recomputed']} rounds recomputed to the bit, "
                f"{result['votes']} votes, {f'version {active}' if active else 'no version'} active "
                f"({result['seconds']:.1f} s)"
            )
        case "receipt":
            return f"[dim]{result['state']}: {_ACKNOWLEDGED.get(result['state'], 'see docs/joining.md')}[/]"
        case _:
            return ""


_EXECUTED = {
    "activate": "the version is active",
    "recall": "the version is recalled, and what answered for it is taken",
    "uphold-dispute": "the dispute is upheld",
}
"""What executing a proposal has done, by the kind of its first action."""

_ACKNOWLEDGED = {
    "waits": "the coordinator has signed that it has the update, and has not recorded it",
    "kept": "the coordinator has signed that it had the update, and counts it",
}
"""What the comparison of an acknowledgement with the chain says."""


def _attack_text(drill: str) -> str:
    """Return a description of an attack, to follow the name of the attacker."""
    kind, _, scale = drill.partition(":")
    if kind != "sign-flip":
        return f"cheats ({drill})"
    return f"cheats: it flips the sign of its updates{f' and makes them {scale} times as large' if scale else ''}"
