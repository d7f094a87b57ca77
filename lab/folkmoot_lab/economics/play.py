# SPDX-License-Identifier: Apache-2.0
"""One way to play a strategy, and what it brings in on average."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from folkmoot_lab.economics.setting import Setting
from folkmoot_lab.economics.world import Phase, World

BOSS = "coordinator"
"""The coordinator, where it attacks."""
PUPPET = "puppet"
"""An account of the attacker that is no coordinator."""
WATCHER = "watcher"
"""Somebody who checks rounds."""


@dataclass(frozen=True, slots=True)
class Play:
    """One choice of an attacker, with averages in units of 1e-18 tokens. Both amounts may be fractions.

    Attributes:
        choice: What the attacker does.
        gain: Rewards beyond those of honest work with the same stake, the worth of steering, and others' tokens.
        cost: Stake, deposits and bribes that are lost, and gas.
    """

    choice: str
    gain: Fraction
    cost: Fraction

    @property
    def profit(self) -> Fraction:
        """Gain minus cost."""
        return self.gain - self.cost


@dataclass(frozen=True, slots=True)
class Strategy:
    """A known attack.

    Attributes:
        name: Its name.
        plays: Yields every choice that is tried.
        pays_if: Says in words what would have to be true for it to pay.
    """

    name: str
    plays: Callable[[Setting], Iterator[Play]]
    pays_if: Callable[[Setting], str]

    def best(self, setting: Setting) -> Play:
        """Return the choice with the largest profit."""
        return max(self.plays(setting), key=lambda play: play.profit)


@dataclass(slots=True)
class Game:
    """A world with an attacker in it.

    Attributes:
        setting: What it is played with.
        world: The world, in which all of the attacker's accounts have what they need.
        attackers: The attacker's accounts.
        started: What they owned in the beginning.
    """

    setting: Setting
    world: World
    attackers: tuple[str, ...]
    started: int = 0

    def outcome(self, *, fair: Fraction | int = 0, taken: int = 0) -> tuple[Fraction, Fraction]:
        """Return the attacker's gain and cost.

        Args:
            fair: Rewards that honest work with the same stake would have had.
            taken: What is in the accounts and was somebody else's: counted as a gain, not as a smaller cost.
        """
        world = self.world
        earned = sum(world.earned[account] for account in self.attackers)
        wrong = sum(made.wrong and made.phase is Phase.FINAL for made in world.rounds)
        gas = sum(world.gas[account] for account in self.attackers)
        lost = self.started + earned + taken - world.wealth(self.attackers)
        return earned + taken + wrong * self.setting.worth - Fraction(fair), Fraction(lost + gas)


def lying_game(setting: Setting, bonds: int, tokens: int = 0) -> Game:
    """Return a game of a coordinator whose puppets have all entries, so that a lie takes the whole reward.

    Args:
        setting: What it is played with.
        bonds: Bonds that the coordinator has at stake.
        tokens: Tokens of the coordinator that are not at stake.
    """
    places = max(1, setting.policy.min_contributors)
    # So few places, and few puppets: with all places of the real policy, a lie would take the same, move by move.
    world = World(setting.rules, replace(setting.policy, max_contributors=places))
    world.give_stake(BOSS, bonds * setting.policy.bond)
    world.tokens[BOSS] = tokens
    puppets = [f"{PUPPET} {i}" for i in range(places)]
    for puppet in puppets:
        world.give_stake(puppet, setting.policy.min_stake)
    attackers = (BOSS, *puppets)
    return Game(setting, world, attackers, world.wealth(attackers))


def lie(game: Game) -> int:
    """Open a round, fill it with puppets, and anchor it wrong. Return its number."""
    world = game.world
    number = world.open(BOSS)
    for puppet in game.attackers[1:]:
        world.commit(number, puppet, f"update of {puppet}")
    world.anchor(number, wrong=True)
    return number


def counted(number: int, noun: str) -> str:
    """Return a number with a noun whose plural has an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def average(choice: str, branches: Iterable[tuple[Fraction, tuple[Fraction, Fraction]]]) -> Play:
    """Return a play from the probability, gain and cost of each of its outcomes.

    Raises:
        ValueError: The probabilities do not add up to 1.
    """
    whole, gain, cost = Fraction(0), Fraction(0), Fraction(0)
    for probability, (won, lost) in branches:
        whole += probability
        gain += probability * won
        cost += probability * lost
    if whole != 1:
        raise ValueError(f"probabilities of {choice} add up to {whole}")
    return Play(choice, gain, cost)
