# SPDX-License-Identifier: Apache-2.0
"""From a proof to a transaction: who judges it, what it costs, what it wins, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from eth_utils.address import to_checksum_address

from folkmoot.chain.client import TX_GAS_LIMIT, chain_errors, send, web3_over
from folkmoot.chain.client import earlier as earlier_call
from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.errors import ContractRefused, FolkmootError, RpcError
from folkmoot.fraud.proofs import proof as proofs
from folkmoot.fraud.proofs.case import Case
from folkmoot.fraud.proofs.finding import Finding
from folkmoot.fraud.proofs.proof import Proof, prove
from folkmoot.ledger import reverts as refusals
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.policy import NO_VERIFIER
from folkmoot.rpc.client import LedgerReader, Phase, Rpc, VaultReader
from folkmoot.rpc.quorum import open_rpc

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3
    from web3.types import TxReceipt

CHALLENGER_SHARE = 2
"""A challenger gets the slashed bond divided by this; the rest is burnt."""

NOBODY = "0x000000000000000000000000000000000000dEaD"
"""Who is asked for in estimates, where nobody would send."""


class ChallengeFailed(FolkmootError):
    """A challenge can't be made; ``code`` says why."""

    default_code = "not-provable"


@dataclass(frozen=True)
class Cost:
    """What a challenge costs and wins."""

    judge: str
    """Contract that takes the proof."""
    gas: int
    """Gas that the endpoint estimates."""
    price: int
    """Wei a unit of gas: the base fee and the tip that the endpoint suggests."""
    wins: int
    """Half of the bond, as far as the coordinator still has it; units of 1e-18 tokens."""

    @property
    def wei(self) -> int:
        """What the transaction costs, in wei of native coins."""
        return self.gas * self.price

    def pays(self, token_value: float) -> bool:
        """Whether it wins more than it costs, if a token is worth ``token_value`` native coins."""
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
    """Return the contracts whose word counts: the judges of the arbiter that a policy names as its verifier.

    Which of them takes a proof, an estimate of the gas shows.

    Raises:
        RpcError: the endpoint failed.
    """
    try:
        (found,) = rpc.read(verifier, "judges()", ["address[]"])
    except (ContractRefused, RpcError) as error:
        if isinstance(error, RpcError) and error.code != "wrong-contract":
            raise
        return [verifier]  # no arbiter of ours: it may take proofs itself
    return [str(to_checksum_address(judge)) for judge in found]


def cost_of(rpc: Rpc, deployment: Deployment, case: Case, proof: Proof, sender: str) -> Cost:
    """Ask an endpoint what a proof costs, which also tries it.

    Args:
        rpc: Endpoint.
        deployment: The addresses.
        case: The round.
        proof: What is sent.
        sender: Account that would send it.

    Raises:
        ChallengeFailed: ``window-over``, ``already-void``, ``not-provable``, ``no-verifier`` or ``too-much-gas``.
        RpcError: the endpoint failed.
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
            gas = _estimate(rpc, judge, proof, sender)
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
        stake = VaultReader(rpc, deployment.vault).stake_of(case.coordinator)
        return Cost(judge, gas, _price(rpc), min(case.policy.bond, stake) // CHALLENGER_SHARE)
    raise _refused(rpc, deployment, case, refusal)


def cheapest(rpc: Rpc, deployment: Deployment, finding: Finding, sender: str) -> tuple[Proof, Cost]:
    """Return the cheapest proof of what is wrong, with its cost.

    Args:
        rpc: Endpoint.
        deployment: The addresses.
        finding: What was found.
        sender: Account that would send it.

    Raises:
        ChallengeFailed: no judge takes any of them.
        RpcError: the endpoint failed.
    """
    found: list[tuple[Proof, Cost]] = []
    refusal: ChallengeFailed | None = None
    for suspicion in finding.suspicions:
        proof = prove(finding, suspicion)
        try:
            found.append((proof, cost_of(rpc, deployment, finding.case, proof, sender)))
        except ChallengeFailed as error:
            refusal = refusal or error
    if found:
        return min(found, key=lambda one: one[1].gas)
    raise refusal or ChallengeFailed("Nothing is wrong that can be proven.", code="nothing-to-prove")


def purpose(case: Case) -> str:
    """Return what the proof against a round's anchor is noted as (`folkmoot.chain.transactions.journal`)."""
    return f"prove round {case.round} wrong, anchor {case.anchor.hash.hex()}"


def challenge(
    rpc_url: str,
    case: Case,
    cost: Cost,
    proof: Proof,
    account: LocalAccount,
    notes: TransactionJournal | None = None,
) -> TxReceipt:
    """Send a proof and wait until it is mined.

    Args:
        rpc_url: Endpoint.
        case: The round.
        cost: Who judges.
        proof: What is sent.
        account: Who sends.
        notes: Where it is noted before it is sent.

    Raises:
        ChallengeFailed: ``already-void`` or ``window-over``: somebody or the clock was faster.
        ChainError: it could not be sent, or was not mined in time.
    """
    return transact(
        rpc_url,
        account,
        proof.contract,
        cost.judge,
        proof.function,
        *proof.arguments,
        notes=notes,
        purpose=purpose(case),
        once=True,
    )


def earlier(rpc: Rpc, case: Case, sender: str, notes: TransactionJournal) -> TxReceipt | None:
    """Return the receipt of a proof against a round's anchor that an interrupted call sent; None if there is none.

    Raises:
        ChainError: the endpoint failed, or the proof is on its way and was not mined in time.
    """
    if case.policy.verifier == NO_VERIFIER:
        return None
    with connection(rpc.url) as w3:
        for judge in judges(rpc, case.policy.verifier):
            receipt = earlier_call(w3, notes, judge, sender, purpose(case), once=True)
            if receipt is not None:
                return receipt
    return None


def transact(
    rpc_url: str,
    account: LocalAccount,
    contract: str,
    address: str,
    function: str,
    *arguments: Any,
    notes: TransactionJournal | None = None,
    purpose: str = "",
    once: bool = False,
    harmless: bool = False,
) -> TxReceipt:
    """Call a function of a contract, by its name in Solidity, and wait until that is mined.

    Args:
        rpc_url: Endpoint.
        account: Who signs and pays.
        contract: Its name.
        address: Its address.
        function: The function's name.
        arguments: Its arguments.
        notes: Where it is noted before it is sent; None notes nothing.
        purpose: As for `Chain.send`.
        once: As for `Chain.send`.
        harmless: Whether it does no harm to do it twice: then it is not noted, only waited for with the others.

    Raises:
        ChallengeFailed: as `challenge`.
        ChainError: it could not be sent, was refused, or was not mined in time.
    """
    with connection(rpc_url) as w3:
        made = w3.eth.contract(to_checksum_address(address), abi=proofs.packaged_contract(contract)["abi"])
        with chain_errors(function, rpc_url):
            call = made.get_function_by_name(function)(*arguments)
        try:
            return send(w3, call, account, notes=notes, purpose=purpose, once=once, harmless=harmless)
        except ContractRefused as error:
            raise explained(error) from error


@contextmanager
def connection(rpc_url: str) -> Iterator[Web3]:
    """Connect for as long as the block runs: a watcher runs for years, and sends once in a while."""
    with requests.Session() as session, open_rpc(rpc_url) as rpc:
        yield web3_over(rpc, session)


def explained(error: ContractRefused) -> ContractRefused | ChallengeFailed:
    """Return what a refusal means for a challenger."""
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


def _estimate(rpc: Rpc, judge: str, proof: Proof, sender: str) -> int:
    call = {"from": sender, "to": judge, "data": "0x" + proof.data.hex()}
    method = "eth_estimateGas"
    return rpc.quantity(method, rpc.call(method, [call]))


def _price(rpc: Rpc) -> int:
    method = "eth_gasPrice"
    return rpc.quantity(method, rpc.call(method))


def _name(error: ContractRefused) -> str:
    """Return the name of a refusal's custom error; empty if nobody knows it."""
    data = str(error.details.get("data") or "0x")
    try:
        raw = bytes.fromhex(data.removeprefix("0x"))
    except ValueError:
        return ""
    return proofs.errors().get(raw[:4]) or str(refusals.explain(raw).details.get("error") or "")


def _refused(rpc: Rpc, deployment: Deployment, case: Case, refusal: ContractRefused | None) -> FolkmootError:
    """Say why no judge takes a proof."""
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
        remedy="The policy's verifier is no contract of this release; show the others what you found, and vote.",
        code="not-provable",
    )


def window_over(case: Case) -> ChallengeFailed:
    """Return the failure for a round whose challenge window is over."""
    return ChallengeFailed(
        f"The challenge window of round {case.round} is over: nothing can be proven against it any more.",
        remedy="Show the others what `folkmoot audit` says, and vote.",
        code="window-over",
    )
