# SPDX-License-Identifier: Apache-2.0
"""Deploying a federation: one transaction a contract, of one account, so that the addresses are known beforehand.

The contracts point at each other, so each is given addresses that are computed from the deployer's nonces
(contracts/README.md). The deployer never holds a role. Afterwards `deploy_check` reads everything back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from folkmoot.aggregation import policy_file
from folkmoot.chain.deploy_check import verify
from folkmoot.chain.deploy_plan import Plan
from folkmoot.chain.terms import (
    OPEN,
    Admission,
    Bounds,
    GenesisRoots,
    Governance,
    answer_window,
    check_terms,
    governance_to_json,
    invalid_admission,
)
from folkmoot.chain.transactions.connection import chain_errors, earlier, send, settle
from folkmoot.chain.transactions.status import rpc_of
from folkmoot.errors import ChainError
from folkmoot.ledger import packaged
from folkmoot.ledger.admission import admits
from folkmoot.ledger.deployment import CONTRACTS, JUDGES, Deployment
from folkmoot.rpc.abi import Function
from folkmoot.rpc.client import Call, Rpc

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from web3 import Web3
    from web3.types import TxReceipt

    from folkmoot.protocol.policy import Policy


@dataclass(slots=True)
class Report:
    """What a deployment did and what was verified afterwards."""

    deployment: Deployment
    """The addresses."""
    gas: dict[str, int] = field(default_factory=dict)
    """Gas used by each contract's creation."""
    facts: list[str] = field(default_factory=list)
    """What was read back from the chain and found right, one sentence each."""


def deploy_and_report(
    w3: Web3,
    account: LocalAccount,
    genesis: GenesisRoots,
    policy: Policy,
    coordinator: str,
    allocations: Mapping[str, int],
    governance: Governance,
    progress: Callable[[str], None] = lambda role: None,
    plan: Plan | None = None,
    admission: Admission = OPEN,
) -> Report:
    """Deploy the contracts and verify every address, role and parameter.

    With a plan, contracts of an interrupted deployment are gone on with; gas that nobody noted is left out then. When
    all are mined, it is waited until they lie as deep as the plan's notes say, and only then verified.

    Args:
        w3: Connection to the chain.
        account: Account that pays. It gets no role and no tokens (unless `allocations` names it).
        genesis: The hashes of the initial model.
        policy: First policy. Where its verifier is the word `arbiter`, the arbiter's address is put in.
        coordinator: First coordinator.
        allocations: Genesis tokens by account, in units of 1e-18.
        governance: How the assembly works.
        progress: Called with a contract's role before its transaction.
        plan: Where it is noted, so that a deployment that is killed can be completed; None notes nothing.
        admission: Who may enrol.

    Raises:
        InputError: the values can't work together; code `other-deployment`: the plan is of another one.
        RpcError: the endpoint failed, or the account can't pay.
        ChainError: code `deployment-disturbed`: the account sent something in between, and the contracts are of no
            use; code `deployment-mismatch`: the chain does not say what was deployed; what `Chain.settle` raises.
    """
    check_terms(policy, coordinator, allocations, governance)
    with chain_errors("the deployment"):
        chain_id = w3.eth.chain_id
        nonce = int(w3.eth.get_transaction_count(account.address, "pending"))
    if admission.contract is not None:
        _require_answer(rpc_of(w3), admission.contract, coordinator)
    if plan is not None:
        asked = _asked(
            chain_id, account.address, genesis, policy, coordinator, allocations, governance, admission
        )
        nonce = plan.begin(asked, nonce)
    addresses = addresses_from(account.address, nonce, admission.roles)
    policy = policy.resolved(addresses["arbiter"])
    arguments = constructor_arguments(
        addresses, genesis, policy, coordinator, allocations, governance, admission
    )
    receipts: dict[str, TxReceipt] = {}
    for place, role in enumerate(admission.roles):
        creation = _Creation(w3, account, role, addresses[role], nonce + place, plan)
        receipt = creation.carry_out(creation_of(packaged.contract(role), *arguments[role]), progress)
        if receipt is not None:
            receipts[role] = receipt
    if plan is not None:
        settled = settle(w3, plan.notes, *receipts.values(), say=plan.say)
        receipts = dict(zip(receipts, settled, strict=True))
    first = receipts.get(CONTRACTS[0])
    deployment = Deployment(
        chain_id=chain_id,
        block=first["blockNumber"] if first is not None else 0,
        genesis_hash="0x" + genesis.genesis_hash.hex(),
        admission=admission.contract,
        parent=genesis.parent,
        **addresses,
    )
    facts = plan.facts if plan is not None else None
    if facts is None:
        facts = verify(
            rpc_of(w3),
            deployment,
            account.address,
            genesis,
            policy,
            coordinator,
            allocations,
            governance,
            admission,
        )
        if plan is not None:
            plan.verified(facts)
    return Report(deployment, {role: receipt["gasUsed"] for role, receipt in receipts.items()}, facts)


def _asked(
    chain_id: int,
    deployer: str,
    genesis: GenesisRoots,
    policy: Policy,
    coordinator: str,
    allocations: Mapping[str, int],
    governance: Governance,
    admission: Admission,
) -> dict[str, Any]:
    """Return what a plan says is deployed: whoever goes on with it must ask for the same."""
    code = keccak(text="".join(packaged.contract(role).bytecode for role in admission.roles))
    return {
        "chain": chain_id,
        "deployer": deployer,
        "release of the contracts": code.hex(),
        "genesis": [genesis.manifest_hash.hex(), genesis.state_root.hex(), genesis.genesis_hash.hex()],
        "policy": policy_file.to_json(policy),
        "coordinator": coordinator,
        "allocation": [[account, str(amount)] for account, amount in allocations.items()],
        "governance": governance_to_json(governance),
        "admission": admission.to_json(),
    }


@dataclass(frozen=True)
class _Creation:
    """The creation of one contract: with its nonce it is at its address, and only once."""

    w3: Web3
    account: LocalAccount
    role: str
    address: str
    nonce: int
    plan: Plan | None

    def carry_out(self, constructor: Call, progress: Callable[[str], None]) -> TxReceipt | None:
        """Create the contract unless it is there; return its receipt, None if nobody noted its transaction.

        Raises:
            ChainError: code `deployment-disturbed`: its nonce was used for something else.
        """
        notes = self.plan.notes if self.plan is not None else None
        purpose = f"{self.role} at {self.address}"
        if self._is_there():
            if notes is None:
                return None
            return earlier(self.w3, notes, "", self.account.address, purpose, wait=False, once=True)
        progress(self.role)
        try:
            return send(
                self.w3,
                constructor,
                self.account,
                notes=notes,
                purpose=purpose,
                nonce=self.nonce,
                wait=False,
                once=True,
            )
        except ChainError:
            self._is_there()  # or it says why it can't be
            raise

    def _is_there(self) -> bool:
        """Whether the contract is there."""
        with chain_errors("the deployment"):
            # The count first: what is mined between the two questions must not look disturbed.
            used = self.w3.eth.get_transaction_count(self.account.address)
            there = len(self.w3.eth.get_code(to_checksum_address(self.address))) > 0
        if used > self.nonce and not there:
            raise ChainError(
                f"The {self.role} can't be at {self.address} as computed: the account sent another transaction "
                "meanwhile. The contracts point at wrong addresses and are of no use.",
                remedy="Deploy again, with an account that does nothing else.",
                code="deployment-disturbed",
            )
        return there


def creation_of(compiled: packaged.Packaged, *arguments: Any) -> Call:
    """Return the creation of a contract."""
    inputs: list[dict[str, Any]] = next(
        (entry["inputs"] for entry in compiled.abi if entry["type"] == "constructor"), []
    )
    constructor = Function("", tuple(map(packaged.type_of, inputs)))
    return Call("", constructor, arguments, bytes.fromhex(compiled.bytecode.removeprefix("0x")))


def addresses_from(deployer: str, nonce: int, roles: Sequence[str] = CONTRACTS) -> dict[str, str]:
    """Return the address of each contract, by role, if the first one is created with this nonce."""
    return {role: predicted_address(deployer, nonce + place) for place, role in enumerate(roles)}


def predicted_address(deployer: str, nonce: int) -> str:
    """Return the address of the contract that an account creates with its transaction of this nonce."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    # RLP: a byte below 0x80 stands for itself, other short strings and lists have their length before them.
    item = number if len(number) == 1 and nonce < 0x80 else bytes([0x80 + len(number)]) + number
    body = b"\x94" + bytes.fromhex(deployer[2:]) + item
    return str(to_checksum_address(keccak(bytes([0xC0 + len(body)]) + body)[12:]))


def constructor_arguments(
    addresses: Mapping[str, str],
    genesis: GenesisRoots,
    policy: Policy,
    coordinator: str,
    allocations: Mapping[str, int],
    governance: Governance,
    admission: Admission = OPEN,
) -> dict[str, list[Any]]:
    """Return the constructor arguments of each contract, as contracts/README.md lists them.

    Raises:
        InputError: the policy's verifier is still a word.
    """
    token, vault, registry = addresses["token"], addresses["vault"], addresses["registry"]
    ledger, timelock, governor = addresses["ledger"], addresses["timelock"], addresses["governor"]
    return {
        "token": [addresses["rewards"], list(allocations.items())],
        "vault": [token, ledger, governance.unbonding],
        "registry": [
            timelock,
            ledger,
            token,
            genesis.state_root,
            governance.warranty_period,
            governance.min_warranty,
        ],
        "policies": [timelock, vault, policy.abi_tuple(), Bounds.of(policy).abi_tuple()],
        "ledger": [
            vault,
            registry,
            addresses["policies"],
            coordinator,
            genesis.manifest_hash,
            genesis.genesis_hash,
            admission.address(addresses),
        ],
        "rewards": [ledger, token],
        "timelock": [governance.timelock_delay, governor],
        "governor": [
            vault,
            timelock,
            governance.voting_delay,
            governance.voting_period,
            governance.threshold,
            governance.quorum_percent,
            governance.vote_extension,
            governance.seasoning,
            governance.guardian,
            governance.guardian_term,
        ],
        "fraud_proofs": [ledger],
        "gram_proofs": [ledger],
        "contributor_faults": [ledger],
        "data_availability": [
            ledger,
            token,
            vault,
            governance.demand_deposit,
            answer_window(policy, governance),
        ],
        # A dispute waits as long as the bond can be held: the more time voters have to propose.
        "disputes": [ledger, token, vault, timelock, governance.unbonding],
        "arbiter": [ledger, [addresses[judge] for judge in JUDGES]],
        "members": [timelock, list(admission.members)],
    }


def _require_answer(rpc: Rpc, contract: str, account: str) -> None:
    """Check that an admission contract is there and answers, whatever the answer is."""
    if not rpc.code(contract):
        raise invalid_admission(
            f"There is no contract at {contract}, which would say who may enrol.",
            "Deploy the admission contract first, on the same chain, and give its address.",
        )
    if admits(rpc, contract, account) is None:
        raise invalid_admission(
            f"The contract at {contract} does not answer `admits(address)` with true or false within 200,000 gas: "
            "nobody could enrol.",
            "Give a contract that has the interface IAdmission (contracts/src/interfaces/IAdmission.sol).",
        )
