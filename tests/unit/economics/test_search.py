# SPDX-License-Identifier: Apache-2.0
"""The search plays the real contracts: nothing is lost, honest play is honest, and what is planted is found."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from folkmoot.cli.policy import default_of
from folkmoot.errors import InputError
from folkmoot.protocol.policy import NO_VERIFIER
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.runtime.units import UNIT

pytest.importorskip("pyrevm", reason="there is no wheel of pyrevm for this Python")

from folkmoot_lab.economics.__main__ import app
from folkmoot_lab.economics.search.moves import Move
from folkmoot_lab.economics.search.scenarios import PLACES, SCENARIOS, Game, Scenario
from folkmoot_lab.economics.search.searcher import Searcher
from folkmoot_lab.economics.search.world import World
from folkmoot_lab.economics.setting import RIDERS_PAY, TRAINING


def random_moves(game: Game, random: Random) -> tuple[Move, ...]:
    """Return up to a dozen moves of any kind."""
    steps = game.steps + 8
    return tuple(
        Move(
            random.randrange(steps),
            random.choice(game.scenario.kinds),
            random.randrange(8),
            random.randrange(8),
        )
        for _ in range(random.randint(1, 12))
    )


def require_nothing_lost(world: World) -> None:
    """Check that the vault has what it owes, and that somebody has every token."""
    chain, everybody = world.chain, [*world.everybody, world.keeper]
    owed = sum(chain.staked(who) + sum(amount for amount, _ in chain.unbonding(who)) for who in everybody)
    held = {role: chain.number("token", "balanceOf", address) for role, address in chain.addresses.items()}
    assert held["vault"] == owed
    assert sum(held.values()) + sum(map(chain.tokens, everybody)) == chain.number("token", "totalSupply")


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_sequence_of_moves_loses_a_token(name: str) -> None:
    game, random = Game(SCENARIOS[name], "l2"), Random(7)  # noqa: S311  # the same moves each time
    for salt in range(6 if game.scenario.is_random else 40):
        outcome = game.play(random_moves(game, random), salt)
        require_nothing_lost(game.world)
        minted = sum(outcome.wealth.values()) - sum(game.world.start.values())
        assert minted <= outcome.finals * game.policy.reward, "only final rounds mint"


@pytest.mark.parametrize("profile", ["demo", "l2", "l1"])
def test_honest_play_pays_everybody_the_same(profile: str) -> None:
    game = Game(SCENARIOS["contributors"], profile)
    outcome = game.play(())
    assert outcome.finals > 0
    earned = {
        outcome.wealth[who.name] - game.policy.min_stake for who in (*game.world.honest, *game.world.puppets)
    }
    assert len(earned) == 1
    assert earned.pop() > 0
    assert game.score(()).profit == game.score(()).harm == 0


def test_a_lie_without_a_verifier_is_found_and_shrunk() -> None:
    weak = replace(default_of("l2"), max_contributors=PLACES, verifier=NO_VERIFIER)
    short = replace(SCENARIOS["coordinator"], steps=8)
    searcher = Searcher(Game(short, "l2", policy=weak), seed=1, seconds=60)
    found = searcher.run(most_sequences=150)
    lies = [one for one in found if one.kinds and one.kinds <= {"lie", "false"}]
    assert lies
    assert lies[0].value >= 100 * UNIT, "each wrong round is worth its reward, and nobody can void it"
    # What does not matter is left out again.
    padded = tuple(sorted((*lies[0].moves, Move(5, "redraw"), Move(4, "demand", 0, 3))))
    assert {move.kind for move in searcher.shrunk(padded)} <= {"lie", "false"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Few(Scenario):
    """A game with few kinds of moves."""

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("ride", "bend", "copy", "absent", "skip", "wait", "withhold")


def test_a_lie_in_pays_for_riders_is_found_where_nobody_votes() -> None:
    """Riders deserve little. A coordinator that pays them in full saves the training, and steers no model."""
    weak = replace(default_of("l2"), max_contributors=PLACES, verifier=NO_VERIFIER)
    few = Few(
        name="coordinator", words="", aim="profit", roles=SCENARIOS["coordinator"].roles, steps=8, part=1
    )
    game = Game(few, "l2", policy=weak)
    game.worth = 0
    best = Searcher(game, seed=1, seconds=60).run(most_sequences=400)[0]
    assert best.kinds == {"ride", "bend"}
    assert best.score.outcome.steered == 0
    assert best.score.harm > 0, "honest updates are paid nothing"


def test_riding_is_found_where_weights_pay_and_only_there() -> None:
    short = replace(SCENARIOS["contributors"], steps=8)
    by_weight = replace(default_of("l2"), max_contributors=PLACES, rule="mean", parameters=())
    found = Searcher(Game(short, "l2", policy=by_weight), seed=1, seconds=60).run(most_sequences=200)
    assert found[0].kinds == {"ride"}
    rides = [Move(0, "ride", account, 7) for account in (0, 1)]
    by_pay = Game(short, "l2").score(rides)
    assert by_pay.profit < 0
    share = by_pay.honest.work / TRAINING
    assert -by_pay.profit == pytest.approx(float(share * (1 - RIDERS_PAY / FULL_PAY - TRAINING)), rel=1e-6)


@pytest.mark.parametrize(("lie", "steers"), [("lie", True), ("bend", False)])
def test_a_vote_takes_the_bond_of_each_lie_that_only_it_can_judge(lie: str, steers: bool) -> None:
    game = Game(SCENARIOS["coordinator"], "l2")
    score = game.score((Move(0, lie),))
    assert score.profit < -game.policy.bond
    assert score.outcome.steered == 0
    free = Game(
        replace(SCENARIOS["coordinator"], steps=8),
        "l2",
        policy=replace(default_of("l2"), max_contributors=PLACES, verifier=NO_VERIFIER),
    )
    assert (free.score((Move(0, lie),)).outcome.steered > 0) == steers


def test_a_folder_without_contracts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MootToken.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"MootToken\.json can't be read") as caught:
        Game(SCENARIOS["outsiders"], "l2", folder=tmp_path)
    assert caught.value.code == "unreadable-contracts"


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--games", "chess"], "There is no game 'chess'."), (["--profile", "l3"], "There is no profile 'l3'.")],
)
def test_the_command_refuses_what_there_is_not(options: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["search", *options])
    assert result.exit_code == 1
    assert said in result.output


def test_the_command_shows_each_game_and_ends_with_its_verdict() -> None:
    result = CliRunner().invoke(
        app, ["search", "--games", "contributors", "--minutes", "0.02", "--seed", "3"]
    )
    assert re.search(r"contributors +\d+ +[\d,]+", result.output)
    assert ("Nothing was found above zero." in result.output) == (result.exit_code == 0)
