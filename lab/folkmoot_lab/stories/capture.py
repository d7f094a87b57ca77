# SPDX-License-Identifier: Apache-2.0
"""`folkmoot demo --cheat capture`: a vote that one account decides alone, while all others sleep.

The attacker has three tenths of the stake, which is more than the quorum. It proposes to take stakes, to have tokens
minted for it, to go beyond the bounds of policies, to become the coordinator, and to decide alone for ever. The display
says what each proposal comes to, and by which contract error. Then the others wake up and vote. No round is played.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eth_utils.crypto import keccak
from rich.markup import escape
from rich.table import Table

from folkmoot.devnet.federation import CONTRIBUTOR_STAKE, COORDINATOR_STAKE, stake
from folkmoot.errors import ContractRefused, LocalError
from folkmoot.rpc.abi import encode_call
from folkmoot.rpc.local_chain import advance
from folkmoot.runtime.units import UNIT, format_amount
from folkmoot_lab.stories.federation import Story, StoryFederation
from folkmoot_lab.stories.game import Game, Result, error_of

if TYPE_CHECKING:
    from folkmoot.chain.governance import Call

ATTACKER = "attacker"
SHARE = (3, 10)
"""The attacker's part of the stake of all, as numerator and denominator."""
PASSED = "executed"
"""What a proposal came to that did what it says."""


class Capture(Game):
    """Plays and shows the capture of a vote."""

    name = "capture"
    has_rounds = False

    @classmethod
    def staged(cls, plan: Story) -> Story:
        """Return the plan of a federation with a large staker."""
        part, whole = SHARE
        others = COORDINATOR_STAKE + plan.contributors * CONTRIBUTOR_STAKE
        return replace(plan, others={ATTACKER: -(-others * part // (whole - part))})

    def _arrange(self) -> None:
        self.attackers = [ATTACKER]
        stake(self.chain, self.accounts[ATTACKER], self.plan.others[ATTACKER])
        advance(self.chain.rpc, 1)  # stake votes from the second after
        self.stakes = self._stakes()
        share = self.stakes[ATTACKER] / sum(self.stakes.values())
        self._done(f"the attacker has {share:.1%} of the stake, and nobody else is going to vote")

    def _play(self, federation: StoryFederation) -> dict[str, Any]:
        chain = self.chain
        supply = int(chain.read(chain.token.functions.totalSupply()))
        coordinator = chain.ledger.coordinator()
        self.console.rule("[bold red]The proposals")
        forbidden, allowed = self._wishes()
        self.console.print(
            f"The attacker proposes {len(forbidden) + len(allowed)} things, votes for each, queues and executes them, "
            "as with [cyan]folkmoot vote[/], [cyan]queue[/] and [cyan]execute[/].\n"
        )
        came_to = self._decide(federation, forbidden | allowed, [ATTACKER])
        self._show_proposals(came_to)
        self._vote_back(federation, coordinator)
        done = [title for title in forbidden if came_to[title] == PASSED]
        moved = [name for name, held in self._stakes().items() if held != self.stakes[name]]
        minted = int(chain.read(chain.token.functions.totalSupply())) - supply
        if done or moved or minted:
            raise _hole(
                f"The vote could {', '.join(done) or 'do what it may'}; it moved the stake of "
                f"{', '.join(moved) or 'nobody'} and made {format_amount(minted)}."
            )
        self.console.print("\nNobody's stake moved, and no token was made.")
        self._leave(federation)
        return {"share": str(self.plan.others[ATTACKER]), "proposals": came_to}

    def _judge(self, result: Result, outcome: Mapping[str, Any]) -> tuple[int, str]:
        return 0, "no vote can take stake or mint"

    def _wishes(self) -> tuple[dict[str, Call], dict[str, Call]]:
        """Return what is proposed, by title: what no vote may do, and what a vote may do."""
        from folkmoot.chain.governance import Call

        chain, me = self.chain, self.addresses[ATTACKER]
        victim = self.addresses["contributor-1"]
        policy = chain.ledger.policy(chain.ledger.current_policy())
        reward = chain.ledger.bounds()[0] + UNIT

        def call(role: str, name: str, *arguments: Any) -> Call:
            return Call(getattr(chain.deployment, role), 0, encode_call(role, name, *arguments))

        def add(**changes: Any) -> Call:
            return call("policies", "addPolicy", replace(policy, **changes).abi_tuple())

        proposer, governor = keccak(text="PROPOSER_ROLE"), chain.deployment.governor
        forbidden = {
            "take a contributor's stake": call("vault", "slash", victim, CONTRIBUTOR_STAKE, me),
            "make a million tokens": call("token", "mint", me, 1_000_000 * UNIT),
            "raise the reward beyond its bound": add(reward=reward, bond=4 * reward),
            "lower the bond below its bound": add(reward=0, bond=chain.ledger.bounds()[1] - 1),
            "raise the minimum stake beyond its bound": add(min_stake=chain.ledger.bounds()[2] + 1),
            "shorten the commit window": add(commit_window=1),
            "shorten the challenge window": add(challenge_window=1),
            "let the attacker judge": add(verifier=me),
            "become a proposer of the timelock": call("timelock", "grantRole", proposer, me),
            "end the governor's power": call("timelock", "revokeRole", proposer, governor),
            "execute without a delay": call("timelock", "updateDelay", 0),
            "replace the timelock": call("governor", "updateTimelock", me),
            "let nobody else propose": call("governor", "setProposalThreshold", chain.vault.stake_of(me)),
            "raise the quorum to all of the stake": call("governor", "updateQuorumNumerator", 100),
            "become the guardian": call("governor", "setProposalGuardian", me),
        }
        allowed = {
            "raise the reward to its bound": add(
                reward=chain.ledger.bounds()[0], bond=4 * chain.ledger.bounds()[0]
            ),
            "become the coordinator": call("ledger", "appointCoordinator", me),
        }
        return forbidden, allowed

    def _show_proposals(self, came_to: Mapping[str, str]) -> None:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for column in ("proposal", "what came of it"):
            table.add_column(column)
        for title, end in came_to.items():
            shown = "[yellow]executed[/]" if end == PASSED else f"[green]refused[/]: {escape(end)}"
            table.add_row(title, shown)
        self.console.print(table)
        self.console.print(
            "\nA vote changes policies within their bounds and the coordinator, and not how later votes are taken."
        )

    def _vote_back(self, federation: StoryFederation, coordinator: str) -> None:
        """Let the others vote: the attacker votes against them, and loses.

        Raises:
            LocalError: The attacker is still the coordinator.
        """
        from folkmoot.chain.governance import appointment

        others = [name for name in self.accounts if name != ATTACKER and self.stakes[name]]
        calls = {"appoint the coordinator of before": appointment(self.chain, coordinator)}
        self._decide(federation, calls, others, against=[ATTACKER])
        if self.chain.ledger.coordinator() != coordinator:
            raise _hole("The others could not vote the attacker out of office.")
        self.console.print(
            "The others wake up, and vote the coordinator of before back, against the votes of the attacker."
        )

    def _decide(
        self,
        federation: StoryFederation,
        calls: Mapping[str, Call],
        voters: Sequence[str],
        against: Sequence[str] = (),
    ) -> dict[str, str]:
        """Propose calls, vote, queue and execute.

        Args:
            federation: The federation, whose chain is moved on in time.
            calls: What is proposed, by title.
            voters: Accounts that vote for everything. The first one proposes.
            against: Accounts that vote against everything.

        Returns:
            What each came to: `PASSED`, or the contract's error.
        """
        from folkmoot.chain import governance

        chain, proposer = self.chain, self.accounts[voters[0]]
        numbers = {}
        for title, call in calls.items():
            made, _ = governance.propose(chain, proposer, [call], title)
            numbers[title] = str(made)
        last = numbers[next(reversed(numbers))]
        self._advance(federation, governance.find(chain, last).snapshot)
        for number in numbers.values():
            for choice, names in (("for", voters), ("against", against)):
                for name in names:
                    governance.vote(chain, self.accounts[name], governance.find(chain, number), choice)
        self._advance(federation, governance.find(chain, last).deadline)
        for number in numbers.values():
            governance.queue(chain, proposer, governance.find(chain, number))
        self._advance(federation, governance.find(chain, last).eta)
        voted = governance.find(chain, last)
        self.console.print(
            f"Votes for each: {format_amount(voted.votes_for)}; the quorum is {format_amount(voted.quorum)}."
        )
        came_to = {}
        for title, number in numbers.items():
            try:
                governance.execute(chain, proposer, governance.find(chain, number))
                came_to[title] = PASSED
            except ContractRefused as refusal:
                came_to[title] = error_of(refusal)
        return came_to

    def _leave(self, federation: StoryFederation) -> None:
        """Let a contributor take out its whole stake.

        Raises:
            LocalError: It has not all of it.
        """
        name, chain = "contributor-1", self.chain
        before = self._money([name])
        chain.send(chain.vault.functions.requestUnbond(before.stake), self.accounts[name])
        self._advance(federation, chain.now() + chain.vault.unbonding_period())
        chain.send(chain.vault.functions.withdraw(), self.accounts[name])
        after = self._money([name])
        if after.tokens != before.tokens + before.stake:
            raise _hole(
                f"{self._title(1)} has {format_amount(after.tokens)} and not "
                f"{format_amount(before.tokens + before.stake)}."
            )
        self.console.print(
            f"{self._title(1)} does not want to be ruled so, and has its whole stake back: "
            f"{format_amount(after.tokens)}."
        )

    def _stakes(self) -> dict[str, int]:
        """Return the stake of each account."""
        return {name: self.chain.vault.stake_of(address) for name, address in self.addresses.items()}


def _hole(message: str) -> LocalError:
    return LocalError(
        message,
        remedy="This is a hole of the contracts: report it to the maintainers (SECURITY.md).",
        code="demo-attack-paid",
    )
