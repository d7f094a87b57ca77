# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --cheat`: show on one machine how a lying coordinator is caught.

The demo runs some honest rounds and one with a lie. Then the watcher acts without help: it is a separate process, with
an account that has no role and no stake. The output is read from the chain, from the watcher's own lines and from the
public API. This module imports neither `server` nor `client`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from folkmoot.aggregation.gram_tree import MAX_UPDATES, RULES, has_tree
from folkmoot.chain.terms import PROFILES
from folkmoot.coordinator_api import CoordinatorApi, Event
from folkmoot.devnet.federation import PROFILE, WATCHER
from folkmoot.errors import ContractRefused, InputError, LocalError
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.policy import CLAMPED_MEAN
from folkmoot.runtime.commands import command_name
from folkmoot.runtime.processes import Supervisor
from folkmoot.runtime.units import format_amount
from folkmoot_lab.drills.tasks import FALSE_NORM
from folkmoot_lab.stories.demo import AGAIN, REPORT, Demo, RoundProgress, pay_part
from folkmoot_lab.stories.federation import PUPPETS, Story, StoryFederation

if TYPE_CHECKING:
    from folkmoot.chain.client import Chain
    from folkmoot.ledger.events import Event as ChainEvent

DOUBLE_ANCHOR = "double-anchor"
CENSOR = "censor"
WEIGHTS = "weights"
PAY = "pay"
WITHHOLD = "withhold"
LEFT_OUT = "left-out"

CHEATS: Mapping[str, str] = {
    "mean": "changes one coordinate of the mean by one, and makes the state and all files fit",
    WEIGHTS: "leaves out an honest contributor, against the rule, and makes everything fit",
    PAY: "gives one contributor half of the pay that the rule gives it, and makes all files fit",
    "outer-step": "shifts one coordinate of the new model, and publishes that model",
    "norm": "counts an update of a friend whose sum of squares is four times the committed one",
    WITHHOLD: "anchors the round and shows nobody the updates that it is made of",
    CENSOR: "takes no update from one contributor, and would say that it did not arrive",
    LEFT_OUT: "takes all updates, and records only those of its two puppets, so that they share the reward",
    DOUBLE_ANCHOR: "anchors a second outcome for a round that has one",
}
"""Description of the coordinator's lie, by the name of the cheat."""

GAMES: Mapping[str, str] = {
    "puppets": "One of them has many accounts, and tries to take the places of the others.",
    "copied-proof": "The [bold]coordinator[/] lies, and a puppet of its own copies the watcher's proof and is first.",
    "spam": "Somebody without enough stake, and somebody with it, fill the round with what nobody trained.",
    "capture": "Somebody has three tenths of the stake, and the others sleep through its votes.",
}
"""Description of an attack with money, time or several accounts (`folkmoot_lab.stories.games`), by its name."""

DEFAULT_RULE = next(field.default for field in fields(Story) if field.name == "rule")
"""Default rule of a local federation."""

MIRRORS_SECONDS = PROFILES[PROFILE].windows.challenge // 4
"""Seconds of chain time that a watcher waits for mirrors before it demands missing files."""

LOOK_SECONDS = 6.0
"""Seconds within which each node has looked at the round in which it has an update (`client.keeper.left_out`)."""

CATCH_SECONDS = 120.0
"""Timeout in seconds of real time for the watcher's proof of the lie."""


def check_cheat(cheat: str) -> None:
    """Check the name of a cheat.

    Raises:
        InputError: there is none.
    """
    if cheat not in (*CHEATS, *GAMES):
        raise InputError(
            f"There is no cheat {cheat!r}.",
            remedy=f"Choose one of {', '.join((*CHEATS, *GAMES))}.",
            code="unknown-cheat",
        )


def staged(plan: Story, cheat: str, honest: int) -> Story:
    """Return the plan of a federation whose coordinator lies after some honest rounds.

    Args:
        plan: The federation.
        cheat: The lie.
        honest: Number of honest rounds before the lie.

    Raises:
        InputError: The cheat is unknown, or there are too few contributors for a colluding one.
    """
    check_cheat(cheat)
    if cheat == WEIGHTS and plan.rule == DEFAULT_RULE:
        plan = replace(plan, rule="multi_krum", parameters=(1, 0))
    if cheat == WEIGHTS and not has_tree(plan.rule, plan.contributors):
        raise InputError(
            f"Weights under the rule {plan.rule} with {plan.contributors} contributors are judged by a vote: a watcher "
            "opens a dispute.",
            remedy=f"Show this cheat with --rule {' or '.join(sorted(RULES))}, and at most {MAX_UPDATES} contributors.",
            code="cheat-not-shown",
        )
    if cheat == PAY and plan.rule != CLAMPED_MEAN:
        raise InputError(
            f"Under the rule {plan.rule} there are no pays: weights say what is paid.",
            remedy=f"Show this cheat with --rule {CLAMPED_MEAN}.",
            code="cheat-not-shown",
        )
    if cheat == LEFT_OUT and plan.contributors < PUPPETS + 1:
        raise InputError(
            f"With {plan.contributors} contributors, of which {PUPPETS} are puppets, nobody can be left out.",
            remedy=f"Give at least {PUPPETS + 1} contributors.",
            code="cheat-not-shown",
        )
    attackers = dict(plan.attackers)
    if cheat == "norm" and FALSE_NORM not in attackers.values():
        attackers[plan.contributors] = FALSE_NORM
    lie = "" if cheat == DOUBLE_ANCHOR else f"{cheat}@{honest + 1}"
    return replace(plan, attackers=attackers, watched=True, cheat=lie)


@dataclass(frozen=True)
class Balance:
    """Balances in units of 1e-18 tokens."""

    stake: int
    """The coordinator's stake."""
    watcher: int
    """The watcher's tokens."""
    supply: int
    """Total supply of tokens."""
    head: int
    """Round on which the next one builds."""


class CheatDemo(Demo):
    """Runs and shows a lie of the coordinator.

    Args:
        plan: The federation, from `staged`.
        cheat: The lie.
        honest: Number of honest rounds before the lie.
        console: Where to print.
        keep: Whether all processes continue at the end, until Ctrl-C.
    """

    def __init__(self, plan: Story, cheat: str, honest: int, console: Console, *, keep: bool = False) -> None:
        super().__init__(plan, honest + 2, console, keep=keep)
        self.cheat = cheat
        self.honest = honest
        self._stream: Iterator[Event] = iter(())
        self._current: RoundProgress | None = None
        self._began = 0.0

    def run(self) -> dict[str, Any]:
        """Run the whole demo; return a summary.

        Raises:
            FolkmootError: A part failed, or nobody proved the lie. All processes have ended.
        """
        with Supervisor(self.plan.logs) as supervisor:
            federation = StoryFederation(self.plan, supervisor)
            self._set_up(federation)
            federation.start_watcher()
            self._done(
                f"a watcher, whose account has no role and no stake: [cyan]folkmoot watch --rpc {federation.rpc_url} "
                f"--artifacts {federation.api_url} --keystore watcher.json[/]"
            )
            api = CoordinatorApi(federation.api_url)
            self._stream = self._events(federation, api)
            tell = {DOUBLE_ANCHOR: self._twice, LEFT_OUT: self._leave_out}.get(self.cheat, self._lie)
            outcome = tell(federation, self.honest + 1)
            audit = self._audit(federation)
            api.close()
            summary = self._end(federation, outcome, audit)
            if self.keep:
                self._stay(supervisor, federation)
        return summary

    # The demo

    def _intro(self) -> str:
        return (
            f"{self.plan.contributors} strangers train [bold]{self.plan.task}[/]. This time the [bold]coordinator[/] "
            f"cheats: after {self.honest} honest round{'s' if self.honest != 1 else ''} it {CHEATS[self.cheat]}. "
            "A watcher looks on.\n"
        )

    def _lie(self, federation: StoryFederation, number: int) -> dict[str, Any]:
        # Honest rounds change no stake. A later read might come after the lie.
        before = replace(self._balance(federation), head=self.honest)
        federation.start_training(self.honest + 1, evaluate=True)
        self._follow(self.honest)
        self.console.rule("[bold red]The lie")
        self.console.print(f"In round {number} the coordinator {CHEATS[self.cheat]}.")
        if self.cheat == CENSOR:
            self._force(federation, number, self._follow(number, until="update-refused"))
        self._follow(number, until="round-anchored")
        looks = {
            WITHHOLD: "nobody can say whether it is right",
            CENSOR: "the anchor says that one update did not arrive",
        }.get(self.cheat, "nothing about it looks wrong: every file has the hash that the chain names")
        self.console.print(f"\nIt is anchored, and {looks}. Nobody tells the watcher anything.\n")
        if self.cheat == PAY:
            self._convict(federation, number, before)
        else:
            self._caught(federation, number)
        after = self._balance(federation)
        proof = self._slash(federation, number, before, after)
        if self.cheat not in (WITHHOLD, CENSOR, PAY):
            self.console.print(
                "\nAnybody could have done the same by hand, and seen first what it costs:\n"
                f"  [cyan]$ folkmoot watch --round {number} --artifacts {federation.api_url} --dry-run[/]"
            )
        federation.supervisor.stop_one("train")
        self.console.rule("[bold]The next round")
        self.console.print(
            f"The coordinator has {format_amount(after.stake)} left, which covers another bond. It goes on, honestly, "
            f"from the state of round {after.head}; the contributors lost nothing but that round's time.\n"
        )
        federation.start_training(1, evaluate=True)
        self._follow(number + 1)
        return {"round": number, "caught": True, "before": before, "after": after, **proof}

    def _convict(self, federation: StoryFederation, number: int, before: Balance) -> None:
        """Wait for the watcher's dispute, let an audit name what is wrong, and let the contributors vote."""
        with self.console.status("the watcher works"):
            if not federation.supervisor.watch(
                lambda: "dispute-opened" in self._read_watcher(), timeout=CATCH_SECONDS
            ):
                raise _not_caught(self.plan, f"Nobody disputed round {number}.")
        self.console.print("\nAnybody can see it, and an audit names it:\n")
        words = self._audit_words(federation)
        try:
            self._command(federation, *words)
        except LocalError as error:
            self._show_command(words)
            self.console.print(f"    [red]{escape(error.message)}[/]")
        else:
            raise LocalError(
                f"An audit found nothing wrong in round {number}.", remedy=REPORT, code="demo-not-caught"
            )
        self.console.rule("[bold]The vote")
        self.console.print(
            "No contract computes pays, so this lie is not proven: those who have stake vote about it. They can be "
            "wrong, or bought; a lie about the model is proven, whatever anybody votes. The coordinator does not vote "
            "here; with more stake than the others it could save itself.\n"
        )
        proposer = self._key("contributor-1")
        made = self._command(federation, "propose", "--uphold", str(number), *proposer)
        self._vote_through(federation, made["proposal"], proposer)
        with self.console.status("the watcher takes its deposit back"):
            if not federation.supervisor.watch(
                lambda: self._balance(federation).watcher >= before.watcher, timeout=CATCH_SECONDS
            ):
                raise _not_caught(self.plan, "The watcher did not get its deposit back.")
        self._read_watcher()

    def _twice(self, federation: StoryFederation, number: int) -> dict[str, Any]:
        federation.start_training(number + 1, evaluate=True)
        self._follow(self.honest)
        self._follow(number, until="round-anchored")
        self.console.rule("[bold red]The lie")
        self.console.print(
            f"Round {number} has its anchor. The coordinator {CHEATS[self.cheat]}, and sends:\n"
        )
        refusal = self._anchor_again(federation, number)
        self.console.print(
            f"  [cyan]ledger.anchor({number}, another outcome)[/]  from the coordinator's own account"
        )
        self.console.print(f"    [red]{escape(refusal.message)}[/]")
        self.console.print(
            "\nThe ledger takes one anchor a round: there is nothing to prove and nothing to slash. The round that "
            "everybody saw stands."
        )
        before = self._balance(federation)
        self._follow(number)
        self._follow(number + 1)
        self._read_watcher()
        after = self._balance(federation)
        error = str(refusal.details.get("error", ""))
        return {"round": number, "caught": True, "refused": error, "before": before, "after": after}

    def _leave_out(self, federation: StoryFederation, number: int) -> dict[str, Any]:
        before = replace(self._balance(federation), head=self.honest)
        federation.start_training(number, evaluate=True)
        self._follow(self.honest)
        self.console.rule("[bold red]The lie")
        self.console.print(
            f"In round {number} the coordinator {CHEATS[self.cheat]}. Its puppets are "
            f"{' and '.join(self.names[self.addresses[name]] for name in federation.puppets())}.\n"
        )
        batch = self._follow(number, until="updates-committed")
        recorded = {str(account) for account in batch.data["contributors"]}
        others = [name for name in self.plan.names() if self.addresses[name] not in recorded]
        self.console.print(
            f"\n{self.plan.contributors} updates have arrived, {len(recorded)} are recorded. The others have only the "
            "coordinator's word, signed:\n"
        )
        self._acknowledged(federation, others[0], number)
        with self._chain(federation) as chain, self.console.status("the commit window runs"):
            view = chain.ledger.round(number)
            time.sleep(LOOK_SECONDS)  # A node says nothing when it looks, so there is no event to wait for.
            self._advance(federation, view.own_commitments_from)
            if not federation.supervisor.watch(
                lambda: chain.ledger.round(number).entries == self.plan.contributors, timeout=CATCH_SECONDS
            ):
                raise LocalError(
                    f"Commitments of round {number} are missing.", remedy=AGAIN, code="demo-stalled"
                )
            gas = self._own_commitments(chain, number, others)
        self.console.print("\nNear the end of the window, the nodes record their updates by themselves:\n")
        for name, used in gas.items():
            self.console.print(f"  {self.names[self.addresses[name]]}: `commitUpdate`, {used:,} gas")
        amounts = self._follow(number).data["amounts"]
        self.console.print("\nThe files had arrived, so they count:\n")
        self._acknowledged(federation, others[0], number)
        return {
            "round": number,
            "caught": True,
            "before": before,
            "after": self._balance(federation),
            "gas": gas,
            **self._pay(federation, {account: int(amount) for account, amount in amounts.items()}),
        }

    def _pay(self, federation: StoryFederation, paid: Mapping[str, int]) -> dict[str, Any]:
        """Show what the puppets earned.

        Raises:
            LocalError: It is more than what their pays say.
        """
        last = self.progresses[-1]
        parts = {str(one["contributor"]): pay_part(one, last) for one in last.verdicts}
        puppets = {self.addresses[name] for name in federation.puppets()}
        with self._chain(federation) as chain:
            policy = chain.ledger.policy(chain.ledger.current_policy())
        place = policy.reward // policy.max_contributors
        mine = sum(paid.get(account, 0) for account in puppets)
        others, most = sum(paid.values()) - mine, sum(int(place * parts[account]) + 1 for account in puppets)
        self.console.rule("[bold]What the puppets have of it")
        table = Table.grid(padding=(0, 2))
        for left, right in (
            ("the two puppets earned", format_amount(mine)),
            (f"the {len(parts) - len(puppets)} others", format_amount(others)),
            ("a full place", format_amount(place)),
        ):
            table.add_row(Text(left, style="dim"), right)
        self.console.print(table)
        if mine > most:
            raise LocalError(
                f"The puppets earned {format_amount(mine)}, and their pays say {format_amount(most)}.",
                remedy=REPORT,
                code="demo-attack-paid",
            )
        self.console.print(
            "\nTo leave others out brought the puppets nothing: each has the part of a place that its pay says, as in "
            "every round."
        )
        return {"puppets": str(mine), "others": str(others), "share": str(place)}

    def _acknowledged(self, federation: StoryFederation, name: str, number: int) -> None:
        """Compare a node's acknowledgement with the chain."""
        file = self.plan.node_home(name) / "keeper" / "acknowledgements" / f"{number}.json"
        self._command(federation, "receipt", "--check", file, who=self.names[self.addresses[name]])

    def _own_commitments(self, chain: Chain, number: int, names: Iterable[str]) -> dict[str, int]:
        """Return the gas of the transactions by which contributors recorded their updates."""
        from folkmoot.ledger.entries import entries_of
        from folkmoot.ledger.events import UpdatesCommitted
        from folkmoot.ledger.scan import scan

        gas: dict[str, int] = {}
        for event in scan(chain, chain.deployment.block, chain.rpc.block_number(), contracts=("ledger",)):
            if isinstance(event, UpdatesCommitted) and event.round == number:
                who = {entry.contributor for entry in entries_of(event)}
                receipt = chain.rpc.receipt("0x" + event.transaction.hex())
                for name in names:
                    if self.addresses[name] in who and receipt is not None:
                        gas[name] = receipt.gas_used
        return gas

    # Events

    def _follow(self, number: int, until: str = "rewards-settled") -> Event:
        """Show rounds until a given event of a round; return that event."""
        with self.console.status(f"round {number}: contributors train") as status:
            for event in self._stream:
                if event.type == "round-opened":
                    self._current = RoundProgress(int(event.data["round"]))
                self._note(event, self._current, status.update)
                if number != self.honest + 1:  # Show the watcher's lines on the lie after the lie.
                    self._read_watcher()
                if event.type == until and int(event.data["round"]) == number:
                    return event
        raise LocalError("The coordinator's events ended.", remedy=AGAIN, code="demo")

    def _force(self, federation: StoryFederation, number: int, refused: Event) -> None:
        """Make the censored contributor put its whole update on the chain."""
        from folkmoot.rpc.client import LedgerReader, Rpc

        account = str(refused.data["contributor"])
        name = next(name for name, address in self.addresses.items() if address == account)
        title = self.names[account]
        self.console.print(f"{title} hears: {escape(str(refused.data['detail']))} It needs nobody:\n")
        words = (
            "submit",
            str(number),
            "--home",
            self.plan.node_home(name),
            "--coordinator",
            federation.api_url,
        )
        done = self._command(federation, *words, "--on-chain", *self._key(name), who=title)
        self.console.print(
            f"    commitment and all bytes are on the chain, in {done['parts']} part"
            f"{'s' if done['parts'] != 1 else ''} for {done['gas']:,} gas"
        )
        with Rpc(federation.rpc_url) as rpc:
            ledger = LedgerReader(rpc, Deployment.load(self.plan.deployment_file).ledger)
            if not federation.supervisor.watch(
                lambda: ledger.round(number).entries >= self.plan.entries, timeout=CATCH_SECONDS
            ):
                raise LocalError(
                    f"Commitments of round {number} are missing.", remedy=AGAIN, code="demo-stalled"
                )
            self._advance(federation, ledger.round(number).commit_deadline)

    def _note(self, event: Event, current: RoundProgress | None, say: Callable[[str], None]) -> None:
        """Store one event of the coordinator on a round."""
        data = event.data
        if current is not None:
            current.note(event)
        match event.type:
            case "round-opened" if current:
                self._began = time.monotonic()
                say(f"round {current.number}: contributors train")
            case "round-anchored" if current:
                current.seconds = time.monotonic() - self._began
                self._evaluate(current)
                self.progresses.append(current)
                self._show(current)
                say(f"round {current.number}: the challenge window runs")
            case "run-failed" if "slashed" not in str(data.get("error")):
                raise LocalError(f"The run failed. {data.get('error', '')}", remedy=AGAIN, code="run-failed")
            case "round-cancelled":
                raise LocalError(
                    f"Round {data['round']} was cancelled. {data.get('reason')}", remedy=AGAIN, code="demo"
                )
            case _:
                pass

    def _caught(self, federation: StoryFederation, number: int) -> None:
        """Wait until the round is void. While a demand waits for its answer, advance the local clock."""
        from folkmoot.rpc.client import LedgerReader, Phase, Rpc

        end = time.monotonic() + CATCH_SECONDS
        waited = 0
        with self.console.status("the watcher works"), Rpc(federation.rpc_url) as rpc:
            ledger = LedgerReader(rpc, Deployment.load(self.plan.deployment_file).ledger)
            while True:
                self._read_watcher()
                view = ledger.round(number)
                if view.phase is Phase.SLASHED:
                    break
                if view.phase is not Phase.ANCHORED or time.monotonic() > end:
                    raise _not_caught(
                        self.plan, f"Nobody proved round {number} wrong: it is {view.phase.name.lower()}."
                    )
                answer_by = self._demanded(federation, number) if self.cheat == WITHHOLD else 0
                if answer_by > waited:
                    time.sleep(3)  # An honest coordinator would have answered before.
                    self._advance(federation, answer_by)
                    waited = answer_by
                elif self.cheat == WITHHOLD and not waited:
                    waited = 1
                    self._read_watcher()
                    self.console.print(
                        "\n  A watcher gives mirrors a quarter of the window before it demands anything:"
                    )
                    self._advance(federation, rpc.latest_timestamp() + MIRRORS_SECONDS)
                time.sleep(0.2)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and "proven" not in self._read_watcher():
            time.sleep(0.2)

    def _demanded(self, federation: StoryFederation, number: int) -> int:
        """Return the Unix time until which the newest demand of a round can be answered; 0 if there is none."""
        from folkmoot.ledger.events import Demanded

        times = [
            event
            for event in self._chain_events(federation, "data_availability")
            if isinstance(event, Demanded)
        ]
        return max((event.answer_by for event in times if event.round == number), default=0)

    def _slash(
        self, federation: StoryFederation, number: int, before: Balance, after: Balance
    ) -> dict[str, Any]:
        from folkmoot.ledger.events import Slashed

        slashings = [event for event in self._chain_events(federation, "vault") if isinstance(event, Slashed)]
        slashed = next(event for event in slashings if event.account == self.addresses["coordinator"])
        self.console.rule("[bold]The slash")
        table = Table.grid(padding=(0, 2))
        for left, right in (
            (
                "coordinator's stake",
                f"{format_amount(before.stake)} before, [red]{format_amount(after.stake)}[/] now",
            ),
            ("burnt", format_amount(slashed.burnt)),
            (
                f"to {self.names.get(slashed.beneficiary, 'the watcher')}",
                f"[green]{format_amount(slashed.reward)}[/]"
                + ("; its deposit is back" if self.cheat == PAY else ""),
            ),
            (
                "the watcher's tokens",
                f"{format_amount(before.watcher)} before, {format_amount(after.watcher)} now",
            ),
            ("all tokens", f"{format_amount(before.supply)} before, {format_amount(after.supply)} now"),
            ("head", f"round {before.head} before the lie, round {after.head} now: round {number} is void"),
        ):
            table.add_row(Text(left, style="dim"), right)
        for event in slashings:
            if event.account in self.names:
                lost = format_amount(event.burnt + event.reward)
                table.add_row(
                    Text(self.names[event.account], style="dim"), f"lost {lost}, for what it signed"
                )
        self.console.print(table)
        return {"burnt": slashed.burnt, "reward": slashed.reward}

    def _end(
        self, federation: StoryFederation, outcome: dict[str, Any], audit: dict[str, Any]
    ) -> dict[str, Any]:
        before, after = outcome.pop("before"), outcome.pop("after")
        summary = {
            "cheat": self.cheat,
            **{key: str(value) if key in ("burnt", "reward") else value for key, value in outcome.items()},
            "stakeBefore": str(before.stake),
            "stakeAfter": str(after.stake),
            "watcherBefore": str(before.watcher),
            "watcherAfter": str(after.watcher),
            "headBefore": before.head,
            "headAfter": after.head,
            "audit": audit,
            "seconds": round(time.monotonic() - self.started, 1),
            "home": str(self.plan.home),
        }
        self.console.print(f"\n[dim]{summary['seconds']:.0f} s in all. Logs and files: {self.plan.home}[/]")
        self.console.print(
            Text(f"Try the others: {command_name()} demo --cheat {'|'.join((*CHEATS, *GAMES))}")
        )
        return summary

    # Reading the chain

    def _balance(self, federation: StoryFederation) -> Balance:
        with self._chain(federation) as chain:
            coordinator, watcher = self.addresses["coordinator"], self.addresses[WATCHER]
            return Balance(
                chain.vault.stake_of(coordinator),
                chain.token.balance_of(watcher),
                int(chain.read(chain.token.functions.totalSupply())),
                chain.ledger.head().round,
            )

    @contextmanager
    def _chain(self, federation: StoryFederation) -> Iterator[Chain]:
        from folkmoot.chain.client import Chain

        chain = Chain.connect(federation.rpc_url, Deployment.load(self.plan.deployment_file))
        try:
            yield chain
        finally:
            chain.close()

    def _chain_events(self, federation: StoryFederation, contract: str) -> list[ChainEvent]:
        from folkmoot.ledger.scan import scan

        with self._chain(federation) as chain:
            return list(scan(chain, chain.deployment.block, chain.rpc.block_number(), contracts=(contract,)))

    def _anchor_again(self, federation: StoryFederation, number: int) -> ContractRefused:
        """Send a second anchor from the coordinator's account; return the contract's error."""
        from folkmoot.ledger.entries import anchor_of
        from folkmoot.ledger.events import RoundAnchored
        from folkmoot.runtime import keystore

        password = self.plan.password_file.read_text().strip()
        account = keystore.load(self.plan.keystore("coordinator"), password)
        sent = [
            anchor_of(event)
            for event in self._chain_events(federation, "ledger")
            if isinstance(event, RoundAnchored) and event.round == number
        ][-1]
        other = replace(sent, state_root=sent.mean_root)  # Any other state root.
        with self._chain(federation) as chain:
            try:
                entries = chain.ledger.round(number).entries_hash
                chain.send(chain.ledger.functions.anchor(number, entries, other.abi_tuple()), account)
            except ContractRefused as refusal:
                return refusal
        raise LocalError(
            f"The ledger accepted a second anchor of round {number}.", remedy=REPORT, code="demo-not-caught"
        )


def _not_caught(plan: Story, message: str) -> LocalError:
    return LocalError(message, remedy=f"Read the logs in {plan.logs}.", code="demo-not-caught")
