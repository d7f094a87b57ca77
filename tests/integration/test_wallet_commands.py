# SPDX-License-Identifier: Apache-2.0
"""`join`, `signer run` and `submit` with `--wallet`: real Safes, a coordinator and the contracts on Anvil."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from client.node import node
from folkmoot.flower.signing import AgentSigner, account_of_agent
from folkmoot.flower.updates import KeptUpdate, keep_update
from folkmoot.protocol.commitment import Commitment
from folkmoot.runtime.commands import folkmoot_command
from folkmoot.runtime.superlink import SuperLink
from folkmoot.runtime.units import UNIT
from tests import contract_accounts as contracts
from tests import factories
from tests.integration.coordinator_world import Running, Signed, open_round, train

Folkmoot = Callable[..., dict[str, Any]]


def round_1(here: Running, account: str) -> tuple[Commitment, bytes, str]:
    """Open a round; return the commitment of a contract to an update, the update, and the hash of the header."""
    here.api.start_run(1, 5, here.world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    made = train(here.world, "ada", header, state)
    return replace(made.commitment, contributor=account), made.data, header.hash.hex()


def enrolled_safe(world: factories.Federation) -> str:
    safes = contracts.Safes(world.anvil)
    safe = safes.create(["ada", "ben", "cleo"], 2)
    safes.execute(safe, ["ada", "cleo"], *contracts.enrolling(world, safe))
    world.anvil.advance(1)
    return safe


def test_a_signer_with_two_owners_signs_and_submit_records_it(
    here: Running,
    world: factories.Federation,
    tmp_path: Path,
    keystore: Callable[[str], Path],
    password_file: Path,
    folkmoot: Folkmoot,
) -> None:
    safe = enrolled_safe(world)
    commitment, data, header_hash = round_1(here, safe)
    socket = tmp_path / "signer.sock"
    command = folkmoot_command(
        *("signer", "run", "--socket", socket, "--record", tmp_path / "record", "--json"),
        *("--wallet", safe, "--keystore", keystore("ada"), "--owner", keystore("ben")),
        *("--password-file", password_file, "--rpc", world.anvil.url, "--coordinator", here.api.url),
        *("--deployment", tmp_path / "deployment.json"),
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["account"] == safe
            assert account_of_agent(socket)[0] == safe
            signature = AgentSigner(socket, safe).sign(commitment, here.domain, data)
        finally:
            process.terminate()
            process.wait(20)
    signed = Signed(commitment, signature, data)
    home = tmp_path / "node"
    home.mkdir()
    keep_update(home, 1, KeptUpdate(header_hash, signed.wire, data))
    words = ("submit", "1", "--home", str(home), "--coordinator", here.api.url)
    assert folkmoot(*words, fails=1)["error"]["code"] == "unsigned-update", (
        "of a key that is not the account's"
    )
    assert folkmoot(*words, "--wallet", safe, "--on-chain", fails=1)["error"]["code"] == "invalid-input"
    done = folkmoot(*words, "--wallet", safe)
    assert done["delivered"] is True
    assert world.chain.ledger.has_committed(1, safe)
    forged = replace(signed, signature=signature[:-1] + b"\0")
    keep_update(home, 1, KeptUpdate(header_hash, forged.wire, data))
    assert folkmoot(*words, "--wallet", safe, fails=1)["error"]["code"] == "unsigned-update"


def test_join_checks_a_safe_and_signs_for_it(
    here: Running,
    world: factories.Federation,
    tmp_path: Path,
    keystore: Callable[[str], Path],
    folkmoot: Folkmoot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    safes = contracts.Safes(world.anvil)
    safe, other = safes.create(["ada", "ben", "cleo"], 2), safes.create(["cleo"], 1)
    words: tuple[str, ...] = (
        "join",
        "--coordinator",
        here.api.url,
        "--superlink",
        "127.0.0.1:9",
        "--task",
        "digits",
    )
    words += ("--home", str(tmp_path / "node"), "--without-sandbox")
    owners = ("--set", f"owner={keystore('ben')}")
    monkeypatch.setattr(SuperLink, "check", lambda _: None)
    monkeypatch.setattr(node, "check_task_apart", lambda *_: None)  # the tests' model is of no task

    def code(*more: str) -> str:
        error = folkmoot(*words, *more, fails=1)["error"]
        assert error["remedy"]
        return str(error["code"])

    assert code(*owners) == code("--wallet", safe, "--stake", "1") == "invalid-input"
    assert code("--wallet", safe, "--signer", "signer.sock") == "invalid-input"
    assert code("--wallet", "0x12") == "invalid-address"
    assert code("--wallet", safe) == "stake-too-low"
    contracts.enrolling(world, safe)
    refused = folkmoot(*words, "--wallet", safe, fails=1)["error"]
    assert refused["code"] == "not-enrolled"
    ((to, data),) = re.findall(r"call (0x\w{40}) with the data 0x(\w+),", refused["remedy"])
    safes.execute(safe, ["ben", "cleo"], to, bytes.fromhex(data))
    assert world.chain.ledger.enrolled(safe)
    assert world.chain.vault.members([safe])[safe].enrolled == 50 * UNIT
    world.anvil.advance(1)
    assert code("--wallet", safe) == "wallet-threshold"
    contracts.enrolling(world, other)
    assert code("--wallet", other, "--set", "no-enrol=true") == "wallet-threshold"
    assert code("--wallet", world["ben"].address) == "not-a-contract"
    commitment, update, _ = round_1(here, safe)

    def run_node(contributor: Any, agent: Any, *_: Any, **__: Any) -> None:
        assert contributor.account == safe
        with agent:
            signature = AgentSigner(contributor.socket, safe).sign(commitment, here.domain, update)
        here.api.submit_update(1, Signed(commitment, signature, update).wire, update)
        typer.echo("{}")

    monkeypatch.setattr(node, "run_node", run_node)
    folkmoot(*words, "--wallet", safe, *owners)
    assert here.api.get(f"/v1/rounds/1/updates/{safe}")["status"] == "received"
