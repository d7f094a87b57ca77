# SPDX-License-Identifier: Apache-2.0
"""`folkmoot signer run` as a process of its own, with a coordinator on Anvil: killed, started again, used by `join`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from folkmoot.cli.main import run as folkmoot
from folkmoot.flower.signing import AgentSigner, SignerError
from folkmoot.runtime.commands import folkmoot_command
from folkmoot.runtime.fault_points import VARIABLE
from tests import factories
from tests.http_servers import Handler, serving
from tests.integration.coordinator_world import Running, open_round, train
from tests.unit.client.test_signer_keys import signature_of


@pytest.fixture
def signer_run(
    here: Running, world: factories.Federation, tmp_path: Path, keystore: Callable[[str], Path]
) -> Callable[..., Any]:
    """Run a signer for Ada while a block of code runs; its socket is in the test's folder, for a group."""
    world.deployment.save(tmp_path / "deployment.json")
    (tmp_path / "password").write_text(factories.PASSWORD + "\n")

    @contextmanager
    def run(*key: str, fault: str = "") -> Iterator[subprocess.Popen[str]]:
        of_file = ("--keystore", keystore("ada"), "--password-file", tmp_path / "password")
        command = folkmoot_command(
            *(
                "signer",
                "run",
                "--socket",
                tmp_path / "signer.sock",
                "--record",
                tmp_path / "record",
                "--json",
            ),
            *(key or of_file),
            *("--rpc", world.anvil.url, "--coordinator", here.api.url, "--socket-mode", "660"),
            *("--deployment", tmp_path / "deployment.json"),
        )
        environment = {**os.environ, **({VARIABLE: fault} if fault else {})}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            try:
                assert process.stdout is not None
                assert json.loads(process.stdout.readline())["account"] == world["ada"].address
                assert (tmp_path / "signer.sock").stat().st_mode & 0o777 == 0o660
                yield process
            finally:
                process.terminate()
                process.wait(20)

    return run


@pytest.mark.long
def test_a_signer_that_is_killed_before_its_signature_leaves_signs_no_second_commitment(
    here: Running, world: factories.Federation, tmp_path: Path, signer_run: Callable[..., Any]
) -> None:
    here.api.start_run(1, 1, world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    first, second = (train(world, "ada", header, state, seed=seed) for seed in (1, 2))
    signer = AgentSigner(tmp_path / "signer.sock", world["ada"].address)
    with signer_run(fault=f"node.remembered@{tmp_path / 'death'}") as process:
        with pytest.raises(SignerError) as refused:
            signer.sign(first.commitment, here.domain, first.data)
        assert refused.value.code == "signer-unreachable"
        assert process.wait(20) == -9
    with signer_run():
        with pytest.raises(SignerError) as refused:
            signer.sign(second.commitment, here.domain, second.data)
        assert refused.value.code == "already-signed"
        signature = signer.sign(first.commitment, here.domain, first.data)
        first.commitment.check_signature(signature, here.domain)
    assert not (tmp_path / "signer.sock").exists()


def test_the_key_may_be_in_a_remote_signer(
    here: Running, world: factories.Federation, tmp_path: Path, signer_run: Callable[..., Any]
) -> None:
    class Signing(Handler):
        def do_POST(self) -> None:
            asked = self.asked()
            self.answer({"jsonrpc": "2.0", "id": asked["id"], "result": signature_of(asked)})

    here.api.start_run(1, 1, world.coordinator, here.domain)
    _, header, state = open_round(here.api, 1)
    made = train(world, "ada", header, state)
    with serving(Signing) as url, signer_run("--remote-signer", url, "--account", world["ada"].address):
        signer = AgentSigner(tmp_path / "signer.sock", world["ada"].address)
        assert signer.sign(made.commitment, here.domain, made.data) == made.signature


@pytest.mark.parametrize(
    "words",
    [
        ["--remote-signer", "http://127.0.0.1:9"],
        ["--socket-mode", "666"],
        ["--socket-mode", "rw"],
        ["--bundle", "ab"],
        ["--bundle", "no hex"],
    ],
)
def test_options_that_fit_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["signer", "run", "--socket", "s.sock", "--coordinator", "http://127.0.0.1:9", "--json"]
    assert folkmoot([*command, *words]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "invalid-input"


def test_join_refuses_the_signer_of_another_federation_and_options_that_need_the_key(
    here: Running,
    world: factories.Federation,
    tmp_path: Path,
    signer_run: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = json.loads((tmp_path / "deployment.json").read_text())
    other["ledger"] = other["vault"]
    (tmp_path / "other.json").write_text(json.dumps(other))

    def join(*words: str) -> str:
        command = ["join", "--coordinator", here.api.url, "--superlink", "127.0.0.1:9", "--task", "digits"]
        assert folkmoot([*command, *words, "--rpc", world.anvil.url, "--json"]) == 1
        return str(json.loads(capsys.readouterr().out)["error"]["code"])

    with signer_run():
        socket = ("--signer", str(tmp_path / "signer.sock"))
        assert join(*socket, "--deployment", str(tmp_path / "other.json")) == "wrong-ledger"
        ours = ("--deployment", str(tmp_path / "deployment.json"))
        assert join(*socket, *ours, "--stake", "1") == "invalid-input"
        keys = tmp_path / "data" / "keys"
        keys.mkdir(parents=True)
        (keys / "other.json").write_text("{}")
        data = ("--data", str(keys.parent))
        assert join(*socket, *ours, *data, "--keystore", str(keys / "other.json")) == "home-in-data"
        monkeypatch.setattr("folkmoot.cli.options.keystore_folder", lambda: keys)
        assert join(*socket, *ours, *data) == "home-in-data"
        assert join(*socket, *ours, "--writable", str(Path.cwd())) == "writable-code"
        assert join(*socket, *ours, "--set", "limit-disk=0") == "bad-limit"
        assert join(*socket, *ours, "--set", "pass-env=FOLKMOOT_PASSWORD") == "secret-variable"
        with monkeypatch.context() as proxied:
            proxied.setenv("http_proxy", "http://proxy.example:3128")
            for name in ("no_proxy", "NO_PROXY"):
                proxied.setenv(name, "nowhere.example")
            assert join(*socket, *ours) == "rpc-behind-proxy"
        # All that comes after the account is known: the SuperLink is the next thing that is missing.
        assert join(*socket, *ours) not in ("invalid-input", "wrong-ledger", "keystore-missing")
    assert join(*socket, *ours) == "signer-unreachable"
