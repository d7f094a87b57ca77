# SPDX-License-Identifier: Apache-2.0
"""The comparison on slow lines in its small form: bytes on loopback sockets, and the tables that follow from them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from benchmarks.links import __main__ as program
from benchmarks.links import losses
from benchmarks.links.contributor import BEFORE, NOW, Played, Player
from benchmarks.links.counters import connection_bytes, since
from benchmarks.links.lines import Line as Rates
from benchmarks.links.lines import joined
from benchmarks.links.models import SIZES
from benchmarks.links.results import Results, Step, at_step, clock_table, loss_table, picture, traffic_table
from benchmarks.links.traffic import Exchange

from client.keeper.keeper import Keeper
from client.keeper.transfers import Transfers
from folkmoot.errors import InputError, LocalError
from folkmoot.flower.contributor import Contributor
from folkmoot.protocol.arrays import F32
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.manifest import Manifest, Tensor
from folkmoot.protocol.state import State
from folkmoot.runtime.processes import free_port
from folkmoot.tasks.text.gpt import Gpt
from folkmoot.tasks.text.task import TextTask
from tests import factories
from tests.integration import coordinator_world
from tests.integration.coordinator_world import Start, running
from tests.line import Line

FEW = 40_000
"""Bytes of headers, names and looks for the next round, at most."""
NAMES = ("ada", "ben")


def large() -> Start:
    """A model of 262,144 weights, so that a round's files weigh more than what is around them."""
    manifest = Manifest("links", (Tensor("weight", (512, 512)),))
    state = State.genesis(manifest, {"weight": np.zeros((512, 512), np.float32)})
    return Genesis.of(manifest, state, (-12,)), manifest, state


@pytest.fixture(scope="module")
def module_world(anvil_process: coordinator_world.Anvil) -> Iterator[factories.Federation]:
    made = coordinator_world.federation(anvil_process, large(), width=4, mean_scale=1)
    yield made
    made.chain.close()


def noise(start: F32, number: int) -> F32:
    """Train as no optimiser does: every coordinate changes by noise of one size, which codes worst."""
    return start - np.random.default_rng(number).normal(scale=2.0**-10, size=start.shape).astype(np.float32)


def play(player: Player, mode: str, found: list[Played]) -> None:
    player.base(mode)
    player.train()
    found.append(player.send())


@pytest.mark.long
def test_a_round_carries_at_most_half_a_byte_a_parameter_each_way_at_width_4(
    world: factories.Federation, tmp_path: Path
) -> None:
    genesis, manifest, _ = start = large()
    with ExitStack() as stack:
        here = stack.enter_context(running(tmp_path / "home", world, start))
        players, lines = [], []
        for name in NAMES:
            line = Line(int(urlsplit(here.api.url).port or 0))
            stack.callback(line.close)
            home = tmp_path / name
            home.mkdir()
            account = world[name]
            contributor = Contributor(
                home, world.anvil.url, line.url, world.deployment.to_json(), account.address, "links", 0, 1
            )
            stack.enter_context(Keeper(contributor, manifest, genesis, (), Transfers(bar=False)))
            players.append(stack.enter_context(Player(contributor, manifest, account, noise)))
            lines.append(line)
        here.api.start_run(3, len(NAMES), world.coordinator, here.domain)

        def played(mode: str) -> list[dict[str, int]]:
            before = [(line.down, line.up) for line in lines]
            found: list[Played] = []
            threads = [threading.Thread(target=play, args=(player, mode, found)) for player in players]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(found) == len(players), "a contributor failed"
            return [
                {"down": line.down - down, "up": line.up - up}
                for line, (down, up) in zip(lines, before, strict=True)
            ]

        size = manifest.size
        # Files are coded on the way, but not parts of files. The first state is nearly all zeros.
        for mode, least, most in ((NOW, 0, FEW), (NOW, size // 4, size // 2), (BEFORE, 8 * size, 8 * size)):
            for counted in played(mode):
                assert least <= counted["down"] <= most + FEW, mode
                assert size // 4 <= counted["up"] <= size // 2 + FEW, mode


@pytest.mark.long
def test_torch_carries_the_bytes_of_its_algorithms() -> None:
    """Of two workers. An all-reduce in float32 carries 4 bytes a parameter each way, FSDP gathers twice besides."""
    command = [sys.executable, "-m", "benchmarks.links.peers"]
    place = ["2", "127.0.0.1", str(free_port())]
    asked = "ddp tiny 1\ndiloco tiny 1\nfsdp tiny 1\n"
    with subprocess.Popen([*command, "1", *place], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        other.stdin.write(asked.encode())
        other.stdin.close()
        told = subprocess.run(
            [*command, "0", *place], input=asked, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    found = [json.loads(line) for line in told.splitlines()]
    weights = sum(weight.numel() for weight in Gpt(SIZES["tiny"]).parameters())
    for way in ("down", "up"):
        ddp, diloco, fsdp = (one[way] / weights for one in found)
        assert 4 <= ddp < 4.1
        assert 4 <= diloco < 4.1
        assert 6 <= fsdp < 8.2


def test_connections_count_what_they_carry() -> None:
    before = connection_bytes()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as near,
        server.accept()[0] as far,
    ):
        near.sendall(bytes(10_000))
        received = 0
        while received < 10_000:
            received += len(far.recv(10_000))
        assert since(before, connection_bytes()) == {"down": 10_000, "up": 10_000}


def test_lines_have_their_rate_and_delay() -> None:
    script = (
        "import socket, sys, time\n"
        "server = socket.create_server(('0.0.0.0', 5000)) if len(sys.argv) == 1 else None\n"
        "if server: print('ready', flush=True)\n"
        "link = server.accept()[0] if server else socket.create_connection((sys.argv[1], 5000))\n"
        "if server:\n    while link.recv(65536): pass\n    link.sendall(b'!')\n"
        "else:\n    link.sendall(bytes(250_000)); link.shutdown(1); link.recv(1)\n"
    )
    try:
        with joined(["one", "other"], 0.01) as network:
            one, other = network.parties["one"], network.parties["other"]
            network.shape("one", Rates(down=100, up=4))
            network.shape("other", Rates(down=100, up=100))
            server = subprocess.Popen(
                other.command([sys.executable, "-c", script]), stdout=subprocess.PIPE, text=True
            )
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            before, began = one.counted(), time.monotonic()
            subprocess.run(one.command([sys.executable, "-c", script, other.address]), check=True)
            seconds, counted = time.monotonic() - began, since(before, one.counted())
            server.communicate()
    except LocalError as error:
        if error.code != "no-namespaces":
            raise
        pytest.skip(str(error))
    assert seconds > 0.5, "250,000 bytes at 4 Mbit/s take half a second"
    assert 250_000 < counted["up"] < 300_000
    assert 0 < counted["down"] < 50_000


def test_without_namespaces_the_program_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["links", "--results", str(tmp_path), "lines", "--models", "tiny"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert "can't be made: the program unshare is missing" in str(ended.value.code)
    assert "unshare --map-root-user" in str(ended.value.code)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that is over soon."""
    monkeypatch.setattr(losses, "_WARM_STEPS", 2)
    monkeypatch.setattr(losses, "_WARM_PIECES", 4)
    whole = TextTask.held_out
    monkeypatch.setattr(
        TextTask, "held_out", lambda task: [(kind, row[:1000]) for kind, row in whole(task)[:1]]
    )
    losses._warm.cache_clear()


@pytest.mark.long
@pytest.mark.usefixtures("short")
def test_all_learn_from_the_same_start() -> None:
    try:
        curves = [
            losses.train(losses.Plan(way, 0, 1, 2, 2, rate=512, momentum=307))
            for way in ("diloco", "width 4", "width 2" + losses.FEEDBACK)
        ]
    finally:
        losses._warm.cache_clear()
    assert len({curve.losses[0] for curve in curves}) == 1
    for curve in curves:
        assert curve.refused == 0
        assert curve.losses[-1] < curve.losses[0]
    diloco, width4, width2 = (curve.losses[-1] for curve in curves)
    assert width4 == pytest.approx(diloco, rel=0.005)
    assert width2 == pytest.approx(diloco, rel=0.01)


def results(folder: Path) -> Results:
    made = Results(folder)
    made.add(Step("1M", 1536, 0.5))
    for way, size, seconds in (
        ("ddp", 6e6, 20.0),
        ("diloco", 6e6, 20.0),
        ("width 4", 5e5, 2.0),
        ("width 2", 4e5, 2.0),
    ):
        made.add(Exchange(way, "1M", 1_000_000, "20", size, size, seconds, seconds, 1, 0.1))
    for seed in range(2):
        made.add(losses.Curve(losses.Plan("ddp", seed, 20, 2), [6.0, 5.0, 4.0]))
        made.add(losses.Curve(losses.Plan("width 4", seed, 20, 2), [6.0, 5.5, 5.0 + seed / 10]))
        made.add(losses.Curve(losses.Plan("width 2" + losses.FEEDBACK, seed, 20, 2), [6.0, 5.5, 5.2]))
        made.add(losses.Curve(losses.Plan("width 4", seed, 20, 2, shuffled=True), [6.0, 5.2, 4.4]))
    return made


def test_the_tables_follow_from_the_measurements(tmp_path: Path) -> None:
    found = results(tmp_path)
    lines = traffic_table(found, "1M", 20, 0.5).splitlines()
    assert lines[2].endswith("| 6.00 | 6.00 | 2.4 | 20.0 | 20.0 | 20.50 | 1.0 | 1.0 | 1.0 | - | 41.0 | 0 |")
    # 12 MB a step against 1 MB in 20; 20.5 s against 0.5 + 2 / 20; on the line alone 2.9 against 0.5 + 0.4 / 20.
    assert lines[4].endswith(
        "| 0.50 | 0.50 | 0.4 | 2.0 | 2.0 | 0.60 | 240.0 | 34.2 | 5.6 | 41.0 | 41.0 | 0 |"
    )
    table = loss_table(found)
    assert (
        "| width 4 | its own | 1,536 | 20 | 40 | 1/0 | 5.0500 | 5.0000 to 5.1000 | +26.25 | - | 2 |" in table
    )
    assert "| width 4 | all | 1,536 | 20 | 40 | 1/0 | 4.4000 | 4.4000 to 4.4000 | +10.00 | - | 2 |" in table
    clock = clock_table(found, "1M", 0.5)
    assert "| 20 | width 4 | 1,536 | 24 | 40.0 | 5.050 | 2 |" in clock
    assert "| 20 | ddp | 1,536 | 24 | 1.2 | 5.941 | 2 |" in clock, "24 s are 1.2 steps of DDP"
    assert "| 20 | width 2 + feedback | 1,536 | 24 | 40.0 | 5.200 | 2 |" in clock
    assert b"width 4" in picture(found, "1M", 20)
    with pytest.raises(InputError, match="no exchanges of 10M"):
        picture(found, "10M", 20)


def test_losses_between_two_rounds_are_interpolated() -> None:
    curve = losses.Curve(losses.Plan("ddp", 0, 20, 2), [6.0, 5.0, 4.5])
    assert [at_step(curve, step) for step in (0, 10, 20, 30, 40, 99)] == [6.0, 5.5, 5.0, 4.75, 4.5, 4.5]


def test_the_program_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results(tmp_path)
    words = ["--results", str(tmp_path)]
    program.work(program.arguments([*words, "losses", "--seeds", "2", "--rounds", "2", "--ways", "ddp"]))
    assert len((tmp_path / "losses.jsonl").read_text().splitlines()) == 8, "both are there"
    program.work(program.arguments([*words, "table", "--plot", str(tmp_path)]))
    assert "fewer bytes than DDP" in capsys.readouterr().out
    assert (tmp_path / "links-1m.svg").read_bytes().startswith(b"<svg")
    (tmp_path / "losses.jsonl").write_text("{\n{\n")
    with pytest.raises(InputError, match="Line 1"):
        program.work(program.arguments([*words, "table"]))
    with pytest.raises(InputError, match="must be at least 1"):
        program.work(program.arguments([*words, "losses", "--seeds", "0"]))
