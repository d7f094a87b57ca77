# SPDX-License-Identifier: Apache-2.0
"""Strategies with entries of rounds: spam of places, a coordinator with puppets, Sybil splits, work that nobody did.

What such an attacker has is compared with what the same stake would earn by honest work: the share of a place for each
of its entries. So only what timing, the coordinator's powers, copies or training that is not done add counts as a gain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import comb

from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.runtime.units import format_amount
from folkmoot_lab.economics.play import BOSS, PUPPET, Game, Play, counted
from folkmoot_lab.economics.rules import DROPS_NEAR_COPIES, Places
from folkmoot_lab.economics.setting import COMMIT_GAS, DRAW_GAS, RIDERS_PAY, TRAINING, Setting
from folkmoot_lab.economics.world import World

RAREST = Fraction(1, 10_000)
"""Least probability of a lot for which a coordinator would go on drawing."""


@dataclass(frozen=True, slots=True)
class Lots:
    """How a round's places fall to an attacker and to others, all with the least stake.

    Attributes:
        fair: Average share of the pay that the attacker's entries have if everybody commits in a random order.
        shares: Probability of each share that they have if the attacker commits first.
        entries: Average number of the attacker's entries then.
    """

    fair: Fraction
    shares: Mapping[Fraction, Fraction]
    entries: Fraction

    @property
    def first(self) -> Fraction:
        """Average share if the attacker commits first."""
        return sum((share * chance for share, chance in self.shares.items()), Fraction(0))

    def drawn_again(self, cost: Fraction) -> tuple[Fraction, Fraction]:
        """Return the best average share, and the draws for it, if the lot may be drawn until it is good enough.

        Args:
            cost: Of a draw, as a part of the reward.
        """
        best, draws = self.first, Fraction(1)
        chance, weighted = Fraction(0), Fraction(0)
        for share in sorted(self.shares, reverse=True):
            chance += self.shares[share]
            weighted += self.shares[share] * share
            if chance < RAREST:
                continue
            if weighted / chance - cost * (1 / chance - 1) > best - cost * (draws - 1):
                best, draws = weighted / chance, 1 / chance
        return best, draws


def draw(setting: Setting, puppets: int) -> Lots:
    """Return how the places fall to so many puppets and to the honest contributors, under the setting's rules.

    Lots are independent, so the numbers of places are binomial. Nobody's lot limits the whole: if more accounts have a
    place than there are places, the first to commit take them.
    """
    places, others = setting.places, setting.others
    quota = Fraction(0)
    if setting.rules.places is Places.QUOTA:
        quota = setting.rules.quota(places, puppets + others)
    chance = min(Fraction(1), 1 / quota) if quota else Fraction(1)
    mine, theirs = _binomial(puppets, chance), _binomial(others, chance)
    whole = chance.denominator ** (puppets + others)
    # Sums by denominator: products of large integers, and a fraction each only at the end.
    fair: dict[int, int] = {}
    shares: dict[int, int] = {}
    entries = 0
    for x, of_mine in mine.items():
        for y, of_theirs in theirs.items():
            weight = of_mine * of_theirs
            fair[x + y] = fair.get(x + y, 0) + weight * x
            taken = min(x, places)
            shares[taken] = shares.get(taken, 0) + weight
            entries += weight * taken
    paid = setting.policy.max_contributors
    # Of more accounts than places, each has one as probably as another.
    had = (
        Fraction(weight * min(total, places), whole * total * paid) for total, weight in fair.items() if total
    )
    return Lots(
        sum(had, Fraction(0)),
        {Fraction(taken, paid): Fraction(weight, whole) for taken, weight in shares.items()},
        Fraction(entries, whole),
    )


def spam(setting: Setting) -> Iterator[Play]:
    """Commit garbage that the rule accepts from many accounts, in the first block of a round."""
    for puppets in _numbers(setting.puppets):
        lots = draw(setting, puppets)
        gain = (lots.first - lots.fair) * setting.policy.reward
        yield Play(f"{counted(puppets, 'account')}, first", gain, lots.entries * setting.gas(COMMIT_GAS))


def puppets_of_coordinator(setting: Setting) -> Iterator[Play]:
    """Be the coordinator, and have puppets among the contributors."""
    for puppets in _numbers(setting.puppets):
        yield _left_out(setting, puppets)
        lots = draw(setting, puppets)
        share, draws = lots.first, Fraction(1)
        if setting.rules.lot_can_be_drawn_again and setting.policy.reward:
            share, draws = lots.drawn_again(Fraction(setting.gas(DRAW_GAS), setting.policy.reward))
        drawn = f", {float(draws):.0f} draws" if draws > 1 else ""
        yield Play(
            f"{counted(puppets, 'puppet')}, first{drawn}",
            (share - lots.fair) * setting.policy.reward,
            lots.entries * setting.gas(COMMIT_GAS) + (draws - 1) * setting.gas(DRAW_GAS),
        )


def sybil_split(setting: Setting) -> Iterator[Play]:
    """Send one trained update from several accounts: the same, or each altered a little."""
    most = max(2, min(setting.puppets, setting.places // 2))
    others = max(0, min(setting.others, setting.places - most))
    alone = _pay(setting, others, 1, copies=0, weighed=True)
    for accounts in _numbers(most, least=2):
        same = _pay(setting, others, accounts, copies=accounts, weighed=True)
        yield Play(f"{accounts} accounts, equal updates", same - alone, Fraction(0))
        weighed = setting.policy.rule not in DROPS_NEAR_COPIES
        near = _pay(setting, others, accounts, copies=0, weighed=weighed)
        yield Play(f"{accounts} accounts, altered copies", near - alone, Fraction(0))


def riders(setting: Setting) -> Iterator[Play]:
    """Train nothing, and send what looks like an update: mixtures of public ones, with a direction in common."""
    places = setting.places
    for accounts in _numbers(max(1, min(setting.puppets, places // 2))):
        others = max(0, min(setting.others, places - accounts))
        trained = _pay(setting, others, accounts, copies=0, weighed=True)
        ridden = _pay(setting, others, accounts, copies=0, weighed=True, pay=RIDERS_PAY)
        saved = accounts * TRAINING * setting.policy.reward / setting.policy.max_contributors
        yield Play(f"{counted(accounts, 'account')}, no training", ridden - trained + saved, Fraction(0))


def riders_pay_if(setting: Setting) -> str:
    """Return what would have to be true for updates that nobody trained to pay."""
    if not setting.has_pays:
        return "always: what has weight has a share, and what looks like an update has weight"
    least = 100 * (1 - Fraction(RIDERS_PAY, FULL_PAY))
    return f"to train an update costs more than {float(least):.0f} % of a place"


def places_pay_if(setting: Setting) -> str:
    """Return what would have to be true for spam of places to pay."""
    if setting.rules.places is Places.FIRST_COME:
        return "more accounts want a place than there are places"
    percent = setting.rules.quota_percent
    if percent < 100:
        return f"more lots win than there are places, though the quotas are made for {percent} % of them"
    return "the accounts outnumber the places: if too many lots win, the first to commit have the places"


def puppets_pay_if(setting: Setting) -> str:
    """Return what would have to be true for puppets of a coordinator to pay."""
    if setting.rules.places is Places.FIRST_COME:
        return places_pay_if(setting)
    if not setting.rules.lot_can_be_drawn_again:
        return "as spam of places"
    price = format_amount(setting.gas(DRAW_GAS))
    return f"as spam of places, and the coordinator draws the lot again, at {price} a draw"


def sybil_pays_if(setting: Setting) -> str:
    """Return what would have to be true for Sybil splits to pay."""
    if not setting.rules.equal_roots_weigh_once:
        return "always: each copy has a share"
    if setting.policy.rule in DROPS_NEAR_COPIES:
        return "altered copies, or updates that nobody trained, pass the rule"
    return f"always: {setting.policy.rule} pays copies that are altered a little"


def _numbers(most: int, least: int = 1) -> list[int]:
    """Return the numbers of accounts to try: powers of two, and the largest; the least if there are none."""
    tried = {least, max(least, most)}
    number = least
    while number < most:
        tried.add(number)
        number *= 2
    return sorted(tried)


def _binomial(number: int, chance: Fraction) -> dict[int, int]:
    """Return the probability of each number of successes, times denominator^number; without those that are 0."""
    yes, no = chance.numerator, chance.denominator - chance.numerator
    found = {i: comb(number, i) * yes**i * no ** (number - i) for i in range(number + 1)}
    return {i: weight for i, weight in found.items() if weight}


def _round(setting: Setting, others: int, puppets: list[str], copies: int) -> tuple[Game, int]:
    """Return a game with one round that honest contributors and puppets have entered.

    Args:
        setting: What it is played with.
        others: Number of honest contributors.
        puppets: The attacker's accounts.
        copies: How many of them send the same update.
    """
    world = World(setting.rules, setting.policy)
    world.give_stake(BOSS, setting.policy.bond)
    honest = [f"honest {i}" for i in range(others)]
    for account in (*honest, *puppets):
        world.give_stake(account, setting.policy.min_stake)
    number = world.open(BOSS)
    for account in honest:
        world.commit(number, account, f"update of {account}")
    for place, account in enumerate(puppets):
        world.commit(number, account, "one update" if place < copies else f"update of {account}")
    return Game(setting, world, tuple(puppets), world.wealth(puppets)), number


def _pay(
    setting: Setting, others: int, accounts: int, *, copies: int, weighed: bool, pay: int = FULL_PAY
) -> Fraction:
    """Return what a round pays accounts.

    Args:
        setting: What it is played with.
        others: Number of honest contributors.
        accounts: How many.
        copies: How many of them send the same bytes.
        weighed: Whether those after the first have a weight.
        pay: The pay of each that has a weight, in 1/FULL_PAY.
    """
    puppets = [f"{PUPPET} {i}" for i in range(accounts)]
    game, number = _round(setting, others, puppets, copies)
    world = game.world
    weights = {who: 1 for who, _ in world.rounds[number].entries}
    if not weighed:
        weights |= dict.fromkeys(puppets[1:], 0)
    world.anchor(number, weights, pays=dict.fromkeys(puppets, pay))
    world.finalize(number)
    return game.outcome()[0]


def _left_out(setting: Setting, puppets: int) -> Play:
    """Return the play of a coordinator that says the others' updates never arrived."""
    most = max(1, min(puppets, setting.places - 1))
    names = [f"{PUPPET} {i}" for i in range(most)]
    others = max(1, min(setting.others, setting.places - most))
    fair = _pay(setting, others, most, copies=0, weighed=True)
    game, number = _round(setting, others, names, 0)
    game.world.anchor(number, dict.fromkeys(names, 1))
    game.world.finalize(number)
    gain, cost = game.outcome(fair=fair)
    return Play(f"{counted(most, 'puppet')}, all others left out", gain, cost)
