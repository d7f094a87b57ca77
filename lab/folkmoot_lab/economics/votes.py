# SPDX-License-Identifier: Apache-2.0
"""Strategies with votes, disputes and demands: capture of a vote, sham disputes, sham demands.

The vote is played in the attacker's best case: it has the votes to decide, and the others sleep. What such a vote can
have minted later is no part of it (`folkmoot_lab.economics.capital`).
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from folkmoot.chain.bonds import proof_gas
from folkmoot_lab.economics.lies import NO_PROOF, chance_to_pay, percent
from folkmoot_lab.economics.play import BOSS, PUPPET, Game, Play, average, counted, lie, lying_game
from folkmoot_lab.economics.rules import Places
from folkmoot_lab.economics.setting import ANSWER_GAS, DEMAND_GAS, DISPUTE_GAS, UPHOLD_GAS, Setting
from folkmoot_lab.economics.world import World

VICTIM = "honest coordinator"
"""A coordinator that does not attack."""


def capture(setting: Setting) -> Iterator[Play]:
    """Decide a vote while the others sleep, and take what it can give."""
    game, number = _honest_round(setting)
    world = game.world
    world.spend_gas(PUPPET, setting.gas(DISPUTE_GAS + UPHOLD_GAS))
    world.deposit(PUPPET, setting.dispute_deposit)
    before = world.tokens[PUPPET]
    world.uphold(number, PUPPET)
    taken = world.tokens[PUPPET] - before
    world.release(PUPPET, setting.dispute_deposit)
    yield average("an honest bond convicted", [(Fraction(1), game.outcome(taken=taken))])
    if setting.rules.vote_can_take_stake:
        game, _ = _honest_round(setting)
        victims = [account for account in game.world.stakes if account != PUPPET]
        taken = sum(game.world.stakes[account] for account in victims)
        for account in victims:
            game.world.take_by_vote(account, PUPPET)
        yield average("every stake taken", [(Fraction(1), game.outcome(taken=taken))])


def sham_disputes_and_demands(setting: Setting) -> Iterator[Play]:
    """Dispute and demand without a reason, to stop others or to hide a lie."""
    for dismissed in (True, False):
        game, _ = _honest_round(setting)
        game.world.spend_gas(PUPPET, setting.gas(DISPUTE_GAS))
        game.world.deposit(PUPPET, setting.dispute_deposit)
        if dismissed:
            game.world.dismiss(VICTIM, setting.dispute_deposit)
        else:
            game.world.give_back(PUPPET, setting.dispute_deposit)
        said = "dismissed" if dismissed else "undecided"
        yield average(f"an honest round disputed, {said}", [(Fraction(1), game.outcome())])
    game, _ = _honest_round(setting)
    for _ in range(setting.rules.demand_places):
        game.world.spend_gas(PUPPET, setting.gas(DEMAND_GAS))
        game.world.deposit(PUPPET, setting.demand_deposit)
        game.world.release(VICTIM, setting.demand_deposit)
    choice = f"{setting.rules.demand_places} demands of an honest round, answered"
    yield average(choice, [(Fraction(1), game.outcome())])
    yield _hidden_lie(setting)


def capture_pays_if(setting: Setting) -> str:
    """Return what would have to be true for the capture of a vote to pay."""
    if setting.rules.vote_can_take_stake:
        return "the attacker has the quorum, and the others sleep"
    return "never by what it takes; what it may have minted afterwards is not covered"


def sham_pays_if(setting: Setting) -> str:
    """Return what would have to be true for sham disputes and demands to pay."""
    if _can_block(setting):
        return "the attacker's demands take all places, so nobody else can ask"
    if not setting.caught_for(setting.challenger_reward):
        return NO_PROOF
    return f"nobody demands what is withheld: a hidden lie is proven with less than {percent(chance_to_pay(setting))}"


def _honest_round(setting: Setting) -> tuple[Game, int]:
    """Return a game in which an honest coordinator has anchored a right round; the attacker has stake and deposits."""
    world = World(setting.rules, setting.policy)
    world.give_stake(VICTIM, setting.policy.bond)
    world.give_stake(PUPPET, setting.puppets * setting.policy.min_stake)
    world.tokens[PUPPET] = setting.dispute_deposit + setting.rules.demand_places * setting.demand_deposit
    number = world.open(VICTIM)
    members = max(setting.policy.min_contributors, min(setting.others, setting.policy.max_contributors))
    for i in range(members):
        world.give_stake(f"honest {i}", setting.policy.min_stake)
        world.commit(number, f"honest {i}", f"update of honest {i}")
    world.anchor(number)
    return Game(setting, world, (PUPPET,), world.wealth((PUPPET,))), number


def _can_block(setting: Setting) -> bool:
    """Return whether a coordinator can keep all others from demanding.

    It must take the places for strangers' demands, and keep contributors, who have places of their own, out of the
    round.
    """
    return not setting.rules.demands_are_shared and setting.rules.places is Places.FIRST_COME


def _hidden_lie(setting: Setting) -> Play:
    """Return the play of a lie whose files are withheld, with a puppet that demands before others can."""
    demands = setting.rules.demand_places if _can_block(setting) else 1
    tokens = demands * setting.demand_deposit

    def branch(*, caught: bool) -> tuple[Fraction, Fraction]:
        game = lying_game(setting, 1, tokens=tokens)
        world, puppet = game.world, game.attackers[1]
        number = lie(game)
        for _ in range(demands):
            world.spend_gas(BOSS, setting.gas(DEMAND_GAS))
            world.deposit(BOSS, setting.demand_deposit)
        if caught:
            # The demand of the puppet was first, so the challenger's share is its own.
            world.spend_gas(puppet, setting.gas(proof_gas(setting.policy)))
            world.prove(number, puppet)
        else:
            world.spend_gas(BOSS, demands * setting.gas(ANSWER_GAS))
            world.finalize(number)
        world.release(BOSS, demands * setting.demand_deposit)
        return game.outcome()

    chance = Fraction(0) if _can_block(setting) else setting.caught_for(setting.challenger_reward)
    choice = f"a lie withheld behind {counted(demands, 'own demand')}"
    outcomes = [(chance, branch(caught=True))] if chance else []
    return average(choice, [*outcomes, (1 - chance, branch(caught=False))])
