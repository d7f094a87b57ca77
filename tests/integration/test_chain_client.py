# SPDX-License-Identifier: Apache-2.0
"""The chain clients against the real contracts on Anvil: reads, transactions, refusals, wrong chains."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from folkmoot.chain.client import Chain
from folkmoot.chain.fees import NO_CEILING, offered
from folkmoot.chain.transactions import confirmations
from folkmoot.chain.transactions.journal import TransactionJournal
from folkmoot.devnet.anvil import Anvil
from folkmoot.errors import ChainError, ContractRefused, InputError, RpcError, WrongChainError
from folkmoot.ledger.deployment import Deployment
from folkmoot.ledger.events import (
    CoordinatorAppointed,
    DelegateVotesChanged,
    PolicyAdded,
    Staked,
    VersionRegistered,
)
from folkmoot.ledger.scan import scan
from folkmoot.ledger.stakes import Bonded, bonded_rounds, next_quota
from folkmoot.rpc.client import LedgerReader, Phase, RewardsReader, Rpc, VaultReader
from folkmoot.runtime.processes import free_port
from folkmoot.runtime.units import UNIT
from tests import factories
from tests.factories import ALLOCATION, BOND, STAKE, Federation
from tests.integration.anchored import anchored_round, open_round, prove_wrong
from tests.rpc_proxy import Lack, RpcProxy

GWEI = 10**9


def test_readers_without_web3_see_what_was_deployed(federation: Federation) -> None:
    with Rpc(federation.anvil.url) as rpc:
        ledger = LedgerReader(rpc, federation.deployment.ledger)
        vault = VaultReader(rpc, federation.deployment.vault)
        ada = federation["ada"].address

        assert ledger.head() == (0, factories.genesis_roots().state_root)
        assert ledger.next_round() == 1
        assert ledger.current_policy() == 1
        assert ledger.policy(1) == factories.policy(verifier=federation.deployment.arbiter)
        assert ledger.coordinator() == federation.coordinator.address
        assert ledger.manifest_hash() == factories.genesis_roots().manifest_hash
        assert ledger.genesis_hash() == factories.genesis_roots().genesis_hash
        assert ledger.round(0).phase is Phase.FINAL
        assert ledger.round(0).state_root == factories.genesis_roots().state_root
        assert ledger.round(1).phase is Phase.NONE
        assert ledger.phase(0) is Phase.FINAL
        assert not ledger.has_committed(1, ada)
        assert RewardsReader(rpc, federation.deployment.rewards).claimable(ada) == 0
        assert ledger.rpc.latest_timestamp() > 1_700_000_000
        assert vault.stake_of(ada) == STAKE
        assert vault.total_staked() == BOND + 5 * STAKE
        outsider = federation["outsider"].address
        found = vault.members([ada, outsider])
        assert found[ada][:3] == (STAKE, STAKE, 1)
        assert 0 < found[ada].since < ledger.rpc.latest_timestamp()
        assert found[outsider] == (0, 0, 0, 0)
        assert vault.total_enrolled() == 5 * STAKE
        assert vault.bond_of(federation.coordinator.address) == 0
        assert next_quota(ledger, vault) == 0, "there are places for all"


def test_policy_that_does_not_exist_is_refused_in_words(federation: Federation) -> None:
    with pytest.raises(ContractRefused, match="There is no policy 7"):
        federation.chain.ledger.policy(7)


def test_typed_reads_of_the_web3_client(federation: Federation) -> None:
    chain, ada = federation.chain, federation["ada"].address
    assert chain.token.balance_of(ada) == ALLOCATION - STAKE
    assert chain.vault.stake_of(ada) == chain.vault.votes_of(ada) == STAKE
    assert chain.vault.delegate_of(ada) == ada
    assert chain.vault.unbondings(ada) == []
    assert chain.vault.unbonding_period() == 3_600
    assert chain.registry.active() is None
    assert chain.registry.version(0).state_root == factories.genesis_roots().state_root
    assert chain.phase(0) is Phase.FINAL
    assert chain.rpc.balance(ada) > 0
    assert chain.now() >= chain.rpc.latest_timestamp()


def test_version_that_does_not_exist_is_refused(federation: Federation) -> None:
    with pytest.raises(ContractRefused, match=r"unknown version \(version 3\)") as caught:
        federation.chain.registry.version(3)
    assert caught.value.details["error"] == "ModelRegistryUnknownVersion"
    assert caught.value.details["arguments"] == {"version": 3}


def test_refused_transaction_names_the_error_its_values_and_a_remedy(federation: Federation) -> None:
    chain, ada = federation.chain, federation["ada"]
    with pytest.raises(ContractRefused) as caught:
        chain.send(chain.vault.functions.requestUnbond(STAKE + UNIT), ada)
    assert "unlocked 100 MOOT, requested 101 MOOT" in caught.value.message
    assert "folkmoot balance" in caught.value.remedy
    assert caught.value.details["error"] == "StakeVaultInsufficientStake"
    assert caught.value.details["arguments"]["requested"] == str(101 * UNIT)
    assert chain.vault.stake_of(ada.address) == STAKE


def test_only_the_coordinator_opens_rounds(federation: Federation) -> None:
    chain = federation.chain
    open_round = chain.ledger.functions.openRound(1, chain.ledger.head().state_root, b"\1" * 32)
    with pytest.raises(ContractRefused, match="not coordinator") as caught:
        chain.send(open_round, federation["ada"])
    assert caught.value.details["arguments"]["coordinator"] == federation.coordinator.address


def test_phase_follows_the_clock(federation: Federation) -> None:
    chain = federation.chain
    chain.send(
        chain.ledger.functions.openRound(1, chain.ledger.head().state_root, b"\1" * 32),
        federation.coordinator,
    )
    assert chain.phase(1) is Phase.OPEN
    federation.anvil.advance(factories.policy().commit_window + 1)
    assert chain.phase(1) is Phase.COMMITTED
    assert chain.ledger.round(1).phase is Phase.OPEN
    chain.send(chain.ledger.functions.cancel(1), federation["outsider"])
    assert chain.phase(1) is Phase.CANCELLED


def test_bonds_of_rounds_are_found_until_they_are_over_or_released(federation: Federation) -> None:
    chain, coordinator = federation.chain, federation.coordinator.address
    bond = factories.policy().bond

    def found() -> list[Bonded]:
        return bonded_rounds(chain.ledger, chain.vault, coordinator)

    assert found() == []
    assert anchored_round(federation) == 1
    assert open_round(federation) == 2
    assert found() == [Bonded(2, Phase.OPEN, bond), Bonded(1, Phase.ANCHORED, bond)]
    assert chain.vault.unlocked_of(coordinator) == BOND - 2 * bond
    prove_wrong(federation, 1, federation["emil"].address)
    assert found() == [], "one is slashed, one was open"
    assert chain.vault.stake_of(coordinator) == BOND - bond


def test_account_without_native_coins_is_told_so(federation: Federation) -> None:
    chain = federation.chain
    with pytest.raises(RpcError) as caught:
        chain.send(chain.token.functions.approve(chain.deployment.vault, 1), factories.account("pauper"))
    assert caught.value.code == "no-gas-money"


def test_transaction_that_is_not_mined_in_time_is_not_called_failed(federation: Federation) -> None:
    chain, anvil = federation.chain, federation.anvil
    anvil.call("evm_setAutomine", False)
    try:
        with pytest.raises(ChainError, match=r"was sent, but not mined in 0\.3 seconds") as caught:
            chain.send(chain.vault.functions.requestUnbond(UNIT), federation["ada"], timeout=0.3)
        assert caught.value.code == "not-mined"
        assert caught.value.details["transaction"].startswith("0x")
        anvil.call("evm_mine")
    finally:
        anvil.call("evm_setAutomine", True)
    assert chain.vault.stake_of(federation["ada"].address) == STAKE - UNIT


@pytest.mark.parametrize("limit", [NO_CEILING, 10 * GWEI])
def test_a_tip_below_the_minimum_of_the_node_rises_and_it_is_said(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Nodes have a minimum of their own, which what they suggest need not reach."""
    monkeypatch.setattr(confirmations, "PAUSE", 0.01)
    said: list[str] = []

    def ask(params: list[Any]) -> RpcError | None:
        tip = offered(bytes.fromhex(params[0][2:])).tip
        words = f"transaction underpriced: gas tip cap {tip}, minimum needed {25 * GWEI}"
        return RpcError(words) if tip < 25 * GWEI else None

    ada, before = federation["ada"], federation.chain.vault.unbondings(federation["ada"].address)
    with RpcProxy(federation.anvil.url) as node:
        node.change("eth_sendRawTransaction", ask)
        chain = Chain.connect(node.url, federation.deployment)
        chain.notes, chain.max_fee = TransactionJournal(tmp_path / "sent", said.append), limit
        unbond = chain.vault.functions.requestUnbond(UNIT)
        if limit == NO_CEILING:
            chain.send(unbond, ada)
        else:
            with pytest.raises(RpcError, match="minimum needed") as caught:
                chain.send(unbond, ada)
            assert caught.value.code == "fee-limit"
        chain.notes.acknowledge()
        chain.close()
    assert "with a tip of 2 gwei instead of 1" in said[0]
    assert len(federation.chain.vault.unbondings(ada.address)) == len(before) + (limit == NO_CEILING)


@pytest.mark.long
def test_a_receipt_that_is_not_there_is_no_lost_nonce(federation: Federation, tmp_path: Path) -> None:
    """To forget the note then would do it twice."""
    ada = federation["ada"]
    with RpcProxy(federation.anvil.url) as node:
        node.lack(Lack.RECEIPTS, Lack.BLOCK_RECEIPTS)
        chain = Chain.connect(node.url, federation.deployment)
        chain.notes = TransactionJournal(tmp_path / "sent")
        with pytest.raises(ChainError) as caught:
            chain.send(chain.vault.functions.requestUnbond(UNIT), ada, timeout=3)
        assert caught.value.code == "not-mined"
        chain.notes.close()
        node.lack()
        chain.send(chain.vault.functions.requestUnbond(UNIT), ada)
        assert len(chain.vault.unbondings(ada.address)) == 1
        chain.notes.acknowledge()
        chain.close()


@pytest.fixture
def noting(federation: Federation, tmp_path: Path) -> Iterator[Chain]:
    """A client that notes what it sends, as the command line does. Processes are killed in `test_killed_commands`."""
    chain = Chain.connect(federation.anvil.url, federation.deployment)
    chain.notes = TransactionJournal(tmp_path / "sent")
    yield chain
    chain.notes.close()
    chain.close()


class Interrupted(Exception):
    """A call ends before it knows what came of what it sent."""


def interrupt(monkeypatch: pytest.MonkeyPatch, chain: Chain, amount: int) -> None:
    """Ask for a withdrawal, and be interrupted once it is sent."""

    def wait(*_: Any, **__: Any) -> Any:
        raise Interrupted

    function = chain.vault.functions.requestUnbond(amount)
    with monkeypatch.context() as patch:
        patch.setattr(confirmations, "await_receipts", wait)
        with pytest.raises(Interrupted):
            chain.send(function, factories.account("ada"))
    assert chain.notes is not None
    chain.notes.close()


def test_what_an_interrupted_call_sent_is_not_sent_again_until_it_was_told(
    noting: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, unbond = factories.account("ada"), noting.vault.functions.requestUnbond(UNIT)
    interrupt(monkeypatch, noting, UNIT)
    assert noting.notes is not None
    first = noting.send(unbond, ada)
    assert noting.notes.is_earlier(first["transactionHash"].to_0x_hex())
    noting.notes.acknowledge()
    second = noting.send(unbond, ada)
    assert second["transactionHash"] != first["transactionHash"]
    assert not noting.notes.is_earlier(second["transactionHash"].to_0x_hex())
    assert len(noting.vault.unbondings(ada.address)) == 2


def test_what_an_interrupted_call_sent_in_vain_is_sent_again(
    noting: Chain, federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is mined as failed: when it was sent, another one before it in the pool was to take the stake away."""
    ada, anvil = factories.account("ada"), federation.anvil
    anvil.call("evm_setAutomine", False)
    try:
        everything = noting.vault.functions.requestUnbond(STAKE)
        fields = factories.fields_of(noting, everything, ada)
        monkeypatch.setattr(noting.rpc, "fresh_block", lambda: ("latest", 0))
        noting.w3.eth.send_raw_transaction(ada.sign_transaction(fields).raw_transaction)
        interrupt(monkeypatch, noting, UNIT)
        anvil.call("evm_mine")
    finally:
        anvil.call("evm_setAutomine", True)
    with pytest.raises(ContractRefused, match="unlocked 0 MOOT, requested 1 MOOT"):
        noting.send(noting.vault.functions.requestUnbond(UNIT), ada)
    assert len(noting.vault.unbondings(ada.address)) == 1


@pytest.fixture
def own_federation() -> Iterator[Federation]:
    """A federation on a chain of its own: what other tests left in the pool would delay transactions."""
    with Anvil() as own:
        made = factories.federation(own)
        yield made
        made.chain.close()


def test_transaction_that_fails_in_its_block_is_told(
    own_federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, anvil, ada = own_federation.chain, own_federation.anvil, own_federation["ada"]
    unbond = chain.vault.functions.requestUnbond(STAKE)
    refusals: list[ContractRefused] = []

    def take_everything() -> None:
        try:
            chain.send(unbond, ada, timeout=30)
        except ContractRefused as error:
            refusals.append(error)

    anvil.call("evm_setAutomine", False)
    try:
        # Both look possible until one of them is mined: the first by hand, the second by the client.
        monkeypatch.setattr(chain.rpc, "fresh_block", lambda: ("latest", 0))
        first = factories.fields_of(chain, unbond, ada)
        chain.w3.eth.send_raw_transaction(ada.sign_transaction(first).raw_transaction)
        thread = threading.Thread(target=take_everything)
        thread.start()
        while thread.is_alive():
            time.sleep(0.1)  # the pool tells nobody when a transaction comes
            if int(anvil.call("txpool_status")["pending"], 16) == 2:
                anvil.call("evm_mine")
        thread.join()
    finally:
        anvil.call("evm_setAutomine", True)
    (refused,) = refusals
    assert refused.details["error"] == "StakeVaultInsufficientStake"
    assert refused.details["transaction"].startswith("0x")
    assert len(chain.vault.unbondings(ada.address)) == 1


def test_events_come_typed_and_in_log_order(federation: Federation) -> None:
    chain = federation.chain
    events = list(scan(chain, federation.deployment.block, chain.rpc.block_number()))
    places = [(event.block, event.log_index) for event in events]
    assert places == sorted(places)
    assert [e.policy for e in events if isinstance(e, PolicyAdded)] == [
        factories.policy(verifier=federation.deployment.arbiter)
    ]
    (appointed,) = [e for e in events if isinstance(e, CoordinatorAppointed)]
    assert appointed.coordinator == federation.coordinator.address
    assert appointed.contract == "ledger"
    (registered,) = [e for e in events if isinstance(e, VersionRegistered)]
    assert (registered.version, registered.state_root) == (0, factories.genesis_roots().state_root)
    staked = {e.account: e.amount for e in events if isinstance(e, Staked)}
    assert staked[federation["ada"].address] == STAKE
    assert any(isinstance(e, DelegateVotesChanged) and e.contract == "vault" for e in events)


def test_events_are_the_same_in_small_steps(federation: Federation) -> None:
    chain, last = federation.chain, federation.chain.rpc.block_number()
    whole = list(scan(chain, federation.deployment.block, last))
    assert list(scan(chain, federation.deployment.block, last, step=1)) == whole
    assert list(scan(chain, last + 1, last)) == []


def test_endpoint_that_is_down(deployment: Deployment) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(RpcError, match="can't be reached") as caught:
        Chain.connect(url, deployment)
    assert "--rpc" in caught.value.remedy


def test_chain_that_goes_down_after_connecting(deployment: Deployment) -> None:
    with Anvil() as other:
        federation = factories.federation(other)
    with pytest.raises(RpcError, match="can't be reached"):
        federation.chain.token.balance_of(federation["ada"].address)
    with pytest.raises(RpcError, match="can't be reached"):
        federation.chain.rpc.latest_timestamp()
    federation.chain.close()


def test_other_chain_id(federation: Federation) -> None:
    with pytest.raises(WrongChainError, match="serves chain 31337, the deployment is on chain 1"):
        Chain.connect(federation.anvil.url, replace(federation.deployment, chain_id=1))


def test_no_contract_at_an_address(federation: Federation) -> None:
    nowhere = federation["nobody"].address
    with pytest.raises(WrongChainError, match=f"no contract at {nowhere}") as caught:
        Chain.connect(federation.anvil.url, replace(federation.deployment, registry=nowhere))
    assert caught.value.code == "contract-missing"


def test_another_contract_at_the_ledgers_address(federation: Federation) -> None:
    swapped = replace(federation.deployment, ledger=federation.deployment.token)
    with pytest.raises((RpcError, ContractRefused), match="deployment file belongs to this chain"):
        Chain.connect(federation.anvil.url, swapped)


def test_other_genesis(federation: Federation) -> None:
    with pytest.raises(WrongChainError, match="has the genesis"):
        Chain.connect(federation.anvil.url, replace(federation.deployment, genesis_hash="0x" + "00" * 32))


def test_deployment_file_round_trips(deployment: Deployment, tmp_path: Path) -> None:
    path = tmp_path / "below" / "deployment.json"
    deployment.save(path)
    assert Deployment.load(path) == deployment


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("not json", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", r"chainId must be an integer from 0 to 2\^64 - 1"),
        ('{"chainId": 1, "block": 1, "token": "0x12"}', "token must be an address"),
    ],
)
def test_damaged_deployment_file(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(content)
    with pytest.raises(InputError, match=reason):
        Deployment.load(path)


@pytest.mark.parametrize("missing", [("arbiter", "fraudProofs"), ("rewards",)])
def test_a_deployment_file_of_fewer_contracts_is_named_as_old(
    deployment: Deployment, tmp_path: Path, missing: tuple[str, ...]
) -> None:
    old = {key: value for key, value in deployment.to_json().items() if key not in missing}
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps(old))
    with pytest.raises(InputError, match="of an older Folkmoot") as caught:
        Deployment.load(path)
    assert caught.value.code == "deployment-outdated"


def test_missing_deployment_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read: No such file"):
        Deployment.load(tmp_path / "deployment.json")
