# SPDX-License-Identifier: Apache-2.0
"""The deployment on Anvil: what is verified, what is refused beforehand, and what the deployer is left with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from folkmoot.chain import governance
from folkmoot.chain.client import Chain
from folkmoot.chain.deploy import deploy_and_report, predicted_address
from folkmoot.chain.deploy_check import verify
from folkmoot.chain.terms import MAX_SUPPLY, PROFILES, Governance
from folkmoot.chain.transactions.connection import connect_web3
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ChainError, ContractRefused, InputError, RpcError
from folkmoot.ledger.deployment import CONTRACTS, JUDGES
from folkmoot.protocol.policy import ARBITER
from folkmoot.runtime.units import UNIT
from tests import factories

HOLDER = factories.account("ada").address
COORDINATOR = factories.account("coordinator").address


def _arguments(**changes: Any) -> dict[str, Any]:
    return {
        "genesis": factories.genesis_roots(),
        "policy": factories.policy(),
        "coordinator": COORDINATOR,
        "allocations": {HOLDER: 1_000 * UNIT},
        "governance": factories.GOVERNANCE,
        **changes,
    }


@pytest.mark.parametrize("profile", ["demo", "l2", "l1"])
def test_every_profile_deploys_and_is_verified(anvil: Anvil, profile: str) -> None:
    deployer = factories.account("deployer")
    anvil.fund(deployer.address)
    windows = PROFILES[profile].windows
    policy = factories.policy(
        commit_window=windows.commit,
        anchor_window=windows.anchor,
        challenge_window=windows.challenge,
        interval=windows.interval,
        verifier=ARBITER,
    )
    progress: list[str] = []
    report = deploy_and_report(
        connect_web3(anvil.url),
        deployer,
        **_arguments(policy=policy, governance=PROFILES[profile].governance),
        progress=progress.append,
    )
    assert progress == list(CONTRACTS)
    assert list(report.gas) == list(CONTRACTS)
    assert len(report.facts) == 46 + len(JUDGES) + 1 + 8
    assert "what the deployer holds is no role" in report.facts
    assert all(gas < 16_777_216 for gas in report.gas.values())
    chain = Chain.connect(anvil.url, report.deployment)
    assert chain.ledger.policy(1) == replace(policy, verifier=report.deployment.arbiter)
    assert PROFILES[profile].governance.timelock_delay >= windows.challenge, "a vote can't outrun a challenge"
    chain.close()


@pytest.mark.parametrize("nonce", [0, 1, 127, 128, 255, 256, 70_000])
def test_addresses_are_predicted_as_the_chain_computes_them(nonce: int) -> None:
    rlp = pytest.importorskip("rlp")
    from eth_utils.address import to_checksum_address
    from eth_utils.crypto import keccak

    expected = to_checksum_address(keccak(rlp.encode([bytes.fromhex(HOLDER[2:]), nonce]))[12:])
    assert predicted_address(HOLDER, nonce) == expected


def test_deployer_can_do_nothing_afterwards(federation: factories.Federation) -> None:
    chain, deployer = federation.chain, federation.deployer
    attempts = [
        chain.token.functions.mint(deployer.address, 1),
        chain.vault.functions.slash(federation["ada"].address, 1, deployer.address),
        chain.vault.functions.lockBond(federation["ada"].address, 1),
        chain.registry.functions.activate(0, b"\0" * 32),
        chain.policies.functions.addPolicy(factories.policy().abi_tuple()),
        chain.ledger.functions.appointCoordinator(deployer.address),
        chain.timelock.functions.grantRole(b"\0" * 32, deployer.address),
    ]
    errors = []
    for attempt in attempts:
        with pytest.raises(ContractRefused) as caught:
            chain.send(attempt, deployer)
        errors.append(caught.value.details["error"])
    assert errors == [
        "MootTokenNotMinter",
        *["StakeVaultNotLedger"] * 2,
        "ModelRegistryNotGovernance",
        "PoliciesNotGovernance",
        "RoundLedgerNotGovernance",
        "AccessControlUnauthorizedAccount",
    ]


def test_verification_notices_another_parameter(federation: factories.Federation) -> None:
    arguments = {**_arguments(), "governance": replace(factories.GOVERNANCE, timelock_delay=1)}
    arguments |= {"allocations": {}, "policy": factories.policy(verifier=ARBITER)}
    with pytest.raises(ChainError, match="the timelock's delay is 600, not 1") as caught:
        verify(
            federation.anvil.rpc,
            federation.deployment,
            federation.deployer.address,
            **arguments,
        )
    assert caught.value.code == "deployment-mismatch"


def test_deployer_that_does_something_else_meanwhile_is_told_to_start_anew(anvil: Anvil) -> None:
    deployer = factories.account("deployer")
    anvil.fund(deployer.address)
    w3 = connect_web3(anvil.url)

    def disturb(role: str) -> None:
        if role == "vault":
            fields: dict[str, Any] = {
                "to": HOLDER,
                "value": 1,
                "gas": 21_000,
                "gasPrice": 10**10,
                "chainId": 31337,
            }
            nonce = w3.eth.get_transaction_count(deployer.address)
            signed = deployer.sign_transaction({**fields, "nonce": nonce})
            w3.eth.send_raw_transaction(signed.raw_transaction)

    with pytest.raises(ChainError, match="sent another transaction meanwhile") as caught:
        deploy_and_report(w3, deployer, **_arguments(), progress=disturb)
    assert caught.value.code == "deployment-disturbed"


def test_policy_that_the_ledger_refuses(anvil: Anvil) -> None:
    deployer = factories.account("deployer")
    anvil.fund(deployer.address)
    with pytest.raises(ContractRefused, match="field rate, value 0") as caught:
        deploy_and_report(connect_web3(anvil.url), deployer, **_arguments(policy=factories.policy(rate=0)))
    assert caught.value.details["error"] == "PoliciesInvalidPolicy"


def test_windows_longer_than_the_unbonding_time_are_refused_before_anything_is_sent(anvil: Anvil) -> None:
    deployer = factories.account("deployer")
    anvil.fund(deployer.address)
    before = anvil.rpc.block_number()
    with pytest.raises(InputError, match="the stake of a contributor could be gone"):
        deploy_and_report(
            connect_web3(anvil.url),
            deployer,
            **_arguments(governance=replace(factories.GOVERNANCE, unbonding=1_000)),
        )
    assert anvil.rpc.block_number() == before


def test_nobody_with_tokens_is_refused(anvil: Anvil) -> None:
    with pytest.raises(InputError, match="nobody could stake"):
        deploy_and_report(
            connect_web3(anvil.url), factories.account("deployer"), **_arguments(allocations={})
        )


def test_n9_more_tokens_than_the_contracts_can_count_are_refused(anvil: Anvil) -> None:
    before = anvil.rpc.block_number()
    ada, ben = (factories.account(name).address for name in ("ada", "ben"))
    with pytest.raises(InputError, match="the contracts can count") as caught:
        deploy_and_report(
            connect_web3(anvil.url),
            factories.account("deployer"),
            **_arguments(allocations={ada: MAX_SUPPLY, ben: 1}),
        )
    assert caught.value.code == "supply-too-large"
    assert anvil.rpc.block_number() == before


@pytest.mark.parametrize(("field", "key"), [("min_stake", "minStake"), ("bond", "bond")])
def test_a_policy_that_asks_for_more_tokens_than_there_are_is_refused(
    anvil: Anvil, federation: factories.Federation, field: str, key: str
) -> None:
    before = anvil.rpc.block_number()
    with pytest.raises(InputError, match=f"policy's {key} is 1001 MOOT, and there are 1000 MOOT") as caught:
        deploy_and_report(
            connect_web3(anvil.url),
            factories.account("deployer"),
            **_arguments(policy=factories.policy(**{field: 1_001 * UNIT})),
        )
    assert caught.value.code == "impossible-policy"
    assert anvil.rpc.block_number() == before
    most = federation.chain.read(federation.chain.token.functions.totalSupply())
    governance.policy_change(federation.chain, factories.policy(verifier=ARBITER, bond=most))
    with pytest.raises(InputError, match="policy's bond is"):
        governance.policy_change(federation.chain, factories.policy(verifier=ARBITER, bond=most + 1))


def test_deployer_without_native_coins(anvil: Anvil) -> None:
    with pytest.raises(RpcError) as caught:
        deploy_and_report(connect_web3(anvil.url), factories.account("pauper"), **_arguments())
    assert caught.value.code == "no-gas-money"


@pytest.mark.parametrize(
    ("field", "value"),
    [("voting_period", 0), ("quorum_percent", 101), ("unbonding", 0), ("vote_extension", 601)],
)
def test_governance_that_is_impossible(field: str, value: int) -> None:
    with pytest.raises(InputError, match=field.replace("_", " ")):
        Governance(
            **{
                **{name: getattr(factories.GOVERNANCE, name) for name in factories.GOVERNANCE.__slots__},
                field: value,
            }
        )
