# SPDX-License-Identifier: Apache-2.0
"""A drill on the real contracts: a local Anvil, a deployment, stakes, and every round on the ledger.

Each contributor is an account with a stake and sends signed commitments. The coordinator's checks select those that are
recorded in one batch. A contributor that was refused tries to record its commitment itself, so that the contract has to
refuse it as well. Rounds are computed as a coordinator computes them, anchored, finalized and settled. Stakes and
rewards are read back from the chain. The chain's clock is moved instead of waiting.

This module knows no command line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from eth_account import Account
from eth_account.signers.local import LocalAccount

from folkmoot.aggregation.registry import FORMER, check_policy_rule, fewest_contributors
from folkmoot.chain.client import Chain
from folkmoot.chain.deploy import deploy_and_report
from folkmoot.chain.terms import PROFILES, GenesisRoots
from folkmoot.chain.transactions.connection import connect_web3
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ChainError, ContractRefused, InputError, UpdateRefused
from folkmoot.ledger.events import RewardCredited
from folkmoot.ledger.scan import scan
from folkmoot.protocol.anchor import Anchor
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.batch import pack_batch
from folkmoot.protocol.commitment import NO_BUNDLE, Domain, entries_hash
from folkmoot.protocol.genesis import Genesis, calibrated_exponent
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader, derive_seed
from folkmoot.protocol.policy import ARBITER
from folkmoot.protocol.rewards import payments
from folkmoot.protocol.update_checks import check_bytes, check_claim
from folkmoot.round import RoundOutcome
from folkmoot.runtime.units import UNIT
from folkmoot_lab.simulation.federation import REWARD, Outcome, Plan, Run, Sent, Workload

STAKE = 100 * UNIT
"""Stake of each contributor, and the policy's minimum."""

BOND = 500 * UNIT
"""Bond of the coordinator."""

STEPS = ("open", "commit", "anchor", "finalize", "settle")
"""The transactions of a round."""

_PROFILE = PROFILES["demo"]
_MOST_CONTRIBUTORS = 256  # a batch of commitments has to fit into one transaction

Say = Callable[[str], None]
"""Receives a short text after each step."""


@dataclass(frozen=True)
class Holding:
    """Stake and rewards of a contributor on the chain, in units of 1e-18 tokens."""

    number: int
    """The contributor, from 1, in the order of entries."""
    account: str
    """Its account."""
    attacker: bool
    """Whether it attacked."""
    stake_before: int
    """Stake before the first round."""
    stake_after: int
    """Stake after the last."""
    claimable: int
    """Rewards that it can claim after the last round."""


@dataclass(frozen=True)
class Refusal:
    """An update that did not become an entry of its round."""

    round: int
    """Number of the round on the ledger."""
    number: int
    """The contributor, as in ``Holding``."""
    reason: str
    """Reason code of the coordinator's check."""
    error: str
    """Custom error with which the ledger refused the same commitment, sent by the contributor itself."""


@dataclass(frozen=True)
class ChainReport:
    """State of the chain after a drill."""

    rounds: int
    """Final and settled rounds."""
    holdings: tuple[Holding, ...]
    """One a contributor."""
    bond_before: int
    """Stake of the coordinator before the first round."""
    bond_after: int
    """Stake of the coordinator after the last."""
    refusals: tuple[Refusal, ...]
    """In the order of rounds and contributors."""
    deployment_gas: int
    """Gas of the contracts' creation."""
    gas: dict[str, tuple[int, ...]]
    """Gas of each step, one a round."""

    @property
    def honest_stake_lost(self) -> int:
        """Units of 1e-18 tokens, over all honest contributors."""
        return sum(one.stake_before - one.stake_after for one in self.holdings if not one.attacker)

    @property
    def stake_lost(self) -> int:
        """The same over everybody, the coordinator included."""
        lost = sum(one.stake_before - one.stake_after for one in self.holdings)
        return lost + self.bond_before - self.bond_after

    @property
    def round_gas(self) -> int:
        """Mean gas of a whole round."""
        return sum(map(sum, self.gas.values())) // self.rounds

    def to_json(self) -> dict[str, Any]:
        """JSON types, amounts as decimal strings."""
        amounts = ("stake_before", "stake_after", "claimable")
        return {
            "rounds": self.rounds,
            "holdings": [
                {name: str(value) if name in amounts else value for name, value in vars(one).items()}
                for one in self.holdings
            ],
            "bond_before": str(self.bond_before),
            "bond_after": str(self.bond_after),
            "honest_stake_lost": str(self.honest_stake_lost),
            "refusals": [vars(one) for one in self.refusals],
            "deployment_gas": self.deployment_gas,
            "round_gas": self.round_gas,
            "gas": {step: list(values) for step, values in self.gas.items()},
        }


@dataclass(eq=False)
class ChainRun(Run):
    """A drill whose rounds are on a ledger."""

    anvil: Anvil
    """A running local chain, for this drill alone."""
    say: Say = field(default=lambda text: None)
    """Is told what was done."""

    def __post_init__(self) -> None:
        super().__post_init__()
        plan = self.plan
        if plan.contributors > _MOST_CONTRIBUTORS:
            raise InputError(
                f"{plan.contributors} commitments do not fit into one transaction.",
                remedy=f"Drill with at most {_MOST_CONTRIBUTORS} contributors, or without the chain.",
            )
        windows = _PROFILE.windows
        self.policy = replace(
            self.policy,
            min_contributors=fewest_contributors(plan.rule, plan.parameters),
            commit_window=windows.commit,
            anchor_window=windows.anchor,
            challenge_window=windows.challenge,
            min_stake=STAKE,
            bond=BOND,
            verifier=ARBITER,
        )
        if plan.rule not in FORMER:
            check_policy_rule(self.policy)
        self.exponents = self._calibrated()
        self.opener = self._account("coordinator")
        self.coordinator = self.opener.address
        self.accounts = [self._account(f"contributor {place}") for place in range(plan.contributors)]
        self.keys = {str(one.address): one for one in (self.opener, *self.accounts)}
        self.refusals: list[Refusal] = []
        self.gas: dict[str, list[int]] = {step: [] for step in STEPS}
        self.expected: dict[str, int] = {account.address: 0 for account in self.accounts}
        self.chain, self.deployment_gas = self._deploy()
        self.stakes = [self.chain.vault.stake_of(one.address) for one in (self.opener, *self.accounts)]
        self.domain = Domain(self.chain.deployment.chain_id, self.chain.deployment.ledger)

    def account_of(self, place: int, number: int) -> str:
        """Account of a contributor on the ledger."""
        return str(self.accounts[place].address)

    def close(self) -> None:
        """Close the connections to the chain."""
        self.chain.close()

    # Rounds

    def seed(self, number: int) -> bytes:
        """Seed of a round, as the ledger derives it."""
        place = self.chain.deployment
        return derive_seed(place.chain_id, place.ledger, number + 1, self.roots[number])

    def aggregate(self, number: int, updates: F32, root: F32 | None) -> F32:
        """Play a round on the ledger; arguments and result as in ``Run``."""
        header = self.header(number)
        self._send("open", "openRound", header.round, header.base_state_root, header.hash)
        return super().aggregate(number, updates, root)

    def send(self, header: RoundHeader, *given: Any, **options: Any) -> Sent:
        """Sign a commitment as well; arguments as in ``Run``."""
        sent = super().send(header, *given, **options)
        key = self.keys[sent.commitment.contributor]
        return replace(sent, signature=sent.commitment.sign(key, self.domain))

    def check(self, header: RoundHeader, place: int, sent: Sent) -> None:
        """Check signature and bytes too; offer a commitment that is refused to the ledger, which must refuse it too."""
        try:
            check_claim(
                sent.commitment, sent.signature, header=header, policy=self.policy, domain=self.domain
            )
            check_bytes(sent.update, sent.commitment, self.manifest)
        except UpdateRefused as error:
            custom_error = self._try_alone(header, place, sent)
            self.refusals.append(Refusal(header.round, place + 1, error.code, custom_error))
            raise

    def _try_alone(self, header: RoundHeader, place: int, one: Sent) -> str:
        """Offer a refused commitment to the ledger, in a batch and from its contributor; return the custom error.

        Raises:
            ChainError: The ledger took it.
        """
        functions = self.chain.ledger.functions
        batch = pack_batch([one.commitment], [one.signature])
        errors = []
        for call, sender in (
            (functions.commitUpdates(header.round, NO_BUNDLE, batch), self.opener),
            (functions.commitUpdate(one.commitment.abi_tuple()), self.accounts[place]),
        ):
            try:
                self.chain.send(call, sender)
            except ContractRefused as error:
                errors.append(str(error.details.get("error", error.code)))
            else:
                raise _wrong(f"the ledger took a commitment of round {header.round} that the checks refuse")
        # In a batch what was signed for another round or base has no valid signature; alone the ledger says which.
        return " / ".join(dict.fromkeys(errors))

    def compute(self, header: RoundHeader, entries: Sequence[Sent]) -> RoundOutcome:
        """Record, compute, anchor, finalize and settle."""
        if len(entries) < self.policy.min_contributors:
            raise InputError(
                f"Round {header.round} has {len(entries)} commitments, and a policy with the rule "
                f"{self.policy.rule} can't ask for less than {self.policy.min_contributors}: such a round is "
                "cancelled, and so would be all that follow.",
                remedy="Drill with fewer attackers or more contributors, or with a rule that needs fewer.",
                code="too-few-updates",
            )
        commitments = [one.commitment for one in entries]
        batch = pack_batch(commitments, [one.signature for one in entries])
        self._send("commit", "commitUpdates", header.round, NO_BUNDLE, batch)
        self.anvil.advance(self.policy.commit_window)
        outcome = super().compute(header, entries)
        anchor: Anchor = outcome.anchor
        self._send("anchor", "anchor", header.round, entries_hash(commitments), anchor.abi_tuple())
        self.anvil.advance(self.policy.challenge_window)
        self._send("finalize", "finalize", header.round)
        settled = [(one.contributor, one.struct_hash) for one in commitments]
        self._send("settle", "settle", header.round, settled, anchor.abi_tuple())
        if self.chain.ledger.head().state_root != outcome.state_root:
            raise _wrong(f"the head is not the state of round {header.round}")
        contributors = [one.contributor for one in commitments]
        paid = [who in self.expected for who in contributors]
        amounts = payments(REWARD, self.policy.max_contributors, anchor.weights, anchor.pays, paid)
        for who, amount in zip(contributors, amounts, strict=True):
            if who in self.expected:
                self.expected[who] += amount
        refused = sum(one.round == header.round for one in self.refusals)
        self.say(
            f"round {header.round} of {self.plan.rounds}: {len(entries)} commitments, {refused} refused, "
            f"anchored, final and settled for {sum(gas[-1] for gas in self.gas.values()):,} gas"
        )
        return outcome

    def _calibrated(self) -> tuple[int, ...]:
        """First exponents as `folkmoot task init` finds them: from one training, on the first share.

        With a bad guess no honest update might pass the policy's norm cap.
        """
        work, flat = self.workload, self.model
        rng = np.random.default_rng([self.plan.seed, 3])
        places = rng.choice(self.shares[0], (work.steps, 1, work.batch))
        model = {name: np.asarray(value) for name, value in self.manifest.unflatten(flat).items()}
        after = work.network.train(model, [work.train.pick(batch) for batch in places], work.rate)
        return tuple(
            calibrated_exponent(
                np.asarray(model[tensor.name] - after[tensor.name][0], np.float32), guess, self.plan.width
            )
            for tensor, guess in zip(self.manifest.tensors, self.exponents, strict=True)
        )

    # The chain

    def _account(self, name: str) -> LocalAccount:
        """An account of this drill: the same for the same seed, and worth nothing."""
        key = keccak(b"folkmoot drill", self.plan.seed.to_bytes(8, "big"), name.encode())
        account: LocalAccount = Account.from_key(key)
        return account

    def _deploy(self) -> tuple[Chain, int]:
        """Deploy the contracts, and stake for everybody."""
        deployer = self._account("deployer")
        for account in (deployer, self.opener, *self.accounts):
            self.anvil.fund(account.address)
        genesis = Genesis.of(self.manifest, self.state, tuple(self.exponents))
        allocations: dict[str, int] = {self.coordinator: BOND}
        allocations |= {one.address: STAKE for one in self.accounts}
        report = deploy_and_report(
            connect_web3(self.anvil.url),
            deployer,
            GenesisRoots.of(genesis, self.manifest, self.state),
            self.policy,
            self.coordinator,
            allocations,
            _PROFILE.governance,
        )
        self.allocated = sum(allocations.values())
        chain = Chain.connect(self.anvil.url, report.deployment)
        try:
            for account in (self.opener, *self.accounts):
                amount = allocations[account.address]
                chain.send(chain.token.functions.approve(report.deployment.vault, amount), account)
                chain.send(chain.vault.functions.stake(account.address, amount), account)
            for account in self.accounts:
                chain.send(chain.ledger.functions.enrol(STAKE), account)
            self.anvil.advance(1)  # whoever enrols in the second of an opening comes too late for that round
        except ChainError:
            chain.close()
            raise
        gas = sum(report.gas.values())
        self.say(
            f"{len(report.gas)} contracts deployed for {gas:,} gas, {len(self.accounts)} contributors staked"
        )
        return chain, gas

    def _send(self, step: str, function: str, *arguments: Any) -> None:
        """Send a transaction of the coordinator, and record its gas."""
        called = self.chain.rewards if step == "settle" else self.chain.ledger
        call = getattr(called.functions, function)(*arguments)
        self.gas[step].append(int(self.chain.send(call, self.opener)["gasUsed"]))

    # Results

    def report(self) -> ChainReport:
        """Read everything back from the chain, and check that it adds up.

        Raises:
            ChainError: ``drill-mismatch``: it does not, or an honest contributor lost stake.
        """
        bond, *before = self.stakes
        report = ChainReport(
            rounds=len(self.weights),
            holdings=tuple(
                Holding(
                    place + 1,
                    account.address,
                    place in self.attacker_places,
                    before[place],
                    self.chain.vault.stake_of(account.address),
                    self.chain.rewards.claimable(account.address),
                )
                for place, account in enumerate(self.accounts)
            ),
            bond_before=bond,
            bond_after=self.chain.vault.stake_of(self.coordinator),
            refusals=tuple(self.refusals),
            deployment_gas=self.deployment_gas,
            gas={step: tuple(values) for step, values in self.gas.items()},
        )
        self._check(report)
        return report

    def _check(self, report: ChainReport) -> None:
        """Check that tokens, stakes and rewards add up, and that no honest contributor lost stake."""
        chain = self.chain
        staked = report.bond_after + sum(one.stake_after for one in report.holdings)
        credited = dict.fromkeys((one.account for one in report.holdings), 0)
        for event in scan(chain, chain.deployment.block, chain.rpc.block_number(), contracts=("rewards",)):
            if isinstance(event, RewardCredited):
                credited[event.contributor] = credited.get(event.contributor, 0) + event.amount
        claimable = {one.account: one.claimable for one in report.holdings}
        supply = int(chain.read(chain.token.functions.totalSupply()))
        for what, actual, expected in (
            ("honest stake lost", report.honest_stake_lost, 0),
            ("the vault's total", chain.vault.total_staked(), staked),
            ("the vault's tokens", chain.token.balance_of(chain.deployment.vault), staked),
            ("the supply, before anybody claims,", supply, self.allocated),
            ("stake lost by anybody", self.allocated - staked, report.stake_lost),
            ("what the rounds credited", credited, claimable),
            ("what can be claimed", claimable, self.expected),
            ("what the coordinator can claim", chain.rewards.claimable(self.coordinator), 0),
        ):
            if actual != expected:
                raise _wrong(f"{what} is {actual}, not {expected}")


def run_on_chain(
    workload: Workload,
    plan: Plan,
    progress: Callable[[int, int], None] | None = None,
    say: Say = lambda text: None,
) -> tuple[Outcome, ChainReport]:
    """Run one drill on a local chain of its own, which ends with it.

    Args:
        workload: What is trained.
        plan: What is tried.
        progress: Called after each round with how many are done and how many there are.
        say: Is told what was done.

    Raises:
        InputError: The plan's rule can't be a policy's, or there are too many contributors.
        LocalError: Anvil is missing or does not start.
        ChainError: A transaction failed, or what the chain holds in the end does not add up.
    """
    with Anvil() as anvil:
        drill = ChainRun(workload, plan, anvil, say)
        try:
            outcome = drill.run(progress)
            report = drill.report()
        finally:
            drill.close()
    return replace(outcome, slashed=report.stake_lost), report


def _wrong(what: str) -> ChainError:
    return ChainError(
        f"The drill's chain does not add up: {what}.",
        remedy="This is a fault of Folkmoot's own: report it, with the command that you ran.",
        code="drill-mismatch",
    )
