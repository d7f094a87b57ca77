# SPDX-License-Identifier: Apache-2.0
"""The search: random plays, changed and crossed, the best of them shrunk to the moves that matter.

A strategy that was found is set aside by the kinds of moves that it needs, and the search goes on for another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from statistics import mean, median, stdev

from folkmoot.runtime.units import UNIT
from folkmoot_lab.economics.search.moves import KINDS, QUARTERS, Move
from folkmoot_lab.economics.search.scenarios import Game, Score

Moves = tuple[Move, ...]

POPULATION = 24
MOST_MOVES = 16
STALE = 250
"""Plays without a better one, after which the search starts anew."""
CONFIRMED_BY = 200
"""Plays with other blocks that confirm a strategy whose profit hangs on chance."""
TRIES = 16
"""Plays of a strategy that stays, where chance has a part in it."""
MOST_TRIES = 128
"""Most plays of the best one, before it is shrunk."""
LEAST = UNIT
"""Least profit that is reported, in units of 1e-18 tokens: a token."""
SILENCE = 20
"""Seconds after which the search says how far it is."""
SURE = 4.0
"""Standard errors by which an average must be above zero: thousands of averages are compared."""


@dataclass(frozen=True, slots=True)
class Found:
    """A strategy.

    Attributes:
        moves: What remains of it.
        value: What was maximised, on average, in units of 1e-18 tokens.
        error: Standard error of that.
        score: One play of it.
        plays: Plays before it was found.
    """

    moves: Moves
    value: int
    error: int
    score: Score
    plays: int

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of the moves."""
        return frozenset(move.kind for move in self.moves)

    @property
    def pays(self) -> bool:
        """Whether it is above zero for certain."""
        return self.value >= LEAST and self.value > SURE * self.error

    @property
    def words(self) -> str:
        """What the attackers do, in words."""
        parts = []
        for kind in sorted(self.kinds, key=list(KINDS).index):
            times = sum(move.kind == kind for move in self.moves)
            parts.append(KINDS[kind].words + (f" ({times} times)" if times > 1 else ""))
        return ", ".join(parts) or "nothing"


@dataclass(slots=True)
class Tried:
    """A list of moves with the values of its plays."""

    moves: Moves
    values: list[int] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The average, less a standard error where plays differ."""
        return mean(self.values) - self.error

    @property
    def error(self) -> float:
        """Standard error of the average."""
        return stdev(self.values) / len(self.values) ** 0.5 if len(self.values) > 1 else 0.0


class Searcher:
    """A search in one game."""

    def __init__(
        self, game: Game, seed: int, seconds: float, say: Callable[[str], None] = lambda text: None
    ) -> None:
        """Prepare a search of so many seconds."""
        self.game, self.say = game, say
        self.random = Random(f"{seed} {game.scenario.name} {game.profile}")  # noqa: S311  # the same each time
        self.until = time.process_time() + seconds
        self.found: list[Found] = []
        self.sequences = 0
        self._told = time.monotonic()

    def run(self, most_sequences: int | None = None) -> list[Found]:
        """Search until the time is up, or so many sequences were played; return what was found, the best first."""
        while not self._is_over(most_sequences):
            best = self._climb(most_sequences)
            if best is not None:
                found = self._confirm(self.shrunk(best))
                if found is not None:
                    self.found.append(found)
                    self.say(f"found {in_tokens(found.value)}: {found.words}")
        return sorted(self.found, key=lambda found: -found.value)

    def _is_over(self, most: int | None) -> bool:
        return time.process_time() > self.until or (most is not None and self.sequences >= most)

    # One climb.

    def _climb(self, most: int | None) -> Moves | None:
        """Return the best of one climb from random moves, if it is above zero."""
        tried = [self._surer(self._try(self._some_moves())) for _ in range(POPULATION)]
        since = 0
        best = max(one.value for one in tried)
        while since < STALE and not self._is_over(most):
            if self.game.scenario.is_random and self.random.random() < 0.3:
                # Luck does not last: the best is played on more blocks.
                leader = max(tried, key=lambda other: other.value)
                self._extend(leader, min(len(leader.values) + 8, MOST_TRIES))
            one = self._try(self._changed(self._chosen(tried).moves, self._chosen(tried).moves))
            # Compared on the same blocks.
            if mean(one.values) <= median(mean(other.values[: len(one.values)]) for other in tried):
                since += 1
                continue
            one = self._surer(one)
            worst = min(tried, key=lambda other: (other.value, -len(other.moves)))
            if one.value > worst.value and one.moves not in [other.moves for other in tried]:
                tried[tried.index(worst)] = one
            since = 0 if one.value > best else since + 1
            best = max(best, one.value)
        top = max(tried, key=lambda one: (one.value, -len(one.moves)))
        return top.moves if top.value >= LEAST else None

    def _try(self, moves: Moves) -> Tried:
        return self._extend(Tried(self._unknown(moves)), 4)

    def _surer(self, one: Tried) -> Tried:
        return self._extend(one, TRIES)

    def _extend(self, one: Tried, plays: int) -> Tried:
        """Play it until it has so many plays, or one if chance has no part in it."""
        while len(one.values) < (plays if self.game.scenario.is_random else 1):
            self._play(one)
        return one

    def _play(self, one: Tried) -> None:
        self.sequences += 1
        salt = len(one.values) if self.game.scenario.is_random else 0
        one.values.append(self.game.value(self.game.score(one.moves, salt)))
        if time.monotonic() - self._told > SILENCE:
            self._told = time.monotonic()
            left = max(0.0, self.until - time.process_time())
            self.say(f"{self.sequences:,} sequences, {left:.0f} seconds left")

    def _unknown(self, moves: Moves) -> Moves:
        """Return moves without one kind of each strategy that is found already."""
        for found in self.found:
            if found.kinds <= {move.kind for move in moves}:
                kind = self.random.choice(sorted(found.kinds))
                moves = tuple(move for move in moves if move.kind != kind)
        return moves

    def _chosen(self, tried: list[Tried]) -> Tried:
        return max(self.random.sample(tried, 3), key=lambda one: one.value)

    # Moves.

    def _some_moves(self) -> Moves:
        return self._sorted(self._a_move() for _ in range(self.random.randint(1, 6)))

    def _a_move(self) -> Move:
        random = self.random
        step = random.choice((0, *(random.randrange(self.game.steps + 8) for _ in range(3))))
        return Move(
            step,
            random.choice(self.game.scenario.kinds),
            random.randrange(QUARTERS),
            random.randrange(QUARTERS),
        )

    def _changed(self, moves: Moves, other: Moves) -> Moves:
        """Return moves with a change or a few."""
        random, made = self.random, list(moves)
        for _ in range(random.choice((1, 1, 2, 3))):
            way = random.randrange(7)
            if way == 0 or not made:
                made.append(self._a_move())
            elif way == 1:
                made.remove(random.choice(made))
            elif way == 2:
                move = random.choice(made)
                made.append(Move(move.step + random.choice((1, 2, 3, 6, 7)), move.kind, move.who, move.what))
            elif way == 3:
                move = made.pop(random.randrange(len(made)))
                made.append(Move(max(0, move.step + random.randint(-3, 3)), move.kind, move.who, move.what))
            elif way == 4:
                move = made.pop(random.randrange(len(made)))
                made.append(
                    Move(move.step, move.kind, random.randrange(QUARTERS), random.randrange(QUARTERS))
                )
            elif way == 5:
                made = [move for move in made if random.random() < 0.5]
                made += [move for move in other if random.random() < 0.5]
            else:
                # The same again and again, as often as rounds come.
                move, period = random.choice(made), random.choice((1, 2, 3, 6, 7))
                made += [
                    Move(step, move.kind, move.who, move.what)
                    for step in range(move.step + period, self.game.steps, period)
                ]
        return self._sorted(made[:MOST_MOVES] if len(made) <= MOST_MOVES else random.sample(made, MOST_MOVES))

    @staticmethod
    def _sorted(moves: Iterable[Move]) -> Moves:
        return tuple(sorted(set(moves)))

    # What remains.

    def shrunk(self, moves: Moves) -> Moves:
        """Leave out moves, larger parts first, as long as nearly all of the value remains."""
        plays = 48
        best = self._extend(Tried(moves), plays)
        size = max(1, len(moves) // 2)
        while True:
            at, smaller = 0, False
            while at < len(best.moves):
                less = best.moves[:at] + best.moves[at + size :]
                one = self._extend(Tried(less), plays)
                if mean(one.values) >= 0.98 * mean(best.values) and less:
                    best, smaller = one, True
                else:
                    at += size
            if size == 1 and not smaller:
                return best.moves
            size = max(1, size // 2)

    def _confirm(self, moves: Moves) -> Found | None:
        """Play what was found once more, on blocks that the search has not seen."""
        one = Tried(moves)
        for salt in range(1000, 1000 + CONFIRMED_BY) if self.game.scenario.is_random else (1000,):
            self.sequences += 1
            one.values.append(self.game.value(self.game.score(moves, salt)))
        score = self.game.score(moves, 1000)
        found = Found(moves, int(mean(one.values)), int(one.error), score, self.sequences)
        return found if found.pays else None


def in_tokens(amount: int) -> str:
    """Return an amount in units of 1e-18 tokens as tokens with two decimal places and a sign."""
    hundredths = round(amount / 10**16)
    whole, rest = divmod(abs(hundredths), 100)
    return f"{'-' if hundredths < 0 else '+'}{whole:,}.{rest:02}"
