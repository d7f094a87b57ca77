# SPDX-License-Identifier: Apache-2.0
"""Rounds in which the coordinator loses files or its database, and gets them back by `repair` and `restore`.

Without harm nothing is lost, and each is a plain round. What a restored coordinator does not know is the run (the
people start another one for what is left), and the updates of a round that was not anchored (they hand them in again).
All else must be the same: state roots, entries, rewards. The one round that ends otherwise is `forsaken`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
from sqlalchemy import select

from folkmoot.rpc.client import Phase
from server.db.models import Entry, Round
from server.db.steps import Step
from tests.chaos.losses import Losses
from tests.chaos.people import People, Stuck, outcomes
from tests.integration.coordinator_world import Signed, open_round

NAMES = ("ada", "ben", "cleo")
OPEN = (None, Step.COLLECTING)
"""Steps of a restored round, or none, whose updates are handed in again."""


def loses(story: tuple[tuple[str, ...], ...]) -> bool:
    """Whether something may be lost in a story."""
    return any(f"_play_{kind}" in vars(Bereft) for kinds in story for kind in kinds)


@dataclass
class Bereft(People):
    """People whose coordinator may lose things.

    Args:
        losses: Loses them; nothing is lost if none.
    """

    losses: Losses | None = None

    # Files of the store.

    def _play_spoilt(self, number: int) -> None:
        """Files are lost while it runs; then, before the next round is planned, more, with the state it begins from."""
        if self.losses is None:
            self._play_plain(number)
            return
        self.wait(lambda: open_round(self.api, number), f"round {number}")
        if number > 1:  # else no round is anchored, and the mirror has the genesis alone
            with self.losses.of_files():
                pass
        self._contribute(number, NAMES, own=("dora",))
        self.wait(lambda: self._past(number, Step.PROBING), "the outcome")
        point = "coordinator.round-anchored.after"
        with ExitStack() as lost:
            with self.supervisor.down(at=point, bring=lambda: self._report(number, 0.9)):
                self.supervisor.mend()
                state = str(self._state_file(number))
                down = number % 2 == 0
                names = lost.enter_context(self.losses.of_files(state, genesis=down))
                if down:
                    lost.close()  # they are repaired before it starts again
            if not down:
                self.wait(self._misses(names), "that a file is missed before the next round")

    # The database.

    def _play_upcoming(self, number: int) -> None:
        """Database and store are lost when the next round is planned, and not opened: it comes anew."""
        self._contribute(number, NAMES, own=("dora",))
        if self.losses is None:
            self._anchored(number)
            return
        self.wait(lambda: self._past(number, Step.PROBING), "the outcome")
        point = "coordinator.round-planned.after"
        with self.supervisor.down(at=point, bring=lambda: self._report(number, 0.9)):
            self.losses.of_database(store=True)
            self._restored()
        self._begin_again(number)
        self._go_on(number, self._trained)

    def _play_committing(self, number: int) -> None:
        """The database is lost when one entry is on the chain, and other updates are only in it."""
        made = self._train(number, (*NAMES, "dora"))
        commitment = made["dora"].commitment.abi_tuple()
        self.wallet.send(self.world.chain.ledger.functions.commitUpdate(commitment), self.world["dora"])
        if self.losses is not None:
            self._submit(number, {name: made[name] for name in ("ada", "ben")})
            with self.supervisor.down():
                self.losses.of_database(store=False)
                self._restored()
            self._begin_again(number)
        self._go_on(number, made)

    def _play_delivering(self, number: int) -> None:
        """Database and store are lost when the entries are fixed, and one has not brought its file."""
        if self.losses is None:
            self._play_plain(number)
            return
        self._contribute(number, NAMES, own=("dora",), deliver=False)
        with self.supervisor.down():
            self.losses.of_database(store=True)
            self._restored()
        self._begin_again(number)
        self._go_on(number, self._trained)

    def _play_pending(self, number: int) -> None:
        """The database is lost while the anchor is under way: it is not restored before that is settled."""
        if self.losses is None:
            self._play_plain(number)
            return
        self._contribute(number, NAMES, own=("dora",))
        self.wait(lambda: self._past(number, Step.PROBING), "the outcome")
        with ExitStack() as held:
            held.enter_context(self.miner.hold())
            self._report(number, 0.9)
            self.wait(lambda: self._signed(f"anchor:{number}") is not None, "the signed anchor")
            self.wait(lambda: self._sent(f"anchor:{number}"), "that it is sent")
            with self.supervisor.down():
                self.losses.of_database(store=False)
                code = self.losses.restore.refusal()
                if code != "transactions-pending":
                    raise Stuck(f"while the anchor was under way, restore said {code}")
                held.close()
                self._restored()
        self._begin_again(number)
        self._go_on(number, self._trained)

    def _play_unsettled(self, number: int) -> None:
        """Database and store are lost when the round is final, and its rewards are not credited."""
        self._contribute(number, NAMES, own=("dora",))
        self._anchored(number)
        if self.losses is None:
            return

        def bring() -> None:
            self.wait(lambda: self.supervisor.held, "the final word", self._to_challenge_deadlines)

        with self.supervisor.down(at="coordinator.settle-queued.after", bring=bring):
            self.losses.of_database(store=True)
            self._restored()
        self._begin_again(number)
        self._go_on(number, self._trained)

    def _play_forsaken(self, number: int) -> None:
        """Database and store are lost when entries are on the chain, and nobody brings the files again.

        The round is cancelled, with its entries; nobody is rewarded. Without harm all commit and bring nothing, which
        must be the same for everybody.
        """
        if self.losses is None:
            self._contribute(number, (), own=NAMES, deliver=False)
        else:
            self._contribute(number, NAMES)
            with self.supervisor.down():
                self.losses.of_database(store=True)
                self._restored()
            self._begin_again(number)
        self._given_up(number)

    # What all of them do.

    def _restored(self) -> None:
        """Have the database restored, and look at what is in it."""
        if self.losses is None:
            raise AssertionError("nothing was lost")
        self.losses.restore_database()
        with self.database.read() as session:
            steps = {row.number: Step(row.step) for row in session.scalars(select(Round))}
        chain = self.world.chain
        if sorted(steps) != list(range(1, chain.ledger.next_round())):
            raise Stuck(f"the restored rounds are {sorted(steps)}, not those of the chain")
        for number, step in steps.items():
            phase = chain.ledger.round(number).phase
            if phase is Phase.CANCELLED and step is not Step.CANCELLED:
                raise Stuck(f"round {number} is {phase.name.lower()}, and was restored as {step}")
        self.restored = steps
        self.told.clear()
        self._running = False

    def _begin_again(self, number: int) -> None:
        """Start a run for the rounds that the lost one had not opened yet; those that are open go on without it."""
        opened = self.world.chain.ledger.next_round() - 1
        left = outcomes(self._later[max(0, opened - number) :]) + (opened < number)
        if left:
            self.start_run(left)

    def _go_on(self, number: int, made: dict[str, Signed]) -> None:
        """Do what a round still needs of people, until it is anchored; and nothing that was done already."""
        self.wait(
            lambda: self._past(number, Step.ANCHORED),
            f"the anchor of round {number}",
            lambda: self._next(number, made),
        )
        with self.database.read() as session:
            query = select(Entry.contributor).where(Entry.round == number, Entry.sha256.is_not(None))
            there = set(session.scalars(query))
        for signed in made.values():
            contributor = signed.commitment.contributor
            if contributor not in there:
                raise Stuck(f"round {number}: the update of {contributor} is not there")
            if self.restored.get(number) in OPEN:  # also those whose 202 was lost on its way
                self.accepted[number, contributor] = signed.commitment.update_root.hex()
                self.told.add((number, contributor))

    def _next(self, number: int, made: dict[str, Signed]) -> None:
        step = self.step(number)
        missing = [one for one in made.values() if (number, one.commitment.contributor) not in self.told]
        over = self.miner.latest()[1] >= self.world.chain.ledger.round(number).commit_deadline
        if missing and (step == Step.DELIVERY or (step == Step.COLLECTING and not over)):
            self._accepted(number, missing[0])
        elif step == Step.COLLECTING:
            self._end_window(number, len(made))
        elif step == Step.PROBING:
            self._report(number, 0.9)

    def _train(self, number: int, names: tuple[str, ...]) -> dict[str, Signed]:
        self._trained = super()._train(number, names)
        return self._trained

    def _state_file(self, number: int) -> str | None:
        with self.database.read() as session:
            return session.get_one(Round, number).state_sha256

    def _misses(self, names: set[str]) -> Callable[[], bool]:
        """Whether the coordinator says that something is wrong with one of these files."""

        def look() -> bool:
            said = str(httpx.get(f"{self.api.url}/v1/health", timeout=15.0).json().get("error"))
            return any(name in said for name in names)

        return look
