# SPDX-License-Identifier: Apache-2.0
"""Signing for accounts that are contracts, with the real Safe contracts and the ledger on Anvil."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from client.signer.agent import SignerAgent
from client.signer.checks import SigningRules
from client.signer.committing import OwnCommitments
from client.signer.keys import LocalKey, safe_owner_message
from client.signer.wallet import WalletKey
from folkmoot.errors import ContractRefused
from folkmoot.flower.signing import AgentSigner, SignerError, record_by_agent
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.signatures import digest as digest_of
from folkmoot.protocol.wallets import safe_message
from tests import contract_accounts as contracts
from tests import factories
from tests.integration.audit_world import MANIFEST, World
from tests.rpc_proxy import RpcProxy, Trouble


@pytest.fixture
def world(judged_world: World) -> World:
    """A federation with judges and an honest first round."""
    return judged_world


@pytest.fixture
def safes(world: World) -> contracts.Safes:
    return contracts.Safes(world.federation.anvil)


def key_of(world: World, account: str, *owners: str, url: str = "") -> WalletKey:
    keys = [LocalKey(factories.account(owner)) for owner in owners]
    return WalletKey(account, keys, url or world.federation.anvil.url)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(SignerError) as caught:
        call()
    assert caught.value.remedy
    return caught.value.code


def commitment_of(account: str) -> Commitment:
    return Commitment(account, 9, b"\1" * 32, b"\2" * 32, 5)


def test_the_safes_message_is_the_one_that_the_safe_hashes(world: World, safes: contracts.Safes) -> None:
    safe = safes.create(["ada"], 1)
    digest = commitment_of(safe).digest(world.domain)
    theirs = safes.call(safe, "getMessageHash(bytes)", ["bytes32"], digest)
    assert digest_of(safe_message(safe, world.domain.chain_id, digest)) == theirs


@pytest.mark.parametrize(
    ("owners", "threshold", "keys"),
    [(["ada"], 1, ["ada"]), (["ada", "ben", "cleo"], 2, ["cleo", "ada"]), (["ada"], 1, ["emil", "ada"])],
    ids=["1 of 1", "2 of 3", "a key too many"],
)
def test_the_ledger_takes_what_the_agent_signs_for_a_safe(
    world: World, safes: contracts.Safes, tmp_path: Path, owners: list[str], threshold: int, keys: list[str]
) -> None:
    safe = safes.create(owners, threshold)
    safes.execute(safe, owners[:threshold], *contracts.enrolling(world.federation, safe))
    world.advance(1)
    take_part(world, tmp_path, key_of(world, safe, *keys))


def test_the_ledger_takes_what_the_agent_signs_for_a_plain_wallet(world: World, tmp_path: Path) -> None:
    account = contracts.plant(world.federation.anvil, "plain", contracts.OWNED, "ada")
    contracts.enrol(world.federation, account)
    world.advance(1)
    take_part(world, tmp_path, key_of(world, account, "ben", "ada"))


def made_for(world: World, key: WalletKey, name: str) -> tuple[Commitment, bytes]:
    commitment, data = world.train(max(world.rounds), name)
    return replace(commitment, contributor=key.address), data


def take_part(world: World, home: Path, key: WalletKey) -> None:
    """Let the agent sign for a contract in the next round and record that, and see what else it signs."""
    rules = SigningRules(world.federation.deployment, MANIFEST)
    number = world.open()
    commitment, data = made_for(world, key, "dora")
    url, payer, ledger = (
        world.federation.anvil.url,
        factories.account("cleo"),
        world.federation.chain.ledger,
    )
    place, own = (url, home / "signer.sock", home / "signer"), OwnCommitments(rules.deployment, url, payer)
    key.check(world.domain)
    with SignerAgent(key, rules, *place, own=own) as agent:
        signer = AgentSigner(agent.path, key.address)
        signature = signer.sign(commitment, world.domain, data)
        assert signer.sign(commitment, world.domain, data) == signature
        other, changed = made_for(world, key, "emil")
        assert refused(lambda: signer.sign(other, world.domain, changed)) == "already-signed"
        with pytest.raises(SignerError) as early:
            record_by_agent(agent.path, commitment, signature, world.domain)
        assert early.value.code == "too-early"
        world.advance(
            ledger.round(number).own_commitments_from - world.federation.chain.rpc.latest_timestamp()
        )
        recorded = record_by_agent(agent.path, commitment, signature, world.domain)
        assert recorded.recorded
        assert recorded.transaction is not None, "the owner pays"
        assert 80_000 < recorded.gas < 200_000
    assert ledger.has_committed(number, key.address)
    (home / "signer" / "signing-record.json").unlink()
    assert refused(SignerAgent(key, rules, *place).__enter__) == "record-behind"


def test_too_few_owners_of_a_safe_sign_nothing(world: World, safes: contracts.Safes) -> None:
    safe = safes.create(["ada", "ben", "cleo"], 2)
    with pytest.raises(
        SignerError, match="needs signatures of 2 owners, and this signer has the keys of 1"
    ) as e:
        key_of(world, safe, "ada", "emil").check(world.domain)
    assert e.value.code == "wallet-threshold"


def test_what_the_contract_refuses_does_not_leave(world: World, safes: contracts.Safes) -> None:
    anvil = world.federation.anvil
    cases = {
        factories.account("ada").address: "not-a-contract",
        safes.create(["ben"], 1): "wallet-threshold",
        safes.create(["ada"], 1, handler=contracts.NOBODY): "wallet-refuses",
        contracts.plant(anvil, "of another", contracts.OWNED, "ben"): "wallet-refuses",
        world.federation.deployment.ledger: "wallet-refuses",
    }
    for name in ("burns all gas", "reverts", "answers junk", "answers nothing", "answers four bytes"):
        cases[contracts.plant(anvil, name, contracts.HOSTILE[name])] = "wallet-refuses"
    for account, code in cases.items():
        key = key_of(world, account, "ada")
        assert refused(partial(key.check, world.domain)) == code


def test_nothing_is_signed_for_a_contract_without_a_look_at_the_chain(
    world: World, safes: contracts.Safes
) -> None:
    safe = safes.create(["ada"], 1)
    with RpcProxy(world.federation.anvil.url) as proxy:
        key = key_of(world, safe, "ada", url=proxy.url)
        key.check(world.domain)
        for trouble in (Trouble.AWAY, Trouble.GARBAGE):
            proxy.become(trouble)
            assert refused(lambda: key.check(world.domain)) == "chain-unavailable"


def test_a_signature_of_one_chain_or_safe_is_none_of_another(world: World, safes: contracts.Safes) -> None:
    """An owner of two Safes signs for one of them."""
    one, two = safes.create(["ada"], 1), safes.create(["ada", "ben"], 1)
    digest, ada = commitment_of(two).digest(world.domain), LocalKey(factories.account("ada"))
    for safe, chain_id, error in (
        (one, 31337, "invalid signature"),
        (two, 1, "invalid signature"),
        (two, 31337, "9"),
    ):
        signature = ada.sign_message(safe_owner_message(safe, chain_id, digest))
        with pytest.raises(ContractRefused, match=error):
            world.send("ledger", "commitUpdateFor", commitment_of(two).abi_tuple(), signature)
