# SPDX-License-Identifier: Apache-2.0
"""Transactions of watchers through a private endpoint, with two real endpoints in front of one chain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from folkmoot.cli.main import run
from folkmoot.rpc.client import Phase
from folkmoot.runtime.processes import free_port
from tests import factories
from tests.integration import fraud_world as lies
from tests.integration.anchored import anchored_round
from tests.integration.audit_world import World
from tests.integration.fraud_world import CHALLENGER
from tests.rpc_proxy import Lie, RpcProxy, Trouble

NAMES = ["ada", "ben", "cleo"]
SEND = "eth_sendRawTransaction"


@pytest.fixture
def public(judged_world: World) -> Iterator[RpcProxy]:
    """The endpoint that is read."""
    with RpcProxy(judged_world.federation.anvil.url) as proxy:
        yield proxy


@pytest.fixture
def private(judged_world: World) -> Iterator[RpcProxy]:
    """The endpoint that is given transactions."""
    with RpcProxy(judged_world.federation.anvil.url) as proxy:
        yield proxy


@pytest.fixture
def words(
    judged_world: World,
    public: RpcProxy,
    tmp_path: Path,
    keystore: Callable[[str], Path],
    password_file: Path,
) -> list[str]:
    """Options of a command that sends as the challenger."""
    judged_world.federation.deployment.save(tmp_path / "deployment.json")
    return [
        *("--rpc", public.url, "--deployment", str(tmp_path / "deployment.json")),
        *("--keystore", str(keystore(CHALLENGER)), "--password-file", str(password_file)),
        *("--artifacts", str(judged_world.folder.path)),
    ]


def require_apart(public: RpcProxy, private: RpcProxy, transactions: int) -> None:
    """Check that the private endpoint got all transactions and nothing else but the question which chain it serves."""
    assert public.methods[SEND] == 0
    assert public.methods["eth_call"] > 0
    assert private.methods == {"eth_chainId": 1, SEND: transactions}


def test_a_challenge_is_sent_to_the_private_endpoint_only(
    judged_world: World, public: RpcProxy, private: RpcProxy, words: list[str]
) -> None:
    number = judged_world.play(NAMES, lies.lie_mean)
    assert run(["watch", "--round", str(number), *words, "--private-rpc", private.url, "--yes"]) == 0
    assert judged_world.federation.chain.ledger.round(number).phase == Phase.SLASHED
    require_apart(public, private, 1)


def test_a_watcher_sends_to_the_private_endpoint_only(
    judged_world: World,
    public: RpcProxy,
    private: RpcProxy,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = judged_world.play(NAMES, lies.lie_mean)
    monkeypatch.setenv("FOLKMOOT_PRIVATE_RPC", private.url)
    assert run(["watch", *words, "--state", str(tmp_path / "watch"), "--once"]) == 3
    assert judged_world.federation.chain.ledger.round(number).phase == Phase.SLASHED
    require_apart(public, private, 1)


def test_a_quorum_is_read_and_the_private_endpoint_sends(
    judged_world: World, public: RpcProxy, private: RpcProxy, words: list[str]
) -> None:
    number = judged_world.play(NAMES, lies.lie_mean)
    second = ["--rpc", judged_world.federation.anvil.url, "--private-rpc", private.url]
    assert run(["watch", "--round", str(number), *words, *second, "--yes"]) == 0
    assert judged_world.federation.chain.ledger.round(number).phase == Phase.SLASHED
    require_apart(public, private, 1)


def test_a_demand_is_sent_to_the_private_endpoint_only(
    federation: factories.Federation,
    deployment_file: Path,
    keystore: Callable[[str], Path],
    password_file: Path,
) -> None:
    number = anchored_round(federation)
    key = ("--keystore", str(keystore("newcomer")), "--password-file", str(password_file))
    asked = ["demand", str(number), "--what", "header", "--deployment", str(deployment_file), *key]
    with RpcProxy(federation.anvil.url) as public, RpcProxy(federation.anvil.url) as private:
        assert run([*asked, "--rpc", public.url, "--private-rpc", private.url, "--yes"]) == 0
        require_apart(public, private, 2)  # the permission for the deposit, and the demand


def test_every_transaction_is_sent_to_the_private_endpoint_of_the_environment(
    federation: factories.Federation,
    deployment_file: Path,
    keystore: Callable[[str], Path],
    password_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = ("--keystore", str(keystore("newcomer")), "--password-file", str(password_file))
    with RpcProxy(federation.anvil.url) as public, RpcProxy(federation.anvil.url) as private:
        monkeypatch.setenv("FOLKMOOT_PRIVATE_RPC", private.url)
        monkeypatch.setenv("FOLKMOOT_RPC", public.url)
        assert run(["enrol", "--only-stake", "7", "--deployment", str(deployment_file), *key]) == 0
        require_apart(public, private, 1)


def test_a_private_endpoint_that_fails_leaves_nothing_to_copy(
    judged_world: World,
    public: RpcProxy,
    private: RpcProxy,
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = judged_world.play(NAMES, lies.lie_mean)

    def code() -> str:
        status = run(
            ["watch", "--round", str(number), *words, "--private-rpc", private.url, "--yes", "--json"]
        )
        assert status == 1
        return str(json.loads(capsys.readouterr().out)["error"]["code"])

    private.refuse(SEND)
    assert code() == "private-rpc-failed"
    private.tell(Lie.CHAIN)
    assert code() == "wrong-private-rpc"
    private.tell()
    private.become(Trouble.AWAY)
    assert code() == "rpc-unreachable"
    assert public.methods[SEND] == 0
    assert judged_world.federation.chain.ledger.round(number).phase == Phase.ANCHORED
    private.become(Trouble.NONE)
    private.refuse()
    assert run(["watch", "--round", str(number), *words, "--private-rpc", private.url, "--yes"]) == 0
    assert judged_world.federation.chain.ledger.round(number).phase == Phase.SLASHED
    assert public.methods[SEND] == 0


def test_what_is_no_address_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "--round", "1", *words, "--private-rpc", f"127.0.0.1:{free_port()}", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "wrong-private-rpc"
