# SPDX-License-Identifier: Apache-2.0
"""Measure and print: ``python -m benchmarks.growth [--quick] [--rule NAME] [--folder FOLDER]``."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.growth import arithmetic, rounds

_QUICK = ((16, 100_000), (64, 100_000))
_ROUNDS = ((16, 100_000), (64, 100_000), (256, 100_000), (16, 1_000_000), (256, 1_000_000), (1_000, 100_000))
_ALONE = (16, 64, 256, 1_000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small rounds only")
    parser.add_argument("--rule", default="guided_mean", help="a rule without parameters")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary folder if left out")
    wanted = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}; processor seconds; the coordinator's peak in MiB")
    for contributors, parameters in _QUICK if wanted.quick else _ROUNDS:
        with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
            found = rounds.measure(Path(folder), parameters, contributors, wanted.rule)
        print(
            f"round: n {contributors:5}, d {found.parameters:9,}: an update {found.arrival_cpu:.3f}, "
            f"commit {found.commit_cpu:.2f}, aggregate {found.aggregate_cpu:.2f}, settle {found.settle_cpu:.2f}, "
            f"peak {found.peak:.0f}, stored {found.stored:,} bytes, gas {found.gas}, "
            f"median {1000 * found.arrival_wall:.0f} ms to the answer, taken {found.taken}, refused {found.refused} "
            f"at {found.refusal_cpu:.4f} each",
            flush=True,
        )
    with tempfile.TemporaryDirectory(dir=wanted.folder) as folder:
        for count in _ALONE[:2] if wanted.quick else _ALONE:
            alone = arithmetic.measure(Path(folder), 100_000, count, wanted.rule)
            print(
                f"aggregation alone: n {count:5}, d {alone.parameters:9,}: {alone.processor:.2f}, "
                f"peak + {alone.peak:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
