# SPDX-License-Identifier: Apache-2.0
"""Every reason code, over HTTP, against a real chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from folkmoot.coordinator_api import commitment_to_wire
from folkmoot.errors import UpdateRefused
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.state import State
from tests import factories
from tests.integration.coordinator_world import Running, Signed, open_round, running, train, until

DRAWS_SLOT = 12
"""Of `_draws` in the ledger: contracts/snapshots/storage/RoundLedger.txt."""
FEDERATION = {"max_contributors": 3, "max_sum_squares": 600 * 900}


@pytest.fixture
def here(world: factories.Federation, tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "home", world) as found:
        found.api.start_run(1, 9, found.world.coordinator, found.domain)
        yield found


@pytest.fixture
def ready(here: Running) -> tuple[RoundHeader, State]:
    _, header, state = open_round(here.api, 1)
    forget_draw(here.world, 1)
    return header, state


def forget_draw(world: factories.Federation, number: int) -> None:
    """Let places go to whom comes first, as in a closed federation, which draws none."""
    slot = "0x" + keccak(encode(["uint256", "uint256"], [number, DRAWS_SLOT])).hex()
    world.anvil.call("anvil_setStorageAt", world.deployment.ledger, slot, "0x" + bytes(32).hex())


def code_of(here: Running, signed: Signed, number: int = 1) -> str:
    with pytest.raises(UpdateRefused) as refused:
        here.api.submit_update(number, signed.wire, signed.data)
    return refused.value.code


def changed(here: Running, signed: Signed, name: str, **fields: object) -> Signed:
    commitment: Commitment = replace(signed.commitment, **fields)
    return Signed(commitment, commitment.sign(factories.account(name), here.domain), signed.data)


def test_each_check_gives_its_reason(here: Running, ready: tuple[RoundHeader, State]) -> None:
    header, state = ready
    ada = train(here.world, "ada", header, state)
    other_round = changed(here, ada, "ada", round=9)
    assert code_of(here, other_round, 9) == "round-unknown"
    assert code_of(here, ada, 2) == "round-unknown"
    assert code_of(here, changed(here, ada, "ada", base_state_root=bytes(32))) == "wrong-base"
    assert code_of(here, replace(ada, data=ada.data[:-1])) == "wrong-size"
    assert code_of(here, replace(ada, data=ada.data + b"\x80")) == "wrong-size"
    assert code_of(here, replace(ada, data=b"")) == "wrong-size"
    assert code_of(here, replace(ada, data=b"\x00" + ada.data[1:])) == "invalid-encoding"
    assert code_of(here, replace(ada, data=ada.data[:-1] + b"\x81")) == "invalid-encoding"
    assert code_of(here, changed(here, ada, "ada", update_root=b"\x01" * 32)) == "wrong-root"
    assert code_of(here, changed(here, ada, "ada", sum_squares=1)) == "wrong-norm"
    loud = train(here.world, "ada", header, state, scale=2.0)
    assert code_of(here, loud) == "norm-too-large"
    assert code_of(here, replace(ada, signature=bytes(65))) == "invalid-signature"
    outsider = train(here.world, "outsider", header, state)
    assert code_of(here, outsider) == "stake-too-low"
    here.api.submit_update(1, ada.wire, ada.data)
    assert code_of(here, train(here.world, "ada", header, state, seed=5)) == "duplicate"
    for name in ("ben", "cleo"):
        signed = train(here.world, name, header, state)
        here.api.submit_update(1, signed.wire, signed.data)
    dora = train(here.world, "dora", header, state)
    assert code_of(here, dora) == "round-full"
    assert code_of(here, replace(dora, data=b"")) == "round-full", "said before the file is looked at"
    here.api.submit_update(1, ada.wire, ada.data)  # the same again changes nothing
    here.world.anvil.advance(int(here.api.get("/v1/policies/1")["commitWindow"]))
    assert code_of(here, train(here.world, "emil", header, state)) == "round-closed"
    reasons = [
        item["reason"] for item in here.api.items("/v1/rounds/1/updates") if item["status"] == "refused"
    ]
    assert {"duplicate", "round-full", "round-closed"} < set(reasons), reasons


def test_outsider_takes_one_place_and_only_the_last_to_come_loses_its_own(
    here: Running, ready: tuple[RoundHeader, State]
) -> None:
    world, anvil = here.world, here.world.anvil
    anvil.call("evm_setAutomine", False)
    try:
        for name in ("ada", "ben", "cleo"):
            signed = train(world, name, *ready)
            here.api.submit_update(1, signed.wire, signed.data)
        until(lambda: anvil.call("txpool_status")["pending"] == "0x1", what="the batch in the pool")
        commitment = train(world, "dora", *ready).commitment
        call = world.chain.ledger.functions.commitUpdate(commitment.abi_tuple())
        dora, price = world["dora"], 100 * 10**9  # goes in ahead of the batch
        fees = {"maxFeePerGas": price, "maxPriorityFeePerGas": price}
        own = factories.fields_of(world.chain, call, dora, gas=1_000_000, **fees)
        anvil.call("eth_sendRawTransaction", "0x" + bytes(dora.sign_transaction(own).raw_transaction).hex())
    finally:
        anvil.call("evm_setAutomine", True)
    anvil.call("evm_mine")

    def statuses() -> dict[str, tuple[str, str | None]] | None:
        items = here.api.items("/v1/rounds/1/updates")
        found = {item["contributor"]: (item["status"], item["reason"]) for item in items}
        # Listed as soon as her own transaction was read, perhaps before the batch.
        found.pop(dora.address, None)
        return found if list(found.values()).count(("committed", None)) == 2 else None

    shown = until(statuses, what="the second batch")
    assert shown == {
        world["ada"].address: ("committed", None),
        world["ben"].address: ("committed", None),
        world["cleo"].address: ("refused", "round-full"),
    }
    assert world.chain.ledger.round(1).entries == 3


def test_forgery_never_blocks_the_contributor(here: Running, ready: tuple[RoundHeader, State]) -> None:
    header, state = ready
    ada = train(here.world, "ada", header, state)
    forged = train(here.world, "ada", header, state, seed=1)
    mallory = factories.account("ben")
    signature = bytes(mallory.sign_message(forged.commitment._message(here.domain)).signature)
    assert code_of(here, replace(forged, signature=signature)) == "invalid-signature"
    assert code_of(here, replace(ada, data=ada.data[:-300])) == "wrong-size"
    here.api.submit_update(1, ada.wire, ada.data)
    shown = here.api.get(f"/v1/rounds/1/updates/{here.world['ada'].address}")
    assert shown["status"] in ("received", "committed")
    assert [(item["reason"], item["authenticated"]) for item in shown["refusals"]] == [
        ("invalid-signature", False),
        ("wrong-size", True),
    ]


def test_commitment_that_can_not_be_read_is_a_clear_problem(
    here: Running, ready: tuple[RoundHeader, State]
) -> None:
    http = here.api._client()
    for header in ("!!", "e30", "bm90IGpzb24"):
        answer = http.post("/v1/rounds/1/updates", content=b"x", headers={"Folkmoot-Commitment": header})
        assert answer.status_code == 422
        assert answer.json()["code"] == "invalid-commitment"
        assert answer.headers["content-type"] == "application/problem+json"
    assert http.post("/v1/rounds/1/updates", content=b"x").json()["code"] == "invalid-request"


def test_wire_form_is_read_back(here: Running, ready: tuple[RoundHeader, State]) -> None:
    from folkmoot.coordinator_api import commitment_from_wire

    signed = train(here.world, "ada", *ready)
    wire = commitment_to_wire(signed.commitment, signed.signature)
    assert commitment_from_wire(wire) == (signed.commitment, signed.signature)
