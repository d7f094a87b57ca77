# SPDX-License-Identifier: Apache-2.0
"""The watcher: follows a chain, recomputes each anchored round as it appears, and challenges what is wrong.

It needs chain and mirrors, nobody's goodwill. One look (`look`) reads what is new, examines the rounds that can still
be challenged and were not, and acts. Nothing that an endpoint or a mirror does ends it: what fails is said, and tried
again, elsewhere if there is an elsewhere, until the round is final.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from folkmoot.artifacts.sources import ArtifactSource
from folkmoot.chain.terms import ZERO_ADDRESS
from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.errors import ChainError, FolkmootError, RpcError, WrongChainError
from folkmoot.fraud.contracts.challenge import ChallengeFailed, Cost, challenge, cheapest
from folkmoot.fraud.contracts.record import Record, overspent
from folkmoot.fraud.proofs.case import Case, Kind
from folkmoot.fraud.proofs.finding import Finding
from folkmoot.fraud.watcher.endpoints import Endpoints
from folkmoot.fraud.watcher.escalation import Escalation
from folkmoot.fraud.watcher.examining import Examiner
from folkmoot.fraud.watcher.journal import Checked, Journal, Log
from folkmoot.fraud.watcher.metrics import Metrics
from folkmoot.fraud.watcher.retries import Retries, Task
from folkmoot.ledger.costs import COIN
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.entries import UpdateCommitted
from folkmoot.ledger.follower import EventFollower
from folkmoot.ledger.releases import releases_of
from folkmoot.rpc.client import Phase, Rpc
from folkmoot.runtime.units import format_amount

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

ALL_RIGHT, UNCHECKED, FRAUD = 0, 4, 3
"""What `Watcher.verdict` says: exit statuses of `folkmoot watch --once`."""

_DONE = ("right", "proven", "proven-by-other")
_VISITED = ("check", "challenge", "dispute")  # what is tried when a round is visited


@dataclass
class Options:
    """How a watcher behaves."""

    account: LocalAccount | None = None
    """Who challenges; None only reports."""
    token_value: float | None = None
    """What a token is worth, in native coins; None never compares."""
    always: bool = False
    """Whether it challenges where that costs more than it wins."""
    deposits: bool = True
    """Whether it demands what is withheld and opens disputes: both cost a deposit until they are decided."""


@dataclass
class Watcher:
    """Watches one federation."""

    rpc_urls: Sequence[str]
    """Endpoints; what a majority says is read. Where there is none, the first that answers: a watcher that is misled
    loses no more than one that looks away."""
    deployment: Deployment
    """The addresses."""
    mirrors: dict[str, ArtifactSource]
    """Sources of files by their locations."""
    journal: Journal
    """Its memory."""
    log: Log
    """Where it says what happens."""
    options: Options = field(default_factory=Options)
    """How it behaves."""
    metrics: Metrics = field(default_factory=Metrics)
    """Its numbers."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, for pauses."""
    timeout: float = 20.0
    """Seconds that a request to an endpoint may take."""

    def __post_init__(self) -> None:
        self._endpoints = Endpoints(
            self.rpc_urls, self.deployment, self.journal, self.log, self.metrics, self.clock, self.timeout
        )
        account, deposits = self.options.account, self.options.deposits
        self._notes = TransactionJournal(
            self.journal.folder / "sent", lambda text: self.log("taken-up", text)
        )
        self._retries = Retries(self.clock, self.log, self.metrics)
        self._recourse = Escalation(
            self.deployment,
            self.journal,
            self.log,
            self.metrics,
            self._notes,
            account,
            deposits,
            self._retries,
        )
        self._examiner = Examiner(self.deployment, self.mirrors, self.journal, self.log, self.metrics)
        self._votes = EventFollower(self.deployment, contracts=("registry", "governor"))
        self._recalls_told: set[str] = set()
        self._unchecked: set[int] = set()
        self._in_budget: set[UpdateCommitted] = set()
        self.fraud_seen = False

    def close(self) -> None:
        """Close all connections."""
        self._examiner.close()
        self._notes.close()
        self._endpoints.close()

    # One look

    def look(self) -> bool:
        """Look at the chain once, and act; return whether an endpoint answered."""
        self.metrics.passes.inc()
        reading = self._endpoints.read()
        if reading is None:
            return False
        rpc, record = reading
        self.metrics.block.set(record.block)
        self.metrics.block_timestamp.set(record.time)
        self._look_at_purse(rpc)
        self._check_budgets(record)
        self._blame_contributors(rpc, record)
        self._forget_what_is_over(record)
        self._follow_demands(rpc, record)
        self._recourse.follow_disputes(rpc, record)
        self._recourse.blame_replays(rpc, record)
        self._visit_all(rpc, record)
        self._recourse.tell_of_disputes(rpc, record)
        self._tell_of_recalls(rpc)
        wrong = [n for n, round_ in self.journal.rounds.items() if round_.result in ("wrong", "disputed")]
        self.metrics.wrong_rounds.set(sum(self._is_current(number, record) for number in wrong))
        self.metrics.unchecked_rounds.set(len(self._unchecked))
        self.metrics.held_entries.set(self._endpoints.held(rpc))
        self.metrics.last_pass.set(time.time())
        return True

    @property
    def verdict(self) -> int:
        """What all looks so far add up to: 0 all right, 3 fraud, 4 something could not be checked."""
        if self.fraud_seen:
            return FRAUD
        return UNCHECKED if self._unchecked else ALL_RIGHT

    def _tell_of_recalls(self, rpc: Rpc) -> None:
        """Say once of each version that a vote recalled it, or would; an endpoint that fails is asked again."""
        with suppress(ChainError):
            state = self._votes.read(rpc).state
            releases = releases_of(rpc, self.deployment, (*state.versions, *state.proposals))
            for version in (*releases.recalled, *releases.listed):
                for text in set(releases.warnings(version)) - self._recalls_told:
                    self._recalls_told.add(text)
                    event = "recalled" if version in releases.recalled else "recall-vote"
                    self.log(event, text, version=version)

    def _look_at_purse(self, rpc: Rpc) -> None:
        """Note what there is to pay proofs with; to know it is not worth failing for."""
        if self.options.account is None:
            return
        with suppress(ChainError):
            balance = rpc.balance(self.options.account.address)
            self.metrics.balance.set(balance / COIN)

    def _check_budgets(self, record: Record) -> None:
        """Say which entries pass a privacy budget. No proof helps: the ledger that took them is not the right one."""
        for budget in overspent(record, self._in_budget):
            self.fraud_seen = True
            self.metrics.overspent.inc()
            text = (
                f"{budget.contributor} has spent {budget.spent} of a privacy budget of {budget.cap} with its entry in "
                f"round {budget.round}, which the ledger must refuse. Run `folkmoot audit`."
            )
            values = {"round": budget.round, "contributor": budget.contributor}
            self.log("over-budget", text, **values, spent=str(budget.spent), cap=str(budget.cap))

    def _forget_what_is_over(self, record: Record) -> None:
        """Say what became of rounds, and let go of those that nobody can challenge any more."""
        waiting = {case.round for case in record.waiting()}
        needed = waiting | {
            number for number, round_ in self.journal.rounds.items() if round_.blame is not None
        }
        self._examiner.let_go_of_all_but(needed, record)
        self._unchecked &= waiting
        for task in self._retries.tasks:
            if task.kind in (*_VISITED, "demand") and task.round not in waiting:
                self._end(task, record)
        for number, one in list(self.journal.rounds.items()):
            events = record.rounds.get(number)
            if one.result not in ("wrong", "disputed", "withheld") or events is None:
                continue
            if events.slashed is not None:
                who = events.slashed.challenger
                text = (
                    f"Round {number} is void: a vote upheld the dispute, and the bond is burnt."
                    if who == ZERO_ADDRESS
                    else f"Round {number} is void: {who} proved that it was wrong."
                )
                self.log("void", text, round=number, challenger=who)
                # Our own proof is news to us if we were killed before it was in the journal.
                ours = self.options.account is not None and who == self.options.account.address
                transaction = "0x" + events.slashed.transaction.hex() if ours else ""
                result = "proven" if ours else "proven-by-other"
                self.journal.note(number, replace(one, result=result, transaction=transaction))
            elif events.phase in (Phase.FINAL, Phase.CANCELLED):
                over = "final" if events.phase == Phase.FINAL else "void with its base"
                text = f"Round {number} was {one.result} and is {over} now: {one.text}"
                self.log(events.phase.name.lower(), text, round=number)
                self.journal.note(number, replace(one, result="final"))
        past = record.past
        if past is not None:
            self.journal.forget(lambda number: number not in record.rounds and number in past)

    def _end(self, task: Task, record: Record) -> None:
        """Say what nobody can do any more about a round that is final; what is void needs nothing."""
        events = record.rounds.get(task.round)
        if events is not None and events.phase == Phase.FINAL:
            self._retries.give_up(task, "it is final, and can't be challenged any more")
        else:
            self._retries.done(task)

    def _is_done(self, case: Case) -> bool:
        one = self.journal.rounds.get(case.round)
        if one is None or one.anchor != case.anchor.hash.hex():
            return False
        if one.result in ("wrong", "disputed"):
            self.fraud_seen = True
        if one.result == "wrong":
            return self.options.account is None
        if one.result == "disputed":
            return one.settled or self.options.account is None or not self.options.deposits
        return one.result in _DONE

    def _is_current(self, number: int, record: Record) -> bool:
        case = record.cases.get(number)
        return case is not None and case.anchor.hash.hex() == self.journal.rounds[number].anchor

    # One round

    def _visit_all(self, rpc: Rpc, record: Record) -> None:
        """Examine what is not done, oldest first, and challenge what is wrong, newest first.

        A proof makes the rounds above it void, and their bonds go back to the coordinator. So of several wrong rounds
        the newest is proven first. None waits for others beyond the middle of its own challenge window.
        """
        started, wrong = self.clock(), list[tuple[Case, Finding]]()
        for case in record.waiting():
            tasks = [Task(kind, case.round) for kind in _VISITED]
            if self._is_done(case) or not all(map(self._retries.is_due, tasks)):
                continue
            with self._unchecked_on_failure(case, record):
                finding = self._examiner.known(case) or self._examiner.examine(rpc, case, record)
                if finding.suspicions:
                    wrong.append((case, finding))
                else:
                    self._act(rpc, case, finding, record)
            now = record.time + self.clock() - started
            if any(one.challenge_deadline - now < one.policy.challenge_window / 2 for one, _ in wrong):
                self._act_on(rpc, wrong, record)
        self._act_on(rpc, wrong, record)

    def _act_on(self, rpc: Rpc, wrong: list[tuple[Case, Finding]], record: Record) -> None:
        while wrong:
            case, finding = wrong.pop()
            with self._unchecked_on_failure(case, record):
                self._act(rpc, case, finding, record)

    @contextmanager
    def _unchecked_on_failure(self, case: Case, record: Record) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a file that vanished, an endpoint that died, a defect: it is tried again
            self._unchecked.add(case.round)
            message, code = repr(error), "defect"
            if isinstance(error, FolkmootError):
                message, code = error.message, error.code
            self._later("check", case, record, message)
            text = f"Round {case.round} could not be checked. {message}"
            self.log("unchecked", text, round=case.round, code=code)

    def _later(self, kind: str, case: Case, record: Record, why: str) -> None:
        self._retries.failed(Task(kind, case.round), why, case.challenge_deadline - record.time)

    def _act(self, rpc: Rpc, case: Case, finding: Finding, record: Record) -> None:
        if self._report_censored(rpc, case, finding):
            return
        number, anchor = case.round, case.anchor.hash.hex()
        if not finding.demands or finding.suspicions:
            self._retries.done(Task("check", number))
        if finding.suspicions:
            self._unchecked.discard(number)
            self.fraud_seen = True
            if self._examiner.known(case) is None:
                self._report(finding, "wrong")
                self.journal.note(number, Checked(anchor, "wrong", finding.suspicions[0].text))
            self._examiner.findings[number] = finding
            self._challenge(rpc, case, finding, record)
        elif finding.demands:
            self._unchecked.add(number)
            one = self.journal.rounds.get(number)
            if one is None or one.anchor != anchor or one.result != "withheld":
                self.journal.note(number, Checked(anchor, "withheld", finding.demands[0].text))
            self._report(finding, "withheld")
            if finding.disputes:
                self.fraud_seen = True
            self._later("check", case, record, finding.demands[0].text)
            proven = self._recourse.demand(rpc, case, finding, record)
            if proven is not None:
                self._act(rpc, case, proven, record)
        elif finding.disputes:
            self._unchecked.discard(number)
            self.fraud_seen = True
            if self._examiner.known(case) is None:
                self._report(finding, "disputed")
                self.journal.note(number, Checked(anchor, "disputed", finding.disputes[0].text))
            self._examiner.findings[number] = finding
            self._dispute(rpc, case, finding, record)
        else:
            self._unchecked.discard(number)
            self.metrics.rounds.labels("right").inc()
            self.log("right", f"Round {number} is right: {len(case.entries)} entries.", round=number)
            self.journal.note(number, Checked(anchor, "right"))

    def _report(self, finding: Finding, result: str) -> None:
        self.metrics.rounds.labels(result).inc()
        number = finding.case.round
        for suspicion in finding.suspicions:
            places = list(suspicion.places)
            self.log("wrong", suspicion.text, round=number, kind=str(suspicion.kind), places=places)
        for demand in finding.demands:
            event = "unreachable" if demand.unsure else "withheld"
            self.log(event, demand.text, round=number, what=demand.what, entry=demand.entry)
        if finding.disputes:
            first, differ = finding.disputes[0], [[one.what, one.entry] for one in finding.disputes]
            text = f"{finding.disputed} No contract can see it."
            self.log("disputed", text, round=number, what=first.what, entry=first.entry, places=differ)

    def _challenge(self, rpc: Rpc, case: Case, finding: Finding, record: Record) -> None:
        """Send the cheapest proof that a judge takes."""
        account, number = self.options.account, case.round
        if account is None:
            self.log("not-challenged", f"Round {number} is left to others: no key was given.", round=number)
            self._examiner.let_go(number, record)
            return
        try:
            proof, cost = cheapest(rpc, self.deployment, finding, account.address)
            if not self._worth_it(case, cost):
                self._later("challenge", case, record, "It costs more than it wins.")
                return
            blamed = proof.place if proof.kind == Kind.UPDATE else None
            if blamed is not None:
                # Before the round is void: whoever dies in between finds it in the journal.
                self.journal.note(number, replace(self.journal.rounds[number], blame=blamed))
            receipt = challenge(rpc, case, cost, proof, account, self._notes)
        except (ChallengeFailed, ChainError) as error:
            if error.code in ("not-provable", "too-much-gas") and finding.fallback:
                self._vote_instead(rpc, case, finding, record)
                return
            self._later("challenge", case, record, error.message)
            self.metrics.challenges.labels(error.code).inc()
            event = error.code if isinstance(error, ChallengeFailed) else "challenge-failed"
            self.log(
                event, f"Round {number} is not challenged yet. {error.message}", round=number, code=error.code
            )
            return
        self._retries.done(Task("challenge", number))
        transaction = receipt["transactionHash"].to_0x_hex()
        self.metrics.challenges.labels("proven").inc()
        text = (
            f"Round {number} is void: {proof.kind} {proof.place} was proven wrong in transaction {transaction} "
            f"({receipt['gasUsed']:,} gas), which wins {format_amount(cost.wins)}."
        )
        self.log(
            "proven", text, round=number, kind=str(proof.kind), place=proof.place, transaction=transaction
        )
        text = finding.suspicions[0].text
        self.journal.note(number, Checked(case.anchor.hash.hex(), "proven", text, transaction, blame=blamed))
        self._notes.acknowledge()
        if blamed is not None:
            self._blame(rpc, case, blamed, record)

    def _blame_contributors(self, rpc: Rpc, record: Record) -> None:
        """Go on with what is to be proven against contributors of rounds that are over."""
        for number, round_ in list(self.journal.rounds.items()):
            case = record.case(number)
            if round_.blame is None or case is None or record.rounds[number].phase == Phase.ANCHORED:
                continue
            if round_.anchor == case.anchor.hash.hex():
                self._blame(rpc, case, round_.blame, record)

    def _blame(self, rpc: Rpc, case: Case, entry: int, record: Record) -> None:
        task, left = Task("blame", case.round), None
        if not self._retries.is_due(task):
            return
        try:
            left = self._recourse.fault_until(rpc, record.opened_at(case)) - record.time
            if left <= 0:
                self._recourse.blamed(case.round)
                self._retries.give_up(task, "its contributor can't lose stake for that any more")
                return
            finding = self._examiner.known(case) or self._examiner.examine(rpc, case, record)
            self._recourse.blame_contributor(rpc, case, finding, entry)
            self._retries.done(task)
        except Exception as error:  # a mirror or an endpoint that is away: it is tried again
            message = error.message if isinstance(error, FolkmootError) else repr(error)
            self._retries.failed(task, message, left)
            self.log("fault-failed", f"Round {case.round}: {message}", round=case.round)

    def _vote_instead(self, rpc: Rpc, case: Case, finding: Finding, record: Record) -> None:
        """Take what no judge of the round can see to a vote."""
        del self._examiner.findings[case.round]  # what is known now is another thing
        self._act(rpc, case, replace(finding, suspicions=[], disputes=finding.fallback), record)

    def _worth_it(self, case: Case, cost: Cost) -> bool:
        value = self.options.token_value
        if value is None or self.options.always or cost.pays(value):
            return True
        text = (
            f"Round {case.round} is not challenged: it would cost {cost.wei / 10**18:.6f} native coins and win "
            f"{format_amount(cost.wins)}. Give --always to do it all the same."
        )
        self.metrics.challenges.labels("too-dear").inc()
        self.log("too-dear", text, round=case.round, **cost.to_json())
        return False

    # Where no leaf helps

    def _follow_demands(self, rpc: Rpc, record: Record) -> None:
        followed = self._recourse.follow_demands(rpc, record)
        self.fraud_seen |= followed.proven
        for number in followed.answered:
            self._retries.done(Task("check", number))

    def _report_censored(self, rpc: Rpc, case: Case, finding: Finding) -> bool:
        """Prove that an update which was delivered on the chain was anchored as not delivered; whether it was."""
        entry = self._recourse.censored(rpc, case)
        if entry is None:
            return False
        self.fraud_seen = True
        self._examiner.findings[case.round] = finding
        self._recourse.prove_censored(rpc, case, finding, entry)
        return True

    def _dispute(self, rpc: Rpc, case: Case, finding: Finding, record: Record) -> None:
        task, left = Task("dispute", case.round), record.asking_until(case) - record.time
        try:
            self._recourse.dispute(rpc, case, finding, record.time)
        except ChainError as error:
            self._retries.failed(task, error.message, left)
            text = f"Round {case.round}: {error.message}"
            self.log("dispute-failed", text, round=case.round, code=error.code)
            if left > 0:
                return
            self._recourse.settled(case.round)
            self._retries.give_up(task, "no dispute about it can be opened any more")
        self._retries.done(task)
        self._examiner.let_go(case.round, record)


def run(watcher: Watcher, *, once: bool, every: float, wait: Callable[[float], bool]) -> int:
    """Look until told to stop; return the exit status.

    Args:
        watcher: Who looks.
        once: Whether one look is all.
        every: Seconds between two looks.
        wait: Waits so many seconds; whether to stop.
    """
    while True:
        try:
            answered = watcher.look()
        except WrongChainError:
            raise
        except Exception as error:  # a full disk, a defect: the next look may do better
            if once:
                raise
            answered = False
            message = error.message if isinstance(error, FolkmootError) else repr(error)
            watcher.log("look-failed", message)
        if once and not answered:
            raise RpcError("No endpoint gave a usable answer.", remedy="Give another one by --rpc.")
        if once or wait(every):
            return watcher.verdict
