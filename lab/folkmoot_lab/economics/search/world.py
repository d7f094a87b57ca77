# SPDX-License-Identifier: Apache-2.0
"""A small federation on the real contracts, in which everybody is honest until a move says otherwise.

Time goes in steps. In each step contributors deliver, then attackers make their moves, then the coordinator, the
watcher, the voters and the keeper (who finalizes, settles and pays out) do what is due. An attacker's accounts do
the same where it does not move, so a play without moves is honest play.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from folkmoot.chain.terms import Governance
from folkmoot.protocol.anchor import NO_GRAM_ROOT, Anchor
from folkmoot.protocol.commitment import Commitment, entries_hash
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.runtime.units import UNIT
from folkmoot_lab.economics.search.chain import BLOCK_SECONDS, Contracts, Person, person
from folkmoot_lab.economics.setting import RIDERS_PAY, TRAINING

OPEN, COMMITTED, ANCHORED, FINAL = 1, 2, 3, 4
"""Phases of a round, as the ledger numbers them."""
ACTIVE, SUCCEEDED, QUEUED = 1, 4, 5
"""States of a proposal, as the governor numbers them."""
TURNOUT_PERCENT = 40
"""Share of the honest stake of voters that votes; the contributors vote too."""
RENT_PERCENT = 10
"""Price of capital, in percent a year."""
YEAR = 365 * 86_400
JUDGED = frozenset({"judged", "paid"})
"""Lies that only a vote judges: about weights, and about pays."""
COMMITS_ALONE_PERCENT = 80
"""Part of the commit window after which a node records its own commitment (`RoundView.own_commitments_from`)."""
WARM_UP = 30 * 86_400
"""Seconds for which everything is there before a play."""


@dataclass(slots=True, kw_only=True)
class Cast:
    """Who is there, and what they have. Amounts in units of 1e-18 tokens.

    Attributes:
        honest: Number of honest contributors, each with the least stake.
        attackers: Names of the attackers' accounts that contribute, each enrolled with the least stake if `enrolled`.
        enrolled: Whether they are enrolled before the play; if not, they stake and enrol in its first step.
        coordinates: Whether the coordinator is an attacker.
        capital: Tokens that attackers have beside that.
        bonds: Bonds that the coordinator has at stake.
        voters: Stake of honest people who do nothing but vote.
        pace: Seconds from opening to opening, at least.
    """

    honest: int
    attackers: int
    enrolled: bool = True
    coordinates: bool = False
    capital: int = 0
    bonds: int
    voters: int
    pace: int = 0


@dataclass(slots=True)
class Made:
    """A round as those who take part know it."""

    number: int
    base: int
    base_root: bytes
    opened: int
    state_root: bytes
    delivered: dict[Person, Commitment] = field(default_factory=dict)
    asked: set[Person] = field(default_factory=set)
    entries: list[tuple[Person, Commitment]] = field(default_factory=list)
    withheld: set[Person] = field(default_factory=set)
    riding: set[Person] = field(default_factory=set)
    lie: str = ""
    anchor: Anchor | None = None
    anchored: int = 0
    anchored_at: int = 0
    over: bool = False
    final: bool = False

    @property
    def commitments(self) -> list[Commitment]:
        """The recorded commitments, in order."""
        return [commitment for _, commitment in self.entries]


@dataclass(slots=True)
class Vote:
    """A proposal to decide a dispute."""

    number: int
    decision: str
    round: int
    text: str
    proposer: Person
    voted: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a play came to, in units of 1e-18 tokens.

    Attributes:
        wealth: Tokens of each account at the end, wherever they are.
        gas: What the attackers' moves used.
        rent: What the capital of the attackers cost while it was not liquid.
        work: What it cost to train the attackers' updates.
        steered: Rounds with a wrong model that became final.
        finals: Rounds that became final.
        log: What happened, in words.
    """

    wealth: Counter[str]
    gas: int
    rent: int
    work: int
    steered: int
    finals: int
    log: tuple[str, ...] = ()


class World:
    """The federation of one scenario; `begin` starts a play."""

    def __init__(
        self, policy: Policy, governance: Governance, cast: Cast, folder: Path | None = None
    ) -> None:
        """Deploy, hand out tokens and stakes, and let everything season."""
        self.policy, self.governance, self.cast, self.folder = policy, governance, cast, folder
        self.honest = [person(f"honest {i + 1}") for i in range(cast.honest)]
        self.puppets = [person(f"attacker {i + 1}") for i in range(cast.attackers)]
        self.coordinator = person("coordinator")
        self.treasury, self.watcher, self.keeper = person("treasury"), person("watcher"), person("keeper")
        self.voter, self.sleeper = person("voter"), person("sleeper")
        self.step_seconds = max(1, policy.commit_window // 6)
        self.attackers = [self.treasury, *self.puppets, *([self.coordinator] if cast.coordinates else [])]
        self.everybody = [
            *self.honest, *self.puppets, self.coordinator, self.treasury, self.watcher, self.voter, self.sleeper,
        ]  # fmt: skip
        self._deploy()

    def _deploy(self) -> None:
        policy, cast = self.policy, self.cast
        voting = cast.voters * TURNOUT_PERCENT // 100
        staked = dict.fromkeys(self.honest, policy.min_stake)
        if cast.enrolled:
            staked |= dict.fromkeys(self.puppets, policy.min_stake)
        staked |= {
            self.coordinator: cast.bonds * policy.bond,
            self.voter: voting,
            self.sleeper: cast.voters - voting,
        }
        liquid = {self.treasury: cast.capital, self.watcher: 20 * policy.bond}
        have = {who.address: staked.get(who, 0) + liquid.get(who, 0) for who in self.everybody}
        self.start = Counter({who.name: have[who.address] for who in self.everybody})
        self.chain = chain = Contracts(
            policy=policy,
            governance=self.governance,
            coordinator=self.coordinator.address,
            allocations={account: amount for account, amount in have.items() if amount},
            folder=self.folder,
        )
        chain.pass_time(1)
        for who in self.everybody:
            chain.approve(who)
        for who, amount in staked.items():
            if amount:
                self._must(chain.stake(who, who, amount))
        for who in (*self.honest, *(self.puppets if cast.enrolled else ())):
            self._must(chain.enrol(who, policy.min_stake))
        chain.pass_time(WARM_UP)
        chain.keep()

    @staticmethod
    def _must(done: bool) -> None:
        if not done:
            raise RuntimeError("the federation can't be set up")

    # A play.

    def begin(self, salt: int) -> None:
        """Start a play."""
        self.chain.back(salt)
        self.chain.pass_time(self.step_seconds)
        self.begun = self.chain.time
        self.rounds: dict[int, Made] = {}
        self.votes: list[Vote] = []
        self.demands: list[tuple[int, int, Person]] = []
        self.deposits: list[tuple[int, Person, int]] = []
        self.disputed: set[int] = set()
        self.step = 0
        self.playing = True
        self.next_lie = ""
        self.idle: set[Person] = set()
        self.rides_until: dict[Person, int] = {}
        self.opens_not_before = 0
        self.silent = False
        self.gas = self.rent = 0
        self.has_moved = not self.cast.enrolled
        self._away = 0
        self._liquid = self.chain.tokens(self.treasury)
        self.log: list[str] = []
        self.last: Made | None = None

    def say(self, text: str) -> None:
        """Note what happened."""
        self.log.append(f"step {self.step}: {text}")

    def pay_gas(self) -> None:
        """Charge an attacker for the transaction that it has just sent: a token for a million gas."""
        self.gas += self.chain.gas * UNIT // 1_000_000
        self.has_moved = True

    def before_moves(self) -> None:
        """What comes before attackers move in a step."""
        if self.step == 0 and not self.cast.enrolled:
            return
        self._deliver()

    def after_moves(self) -> None:
        """What comes after it, at the same time however many moves there were: so blocks have the same hashes."""
        self._wait_until(self.begun + self.step_seconds // 2)
        if self.step == 0 and not self.cast.enrolled:
            self._enrol_attackers()
        self._coordinate()
        self._watch()
        self._decide()
        self._keep_house()

    def _wait_until(self, time: int) -> None:
        if time > self.chain.time:
            self.chain.pass_time(time - self.chain.time)

    def end_step(self, seconds: int) -> None:
        """Let the time to the next step pass."""
        if self.has_moved:
            self.has_moved = False
            self._away = max(0, self._liquid - sum(map(self.chain.tokens, (self.treasury, *self.puppets))))
        self.rent += self._away * seconds * RENT_PERCENT // (100 * YEAR)
        self.begun += seconds
        self._wait_until(self.begun)
        self.step += 1
        self.idle.clear()
        self.silent = False

    @property
    def is_contested(self) -> bool:
        """Whether a round may have been struck."""
        return bool(self.disputed or self.demands) or any(made.lie for made in self.rounds.values())

    @property
    def is_settled(self) -> bool:
        """Whether nothing is pending any more."""
        return all(made.over for made in self.rounds.values()) and not self.deposits and not self.demands

    def outcome(self) -> Outcome:
        """Count everything."""
        wealth: Counter[str] = Counter()
        for who in self.everybody:
            leaving = self.chain.unbonding(who)
            held = sum(amount for _, other, amount in self.deposits if other is who)
            held += sum(self.governance.demand_deposit for _, _, other in self.demands if other is who)
            staked = self.chain.staked(who)
            wealth[who.name] = self.chain.tokens(who) + staked + self.chain.claimable(who) + held
            wealth[who.name] += sum(amount for amount, _ in leaving)
            if who in self.attackers and who is not self.coordinator:
                # It takes the unbonding time to have it back.
                time = self.governance.unbonding
                self.rent += staked * time * RENT_PERCENT // (100 * YEAR)
                for amount, release in leaving:
                    self.rent += amount * max(0, release - self.chain.time) * RENT_PERCENT // (100 * YEAR)
        finals = [made for made in self.rounds.values() if made.final]
        steered = sum(made.lie in ("judged", "proven") for made in finals)
        trained = sum(
            who in self.puppets and who not in made.riding
            for made in self.rounds.values()
            for who, _ in made.entries
        )
        work = int(trained * TRAINING * self.policy.reward / self.policy.max_contributors)
        return Outcome(wealth, self.gas, self.rent, work, steered, len(finals), tuple(self.log))

    # Contributors.

    @property
    def current(self) -> Made | None:
        """The round that takes commitments; None if there is none."""
        made = self.last
        return made if made is not None and made.anchor is None and not made.over else None

    def commitment_of(self, made: Made, who: Person, *, copy: bool = False) -> Commitment:
        """Return what somebody commits to, or a copy of the first update that was delivered."""
        if copy and made.delivered:
            return _commitment(
                who, made.number, made.base_root, next(iter(made.delivered.values())).update_root
            )
        return _commitment(who, made.number, made.base_root, None)

    def _deliver(self) -> None:
        made = self.current
        if made is None:
            return
        waited = self.chain.time - made.opened
        is_late = 100 * waited >= COMMITS_ALONE_PERCENT * self.policy.commit_window
        for who in (*self.puppets, *self.honest):
            if who not in made.asked and who not in self.idle:
                made.asked.add(who)
                if self.chain.has_place(made.number, who):
                    if made.number <= self.rides_until.get(who, 0):
                        made.riding.add(who)
                    made.delivered[who] = self.commitment_of(made, who)
            recorded = any(other is who for other, _ in made.entries)
            if is_late and who in self.honest and who in made.delivered and not recorded:
                self.commit_alone(made, who, made.delivered[who])
        if self.playing and self.step:
            for who in self.honest:
                if self.step % 6 == 0 and not self.chain.is_enrolled(who):
                    self.chain.enrol(who, self.policy.min_stake)

    def commit_alone(self, made: Made, who: Person, commitment: Commitment) -> bool:
        """Record somebody's own commitment."""
        if not self.chain.commit(who, commitment):
            return False
        made.entries.append((who, commitment))
        made.delivered[who] = commitment
        made.asked.add(who)
        return True

    def _enrol_attackers(self) -> None:
        for who in self.puppets:
            staked = self.chain.unlocked(who)
            if staked < self.policy.min_stake and not self.chain.stake(
                self.treasury, who, self.policy.min_stake
            ):
                continue
            if not self.chain.is_enrolled(who):
                self.chain.enrol(who, self.chain.unlocked(who))

    # Coordinator.

    def _coordinate(self) -> None:
        self._answer()
        if self.coordinator in self.idle:
            return
        made = self.current
        if made is not None:
            self.record(made, [who for who in made.delivered if who not in made.withheld])
            is_over = self.chain.time >= made.opened + self.policy.commit_window
            if not is_over and not self.chain.close(self.coordinator, made.number):
                return
            if not self.anchor(made) and is_over:
                made.over = self.chain.cancel(self.keeper, made.number)
        due = self.last is None or self.chain.time >= self.last.opened + self.cast.pace
        if self.playing and due and self.current is None and self.step >= self.opens_not_before:
            self.open()

    def open(self) -> bool:
        """Open a round on the head."""
        head, root = self.chain.head()
        if not self.cast.coordinates and head and self.rounds[head].lie:
            return False
        number = self.chain.next_round()
        if not self.chain.open(self.coordinator, number, root):
            # The hash of the last draw's block is not known any more.
            if not self.chain.redraw(self.keeper):
                return False
            self.chain.pass_time(24)
            if not self.chain.open(self.coordinator, number, root):
                return False
        self.last = self.rounds[number] = Made(number, head, root, self.chain.time, bytes(32))
        return True

    def record(self, made: Made, people: Sequence[Person]) -> bool:
        """Record signed commitments that are not recorded yet."""
        there = {who for who, _ in made.entries}
        batch = tuple((who, made.delivered[who]) for who in people if who not in there)
        if not batch:
            return False
        if not self.chain.record(self.coordinator, made.number, batch):
            return False
        # Who has no place is passed over.
        recorded = tuple(pair for pair in batch if self.chain.has_committed(made.number, pair[0]))
        made.entries += recorded
        return bool(recorded)

    def anchor(self, made: Made) -> bool:
        """Anchor a round: the truth, or the lie that comes next."""
        if len(made.entries) < self.policy.min_contributors:
            return False
        lie = self.next_lie
        weights, delivered = self._truth(made), (1 << len(made.entries)) - 1
        if lie == "judged":
            # Others' updates are excluded, though the rule includes them: no contract computes that.
            weights = [
                0 if who in self.honest else weight
                for weight, (who, _) in zip(weights, made.entries, strict=True)
            ]
        if lie == "proven":
            delivered &= ~1
            weights[0] = 1
        if lie == "disowned":
            # Others' updates did not come: nobody can show that they did.
            for place, (who, _) in enumerate(made.entries):
                if who in self.honest:
                    weights[place], delivered = 0, delivered & ~(1 << place)
        if not sum(weights):
            return False
        entries = _entries_hash(tuple(made.commitments))
        # The same whatever was recorded, so that a signature serves in many plays.
        state = keccak(made.base_root, lie.encode(), made.number.to_bytes(8, "big"))
        filled = keccak(b"filled")
        deserved = self._pays(made, weights)
        pays = self._pays(made, weights, bent=True) if lie == "paid" else deserved
        anchor = Anchor(tuple(weights), pays, delivered, filled, state, NO_GRAM_ROOT, filled, filled, filled)
        if not self.chain.anchor(self.coordinator, made.number, entries, anchor):
            return False
        made.anchor, made.state_root = anchor, state
        made.anchored, made.anchored_at = self.step, self.chain.time
        # Nobody is drawn by the hash of the block that is being made.
        self.chain.pass_time(BLOCK_SECONDS)
        made.lie = lie if lie in ("judged", "proven") or pays != deserved else ""
        self.next_lie = ""
        return True

    def _truth(self, made: Made) -> list[int]:
        seen: set[bytes] = set()
        weights = []
        for who, commitment in made.entries:
            counts = who is not self.coordinator and commitment.update_root not in seen
            weights.append(int(counts))
            if counts:
                seen.add(commitment.update_root)
        return weights

    def _pays(self, made: Made, weights: Sequence[int], *, bent: bool = False) -> tuple[int, ...]:
        """Return what the entries deserve; if bent, nothing for honest people, and everything for others."""

        def pay(who: Person) -> int:
            if bent:
                return 0 if who in self.honest else FULL_PAY
            return RIDERS_PAY if who in made.riding else FULL_PAY

        if not self.policy.has_pays:
            return ()
        return tuple(weight * pay(who) for weight, (who, _) in zip(weights, made.entries, strict=True))

    def _answer(self) -> None:
        if self.silent:
            return
        for demand in list(self.demands):
            if self.chain.show(self.coordinator, demand[0], demand[1]):
                self.demands.remove(demand)

    # Those who check.

    def prove(self, made: Made, who: Person) -> bool:
        """Prove a round wrong, if it is."""
        if made.lie != "proven" or made.anchor is None:
            return False
        return self.chain.prove_weight(who, made.number, made.anchor, made.commitments, 0)

    def _watch(self) -> None:
        for made in list(self.rounds.values()):
            if made.over or made.anchor is None or made.anchored >= self.step:
                continue
            if made.lie == "proven":
                self.prove(made, self.watcher)
            if made.lie in JUDGED and made.number not in self.disputed:
                self.dispute(made, self.watcher)

    def dispute(self, made: Made, who: Person) -> bool:
        """Dispute a round."""
        before = self.chain.tokens(who)
        if not self.chain.dispute(who, made.number):
            return False
        self.disputed.add(made.number)
        self.deposits.append((made.number, who, before - self.chain.tokens(who)))
        return True

    def _decide(self) -> None:
        """Propose what is right about each dispute, vote for what is right, and carry it out."""
        for number in sorted(self.disputed):
            made = self.rounds[number]
            decision = "uphold" if made.lie else "dismiss"
            if not made.over and not self._is_proposed(number, decision):
                tries = sum(vote.round == number for vote in self.votes)
                self.propose(self.voter, decision, number, tries)
        for vote in self.votes:
            if vote.over:
                continue
            state = self.chain.proposal_state(vote.number)
            if state == ACTIVE and not vote.voted:
                vote.voted = True
                favour = (vote.decision == "uphold") == bool(self.rounds[vote.round].lie)
                for who in (self.voter, *self.honest):
                    self.chain.vote(who, vote.number, favour=favour)
            elif state == SUCCEEDED:
                self.chain.carry_out(self.voter, "queue", vote.decision, vote.round, vote.text)
            elif state == QUEUED:
                done = self.chain.carry_out(self.voter, "execute", vote.decision, vote.round, vote.text)
                if done and vote.decision == "dismiss":
                    self.deposits = [deposit for deposit in self.deposits if deposit[0] != vote.round]
            elif state not in (0, ACTIVE):
                vote.over = True

    def _is_proposed(self, number: int, decision: str) -> bool:
        return any(
            vote.round == number and vote.decision == decision and not vote.over for vote in self.votes
        )

    def propose(self, who: Person, decision: str, number: int, tries: int = 0) -> bool:
        """Propose a decision about a dispute."""
        text = f"{decision} the dispute about round {number} ({tries})\n\n#proposer={who.address}"
        made = self.chain.propose(who, decision, number, text)
        if made is None:
            return False
        self.votes.append(Vote(made, decision, number, text, who))
        return True

    def _keep_house(self) -> None:
        for made in list(self.rounds.values()):
            is_due = self.chain.time >= made.anchored_at + self.policy.challenge_window
            if not made.over and made.anchor is not None and (is_due or self.is_contested):
                self._finish(made)
        for demand in list(self.demands):
            if self.chain.prove_withheld(self.keeper, demand[0]) or self.chain.release_demand(
                self.keeper, demand[0]
            ):
                self.demands.remove(demand)
                self.has_moved = True
        for deposit in list(self.deposits):
            if self.chain.release_dispute(self.keeper, *deposit[:2]):
                self.has_moved = True
                self.deposits.remove(deposit)

    def _finish(self, made: Made) -> None:
        phase = self.chain.phase(made.number)
        if phase == ANCHORED and self.chain.finalize(self.keeper, made.number):
            phase = FINAL
        if phase == FINAL and made.anchor is not None:
            made.over = made.final = True
            self._must(self.chain.settle(self.keeper, made.number, made.commitments, made.anchor))
        elif phase not in (ANCHORED, FINAL):
            made.over = True
            self.chain.release_void(self.keeper, made.number)


@lru_cache(maxsize=50_000)
def _commitment(who: Person, round_: int, base_root: bytes, root: bytes | None) -> Commitment:
    update = root or keccak(base_root, who.name.encode(), round_.to_bytes(8, "big"))
    return Commitment(who.address, round_, base_root, update, 100)


@lru_cache(maxsize=50_000)
def _entries_hash(commitments: tuple[Commitment, ...]) -> bytes:
    return entries_hash(commitments)


def total(wealth: Counter[str], people: Iterable[Person]) -> int:
    """Return what people own together."""
    return sum(wealth[who.name] for who in people)
