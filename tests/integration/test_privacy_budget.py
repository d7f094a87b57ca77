# SPDX-License-Identifier: Apache-2.0
"""A privacy budget of one round: the chain charges it, the coordinator refuses what would pass it, the audit counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from eth_abi.abi import decode, encode

from folkmoot.aggregation import policy_file
from folkmoot.artifacts.sources import FolderSource
from folkmoot.audit.audit import audit
from folkmoot.errors import AuditFailure, ContractRefused, UpdateRefused
from folkmoot.protocol.budget import MAX_STEPS, cost_of
from folkmoot.protocol.hashing import keccak
from folkmoot.rpc.client import Phase
from tests.factories import Federation
from tests.integration.coordinator_world import Running, open_round, train, until

COST = 298_844_372
FEDERATION = {
    "noise1024": 2745,
    "steps": 1,
    "privacy_cap": 2 * COST - 1,
    "min_sum_squares": 5_000,
}


def play(here: Running, number: int, *names: str) -> None:
    _, header, state = open_round(here.api, number)
    for name in names:
        signed = train(here.world, name, header, state)
        here.api.submit_update(number, signed.wire, signed.data)
    until(
        lambda: here.world.chain.ledger.round(number).phase in (Phase.ANCHORED, Phase.FINAL),
        what="the anchor",
    )


def recomputed(here: Running) -> int:
    source = FolderSource(here.coordinator.settings.home / "artifacts")
    return audit([here.world.anvil.url], here.world.deployment, source).recomputed


def test_a_spent_budget_is_refused_and_audited(
    here: Running, folkmoot: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    world, reader = here.world, here.world.chain.ledger
    here.api.start_run(2, 2, world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    quiet = train(world, "ada", header, state, scale=0.0001)
    with pytest.raises(UpdateRefused) as refused:
        here.api.submit_update(1, quiet.wire, quiet.data)
    assert refused.value.code == "norm-too-small"

    play(here, 1, "ada", "ben")
    assert [reader.spent(world[name].address) for name in ("ada", "ben", "cleo")] == [COST, COST, 0]
    _, header, state = open_round(here.api, 2)
    again = train(world, "ada", header, state)
    with pytest.raises(UpdateRefused) as refused:
        here.api.submit_update(2, again.wire, again.data)
    assert refused.value.code == "budget-spent"
    assert str(COST) in refused.value.message
    with pytest.raises(ContractRefused) as reverted:
        world.chain.send(
            world.chain.ledger.functions.commitUpdate(again.commitment.abi_tuple()), world["ada"]
        )
    assert reverted.value.details["error"] == "RoundLedgerBudgetSpent"
    play(here, 2, "cleo", "emil")
    assert reader.spent(world["cleo"].address) == COST
    assert recomputed(here) == 2
    for words in ([], ["--rpc", world.anvil.url]):
        why = folkmoot("why", world["ada"].address, "--coordinator", here.api.url, *words)
        assert why["privacy"] == {"spent": str(COST), "roundsLeft": 0}

    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy_file.to_json(reader.policy(1))))
    words = ["propose", "--policy", str(file), "--coordinator"]
    error = folkmoot(*words, here.api.url, fails=1)["error"]
    assert error["code"] == "wrong-privacy", "the model's task declares no privacy"
    assert "It was not compared" in folkmoot(*words, "http://127.0.0.1:9")["warning"]

    (odometer,) = reader.rpc.read(world.deployment.ledger, "odometer()", ["address"])
    member = world.chain.vault.members([world["ada"].address])[world["ada"].address].number
    # `_spent` begins at slot 0 of the odometer: contracts/snapshots/storage/Odometer.txt.
    slot = f"0x{member // 4:064x}"
    before = int.from_bytes(reader.rpc._data("eth_getStorageAt", [odometer, slot, "latest"]), "big")
    world.anvil.call("anvil_setStorageAt", odometer, slot, f"0x{before - (1 << 64 * (member % 4)):064x}")
    with pytest.raises(AuditFailure) as failure:
        recomputed(here)
    assert failure.value.details["what"] == "the spent privacy budget"


def test_the_contract_has_the_costs_of_the_library(world: Federation) -> None:
    """10,000 noises and numbers of steps: the odometer of the deployed ledger names the cost that passes a cap of 0."""
    drawn, ledger = np.random.default_rng(14), world.deployment.ledger
    (odometer,) = world.chain.ledger.rpc.read(ledger, "odometer()", ["address"])
    settings = [(1, 1), (1, MAX_STEPS), (2**32 - 1, 1), (2**32 - 1, MAX_STEPS)]
    while len(settings) < 10_000:  # Each size of noise as often.
        settings.append((int(2 ** drawn.uniform(0, 32)), int(drawn.integers(1, MAX_STEPS + 1))))
    charge, refusal = (
        keccak(text.encode())[:4]
        for text in (
            "charge(uint256,uint256,uint256,uint256,uint256)",
            "RoundLedgerBudgetSpent(uint256,uint256,uint256,uint256)",
        )
    )
    calls = [
        {
            "jsonrpc": "2.0",
            "id": at,
            "method": "eth_call",
            "params": [
                {
                    "from": ledger,
                    "to": odometer,
                    "data": "0x" + (charge + encode(["uint256"] * 5, [0, 1, noise, steps, 0])).hex(),
                }
            ],
        }
        for at, (noise, steps) in enumerate(settings)
    ]
    costs: dict[int, int] = {}
    for start in range(0, len(calls), 1000):
        answers = httpx.post(world.anvil.url, json=calls[start : start + 1000], timeout=100).json()
        for answer in answers:
            data = bytes.fromhex(answer["error"]["data"][2:])
            assert data[:4] == refusal
            costs[answer["id"]] = decode(["uint256"] * 4, data[4:])[2]
    assert costs == {at: cost_of(noise, steps) for at, (noise, steps) in enumerate(settings)}
