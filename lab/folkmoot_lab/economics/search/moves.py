# SPDX-License-Identifier: Apache-2.0
"""What attackers can do: single moves, none of which is an attack by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from folkmoot_lab.economics.search.chain import Person
from folkmoot_lab.economics.search.world import Made, World

QUARTERS = 8
"""Arguments of a move are from 0 to 7."""


@dataclass(frozen=True, slots=True, order=True)
class Move:
    """One move of an attacker.

    Attributes:
        step: When.
        kind: One of `KINDS`.
        who: Number of the attacker's account, modulo how many there are.
        what: An argument from 0 to 7: an amount, a round, or another account.
    """

    step: int
    kind: str
    who: int = 0
    what: int = 0


def play(world: World, move: Move) -> bool:
    """Make a move now; return whether it did something. What it costs in gas is charged."""
    kind = KINDS[move.kind]
    return kind.make(world, move.who, move.what)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of move.

    Attributes:
        make: Makes the move in a world, for an account, with an argument.
        words: What it is, in words.
        role: Who can: `coordinator`, `contributor` or `anybody`.
    """

    make: Callable[[World, int, int], bool]
    words: str
    role: str


def _puppet(world: World, who: int) -> Person:
    return world.puppets[who % len(world.puppets)] if world.puppets else world.treasury


def _amount(world: World, whole: int, what: int) -> int:
    """Return one to four minimum stakes, or a half to all of what there is."""
    if what < 4:
        return min(whole, (1 + what) * world.policy.min_stake)
    return whole * (what - 1) // 6


def _sent(world: World, done: bool, text: str) -> bool:
    if done:
        world.pay_gas()
        world.say(text)
    return done


# Capital.


def _stake(world: World, who: int, what: int) -> bool:
    account, whole = _puppet(world, who), world.chain.tokens(world.treasury)
    amount = _amount(world, whole, what)
    done = amount > 0 and world.chain.stake(world.treasury, account, amount)
    return _sent(world, done, f"the treasury stakes {_tokens(amount)} for {account.name}")


def _unbond(world: World, who: int, what: int) -> bool:
    account = _puppet(world, who)
    amount = _amount(world, world.chain.unlocked(account), what)
    done = amount > 0 and world.chain.unbond(account, amount)
    return _sent(world, done, f"{account.name} takes {_tokens(amount)} out of its stake")


def _enrol(world: World, who: int, what: int) -> bool:
    account = _puppet(world, who)
    amount = _amount(world, world.chain.unlocked(account), what)
    done = amount > 0 and world.chain.enrol(account, amount)
    return _sent(world, done, f"{account.name} enrols {_tokens(amount)}")


def _leave(world: World, who: int, what: int) -> bool:
    account = _puppet(world, who)
    return _sent(world, world.chain.leave(account), f"{account.name} leaves")


# Contributions.


def _commit(world: World, who: int, what: int) -> bool:
    account, made = _puppet(world, who), world.current
    done = made is not None and world.commit_alone(made, account, world.commitment_of(made, account))
    return _sent(world, done, f"{account.name} commits by itself")


def _copy(world: World, who: int, what: int) -> bool:
    account, made = _puppet(world, who), world.current
    if made is None or not made.delivered:
        return False
    done = world.commit_alone(made, account, world.commitment_of(made, account, copy=True))
    return _sent(world, done, f"{account.name} commits a copy of another's update")


def _absent(world: World, who: int, what: int) -> bool:
    account, made = _puppet(world, who), world.current
    if made is None or any(other is account for other, _ in made.entries):
        return False
    made.asked.add(account)
    made.delivered.pop(account, None)
    world.say(f"{account.name} stays away")
    return True


def _ride(world: World, who: int, what: int) -> bool:
    account, last = _puppet(world, who), world.last
    until = (last.number if last else 0) + 1 + what
    if not world.playing or world.rides_until.get(account, 0) >= until:
        return False
    world.rides_until[account] = until
    world.say(f"{account.name} trains nothing up to round {until}, and sends what looks like an update")
    return True


# Coordinator.


def _open(world: World, who: int, what: int) -> bool:
    if world.current is not None or not world.playing:
        return False
    return _sent(world, world.open(), "the coordinator opens a round at once")


def _skip(world: World, who: int, what: int) -> bool:
    if world.current is not None:
        return False
    world.opens_not_before = world.step + 1 + what
    world.say(f"the coordinator opens nothing for {1 + what} steps")
    return True


def _wait(world: World, who: int, what: int) -> bool:
    world.idle.add(world.coordinator)
    world.say("the coordinator does nothing in this step")
    return True


def _withhold(world: World, who: int, what: int) -> bool:
    made = world.current
    if made is None:
        return False
    there = {other for other, _ in made.entries}
    others = [other for other in world.honest if other not in there]
    chosen = set(others) if what >= 4 else {other for i, other in enumerate(others) if i % 4 == what}
    if not chosen - made.withheld:
        return False
    made.withheld |= chosen
    names = ", ".join(sorted(other.name for other in chosen))
    world.say(f"the coordinator will not record the signed commitments of {names} in round {made.number}")
    return True


def _record(world: World, who: int, what: int) -> bool:
    made = world.current
    if made is None:
        return False
    people = [other for other in made.delivered if other not in made.withheld]
    if what < 4:
        people = people[: 1 + what]
    return _sent(
        world, world.record(made, people), f"the coordinator records some commitments of round {made.number}"
    )


def _close(world: World, who: int, what: int) -> bool:
    made = world.current
    done = made is not None and world.chain.close(world.coordinator, made.number)
    return _sent(world, done, "the coordinator ends the commit window")


def _anchor(world: World, who: int, what: int) -> bool:
    made = world.current
    done = made is not None and world.anchor(made)
    return _sent(world, done, "the coordinator anchors at once")


def _lie(lie: str, text: str) -> Callable[[World, int, int], bool]:
    def make(world: World, who: int, what: int) -> bool:
        if world.next_lie == lie or not world.playing:
            return False
        if lie == "paid" and not world.policy.has_pays:
            return False
        world.next_lie = lie
        world.say(f"the coordinator's next anchor {text}")
        return True

    return make


def _cancel_empty(world: World, who: int, what: int) -> bool:
    made = world.current
    if made is None or not world.chain.cancel(world.coordinator, made.number, empty=True):
        return False
    made.over = True
    return _sent(world, True, f"the coordinator cancels the empty round {made.number}")


def _silent(world: World, who: int, what: int) -> bool:
    if not world.demands:
        return False
    world.silent = True
    world.say("the coordinator answers no demand")
    return True


# Anybody.


def _pending(world: World, what: int) -> Made | None:
    pending = [made for made in world.rounds.values() if made.anchor is not None and not made.over]
    if not pending:
        return None
    return pending[what // 2 % len(pending)] if what % 2 else pending[-1 - what // 2 % len(pending)]


def _prove(world: World, who: int, what: int) -> bool:
    made = _pending(world, what)
    done = made is not None and world.prove(made, world.treasury)
    return _sent(world, done, f"the treasury proves round {made.number if made else 0} wrong")


def _demand(world: World, who: int, what: int) -> bool:
    made = _pending(world, what)
    if made is None or made.anchor is None:
        return False
    if not world.chain.demand(world.treasury, made.number, made.anchor):
        return False
    world.demands.append((world.chain.answer, made.number, world.treasury))
    return _sent(world, True, f"the treasury demands the header of round {made.number}")


def _dispute(world: World, who: int, what: int) -> bool:
    made = _pending(world, what)
    done = made is not None and world.dispute(made, world.treasury)
    return _sent(world, done, f"the treasury disputes round {made.number if made else 0}")


def _propose(world: World, who: int, what: int) -> bool:
    disputed = sorted(number for number in world.disputed if not world.rounds[number].over)
    if not disputed:
        return False
    number = disputed[what // 2 % len(disputed)]
    decision, account = ("uphold", "dismiss")[what % 2], _puppet(world, who)
    done = world.propose(account, decision, number)
    return _sent(world, done, f"{account.name} proposes to {decision} the dispute about round {number}")


def _cancel_proposal(world: World, who: int, what: int) -> bool:
    for vote in world.votes:
        if not vote.over and vote.proposer in world.attackers:
            done = world.chain.carry_out(vote.proposer, "cancel", vote.decision, vote.round, vote.text)
            vote.over = done
            return _sent(world, done, f"{vote.proposer.name} cancels its proposal")
    return False


def _vote(world: World, who: int, what: int) -> bool:
    done = False
    for vote in world.votes:
        if vote.over:
            continue
        for account in world.attackers:
            if world.chain.vote(account, vote.number, favour=what % 2 == 0):
                world.pay_gas()
                done = True
    if done:
        world.say(f"the attackers vote {'for' if what % 2 == 0 else 'against'}")
    return done


def _redraw(world: World, who: int, what: int) -> bool:
    return _sent(world, world.chain.redraw(world.treasury), "the treasury has others drawn")


def _remove(world: World, who: int, what: int) -> bool:
    account = world.honest[what % len(world.honest)]
    return _sent(
        world, world.chain.remove(world.treasury, account), f"the treasury removes {account.name} as absent"
    )


KINDS: Mapping[str, Kind] = {
    "stake": Kind(_stake, "stakes more", "anybody"),
    "unbond": Kind(_unbond, "takes stake out", "anybody"),
    "enrol": Kind(_enrol, "enrols another amount", "contributor"),
    "leave": Kind(_leave, "leaves the enrolled", "contributor"),
    "commit": Kind(_commit, "commits by itself", "contributor"),
    "copy": Kind(_copy, "copies an update", "contributor"),
    "ride": Kind(_ride, "sends updates without training", "contributor"),
    "absent": Kind(_absent, "stays away from a round", "contributor"),
    "open": Kind(_open, "opens a round before the usual time", "coordinator"),
    "skip": Kind(_skip, "opens no round for a time", "coordinator"),
    "wait": Kind(_wait, "lets a step pass", "coordinator"),
    "withhold": Kind(_withhold, "leaves others' signed commitments out", "coordinator"),
    "record": Kind(_record, "records a part of the commitments first", "coordinator"),
    "close": Kind(_close, "ends the commit window", "coordinator"),
    "anchor": Kind(_anchor, "anchors at once", "coordinator"),
    "lie": Kind(
        _lie("judged", "gives honest updates no weight"), "lies about what only a vote judges", "coordinator"
    ),
    "bend": Kind(
        _lie("paid", "pays honest updates nothing, and its own in full"), "lies about pays", "coordinator"
    ),
    "false": Kind(
        _lie("proven", "has a weight that no rule gives"), "lies about what a proof shows", "coordinator"
    ),
    "disown": Kind(
        _lie("disowned", "says that others' updates did not come"), "denies deliveries", "coordinator"
    ),
    "empty": Kind(_cancel_empty, "cancels an empty round", "coordinator"),
    "silent": Kind(_silent, "answers no demand", "coordinator"),
    "prove": Kind(_prove, "proves a round wrong", "anybody"),
    "demand": Kind(_demand, "demands data", "anybody"),
    "dispute": Kind(_dispute, "disputes a round", "anybody"),
    "propose": Kind(_propose, "proposes a decision", "anybody"),
    "revoke": Kind(_cancel_proposal, "cancels a proposal", "anybody"),
    "vote": Kind(_vote, "votes", "anybody"),
    "redraw": Kind(_redraw, "has others drawn", "anybody"),
    "remove": Kind(_remove, "removes an absent account", "anybody"),
}
"""All kinds of moves. To finalize, settle, claim and take deposits back is up to everybody, and free here."""


def _tokens(amount: int) -> str:
    return f"{amount / 10**18:,.2f}"
