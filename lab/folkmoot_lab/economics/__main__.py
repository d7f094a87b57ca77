# SPDX-License-Identifier: Apache-2.0
"""`python -m folkmoot_lab.economics search`: look for strategies that pay, on the real contracts."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from folkmoot.chain.terms import PROFILES
from folkmoot.cli.output import emit, fail, note, table
from folkmoot.errors import FolkmootError, InputError
from folkmoot_lab.economics.search.scenarios import HARM_FACTOR, PLACES, SCENARIOS, Game
from folkmoot_lab.economics.search.searcher import Found, Searcher, in_tokens
from folkmoot_lab.economics.search.world import RENT_PERCENT, TURNOUT_PERCENT
from folkmoot_lab.economics.setting import TRAINING

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Programs about what attacks on a federation bring in."""


@app.command()
def search(
    profile: Annotated[str, typer.Option(help="Policy and windows: demo, l2 or l1.")] = "l2",
    minutes: Annotated[float, typer.Option(min=0.01, help="Time for all games together.")] = 10,
    seed: Annotated[int, typer.Option(help="The same seed tries the same moves.")] = 1,
    games: Annotated[
        str, typer.Option(metavar="NAMES", help="Games to play, separated by commas.")
    ] = ",".join(SCENARIOS),
    contracts: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Packaged contracts. Default: those of this checkout."),
    ] = None,
) -> None:
    """Play random and improved sequences of moves on the real contracts, and show those that pay.

    Exit status 1 if one pays. docs/economics.md explains the games.

    Example: python -m folkmoot_lab.economics search --profile l2 --minutes 10
    """
    try:
        paying = _search(profile, minutes, seed, games.split(","), contracts)
    except FolkmootError as error:
        fail(error, False)
        raise typer.Exit(1) from error
    if paying:
        raise typer.Exit(1)


def _search(profile: str, minutes: float, seed: int, names: list[str], folder: Path | None) -> bool:
    if profile not in PROFILES:
        raise InputError(
            f"There is no profile {profile!r}.",
            remedy=f"Choose one of {', '.join(PROFILES)}.",
            code="unknown-profile",
        )
    for name in names:
        if name not in SCENARIOS:
            raise InputError(
                f"There is no game {name!r}.",
                remedy=f"Choose from {', '.join(SCENARIOS)}.",
                code="unknown-game",
            )
    parts = sum(SCENARIOS[name].part for name in names)
    note(
        f"Policy of {profile} with {PLACES} places, seed {seed}, {minutes:g} minutes of processor time. "
        f"{TURNOUT_PERCENT} % of the honest voters vote; capital costs {RENT_PERCENT} % a year, a million gas a token; "
        f"steering a round is worth its reward; training an update costs {float(100 * TRAINING):g} % of a place."
    )
    listed: list[tuple[Game, Found]] = []
    counts = []
    for name in names:
        started = time.process_time()
        note(f"{name}: {SCENARIOS[name].words}.")
        game = Game(SCENARIOS[name], profile, folder)
        searcher = Searcher(
            game,
            seed,
            60 * minutes * SCENARIOS[name].part / parts,
            partial(_say, name),
        )
        found = searcher.run()
        seconds = time.process_time() - started
        counts.append(
            (
                name,
                f"{searcher.sequences:,}",
                f"{game.sent:,}",
                f"{game.sent / seconds:,.0f}",
                str(len(found)),
            )
        )
        listed += [(game, one) for one in found]
    emit({}, table(("game", "sequences", "transactions", "a second", "strategies that pay"), counts))
    if not listed:
        emit({}, "Nothing was found above zero.")
        return False
    emit(
        {},
        table(
            ("", "game", "strategy", "tokens beyond honest play", "others lose", "found after"), _rows(listed)
        ),
    )
    for number, (game, one) in enumerate(listed, 1):
        emit({}, "", f"{number}. {game.scenario.name}: {one.words}", *_story(game, one))
    return True


def _say(name: str, text: str) -> None:
    note(f"  {name}: {text}")


def _rows(listed: list[tuple[Game, Found]]) -> list[tuple[str, ...]]:
    return [
        (
            str(number),
            game.scenario.name,
            one.words,
            _value(game, one),
            in_tokens(one.score.harm),
            f"{one.plays:,} sequences",
        )
        for number, (game, one) in enumerate(listed, 1)
    ]


def _value(game: Game, one: Found) -> str:
    if game.scenario.aim == "harm" and one.score.profit <= 0:
        return in_tokens(one.score.profit)
    return in_tokens(one.value) + (f" (error {in_tokens(one.error)})" if one.error else "")


def _story(game: Game, one: Found) -> list[str]:
    """Return the moves of a strategy, and who has more or less by it than by honest play."""
    score = one.score
    lines = [f"   {place}. {text}" for place, text in enumerate(score.outcome.log, 1)]
    changes: Counter[str] = Counter()
    attackers = {who.name for who in game.world.attackers}
    for name, amount in score.outcome.wealth.items():
        changes["the attackers" if name in attackers else name] += amount - score.honest.wealth[name]
    said = ", ".join(f"{name} {in_tokens(amount)}" for name, amount in sorted(changes.items()) if amount)
    lines.append(f"   Beyond honest play{' in one of the plays' if one.error else ''}: {said or 'nothing'}.")
    lines.append(
        f"   The attackers paid {in_tokens(score.outcome.gas)} for gas and {in_tokens(score.outcome.rent)} for "
        f"capital, and {in_tokens(score.outcome.work)} to train updates, in honest play "
        f"{in_tokens(score.honest.work)}; {score.outcome.steered} rounds with a wrong model became final."
    )
    if game.scenario.aim == "harm":
        lines.append(f"   Others lose more than {HARM_FACTOR} tokens for each that the attackers lose.")
    return lines


if __name__ == "__main__":
    app()
