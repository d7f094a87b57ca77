# SPDX-License-Identifier: Apache-2.0
"""`folkmoot deploy`, killed at every step: called again, it goes on with the same contracts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from folkmoot.aggregation import policy_file
from folkmoot.chain.deploy import predicted_address
from folkmoot.devnet.anvil import Anvil
from folkmoot.ledger.deployment import CONTRACTS, Deployment
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from tests import factories
from tests.killed import Mortal, blocks

pytestmark = pytest.mark.long

DEPLOYER = factories.account("deployer")
POINTS = (
    "deploy.plan-written.before",
    "deploy.plan-written.after",
    "sender.note-written.before:3",
    "sender.note-written.after:5",
    "sender.sent",
    "sender.sent:12",
    "sender.mined:7",
    "deploy.plan-written.before:2",
    "deploy.plan-written.after:2",
    "deploy.file-written.before",
    "deploy.file-written.after",
    "deploy.plan-removed.before",
)


@pytest.fixture
def mortal(
    anvil: Anvil,
    keystore: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Mortal:
    """The deployer's commands."""
    manifest = Manifest.from_arrays("test", {"weight": np.zeros((3, 5), np.float32)}, {"steps": 1})
    state = State.genesis(manifest, {"weight": np.ones((3, 5), np.float32)})
    genesis = Genesis.of(manifest, state, (-10,))
    for name, data in [(genesis.manifest, manifest.to_json()), (genesis.state, state.to_bytes())]:
        (tmp_path / name[:2]).mkdir(exist_ok=True)
        (tmp_path / name[:2] / name).write_bytes(data)
    (tmp_path / "genesis.json").write_bytes(genesis.to_json())
    (tmp_path / "policy.json").write_text(json.dumps(policy_file.to_json(factories.policy())))
    anvil.fund(DEPLOYER.address)
    made = Mortal(tmp_path, capsys, monkeypatch)
    made.set(
        {
            "FOLKMOOT_RPC": anvil.url,
            "FOLKMOOT_PASSWORD": factories.PASSWORD,
            "FOLKMOOT_KEYSTORE": str(keystore("deployer")),
        }
    )
    return made


def words(home: Path, *more: str) -> list[str]:
    ada = factories.account("ada").address
    return [
        *("deploy", "--genesis", str(home / "genesis.json"), "--policy", str(home / "policy.json")),
        *("--appoint", ada, "--allocate", f"{ada}=1000", "--profile", "demo"),
        *("--out", str(home / "deployment.json"), *more),
    ]


def nonce_of(anvil: Anvil) -> int:
    return int(anvil.call("eth_getTransactionCount", DEPLOYER.address, "latest"), 16)


@pytest.mark.parametrize("point", POINTS)
def test_a_deployment_that_is_killed_anywhere_is_completed_with_the_same_contracts(
    anvil: Anvil, mortal: Mortal, tmp_path: Path, point: str
) -> None:
    before = nonce_of(anvil)
    mortal.kill(point, *words(tmp_path))
    created = nonce_of(anvil) - before
    done = mortal.call(*words(tmp_path))

    assert nonce_of(anvil) == before + len(CONTRACTS), f"{created} contracts were there"
    for place, role in enumerate(CONTRACTS):
        assert getattr(Deployment.load(tmp_path / "deployment.json"), role) == predicted_address(
            DEPLOYER.address, before + place
        )
    assert set(done["gasUsed"]) == set(CONTRACTS)
    first = anvil.call("eth_getBlockByNumber", hex(done["deployment"]["block"]), False)
    receipt = anvil.call("eth_getTransactionReceipt", first["transactions"][0])
    assert receipt["contractAddress"] == done["deployment"]["token"].lower()
    assert "what the deployer holds is no role" in done["verified"]
    assert not (tmp_path / "deployment.json.plan").exists()
    assert mortal.call(*words(tmp_path), fails=1)["error"]["code"] == "file-exists", "told once"


def test_a_deployment_that_is_killed_while_it_waits_for_confirmations_goes_on_waiting(
    anvil: Anvil, mortal: Mortal, tmp_path: Path
) -> None:
    before, deep = nonce_of(anvil), words(tmp_path, "--confirmations", "3")
    mortal.kill("sender.waiting", *deep)
    assert nonce_of(anvil) == before + len(CONTRACTS), "it waits once, at the end"
    anvil.call("anvil_reorg", 4, [])  # takes the newest four contracts
    anvil.call("anvil_dropAllTransactions")
    assert nonce_of(anvil) == before + len(CONTRACTS) - 4
    with blocks(anvil):
        mortal.call(*deep)
    assert nonce_of(anvil) == before + len(CONTRACTS)
    made = Deployment.load(tmp_path / "deployment.json")
    for place, role in enumerate(CONTRACTS):
        assert getattr(made, role) == predicted_address(DEPLOYER.address, before + place)
    assert not (tmp_path / "deployment.json.plan").exists()


def test_a_deployment_of_which_a_reorg_takes_the_end_is_completed(
    anvil: Anvil, mortal: Mortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, said = nonce_of(anvil), []

    def reorganise(text: str) -> None:
        said.append(text)
        if text.startswith("Waiting until"):
            anvil.call("anvil_reorg", 4, [])
            anvil.call("anvil_dropAllTransactions")

    monkeypatch.setattr("folkmoot.cli.deploy.note", reorganise)
    with blocks(anvil):
        mortal.call(*words(tmp_path, "--confirmations", "12"))
    assert sum(text.startswith("A reorg took") for text in said) >= 1
    assert nonce_of(anvil) == before + len(CONTRACTS)
    made = Deployment.load(tmp_path / "deployment.json")
    block = int(anvil.call("eth_blockNumber"), 16)
    for place, role in enumerate(CONTRACTS):
        address = predicted_address(DEPLOYER.address, before + place)
        assert getattr(made, role) == address
        assert len(anvil.call("eth_getCode", address, hex(block - 11))) > 2, "it is as deep as was asked"


def test_a_deployment_that_is_killed_after_its_last_word_was_done(mortal: Mortal, tmp_path: Path) -> None:
    said = mortal.kill("deploy.plan-removed.after", *words(tmp_path))
    assert json.loads(said)["deployment"] == Deployment.load(tmp_path / "deployment.json").to_json()
    assert not (tmp_path / "deployment.json.plan").exists()


def test_a_deployment_with_other_values_is_refused_until_the_old_one_is_left(
    anvil: Anvil, mortal: Mortal, tmp_path: Path
) -> None:
    before = nonce_of(anvil)
    mortal.kill("deploy.plan-written.after", *words(tmp_path))
    mortal.kill(
        "sender.mined:2", *words(tmp_path, "--quorum", "30")
    )  # nothing was sent: it may change its mind
    error = mortal.call(*words(tmp_path, "--quorum", "40"), fails=1)["error"]
    assert error["code"] == "other-deployment"
    assert "another governance was interrupted" in error["message"]
    assert "--afresh" in error["remedy"]
    assert nonce_of(anvil) == before + 2

    done = mortal.call(*words(tmp_path, "--quorum", "40", "--afresh"))
    assert done["governance"]["quorum_percent"] == 40
    assert done["deployment"]["token"] == predicted_address(DEPLOYER.address, before + 2)
    assert nonce_of(anvil) == before + 2 + len(CONTRACTS)


def test_a_deployer_that_did_something_else_in_between_starts_anew(
    anvil: Anvil, mortal: Mortal, tmp_path: Path
) -> None:
    mortal.kill("sender.mined:2", *words(tmp_path))
    before = nonce_of(anvil)
    fields: dict[str, Any] = {
        "to": DEPLOYER.address,
        "value": 0,
        "gas": 21_000,
        "gasPrice": 10**10,
        "chainId": 31337,
    }
    raw = DEPLOYER.sign_transaction({**fields, "nonce": before}).raw_transaction
    anvil.call("eth_sendRawTransaction", raw.to_0x_hex())
    assert mortal.call(*words(tmp_path), fails=1)["error"]["code"] == "deployment-disturbed"
    done = mortal.call(*words(tmp_path))
    assert done["deployment"]["token"] == predicted_address(DEPLOYER.address, before + 1)


def test_a_file_of_another_federation_is_not_taken_for_its_own(
    anvil: Anvil, mortal: Mortal, tmp_path: Path
) -> None:
    mortal.kill("deploy.file-written.before", *words(tmp_path))
    before = nonce_of(anvil)
    (tmp_path / "deployment.json").write_text("{}")
    assert mortal.call(*words(tmp_path), fails=1)["error"]["code"] == "file-exists"
    mortal.call(*words(tmp_path, "--force"))
    assert nonce_of(anvil) == before


def test_a_deployment_whose_notes_are_lost_is_completed_all_the_same(
    anvil: Anvil, mortal: Mortal, tmp_path: Path
) -> None:
    before = nonce_of(anvil)
    mortal.kill("sender.mined:3", *words(tmp_path))
    for note in (tmp_path / "deployment.json.plan").glob("*.json"):
        if note.name != "plan.json":
            note.unlink()
    done = mortal.call(*words(tmp_path))
    assert set(done["gasUsed"]) == set(CONTRACTS[3:])
    assert nonce_of(anvil) == before + len(CONTRACTS)


def test_a_damaged_plan_is_told(mortal: Mortal, tmp_path: Path) -> None:
    (tmp_path / "deployment.json.plan").mkdir()
    (tmp_path / "deployment.json.plan" / "plan.json").write_text("[]")
    assert mortal.call(*words(tmp_path), fails=1)["error"]["code"] == "plan-damaged"
    mortal.call(*words(tmp_path, "--afresh"))


def test_a_coordinators_folder_is_made_once(mortal: Mortal, tmp_path: Path) -> None:
    mortal.call(*words(tmp_path))
    making = (
        *("coordinator", "init", "--home", str(tmp_path / "home"), "--genesis", str(tmp_path)),
        *(
            "--deployment",
            str(tmp_path / "deployment.json"),
            "--keystore",
            str(tmp_path / "keys/deployer.json"),
        ),
    )
    mortal.kill("operator.settings-written.before", *making)
    mortal.kill("operator.settings-written.after", *making)
    assert mortal.call(*making, fails=1)["error"]["code"] == "coordinator-exists"
    assert mortal.call("coordinator", "rebuild", "files", "--home", str(tmp_path / "home"))
