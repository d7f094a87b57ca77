# SPDX-License-Identifier: Apache-2.0
"""What the signer checks before it signs: the chain's round, the signing record against the chain, the update's bytes.

Each answer about the chain comes from the contributor's own RPC endpoint, and the manifest from the genesis that the
ledger names. So code that requests a signature can't make the account sign what a contract would punish. The stake is
lost by two commitments in a round, by a root or a sum of squares that the update does not have, or by an update of an
earlier round. And no training spends more of the privacy budget than the account's own cap. This module does not use
keys, sockets or Flower.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from client.signer.record import SignedRounds
from folkmoot.errors import ArtifactError, ChainError, InputError, UpdateRefused
from folkmoot.flower.signing import SignerError, chain_unavailable
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.entries import UpdateCommitted, entries_of
from folkmoot.ledger.events import UpdatesCommitted
from folkmoot.ledger.scan import scan
from folkmoot.privacy.settings import PrivacySettings, check_matches_policy
from folkmoot.protocol.budget import UNITS_OF_RHO
from folkmoot.protocol.commitment import NO_BUNDLE, NO_MEMORY, Commitment, Domain
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.update_checks import summarize
from folkmoot.protocol.updates import SequentialReader
from folkmoot.rpc.client import LedgerReader, Phase, Rpc
from folkmoot.runtime.deadlines import within
from folkmoot.runtime.logs import fields
from folkmoot.runtime.units import format_amount

CHAIN_SECONDS = 30.0
"""Timeout in seconds for what a request reads from the chain."""

AHEAD_SECONDS = 30.0
"""Seconds that a start waits for a ledger that lacks a recorded round."""

COMPARED_ROUNDS = 256
"""Newest rounds in which the record is compared with the commitments on the chain, and not only with its events."""

COMPARED_DIGESTS = 4
"""Newest recorded rounds whose digests are compared with the chain's events."""

REORG_BLOCKS = 64
"""Newest blocks whose events are read again at each request: a reorg may have changed them."""

MIN_REPLAY_SQUARES = 256
"""Smallest sum of squares of a replay that a contract punishes (`ContributorFaults.MIN_REPLAY_SQUARES`)."""


@dataclass(frozen=True)
class RoundOnChain:
    """What the chain says of the cost of a round's update."""

    policy: Policy
    spent: int
    """Privacy budget that the account has spent, in units of 2^-32 rho."""


@dataclass(frozen=True)
class Charge:
    """What an update takes from the account's privacy budget, in units of 2^-32 rho."""

    cost: int = 0
    """Cost of a training of the round; 0 in a federation without noise."""
    cap: int | None = None
    """The account's own cap; None in a federation without noise."""
    before: int = 0
    """What the account has spent before, by its record or by the chain."""


@dataclass(frozen=True)
class SigningRules:
    """What an agent may sign."""

    deployment: Deployment
    """Addresses of the contracts."""
    manifest: Manifest
    """The federation's manifest, checked against the ledger."""
    bundle: bytes | None = None
    """The only bundle hash that is signed, 32 bytes; None if every one is."""

    @property
    def domain(self) -> Domain:
        """What signatures are for."""
        return Domain(self.deployment.chain_id, self.deployment.ledger)

    def check_bundle(self, commitment: Commitment) -> None:
        """Check the bundle hash, which is the word of the code that makes the request.

        Raises:
            SignerError: ``wrong-bundle``.
        """
        if self.bundle is not None and commitment.bundle_hash != self.bundle:
            raise SignerError(
                f"The request names the bundle {commitment.bundle_hash.hex()}; this node signs for the bundle "
                f"{self.bundle.hex()} only.",
                remedy="Look at what has changed in the app. To accept it, start the node with its --bundle.",
                code="wrong-bundle",
            )

    def check_memory(self, commitment: Commitment, policy: Policy) -> None:
        """Check that a private training keeps nothing, as far as its commitment says.

        Raises:
            SignerError: ``private-memory``.
        """
        if policy.noise1024 and commitment.memory_hash != NO_MEMORY:
            raise SignerError(
                f"The request names a memory, and round {commitment.round} is private. The 32 bytes of the hash could "
                "hold anything about the records.",
                remedy="Nothing was signed. A private training keeps nothing: leave, and tell the others.",
                code="private-memory",
            )

    def charge(
        self, view: RoundOnChain, number: int, rounds: SignedRounds, *, training: bool = False
    ) -> Charge:
        """Compare the cost of an update with the account's own cap. A vote can raise the policy's cap, not this one.

        Each training draws new noise, and costs what the policy says. A signature costs no more if its round has been
        charged, as the noise was drawn before.

        Args:
            view: What the chain says.
            rounds: What the account has signed for this ledger, and what it has spent.
            training: Whether the update is still to be trained. Otherwise it is to be signed.

        Raises:
            SignerError: ``wrong-privacy``, ``no-noise``, ``own-cap``, or ``budget-spent``: the ledger would refuse the
                update.
        """
        undone = f"Nothing was {'trained' if training else 'signed'}."
        policy = view.policy
        try:
            declared = PrivacySettings.of(self.manifest.training)
            check_matches_policy(declared, noise1024=policy.noise1024, steps=policy.steps)
        except InputError as error:
            raise SignerError(error.message, remedy=error.remedy, code=error.code) from error
        if not policy.noise1024:
            if rounds.cap is None:
                return Charge()
            raise SignerError(
                f"Round {number} asks for no noise, and this account has a privacy cap of its own.",
                remedy=f"{undone} Leave the federation. Or run `folkmoot signer record --cap none`: then the records "
                "are not protected.",
                code="no-noise",
            )
        cap = policy.privacy_cap if rounds.cap is None else rounds.cap
        spent = max(rounds.spent, view.spent)
        if not training and (number in rounds.signed or rounds.costs.get(number, 0) >= policy.cost):
            return Charge(policy.cost, cap, spent)
        if spent + policy.cost > cap:
            raise SignerError(
                f"Round {number} costs {_rho(policy.cost)} of the privacy budget. The account has spent {_rho(spent)} "
                f"of the {_rho(cap)} that it spends at most.",
                remedy=f"{undone} Leave the federation. Or raise the account's own cap with `folkmoot signer record "
                "cap`, if those whose records they are agree.",
                code="own-cap",
            )
        if view.spent + policy.cost > policy.privacy_cap:
            raise SignerError(
                f"Round {number} costs {_rho(policy.cost)} of the privacy budget. By the ledger, the account has spent "
                f"{_rho(view.spent)} of the {_rho(policy.privacy_cap)} that the round's policy permits.",
                remedy=f"{undone} The ledger would refuse the update. Leave the federation, or ask the voters for a "
                "higher cap.",
                code="budget-spent",
            )
        return Charge(policy.cost, cap, spent)

    def check_update(self, commitment: Commitment, update: SequentialReader) -> None:
        """Compute the root and the sum of squares of an update, and compare them with a commitment.

        Raises:
            SignerError: ``wrong-size``, ``invalid-encoding``, ``wrong-root`` or ``wrong-norm``.
        """
        try:
            summary = summarize(update, self.manifest)
        except (UpdateRefused, ArtifactError) as error:
            raise SignerError(
                error.message, remedy=error.remedy or "Request the signature again.", code=error.code
            ) from error
        true = replace(commitment, update_root=summary.root, sum_squares=summary.sum_squares)
        remedy = "Nothing was signed. The code that trains requested a false commitment: leave, and tell the others."
        if true.update_root != commitment.update_root:
            raise SignerError(
                f"The update has the root {true.update_root.hex()}, and the request {commitment.update_root.hex()}.",
                remedy=remedy,
                code="wrong-root",
            )
        if true.sum_squares != commitment.sum_squares:
            raise SignerError(
                f"The update has the sum of squares {true.sum_squares}, and the request {commitment.sum_squares}.",
                remedy=remedy,
                code="wrong-norm",
            )


class ChainCheck:
    """Compares requests and the signing record with the chain, on the contributor's own RPC endpoint.

    Args:
        deployment: Addresses of the contracts.
    """

    def __init__(self, rpc: Rpc, deployment: Deployment, account: str) -> None:
        self.rpc = rpc
        self.deployment = deployment
        self._account = account
        self._ledger = LedgerReader(rpc, deployment.ledger)
        self._compared = 0  # Rounds up to this one are compared, and can't change any more.
        self._read = deployment.block - 1  # Blocks up to this one have been read.
        self._roots: set[bytes] = set()  # First eight bytes of the update roots in those blocks.
        self._own: dict[int, UpdateCommitted] = {}  # The account's commitments in those blocks.

    def check(self, commitment: Commitment, rounds: SignedRounds) -> RoundOnChain:
        """Check a commitment against the chain; return what the chain says of its cost.

        Args:
            commitment: What is to be signed.
            rounds: What the account has signed for this ledger.

        Raises:
            SignerError: The chain does not take this commitment, contradicts the signing record, or can't be read.
        """
        with _reading():
            view = self._view(commitment, rounds)
            _check_norm(commitment, view.policy)
            self._check_replay(commitment)
            return view

    def check_untrained(self, commitment: Commitment, rounds: SignedRounds) -> RoundOnChain:
        """Check what a commitment says before its update is trained; return what the chain says of its cost.

        Args:
            commitment: The commitment. Its update root and sum of squares are not looked at.
            rounds: What the account has signed for this ledger.

        Raises:
            SignerError: As `check`.
        """
        with _reading():
            return self._view(commitment, rounds)

    def _view(self, commitment: Commitment, rounds: SignedRounds) -> RoundOnChain:
        self._check_chain()
        policy = self._check_round(commitment)
        self._read_events()
        self._compare(rounds)
        return RoundOnChain(policy, self._ledger.spent(self._account) if policy.noise1024 else 0)

    def compare(self, rounds: SignedRounds) -> None:
        """Compare the signing record with the chain.

        Waits `AHEAD_SECONDS` for a ledger that lacks a recorded round: the endpoint may be behind, or the chain has
        lost its newest blocks, and the coordinator opens that round again.

        Raises:
            SignerError: ``record-behind``, ``record-contradicted`` or ``record-ahead``.
        """
        end, reported = time.monotonic() + AHEAD_SECONDS, False
        while True:
            try:
                with within(CHAIN_SECONDS):
                    self._check_chain()
                    self._read_events()
                    self._compare(rounds)
                return
            except SignerError as error:
                if error.code != "record-ahead" or time.monotonic() >= end:
                    raise
                if not reported:
                    text = f"{error.message} Waiting at most {AHEAD_SECONDS:.0f} s for a ledger that has it."
                    logging.getLogger("folkmoot.signer").warning("%s", text, extra=fields(error.code))
                reported = True
            time.sleep(1.0)

    def _check_chain(self) -> None:
        chain_id = self.rpc.chain_id()
        if chain_id != self.deployment.chain_id:
            raise SignerError(
                f"The signer's RPC endpoint serves chain {chain_id}, not {self.deployment.chain_id}.",
                remedy="Start the signer with the right --rpc.",
                code="wrong-chain",
            )

    def _check_round(self, commitment: Commitment) -> Policy:
        """Check that the ledger would take the commitment, but for its update; return the round's policy."""
        number, ledger = commitment.round, self._ledger
        newest = ledger.next_round() - 1
        if number > newest:
            raise SignerError(
                f"Round {number} is not open: the newest round is {newest}.",
                remedy="Nothing is signed in advance. If the round is open, the RPC endpoint is behind: try again.",
                code="round-ahead",
            )
        if number < newest or ledger.phase(number) is not Phase.OPEN:
            raise SignerError(
                f"Round {number} takes no commitments any more.",
                remedy="Nothing to do: the next round comes by itself.",
                code="round-closed",
            )
        view = ledger.round(number)
        base = ledger.round(view.base).state_root
        if commitment.base_state_root != base:
            raise SignerError(
                f"The request is for the base 0x{commitment.base_state_root.hex()}, and round {number} has "
                f"0x{base.hex()}.",
                remedy="Nothing was signed. Train from the round's own base.",
                code="wrong-base",
            )
        policy = ledger.policy(view.policy)
        if policy.bundle_hash not in (NO_BUNDLE, commitment.bundle_hash):
            raise SignerError(
                f"The request names the bundle {commitment.bundle_hash.hex()}, and the policy that was voted for "
                f"{policy.bundle_hash.hex()}.",
                remedy="Nothing was signed. Tell the coordinator's operator: it sent other code than the voters chose.",
                code="wrong-bundle",
            )
        if not ledger.has_place(number, self._account):
            raise SignerError(
                f"{self._account} has no place in round {number}, whose policy asks for "
                f"{format_amount(policy.min_stake)}.",
                remedy="Nothing was signed. `folkmoot status` shows the enrolled stake; `folkmoot enrol` counts from "
                "the next round on.",
                code="no-place",
            )
        return policy

    def _compare(self, rounds: SignedRounds) -> None:
        newest = self._ledger.next_round() - 1
        last = max((*rounds.signed, *rounds.trainings), default=0)
        if last > newest:
            raise SignerError(
                f"The signing record has a signature or a cost in round {last}, and the newest round of the ledger is "
                f"{newest}.",
                remedy="If the RPC endpoint is behind, try again later. If the chain was started anew, give the signer "
                "another --record folder.",
                code="record-ahead",
            )
        digests = sorted(rounds.signed)[-COMPARED_DIGESTS:]
        first = max(rounds.mark, self._compared) + 1
        recent = max(first, newest - COMPARED_ROUNDS + 1)
        older = (number for number in sorted(self._own) if first <= number < recent)
        for number in (*older, *range(recent, newest + 1)):
            if number in rounds.signed:
                if number in digests and number in self._own:
                    self._compare_digest(number, rounds.signed[number], newest)
            elif self._ledger.has_committed(number, self._account):
                raise SignerError(
                    f"{self._account} has a commitment in round {number}, which the signing record does not have. "
                    "The record was replaced or restored from an old backup, or another signer uses the account.",
                    remedy=_recovery(newest),
                    code="record-behind",
                )
            self._compared = min(number, newest - 1)  # A call that fails later goes on here.

    def _compare_digest(self, number: int, digest: str, newest: int) -> None:
        domain = Domain(self.deployment.chain_id, self.deployment.ledger)
        if self._own[number].commitment(self._base_of(number)).digest(domain).hex() != digest:
            raise SignerError(
                f"{self._account} has another commitment in round {number} than the signing record. The record was "
                "replaced, or another signer uses the account.",
                remedy=_recovery(newest),
                code="record-contradicted",
            )

    def _check_replay(self, commitment: Commitment) -> None:
        """Check that no earlier round with another base has an update with the same root."""
        root = commitment.update_root
        if commitment.sum_squares < MIN_REPLAY_SQUARES or root[:8] not in self._roots:
            return
        for event in self._commitments(self.deployment.block):
            for entry in entries_of(event):
                earlier = entry.update_root == root and entry.round < commitment.round
                if earlier and self._base_of(entry.round) != commitment.base_state_root:
                    raise SignerError(
                        f"The update is one of round {entry.round}. To send it again costs the stake.",
                        remedy="Nothing was signed. The code that trains sent an earlier update: leave, and tell the "
                        "others.",
                        code="replayed-update",
                    )

    def _read_events(self) -> None:
        """Read the commitments of the blocks since the last call. A call that fails has kept what it read.

        The first call reads all of the ledger's history: a replay may be of any round.
        """
        newest = self.rpc.block_number()
        for event in self._commitments(self._read + 1, newest):
            for entry in entries_of(event):
                self._roots.add(entry.update_root[:8])
                if entry.contributor == self._account:
                    self._own[entry.round] = entry
            self._read = event.block - 1
        self._read = max(self._read, newest - REORG_BLOCKS)

    def _commitments(self, first: int, last: int | None = None) -> Iterator[UpdatesCommitted]:
        last = self.rpc.block_number() if last is None else last
        for event in scan(self, first, last, contracts=("ledger",)):
            if isinstance(event, UpdatesCommitted):
                yield event

    def _base_of(self, number: int) -> bytes:
        """Return the state root of a round's base."""
        return self._ledger.round(self._ledger.round(number).base).state_root


@contextmanager
def _reading() -> Iterator[None]:
    """Read the chain in the block, for `CHAIN_SECONDS`."""
    try:
        with within(CHAIN_SECONDS):
            yield
    except ChainError as error:
        raise chain_unavailable(error) from error


def _check_norm(commitment: Commitment, policy: Policy) -> None:
    """Check that a sum of squares is within the policy's bounds."""
    if commitment.sum_squares > policy.max_sum_squares:
        raise SignerError(
            f"The sum of squares is {commitment.sum_squares}; the policy's cap is {policy.max_sum_squares}.",
            remedy="Nothing was signed. Fit the update to the cap, as `encode_update` does.",
            code="norm-too-large",
        )
    if commitment.sum_squares < policy.min_sum_squares:
        raise SignerError(
            f"The sum of squares is {commitment.sum_squares}; the policy's floor is {policy.min_sum_squares}.",
            remedy="Nothing was signed. Train with the noise that the policy asks for.",
            code="norm-too-small",
        )


def _rho(cost: int) -> str:
    return f"{cost / UNITS_OF_RHO:.4f} rho"


def _recovery(newest: int) -> str:
    return (
        "Stop every other signer of the account and import its record with `folkmoot signer restore`. If there "
        f"is none, wait until round {newest} has closed and run `folkmoot signer restore --raise {newest}`."
    )
