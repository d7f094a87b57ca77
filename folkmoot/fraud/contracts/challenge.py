# SPDX-License-Identifier: Apache-2.0
"""Send a proof: find its judge, its cost and its reward, and return the result of the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from folkmoot.chain.fees import TX_GAS_LIMIT
from folkmoot.chain.transactions.connection import earlier as earlier_call
from folkmoot.chain.transactions.connection import send, web3_over
from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.errors import ContractRefused, FolkmootError, RpcError
from folkmoot.fraud.proofs.case import Case
from folkmoot.fraud.proofs.finding import Finding
from folkmoot.fraud.proofs.proof import Proof, prove
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.policy import CHALLENGER_DIVISOR, NO_VERIFIER
from folkmoot.rpc import reverts
from folkmoot.rpc.client import Call, Contract, LedgerReader, Phase, Rpc

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3.types import TxReceipt

NOBODY = "0x000000000000000000000000000000000000dEaD"
"""Sender in gas estimates without an account."""


class ChallengeFailed(FolkmootError):
    """A challenge can't be made. ``code`` has the reason."""

    default_code = "not-provable"


@dataclass(frozen=True)
class Cost:
    """Cost and reward of a challenge."""

    judge: str
    """Address of the contract that checks the proof."""
    gas: int
    """Gas, as estimated by the endpoint."""
    price: int
    """Price in wei per unit of gas: the base fee and the tip that the endpoint suggests."""
    wins: int
    """Reward in units of 1e-18 tokens: a quarter of the bond, all of which is locked until the round is over."""

    @property
    def wei(self) -> int:
        """Cost of the transaction in wei."""
        return self.gas * self.price

    def pays(self, token_value: float) -> bool:
        """Return whether the reward exceeds the cost, if a token is worth ``token_value`` native coins."""
        return self.wins * token_value > self.wei

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "judge": self.judge,
            "gas": self.gas,
            "gasPrice": str(self.price),
            "wei": str(self.wei),
            "wins": str(self.wins),
        }


def judges(rpc: Rpc, verifier: str) -> list[str]:
    """Return the contracts that may void a round: the judges of the arbiter that is a policy's verifier.

    A gas estimate shows which of them accepts a proof.
    """
    try:
        return list(Contract(rpc, verifier, "arbiter").read("judges"))
    except (ContractRefused, RpcError) as error:
        if isinstance(error, RpcError) and error.code != "wrong-contract":
            raise
        return [verifier]  # Not Folkmoot's arbiter: it may check proofs itself.


def cost_of(rpc: Rpc, deployment: Deployment, case: Case, proof: Proof, sender: str) -> Cost:
    """Return the cost of a proof. The gas estimate also executes the proof.

    Args:
        deployment: Addresses of the contracts.
        case: The round.
        sender: Account that sends it.

    Raises:
        ChallengeFailed: ``window-over``, ``already-void``, ``not-provable``, ``no-verifier`` or ``too-much-gas``.
    """
    if case.policy.verifier == NO_VERIFIER:
        raise ChallengeFailed(
            f"Policy {case.policy_id}, which round {case.round} pins, names no verifier: nothing can be proven.",
            remedy="Show the others what you found, and vote for a policy with a verifier.",
            code="no-verifier",
        )
    refusal: ContractRefused | None = None
    for judge in judges(rpc, case.policy.verifier):
        try:
            gas = rpc.estimate(sender, judge, proof.data)
        except ContractRefused as error:
            if refusal is None or _name(error):
                refusal = error
            continue
        if gas > TX_GAS_LIMIT:
            raise ChallengeFailed(
                f"The proof takes {gas:,} gas; a transaction may take {TX_GAS_LIMIT:,}.",
                remedy="Show the others what you found, and vote.",
                code="too-much-gas",
            )
        return Cost(judge, gas, _price(rpc), case.policy.bond // CHALLENGER_DIVISOR)
    raise _refused(rpc, deployment, case, refusal)


def cheapest(rpc: Rpc, deployment: Deployment, finding: Finding, sender: str) -> tuple[Proof, Cost]:
    """Return the cheapest proof of an error, with its cost.

    Args:
        deployment: Addresses of the contracts.
        finding: Result of the examination.
        sender: Account that sends it.
    """
    accepted: list[tuple[Proof, Cost]] = []
    refusal: ChallengeFailed | None = None
    for suspicion in finding.suspicions:
        proof = prove(finding, suspicion)
        try:
            accepted.append((proof, cost_of(rpc, deployment, finding.case, proof, sender)))
        except ChallengeFailed as error:
            refusal = refusal or error
    if accepted:
        return min(accepted, key=lambda one: one[1].gas)
    raise refusal or ChallengeFailed("Nothing is wrong that can be proven.", code="nothing-to-prove")


def purpose(case: Case) -> str:
    """Return the journal's name for the proof against a round's anchor (`folkmoot.chain.transactions.journal`)."""
    return f"prove round {case.round} wrong, anchor {case.anchor.hash.hex()}"


def challenge(
    rpc: Rpc,
    case: Case,
    cost: Cost,
    proof: Proof,
    account: LocalAccount,
    notes: TransactionJournal | None = None,
) -> TxReceipt:
    """Send a proof and wait until it is mined.

    Args:
        case: The round.
        cost: Cost, with the judge.
        account: Account that sends it.
        notes: Journal in which the transaction is recorded before it is sent.

    Raises:
        ChallengeFailed: The round is already void, or its window is over (``already-void``, ``window-over``).
        ChainError: It could not be sent, or was not mined in time.
    """
    call = getattr(Contract(rpc, cost.judge, proof.contract).functions, proof.function)(*proof.arguments)
    return transact(rpc, account, call, notes=notes, purpose=purpose(case), once=True)


def earlier(rpc: Rpc, case: Case, sender: str, notes: TransactionJournal) -> TxReceipt | None:
    """Return the receipt of a proof against a round's anchor that an interrupted call sent; None if there is none.

    Raises:
        ChainError: The endpoint failed, or the proof was not mined in time.
    """
    if case.policy.verifier == NO_VERIFIER:
        return None
    w3 = web3_over(rpc)
    for judge in judges(rpc, case.policy.verifier):
        receipt = earlier_call(w3, notes, judge, sender, purpose(case), once=True)
        if receipt is not None:
            return receipt
    return None


def transact(
    rpc: Rpc,
    account: LocalAccount,
    call: Call,
    *,
    notes: TransactionJournal | None = None,
    purpose: str = "",
    once: bool = False,
    harmless: bool = False,
) -> TxReceipt:
    """Send a call of a contract's function and wait until it is mined.

    Args:
        account: Account that signs and pays.
        notes: Where it is noted before it is sent; None notes nothing.
        purpose: As for `Chain.send`.
        once: As for `Chain.send`.
        harmless: Whether a repetition is harmless. Then it is not recorded, but awaited with the others.

    Raises:
        ChallengeFailed: As for `challenge`.
        ChainError: It could not be sent, was refused, or was not mined in time.
    """
    try:
        return send(web3_over(rpc), call, account, notes=notes, purpose=purpose, once=once, harmless=harmless)
    except ContractRefused as error:
        raise explained(error) from error


def explained(error: ContractRefused) -> ContractRefused | ChallengeFailed:
    """Return the error for a challenger from a contract's error."""
    name = _name(error)
    if name in ("JudgeNotAnchored", "RoundLedgerWrongPhase", "RoundLedgerTooLate"):
        return ChallengeFailed(
            "The round can't be challenged any more: it is void already, or its window is over.",
            remedy="Nothing is left to do.",
            code="already-void",
        )
    if name in ("FraudProofsNoFraud", "GramProofsNoFraud"):
        return ChallengeFailed(
            "The contract finds the anchor right at this place.",
            remedy="Nothing was lost but the gas, if it was sent.",
            code="nothing-to-prove",
        )
    return error


def _price(rpc: Rpc) -> int:
    method = "eth_gasPrice"
    return rpc.quantity(method, rpc.call(method))


def _name(error: ContractRefused) -> str:
    """Return the name of a custom error; empty if unknown."""
    data = str(error.details.get("data") or "0x")
    try:
        raw = bytes.fromhex(data.removeprefix("0x"))
    except ValueError:
        return ""
    return str(reverts.explain(raw).details.get("error") or "")


def _refused(rpc: Rpc, deployment: Deployment, case: Case, refusal: ContractRefused | None) -> FolkmootError:
    """Return why no judge accepts a proof."""
    stored = LedgerReader(rpc, deployment.ledger).round(case.round)
    if stored.phase in (Phase.SLASHED, Phase.CANCELLED):
        return ChallengeFailed(
            f"Round {case.round} is void already: somebody else was faster.",
            remedy="Nothing is left to do.",
            code="already-void",
        )
    if stored.phase == Phase.FINAL:
        return window_over(case)
    why = f"{_name(refusal) or refusal.message}" if refusal is not None else "no judge"
    return ChallengeFailed(
        f"No contract takes the proof of round {case.round} ({why}).",
        remedy="The policy's verifier is not a contract of this release. Show the others what you found, and vote.",
        code="not-provable",
    )


def window_over(case: Case) -> ChallengeFailed:
    """Return the error for a round whose challenge window is over."""
    return ChallengeFailed(
        f"The challenge window of round {case.round} is over: nothing can be proven against it any more.",
        remedy="Show the others what `folkmoot audit` says, and vote.",
        code="window-over",
    )
