# SPDX-License-Identifier: Apache-2.0
"""The canary for real: MNIST is trained with torch, poisoned, measured by `task evaluate --canary`, and goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from client.tasks.genesis import start_of
from folkmoot.coordinator_api import commitment_to_wire
from folkmoot.devnet.anvil import Anvil
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.runtime.keystore import create
from folkmoot.tasks import load_task
from server.rounds import probe
from tests import factories
from tests.integration.coordinator_world import Running, federation, running, until

TASK = load_task("mnist")
NAMES = ("ada", "ben", "cleo")


def flat(manifest: Manifest, model: torch.nn.Module) -> Any:
    return manifest.flatten({name: tensor.numpy() for name, tensor in model.state_dict().items()})


def contribute(here: Running, manifest: Manifest, number: int, name: str, scale: float) -> None:
    """Train like a contributor, multiply what training changed by a scale, and hand it in."""

    def wanted() -> Any:
        return (found := here.api.current_round()) and found.round == number and found

    current = until(wanted, what=f"round {number}")
    header = RoundHeader.decode(current.header)
    state = State.from_bytes(here.api.files.read(current.base_state), manifest)
    model = TASK.model()
    weights = {key: torch.from_numpy(array.copy()) for key, array in state.model(manifest).items()}
    model.load_state_dict(weights)
    TASK.train(model, TASK.load(NAMES.index(name), len(NAMES), 7), {**TASK.training, "seed": number}, {})
    start = state.to_float32()
    end = start + scale * (flat(manifest, model) - start)
    account = factories.account(name)
    encoded = encode_update(
        start, end, header.exponents, manifest, header.seed, account.address, width=header.width
    )
    commitment = Commitment(
        account.address, number, header.base_state_root, encoded.root, encoded.sum_squares
    )
    domain = Domain(here.world.deployment.chain_id, here.world.deployment.ledger)
    wire = commitment_to_wire(commitment, commitment.sign(account, domain))
    here.api.submit_update(number, wire, encoded.data)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_poisoned_mean_is_withheld_and_an_honest_one_is_anchored(
    anvil: Anvil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "TIME_TRAVEL_RELEASE_SECONDS", 0.3)
    made = start_of(TASK)
    start = (made.genesis, made.manifest, made.state)
    world = federation(anvil, start, max_sum_squares=made.manifest.size * 127**2)
    create(tmp_path / "key.json", factories.PASSWORD, private_key=bytes(world.coordinator.key), work=2)
    (tmp_path / "password").write_text(factories.PASSWORD)
    with running(tmp_path / "home", world, start, canary=True) as here, (tmp_path / "told").open("w") as told:
        words = ["task", "evaluate", "--canary", "--task", "mnist", "--coordinator", here.api.url, "--json"]
        words += ["--keystore", str(tmp_path / "key.json"), "--password-file", str(tmp_path / "password")]
        evaluator = subprocess.Popen(
            [sys.executable, "-m", "folkmoot", *words],
            stdout=told,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            here.api.start_run(3, 3, world.coordinator, here.domain)
            for number, last_step in ((1, "settled"), (2, "settled"), (3, "cancelled"), (4, "settled")):
                for name in NAMES:
                    poisons = number == 3 and name == "cleo"
                    contribute(here, made.manifest, number, name, -20.0 if poisons else 1.0)

                def ended(wanted: str = last_step, number: int = number) -> bool:
                    return bool(here.api.get(f"/v1/rounds/{number}")["step"] == wanted)

                until(ended, 120, what=f"that round {number} is {last_step}")
            run = here.api.run()
            assert run is not None
            assert (run.completed, run.error) == (3, None)
            poisoned, after = (here.api.get(f"/v1/rounds/{number}") for number in (3, 4))
            assert poisoned["weights"] == [1, 1, 1], "the rule saw nothing"
            assert poisoned["canary"]["verdict"] == "fell"
            assert any("accuracy" in finding for finding in poisoned["canary"]["findings"])
            assert (after["base"], after["canary"]["verdict"]) == (2, "passed")
            assert world.chain.ledger.head().round == 4
        finally:
            evaluator.terminate()
            evaluator.wait(10)
            world.chain.close()
    lines = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [(line["round"], line["fell"]) for line in lines] == [
        (1, False),
        (2, False),
        (3, True),
        (4, False),
    ]
    assert lines[2]["after"] < lines[2]["before"] - 0.05
    assert lines[3]["before"] == lines[1]["after"], (
        "the base of the next round is the one before the poisoned"
    )
