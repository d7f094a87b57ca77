# SPDX-License-Identifier: Apache-2.0
"""What `folkmoot run --simulation` needs, and how its parts are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

from folkmoot.devnet import flower_simulation as simulation
from folkmoot.devnet.cli import run
from folkmoot.devnet.federation import Plan
from folkmoot.errors import InputError
from folkmoot.runtime.superlink import SuperLink
from server.relay import flower_run


def test_without_ray_it_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "find_spec", lambda name: None if name == "ray" else util.find_spec(name))
    home = tmp_path / "home"
    with pytest.raises(InputError, match="needs Ray") as refused:
        run(tmp_path, simulation=True, home=home)
    assert refused.value.code == "extra-missing"
    assert "pip install 'folkmoot[simulation]'" in refused.value.remedy
    assert not home.exists()


def test_simulated_nodes_take_no_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "find_spec", lambda _: object())
    simulation.check_simulation(None)
    with pytest.raises(InputError, match="--node-config") as refused:
        simulation.check_simulation(["notes='/data'"])
    assert "--run-config" in refused.value.remedy


def test_nodes_sign_when_all_their_sockets_are_there(tmp_path: Path) -> None:
    plan = Plan(tmp_path, contributors=2, simulation=True)
    for name in plan.names():
        assert not simulation.signs(plan)
        plan.node_home(name).mkdir(parents=True)
        (plan.node_home(name) / "signer.sock").touch()
    assert simulation.signs(plan)


def test_simulated_nodes_are_made_by_the_run_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`flwr` is a script that keeps its words and starts run 7."""
    words = tmp_path / "words"
    program = tmp_path / "flwr"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nopen({str(words)!r}, 'a').write('\\n'.join(sys.argv[1:]) + '\\n')\n"
        "print('Successfully started run 7', '\"status\": \"finished:completed\"')\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(flower_run, "_program", lambda _: str(program))
    link = SuperLink("127.0.0.1:1", simulated=3)
    assert flower_run.online_nodes(link) is None
    assert not words.exists()
    assert flower_run.run(link, {}, app=tmp_path).completed
    assert "--federation-config\nnum-supernodes=3 client-resources-num-cpus=1\n" in words.read_text()
    words.unlink()
    assert flower_run.run(SuperLink("127.0.0.1:1"), {}, app=tmp_path).completed
    assert "--federation-config" not in words.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_outlives_the_superlink_is_ended_and_nothing_else(tmp_path: Path) -> None:
    """Engines in sessions of their own that take no polite signal, and one of another federation."""
    plan, other = (Plan(tmp_path / name, simulation=True) for name in ("one", "one-more"))
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); "
    engines = [
        subprocess.Popen(
            [sys.executable, "-c", f"{stubborn} time.sleep(60)"],
            env={**os.environ, **simulation.superlink_environment(owner)},
            start_new_session=True,
            stdout=subprocess.PIPE,
        )
        for owner in (plan, plan, other)
    ]
    try:
        for engine in engines:
            assert engine.stdout is not None
            engine.stdout.readline()
        assert sorted(simulation.end_strays(plan)) == sorted(engine.pid for engine in engines[:2])
        assert [engine.wait(10) for engine in engines[:2]] == [-signal.SIGKILL] * 2
        assert engines[2].poll() is None
        assert simulation.end_strays(plan) == []
    finally:
        for engine in engines:
            engine.kill()
            engine.wait()
            assert engine.stdout is not None
            engine.stdout.close()


def test_the_signers_are_no_command_of_the_help() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "folkmoot", "--help"], capture_output=True, text=True, check=True
    )
    assert "signers" not in said.stdout
