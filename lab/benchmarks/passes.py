# SPDX-License-Identifier: Apache-2.0
"""What a robust aggregate costs: ``python -m benchmarks.passes [--updates N] [--coordinates D] [--repeat R]``.

Every rule of Folkmoot takes one Gram pass and one weighted sum over all updates, so their time together is the
rule's. Beside them stand a copy of the same bytes, and byzfl's rules on as many coordinates in float32, where byzfl
is installed. Set OMP_NUM_THREADS=1: one core is compared with one core. Where other programs run beside this one, the
time that the processor spent ("CPU ms", and the rate that follows from it) says more than the clock.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Case, measure
from benchmarks.worlds import manifest_of, random_update
from folkmoot.aggregation.gram import gram_matrix
from folkmoot.aggregation.weighted_sum import sum_lanes
from folkmoot.protocol import acceleration
from folkmoot.protocol.fixed_point import LEAF
from folkmoot.protocol.manifest import Manifest
from folkmoot.protocol.updates import FileUpdate, MemoryUpdate, UpdateReader

_CHUNK_BYTES = 4 << 20  # bytes of all updates that are summed in one step
_MALICIOUS = 0.3  # share that the rules of byzfl stand up to
_BYZFL_MEMORY = 4 << 30  # bytes that byzfl's mixing may take


def both_passes(manifest: Manifest, updates: Sequence[UpdateReader]) -> None:
    """The Gram matrix, and then the sum of all updates, as a round makes them."""
    gram_pass(manifest, updates)
    sum_pass(manifest, updates)


def gram_pass(manifest: Manifest, updates: Sequence[UpdateReader]) -> None:
    """The Gram matrix."""
    gram_matrix(manifest, (-11,) * len(manifest.tensors), updates)


def sum_pass(manifest: Manifest, updates: Sequence[UpdateReader]) -> None:
    """The sum of all updates."""
    weights = [1] * len(updates)
    chunk = max(1, _CHUNK_BYTES // (LEAF * len(updates)))
    for first in range(0, manifest.leaves, chunk):
        sum_lanes(updates, weights, first, min(first + chunk, manifest.leaves))


def peak_memory(work: Callable[[], object]) -> int:
    """Bytes that a piece of work adds at most to what is in memory; numpy tells them to Python."""
    gc.collect()
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def copy_case(size: int) -> Case:
    """What any program could reach at best."""
    source = np.ones(size, dtype=np.uint8)
    target = np.empty_like(source)
    return Case("yardstick", "memcpy", size, lambda: np.copyto(target, source))


def folkmoot_cases(
    manifest: Manifest, updates: Sequence[UpdateReader], files: Sequence[UpdateReader]
) -> Iterator[Case]:
    """Cases of this library."""
    size = len(updates) * manifest.size
    yield Case("folkmoot", "Gram pass", size, lambda: gram_pass(manifest, updates))
    yield Case("folkmoot", "weighted sum", size, lambda: sum_pass(manifest, updates))
    yield Case("folkmoot", "Gram pass and weighted sum", size, lambda: both_passes(manifest, updates))
    yield Case(
        "folkmoot", "the same, from files in the page cache", size, lambda: both_passes(manifest, files)
    )


def byzfl_cases(updates: int, coordinates: int) -> Iterator[Case]:
    """Cases of byzfl, on as many coordinates as fit; none where it is not installed."""
    try:
        import byzfl
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
    malicious = int(_MALICIOUS * updates)
    for name, rule, copies in (
        ("Multi-Krum", byzfl.MultiKrum(malicious), updates),
        ("NNM", byzfl.NNM(malicious), updates * (updates - malicious)),
    ):
        fitting = min(coordinates, _BYZFL_MEMORY // (4 * copies))
        vectors = torch.randn(updates, fitting, generator=torch.Generator().manual_seed(0))
        label = f"{name}, float32, {fitting / 1e6:.1f} M coordinates"
        yield Case("byzfl", label, updates * fitting, partial(rule, vectors))


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.passes", description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--coordinates", type=int, default=10_000_000, help="of each update, one byte each")
    parser.add_argument("--repeat", type=int, default=15, help="runs of each case; the best counts")
    arguments = parser.parse_args()
    compiled = acceleration.load()
    manifest = manifest_of(arguments.coordinates)
    with tempfile.TemporaryDirectory() as folder:
        updates, files = [], []
        for seed in range(arguments.updates):
            data = random_update(manifest, seed)
            path = Path(folder) / str(seed)
            path.write_bytes(data)
            updates.append(MemoryUpdate(data))
            files.append(FileUpdate(path, 8))
        size = len(updates) * manifest.size
        results = [measure(copy_case(size), arguments.repeat)]
        results += [measure(case, arguments.repeat) for case in folkmoot_cases(manifest, updates, files)]
        memory = peak_memory(lambda: both_passes(manifest, files))
    results += [measure(case, 1) for case in byzfl_cases(len(updates), arguments.coordinates)]
    print(f"{'':60} {'ms':>8} {'CPU ms':>8} {'M coordinates/CPU s':>20} {'of memcpy':>10}")
    yardstick = results[0].processor_rate
    for result in results:
        times = f"{1e3 * result.seconds:8.1f} {1e3 * result.processor_seconds:8.1f}"
        rates = f"{result.processor_rate:20.0f} {result.processor_rate / yardstick:10.4f}"
        print(f"{result.group + ': ' + result.name:60} {times} {rates}")
    print(f"{len(updates)} updates of {manifest.size} coordinates: {size / 1e6:.0f} MB in all;", end=" ")
    print(f"the two passes take {memory / 1e6:.1f} MB of memory at most, read from files")
    print(
        f"numba {compiled}, cores {os.cpu_count()}, load {os.getloadavg()[0]:.1f}, repeat {arguments.repeat}"
    )


if __name__ == "__main__":
    main()
