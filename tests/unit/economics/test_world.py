# SPDX-License-Identifier: Apache-2.0
"""The small model of the contracts: nothing is lost, and each pending round has its bond."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from folkmoot_lab.economics.rules import PRESENT, VERSION_1, Rules
from folkmoot_lab.economics.world import Phase, Refused, World
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.protocol.rewards import FULL_PAY
from tests.factories import policy

POLICY = policy(reward=100, bond=400, min_stake=10, min_contributors=1, max_contributors=4)
PEOPLE = ("ada", "ben", "cleo", "dora")
MOVES = ("open", "commit", "anchor", "prove", "uphold", "finalize", "dispute", "dismiss", "take")


def world(rules: Rules = PRESENT, stake: int = 1_000) -> World:
    made = World(rules, POLICY)
    for who in ("coordinator", *PEOPLE):
        made.give_stake(who, stake)
        made.tokens[who] = 50
    return made


def move(game: World, kind: str, who: str, number: int) -> None:
    """Make one move, of which the contracts may refuse any."""
    if kind == "open":
        game.open("coordinator")
    elif kind == "commit":
        game.commit(number, who, f"root {number % 2}")
    elif kind == "anchor":
        game.anchor(number, {who: 3, "ada": 1}, wrong=who == "ben")
    elif kind == "prove":
        game.prove(number, who)
    elif kind == "uphold":
        game.uphold(number, who)
    elif kind == "finalize":
        game.finalize(number)
    elif kind == "dispute":
        game.deposit(who, 7)
    elif kind == "dismiss" and game.held >= 7:
        game.dismiss("coordinator", 7)
    elif kind == "take":
        game.take_by_vote(who, "ada")


@given(
    st.sampled_from((PRESENT, VERSION_1)),
    st.lists(st.tuples(st.sampled_from(MOVES), st.sampled_from(PEOPLE), st.integers(0, 4)), max_size=60),
)
def test_nothing_is_lost_and_bonds_are_covered(rules: Rules, moves: list[tuple[str, str, int]]) -> None:
    game = world(rules)
    started = game.total()
    for kind, who, number in moves:
        if kind == "open" and any(made.phase is Phase.OPEN for made in game.rounds):
            continue
        try:
            move(game, kind, who, min(number, len(game.rounds) - 1) if game.rounds else number)
        except (Refused, IndexError):
            continue
        assert game.total() + game.burnt == started + sum(game.earned.values())
        assert min([*game.tokens.values(), *game.stakes.values(), *game.locked.values(), game.held]) >= 0
        standing = sum(made.phase in (Phase.OPEN, Phase.ANCHORED) for made in game.rounds)
        if rules.bond_for_each_round:
            assert game.locked["coordinator"] == standing * POLICY.bond <= game.stakes["coordinator"]


def pending(game: World, rounds: int) -> World:
    """Anchor so many wrong rounds."""
    for _ in range(rounds):
        number = game.open("coordinator")
        game.commit(number, "ada", "root")
        game.anchor(number, wrong=True)
    return game


def test_each_pending_round_locks_a_bond() -> None:
    game = pending(world(), 2)
    assert game.locked["coordinator"] == 800
    with pytest.raises(Refused, match="too little stake"):
        game.open("coordinator")
    game.finalize(0)
    assert game.locked["coordinator"] == 400
    game.open("coordinator")


def test_a_proof_burns_three_quarters_and_frees_what_is_above() -> None:
    game = pending(world(stake=2_000), 3)
    game.prove(1, "ben")
    assert (game.tokens["ben"], game.burnt, game.stakes["coordinator"]) == (150, 300, 1_600)
    assert [made.phase for made in game.rounds] == [Phase.ANCHORED, Phase.SLASHED, Phase.VOID]
    assert (game.head, game.locked["coordinator"]) == (0, 400)
    with pytest.raises(Refused):
        game.prove(2, "ben")


def test_the_newest_first_takes_every_bond() -> None:
    """Whoever finds several lies at once should prove the last one first."""
    game = pending(world(stake=2_000), 3)
    for number in (2, 1, 0):
        game.prove(number, "ben")
    assert (game.tokens["ben"], game.stakes["coordinator"]) == (350, 800)


def test_a_vote_burns_all_and_takes_nothing_else() -> None:
    game = pending(world(), 1)
    game.uphold(0, "ben")
    assert (game.tokens["ben"], game.burnt) == (50, 400)
    with pytest.raises(Refused, match="immutable"):
        game.take_by_vote("ada", "ben")


def test_only_a_wrong_round_can_be_proven() -> None:
    game = world()
    number = game.open("coordinator")
    game.commit(number, "ada", "root")
    game.anchor(number)
    with pytest.raises(Refused, match="nothing to prove"):
        game.prove(number, "ben")


@pytest.mark.parametrize(("once", "pays"), [(True, [25, 0, 25, 0]), (False, [25, 25, 25, 0])])
def test_equal_roots_share_one_share(once: bool, pays: list[int]) -> None:
    game = world(replace(PRESENT, equal_roots_weigh_once=once))
    number = game.open("coordinator")
    for who, root in (("ada", "same"), ("ben", "same"), ("cleo", "other"), ("coordinator", "root update")):
        game.commit(number, who, root)
    game.anchor(number, {"ada": 2, "ben": 2, "cleo": 2})
    game.finalize(number)
    assert [game.earned[who] for who in ("ada", "ben", "cleo", "coordinator")] == pays


@pytest.mark.parametrize(
    ("rule", "known", "earned"),
    [
        ("clamped_mean", PRESENT, [25, 12, 0, 0]),
        ("clamped_mean", VERSION_1, [12, 25, 12, 0]),
        ("mean", PRESENT, [12, 25, 12, 0]),
    ],
)
def test_pays_say_what_is_paid_where_there_are_pays(rule: str, known: Rules, earned: list[int]) -> None:
    game = World(known, replace(POLICY, rule=rule))
    for who in ("coordinator", *PEOPLE):
        game.give_stake(who, 1_000)
    number = game.open("coordinator")
    for who in PEOPLE:
        game.commit(number, who, who)
    pays = {"ben": FULL_PAY // 2, "cleo": 0, "dora": FULL_PAY}
    game.anchor(number, {"ada": 1, "ben": 2, "cleo": 1}, pays=pays)
    game.finalize(number)
    assert [game.earned[who] for who in PEOPLE] == earned


def test_a_copy_without_a_file_takes_nothing_from_the_update_that_came() -> None:
    """Who has seen only the root can commit it first, and earns nothing."""
    game = world()
    number = game.open("coordinator")
    for who in ("ben", "ada", "cleo"):
        game.commit(number, who, "same")
    game.anchor(number, undelivered=["ben"])
    game.finalize(number)
    assert [game.earned[who] for who in ("ben", "ada", "cleo")] == [0, 25, 0]


def overfill(game: World) -> None:
    for who in ("ben", "cleo", "dora", "coordinator"):
        game.commit(0, who, who)


def finalize_on_a_pending_base(game: World) -> None:
    game.anchor(0)
    game.commit(game.open("coordinator"), "ada", "root")
    game.anchor(1)
    game.finalize(1)


def commit_after_the_anchor(game: World) -> None:
    game.anchor(0)
    game.commit(0, "ben", "root")


@pytest.mark.parametrize(
    "play",
    [
        overfill,
        finalize_on_a_pending_base,
        commit_after_the_anchor,
        lambda game: game.commit(0, "ada", "other"),
        lambda game: game.commit(0, "emil", "root"),
        lambda game: game.anchor(0, {"ben": 1}),
        lambda game: game.pay("emil", "ada", 1),
        lambda game: game.finalize(0),
    ],
)
def test_what_the_contracts_refuse_is_refused(play: Callable[[World], None]) -> None:
    game = world()
    game.open("coordinator")
    game.commit(0, "ada", "root")
    game.give_stake("emil", 5)
    with pytest.raises(Refused):
        play(game)


def test_no_more_rounds_are_pending_than_the_ledger_takes() -> None:
    game = pending(world(replace(PRESENT, max_pending=2), stake=2_000), 2)
    with pytest.raises(Refused, match="too many"):
        game.open("coordinator")
