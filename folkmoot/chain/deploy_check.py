# SPDX-License-Identifier: Apache-2.0
"""Read every address, role and parameter of a new federation back from the chain, and compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eth_utils.crypto import keccak

from folkmoot.chain.client import Chain
from folkmoot.chain.terms import (
    FIRST_POLICY,
    OPEN,
    ZERO_ADDRESS,
    Admission,
    Bounds,
    GenesisRoots,
    Governance,
    answer_window,
)
from folkmoot.errors import ChainError
from folkmoot.ledger.admission import members
from folkmoot.ledger.deployment import JUDGES, Deployment
from folkmoot.ledger.events import RoleGranted, RoleRevoked
from folkmoot.ledger.scan import scan
from folkmoot.rpc.client import Rpc
from folkmoot.runtime.units import format_amount

if TYPE_CHECKING:
    from folkmoot.protocol.policy import Policy


def verify(
    rpc: Rpc,
    deployment: Deployment,
    deployer: str,
    genesis: GenesisRoots,
    policy: Policy,
    coordinator: str,
    allocations: Mapping[str, int],
    governance: Governance,
    admission: Admission = OPEN,
) -> list[str]:
    """Read back every parameter and every role, and return what was found right.

    Raises:
        ChainError: code `deployment-mismatch`, with the fact that does not hold.
    """
    chain = Chain(rpc, deployment)
    return [
        *_verify_parameters(chain, genesis, policy.resolved(deployment.arbiter), coordinator, governance),
        *_verify_judges(chain, policy, governance),
        *_verify_tokens(chain, allocations),
        *_verify_admission(chain, admission),
        *_verify_roles(chain, deployer),
    ]


def _equal(what: str, actual: Any, expected: Any, shown: str | None = None) -> str:
    if actual != expected:
        raise ChainError(
            f"The deployment is wrong: {what} is {actual!r}, not {expected!r}.",
            remedy="Don't use it; deploy again.",
            code="deployment-mismatch",
            details={"what": what, "found": str(actual), "expected": str(expected)},
        )
    return f"{what} is {shown if shown is not None else expected}"


def _verify_parameters(
    chain: Chain, genesis: GenesisRoots, policy: Policy, coordinator: str, governance: Governance
) -> list[str]:
    place = chain.deployment
    bounds = Bounds.of(policy)
    ledger, vault, registry = chain.ledger.functions, chain.vault.functions, chain.registry.functions
    policies = chain.policies.functions
    governor, rewards, read = chain.governor.functions, chain.rewards.functions, chain.read
    manifest_hash, state_root = genesis.manifest_hash, genesis.state_root
    head = chain.ledger.head()
    return [
        _equal("the ledger's vault", read(ledger.vault()), place.vault),
        _equal("the ledger's registry", read(ledger.registry()), place.registry),
        _equal("the ledger's policies", chain.ledger.policies.address, place.policies),
        _equal(
            "the ledger's manifest hash",
            read(ledger.manifestHash()),
            manifest_hash,
            "0x" + manifest_hash.hex(),
        ),
        _equal("the ledger's genesis hash", "0x" + read(ledger.genesisHash()).hex(), place.genesis_hash),
        _equal("the head", head.round, 0),
        _equal("the head's state root", head.state_root, state_root, "0x" + state_root.hex()),
        _equal("the next round", chain.ledger.next_round(), 1),
        _equal("the coordinator", chain.ledger.coordinator(), coordinator),
        _equal("the current policy", chain.ledger.current_policy(), FIRST_POLICY),
        _equal("the first policy", chain.ledger.policy(FIRST_POLICY), policy, f"{policy.rule} as given"),
        _equal("who adds policies", read(policies.governance()), place.timelock),
        _equal("who appoints coordinators", read(ledger.governance()), place.timelock),
        _equal("the verifier of all policies", read(policies.verifier()), policy.verifier),
        _equal("the verifier that the ledger listens to", read(ledger.verifier()), policy.verifier),
        _equal("the longest windows", read(policies.maxWindows()), governance.unbonding),
        _equal("the bounds of all policies", chain.ledger.bounds(), bounds.abi_tuple()),
        _equal("who slashes", read(vault.ledger()), place.ledger),
        _equal("who mints", read(chain.token.functions.minter()), place.rewards),
        _equal("the token of rewards", read(rewards.token()), place.token),
        _equal("the ledger of rewards", read(rewards.ledger()), place.ledger),
        _equal("who registers versions", read(registry.ledger()), place.ledger),
        _equal("who makes versions active", read(registry.governance()), place.timelock),
        _equal("the token of warranties", read(registry.token()), place.token),
        _equal("the warranty period", read(registry.warrantyPeriod()), governance.warranty_period),
        _equal(
            "the minimum warranty",
            read(registry.minWarranty()),
            governance.min_warranty,
            format_amount(governance.min_warranty),
        ),
        _equal(
            "the registry's version 0",
            chain.registry.version(0).state_root,
            state_root,
            "0x" + state_root.hex(),
        ),
        _equal("the active version", chain.registry.active(), None),
        _equal("the vault's token", read(vault.token()), place.token),
        _equal("the unbonding time", chain.vault.unbonding_period(), governance.unbonding),
        _equal("the governor's votes", read(governor.token()), place.vault),
        _equal("the governor's timelock", read(governor.timelock()), place.timelock),
        _equal("the voting delay", read(governor.votingDelay()), governance.voting_delay),
        _equal("the voting period", read(governor.votingPeriod()), governance.voting_period),
        _equal("the proposal threshold", read(governor.proposalThreshold()), governance.threshold),
        _equal("the quorum in percent", read(governor.quorumNumerator()), governance.quorum_percent),
        _equal("the quorum's whole", read(governor.quorumDenominator()), 100),
        _equal(
            "the extension of a late quorum",
            read(governor.lateQuorumVoteExtension()),
            governance.vote_extension,
        ),
        _equal("the seasoning of votes", read(governor.seasoning()), governance.seasoning),
        _equal(
            "the guardian",
            read(governor.proposalGuardian()),
            governance.guardian,
            None if governance.guardian_term else "nobody",
        ),
        _equal(
            "the guardian's term in seconds",
            read(governor.guardianUntil()) - read(governor.launchedAt()),
            governance.guardian_term,
        ),
        _equal(
            "the timelock's delay", read(chain.timelock.functions.getMinDelay()), governance.timelock_delay
        ),
    ]


def _verify_judges(chain: Chain, policy: Policy, governance: Governance) -> list[str]:
    place, read = chain.deployment, chain.read
    judges = [getattr(place, judge) for judge in JUDGES]
    facts = [
        _equal(f"the ledger of the {role}", read(getattr(chain, role).functions.ledger()), place.ledger)
        for role in (*JUDGES, "arbiter")
    ]
    demands, disputes = chain.data_availability.functions, chain.disputes.functions
    facts += [
        _equal("the token of demands", read(demands.token()), place.token),
        _equal("the deposit of a demand", read(demands.deposit()), governance.demand_deposit),
        _equal("the time for an answer", read(demands.answerWindow()), answer_window(policy, governance)),
        _equal("the token of disputes", read(disputes.token()), place.token),
        _equal("the time for a decision", read(disputes.decisionWindow()), governance.unbonding),
        _equal("who decides disputes", read(disputes.governance()), place.timelock),
        _equal("the arbiter's judges", list(read(chain.arbiter.functions.judges())), judges),
    ]
    for judge in judges:
        _equal(f"whether {judge} is a judge", read(chain.arbiter.functions.isJudge(judge)), True)
    return facts


def _verify_tokens(chain: Chain, allocations: Mapping[str, int]) -> list[str]:
    total = sum(allocations.values())
    supply = chain.read(chain.token.functions.totalSupply())
    return [
        _equal("the supply", supply, total, format_amount(total)),
        *(
            _equal(
                f"the balance of {account}", chain.token.balance_of(account), amount, format_amount(amount)
            )
            for account, amount in allocations.items()
        ),
    ]


def _verify_admission(chain: Chain, admission: Admission) -> list[str]:
    place, read = chain.deployment, chain.read
    expected = place.members or admission.contract or ZERO_ADDRESS
    shown = "nobody: all may enrol" if expected == ZERO_ADDRESS else None
    facts = [_equal("who admits contributors", read(chain.ledger.functions.admission()), expected, shown)]
    if place.members is None:
        return facts
    listed = members(chain, chain.rpc.block_number())
    return [
        *facts,
        _equal("who changes the list of members", read(chain.members.functions.governance()), place.timelock),
        _equal("the list of members", listed, sorted(admission.members), f"as given ({len(listed)})"),
    ]


def _verify_roles(chain: Chain, deployer: str) -> list[str]:
    """Compare everybody who ever got a role, as the events say, with who must have it and nobody else."""
    place = chain.deployment

    def role(name: str) -> bytes:
        return bytes(keccak(text=name))

    expected = {
        ("timelock", role("PROPOSER_ROLE"), place.governor),
        ("timelock", role("CANCELLER_ROLE"), place.governor),
        ("timelock", role("EXECUTOR_ROLE"), ZERO_ADDRESS),
    }
    held: set[tuple[str, bytes, str]] = set()
    for event in scan(chain, place.block, chain.rpc.block_number()):
        if isinstance(event, RoleGranted):
            held.add((event.contract, event.role, event.account))
        elif isinstance(event, RoleRevoked):
            held.discard((event.contract, event.role, event.account))
    facts = [_equal("who holds which role", held, expected, f"as designed ({len(expected)} roles)")]
    for contract, name, account in sorted(expected):
        has = chain.read(getattr(chain, contract).functions.hasRole(name, account))
        _equal(f"role 0x{name.hex()[:8]} of {account} in the {contract}", has, True)
    owned = sorted(contract for contract, _, account in held if account == deployer)
    facts.append(_equal("what the deployer holds", owned, [], "no role"))
    return facts
