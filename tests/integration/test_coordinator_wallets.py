# SPDX-License-Identifier: Apache-2.0
"""Contributors that are contracts at a coordinator: real Safes in a real round, and contracts that mean harm."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from client.signer.keys import LocalKey, wish_message
from client.signer.wallet import WalletKey
from folkmoot.artifacts.sources import FolderSource
from folkmoot.coordinator_api import CoordinatorApi
from folkmoot.errors import CoordinatorError, UpdateRefused
from folkmoot.protocol.commitment import Domain
from folkmoot.protocol.deletion import DeletionWish
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.state import State
from folkmoot.protocol.wallets import MAX_SIGNATURE
from folkmoot.rpc import abi
from folkmoot.rpc.wallets import WALLET_GAS
from folkmoot.runtime.fault_points import VARIABLE
from folkmoot.runtime.processes import free_port
from server.restore.restore import restore
from server.rounds import anchor_window
from server.settings import load
from tests import contract_accounts as contracts
from tests import factories
from tests.integration.coordinator_world import (
    Process,
    Running,
    Signed,
    make_home,
    open_round,
    running,
    train,
    until,
)

Ready = tuple[RoundHeader, State]
FOR_CONTRACT = abi.function("ledger", "commitUpdateFor").selector


def start(here: Running, expect: int) -> Ready:
    here.api.start_run(1, expect, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    return header, state


def made_for(
    world: factories.Federation, account: str, ready: Ready, seed: int, signature: bytes = b"\1"
) -> Signed:
    """Return an update of a contract account, with a signature."""
    trained = train(world, "ada", *ready, seed=seed)
    return Signed(replace(trained.commitment, contributor=account), signature, trained.data)


def signed_for(world: factories.Federation, account: str, ready: Ready, seed: int, *owners: str) -> Signed:
    """Return an update of a contract account, signed by its owners."""
    keys = [LocalKey(factories.account(owner)) for owner in owners]
    made = made_for(world, account, ready, seed)
    domain = Domain(world.deployment.chain_id, world.deployment.ledger)
    return replace(made, signature=WalletKey(account, keys, world.anvil.url).sign(made.commitment, domain))


def submit(here: Running, signed: Signed) -> None:
    here.api.submit_update(1, signed.wire, signed.data)


def code_of(here: Running, signed: Signed) -> str:
    with pytest.raises(UpdateRefused) as refused:
        submit(here, signed)
    return refused.value.code


def entries_of(here: Running) -> dict[str, Any]:
    found = here.api.items("/v1/rounds/1/updates")
    return {item["contributor"]: item for item in found if item["status"] != "refused"}


def settled(here: Running) -> None:
    until(lambda: here.api.get("/v1/rounds/1")["step"] == "settled", what="settlement")


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(home / "coordinator.sqlite3", timeout=10)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


UPDATES = "SELECT contributor, commitment_hash, signature, batch, dropped FROM updates ORDER BY contributor"
BATCHES = "SELECT purpose, state, data, gas_used FROM transactions WHERE purpose LIKE 'commit:%' ORDER BY id"


@pytest.mark.story
def test_safes_and_a_plain_wallet_contribute(
    world: factories.Federation, tmp_path: Path, folkmoot: Callable[..., dict[str, Any]]
) -> None:
    home, safes = tmp_path / "home", contracts.Safes(world.anvil)
    one, two = safes.create(["cleo"], 1), safes.create(["ada", "ben", "emil"], 2)
    safes.execute(one, ["cleo"], *contracts.enrolling(world, one))
    safes.execute(two, ["ben", "emil"], *contracts.enrolling(world, two))
    plain = contracts.plant(world.anvil, "plain", contracts.OWNED, "dora")
    contracts.enrol(world, plain)
    world.anvil.advance(1)
    with running(home, world) as here:
        ready = start(here, 4)
        first = signed_for(world, one, ready, 1, "cleo")
        submit(here, first)
        submit(here, first)
        submit(here, signed_for(world, two, ready, 2, "ada", "emil"))
        submit(here, signed_for(world, plain, ready, 3, "dora"))
        assert code_of(here, signed_for(world, one, ready, 9, "cleo")) == "duplicate"
        ada = train(world, "ada", *ready)
        false = replace(ada.commitment, contributor=two)
        assert code_of(here, replace(ada, commitment=false)) == "invalid-signature", "a replay of her own"
        submit(here, ada)
        settled(here)
        updates = entries_of(here)
        assert {updates[who]["reason"] for who in (one, two, plain, world["ada"].address)} == {"accepted"}
        report = folkmoot("audit", "--artifacts", here.api.url)
        assert report["entries"] == {"signed": 1, "own": 0, "relied": 3}
        why = folkmoot("why", one, "--round", "1", "--artifacts", here.api.url)
        assert why["verdicts"][0]["reason"] == "accepted"
        domain = Domain(world.deployment.chain_id, world.deployment.ledger)
        keys = [LocalKey(factories.account(owner)) for owner in ("ada", "emil")]
        wish = DeletionWish(two, 1)
        signature = WalletKey(two, keys, world.anvil.url).sign_message(wish_message(wish, domain), domain)
        assert here.api.delete_updates(replace(wish, signature=signature)) == 1
        with pytest.raises(CoordinatorError) as refused:
            here.api.delete_updates(replace(wish, last_round=2, signature=signature))
        assert refused.value.code == "not-authorised"
        receipt = str(tmp_path / "receipt.json")
        folkmoot("receipt", "1", two, "--out", receipt)
        assert folkmoot("receipt", "--check", receipt)["contributor"] == two
    before = rows(home, UPDATES), rows(home, BATCHES)
    assert [data[:4] == FOR_CONTRACT for _, _, data, _ in before[1]] == [False, True, True, True]
    (home / "coordinator.sqlite3").unlink()
    restore(load(home), world.coordinator.address, FolderSource(home / "artifacts"))
    assert (rows(home, UPDATES), rows(home, BATCHES)) == before, (
        "a coordinator that is restored knows the same"
    )


def test_what_a_contract_does_not_accept_is_refused(here: Running) -> None:
    world, accounts = here.world, {}
    for name in (
        "burns all gas",
        "reverts",
        "leaves no gas to the ledger",
        "answers junk",
        "answers nothing",
        "answers four bytes",
        "answers 200,000 bytes of junk",
        "accepts everything",
    ):
        accounts[name] = contracts.plant(world.anvil, name, contracts.HOSTILE[name])
        contracts.enrol(world, accounts[name])
    stranger = contracts.plant(world.anvil, "stranger", contracts.HOSTILE["accepts everything"])
    world.anvil.advance(1)
    ready = start(here, 30)
    agreeing = accounts.pop("accepts everything")
    for account in (*accounts.values(), stranger, world["emil"].address):
        assert code_of(here, made_for(world, account, ready, 1)) == "invalid-signature"
    for signature in (b"", bytes(MAX_SIGNATURE + 1)):
        assert code_of(here, made_for(world, agreeing, ready, 1, signature)) == "invalid-signature"
    wrong = replace(
        made_for(world, agreeing, ready, 1), data=b"\x80" * here.coordinator.federation.manifest.size
    )
    assert code_of(here, wrong) == "wrong-root"
    view = here.api.get(f"/v1/rounds/1/updates/{agreeing}")
    assert {one["reason"]: one["authenticated"] for one in view["refusals"]} == {
        "invalid-signature": False,
        "wrong-root": True,
    }
    submit(here, made_for(world, agreeing, ready, 1, bytes(MAX_SIGNATURE)))


def test_the_late_file_of_what_others_recorded_for_a_contract_is_taken(
    here: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor_window, "TIME_TRAVEL_DELIVERY_SECONDS", 4.0)
    world, chain = here.world, here.world.chain
    account = contracts.plant(world.anvil, "plain", contracts.OWNED, "dora")
    contracts.enrol(world, account)
    world.anvil.advance(1)
    ready = start(here, 1)
    signed = signed_for(world, account, ready, 1, "dora")
    record = chain.ledger.functions.commitUpdateFor(signed.commitment.abi_tuple(), signed.signature)
    chain.send(record, world["outsider"])
    submit(here, train(world, "ada", *ready))
    until(lambda: here.api.get("/v1/rounds/1")["step"] == "delivery", what="the end of the window")
    submit(here, signed)
    settled(here)
    found = entries_of(here)[account]
    assert (found["status"], found["reason"]) == ("delivered-late", "accepted")


def test_contracts_that_change_their_mind_harm_nobody_else(
    world: factories.Federation, tmp_path: Path, folkmoot: Callable[..., dict[str, Any]]
) -> None:
    anvil, home, accounts = world.anvil, tmp_path / "home", {}
    names = (
        "accepts in simulations only",
        "burns all gas in transactions",
        "answers 200,000 bytes and accepts",
    )
    for name in names:
        accounts[name] = contracts.plant(anvil, name, contracts.HOSTILE[name])
        contracts.enrol(world, accounts[name])
    owned = ("changes its owner", "is destroyed", "leaves no gas")
    for name in owned:
        accounts[name] = contracts.plant(anvil, name, contracts.OWNED, "dora")
        contracts.enrol(world, accounts[name])
    anvil.advance(1)
    with running(home, world) as here:
        ready = start(here, 2 + len(accounts))
        for seed, name in enumerate(names):
            submit(here, made_for(world, accounts[name], ready, seed))
        for seed, name in enumerate(owned, 7):
            submit(here, signed_for(world, accounts[name], ready, seed, "dora"))
        contracts.plant(anvil, "changes its owner", contracts.OWNED, "ben")
        contracts.plant(anvil, "is destroyed", "")
        contracts.plant(anvil, "leaves no gas", contracts.HOSTILE["leaves no gas to the ledger"])
        for name in ("ada", "ben"):
            submit(here, train(world, name, *ready))
        settled(here)
        updates = {item["contributor"]: item for item in here.api.items("/v1/rounds/1/updates")}
        # Its code goes after its commitment, as an account's does that ends a delegation (EIP-7702).
        contracts.plant(anvil, names[2], "")
        report = folkmoot("audit", "--artifacts", here.api.url)
        assert report["entries"] == {"signed": 2, "own": 0, "relied": 1}
    fine = {world["ada"].address, world["ben"].address, accounts["answers 200,000 bytes and accepts"]}
    assert {who for who, item in updates.items() if item["status"] == "committed"} == fine
    refused = {item["reason"] for who, item in updates.items() if who not in fine}
    assert refused <= {"invalid-signature", "refused-by-chain"}
    batch, *alone = rows(home, BATCHES)
    assert (batch[1], batch[2][:4]) == ("confirmed", abi.function("ledger", "commitUpdates").selector)
    assert sorted(state for _, state, _, _ in alone) == ["confirmed"] + ["failed"] * 5
    burnt = [gas for _, state, _, gas in alone if state == "failed" and gas]
    assert len(burnt) == 2
    assert max(burnt) <= WALLET_GAS
    assert {data[:4] for _, _, data, _ in alone} == {FOR_CONTRACT}


@pytest.mark.long
def test_a_coordinator_that_is_killed_between_batch_and_contract_goes_on(
    world: factories.Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = contracts.plant(world.anvil, "plain", contracts.OWNED, "dora")
    contracts.enrol(world, account)
    world.anvil.advance(1)
    home = tmp_path / "home"
    make_home(home, world)
    process = Process(home, free_port())
    domain = Domain(world.deployment.chain_id, world.deployment.ledger)

    def answers(api: CoordinatorApi) -> bool:
        try:
            return api.health()["status"] == "ok"
        except CoordinatorError:
            return False

    try:
        with CoordinatorApi(process.url) as api:
            # The transactions are those of the opening, the batch and the contract.
            monkeypatch.setenv(VARIABLE, f"coordinator.transaction-sent:3@{tmp_path / 'death'}")
            process.start()
            until(lambda: answers(api), what="the start")
            api.start_run(1, 3, world.coordinator, domain)
            _, header, state = open_round(api, 1)
            wallet = signed_for(world, account, (header, state), 1, "dora")
            for signed in (wallet, train(world, "ada", header, state), train(world, "ben", header, state)):
                api.submit_update(1, signed.wire, signed.data)
            until((tmp_path / "death").exists, what="its death")
            process.kill()
            process.start()
            until(lambda: answers(api), what="the restart")
            until(
                lambda: [state for _, state, *_ in rows(home, BATCHES)] == ["confirmed"] * 2,
                what="the entries",
            )
    finally:
        process.kill()
    assert world.chain.ledger.round(1).entries == 3
    assert rows(home, BATCHES)[1][2][:4] == FOR_CONTRACT
