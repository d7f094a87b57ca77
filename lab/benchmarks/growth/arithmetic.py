# SPDX-License-Identifier: Apache-2.0
"""The aggregation alone: `compute_round` over updates in files, for more of them than a round can have."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.worlds import SEED, manifest_of
from folkmoot.aggregation.lineage import GENESIS
from folkmoot.protocol import acceleration
from folkmoot.protocol.commitment import Commitment
from folkmoot.protocol.hashing import keccak
from folkmoot.protocol.header import RoundHeader
from folkmoot.protocol.merkle import update_tree
from folkmoot.protocol.policy import Policy
from folkmoot.protocol.state import State
from folkmoot.protocol.updates import FileUpdate
from folkmoot.round import compute_round

COORDINATOR = "0x" + "11" * 20


@dataclass(frozen=True)
class Measured:
    """What it took."""

    updates: int
    parameters: int
    seconds: float
    """As they passed."""
    processor: float
    """Of the processor, in all threads."""
    peak: float
    """MiB that it took at most beyond what the program held before."""


def measure(folder: Path, parameters: int, count: int, rule: str) -> Measured:
    """Compute a round of synthetic updates in files, in a process of its own.

    Args:
        folder: Where the files may go; what is there already is used.
        parameters: Of the model.
        count: Number of updates.
        rule: The aggregation rule.
    """
    return _in_child(lambda: _measure(folder, parameters, count, rule))


def _measure(folder: Path, parameters: int, count: int, rule: str) -> Measured:
    acceleration.load()
    manifest = manifest_of(parameters)
    state = State(np.zeros(manifest.size, dtype=np.int64), np.zeros(manifest.size, dtype=np.int64))
    root = state.root(manifest.hash)
    header = RoundHeader(1, manifest.hash, root, 1, 8, SEED, (-11,) * len(manifest.tensors))
    policy = Policy(rule, (), 1 << 63, 1, count, 8, 700, 900, 60, 60, 60, 0, 0, 0)
    entries, updates = [], []
    for number in range(count):
        path = folder / f"{manifest.size}-{number}"
        if not path.exists():
            noise = np.random.default_rng(number).integers(1, 256, manifest.size, dtype=np.uint8)
            path.write_bytes(noise.tobytes())
        tree = update_tree(np.fromfile(path, dtype=np.uint8))
        address = "0x" + keccak(number.to_bytes(4, "big"))[12:].hex()
        entries.append(Commitment(address, 1, root, tree.root, tree.sum_squares))
        updates.append(FileUpdate(path, 8))
    before, start, processor = _peak(), time.perf_counter(), time.process_time()
    compute_round(manifest, header, policy, state, entries, updates, coordinator=COORDINATOR, lineage=GENESIS)
    return Measured(
        count,
        manifest.elements,
        time.perf_counter() - start,
        time.process_time() - processor,
        _peak() - before,
    )


def _in_child(work: Callable[[], Measured]) -> Measured:
    """Run in a forked process, so that its peak of memory is its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with os.fdopen(writer, "wb") as file:
                file.write(json.dumps(asdict(work())).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, "the child failed; its error is above"
    return Measured(**json.loads(data))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
