# SPDX-License-Identifier: Apache-2.0
"""The signer agent signs one commitment a round for one ledger, over restarts, and nothing else."""

from __future__ import annotations

import json
import socket
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from client.signer import MEMORY_FILE, SignerAgent
from folkmoot.errors import LocalError
from folkmoot.flower.signing import AgentSigner, LocalSigner, SignerError
from folkmoot.protocol.commitment import Commitment, Domain

ACCOUNT = Account.from_key(b"\x07" * 32)
DOMAIN = Domain(31337, "0x" + "a1" * 20)
COMMITMENT = Commitment(
    contributor=ACCOUNT.address,
    round=3,
    base_state_root=b"\x01" * 32,
    update_root=b"\x02" * 32,
    sum_squares=1000,
    num_examples=10,
)
OTHER = replace(COMMITMENT, update_root=b"\x03" * 32)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[SignerAgent]:
    with SignerAgent(ACCOUNT, DOMAIN, tmp_path) as running:
        yield running


@pytest.fixture
def signer(agent: SignerAgent) -> AgentSigner:
    return AgentSigner(agent.path, ACCOUNT.address)


def test_it_signs_a_commitment(signer: AgentSigner) -> None:
    COMMITMENT.check_signature(signer.sign(COMMITMENT, DOMAIN), DOMAIN)


def test_the_same_commitment_may_be_signed_again(signer: AgentSigner) -> None:
    assert signer.sign(COMMITMENT, DOMAIN) == signer.sign(COMMITMENT, DOMAIN)


def test_a_second_commitment_of_a_round_is_refused(signer: AgentSigner) -> None:
    signer.sign(COMMITMENT, DOMAIN)
    with pytest.raises(SignerError, match="Another commitment of round 3") as caught:
        signer.sign(OTHER, DOMAIN)
    assert caught.value.code == "already-signed"
    signer.sign(replace(OTHER, round=4), DOMAIN)


def test_a_restart_does_not_forget(tmp_path: Path) -> None:
    with SignerAgent(ACCOUNT, DOMAIN, tmp_path) as agent:
        AgentSigner(agent.path, ACCOUNT.address).sign(COMMITMENT, DOMAIN)
    with SignerAgent(ACCOUNT, DOMAIN, tmp_path) as agent:
        signer = AgentSigner(agent.path, ACCOUNT.address)
        signer.sign(COMMITMENT, DOMAIN)
        with pytest.raises(SignerError, match="Another commitment"):
            signer.sign(OTHER, DOMAIN)


def test_half_a_line_in_its_memory_is_cut_off(tmp_path: Path) -> None:
    with SignerAgent(ACCOUNT, DOMAIN, tmp_path) as agent:
        AgentSigner(agent.path, ACCOUNT.address).sign(COMMITMENT, DOMAIN)
    memory = tmp_path / MEMORY_FILE
    whole = memory.read_bytes()
    memory.write_bytes(whole + b'{"domain": "00')
    with SignerAgent(ACCOUNT, DOMAIN, tmp_path) as agent:
        with pytest.raises(SignerError, match="Another commitment"):
            AgentSigner(agent.path, ACCOUNT.address).sign(OTHER, DOMAIN)
        AgentSigner(agent.path, ACCOUNT.address).sign(replace(OTHER, round=9), DOMAIN)
    assert memory.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in memory.read_text().splitlines())


def test_a_damaged_memory_is_not_ignored(tmp_path: Path) -> None:
    (tmp_path / MEMORY_FILE).write_bytes(b"no json\n")
    with pytest.raises(LocalError, match="is damaged"):
        SignerAgent(ACCOUNT, DOMAIN, tmp_path).__enter__()


@pytest.mark.parametrize("domain", [Domain(1, DOMAIN.verifying_contract), Domain(31337, "0x" + "b2" * 20)])
def test_another_ledger_is_refused(signer: AgentSigner, domain: Domain) -> None:
    with pytest.raises(SignerError, match="and no other") as caught:
        signer.sign(COMMITMENT, domain)
    assert caught.value.code == "wrong-ledger"


def test_another_account_is_refused(signer: AgentSigner) -> None:
    with pytest.raises(SignerError) as caught:
        signer.sign(replace(COMMITMENT, contributor="0x" + "11" * 20), DOMAIN)
    assert caught.value.code == "wrong-account"


def ask(agent: SignerAgent, request: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(agent.path.resolve()))
        connection.sendall(request + b"\n")
        found: dict[str, Any] = json.loads(connection.makefile().readline())
        return found


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"type": "Permit"}, "wrong-type"),
        ({"type": None}, "wrong-type"),
        ({"commitment": {"round": 1}}, "malformed-request"),
        ({"commitment": None}, "malformed-request"),
        ({"commitment": {**COMMITMENT.to_json(), "round": "-1"}}, "malformed-request"),
        ({"commitment": {**COMMITMENT.to_json(), "extra": 1}}, "malformed-request"),
    ],
)
def test_anything_but_a_commitment_is_refused(agent: SignerAgent, change: dict[str, Any], code: str) -> None:
    request = {
        "type": "Commitment",
        "chainId": 31337,
        "ledger": DOMAIN.verifying_contract,
        "commitment": COMMITMENT.to_json(),
        **change,
    }
    assert ask(agent, json.dumps(request).encode())["code"] == code


@pytest.mark.parametrize("request_", [b"", b"no json", b"[]", b'"x"', b"{}", b"[" * 5000])
def test_nonsense_is_answered_and_does_not_end_it(agent: SignerAgent, request_: bytes) -> None:
    assert ask(agent, request_)["code"] == "malformed-request"
    assert "signature" in ask(
        agent,
        json.dumps(
            {
                "type": "Commitment",
                "chainId": 31337,
                "ledger": DOMAIN.verifying_contract.lower(),
                "commitment": COMMITMENT.to_json(),
            }
        ).encode(),
    )


def test_the_socket_is_for_its_owner_only_and_goes_with_the_agent(tmp_path: Path) -> None:
    with SignerAgent(ACCOUNT, DOMAIN, tmp_path) as agent:
        mode = agent.path.resolve().stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not agent.path.exists()
    with pytest.raises(SignerError, match="can't be reached"):
        AgentSigner(agent.path, ACCOUNT.address).sign(COMMITMENT, DOMAIN)


def test_a_long_path_works_too(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)
    home.mkdir()
    with SignerAgent(ACCOUNT, DOMAIN, home) as agent:
        assert agent.path.is_symlink()
        AgentSigner(agent.path, ACCOUNT.address).sign(COMMITMENT, DOMAIN)
    assert not agent.path.is_symlink()


def test_two_agents_in_one_folder(agent: SignerAgent, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="Another node uses the folder"):
        SignerAgent(ACCOUNT, DOMAIN, tmp_path).__enter__()


def test_a_local_signer_signs_once_a_round() -> None:
    signer = LocalSigner(ACCOUNT)
    COMMITMENT.check_signature(signer.sign(COMMITMENT, DOMAIN), DOMAIN)
    with pytest.raises(SignerError, match="Another commitment"):
        signer.sign(OTHER, DOMAIN)
