# SPDX-License-Identifier: Apache-2.0
"""The signer agent signs one commitment a round for one ledger, over restarts, and nothing else.

On a scripted chain. What it refuses on a real one is in tests/integration/test_signer.py.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.signer import agent as signer_module
from client.signer.agent import SignerAgent
from client.signer.checks import SigningRules
from client.signer.keys import LocalKey
from client.signer.record import OLD_FILE, RECORD_FILE, RecordFolder
from folkmoot.errors import LocalError
from folkmoot.flower.signing import AgentSigner, LocalSigner, SignerError, account_of_agent, draft_key_of
from folkmoot.ledger.deployment import Deployment
from folkmoot.protocol.commitment import Commitment, Domain
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.merkle import update_tree
from tests.unit.flower.world import World, account

MODEL = {"weight": np.linspace(-1, 1, 700, dtype=np.float32).reshape(7, 100)}
MANIFEST = Manifest.from_arrays("scripted", MODEL, {"local_steps": 1, "learning_rate": 0.1})
ADA = account("ada")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(MANIFEST, dict(MODEL)) as running:
        yield running


def update(seed: int = 1) -> bytes:
    """Return an update file whose padding is right."""
    data = np.full(MANIFEST.size, 128, np.uint8)
    data[:700] = np.random.default_rng(seed).integers(64, 193, 700)
    return data.tobytes()


def committed(world: World, data: bytes, **changes: Any) -> Commitment:
    tree = update_tree(np.frombuffer(data, np.uint8))
    base = world.rounds[-1].header.base_state_root
    true = Commitment(ADA.address, world.rounds[-1].number, base, tree.root, tree.sum_squares)
    return replace(true, **changes)


Start = Callable[..., SignerAgent]


@pytest.fixture
def start(world: World, tmp_path: Path) -> Start:
    """Make an agent of Ada's in this test's folder."""

    def make(home: Path = tmp_path, **options: Any) -> SignerAgent:
        rules = SigningRules(Deployment.from_json(world.deployment), MANIFEST)
        key = LocalKey(options.pop("account", ADA))
        return SignerAgent(key, rules, world.url, home / "signer.sock", home / "signer", **options)

    return make


@pytest.fixture
def agent(start: Start) -> Iterator[SignerAgent]:
    with start() as running:
        yield running


def sign(
    agent: SignerAgent, world: World, data: bytes, domain: Domain | None = None, **changes: Any
) -> bytes:
    commitment = committed(world, data, **changes)
    return AgentSigner(agent.path, ADA.address).sign(commitment, domain or world.domain, data)


def test_it_signs_a_commitment_and_the_same_one_again(agent: SignerAgent, world: World) -> None:
    signature = sign(agent, world, update())
    committed(world, update()).check_signature(signature, world.domain)
    assert sign(agent, world, update()) == signature


def test_the_key_of_drafts_is_the_same_after_a_restart_and_not_another_accounts(start: Start) -> None:
    keys = []
    for _ in range(2):
        with start() as agent:
            keys.append(AgentSigner(agent.path, ADA.address).draft_key())
    assert keys == [draft_key_of(ADA)] * 2
    assert keys[0] != draft_key_of(account("ben"))


def test_a_second_commitment_of_a_round_is_refused_after_a_restart_too(start: Start, world: World) -> None:
    for _ in range(2):
        with start() as agent:
            sign(agent, world, update())
            with pytest.raises(SignerError, match="Another commitment of round 1") as refused:
                sign(agent, world, update(2))
            assert refused.value.code == "already-signed"


@pytest.mark.parametrize("domain", [Domain(1, "0x" + "a1" * 20), Domain(31337, "0x" + "b2" * 20)])
def test_another_ledger_is_refused(agent: SignerAgent, world: World, domain: Domain) -> None:
    with pytest.raises(SignerError, match="and no other") as refused:
        sign(agent, world, update(), domain)
    assert refused.value.code == "wrong-ledger"


def test_another_account_is_refused(agent: SignerAgent, world: World) -> None:
    with pytest.raises(SignerError) as refused:
        sign(agent, world, update(), contributor="0x" + "11" * 20)
    assert refused.value.code == "wrong-account"


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
        ({"size": "768"}, "malformed-request"),
        ({"size": None}, "malformed-request"),
        ({"size": 10**12}, "wrong-size"),
        ({"size": -1}, "wrong-size"),
    ],
)
def test_anything_but_a_commitment_is_refused(
    agent: SignerAgent, world: World, change: dict[str, Any], code: str
) -> None:
    request = json.loads(wanted(world, update()))
    assert ask(agent, json.dumps(request).encode()) == {"send": MANIFEST.size}
    assert ask(agent, json.dumps({**request, **change}).encode())["code"] == code
    del request["size"]
    assert ask(agent, json.dumps(request).encode())["code"] == "malformed-request"


@pytest.mark.parametrize("request_", [b"", b"no json", b"[]", b'"x"', b"{}", b"[" * 5000])
def test_nonsense_is_answered_and_does_not_end_it(agent: SignerAgent, world: World, request_: bytes) -> None:
    assert ask(agent, request_)["code"] == "malformed-request"
    sign(agent, world, update())


def test_it_says_for_whom_it_signs(agent: SignerAgent, world: World, tmp_path: Path) -> None:
    assert account_of_agent(agent.path) == (ADA.address, world.domain)
    with pytest.raises(SignerError, match="can't be reached"):
        account_of_agent(tmp_path / "nothing.sock")


def test_a_program_that_is_no_agent(tmp_path: Path) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen(1)

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b'{"account": 7, "chainId": 1, "ledger": "x"}\n')

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(SignerError, match="is not a signer agent of this release"):
            account_of_agent(path)
        thread.join()


def test_the_socket_is_for_its_owner_only_and_goes_with_the_agent(start: Start, world: World) -> None:
    with start() as agent:
        mode = agent.path.resolve().stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
    assert not agent.path.exists()
    with pytest.raises(SignerError, match="can't be reached"):
        sign(agent, world, update())


def test_a_group_may_be_let_in(start: Start) -> None:
    import grp
    import os

    own = grp.getgrgid(os.getgid()).gr_name
    with start(mode=0o660, group=own) as agent:
        assert stat.S_IMODE(agent.path.stat().st_mode) == 0o660
        assert agent.path.stat().st_gid == os.getgid()
    with pytest.raises(LocalError, match="there is no group nobody-has-this"):
        start(group="nobody-has-this").__enter__()


def test_a_long_path_works_too(start: Start, world: World, tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)
    home.mkdir()
    with start(home) as agent:
        assert agent.path.is_symlink()
        sign(agent, world, update())
    assert not agent.path.is_symlink()


def test_two_agents_with_one_record(agent: SignerAgent, start: Start) -> None:
    with pytest.raises(LocalError, match="Another node or signer uses the folder") as refused:
        start().__enter__()
    assert refused.value.code == "home-in-use"


def test_an_agent_ends_although_somebody_sends_half_an_update(start: Start, world: World) -> None:
    with start() as agent, connected(agent, wanted(world, update()) + b"\n") as connection:
        assert json.loads(connection.recv(4096)) == {"send": MANIFEST.size}
        connection.sendall(update()[:300])
    assert not agent.path.exists()


def connected(agent: SignerAgent, said: bytes = b"") -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(30)
    connection.connect(str(agent.path.resolve()))
    connection.sendall(said)
    return connection


def wanted(world: World, data: bytes) -> bytes:
    return json.dumps(
        {
            "type": "Commitment",
            "chainId": 31337,
            "ledger": world.domain.verifying_contract,
            "commitment": committed(world, data).to_json(),
            "size": MANIFEST.size,
        }
    ).encode()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("said", [b"", b"{", "half an update"])
@pytest.mark.parametrize("of_process", [True, False])
def test_silent_clients_do_not_keep_an_honest_one_waiting(
    agent: SignerAgent, world: World, monkeypatch: pytest.MonkeyPatch, said: Any, of_process: bool
) -> None:
    """However long each may be silent. The limits are what one process and what all may hold."""
    monkeypatch.setattr(signer_module, "REQUEST_SECONDS", 1000.0)
    monkeypatch.setattr(signer_module, "CLIENTS_OF_PROCESS" if of_process else "CLIENTS", 4)
    line = said if isinstance(said, bytes) else wanted(world, update()) + b"\n"
    with contextlib.ExitStack() as stack:
        silent = []
        for _ in range(7):
            silent.append(stack.enter_context(connected(agent, line)))
            if line.endswith(b"\n"):
                assert json.loads(silent[-1].recv(4096)) == {"send": MANIFEST.size}
        sign(agent, world, update(0))
        for seed in range(1, 3):
            with pytest.raises(SignerError, match="was signed already"):
                sign(agent, world, update(seed))
        assert len(agent._clients) <= 4
        gone = [connection.recv(4096) for connection in silent[:3]]
        assert not any(b"signature" in answer for answer in gone)


def test_a_request_is_refused_when_no_place_is_silent(
    agent: SignerAgent, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signer_module, "CLIENTS", 2)
    with agent._lock, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(connected(agent, wanted(world, update()) + b"\n"))
        while sum(not client.silent for client in agent._clients) < 2:
            select.select([], [], [], 0.01)
        with pytest.raises(SignerError, match="serves 2 requests already") as refused:
            AgentSigner(agent.path, ADA.address).draft_key()
    assert refused.value.code == "signer-busy"
    while agent._clients:
        select.select([], [], [], 0.01)
    sign(agent, world, update())


def test_of_two_updates_at_once_one_is_signed(agent: SignerAgent, world: World) -> None:
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(connected(agent, wanted(world, update(n)) + b"\n")) for n in (1, 2)]
        readers = [stack.enter_context(connection.makefile()) for connection in both]
        assert [json.loads(reader.readline()) for reader in readers] == [{"send": MANIFEST.size}] * 2
        for number, connection in enumerate(both, 1):
            connection.sendall(update(number))
        answers = [json.loads(reader.readline()) for reader in readers]
    assert sorted(answer.get("code", "signed") for answer in answers) == ["already-signed", "signed"]


def test_what_was_signed_is_said_before_training(agent: SignerAgent, world: World) -> None:
    signer = AgentSigner(agent.path, ADA.address)
    signer.check_unsigned(committed(world, update()), world.domain)
    sign(agent, world, update())
    with pytest.raises(SignerError) as refused:
        signer.check_unsigned(committed(world, update(2)), world.domain)
    assert refused.value.code == "already-signed"


def test_a_record_of_an_earlier_release_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / OLD_FILE).write_text("{}\n")
    with pytest.raises(SignerError) as refused:
        start().__enter__()
    assert refused.value.code == "record-old-format"
    assert not (tmp_path / "signer" / RECORD_FILE).exists()


def test_a_record_that_others_can_write_to_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "signer").mkdir()
    (tmp_path / "signer").chmod(0o770)
    with pytest.raises(SignerError) as refused:
        start().__enter__()
    assert refused.value.code == "record-writable"


def test_a_record_that_cant_be_written_permits_no_signature(
    agent: SignerAgent, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("client.signer.record.write_whole", full)
        with pytest.raises(SignerError, match="No space left") as refused:
            sign(agent, world, update())
        assert refused.value.code == "record-unusable"
    sign(agent, world, update())


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "signer").write_text("")
    with pytest.raises(LocalError) as refused:
        RecordFolder(tmp_path / "signer", ADA.address).__enter__()
    assert refused.value.code == "record-unusable"


def test_a_local_signer_signs_once_a_round(world: World) -> None:
    signer, commitment = LocalSigner(ADA), committed(world, update())
    commitment.check_signature(signer.sign(commitment, world.domain, update()), world.domain)
    with pytest.raises(SignerError, match="Another commitment"):
        signer.sign(committed(world, update(2)), world.domain, update(2))


def test_a_file_at_the_sockets_path_is_not_removed(start: Start, tmp_path: Path) -> None:
    precious = tmp_path / "signer.sock"
    precious.write_text("precious")
    with pytest.raises(LocalError, match="is not a socket") as refused, start():
        pass
    assert refused.value.code == "signer-socket"
    assert precious.read_text() == "precious"
