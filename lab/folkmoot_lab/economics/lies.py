# SPDX-License-Identifier: Apache-2.0
"""Strategies of a coordinator that anchors wrong rounds: copied proof, lies in a row, self-report, bribery.

All are played in the attacker's best case: the lie takes the whole reward of the round, because all entries are the
attacker's, and a puppet is always first with a copy of the watcher's proof. `chance_to_pay` and the other functions
have the closed formulas, which the tests compare with what is played.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from folkmoot.chain.bonds import proof_gas
from folkmoot.runtime.units import format_amount
from folkmoot_lab.economics.play import BOSS, WATCHER, Game, Play, average, counted, lie, lying_game
from folkmoot_lab.economics.setting import Setting

NO_PROOF = "always: a proof costs more than it brings, or nobody accepts one"
"""What to say where the challenger's reward is below the gas of a proof, or the policy has no verifier."""

MOST_LIES = 20
"""Most lies in a row, or pending at once, that are tried."""


def sure_loss(setting: Setting) -> Fraction:
    """Return what a conviction costs a coordinator whose puppet is the challenger, without gas."""
    return Fraction(setting.policy.bond - setting.challenger_reward)


def chance_to_pay(setting: Setting) -> Fraction:
    """Return the probability to be caught below which lies pay: g R / (g R + b B), without gas.

    R is the reward and what steering is worth, B the bond, b the part that is burnt, g the rounds that pass unseen.
    """
    prize = Fraction(setting.unseen * setting.prize)
    return prize / (prize + sure_loss(setting)) if prize else Fraction(0)


def worth_to_pay(setting: Setting) -> Fraction | None:
    """Return what steering a round must be worth for lies to pay, p b B / ((1 - p) g) - R; None if all are caught."""
    if setting.caught == 1:
        return None
    odds = setting.caught / (1 - setting.caught)
    return odds * sure_loss(setting) / setting.unseen - setting.policy.reward


def unseen_to_pay(setting: Setting) -> int | None:
    """Return how many rounds in a row must pass unseen for lies to pay; None if all are caught."""
    if setting.caught == 1 or not setting.prize:
        return None
    odds = setting.caught / (1 - setting.caught)
    return int(odds * sure_loss(setting) / setting.prize) + 1


def copied_proof(setting: Setting) -> Iterator[Play]:
    """Lie once; if a proof comes, let a puppet send a copy of it first."""
    yield _tries(setting, 1, "one lie, and a copy of the proof")


def lies_in_a_row(setting: Setting) -> Iterator[Play]:
    """Lie again as long as nobody has proven it."""
    for tries in range(2, MOST_LIES + 1):
        yield _tries(setting, tries, f"{tries * setting.unseen} lies, one after the other")


def self_report(setting: Setting) -> Iterator[Play]:
    """Have several wrong rounds pending, and let a puppet prove one of them."""
    for pending in range(1, MOST_LIES + 1):
        for reported in sorted({0, pending - 1}):
            yield _self_report(setting, pending, reported)


def bribery(setting: Setting) -> Iterator[Play]:
    """Lie, and pay each watcher as much as its proof would bring."""
    game = lying_game(setting, 1, tokens=2 * (setting.watchers + 1) * setting.policy.bond)
    world = game.world
    number = lie(game)
    for watcher in range(setting.watchers):
        bribe = max(0, setting.challenger_reward - setting.proof_cost) if setting.has_verifier else 0
        world.pay(BOSS, f"{WATCHER} {watcher}", bribe)
    world.finalize(number)
    yield average(f"one lie, {setting.watchers} bribed", [(Fraction(1), game.outcome())])


def lie_for_a_vote(setting: Setting) -> Iterator[Play]:
    """Lie about something that no contract computes, such as the weights of most rules."""

    def branch(*, convicted: bool) -> tuple[Fraction, Fraction]:
        game = lying_game(setting, 1)
        number = lie(game)
        if convicted:
            game.world.uphold(number, game.attackers[1])
        else:
            game.world.finalize(number)
        return game.outcome()

    caught = setting.caught_by_vote
    outcomes = [(caught, branch(convicted=True)), (1 - caught, branch(convicted=False))]
    yield average("one lie, and the puppet's own dispute", outcomes)


def lie_pays_if(setting: Setting) -> str:
    """Return what would have to be true for lies to pay."""
    if not setting.caught_for(setting.challenger_reward):
        return NO_PROOF
    least = f"a lie is proven with less than {percent(chance_to_pay(setting))}"
    if setting.caught < chance_to_pay(setting):
        return least
    worth, unseen = worth_to_pay(setting), unseen_to_pay(setting)
    parts = [least]
    if worth is not None:
        parts.append(f"steering a round is worth over {tokens(worth)}")
    if unseen is not None:
        parts.append(f"{unseen} rounds in a row pass unseen")
    return ", or ".join(parts)


def vote_pays_if(setting: Setting) -> str:
    """Return what would have to be true for a lie that a vote judges to pay."""
    paid = setting.challenger_reward if setting.rules.vote_pays_challenger else 0
    if not setting.has_verifier:
        return NO_PROOF
    prize, loss = Fraction(setting.prize), setting.policy.bond - paid
    chance = prize / (prize + loss) if prize else Fraction(0)
    text = f"a vote convicts with less than {percent(chance)}; nobody is paid for a dispute"
    if setting.caught_by_vote == 0:
        return "always: the bonds of the coordinator's pending rounds outvote the others"
    return f"{text}, and the coordinator's own bonds vote" if setting.rules.bonds_vote else text


def self_report_pays_if(setting: Setting) -> str:
    """Return what would have to be true for a self-report to pay."""
    if not setting.rules.bond_for_each_round:
        return "two rounds are pending: the others have no bond left"
    if not setting.caught_for(setting.challenger_reward):
        return NO_PROOF
    return "lies pay anyway: a self-report loses one bond more, since each pending round has its own"


def bribery_pays_if(setting: Setting) -> str:
    """Return what would have to be true for bribes to pay."""
    bribe = setting.challenger_reward - setting.proof_cost
    if bribe <= 0 or not setting.has_verifier:
        return NO_PROOF
    watchers = Fraction(setting.prize, bribe)
    return f"fewer than {float(watchers):.2f} watchers look at a lie, and none of them is honest"


def tokens(amount: Fraction | int) -> str:
    """Return an amount in units of 1e-18 tokens as people read it, rounded to two decimal places."""
    return format_amount(round(Fraction(amount) / 10**16) * 10**16)


def percent(part: Fraction) -> str:
    """Return a part of one in percent, with one decimal place."""
    return f"{float(100 * part):.1f} %"


def _tries(setting: Setting, tries: int, choice: str) -> Play:
    """Return the play of lies one after the other, up to the first that is caught."""

    def branch(passed: int) -> Game:
        game = lying_game(setting, 1)
        for _ in range(passed * setting.unseen):
            game.world.finalize(lie(game))
        if passed < tries:
            _prove(game, lie(game))
        return game

    caught = setting.caught_for(setting.challenger_reward)
    missed = 1 - caught
    outcomes = [(missed**passed * caught, branch(passed).outcome()) for passed in range(tries)]
    return average(choice, [*outcomes, (missed**tries, branch(tries).outcome())])


def _self_report(setting: Setting, pending: int, reported: int) -> Play:
    """Return the play of a puppet that proves one of several pending lies; the others may be caught afterwards."""

    def start() -> tuple[Game, list[int]]:
        game = lying_game(setting, pending if setting.rules.bond_for_each_round else 1)
        numbers = [lie(game) for _ in range(pending)]
        _prove(game, numbers[reported])
        return game, game.world.pending()

    def branch(first_caught: int | None) -> tuple[Fraction, Fraction]:
        game, left = start()
        if first_caught is not None:
            _prove(game, left[first_caught])
        for number in game.world.pending():
            game.world.finalize(number)
        return game.outcome()

    game, left = start()
    # The same for all that are left: each has a bond of its own, or none has one.
    caught = setting.caught_for(game.world.challenger_reward(left[0])) if left else Fraction(0)
    missed = 1 - caught
    outcomes = [(missed**place * caught, branch(place)) for place in range(len(left))]
    choice = f"{counted(pending, 'lie')} pending, the {'first' if reported == 0 else 'last'} reported"
    return average(choice, [*outcomes, (missed ** len(left), branch(None))])


def _prove(game: Game, number: int) -> None:
    """Let a puppet prove a round, and pay the gas."""
    puppet = game.attackers[1]
    game.world.spend_gas(puppet, game.setting.gas(proof_gas(game.setting.policy)))
    game.world.prove(number, puppet)
