# SPDX-License-Identifier: Apache-2.0
"""Who attacks, what for, and how a play is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from folkmoot.chain.terms import PROFILES, Governance
from folkmoot.cli.policy import default_of
from folkmoot.protocol.policy import Policy
from folkmoot_lab.economics.search.chain import BLOCK_SECONDS
from folkmoot_lab.economics.search.moves import KINDS, Move, play
from folkmoot_lab.economics.search.world import Cast, Outcome, World, total

PLACES = 8
"""Most contributors of a round: few, so that one account weighs much."""
HARM_FACTOR = 2
"""Harm counts that costs others more than so many tokens for each that the attackers lose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A game for the search.

    Attributes:
        name: Its name.
        words: Who attacks, in words.
        aim: `profit`, or `harm`: what others lose, minus `HARM_FACTOR` times what the attackers lose.
        roles: Moves of these roles are open to the attackers.
        steps: Steps in which rounds are opened and moves are made; the rest is played out honestly.
        part: Its part of the time, compared with the others.
        is_random: Whether the hashes of blocks matter, so that an average of many plays is needed.
    """

    name: str
    words: str
    aim: str
    roles: Sequence[str]
    steps: int
    part: int
    is_random: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The moves of the attackers."""
        return tuple(name for name, kind in KINDS.items() if kind.role in self.roles)


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="coordinator",
            words="the coordinator, two of five contributors, and borrowed capital",
            aim="profit",
            roles=("coordinator", "contributor", "anybody"),
            steps=24,
            part=3,
        ),
        Scenario(
            name="crowd",
            words="people with 8 of 21 minimum stakes, where a round has seven places for contributors",
            aim="profit",
            roles=("contributor", "anybody"),
            steps=30,
            part=4,
            is_random=True,
        ),
        Scenario(
            name="contributors",
            words="two of five contributors, and borrowed capital",
            aim="profit",
            roles=("contributor", "anybody"),
            steps=24,
            part=1,
        ),
        Scenario(
            name="outsiders",
            words="people with capital who take part in no round",
            aim="harm",
            roles=("anybody",),
            steps=0,
            part=2,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Score:
    """What attackers have from a play beyond honest play. Amounts in units of 1e-18 tokens.

    Attributes:
        profit: Tokens, and the worth of steering, without gas, rent and the training of updates.
        harm: What others have less.
        outcome: The play.
        honest: The same without moves.
    """

    profit: int
    harm: int
    outcome: Outcome
    honest: Outcome


class Game:
    """A scenario with a policy: plays moves and counts."""

    def __init__(
        self, scenario: Scenario, profile: str, folder: Path | None = None, policy: Policy | None = None
    ) -> None:
        """Set the federation up."""
        self.scenario, self.profile, self.folder = scenario, profile, folder
        self.governance: Governance = PROFILES[profile].governance
        self.policy = replace(default_of(profile), max_contributors=PLACES) if policy is None else policy
        # Far below what docs/economics.md has for a bond of five rewards.
        self.worth = self.policy.reward
        self.plays = self._earlier = 0
        self._honest: dict[int, Outcome] = {}
        self._renew()

    def _renew(self) -> None:
        """Deploy anew: an EVM keeps a little of everything that was ever tried."""
        self.world = World(self.policy, self.governance, self._cast(), self.folder)

    def _cast(self) -> Cast:
        policy, stake = self.policy, self.policy.min_stake
        if self.scenario.name == "coordinator":
            cast = Cast(
                honest=3, attackers=2, coordinates=True, capital=160 * stake, bonds=9, voters=120 * stake
            )
        elif self.scenario.name == "crowd":
            cast = Cast(
                honest=13, attackers=8, enrolled=False, capital=8 * stake, bonds=60, voters=20 * stake
            )
        elif self.scenario.name == "contributors":
            cast = Cast(honest=3, attackers=2, capital=20 * stake, bonds=60, voters=20 * stake)
        else:
            cast = Cast(honest=5, attackers=0, capital=100 * stake, bonds=6, voters=20 * stake)
            cast.pace = policy.challenge_window // 2
            return cast
        cast.pace = policy.interval or policy.commit_window // 2
        return cast

    @property
    def sent(self) -> int:
        """Transactions so far."""
        return self._earlier + self.world.chain.sent

    @property
    def steps(self) -> int:
        """Steps in which rounds are opened."""
        if self.scenario.steps:
            return self.scenario.steps
        # Two for each round, for as long as a dispute takes, and what comes after it.
        return 2 * (self.governance.unbonding + 4 * self.policy.challenge_window) // self.world.cast.pace

    def _seconds(self) -> int:
        """Return how long the next step takes."""
        world, made = self.world, self.world.current
        if self.scenario.is_random and made is not None and made.entries:
            # In a crowd nothing happens until the window ends.
            return self.policy.commit_window
        if self.scenario.steps or made is not None:
            return world.step_seconds
        return max(1, world.cast.pace - world.step_seconds)

    def score(self, moves: Sequence[Move], salt: int = 0) -> Score:
        """Play, and compare with honest play."""
        if salt not in self._honest:
            self._honest[salt] = self.play((), salt)
        fair, got = self._honest[salt], self.play(moves, salt)
        attackers = self.world.attackers
        others = [who for who in self.world.everybody if who not in attackers]
        profit = (
            total(got.wealth, attackers) - total(fair.wealth, attackers) - got.gas - (got.rent - fair.rent)
        )
        profit += self.worth * got.steered - (got.work - fair.work)
        return Score(profit, total(fair.wealth, others) - total(got.wealth, others), got, fair)

    def value(self, score: Score) -> int:
        """Return what the search maximises."""
        if self.scenario.aim == "profit":
            return score.profit
        return max(score.profit, score.harm - HARM_FACTOR * max(0, -score.profit))

    def play(self, moves: Sequence[Move], salt: int = 0) -> Outcome:
        """Play moves, and everything else honestly."""
        self.plays += 1
        if self.plays % 1000 == 0:
            self._earlier += self.world.chain.sent
            self._renew()
        world = self.world
        world.begin(salt)
        due = sorted(moves, key=lambda move: move.step, reverse=True)
        late = max(1, self.policy.challenge_window // 4)
        end = self.steps + 2 * self.governance.unbonding // late
        while world.step < end:
            world.playing = world.step < self.steps
            if not world.playing and world.is_settled and not due:
                break
            world.before_moves()
            while due and due[-1].step <= world.step:
                if play(world, due.pop()):
                    world.chain.pass_time(BLOCK_SECONDS)
            world.after_moves()
            world.end_step(self._seconds() if world.playing else late)
        return world.outcome()
