# SPDX-License-Identifier: Apache-2.0
"""What stays on the disk, and what rebuilding a state takes: ``python -m benchmarks.growth.states``.

    python -m benchmarks.growth.states [--rounds 40] [--parameters 1000000] [--rebuilt 10000000] [--folder FOLDER]

Rounds of synthetic updates are played on the real contracts by the library, which keeps every file. A mirror copies
each as it comes. Afterwards another mirror copies all of them, and a coordinator is restored from them; both leave out
what may be deleted by rule. The state of 7 rounds after another is rebuilt in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.growth.federation import account
from benchmarks.growth.history import Played, played
from benchmarks.growth.usage import Process
from benchmarks.watching import Folder
from benchmarks.worlds import SEED, manifest_of
from folkmoot.artifacts.inventory import Commitments
from folkmoot.artifacts.mirror import MirrorFolder, Mirroring
from folkmoot.artifacts.sources import FolderSource
from folkmoot.artifacts.states import RebuildingSource
from folkmoot.ledger.follower import REORG_DEPTH
from folkmoot.protocol import acceleration
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.hashing import sha256_hex
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.verdict import Artifacts
from folkmoot.round import step_leaves
from folkmoot.rpc.client import Rpc
from server.restore.restore import restore
from server.settings import Settings

UPDATES = 2
"""Updates of a round."""
STEPS = 7
"""Rounds over which a state is rebuilt: the most, where no round is void."""
POLICY = Policy("mean", (), 1 << 40, 1, 100, 8, 716, 922, 60, 60, 60, 0, 0, 0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth.states", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--parameters", type=int, default=1_000_000, help="of the model of these rounds")
    parser.add_argument("--rebuilt", type=int, default=10_000_000, help="parameters of the rebuilt state")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if left out")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.only is not None:
        _rebuild(wanted.only)
        return
    with tempfile.TemporaryDirectory(dir=wanted.folder) as place:
        _measure_rebuilding(Path(place), wanted.rebuilt)
        with played(Path(place), wanted.parameters, UPDATES, "mean") as world:
            _follow(world, Path(place), wanted.rounds)
            world.anvil.call("anvil_mine", hex(REORG_DEPTH + 1))
            _report(world, Path(place))


def _follow(world: Played, place: Path, rounds: int) -> None:
    """Play rounds, mirror each as it comes, and print what the mirror fetched and what it took."""
    own, fetched, made, seconds = Process(os.getpid()), 0, 0, 0.0
    with Rpc(world.anvil.url) as rpc:
        commitments = Commitments(rpc, world.chain.deployment)
        mirroring = Mirroring(commitments, MirrorFolder(place / "followed"), FolderSource(world.folder.path))
        for _ in mirroring.step():
            pass
        while world.head < rounds:
            world.play(UPDATES)
            seconds -= own.seconds()
            for _, done in mirroring.step():
                fetched, made = fetched + done.bytes, made + done.made
            seconds += own.seconds()
    print(
        f"{world.manifest.elements:,} parameters: a mirror that followed {rounds} rounds of {UPDATES} updates fetched "
        f"{fetched / rounds:,.0f} bytes a round, made {made} states, {seconds / rounds:.2f} s of the processor a round"
    )


def _report(world: Played, place: Path) -> None:
    """Print what the library, a mirror and a coordinator have on the disk."""
    deployment, source = world.chain.deployment, FolderSource(world.folder.path)
    with Rpc(world.anvil.url) as rpc:
        for _ in Mirroring(Commitments(rpc, deployment), MirrorFolder(place / "copy"), source).step():
            pass
    home = place / "home"
    home.mkdir()
    deployment.save(home / "deployment.json")
    settings = Settings(
        home=home, keystore=Path("key.json"), password_file=Path("password"), rpc_url=world.anvil.url
    )
    restore(settings, account("coordinator").address, source)
    print(f"{world.manifest.elements:,} parameters, {world.head} rounds of {UPDATES} updates")
    for name, folder in (
        ("every file", world.folder.path),
        ("mirror", place / "copy"),
        ("coordinator", settings.store_folder),
    ):
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        states = sizes.count(world.manifest.state_file_size)
        print(f"{name:12} {sum(sizes):14,} bytes, of which {states:3} states")


def _measure_rebuilding(place: Path, parameters: int) -> None:
    """Write a state and the means of some rounds, and rebuild the last state in a process of its own."""
    manifest, folder = manifest_of(parameters), Folder(place / "files")
    rng = np.random.default_rng(5)
    theta = rng.integers(-(1 << 26), 1 << 26, manifest.size)
    for first, tensor in zip(manifest.leaf_offsets, manifest.tensors, strict=False):
        theta[256 * first + tensor.elements : 256 * (first + tensor.leaves)] = 0
    state = State(theta, np.zeros_like(theta))
    name, listed = folder.put(state.to_bytes()), []
    exponents = tuple(-12 for _ in manifest.tensors)
    for number in range(1, STEPS + 1):
        mean = np.where(theta != 0, rng.integers(-20, 21, manifest.size) + 128, 128).astype(np.uint8)
        header = RoundHeader(number, manifest.hash, bytes(32), 1, 8, SEED, exponents)
        after_step = step_leaves(manifest, header, POLICY, state, mean.reshape(-1, LEAF), 0)
        state = State(after_step.theta, after_step.momentum)
        after = state.sha256()
        document = Artifacts(
            number, header.encoded, "0" * 64, name, (), folder.put(mean.tobytes()), after, "0" * 64, exponents
        )
        listed.append(folder.put(document.to_json()))
        name = after
    plan = place / "plan.json"
    plan.write_text(json.dumps({"manifest": folder.put(manifest.to_json()), "listed": listed, "state": name}))
    command = [sys.executable, "-m", "benchmarks.growth.states", "--only", str(place)]
    print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, end="")


def _rebuild(place: Path) -> None:
    plan, folder = json.loads((place / "plan.json").read_text()), place / "files"
    acceleration.load()
    manifest = Manifest.from_json(_read(folder, plan["manifest"]))
    own = Process(os.getpid())
    with RebuildingSource(FolderSource(folder)) as source:
        for name in plan["listed"]:
            source.learn(Artifacts.from_json(_read(folder, name)), POLICY, manifest)
        held, processor, clock = own.forget_peak(), own.seconds(), time.monotonic()
        path = source.fetch(plan["state"], manifest.state_file_size)
        clock, processor = time.monotonic() - clock, own.seconds() - processor
        peak = own.peak() - held
        right = sha256_hex(path.read_bytes()) == plan["state"]
    print(
        f"{manifest.elements:,} parameters, {STEPS} rounds rebuilt: {clock:.1f} s, {processor:.1f} s of the processor, "
        f"peak {peak:.0f} MiB beyond {held:.0f} MiB, right: {right}, load {os.getloadavg()[0]:.1f}"
    )


def _read(folder: Path, name: str) -> bytes:
    return (folder / name[:2] / name).read_bytes()


if __name__ == "__main__":
    main()
