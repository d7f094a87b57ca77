# SPDX-License-Identifier: Apache-2.0
"""Cheats with money, time and several accounts: what they have in common.

A game is played on a local Anvil, with the real contracts and commands, and without Flower. It ends with what the
attacker's accounts earned and lost, in exact tokens read from the chain, and fails if that is more than the attack may
bring in. This module imports neither `server` nor `client`.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from folkmoot.devnet.federation import Prepared, prepare
from folkmoot.errors import ContractRefused, LocalError
from folkmoot.rpc.client import Call
from folkmoot.runtime.commands import command_name
from folkmoot.runtime.processes import Supervisor
from folkmoot.runtime.units import format_amount
from folkmoot_lab.stories.cheat import CHEATS, GAMES
from folkmoot_lab.stories.demo import REPORT, Demo
from folkmoot_lab.stories.federation import Story, StoryFederation

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from folkmoot.ledger.events import Event as ChainEvent

FORCED_GAS = 1_000_000
"""Gas limit of a transaction that is sent although it is going to fail. An estimate would refuse to send it."""


@dataclass(frozen=True)
class Money:
    """What some accounts have, in units of 1e-18."""

    tokens: int
    """Tokens in the accounts."""
    stake: int
    """Stake, bonds included."""
    unbonding: int
    """Stake that is being taken out."""
    claimable: int
    """Rewards that can be claimed."""
    coins: int
    """Native coins, which pay for gas."""

    @property
    def total(self) -> int:
        """All tokens."""
        return self.tokens + self.stake + self.unbonding + self.claimable


@dataclass(frozen=True)
class Result:
    """Result of an attack, in units of 1e-18."""

    earned: int
    """Rewards that rounds credited to the attacker's accounts, and their parts of what was slashed."""
    lost: int
    """Stake of the attacker's accounts that was slashed."""
    coins: int
    """Native coins that its transactions cost."""

    @property
    def net(self) -> int:
        """Tokens that the attacker has more than before."""
        return self.earned - self.lost


class Game(Demo):
    """Plays and shows an attack with money, time or several accounts.

    Args:
        plan: The federation, from `staged`.
        rounds: Number of rounds to play.
        console: Where to print.
        keep: Whether all processes continue at the end, until Ctrl-C.
    """

    name: ClassVar[str]
    """Name of the cheat."""
    has_rounds: ClassVar[bool] = True
    """Whether rounds are played, which a coordinator leads and an audit recomputes."""
    default_rounds: ClassVar[int] = 1
    """Number of rounds, where nobody says otherwise."""

    def __init__(self, plan: Story, rounds: int, console: Console, *, keep: bool = False) -> None:
        super().__init__(plan, rounds, console, keep=keep)
        self.accounts: dict[str, LocalAccount] = {}
        self.attackers: list[str] = []
        self._since = 0

    @classmethod
    @abstractmethod
    def staged(cls, plan: Story) -> Story:
        """Return the plan of the federation in which this is played."""

    @abstractmethod
    def _play(self, federation: StoryFederation) -> dict[str, Any]:
        """Play and show the attack; return what the summary says of it."""

    @abstractmethod
    def _judge(self, result: Result, outcome: Mapping[str, Any]) -> tuple[int, str]:
        """Return the most tokens (units of 1e-18) that the attack may bring in, and why in words."""

    def _arrange(self) -> None:
        """Do what the attacker does before the attack. What it has is counted afterwards."""

    def run(self) -> dict[str, Any]:
        """Play the whole attack; return a summary.

        Raises:
            FolkmootError: A part failed, or the attack paid (`demo-attack-paid`). All processes have ended.
        """
        from folkmoot.chain.client import Chain
        from folkmoot.ledger.deployment import Deployment

        with Supervisor(self.plan.logs) as supervisor:
            federation = StoryFederation(self.plan, supervisor)
            self._set_up(federation)
            deployment = Deployment.load(self.plan.deployment_file)
            with closing(Chain.connect(federation.rpc_url, deployment)) as self.chain:
                self._arrange()
                before = self._money(self.attackers)
                self._since = self.chain.rpc.block_number() + 1
                outcome = self._play(federation)
                result = self._result(before)
                bound = self._show_result(result, outcome)
                audit = self._audit(federation) if self.has_rounds else None
            summary = {
                "cheat": self.name,
                **outcome,
                "earned": str(result.earned),
                "lost": str(result.lost),
                "net": str(result.net),
                "bound": str(bound),
                "gasCoins": str(result.coins),
                "audit": audit,
                "seconds": round(time.monotonic() - self.started, 1),
                "home": str(self.plan.home),
            }
            self.console.print(
                f"\n[dim]{summary['seconds']:.0f} s in all. Logs and files: {self.plan.home}[/]"
            )
            self.console.print(
                Text(f"Try the others: {command_name()} demo --cheat {'|'.join((*CHEATS, *GAMES))}")
            )
            if self.keep:
                self._stay(supervisor, federation)
        return summary

    # The federation

    def _intro(self) -> str:
        return f"{self.plan.contributors} strangers train [bold]{self.plan.task}[/]. {GAMES[self.name]}\n"

    def _set_up(self, federation: StoryFederation) -> Prepared:
        from folkmoot.runtime import keystore

        self.console.rule("[bold]Folkmoot")
        self.console.print(self._intro())
        with self.console.status("starting the chain") as status:
            federation.start_chain()
            self._done(f"local chain (Anvil) at {federation.rpc_url}")
            prepared = prepare(self.plan, federation.rpc_url, lambda text: status.update(f"making {text}"))
            self.addresses = prepared.addresses
            titles = {name: self._title(number) for number, name in enumerate(self.plan.names(), 1)}
            for name, address in self.addresses.items():
                self.names[address] = titles.get(name, name.replace("-", " "))
            self._done(f"{len(prepared.report.gas)} contracts deployed; the deployer holds no role")
            self._done(f"{self.plan.contributors} contributors staked, the coordinator bonded")
            if self.has_rounds:
                status.update("starting the coordinator")
                federation.start_coordinator()
                self._done(f"coordinator at {federation.api_url}")
        password = self.plan.password_file.read_text(encoding="utf-8").strip()
        self.accounts = {name: keystore.load(self.plan.keystore(name), password) for name in self.addresses}
        return prepared

    # Money

    def _money(self, names: Iterable[str]) -> Money:
        """Read what accounts have, by their names."""
        chain, parts = self.chain, [0, 0, 0, 0, 0]
        for name in names:
            account = self.addresses[name]
            unbonding = sum(one.amount for one in chain.vault.unbondings(account))
            of_account = (
                chain.token.balance_of(account),
                chain.vault.stake_of(account),
                unbonding,
                chain.rewards.claimable(account),
                chain.rpc.balance(account),
            )
            parts = [a + b for a, b in zip(parts, of_account, strict=True)]
        return Money(*parts)

    def _result(self, before: Money) -> Result:
        """Read what the attack brought in and cost: from the events, and held against the accounts.

        Raises:
            LocalError: The two differ.
        """
        from folkmoot.ledger.events import RewardCredited, Slashed

        mine = {self.addresses[name] for name in self.attackers}
        after, earned, lost = self._money(self.attackers), 0, 0
        for event in self._events_since():
            if isinstance(event, RewardCredited) and event.contributor in mine:
                earned += event.amount
            elif isinstance(event, Slashed):
                earned += event.reward if event.beneficiary in mine else 0
                lost += event.reward + event.burnt if event.account in mine else 0
        if after.total - before.total != earned - lost:
            raise LocalError(
                f"The attacker's accounts have {format_amount(after.total - before.total)} more than before, but the "
                f"events say {format_amount(earned - lost)}.",
                remedy=REPORT,
                code="demo",
            )
        return Result(earned, lost, before.coins - after.coins)

    def _show_result(self, result: Result, outcome: Mapping[str, Any]) -> int:
        """Show what the attack brought in and cost; return the most that it may bring in.

        Raises:
            LocalError: It brought in more (`demo-attack-paid`).
        """
        bound, why = self._judge(result, outcome)
        self.console.rule("[bold]What the attacker has of it")
        table = Table.grid(padding=(0, 2))
        for left, right in (
            ("earned", format_amount(result.earned)),
            ("lost", format_amount(result.lost)),
            ("in all", f"[{'green' if result.net > 0 else 'red'}]{format_amount(result.net)}[/]"),
            ("gas", f"{format_amount(result.coins).removesuffix(' MOOT')} coins of the chain"),
            ("at most", f"{format_amount(bound)}: {escape(why)}"),
        ):
            table.add_row(Text(left, style="dim"), right)
        self.console.print(table)
        if result.net > bound:
            raise LocalError(
                f"The attack {self.name} paid: it brought in {format_amount(result.net)}, and may bring in "
                f"{format_amount(bound)} at most ({why}).",
                remedy=REPORT,
                code="demo-attack-paid",
                details={"net": str(result.net), "bound": str(bound)},
            )
        return bound

    def _events_since(self) -> list[ChainEvent]:
        """Return the events of all contracts since the attack began."""
        from folkmoot.ledger.scan import scan

        return list(scan(self.chain, self._since, self.chain.rpc.block_number()))

    # Transactions that are meant to fail

    def _refused(self, function: Call, name: str) -> ContractRefused:
        """Send a transaction of an account that a contract must refuse; return the refusal.

        It is mined, and so costs its gas: an attacker does not ask first.

        Raises:
            LocalError: It succeeded.
        """
        account, chain = self.accounts[name], self.chain
        fields: Any = {
            "from": account.address,
            "nonce": chain.w3.eth.get_transaction_count(account.address),
            "gas": FORCED_GAS,
            "chainId": chain.deployment.chain_id,
            "to": function.to,
            "data": function.data,
            "value": 0,
            "maxPriorityFeePerGas": 10**9,
            "maxFeePerGas": 4 * chain.rpc.latest().base_fee + 10**9,
        }
        signed = account.sign_transaction(fields)
        sent = chain.w3.eth.send_raw_transaction(signed.raw_transaction)
        receipt = chain.w3.eth.wait_for_transaction_receipt(sent, timeout=60, poll_latency=0.1)
        try:
            if receipt["status"] == 0:
                chain.read(function, sender=account.address)
        except ContractRefused as refusal:
            return refusal
        raise LocalError(
            f"A contract accepted {function.name} of {self.names[account.address]}.",
            remedy=REPORT,
            code="demo-not-caught",
        )


def error_of(refusal: ContractRefused) -> str:
    """Return the name of the custom error of a refusal, with the first word among its arguments."""
    details = refusal.details
    words = [value for value in details.get("arguments", {}).values() if isinstance(value, str)]
    fields = [word for word in words if word.isalpha()]
    return str(details.get("error")) + (f"({fields[0]})" if fields else "")
