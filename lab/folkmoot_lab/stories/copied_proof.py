# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --cheat copied-proof`: the liar's puppet copies the watcher's proof, and is first.

The watcher's transaction waits in the pool. A puppet of the coordinator sends the same bytes with a higher fee, so that
its transaction comes first in the block. A quarter of the bond goes to it and not to the watcher. The rest burns: that
is what the lie costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from eth_typing import HexStr
from rich.table import Table

from folkmoot.devnet.federation import BOND, WATCHER
from folkmoot.errors import LocalError
from folkmoot.rpc.client import Phase
from folkmoot.runtime.units import format_amount
from folkmoot_lab.stories.federation import Story, StoryFederation
from folkmoot_lab.stories.game import Result
from folkmoot_lab.stories.game_rounds import RoundGame

PUPPET = "puppet"
"""Account of the coordinator that has no role, no stake and no tokens."""
LIE = 1
"""Round of the lie."""


class CopiedProof(RoundGame):
    """Plays and shows the copy of a proof."""

    name = "copied-proof"

    @classmethod
    def staged(cls, plan: Story) -> Story:
        """Return the plan of a federation with a watcher, and a coordinator that lies in its first round."""
        return replace(plan, watched=True, cheat=f"mean@{LIE}", others={PUPPET: 1})

    def _arrange(self) -> None:
        self.attackers = ["coordinator", PUPPET]

    def _play(self, federation: StoryFederation) -> dict[str, Any]:
        chain, contributors = self.chain, self.plan.names()
        watcher = self.addresses[WATCHER]
        before, supply = self._money([WATCHER]), int(chain.read(chain.token.functions.totalSupply()))
        self.console.rule("[bold red]The lie")
        self._start(federation, LIE, len(contributors))
        for update in self._train_all(self._open(LIE), contributors).values():
            self._submit(update)
        self._await(lambda: chain.ledger.round(LIE).phase is Phase.ANCHORED, f"the anchor of round {LIE}")
        self.console.print(
            f"Round {LIE} is anchored with a wrong mean. A watcher starts, and blocks wait until it has sent.\n"
        )
        judge = chain.deployment.fraud_proofs
        with self._holding_blocks():
            federation.start_watcher()
            seen = self._await(lambda: self._pooled(watcher, judge), "the watcher's proof")
            copy = self._send_first(PUPPET, judge, seen["input"], seen)
            chain.rpc.call("evm_mine")
        found: dict[str, Any] = {
            name: chain.w3.eth.get_transaction_receipt(HexStr(sent))
            for name, sent in ((PUPPET, copy), (WATCHER, str(seen["hash"])))
        }
        self._show_race(found)
        if found[PUPPET]["status"] != 1:
            raise LocalError("The puppet was not first.", remedy="Run the demo again.", code="demo")
        self._await(lambda: chain.ledger.round(LIE).phase is Phase.SLASHED, f"the end of round {LIE}")
        self._await(lambda: (run := self.api.run()) is None or run.state == "failed", "the end of the run")
        self._read_watcher()
        after = self._money([WATCHER])
        burnt = supply - int(chain.read(chain.token.functions.totalSupply()))
        number = LIE + 1
        self.console.rule("[bold]The next round")
        self._start(federation, 1, len(contributors))
        for update in self._train_all(self._open(number), contributors).values():
            self._submit(update)
        self._await_step(number, "settled")
        self._done(f"round {number} is honest, and builds on round {chain.ledger.round(number).base}")
        return {
            "round": LIE,
            "burnt": str(burnt),
            "watcherTokens": str(after.tokens - before.tokens),
            "watcherGasCoins": str(before.coins - after.coins),
        }

    def _judge(self, result: Result, outcome: Mapping[str, Any]) -> tuple[int, str]:
        return -(
            BOND - BOND // 4
        ), f"three quarters of the bond of {format_amount(BOND)} burn, whoever proves it"

    def _show_race(self, found: Mapping[str, Any]) -> None:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for column in ("place in the block", "sender", "gas", "status"):
            table.add_column(column)
        for name, receipt in sorted(found.items(), key=lambda item: item[1]["transactionIndex"]):
            status = "[green]the round is void[/]" if receipt["status"] else "[red]came too late[/]"
            table.add_row(
                str(receipt["transactionIndex"]),
                self.names[self.addresses[name]],
                f"{receipt['gasUsed']:,}",
                status,
            )
        self.console.print(table)
