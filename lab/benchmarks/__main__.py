# SPDX-License-Identifier: Apache-2.0
"""Measure everything and print one table: ``python -m benchmarks [--size MB] [--repeat N] [--numpy] [--json]``."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np

from benchmarks import aggregation, codec, hashing
from benchmarks.measure import Case, Measured, measure
from folkmoot.protocol import acceleration


def yardsticks(size: int) -> Iterator[Case]:
    """What any program could reach at best, and what a plain hash costs."""
    data = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    target = np.empty_like(data)
    yield Case("yardstick", "memcpy (numpy copy)", size, lambda: np.copyto(target, data))
    yield Case("yardstick", "sha256 (hashlib), one call", size, lambda: hashlib.sha256(data.data).digest())


def table(results: list[Measured]) -> str:
    """The results as text."""
    memcpy, sha256 = results[0].rate, results[1].rate
    lines = [f"{'':70} {'MB/s':>8} {'of memcpy':>10} {'of sha256':>10}"]
    for result in results:
        name = f"{result.group}: {result.name}"
        share = f"{result.rate / memcpy:10.3f} {result.rate / sha256:10.2f}"
        lines.append(f"{name:70} {result.rate:8.0f} {share}")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Folkmoot's library.")
    parser.add_argument("--size", type=float, default=32, help="megabytes (2^20) that each case works on")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each case; the best counts")
    parser.add_argument("--numpy", action="store_true", help="without numba")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    size = int(arguments.size * (1 << 20))
    with acceleration.without_kernels() if arguments.numpy else nullcontext():
        compiled = not arguments.numpy and acceleration.load()
        results = []
        for module_cases in (yardsticks, codec.cases, hashing.cases, aggregation.cases):
            for case in module_cases(size):
                results.append(measure(case, arguments.repeat))
                if not arguments.json:
                    print(".", end="", file=sys.stderr, flush=True)
    setting = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": compiled,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "size": size,
        "repeat": arguments.repeat,
    }
    if arguments.json:
        values = [
            {"group": r.group, "name": r.name, "megabytesPerSecond": round(r.rate, 1), "seconds": r.seconds}
            for r in results
        ]
        print(json.dumps({"setting": setting, "results": values}, indent=1))
        return
    print(file=sys.stderr)
    print(table(results))
    print(", ".join(f"{name} {value}" for name, value in setting.items()))


if __name__ == "__main__":
    main()
