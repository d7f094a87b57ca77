# SPDX-License-Identifier: Apache-2.0
"""The state machine of rounds.

    opening -> collecting -> delivery -> computing -> [probing ->] anchoring -> anchored -> finalizing ->
    settling -> settled

    collecting, computing, probing or anchoring -> cancelling -> cancelled (too few, or too late)
    probing -> withheld -> cancelling, or anchoring if released (only with a canary)
    anchored -> slashed

`tick` looks at every unfinished round and takes the steps that can be taken now. A step is one database
transaction that writes the new step together with the transaction (outbox) that it causes; so a process that
is killed anywhere finds either the old step or the new one with everything that belongs to it. Nothing is
remembered in the process but what can be computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from folkmoot.artifacts.federation import Federation
from folkmoot.protocol.policy import Policy
from folkmoot.rpc.client import Phase
from server.chain.view import ChainView
from server.db.models import Round
from server.db.steps import Step
from server.rounds import queries
from server.rounds.anchor_window import AnchorWindow
from server.rounds.answers import Answers
from server.rounds.challenge_window import ChallengeWindow
from server.rounds.commit_window import CommitWindow
from server.rounds.ending import Ending
from server.rounds.inputs import Deliveries
from server.rounds.opening import Opening
from server.rounds.outcome import Outcome
from server.rounds.outcome import compute as compute_outcome
from server.rounds.probe import Probe
from server.rounds.runs import Runs
from server.settings import Settings
from server.storage import Storage
from server.telemetry.metrics import Metrics, StepClock
from server.waiting import DONE, Progress, Waiting, Why, wait

_ENDS = {Phase.SLASHED: Step.SLASHED, Phase.CANCELLED: Step.CANCELLED}
"""Phases in which the chain has ended a round, and the step that follows."""


class Engine:
    """Leads the rounds of one coordinator; each phase has a module of its own.

    This is where each phase gets what it works with.

    Args:
        metrics: Told how long steps and computations take.
        wake: Called when a computation in another thread is done, so that nobody has to wait for the next
            look.

    Attributes:
        waiting: Why each step that did nothing at the last look did nothing.
    """

    def __init__(
        self,
        settings: Settings,
        federation: Federation,
        chain: ChainView,
        storage: Storage,
        metrics: Metrics,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        database = storage.database
        self._storage = storage
        self._manifest = federation.manifest
        self._metrics = metrics
        self._chain = chain
        self._opening = Opening(database, chain)
        self._commit_window = CommitWindow(database, chain, settings.commit_margin)
        self._deliveries = Deliveries(storage, federation.manifest)
        self._anchor_window = AnchorWindow(
            database,
            chain,
            self.compute,
            canary=settings.canary,
            wake=wake,
        )
        self._probe = Probe(database, chain, settings.canary)
        self._challenge_window = ChallengeWindow(database, chain, settings.time_travel_after)
        self._ending = Ending(database, chain, federation.coordinator)
        self._answers = Answers(storage, chain, federation)
        self._runs = Runs(storage, chain, federation)
        self._clock = StepClock(metrics)
        self.waiting: tuple[Waiting, ...] = ()

    def close(self) -> None:
        """Wait for a computation that is under way; its result is not used."""
        self._anchor_window.close()

    def forget(self) -> None:
        """Remember nothing of the rounds: the chain has lost some of what they rest on."""
        for part in (self._commit_window, self._anchor_window, self._challenge_window, self._answers):
            part.forget()

    def compute(self, number: int, policy: Policy) -> Outcome:
        """Compute a round by a policy, and put its files into the store. Runs in a thread of its own."""
        with self._metrics.aggregation.time():
            return compute_outcome(self._storage, self._manifest, number, policy)

    def tick(self) -> bool:
        """Take every step that can be taken now.

        Returns:
            Whether something changed, so that looking again at once makes sense. What did nothing has its reason in
            `waiting`.
        """
        with self._storage.database.read() as session:
            numbers = queries.unfinished(session)
        self._clock.only(numbers)
        results: list[Progress] = []
        try:
            for result in self._steps(numbers):
                results.append(result)  # noqa: PERF402  what was said before a failure counts
        finally:
            self.waiting = tuple(result for result in results if result is not DONE)
        return DONE in results

    def _steps(self, numbers: Sequence[int]) -> Iterator[Progress]:
        yield from self._answers.answer()  # first: their time is short, and a bond hangs on it
        for number in numbers:
            yield self._advance(number)
        yield self._runs.advance()

    def _advance(self, number: int) -> Progress:
        with self._storage.database.read() as session:
            round_ = session.get_one(Round, number)
            session.expunge(round_)
        step = Step(round_.step)
        self._clock.saw(number, step)
        if step is Step.OPENING:
            return self._opening.open(round_)
        view = self._chain.ledger.round(number)
        if view.phase in _ENDS:
            if self._chain.settled_round(number).phase is not view.phase:
                # A reorg may take it yet, and a round that was ended here is not looked at again.
                return wait(Why.CONFIRMATIONS, number, confirmations=self._chain.confirmations)
            return self._ending.end(round_, _ENDS[view.phase])
        match step:
            case Step.COLLECTING:
                return self._commit_window.collect(round_, view)
            case Step.DELIVERY:
                self._deliveries.take(round_)
                return self._anchor_window.await_delivery(round_)
            case Step.COMPUTING:
                return self._anchor_window.compute(round_)
            case Step.PROBING:
                return self._probe.probe(round_)
            case Step.WITHHELD:
                return self._probe.withhold(round_)
            case Step.ANCHORING:
                return self._anchor_window.anchor(round_, view)
            case Step.ANCHORED:
                return self._challenge_window.await_challenges(round_, view)
            case Step.FINALIZING:
                return self._challenge_window.finalize(round_, view)
            case Step.SETTLING:
                return self._challenge_window.settle(round_, view)
            case Step.CANCELLING:
                return self._ending.cancel(round_, view)
            case Step.SETTLED | Step.CANCELLED | Step.SLASHED:
                raise AssertionError(f"round {number} is over, and was looked at")
