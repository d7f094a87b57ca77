# SPDX-License-Identifier: Apache-2.0
"""A small model of token, vault and ledger: the moves that change what an account owns, in exact integers.

It follows contracts/src (StakeVault.sol, RoundLedger.sol, Disputes.sol, DataAvailability.sol) in amounts and in what
is refused, and leaves out time, hashes and signatures. Nothing is lost: tokens, stakes, rewards and deposits, with what
was burnt, are what there was in the beginning and what was minted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from folkmoot.protocol.policy import Policy
from folkmoot.protocol.rewards import FULL_PAY, payments
from folkmoot_lab.economics.rules import Rules


class Refused(Exception):
    """A contract would revert."""


class Phase(Enum):
    """Phase of a round."""

    OPEN = auto()
    ANCHORED = auto()
    FINAL = auto()
    VOID = auto()
    SLASHED = auto()


@dataclass(slots=True)
class Round:
    """One round.

    Attributes:
        coordinator: Who opened it.
        base: Number of the round that it builds on; None for the genesis.
        phase: Its phase.
        entries: Contributor and update root, in order.
        weights: Weight of each entry.
        pays: Pay of each entry, in 1/FULL_PAY of a place; empty where weights say what is paid.
        wrong: Whether a proof against it would hold.
    """

    coordinator: str
    base: int | None
    phase: Phase = Phase.OPEN
    entries: list[tuple[str, str]] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    pays: list[int] = field(default_factory=list)
    wrong: bool = False


@dataclass(slots=True)
class World:
    """What everybody owns. Amounts in units of 1e-18 tokens.

    Attributes:
        rules: Rules of the contracts.
        policy: Rules of the rounds.
        tokens: Tokens of each account.
        stakes: Stake of each account, with what is locked.
        locked: Stake that bonds lock.
        earned: Rewards that were minted for each account; they are in `tokens` too.
        gas: What each account paid for gas, outside of the token.
        burnt: What was burnt.
        held: Deposits that a contract holds.
        rounds: All rounds.
        head: Number of the newest round that stands; None for the genesis.
    """

    rules: Rules
    policy: Policy
    tokens: Counter[str] = field(default_factory=Counter)
    stakes: Counter[str] = field(default_factory=Counter)
    locked: Counter[str] = field(default_factory=Counter)
    earned: Counter[str] = field(default_factory=Counter)
    gas: Counter[str] = field(default_factory=Counter)
    burnt: int = 0
    held: int = 0
    rounds: list[Round] = field(default_factory=list)
    head: int | None = None

    # Token and vault.

    def wealth(self, accounts: Iterable[str]) -> int:
        """Return tokens and stakes of accounts."""
        return sum(self.tokens[account] + self.stakes[account] for account in accounts)

    def total(self) -> int:
        """Return all tokens that there are, wherever they are."""
        return sum(self.tokens.values()) + sum(self.stakes.values()) + self.held

    def give_stake(self, account: str, amount: int) -> None:
        """Put an account with a stake into the world, before the game."""
        self.stakes[account] += amount

    def pay(self, payer: str, payee: str, amount: int) -> None:
        """Move tokens.

        Raises:
            Refused: The payer has too few.
        """
        self._take(payer, amount)
        self.tokens[payee] += amount

    def spend_gas(self, account: str, amount: int) -> None:
        """Pay for gas, in units of 1e-18 tokens."""
        self.gas[account] += amount

    # The life of a round.

    def open(self, coordinator: str) -> int:
        """Open a round on the head and lock its bond.

        Raises:
            Refused: The stake that is not locked is below the bond, or too many rounds are pending.
        """
        if len(self.pending()) >= self.rules.max_pending:
            raise Refused("too many pending rounds")
        if self.stakes[coordinator] - self.locked[coordinator] < self.policy.bond:
            raise Refused("too little stake for a bond")
        if self.rules.bond_for_each_round:
            self.locked[coordinator] += self.policy.bond
        self.rounds.append(Round(coordinator, self.head))
        return len(self.rounds) - 1

    def commit(self, number: int, contributor: str, root: str) -> None:
        """Record an entry.

        Raises:
            Refused: The round is not open or full, or the stake is too low.
        """
        made = self.rounds[number]
        if made.phase is not Phase.OPEN or len(made.entries) >= self.policy.max_contributors:
            raise Refused("no place")
        if self.stakes[contributor] < self.policy.min_stake:
            raise Refused("too little stake to contribute")
        if any(contributor == earlier for earlier, _ in made.entries):
            raise Refused("one commitment a round")
        made.entries.append((contributor, root))

    def anchor(
        self,
        number: int,
        weights: Mapping[str, int] | None = None,
        *,
        pays: Mapping[str, int] | None = None,
        undelivered: Collection[str] = (),
        wrong: bool = False,
    ) -> None:
        """Anchor a round.

        Args:
            number: The round.
            weights: Weight of each contributor, 0 if it is missing; None for a weight of 1 each. If equal roots weigh
                once, copies of a delivered update have a weight of 0 whatever is given, unless the round is wrong.
            pays: Pay of each contributor, in 1/FULL_PAY; FULL_PAY if it is missing. An entry without weight has none.
                They say what is paid if the rules and the policy have pays.
            undelivered: Contributors whose update did not come. They have a weight of 0, and what is no update is no
                earlier copy either.
            wrong: Whether a proof against it would hold.

        Raises:
            Refused: It is not open or not on the head, or no weight is above 0.
        """
        made = self.rounds[number]
        if made.phase is not Phase.OPEN or made.base != self.head:
            raise Refused("not the open round")
        made.weights = [1 if weights is None else weights.get(who, 0) for who, _ in made.entries]
        made.weights = [
            0 if who in undelivered else weight
            for weight, (who, _) in zip(made.weights, made.entries, strict=True)
        ]
        if self.rules.equal_roots_weigh_once and not wrong:
            first: dict[str, int] = {}
            for place, (who, root) in enumerate(made.entries):
                # As in libraries/Shares.sol: the coordinator's own entry is no earlier copy.
                if (
                    who not in undelivered
                    and who != made.coordinator
                    and first.setdefault(root, place) < place
                ):
                    made.weights[place] = 0
        if not any(made.weights) or len(made.entries) < self.policy.min_contributors:
            raise Refused("nothing to anchor")
        if self.rules.has_pays and self.policy.has_pays:
            made.pays = [
                (pays or {}).get(who, FULL_PAY) if weight else 0
                for weight, (who, _) in zip(made.weights, made.entries, strict=True)
            ]
        made.wrong, made.phase, self.head = wrong, Phase.ANCHORED, number

    def finalize(self, number: int) -> None:
        """Make a round final, pay its rewards, and unlock its bond.

        Raises:
            Refused: It is not anchored, or its base is not final.
        """
        made = self.rounds[number]
        base_is_final = made.base is None or self.rounds[made.base].phase is Phase.FINAL
        if made.phase is not Phase.ANCHORED or not base_is_final:
            raise Refused("not to become final yet")
        made.phase = Phase.FINAL
        self._unlock(made)
        self._settle(made)

    def pending(self) -> list[int]:
        """Return the numbers of the anchored rounds that are not final, the oldest first."""
        return [number for number, made in enumerate(self.rounds) if made.phase is Phase.ANCHORED]

    # Convictions.

    def at_stake(self, number: int) -> int:
        """Return what a conviction of a round would take."""
        if self.rules.bond_for_each_round:
            return self.policy.bond
        return min(self.policy.bond, self.stakes[self.rounds[number].coordinator])

    def challenger_reward(self, number: int) -> int:
        """Return what a challenger of a round would get."""
        return self.at_stake(number) // self.rules.challenger_divisor

    def prove(self, number: int, challenger: str) -> None:
        """Void a wrong round by a proof, and pay the challenger from the bond.

        Raises:
            Refused: There is nothing to prove.
        """
        if not self.rounds[number].wrong:
            raise Refused("nothing to prove")
        self._convict(number, challenger, self.challenger_reward(number))

    def uphold(self, number: int, challenger: str) -> None:
        """Void a round, wrong or not, by a vote.

        Raises:
            Refused: The round is not anchored.
        """
        paid = self.challenger_reward(number) if self.rules.vote_pays_challenger else 0
        self._convict(number, challenger, paid)

    def take_by_vote(self, victim: str, beneficiary: str) -> None:
        """Take a whole stake by a vote that appoints who slashes.

        Raises:
            Refused: No vote can do that under these rules.
        """
        if not self.rules.vote_can_take_stake:
            raise Refused("who slashes is immutable")
        self.tokens[beneficiary] += self.stakes[victim]
        self.stakes[victim] = 0

    # Deposits.

    def deposit(self, account: str, amount: int) -> None:
        """Pay a deposit.

        Raises:
            Refused: The account has too few tokens.
        """
        self._take(account, amount)
        self.held += amount

    def release(self, account: str, amount: int) -> None:
        """Give a deposit to an account: back, or to who has answered."""
        self.held -= amount
        self.tokens[account] += amount

    def give_back(self, account: str, amount: int) -> None:
        """Give an undecided dispute's deposit back, but for the part that is burnt."""
        burnt = amount // self.rules.undecided_share if self.rules.undecided_share else 0
        self.release(account, amount - burnt)
        self.held -= burnt
        self.burnt += burnt

    def dismiss(self, coordinator: str, amount: int) -> None:
        """Take a dispute's deposit: half goes to the coordinator, half is burnt."""
        self.release(coordinator, amount // 2)
        self.held -= amount - amount // 2
        self.burnt += amount - amount // 2

    # Inside.

    def _take(self, account: str, amount: int) -> None:
        if self.tokens[account] < amount:
            raise Refused("too few tokens")
        self.tokens[account] -= amount

    def _unlock(self, made: Round) -> None:
        if self.rules.bond_for_each_round:
            self.locked[made.coordinator] -= self.policy.bond

    def _convict(self, number: int, challenger: str, paid: int) -> None:
        made = self.rounds[number]
        if made.phase is not Phase.ANCHORED:
            raise Refused("not anchored")
        taken = self.at_stake(number)
        for later, other in enumerate(self.rounds):
            # All that stand are one chain, so what is newer builds on it.
            if later > number and other.phase in (Phase.ANCHORED, Phase.OPEN):
                other.phase = Phase.VOID
                self._unlock(other)
        made.phase, self.head = Phase.SLASHED, made.base
        self._unlock(made)
        self.stakes[made.coordinator] -= taken
        self.tokens[challenger] += paid
        self.burnt += taken - paid

    def _settle(self, made: Round) -> None:
        """Mint the rewards: the part of a place that each entry's pay says, or its weight where there are no pays."""
        policy, accounts = self.policy, [who for who, _ in made.entries]
        paid = [who != made.coordinator for who in accounts]
        amounts = payments(policy.reward, policy.max_contributors, made.weights, made.pays, paid)
        for who, amount in zip(accounts, amounts, strict=True):
            self.tokens[who] += amount
            self.earned[who] += amount
