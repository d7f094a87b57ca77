# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --cheat puppets`: one staker with many accounts, in a round with fewer places than accounts.

A third of the enrolled stake is the attacker's. It is split into as many accounts as a round has places, which commit
before anybody else does. Each contributor has a full quota enrolled. The display has the attacker's part of the places
in rounds that are played, and in many more draws of the contracts, in which nobody trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rich.table import Table

from folkmoot.devnet.federation import CONTRIBUTOR_STAKE, REWARD, stake
from folkmoot.errors import ContractRefused, LocalError
from folkmoot.protocol.places import REDRAW_BLOCKS, available, has_place, quota_of, seed_of
from folkmoot.rpc.client import Draw
from folkmoot.rpc.local_chain import advance
from folkmoot.runtime.units import format_amount
from folkmoot_lab.stories.federation import Story, StoryFederation
from folkmoot_lab.stories.game import Result
from folkmoot_lab.stories.game_rounds import RoundGame

QUOTA = 4
"""Quota of the rounds that are played, in minimum stakes: each puppet has a fourth of it enrolled."""
DRAWS = 20
"""Number of draws without a round."""
MINED = 32
"""Number of blocks that are mined at once."""
SIGMAS = 5
"""Standard deviations by which the attacker may win more lots than on average. A fair draw exceeds them in one demo of
three million."""


class Puppets(RoundGame):
    """Plays and shows a stake that is split among many accounts."""

    name = "puppets"
    default_rounds = 3

    @classmethod
    def staged(cls, plan: Story) -> Story:
        """Return the plan of a federation in which the contributors have a full quota, and the puppets a part of one.

        With n contributors there are 2 n places and 2 n puppets. So 4 n + 2 n minimum stakes are enrolled, and a quota,
        which is that divided by three quarters of the places, is four of them.
        """
        puppets = {f"puppet-{number}": CONTRIBUTOR_STAKE for number in range(1, 2 * plan.contributors + 1)}
        return replace(plan, stake=QUOTA * CONTRIBUTOR_STAKE, most=2 * plan.contributors + 1, others=puppets)

    def _arrange(self) -> None:
        chain = self.chain
        self.attackers = list(self.plan.others)
        for name in self.attackers:
            stake(chain, self.accounts[name], CONTRIBUTOR_STAKE)
            chain.send(chain.ledger.functions.enrol(CONTRIBUTOR_STAKE), self.accounts[name])
        advance(chain.rpc, 1)  # who enrols in the second of a basis is not drawn
        self.places = available(self.plan.most)
        self.enrolled = {
            name: member.enrolled
            for name, member in zip(
                self.addresses,
                chain.vault.members(list(self.addresses.values())).values(),
                strict=True,
            )
        }
        mine, all_ = sum(self.enrolled[name] for name in self.attackers), sum(self.enrolled.values())
        self.share = mine / all_
        self._done(
            f"{len(self.attackers)} puppets have {format_amount(mine)} of {format_amount(all_)} enrolled "
            f"({self.share:.1%}), for {self.places} places"
        )

    def _play(self, federation: StoryFederation) -> dict[str, Any]:
        self.console.rule("[bold]The draws")
        lots = [self._winners(self._redraw()) for _ in range(DRAWS)]
        won, chance = sum(map(len, lots)), CONTRIBUTOR_STAKE / self._redrawn.quota
        tries = DRAWS * len(self.attackers)
        most = tries * chance + SIGMAS * math.sqrt(tries * chance * (1 - chance))
        contributors = len(self.plan.names())
        mean = sum(len(one) / (len(one) + contributors) for one in lots) / DRAWS
        self.console.print(
            f"In {DRAWS} draws of the contracts the puppets win {won} of {tries} lots ({won / tries:.1%}; the chance "
            f"of each is {chance:.1%}).\nIf all train who have a place, {mean:.1%} of the entries are theirs on "
            f"average, with {self.share:.1%} of the stake. If the first had the places, all {self.places} were theirs."
        )
        if won > most:
            raise LocalError(
                f"The puppets win {won} of {tries} lots, and {most:.0f} at most with what they have enrolled.",
                remedy="This is a hole of the contracts: report it to the maintainers (SECURITY.md).",
                code="demo-attack-paid",
            )
        self.console.rule("[bold red]The rounds")
        self._start(federation, self.rounds, contributors + len(self.attackers))
        rounds = [self._round_of(number) for number in range(1, self.rounds + 1)]
        self._await_step(self.rounds, "settled")
        return {"share": self.share, "lots": won, "lotsOf": tries, "entriesOnAverage": mean, "played": rounds}

    def _judge(self, result: Result, outcome: Mapping[str, Any]) -> tuple[int, str]:
        bound = sum(REWARD * len(one["lots"]) // self.plan.most for one in outcome["played"])
        paid = self._money(self.plan.names()).claimable
        all_ = paid + result.earned
        part = (
            f"{result.earned / all_:.1%} of the pay with {self.share:.1%} of the stake"
            if all_
            else "nobody was paid"
        )
        return bound, f"equal shares for the places that its lots give. It has {part}"

    def _redraw(self) -> Draw:
        """Have other lots drawn, as anybody may after so many blocks; return what a round that is opened now has."""
        chain = self.chain
        for _ in range(-(-REDRAW_BLOCKS // MINED)):  # a busy machine takes seconds for all of them
            chain.rpc.call("anvil_mine", [hex(MINED)])
        chain.send(chain.vault.functions.redraw(), self.accounts[self.attackers[0]])
        chain.rpc.call("evm_mine")
        basis = chain.vault.basis()
        block = chain.rpc.block_at(basis.block)
        if block is None:
            raise AssertionError(f"the chain has no block {basis.block}")
        quota = quota_of(basis.total, self.plan.most, CONTRIBUTOR_STAKE)
        self._redrawn = Draw(quota, basis.at, seed_of(bytes.fromhex(block.hash[2:])))
        return self._redrawn

    def _winners(self, draw: Draw) -> list[str]:
        """Return the puppets that have a place."""
        return [
            name
            for name in self.attackers
            if has_place(draw.quota, draw.seed, self.addresses[name], self.enrolled[name])
        ]

    def _round_of(self, number: int) -> dict[str, Any]:
        """Play a round in which the puppets commit first; return who has its places.

        Raises:
            LocalError: A contributor with a full quota has no place although one was left.
        """
        chain, contributors = self.chain, self.plan.names()
        opened = self._open(number)
        made = self._train_all(opened, [*self.attackers, *contributors])
        lots, refused = self._winners(chain.ledger.draw(number)), {}
        for name in self.attackers:
            call = chain.ledger.functions.commitUpdate(made[name].commitment.abi_tuple())
            if name in lots:
                try:
                    chain.send(call, self.accounts[name])
                except ContractRefused as refusal:  # more lots won than there are places
                    refused[name] = str(refusal.details.get("error"))
            else:
                refused[name] = str(self._refused(call, name).details.get("error"))
        for update in made.values():
            self._submit(update)
        self._await(lambda: chain.ledger.round(number).challenge_deadline, f"the anchor of round {number}")
        has = {name: chain.ledger.has_committed(number, self.addresses[name]) for name in made}
        honest, mine = (sum(has[name] for name in names) for names in (contributors, self.attackers))
        table = Table(
            box=None, padding=(0, 2), header_style="dim", title=f"round {number}", title_justify="left"
        )
        for column in ("", "accounts", "with a lot or a quota", "first to commit", "places"):
            table.add_column(column, justify="right" if column else "left")
        table.add_row("puppets", str(len(self.attackers)), str(len(lots)), "yes", str(mine))
        table.add_row("contributors", str(len(contributors)), str(len(contributors)), "no", str(honest))
        self.console.print(table)
        if honest < min(len(contributors), self.places - len(lots)) or mine > len(lots):
            raise LocalError(
                f"In round {number} {mine} puppets have a place, whose lots give them {len(lots)}, and {honest} of "
                f"{len(contributors)} contributors with a full quota.",
                remedy="This is a hole of the contracts: report it to the maintainers (SECURITY.md).",
                code="demo-attack-paid",
            )
        if honest < len(contributors):
            self.console.print(
                f"  [yellow]More accounts won than there are places: {len(contributors) - honest} came too late.[/]"
            )
        return {
            "round": number,
            "lots": lots,
            "puppets": mine,
            "contributors": honest,
            "entries": chain.ledger.round(number).entries,
            "refused": refused,
        }
