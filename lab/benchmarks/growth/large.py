# SPDX-License-Identifier: Apache-2.0
"""The memory that each part of a round takes with a large model: ``python -m benchmarks.growth large``.

    python -m benchmarks.growth large [--parameters 100000000] [--updates 3] [--rule clamped_mean] [--folder FOLDER]

A real coordinator takes one round up to its anchor. Before the round is final, other commands run on its files: audit,
watch, mirror, restore from the mirror, model download. Each command is a process of its own, and its peak of memory
includes the interpreter. The contributor's part, and the examination of two wrong anchors, run by the library.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord

from benchmarks import watching
from benchmarks.growth.federation import Federation, account, federation
from benchmarks.growth.history import cost_of
from benchmarks.growth.rounds import PATIENCE, await_step
from benchmarks.growth.usage import Process
from client.keeper.kept import KeptStates
from folkmoot.artifacts.sources import FolderSource
from folkmoot.artifacts.states import Recipe
from folkmoot.flower.records import ArraysOf
from folkmoot.flower.updates import DraftUpdate, draft_update
from folkmoot.fraud.proofs.case import Case
from folkmoot.fraud.proofs.examine import examine
from folkmoot.fraud.proofs.proof import prove
from folkmoot.fraud.watcher.round_files import RoundFiles
from folkmoot.protocol import acceleration
from folkmoot.protocol.codec import encode_update
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.fixed_point import to_float32
from folkmoot.protocol.genesis import Genesis
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.state import State
from folkmoot.runtime import keystore

MEBIBYTE = 1 << 20
PARTS = ("examine", "wrong mean", "wrong state", "keeper", "encode")
"""Parts that the library runs, without a chain."""
_SMALL = 200_000


@dataclass(frozen=True)
class Part:
    """What a part took."""

    name: str
    processor: float
    """Seconds of the processor."""
    peak: float
    """MiB that its process held at most."""
    held: float = 0.0
    """MiB that the process held before the part began; 0 where it is a process of its own."""

    def line(self, parameters: int) -> str:
        """Return it as a line of text."""
        grown = (self.peak - self.held) * MEBIBYTE / parameters
        return (
            f"{self.name:28} {self.processor:8.1f} s, peak {self.peak:6.0f} MiB, "
            f"{self.peak * MEBIBYTE / parameters:6.2f} bytes a parameter"
            + (f", {grown:6.2f} beyond the {self.held:.0f} MiB of before" if self.held else "")
        )


def by_library(folder: Path, parameters: int, updates: int, rule: str) -> list[Part]:
    """Measure the `PARTS` on a round that is made for it, in a process of their own.

    They run on a small model first, so that loading code does not count.

    Args:
        folder: An empty folder for everything.
        parameters: Of the model.
        updates: Of the round.
        rule: The aggregation rule.
    """
    places = (folder / "small", folder / "large")
    made = [
        (place, *watching.build(watching.Folder(place), size, updates, rule))
        for place, size in zip(places, (_SMALL, parameters), strict=True)
    ]
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        fresh.submit(acceleration.load).result()
        # The process opens the folder itself: a source holds locks, which can't be sent.
        _, parts = [
            fresh.submit(_run_parts, place, genesis, manifest, cases).result()
            for place, genesis, manifest, cases in made
        ]
    return parts


def _run_parts(folder: Path, genesis: Genesis, manifest: Manifest, cases: dict[str, Case]) -> list[Part]:
    own, found = Process(os.getpid()), []
    shelf = RoundFiles(FolderSource(folder), genesis, manifest)
    works: tuple[Callable[[], object], ...] = (
        lambda: _examine(shelf, cases["right"]),
        lambda: _examine(shelf, cases["mean"]),
        lambda: _examine(shelf, cases["outer-step"]),
        lambda: _keep(folder, shelf, cases["right"]),
        lambda: _encode(folder, shelf, cases["right"]),
    )
    for name, work in zip(PARTS, works, strict=True):
        held, before = own.forget_peak(), own.seconds()
        work()
        found.append(Part(name, own.seconds() - before, own.peak(), held))
    return found


def _examine(shelf: RoundFiles, case: Case) -> None:
    """Examine a round, and build the proof if it is wrong."""
    finding = examine(shelf.material(case, {1: case}))
    for suspicion in finding.suspicions:
        prove(finding, suspicion)


def _keep(folder: Path, shelf: RoundFiles, case: Case) -> None:
    """Do what a keeper does: take the base's file, apply the mean, check the root."""
    manifest = shelf.manifest
    artifacts = shelf.material(case, {1: case}).artifacts
    assert artifacts is not None, "the artifacts file was written by `watching.build`"
    kept, header = KeptStates(folder / "kept", manifest), RoundHeader.decode(artifacts.header)
    for name in (artifacts.base_state, artifacts.mean):
        kept.put_file(folder / name[:2] / name)
    base = kept.place(artifacts.base_state)
    assert kept.take(base, case.base_state_root), "the base has another root"
    recipe = Recipe(
        case.round,
        artifacts.state,
        artifacts.base_state,
        artifacts.mean,
        header.exponents,
        case.policy,
        manifest,
    )
    assert kept.take(kept.follow(recipe, base), case.anchor.state_root), "the mean leads elsewhere"


def _encode(folder: Path, shelf: RoundFiles, case: Case) -> None:
    """Do what Folkmoot does on a node around the training: give the app its arrays, encode what it returns, keep it."""
    artifacts, manifest = shelf.material(case, {1: case}).artifacts, shelf.manifest
    assert artifacts is not None, "the artifacts file was written by `watching.build`"
    header = RoundHeader.decode(artifacts.header)
    # The keeper sends theta, int64: here it is read into memory as well.
    theta = np.array(State.open(folder / artifacts.base_state[:2] / artifacts.base_state, manifest).theta)
    start = to_float32(theta)
    del theta
    message = ArrayRecord(
        {name: Array(array) for name, array in manifest.unflatten(start, dtypes=True).items()}
    )
    # What the app holds while it trains is its own: here it holds one tensor.
    reply = ArrayRecord({name: Array(array.numpy() * np.float32(1.001)) for name, array in message.items()})
    del message
    end = manifest.flatten(ArraysOf(reply), check_finite=False)
    account_ = case.entries[0].contributor
    update = encode_update(start, end, header.exponents, manifest, header.seed, account_, width=header.width)
    del end
    commitment = Commitment(account_, 1, header.base_state_root, update.root, update.sum_squares)
    draft_update(folder, 1, DraftUpdate(header.hash.hex(), commitment, update.data), bytes(32))


def by_commands(folder: Path, parameters: int, updates: int, rule: str) -> list[Part]:
    """Measure a coordinator, and the commands that check, copy and restore its round.

    Args:
        folder: An empty folder for everything.
        parameters: Of the model.
        updates: Of the round.
        rule: The aggregation rule.
    """
    found: list[Part] = []

    def measured(name: str, *words: object) -> None:
        cost = cost_of(*words)
        found.append(Part(name, cost.processor, cost.peak))
        print(found[-1].line(parameters), flush=True)

    with federation(folder, parameters, updates, rule, challenge_pause=PATIENCE) as world:
        for part in _round(world, updates):
            found.append(part)
            print(part.line(parameters), flush=True)
        chain = ("--rpc", world.anvil.url, "--deployment", world.home / "deployment.json")
        files = ("--artifacts", world.home / "artifacts")
        copy, restored = folder / "copy", folder / "restored"
        measured("audit", "audit", *chain, *files)
        measured("watch", "watch", "--once", "--state", folder / "watch", *chain, *files)
        measured("mirror", "mirror", "--from", world.home / "artifacts", "--to", copy, *chain)
        (folder / "password").write_text("benchmark")
        key = bytes(account("coordinator").key)
        keystore.create(folder / "key.json", "benchmark", private_key=key, work=2)
        words = ("--mirror", copy, "--home", restored, "--keystore", folder / "key.json", *chain)
        measured("restore", "coordinator", "rebuild", *words, "--password-file", folder / "password")
        model = ("--to", folder / "model.safetensors", "--artifacts", copy, *chain)
        measured("model download", "model", "1", *model)
    return found


def _round(world: Federation, updates: int) -> list[Part]:
    """Take a round to its anchor; return what the coordinator took."""
    process, api, found = world.process, world.api, []
    seconds = process.seconds()
    api.start_run(1, updates, account("coordinator"), world.domain)
    current = world.until(api.current_round, PATIENCE, "an open round")
    found.append(Part("coordinator, opening", process.seconds() - seconds, process.peak()))
    process.forget_peak()
    seconds = process.seconds()
    header = RoundHeader.decode(current.header)
    for number in range(updates):  # One after the other: each takes memory here.
        (offer,) = world.offer(range(number, number + 1), header)
        assert not offer.code, offer
    found.append(Part("coordinator, receiving", process.seconds() - seconds, process.peak()))
    process.forget_peak()
    seconds = process.seconds()
    await_step(world, header.round, ("anchored",))
    found.append(Part("coordinator, computing", process.seconds() - seconds, process.peak()))
    return found


def main(words: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth large", description=__doc__)
    parser.add_argument("--parameters", type=int, default=100_000_000)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--rule", default="clamped_mean", help="a rule without parameters")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if left out")
    parser.add_argument("--library", action="store_true", help="only the parts that need no chain")
    wanted = parser.parse_args(words)
    print(f"{wanted.parameters:,} parameters, {wanted.updates} updates, {wanted.rule}")
    if not wanted.library:
        with tempfile.TemporaryDirectory(dir=wanted.folder) as place:
            by_commands(Path(place), wanted.parameters, wanted.updates, wanted.rule)
    with tempfile.TemporaryDirectory(dir=wanted.folder) as place:
        for part in by_library(Path(place), wanted.parameters, wanted.updates, wanted.rule):
            print(part.line(wanted.parameters), flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
