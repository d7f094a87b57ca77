# SPDX-License-Identifier: Apache-2.0
"""The laboratory's node that attacks: its task does it by itself, and only its own signer lies for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folkmoot_lab.drills import attacker, tasks
from folkmoot_lab.drills.attacker import FalseNormRules, false_norm_delivered, join_options
from folkmoot_lab.drills.tasks import attacking, parse_attack

from client import app as client_app
from client.keeper import delivery
from client.signer import checks
from client.signer.agent import SignerAgent
from client.signer.checks import SigningRules
from client.signer.keys import LocalKey
from folkmoot.coordinator_api import commitment_from_wire
from folkmoot.errors import InputError
from folkmoot.flower import drafting, eager, records
from folkmoot.flower.contributor import Contributor
from folkmoot.flower.signing import AgentSigner, SignerError
from folkmoot.flower.updates import kept_update
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import update_tree
from folkmoot.tasks import load_task, optional
from folkmoot.tasks.training import call_train, train_once
from tests.unit.flower.grid import context
from tests.unit.flower.test_mod import reason, train_message
from tests.unit.flower.world import World, account

ADA = account("ada")


@pytest.mark.parametrize(
    ("text", "factor"), [("false-norm", 1), ("sign-flip", -1), ("sign-flip:3", -3), ("sign-flip:0.5", -0.5)]
)
def test_attacks_that_are_known(text: str, factor: float) -> None:
    assert parse_attack(text) == factor


@pytest.mark.parametrize(
    "text", ["", "flip", "sign-flip:x", "sign-flip:-1", "sign-flip:0", "sign-flip:nan", "sign-flip:inf"]
)
def test_attacks_that_are_not(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="no attack"):
        parse_attack(text)
    assert attacker.main([text, "--task", "digits", "--json"]) == 1
    assert f"There is no attack {text!r}." in json.loads(capsys.readouterr().out)["error"]["message"]


def test_the_program_takes_the_options_of_join(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoiled = ["--task", "folkmoot_lab.drills.tasks:sign-flip:2,5@my,own:task"]
    for given in (["--task", "my.own:task"], ["--task=my.own:task"]):
        assert join_options("sign-flip:2.5", ["--home", "x", *given, "--json"]) == [
            *("--home", "x", "--json"),
            *spoiled,
        ]
    assert attacker.main(["sign-flip", "--home", "x"]) == 1
    assert "The options name no task" in capsys.readouterr().err
    ran: list[list[str]] = []

    def join(words: list[str]) -> int:
        ran.append(words)
        return 7

    monkeypatch.setattr(attacker, "run", join)
    for module, name in ((checks, "SigningRules"), (delivery, "signed_commitment")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back after the test
    assert attacker.main(["sign-flip", "--task", "digits"]) == 7
    assert checks.SigningRules is SigningRules, "poison needs no other signer"
    assert attacker.main(["false-norm", "--task", "digits"]) == 7
    assert checks.SigningRules is FalseNormRules
    assert delivery.signed_commitment is false_norm_delivered
    assert ran == [
        ["join", "--task", f"folkmoot_lab.drills.tasks:{attack}@digits"]
        for attack in ("sign-flip", "false-norm")
    ]


@pytest.mark.parametrize("name", ["digits", "mnist", "text"])
def test_only_the_change_of_the_weights_differs(name: str) -> None:
    honest, hostile = load_task(name), load_task(attacking("sign-flip:2.5", name))
    assert (hostile.name, hostile.training) == (honest.name, honest.training)
    for optionally in ("examine", "root", "generate", "from_weights", "no_such"):
        assert (optional(hostile, optionally) is None) is (optional(honest, optionally) is None)
    settings = {**honest.training, "local_steps": 2, "seed": 7, "round": 1, "report": {}}
    results, memories = [], []
    for task in (honest, hostile):
        model, memory = task.model(), dict[str, Any]()
        before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
        call_train(task, model, task.load(0, 40, 0), settings, memory)
        results.append({key: value.numpy().copy() for key, value in model.state_dict().items()})
        memories.append({key: np.array(value).tolist() for key, value in memory.items()})
    after, spoiled = results
    assert memories[0] == memories[1]
    assert any((before[key] != after[key]).any() for key in before)
    for key, value in spoiled.items():
        expected = before[key] + np.float32(-2.5) * (after[key] - before[key])
        assert value.tobytes() == (expected if value.dtype.kind == "f" else after[key]).tobytes()


def test_integers_are_not_spoiled() -> None:
    counter = torch.tensor([3])
    assert tasks.spoil(torch.tensor([1]), counter, -2.0) is counter


def test_the_check_of_a_private_training_is_no_defence_against_hostile_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, changes = load_task(attacking("sign-flip:3", "digits-private")), dict[str, float]()
    model, data = task.model(), task.load(0, 40, 0)
    settings = {**task.training, "privacy": {**task.training["privacy"], "steps": 1}}

    def spoil(before: torch.Tensor, after: torch.Tensor, factor: float) -> torch.Tensor:
        changes[str(len(changes))] = float((after - before).norm())
        return before + factor * (after - before)

    monkeypatch.setattr(tasks, "spoil", spoil)
    start = [value.clone() for value in model.state_dict().values()]
    train_once(task, model, data, settings, {}, 1)
    moved = [float((a - b).norm()) for a, b in zip(model.state_dict().values(), start, strict=True)]
    assert moved == pytest.approx([3 * change for change in changes.values()], rel=1e-5)


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("encoded", "later"):  # The attacker replaces them in the process in which it trains.
        monkeypatch.setattr(drafting, name, getattr(drafting, name))
    task = load_task("digits")
    model = {name: value.numpy() for name, value in task.model().state_dict().items()}
    manifest = Manifest.from_arrays(task.name, model, {**task.training, "local_steps": 2})
    with World(manifest, model) as world:
        yield world


@pytest.mark.parametrize("rules", [SigningRules, FalseNormRules])
def test_only_a_signer_that_lies_signs_a_false_norm(
    digits: World,
    join: Callable[..., Contributor],
    rules: type[SigningRules],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contributor = join(digits, task=attacking("false-norm", "digits"), partitions=40)
    made = rules(Deployment.from_json(digits.deployment), digits.manifest)
    record = contributor.home / "signer"
    with SignerAgent(LocalKey(ADA), made, digits.url, contributor.socket, record):
        reply = client_app.app(train_message(digits), context(contributor))
    if rules is SigningRules:
        assert reason(reply).startswith("wrong-norm: ")
        return
    monkeypatch.setattr(eager, "_jobs", [])
    vars(drafting)["later"]("a training before the next round opens")
    assert not eager.waits(), "its update would be encoded where nobody lies"
    commitment, signature = commitment_from_wire(str(reply.content[records.COMMITMENT]["commitment"]))
    commitment.check_signature(signature, digits.domain)
    kept = kept_update(contributor.home, 1)
    assert kept is not None
    assert not digits.rounds[1].updates, "an honest keeper does not deliver it"
    assert false_norm_delivered(kept, 1, ADA.address, Deployment.from_json(digits.deployment), 8) == (
        commitment,
        signature,
    )
    tree = update_tree(np.frombuffer(kept.data, np.uint8))
    assert (commitment.update_root, commitment.sum_squares) == (tree.root, tree.sum_squares // 4)
    assert commitment.sum_squares


def test_the_signer_that_lies_signs_no_other_root(digits: World, tmp_path: Path) -> None:
    rules = FalseNormRules(Deployment.from_json(digits.deployment), digits.manifest)
    data = np.full(digits.manifest.size, 128, np.uint8)
    data[:100] = 140
    root, base = update_tree(data).root, digits.rounds[-1].header.base_state_root
    true = Commitment(ADA.address, 1, base, root, update_tree(data).sum_squares)
    with SignerAgent(LocalKey(ADA), rules, digits.url, tmp_path / "s.sock", tmp_path / "signer") as agent:
        signer = AgentSigner(agent.path, ADA.address)
        with pytest.raises(SignerError) as caught:
            signer.sign(replace(true, update_root=bytes(32)), digits.domain, data.tobytes())
        assert caught.value.code == "wrong-root"
        signer.sign(replace(true, sum_squares=1), digits.domain, data.tobytes())
