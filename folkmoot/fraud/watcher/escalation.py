# SPDX-License-Identifier: Apache-2.0
"""What a watcher does where no leaf refutes a lie: demands, disputes, censored deliveries, faults of contributors.

Each takes a few looks at the chain: the journal holds where it stands. Knows no clock but the chain's, and no mirror.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.errors import ChainError, ContractRefused
from folkmoot.fraud.contracts import descend, judges
from folkmoot.fraud.contracts.challenge import ChallengeFailed
from folkmoot.fraud.contracts.follower import commits_of
from folkmoot.fraud.contracts.record import Record, Replay, replays
from folkmoot.fraud.proofs.availability import Call, Node, Status
from folkmoot.fraud.proofs.case import Case, Demand
from folkmoot.fraud.proofs.finding import Finding
from folkmoot.fraud.watcher.journal import Checked, Journal, Log
from folkmoot.fraud.watcher.metrics import Metrics
from folkmoot.fraud.watcher.retries import Retries, Task
from folkmoot.ledger.deployment import Deployment
from folkmoot.rpc.client import Phase, Rpc, VaultReader

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

DEPOSIT_PATIENCE = 7 * 86_400.0
"""Seconds after which a deposit that can't be had back is left to `folkmoot demand --claim`: no window ends for it."""


@dataclass
class Followed:
    """What became of demands since the last look."""

    proven: bool = False
    """Whether a round is void because nobody answered."""
    answered: list[int] = field(default_factory=list)
    """Rounds of which something was answered."""


@dataclass(frozen=True)
class _Replayed:
    """A replay with all that its proof needs, after its round was let go of as well."""

    replay: Replay
    case: Case
    opened_at: int


_DECISIONS = {"disputed": "uphold", "right": "dismiss"}
"""How a vote should decide a dispute, by what the watcher found."""


def _decision(word: str, number: int) -> str:
    return f"folkmoot propose --{word} {number}"


def _to_do(command: str) -> str:
    return f"To decide it, type `{command}`; if `folkmoot proposals --open` has that proposal already, vote for it."


@dataclass
class Escalation:
    """What a watcher can do beside proofs of leaves."""

    deployment: Deployment
    """The addresses."""
    journal: Journal
    """The watcher's memory."""
    log: Log
    """Where it says what happens."""
    metrics: Metrics
    """Its numbers."""
    notes: TransactionJournal
    """Where transactions are noted before they are sent: a watcher that was killed sends none twice."""
    account: LocalAccount | None
    """Who acts; None only reports."""
    deposits: bool
    """Whether it may pay deposits: for demands, and for disputes."""
    retries: Retries
    """When what failed is tried again."""
    announced: set[int] = field(default_factory=set)
    """Rounds of which it said how to decide the dispute."""
    _replays: dict[str, _Replayed] = field(
        default_factory=dict
    )  # not dealt with, by their names in the journal
    _unbonding: int | None = None  # seconds; no contract changes it

    def demand(self, rpc: Rpc, case: Case, finding: Finding, record: Record) -> Finding | None:
        """Demand what is withheld on the chain, once mirrors had a quarter of the window to get it.

        Of a tree that is known it follows the nodes that differ, whoever demanded them, a step at each look.

        Returns:
            The finding with the error to which the shown lists led; None while there is none.
        """
        account, number = self.account, case.round
        one, wanted = self.journal.rounds[number], descend.demandable(finding)
        # Where every source is silent, it may be us: then it takes twice as long.
        patience = case.policy.challenge_window // (2 if wanted is not None and wanted.unsure else 4)
        if (
            account is None
            or not self.deposits
            or wanted is None
            or one.demands
            or record.time < record.rounds[number].anchored_at + patience
        ):
            return None
        judge = judges.find_judges(rpc, case.policy).availability
        if judge is None or self._adopt(rpc, judge, number, account, record):
            return None
        step = descend.walk(rpc, judge, finding, wanted, account, self.deployment.block)
        if isinstance(step, Finding):
            return step
        if step.waits is not None:
            self.journal.note(number, replace(one, demands=[step.waits]))
            text = f"Somebody demanded it already, by demand {step.waits}: {wanted.text}"
            self.log("demanded-by-other", text, round=number, demand=step.waits, what=wanted.what)
        elif step.document is not None:
            self.journal.files.put_document(step.document)
        elif step.call is not None and step.about is not None and one.made < judges.MOST_DEMANDS:
            left = max(record.asking_until(case), step.until) - record.time
            self._ask(rpc, judge, account, case, wanted, step.call, step.about, left)
        return None

    def _ask(
        self,
        rpc: Rpc,
        judge: str,
        account: LocalAccount,
        case: Case,
        wanted: Demand,
        call: Call,
        about: Node,
        left: int,
    ) -> None:
        """Send a demand, if there is time left for it."""
        number, task = case.round, Task("demand", case.round)
        if left <= 0:
            if task in self.retries.tasks:
                self.retries.give_up(task, "data of it can't be demanded any more")
            return
        one = self.journal.rounds[number]
        purpose = f"demand {one.made + 1} about round {number}, anchor {one.anchor}"
        try:
            made = judges.demand(rpc, self.deployment, judge, call, account, self.notes, purpose).demand
        except (ChainError, ChallengeFailed) as error:
            self.retries.failed(task, error.message, left)
            self.log("demand-failed", f"Round {number}: {error.message}", round=number, code=error.code)
            return
        self.retries.done(task)
        self.journal.note(number, replace(one, demands=[made], made=one.made + 1))
        self.notes.acknowledge()
        self.metrics.challenges.labels("demanded").inc()
        text = f"Demand {made} was made on the chain, for {about}: {wanted.text}"
        self.log("demanded", text, round=number, demand=made, what=wanted.what, entry=wanted.entry)

    def _adopt(self, rpc: Rpc, judge: str, number: int, account: LocalAccount, record: Record) -> bool:
        """Take up demands of ours that the chain knows and the journal does not; return whether there are any."""
        one, anchored = self.journal.rounds[number], record.rounds[number].anchored
        assert anchored is not None  # noqa: S101  # only anchored rounds are examined
        known = judges.demands_of(rpc, judge, number, account.address, anchored.block)
        if len(known) <= one.made:
            return False
        unclosed = [
            demand for demand in known if judges.stored_demand(rpc, judge, demand).status is Status.OPEN
        ]
        self.journal.note(number, replace(one, demands=unclosed, made=len(known)))
        numbers = ", ".join(map(str, known))
        self.log("demanded", f"Round {number}: our demands {numbers} are on the chain already.", round=number)
        return True

    def follow_demands(self, rpc: Rpc, record: Record) -> Followed:
        """See what became of the demands we wait for: an answer is read, silence is proven, a deposit taken back."""
        account, followed = self.account, Followed()
        for number, round_ in list(self.journal.rounds.items()):
            case = record.case(number)
            if account is None or not round_.demands or case is None:
                continue
            task = Task("deposit", number, str(round_.demands[0]))
            if not self.retries.is_due(task):
                continue
            try:
                judge = judges.find_judges(rpc, case.policy).availability
                if judge is not None:
                    self._follow(rpc, record, case, judge, account, followed)
                self.retries.done(task)
            except (ChainError, ChallengeFailed) as error:  # or somebody was faster: the next try sees it
                self.log("demand-failed", f"Round {number}: {error.message}", round=number, code=error.code)
                self._deposit_failed(task, error.message, case, record)
        return followed

    def _deposit_failed(self, task: Task, why: str, case: Case, record: Record) -> None:
        """Try again what a demand needs; once the round is over that is the deposit only, and not for ever."""
        anchored = record.rounds[case.round].phase == Phase.ANCHORED
        self.retries.failed(task, why, case.challenge_deadline - record.time if anchored else None)
        if anchored or self.retries.tried_for(task) < DEPOSIT_PATIENCE:
            return
        one = self.journal.rounds[case.round]
        because = (
            f"it took {DEPOSIT_PATIENCE / 86_400:.0f} days; get it by `folkmoot demand {task.which} --claim`"
        )
        self.retries.give_up(task, because)
        self.journal.note(case.round, replace(one, demands=one.demands[1:]))

    def _follow(
        self, rpc: Rpc, record: Record, case: Case, judge: str, account: LocalAccount, followed: Followed
    ) -> None:
        number, one = case.round, self.journal.rounds[case.round]
        demand = one.demands[0]
        stored = judges.stored_demand(rpc, judge, demand)
        status = stored.status
        if status == Status.OPEN and record.rounds[number].phase != Phase.ANCHORED:
            if stored.demander == account.address:
                judges.release(rpc, judge, demand, account, self.notes)
            status = Status.RETURNED
        if status == Status.OPEN:
            if record.time < stored.until:
                return
            transaction = judges.prove_withheld(rpc, judge, demand, account, self.notes)
            followed.proven = True
            self.metrics.challenges.labels("proven").inc()
            text = f"Round {number} is void: nobody answered demand {demand} (transaction {transaction})."
            self.log("proven", text, round=number, kind="withheld", place=demand, transaction=transaction)
            left = one.demands[1:]
            self.journal.note(number, replace(one, result="proven", transaction=transaction, demands=left))
            self.notes.acknowledge()
            return
        if status == Status.ANSWERED:
            if not stored.about.what.is_tree:
                self.journal.files.put_document(judges.answer(rpc, judge, demand, self.deployment.block)[0])
            followed.answered.append(number)
        text = f"Demand {demand} of round {number} is {status.name.lower()}."
        self.log(status.name.lower(), text, round=number, demand=demand)
        self.journal.note(number, replace(one, demands=one.demands[1:]))
        self.notes.acknowledge()

    def censored(self, rpc: Rpc, case: Case) -> int | None:
        """Return an entry that was delivered on the chain and anchored as not delivered."""
        if all(case.delivered(index) for index in range(len(case.entries))):
            return None
        judge = judges.find_judges(rpc, case.policy).availability
        return judges.censored(rpc, judge, case) if judge is not None else None

    def prove_censored(self, rpc: Rpc, case: Case, finding: Finding, entry: int) -> None:
        """Prove that an update which was delivered on the chain was anchored as not delivered."""
        number, account, anchor = case.round, self.account, case.anchor.hash.hex()
        who = f"entry {entry} ({case.entries[entry].contributor})"
        text = f"The update of {who} of round {number} was delivered on the chain, but anchored as not delivered."
        self.log("wrong", text, round=number, kind="censored", places=[entry])
        if account is None:
            self.journal.note(number, Checked(anchor, "wrong", text))
            return
        judge = judges.find_judges(rpc, case.policy).availability
        assert judge is not None  # noqa: S101  # it said what was delivered
        transaction = judges.prove_censored(rpc, judge, finding, entry, account, self.notes)
        self.metrics.challenges.labels("proven").inc()
        proven = f"Round {number} is void: {who} was censored (transaction {transaction})."
        self.log("proven", proven, round=number, kind="censored", place=entry, transaction=transaction)
        self.journal.note(number, Checked(anchor, "proven", text, transaction))
        self.notes.acknowledge()

    def dispute(self, rpc: Rpc, case: Case, finding: Finding, now: int) -> None:
        """Open a dispute for the voters or join it, if the round's arbiter has a judge for that."""
        account, number = self.account, case.round
        provable = [
            dispute for dispute in finding.disputes if dispute.what != "outcome"
        ]  # else it may be this release's fault
        if account is None or not self.deposits:
            return
        opened = None
        judge = judges.find_judges(rpc, case.policy).disputes if provable else None
        if judge is not None:
            opened = judges.dispute(rpc, self.deployment, judge, case, provable[0], account, self.notes, now)
            # A dispute of ours that a killed watcher sent is one that exists already.
            ours = judges.has_deposit(rpc, judge, number, account.address)
            self.journal.note(number, replace(self.journal.rounds[number], deposit=ours))
        self.settled(number)
        self.notes.acknowledge()
        if opened is not None:
            self.metrics.challenges.labels("disputed").inc()
            text = f"Round {number} waits for a vote now: a dispute was opened in transaction {opened}."
            command = _decision("uphold", number)
            self.announced.add(number)
            self.log(
                "dispute-opened",
                f"{text} {_to_do(command)}",
                round=number,
                transaction=opened,
                command=command,
            )

    def tell_of_disputes(self, rpc: Rpc, record: Record) -> None:
        """Say once of each round that others dispute what a voter should type, if the watcher knows what is right."""
        for case in record.waiting():
            number, one = case.round, self.journal.rounds.get(case.round)
            word = _DECISIONS.get(one.result) if one is not None else None
            latest = record.rounds[number].anchor_deadline + case.policy.challenge_window
            # A dispute holds a round for longer than that, and a demand seldom does.
            if number in self.announced or word is None or case.challenge_deadline <= latest:
                continue
            try:
                judge = judges.find_judges(rpc, case.policy).disputes
                if judge is None or not judges.is_disputed(rpc, judge, number):
                    continue
            except ChainError:  # The next look asks again.
                continue
            self.announced.add(number)
            verdict = "is wrong" if word == "uphold" else "is right"
            text = f"Round {number} {verdict}, and waits for a vote: somebody disputes it."
            command = _decision(word, number)
            self.log("dispute-seen", f"{text} {_to_do(command)}", round=number, command=command)

    def follow_disputes(self, rpc: Rpc, record: Record) -> None:
        """Take our deposits back from disputes about rounds that are over."""
        account = self.account
        for number, round_ in list(self.journal.rounds.items()):
            events, case = record.rounds.get(number), record.case(number)
            if (
                account is None
                or not round_.deposit
                or case is None
                or events is None
                or events.phase == Phase.ANCHORED
            ):
                continue
            task = Task("deposit", number, "dispute")
            if not self.retries.is_due(task):
                continue
            try:
                judge = judges.find_judges(rpc, case.policy).disputes
                if judge is not None and events.phase != Phase.FINAL:  # else it is burnt, or taken
                    judges.release_dispute(rpc, judge, number, account, self.notes)
            except (ChainError, ChallengeFailed) as error:
                self.log("dispute-failed", f"Round {number}: {error.message}", round=number, code=error.code)
                self.retries.failed(task, error.message, None)
                if self.retries.tried_for(task) < DEPOSIT_PATIENCE:
                    continue
                self.retries.give_up(task, f"it took {DEPOSIT_PATIENCE / 86_400:.0f} days")
            else:
                self.retries.done(task)
            self.journal.note(number, replace(self.journal.rounds[number], deposit=False))
            self.notes.acknowledge()

    def settled(self, number: int) -> None:
        """Note that nothing is left to do about a dispute."""
        self.journal.note(number, replace(self.journal.rounds[number], settled=True))

    def fault_until(self, rpc: Rpc, opened_at: int) -> int:
        """Return the Unix time until which a contributor can lose stake for a fault in a round.

        Args:
            opened_at: Unix time of the round's opening.
        """
        if self._unbonding is None:
            self._unbonding = VaultReader(rpc, self.deployment.vault).unbonding_period()
        return opened_at + self._unbonding

    def blame_contributor(self, rpc: Rpc, case: Case, finding: Finding, entry: int) -> None:
        """Prove the contributor's part in an invalid update, as well; the journal says that it is to be done."""
        account, number = self.account, case.round
        who = case.entries[entry].contributor
        try:
            judge = judges.find_judges(rpc, case.policy).faults
            if judge is not None and account is not None:
                transaction = judges.prove_false_tree(rpc, judge, finding, entry, account, self.notes)
                text = f"{who} lost stake for its update of round {number} (transaction {transaction})."
                self.log("fault-proven", text, round=number, account=who, transaction=transaction)
        except (ContractRefused, ChallengeFailed) as error:  # somebody was faster
            self.log("fault-failed", f"Round {number}: {error.message}", round=number, code=error.code)
        self.blamed(number)
        self.notes.acknowledge()

    def blamed(self, number: int) -> None:
        """Note that nothing is left to do about a contributor's fault."""
        self.journal.note(number, replace(self.journal.rounds[number], blame=None))

    def blame_replays(self, rpc: Rpc, record: Record) -> None:
        """Prove that a contributor sent an earlier round's update.

        Found in rounds that can still be challenged, and tried for as long as the contributor can lose stake for it.
        """
        for replay in replays(record):
            case = record.cases[replay.round]
            name = f"{replay.round} {case.entries[replay.entry].contributor}"
            if name not in self.journal.faults:
                self._replays[name] = _Replayed(replay, case, record.opened_at(case))
        for name, one in list(self._replays.items()):
            current = record.case(one.replay.round)
            if one.replay.round in record.rounds and (current is None or current.anchor != one.case.anchor):
                del self._replays[name]  # a reorg took it
                continue
            task = Task("replay", one.replay.round, name)
            if self.retries.is_due(task):
                self._blame_replay(rpc, record, name, one, task)

    def _blame_replay(self, rpc: Rpc, record: Record, name: str, one: _Replayed, task: Task) -> None:
        replay, entry, left = one.replay, one.case.entries[one.replay.entry], None
        try:
            left = self.fault_until(rpc, one.opened_at) - record.time
            if left <= 0:
                self.retries.give_up(task, "its contributor can't lose stake for that any more")
            else:
                self._prove_replay(rpc, record, replay, one.case)
        except (ContractRefused, ChallengeFailed) as error:  # somebody was faster, or it is too late
            self.log("fault-failed", error.message, round=replay.round, code=error.code)
        except ChainError as error:
            self.retries.failed(task, error.message, left)
            text = f"Round {replay.round}, {entry.contributor}: {error.message}"
            self.log("fault-failed", text, round=replay.round, code=error.code)
            return
        self.retries.done(task)
        del self._replays[name]
        self.journal.faulted(name)
        self.notes.acknowledge()

    def _prove_replay(self, rpc: Rpc, record: Record, replay: Replay, case: Case) -> None:
        """Prove a replay, if the round's arbiter has a judge for that, and the update is not equal by chance."""
        account, entry = self.account, case.entries[replay.entry]
        judge = judges.find_judges(rpc, case.policy).faults
        if judge is None or entry.sum_squares < judges.least_replay(rpc, judge):
            return
        text = f"{entry.contributor} sent the update of round {replay.earlier} again in round {replay.round}."
        self.log("replay", text, round=replay.round, account=entry.contributor)
        if account is None:
            return
        originals = commits_of(rpc, self.deployment, record, replay.earlier)
        transaction = judges.prove_replay(rpc, judge, replay, case.entries, originals, account, self.notes)
        proven = f"{entry.contributor} lost stake for that (transaction {transaction})."
        self.log("fault-proven", proven, round=replay.round, account=entry.contributor)
