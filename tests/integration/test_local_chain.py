# SPDX-License-Identifier: Apache-2.0
"""`folkmoot chain --fund` and `--advance` work on a local chain, and on no other."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from folkmoot.cli.main import run
from folkmoot.devnet.anvil import KEPT_STATES, Anvil, anvil_command
from folkmoot.errors import RpcError
from folkmoot.rpc.client import Rpc
from folkmoot.rpc.local_chain import FUNDS
from folkmoot.runtime.commands import folkmoot_command
from folkmoot.runtime.processes import free_port, spawn
from tests.factories import account


def test_an_account_gets_money_for_gas(anvil: Anvil) -> None:
    who = account("newcomer").address
    assert run(["chain", "--fund", who, "--rpc", anvil.url, "--json"]) == 0
    assert int(anvil.call("eth_getBalance", who, "latest"), 16) == FUNDS


@pytest.mark.parametrize("words", [("--fund", account("newcomer").address), ("--advance", "10")])
def test_a_real_chain_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    other = spawn("other", anvil_command(port, chain_id=10), tmp_path / "anvil.log")
    try:
        end = time.monotonic() + 30
        while True:
            try:
                with Rpc(url) as rpc:
                    rpc.chain_id()
                break
            except RpcError:
                assert time.monotonic() < end
                time.sleep(0.05)
        assert run(["chain", *words, "--rpc", url, "--json"]) == 1
    finally:
        other.stop()
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "not-a-local-chain"
    assert "10 is not a local chain" in error["message"]


def test_a_chain_that_is_started_again_never_goes_back_in_time(tmp_path: Path) -> None:
    def newest(anvil: Anvil) -> int:
        return int(anvil.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    state = tmp_path / "chain.json"
    with Anvil(state=state) as anvil:
        anvil.call("evm_increaseTime", 5000)
        anvil.call("evm_mine")
        before = newest(anvil)
    assert before > time.time() + 4000
    with Anvil(state=state) as anvil:
        anvil.call("evm_mine")
        assert before < newest(anvil) < before + 60


def test_a_chain_leaves_nothing_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # Anvil keeps states in ~/.foundry
    with Anvil() as anvil:
        for _ in range(600):  # it begins after 500
            anvil.call("evm_mine")
        assert int(anvil.call("eth_getBalance", account("ada").address, hex(600 - KEPT_STATES)), 16) == 0
        with pytest.raises(RpcError, match="BlockOutOfRange"):
            anvil.call("eth_getBalance", account("ada").address, hex(600 - KEPT_STATES - 1))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("words", [[], ["--verbose"]])
def test_a_chain_is_quiet_unless_one_asks(tmp_path: Path, words: list[str]) -> None:
    port = free_port()
    command = folkmoot_command("chain", "--port", str(port), "--block-time", "0.1", *words)
    chain = spawn("chain", command, tmp_path / "chain.log")
    try:
        with Rpc(f"http://127.0.0.1:{port}") as rpc:
            end = time.monotonic() + 60
            while _height(rpc) < 5:
                assert time.monotonic() < end
                time.sleep(0.1)
    finally:
        chain.stop()
    lines = chain.log.read_text().splitlines()
    assert lines[0] == f"Local chain 31337 at http://127.0.0.1:{port}. Ctrl-C ends it."
    assert (len(lines) == 1) is not bool(words)


def _height(rpc: Rpc) -> int:
    try:
        return int(rpc.call("eth_blockNumber"), 16)
    except RpcError:
        return -1
