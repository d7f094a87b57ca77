# SPDX-License-Identifier: Apache-2.0
"""What a game is played with: a policy, the deposits of a deployment, prices, and what is assumed about people."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from folkmoot.chain.bonds import MILLION, proof_gas
from folkmoot.errors import InputError
from folkmoot.protocol.policy import NO_VERIFIER, Policy
from folkmoot.protocol.rewards import FULL_PAY
from folkmoot.runtime.units import UNIT
from folkmoot_lab.economics.capital import capital
from folkmoot_lab.economics.rules import PRESENT, Rules

ANSWER_GAS = 82_000
"""Gas of an answer to a demand (contracts/snapshots/Judges.json, a list of the mean)."""
COMMIT_GAS = 11_100
"""Gas of one commitment of a batch (contracts/snapshots/RoundLedger.json, ``commitUpdates`` of 100), without noise.
With noise 12,700, and 17,000 for a member's first."""
DEMAND_GAS = 272_000
"""Gas of a demand (contracts/snapshots/Judges.json, ``demandTree``)."""
DISPUTE_GAS = 209_000
"""Gas of opening a dispute (contracts/snapshots/Judges.json)."""
DRAW_GAS = 243_000
"""Gas of drawing a lot again: to cancel an empty round and to open one (contracts/snapshots/RoundLedger.json)."""
RIDERS_PAY = FULL_PAY * 31 // 100
"""Pay of an update that nobody trained: `rider-choir` of docs/robustness.md, the best paid rider that computes nothing.
Its weight is full. `rider-pay` is paid 87 %, and trains on invented examples. A test compares the page's results."""
TRAINING = Fraction(1, 2)
"""What it costs to train an update, as a part of a full place."""
UPHOLD_GAS = 166_000
"""Gas of upholding a dispute (contracts/snapshots/Judges.json)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A game. Amounts in units of 1e-18 tokens.

    Raises:
        InputError: On construction, when an assumption is impossible (`invalid-assumption`).
    """

    policy: Policy
    """The rules of the rounds."""
    rules: Rules = PRESENT
    """The rules of the contracts."""
    gas_price: int = UNIT
    """What 1,000,000 gas cost."""
    caught: Fraction = Fraction(1, 2)
    """Probability that a lie is proven in time, above 0, if a proof brings its gas; or that a vote convicts."""
    unseen: int = 1
    """Rounds in a row that nobody checks, if one is not checked."""
    worth: int = 0
    """What steering the model is worth to the attacker, for each wrong round that becomes final."""
    watchers: int = 1
    """Watchers that look at each round and take a bribe if it is more than a proof brings them."""
    share: Fraction = Fraction(3, 10)
    """Attacker's share of the enrolled stake, below 1."""
    honest: int | None = None
    """Honest contributors, each with the policy's least stake. None: half as many as there are places."""
    honest_votes: int | None = None
    """Stake of honest people that votes. None: enough to outvote a coordinator's bonds."""
    demand_deposit: int = UNIT
    """Deposit of a demand."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 < self.caught <= 1:
            raise _invalid("A lie is caught with a probability above 0 % and at most 100 %", self.caught)
        if not 0 <= self.share < 1:
            raise _invalid("The attacker's share of the stake is from 0 % to below 100 %", self.share)
        if self.unseen < 1 or self.watchers < 0 or self.worth < 0 or self.gas_price < 0:
            raise _invalid(
                "Numbers of rounds are above 0; amounts and watchers are not negative", "one of them"
            )
        if self.honest is not None and self.honest < 1:
            raise _invalid("There is at least one honest contributor", self.honest)

    @property
    def places(self) -> int:
        """Places of a round for contributors: one is the coordinator's."""
        return max(1, self.policy.max_contributors - 1)

    @property
    def others(self) -> int:
        """Number of honest contributors."""
        return max(1, self.places // 2) if self.honest is None else self.honest

    @property
    def puppets(self) -> int:
        """Number of accounts with the least stake that the attacker's share of the stake pays for."""
        return int(self.share * self.others / (1 - self.share))

    @property
    def has_pays(self) -> bool:
        """Whether pays say what an entry earns; if not, weights do."""
        return self.policy.has_pays and self.rules.has_pays

    @property
    def dispute_deposit(self) -> int:
        """Deposit of a dispute."""
        return self.policy.bond // self.rules.dispute_share

    @property
    def prize(self) -> int:
        """What a lie that becomes final brings in at most: the whole reward, and the worth of steering."""
        return self.policy.reward + self.worth

    def gas(self, amount: int) -> int:
        """Return what an amount of gas costs, in units of 1e-18 tokens, rounded down."""
        return amount * self.gas_price // MILLION

    @property
    def proof_cost(self) -> int:
        """What the dearest proof costs."""
        return self.gas(proof_gas(self.policy))

    def caught_for(self, reward: int) -> Fraction:
        """Return the probability that a lie is proven in time.

        It is 0 if the challenger would pay more than it gets, or if the policy has no verifier.

        Args:
            reward: What the challenger gets, in units of 1e-18 tokens.
        """
        return self.caught if self.has_verifier and reward >= self.proof_cost else Fraction(0)

    @property
    def caught_by_vote(self) -> Fraction:
        """Probability that a vote convicts a lie; 0 if the policy has no verifier, or if it is outvoted.

        The coordinator votes with the bonds of all its pending rounds, where bonds vote.
        """
        outvoted = (
            self.honest_votes is not None
            and self.rules.bonds_vote
            and capital(self.policy, rules=self.rules).bonds >= self.honest_votes
        )
        return self.caught if self.has_verifier and not outvoted else Fraction(0)

    @property
    def has_verifier(self) -> bool:
        """Whether a round can be voided at all."""
        return self.policy.verifier != NO_VERIFIER

    @property
    def challenger_reward(self) -> int:
        """What a challenger gets from a whole bond."""
        return self.policy.bond // self.rules.challenger_divisor


def _invalid(expected: str, found: object) -> InputError:
    return InputError(
        f"{expected}; got {found}.", remedy="Correct the assumption.", code="invalid-assumption"
    )
